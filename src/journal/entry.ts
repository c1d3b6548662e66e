/**
 * Entries: what a segment of a log holds after its first sector, one after another (layout: docs/formats/journal.md).
 *
 * A place in a segment is written at most once, and every entry is a whole number of sectors. So a sector is as it was
 * written, or zeroes because it never was; anything else is rot. An entry says how many of its own sectors are zeroes:
 * with more than that it was *torn* (never acknowledged, cut silently), with a false checksum and not more it is
 * *rotten* (reported). What a later entry says was synced before it cannot have been torn at all; that is the walk's
 * business (`segment-walk.ts`), here is one entry at a time and no I/O.
 *
 * The checksum of a record's data is the one the owner took when it stamped the record: it is stored, not computed.
 */
import { assert } from '../base/assert.ts';
import { decode, type Decoded, type Reader, Writer } from '../base/codec.ts';
import { crc32c } from '../base/crc32c.ts';
import { recordFault, recordKindNumbers, recordKinds, verifyRecordData } from '../link/messages/records.ts';
import { isSafePosition, readPosition, readU64, writePosition, writeU64 } from '../link/messages/words.ts';
import { comparePositions, formatPosition, type Position } from '../stream/position.ts';
import { recordBytesMax, type StreamRecord } from '../stream/record.ts';
import { isZero, sectorBytes } from './segment-header.ts';

/**
 * - `records`: changes of the group, in order.
 * - `members`: the volumes of the group from here on.
 * - `mark`: a bookmark between two records.
 * - `note`: nothing but the header, whose `synced` tells that what came before was on the medium.
 * - `index`: the last entry of a segment that was ended in order: where in it which position is.
 */
export type EntryKind = 'records' | 'members' | 'mark' | 'note' | 'index';

/** Where an entry is: bytes that claim another place are not it. */
export interface EntryPlace {
  /** Of the log: the first 16 digits of its id. */
  readonly tag: string;
  readonly segment: number;
  /** In the segment. */
  readonly offset: number;
}

export interface EntryStamp extends EntryPlace {
  /** In its segment, from 1. */
  readonly number: number;
  /** The entry up to which the segment was on the medium when this one was written; 0 for none. */
  readonly synced: number;
  readonly wallMs: number;
  /** Of the newest record up to the end of this entry. */
  readonly position: Position;
}

export interface EntryHeader extends EntryStamp {
  readonly kind: EntryKind;
  /** Whole sectors. */
  readonly bytes: number;
  readonly tableBytes: number;
  readonly tableChecksum: number;
  readonly zeroSectors: number;
}

export interface Member {
  /** Index of the volume in its group. */
  readonly volume: number;
  readonly wwid: string;
  readonly sizeBytes: number;
}

/** The entry at `offset` is the first one after `after`. */
export interface IndexPoint {
  readonly offset: number;
  readonly after: Position;
}

export type EntryBody =
  | { readonly kind: 'records'; readonly records: readonly StreamRecord[] }
  | { readonly kind: 'members'; readonly members: readonly Member[] }
  | { readonly kind: 'mark'; readonly name: string }
  | { readonly kind: 'note' }
  | { readonly kind: 'index'; readonly points: readonly IndexPoint[] };

export type Inspected =
  | { readonly kind: 'entry'; readonly header: EntryHeader; readonly body: EntryBody }
  /** Its first sector was never written. */
  | { readonly kind: 'blank' }
  /** Some of its sectors were never written. */
  | { readonly kind: 'torn'; readonly header: EntryHeader }
  | { readonly kind: 'rotten'; readonly header: EntryHeader | null; readonly reason: string };

/** An entry takes more records until one of these is reached; a record is never parted. */
export const recordsPerEntryMax = 4096;
export const entryDataBytesMax = 1024 * 1024;

export const markNameBytesMax = 255;

