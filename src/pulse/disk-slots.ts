/**
 * How much of the process's thread pool heartbeat mirrors may have: a few slots for all their volumes together. The pool's
 * workers are few, and a disk that hangs holds one for as long as it hangs: the engine's disks shall find the others free.
 *
 * Writes go first, in the order they came; whoever waits bounds it by its own time limit. Of flushes there is one at a time:
 * two slow ones would leave no slot for the heartbeats of disks that are quick.
 */
export const diskSlotsMax = 2;

export class DiskSlots {
  #free = diskSlotsMax;
  #flushes = false;
  readonly #waiting = new Set<() => void>();
  /** One of each volume at most. */
  readonly #flushesWaiting: ((leave: () => void) => void)[] = [];

  /**
   * Calls `begin` with a slot, now or when there is one; `leave` gives it back, once.
   * @returns ceases to wait; without effect once `begin` was called.
   */
  enter(begin: (leave: () => void) => void): () => void {
    const enter = (): void => {
      this.#waiting.delete(enter);
      this.#free--;
      begin(() => this.#leave());
    };
    if (this.#free > 0) enter();
    else this.#waiting.add(enter);
    return () => void this.#waiting.delete(enter);
  }

  /** The same for a flush, when there is no other and no write waits. */
  enterToFlush(begin: (leave: () => void) => void): void {
    this.#flushesWaiting.push(begin);
    this.#next();
  }

  #leave(): void {
    this.#free++;
    this.#next();
  }

  #next(): void {
    if (this.#free === 0) return;
    const [write] = this.#waiting;
    if (write !== undefined) return write();
    if (this.#flushes) return;
    const flush = this.#flushesWaiting.shift();
    if (flush === undefined) return;
    this.#flushes = true;
    this.enter((leave) =>
      flush(() => {
        this.#flushes = false;
        leave();
      }),
    );
  }
}
