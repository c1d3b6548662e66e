/** Waiting, for code that is asynchronous anyway: moves, openings, stops. Not for the hot path. */
import type { Clock } from './clock.ts';

const lookMs = 20;

export function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => void clock.after(delayMs, resolve));
}

/** The two clocks of a machine, and a timer, part by so much at most while nobody sets them. */
const clockFractionMs = 2;

/**
 * Until the wall clock's next multiple of the period, in milliseconds: what is done again and again at such moments falls
 * together, in all threads and on all nodes whose clocks agree, so that each is woken once for all of it. Never longer than
 * the period, whatever the clock says, and never for the moment that has just come.
 */
export function untilMultipleMs(clock: Clock, periodMs: number): number {
  const untilMs = periodMs - (clock.wallMs() % periodMs);
  return untilMs <= clockFractionMs ? periodMs : untilMs;
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
