/**
 * When to try again what failed: soon at first, then ever later, and at the latest after `msMax`, for ever. A little by
 * chance, so that two ends that failed together do not go on to do so.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Random } from '../base/random.ts';

export class BackOff {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #run: () => void;
  readonly #msMin: number;
  readonly #msMax: number;
  #delayMs: number;
  #timer: Timer | null = null;

  constructor(
    { clock, random }: { readonly clock: Clock; readonly random: Random },
    run: () => void,
    { msMin = 100, msMax = 5000 } = {},
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#run = run;
    this.#msMin = msMin;
    this.#msMax = msMax;
    this.#delayMs = msMin;
  }

  /** Nothing new while it waits already. */
  failed(): void {
    if (this.#timer !== null) return;
    const delayMs = this.#delayMs + this.#random.below(Math.ceil(this.#delayMs / 4));
    this.#delayMs = Math.min(this.#delayMs * 2, this.#msMax);
    this.#timer = this.#clock.after(delayMs, () => {
      this.#timer = null;
      this.#run();
    });
  }

  succeeded(): void {
    this.#delayMs = this.#msMin;
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
