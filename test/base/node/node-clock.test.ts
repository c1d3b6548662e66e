import { expect, it } from 'vitest';
import { NodeClock } from '../../../src/base/node/node-clock.ts';

it('a timer never fires early on the monotonic clock', async () => {
  const clock = new NodeClock();
  for (const delayMs of [0, 0.4, 1, 1.5, 3]) {
    const startMs = clock.monotonicMs();
    await new Promise<void>((resolve) => clock.after(delayMs, resolve));
    expect(clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(delayMs);
  }
});

it('a cancelled timer does not fire', async () => {
  const clock = new NodeClock();
  let fired = false;
  const timer = clock.after(1, () => (fired = true));
  timer.cancel();
  timer.cancel();
  await new Promise<void>((resolve) => clock.after(5, resolve));
  expect(fired).toBe(false);
});

it('a timer of months is not taken for one of a millisecond', async () => {
  const clock = new NodeClock();
  let fired = false;
  const timer = clock.after(2 ** 32, () => (fired = true));
  await new Promise<void>((resolve) => clock.after(5, resolve));
  expect(fired).toBe(false);
  timer.cancel();
});
