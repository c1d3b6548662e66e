/**
 * Time, as protocol logic sees it. Two clocks, because each lies in its own way: the monotonic one may stop while a
 * machine sleeps, the wall clock may be set. A lease has passed when either of them says so (R15).
 */
export interface Clock {
  /** Milliseconds (fractional) since an arbitrary origin; never goes back within one process. */
  monotonicMs(): number;
  /** Milliseconds since 1970-01-01 UTC; may step either way. */
  wallMs(): number;
  /** Runs `run` once, not before `delayMs` have passed on the monotonic clock. */
  after(delayMs: number, run: () => void): Timer;
}

export interface Timer {
  /** Idempotent; after it returns the timer's `run` is not called any more. */
  cancel(): void;
}
