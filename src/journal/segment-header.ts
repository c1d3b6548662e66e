/**
 * The container of a log: the first sector of every segment (layout: docs/formats/journal.md).
 *
 * It says whose log it is and where in the group's history the segment begins. It also says where the segment before it
 * ended, and is written only after that one was synced: so a later segment proves an earlier one complete, and what lies
 * beyond the stated end there (a write that failed, a tail that was cut) is never read again.
 *
 * Magic, version and checksum keep their places in all versions, so that a newer one is recognised and refused.
 */
import { decode, Writer } from '../base/codec.ts';
import { crc32c } from '../base/crc32c.ts';
import type { Position } from '../stream/position.ts';

/** What a disk writes wholly or not at all; every entry is a whole number of them. */
export const sectorBytes = 512;

export const segmentMagic = 'HFLOGSEG';
export const journalVersion = 1;

export interface SegmentHeader {
  /** 32 hex digits, drawn when the log was made: tells it from another of the same group. */
  readonly journalId: string;
  readonly group: string;
  readonly number: number;
  /** The tenure whose records it holds, and that tenure's id: 32 hex digits, or empty where there is none. */
  readonly generation: number;
  readonly generationId: string;
  /** The position just before its first record. */
  readonly after: Position;
  /** Since 1970. */
  readonly wallMs: number;
  /** Of the whole log, before this segment; they count on when segments are removed. */
  readonly recordsBefore: number;
  readonly dataBytesBefore: number;
  readonly previous: PreviousSegment;
  /** Number of the oldest segment there was: older ones are left-overs, of a copy that was out of use for a while. */
  readonly oldest: number;
}

/** Of the segment before; all 0 in the first. */
export interface PreviousSegment {
  /** Offset behind its last entry. */
  readonly endBytes: number;
  /** Offset of its index; 0 where it has none. */
  readonly indexAt: number;
  /** Its last record. What lies between this and the segment's `after` was never logged. */
  readonly last: Position;
}

export type ReadSegmentHeader =
  | { readonly kind: 'header'; readonly header: SegmentHeader }
  | { readonly kind: 'newer'; readonly version: number }
  /** Never written: the segment was being made. */
  | { readonly kind: 'blank' }
  | { readonly kind: 'rotten'; readonly reason: string };

const checksumAt = sectorBytes - 4;
const idBytes = 16;

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const writer = new Writer(sectorBytes, sectorBytes)
    .raw(Buffer.from(segmentMagic, 'latin1'))
    .u32(journalVersion)
    .u32(sectorBytes)
    .u64(header.number)
    .raw(Buffer.from(header.journalId, 'hex'))
    .u64(header.generation)
    .raw(Buffer.from(header.generationId.padStart(idBytes * 2, '0'), 'hex'))
    .u64(header.after.generation)
    .u64(header.after.seq)
    .u64(header.wallMs)
    .u64(header.recordsBefore)
    .u64(header.dataBytesBefore)
    .u64(header.previous.endBytes)
    .u64(header.previous.indexAt)
    .u64(header.previous.last.generation)
    .u64(header.previous.last.seq)
    .u64(header.oldest)
    .string8(header.group);
  writer.raw(new Uint8Array(checksumAt - writer.length));
  return writer.u32(crc32c(writer.finish())).finish();
}

/** Of the first sector of a file, or what there is of it. */
export function decodeSegmentHeader(bytes: Uint8Array): ReadSegmentHeader {
  if (bytes.length < sectorBytes || isZero(bytes, 0, sectorBytes)) return { kind: 'blank' };
  const sector = bytes.subarray(0, sectorBytes);
  let version = 0;
  const decoded = decode(sector, (reader): SegmentHeader => {
    if (Buffer.from(reader.raw(8)).toString('latin1') !== segmentMagic) reader.fail('another kind of file', 0);
    version = reader.u32();
    const size = reader.u32();
    const stated = new DataView(sector.buffer, sector.byteOffset, sectorBytes).getUint32(checksumAt, true);
    if (stated !== crc32c(sector.subarray(0, checksumAt))) {
      version = 0;
      reader.fail('a checksum that does not match', checksumAt);
    }
    if (version !== journalVersion) reader.fail(`version ${version}`, 8);
    if (size !== sectorBytes) reader.fail(`sectors of ${size} bytes`, 12);
    const header = {
      number: reader.u64(),
      journalId: hexOf(reader.raw(idBytes)),
      generation: reader.u64(),
      generationId: hexOf(reader.raw(idBytes)).replace(/^0+$/, ''),
      after: { generation: reader.u64(), seq: reader.u64() },
      wallMs: reader.u64(),
      recordsBefore: reader.u64(),
      dataBytesBefore: reader.u64(),
      previous: {
        endBytes: reader.u64(),
        indexAt: reader.u64(),
        last: { generation: reader.u64(), seq: reader.u64() },
      },
      oldest: reader.u64(),
      group: reader.string8(),
    };
    reader.raw(reader.remaining);
    return header;
  });
  if (decoded.ok) return { kind: 'header', header: decoded.value };
  return version > journalVersion ? { kind: 'newer', version } : { kind: 'rotten', reason: decoded.reason };
}

const zeroes = new Uint8Array(64 * 1024);

export function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at += zeroes.length) {
    const length = Math.min(zeroes.length, to - at);
    if (bytes[at] !== 0 || Buffer.compare(bytes.subarray(at, at + length), zeroes.subarray(0, length)) !== 0)
      return false;
  }
  return true;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
