import { expect, test } from 'vitest';
import { payloadBytesMin, PayloadMemory } from '../../src/base/payload-memory.ts';

const size = 2 * payloadBytesMin;

test('given memory of a size is lent again, once at a time', () => {
  const memory = new PayloadMemory();
  const first = memory.take(size);
  const second = memory.take(size);
  expect(second.buffer).not.toBe(first.buffer);
  memory.give(first.subarray(28));
  memory.give(first);
  const third = memory.take(size);
  expect(third.buffer).toBe(first.buffer);
  expect(third.length).toBe(size);
  expect(memory.take(size).buffer).not.toBe(first.buffer);
});

test('memory that holds several payloads, or came from elsewhere, is not taken back', () => {
  const memory = new PayloadMemory();
  const shared = memory.take(size);
  memory.keep(shared);
  memory.give(shared);
  const foreign = new Uint8Array(size);
  memory.give(foreign);
  const next = memory.take(size);
  expect(next.buffer).not.toBe(shared.buffer);
  expect(next.buffer).not.toBe(foreign.buffer);
});

test('idle memory is bounded, whatever sizes come and go', () => {
  const memory = new PayloadMemory();
  const lent = Array.from({ length: 40 }, () => memory.take(1024 * 1024));
  for (const payload of lent) memory.give(payload);
  const again = new Set(Array.from({ length: 40 }, () => memory.take(1024 * 1024).buffer));
  expect(lent.filter(({ buffer }) => again.has(buffer))).toHaveLength(12);
});
