/**
 * A node's groups as hosts see them that stay connected while a group moves: access states, units, volumes, and where else
 * each group is reached.
 *
 * Invariants:
 * - What a `HostGroup` says changes at the end of a turn only, and its watchers are told then. Reservations alone are
 *   always as the record has them: a command that follows a request that was done must meet them.
 * - `volume` gives the way to the owner that made the group active; when it is not any more, what is under way ends with
 *   `moved`, by the owner's doing.
 */
import { z } from 'zod';
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import type { EndTask } from '../base/turn.ts';
import { pause } from '../base/waiting.ts';
import type { Group } from '../group/group.ts';
import type {
  AccessState,
  HostGroup,
  HostGroupNode,
  HostGroupWatcher,
  HostUnit,
  HostVolume,
} from '../group/host-access.ts';
import type { Owner } from '../group/owner.ts';
import { reservationsOf, type GroupRecord } from '../group/record.ts';
import {
  effectsBetween,
  isNothing,
  reservationOutcomeSchema,
  reservationRequestSchema,
  type RegistrantPort,
  type ReservationEffects,
  type ReservationOutcome,
  type ReservationRequest,
  type Reservations,
} from '../group/reservations.ts';
import type { ClusterDocument } from '../store/document.ts';
import { hostVolume } from './exports.ts';

export interface HostGroupsOptions {
  readonly node: string;
  readonly environment: Environment;
  readonly groups: ReadonlyMap<string, Group>;
  readonly document: () => ClusterDocument;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
}

/** A change of reservations, asked of the owner by another node. */
export const reserveMethod = 'group.reserve';
const reserveParams = z.object({ group: z.string(), index: z.int().min(0), request: reservationRequestSchema });
/** Longer than a store takes that is slow. */
const passedOnMs = 10_000;
/** While the group moves. */
const againMs = 500;
const attemptsMax = 6;

export class HostGroups implements EndTask {
  readonly #options: HostGroupsOptions;
  readonly #groups = new Map<string, NodeHostGroup>();
  readonly #listeners = new Set<() => void>();
  #asked = false;

  constructor(options: HostGroupsOptions) {
    this.#options = options;
  }

  /** Those with a leg at this node, in the order of the cluster document. */
  list(): readonly HostGroup[] {
    return this.#options.document().groups.flatMap(({ name }) => this.#groups.get(name) ?? []);
  }

  find(name: string): HostGroup | null {
    return this.#groups.get(name) ?? null;
  }

  /** `listener` is called when groups came or went, or the document has changed; the function returned ends that. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What hosts see of a group may have changed. */
  changed(name: string): void {
    this.#groups.get(name)?.changed();
  }

