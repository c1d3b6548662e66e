/**
 * The owner of a group: hosts' requests in, records out to every leg, acknowledgements by the rule (R16).
 *
 * Life of a write: stamped → own leg ∥ record to each target → answers → acknowledged at the end of the turn.
 *
 * Invariants:
 * - R1: a read that overlaps a change in flight waits for it, and so does one that may have read what is in flight.
 * - R16: see `#mayAcknowledge`, the only place that decides it.
 * - R10: a change that some leg lacks has set that leg's bit before the host hears.
 * - Everything queued is bounded by what hosts' sessions may have in flight; asynchronous lag by the group's settings.
 *
 * Who is owner, and what the record says, is decided elsewhere (`ownership.ts`); this room obeys.
 */
import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { payloadMemory } from '../base/payload-memory.ts';
import type { EndTask } from '../base/turn.ts';
import type { AllocationExtent, BlockFault } from '../block/device.ts';
import { SourceLeg, type SourceOwner } from '../mirror/source-leg.ts';
import type { CopyWatch } from '../mirror/copier.ts';
import type { GroupSettings, LegClass, MirrorMode } from '../store/document.ts';
import { ApplyQueue } from '../stream/apply-queue.ts';
import { Change, type ChangeFault } from '../stream/change.ts';
import { Fifo } from '../stream/fifo.ts';
import { FlightTable } from '../stream/flight-table.ts';
import { History } from '../stream/history.ts';
import { comparePositions, nearerOf, origin, type Lineage, type Position } from '../stream/position.ts';
import { recordBytesMax, recordsOverlap, type RecordKind } from '../stream/record.ts';
import { Sequencer } from '../stream/sequencer.ts';
import type { Bookmark } from '../volume/leg-metadata.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import type { GroupLog } from './group-log.ts';
import type { HostCompletion } from './host-access.ts';
import { PromisesHeld, type PromiseTimes } from './promises.ts';

export interface OwnerOptions {
  readonly environment: Environment;
  readonly leg: LocalLeg;
  readonly settings: () => GroupSettings;
  /** R15: cheap; looked at once a turn, after the data was read. */
  readonly leaseValid: () => boolean;
  readonly promiseTimes: () => PromiseTimes;
  /** TL-4; null: none. Milliseconds. */
  readonly commandTimeoutMs: () => number | null;
  /** What it goes on under has changed. */
  readonly authority: (authority: Authority) => void;
  readonly documentVersion: () => number;
  readonly newId: (replaces: number) => number;
  readonly forgetId: (id: number) => void;
  /** A decision about classes may be due (`membership.ts`). */
  readonly review: () => void;
  readonly deposed: (reason: string) => void;
  readonly wentBack: (node: string, reason: string) => void;
}

/** What the last owner left under way, to be received whole by legs that it followed. */
export interface FirstStep {
  /** Legs that kept all they had, have everything up to here. */
  readonly after: Position;
  readonly changes: readonly Change[];
}

/**
 * What it answers under (R16): the lease its generation was begun with; when that has passed, other nodes' promises not to take
 * over; or nothing, and hosts wait.
 */
export type Authority = 'lease' | 'promises' | 'none';

/** Why requests are held. Several may hold at once; hosts wait until none does. */
export type Hold =
  | 'opening'
  | 'switchOver'
  | 'lease'
  /** The integrity check has not passed (AS-9). */
  | 'check'
  | 'ownLeg'
  /** The lag of a leg that answers before it has applied (`async`, `receive`) is at its bound, or memory is. */
  | 'lag'
  /** No entry of the intent map is free (TL-7). */
  | 'intent'
  /** The log is full, and waits for space (TL-20). */
  | 'log'
  /** A leg is being merged, and hosts had their share (TL-11); or the log fills, and they are slowed. */
  | 'merge'
  /** `on-target-loss: suspend`, and a target is lost. */
  | 'target';

/** Reads go on under these. */
const writeHolds: ReadonlySet<Hold> = new Set(['lag', 'intent', 'log', 'merge', 'target']);

/** Something that is done, to be told at the end of the turn. */
interface Reply {
  readonly done: HostCompletion;
  readonly fault: ChangeFault | null;
  /** Bound to the lease, or promises in its place: R16 (b), and every read. */
  readonly leaseBound: boolean;
  /** A completed write closes the epoch (HG-1). */
  readonly write: boolean;
}

/** A mark of hot regions: what was touched under it was stamped by `ordinal`. */
interface Mark {
  readonly mark: number;
  readonly ordinal: number;
  /** Legs whose bits on the medium name what they lacked by then besides what was on its way to them. */
  readonly covered: ReadonlySet<string>;
}

interface Watch extends CopyWatch {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  touched: boolean;
}

/** A checkpoint of the own leg is made when hosts pause for so long, or at the latest after so long under load. */
const checkpointIdleMs = 2000;
const checkpointUnderLoadMs = 30_000;
/** Hosts count as active for so long after a request. */
const activeMs = 200;
const marksMax = 16;
/** Of the entries of a full intent map, so many must be free before writes go on: one at a time would be slower. */
const intentsFreeShare = 1 / 8;
/** What is kept in memory at most, for whatever reason: far above what hosts keep in flight and legs may lag. */
const historyRecordsMax = 65_536;
const historyBytesMax = 256 * 1024 * 1024;
/** While the hot map is full, checkpoints follow each other this closely. */
const pressureMs = 20;
const sentAllLookMs = 5;
/** However slow a merge is, hosts go on after so long. */
const mergeHoldMs = 100;

