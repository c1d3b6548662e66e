/**
 * The log of one group: its records, with data, in the group's order, on disk. Written by the group's owner, read by a
 * reader for each leg that was away; kept as history for a while afterwards (TL-9, TL-16, BY-3).
 *
 * Invariants:
 * - What `append` answered for is stored in every copy in use: on the medium in synchronous mode; else written, and on
 *   the medium at most `flushIntervalMs` later.
 * - Records are in ascending order; once one was not stored, none after it is until `retry`: the log ends, it has no gap.
 * - No segment is removed that holds a record beyond the position released, or beyond an open reader's.
 * - Answers come in a turn of their own, never inside the call.
 *
 * All that waits goes into one write and, in synchronous mode, one flush: a round. Rounds run one at a time.
 *
 * What waits here is bounded by those who append: a host waits for its answer. What overflow does to hosts, which of two
 * histories is right, and when to let go of history are the group's to decide.
 */
import { assert } from '../base/assert.ts';
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf, type ErrorCode } from '../base/errors.ts';
import { randomHex } from '../base/random.ts';
import { formatSize } from '../base/units.ts';
import { comparePositions, formatPosition, origin, type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import { Fifo } from '../stream/fifo.ts';
import { markNameBytesMax, recordsPerEntryMax, type EntryBody, type Member } from './entry.ts';
import { FillForecast } from './fill-forecast.ts';
import { LiveSegment } from './live-segment.ts';
import { openLog, type OpenedLog } from './opening.ts';
import { Relocation } from './relocation.ts';
import { JournalReader, type ReaderOptions } from './reader.ts';
import { ascends, Round, RoundMemory } from './round.ts';
import { SegmentCopies, type CopyStatus } from './segment-copies.ts';
import { decodeSegmentHeader, encodeSegmentHeader, sectorBytes, type SegmentHeader } from './segment-header.ts';
import { SegmentTable, type Distance, type Segment } from './segment-table.ts';
import type { Damage } from './segment-walk.ts';

export interface JournalSettings {
  readonly group: string;
  /** Where a log that is made now begins: the last position that will not be in it. */
  readonly start: Position;
  /**
   * One, or two with the same contents, on different disks: folders, made when they are missing, or block devices, or files
   * used as such. Until a move has ended, those it leaves and those it goes to.
   */
  readonly folders: readonly string[];
  /**
   * What is on a device, and is not a log's, may be overwritten: only where the user asks for it. A device whose first MiB
   * is zeroes is free for all.
   */
  readonly initialise?: boolean;
  /** All segments together; the log is full beyond it. */
  readonly capacityBytes: number;
  /** A segment ends before the entry that would make it longer; one entry is always taken. */
  readonly segmentBytes: number;
  /** Whether answers wait for the medium. */
  readonly synchronous: boolean;
  /** Longest time for which what was written may not be on the medium. */
  readonly flushIntervalMs: number;
  /** Released history is kept for this long, */
  readonly retentionMs: number;
  /** but not more of it than this. */
  readonly retentionBytes: number;
}

export const journalDefaults = {
  segmentBytes: 64 * 1024 * 1024,
  flushIntervalMs: 1000,
  retentionMs: 0,
  retentionBytes: Number.MAX_SAFE_INTEGER,
} as const;

/**
 * - `open`: takes records.
 * - `full`: there was no space; takes none until `retry`.
 * - `failed`: no copy can be written any more; takes none until it is opened anew.
 * - `closed`
 */
export type JournalState = 'open' | 'full' | 'failed' | 'closed';

export interface JournalStatus {
  readonly state: JournalState;
  /** Empty while open. */
  readonly reason: string;
  readonly copies: readonly CopyStatus[];
  /** Records after it can be read. */
  readonly start: Position;
  /** Of the newest record answered for. */
  readonly end: Position;
  /** Everything up to it is on the medium. */
  readonly durable: Position;
  readonly segments: number;
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  /** At the recent rate; null when it is not filling. */
  readonly fullInMs: number | null;
}

export type Done = (error: HoldfastError | null) => void;

type World = Pick<Environment, 'clock' | 'turn' | 'random' | 'files' | 'log'>;

/** After so much quiet a segment is told that its last entry was synced. */
const noteAfterMs = 200;

type Waiting =
  | { readonly kind: 'records'; readonly records: readonly StreamRecord[]; readonly done: Done }
  | { readonly kind: 'body'; readonly body: Exclude<EntryBody, { kind: 'records' }>; readonly done: Done }
  | { readonly kind: 'flush'; readonly done: Done }
  /** Nothing before it is in the same segment as anything after it. */
  | { readonly kind: 'border'; readonly cross: () => void; readonly done: Done };

export class Journal {
  readonly #world: World;
  readonly #settings: JournalSettings;
  readonly #copies: SegmentCopies;
  readonly #table: SegmentTable;
  readonly #journalId: string;
  readonly #forecast: FillForecast;
  readonly #memory = new RoundMemory();
  readonly #readers = new Set<JournalReader>();
  /** What was found when it was opened; readers find the rest. */
  readonly damages: readonly Damage[];
  /** Whether something that was being written, and not answered for, was cut off when it was opened. */
  readonly tornTail: boolean;
  #capacityBytes: number;
  #retentionMs: number;
  #retentionBytes: number;
  #synchronous: boolean;
  #generation: number;
  #generationId: string;
  #state: JournalState = 'open';
  /** Why it is not open. */
  #error: HoldfastError | null = null;
  #live: LiveSegment | null = null;
  readonly #queue = new Fifo<Waiting>();
  /** What comes next begins a segment. */
  #mustRoll = false;
  /** Records of the head of the queue that earlier rounds took. */
  #headTaken = 0;
  /** Answers that the round under way will allow. */
  #inHand: Done[] = [];
  /** Flushes that wait for the next sync to begin. */
  #flushes: Done[] = [];
  /** Of the newest record appended; of the newest one answered for. */
  #queued: Position;
  #end: Position;
  #released: Position = origin;
  #running: Promise<void> | null = null;
  #asked = false;
  /** In asynchronous mode, beside the rounds. */
  #syncing: Promise<void> | null = null;
  #flushTimer: Timer | null = null;
  #noteTimer: Timer | null = null;
  #trimming: Promise<void> | null = null;
  readonly #relocation: Relocation;
  /** The segment being removed. */
  #trimmed: Segment | null = null;
  #relocating: Promise<readonly Damage[]> | null = null;

  private constructor(world: World, settings: JournalSettings, copies: SegmentCopies, opened: OpenedLog) {
    this.#world = world;
    this.#settings = settings;
    this.#copies = copies;
    this.#table = new SegmentTable(opened.segments);
    this.#journalId = opened.journalId ?? randomHex(world.random, 16);
    this.damages = opened.damages;
    this.tornTail = opened.tornTail;
    this.#capacityBytes = settings.capacityBytes;
    this.#retentionMs = settings.retentionMs;
    this.#retentionBytes = settings.retentionBytes;
    this.#synchronous = settings.synchronous;
    const { newest } = this.#table;
    this.#end = newest?.last ?? settings.start;
    this.#queued = this.#end;
    this.#generation = newest?.header.generation ?? 0;
    this.#generationId = newest?.header.generationId ?? '';
    this.#forecast = new FillForecast(world.clock);
    this.#relocation = new Relocation({
      copies,
      table: this.#table,
      tag: this.#tag,
      isBusy: (segment) => segment === this.#live?.segment || segment === this.#trimmed,
    });
  }

  /**
   * Makes the log when there is none. Rejects with `E_METADATA` for one of a newer version or beyond recognition, with
   * `E_REFUSED` for another group's. What is damaged beyond that is in `damages`.
   */
  static async open(world: World, settings: JournalSettings): Promise<Journal> {
    const { group, folders, segmentBytes, initialise = false } = settings;
    const onDropped = (folder: string, reason: string): void =>
      world.log.warn(`log of group ${group}: the copy in ${folder} is not used any more: ${reason}`);
    const copies = new SegmentCopies(world, folders, { segmentBytes, initialise, onDropped });
    try {
      return new Journal(world, settings, copies, await openLog(copies, group));
    } catch (error) {
      await copies.close();
      throw error;
    }
  }

  /** Of the capacity, 0…1 and a little more. */
  get usedShare(): number {
    return this.#capacityBytes === 0 ? 1 : this.#table.usedBytes / this.#capacityBytes;
  }

  /** Drawn when the log was made: another one, in the same place, is not this. */
  get id(): string {
    return this.#journalId;
  }

  get state(): JournalState {
    return this.#state;
  }

  /** Of the newest record answered for; right after opening, of the newest that can be read. */
  get end(): Position {
    return this.#end;
  }

  /** Oldest first; the last one may still be written. */
  get segments(): readonly Segment[] {
    return this.#table.all;
  }

  status(): JournalStatus {
    const { usedBytes, oldest } = this.#table;
    const capacityBytes = Math.min(this.#capacityBytes, this.#copies.capacityBytes ?? Infinity);
    const freeBytes = Math.max(0, Math.min(capacityBytes - usedBytes, this.#copies.freeBytes ?? Infinity));
    return {
      state: this.#state,
      reason: this.#error?.message ?? '',
      copies: this.#copies.status,
      start: oldest?.header.after ?? this.#end,
      end: this.#end,
      durable: this.#live?.syncedPosition ?? this.#end,
      segments: this.#table.all.length,
      capacityBytes,
      usedBytes,
      freeBytes,
      fullInMs: this.#forecast.fullInMs(freeBytes),
    };
  }

  /** From the next write on. */
  setSynchronous(synchronous: boolean): void {
    this.#synchronous = synchronous;
  }

  /** May grow and shrink at any time; nothing that is there is removed for it. */
  setCapacity(capacityBytes: number): void {
    this.#capacityBytes = capacityBytes;
  }

  /** As the settings of the same names. */
  setRetention(retentionMs: number, retentionBytes: number): void {
    this.#retentionMs = retentionMs;
    this.#retentionBytes = retentionBytes;
    void this.#trim();
  }

  /** Before the first record of a tenure: its records begin a segment that bears its number and id. */
  beginGeneration(generation: number, id: string): void {
    this.#border(() => {
      this.#generation = generation;
      this.#generationId = id;
    });
  }

  /**
   * Records up to the position that were not appended so far never will be: another leg had them, or a copy is to bring
   * them. Readers that pass the place are told.
   */
  skipTo(position: Position): void {
    if (comparePositions(position, this.#queued) <= 0) return;
    this.#queued = position;
    this.#border(() => {
      this.#end = position;
    });
  }

  /** Ascending positions, beyond all appended before. `done(null)` when all of them are stored. */
  append(records: readonly StreamRecord[], done: Done): void {
    const last = records.at(-1);
    if (last !== undefined && this.#state === 'open') {
      const { generation, seq } = last;
      assert(
        ascends(records, this.#queued),
        `records up to ${formatPosition(last)} do not ascend from ${formatPosition(this.#queued)}`,
      );
      this.#queued = { generation, seq };
    }
    this.#enqueue({ kind: 'records', records, done });
  }

  /** A bookmark behind all that was appended; its name has at most `markNameBytesMax` bytes. */
  mark(name: string, done: Done): void {
    assert(Buffer.byteLength(name) <= markNameBytesMax, `a mark with a name of ${name.length} characters`);
    this.#enqueue({ kind: 'body', body: { kind: 'mark', name }, done });
  }

  /** The volumes that the records appended from now on are of. */
  setMembers(members: readonly Member[], done: Done): void {
    this.#enqueue({ kind: 'body', body: { kind: 'members', members }, done });
  }

  /** `done(null)` when all appended before is on the medium, in either mode. */
  flush(done: Done): void {
    this.#enqueue({ kind: 'flush', done });
  }

  /**
   * After `full`: takes records again, those after `end`; is full again when there still is no space. Whatever waited when
   * it became full was refused, and a `skipTo` or `beginGeneration` behind it forgotten.
   */
  retry(): void {
    if (this.#state !== 'full') return;
    this.#state = 'open';
    this.#error = null;
    this.#queued = this.#end;
  }

  /**
   * A reader of what comes after the position; null when some of that was removed: then the leg needs another source.
   * `onMore` is called, in a turn of its own, when a reader that had come to the end can go on.
   */
  read(after: Position, options: ReaderOptions = {}): JournalReader | null {
    if (this.#table.holding(after) === null && comparePositions(after, this.#end) < 0) return null;
    const world = { copies: this.#copies, table: this.#table, turn: this.#world.turn, tag: this.#tag };
    const reader = new JournalReader(world, after, options, () => this.#readers.delete(reader));
    this.#readers.add(reader);
    return reader;
  }

  /** No leg needs the records up to the position any more. */
  release(position: Position): void {
    if (comparePositions(position, this.#released) > 0) this.#released = position;
    this.#trimSoon();
  }

  /** What a leg at the position lacks. */
  distanceFrom(position: Position): Distance {
    return this.#table.distanceFrom(position);
  }

  /**
   * Moves the log while it is in use, to these one or two places: what is appended goes there at once, what there is
   * follows, and goes from where it was. A place that stays is kept; so a second copy is added, and one that failed is
   * rebuilt, by naming it beside the other. Resolves with what no copy had whole when all is there. Until then the log must
   * be opened with the places it leaves and those it goes to, and the move asked for again after that: the caller notes
   * down both before it calls. Rejects with `E_REFUSED` for a place that holds something else, `E_NO_SPACE` for one too
   * small, `E_BUSY` while it is moved or verified already.
   */
  moveTo(folders: readonly string[]): Promise<readonly Damage[]> {
    return this.#relocate(() => this.#move(folders));
  }

  /** Reads all that is not being written, in every copy, and mends a copy from the other. Resolves with what neither has. */
  verify(): Promise<readonly Damage[]> {
    return this.#relocate(() => this.#relocation.verify());
  }

  /** Closes the log and removes all of it from its places, nothing else. Folders stay; a device is free for anything. */
  async remove(): Promise<void> {
    await this.#shut();
    const newest = this.#table.newest?.header.number ?? 0;
    try {
      await this.#copies.removeAll((number, firstSector) => {
        const read = decodeSegmentHeader(firstSector);
        return read.kind === 'header' ? read.header.journalId === this.#journalId : number <= newest;
      });
    } finally {
      await this.#copies.close();
    }
  }

  /** When it resolves all that was answered for is on the medium, unless the log failed. Readers end. */
  async close(): Promise<void> {
    await this.#shut();
    await this.#copies.close();
  }

  async #relocate(work: () => Promise<Damage[]>): Promise<readonly Damage[]> {
    if (this.#state === 'failed' || this.#state === 'closed')
      throw this.#error ?? new HoldfastError('E_REFUSED', this.#name);
    if (this.#relocating !== null) {
      throw new HoldfastError('E_BUSY', `${this.#name} is being moved or verified: wait until that has ended`);
    }
    this.#relocating = work().finally(() => {
      this.#relocating = null;
      // It may have held what was released meanwhile.
      if (this.#state !== 'closed') this.#trimSoon();
    });
    return this.#relocating;
  }

  async #move(folders: readonly string[]): Promise<Damage[]> {
    await this.#copies.add(folders, (_number, firstSector) => {
      const read = decodeSegmentHeader(firstSector);
      return read.kind === 'blank' || (read.kind === 'header' && read.header.journalId === this.#journalId);
    });
    for (const segment of this.#table.all) {
      segment.copies = segment.copies.filter((index) => this.#copies.isThere(index));
    }
    this.#border(() => this.#copies.writeTo(folders));
    this.retry();
    // Begins a segment in the new places, so that the one being written is closed, too.
    await new Promise<void>((resolve, reject) => {
      const done: Done = (error) => (error === null ? resolve() : reject(error));
      this.#enqueue({ kind: 'body', body: { kind: 'note' }, done });
    });
    const damages: Damage[] = [];
    do {
      await this.#trimming;
      damages.push(...(await this.#relocation.fill()));
    } while (this.#relocation.segmentsLeft > 0);
    for (const index of this.#copies.left) await this.#copies.forget(index);
    return damages;
  }

  async #shut(): Promise<void> {
    this.#relocation.stop();
    await this.#relocating?.catch(() => {});
    if (this.#state === 'open') {
      await new Promise((resolve) => this.flush(resolve));
      this.#note();
      await new Promise((resolve) => this.flush(resolve));
    }
    if (this.#state === 'open') this.#stop('closed', new HoldfastError('E_REFUSED', `${this.#name} is closed`));
    this.#flushTimer?.cancel();
    this.#noteTimer?.cancel();
    await this.#running;
    await this.#syncing;
    // Full, it may still owe a flush; failed, there is no use in one.
    if (this.#live !== null && this.#state === 'full') await this.#live.sync().catch(() => {});
    await Promise.all([...this.#readers].map((reader) => reader.close()));
    await this.#live?.close();
    this.#live = null;
    await this.#trimming;
  }

  #border(cross: () => void): void {
    if (this.#state === 'open') this.#enqueue({ kind: 'border', cross, done: () => {} });
    else {
      cross();
      this.#mustRoll = true;
    }
  }

  /** All that arrived in this turn is written together. */
  endOfTurn(): void {
    this.#asked = false;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
      this.#ask();
    });
  }

  get #tag(): string {
    return this.#journalId.slice(0, 16);
  }

  get #name(): string {
    return `log of group ${this.#settings.group}`;
  }

  #enqueue(waiting: Waiting): void {
    if (this.#state === 'open') {
      this.#queue.push(waiting);
      this.#ask();
    } else this.#answer([waiting.done], this.#error);
  }

  #ask(): void {
    if (this.#asked || this.#running !== null || this.#queue.length === 0 || this.#state !== 'open') return;
    this.#asked = true;
    this.#world.turn.atEnd(this);
  }

  async #run(): Promise<void> {
    while (this.#queue.length > 0 && this.#state === 'open') {
      try {
        await this.#round();
      } catch (error) {
        this.#failed(error);
      }
    }
  }

  async #round(): Promise<void> {
    const head = this.#queue.peek();
    if (head?.kind === 'border') {
      head.cross();
      this.#mustRoll = true;
      this.#taken();
      return;
    }
    let live = this.#live;
    if (live === null && head?.kind === 'flush') {
      // Whatever there was before is on the medium since the log was opened.
      this.#answer([this.#taken()], null);
      return;
    }
    if (live === null || live.ended || (this.#mustRoll && head?.kind !== 'flush')) live = await this.#roll();
    let round = this.#build(live);
    if (round.bytes === 0 && this.#flushes.length === 0 && this.#inHand.length === 0) {
      live = await this.#roll();
      round = this.#build(live);
    }
    if (round.bytes > 0) {
      this.#needSpace(round.bytes);
      await live.write(round);
    }
    if (this.#synchronous) {
      const flushes = this.#flushes.splice(0);
      this.#inHand.push(...flushes);
      await live.sync();
    }
    this.#stored(live, round);
    if (this.#flushes.length > 0) this.#syncBeside();
    else if (!live.isSynced) this.#flushTimer ??= this.#after(this.#settings.flushIntervalMs, () => this.#flushDue());
    if (!live.noted) this.#noteSoon();
  }

  /** Of what waits, as much as one write takes. Empty when the first does not fit into the segment. */
  #build(live: LiveSegment): Round {
    const { segmentBytes } = this.#settings;
    const start = { ...live.stamp(this.#wallMs), pointAt: live.pointAt, segmentBytes };
    const round = new Round(start, this.#memory);
    for (let head = this.#queue.peek(); head !== undefined; head = this.#queue.peek()) {
      if (head.kind === 'border') break;
      if (head.kind === 'flush') {
        this.#flushes.push(this.#taken());
      } else if (head.kind === 'body') {
        if (!round.takeBody(head.body)) break;
        this.#inHand.push(this.#taken());
      } else if (this.#headTaken === head.records.length) {
        this.#inHand.push(this.#taken());
      } else if (!this.#takeRecords(round)) break;
    }
    return round;
  }

  /** One entry of the records that wait one behind another; false when the round takes none. */
  #takeRecords(round: Round): boolean {
    const records: StreamRecord[] = [];
    let skip = this.#headTaken;
    for (const waiting of this.#queue) {
      if (waiting.kind !== 'records' || records.length >= recordsPerEntryMax) break;
      for (let at = skip; at < waiting.records.length && records.length < recordsPerEntryMax; at++) {
        const record = waiting.records[at];
        if (record !== undefined) records.push(record);
      }
      skip = 0;
    }
    let taken = round.takeRecords(records, 0);
    if (taken === 0) return false;
    while (taken > 0) {
      const head = this.#queue.peek();
      if (head?.kind !== 'records') break;
      const left = head.records.length - this.#headTaken;
      if (left > taken) {
        this.#headTaken += taken;
        break;
      }
      taken -= left;
      this.#inHand.push(this.#taken());
    }
    return true;
  }

  /** Takes the head off the queue. */
  #taken(): Done {
    this.#headTaken = 0;
    const head = this.#queue.shift();
    assert(head, 'a round took more than waited');
    return head.done;
  }

  /** The round is stored, as far as the mode asks for it. */
  #stored(live: LiveSegment, round: Round): void {
    live.stored(round, this.#wallMs);
    this.#end = round.position;
    this.#forecast.add(round.bytes);
    this.#answer(this.#inHand.splice(0), null);
    for (const reader of this.#readers) reader.more();
  }

  /** A sync that writes do not wait for, on behalf of those who asked for a flush; then another if more have asked. */
  #syncBeside(): void {
    const live = this.#live;
    if (this.#syncing !== null || live === null) return;
    const flushes = this.#flushes.splice(0);
    this.#syncing = live
      .sync()
      .then(
        () => this.#answer(flushes, null),
        (error: unknown) => {
          this.#flushes.push(...flushes);
          this.#failed(error);
        },
      )
      .finally(() => {
        this.#syncing = null;
        if (this.#flushes.length > 0) this.#syncBeside();
      });
  }

  #flushDue(): void {
    this.#flushTimer = null;
    this.#syncBeside();
  }

  #noteSoon(): void {
    const live = this.#live;
    if (this.#noteTimer !== null || live === null) return;
    const { written } = live;
    this.#noteTimer = this.#after(noteAfterMs, () => {
      this.#noteTimer = null;
      if (live !== this.#live || live.ended) return;
      if (live.written === written && live.isSynced) this.#note();
      else this.#noteSoon();
    });
  }

  /** So that rot of the last entry is not taken for a torn tail. */
  #note(): void {
    if (this.#live === null || this.#live.ended || this.#live.noted) return;
    this.#enqueue({ kind: 'body', body: { kind: 'note' }, done: () => {} });
  }

  /** Ends the segment being written, if any, and begins the next. */
  async #roll(): Promise<LiveSegment> {
    const before = this.#live;
    await this.#syncing;
    await before?.end(this.#wallMs);
    this.#needSpace(sectorBytes);
    const previous = this.#table.newest;
    const header: SegmentHeader = {
      journalId: this.#journalId,
      group: this.#settings.group,
      number: (previous?.header.number ?? 0) + 1,
      generation: this.#generation,
      generationId: this.#generationId,
      after: this.#end,
      wallMs: this.#wallMs,
      recordsBefore: previous?.records ?? 0,
      dataBytesBefore: previous?.dataBytes ?? 0,
      previous: {
        endBytes: previous?.endBytes ?? 0,
        indexAt: previous?.indexAt ?? 0,
        last: previous?.last ?? origin,
      },
      oldest: this.#table.oldest?.header.number ?? 1,
    };
    const writer = await this.#copies.create(header.number, encodeSegmentHeader(header));
    await before?.close();
    const live = new LiveSegment(header, writer);
    this.#table.push(live.segment);
    this.#live = live;
    this.#mustRoll = false;
    return live;
  }

  #needSpace(bytes: number): void {
    const { usedBytes } = this.#table;
    if (usedBytes + bytes <= this.#capacityBytes) return;
    throw new HoldfastError(
      'E_NO_SPACE',
      `${formatSize(usedBytes)} of ${formatSize(this.#capacityBytes)} are used, ${bytes} bytes are needed`,
    );
  }

  #failed(error: unknown): void {
    if (this.#live !== null) this.#live.ended = true;
    const code: ErrorCode = error instanceof HoldfastError ? error.code : 'E_INTERNAL';
    const worded = new HoldfastError(code, `${this.#name}: ${messageOf(error)}`, { cause: error });
    this.#stop(code === 'E_NO_SPACE' ? 'full' : 'failed', worded);
    this.#world.log.error(worded.message, { state: this.#state });
  }

  /** Nothing more is taken; whoever waits is told. */
  #stop(state: Exclude<JournalState, 'open'>, error: HoldfastError): void {
    if (this.#state === 'failed' || this.#state === 'closed') return;
    this.#state = state;
    this.#error = error;
    this.#headTaken = 0;
    const waiting = this.#queue.drain().map(({ done }) => done);
    this.#answer([...this.#inHand.splice(0), ...this.#flushes.splice(0), ...waiting], error);
  }

  #answer(dones: readonly Done[], error: HoldfastError | null): void {
    for (const done of dones) this.#world.turn.defer(() => done(error));
  }

  #trimSoon(): void {
    this.#trimming ??= this.#trim().finally(() => {
      this.#trimming = null;
    });
  }

  async #trim(): Promise<void> {
    try {
      for (
        let oldest = this.#table.oldest;
        oldest !== undefined && this.#mayGo(oldest);
        oldest = this.#table.oldest
      ) {
        this.#trimmed = oldest;
        await this.#copies.remove(oldest.header.number);
        this.#table.removeOldest();
      }
    } catch (error) {
      this.#world.log.warn(`${this.#name}: its oldest segment cannot be removed: ${messageOf(error)}`);
    }
    this.#trimmed = null;
  }

  #mayGo(oldest: Segment): boolean {
    if (oldest === this.#table.newest || this.#relocation.holds(oldest)) return false;
    if (comparePositions(oldest.last, this.#released) > 0) return false;
    const { number } = oldest.header;
    for (const reader of this.#readers) if (reader.needsSegment <= number) return false;
    if (this.#wallMs - oldest.lastWallMs >= this.#retentionMs) return true;
    let releasedBytes = 0;
    for (const { last, endBytes } of this.#table.all) {
      if (comparePositions(last, this.#released) <= 0) releasedBytes += endBytes;
    }
    return releasedBytes > this.#retentionBytes;
  }

  get #wallMs(): number {
    return Math.max(0, Math.floor(this.#world.clock.wallMs()));
  }

  #after(delayMs: number, run: () => void): Timer {
    return this.#world.clock.after(delayMs, run);
  }
}
