/**
 * Numbers of 64 bits as two words, for the messages of every turn: no BigInt, no bounds check per field. A number read
 * may be above 2^53 - 1 and is then not a safe integer: the reader of the message refuses it.
 */
import type { Position } from '../../stream/position.ts';

const wordValues = 0x1_0000_0000;

export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value, true);
  view.setUint32(offset + 4, Math.floor(value / wordValues), true);
}

export function readU64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  const low = view.getUint32(offset, true);
  // A small number that never was a floating-point one costs its owner no memory.
  return high === 0 ? low : high * wordValues + low;
}

export function writePosition(view: DataView, offset: number, position: Position): void {
  writeU64(view, offset, position.generation);
  writeU64(view, offset + 8, position.seq);
}

export function readPosition(view: DataView, offset: number): Position {
  return { generation: readU64(view, offset), seq: readU64(view, offset + 8) };
}

export function isSafePosition(position: Position): boolean {
  return Number.isSafeInteger(position.generation) && Number.isSafeInteger(position.seq);
}