export class Owner implements SourceOwner, EndTask {
  readonly environment: Environment;
  readonly group: string;
  readonly leg: LocalLeg;
  readonly history: History<Change>;
  readonly counters = { reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 };
  lineage: Lineage;
  established = false;
  /** The group's log; null when it has none. */
  log: GroupLog | null = null;
  /** Hosts have been let in, or will be once what the last owner left is completed: the own leg is where the history is. */
  wasOpen = false;
  wholeUpTo: Position | null = null;
  readonly promises: PromisesHeld;
  /** That the step up to there stands for. */
  #stepWrites = 0;

  readonly #options: OwnerOptions;
  readonly #sequencer: Sequencer;
  readonly #flights = new FlightTable();
  /** Volumes with a host's flush under way → the completions that wait for the next one. */
  readonly #flushing = new Map<number, HostCompletion[]>();
  readonly #queue: ApplyQueue<Change>;
  readonly #legs = new Map<string, SourceLeg>();
  /** The same, for loops on the hot path. */
  #legList: SourceLeg[] = [];
  readonly #holds = new Set<Hold>(['opening']);
  readonly #held = new Fifo<() => void>();
  #replies: Reply[] = [];
  /** Done, but there was no authority when they were to be told. */
  #awaitingLease: Reply[] = [];
  /** The lease its generation was begun with has passed: no other counts before the next generation (R11). */
  #leaseless = false;
  #authority: Authority = 'lease';
  /** Runs while it goes on under promises: until the first of them ends. */
  #promiseTimer: Timer | null = null;
  #turnAsked = false;
  #watches: Watch[] = [];
  #lastHostAtMs = -Infinity;
  #lastChangeAtMs = -Infinity;
  /** Every change up to here is stored on the own leg. */
  #storedOrdinal = 0;
  #localDurableOrdinal = 0;
  #lastCheckpointAtMs = 0;
  #checkpointing = false;
  #cooledMark = -1;
  readonly #marks: Mark[] = [];
  #drained: (() => void)[] = [];
  #closed = false;
  readonly #dropped = new Set<number>();
  /** Out of space on the own leg, last seen; monotonic. */
  #noSpaceAtMs: number | null = null;
  #readFault: BlockFault | null = null;
  #readsAnswered = 0;

