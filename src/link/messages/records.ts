/**
 * `records`: changes of a group on their way to a leg, in the group's order. Sent by the owner, once a turn and leg.
 *
 *   offset  size  control part
 *        0     4  attachment: which leg they are for
 *        4     4  reserved, 0
 *        8     8  generation under whose authority they are sent (R14)
 *       16    16  stamped: the newest position the owner has given out (generation 8 │ seq 8)
 *       32    16  stable: the newest position stored on the owner's own leg (generation 8 │ seq 8)
 *       48     4  number of records, at most 4,096
 *       52     4  reserved, 0
 *       56  48 each:
 *              0     1  kind: 1 write, 2 zero, 3 flush, 4 copy, 5 copyZero, 6 skip
 *              1     1  flags: bit 0 the space may be given back (zero, copyZero only)
 *              2     2  volume
 *              4     4  CRC-32C of the data (write, copy), else 0
 *              8     8  generation
 *             16     8  epoch
 *             24     8  seq
 *             32     8  offset in bytes (0 for flush, skip)
 *             40     4  length in bytes (0 for flush, skip)
 *             44     4  reserved, 0
 *
 * One piece for each record with data, in the order of the records. Positions ascend. The data is not verified when it
 * is decoded but by `verifyRecordData`, when the leg is about to use it.
 */
import { assert } from '../../base/assert.ts';
import type { Decoded } from '../../base/codec.ts';
import { crc32c } from '../../base/crc32c.ts';
import { comparePositions, formatPosition, type Position } from '../../stream/position.ts';
import { recordBytesMax, type RecordKind, type StreamRecord } from '../../stream/record.ts';
import { openFrame, sealFrame, type Frame } from '../frame.ts';
import { MessageType } from './types.ts';
import { isSafePosition, readPosition, readU64, writePosition, writeU64 } from './words.ts';

export interface RecordsHeader {
  readonly attachId: number;
  readonly generation: number;
  readonly stamped: Position;
  readonly stable: Position;
}

export interface Records extends RecordsHeader {
  readonly records: readonly StreamRecord[];
}

export const recordsPerFrameMax = 4096;

const prefixBytes = 56;
const recordHeaderBytes = 48;
export const recordKinds: readonly RecordKind[] = ['write', 'zero', 'flush', 'copy', 'copyZero', 'skip'];
export const recordKindNumbers: Readonly<Record<RecordKind, number>> = {
  write: 1,
  zero: 2,
  flush: 3,
  copy: 4,
  copyZero: 5,
  skip: 6,
};
const holeFlag = 1;

/** Together at most `recordsPerFrameMax` records and `payloadBytesMax` bytes of data: the caller sees to that. */
export function encodeRecords(header: RecordsHeader, records: readonly StreamRecord[]): Uint8Array[] {
  assert(records.length <= recordsPerFrameMax, `${records.length} records in one frame`);
  const pieces: Uint8Array[] = [];
  for (const { data } of records) if (data !== null) pieces.push(data);
  const open = openFrame(MessageType.records, prefixBytes + records.length * recordHeaderBytes, pieces);
  const { view, offset } = open;
  view.setUint32(offset, header.attachId, true);
  view.setUint32(offset + 4, 0, true);
  writeU64(view, offset + 8, header.generation);
  writePosition(view, offset + 16, header.stamped);
  writePosition(view, offset + 32, header.stable);
  view.setUint32(offset + 48, records.length, true);
  view.setUint32(offset + 52, 0, true);
  let at = offset + prefixBytes;
  for (const record of records) {
    view.setUint8(at, recordKindNumbers[record.kind]);
    view.setUint8(at + 1, record.hole ? holeFlag : 0);
    view.setUint16(at + 2, record.volume, true);
    view.setUint32(at + 4, record.checksum, true);
    writeU64(view, at + 8, record.generation);
    writeU64(view, at + 16, record.epoch);
    writeU64(view, at + 24, record.seq);
    writeU64(view, at + 32, record.offset);
    view.setUint32(at + 40, record.length, true);
    view.setUint32(at + 44, 0, true);
    at += recordHeaderBytes;
  }
  return sealFrame(open);
}

