/**
 * What an administrator asks of logs, at whichever node. Where a log is and how large is the document's to say, and the
 * group follows it; bookmarks and history are with the group's owner.
 */
import { z } from 'zod';
import { HoldfastError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import type { Group } from '../group/group.ts';
import type { LogMark, LogMoments } from '../group/log-moments.ts';
import type { ClusterStatus, GroupStatus } from '../group/status.ts';
import type { ClusterDocument } from '../store/document.ts';
import type {
  AssignLogRequest,
  CreateLogRequest,
  LogRetentionRequest,
  LogRow,
  LogSizeRequest,
  NodeControl,
} from './control.ts';
import { logOf, withLog, withLogPlace, withLogRetention, withLogSize, withoutLog } from './log-changes.ts';

type LogMethods = 'listLogs' | 'createLog' | 'assignLog' | 'setLogSize' | 'setLogRetention' | 'removeLog' | 'markLog';

export interface LogControlContext {
  readonly node: string;
  readonly document: () => ClusterDocument;
  readonly changeDocument: (change: (document: ClusterDocument) => ClusterDocument) => Promise<void>;
  readonly status: () => Promise<ClusterStatus>;
  /** The group, where this node holds a copy. */
  readonly group: (name: string) => Group | undefined;
  readonly ownerOf: (group: string) => string;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
}

const requestTimeoutMs = 30_000;

/**
 * An answer between nodes is a mebibyte of JSON at most (`controlBytesMax`), and so many extents, with names as long as
 * they may be, are half of it. More come at once only of a single epoch.
 */
const extentsMax = 4096;

const markRequest = z.object({ group: z.string(), name: z.string() });
const momentsRequest = z.object({
  group: z.string(),
  after: z.string().exactOptional(),
  limit: z.number(),
  extents: z.boolean(),
});
type MarkRequest = z.infer<typeof markRequest>;
type MomentsRequest = z.infer<typeof momentsRequest>;

export class LogControl implements Pick<NodeControl, LogMethods | 'logMoments'> {
  readonly #context: LogControlContext;

  constructor(context: LogControlContext) {
    this.#context = context;
  }

  async listLogs(): Promise<readonly LogRow[]> {
    const { groups } = await this.#context.status();
    return this.#context.document().groups.map(({ name, log }) => {
      const status = groups.find((group) => group.name === name)?.log ?? null;
      return { group: name, log, status: log === null ? null : status };
    });
  }

  createLog(request: CreateLogRequest): Promise<void> {
    return this.#context.changeDocument((document) => withLog(document, request));
  }

  assignLog(request: AssignLogRequest): Promise<void> {
    return this.#context.changeDocument((document) => withLogPlace(document, request));
  }

  async setLogSize(request: LogSizeRequest): Promise<void> {
    const { group: name, sizeBytes } = request;
    const { log } = logOf(this.#context.document(), name);
    if (sizeBytes < log.sizeBytes) {
      const { group } = await this.#statusOf(name);
      const status = group?.log ?? null;
      if (status !== null && status.state !== 'idle' && status.usedBytes > sizeBytes) {
        throw new HoldfastError(
          'E_REFUSED',
          `group ${name}: ${formatSize(status.usedBytes)} of its log are in use, more than ${formatSize(sizeBytes)}; wait until its targets have been merged`,
        );
      }
    }
    await this.#context.changeDocument((document) => withLogSize(document, request));
  }

  setLogRetention(request: LogRetentionRequest): Promise<void> {
    return this.#context.changeDocument((document) => withLogRetention(document, request));
  }

  async removeLog({ group, force }: { group: string; force: boolean }): Promise<void> {
    logOf(this.#context.document(), group);
    if (!force) await this.#requireUnneeded(group);
    await this.#context.changeDocument((document) => withoutLog(document, group));
  }

  markLog(request: MarkRequest): Promise<LogMark> {
    return this.#mark(request, true);
  }

  logMoments(request: MomentsRequest): Promise<LogMoments> {
    return this.#moments(request, true);
  }

  /** Another node has passed a request on to this one, as the owner. */
  called(method: 'log.mark' | 'log.moments', params: unknown): Promise<LogMark | LogMoments> {
    return method === 'log.mark'
      ? this.#mark(markRequest.parse(params), false)
      : this.#moments(momentsRequest.parse(params), false);
  }

  async #mark(request: MarkRequest, forward: boolean): Promise<LogMark> {
    const group = this.#servedHere(request.group, forward);
    if (group !== null) return group.markLog(request.name);
    return (await this.#askOwner('log.mark', request)) as LogMark;
  }

  async #moments({ group: name, ...options }: MomentsRequest, forward: boolean): Promise<LogMoments> {
    const group = this.#servedHere(name, forward);
    if (group !== null) return fitting(await group.logMoments(options));
    return (await this.#askOwner('log.moments', { group: name, ...options })) as LogMoments;
  }

  /** Null: its owner is another node, and may be asked. */
  #servedHere(name: string, forward: boolean): Group | null {
    const { document, group: held, ownerOf, node } = this.#context;
    logOf(document(), name);
    const group = held(name);
    if (group?.role === 'primary') return group;
    if (forward && ownerOf(name) !== node) return null;
    throw new HoldfastError('E_REFUSED', `group ${name}: ${node} does not serve it now`);
  }

  #askOwner(method: string, params: { readonly group: string }): Promise<unknown> {
    return this.#context.request(this.#context.ownerOf(params.group), method, params, requestTimeoutMs);
  }

  async #requireUnneeded(name: string): Promise<void> {
    const { group, ownerIsUp } = await this.#statusOf(name);
    const consequence = 'or use --force: what needs it is then brought up by a resync';
    if (group === undefined || !ownerIsUp) {
      const owner = group?.owner ?? this.#context.ownerOf(name);
      throw new HoldfastError(
        'E_REFUSED',
        `group ${name}: ${owner}, its owner, cannot be asked whether its log is needed; start it, ${consequence}`,
      );
    }
    const logged = group.log?.state === 'logging';
    const needing = group.legs.find(
      ({ replication }) =>
        replication === 'Logging' || replication === 'Merging' || (replication === 'Paused' && logged),
    );
    if (needing === undefined) return;
    const what = needing.replication === 'Merging' ? 'is being merged from' : 'is away and needs';
    throw new HoldfastError(
      'E_REFUSED',
      `group ${name}: ${needing.node} ${what} its log; wait until that has ended, ${consequence}`,
    );
  }

  async #statusOf(name: string): Promise<{ group: GroupStatus | undefined; ownerIsUp: boolean }> {
    const { groups, nodes } = await this.#context.status();
    const group = groups.find((candidate) => candidate.name === name);
    return { group, ownerIsUp: nodes.some((node) => node.name === group?.owner && node.state === 'up') };
  }
}

/** The moments from the first on whose extents are not too many together. */
function fitting({ moments, more }: LogMoments): LogMoments {
  let extents = 0;
  const end = moments.findIndex((moment, index) => {
    extents += moment.extents?.length ?? 0;
    return index > 0 && extents > extentsMax;
  });
  return end < 0 ? { moments, more } : { moments: moments.slice(0, end), more: true };
}
