import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ChangeBitmap } from '../../src/volume/change-bitmap.ts';

const kib = 1024;
const chunk = 64 * kib;
const tib = 2 ** 40;

/** A volume of two whole pages, a short third one, and a short last chunk. */
const sizeBytes = 2 * 32_768 * chunk + 100 * chunk + 4096;
const chunkCount = Math.ceil(sizeBytes / chunk);

/** Ranges that lie around the edges of pages and the end as well as anywhere. */
const edge = fc.constantFrom(0, 32_768 * chunk, 65_536 * chunk, sizeBytes);
const offset = fc
  .oneof(
    fc.tuple(edge, fc.integer({ min: -5 * chunk, max: 5 * chunk })).map(([at, by]) => at + by),
    fc.nat(sizeBytes),
  )
  .map((at) => Math.min(Math.max(at, 0), sizeBytes));
const range = fc.tuple(offset, offset).map(([a, b]) => ({ offset: Math.min(a, b), length: Math.abs(a - b) }));
const steps = fc.array(fc.record({ kind: fc.constantFrom('set', 'clear'), range }), { maxLength: 12 });

function build(from: { kind: string; range: { offset: number; length: number } }[]) {
  const bitmap = new ChangeBitmap(sizeBytes);
  const model = new Uint8Array(chunkCount);
  for (const { kind, range } of from) {
    const end = range.offset + range.length;
    if (kind === 'set') {
      bitmap.set(range.offset, range.length);
      if (range.length > 0) model.fill(1, Math.floor(range.offset / chunk), Math.ceil(end / chunk));
    } else {
      bitmap.clear(range.offset, range.length);
      model.fill(0, Math.ceil(range.offset / chunk), end === sizeBytes ? chunkCount : Math.floor(end / chunk));
    }
  }
  return { bitmap, model };
}

function chunksOf(bitmap: ChangeBitmap): Uint8Array {
  const chunks = new Uint8Array(chunkCount);
  for (let run = bitmap.nextRun(0, Infinity); run; run = bitmap.nextRun(run.offset + run.length, Infinity)) {
    chunks.fill(1, run.offset / chunk, Math.ceil((run.offset + run.length) / chunk));
  }
  return chunks;
}

function bytesOf(model: Uint8Array): number {
  const chunks = model.reduce((sum, bit) => sum + bit, 0);
  return chunks * chunk - (model.at(-1) ? chunkCount * chunk - sizeBytes : 0);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

describe('a change bitmap', () => {
  test('R10: sets every chunk a range touches and clears only chunks wholly inside', () => {
    fc.assert(
      fc.property(steps, range, (from, asked) => {
        const { bitmap, model } = build(from);
        expect(same(chunksOf(bitmap), model)).toBe(true);
        expect(bitmap.setBytes).toBe(bytesOf(model));
        expect(bitmap.isEmpty()).toBe(!model.includes(1));
        const after = Math.ceil((asked.offset + asked.length) / chunk);
        const overlaps = asked.length > 0 && model.subarray(Math.floor(asked.offset / chunk), after).includes(1);
        expect(bitmap.overlaps(asked.offset, asked.length)).toBe(overlaps);
      }),
      { numRuns: 60 },
    );
  });

  test('R9: unites with another of the same volume, which stays as it is', () => {
    fc.assert(
      fc.property(steps, steps, (mine, theirs) => {
        const { bitmap, model } = build(mine);
        const other = build(theirs);
        bitmap.union(other.bitmap);
        const united = model.map((bit, at) => bit | (other.model[at] ?? 0));
        expect(same(chunksOf(bitmap), united)).toBe(true);
        expect(bitmap.setBytes).toBe(bytesOf(united));
        bitmap.clearAll();
        expect(same(chunksOf(other.bitmap), other.model)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test('is read back as it was written; a clone stands alone', () => {
    fc.assert(
      fc.property(steps, (from) => {
        const { bitmap, model } = build(from);
        const clone = bitmap.clone();
        const decoded = ChangeBitmap.decode(bitmap.encode());
        bitmap.setAll();
        for (const copy of [clone, decoded.ok ? decoded.value : clone]) {
          expect(same(chunksOf(copy), model)).toBe(true);
          expect(copy.setBytes).toBe(bytesOf(model));
        }
        expect(decoded.ok).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test('hands out runs of at most the bytes asked for, of one chunk at least, and clipped to the volume', () => {
    const bitmap = new ChangeBitmap(sizeBytes);
    bitmap.set(3 * chunk, 10 * chunk);
    bitmap.set(sizeBytes - 1, 1);
    expect(bitmap.nextRun(0, 4 * chunk)).toEqual({ offset: 3 * chunk, length: 4 * chunk });
    expect(bitmap.nextRun(7 * chunk, 100 * chunk)).toEqual({ offset: 7 * chunk, length: 6 * chunk });
    expect(bitmap.nextRun(7 * chunk + 5, 1)).toEqual({ offset: 7 * chunk, length: chunk });
    expect(bitmap.nextRun(13 * chunk, chunk)).toEqual({ offset: sizeBytes - 4096, length: 4096 });
    expect(bitmap.nextRun(sizeBytes, chunk)).toBeNull();
  });

  test('TL-1: of a whole volume of 64 TiB costs nothing, and at worst 8 MiB', () => {
    const bitmap = new ChangeBitmap(64 * tib);
    expect(bitmap.chunkBytes).toBe(1024 * kib);
    bitmap.setAll();
    expect(bitmap.setBytes).toBe(64 * tib);
    expect(bitmap.encode().length).toBeLessThan(3000);
    expect(bitmap.nextRun(0, Infinity)).toEqual({ offset: 0, length: 64 * tib });
    const worst = new ChangeBitmap(64 * tib);
    for (let at = 0; at < 64 * tib; at += 2 ** 35) worst.set(at, 1);
    expect(worst.encode().length).toBeLessThanOrEqual(8 * 2 ** 20 + 4096);
  });

  test.each([
    [2 ** 20, 64],
    [4 * tib, 64],
    [4 * tib + 512, 128],
    [33 * tib, 1024],
  ])('of a volume of %d bytes has chunks of %d KiB', (volumeBytes, chunkKib) => {
    expect(new ChangeBitmap(volumeBytes).chunkBytes).toBe(chunkKib * kib);
  });

  test('refuses bytes that are no bitmap: any, cut, a size out of bounds, unknown pages, bits past the end', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void ChangeBitmap.decode(bytes)));
    const bitmap = new ChangeBitmap(sizeBytes);
    bitmap.set(sizeBytes - 1, 1);
    const encoded = bitmap.encode();
    const altered = (at: number, value: number) => Uint8Array.from(encoded).fill(value, at, at + 1);
    expect(ChangeBitmap.decode(encoded).ok).toBe(true);
    expect(ChangeBitmap.decode(encoded.subarray(0, -1)).ok).toBe(false);
    expect(ChangeBitmap.decode(altered(7, 1)).ok).toBe(false);
    expect(ChangeBitmap.decode(altered(9, 3)).ok).toBe(false);
    expect(ChangeBitmap.decode(altered(12, 3))).toMatchObject({ ok: false });
    expect(ChangeBitmap.decode(altered(15 + 101 / 8, 0xff))).toMatchObject({ ok: false });
  });
});
