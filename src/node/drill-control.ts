/**
 * Drills (BY-11) as an administrator asks for them, at whichever node: chooses who runs one, gathers what it must know
 * beforehand, does the fault where it is asked of this node, and keeps the history of those run here.
 *
 * Invariants:
 * - One drill at a time runs here, and none strikes a node that runs one itself.
 * - A node strikes itself only for a group that it owns and that is marked for it in its own document, whoever asks.
 */
import { z } from 'zod';
import { DrillBook } from '../agent/drill-book.ts';
import { assertFit, whyNotWhole } from '../agent/drill-conditions.ts';
import { Drill } from '../agent/drill.ts';
import {
  drillKinds,
  drillReportSchema,
  parseDrill,
  type DrillKind,
  type DrillReport,
} from '../agent/drill-report.ts';
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatAddress, parseAddress, type Address } from '../base/network.ts';
import { randomHex } from '../base/random.ts';
import type { Group } from '../group/group.ts';
import type { ClusterStatus } from '../group/status.ts';
import type { ClusterDocument, GroupEntry } from '../store/document.ts';
import type { Decisions } from './agent-control.ts';
import type { MoveResult } from './control.ts';
import { NbdProbe } from './nbd-probe.ts';
import { faultDelayMs, type ProcessFaults } from './process-faults.ts';
import { askEach } from './ask-nodes.ts';

export interface DrillControl {
  /** Returns when the drill has begun; `listDrills` tells how it goes on. Rejects with `E_REFUSED`, `E_BUSY` and the like. */
  startDrill(request: DrillRequest): Promise<DrillReport>;
  /** Of all nodes that can be asked, oldest first; `E_NOT_FOUND`. */
  listDrills(request: { group: string }): Promise<DrillList>;
  /** Marks a group as fit for drills, or not; lasting. */
  allowDrills(request: { group: string; on: boolean }): Promise<void>;
}

export interface DrillRequest {
  readonly group: string;
  readonly kind: DrillKind;
  /** Even where other groups of the owner are hit as well. */
  readonly yes: boolean;
}

export interface DrillList {
  readonly drills: readonly DrillReport[];
  /** Nodes that could not be asked, and why. */
  readonly notes: readonly string[];
}

export interface DrillControlContext {
  readonly environment: Environment;
  readonly node: string;
  /** `<data folder>/agent`. */
  readonly folder: string;
  readonly document: () => ClusterDocument;
  readonly changeDocument: (change: (document: ClusterDocument) => ClusterDocument) => Promise<void>;
  readonly group: (name: string) => Group | undefined;
  readonly ownerOf: (name: string) => string;
  readonly status: () => Promise<ClusterStatus>;
  readonly store: () => 'none' | 'reachable' | 'unreachable';
  readonly heard: (node: string) => boolean;
  readonly leaseValid: () => boolean;
  readonly nodeAutomatic: () => boolean;
  /** How hosts reach this node: beginnings of URIs. */
  readonly exportBases: () => readonly string[];
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  readonly switchOver: (request: { group: string; to: string }) => Promise<MoveResult>;
  readonly decisions: (request: { group: string; count: number }) => Promise<Decisions>;
  /** Null where a process cannot hurt itself. */
  readonly faults: ProcessFaults | null;
  /** Cuts this node off from all others, its lease not renewed; null ends it. Said again and again while it lasts. */
  readonly isolate: (reason: string | null) => void;
  readonly event: (group: string | null, kind: string, message: string) => void;
}

const requestMs = 3000;
const servingMs = 500;
const addressesMax = 16;
const decisionsCount = 50;
const listedMax = 50;
const faultMsMin = 10_000;
const faultMsMax = 600_000;
const isolationTickMs = 250;

const kind = z.enum(drillKinds);
const startRequest = z.object({ group: z.string(), kind, yes: z.boolean() });
const faultRequest = z.object({ group: z.string(), kind, forMs: z.number().min(0).max(faultMsMax) });
const groupRequest = z.object({ group: z.string() });
const lookAnswer = z.object({ addresses: z.array(z.string()), busy: z.string().nullable() });

