import { describe, expect, it } from 'vitest';
import { Prng } from '../../../src/sim/world/prng.ts';

const draws = (prng: Prng, count = 20): number[] => Array.from({ length: count }, () => prng.next());

describe('Prng', () => {
  it('gives the same numbers for the same name, others for another', () => {
    expect(draws(new Prng('7'))).toEqual(draws(new Prng('7')));
    expect(draws(new Prng('7'))).not.toEqual(draws(new Prng('8')));
  });

  it('derives streams that do not depend on what was drawn before', () => {
    const used = new Prng('7');
    draws(used);
    expect(draws(used.derive('disk'))).toEqual(draws(new Prng('7').derive('disk')));
    expect(draws(used.derive('disk'))).not.toEqual(draws(used.derive('network')));
  });

  it('spreads evenly, near enough for a simulation', () => {
    const prng = new Prng('even');
    const counts = new Array<number>(10).fill(0);
    for (let index = 0; index < 10_000; index++) {
      const drawn = prng.below(10);
      counts[drawn] = (counts[drawn] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(new Set(prng.bytes(1000)).size).toBeGreaterThan(200);
  });
});
