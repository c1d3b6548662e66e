/**
 * Reading a segment entry by entry, from whichever copy holds it whole, and telling a torn tail from rot.
 *
 * What is found at a place, and what it means at the end of the newest segment after a crash:
 *
 *   | first sector        | the rest                             | a later entry says it was synced | verdict |
 *   | ------------------- | ------------------------------------ | -------------------------------- | ------- |
 *   | of the entry        | matches its checksums                | —                                | entry   |
 *   | any but the entry's | any                                  | yes                              | damage  |
 *   | of the entry        | does not match                       | yes                              | damage  |
 *   | never written       | any                                  | no                               | end     |
 *   | of the entry        | lacks sectors that were not zeroes   | no                               | end     |
 *   | of the entry        | has all sectors, but does not match  | no                               | damage  |
 *   | something else      | any                                  | no                               | damage  |
 *
 * In a segment whose end is stated, all up to that end was synced: there everything but an entry is damage. With two
 * copies an entry whole in either is an entry; else damage in either is damage.
 */
import type { FileHandle } from '../base/files.ts';
import { payloadMemory } from '../base/payload-memory.ts';
import type { Position } from '../stream/position.ts';
import { entryHeaderAt, inspectEntry, type EntryHeader, type Inspected } from './entry.ts';
import type { SegmentCopies } from './segment-copies.ts';
import { decodeSegmentHeader, sectorBytes } from './segment-header.ts';

/** A part of the log that was complete and cannot be read any more. */
export interface Damage {
  readonly segment: number;
  /** Where in the segment. */
  readonly offset: number;
  readonly reason: string;
  /** Lost are records after `after` up to and including `upTo`: none when both are the same. Null: nobody knows how far. */
  readonly after: Position;
  readonly upTo: Position | null;
}

/** The highest position that may be lost where `first` is what comes next. */
export function justBefore(first: Position): Position {
  return { generation: first.generation, seq: first.seq - 1 };
}

export type Step =
  | {
      readonly kind: 'entry';
      readonly entry: Extract<Inspected, { kind: 'entry' }>;
      /** All of it; the records' data lies in it. Until the next step, for who does not share in its memory. */
      readonly bytes: Uint8Array;
      readonly next: number;
    }
  | { readonly kind: 'end'; readonly torn: boolean }
  /** `next`: the entry after it; null where none is left. */
  | { readonly kind: 'damage'; readonly reason: string; readonly next: number | null };

/** Bytes read at once: any entry fits, but one of a single large record. */
const chunkBytes = 1280 * 1024;

interface OpenCopy {
  readonly handle: FileHandle;
  chunk: Uint8Array;
  chunkAt: number;
}

export class SegmentWalk {
  readonly #tag: string;
  readonly #segment: number;
  readonly #copies: readonly OpenCopy[];
  /** In a segment without a stated end: the highest `synced` of the entries beyond the first bad one. */
  #syncedBeyond: number | null = null;

  private constructor(tag: string, segment: number, copies: readonly OpenCopy[]) {
    this.#tag = tag;
    this.#segment = segment;
    this.#copies = copies;
  }

  /** From those of the copies that can be opened. */
  static async open(
    copies: SegmentCopies,
    indexes: readonly number[],
    tag: string,
    segment: number,
  ): Promise<SegmentWalk> {
    const opened = await Promise.allSettled(indexes.map((index) => copies.open(index, segment)));
    const handles = opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    return new SegmentWalk(
      tag,
      segment,
      handles.map((handle) => ({ handle, chunk: new Uint8Array(0), chunkAt: 0 })),
    );
  }