const magic = 0x454c4648; // 'HFLE'
const headerBytes = 96;
const headerChecksumAt = headerBytes - 4;
const reservedAt = 80;
const rowBytes = 48;
/** The members of a group of 65,535 volumes fit. */
const tableBytesMax = 4 * 1024 * 1024;
const entryBytesMax = wholeSectors(headerBytes + tableBytesMax + recordBytesMax);
const holeFlag = 1;

const entryKinds: readonly EntryKind[] = ['records', 'members', 'mark', 'note', 'index'];
const entryKindNumbers: Readonly<Record<EntryKind, number>> = {
  records: 1,
  members: 2,
  mark: 3,
  note: 4,
  index: 5,
};

export function recordsEntryBytes(count: number, dataBytes: number): number {
  return wholeSectors(headerBytes + count * rowBytes + dataBytes);
}

/**
 * Into `room`, which has `recordsEntryBytes` bytes of any content. At most `recordsPerEntryMax` records; data beyond
 * `entryDataBytesMax` only in a single record.
 */
export function encodeRecordsEntry(
  stamp: EntryStamp,
  records: readonly StreamRecord[],
  room: Uint8Array,
): Uint8Array {
  assert(records.length > 0 && records.length <= recordsPerEntryMax, `${records.length} records in one entry`);
  const tableBytes = records.length * rowBytes;
  let dataBytes = 0;
  for (const { data } of records) dataBytes += data?.length ?? 0;
  const entry = room;
  assert(room.length === recordsEntryBytes(records.length, dataBytes), `room of ${room.length} bytes for an entry`);
  const view = new DataView(entry.buffer, entry.byteOffset, entry.length);
  let rowAt = headerBytes;
  let dataAt = headerBytes + tableBytes;
  for (const record of records) {
    view.setUint8(rowAt, recordKindNumbers[record.kind]);
    view.setUint8(rowAt + 1, record.hole ? holeFlag : 0);
    view.setUint16(rowAt + 2, record.volume, true);
    view.setUint32(rowAt + 4, record.checksum, true);
    writePosition(view, rowAt + 8, record);
    writeU64(view, rowAt + 24, record.epoch);
    writeU64(view, rowAt + 32, record.offset);
    view.setUint32(rowAt + 40, record.length, true);
    view.setUint32(rowAt + 44, 0, true);
    rowAt += rowBytes;
    if (record.data === null) continue;
    entry.set(record.data, dataAt);
    dataAt += record.data.length;
  }
  entry.fill(0, dataAt);
  return sealed(entry, view, 'records', stamp, tableBytes);
}

/** Any entry but one of records. */
export function encodeEntry(stamp: EntryStamp, body: Exclude<EntryBody, { kind: 'records' }>): Uint8Array {
  const table = encodeTable(body);
  const entry = new Uint8Array(wholeSectors(headerBytes + table.length));
  entry.set(table, headerBytes);
  return sealed(entry, new DataView(entry.buffer, entry.byteOffset, entry.length), body.kind, stamp, table.length);
}

/**
 * What the bytes at a place are. `bytes` begins there and is at least as long as `entryBytesAt` asked for, unless the
 * file ends before: what is missing was never written.
 */
export function inspectEntry(bytes: Uint8Array, place: EntryPlace): Inspected {
  if (bytes.length < sectorBytes || isZero(bytes, 0, sectorBytes)) return { kind: 'blank' };
  const decoded = decodeHeader(bytes, place);
  if (!decoded.ok) return { kind: 'rotten', header: null, reason: decoded.reason };
  const header = decoded.value;
  const body = decodeBody(header, bytes.subarray(0, header.bytes));
  if (body.ok) return { kind: 'entry', header, body: body.value };
  return zeroSectorsOf(bytes, header.bytes) > header.zeroSectors
    ? { kind: 'torn', header }
    : { kind: 'rotten', header, reason: body.reason };
}

/** The header alone; null where there is none of this place. `bytes` is a sector or more. */
export function entryHeaderAt(bytes: Uint8Array, place: EntryPlace): EntryHeader | null {
  if (bytes.length < sectorBytes) return null;
  const decoded = decodeHeader(bytes, place);
  return decoded.ok ? decoded.value : null;
}

