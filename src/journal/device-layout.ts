/**
 * How a device is divided among the segments of a log (layout: docs/formats/journal.md). No I/O.
 *
 * The first MiB holds the superblock, twice. Behind it lie groups, each of a table and the slots that it describes, one
 * sector a slot; so a device that grows gets more groups, and nothing moves.
 *
 * A superblock's magic, version and checksum keep their places in all versions.
 */
import { decode, Writer, type Decoded, type Reader } from '../base/codec.ts';
import { crc32c } from '../base/crc32c.ts';
import { isZero, sectorBytes } from './segment-header.ts';

export const deviceMagic = 'HFLOGDEV';
export const deviceVersion = 1;
export const superblockOffsets = [0, 4096] as const;
/** What is in it says whose the device is. */
export const frontBytes = 1024 * 1024;

const slotMagic = 'HFLOGSLT';
const slotsPerTable = 1024;
const tableBytes = slotsPerTable * sectorBytes;
const slotBytesMin = 4096;
const slotBytesMax = 4 * 1024 * 1024;
const checksumAt = sectorBytes - 4;
const idBytes = 16;

export interface Superblock {
  /** 32 hex digits, drawn when the device was initialised; every slot in use bears it. */
  readonly deviceId: string;
  /** The higher one counts. */
  readonly sequence: number;
  readonly slotBytes: number;
  /** Of the device when this was written. */
  readonly sizeBytes: number;
}

export type ReadSuperblock =
  | { readonly kind: 'superblock'; readonly superblock: Superblock }
  | { readonly kind: 'newer'; readonly version: number }
  | { readonly kind: 'none'; readonly reason: string };

/** What a slot holds: part `part` (from 0) of a segment. */
export interface SlotUse {
  readonly deviceId: string;
  readonly segment: number;
  /** Ascending with every segment made on the device: tells parts of one from those of another of the same number. */
  readonly edition: number;
  readonly part: number;
}

/** So that a segment has about sixteen, and what its last one wastes is little. */
export function slotBytesFor(segmentBytes: number): number {
  const wanted = Math.floor(segmentBytes / 16 / slotBytesMin) * slotBytesMin;
  return Math.min(slotBytesMax, Math.max(slotBytesMin, wanted));
}

/** A table without a slot is of no use. */
export function slotCount(slotBytes: number, sizeBytes: number): number {
  const groupBytes = tableBytes + slotsPerTable * slotBytes;
  const space = Math.max(0, sizeBytes - frontBytes);
  const whole = Math.floor(space / groupBytes);
  return whole * slotsPerTable + Math.max(0, Math.floor(((space % groupBytes) - tableBytes) / slotBytes));
}

export interface Table {
  readonly offset: number;
  readonly firstSlot: number;
  readonly slots: number;
}

/** Those with the slots from `first` on, up to but without `end`. */
export function tablesOf(slotBytes: number, first: number, end: number): Table[] {
  const tables: Table[] = [];
  for (let slot = first - (first % slotsPerTable); slot < end; slot += slotsPerTable) {
    const from = Math.max(slot, first);
    const slots = Math.min(end, slot + slotsPerTable) - from;
    tables.push({ offset: tableSectorOf(slotBytes, from), firstSlot: from, slots });
  }
  return tables;
}

export function tableSectorOf(slotBytes: number, slot: number): number {
  return groupOffset(slotBytes, slot) + (slot % slotsPerTable) * sectorBytes;
}

export function slotOffset(slotBytes: number, slot: number): number {
  return groupOffset(slotBytes, slot) + tableBytes + (slot % slotsPerTable) * slotBytes;
}

function groupOffset(slotBytes: number, slot: number): number {
  return frontBytes + Math.floor(slot / slotsPerTable) * (tableBytes + slotsPerTable * slotBytes);
}

export function encodeSuperblock({ deviceId, sequence, slotBytes, sizeBytes }: Superblock): Uint8Array {
  const writer = new Writer(sectorBytes, sectorBytes)
    .raw(Buffer.from(deviceMagic, 'latin1'))
    .u32(deviceVersion)
    .u32(sectorBytes)
    .raw(Buffer.from(deviceId, 'hex'))
    .u64(sequence)
    .u64(sizeBytes)
    .u32(slotBytes)
    .u32(slotsPerTable);
  return sealed(writer);
}

