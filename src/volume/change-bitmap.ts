/**
 * Which chunks of a volume one leg may lack: a bit for each chunk of 64 KiB, coarser above 4 TiB so that the bitmap of
 * the largest volume (64 TiB) stays at 8 MiB.
 *
 * Invariant: a byte that was set and not cleared since lies in a set chunk. Setting rounds outward and clearing inward,
 * so the bitmap may name more than has changed, never less.
 *
 * Bits live in pages of 32,768, made when first needed. A page without a bit is absent and one with all its bits is the
 * shared `fullPage`: an untouched volume and a volume to be copied whole cost nothing.
 *
 * Encoding (little-endian):
 *
 *   u64 volume size, u32 chunk size, then a byte for each page (0 empty, 1 full, 2 literal), then the literal pages of
 *   4096 bytes, chunk `i` of a page being bit `i mod 8` of byte `i div 8`
 */
import { assert } from '../base/assert.ts';
import { decode, type Decoded, type Reader, Writer } from '../base/codec.ts';
import type { Extent } from './extents.ts';

const chunkBytesMin = 64 * 1024;
const chunksMax = 2 ** 26;
export const volumeBytesMax = 64 * 2 ** 40;

const pageChunks = 32_768;
const pageWords = pageChunks / 32;
const pageBytes = pageChunks / 8;
const headerBytes = 12;

type Page = Uint32Array;
/** Never written to. Also stands for a last page that covers fewer chunks: bits past the end are never looked at. */
const fullPage: Page = new Uint32Array(pageWords).fill(0xffff_ffff);

const pageKind = { empty: 0, full: 1, literal: 2 } as const;

export class ChangeBitmap {
  readonly sizeBytes: number;
  /** Bytes a bit stands for: a power of two; the last chunk may be shorter. */
  readonly chunkBytes: number;
  readonly #chunkCount: number;
  readonly #pages: (Page | undefined)[];
  /** Bits set in each page, those past the end never counted. */
  readonly #pageSetCounts: Uint16Array;
  #setCount = 0;

