import { payloadBytesMin, payloadMemory } from '../../src/base/payload-memory.ts';

/** Hands over `bytes` as a binding does that was offered no space: in memory lent again when nobody shares in it. */
export function receiveLent(bytes: Uint8Array, received: (chunk: Uint8Array) => void): void {
  const memory = payloadMemory.take(Math.max(bytes.length, payloadBytesMin)).fill(0xee);
  memory.set(bytes);
  received(memory.subarray(0, bytes.length));
  payloadMemory.give(memory);
}
