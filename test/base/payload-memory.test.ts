import { expect, test } from 'vitest';
import { payloadBytesMin, PayloadMemory } from '../../src/base/payload-memory.ts';

const size = 2 * payloadBytesMin;

test('given memory of a size is lent again, once at a time', () => {
  const memory = new PayloadMemory();
  const first = memory.take(size);
  const second = memory.take(size);
  expect(second.buffer).not.toBe(first.buffer);
  memory.give(first.subarray(28));
  const third = memory.take(size);
  expect(third.buffer).toBe(first.buffer);
  expect(third.length).toBe(size);
  expect(memory.take(size).buffer).not.toBe(first.buffer);
});

test('memory in which several payloads lie is lent again when the last of them is given, in whatever order', () => {
  const memory = new PayloadMemory();
  const chunk = memory.take(size);
  const payloads = [chunk.subarray(28, 4124), chunk.subarray(4152, 8248)];
  for (const payload of payloads) memory.share(payload);
  for (const given of [payloads[1], chunk]) {
    if (given !== undefined) memory.give(given);
    expect(memory.take(size).buffer).not.toBe(chunk.buffer);
  }
  memory.give(chunk.subarray(28, 4124));
  expect(memory.take(size).buffer).toBe(chunk.buffer);
});

test('memory from elsewhere, or given already, is not taken', () => {
  const memory = new PayloadMemory();
  const foreign = new Uint8Array(size);
  memory.share(foreign);
  memory.give(foreign);
  const own = memory.take(size);
  memory.give(own);
  memory.give(own);
  const next = [memory.take(size).buffer, memory.take(size).buffer];
  expect(next).not.toContain(foreign.buffer);
  expect(next[1]).not.toBe(own.buffer);
});

test('idle memory is bounded, whatever sizes come and go', () => {
  const memory = new PayloadMemory();
  const lent = Array.from({ length: 40 }, () => memory.take(1024 * 1024));
  for (const payload of lent) memory.give(payload);
  const again = new Set(Array.from({ length: 40 }, () => memory.take(1024 * 1024).buffer));
  expect(lent.filter(({ buffer }) => again.has(buffer))).toHaveLength(12);
});
