/**
 * What is known in memory of each segment of a log, oldest first: enough to find a position and to count what lies beyond
 * it, and of a size that depends on the number of segments alone. Within a segment places are found by its points (about
 * one a mebibyte; kept for the segment being written, read from its index otherwise).
 *
 * Invariant: segments are consecutive and ascending; a segment's records lie after its `header.after`, up to `last`.
 */
import { comparePositions, type Position } from '../stream/position.ts';
import type { IndexPoint } from './entry.ts';
import { sectorBytes, type SegmentHeader } from './segment-header.ts';

export interface Segment {
  readonly header: SegmentHeader;
  /** Copies that hold it. */
  copies: readonly number[];
  /** Offset behind the last entry that may be read. */
  endBytes: number;
  /** Of its index; 0 where it has none. */
  indexAt: number;
  last: Position;
  /** Through its end, of the whole log. */
  records: number;
  dataBytes: number;
  /** Of its last entry. */
  lastWallMs: number;
  /** Null where they must be read from the index. */
  points: readonly IndexPoint[] | null;
}

/** As it is when it has been made: without an entry. */
export function emptySegment(header: SegmentHeader, copies: readonly number[]): Segment {
  return {
    header,
    copies,
    endBytes: sectorBytes,
    indexAt: 0,
    last: header.after,
    records: header.recordsBefore,
    dataBytes: header.dataBytesBefore,
    lastWallMs: header.wallMs,
    points: null,
  };
}

export interface Distance {
  readonly records: number;
  /** Of data. */
  readonly bytes: number;
  /** When the oldest of the records was written, since 1970; null when there is none. */
  readonly oldestWallMs: number | null;
}

/** Distance between points of a segment, in bytes of log. */
export const pointEveryBytes = 1024 * 1024;

export class SegmentTable {
  readonly #segments: Segment[] = [];
  /** Of all but the newest. */
  #closedBytes = 0;

  constructor(segments: readonly Segment[]) {
    for (const segment of segments) this.push(segment);
  }

  get all(): readonly Segment[] {
    return this.#segments;
  }

  get oldest(): Segment | undefined {
    return this.#segments[0];
  }

  get newest(): Segment | undefined {
    return this.#segments.at(-1);
  }

  get usedBytes(): number {
    return this.#closedBytes + (this.newest?.endBytes ?? 0);
  }

  push(segment: Segment): void {
    this.#closedBytes += this.newest?.endBytes ?? 0;
    this.#segments.push(segment);
  }

  /** Never the newest. */
  removeOldest(): void {
    this.#closedBytes -= this.#segments.shift()?.endBytes ?? 0;
  }

  /**
   * The segment with the first record after `position`, or the newest when there is none yet; null when records directly
   * after it have been removed, or were never logged.
   */
  holding(position: Position): Segment | null {
    const segment = this.#firstBeyond(position) ?? this.newest;
    return segment === undefined || comparePositions(position, segment.header.after) < 0 ? null : segment;
  }

  #firstBeyond(position: Position): Segment | undefined {
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const segment = this.#segments[middle];
      if (segment !== undefined && comparePositions(segment.last, position) > 0) high = middle;
      else low = middle + 1;
    }
    return this.#segments[low];
  }

  /** Exact for records where the log lacks none of a generation, else by proportion within a segment. */
  distanceFrom(position: Position): Distance {
    const { newest } = this;
    const segment = this.#firstBeyond(position);
    if (newest === undefined || segment === undefined) {
      return { records: 0, bytes: 0, oldestWallMs: null };
    }
    const { header } = segment;
    const count = segment.records - header.recordsBefore;
    const base = segment.last.generation === header.after.generation ? header.after.seq : 0;
    const passed = position.generation === segment.last.generation ? position.seq - base : 0;
    const skipped = Math.min(Math.max(passed, 0), count);
    const share = count === 0 ? 1 : skipped / count;
    return {
      records: newest.records - header.recordsBefore - skipped,
      bytes:
        newest.dataBytes - header.dataBytesBefore - Math.round(share * (segment.dataBytes - header.dataBytesBefore)),
      oldestWallMs: Math.round(header.wallMs + share * Math.max(0, segment.lastWallMs - header.wallMs)),
    };
  }
}

/** Where to begin to read for the first record after `position`. */
export function offsetFor(points: readonly IndexPoint[], position: Position, firstOffset: number): number {
  const point = points.findLast(({ after }) => comparePositions(after, position) <= 0);
  return point?.offset ?? firstOffset;
}