  /** @param sizeBytes of the volume, at most `volumeBytesMax`. */
  constructor(sizeBytes: number) {
    assert(sizeBytes > 0 && sizeBytes <= volumeBytesMax, `a volume of ${sizeBytes} bytes has no change bitmap`);
    this.sizeBytes = sizeBytes;
    this.chunkBytes = chunkBytesFor(sizeBytes);
    this.#chunkCount = Math.ceil(sizeBytes / this.chunkBytes);
    const pageCount = Math.ceil(this.#chunkCount / pageChunks);
    this.#pages = new Array<Page | undefined>(pageCount).fill(undefined);
    this.#pageSetCounts = new Uint16Array(pageCount);
  }

  isEmpty(): boolean {
    return this.#setCount === 0;
  }

  /** Bytes of the volume in set chunks. */
  get setBytes(): number {
    const lastIsSet = this.#nextSet(this.#chunkCount - 1) < this.#chunkCount;
    const beyondEnd = lastIsSet ? this.#chunkCount * this.chunkBytes - this.sizeBytes : 0;
    return this.#setCount * this.chunkBytes - beyondEnd;
  }

  /** Sets every chunk the range touches. */
  set(offset: number, length: number): void {
    this.#assertInside(offset, length);
    if (length === 0) return;
    const first = Math.floor(offset / this.chunkBytes);
    this.#change(first, Math.ceil((offset + length) / this.chunkBytes), true);
  }

  /** The part of the range that lies within the volume: regions, and what others describe, may end past it. */
  setClipped(offset: number, length: number): void {
    const clipped = Math.min(length, this.sizeBytes - offset);
    if (clipped > 0) this.set(offset, clipped);
  }

  /** Clears the chunks that lie wholly in the range; the volume's last, shorter one counts as a whole chunk. */
  clear(offset: number, length: number): void {
    this.#assertInside(offset, length);
    const end = offset + length;
    const after = end === this.sizeBytes ? this.#chunkCount : Math.floor(end / this.chunkBytes);
    this.#change(Math.ceil(offset / this.chunkBytes), after, false);
  }

  setAll(): void {
    this.#change(0, this.#chunkCount, true);
  }

  clearAll(): void {
    this.#change(0, this.#chunkCount, false);
  }

  /** Whether a chunk that the range touches is set. */
  overlaps(offset: number, length: number): boolean {
    this.#assertInside(offset, length);
    if (length === 0) return false;
    const after = Math.ceil((offset + length) / this.chunkBytes);
    return this.#nextSet(Math.floor(offset / this.chunkBytes), after) < after;
  }

  /**
   * The next set chunks without a gap, at or after the chunk `fromOffset` lies in, at most `maxBytes` of them but one
   * chunk at least; null when there is none. It starts at a chunk's start and ends at a chunk's or the volume's end, so
   * that clearing it clears all of it.
   */
  nextRun(fromOffset: number, maxBytes: number): Extent | null {
    // The end of a run is where the next call goes on; the volume's end may lie inside its last chunk.
    if (fromOffset >= this.sizeBytes) return null;
    const first = this.#nextSet(Math.floor(fromOffset / this.chunkBytes));
    if (first >= this.#chunkCount) return null;
    const limit = Math.min(this.#chunkCount, first + Math.max(1, Math.floor(maxBytes / this.chunkBytes)));
    const after = this.#nextClear(first, limit);
    const offset = first * this.chunkBytes;
    return { offset, length: Math.min(after * this.chunkBytes, this.sizeBytes) - offset };
  }

  /** Sets every chunk set in `other`, a bitmap of the same size. */
  union(other: ChangeBitmap): void {
    assert(other.sizeBytes === this.sizeBytes, `bitmaps of ${this.sizeBytes} and ${other.sizeBytes} bytes`);
    for (const [index, theirs] of other.#pages.entries()) {
      const mine = this.#pages[index];
      if (theirs === undefined || mine === fullPage) continue;
      if (theirs === fullPage) this.#settle(index, fullPage, this.#pageCapacity(index));
      else if (mine === undefined) this.#settle(index, theirs.slice(), other.#pageSetCounts[index] ?? 0);
      else {
        const merged = mine.map((word, at) => word | (theirs[at] ?? 0));
        this.#settle(index, merged, countBits(merged));
      }
    }
  }

  clone(): ChangeBitmap {
    const copy = new ChangeBitmap(this.sizeBytes);
    copy.union(this);
    return copy;
  }

  encode(): Uint8Array {
    const literals = this.#pages.filter((page) => page !== undefined && page !== fullPage);
    const lengthBytes = headerBytes + this.#pages.length + literals.length * pageBytes;
    const writer = new Writer(lengthBytes, lengthBytes).u64(this.sizeBytes).u32(this.chunkBytes);
    for (const page of this.#pages) {
      writer.u8(page === undefined ? pageKind.empty : page === fullPage ? pageKind.full : pageKind.literal);
    }
    for (const page of literals) if (page !== undefined) writer.raw(bytesOf(page));
    return writer.finish();
  }

  static read(reader: Reader): ChangeBitmap {
    const sizeBytes = reader.u64();
    if (sizeBytes === 0 || sizeBytes > volumeBytesMax) reader.fail(`bitmap of a volume of ${sizeBytes} bytes`);
    const bitmap = new ChangeBitmap(sizeBytes);
    const chunkBytes = reader.u32();
    if (chunkBytes !== bitmap.chunkBytes) reader.fail(`chunks of ${chunkBytes} bytes, not ${bitmap.chunkBytes}`);
    const kinds = reader.raw(bitmap.#pages.length);
    for (const [index, kind] of kinds.entries()) {
      const capacity = bitmap.#pageCapacity(index);
      if (kind === pageKind.full) bitmap.#settle(index, fullPage, capacity);
      else if (kind === pageKind.literal) {
        const page = pageOf(reader.raw(pageBytes));
        const strays = nextIn(page, capacity, pageChunks, 0);
        if (strays < pageChunks) reader.fail(`bit ${strays} of a page of ${capacity}`);
        bitmap.#settle(index, page, countBits(page));
      } else if (kind !== pageKind.empty) reader.fail(`page kind ${kind}`);
    }
    return bitmap;
  }

  static decode(encoded: Uint8Array): Decoded<ChangeBitmap> {
    return decode(encoded, (reader) => ChangeBitmap.read(reader));
  }

  /** Sets or clears the chunks [first, after). */
  #change(first: number, after: number, value: boolean): void {
    for (let chunk = first; chunk < after;) {
      const index = Math.floor(chunk / pageChunks);
      const pageStart = index * pageChunks;
      const capacity = this.#pageCapacity(index);
      const pageAfter = Math.min(after - pageStart, capacity);
      const from = chunk - pageStart;
      const page = this.#pages[index];
      if (from === 0 && pageAfter === capacity) {
        this.#settle(index, value ? fullPage : undefined, value ? capacity : 0);
      } else if (page !== (value ? fullPage : undefined)) {
        const own = page === undefined ? new Uint32Array(pageWords) : page === fullPage ? fullOf(capacity) : page;
        const changed = changeBits(own, from, pageAfter, value);
        const before = this.#pageSetCounts[index] ?? 0;
        this.#settle(index, own, value ? before + changed : before - changed);
      }
      chunk = pageStart + pageAfter;
    }
  }

  /** The only place where pages and counts change: a page that became empty or full gives its memory back. */
  #settle(index: number, page: Page | undefined, count: number): void {
    this.#setCount += count - (this.#pageSetCounts[index] ?? 0);
    this.#pageSetCounts[index] = count;
    this.#pages[index] = count === 0 ? undefined : count === this.#pageCapacity(index) ? fullPage : page;
  }

  /** Chunks that a page covers: fewer in the last. */
  #pageCapacity(index: number): number {
    return Math.min(pageChunks, this.#chunkCount - index * pageChunks);
  }

  /** The first set chunk in [from, limit); `limit` or more when there is none. */
  #nextSet(from: number, limit = this.#chunkCount): number {
    return this.#next(from, limit, 0);
  }

  #nextClear(from: number, limit: number): number {
    return this.#next(from, limit, 0xffff_ffff);
  }

