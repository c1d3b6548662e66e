/**
 * What an administrator asks of heartbeat mirrors (HM-8, HM-9), at whichever node: what is asked about one is done by the node
 * that writes it, and passed on to it.
 */
import { z } from 'zod';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { mirrorStates } from '../pulse/mirror-records.ts';
import type { HeartbeatMirrors, InstallRequest, MirrorRow } from '../pulse/installer.ts';
import type { ClusterDocument } from '../store/document.ts';

export interface HeartbeatMirrorControl {
  /** Of all nodes that can be asked, by name. */
  list(): Promise<HeartbeatMirrorList>;
  create(request: CreateMirrorRequest): Promise<void>;
  /** Returns when both ends use it. */
  install(request: InstallRequest): Promise<void>;
  /** De-install: returns when neither end uses it. */
  remove(request: { readonly name: string }): Promise<void>;
  /** Refused (`E_REFUSED`) until it is de-installed. */
  delete(request: { readonly name: string }): Promise<void>;
}

export interface HeartbeatMirrorList {
  readonly mirrors: readonly MirrorRow[];
  /** Nodes that could not be asked, and why. */
  readonly notes: readonly string[];
}

export interface CreateMirrorRequest {
  readonly name: string;
  /** The node that writes it, and the one that reads it. */
  readonly from: string;
  readonly to: string;
}

export interface MirrorControlContext {
  readonly node: string;
  readonly document: () => ClusterDocument;
  /** Of this node; null: it has no pulse. */
  readonly mirrors: HeartbeatMirrors | null;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
}

const listTimeoutMs = 3000;
/** Longer than an activation waits for its confirmation. */
const changeTimeoutMs = 120_000;

const path = z.string().exactOptional();
const change = z.discriminatedUnion('what', [
  z.object({ what: z.literal('create'), name: z.string(), to: z.string() }),
  z.object({ what: z.literal('install'), name: z.string(), primary: path, secondary: path }),
  z.object({ what: z.literal('remove'), name: z.string() }),
  z.object({ what: z.literal('delete'), name: z.string() }),
]);
type Change = z.infer<typeof change>;

const rows = z.array(
  z.object({
    name: z.string(),
    from: z.string(),
    to: z.string(),
    primary: z.string().nullable(),
    secondary: z.string().nullable(),
    state: z.enum(mirrorStates),
  }),
);

export class MirrorControl implements HeartbeatMirrorControl {
  readonly #context: MirrorControlContext;

  constructor(context: MirrorControlContext) {
    this.#context = context;
  }

  async list(): Promise<HeartbeatMirrorList> {
    const { node, document } = this.#context;
    const own = this.#context.mirrors === null ? [] : await this.#context.mirrors.list();
    const others = document().nodes.filter(({ name }) => name !== node);
    const notes: string[] = [];
    const told = await Promise.all(
      others.map(({ name }) =>
        this.#rowsOf(name).catch((error: unknown) => {
          notes.push(`${name} cannot be asked: ${messageOf(error)}`);
          return [];
        }),
      ),
    );
    const found = new Map<string, MirrorRow>();
    const all = [{ node, rows: own }, ...others.map(({ name }, index) => ({ node: name, rows: told[index] ?? [] }))];
    for (const { node: teller, rows: of } of all) {
      for (const row of of) {
        const known = found.get(row.name);
        // Who writes it knows more: whether the other end has confirmed.
        found.set(row.name, row.from === teller ? joined(row, known) : joined(known ?? row, row));
      }
    }
    return { mirrors: [...found.values()].sort((one, other) => (one.name < other.name ? -1 : 1)), notes };
  }

  async create({ name, from, to }: CreateMirrorRequest): Promise<void> {
    const { nodes } = this.#context.document();
    for (const node of [from, to]) {
      if (!nodes.some((entry) => entry.name === node))
        throw new HoldfastError('E_NOT_FOUND', `there is no node ${node}`);
    }
    if ((await this.list()).mirrors.some((row) => row.name === name)) {
      throw new HoldfastError('E_EXISTS', `there is a heartbeat mirror ${name} already`);
    }
    await this.#at(from, { what: 'create', name, to });
  }

  async install(request: InstallRequest): Promise<void> {
    await this.#at(await this.#writerOf(request.name), { what: 'install', ...request });
  }

  async remove({ name }: { readonly name: string }): Promise<void> {
    await this.#at(await this.#writerOf(name), { what: 'remove', name });
  }

  async delete({ name }: { readonly name: string }): Promise<void> {
    await this.#at(await this.#writerOf(name), { what: 'delete', name });
  }

  /**
   * For requests about mirrors of production (HM-4): resolves when `name` is no heartbeat mirror that this node knows; else
   * refused, with an alert where it is installed.
   */
  async requireProduction(name: string, what: 'split' | 'pause'): Promise<void> {
    const { mirrors } = this.#context;
    if (mirrors === null || !(await mirrors.list()).some((row) => row.name === name)) return;
    await mirrors.permit(name, what);
    throw new HoldfastError('E_REFUSED', `heartbeat mirror ${name} is not installed: there is nothing to ${what}`);
  }

  /** Another node has passed a request on to this one. */
  async called(method: 'heartbeatMirror.list' | 'heartbeatMirror.do', params: unknown): Promise<unknown> {
    if (method === 'heartbeatMirror.list') return this.#context.mirrors?.list() ?? [];
    await this.#do(change.parse(params));
    return null;
  }

  async #rowsOf(node: string): Promise<readonly MirrorRow[]> {
    return rows.parse(await this.#context.request(node, 'heartbeatMirror.list', {}, listTimeoutMs));
  }

  async #writerOf(name: string): Promise<string> {
    const { mirrors, notes } = await this.list();
    const found = mirrors.find((row) => row.name === name);
    if (found !== undefined) return found.from;
    const unasked = notes.length === 0 ? '' : ` (${notes.join('; ')})`;
    throw new HoldfastError('E_NOT_FOUND', `no mirror is created: there is no heartbeat mirror ${name}${unasked}`);
  }

  async #at(node: string, request: Change): Promise<void> {
    if (node === this.#context.node) return this.#do(request);
    await this.#context.request(node, 'heartbeatMirror.do', request, changeTimeoutMs);
  }

  async #do(request: Change): Promise<void> {
    const { mirrors, node } = this.#context;
    if (mirrors === null) {
      throw new HoldfastError('E_REFUSED', `${node} has no pulse: the configuration has no section "pulse"`);
    }
    switch (request.what) {
      case 'create':
        return mirrors.create(request);
      case 'install':
        return mirrors.install(request);
      case 'remove':
        return mirrors.remove(request.name);
      case 'delete':
        return mirrors.delete(request.name);
    }
  }
}

/** Each end knows where its own copy is. */
function joined(row: MirrorRow, other: MirrorRow | undefined): MirrorRow {
  const { primary, secondary } = row;
  return {
    ...row,
    primary: primary ?? other?.primary ?? null,
    secondary: secondary ?? other?.secondary ?? null,
  };
}