export function decodeRecords(frame: Frame): Decoded<Records> {
  const { control, pieces } = frame;
  if (control.length < prefixBytes) return refuse(`control part of ${control.length} bytes`);
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  const count = view.getUint32(48, true);
  if (count > recordsPerFrameMax || control.length !== prefixBytes + count * recordHeaderBytes) {
    return refuse(`${count} records in a control part of ${control.length} bytes`);
  }
  const header: RecordsHeader = {
    attachId: view.getUint32(0, true),
    generation: readU64(view, 8),
    stamped: readPosition(view, 16),
    stable: readPosition(view, 32),
  };
  if (!Number.isSafeInteger(header.generation) || !isSafePosition(header.stamped) || !isSafePosition(header.stable)) {
    return refuse('a position above 2^53 - 1');
  }
  if (view.getUint32(4, true) !== 0 || view.getUint32(52, true) !== 0)
    return refuse('a reserved field that is not 0');
  const records: StreamRecord[] = [];
  let before: Position | null = null;
  let piecesUsed = 0;
  for (let at = prefixBytes; at < control.length; at += recordHeaderBytes) {
    const kind = recordKinds[view.getUint8(at) - 1];
    if (kind === undefined) return refuse(`a record of kind ${view.getUint8(at)}`);
    const hasData = kind === 'write' || kind === 'copy';
    const flags = view.getUint8(at + 1);
    const record: StreamRecord = {
      kind,
      generation: readU64(view, at + 8),
      epoch: readU64(view, at + 16),
      seq: readU64(view, at + 24),
      volume: view.getUint16(at + 2, true),
      offset: readU64(view, at + 32),
      length: view.getUint32(at + 40, true),
      hole: flags === holeFlag,
      data: hasData ? (pieces[piecesUsed++] ?? null) : null,
      checksum: view.getUint32(at + 4, true),
    };
    const fault =
      flags > holeFlag || view.getUint32(at + 44, true) !== 0 ? 'has unknown flags' : faultOf(record, hasData);
    if (fault !== null) return refuse(`${kind} ${formatPosition(record)} ${fault}`);
    if (before !== null && comparePositions(before, record) >= 0) {
      return refuse(`${kind} ${formatPosition(record)} after ${formatPosition(before)}`);
    }
    before = record;
    records.push(record);
  }
  if (piecesUsed !== pieces.length) return refuse(`${pieces.length} pieces for ${piecesUsed} records with data`);
  return { ok: true, value: { ...header, records } };
}

/** Whether the data is what the owner took the checksum of. */
export function verifyRecordData(record: StreamRecord): boolean {
  return record.data === null || crc32c(record.data) === record.checksum;
}

/** What is wrong with the fields of a record, whatever its data is; null for nothing. */
export function recordFault(record: StreamRecord, hasData: boolean): string | null {
  const { kind, generation, epoch, seq, offset, length } = record;
  if (!Number.isSafeInteger(generation) || !Number.isSafeInteger(seq)) return 'is above 2^53 - 1';
  if (seq < 1 || epoch < 1 || epoch > seq) return `is of epoch ${epoch}`;
  if (!Number.isSafeInteger(offset + length)) return `ends above 2^53 - 1`;
  if (kind === 'flush' || kind === 'skip') {
    if (offset !== 0 || length !== 0) return `has a range, ${offset} + ${length}`;
    if (kind === 'skip' && record.volume !== 0) return `has a volume, ${record.volume}`;
  } else if (length === 0) return 'has no length';
  if (record.hole && kind !== 'zero' && kind !== 'copyZero') return 'is marked as a hole';
  if (!hasData) return record.checksum === 0 ? null : 'has a checksum but no data';
  return length > recordBytesMax ? `is ${length} bytes long, at most ${recordBytesMax} allowed` : null;
}

function faultOf(record: StreamRecord, hasData: boolean): string | null {
  const fault = recordFault(record, hasData);
  if (fault !== null || !hasData) return fault;
  const { data, length } = record;
  if (data === null) return 'has no piece';
  return data.length === length ? null : `is ${length} bytes long, its piece ${data.length}`;
}

function refuse(reason: string): Decoded<Records> {
  return { ok: false, reason };
}