  /** The first chunk in [from, limit) whose bit differs from those of `skip`; `limit` when there is none. */
  #next(from: number, limit: number, skip: 0 | 0xffff_ffff): number {
    const skippedPage = skip === 0 ? undefined : fullPage;
    for (let chunk = from; chunk < limit;) {
      const index = Math.floor(chunk / pageChunks);
      const pageStart = index * pageChunks;
      const pageAfter = Math.min(limit - pageStart, pageChunks);
      const page = this.#pages[index];
      if (page !== skippedPage) {
        const found =
          page === undefined || page === fullPage
            ? chunk - pageStart
            : nextIn(page, chunk - pageStart, pageAfter, skip);
        if (found < pageAfter) return pageStart + found;
      }
      chunk = pageStart + pageAfter;
    }
    return limit;
  }

  #assertInside(offset: number, length: number): void {
    // The message is made only when needed: it costs more than setting a bit.
    if (offset >= 0 && length >= 0 && offset + length <= this.sizeBytes) return;
    assert(false, `range ${offset} + ${length} is outside the volume of ${this.sizeBytes} bytes`);
  }
}

function chunkBytesFor(sizeBytes: number): number {
  let chunkBytes = chunkBytesMin;
  while (chunkBytes * chunksMax < sizeBytes) chunkBytes *= 2;
  return chunkBytes;
}

/** Little-endian, whatever the machine is. */
function bytesOf(page: Page): Uint8Array {
  const view = new DataView(new ArrayBuffer(pageBytes));
  for (let at = 0; at < pageWords; at++) view.setUint32(at * 4, page[at] ?? 0, true);
  return new Uint8Array(view.buffer);
}

function pageOf(bytes: Uint8Array): Page {
  const view = new DataView(bytes.buffer, bytes.byteOffset, pageBytes);
  const page = new Uint32Array(pageWords);
  for (let at = 0; at < pageWords; at++) page[at] = view.getUint32(at * 4, true);
  return page;
}

function fullOf(capacity: number): Page {
  const page = new Uint32Array(pageWords);
  changeBits(page, 0, capacity, true);
  return page;
}

/** Sets or clears the bits [from, after) and returns how many of them changed. */
function changeBits(page: Page, from: number, after: number, value: boolean): number {
  let changed = 0;
  for (let bit = from; bit < after;) {
    const at = bit >>> 5;
    const wordAfter = Math.min(after, (at + 1) << 5);
    const width = wordAfter - bit;
    const mask = width === 32 ? 0xffff_ffff : ((1 << width) - 1) << (bit & 31);
    const word = page[at] ?? 0;
    changed += bitCount(mask & (value ? ~word : word));
    page[at] = value ? word | mask : word & ~mask;
    bit = wordAfter;
  }
  return changed;
}

/** The first bit in [from, after) that differs from those of `skip`; `after` when there is none. */
function nextIn(page: Page, from: number, after: number, skip: 0 | 0xffff_ffff): number {
  for (let bit = from; bit < after; bit = ((bit >>> 5) + 1) << 5) {
    const rest = ((page[bit >>> 5] ?? 0) ^ skip) >>> (bit & 31);
    if (rest !== 0) return Math.min(after, bit + 31 - Math.clz32(rest & -rest));
  }
  return after;
}

function countBits(page: Page): number {
  let count = 0;
  for (const word of page) count += bitCount(word);
  return count;
}

/** Ones in a 32-bit word (Warren, Hacker's Delight, figure 5-2). */
function bitCount(word: number): number {
  let count = word - ((word >>> 1) & 0x5555_5555);
  count = (count & 0x3333_3333) + ((count >>> 2) & 0x3333_3333);
  count = (count + (count >>> 4)) & 0x0f0f_0f0f;
  return Math.imul(count, 0x0101_0101) >>> 24;
}
