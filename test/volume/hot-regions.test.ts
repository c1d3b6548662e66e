import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HotRegions, regionBytes, regionOf } from '../../src/volume/hot-regions.ts';
import { record } from '../stream/steps.ts';

/** Regions whose saves wait until the test ends them. */
class Bench {
  readonly saves: { keys: number[]; saved: () => void }[] = [];
  pressed = 0;
  retries = 0;
  readonly hot: HotRegions;

  constructor(regionsMax = 4, keys: number[] = []) {
    this.hot = new HotRegions(
      {
        regionsMax,
        save: (saved) => this.saves.push({ keys: this.hot.keys(), saved }),
        pressed: () => this.pressed++,
      },
      keys,
    );
  }

  touch(region: number, volume = 0, length = 1): boolean {
    return this.hot.admit(record('write', 1, { volume, offset: region * regionBytes, length }), () => this.retries++);
  }

  saved(): number[] {
    const save = this.saves.shift();
    if (save === undefined) throw new Error('nothing is being saved');
    save.saved();
    return save.keys;
  }

  regions(sinceMark?: number): number[] {
    return [...this.hot.extents(sinceMark)].map(({ offset }) => offset / regionBytes).sort((a, b) => a - b);
  }
}

describe('hot regions', () => {
  test('a record is let through once its region is hot on the medium, and at once from then on', () => {
    const bench = new Bench();
    expect(bench.touch(3)).toBe(false);
    expect(bench.saves[0]?.keys).toEqual([3]);
    expect(bench.touch(3)).toBe(false);
    bench.saved();
    expect(bench.retries).toBe(2);
    expect(bench.touch(3)).toBe(true);
    expect(bench.saves).toEqual([]);
  });

  test('a record across regions needs all of them; the byte after it needs none', () => {
    const bench = new Bench();
    expect(bench.touch(1, 0, 2 * regionBytes + 1)).toBe(false);
    expect(bench.saved()).toEqual([1, 2, 3]);
    expect(bench.touch(1, 0, 2 * regionBytes + 1)).toBe(true);
    expect(bench.touch(1, 0, 3 * regionBytes)).toBe(true);
    expect(bench.touch(1, 0, 3 * regionBytes + 1)).toBe(false);
  });

  test('marks that come during a save share the next one', () => {
    const bench = new Bench(10);
    for (const region of [1, 2, 3]) bench.touch(region);
    expect(bench.saves).toHaveLength(1);
    bench.saved();
    expect(bench.touch(1)).toBe(true);
    expect(bench.touch(2)).toBe(false);
    expect(bench.saved()).toEqual([1, 2, 3]);
    expect([bench.touch(2), bench.touch(3)]).toEqual([true, true]);
  });

  test('R5: a mark cools what was not touched after it, and nothing else', () => {
    const bench = new Bench(10);
    bench.touch(1, 0, 3 * regionBytes);
    bench.saved();
    bench.touch(1, 0, 3 * regionBytes);
    const first = bench.hot.endMark();
    bench.touch(2);
    const second = bench.hot.endMark();
    bench.touch(3);
    expect(bench.regions(first)).toEqual([2, 3]);
    expect(bench.hot.cool(first)).toBe(1);
    expect(bench.regions()).toEqual([2, 3]);
    expect(bench.hot.cool(second)).toBe(1);
    expect(bench.regions()).toEqual([3]);
    expect(bench.touch(1)).toBe(false);
  });

  test('R5: what became hot by a save that ends after the mark is not cooled by it', () => {
    const bench = new Bench();
    bench.touch(1);
    const mark = bench.hot.endMark();
    bench.saved();
    expect(bench.touch(1)).toBe(true);
    expect(bench.hot.cool(mark)).toBe(0);
  });

  test('I8: at the bound nothing is marked but pressure asked for, until something cools', () => {
    const bench = new Bench(2);
    for (const region of [1, 2]) {
      bench.touch(region);
      bench.saved();
      bench.touch(region);
    }
    expect(bench.touch(3)).toBe(false);
    expect([bench.pressed, bench.saves.length]).toEqual([1, 0]);
    const mark = bench.hot.endMark();
    bench.touch(2);
    expect(bench.hot.cool(mark)).toBe(1);
    expect(bench.saved()).toEqual([2, 3]);
    expect(bench.touch(3)).toBe(true);
  });

  test('a record larger than the bound is let through alone', () => {
    const bench = new Bench(2);
    expect(bench.touch(0, 0, 5 * regionBytes)).toBe(false);
    bench.saved();
    expect(bench.touch(0, 0, 5 * regionBytes)).toBe(true);
  });

  test('R7: what was hot before the start is hot, known by its place, and cools with the first mark', () => {
    const bench = new Bench(4, [5, 2 ** 24 + 7]);
    expect(bench.touch(5)).toBe(true);
    expect([...bench.hot.extents()]).toEqual([
      { volume: 0, offset: 5 * regionBytes, length: regionBytes },
      { volume: 1, offset: 7 * regionBytes, length: regionBytes },
    ]);
    expect(bench.hot.cool(0)).toBe(1);
    expect(bench.regions()).toEqual([5]);
  });

  test('keys tell volume and place apart up to 64 TiB and 65,536 volumes', () => {
    fc.assert(
      fc.property(fc.nat(65_535), fc.nat(2 ** 24 - 1), (volume, region) => {
        const bench = new Bench();
        bench.touch(region, volume);
        const [key] = bench.saved();
        expect(regionOf(key ?? -1)).toEqual({ volume, offset: region * regionBytes, length: regionBytes });
      }),
    );
  });

  test('I8: any use keeps every admitted region on the medium and the map within its bound', () => {
    const step = fc.record({
      kind: fc.constantFrom('touch', 'touch', 'touch', 'saved', 'mark', 'cool'),
      region: fc.nat(12),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const bench = new Bench(5);
        let onMedium = new Set<number>();
        const marks: number[] = [];
        /** Region → steps at which it was admitted; mark → step at which it ended. */
        const admitted = new Map<number, number>();
        const ended = new Map<number, number>();
        for (const [at, { kind, region }] of steps.entries()) {
          if (kind === 'touch' && bench.touch(region)) {
            expect(onMedium.has(region)).toBe(true);
            admitted.set(region, at);
          } else if (kind === 'saved' && bench.saves.length > 0) {
            onMedium = new Set(bench.saved());
          } else if (kind === 'mark') {
            const mark = bench.hot.endMark();
            marks.push(mark);
            ended.set(mark, at);
          } else if (kind === 'cool') {
            const mark = marks.shift();
            if (mark === undefined) continue;
            bench.hot.cool(mark);
            const end = ended.get(mark) ?? 0;
            for (const [touched, when] of admitted) {
              if (when > end) expect(bench.hot.keys()).toContain(touched);
            }
          }
          for (const { keys } of bench.saves) expect(keys.length).toBeLessThanOrEqual(5);
        }
      }),
      { numRuns: 500 },
    );
  });
});
