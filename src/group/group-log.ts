/**
 * What a group's owner does with the group's log (TL-9, TL-16): while a leg is away, every change is written there before
 * it is given to the own leg, which thereby becomes a cursor on the log like any other.
 *
 *   off ──begin──► on ──stop, end──► ending ──► off        on ──full──► waiting ──space──► on
 *
 * The *stretch* is the part of the log from which a leg may be merged: everything after `from` that was stamped on the
 * present lineage. It ends where something could not be written.
 *
 * Invariants:
 * - While `on`, a change reaches the own leg only after the log has answered for it; in stamp order at all times.
 * - The leg's metadata says `logAhead` only while that holds, and says so no more before the first change that goes
 *   without the log. Hence after a crash what the log holds is what the own leg holds (`recover`).
 * - `ended` is told once for a stretch that was lost; change bits name what it held.
 */
import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import type { Environment } from '../base/environment.ts';
import { messageOf, type HoldfastError } from '../base/errors.ts';
import type { EndTask } from '../base/turn.ts';
import { formatDuration, formatSize } from '../base/units.ts';
import { pause } from '../base/waiting.ts';
import { momentsOf, type Moment } from '../journal/history.ts';
import { Journal, journalDefaults, type JournalStatus } from '../journal/journal.ts';
import type { JournalReader } from '../journal/reader.ts';
import type { Distance } from '../journal/segment-table.ts';
import type { LogEntry, OnLogFull } from '../store/document.ts';
import type { Change } from '../stream/change.ts';
import {
  comparePositions,
  formatPosition,
  furtherOf,
  origin,
  type Lineage,
  type Position,
} from '../stream/position.ts';
import { positionOf } from '../stream/record.ts';
import type { LegState } from '../volume/leg-metadata.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import { replay } from './log-replay.ts';

/** What the document says of the log; may change while it is written. */
export interface LogSettings {
  readonly entry: LogEntry;
  readonly folders: readonly string[];
  /** Answers wait for the medium: some leg of the group is synchronous (TL-9). */
  readonly synchronous: boolean;
}

export interface GroupLogOptions {
  readonly environment: Environment;
  readonly leg: LocalLeg;
  readonly settings: LogSettings;
  readonly onFull: () => OnLogFull;
  /** The change may go to the own leg. */
  readonly pass: (change: Change) => void;
  /** The stretch is lost: legs that were to be merged from it need another source. */
  readonly ended: (reason: string) => void;
  /** Hosts wait for space. */
  readonly hold: (on: boolean) => void;
  /** A leg is being merged: space will come. */
  readonly merging: () => boolean;
  readonly event: (kind: string, message: string) => void;
}

type State = 'off' | 'on' | 'ending' | 'waiting';

const saveRetryMs = 1000;
const reopenMs = 10_000;
const removeLookMs = 20;
const replayAgainMs = 2000;
/** At most what a record takes besides its data. Bytes. */
const entryCost = 512;
/** `on-log-full: throttle`: from this share on hosts pause after each turn, the longer the less is free. */
const throttleShare = 0.75;
const throttlePauseMaxMs = 50;
/** Warned of once it is this full, and again only after it was emptier. */
const warnShare = 0.8;

export class GroupLog implements EndTask {
  readonly #options: GroupLogOptions;
  #settings: LogSettings;
  #journal: Journal | null = null;
  /** Why there is no journal. */
  #problem: string | null = null;
  #opening = false;
  #reopenAtMs = 0;
  #lineage: Lineage | null = null;
  #moving = false;
  /** Why it is not where the document says. */
  #moveProblem: string | null = null;
  #moveAgainAtMs = 0;
  #state: State = 'off';
  #from: Position | null = null;
  #newest: Position = origin;
  /** Records up to here that are not of a recovered stretch may be of a history given up. */
  #foreignUpTo: Position = origin;
  /** Where `recover` brought the own leg. */
  #recoveredAt: Position | null = null;
  /** Why the last stretch ended before its legs were merged; null when it did not. */
  #endReason: string | null = null;
  /** Stamped in this turn. */
  #batch: Change[] = [];
  #turnAsked = false;
  /** Given to the log, not answered. */
  #unanswered = 0;
  /** What may go to the own leg only when the state has settled. */
  readonly #behind: Change[] = [];
  /** What the own leg was given without the log. */
  #passedUpTo: Position = origin;
  /** Of that, what the stretch begins with is not in the log yet: its data must stay. */
  #given = false;
  /** What comes later is needed by some leg. */
  #released: Position = origin;
  /** While `ending`: the metadata on the medium does not promise the log any more. */
  #unsaid = false;
  #warned = false;
  #closed = false;

