/**
 * The other end of the control API: what `NodeControl` offers, asked of a node over HTTP. Answers are checked against
 * the same schemas the node declares; a failure comes back as the `HoldfastError` it was there.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import type { z } from '@hono/zod-openapi';
import { errorKinds, HoldfastError, messageOf, type ErrorCode } from '../base/errors.ts';
import { drillReportSchema } from '../agent/drill-report.ts';
import type { NodeControl, NodeEvent } from '../node/control.ts';
import { drillList } from './drill-routes.ts';
import { iscsiSessionList, iscsiTargetList } from './iscsi-routes.ts';
import { heartbeatMirrorCalls } from './heartbeat-mirror-routes.ts';
import * as pulse from './pulse-schemas.ts';
import { agentList, checkStatus, resourcesStatus } from './resource-schemas.ts';
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

  async function request(
    method: string,
    path: string,
    content?: unknown,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    let response: IncomingMessage;
    try {
      const either = AbortSignal.any([signal, stop].filter((one) => one !== undefined));
      response = await send(new URL(path, url), method, content, either);
    } catch (error) {
      if (stop?.aborted) {
        const message = `the answer of ${url} is not waited for any more; what was asked for may still be done`;
        throw new HoldfastError('E_TIMEOUT', message, { cause: error });
      }
      const timedOut = signal?.reason instanceof Error && signal.reason.name === 'TimeoutError';
      if (signal?.aborted && !timedOut) throw error;
      const cause = error instanceof Error ? messageOf(error.cause ?? error) : String(error);
      throw new HoldfastError('E_NODE_UNREACHABLE', `no node answers at ${url} (${cause || 'no connection'})`, {
        cause: error,
      });
    }
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    const told = schemas.failure.safeParse(await json(response).catch(() => null));
    if (told.success && isErrorCode(told.data.code)) throw new HoldfastError(told.data.code, told.data.message);
    throw new HoldfastError('E_PROTOCOL', `${url}${path} answered ${status}, which is no answer of a node`);
  }

  async function ask<Schema extends z.ZodType>(
    schema: Schema,
    method: string,
    path: string,
    content?: unknown,
  ): Promise<z.infer<Schema>> {
    const patience = method === 'GET' ? AbortSignal.timeout(readTimeoutMs) : undefined;
    const response = await request(method, path, content, patience);
    const answer = schema.safeParse(await json(response).catch(() => null));
    if (answer.success) return answer.data;
    const issue = answer.error.issues[0];
    const where = issue ? `: ${issue.path.join('.')} ${issue.message}` : '';
    throw new HoldfastError('E_PROTOCOL', `${url}${path} answered in a form this version does not know${where}`);
  }

  async function tell(method: string, path: string, content?: unknown): Promise<void> {
    (await request(method, path, content)).resume();
  }

  const mirror = (group: string, to: string) => `/v1/groups/${part(group)}/mirrors/${part(to)}`;

  const logOf = (group: string) => `/v1/groups/${part(group)}/log`;

  return {
    heartbeatMirrors: heartbeatMirrorCalls(ask, tell),
    version: () => ask(schemas.versionInformation, 'GET', '/v1/version'),
    status: () => ask(schemas.clusterStatus, 'GET', '/v1/status'),
    document: () => ask(schemas.clusterDocument, 'GET', '/v1/document'),
    volumes: () => ask(schemas.volumeRows, 'GET', '/v1/volumes'),
    why: (subject) => ask(schemas.explanation, 'GET', `/v1/why/${part(subject)}`),
    createVolume: (volume) => ask(schemas.createVolumeResult, 'POST', '/v1/volumes', volume),
    deleteVolume: ({ name, force }) => tell('DELETE', `/v1/volumes/${part(name)}?force=${force}`),
    switchOver: ({ group, to }) => ask(schemas.moveResult, 'POST', `/v1/groups/${part(group)}/switch-over`, { to }),
    takeOver: ({ group, ...request }) =>
      ask(schemas.moveResult, 'POST', `/v1/groups/${part(group)}/take-over`, request),
    resolveSplitBrain: ({ group, ...request }) =>
      ask(schemas.resolveResult, 'POST', `/v1/groups/${part(group)}/resolve`, request),
    iscsiTargets: () => ask(iscsiTargetList, 'GET', '/v1/iscsi/targets'),
    iscsiSessions: () => ask(iscsiSessionList, 'GET', '/v1/iscsi/sessions'),
    disconnectIscsi: ({ node, session }) => tell('DELETE', `/v1/iscsi/sessions/${part(node)}/${session}`),
    listAlerts: ({ all }) => ask(schemas.alertList, 'GET', `/v1/alerts?all=${all}`),
    testAlerts: (request) => ask(schemas.testResults, 'POST', '/v1/alerts/test', request),
    acknowledgeAlerts: (request) => ask(schemas.acknowledged, 'POST', '/v1/alerts/acknowledge', request),
    decisions: ({ group, count }) =>
      ask(schemas.decisions, 'GET', `/v1/groups/${part(group)}/decisions?count=${count}`),
    setGroupAutomatic: ({ group, automatic }) => tell('PUT', `/v1/groups/${part(group)}/automatic`, { automatic }),
    setNodeAutomatic: ({ node, on }) => tell('PUT', `/v1/nodes/${part(node)}/automatic`, { on }),
    pulseStatus: ({ node }) =>
      ask(pulse.pulseStatus, 'GET', `/v1/pulse${node === undefined ? '' : `?node=${part(node)}`}`),
    pulseTables: ({ site }) =>
      ask(pulse.pulseTables, 'GET', `/v1/pulse/tables${site === undefined ? '' : `?site=${part(site)}`}`),
    usePulse: (change) => ask(pulse.usePulseResult, 'POST', '/v1/pulse/use', change),
    startDrill: ({ group, ...request }) =>
      ask(drillReportSchema, 'POST', `/v1/groups/${part(group)}/drills`, request),
    listDrills: ({ group }) => ask(drillList, 'GET', `/v1/groups/${part(group)}/drills`),
    allowDrills: ({ group, on }) => tell('PUT', `/v1/groups/${part(group)}/drills`, { on }),
    giveBack: ({ group }) => ask(schemas.moveResult, 'POST', `/v1/groups/${part(group)}/give-back`, {}),
    groupResources: ({ group }) => ask(resourcesStatus, 'GET', `/v1/groups/${part(group)}/resources`),
    startResources: ({ group }) => ask(resourcesStatus, 'POST', `/v1/groups/${part(group)}/resources/start`),
    groupCheck: ({ group, again, serve }) =>
      again || serve
        ? ask(checkStatus, 'POST', `/v1/groups/${part(group)}/check`, { again, serve })
        : ask(checkStatus, 'GET', `/v1/groups/${part(group)}/check`),
    listAgents: () => ask(agentList, 'GET', '/v1/agents'),
    pauseMirror: ({ group, to }) => tell('POST', `${mirror(group, to)}/pause`),
    resumeMirror: ({ group, to }) => tell('POST', `${mirror(group, to)}/resume`),
    resyncMirror: ({ group, to }) => tell('POST', `${mirror(group, to)}/resync`),
    listLogs: () => ask(schemas.logRows, 'GET', '/v1/logs'),
    createLog: ({ group, ...request }) => tell('POST', logOf(group), request),
    assignLog: ({ group, node, folders }) => tell('PUT', `${logOf(group)}/places/${part(node)}`, { folders }),
    setLogSize: ({ group, sizeBytes }) => tell('PUT', `${logOf(group)}/size`, { sizeBytes }),
    setLogRetention: ({ group, ...request }) => tell('PUT', `${logOf(group)}/retention`, request),
    removeLog: ({ group, force }) => tell('DELETE', `${logOf(group)}?force=${force}`),
    markLog: ({ group, name }) => ask(schemas.logMark, 'POST', `${logOf(group)}/marks`, { name }),
    logMoments: ({ group, after, limit, extents }) => {
      const from = after === undefined ? '' : `&after=${part(after)}`;
      return ask(schemas.logMoments, 'GET', `${logOf(group)}/moments?limit=${limit}&extents=${extents}${from}`);
    },
    setMirror: ({ group, to, mode }) => tell('PATCH', mirror(group, to), { mode }),
    async *events(signal) {
      const response = await request('GET', '/v1/events', undefined, signal);
      const decoder = new TextDecoder();
      let text = '';
      const body: AsyncIterable<Uint8Array> = response;
      for await (const chunk of body) {
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

/**
 * Not by `fetch`: it refuses the ports that browsers do, 10080 and 6000 among them, which a node may listen at. Each
 * question has a connection of its own, so that none is lost with one the node has just closed.
 */
function send(url: URL, method: string, content: unknown, signal: AbortSignal): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = content === undefined ? {} : { 'content-type': 'application/json' };
    httpRequest(url, { method, headers, signal, agent: false })
      .once('response', resolve)
      .on('error', reject)
      .end(content === undefined ? undefined : JSON.stringify(content));
  });
}

/** One server-sent event of ours; null for comments, for `dropped`, and for what this version does not know. */
function parseEvent(text: string): NodeEvent | null {
  const data = /^data: (.*)$/m.exec(text)?.[1];
  if (data === undefined || /^event: /m.test(text)) return null;
  const event = schemas.nodeEvent.safeParse(JSON.parse(data));
  return event.success ? event.data : null;
}

const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(errorKinds, code);
