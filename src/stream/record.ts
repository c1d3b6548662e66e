/**
 * A record: one change of a group, stamped with its place in the group's order. Records are what travels on links and
 * what legs apply; hosts' requests become records when the sequencer stamps them.
 */
import type { Position } from './position.ts';

/**
 * - `write`, `zero`: a host's change (a TRIM or WRITE ZEROES arrives as `zero`: R4).
 * - `flush`: nothing stamped later is applied before the target's own flush of that volume has returned (R3).
 * - `copy`, `copyZero`: a block of a resync. It takes a stamp like a write (R8), but is no change: it repeats what the
 *   owner's leg held at that stamp, and travels only to the leg that lacks it.
 * - `skip`: a stamp that concerns another leg only; keeps this leg's seq gapless.
 */
export type RecordKind = 'write' | 'zero' | 'flush' | 'copy' | 'copyZero' | 'skip';

export interface StreamRecord {
  readonly kind: RecordKind;
  readonly generation: number;
  /** Seq of the first record of its epoch. */
  readonly epoch: number;
  readonly seq: number;
  /** Index of the volume in its group; 0 for `skip`. */
  readonly volume: number;
  /** Bytes; 0 for `flush` and `skip`. */
  readonly offset: number;
  readonly length: number;
  /** `zero`, `copyZero`: the space may be given back. False elsewhere. */
  readonly hole: boolean;
  /** `length` bytes for `write` and `copy`, else null. */
  readonly data: Uint8Array | null;
  /** CRC-32C of `data`, computed once at the owner; 0 without data. */
  readonly checksum: number;
}

export function positionOf(record: StreamRecord): Position {
  return { generation: record.generation, seq: record.seq };
}

export function recordsOverlap(
  a: { readonly volume: number; readonly offset: number; readonly length: number },
  b: { readonly volume: number; readonly offset: number; readonly length: number },
): boolean {
  return a.volume === b.volume && a.offset < b.offset + b.length && b.offset < a.offset + a.length;
}

/** Longest change that is stamped as one record; longer host requests are stamped as several. Bytes. */
export const recordBytesMax = 32 * 1024 * 1024;
