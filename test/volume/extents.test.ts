import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentSet } from '../../src/volume/extents.ts';

const spaceBytes = 200;
const range = fc.tuple(fc.nat(spaceBytes - 1), fc.nat(30)).map(([offset, length]) => ({
  offset,
  length: Math.min(length, spaceBytes - offset),
}));
const operations = fc.array(fc.record({ kind: fc.constantFrom('add', 'remove'), range }), { maxLength: 60 });

/** The same set as a list of bytes. */
function bytesOf(set: ExtentSet): boolean[] {
  const bytes = new Array<boolean>(spaceBytes).fill(false);
  for (const { offset, length } of set) bytes.fill(true, offset, offset + length);
  return bytes;
}

function build(steps: { kind: string; range: { offset: number; length: number } }[], extentsMax?: number) {
  const set = new ExtentSet(extentsMax);
  const model = new Array<boolean>(spaceBytes).fill(false);
  for (const step of steps) {
    const { offset, length } = step.range;
    if (step.kind === 'add') set.add(offset, length);
    else set.remove(offset, length);
    model.fill(step.kind === 'add', offset, offset + length);
  }
  return { set, model };
}

function expectSound(set: ExtentSet): void {
  let lastEnd = -1;
  let total = 0;
  for (const { offset, length } of set) {
    expect(length).toBeGreaterThan(0);
    expect(offset).toBeGreaterThan(lastEnd);
    lastEnd = offset + length;
    total += length;
  }
  expect(set.totalBytes).toBe(total);
}

describe('a set of extents', () => {
  test('holds exactly the bytes added and not removed since, as ranges that do not touch', () => {
    fc.assert(
      fc.property(operations, range, (steps, asked) => {
        const { set, model } = build(steps);
        expect(bytesOf(set)).toEqual(model);
        expectSound(set);
        const expected = model.slice(asked.offset, asked.offset + asked.length).includes(true);
        expect(set.overlaps(asked.offset, asked.length)).toBe(expected);
      }),
    );
  });

  test('unites with another', () => {
    fc.assert(
      fc.property(operations, operations, (mine, theirs) => {
        const { set, model } = build(mine);
        const other = build(theirs);
        set.union(other.set);
        expect(bytesOf(set)).toEqual(model.map((byte, at) => byte || other.model[at]));
        expect(bytesOf(other.set)).toEqual(other.model);
        expectSound(set);
      }),
    );
  });

  test('I8: never holds more ranges than its maximum, and then names more bytes, never fewer', () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 60 }), operations, (added, more) => {
        const { set, model } = build(
          added.map((one) => ({ kind: 'add', range: one })),
          3,
        );
        expect(set.count).toBeLessThanOrEqual(3);
        expect(bytesOf(set).every((byte, at) => byte || !model[at])).toBe(true);
        expectSound(set);
        set.union(build(more).set);
        expect(set.count).toBeLessThanOrEqual(3);
        expectSound(set);
      }),
    );
  });

  test('closes the smallest gaps first', () => {
    const set = new ExtentSet(3);
    for (const offset of [0, 100, 120, 300]) set.add(offset, 10);
    expect([...set]).toEqual([
      { offset: 0, length: 10 },
      { offset: 100, length: 30 },
      { offset: 300, length: 10 },
    ]);
  });

  test('is read back as it was written', () => {
    fc.assert(
      fc.property(operations, (steps) => {
        const { set } = build(steps);
        const decoded = ExtentSet.decode(set.encode());
        expect(decoded.ok && [...decoded.value]).toEqual([...set]);
      }),
    );
  });

  test('keeps addresses of the largest volumes exactly', () => {
    const set = new ExtentSet();
    set.add(64 * 2 ** 40 - 512, 512);
    const decoded = ExtentSet.decode(set.encode());
    expect(decoded.ok && [...decoded.value]).toEqual([{ offset: 64 * 2 ** 40 - 512, length: 512 }]);
  });

  test('refuses bytes that are no set: any, cut, overlapping, touching, empty ranges, a count that lies', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void ExtentSet.decode(bytes)));
    const encode = (...numbers: number[]) => {
      const bytes = Buffer.alloc(4 + numbers.length * 8);
      bytes.writeUInt32LE(numbers.length / 2);
      numbers.forEach((value, at) => bytes.writeBigUInt64LE(BigInt(value), 4 + at * 8));
      return bytes;
    };
    expect(ExtentSet.decode(encode(0, 10, 20, 10)).ok).toBe(true);
    expect(ExtentSet.decode(encode(0, 10, 20, 10).subarray(0, 30)).ok).toBe(false);
    expect(ExtentSet.decode(encode(0, 10, 5, 10)).ok).toBe(false);
    expect(ExtentSet.decode(encode(0, 10, 10, 10)).ok).toBe(false);
    expect(ExtentSet.decode(encode(0, 0)).ok).toBe(false);
    expect(ExtentSet.decode(encode(Number.MAX_SAFE_INTEGER, 10)).ok).toBe(false);
    expect(ExtentSet.decode(Buffer.from([255, 255, 255, 255])).ok).toBe(false);
  });
});