export function decodeSuperblock(bytes: Uint8Array): ReadSuperblock {
  let version = 0;
  const decoded = decodeSector(bytes, deviceMagic, (reader): Superblock => {
    version = reader.u32();
    if (version !== deviceVersion) reader.fail(`version ${version}`, 8);
    const sector = reader.u32();
    const deviceId = Buffer.from(reader.raw(idBytes)).toString('hex');
    const sequence = reader.u64();
    const sizeBytes = reader.u64();
    const slotBytes = reader.u32();
    const perTable = reader.u32();
    const isKnown = sector === sectorBytes && perTable === slotsPerTable;
    if (!isKnown || slotBytes < slotBytesMin || slotBytes % slotBytesMin !== 0) {
      reader.fail(`slots of ${slotBytes} bytes, ${perTable} in a table, with sectors of ${sector}`, 12);
    }
    return { deviceId, sequence, slotBytes, sizeBytes };
  });
  if (decoded.ok) return { kind: 'superblock', superblock: decoded.value };
  return version > deviceVersion ? { kind: 'newer', version } : { kind: 'none', reason: decoded.reason };
}

export function encodeSlotUse({ deviceId, segment, edition, part }: SlotUse): Uint8Array {
  const writer = new Writer(sectorBytes, sectorBytes)
    .raw(Buffer.from(slotMagic, 'latin1'))
    .raw(Buffer.from(deviceId, 'hex'))
    .u64(segment)
    .u64(edition)
    .u32(part);
  return sealed(writer);
}

/** Null for a free slot. */
export function decodeSlotUse(bytes: Uint8Array): Decoded<SlotUse | null> {
  if (isZero(bytes, 0, bytes.length)) return { ok: true, value: null };
  return decodeSector(bytes, slotMagic, (reader) => {
    const deviceId = Buffer.from(reader.raw(idBytes)).toString('hex');
    return { deviceId, segment: reader.u64(), edition: reader.u64(), part: reader.u32() };
  });
}

function sealed(writer: Writer): Uint8Array {
  writer.raw(new Uint8Array(checksumAt - writer.length));
  return writer.u32(crc32c(writer.finish())).finish();
}

function decodeSector<Value>(bytes: Uint8Array, magic: string, read: (reader: Reader) => Value): Decoded<Value> {
  const sector = bytes.subarray(0, sectorBytes);
  if (sector.length < sectorBytes) return { ok: false, reason: `${sector.length} bytes where a sector belongs` };
  return decode(sector, (reader) => {
    if (Buffer.from(reader.raw(magic.length)).toString('latin1') !== magic) reader.fail('another kind of sector', 0);
    const stated = new DataView(sector.buffer, sector.byteOffset, sector.length).getUint32(checksumAt, true);
    if (stated !== crc32c(sector.subarray(0, checksumAt))) reader.fail('a checksum that does not match', checksumAt);
    const value = read(reader);
    reader.raw(reader.remaining);
    return value;
  });
}

/** Signs of others' data, each at its place in the first MiB. */
const signs: readonly { readonly name: string; readonly at: number; readonly bytes: string }[] = [
  { name: 'an ext2, ext3 or ext4 file system', at: 1080, bytes: '\x53\xef' },
  { name: 'an XFS file system', at: 0, bytes: 'XFSB' },
  { name: 'a btrfs file system', at: 65_600, bytes: '_BHRfS_M' },
  { name: 'an NTFS file system', at: 3, bytes: 'NTFS    ' },
  { name: 'a LUKS container', at: 0, bytes: 'LUKS\xba\xbe' },
  { name: 'an LVM physical volume', at: 512, bytes: 'LABELONE' },
  { name: 'a Linux RAID member', at: 4096, bytes: '\xfc\x4e\x2b\xa9' },
  { name: 'swap space', at: 4086, bytes: 'SWAPSPACE2' },
  { name: 'a GPT partition table', at: 512, bytes: 'EFI PART' },
  { name: 'an MBR partition table or boot sector', at: 510, bytes: '\x55\xaa' },
];

/** What a device's first MiB holds that is not ours; null for nothing but zeroes. */
export function foreignContents(front: Uint8Array): string | null {
  if (isZero(front, 0, front.length)) return null;
  const text = Buffer.from(front.buffer, front.byteOffset, front.length);
  for (const { name, at, bytes } of signs) {
    if (text.subarray(at, at + bytes.length).toString('latin1') === bytes) return name;
  }
  return `bytes that are not a log's, the first at offset ${front.findIndex((byte) => byte !== 0)}`;
}
