/**
 * How long until something is full, at the rate of the last half minute or so: bytes count less the older they are.
 */
import type { Clock } from '../base/clock.ts';

const memoryMs = 30_000;

export class FillForecast {
  readonly #clock: Clock;
  readonly #startMs: number;
  #weighted = 0;
  #weightedAtMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
    this.#weightedAtMs = this.#startMs;
  }

  add(bytes: number): void {
    this.#age();
    this.#weighted += bytes;
  }

  /** Null when next to nothing comes. */
  fullInMs(freeBytes: number): number | null {
    this.#age();
    // A history shorter than the memory counts for what it is.
    const weight = memoryMs * (1 - Math.exp(-(this.#weightedAtMs - this.#startMs) / memoryMs));
    const bytesPerMs = weight > 0 ? this.#weighted / weight : 0;
    return bytesPerMs * memoryMs < 1 ? null : Math.round(freeBytes / bytesPerMs);
  }

  #age(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#weighted *= Math.exp((this.#weightedAtMs - nowMs) / memoryMs);
    this.#weightedAtMs = nowMs;
  }
}
