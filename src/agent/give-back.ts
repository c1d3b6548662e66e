/**
 * TL-15: when a group goes back to the node it is preferred for. Pure. A node that has failed is trusted again after a settle
 * time without a fault; each failure within a day of the one before doubles it, so that a node that comes and goes does not
 * drag its groups along (I12).
 */
export interface Failures {
  readonly count: number;
  /** Wall clock. */
  readonly lastAtMs: number;
}

const dayMs = 86_400_000;

/** After one more failure of the preferred owner. */
export function failedAgain(before: Failures | undefined, nowMs: number): Failures {
  const recent = before !== undefined && nowMs - before.lastAtMs < dayMs ? before.count : 0;
  return { count: recent + 1, lastAtMs: nowMs };
}

/** How long everything must have been well, in milliseconds. At most a day, at least `settleMs`. */
export function settleTimeMs(settleMs: number, failures: Failures | undefined, nowMs: number): number {
  const count = failures !== undefined && nowMs - failures.lastAtMs < dayMs ? failures.count : 0;
  return Math.max(settleMs, Math.min(dayMs, settleMs * 2 ** Math.max(0, count - 1)));
}
