import type { Clock, Timer } from '../clock.ts';

/** Node's timers count in whole milliseconds of a clock read once a loop, and not beyond 2^31 - 1. */
const delayMsMax = 2 ** 31 - 1;

/** The machine's clocks. Timers are checked against the monotonic clock when they fire: they may not be early. */
export class NodeClock implements Clock {
  monotonicMs(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  after(delayMs: number, run: () => void): Timer {
    const dueMs = performance.now() + delayMs;
    let timer: NodeJS.Timeout;
    const arm = (remainingMs: number): void => {
      timer = setTimeout(fire, Math.min(Math.ceil(remainingMs), delayMsMax));
    };
    const fire = (): void => {
      const remainingMs = dueMs - performance.now();
      if (remainingMs > 0) arm(remainingMs);
      else run();
    };
    arm(delayMs);
    return { cancel: () => clearTimeout(timer) };
  }
}
