/** One thing that runs where its group is served, as `resources.ts` starts and stops it. */
import type { Clock } from '../base/clock.ts';

export type ResourceState =
  | 'stopped'
  | 'starting'
  | 'running'
  /** It failed its health check and is being stopped and started. */
  | 'restarting'
  | 'stopping'
  /** `problem` says how. */
  | 'failed';

export interface ResourceStep {
  readonly kind: 'address' | 'application' | 'agents';
  readonly name: string;
  state: ResourceState;
  problem: string | null;
  /** The end of what its programs wrote. */
  readonly output: string;
  /** Idempotent. Resolves with what went wrong, null when nothing did. Broken off by the signal. */
  start(context: StepContext): Promise<string | null>;
  /** Idempotent; also for one that was started by half. */
  stop(context: StepContext): Promise<string | null>;
  /** Begins to look after it, while it runs. */
  watch(context: StepContext): void;
  /** Resolves when nothing of the watching is under way any more. */
  unwatch(): Promise<void>;
}

export interface StepContext {
  /** For programs (`groupVariables`). */
  readonly variables: Readonly<Record<string, string>>;
  /** Why it starts or stops, in a word or a sentence. */
  readonly reason: string;
  readonly signal: AbortSignal;
}

/** Resolves after the delay, or as soon as the signal is aborted. */
export function pauseUnless(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = clock.after(delayMs, end);
    signal.addEventListener('abort', end);
  });
}
