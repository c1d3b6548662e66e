/**
 * The segment being written: where its next entry goes, what of it is on the medium, how it is ended.
 *
 * Invariant: no place is written twice. A write that failed may have left anything behind the segment's end, and an index
 * that was begun something at it: then the segment is `ended`, and is only closed.
 */
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Position } from '../stream/position.ts';
import { encodeEntry, type EntryStamp, type IndexPoint } from './entry.ts';
import type { Round } from './round.ts';
import type { SegmentWriter } from './segment-copies.ts';
import { sectorBytes } from './segment-header.ts';
import { emptySegment, type Segment } from './segment-table.ts';

export class LiveSegment {
  readonly segment: Segment;
  /** Something that failed may lie behind its end: nothing more goes here. */
  ended = false;
  readonly #tag: string;
  readonly #writer: SegmentWriter;
  readonly #points: IndexPoint[] = [];
  /** Where the next entry goes. What is answered for may end before. */
  #offset: number = sectorBytes;
  /** Number of the last entry written; of the last one known to be on the medium. */
  #written = 0;
  #synced = 0;
  /** Of the newest record written; known to be on the medium. */
  #position: Position;
  #syncedPosition: Position;
  #noted = true;

  constructor(header: Segment['header'], writer: SegmentWriter) {
    this.segment = { ...emptySegment(header, writer.copies), points: this.#points };
    this.#tag = header.journalId.slice(0, 16);
    this.#writer = writer;
    this.#position = header.after;
    this.#syncedPosition = header.after;
  }

  get written(): number {
    return this.#written;
  }

  get isSynced(): boolean {
    return this.#synced === this.#written;
  }

  /** Everything up to it is on the medium. */
  get syncedPosition(): Position {
    return this.#syncedPosition;
  }

  /** The last entry is a note: all before it is known to be on the medium. */
  get noted(): boolean {
    return this.#noted;
  }

  /** Offset of the newest index point. */
  get pointAt(): number {
    return this.#points.at(-1)?.offset ?? sectorBytes;
  }

  /** Of the next entry. */
  stamp(wallMs: number): EntryStamp {
    return {
      tag: this.#tag,
      segment: this.segment.header.number,
      offset: this.#offset,
      number: this.#written + 1,
      synced: this.#synced,
      wallMs,
      position: this.#position,
    };
  }

  async write(round: Round): Promise<void> {
    await this.#writer.writeAt(this.#offset, round.contents);
    this.#offset += round.bytes;
    this.#written += round.entries;
    this.#position = round.position;
    this.#noted = round.noted;
    this.#points.push(...round.points);
  }

  /** What was written is answered for: readers may read it. */
  stored(round: Round, wallMs: number): void {
    const { segment } = this;
    segment.endBytes = this.#offset;
    segment.last = round.position;
    segment.records += round.records;
    segment.dataBytes += round.dataBytes;
    if (round.bytes > 0) segment.lastWallMs = wallMs;
  }

  async sync(): Promise<void> {
    const written = this.#written;
    const position = this.#position;
    if (this.#synced >= written) return;
    try {
      await this.#writer.sync();
    } catch (error) {
      // Even for want of space: what an earlier write was answered for may be lost, and no later sync would tell (R10).
      throw new HoldfastError('E_IO', `a flush failed: ${messageOf(error)}`, { cause: error });
    }
    if (written <= this.#synced) return;
    this.#synced = written;
    this.#syncedPosition = position;
  }

  /** Nothing more is written; what was is on the medium, with an index where the segment was not `ended` before. */
  async end(wallMs: number): Promise<void> {
    if (!this.ended) {
      const entry = encodeEntry(this.stamp(wallMs), { kind: 'index', points: this.#points });
      const indexAt = this.#offset;
      // From here on the segment is only closed: a second index after a failure would be written over the first.
      this.ended = true;
      await this.#writer.writeAt(indexAt, entry);
      this.#written++;
      this.segment.endBytes = indexAt + entry.length;
      this.segment.indexAt = indexAt;
    }
    await this.sync();
  }

  async close(): Promise<void> {
    // Its index has them, if it has any.
    if (this.segment.indexAt > 0) this.segment.points = null;
    await this.#writer.close();
  }
}