export const drillMethods = ['drill.start', 'drill.list', 'drill.look', 'drill.fault'] as const;

export class DrillControlPart implements DrillControl {
  readonly #context: DrillControlContext;
  readonly #book: DrillBook;
  #running: Drill | null = null;
  /** A start is being considered. */
  #considering = false;
  #isolation: Timer | null = null;

  constructor(context: DrillControlContext) {
    this.#context = context;
    this.#book = new DrillBook(context.environment, context.folder);
  }

  start(): Promise<void> {
    return this.#book.open();
  }

  async stop(): Promise<void> {
    this.#running?.cancel();
    this.#isolation?.cancel();
    await this.#book.close();
  }

  async startDrill(request: DrillRequest): Promise<DrillReport> {
    const { node } = this.#context;
    const entry = this.#mustKnow(request.group);
    const owner = this.#context.ownerOf(entry.name);
    const runners = entry.legs.flatMap((leg) => (leg.node === owner ? [] : [leg.node]));
    if (runners.includes(node) || runners.length === 0) return this.#startHere(request, entry, owner);
    const silent: string[] = [];
    for (const runner of runners) {
      try {
        return drillReportSchema.parse(await this.#context.request(runner, 'drill.start', request, 5 * requestMs));
      } catch (error) {
        if (!(error instanceof HoldfastError && error.code === 'E_NODE_UNREACHABLE')) throw error;
        silent.push(messageOf(error));
      }
    }
    throw new HoldfastError(
      'E_NODE_UNREACHABLE',
      `group ${entry.name}: nobody can run the drill: ${silent.join('; ')}`,
    );
  }

  async listDrills({ group }: { group: string }): Promise<DrillList> {
    const { node, document, request } = this.#context;
    this.#mustKnow(group);
    const others = document().nodes.flatMap(({ name }) => (name === node ? [] : [name]));
    const { answers, notes } = await askEach(others, async (name) =>
      z.array(z.unknown()).parse(await request(name, 'drill.list', { group }, requestMs)),
    );
    const read = answers.flat().map((line) => parseDrill(JSON.stringify(line)));
    const drills: DrillReport[] = [...this.#own(group), ...read.filter((drill) => drill !== null)];
    drills.sort((one, two) => one.startedAtMs - two.startedAtMs);
    return { drills: drills.slice(-listedMax), notes };
  }

  async allowDrills({ group: name, on }: { group: string; on: boolean }): Promise<void> {
    this.#mustKnow(name);
    await this.#context.changeDocument((document) => ({
      ...document,
      groups: document.groups.map((group) =>
        group.name === name ? { ...group, takeOver: { ...group.takeOver, drills: on } } : group,
      ),
    }));
  }

  /** What other nodes ask of this one. */
  async called(method: (typeof drillMethods)[number], peer: string, params: unknown): Promise<unknown> {
    switch (method) {
      case 'drill.start': {
        const request = startRequest.parse(params);
        const entry = this.#mustKnow(request.group);
        const owner = this.#context.ownerOf(entry.name);
        if (owner === this.#context.node)
          throw new HoldfastError('E_BUSY', `group ${entry.name}: it has just come to ${owner}; try again`);
        return this.#startHere(request, entry, owner);
      }
      case 'drill.list':
        return this.#own(groupRequest.parse(params).group);
      case 'drill.look':
        return { addresses: this.#addresses(), busy: this.#busy() };
      case 'drill.fault':
        return this.#strikeSelf(peer, faultRequest.parse(params));
    }
  }

  // ---- running one ----

  async #startHere(request: DrillRequest, entry: GroupEntry, owner: string): Promise<DrillReport> {
    const busy = this.#busy();
    if (busy !== null) throw new HoldfastError('E_BUSY', `group ${entry.name}: ${busy}`);
    this.#considering = true;
    try {
      const drill = await this.#prepare(request, entry, owner);
      this.#running = drill;
      await this.#book.keep(drill.report);
      this.#context.event(entry.name, 'drill', `a drill begins: ${request.kind} of ${owner}`);
      void drill.run().then((report) => this.#ended(drill, report));
      return drill.report;
    } finally {
      this.#considering = false;
    }
  }

  async #prepare({ kind, yes }: DrillRequest, entry: GroupEntry, owner: string): Promise<Drill> {
    const { node, document, environment } = this.#context;
    const { groups, pulse } = document();
    const others = groups.filter(({ name }) => name !== entry.name && this.#context.ownerOf(name) === owner);
    const [looks, { groups: statuses }] = await Promise.all([this.#lookAround(), this.#context.status()]);
    const status = statuses.find(({ name }) => name === entry.name) ?? null;
    assertFit({
      kind,
      entry,
      owner,
      node,
      status,
      store: this.#context.store(),
      pulse: pulse !== null,
      nodeAutomatic: this.#context.nodeAutomatic(),
      leaseValid: this.#context.leaseValid(),
      ownerHeard: this.#context.heard(owner),
      others,
      yes,
      busy: looks.busy,
    });
    const [volume] = entry.volumes;
    if (volume === undefined) throw new HoldfastError('E_REFUSED', `group ${entry.name}: it has no volume to read`);
    const hit = kind === 'switch-over' ? [] : others.map(({ name }) => name);
    const faultMs = this.#faultMs();
    const drill: Drill = new Drill(
      {
        id: randomHex(environment.random, 8),
        group: entry.name,
        kind,
        node,
        owner,
        generation: status?.generation ?? 0,
        others: hit,
        faultMs,
      },
      {
        clock: environment.clock,
        probe: new NbdProbe({
          clock: environment.clock,
          network: environment.network,
          volume: volume.name,
          addresses: looks.addresses,
        }),
        strike: async () => {
          const request = { group: entry.name, kind, forMs: faultMs };
          return z.number().parse(await this.#context.request(owner, 'drill.fault', request, requestMs));
        },
        serving: (group) => this.#serving(group),
        unwell: (names) => this.#unwell(names),
        switchOver: (group, to) => this.#context.switchOver({ group, to }),
        decisions: async (group) => (await this.#context.decisions({ group, count: decisionsCount })).decisions,
        changed: (report) => this.#book.update(report),
      },
    );
    return drill;
  }

  #ended(drill: Drill, report: DrillReport): void {
    if (this.#running === drill) this.#running = null;
    if (report.state === 'running') return;
    void this.#book.keep(report);
    this.#context.event(report.group, 'drill', `the drill has ${report.state}: ${report.verdict}`);
  }

  /** Where hosts reach each node, and who is busy. */
  async #lookAround(): Promise<{ addresses: Address[]; busy: string | null }> {
    const { node, document, request } = this.#context;
    const addresses: Address[] = [];
    let busy: string | null = null;
    for (const { name, replication } of document().nodes) {
      const look =
        name === node
          ? { addresses: this.#addresses(), busy: null }
          : lookAnswer.parse(await request(name, 'drill.look', {}, requestMs));
      busy ??= look.busy === null ? null : `${name}: ${look.busy}`;
      for (const text of look.addresses) {
        const address = reachableAt(parseAddress(text), replication);
        if (address !== null && addresses.length < addressesMax) addresses.push(address);
      }
    }
    return { addresses, busy };
  }

  async #serving(name: string): Promise<{ node: string; generation: number } | null> {
    const { node, request } = this.#context;
    const group = this.#context.group(name);
    const owner = this.#context.ownerOf(name);
    const generation =
      owner === node
        ? group?.serving === true
          ? (group.record?.generation ?? 0)
          : 0
        : z.number().parse(await request(owner, 'group.serving', { group: name }, servingMs));
    return generation === 0 ? null : { node: owner, generation };
  }

  async #unwell(names: readonly string[]): Promise<string | null> {
    const { groups } = await this.#context.status();
    for (const entry of this.#context.document().groups) {
      if (!names.includes(entry.name)) continue;
      const reason = whyNotWhole(entry, groups.find(({ name }) => name === entry.name) ?? null);
      if (reason !== null) return `group ${entry.name}: ${reason}`;
    }
    return null;
  }

  /** Long enough for the others to notice, to see the lease lapse, and to serve. */
  #faultMs(): number {
    const { pulse } = this.#context.document();
    if (pulse === null) return faultMsMin;
    const { timeoutMs, presence, leaseTtlMs, leaseMarginMs } = pulse;
    const noticeMs = timeoutMs + (presence.enabled ? presence.waitMs * (presence.retries + 1) : 0);
    return Math.min(faultMsMax, Math.max(faultMsMin, 2 * (noticeMs + leaseTtlMs + leaseMarginMs)));
  }

  // ---- the fault ----

  async #strikeSelf(peer: string, { group, kind, forMs }: z.infer<typeof faultRequest>): Promise<number> {
    const { node, ownerOf, faults } = this.#context;
    const refuse = (text: string): never => {
      throw new HoldfastError('E_REFUSED', `group ${group}: ${text}`);
    };
    if (!this.#mustKnow(group).takeOver.drills) refuse(`it is not marked for drills in the document of ${node}`);
    if (ownerOf(group) !== node) refuse(`${node} does not own it`);
    const busy = this.#busy();
    if (busy !== null) throw new HoldfastError('E_BUSY', `group ${group}: ${busy}`);
    this.#context.event(group, 'drill', `${peer} runs a drill: ${kind}`);
    if (kind === 'switch-over') return 0;
    if (kind === 'partition') this.#isolate(forMs);
    else {
      if (faults === null) throw new HoldfastError('E_REFUSED', `group ${group}: ${node} cannot hurt itself`);
      await (kind === 'kill' ? faults.kill() : faults.pause(forMs));
    }
    return faultDelayMs;
  }

  #isolate(forMs: number): void {
    const { clock } = this.#context.environment;
    const endMs = clock.monotonicMs() + forMs;
    const tick = (): void => {
      const over = clock.monotonicMs() >= endMs;
      this.#context.isolate(over ? null : 'cut off for a drill');
      this.#isolation = over ? null : clock.after(isolationTickMs, tick);
      if (over) this.#context.event(null, 'drill', 'not cut off any more');
    };
    this.#isolation = clock.after(faultDelayMs, tick);
  }

  // ---- small answers ----

  #busy(): string | null {
    const { node } = this.#context;
    if (this.#running !== null) return `a drill of group ${this.#running.report.group} is under way, run by ${node}`;
    if (this.#considering) return `a drill is about to begin at ${node}`;
    if (this.#isolation !== null) return `${node} is cut off for a drill`;
    const moving = this.#context
      .document()
      .groups.find(({ name }) => this.#context.group(name)?.moves.underWay === true);
    return moving === undefined ? null : `a move of group ${moving.name} is under way at ${node}`;
  }

  #own(group: string): readonly DrillReport[] {
    return this.#book.of(group).slice(-listedMax);
  }

  #addresses(): string[] {
    return this.#context.exportBases().flatMap((base) => {
      const address = addressOf(base);
      return address === null ? [] : [formatAddress(address)];
    });
  }

  #mustKnow(name: string): GroupEntry {
    const entry = this.#context.document().groups.find((group) => group.name === name);
    if (entry === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group ${name}`);
    return entry;
  }
}

/** Of the beginning of an export's URI. */
export function addressOf(base: string): Address | null {
  const unix = /^nbd\+unix:\/\/\/\?socket=(.+)$/.exec(base)?.[1];
  if (unix !== undefined) return { kind: 'unix', path: unix };
  const tcp = /^nbd:\/\/(.+)$/.exec(base)?.[1];
  return tcp === undefined ? null : parseAddress(tcp);
}

/** A node that listens on all its addresses is reached where its replication is. */
export function reachableAt(address: Address | null, replication: string): Address | null {
  if (address?.kind !== 'tcp' || (address.host !== '0.0.0.0' && address.host !== '::')) return address;
  const known = parseAddress(replication);
  return known?.kind === 'tcp' ? { ...address, host: known.host } : address;
}
