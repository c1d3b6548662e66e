/**
 * What an administrator asks of the pulse (HM-5, HM-14), at whichever node: how each node hears the others, the status
 * tables of all sites, and which ways are used.
 */
import { z } from 'zod';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Clock } from '../base/clock.ts';
import type { PulseStatus, UseChange, UseResult } from '../pulse/service.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import { statusTableSchema, type StatusTable } from '../pulse/status-table.ts';
import type { ClusterDocument } from '../store/document.ts';

export interface PulseControl {
  /** Of one node, default the one asked. `E_NOT_FOUND`, `E_NODE_UNREACHABLE`, `E_REFUSED` without a pulse. */
  pulseStatus(request: { node?: string }): Promise<PulseStatus>;
  /** Of every node, or those of one site, in the order of the document; of a node that cannot be asked the last one seen. */
  pulseTables(request: { site?: string }): Promise<readonly PulseTableRow[]>;
  /** At all nodes. `E_REFUSED` for the last path unless confirmed. */
  usePulse(change: UseChange): Promise<UseResult>;
}

export interface PulseTableRow {
  readonly node: string;
  readonly site: string;
  /** HM-1, by what the node asked hears. */
  readonly isMaster: boolean;
  /** Null: never seen. */
  readonly table: StatusTable | null;
  /** Wall clock; null: now, by the node itself. */
  readonly seenAtMs: number | null;
  /** Why the node could not be asked; null when it was. */
  readonly problem: string | null;
}

/** The pulse of this node, wherever it runs. */
export interface PulseAsked {
  status(): Promise<PulseStatus>;
  /** Of now; what a host has is of the last change. */
  snapshot(): Promise<PulseSnapshot>;
  use(change: UseChange): Promise<UseResult>;
}

export interface PulseControlContext {
  readonly node: string;
  readonly clock: Clock;
  readonly document: () => ClusterDocument;
  /** Null: this node has none. */
  readonly pulse: () => PulseAsked | null;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
}

const requestTimeoutMs = 1500;

export class PulseControlPart implements PulseControl {
  readonly #context: PulseControlContext;
  /** Of the others, as they were last seen: both sites' tables can be read also while the link is down (HM-5). */
  readonly #seen = new Map<string, { readonly table: StatusTable; readonly atMs: number }>();

  constructor(context: PulseControlContext) {
    this.#context = context;
  }

  async pulseStatus({ node }: { node?: string }): Promise<PulseStatus> {
    const { document, request, node: own } = this.#context;
    if (node === undefined || node === own) return this.#own().status();
    if (!document().nodes.some(({ name }) => name === node)) {
      const names = document().nodes.map(({ name }) => name);
      throw new HoldfastError('E_NOT_FOUND', `there is no node ${node}; there are: ${names.join(', ')}`);
    }
    return (await request(node, 'pulse.status', {}, requestTimeoutMs)) as PulseStatus;
  }

  async pulseTables({ site }: { site?: string }): Promise<readonly PulseTableRow[]> {
    const { nodes, sites } = this.#context.document();
    if (site !== undefined && !sites.includes(site)) {
      throw new HoldfastError('E_NOT_FOUND', `there is no site ${site}; there are: ${sites.join(', ')}`);
    }
    const { table, snapshot } = await this.#own().status();
    const wanted = nodes.filter((node) => site === undefined || node.site === site);
    return Promise.all(
      wanted.map(async ({ name, site: at }): Promise<PulseTableRow> => {
        const row = { node: name, site: at, isMaster: snapshot.masters[at] === name };
        if (name === this.#context.node) return { ...row, table, seenAtMs: null, problem: null };
        return { ...row, ...(await this.#tableOf(name)) };
      }),
    );
  }

  async usePulse(change: UseChange): Promise<UseResult> {
    return this.#own().use(change);
  }

  /** Another node asks for what is here. */
  async called(method: 'pulse.status' | 'pulse.table', params: unknown): Promise<unknown> {
    z.object({}).parse(params);
    const status = await this.#own().status();
    return method === 'pulse.status' ? status : status.table;
  }

  async #tableOf(node: string): Promise<Pick<PulseTableRow, 'table' | 'seenAtMs' | 'problem'>> {
    try {
      const answer = await this.#context.request(node, 'pulse.table', {}, requestTimeoutMs);
      const table = statusTableSchema.parse(answer);
      this.#seen.set(node, { table, atMs: this.#context.clock.wallMs() });
      return { table, seenAtMs: null, problem: null };
    } catch (error) {
      const seen = this.#seen.get(node);
      return { table: seen?.table ?? null, seenAtMs: seen?.atMs ?? null, problem: messageOf(error) };
    }
  }

  #own(): PulseAsked {
    const pulse = this.#context.pulse();
    if (pulse !== null) return pulse;
    const { node } = this.#context;
    throw new HoldfastError('E_REFUSED', `${node} has no pulse: holdfast.yaml has no section "pulse"`);
  }
}
