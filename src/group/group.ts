/**
 * One group on this node, whatever its role: it follows the group's record, and is owner, target, or neither.
 *
 *   closed ──► secondary ⇄ opening ──► primary
 *                 ▲                      │
 *                 └────── leaving ◄──────┘          any ──► frozen
 *
 * Invariants:
 * - R11: hosts are served only under a generation this process has written itself, or was handed, since it got its lease.
 * - R12: the highest generation seen is on the medium before it is acted on; a record that goes back freezes the group.
 * - R15: after an unknown outcome nothing goes on until the record has been read (`record-keeper.ts`).
 */
import type { Environment } from '../base/environment.ts';
import { assertNever } from '../base/assert.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { randomHex } from '../base/random.ts';
import { pause, whileHolds, within } from '../base/waiting.ts';
import type { DeviceProvider } from '../block/device.ts';
import type { Frame } from '../link/frame.ts';
import type { LinkConnection } from '../link/link.ts';
import { MessageType } from '../link/messages/types.ts';
import { ForkKeeper } from '../mirror/fork-keeper.ts';
import { refuseAttach, TargetLeg } from '../mirror/target-leg.ts';
import type { ClusterDocument, GroupEntry, LegClass, LogEntry, VolumeEntry } from '../store/document.ts';
import type { Lease, LeaseObserver } from '../store/lease.ts';
import type { Entry, Store } from '../store/store.ts';
import { childOf, comparePositions, formatPosition, furtherOf } from '../stream/position.ts';
import { LastImage } from '../volume/last-image.ts';
import { LocalLeg } from '../volume/local-leg.ts';
import type { HostSession } from './host-access.ts';
import { GroupLog, type LogSettings } from './group-log.ts';
import { readMoments, type LogMark, type LogMoments, type LogMomentsOptions } from './log-moments.ts';
import { Membership } from './membership.ts';
import { followedLegs, prepareMicroMerge } from './micro-merge.ts';
import { Moves } from './moves.ts';
import { openLeg } from './opening.ts';
import { Owner, type Authority } from './owner.ts';
import type { PromiseTimes } from './promises.ts';
import { RecordKeeper } from './record-keeper.ts';
import { accountOf } from './own-account.ts';
import type { Account } from './accounts.ts';
import { RecordExchange } from './record-exchange.ts';
import {
  claimed,
  established,
  overruling,
  reservationsOf,
  withLeg,
  withReservations,
  type GroupRecord,
} from './record.ts';
import { applyReservation, noEffects, type Applied, type ReservationRequest } from './reservations.ts';
import type { GroupService, OpenedBy } from './service.ts';

export type GroupRole =
  /** The local leg is not open: not yet, or `problem` says why. */
  | 'closed'
  /** Target of another owner, or waiting for one. */
  | 'secondary'
  /** Owner by the record, not serving yet. */
  | 'opening'
  | 'primary'
  /** Was owner; lets go. */
  | 'leaving'
  /** Something went back in time: serves nothing until a human has looked. */
  | 'frozen';

export interface GroupContext {
  readonly environment: Environment;
  readonly node: string;
  readonly store: Store;
  readonly lease: Lease;
  /** Of promises: those of this cluster's leases (R16). */
  readonly promiseTimes: () => PromiseTimes;
  /** Leases of the other nodes, as seen from here. */
  readonly leaseOf: (node: string) => LeaseObserver | null;
  readonly devices: DeviceProvider;
  readonly document: () => ClusterDocument;
  /** The connection on which this group's records travel to a node; null when there is none. */
  readonly connectionTo: (node: string) => LinkConnection | null;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  /** Ends every connection with a node; they are made again if it lives. */
  readonly closeLink: (node: string, reason: string) => void;
  /** TL-4: how long a target may leave records unanswered; null: for ever. Milliseconds. */
  readonly commandTimeoutMs: () => number | null;
  /** Leases are looked at more often for a while. */
  readonly hurry: () => void;
  readonly metadataFolder: string;
  readonly forkFolder: string;
  /** Where the group's log is on this node: one folder, or two with the same contents. */
  readonly logFolders: (log: LogEntry) => readonly string[];
  readonly pathOf: (volume: VolumeEntry) => string;
  readonly bitsSlotBytes: number;
  /** A number for an attachment or fetch, never used before on this node; `replaces` is forgotten. */
  readonly newId: (group: string, replaces: number) => number;
  readonly forgetId: (id: number) => void;
  readonly event: (group: string, kind: string, message: string) => void;
  /** What goes with the serving; absent: nothing does. */
  readonly service?: GroupService;
  /** What hosts see of it may have changed: role, record, volumes. May be called in the middle of a change. */
  readonly changed?: () => void;
  /** `store: none`: the store given is this node's alone. Absent where the nodes share one. */
  readonly storeless?: StorelessContext;
}

export interface StorelessContext {
  /** By what another node is known to live, in words; null: nothing is heard of it. */
  readonly heard: (node: string) => string | null;
}

const reopenMs = 2000;

export class Group {
  readonly name: string;
  readonly keeper: RecordKeeper;
  readonly moves: Moves;
  /** With the other nodes' copies of the record; null where a coordination store has the only one. */
  readonly exchange: RecordExchange | null;
  /** Why it is closed or frozen, or what opening waits for; null when nothing is in the way. */
  problem: string | null = 'not opened yet';
  /** What the last opening may have lost, in a sentence. */
  missing: string | null = null;
  leg: LocalLeg | null = null;
  owner: Owner | null = null;
  target: TargetLeg | null = null;

