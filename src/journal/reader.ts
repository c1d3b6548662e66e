/**
 * Reads a log in order, from a position on, while it is being written and trimmed: what a leg that was away is brought
 * up with. Any number at once.
 *
 * Invariants: records come in ascending order and each at most once; where some are missing, the item in their place says
 * so. Nothing is read that was not answered for. What is read ahead of the consumer is bounded in bytes, whatever the
 * backlog.
 */
import { assert } from '../base/assert.ts';
import { payloadMemory } from '../base/payload-memory.ts';
import type { Turn } from '../base/turn.ts';
import { comparePositions, type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import type { Member } from './entry.ts';
import type { SegmentCopies } from './segment-copies.ts';
import { sectorBytes } from './segment-header.ts';
import { offsetFor, type Segment, type SegmentTable } from './segment-table.ts';
import { justBefore, SegmentWalk, type Damage } from './segment-walk.ts';

/** `wallMs`: when it was written, since 1970. */
export type JournalItem =
  /** At most about a mebibyte of data, or one record. Whoever does not read the data any more may say so, once. */
  | {
      readonly kind: 'records';
      readonly records: readonly StreamRecord[];
      readonly wallMs: number;
      readonly done: () => void;
    }
  | { readonly kind: 'mark'; readonly name: string; readonly position: Position; readonly wallMs: number }
  | { readonly kind: 'members'; readonly members: readonly Member[]; readonly wallMs: number }
  | { readonly kind: 'damage'; readonly damage: Damage };

export interface ReaderOptions {
  readonly aheadBytesMax?: number;
  readonly onMore?: () => void;
}

export interface ReaderWorld {
  readonly copies: SegmentCopies;
  readonly table: SegmentTable;
  readonly turn: Turn;
  readonly tag: string;
}

const aheadBytesDefault = 4 * 1024 * 1024;
/** What a record costs besides its data, in bytes of it: many small ones are not read far ahead. */
const recordCost = 4096;

interface Place {
  readonly segment: Segment;
  readonly walk: SegmentWalk;
  offset: number;
  /** Of the entry that belongs there; 0 for any. */
  number: number;
}

export class JournalReader {
  readonly #world: ReaderWorld;
  readonly #aheadBytesMax: number;
  readonly #onMore: (() => void) | undefined;
  readonly #onClosed: () => void;
  readonly #ready: { readonly item: JournalItem; readonly bytes: number }[] = [];
  #readyBytes = 0;
  /** Of the newest record put into `#ready`. */
  #position: Position;
  /** Number of the segment it reads, or would: it is not removed. */
  #segment: number;
  #place: Place | null = null;
  /** Seen, but how far it reaches is known only with the next record. */
  #damage: Damage | null = null;
  #reading: Promise<void> | null = null;
  /** Of a consumer that waits for the first item. */
  #wake: (() => void) | null = null;
  #consumerWaits = false;
  #closed = false;

  constructor(world: ReaderWorld, after: Position, options: ReaderOptions, onClosed: () => void) {
    this.#world = world;
    this.#position = after;
    this.#aheadBytesMax = options.aheadBytesMax ?? aheadBytesDefault;
    this.#onMore = options.onMore;
    this.#onClosed = onClosed;
    this.#segment = world.table.holding(after)?.header.number ?? 0;
  }

  /** Segments from this number on are still to be read. */
  get needsSegment(): number {
    return this.#segment;
  }

  /** The next in order; null when there is none as yet, or the reader is closed. One call at a time. */
  async next(): Promise<JournalItem | null> {
    while (!this.#closed) {
      const ready = this.#ready.shift();
      if (ready !== undefined) {
        this.#readyBytes -= ready.bytes;
        void this.#readAhead();
        return ready.item;
      }
      if (this.#hasMore()) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          void this.#readAhead();
        });
        continue;
      }
      if (this.#damage !== null) {
        // Nothing readable follows as yet: it is not kept from the consumer until something does.
        const damage = this.#damage;
        this.#damage = null;
        return { kind: 'damage', damage };
      }
      this.#consumerWaits = true;
      return null;
    }
    return null;
  }

  /** The log was written further. */
  more(): void {
    if (!this.#consumerWaits || !this.#hasMore()) return;
    this.#consumerWaits = false;
    this.#world.turn.defer(() => {
      if (!this.#closed) this.#onMore?.();
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#reading;
    await this.#place?.walk.close();
    this.#place = null;
    this.#ready.length = 0;
    this.#onClosed();
  }

  #hasMore(): boolean {
    const { newest } = this.#world.table;
    if (newest === undefined) return false;
    const place = this.#place;
    if (place === null || place.segment !== newest) return true;
    return place.offset < newest.endBytes;
  }

  #readAhead(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = null;
      this.#wakeUp();
    });
    return this.#reading;
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  async #read(): Promise<void> {
    while (!this.#closed && this.#readyBytes < this.#aheadBytesMax && this.#hasMore()) await this.#step();
  }

  async #step(): Promise<void> {
    const place = this.#place ?? (await this.#enter());
    const { segment, walk } = place;
    const step = await walk.step(place.offset, place.number, segment.endBytes);
    if (step.kind === 'end') {
      if (segment === this.#world.table.newest) return;
      await walk.close();
      this.#segment = segment.header.number + 1;
      this.#place = null;
      return;
    }
    if (step.kind === 'damage') {
      const { offset } = place;
      const { number } = segment.header;
      this.#damage ??= { segment: number, offset, reason: step.reason, after: this.#position, upTo: null };
      place.offset = step.next ?? segment.endBytes;
      place.number = 0;
      return;
    }
    const { bytes, entry } = step;
    const { header, body } = entry;
    place.offset = step.next;
    place.number = header.number + 1;
    switch (body.kind) {
      case 'records':
        this.#putRecords(body.records, header.wallMs, bytes);
        break;
      case 'mark': {
        const { position, wallMs } = header;
        if (comparePositions(position, this.#position) >= 0) {
          this.#put({ kind: 'mark', name: body.name, position, wallMs }, header.bytes);
        }
        break;
      }
      case 'members':
        this.#put({ kind: 'members', members: body.members, wallMs: header.wallMs }, header.bytes);
        break;
      case 'note':
      case 'index':
        break;
    }
  }

  #putRecords(all: readonly StreamRecord[], wallMs: number, bytes: Uint8Array): void {
    const [first] = all;
    if (this.#damage !== null && first !== undefined && comparePositions(first, this.#position) > 0) {
      this.#put({ kind: 'damage', damage: { ...this.#damage, upTo: justBefore(first) } }, 0);
      this.#damage = null;
    }
    // The first entry read may begin before the position asked for; a write that was tried again may stand twice.
    const isNew = first !== undefined && comparePositions(first, this.#position) > 0;
    const records = isNew ? all : all.filter((record) => comparePositions(record, this.#position) > 0);
    const last = records.at(-1);
    if (last === undefined) return;
    this.#position = { generation: last.generation, seq: last.seq };
    payloadMemory.share(bytes);
    this.#put(
      { kind: 'records', records, wallMs, done: () => payloadMemory.give(bytes) },
      bytes.length + records.length * recordCost,
    );
  }

  #put(item: JournalItem, bytes: number): void {
    this.#ready.push({ item, bytes });
    this.#readyBytes += bytes;
    this.#wakeUp();
  }

  /** The segment after the one that was left, or the one with the position. */
  async #enter(): Promise<Place> {
    const { table, copies, tag } = this.#world;
    const segment = table.all.find(({ header }) => header.number >= this.#segment) ?? table.newest;
    assert(segment, 'a log has more to read but no segment');
    const { number } = segment.header;
    this.#segment = number;
    const walk = await SegmentWalk.open(copies, segment.copies, tag, number);
    const { after } = segment.header;
    if (comparePositions(this.#position, after) < 0) {
      const reason = 'nothing was logged there';
      this.#damage ??= { segment: number, offset: 0, reason, after: this.#position, upTo: null };
    }
    const offset = await this.#findOffset(segment, walk);
    this.#place = { segment, walk, offset, number: offset === sectorBytes ? 1 : 0 };
    return this.#place;
  }

  async #findOffset(segment: Segment, walk: SegmentWalk): Promise<number> {
    if (comparePositions(this.#position, segment.header.after) <= 0) return sectorBytes;
    let { points } = segment;
    if (points === null && segment.indexAt > 0) {
      const step = await walk.step(segment.indexAt, 0, segment.endBytes);
      const body = step.kind === 'entry' ? step.entry.body : null;
      points = body?.kind === 'index' ? body.points : null;
    }
    return offsetFor(points ?? [], this.#position, sectorBytes);
  }
}
