/**
 * What a heartbeat mirror's volume holds, and where: the newest message, and the heartbeat status table (HM-2, HM-5). Each has
 * two slots, written in turn, so that a torn write never hides the last good one.
 *
 * A slot begins with 64 bytes, little-endian; the payload follows, then zeroes to the slot's end:
 *
 *     0   8  magic "HFHBMIR1"
 *     8   4  region: 1 message, 2 table
 *     12  4  length of the payload
 *     16  8  sequence number, rising with every write of the region
 *     24  4  CRC-32C of the payload
 *     28  32 zero
 *     60  4  CRC-32C of bytes 0 to 59
 *
 * docs/formats/heartbeat-mirror.md says the same for readers without the code.
 */
import { assert } from '../base/assert.ts';
import { Writer, decode } from '../base/codec.ts';
import { crc32c } from '../base/crc32c.ts';
import { channelBytesMax } from './channel.ts';

export type RegionName = 'message' | 'table';

export interface Region {
  readonly number: 1 | 2;
  /** Of either slot, from the beginning of the volume. */
  readonly slotsAt: readonly [number, number];
  readonly slotBytes: number;
  readonly payloadBytesMax: number;
}

/** The largest status table that a mirror carries. */
export const tableBytesMax = 16 * 1024;
/** All of a heartbeat mirror's volume. */
export const mirrorVolumeBytes = 12 * 4096;
/** What a disk writes whole or not at all. */
export const sectorBytes = 512;

export const regions: Readonly<Record<RegionName, Region>> = {
  message: { number: 1, slotsAt: [0, 4096], slotBytes: 4096, payloadBytesMax: channelBytesMax },
  table: { number: 2, slotsAt: [8192, 28_672], slotBytes: 20_480, payloadBytesMax: tableBytesMax },
};

export interface Slot {
  readonly sequence: number;
  readonly payload: Uint8Array;
}

const magic = Buffer.from('HFHBMIR1', 'latin1');
const headerBytes = 64;
const headerChecksumAt = 60;

/** All bytes of the slot. */
export function encodeSlot(name: RegionName, { sequence, payload }: Slot): Uint8Array {
  const region = regions[name];
  assert(payload.length <= region.payloadBytesMax, `a ${name} of ${payload.length} bytes on a heartbeat mirror`);
  const slot = new Uint8Array(region.slotBytes);
  const header = new Writer(headerBytes, headerBytes)
    .raw(magic)
    .u32(region.number)
    .u32(payload.length)
    .u64(sequence)
    .u32(crc32c(payload))
    .raw(new Uint8Array(headerChecksumAt - 28));
  header.u32(crc32c(header.finish()));
  slot.set(header.finish());
  slot.set(payload, headerBytes);
  return slot;
}

/** Null for a slot that is empty, torn, or something else. The payload is a view. */
export function decodeSlot(name: RegionName, slot: Uint8Array): Slot | null {
  const region = regions[name];
  if (slot.length < headerBytes) return null;
  const decoded = decode(slot.subarray(0, headerBytes), (reader) => {
    if (!Buffer.from(reader.raw(magic.length)).equals(magic)) reader.fail('another magic');
    if (reader.u32() !== region.number) reader.fail('another region');
    const length = reader.u32();
    const sequence = reader.u64();
    const checksum = reader.u32();
    reader.raw(headerChecksumAt - reader.offset);
    if (reader.u32() !== crc32c(slot.subarray(0, headerChecksumAt))) reader.fail('a checksum that does not match');
    return { length, sequence, checksum };
  });
  if (!decoded.ok) return null;
  const { length, sequence, checksum } = decoded.value;
  if (length > region.payloadBytesMax || headerBytes + length > slot.length) return null;
  const payload = slot.subarray(headerBytes, headerBytes + length);
  return crc32c(payload) === checksum ? { sequence, payload } : null;
}

/**
 * `empty`: never written; `ours`: some slot has been; `foreign`: anything else, which must not be overwritten (HM-3).
 * `volume`: its first `mirrorVolumeBytes`, or fewer where it ends before.
 */
export function recognise(volume: Uint8Array): 'empty' | 'ours' | 'foreign' {
  const isOurs = Object.values(regions).some(({ slotsAt }) =>
    slotsAt.some((at) => magic.equals(volume.subarray(at, at + magic.length))),
  );
  if (isOurs) return 'ours';
  return volume.every((byte) => byte === 0) ? 'empty' : 'foreign';
}

/** The first sector of an empty volume that becomes ours: no slot is complete yet. */
export function firstSector(): Uint8Array {
  const sector = new Uint8Array(sectorBytes);
  sector.set(magic);
  return sector;
}
