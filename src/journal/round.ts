/**
 * One round of appending: the entries that go into a segment with one write, made of what waits. No I/O.
 *
 * Entries lie one after another in memory as they will in the segment. A round takes no more than fits into the segment,
 * except that an empty segment takes one entry of any length.
 */
import { comparePositions, type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import {
  encodeEntry,
  encodeRecordsEntry,
  entryDataBytesMax,
  recordsEntryBytes,
  recordsPerEntryMax,
  type EntryBody,
  type EntryStamp,
  type IndexPoint,
} from './entry.ts';
import { sectorBytes } from './segment-header.ts';
import { pointEveryBytes } from './segment-table.ts';

/** Where the round goes: `offset`, `number` and `position` are of its first entry and of what precedes it. */
export interface RoundStart extends EntryStamp {
  /** Offset of the segment's newest index point. */
  readonly pointAt: number;
  readonly segmentBytes: number;
}

/** A round takes no more once it is about this long. */
const roundBytesMax = 4 * 1024 * 1024;
/** Longer rounds, of one large record, get memory of their own. */
const memoryBytesMax = 2 * roundBytesMax;

/** Memory for one round after another; as large as the largest was. */
export class RoundMemory {
  #bytes = new Uint8Array(64 * 1024);

  /** A view; what was taken before `from` may move, with its contents. Null for more than a round should have. */
  take(from: number, bytes: number): Uint8Array | null {
    const end = from + bytes;
    if (end > memoryBytesMax) return null;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.min(memoryBytesMax, Math.max(end, this.#bytes.length * 2)));
      larger.set(this.#bytes.subarray(0, from));
      this.#bytes = larger;
    }
    return this.#bytes.subarray(from, end);
  }
}

export class Round {
  readonly points: IndexPoint[] = [];
  bytes = 0;
  entries = 0;
  records = 0;
  dataBytes = 0;
  /** Of the newest record up to its end. */
  position: Position;
  /** Its last entry is a note. */
  noted = false;
  readonly #start: RoundStart;
  readonly #memory: RoundMemory;
  /** Entries that did not fit into the memory; then the round is these alone. */
  #large: Uint8Array | null = null;

  constructor(start: RoundStart, memory: RoundMemory) {
    this.#start = start;
    this.#memory = memory;
    this.position = start.position;
  }

  /** To be written at the start's offset. */
  get contents(): Uint8Array {
    return this.#large ?? this.#memory.take(0, this.bytes) ?? new Uint8Array(0);
  }

  takeBody(body: Exclude<EntryBody, { kind: 'records' }>): boolean {
    // What it will be long is known only when it is made: tables are small.
    const entry = encodeEntry(this.#stamp(), body);
    const room = this.#fits(entry.length) ? this.#room(entry.length) : null;
    if (room === null) return false;
    room.set(entry);
    this.#add(room);
    this.noted = body.kind === 'note';
    return true;
  }

  /** As many of the records as one entry takes, from `first` on; returns how many. */
  takeRecords(records: readonly StreamRecord[], first: number): number {
    let dataBytes = 0;
    let count = 0;
    for (; count < recordsPerEntryMax; count++) {
      const record = records[first + count];
      if (record === undefined) break;
      const length = record.data?.length ?? 0;
      if (count > 0 && dataBytes + length > entryDataBytesMax) break;
      if (!this.#fits(recordsEntryBytes(count + 1, dataBytes + length))) break;
      dataBytes += length;
    }
    const taken = records.slice(first, first + count);
    const last = taken.at(-1);
    const room = last === undefined ? null : this.#room(recordsEntryBytes(count, dataBytes));
    if (last === undefined || room === null) return 0;
    const offset = this.#start.offset + this.bytes;
    if (offset - (this.points.at(-1)?.offset ?? this.#start.pointAt) >= pointEveryBytes) {
      this.points.push({ offset, after: this.position });
    }
    this.position = { generation: last.generation, seq: last.seq };
    this.#add(encodeRecordsEntry(this.#stamp(), taken, room));
    this.records += count;
    this.dataBytes += dataBytes;
    this.noted = false;
    return count;
  }

  #fits(bytes: number): boolean {
    const offset = this.#start.offset + this.bytes;
    if (this.bytes > 0 && this.bytes + bytes > roundBytesMax) return false;
    return offset === sectorBytes || offset + bytes <= this.#start.segmentBytes;
  }

  /** Null when the round must be written first. */
  #room(bytes: number): Uint8Array | null {
    const room = this.#large === null ? this.#memory.take(this.bytes, bytes) : null;
    if (room !== null || this.bytes > 0) return room;
    this.#large = new Uint8Array(bytes);
    return this.#large;
  }

  #stamp(): EntryStamp {
    const { tag, segment, offset, number, synced, wallMs } = this.#start;
    const { position } = this;
    return { tag, segment, offset: offset + this.bytes, number: number + this.entries, synced, wallMs, position };
  }

  #add(entry: Uint8Array): void {
    this.bytes += entry.length;
    this.entries++;
  }
}

/** Whether the records continue what is there. */
export function ascends(records: readonly StreamRecord[], after: Position): boolean {
  let before = after;
  for (const record of records) {
    if (comparePositions(record, before) <= 0) return false;
    before = record;
  }
  return true;
}
