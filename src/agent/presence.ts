/**
 * AS-4: a node that no channel hears is asked over the network before anybody takes over from it: an answer within `waitMs`
 * shows that it lives, whatever became of its heartbeats. Asked once and `retries` times more.
 */
import type { Clock } from '../base/clock.ts';

export interface PresenceOptions {
  readonly clock: Clock;
  /** Resolves when the node answers; rejects when it cannot be reached or does not within the time. */
  readonly ask: (timeoutMs: number) => Promise<unknown>;
  readonly waitMs: number;
  readonly retries: number;
  /** The result is there. */
  readonly done: () => void;
}

export class PresenceCheck {
  readonly #options: PresenceOptions;
  #state: 'notAsked' | 'asking' | 'answered' | 'silent' = 'notAsked';
  #cancelled = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  get state(): 'notAsked' | 'asking' | 'answered' | 'silent' {
    return this.#state;
  }

  begin(): void {
    if (this.#state !== 'notAsked') return;
    this.#state = 'asking';
    this.#ask(0);
  }

  /** What was asked before does not count any more. */
  cancel(): void {
    this.#cancelled = true;
  }

  #ask(attempt: number): void {
    const { clock, ask, waitMs, retries, done } = this.#options;
    const startedMs = clock.monotonicMs();
    const end = (state: 'answered' | 'silent'): void => {
      if (this.#cancelled) return;
      this.#state = state;
      done();
    };
    ask(waitMs).then(
      () => end('answered'),
      () => {
        if (this.#cancelled) return;
        // A refusal may come at once: a process that is being started again gets its time all the same.
        const leftMs = Math.max(0, waitMs - (clock.monotonicMs() - startedMs));
        clock.after(leftMs, () => {
          if (this.#cancelled) return;
          if (attempt < retries) this.#ask(attempt + 1);
          else end('silent');
        });
      },
    );
  }
}
