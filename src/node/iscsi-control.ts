/**
 * What an administrator asks of iSCSI: targets, sessions, and to end one. Each node has sessions of its own; the node asked
 * asks the others.
 */
import { z } from 'zod';
import { HoldfastError } from '../base/errors.ts';
import { askEach } from './ask-nodes.ts';

export interface IscsiControl {
  /** By target, then node. */
  iscsiTargets(): Promise<IscsiTargetList>;
  iscsiSessions(): Promise<IscsiSessionList>;
  /** Ends it at once; its host may log in again. `E_NOT_FOUND` for a session that is not there. */
  disconnectIscsi(request: { readonly node: string; readonly session: number }): Promise<void>;
}

export interface IscsiTargetList {
  readonly targets: readonly IscsiTargetRow[];
  /** Nodes that could not be asked, and why. */
  readonly notes: readonly string[];
}

export interface IscsiSessionList {
  readonly sessions: readonly IscsiSessionRow[];
  readonly notes: readonly string[];
}

export const iscsiTargetRow = z.object({
  node: z.string(),
  /** `iqn.…`, the same at every node. */
  target: z.string(),
  group: z.string(),
  access: z.enum(['active', 'standby', 'transitioning', 'unavailable']),
  /** Why it is not active; empty when it is. */
  reason: z.string(),
  /** Of this node. */
  portals: z.array(z.object({ address: z.string(), tag: z.number() }).readonly()).readonly(),
  units: z.array(z.object({ lun: z.number(), volume: z.string(), sizeBytes: z.number() }).readonly()).readonly(),
  sessions: z.number(),
  /** Initiators that may log in; null: all that reach a portal. */
  hosts: z.array(z.string()).readonly().nullable(),
});
export type IscsiTargetRow = Readonly<z.infer<typeof iscsiTargetRow>>;

export const iscsiSessionRow = z.object({
  node: z.string(),
  /** Number of the session at its node, for `disconnect`. */
  session: z.number(),
  kind: z.enum(['normal', 'discovery']),
  initiator: z.string(),
  /** `host:port`. */
  from: z.string(),
  portal: z.string(),
  /** Null in a discovery session. */
  target: z.string().nullable(),
  ageSeconds: z.number(),
  commandsInFlight: z.number(),
});
export type IscsiSessionRow = Readonly<z.infer<typeof iscsiSessionRow>>;

/** What this node has. */
export interface OwnIscsi {
  targets(): readonly IscsiTargetRow[];
  sessions(): readonly IscsiSessionRow[];
  /** False: there is no such session. */
  disconnect(session: number): boolean;
  /** How initiators name a volume of a group at this node. */
  exportsOf(group: string, lun: number): readonly string[];
}

export interface IscsiControlContext {
  readonly node: string;
  readonly otherNodes: () => readonly string[];
  /** Null: this node serves none. */
  readonly own: () => OwnIscsi | null;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
}

const timeoutMs = 3000;
const disconnectRequest = z.object({ session: z.int() });

export class IscsiControlPart implements IscsiControl {
  readonly #context: IscsiControlContext;

  constructor(context: IscsiControlContext) {
    this.#context = context;
  }

  async iscsiTargets(): Promise<IscsiTargetList> {
    const { rows, notes } = await this.#everywhere('iscsi.targets', iscsiTargetRow, (own) => own.targets());
    const byName = (a: IscsiTargetRow, b: IscsiTargetRow): number =>
      a.target.localeCompare(b.target) || a.node.localeCompare(b.node);
    return { targets: rows.sort(byName), notes };
  }

  async iscsiSessions(): Promise<IscsiSessionList> {
    const { rows, notes } = await this.#everywhere('iscsi.sessions', iscsiSessionRow, (own) => own.sessions());
    return { sessions: rows, notes };
  }

  async disconnectIscsi({ node, session }: { node: string; session: number }): Promise<void> {
    const { node: self, request, otherNodes } = this.#context;
    if (node === self) this.#disconnect(session);
    else if (otherNodes().includes(node)) await request(node, 'iscsi.disconnect', { session }, timeoutMs);
    else throw new HoldfastError('E_NOT_FOUND', `there is no node ${node}`);
  }

  /** Another node asks. */
  called(method: 'iscsi.targets' | 'iscsi.sessions' | 'iscsi.disconnect', params: unknown): unknown {
    const own = this.#context.own();
    if (method === 'iscsi.targets') return own?.targets() ?? [];
    if (method === 'iscsi.sessions') return own?.sessions() ?? [];
    this.#disconnect(disconnectRequest.parse(params).session);
    return null;
  }

  #disconnect(session: number): void {
    if (this.#context.own()?.disconnect(session) === true) return;
    const message = `node ${this.#context.node} has no iSCSI session ${session}; see: holdfast iscsi sessions`;
    throw new HoldfastError('E_NOT_FOUND', message);
  }

  async #everywhere<Row>(
    method: string,
    schema: z.ZodType<Row>,
    here: (own: OwnIscsi) => readonly Row[],
  ): Promise<{ rows: Row[]; notes: readonly string[] }> {
    const { own, otherNodes, request } = this.#context;
    const ours = own();
    const { answers, notes } = await askEach(otherNodes(), async (node) =>
      z.array(schema).parse(await request(node, method, {}, timeoutMs)),
    );
    return { rows: [...(ours === null ? [] : here(ours)), ...answers.flat()], notes };
  }
}
