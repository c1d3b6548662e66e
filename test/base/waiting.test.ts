import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { untilMultipleMs } from '../../src/base/waiting.ts';

const at = (wallMs: number): Clock => ({
  wallMs: () => wallMs,
  monotonicMs: () => 0,
  after: () => expect.fail('no timer is needed'),
});

test('the next multiple of the wall clock is waited for, but not the one that has just come', () => {
  expect(untilMultipleMs(at(1_000_050), 200)).toBe(150);
  expect(untilMultipleMs(at(1_000_000), 200)).toBe(200);
  expect(untilMultipleMs(at(999_999), 200)).toBe(200);
  expect(untilMultipleMs(at(999_990), 200)).toBe(10);
});

test('whatever the wall clock says, it is soon, and never longer than the period', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1e13, noNaN: true }),
      fc.integer({ min: 10, max: 60_000 }),
      (wallMs, periodMs) => {
        const untilMs = untilMultipleMs(at(wallMs), periodMs);
        expect(untilMs).toBeGreaterThan(0);
        expect(untilMs).toBeLessThanOrEqual(periodMs);
      },
    ),
  );
});