  private constructor(options: GroupLogOptions) {
    this.#options = options;
    this.#settings = options.settings;
  }

  /** A log that cannot be opened says so, is as if there were none, and is tried again. */
  static async open(options: GroupLogOptions): Promise<GroupLog> {
    const log = new GroupLog(options);
    await log.#openJournal();
    return log;
  }

  async #openJournal(): Promise<void> {
    const { environment, leg, event } = this.#options;
    const { entry, synchronous } = this.#settings;
    // A move that was interrupted is taken up again: until it has ended the log is here and there.
    const folders = this.#allPlaces;
    try {
      const journal = await Journal.open(environment, {
        group: leg.group,
        start: leg.applied,
        folders,
        capacityBytes: entry.sizeBytes,
        segmentBytes: segmentBytesFor(entry.sizeBytes),
        synchronous,
        flushIntervalMs: journalDefaults.flushIntervalMs,
        retentionMs: entry.retentionMs,
        retentionBytes: entry.retentionBytes,
      });
      for (const { segment, reason } of journal.damages)
        environment.log.error(`log of group ${leg.group}: segment ${segment}: ${reason}`);
      this.#journal = journal;
      this.#problem = null;
      void this.#move();
    } catch (error) {
      if (this.#problem !== messageOf(error)) event('log', `the log cannot be opened: ${messageOf(error)}`);
      this.#problem = messageOf(error);
    }
  }

