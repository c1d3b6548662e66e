/** How fast something that catches up gets on, over the last seconds: for people to look at. */
import type { Clock } from '../base/clock.ts';

const windowMs = 3000;
const samplesMax = 256;

export class RateMeter {
  readonly #clock: Clock;
  #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param bytes done so far; never less than before */
  note(bytes: number): void {
    const atMs = this.#clock.monotonicMs();
    this.#samples.push({ atMs, bytes });
    while (this.#samples.length > 2 && (this.#samples[0]?.atMs ?? 0) < atMs - windowMs) this.#samples.shift();
    if (this.#samples.length > samplesMax) this.#samples = this.#samples.filter((_, at) => at % 2 === 0);
  }

  /** 0 before the first note. */
  bytesPerSecond(bytes: number): number {
    const first = this.#samples[0];
    if (first === undefined) return 0;
    const elapsedMs = this.#clock.monotonicMs() - first.atMs;
    return elapsedMs > 0 ? Math.round(((bytes - first.bytes) / elapsedMs) * 1000) : 0;
  }
}