  /** `reserveMethod`, from another node: the outcome; null: the group is not served here, and nothing was done. */
  async called(params: unknown): Promise<ReservationOutcome | null> {
    const { group, index, request } = reserveParams.parse(params);
    return (await this.#groups.get(group)?.change(index, request)) ?? null;
  }

  /** The document has changed, and the node's groups are those of it. */
  documentChanged(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#options.environment.turn.atEnd(this);
  }

  endOfTurn(): void {
    this.#asked = false;
    const { groups } = this.#options;
    for (const [name, known] of [...this.#groups]) {
      if (groups.get(name) === known.group) continue;
      this.#groups.delete(name);
      known.changed();
    }
    for (const [name, group] of groups) {
      const known = this.#groups.get(name);
      if (known === undefined) this.#groups.set(name, new NodeHostGroup(this.#options, group));
      else known.changed();
    }
    for (const listener of [...this.#listeners]) listener();
  }
}

/** What is told to hosts: replaced as a whole. */
interface View {
  readonly access: AccessState;
  readonly reason: string;
  readonly owner: Owner | null;
  readonly units: readonly HostUnit[];
  readonly nodes: readonly HostGroupNode[];
}

class NodeHostGroup implements HostGroup, EndTask {
  readonly group: Group;
  readonly #options: HostGroupsOptions;
  readonly #watchers = new Set<HostGroupWatcher>();
  #view: View;
  /** Made when they are first asked for. */
  #volumes = new Map<number, HostVolume>();
  /** As compared last. */
  #reservations: NonNullable<GroupRecord['reservations']>;
  /** Requests passed on to the owner: what became of their senders' own registrations is no news to them. */
  readonly #passed = new Set<{ readonly from: RegistrantPort; ended: boolean }>();
  #asked = false;

  constructor(options: HostGroupsOptions, group: Group) {
    this.#options = options;
    this.group = group;
    this.#reservations = group.record?.reservations ?? {};
    this.#view = viewOf(group, options);
  }

  get name(): string {
    return this.group.name;
  }

  get access(): AccessState {
    return this.#view.access;
  }

  get reason(): string {
    return this.#view.reason;
  }

  get units(): readonly HostUnit[] {
    return this.#view.units;
  }

  get nodes(): readonly HostGroupNode[] {
    return this.#view.nodes;
  }

  volume(index: number): HostVolume | null {
    const { owner } = this.#view;
    const entry = this.group.entry.volumes.find((volume) => volume.index === index);
    if (owner === null || entry === undefined || !owner.leg.has(index)) return null;
    let volume = this.#volumes.get(index);
    if (volume === undefined) this.#volumes.set(index, (volume = hostVolume(entry, owner)));
    return volume;
  }

  reservations(index: number): Reservations | null {
    return reservationsOf(this.group.record, index);
  }

  reserve(index: number, request: ReservationRequest, done: (outcome: ReservationOutcome) => void): void {
    const { turn } = this.#options.environment;
    void this.#reserve(index, request).then((outcome) => turn.defer(() => done(outcome)));
  }

  async #reserve(index: number, request: ReservationRequest): Promise<ReservationOutcome> {
    const { node, environment } = this.#options;
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (attempt > 0) await pause(environment.clock, againMs);
      const owner = this.group.record?.owner ?? node;
      const here = this.group.role === 'primary' || owner === node;
      const outcome = await (here ? this.change(index, request) : this.#passOn(owner, index, request));
      if (outcome !== null) return outcome;
    }
    return { kind: 'unreachable', reason: `group ${this.name} is on its way from one node to another` };
  }

  /** As the owner; null: it is not, and nothing was done. */
  async change(index: number, request: ReservationRequest): Promise<ReservationOutcome | null> {
    const applied = await this.group.reserve(index, request);
    if (applied !== null) this.#tell(index, applied.effects);
    return applied?.outcome ?? null;
  }

  /** To the owner; null: it says that it is not. */
  async #passOn(owner: string, index: number, request: ReservationRequest): Promise<ReservationOutcome | null> {
    const passed = { from: request.from, ended: false };
    this.#passed.add(passed);
    try {
      const params = { group: this.name, index, request };
      const answer = await this.#options.request(owner, reserveMethod, params, passedOnMs);
      const outcome = reservationOutcomeSchema.nullable().parse(answer);
      // Whoever asks here next is told what is so now.
      if (outcome?.kind === 'done') await this.group.hear();
      return outcome;
    } catch (error) {
      return {
        kind: 'unreachable',
        reason: `${owner}, which owns ${this.name}, does not answer: ${messageOf(error)}`,
      };
    } finally {
      passed.ended = true;
      this.changed();
    }
  }

  #tell(index: number, effects: ReservationEffects): void {
    if (isNothing(effects)) return;
    for (const watcher of [...this.#watchers]) watcher.reservationsChanged?.(index, effects);
  }

  /** What others have changed: the owner itself has told of it when it was done. */
  #compareReservations(): void {
    const { record, role } = this.group;
    const before = this.#reservations;
    const own = [...this.#passed];
    for (const passed of own) if (passed.ended) this.#passed.delete(passed);
    if (record === null || record.reservations === before) return;
    const now = record.reservations ?? {};
    this.#reservations = now;
    if (role === 'primary') return;
    const ports = own.map(({ from }) => from);
    for (const { index } of this.#view.units)
      this.#tell(index, effectsBetween(before[`${index}`] ?? null, now[`${index}`] ?? null, ports));
  }

  watch(watcher: HostGroupWatcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  join(volumes: ReadonlySet<number> | null): () => void {
    return this.group.join(volumes);
  }

  changed(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#options.environment.turn.atEnd(this);
  }

  endOfTurn(): void {
    this.#asked = false;
    const before = this.#view;
    const now = viewOf(this.group, this.#options);
    this.#view = now;
    this.#compareReservations();
    const units = !same(before.units, now.units);
    if (before.owner !== now.owner || units) this.#volumes = new Map();
    for (const watcher of [...this.#watchers]) {
      if (before.access !== now.access || !same(before.nodes, now.nodes)) watcher.accessChanged?.();
      if (units) watcher.unitsChanged?.();
    }
  }
}

function viewOf(group: Group, { node, groups, document }: HostGroupsOptions): View {
  const { nodes } = document();
  const gone = groups.get(group.name) !== group;
  const { access, reason } = gone
    ? { access: 'unavailable' as const, reason: 'the group was deleted' }
    : accessOf(group, node);
  const legs = gone ? [] : nodes.filter(({ name }) => group.entry.legs.some((leg) => leg.node === name));
  return {
    access,
    reason,
    owner: access === 'active' ? group.owner : null,
    units: (gone ? [] : group.entry.volumes)
      .map(({ index, name, wwid, sizeBytes, blockSizeBytes }) => ({
        index,
        name,
        wwid,
        sizeBytes,
        blockSizeBytes,
        writeCache: true,
      }))
      .sort((a, b) => a.index - b.index),
    nodes: legs.map(({ name, iscsi }) => ({
      node: name,
      number: nodes.findIndex((entry) => entry.name === name) + 1,
      access: name === node ? access : accessElsewhere(group, name),
      portals: iscsi,
    })),
  };
}

/** At this node. */
function accessOf(group: Group, node: string): { readonly access: AccessState; readonly reason: string } {
  const { role, record, withheld, problem } = group;
  if (role === 'primary') {
    if (withheld === null) return { access: 'active', reason: '' };
    return { access: group.checking ? 'transitioning' : 'unavailable', reason: withheld };
  }
  if (role === 'opening' || role === 'leaving')
    return { access: 'transitioning', reason: problem ?? `${node} lets go of it` };
  if (role === 'secondary' && group.moves.underWay)
    return { access: 'transitioning', reason: `${node} takes it over` };
  if (record !== null && record.owner !== node) {
    return record.established
      ? { access: 'standby', reason: `${record.owner} serves it` }
      : { access: 'transitioning', reason: `${record.owner} opens it` };
  }
  if (role === 'secondary' && record !== null && problem === null)
    return { access: 'transitioning', reason: `${node} is about to open it` };
  return { access: 'unavailable', reason: problem ?? 'nobody has started it yet' };
}

/** At another, as far as the record tells. */
function accessElsewhere({ record, role, moves }: Group, node: string): AccessState {
  if (record === null) return 'unavailable';
  if (!record.established || (role === 'secondary' && moves.underWay)) return 'transitioning';
  return record.owner === node ? 'active' : 'standby';
}

/** Short lists of plain values. */
function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