  readonly #context: GroupContext;
  readonly #environment: Environment;
  #role: GroupRole = 'closed';
  #withheld: string | null = null;
  #checking = false;
  #entry: GroupEntry;
  #membership: Membership | null = null;
  #forks: ForkKeeper | null = null;
  #images: LastImage | null = null;
  #sessions = new Map<HostSession, string>();
  /** Of sessions that stay while it moves, which volumes they use; null: all. */
  readonly #staying = new Set<{ readonly volumes: ReadonlySet<number> | null }>();
  /** The generation this process opened under its present lease. */
  #opened = 0;
  /** The lease that the generation was begun under. */
  #leaseId: string | null = null;
  #deciding = false;
  #decideAgain = false;
  #closing = false;
  #reopenAtMs = 0;
  /** Counts openings, so that a superseded one notices. */
  #attempt = 0;
  #regaining = false;
  /** The next generation of this node's must be above: another one has seen it (R12). */
  #generationAbove = 0;
  #openedBy: OpenedBy = 'start';
  /** Resolves when hosts have been let in or are kept out, with why. */
  #lettingIn: Promise<string | null> = Promise.resolve(null);
  #changing: Promise<void> = Promise.resolve();

  constructor(context: GroupContext, entry: GroupEntry) {
    this.#context = context;
    this.#environment = context.environment;
    this.#entry = entry;
    this.name = entry.name;
    this.keeper = new RecordKeeper(context.environment, context.store, entry.name, () => {
      void this.exchange?.tell();
      context.changed?.();
    });
    this.exchange = context.storeless === undefined ? null : this.#makeExchange();
    this.moves = new Moves(context, this, {
      closing: () => this.#closing,
      decide: () => this.#decide(),
      look: () => this.#look(),
      open: (record, excluded) => this.#open(record, excluded),
      leave: (reason) => this.#leave(reason),
      becomeSecondary: () => this.#becomeSecondary(),
      promoteImage: () => this.#promoteImage(),
    });
  }

  get role(): GroupRole {
    return this.#role;
  }

  set role(role: GroupRole) {
    this.#role = role;
    this.#context.changed?.();
  }

  /** AS-9: why hosts are kept out though it could serve them; null: they are not. */
  get withheld(): string | null {
    return this.#withheld;
  }

  /** Hosts are kept out only until the check has ended. */
  get checking(): boolean {
    return this.#checking;
  }

