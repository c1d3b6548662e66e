/**
 * The engine's progress, seen from the thread of the pulse: a node whose engine does not move says so by its silence, and
 * gives up its lease, instead of living on in its heartbeats (architecture.md "Liveness").
 *
 * The engine's loop writes the time of its last turn into shared memory, eight times in each stall time. That its disks
 * move is not judged here: as long as its loop turns, the engine watches them itself (`data-path.ts`), and can do
 * something better about it than fall silent.
 */
import type { Clock, Timer } from '../base/clock.ts';

/** Where no pulse is configured. Milliseconds. */
export const defaultStallMs = 1000;

const turnsInStallTime = 8;
const looksInStallTime = 4;

/** What the watch knows of the engine, on the monotonic clock of the process. */
export interface ProgressSample {
  /** The last turn noted. */
  readonly turnedAtMs: number;
  /** Since when the watch itself has looked without a gap: what stood still together proves nothing. */
  readonly watchedSinceMs: number;
}

/** Why the engine counts as stuck; null when it moves. */
export function judgeProgress(sample: ProgressSample, nowMs: number, stallMs: number): string | null {
  const stillMs = nowMs - Math.max(sample.turnedAtMs, sample.watchedSinceMs);
  return stillMs < stallMs ? null : `the engine is stuck: it has not moved for ${Math.floor(stillMs)} ms`;
}

/** The memory: one number, microseconds. */
export class EngineProgress {
  readonly buffer: SharedArrayBuffer;
  readonly #turnedAt: BigInt64Array;

  constructor(buffer = new SharedArrayBuffer(8)) {
    this.buffer = buffer;
    this.#turnedAt = new BigInt64Array(buffer);
  }

  get turnedAtMs(): number {
    return Number(Atomics.load(this.#turnedAt, 0)) / 1000;
  }

  note(nowMs: number): void {
    Atomics.store(this.#turnedAt, 0, BigInt(Math.floor(nowMs * 1000)));
  }

  /** In the engine: notes that its loop turns, until cancelled. */
  keepNoting(clock: Clock, stallMs: number): Timer {
    return repeatedly(clock, stallMs / turnsInStallTime, () => this.note(clock.monotonicMs()));
  }
}

/** In the pulse's thread: looks at the memory regularly, and tells when the judgement changes between stuck and moving. */
export class ProgressWatch {
  readonly #progress: EngineProgress;
  readonly #clock: Clock;
  readonly #stallMs: number;
  readonly #changed: (stuck: string | null) => void;
  readonly #timer: Timer;
  #lookedAtMs: number;
  #watchedSinceMs: number;
  #stuck: string | null = null;

  constructor(options: {
    readonly progress: EngineProgress;
    readonly clock: Clock;
    readonly stallMs: number;
    readonly changed: (stuck: string | null) => void;
  }) {
    this.#progress = options.progress;
    this.#clock = options.clock;
    this.#stallMs = options.stallMs;
    this.#lookedAtMs = this.#watchedSinceMs = this.#clock.monotonicMs();
    this.#changed = options.changed;
    this.#timer = repeatedly(this.#clock, this.#stallMs / looksInStallTime, () => void this.look());
  }

  /** Why the engine is stuck, by a look now; null when it is not. */
  look(): string | null {
    const nowMs = this.#clock.monotonicMs();
    // This thread did not run either: the process was stopped, or the machine has no processor for us.
    if (nowMs - this.#lookedAtMs >= this.#stallMs / 2) this.#watchedSinceMs = nowMs;
    this.#lookedAtMs = nowMs;
    const sample = { turnedAtMs: this.#progress.turnedAtMs, watchedSinceMs: this.#watchedSinceMs };
    const before = this.#stuck;
    this.#stuck = judgeProgress(sample, nowMs, this.#stallMs);
    if ((this.#stuck === null) !== (before === null)) this.#changed(this.#stuck);
    return this.#stuck;
  }

  close(): void {
    this.#timer.cancel();
  }
}

function repeatedly(clock: Clock, everyMs: number, run: () => void): Timer {
  let timer: Timer;
  let cancelled = false;
  const again = (): void => {
    run();
    if (!cancelled) timer = clock.after(everyMs, again);
  };
  again();
  return {
    cancel: () => {
      cancelled = true;
      timer.cancel();
    },
  };
}
