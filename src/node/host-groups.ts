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
import type { EndTask, Turn } from '../base/turn.ts';
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
import { reservationsOf } from '../group/record.ts';
import type { ReservationOutcome, ReservationRequest, Reservations } from '../group/reservations.ts';
import type { ClusterDocument } from '../store/document.ts';
import { hostVolume } from './exports.ts';

export interface HostGroupsOptions {
  readonly node: string;
  readonly turn: Turn;
  readonly groups: ReadonlyMap<string, Group>;
  readonly document: () => ClusterDocument;
}

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

  /** The document has changed, and the node's groups are those of it. */
  documentChanged(): void {
    if (this.#asked) return;
    this.#asked = true;
    this.#options.turn.atEnd(this);
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
  #asked = false;

  constructor(options: HostGroupsOptions, group: Group) {
    this.#options = options;
    this.group = group;
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
    void [index, request];
    this.#options.turn.defer(() => done({ kind: 'unreachable', reason: 'reservations cannot be changed yet' }));
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
    this.#options.turn.atEnd(this);
  }

  endOfTurn(): void {
    this.#asked = false;
    const before = this.#view;
    const now = viewOf(this.group, this.#options);
    this.#view = now;
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
