import { expect, it } from 'vitest';
import { fuzzNbd } from './fuzz.ts';

it('20,000 spoilt conversations are answered as the model says, within bounds', () => {
  const totals = fuzzNbd(20261120, 20_000);
  expect(totals.inputs).toBe(20_000);
  // The inputs are worth something: many reach transmission, many are ended.
  expect(totals.replies).toBeGreaterThan(50_000);
  expect(totals.ended).toBeGreaterThan(2_000);
}, 120_000);