  #withhold(reason: string | null, checking = false): void {
    this.#withheld = reason;
    this.#checking = checking;
    this.#context.changed?.();
  }

  get entry(): GroupEntry {
    return this.#entry;
  }

  get record(): GroupRecord | null {
    return this.keeper.record;
  }

  /** What of the leg as it was a resync leaves; null while it is not open. */
  get images(): LastImage | null {
    return this.#images;
  }

  /** Hosts are being served, or would be if they asked. */
  get serving(): boolean {
    return this.role === 'primary' && this.owner !== null && this.owner.holds.size === 0;
  }

  // ---- what happens to it ----

  /** The store was read, beginning at the keeper's `version`. */
  observe(entry: Entry | null, version: number): void {
    const before = this.keeper.version;
    this.keeper.observe(entry, version);
    if (this.keeper.version !== before) this.#decide();
  }

  /** The document has changed: modes, volumes, the log. Rejects when a new volume cannot be opened; tried again with the next tick. */
  changeEntry(entry: GroupEntry): Promise<void> {
    this.#entry = entry;
    this.#context.changed?.();
    for (const { node, mode } of entry.legs) this.owner?.legOf(node)?.changeMode(mode);
    const changed = this.#changing
      .catch(() => {})
      .then(() => this.#followEntry())
      .finally(() => this.#context.changed?.());
    this.#changing = changed;
    return changed;
  }

  /** Makes the leg's volumes those of the entry. */
  async #followEntry(): Promise<void> {
    const { leg } = this;
    if (leg === null || this.#closing) return;
    await this.#followLog();
    const wanted = this.#entry.volumes;
    const gone = [...leg.volumes].filter(({ entry }) => !wanted.some((volume) => volume.index === entry.index));
    const added = wanted.filter((volume) => !leg.has(volume.index));
    if (gone.length === 0 && added.length === 0) return;
    try {
      for (const { entry } of gone) {
        this.#endSessions((name) => name === entry.name, 'the volume was deleted');
        await this.owner?.dropVolume(entry.index);
        await this.target?.dropVolume(entry.index);
        await leg.removeVolume(entry.index);
        this.#forgetReservations(entry.index);
      }
      if (added.length > 0) this.owner?.log?.end('a volume was added');
      for (const volume of added) await leg.addVolume(volume);
    } finally {
      for (const target of this.owner?.legs ?? []) target.attach();
    }
  }

  /** The volume is gone. What cannot be written off now stays, and does no harm: its index is never used again. */
  #forgetReservations(index: number): void {
    const { owner } = this;
    if (this.role !== 'primary' || owner === null || reservationsOf(this.record, index) === null) return;
    void this.keeper.change((record) =>
      record?.id === owner.lineage.id ? withReservations(record, index, null) : null,
    );
  }

  leaseAcquired(): void {
    if (this.role === 'primary') void this.#regain();
    else this.#decide();
  }

  leaseLapsed(): void {
    this.#opened = 0;
    this.exchange?.wasAway();
    this.owner?.leaseLapsed();
  }

  connectionUp(connection: LinkConnection): void {
    this.exchange?.connectionUp(connection.peer);
    if (connection.direction === 'out') this.#connect(connection.peer);
  }

  connectionDown(connection: LinkConnection, reason: string): void {
    this.exchange?.connectionDown(connection.peer);
    this.target?.connectionDown(connection);
    const leg = this.owner?.legOf(connection.peer);
    leg?.connectionDown(connection, reason);
    if (leg) this.#connect(connection.peer);
  }

  drained(): void {
    for (const leg of this.owner?.legs ?? []) leg.send();
  }

  frame(connection: LinkConnection, frame: Frame): void {
    if (connection.direction === 'out') {
      this.owner?.legOf(connection.peer)?.frame(connection, frame);
      return;
    }
    if (this.target !== null) {
      this.target.frame(connection, frame);
      // It may be an owner whose tenure this node has not heard of yet.
      if (frame.type === MessageType.attach) void this.exchange?.hearAll();
    } else if (frame.type === MessageType.attach) {
      refuseAttach(connection, frame, this.problem ?? `group ${this.name} is ${this.role} here`);
      void this.#look();
    }
  }

  /** About once a second. */
  tick(): void {
    if (this.role === 'closed' && !this.#closing && this.#environment.clock.monotonicMs() >= this.#reopenAtMs) {
      void this.#openLocalLeg();
    }
    const { leg } = this;
    if (leg !== null && this.#entry.volumes.some((volume) => !leg.has(volume.index))) {
      this.changeEntry(this.#entry).catch((error: unknown) => {
        this.#event('failed', `a new volume cannot be opened: ${messageOf(error)}`);
      });
    }
    for (const target of this.owner?.legs ?? []) this.#connect(target.node);
    this.exchange?.tick();
    this.owner?.tick();
    this.target?.tick();
    this.#membership?.review();
    const withoutLease = this.owner?.leaseless === true || this.owner?.holds.has('lease') === true;
    if (this.role === 'primary' && withoutLease && this.#context.lease.isValid()) {
      void this.#regain();
    }
    this.#decide();
  }

  /** Ends it cleanly: what can be made durable is. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#attempt++;
    const { owner } = this;
    if (owner !== null && this.role === 'primary') {
      owner.hold('switchOver', true);
      await within(this.#environment.clock, 3000, (done) => owner.whenDrained(done));
      const answering = (): boolean => owner.legs.every((leg) => !leg.needed || leg.flowing);
      if (answering() && owner.holds.size === 1) {
        let flushed = false;
        owner.flushEverywhere(() => {
          flushed = true;
        });
        await whileHolds(this.#environment.clock, () => answering() && !flushed, 3000);
      }
      for (const leg of owner.legs) leg.settleNow();
      await owner.checkpoint();
      await whileHolds(
        this.#environment.clock,
        () => owner.leg.hot.size > 0 && owner.legs.some((leg) => leg.flowing),
        1000,
      );
    }
    const { leg } = this;
    if (this.role === 'primary' || this.role === 'opening') await this.#leave('this node stops');
    if (this.target !== null) {
      const quiet = await this.target.close();
      if (quiet && leg !== null && (await leg.flush()))
        leg.metadata.change({ durable: furtherOf(leg.applied, leg.state.durable) });
    }
    this.keeper.close();
    if (leg !== null) {
      const exact = leg.fault === null && comparePositions(leg.applied, leg.intended) === 0;
      const durable = comparePositions(leg.applied, leg.state.durable) === 0;
      if (exact && durable && leg.state.condition === 'consistent') leg.metadata.change({ clean: true });
      await leg.saveBits().catch(() => {});
      await leg.close();
    }
    this.role = 'closed';
    this.problem = 'stopped';
  }

  // ---- hosts ----

  addSession(session: HostSession, volume: string): void {
    this.#sessions.set(session, volume);
  }

  removeSession(session: HostSession): void {
    this.#sessions.delete(session);
  }

  /** A session begins that stays while the group moves; the function returned ends it. */
  join(volumes: ReadonlySet<number> | null): () => void {
    const session = { volumes };
    this.#staying.add(session);
    return () => this.#staying.delete(session);
  }

  /**
   * Changes registrations and reservation of a volume as the owner. Null: nothing was done, as hosts are not served here.
   * Resolves when what the store says is certain (R15), which may be long after it went away.
   */
  async reserve(index: number, request: ReservationRequest): Promise<Applied | null> {
    const owner = this.role === 'primary' ? this.owner : null;
    if (owner === null) return null;
    const found: { applied: Applied | null; written: boolean } = { applied: null, written: false };
    const changed = await this.keeper.change((record) => {
      if (record?.id !== owner.lineage.id) return null;
      const before = reservationsOf(record, index);
      const applied = applyReservation(before, request);
      found.applied = applied;
      found.written = applied.state !== before;
      return found.written ? withReservations(record, index, applied.state) : null;
    });
    const { applied, written } = found;
    // Without a store the others' copies are what it survives in.
    if (changed.kind === 'done') await this.exchange?.tell();
    if (applied === null || !written || changed.kind === 'done') return applied;
    return changed.kind === 'lost' ? null : { outcome: changed, state: null, effects: noEffects };
  }

  /** Reads the record now; without a store, asks the other nodes for theirs. */
  async hear(): Promise<void> {
    await this.exchange?.hearAll();
    await this.#look();
  }

  sessionsOn(volume: string): number {
    let count = 0;
    for (const name of this.#sessions.values()) if (name === volume) count++;
    const index = this.#entry.volumes.find(({ name }) => name === volume)?.index;
    if (this.role !== 'primary' || index === undefined) return count;
    for (const { volumes } of this.#staying) if (volumes?.has(index) ?? true) count++;
    return count;
  }

  #endSessions(which: (volume: string) => boolean, reason: string): void {
    for (const [session, volume] of [...this.#sessions]) {
      if (!which(volume)) continue;
      this.#sessions.delete(session);
      session.moved(reason);
    }
  }

  // ---- roles ----

  #decide(): void {
    if (this.#deciding) {
      this.#decideAgain = true;
      return;
    }
    this.#deciding = true;
    this.#decideNow()
      .catch((error: unknown) => this.#environment.abort(`group ${this.name}: ${String(error)}`))
      .finally(() => {
        this.#deciding = false;
        if (!this.#decideAgain) return;
        this.#decideAgain = false;
        this.#decide();
      });
  }

  async #decideNow(): Promise<void> {
    const { leg, keeper } = this;
    if (leg === null || this.#closing || keeper.busy || !keeper.seen || this.moves.underWay) return;
    if (this.role === 'closed' || this.role === 'leaving') return;
    if (this.role === 'frozen') {
      // Another leg is served instead of the older one: this one is made whole by it.
      const { record } = keeper;
      if (leg.state.wentBack === null || record === null || record.owner === this.#context.node) return;
      this.#becomeSecondary();
    }
    let back = this.#wentBack();
    if (back !== null) {
      // A link may tell of a generation before the last poll did: only a read that began after it was seen counts.
      const { seen } = leg.state;
      try {
        await keeper.refresh();
      } catch {
        return;
      }
      back = this.#wentBack(seen);
      if (back !== null) await this.#freeze(back);
      return;
    }
    const { record } = keeper;
    if (record === null) {
      if (this.#entry.preferredOwner === this.#context.node && this.role === 'secondary') await this.#claimIfClear();
      return;
    }
    if (record.owner !== this.#context.node) {
      if (this.role === 'primary' || this.role === 'opening') {
        await this.#leave(`${record.owner} owns the group since generation ${record.generation}`);
      }
      if (this.exchange !== null && this.role === 'secondary') this.problem = null;
      await leg.see(record.generation, record.id).catch(() => {});
      return;
    }
    if (this.role === 'secondary' && leg.state.wentBack !== null) await this.#freeze(leg.state.wentBack);
    else if (this.role === 'secondary' && !this.moves.yields) await this.#claimIfClear();
    else if (this.role === 'primary' && !this.#regaining && record.id !== this.owner?.lineage.id) {
      await this.#leave(`generation ${record.generation} was made without this process`);
    }
  }

  /** R12: how the store contradicts what has been seen; null when it does not. */
  #wentBack(seen = this.leg?.state.seen ?? { generation: 0, id: '' }): string | null {
    const { record, damage } = this.keeper;
    if (damage !== null) return damage;
    if (record === null) {
      // Without a store it may be with another node, which is heard before anything is served.
      return seen.generation > 0 && this.exchange === null
        ? `the store knows nothing of this group, but generation ${seen.generation} has existed`
        : null;
    }
    if (record.generation > seen.generation) return null;
    if (record.generation === seen.generation && record.id === seen.id) return null;
    return (
      `the store says generation ${record.generation}, but generation ${seen.generation} has existed ` +
      `(was the store restored from a backup?)`
    );
  }

  async #claimIfClear(): Promise<void> {
    const obstacle = this.exchange?.obstacle ?? null;
    if (obstacle === null) await this.#claim();
    else this.problem = obstacle;
  }

  /** The record is ours, or there is none: takes a new generation, unless one was handed over, and opens. */
  async #claim(): Promise<void> {
    const { leg, keeper } = this;
    const { lease, node } = this.#context;
    const { leaseId } = lease;
    if (leg === null || leaseId === null || leg.fault !== null) return;
    const { record } = keeper;
    if (
      record !== null &&
      leg.state.lineage.generation === 0 &&
      // One that has seen a generation was ended in the middle of its first start: nothing was written yet.
      leg.state.seen.generation === 0 &&
      (record.established || record.ancestors.length > 0)
    ) {
      this.problem = `this node has lost what it remembered of the group; it is at the other legs only`;
      return;
    }
    const handed =
      record !== null &&
      record.owner === node &&
      record.id !== this.moves.released &&
      record.established &&
      record.leaseId === leaseId &&
      record.generation > leg.state.seen.generation;
    if (handed && record !== null) {
      await this.#open(record, []);
      return;
    }
    const id = randomHex(this.#environment.random, 16);
    const outcome = await keeper.change((before) =>
      before !== null && before.owner !== node
        ? null
        : claimed(before, {
            group: this.name,
            owner: node,
            leaseId,
            id,
            legs: this.#entry.legs.map((entry) => entry.node),
            generationMin: Math.max(leg.state.seen.generation, this.#generationAbove) + 1,
            atMs: this.#environment.clock.wallMs(),
          }),
    );
    if (outcome.kind !== 'done') return;
    // Their legs attach under a generation that they know of.
    await this.exchange?.tell();
    await this.#open(outcome.record, null);
  }

  /**
   * Becomes owner under the record's generation.
   * @param excluded legs not to wait for; null: none. An empty list with an established record: handed over.
   */
  async #open(record: GroupRecord, excluded: readonly string[] | null): Promise<void> {
    const { leg } = this;
    if (leg === null || this.#closing) return;
    const attempt = ++this.#attempt;
    this.role = 'opening';
    this.problem = 'waiting for what its disk is still writing';
    if (this.target !== null && !(await this.target.close())) {
      this.problem = leg.fault?.detail ?? 'the local leg has failed';
      this.role = 'secondary';
      return;
    }
    this.target = null;
    await this.#retrying(() => leg.see(record.generation, record.id));
    const { settings } = this.#entry;
    const owner = new Owner(
      {
        environment: this.#environment,
        leg,
        settings: () => this.#entry.settings,
        // Not just any: another one counts for nothing before a generation was begun under it (R11).
        leaseValid: () => this.#leaseId !== null && this.#context.lease.leaseId === this.#leaseId,
        promiseTimes: this.#context.promiseTimes,
        commandTimeoutMs: this.#context.commandTimeoutMs,
        authority: (authority) => this.#authorityIs(authority),
        documentVersion: () => this.#context.document().version,
        newId: (replaces) => this.#context.newId(this.name, replaces),
        forgetId: (id) => this.#context.forgetId(id),
        review: () => this.#membership?.review(),
        deposed: () => void this.#look(),
        wentBack: (node, reason) => void this.#legWentBack(node, reason, record),
      },
      { generation: record.generation, id: record.id, ancestors: record.ancestors },
      leg.applied,
    );
    const goesOn = (): boolean => attempt === this.#attempt && !this.#closing;
    await this.#openLog(owner, excluded === null || !record.established ? goesOn : null);
    if (attempt !== this.#attempt) {
      await owner.log?.close();
      return;
    }
    this.owner = owner;
    for (const entry of this.#entry.legs) {
      if (entry.node === this.#context.node) continue;
      const known = record.legs[entry.node] ?? { class: 'behind' as const, paused: false };
      owner.addLeg({ node: entry.node, mode: entry.mode, class: known.class, paused: known.paused, equal: false });
      this.#connect(entry.node);
    }
    const followed = followedLegs(leg, owner.legs);
    const opened = await openLeg({
      environment: this.#environment,
      leg,
      generation: record.generation,
      generationId: record.id,
      legs: owner.legs.filter((other) => excluded?.includes(other.node) !== true),
      waitMs: excluded !== null && record.established ? 0 : settings.graceMs,
      goesOn,
      progress: (text) => {
        this.problem = text;
      },
    });
    if (opened === null || !goesOn()) {
      if (goesOn()) await this.#leave('it could not be opened');
      return;
    }
    if ('wentBack' in opened) {
      await this.#legWentBack(opened.wentBack.node, opened.wentBack.reason, record);
      return;
    }
    let current = record;
    const parent = record.ancestors.at(-1);
    const handedWell =
      record.established && opened.start.generation === parent?.generation && opened.start.seq === parent.leftAtSeq;
    const equal = new Map<string, LegClass>();
    for (const { node, mode } of owner.legs) {
      if (opened.equal.has(node)) equal.set(node, mode === 'async' ? 'withinBound' : 'inSync');
    }
    const merge = await prepareMicroMerge(leg, followed, opened);
    if (merge.obstacle !== null) this.#event('failed', merge.obstacle);
    for (const { node, recordClass } of followed) if (merge.legs.has(node)) equal.set(node, recordClass);
    if (!goesOn()) return;
    // The record will make this copy the one to go on from, whatever befalls this process before it has told anybody what may
    // be missing: the next opening here tells it.
    const missing = opened.missing ?? (excluded === null ? leg.state.untold : null);
    if (missing !== leg.state.untold) {
      leg.metadata.change({ untold: missing });
      await this.#retrying(() => leg.save());
      if (!goesOn()) return;
    }
    if (!handedWell) {
      this.problem = 'writing the record';
      const outcome = await this.#confirmed((before) =>
        before !== null && before.generation === record.generation && before.id === record.id
          ? established(before, opened.lineage, equal)
          : null,
      );
      if (outcome === null || !goesOn()) {
        if (goesOn()) await this.#leave('the record was changed by another node');
        return;
      }
      current = outcome;
    }
    owner.log?.resume(opened.lineage, opened.start);
    leg.metadata.change({
      lineage: opened.lineage,
      condition: 'consistent',
      owning: true,
      image: null,
      // R9: what it once had, others remember; that it is older now was somebody's will, and counts from here on.
      ...(leg.state.image?.state === 'promoted' ? { durable: { generation: record.generation, seq: 0 } } : {}),
    });
    leg.applied = opened.start;
    leg.intended = { generation: record.generation, seq: Number.MAX_SAFE_INTEGER };
    await this.#retrying(() => leg.save());
    void this.#images?.discard();
    let trusted = false;
    await this.#retrying(async () => {
      trusted = await leg.trustCursor();
    });
    if (!trusted) {
      if (goesOn()) await this.#leave(`its disk has failed: ${leg.fault?.detail ?? 'unknown'}`);
      return;
    }
    if (!goesOn()) return;
    owner.establish(opened.lineage, opened.start, merge.step);
    for (const other of owner.legs) {
      other.recordClass = current.legs[other.node]?.class ?? 'behind';
      other.needed = other.recordClass === 'inSync';
      other.bounded = other.recordClass === 'withinBound';
      if (other.recordClass === 'behind') other.needsLog = owner.log?.on === true;
      // Handed over: legs that are not behind are equal by construction, and attach when the old owner has let go.
      else if (opened.equal.has(other.node) || handedWell) other.isEqual();
      else if (merge.step !== null && merge.legs.has(other.node)) other.completeFrom(merge.step.after);
      else throw new HoldfastError('E_INTERNAL', `${other.node} is not behind and not known to be equal`);
    }
    this.#membership = new Membership({
      environment: this.#environment,
      owner,
      keeper: this.keeper,
      graceMs: () => this.#entry.settings.graceMs,
      suspends: () => this.#entry.settings.onTargetLoss === 'suspend',
      mine: (now) => now.generation === record.generation || now.generation === this.#opened,
      lost: () => void this.#look(),
      event: (kind, message) => this.#event(kind, message),
    });
    this.#opened = record.generation;
    this.missing = missing;
    this.problem = null;
    this.role = 'primary';
    if (missing !== null) {
      this.#event('missing', missing);
      // Saved with what is saved next: told twice is better than not at all.
      leg.metadata.change({ untold: null });
    }
    // R11: the lease the record stands on may have lapsed meanwhile, and another be held now.
    this.#leaseId = current.leaseId;
    if (this.#context.lease.leaseId !== current.leaseId) owner.leaseLapsed();
    this.#openedBy = excluded === null ? 'start' : excluded.length === 0 ? 'handedOver' : 'takeOver';
    // Held before it is opened: mirrors go on under it, and nothing but the hosts waits for the check.
    void this.letIn(() => this.#context.service?.beforeServing(this.name, this.#openedBy) ?? null);
    owner.open();
    const hosts = this.withheld === null ? 'serves' : 'owns';
    this.#event('primary', `${this.#context.node} ${hosts} the group, generation ${record.generation}`);
    this.#membership?.review();
  }

  /** Resolves when hosts have been let in (null), or are kept out: why. */
  get letInOrKept(): Promise<string | null> {
    return this.#lettingIn;
  }

  /**
   * AS-9: hosts wait for the verdict, null being a good one. At the owner only (`E_REFUSED`).
   * @param check null: there is nothing to wait for.
   */
  letIn(check: () => Promise<string | null> | null): Promise<string | null> {
    const { owner } = this;
    if (owner === null || this.role !== 'primary')
      throw new HoldfastError('E_REFUSED', `group ${this.name}: it is not owned by ${this.#context.node}`);
    const verdict = check();
    if (verdict === null) {
      this.#context.service?.serving(this.name, this.#openedBy);
      return Promise.resolve(null);
    }
    this.#withhold('it is being checked', true);
    owner.hold('check', true);
    this.#lettingIn = verdict.then((problem) => {
      if (this.owner !== owner) return `${this.#context.node} does not own it any more`;
      this.#withhold(problem);
      if (problem === null) {
        owner.hold('check', false);
        this.#context.service?.serving(this.name, this.#openedBy);
      } else this.#event('withheld', `hosts are kept out: ${problem}`);
      return problem;
    });
    return this.#lettingIn;
  }

  #logSettings(): LogSettings | null {
    const { log: entry, legs } = this.#entry;
    if (entry === null) return null;
    const folders = this.#context.logFolders(entry);
    return { entry, folders, synchronous: legs.some(({ mode }) => mode !== 'async') };
  }

  /** The log is the owner's: what the document says of it is done there. */
  async #followLog(): Promise<void> {
    const { owner, leg } = this;
    const settings = this.#logSettings();
    if (settings === null && owner === null && leg !== null && leg.state.logPlaces.length > 0) {
      await GroupLog.discard(this.#environment, leg);
      await leg.save();
    }
    if (owner === null || this.role !== 'primary') return;
    if (settings === null) {
      await owner.log?.remove();
      owner.log = null;
    } else if (owner.log === null) {
      await this.#openLog(owner, null);
    } else owner.log.follow(settings);
  }

  /** Opens the group's log, if it has one; after an unclean end brings the own leg to where it ends, while `recovers`. */
  async #openLog(owner: Owner, recovers: (() => boolean) | null): Promise<void> {
    const settings = this.#logSettings();
    if (settings === null) return;
    const log = await GroupLog.open({
      environment: this.#environment,
      leg: owner.leg,
      settings,
      onFull: () => this.#entry.settings.onLogFull,
      pass: (change) => owner.passLogged(change),
      ended: (reason) => owner.logEnded(reason),
      hold: (on) => owner.hold('log', on),
      merging: () => owner.legs.some((leg) => leg.merger !== null),
      event: (kind, message) => this.#event(kind, message),
    });
    if (recovers !== null) {
      this.problem = 'reading its log';
      await log.recover(recovers);
    } else if (owner.established) log.resume(owner.lineage, owner.last);
    owner.log = log;
  }

  /** The lease was lost and is back: nobody took over meanwhile, or we find out now (R11). */
  async #regain(): Promise<void> {
    const { owner, leg } = this;
    const { leaseId } = this.#context.lease;
    if (
      this.#regaining ||
      owner === null ||
      leg === null ||
      leaseId === null ||
      this.role !== 'primary' ||
      this.moves.underWay ||
      (this.exchange?.waiting ?? false)
    )
      return;
    this.#regaining = true;
    try {
      await this.#beginAnew(owner, leg, leaseId);
    } finally {
      this.#regaining = false;
    }
  }

  async #beginAnew(owner: Owner, leg: LocalLeg, leaseId: string): Promise<void> {
    owner.hold('lease', true);
    owner.suspend('a new generation begins');
    const before = owner.lineage;
    const left = owner.last;
    const id = randomHex(this.#environment.random, 16);
    const generation = Math.max(before.generation, leg.state.seen.generation, this.#generationAbove) + 1;
    // Nothing was stamped in a generation that has just begun: then its parent is left where it was left.
    const lineage =
      left.generation === before.generation
        ? childOf(before, left.seq, generation, id)
        : { generation, id, ancestors: before.ancestors };
    const outcome = await this.keeper.change((record) =>
      record !== null && record.owner === this.#context.node && record.id === before.id
        ? { ...record, generation, id, established: true, ancestors: lineage.ancestors, leaseId }
        : null,
    );
    const goesOn = (): boolean => this.owner === owner && !this.#closing;
    if (!goesOn()) return;
    if (outcome.kind === 'unreachable') {
      owner.goOn();
      return;
    }
    if (outcome.kind === 'lost') {
      await this.#look();
      return;
    }
    // Under this generation only from here on, even if the lease has lapsed again: then another one follows.
    owner.lineage = lineage;
    this.#opened = generation;
    await this.#retrying(() => leg.see(generation, id));
    leg.metadata.change({ lineage });
    await this.#retrying(() => leg.save());
    await this.exchange?.tell();
    if (!goesOn()) return;
    const underLease = this.#context.lease.leaseId === leaseId;
    if (underLease) this.#leaseId = leaseId;
    owner.beginGeneration(lineage, underLease);
    this.#event('primary', `${this.#context.node} goes on serving in generation ${generation}`);
  }

  /** What it answers under has changed: told, and with `on-store-lost: stop` hosts are not left waiting. */
  #authorityIs(authority: Authority): void {
    const { owner } = this;
    if (owner === null || this.role !== 'primary') return;
    switch (authority) {
      case 'lease':
        return;
      case 'promises':
        this.#event(
          'promises',
          `the lease has lapsed; it goes on while ${owner.promises.nodes.join(', ')} promise not to take over`,
        );
        return;
      case 'none': {
        if (this.#entry.takeOver.onStoreLost === 'freeze' || this.#regaining || this.moves.underWay) return;
        void this.#leave(`no valid lease: ${this.#context.lease.reason ?? 'unknown'}`);
        return;
      }
      default:
        assertNever(authority);
    }
  }

  /** Lets go of ownership: hosts are told, nothing more is acknowledged, the leg becomes a target's. */
  async #leave(reason: string): Promise<void> {
    const { owner, leg } = this;
    this.#attempt++;
    this.role = 'leaving';
    this.#withhold(null);
    this.#lettingIn = Promise.resolve(null);
    this.#opened = 0;
    this.#membership?.close();
    this.#membership = null;
    this.owner = null;
    this.#endSessions(() => true, reason);
    if (owner !== null && leg !== null) {
      await owner.close(reason);
      owner.log?.noteEnd();
      await owner.log?.close();
      if (owner.wasOpen) {
        leg.applied = owner.storedPosition;
        leg.intended = owner.last;
        const flushed = await leg.flush();
        if (flushed) leg.metadata.change({ durable: furtherOf(leg.applied, leg.state.durable) });
        leg.metadata.change({ owning: false, newestAtMs: this.#environment.clock.wallMs() });
        const exact = flushed && comparePositions(leg.applied, leg.intended) === 0;
        if (!exact) leg.metadata.change({ logAhead: null });
        if (!exact && leg.state.condition === 'consistent') leg.metadata.change({ condition: 'unconfirmed' });
        await leg.saveBits().catch(() => {});
        if (flushed) await leg.writeCursor();
      }
    }
    this.#event('secondary', `${this.#context.node} no longer serves the group: ${reason}`);
    this.#context.service?.left(this.name, reason);
    this.#becomeSecondary();
  }

  #becomeSecondary(): void {
    const { leg } = this;
    if (leg === null || this.#forks === null || this.#images === null || this.#closing) return;
    this.role = 'secondary';
    this.problem = null;
    leg.onFault = () => {};
    this.target = new TargetLeg({
      environment: this.#environment,
      leg,
      forks: this.#forks,
      images: this.#images,
      mayServe: (owner, id) => this.role === 'secondary' && (this.exchange?.admits(this.record, owner, id) ?? true),
      // Without a store no lease can be lost, and nothing is gone on with in its place.
      promise: () => (this.exchange === null ? this.moves.promises.give() : null),
      changed: () => {},
    });
  }

  async #freeze(reason: string): Promise<void> {
    if (this.role === 'frozen') return;
    this.#event('frozen', reason);
    if (this.role === 'primary' || this.role === 'opening') await this.#leave(reason);
    await this.target?.close();
    this.target = null;
    this.role = 'frozen';
    this.problem = reason;
  }

  /**
   * R9: this leg is older than it once was, and `node` is further. Nothing was acknowledged on it in this generation: that
   * leg is what the record said before.
   */
  async #legWentBack(node: string, reason: string, claimedAs: GroupRecord): Promise<void> {
    const { leg, owner } = this;
    if (leg === null || this.role === 'frozen') return;
    owner?.hold('switchOver', true);
    const text = `${node} is further than this leg: ${reason}. Take over on ${node}`;
    leg.metadata.change({ wentBack: text });
    await this.#retrying(() => leg.save());
    const before = claimedAs.legs[node];
    if (before !== undefined && owner !== null && owner.history.next === 1) {
      await this.keeper.change((now) =>
        now !== null && now.id === claimedAs.id ? withLeg(now, node, { class: before.class }) : null,
      );
    }
    await this.#freeze(text);
  }

  /** The leg's last image takes its place: closed and opened again, which carries it out. */
  async #promoteImage(): Promise<void> {
    const { leg } = this;
    await this.#images?.promote();
    await this.target?.close();
    this.target = null;
    this.leg = null;
    this.role = 'closed';
    this.problem = 'its last consistent image takes its place';
    // Before anything is waited for: no tick may open it meanwhile.
    this.#reopenAtMs = Infinity;
    await leg?.close();
    await this.#openLocalLeg();
  }

  async #openLocalLeg(): Promise<void> {
    this.#reopenAtMs = Infinity;
    const { node, devices, metadataFolder, forkFolder, pathOf, bitsSlotBytes } = this.#context;
    try {
      const leg = await LocalLeg.open({
        environment: this.#environment,
        devices,
        group: this.name,
        node,
        folder: metadataFolder,
        volumes: this.#entry.volumes,
        pathOf,
        hotRegionsMax: this.#entry.settings.hotRegionsMax,
        intentEntries: this.#entry.settings.intentEntries,
        bitsSlotBytes,
      });
      const images = new LastImage({ environment: this.#environment, devices, leg });
      await images.begin();
      this.leg = leg;
      this.#images = images;
      this.#forks = new ForkKeeper({ environment: this.#environment, devices, leg, folder: forkFolder });
      if (this.#closing) {
        await leg.close();
        return;
      }
      this.#becomeSecondary();
      await this.changeEntry(this.#entry);
      await this.#look();
    } catch (error) {
      if (this.problem !== messageOf(error)) this.#event('closed', messageOf(error));
      this.problem = messageOf(error);
      this.#reopenAtMs = this.#environment.clock.monotonicMs() + reopenMs;
    }
  }

  // ---- without a coordination store ----

  #makeExchange(): RecordExchange {
    const { node, request } = this.#context;
    return new RecordExchange({
      environment: this.#environment,
      group: this.name,
      node,
      others: () => this.#entry.legs.map((leg) => leg.node).filter((other) => other !== node),
      policy: () => this.#entry.takeOver.afterSplitBrain,
      request,
      record: () => this.record,
      account: (to) => accountOf(this, node, to, this.#context.lease.leaseId),
      adopt: (record, instead, stands) => this.#adopt(record, instead, stands),
      renumber: (above) => {
        this.#generationAbove = Math.max(this.#generationAbove, above);
        if (this.role === 'primary') void this.#regain();
      },
      overrule: (loser) => this.#overrule(loser),
      changed: () => this.#environment.turn.defer(() => this.#decide()),
      event: (kind, message) => this.#event(kind, message),
    });
  }

  /** Another node's record counts: it replaces ours, unless something was acknowledged here meanwhile that it lacks. */
  async #adopt(record: GroupRecord, instead: string | null, stands: () => boolean): Promise<void> {
    const { owner, moves } = this;
    if (moves.underWay) return;
    // From here on nothing is acknowledged that was not stamped by now.
    const yields = this.role === 'primary' && record.owner !== this.#context.node;
    if (yields) owner?.hold('switchOver', true);
    const outcome = stands()
      ? await this.keeper.change((before) => ((before?.id ?? null) === instead ? record : null))
      : null;
    if (outcome?.kind !== 'done' && yields && this.owner === owner) owner?.hold('switchOver', false);
  }

  async #overrule({ record: lost }: Account): Promise<void> {
    if (lost === null) return;
    const outcome = await this.keeper.change((record) =>
      record?.owner === this.#context.node ? overruling(record, { generation: lost.generation, id: lost.id }) : null,
    );
    if (outcome.kind !== 'done')
      throw new HoldfastError('E_IO', `group ${this.name}: the record could not be changed: ${outcome.reason}`);
  }

  /** Hosts' sessions on all its volumes. */
  get sessionCount(): number {
    return this.#sessions.size + (this.role === 'primary' ? this.#staying.size : 0);
  }

  // ---- mirrors ----

  async pauseMirror(to: string, paused: boolean): Promise<void> {
    const { owner } = this;
    if (owner === null || this.role !== 'primary') {
      throw new HoldfastError('E_REFUSED', `group ${this.name}: it is not being served by ${this.#context.node}`);
    }
    const leg = owner.legOf(to);
    if (leg === undefined) throw new HoldfastError('E_NOT_FOUND', `group ${this.name}: ${to} is no target of it`);
    const outcome = await this.keeper.change((record) =>
      record?.owner === this.#context.node
        ? withLeg(record, to, paused ? { paused, class: 'behind' } : { paused })
        : null,
    );
    if (outcome.kind !== 'done') {
      throw new HoldfastError(
        'E_STORE_UNREACHABLE',
        `group ${this.name}: the record could not be changed: ${outcome.reason}`,
      );
    }
    if (paused) {
      leg.pause(true);
      leg.recordClass = 'behind';
      leg.needed = false;
      leg.bounded = false;
      leg.beginTracking();
      owner.reconsider();
    } else {
      leg.pause(false);
    }
    this.#event(paused ? 'paused' : 'resumed', `mirroring to ${to} was ${paused ? 'paused' : 'resumed'}`);
  }

  /** Everything is copied anew. */
  async resyncMirror(to: string): Promise<void> {
    await this.pauseMirror(to, true);
    this.owner?.legOf(to)?.markAll();
    await this.pauseMirror(to, false);
  }

  // ---- the log ----

  /** A bookmark between what was acknowledged before and what comes later. At the owner only (`E_REFUSED`). */
  async markLog(name: string): Promise<LogMark> {
    const { owner } = this;
    if (owner === null || this.role !== 'primary')
      throw new HoldfastError('E_REFUSED', `group ${this.name}: it is not being served by ${this.#context.node}`);
    const { position, atMs } = await owner.mark(name);
    return { position: formatPosition(position), atMs };
  }

  /** What its log holds, oldest first. At the owner only (`E_REFUSED`). */
  async logMoments(options: LogMomentsOptions): Promise<LogMoments> {
    const log = this.owner?.log ?? null;
    if (log === null) throw new HoldfastError('E_REFUSED', `group ${this.name} has no log`);
    if (log.problem !== null) throw new HoldfastError('E_REFUSED', `group ${this.name}: ${log.problem}`);
    return readMoments(log, this.#entry.volumes, options);
  }

  // ---- helpers ----

  /** Reads the record now, and acts on it. */
  async #look(): Promise<void> {
    try {
      await this.keeper.refresh();
    } catch {
      // The next poll will tell.
    }
    this.#decide();
  }

  /** Another node says that the record has changed. */
  look(): void {
    void this.#look();
  }

  #connect(peer: string): void {
    const leg = this.owner?.legOf(peer);
    if (leg === undefined || leg.connected) return;
    leg.use(this.#context.connectionTo(peer));
  }

  /** Repeats a change of the record until its outcome is known; null when it was lost or need not go on. */
  async #confirmed(next: (record: GroupRecord | null) => GroupRecord | null): Promise<GroupRecord | null> {
    const attempt = this.#attempt;
    for (;;) {
      const outcome = await this.keeper.change(next);
      switch (outcome.kind) {
        case 'done':
          return outcome.record;
        case 'lost':
          return null;
        case 'unreachable':
          this.problem = `the record cannot be written: ${outcome.reason}`;
          await pause(this.#environment.clock, reopenMs / 4);
          if (attempt !== this.#attempt || this.#closing) return null;
          break;
        default:
          assertNever(outcome);
      }
    }
  }

  async #retrying(save: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await save();
        return;
      } catch (error) {
        this.problem = `metadata cannot be saved: ${messageOf(error)}`;
        await pause(this.#environment.clock, reopenMs / 2);
        if (this.#closing) return;
      }
    }
  }

  #event(kind: string, message: string): void {
    this.#context.event(this.name, kind, message);
  }
}
