/** Waiting, for code that is asynchronous anyway: moves, openings, stops. Not for the hot path. */
import type { Clock } from './clock.ts';

const lookMs = 20;

export function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}

/** Whether `start`'s completion came in time. */
export function within(clock: Clock, limitMs: number, start: (done: () => void) => void): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(limitMs, () => resolve(false));
    start(() => {
      timer.cancel();
      resolve(true);
    });
  });
}

/** Resolves when the condition does not hold any more, or at the latest after the limit. */
export async function whileHolds(clock: Clock, condition: () => boolean, limitMs: number): Promise<void> {
  const deadlineMs = clock.monotonicMs() + limitMs;
  while (condition() && clock.monotonicMs() < deadlineMs) await pause(clock, lookMs);
}