  async #openAnew(): Promise<Journal | null> {
    const before = this.#journal;
    this.#journal = null;
    await before?.close();
    await this.#openJournal();
    return this.#journal;
  }

  get #allPlaces(): string[] {
    return [...new Set([...this.#options.leg.state.logPlaces, ...this.#settings.folders])];
  }

  /** To where the document says, if it is not there; what is read and written meanwhile does not notice. */
  async #move(): Promise<void> {
    const { leg, environment, event } = this.#options;
    const { folders } = this.#settings;
    const journal = this.#journal;
    if (journal === null || this.#moving || samePlaces(leg.state.logPlaces, folders)) return;
    this.#moving = true;
    try {
      const first = leg.state.logPlaces.length === 0;
      leg.metadata.change({ logPlaces: this.#allPlaces });
      await leg.save();
      const lost = first ? [] : await journal.moveTo(folders);
      leg.metadata.change({ logPlaces: folders });
      await leg.save();
      if (!first) event('log', `the log is at ${folders.join(' and ')} now`);
      for (const { segment, reason } of lost) event('log', `segment ${segment} could not be moved whole: ${reason}`);
      this.#moveProblem = null;
    } catch (error) {
      if (this.#moveProblem !== messageOf(error)) event('log', `the log cannot be moved: ${messageOf(error)}`);
      this.#moveProblem = messageOf(error);
      this.#moveAgainAtMs = environment.clock.monotonicMs() + reopenMs;
    } finally {
      this.#moving = false;
    }
  }

  /** A log that failed while it was written, or could not be opened, is looked at again: for the next outage. */
  async #reopen(): Promise<void> {
    const now = this.#options.environment.clock.monotonicMs();
    if (this.problem === null || this.#state !== 'off' || this.#opening || now < this.#reopenAtMs) return;
    this.#opening = true;
    this.#reopenAtMs = now + reopenMs;
    this.#problem = this.problem;
    const journal = await this.#openAnew();
    this.#opening = false;
    if (this.#closed) await journal?.close();
    else if (journal !== null) {
      this.#options.event('log', 'the log can be written again');
      this.#foreignUpTo = journal.end;
      this.#newest = furtherOf(this.#newest, journal.end);
      if (this.#lineage !== null) journal.beginGeneration(this.#lineage.generation, this.#lineage.id);
    }
  }

  /** Changes must be given to `push` instead of the own leg. */
  get on(): boolean {
    return this.#state !== 'off';
  }

  /** It is written, or would be. */
  get usable(): boolean {
    return this.#state === 'on' || (this.#state === 'off' && this.#journal?.state === 'open');
  }

  /** How long hosts should pause now, because the log is filling and nothing is being merged from it. Milliseconds. */
  get pauseMs(): number {
    const { onFull, merging } = this.#options;
    const journal = this.#journal;
    if (journal === null || this.#state !== 'on' || onFull() !== 'throttle' || merging()) return 0;
    const over = (journal.usedShare - throttleShare) / (1 - throttleShare);
    return over <= 0 ? 0 : Math.min(1, over) * throttlePauseMaxMs;
  }

  /** What a human should know of it while it is written; null when there is space enough. */
  get warning(): string | null {
    const share = this.#journal?.usedShare ?? 0;
    if (this.#state !== 'on' || share < warnShare) return null;
    const fullInMs = this.#journal?.status().fullInMs ?? null;
    const left =
      fullInMs === null ? '' : `; at this rate it is full in ${formatDuration(Math.ceil(fullInMs / 1000) * 1000)}`;
    return `${Math.floor(100 * share)} % of the log are used${left}`;
  }

  /** Records given at the beginning of the stretch are still being read. */
  get busy(): boolean {
    return this.#given;
  }

  /** The newest change that was given to it. */
  get newest(): Position {
    return this.#newest;
  }

  /** Where the stretch begins; null when there is none. */
  get from(): Position | null {
    return this.#from;
  }

  get endReason(): string | null {
    return this.#endReason;
  }

  get problem(): string | null {
    return this.#problem ?? (this.#journal?.state === 'failed' ? this.#journal.status().reason : null);
  }

  // ---- after a start ----

  /**
   * After an unclean end of the owner this leg was: brings the leg to where the log ends, exactly. A stretch that cannot be
   * gone on with is forgotten; but a replay once begun is gone on with until it is done, or `goesOn` says no more. Nothing
   * else may touch the leg meanwhile.
   */
  async recover(goesOn: () => boolean): Promise<void> {
    const { leg, environment, event } = this.#options;
    const ahead = leg.state.logAhead;
    if (ahead === null) return;
    await this.#recoverFrom(ahead);
    // Only a replay that was cut off leaves a leg in pieces that the log was ahead of.
    while (leg.state.condition === 'inconsistent' && goesOn()) {
      event('log', `what the log holds is not replayed whole yet: ${this.problem ?? 'it cannot be read'}`);
      await pause(environment.clock, replayAgainMs);
      await this.#openAnew();
      await this.#recoverFrom(ahead);
    }
    if (leg.state.condition === 'inconsistent') return;
    if (this.#from !== null) {
      this.#recoveredAt = leg.applied;
      return;
    }
    leg.metadata.change({ logAhead: null });
    // What was replayed in part may have put older data over newer.
    leg.outstanding = null;
    this.#endReason = 'this node went down in the middle of it';
  }

  async #recoverFrom(ahead: NonNullable<LegState['logAhead']>): Promise<void> {
    const { leg, environment } = this.#options;
    const journal = this.#journal;
    // A log that was put in its place, or is older than it was, tells nothing.
    if (journal?.id !== ahead.log || comparePositions(journal.end, ahead.end) < 0) return;
    const cutOff = leg.state.condition === 'inconsistent';
    const exact = leg.held && comparePositions(leg.applied, leg.intended) === 0;
    if (exact && !cutOff) {
      if (comparePositions(journal.end, leg.applied) <= 0) this.#from = ahead.from;
      return;
    }
    if (!leg.state.owning || !(leg.held || ahead.synchronous)) return;
    // What was on the medium must reach to where the log can be read from; what this kernel still has, does.
    if (!leg.held && comparePositions(leg.state.durable, ahead.from) < 0) return;
    const start = furtherOf(ahead.from, leg.state.durable);
    try {
      if ((await replay(environment, leg, journal, start)) === 'done') this.#from = ahead.from;
    } catch (error) {
      environment.log.error(`group ${leg.group}: the log cannot be replayed: ${messageOf(error)}`);
    }
  }

  /** The own leg goes on from `start` in a new generation, before hosts are let in. */
  resume(lineage: Lineage, start: Position): void {
    const journal = this.#journal;
    this.#lineage = lineage;
    if (journal === null) return;
    journal.beginGeneration(lineage.generation, lineage.id);
    if (this.#from !== null && this.#recoveredAt !== null && comparePositions(start, this.#recoveredAt) !== 0) {
      // Another leg had more than the log: what was fetched from it is named by bits only.
      this.#from = null;
      this.#endReason = 'the own leg was brought up from another one';
      this.#options.leg.metadata.change({ logAhead: null });
    }
    this.#newest = journal.end;
    if (this.#from === null) this.#foreignUpTo = journal.end;
    else this.#state = 'on';
  }

  beginGeneration(lineage: Lineage): void {
    this.#flushBatch();
    this.#lineage = lineage;
    this.#journal?.beginGeneration(lineage.generation, lineage.id);
  }

  // ---- writing ----

  /**
   * From here on changes go to the log first.
   * @param from a position up to which no leg that is to be merged lacks anything
   * @param changes everything stamped after it, which the own leg has been given already
   * Returns false when there is no log to write to.
   */
  begin(from: Position, changes: readonly Change[]): boolean {
    const journal = this.#journal;
    if (journal === null || this.#closed || this.#state !== 'off') return false;
    if (journal.state === 'full') journal.retry();
    if (journal.state !== 'open') return false;
    const { end } = journal;
    if (comparePositions(end, from) < 0) journal.skipTo(from);
    const { start } = journal.status();
    this.#from = furtherOf(furtherOf(from, this.#foreignUpTo), comparePositions(start, end) < 0 ? start : from);
    this.#endReason = null;
    this.#state = 'on';
    const fresh = changes.filter((change) => comparePositions(change, furtherOf(end, from)) > 0);
    for (const change of fresh) {
      // Stamped when nobody was to be sent it.
      if (change.data !== null && change.checksum === 0) change.checksum = crc32c(change.data);
    }
    const members = [...this.#options.leg.volumes].map(({ entry }) => ({
      volume: entry.index,
      wwid: entry.wwid,
      sizeBytes: entry.sizeBytes,
    }));
    journal.setMembers(members, () => {});
    const last = fresh.at(-1);
    this.#newest = last === undefined ? furtherOf(this.#newest, from) : positionOf(last);
    if (last !== undefined) this.#passedUpTo = positionOf(last);
    this.#given = true;
    this.#append(fresh);
    this.#options.event('log', `what is written from ${formatPosition(from)} on is kept in the log`);
    return true;
  }

  /** The change goes to the log, then to the own leg. */
  push(change: Change): void {
    this.#batch.push(change);
    this.#newest = positionOf(change);
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.#options.environment.turn.atEnd(this);
  }

  endOfTurn(): void {
    this.#turnAsked = false;
    this.#flushBatch();
  }

  #flushBatch(): void {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    if (this.#ahead) this.#append(batch);
    else this.#behind.push(...batch);
  }

  /** When nobody needs it any more, hosts are not to wait for the metadata: until it is saved, the log is written on. */
  get #ahead(): boolean {
    const stops = this.#state === 'ending' && this.#endReason === null;
    return this.#state === 'on' || (stops && !this.#unsaid);
  }

  #append(batch: Change[]): void {
    const journal = this.#journal;
    assert(journal !== null, 'a log that is written was never opened');
    this.#unanswered++;
    journal.append(batch, (error) => {
      this.#unanswered--;
      if (error !== null) this.#refused(error, batch);
      else this.#pass(batch);
      this.#settle();
    });
  }

  /** To the own leg, but for what it was given before the stretch began. */
  #pass(changes: readonly Change[]): void {
    for (const change of changes) {
      if (comparePositions(change, this.#passedUpTo) > 0) this.#options.pass(change);
    }
    if (!this.#given || comparePositions(this.#journal?.end ?? origin, this.#passedUpTo) < 0) return;
    this.#given = false;
    this.#sayAhead();
  }

  /** A bookmark behind everything up to the position. */
  mark(name: string, position: Position): void {
    const journal = this.#journal;
    if (journal === null || journal.state !== 'open' || this.#state === 'ending') return;
    this.#flushBatch();
    if (comparePositions(this.#newest, position) < 0 && this.#state === 'off') journal.skipTo(position);
    journal.mark(name, () => {});
  }

  /** What it holds, for people. */
  async *moments(after: Position): AsyncGenerator<Moment> {
    const journal = this.#journal;
    const { start } = journal?.status() ?? { start: after };
    const reader = journal?.read(furtherOf(after, start)) ?? null;
    if (reader === null) return;
    try {
      yield* momentsOf(reader);
    } finally {
      await reader.close();
    }
  }

  /** In stamp order: what the log refused comes back after later changes that it was not given. */
  #takeBehind(): Change[] {
    return this.#behind.splice(0).sort(comparePositions);
  }

  /** Full, or failed: answers of all that waited come here, in order. */
  #refused(error: HoldfastError, batch: readonly Change[]): void {
    this.#behind.push(...batch);
    if (this.#state !== 'on') return;
    const { onFull, merging, hold } = this.#options;
    const waits = onFull() === 'suspend' || (onFull() === 'throttle' && merging());
    if (this.#journal?.state === 'full' && waits) {
      this.#state = 'waiting';
      hold(true);
      this.#options.event('log', `hosts wait for space: ${error.message}`);
    } else this.end(error.message);
  }

  /** Space may have come, or the settings have changed. About once a second, and after history was let go of. */
  retry(): void {
    const journal = this.#journal;
    if (this.#state !== 'waiting' || journal === null || this.#unanswered > 0) return;
    const { onFull, merging } = this.#options;
    const { entry } = this.#settings;
    if (onFull() === 'bitmap' || (onFull() === 'throttle' && !merging())) {
      this.end('the log is full, and nothing is being merged from it');
      return;
    }
    const { freeBytes, capacityBytes, segments } = journal.status();
    const { end } = journal;
    let waiting = 0;
    for (const change of this.#behind) waiting += entryCost + change.length;
    if (waiting > capacityBytes) {
      this.end(`it is too small: ${formatSize(waiting)} wait for ${formatSize(capacityBytes)}`);
      return;
    }
    if (freeBytes < waiting + segmentBytesFor(entry.sizeBytes) / 64) {
      // All that could be freed is: the merge would wait for what waits for it.
      const isFreed = segments <= 1 && comparePositions(this.#released, end) >= 0;
      if (isFreed && merging()) this.end('what waits to be logged is more than the log can hold');
      return;
    }
    journal.retry();
    this.#state = 'on';
    const behind = this.#takeBehind();
    // Of a batch that was refused, the first records may be there.
    const stored = behind.findIndex((change) => comparePositions(change, end) > 0);
    const missing = stored < 0 ? [] : behind.splice(stored);
    this.#pass(behind);
    if (missing.length > 0) this.#append(missing);
    this.#options.hold(false);
  }

  /** Nobody needs what is written any more. */
  stop(): void {
    if (this.#state !== 'on') return;
    this.#flushBatch();
    this.#state = 'ending';
    this.#options.event('log', 'every leg has what was logged; the log is not written any more');
    this.#unsayAhead();
  }

  /** The stretch is lost from here on; what it held is named by change bits. */
  end(reason: string): void {
    if (this.#from === null && this.#state === 'off') return;
    const held = this.#state === 'waiting';
    this.#from = null;
    this.#endReason = reason;
    if (this.#state === 'on' || held) {
      this.#flushBatch();
      this.#state = 'ending';
      this.#unsayAhead();
    }
    this.#options.event('log', `the log ends, change bits remember the rest: ${reason}`);
    this.#options.ended(reason);
    if (held) this.#options.hold(false);
  }

  /** How far the log reaches, where a restart finds it; with the next save of the leg's metadata. */
  noteEnd(): void {
    const journal = this.#journal;
    if (this.#state !== 'on' || this.#from === null || journal === null || this.busy) return;
    const { synchronous } = this.#settings;
    // In asynchronous groups what was answered for may not be on the medium.
    const end = synchronous ? journal.end : journal.status().durable;
    this.#options.leg.metadata.change({ logAhead: { log: journal.id, from: this.#from, end, synchronous } });
  }

  #sayAhead(said: () => void = () => {}): void {
    const { leg } = this.#options;
    this.noteEnd();
    leg.save().then(said, () => {});
  }

  #unsayAhead(): void {
    const { leg, environment } = this.#options;
    leg.metadata.change({ logAhead: null });
    // Not by what was saved last: a save that still promises it may be under way.
    leg.save().then(
      () => {
        this.#unsaid = true;
        this.#settle();
      },
      () => {
        if (this.#closed) return;
        environment.clock.after(saveRetryMs, () => this.#unsayAhead());
      },
    );
  }

  /** Once the metadata does not promise it any more, and the log has answered for all, changes go without it. */
  #settle(): void {
    if (this.#state !== 'ending' || !this.#unsaid || this.#unanswered > 0 || this.#closed) return;
    this.#state = 'off';
    this.#unsaid = false;
    this.#flushBatch();
    if (this.#endReason === null) this.#from = null;
    this.#given = false;
    this.#pass(this.#takeBehind());
  }

  // ---- reading ----

  /** Whether everything after the position can be read, up to the newest change. */
  covers(position: Position): boolean {
    const journal = this.#journal;
    if (this.#from === null || journal === null || this.#state === 'ending') return false;
    return (
      comparePositions(position, this.#from) >= 0 &&
      (comparePositions(position, journal.status().start) >= 0 || comparePositions(position, journal.end) >= 0)
    );
  }

  read(after: Position, onMore: () => void): JournalReader | null {
    return this.covers(after) ? (this.#journal?.read(after, { onMore }) ?? null) : null;
  }

  distanceFrom(position: Position): Distance {
    return this.#journal?.distanceFrom(position) ?? { records: 0, bytes: 0, oldestWallMs: null };
  }

  /** Legs, the own one too, have everything up to the position on their media (R5). */
  release(position: Position): void {
    this.#released = furtherOf(this.#released, position);
    this.#journal?.release(position);
    this.retry();
  }

  /** About once a second. */
  tick(): void {
    this.retry();
    void this.#reopen();
    if (this.#options.environment.clock.monotonicMs() >= this.#moveAgainAtMs) void this.#move();
    const journal = this.#journal;
    if (journal === null || this.#state !== 'on') return;
    const { warning } = this;
    if (warning !== null && !this.#warned) this.#options.event('log', warning);
    this.#warned = warning !== null;
  }

  status(): JournalStatus | null {
    return this.#journal?.status() ?? null;
  }

  /** When the oldest of it was logged, wall clock; null when it is empty. */
  get oldestAtMs(): number | null {
    return this.#journal?.segments[0]?.header.wallMs ?? null;
  }

  /** The document, or the mode of a leg, has changed. */
  follow(settings: LogSettings): void {
    const before = this.#settings;
    this.#settings = settings;
    const journal = this.#journal;
    if (journal === null) return;
    const { entry, synchronous } = settings;
    if (entry.sizeBytes !== before.entry.sizeBytes) {
      journal.setCapacity(entry.sizeBytes);
      this.retry();
    }
    void this.#move();
    journal.setRetention(entry.retentionMs, entry.retentionBytes);
    if (synchronous === before.synchronous) return;
    // Answers for what is not on the medium yet are given only once the metadata says so.
    if (synchronous || this.#state !== 'on') journal.setSynchronous(synchronous);
    else this.#sayAhead(() => journal.setSynchronous(this.#settings.synchronous));
  }

  /** Ends the stretch, and removes all that the log holds once changes go without it. */
  async remove(): Promise<void> {
    this.end('the log was removed');
    while (this.#state !== 'off') {
      await pause(this.#options.environment.clock, removeLookMs);
      if (this.#closed) return;
    }
    this.#closed = true;
    await this.#journal?.remove();
    this.#journal = null;
    this.#options.leg.metadata.change({ logPlaces: [] });
    await this.#options.leg.save();
  }

  /** Removes what a log that no owner has open left in its places on this node. */
  static async discard(environment: Environment, leg: LocalLeg): Promise<void> {
    const { logPlaces } = leg.state;
    if (logPlaces.length === 0) return;
    const journal = await Journal.open(environment, {
      ...journalDefaults,
      group: leg.group,
      start: origin,
      folders: logPlaces,
      capacityBytes: 0,
      synchronous: true,
    });
    await journal.remove();
    leg.metadata.change({ logPlaces: [] });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#journal?.close();
    this.#journal = null;
  }
}

function samePlaces(one: readonly string[], two: readonly string[]): boolean {
  return one.length === two.length && one.every((place) => two.includes(place));
}

/** So that there are at least sixteen: space is given back by whole segments. */
function segmentBytesFor(sizeBytes: number): number {
  return Math.min(journalDefaults.segmentBytes, Math.max(64 * 1024, Math.floor(sizeBytes / 16)));
}
