/**
 * Symbolic data: every sector a host writes holds the number of the write and the sector's own place, so that whatever
 * is read names who wrote it, and data in the wrong place shows. A sector of zeroes was never written, or was zeroed.
 *
 * Sector: u32 number of the write, u32 sector within its volume, u32 volume number + 1, then zeroes; little-endian.
 */
import { sectorBytes } from './world/disk.ts';

/** What a sector can hold: the number of a write, 0 for zeroes, or `nobodys`. */
export const nobodys = -1;

export function fillSectors(volume: number, firstSector: number, count: number, write: number): Uint8Array {
  const data = new Uint8Array(count * sectorBytes);
  const view = new DataView(data.buffer);
  for (let at = 0; at < count; at++) {
    view.setUint32(at * sectorBytes, write, true);
    view.setUint32(at * sectorBytes + 4, firstSector + at, true);
    view.setUint32(at * sectorBytes + 8, volume + 1, true);
  }
  return data;
}

/** @param data an image whose first sector is `firstSector` of the volume. */
export function sectorAt(data: Uint8Array, at: number, volume: number, firstSector: number): number {
  const offset = at * sectorBytes;
  const write = word(data, offset);
  const sector = word(data, offset + 4);
  const owner = word(data, offset + 8);
  if (write === 0 && sector === 0 && owner === 0) return 0;
  return sector === firstSector + at && owner === volume + 1 ? write : nobodys;
}

function word(data: Uint8Array, at: number): number {
  return (
    ((data[at] ?? 0) | ((data[at + 1] ?? 0) << 8) | ((data[at + 2] ?? 0) << 16) | ((data[at + 3] ?? 0) << 24)) >>> 0
  );
}
