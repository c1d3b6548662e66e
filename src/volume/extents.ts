/**
 * A set of bytes of a volume, as sorted ranges that neither overlap nor touch.
 *
 * Invariant: the set holds every byte that was added and not removed since, and at most `extentsMax` ranges. Beyond that
 * it closes the smallest gaps, so it may hold *more* than was added: users take it for "may have changed", never for
 * "has not". Gaps are closed a sixteenth of the maximum at a time: one by one would search all gaps with every range
 * added.
 *
 * Encoding (little-endian):
 *
 *   u32 count, then for each range, ascending: u64 offset, u64 length
 */
import { assert } from '../base/assert.ts';
import { decode, type Decoded, type Reader, Writer } from '../base/codec.ts';

/** Bytes; `length` is above zero. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

const headerBytes = 4;
const extentBytes = 16;

export class ExtentSet implements Iterable<Extent> {
  /** Range `i` is [starts[i], ends[i]); both arrays ascend, and ends[i] < starts[i + 1]. */
  #starts: number[] = [];
  #ends: number[] = [];
  #bytes = 0;
  readonly #extentsMax: number;

  constructor(extentsMax = 65_536) {
    assert(extentsMax >= 1, 'an extent set holds at least one range');
    this.#extentsMax = extentsMax;
  }

  get count(): number {
    return this.#starts.length;
  }

  get totalBytes(): number {
    return this.#bytes;
  }

  isEmpty(): boolean {
    return this.#starts.length === 0;
  }

  add(offset: number, length: number): void {
    assertRange(offset, length);
    if (length === 0) return;
    const first = firstAtLeast(this.#ends, offset);
    const after = firstAbove(this.#starts, offset + length);
    let start = offset;
    let end = offset + length;
    if (after > first) {
      start = Math.min(start, at(this.#starts, first));
      end = Math.max(end, at(this.#ends, after - 1));
    }
    this.#replace(first, after, [start], [end]);
    if (this.count > this.#extentsMax) this.#closeGaps();
  }

  /** May leave a middle in the set when cutting a range in two would be one too many. */
  remove(offset: number, length: number): void {
    assertRange(offset, length);
    if (length === 0) return;
    const end = offset + length;
    const first = firstAbove(this.#ends, offset);
    const after = firstAtLeast(this.#starts, end);
    if (after <= first) return;
    const starts: number[] = [];
    const ends: number[] = [];
    const firstStart = at(this.#starts, first);
    const lastEnd = at(this.#ends, after - 1);
    if (firstStart < offset) {
      starts.push(firstStart);
      ends.push(offset);
    }
    if (end < lastEnd) {
      starts.push(end);
      ends.push(lastEnd);
    }
    this.#replace(first, after, starts, ends);
    if (this.count > this.#extentsMax) this.#closeGaps();
  }

  overlaps(offset: number, length: number): boolean {
    if (length === 0) return false;
    const start = this.#starts[firstAbove(this.#ends, offset)];
    return start !== undefined && start < offset + length;
  }

  /** Adds all of `other`. */
  union(other: ExtentSet): void {
    const starts: number[] = [];
    const ends: number[] = [];
    let bytes = 0;
    let mine = 0;
    let theirs = 0;
    while (mine < this.count || theirs < other.count) {
      const takeMine = (this.#starts[mine] ?? Infinity) <= (other.#starts[theirs] ?? Infinity);
      const start = takeMine ? at(this.#starts, mine) : at(other.#starts, theirs);
      const end = takeMine ? at(this.#ends, mine++) : at(other.#ends, theirs++);
      const lastEnd = ends.at(-1);
      if (lastEnd === undefined || start > lastEnd) {
        starts.push(start);
        ends.push(end);
        bytes += end - start;
      } else if (end > lastEnd) {
        ends[ends.length - 1] = end;
        bytes += end - lastEnd;
      }
    }
    this.#starts = starts;
    this.#ends = ends;
    this.#bytes = bytes;
    if (this.count > this.#extentsMax) this.#closeGaps();
  }

  clear(): void {
    this.#starts = [];
    this.#ends = [];
    this.#bytes = 0;
  }

  clone(): ExtentSet {
    const copy = new ExtentSet(this.#extentsMax);
    copy.#starts = this.#starts.slice();
    copy.#ends = this.#ends.slice();
    copy.#bytes = this.#bytes;
    return copy;
  }

  /** Ascending. The set must not change meanwhile. */
  *[Symbol.iterator](): Iterator<Extent> {
    for (let i = 0; i < this.#starts.length; i++) {
      const offset = at(this.#starts, i);
      yield { offset, length: at(this.#ends, i) - offset };
    }
  }

  encode(): Uint8Array {
    const lengthBytes = headerBytes + this.count * extentBytes;
    const writer = new Writer(lengthBytes, lengthBytes).u32(this.count);
    for (const { offset, length } of this) writer.u64(offset).u64(length);
    return writer.finish();
  }

  /** A set of more than `extentsMax` ranges is coarsened. */
  static read(reader: Reader, extentsMax?: number): ExtentSet {
    const set = new ExtentSet(extentsMax);
    let lastEnd = -1;
    for (let count = reader.u32(); count > 0; count--) {
      const start = reader.u64();
      const length = reader.u64();
      const end = start + length;
      if (start <= lastEnd || length === 0 || !Number.isSafeInteger(end)) {
        reader.fail(`range ${start} + ${length} after one that ends at ${lastEnd}`);
      }
      set.#starts.push(start);
      set.#ends.push(end);
      set.#bytes += length;
      lastEnd = end;
    }
    if (set.count > set.#extentsMax) set.#closeGaps();
    return set;
  }

  static decode(encoded: Uint8Array, extentsMax?: number): Decoded<ExtentSet> {
    return decode(encoded, (reader) => ExtentSet.read(reader, extentsMax));
  }

  #replace(first: number, after: number, starts: readonly number[], ends: readonly number[]): void {
    for (let i = first; i < after; i++) this.#bytes -= at(this.#ends, i) - at(this.#starts, i);
    for (let i = 0; i < starts.length; i++) this.#bytes += at(ends, i) - at(starts, i);
    this.#starts.splice(first, after - first, ...starts);
    this.#ends.splice(first, after - first, ...ends);
  }

  #closeGaps(): void {
    const aim = Math.max(1, this.#extentsMax - (this.#extentsMax >> 4));
    const gaps = new Float64Array(this.count - 1).map((_, i) => at(this.#starts, i + 1) - at(this.#ends, i));
    let toClose = this.count - aim;
    const widest = gaps.toSorted()[toClose - 1] ?? 0;
    const starts = [at(this.#starts, 0)];
    const ends: number[] = [];
    for (let i = 1; i < this.count; i++) {
      const gap = gaps[i - 1] ?? 0;
      if (gap <= widest && toClose > 0) {
        toClose--;
        this.#bytes += gap;
      } else {
        ends.push(at(this.#ends, i - 1));
        starts.push(at(this.#starts, i));
      }
    }
    ends.push(at(this.#ends, this.count - 1));
    this.#starts = starts;
    this.#ends = ends;
  }
}

function assertRange(offset: number, length: number): void {
  // Messages are made only when needed: these functions run for every write of an outage.
  if (offset >= 0 && length >= 0 && Number.isSafeInteger(offset + length)) return;
  assert(false, `range ${offset} + ${length} is no byte range`);
}

/** Index of the first value at or above `bound` in an ascending array; its length when there is none. */
function firstAtLeast(values: readonly number[], bound: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (at(values, middle) < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The same above `bound`; bounds are whole numbers. */
function firstAbove(values: readonly number[], bound: number): number {
  return firstAtLeast(values, bound + 1);
}

function at(values: readonly number[], index: number): number {
  const value = values[index];
  if (value === undefined) assert(false, `no range ${index} of ${values.length}`);
  return value;
}
