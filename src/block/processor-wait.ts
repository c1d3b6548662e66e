import { openSync, readSync } from 'node:fs';

/**
 * How long this thread has been ready to run and was not let: on a busy machine a call that takes microseconds often
 * seems to take milliseconds because another process had the processor meanwhile. Without telling the two apart, every
 * device of a busy machine would pass for a slow one.
 *
 * Where the kernel does not say, the answer is 0: slow is slow then.
 */
export class ProcessorWait {
  readonly #descriptor: number | null = openOrNull();
  readonly #text = Buffer.alloc(64);
  #markedAtMs = -Infinity;
  #markedTotalMs = 0;

  /** Before a call that is timed. Cheap: it reads (2 µs) at most once a millisecond. */
  mark(nowMs: number): void {
    if (nowMs - this.#markedAtMs < 1) return;
    this.#markedAtMs = nowMs;
    this.#markedTotalMs = this.#totalMs();
  }

  /** Waited since the mark; up to a millisecond of it may lie before the call. */
  sinceMarkMs(): number {
    return this.#totalMs() - this.#markedTotalMs;
  }

  /** proc_pid_schedstat: time on the processor, time waited for it (both nanoseconds), number of turns. */
  #totalMs(): number {
    if (this.#descriptor === null) return 0;
    try {
      const length = readSync(this.#descriptor, this.#text, 0, this.#text.length, 0);
      return Number(this.#text.toString('latin1', 0, length).split(' ')[1] ?? 0) / 1e6;
    } catch {
      return 0;
    }
  }
}

/** Of the thread that opens it. */
function openOrNull(): number | null {
  try {
    return openSync('/proc/thread-self/schedstat', 'r');
  } catch {
    return null;
  }
}
