/**
 * Memory of payloads under way, over all sessions of a server: write data being gathered or with a volume, data for
 * hosts being read or not fetched yet. A session alone may use what it is allowed; when all together have used up the
 * budget, those that have their share of it wait, and the others go on: a flood, or a host that fetches nothing, hinders itself.
 *
 * Keeps: never more in use than `bytesMax` and, for each session, its share and one command.
 */
export class MemoryBudget {
  readonly #bytesMax: number;
  #usedBytes = 0;
  /** Sessions there are. */
  members = 0;
  readonly #waiting = new Set<() => void>();

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Whether one that uses `ownBytes` has to wait. */
  exceeded(ownBytes: number): boolean {
    return this.#usedBytes >= this.#bytesMax && ownBytes >= this.#bytesMax / Math.max(1, this.members);
  }

  /** `bytes` may be negative. */
  use(bytes: number): void {
    this.#usedBytes += bytes;
    if (this.#waiting.size === 0 || this.#usedBytes >= this.#bytesMax) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Called once, when there is room again. The same function twice is one. */
  wait(wake: () => void): void {
    this.#waiting.add(wake);
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}
