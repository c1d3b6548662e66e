import type { Clock, Timer } from '../../src/base/clock.ts';
import type { Turn } from '../../src/base/turn.ts';

/** Time passes only by `pass`; the wall clock may be set besides. */
export class HandClock implements Clock {
  nowMs = 1000;
  wallOffsetMs = 1_000_000;
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  /** Timers run when they are due. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const next = this.#timers.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
    }
    this.nowMs = untilMs;
  }

  /** Nothing runs meanwhile; timers are late. */
  sleep(ms: number): void {
    this.nowMs += ms;
  }
}

/** What is deferred runs when `run` is called. */
export class HandTurn implements Turn {
  readonly #deferred: (() => void)[] = [];

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  atEnd(): void {}

  run(): void {
    for (let next = this.#deferred.shift(); next !== undefined; next = this.#deferred.shift()) next();
  }
}