  /**
   * What lies at `offset`, where entry `number` belongs (0: any). `endBytes` is where the segment ends, or null where
   * nobody has said it: then what is there is judged by the table above.
   */
  async step(offset: number, number: number, endBytes: number | null): Promise<Step> {
    if (endBytes !== null && offset >= endBytes) return { kind: 'end', torn: false };
    const limit = endBytes ?? Infinity;
    let torn = false;
    let rotten: string | null = null;
    for (const copy of this.#copies) {
      const { found, bytes } = await this.#inspect(copy, offset, limit);
      if (found.kind === 'entry' && (number === 0 || found.header.number === number)) {
        return { kind: 'entry', entry: found, bytes, next: offset + found.header.bytes };
      }
      if (found.kind === 'torn') torn = true;
      if (found.kind === 'rotten') rotten = found.reason;
      if (found.kind === 'entry') rotten = `entry ${found.header.number} where ${number} belongs`;
    }
    if (endBytes === null && rotten === null && (await this.#provenSynced(offset)) < Math.max(number, 1)) {
      return { kind: 'end', torn };
    }
    const next = await this.#nextHeader(offset, limit);
    return {
      kind: 'damage',
      reason:
        rotten ?? (this.#copies.length === 0 ? 'no copy can be opened' : 'sectors that were written are missing'),
      next: next?.offset ?? null,
    };
  }

  /** Null when no copy has it whole. */
  async firstSector(): Promise<Uint8Array | null> {
    for (const { handle } of this.#copies) {
      const sector = await handle.readAt(0, sectorBytes).catch(() => new Uint8Array(0));
      const read = decodeSegmentHeader(sector);
      if (read.kind === 'header' && read.header.number === this.#segment) return sector;
    }
    return null;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#copies.map(({ handle }) => handle.close()));
  }

  async #inspect(
    copy: OpenCopy,
    offset: number,
    limit: number,
  ): Promise<{ readonly found: Inspected; readonly bytes: Uint8Array }> {
    const place = { tag: this.#tag, segment: this.#segment, offset };
    try {
      const header = entryHeaderAt(await slice(copy, offset, sectorBytes, limit), place);
      const bytes = await slice(copy, offset, header?.bytes ?? sectorBytes, limit);
      return { found: inspectEntry(bytes, place), bytes };
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'cannot be read';
      return { found: { kind: 'rotten', header: null, reason }, bytes: new Uint8Array(0) };
    }
  }

  async #provenSynced(offset: number): Promise<number> {
    if (this.#syncedBeyond === null) {
      let highest = 0;
      for (let at = offset; ;) {
        const header = await this.#nextHeader(at, Infinity);
        if (header === null) break;
        highest = Math.max(highest, header.synced);
        at = header.offset;
      }
      this.#syncedBeyond = highest;
    }
    return this.#syncedBeyond;
  }

  /** The nearest entry beyond `offset`, by its header alone. */
  async #nextHeader(offset: number, limit: number): Promise<EntryHeader | null> {
    let nearest: EntryHeader | null = null;
    for (const copy of this.#copies) {
      const header = await this.#nextHeaderOf(copy, offset, nearest?.offset ?? limit);
      if (header !== null) nearest = header;
    }
    return nearest;
  }

  async #nextHeaderOf(copy: OpenCopy, offset: number, limit: number): Promise<EntryHeader | null> {
    for (let at = offset + sectorBytes; at < limit; at += sectorBytes) {
      let sector: Uint8Array;
      try {
        sector = await slice(copy, at, sectorBytes, limit);
      } catch {
        if (limit === Infinity) return null;
        at += chunkBytes - sectorBytes;
        continue;
      }
      if (sector.length < sectorBytes) return null;
      const header = entryHeaderAt(sector, { tag: this.#tag, segment: this.#segment, offset: at });
      if (header !== null) return header;
    }
    return null;
  }
}

/** A view of up to `length` bytes: fewer where file or limit end before. */
async function slice(copy: OpenCopy, offset: number, length: number, limit: number): Promise<Uint8Array> {
  const wanted = Math.min(length, limit - offset);
  const inChunk = offset - copy.chunkAt;
  if (inChunk >= 0 && inChunk + wanted <= copy.chunk.length) return copy.chunk.subarray(inChunk, inChunk + wanted);
  payloadMemory.give(copy.chunk);
  copy.chunk = new Uint8Array(0);
  const ahead = aheadBytes(wanted, limit - offset);
  // What cannot be read further on must not hide what can be read here.
  const read = await copy.handle.readAt(offset, ahead).catch((error: unknown) => {
    if (ahead <= wanted) throw error;
    return copy.handle.readAt(offset, wanted);
  });
  // What comes after the limit is being written: it must be read again.
  copy.chunk = read.subarray(0, limit - offset);
  copy.chunkAt = offset;
  return copy.chunk.subarray(0, wanted);
}

/** One of few lengths, so that memory can be used again; about as long as what there is to read. */
function aheadBytes(wanted: number, left: number): number {
  const least = Math.max(wanted, Math.min(left, chunkBytes));
  return least > chunkBytes / 2 && least <= chunkBytes ? chunkBytes : 2 ** Math.ceil(Math.log2(least));
}
