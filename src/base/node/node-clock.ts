import type { Clock, Timer } from '../clock.ts';

/** Node's timers count in whole milliseconds of a clock read once a loop, and not beyond 2^31 - 1. */
const delayMsMax = 2 ** 31 - 1;

/**
 * `performance.now()` counts from the start of its thread. With this added it is the machine's monotonic clock, the same in
 * all threads of the process: a moment one of them writes down is one for the others too. (`process.hrtime` is that
 * clock, but makes an array with each call.)
 */
const originMs = threadOriginMs();

/** The machine's clocks. Timers are checked against the monotonic clock when they fire: they may not be early. */
export class NodeClock implements Clock {
  monotonicMs(): number {
    return performance.now() + originMs;
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

/** Both clocks read the same one; the look that was disturbed least tells best how far apart they are. */
function threadOriginMs(): number {
  let originMs = 0;
  let narrowestMs = Infinity;
  for (let look = 0; look < 20; look++) {
    const beforeMs = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    const tookMs = performance.now() - beforeMs;
    if (tookMs >= narrowestMs) continue;
    narrowestMs = tookMs;
    originMs = seconds * 1000 + nanoseconds / 1e6 - beforeMs - tookMs / 2;
  }
  return originMs;
}