  /** @param start the position the own leg is at: the next generation leaves its parent there. */
  constructor(options: OwnerOptions, lineage: Lineage, start: Position) {
    this.#options = options;
    this.environment = options.environment;
    this.leg = options.leg;
    this.group = options.leg.group;
    this.lineage = lineage;
    this.history = new History<Change>(start);
    this.history.beginGeneration(lineage.generation);
    this.#sequencer = new Sequencer(lineage.generation);
    this.#queue = new ApplyQueue<Change>({
      turn: options.environment.turn,
      strict: false,
      device: (volume) => options.leg.device(volume),
      gate: options.leg.hot,
      applied: (change, fault) => this.#stored(change, fault),
    });
    this.promises = new PromisesHeld({
      clock: options.environment.clock,
      times: options.promiseTimes,
      legs: () => this.#legList,
      heard: () => this.#reviewAuthority(),
    });
    this.leg.onFault = () => {
      this.hold('ownLeg', true);
      this.#queue.stop();
    };
    this.leg.onPressure = () => {
      for (const leg of this.#legList) leg.settleNow();
      void this.checkpoint();
    };
    if (this.leg.fault !== null) this.hold('ownLeg', true);
  }

  // ---- legs ----

  addLeg(leg: { node: string; mode: MirrorMode; class: LegClass; paused: boolean; equal: boolean }): SourceLeg {
    const source = new SourceLeg(this, leg);
    this.#legs.set(leg.node, source);
    this.#legList = [...this.#legs.values()];
    return source;
  }

  get legs(): readonly SourceLeg[] {
    return this.#legList;
  }

  legOf(node: string): SourceLeg | undefined {
    return this.#legs.get(node);
  }

  get last(): Position {
    return this.#sequencer.last.seq === 0 ? this.history.positionAt(this.history.next - 1) : this.#sequencer.last;
  }

  get stable(): Position {
    const { saved, state } = this.leg.metadata;
    let stable = this.history.positionAt(this.#stableOrdinal());
    const noFurther = (durable: Position = origin): void => {
      if (comparePositions(durable, stable) < 0) stable = durable;
    };
    // What a leg held when the group was opened may have been in its page cache only.
    noFurther(saved?.durable);
    for (const leg of this.#legList) if (!leg.tracking) noFurther(state.peers[leg.node]?.confirmed);
    return stable;
  }

  get documentVersion(): number {
    return this.#options.documentVersion();
  }

  newId(replaces: number): number {
    return this.#options.newId(replaces);
  }

  forgetId(id: number): void {
    this.#options.forgetId(id);
  }

  get changesInFlight(): number {
    return this.#flights.size;
  }

  get requestsHeld(): number {
    return this.#held.length;
  }

  get holds(): ReadonlySet<Hold> {
    return this.#holds;
  }

  /** The own leg ran out of space within the last minute. */
  get shortOfSpace(): boolean {
    return this.#noSpaceAtMs !== null && this.environment.clock.monotonicMs() - this.#noSpaceAtMs < 60_000;
  }

  get readFault(): BlockFault | null {
    return this.#readFault;
  }

  /** HM-17: when the oldest change that is not on the own leg yet was stamped, on the monotonic clock; null: there is none. */
  get unstoredSinceMs(): number | null {
    const oldest = this.#storedOrdinal + 1;
    return oldest < this.history.next ? this.history.at(oldest).stampedAtMs : null;
  }

  /** Reads of hosts that its disk has answered, of `counters.reads` that were given to it. */
  get readsAnswered(): number {
    return this.#readsAnswered;
  }

  /** Changes stamped that the leg has not applied, their bytes, and the age of the oldest. */
  lagOf(leg: SourceLeg): { writes: number; bytes: number; seconds: number } {
    let writes = leg.appliedOrdinal < this.#stepRecords ? Math.max(0, this.#stepWrites - this.#stepRecords) : 0;
    let bytes = 0;
    let oldestMs: number | null = null;
    for (let at = Math.max(leg.appliedOrdinal + 1, this.history.first); at < this.history.next; at++) {
      const change = this.history.at(at);
      if (change.onlyFor !== null || change.length === 0) continue;
      writes++;
      bytes += change.length;
      oldestMs ??= change.stampedAtMs;
    }
    const seconds = oldestMs === null ? 0 : (this.environment.clock.monotonicMs() - oldestMs) / 1000;
    return { writes, bytes, seconds };
  }

  // ---- hosts ----

  read(volume: number, offset: number, into: Uint8Array, done: HostCompletion): void {
    if (this.#ended(volume, done)) return;
    this.#lastHostAtMs = this.environment.clock.monotonicMs();
    if (this.#holds.size > 0 && !this.#onlyWritesHeld()) {
      this.#held.push(() => this.read(volume, offset, into, done));
      return;
    }
    const before = this.#flights.overlapping(volume, offset, into.length);
    if (before !== null) {
      (before.waiting ??= []).push(() => this.read(volume, offset, into, done));
      return;
    }
    this.counters.reads++;
    this.counters.readBytes += into.length;
    this.leg.device(volume).read(offset, into, (fault) => this.#haveRead(volume, offset, into.length, fault, done));
  }

  write(volume: number, offset: number, data: Uint8Array, fua: boolean, done: HostCompletion): void {
    if (this.#ended(volume, done)) return;
    if (this.#holds.size > 0) {
      this.#held.push(() => this.write(volume, offset, data, fua, done));
      return;
    }
    if (!this.#intend(volume, offset, data.length, 1)) {
      this.#held.push(() => this.write(volume, offset, data, fua, done));
      return;
    }
    this.counters.writes++;
    this.counters.writtenBytes += data.length;
    const finish = fua ? joined(2, done) : done;
    const change = new Change('write', { volume, offset, length: data.length }, data, false, finish);
    if (this.log?.on === true || this.#legList.some((leg) => !leg.tracking)) change.checksum = crc32c(data);
    this.#stamp(change);
    if (fua) this.#flush(volume, finish);
  }

  zero(
    volume: number,
    offset: number,
    length: number,
    options: { keepAllocated: boolean; fua: boolean },
    done: HostCompletion,
  ): void {
    if (this.#ended(volume, done)) return;
    if (this.#holds.size > 0) {
      this.#held.push(() => this.zero(volume, offset, length, options, done));
      return;
    }
    const records = Math.ceil(length / recordBytesMax);
    if (!this.#intend(volume, offset, length, records)) {
      this.#held.push(() => this.zero(volume, offset, length, options, done));
      return;
    }
    this.counters.writes++;
    const parts = records + (options.fua ? 1 : 0);
    const finish = parts === 1 ? done : joined(parts, done);
    for (let at = 0; at < length; at += recordBytesMax) {
      const part = { volume, offset: offset + at, length: Math.min(recordBytesMax, length - at) };
      this.#stamp(new Change('zero', part, null, !options.keepAllocated, finish));
    }
    if (options.fua) this.#flush(volume, finish);
  }

  flush(volume: number, done: HostCompletion): void {
    if (this.#ended(volume, done)) return;
    if (this.#holds.size > 0) {
      this.#held.push(() => this.flush(volume, done));
      return;
    }
    this.#flush(volume, done);
  }

  /**
   * One flush of a volume at a time; those that come meanwhile share the next, which is stamped after all they must cover.
   * Not joined: the one under way, since it may have been carried out somewhere already.
   */
  #flush(volume: number, done: HostCompletion): void {
    const waiting = this.#flushing.get(volume);
    if (waiting !== undefined) {
      waiting.push(done);
      return;
    }
    this.#flushing.set(volume, []);
    const finish = (fault: ChangeFault | null): void => {
      done(fault);
      const next = this.#flushing.get(volume) ?? [];
      this.#flushing.delete(volume);
      const tellAll: HostCompletion = (outcome) => {
        for (const other of next) other(outcome);
      };
      if (next.length > 0) this.flush(volume, tellAll);
    };
    this.#stamp(new Change('flush', { volume, offset: 0, length: 0 }, null, false, finish));
  }

  // ---- authority (R11, R16) ----

  get authority(): Authority {
    return this.#authority;
  }

  /** The lease its generation was begun with has passed. */
  get leaseless(): boolean {
    return this.#leaseless;
  }

  /** The lease has passed, for this generation for good. It goes on while promises allow it. */
  leaseLapsed(): void {
    this.#leaseless = true;
    this.#reviewAuthority();
  }

  /** Looked at after any pause, right before something is told. */
  #authorised(): boolean {
    return (!this.#leaseless && this.#options.leaseValid()) || this.promises.remainingMs > 0;
  }

  #reviewAuthority(): void {
    // While a generation is being begun nothing may be told, whatever is promised.
    if (!this.#leaseless || this.#closed) return;
    const leftMs = this.established ? this.promises.remainingMs : 0;
    this.#promiseTimer?.cancel();
    this.#promiseTimer = null;
    if (leftMs === 0) {
      this.hold('lease', true);
      if (this.wasOpen && this.established) this.#become('none');
      return;
    }
    this.#promiseTimer = this.environment.clock.after(leftMs, () => this.#reviewAuthority());
    if (this.wasOpen) this.#become('promises');
    this.hold('lease', false);
  }

  #become(authority: Authority): void {
    if (authority === this.#authority) return;
    this.#authority = authority;
    this.environment.turn.defer(() => this.#options.authority(authority));
  }

  // ---- holding, draining, ending ----

  hold(why: Hold, on: boolean): void {
    if (on === this.#holds.has(why)) return;
    if (on) {
      this.#holds.add(why);
    } else {
      this.#holds.delete(why);
      if (why === 'lease') this.#tellAwaiting();
      if (this.#holds.size === 0) for (const request of this.#held.drain()) request();
    }
    if (!writeHolds.has(why)) this.#options.review();
  }

  /** Calls `run` when no change is in flight any more; hold requests first. */
  whenDrained(run: () => void): void {
    if (this.#flights.size === 0 && this.#replies.length === 0) run();
    else this.#drained.push(run);
  }

  /** A flush of every volume that every leg in sync answers for: R15's last step before a swap. */
  flushEverywhere(done: (fault: ChangeFault | null) => void): void {
    if (this.leg.fault !== null) {
      done('io');
      return;
    }
    const volumes = [...this.leg.volumes];
    const finish = joined(Math.max(1, volumes.length), done);
    if (volumes.length === 0) finish(null);
    for (const { entry } of volumes) {
      this.#stamp(new Change('flush', { volume: entry.index, offset: 0, length: 0 }, null, false, finish));
    }
  }

  /** Resolves when the leg has applied everything stamped so far, or cannot any more. */
  sentAll(leg: { readonly complete: boolean; readonly appliedOrdinal?: number }): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.#closed || !leg.complete || (leg.appliedOrdinal ?? 0) >= this.history.next - 1) resolve();
        else void this.environment.clock.after(sentAllLookMs, look);
      };
      look();
    });
  }

  /** The volume leaves the group: its requests are answered with `moved`, and nothing touches its device any more. */
  async dropVolume(volume: number): Promise<void> {
    this.#dropped.add(volume);
    for (const leg of this.#legList) leg.suspend('a volume is being deleted');
    while (this.#flights.all().some((change) => change.volume === volume && !change.stored)) {
      await new Promise<void>((resolve) => void this.environment.clock.after(sentAllLookMs, resolve));
      if (this.leg.fault !== null || this.#closed) return;
    }
  }

  /** Every change up to here is on the own leg. */
  get storedPosition(): Position {
    return this.history.positionAt(this.#storedOrdinal);
  }

  /**
   * Where the own leg's history goes on, found out while opening. Nothing has been stamped yet.
   * @param step what the last owner left under way: the first epoch, stored here already (TL-8)
   */
  establish(lineage: Lineage, start: Position, step: FirstStep | null): void {
    const changes = step?.changes ?? [];
    this.lineage = lineage;
    this.history.rebase(start, lineage.generation);
    // What was named stays so until the legs have it: the next crash may come first.
    const neededUpTo = changes.length > 0 ? changes.length : null;
    this.#kept(this.leg.intents.begin(lineage.generation, step?.after ?? start, neededUpTo));
    this.#stepWrites = this.leg.outstanding?.intents.length ?? 0;
    this.leg.outstanding = null;
    for (const change of changes) this.#stampStored(change);
    if (changes.length > 0) this.wholeUpTo = this.last;
    this.#sequencer.completed();
  }

  /** A change that repeats what the own leg holds. */
  #stampStored(change: Change): void {
    this.#sequencer.stamp(change);
    change.stampedAtMs = this.environment.clock.monotonicMs();
    change.stored = true;
    change.finished = true;
    change.ordinal = this.history.append(change);
    this.#advanceStored();
  }

  /** Legs let go until a new generation begins: nothing is stamped meanwhile. */
  suspend(reason: string): void {
    this.established = false;
    for (const leg of this.#legList) leg.suspend(reason);
  }

  /**
   * The lease was lost and is valid again: what was not told yet may be told under a new generation.
   * @param underLease false: the lease it was begun with has passed already
   */
  beginGeneration(lineage: Lineage, underLease: boolean): void {
    this.lineage = lineage;
    this.#leaseless = !underLease;
    this.#kept(this.leg.intents.beginGeneration(lineage.generation));
    this.#sequencer.beginGeneration(lineage.generation);
    this.log?.beginGeneration(lineage);
    this.history.beginGeneration(lineage.generation);
    this.goOn();
    if (!underLease) return;
    this.#become('lease');
    this.hold('lease', false);
  }

  /** What `suspend` stopped goes on: under a new generation, or under the old one where none could be begun. */
  goOn(): void {
    this.established = true;
    for (const leg of this.#legList) leg.attach();
    this.#reviewAuthority();
    this.reconsider();
  }

  /** Hosts are let in, as soon as what the last owner left under way is completed, or the record says who lacks it (TL-8). */
  open(): void {
    this.established = true;
    this.wasOpen = true;
    for (const leg of this.#legList) leg.proceed();
    this.promises.start();
    this.#reviewAuthority();
    this.#letIn();
  }

  #letIn(): void {
    if (!this.wasOpen || !this.#holds.has('opening')) return;
    const done = (leg: SourceLeg): boolean => leg.tracking || leg.appliedOrdinal >= this.#stepRecords;
    if (this.#legList.every(done)) this.hold('opening', false);
  }

  /** The history begins with them. */
  get #stepRecords(): number {
    return this.wholeUpTo === null ? 0 : (this.history.ordinalOf(this.wholeUpTo) ?? 0);
  }

  /** Ownership is elsewhere: nothing more is acknowledged. Resolves when the own leg is quiet. */
  async close(reason: string): Promise<void> {
    this.#closed = true;
    this.promises.close();
    this.#promiseTimer?.cancel();
    this.#queue.stop();
    for (const leg of this.#legList) leg.close(reason);
    for (const change of this.#flights.all()) {
      this.#flights.remove(change);
      change.finished = true;
      change.done?.('moved');
      for (const run of change.waiting ?? []) run();
    }
    for (const reply of [...this.#replies, ...this.#awaitingLease]) reply.done('moved');
    this.#replies = [];
    this.#awaitingLease = [];
    this.#holds.clear();
    for (const request of this.#held.drain()) request();
    await new Promise<void>((resolve) => this.#queue.whenIdle(resolve));
  }

  // ---- changes ----

  /**
   * Names in the intent map what the next records change, before anything is done with them (TL-7). False: the request
   * must wait, the own leg has failed.
   */
  #intend(volume: number, offset: number, length: number, records: number): boolean {
    if (this.#legList.length === 0) return true;
    const { intents } = this.leg;
    const { generation, seq } = this.#sequencer.last;
    const position = { generation, seq: seq + records };
    const ordinal = this.history.next + records - 1;
    const kept = this.#kept(intents.add(ordinal, { position, volume, offset, length }));
    if (intents.free === 0) this.hold('intent', true);
    return kept;
  }

  #kept(fault: BlockFault | null): boolean {
    if (fault !== null) this.leg.fail(fault);
    return fault === null;
  }

  /** An entry has ended when its change is on the own leg and on every leg that is followed live; bits name the rest. */
  #releaseIntents(): void {
    const { intents } = this.leg;
    if (intents.size === 0) return;
    let upTo = this.#storedOrdinal;
    for (const leg of this.#legList) if (!leg.tracking) upTo = Math.min(upTo, leg.appliedOrdinal);
    intents.release(upTo);
    if (this.#holds.has('intent') && intents.free >= intents.places * intentsFreeShare) this.hold('intent', false);
  }

  #stamp(change: Change): void {
    if (this.#closed) {
      change.done?.('moved');
      return;
    }
    const now = this.environment.clock.monotonicMs();
    this.#sequencer.stamp(change);
    change.stampedAtMs = now;
    change.ordinal = this.history.append(change);
    this.#lastChangeAtMs = now;
    this.#lastHostAtMs = now;
    this.#flights.add(change);
    if (change.length > 0) {
      for (const leg of this.#legList) if (leg.tracking) leg.track(change.volume, change.offset, change.length);
      this.#chargeMerges(change.length);
      for (const watch of this.#watches) if (recordsOverlap(watch, change)) watch.touched = true;
    }
    if (this.#lagAtBound() && !this.#logTakesOver()) this.hold('lag', true);
    if (this.log?.on === true) {
      this.log.push(change);
      this.#pause(this.log.pauseMs);
    } else this.#queue.push(change);
    this.#askForTurn();
  }

  #stored(change: Change, fault: BlockFault | null): void {
    if (fault !== null && fault.kind !== 'noSpace') {
      // Nobody hears of it: hosts wait for another owner, who has it or has not.
      this.leg.fail(fault);
      return;
    }
    change.stored = true;
    if (this.#closed) return;
    this.#advanceStored();
    if (fault !== null) {
      this.#hadNoSpace(change);
      return;
    }
    if (this.#mayAcknowledge(change)) {
      this.#finish(change, null);
      this.#trim();
    }
  }

  #advanceStored(): void {
    while (this.#storedOrdinal + 1 < this.history.next && this.history.at(this.#storedOrdinal + 1).stored) {
      this.#storedOrdinal++;
    }
  }

  /** R10: other legs may have it; they are made equal again by a copy of what is here. */
  #hadNoSpace(change: Change): void {
    this.#noSpaceAtMs = this.environment.clock.monotonicMs();
    // Until bits are saved, nothing fine names it.
    this.#kept(this.leg.intents.giveUp());
    this.log?.end('the own leg ran out of space');
    for (const leg of this.#legList) leg.repair(change.volume, change.offset, change.length);
    this.#finish(change, 'noSpace');
    this.#trim();
    this.#options.review();
  }

  /** R16: the one place where an acknowledgement is decided. Whether the lease is valid is looked at when it is told. */
  #mayAcknowledge(change: Change): boolean {
    if (!change.stored || change.finished || this.#holds.has('target')) return false;
    for (const leg of this.#legList) {
      // (a) every leg the record calls in sync has answered; R13 keeps `needed` set from before to after.
      if (leg.needed && !leg.has(change)) return false;
    }
    return true;
  }

  #finish(change: Change, fault: ChangeFault | null): void {
    change.finished = true;
    this.#flights.remove(change);
    if (change.done !== null) {
      const { kind } = change;
      // (a) needs no lease: the other leg refuses an old generation. (b) does.
      const leaseBound = fault === null && !this.#legList.some((leg) => leg.needed);
      this.#reply({ done: change.done, fault, leaseBound, write: isWrite(kind) });
    }
    const { waiting } = change;
    if (waiting !== null) {
      change.waiting = null;
      for (const run of waiting) run();
    }
  }

  /** A leg's answers now count for the changes after `from`, up to `to` (ordinals). */
  advanced(leg: SourceLeg, from: number, to: number): void {
    if (this.#closed) return;
    if (leg.needed) {
      for (let at = Math.max(from + 1, this.history.first); at <= to; at++) {
        const change = this.history.at(at);
        if (this.#mayAcknowledge(change)) this.#finish(change, null);
      }
    }
    this.#trim();
    this.#cool();
    this.#letIn();
    // It may have all it needs to join now.
    if (leg.needed && leg.recordClass !== 'inSync') this.#options.review();
  }

  /** A class has changed: looks at every change in flight again. */
  reconsider(): void {
    for (const change of this.#flights.all()) if (this.#mayAcknowledge(change)) this.#finish(change, null);
    this.#trim();
    this.#letIn();
  }

  review(): void {
    if (this.#holds.has('lag') && !this.#lagAtBound()) this.hold('lag', false);
    this.#options.review();
  }

  deposed(reason: string): void {
    this.#options.deposed(reason);
  }

  wentBack(node: string, reason: string): void {
    this.#options.wentBack(node, reason);
  }

  get commandTimeoutMs(): number | null {
    return this.#options.commandTimeoutMs();
  }

  promised(node: string, token: number, durationMs: number): void {
    this.promises.promised(node, token, durationMs);
  }

  /** What no leg will ask for any more goes. */
  #trim(): void {
    this.#releaseIntents();
    if (this.log?.busy === true) return;
    let keepFrom = this.history.next;
    for (const leg of this.#legList) if (!leg.tracking) keepFrom = Math.min(keepFrom, leg.appliedOrdinal + 1);
    keepFrom = Math.min(keepFrom, this.#storedOrdinal + 1);
    let at = this.history.first;
    for (; at < keepFrom; at++) {
      const change = this.history.at(at);
      if (!change.finished) break;
      if (change.data !== null && this.#legList.every((leg) => leg.hasSent(change))) payloadMemory.give(change.data);
    }
    this.history.trim(at - 1);
    if (this.#holds.has('lag') && !this.#lagAtBound()) this.hold('lag', false);
  }

  // ---- lag of legs that have yet to apply what hosts were told (TL-6) ----

  #lagAtBound(): boolean {
    const { history } = this;
    // One disk that hangs keeps everything behind it, whatever other volumes do.
    if (history.next - history.first >= historyRecordsMax || history.bytes >= historyBytesMax) return true;
    return this.#legList.some((leg) => (!leg.tracking || leg.bounded) && this.#atBound(leg));
  }

  /** Whether every leg at its bound can follow from the log instead: none of them makes hosts wait then (TL-20). */
  #logTakesOver(): boolean {
    let takes = true;
    for (const leg of this.#legList) {
      if ((leg.tracking && !leg.bounded) || !this.#atBound(leg)) continue;
      if (leg.merger !== null) {
        leg.keepInLog();
        continue;
      }
      takes = false;
      // Until the record no longer says that it is within its bound, hosts wait all the same (R13).
      if (leg.mode !== 'async' || this.#options.settings().onCongestion !== 'log' || leg.congested) continue;
      // One that is only about to be within its bound stays so until it is: nothing would tell it to leave.
      if (this.log?.usable !== true || leg.phase !== 'streaming' || leg.recordClass === 'behind') continue;
      leg.congested = true;
      // Not now: in the middle of a stamp the log must not begin.
      this.environment.turn.defer(() => this.#options.review());
    }
    return takes && !this.#lagAtBound();
  }

  #atBound(leg: SourceLeg): boolean {
    // What hosts wait for bounds itself. Mode `receive` is answered before it is applied, and waits in two memories; mode
    // `async` is not waited for any more as soon as its class says so.
    if (leg.needed && leg.mode === 'sync') return false;
    const { lagWritesMax, lagBytesMax } = this.#options.settings();
    return this.history.next - 1 - leg.appliedOrdinal >= lagWritesMax || this.history.bytes >= lagBytesMax;
  }

  #onlyWritesHeld(): boolean {
    for (const hold of this.#holds) if (!writeHolds.has(hold)) return false;
    return true;
  }

  // ---- the log ----

  /** The log has answered for the change: it goes to the own leg. */
  passLogged(change: Change): void {
    if (!this.#closed && this.leg.fault === null) this.#queue.push(change);
  }

  /** A leg that has applied everything up to `lostAt` is away. Returns whether what it misses is kept in the log. */
  logFrom(lostAt: Position): boolean {
    const { log, history } = this;
    if (log === null) return false;
    if (!log.on) {
      const changes: Change[] = [];
      for (let at = history.first; at < history.next; at++) {
        const change = history.at(at);
        if (change.onlyFor === null) changes.push(change);
      }
      const start = history.positionAt(history.first - 1);
      // The first step completes what a leg at an earlier position holds.
      if (!log.begin(comparePositions(lostAt, start) < 0 ? lostAt : start, changes)) return false;
    }
    return log.covers(lostAt);
  }

  /** A reader found damage: the log is of no use for the present outage. */
  logUnreadable(reason: string): void {
    this.log?.end(reason);
  }

  /** The stretch of the log is lost: what was to be merged is copied. */
  logEnded(reason: string): void {
    for (const leg of this.#legList) leg.logLost(reason);
  }

  /** What nobody needs of the log any more goes; it is not written on when nobody needs it at all. */
  reviewLog(): void {
    const { log } = this;
    if (log === null) return;
    // The next stretch begins where the history in memory does, with what is in the log of it.
    let needed = nearerOf(log.newest, this.history.positionAt(this.history.first - 1));
    const wanting = this.#legList.filter((leg) => leg.needsLog);
    if (wanting.length === 0) log.stop();
    else needed = nearerOf(needed, this.leg.metadata.saved?.durable ?? origin);
    for (const { node } of wanting) needed = nearerOf(needed, this.leg.state.peers[node]?.confirmed ?? origin);
    log.release(needed);
  }

  /**
   * A bookmark: everything stamped so far is before it, in an epoch of its own. Resolves when it is on the medium here;
   * rejects with `E_IO`, `E_NO_SPACE`.
   */
  async mark(name: string): Promise<Bookmark> {
    this.#sequencer.completed();
    const mark = { name, position: this.last, atMs: this.environment.clock.wallMs() };
    this.leg.metadata.addBookmarks([mark]);
    this.log?.mark(name, mark.position);
    for (const leg of this.#legList) leg.sendMarks([mark]);
    await this.leg.save();
    return mark;
  }

  /** Hosts had their share until the merge has got on, or for a moment. */
  #chargeMerges(bytes: number): void {
    for (const leg of this.#legList) {
      if (leg.merger === null) continue;
      leg.merger.charge(bytes);
      if (!leg.merger.exhausted || this.#holds.has('merge')) continue;
      this.hold('merge', true);
      this.environment.clock.after(mergeHoldMs, () => {
        leg.merger?.forgive();
        this.mergeMoved();
      });
    }
  }

  /** `on-log-full: throttle`. */
  #pause(forMs: number): void {
    if (forMs === 0 || this.#holds.has('merge')) return;
    this.hold('merge', true);
    this.environment.clock.after(forMs, () => this.mergeMoved());
  }

  mergeMoved(): void {
    if (this.#legList.every((leg) => leg.merger?.exhausted !== true)) this.hold('merge', false);
  }

  /** Hosts are slowed, no more: by a leg's lag, the intent map or a merge. */
  get onlyPaced(): boolean {
    for (const hold of this.#holds) if (hold !== 'lag' && hold !== 'intent' && hold !== 'merge') return false;
    return true;
  }

  get mergeGain(): number {
    return this.#options.settings().mergeGain;
  }

  // ---- replies ----

  #haveRead(volume: number, offset: number, length: number, fault: BlockFault | null, done: HostCompletion): void {
    this.#readsAnswered++;
    if (this.#closed) {
      done('moved');
      return;
    }
    if (fault !== null) {
      this.#readFault = fault;
      this.environment.log.error(`group ${this.group}: read of ${offset} + ${length} failed: ${fault.detail}`);
      this.#options.review();
    }
    const answer = (): void => {
      this.#reply({ done, fault: fault === null ? null : 'io', leaseBound: true, write: false });
    };
    // What was read may be a change that no other leg has yet: nobody may see it before it is certain (I5).
    const during = this.#flights.overlapping(volume, offset, length);
    if (during === null) answer();
    else (during.waiting ??= []).push(answer);
  }

  #reply(reply: Reply): void {
    if (this.#closed) {
      reply.done('moved');
      return;
    }
    this.#replies.push(reply);
    this.#askForTurn();
  }

  #tellAwaiting(): void {
    for (const reply of this.#awaitingLease.splice(0)) this.#reply(reply);
  }

  #askForTurn(): void {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.environment.turn.atEnd(this);
  }

  endOfTurn(): void {
    this.#turnAsked = false;
    for (const leg of this.#legList) leg.send();
    const replies = this.#replies;
    if (replies.length > 0) {
      this.#replies = [];
      const authorised = this.#authorised();
      for (const reply of replies) {
        if (reply.leaseBound && !authorised) {
          this.#awaitingLease.push(reply);
          continue;
        }
        if (reply.write) this.#sequencer.completed();
        reply.done(reply.fault);
      }
      if (!authorised) this.hold('lease', true);
    }
    if (this.#drained.length > 0 && this.#flights.size === 0 && this.#awaitingLease.length === 0) {
      const drained = this.#drained;
      this.#drained = [];
      for (const run of drained) run();
    }
  }

  /** Completes a request that comes after the end. */
  #ended(volume: number, done: HostCompletion): boolean {
    const ended = this.#closed || (this.#dropped.size > 0 && this.#dropped.has(volume));
    if (ended) this.environment.turn.defer(() => done('moved'));
    return ended;
  }

  // ---- copies ----

  get resyncShare(): number {
    return this.#options.settings().resyncShare;
  }

  get hostsActive(): boolean {
    return this.environment.clock.monotonicMs() - this.#lastHostAtMs < activeMs;
  }

  readyToCopy(volume: number, offset: number, length: number): boolean {
    for (const change of this.#flights.all()) {
      if (!change.stored && recordsOverlap(change, { volume, offset, length })) return false;
    }
    return true;
  }

  watch(volume: number, offset: number, length: number): CopyWatch {
    const watch: Watch = {
      volume,
      offset,
      length,
      touched: false,
      release: () => {
        this.#watches = this.#watches.filter((other) => other !== watch);
      },
    };
    this.#watches.push(watch);
    return watch;
  }

  /** For copies: the raw content of the own leg. */
  readOwn(volume: number, offset: number, into: Uint8Array, done: (fault: BlockFault | null) => void): void {
    this.leg.device(volume).read(offset, into, done);
  }

  allocation(
    volume: number,
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void {
    this.leg.device(volume).allocation(offset, length, done);
  }

  stampCopy(change: Change): number {
    assert(change.onlyFor !== null, 'a copy for nobody');
    this.#stampStored(change);
    this.#askForTurn();
    return change.ordinal;
  }

  copyFailed(target: string, fault: BlockFault): void {
    this.#readFault = fault;
    this.environment.log.error(`group ${this.group}: the copy to ${target} stops: ${fault.detail}`);
    this.#legs.get(target)?.stopCopy(`the owner's leg cannot be read: ${fault.detail}`);
  }

  // ---- hot regions and checkpoints (R5) ----

  markBefore(ordinal: number): number {
    let mark = -1;
    for (const entry of this.#marks) if (entry.ordinal <= ordinal) mark = entry.mark;
    return Math.max(mark, this.#cooledMark);
  }

  /** About once a second. */
  tick(): void {
    for (const leg of this.#legList) leg.tick();
    this.log?.tick();
    this.reviewLog();
    this.#releaseIntents();
    this.#kept(this.leg.intents.tidy());
    const now = this.environment.clock.monotonicMs();
    const idle = now - this.#lastChangeAtMs >= checkpointIdleMs;
    const { covered } = this.#marks.at(-1) ?? { covered: null };
    const uncovered = covered === null || this.#legList.some((leg) => leg.tracking && !covered.has(leg.node));
    const due = this.history.next - 1 > this.#localDurableOrdinal || (this.leg.hot.size > 0 && uncovered);
    if (due && (idle || now - this.#lastCheckpointAtMs >= checkpointUnderLoadMs)) void this.checkpoint();
    if (this.#awaitingLease.length > 0 && this.#authorised() && !this.#holds.has('lease')) this.#tellAwaiting();
  }

  /** Makes durable what the own leg has stored, and lets regions cool that are durable everywhere. */
  async checkpoint(): Promise<void> {
    // Not before its legs are known: regions cool only when none of them lacks what was written there.
    if (this.#checkpointing || this.#closed || this.leg.fault !== null || !this.established) return;
    this.#checkpointing = true;
    this.#lastCheckpointAtMs = this.environment.clock.monotonicMs();
    const ordinal = this.#storedOrdinal;
    // Changes started and not stored yet have touched regions under this mark: it is safe when they are durable too.
    const mark = this.leg.hot.endMark();
    const newest = Math.max(ordinal, this.#queue.lastStarted?.ordinal ?? 0);
    const covered = new Set(this.#legList.filter((leg) => leg.tracking || leg.bitsSet).map((leg) => leg.node));
    try {
      this.log?.noteEnd();
      if (covered.size > 0) await this.leg.saveBits();
      if (await this.leg.checkpoint(this.history.positionAt(ordinal))) {
        this.#localDurableOrdinal = Math.max(this.#localDurableOrdinal, ordinal);
        this.#marks.push({ mark, ordinal: newest, covered });
        this.#cool();
      }
    } catch {
      // `leg.trouble` tells why; the next tick tries again.
    } finally {
      this.#checkpointing = false;
      if (this.leg.hot.full) this.environment.clock.after(pressureMs, () => this.leg.onPressure());
    }
  }

  #stableOrdinal(): number {
    let stable = this.#localDurableOrdinal;
    for (const leg of this.#legList) if (!leg.tracking) stable = Math.min(stable, leg.durableOrdinal);
    return Math.max(0, stable);
  }

  /** A mark stands for all before it: the newest that is safe lets everything older cool too. */
  #cool(): void {
    for (let at = this.#marks.length - 1; at >= 0; at--) {
      const entry = this.#marks[at];
      if (entry === undefined || !this.#safe(entry)) continue;
      this.#marks.splice(0, at + 1);
      this.#cooledMark = entry.mark;
      this.leg.hot.cool(entry.mark);
      return;
    }
    if (this.#marks.length > marksMax) this.#marks.splice(0, this.#marks.length - marksMax);
  }

  #safe({ ordinal, covered }: Mark): boolean {
    if (ordinal > this.#localDurableOrdinal) return false;
    return this.#legList.every((leg) => {
      // What only bits remember must be remembered by bits that are on the medium; all else must be durable there.
      if ((leg.tracking || leg.bitsSet) && !covered.has(leg.node)) return false;
      return leg.tracking || leg.durableOrdinal >= ordinal;
    });
  }
}

function isWrite(kind: RecordKind): boolean {
  return kind === 'write' || kind === 'zero';
}

/** Completes when all parts have, or with the first fault: what has failed is not waited for. */
function joined(parts: number, done: (fault: ChangeFault | null) => void): (fault: ChangeFault | null) => void {
  let left = parts;
  return (fault) => {
    if (left === 0) return;
    left = fault === null ? left - 1 : 0;
    if (left === 0) done(fault);
  };
}
