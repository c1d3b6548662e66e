/**
 * The other end of the control API: what `NodeControl` offers, asked of a node over HTTP. Answers are checked against
 * the same schemas the node declares; a failure comes back as the `HoldfastError` it was there.
 */
import type { z } from '@hono/zod-openapi';
import { errorKinds, HoldfastError, messageOf, type ErrorCode } from '../base/errors.ts';
import type { NodeControl, NodeEvent } from '../node/control.ts';
import * as schemas from './schemas.ts';

/** What of `NodeControl` goes over the wire as a request and its answer. */
export interface ControlClient extends Omit<NodeControl, 'nodeName' | 'onEvent'> {
  version(): Promise<{ version: string; node: string }>;
  volumes(): Promise<readonly schemas.VolumeRow[]>;
  /** Events until the node ends or `signal` is aborted. */
  events(signal: AbortSignal): AsyncGenerator<NodeEvent>;
}

export interface ClientOptions {
  /** How long a question may take, milliseconds, default 10,000; a change takes as long as it takes. */
  readonly readTimeoutMs?: number;
  /** Aborted when the answer is not waited for any more. */
  readonly stop?: AbortSignal;
}

/** @param url `http://host:port`, without a path. */
export function connectToApi(url: string, { readTimeoutMs = 10_000, stop }: ClientOptions = {}): ControlClient {
  const part = encodeURIComponent;

  async function request(method: string, path: string, content?: unknown, signal?: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(`${url}${path}`, {
        method,
        ...(content === undefined
          ? {}
          : { body: JSON.stringify(content), headers: { 'content-type': 'application/json' } }),
        signal: AbortSignal.any([signal, stop].filter((one) => one !== undefined)),
      });
    } catch (error) {
      if (stop?.aborted) {
        const message = `the answer of ${url} is not waited for any more; what was asked for may still be done`;
        throw new HoldfastError('E_TIMEOUT', message, { cause: error });
      }
      const timedOut = error instanceof Error && error.name === 'TimeoutError';
      if (signal?.aborted && !timedOut) throw error;
      const cause = error instanceof Error ? messageOf(error.cause ?? error) : String(error);
      throw new HoldfastError('E_NODE_UNREACHABLE', `no node answers at ${url} (${cause || 'no connection'})`, {
        cause: error,
      });
    }
    if (response.ok) return response;
    const told = schemas.failure.safeParse(await response.json().catch(() => null));
    if (told.success && isErrorCode(told.data.code)) throw new HoldfastError(told.data.code, told.data.message);
    throw new HoldfastError('E_PROTOCOL', `${url}${path} answered ${response.status}, which is no answer of a node`);
  }

  async function ask<Schema extends z.ZodType>(
    schema: Schema,
    method: string,
    path: string,
    content?: unknown,
  ): Promise<z.infer<Schema>> {
    const patience = method === 'GET' ? AbortSignal.timeout(readTimeoutMs) : undefined;
    const response = await request(method, path, content, patience);
    const answer = schema.safeParse(await response.json().catch(() => null));
    if (answer.success) return answer.data;
    const issue = answer.error.issues[0];
    const where = issue ? `: ${issue.path.join('.')} ${issue.message}` : '';
    throw new HoldfastError('E_PROTOCOL', `${url}${path} answered in a form this version does not know${where}`);
  }

  async function tell(method: string, path: string): Promise<void> {
    await request(method, path);
  }

  const mirror = (group: string, to: string) => `/v1/groups/${part(group)}/mirrors/${part(to)}`;

  return {
    version: () => ask(schemas.versionInformation, 'GET', '/v1/version'),
    status: () => ask(schemas.clusterStatus, 'GET', '/v1/status'),
    document: () => ask(schemas.clusterDocument, 'GET', '/v1/document'),
    volumes: () => ask(schemas.volumeRows, 'GET', '/v1/volumes'),
    why: (subject) => ask(schemas.explanation, 'GET', `/v1/why/${part(subject)}`),
    createVolume: (volume) => ask(schemas.createVolumeResult, 'POST', '/v1/volumes', volume),
    deleteVolume: ({ name, force }) => tell('DELETE', `/v1/volumes/${part(name)}?force=${force}`),
    switchOver: ({ group, to }) => ask(schemas.moveResult, 'POST', `/v1/groups/${part(group)}/switch-over`, { to }),
    takeOver: ({ group, node, force }) =>
      ask(schemas.moveResult, 'POST', `/v1/groups/${part(group)}/take-over`, { node, force }),
    pauseMirror: ({ group, to }) => tell('POST', `${mirror(group, to)}/pause`),
    resumeMirror: ({ group, to }) => tell('POST', `${mirror(group, to)}/resume`),
    resyncMirror: ({ group, to }) => tell('POST', `${mirror(group, to)}/resync`),
    async *events(signal) {
      const response = await request('GET', '/v1/events', undefined, signal);
      const decoder = new TextDecoder();
      let text = '';
      const body: AsyncIterable<Uint8Array> | null = response.body;
      for await (const chunk of body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
          const event = parseEvent(text.slice(0, end));
          text = text.slice(end + 2);
          if (event) yield event;
        }
      }
    },
  };
}

/** One server-sent event of ours; null for comments, for `dropped`, and for what this version does not know. */
function parseEvent(text: string): NodeEvent | null {
  const data = /^data: (.*)$/m.exec(text)?.[1];
  if (data === undefined || /^event: /m.test(text)) return null;
  const event = schemas.nodeEvent.safeParse(JSON.parse(data));
  return event.success ? event.data : null;
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorKinds, code);
