/** Parameter data for the initiator: written as lists of bytes, big-endian, cut to the CDB's allocation length. */
import { ScsiStatus, type ScsiTask } from './task.ts';

/** SPC-4 4.2.5.6: what does not fit is left out, lengths inside the data are as if all had been asked for. */
export function answer(task: ScsiTask, data: ArrayLike<number>, allocationLength: number): void {
  const length = Math.min(data.length, allocationLength);
  if (length > 0) {
    const into = task.reserveDataIn(length);
    for (let index = 0; index < length; index++) into[index] = data[index] ?? 0;
  }
  task.complete(ScsiStatus.good);
}

export function be16(value: number): number[] {
  return [(value >>> 8) & 0xff, value & 0xff];
}

export function be24(value: number): number[] {
  return [(value >>> 16) & 0xff, ...be16(value)];
}

export function be32(value: number): number[] {
  return [(value >>> 24) & 0xff, ...be24(value)];
}

/** Up to 2⁵³ − 1. */
export function be64(value: number): number[] {
  return [...be32(Math.floor(value / 2 ** 32)), ...be32(value % 2 ** 32)];
}

export function zeroes(count: number): number[] {
  return new Array<number>(count).fill(0);
}

/** Left-aligned, padded with spaces to `length` (SPC-4 4.3.1); what is longer is cut. */
export function ascii(text: string, length = text.length): number[] {
  return Array.from(text.padEnd(length).slice(0, length), (letter) => letter.charCodeAt(0) & 0x7f);
}

/** Null-terminated and null-padded to a multiple of four, as SCSI name strings are (SPC-4 7.8.6.11). */
export function nameString(text: string): number[] {
  const bytes = [...new TextEncoder().encode(text), 0];
  return [...bytes, ...zeroes(-bytes.length & 3)];
}

/** Of an even number of hex digits. */
export function hex(digits: string): number[] {
  return Array.from({ length: digits.length / 2 }, (_, index) =>
    parseInt(digits.slice(2 * index, 2 * index + 2), 16),
  );
}