function sealed(
  entry: Uint8Array,
  view: DataView,
  kind: EntryKind,
  stamp: EntryStamp,
  tableBytes: number,
): Uint8Array {
  assert(tableBytes <= tableBytesMax && entry.length <= entryBytesMax, `an entry of ${entry.length} bytes`);
  view.setUint32(0, magic, true);
  view.setUint32(4, entryKindNumbers[kind], true);
  for (let digit = 0; digit < 16; digit += 2) {
    view.setUint8(8 + digit / 2, Number.parseInt(stamp.tag.slice(digit, digit + 2), 16));
  }
  writeU64(view, 16, stamp.segment);
  writeU64(view, 24, stamp.offset);
  view.setUint32(32, stamp.number, true);
  view.setUint32(36, stamp.synced, true);
  view.setUint32(40, entry.length / sectorBytes, true);
  view.setUint32(44, tableBytes, true);
  view.setUint32(48, crc32c(entry.subarray(headerBytes, headerBytes + tableBytes)), true);
  // The first sector holds the header and is none of them.
  view.setUint32(52, zeroSectorsOf(entry.subarray(sectorBytes), entry.length - sectorBytes), true);
  writeU64(view, 56, stamp.wallMs);
  writePosition(view, 64, stamp.position);
  entry.fill(0, reservedAt, headerChecksumAt);
  view.setUint32(headerChecksumAt, crc32c(entry.subarray(0, headerChecksumAt)), true);
  return entry;
}

function decodeHeader(bytes: Uint8Array, place: EntryPlace): Decoded<EntryHeader> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0, true) !== magic) return refuse('no entry begins here');
  if (view.getUint32(headerChecksumAt, true) !== crc32c(bytes.subarray(0, headerChecksumAt))) {
    return refuse('the header does not match its checksum');
  }
  const kind = entryKinds[view.getUint32(4, true) - 1];
  if (kind === undefined) return refuse(`an entry of kind ${view.getUint32(4, true)}`);
  const tag = Buffer.from(bytes.subarray(8, 16)).toString('hex');
  const header: EntryHeader = {
    kind,
    tag,
    segment: readU64(view, 16),
    offset: readU64(view, 24),
    number: view.getUint32(32, true),
    synced: view.getUint32(36, true),
    bytes: view.getUint32(40, true) * sectorBytes,
    tableBytes: view.getUint32(44, true),
    tableChecksum: view.getUint32(48, true),
    zeroSectors: view.getUint32(52, true),
    wallMs: readU64(view, 56),
    position: readPosition(view, 64),
  };
  if (tag !== place.tag || header.segment !== place.segment || header.offset !== place.offset) {
    return refuse(`an entry of ${tag}, segment ${header.segment}, offset ${header.offset}`);
  }
  if (!isSafePosition(header.position) || !Number.isSafeInteger(header.wallMs)) {
    return refuse('a number above 2^53 - 1');
  }
  if (header.number < 1 || header.synced >= header.number)
    return refuse(`entry ${header.number} with ${header.synced} synced`);
  const { bytes: length, tableBytes } = header;
  if (length > entryBytesMax || tableBytes > tableBytesMax || length < headerBytes + tableBytes) {
    return refuse(`an entry of ${length} bytes with a table of ${tableBytes}`);
  }
  return { ok: true, value: header };
}

function decodeBody(header: EntryHeader, bytes: Uint8Array): Decoded<EntryBody> {
  const table = bytes.subarray(headerBytes, headerBytes + header.tableBytes);
  if (table.length < header.tableBytes || crc32c(table) !== header.tableChecksum) {
    return refuse('the table does not match its checksum');
  }
  switch (header.kind) {
    case 'records':
      return decodeRecords(header, bytes);
    case 'members':
      return decode(table, (reader) => ({ kind: 'members', members: reader.list16(65_535, readMember) }));
    case 'mark':
      return decode(table, (reader) => ({ kind: 'mark', name: reader.string8() }));
    case 'note':
      return decode(table, () => ({ kind: 'note' }));
    case 'index':
      return decode(table, (reader) => ({ kind: 'index', points: reader.list32(tableBytesMax, readPoint) }));
  }
}

function decodeRecords(header: EntryHeader, bytes: Uint8Array): Decoded<EntryBody> {
  const count = header.tableBytes / rowBytes;
  if (!Number.isInteger(count) || count < 1 || count > recordsPerEntryMax) {
    return refuse(`a table of ${header.tableBytes} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const records: StreamRecord[] = [];
  let dataAt = headerBytes + header.tableBytes;
  let before: Position | null = null;
  for (let rowAt = headerBytes; rowAt < headerBytes + header.tableBytes; rowAt += rowBytes) {
    const kind = recordKinds[view.getUint8(rowAt) - 1];
    if (kind === undefined) return refuse(`a record of kind ${view.getUint8(rowAt)}`);
    const flags = view.getUint8(rowAt + 1);
    const length = view.getUint32(rowAt + 40, true);
    const hasData = kind === 'write' || kind === 'copy';
    const record: StreamRecord = {
      kind,
      generation: readU64(view, rowAt + 8),
      epoch: readU64(view, rowAt + 24),
      seq: readU64(view, rowAt + 16),
      volume: view.getUint16(rowAt + 2, true),
      offset: readU64(view, rowAt + 32),
      length,
      hole: flags === holeFlag,
      data: hasData ? bytes.subarray(dataAt, dataAt + length) : null,
      checksum: view.getUint32(rowAt + 4, true),
    };
    const fault = flags > holeFlag || view.getUint32(rowAt + 44, true) !== 0 ? 'has unknown flags' : faultOf(record);
    if (fault !== null) return refuse(`${kind} ${formatPosition(record)} ${fault}`);
    if (before !== null && comparePositions(before, record) >= 0) {
      return refuse(`${kind} ${formatPosition(record)} after ${formatPosition(before)}`);
    }
    before = record;
    if (hasData) dataAt += length;
    records.push(record);
  }
  if (wholeSectors(dataAt) !== header.bytes || before === null || comparePositions(before, header.position) !== 0) {
    return refuse(`records that end elsewhere than the header says`);
  }
  return { ok: true, value: { kind: 'records', records } };
}

function faultOf(record: StreamRecord): string | null {
  const { data, length } = record;
  const fault = recordFault(record, data !== null);
  if (fault !== null || data === null) return fault;
  return data.length === length && verifyRecordData(record) ? null : 'does not match the checksum of its data';
}

function encodeTable(body: Exclude<EntryBody, { kind: 'records' }>): Uint8Array {
  const writer = new Writer(tableBytesMax);
  switch (body.kind) {
    case 'members':
      writer.list16(body.members, (into, { volume, wwid, sizeBytes }) =>
        into.u16(volume).u64(sizeBytes).string8(wwid),
      );
      break;
    case 'mark':
      writer.string8(body.name);
      break;
    case 'note':
      break;
    case 'index':
      writer.list32(body.points, (into, { offset, after }) => into.u64(offset).u64(after.generation).u64(after.seq));
      break;
  }
  return writer.finish();
}

function readMember(reader: Reader): Member {
  const volume = reader.u16();
  const sizeBytes = reader.u64();
  return { volume, wwid: reader.string8(), sizeBytes };
}

function readPoint(reader: Reader): IndexPoint {
  return { offset: reader.u64(), after: { generation: reader.u64(), seq: reader.u64() } };
}

function zeroSectorsOf(bytes: Uint8Array, length: number): number {
  let count = 0;
  for (let at = 0; at < length; at += sectorBytes) {
    if (at + sectorBytes > bytes.length || isZero(bytes, at, at + sectorBytes)) count++;
  }
  return count;
}

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / sectorBytes) * sectorBytes;
}

function refuse(reason: string): { readonly ok: false; readonly reason: string } {
  return { ok: false, reason };
}
