import type { EndTask, Turn } from '../turn.ts';

/**
 * The turn in production. What is deferred runs in the check phase of the event loop, directly after the poll phase
 * has delivered all the bytes and completions there were: thus replies to everything that arrived together leave
 * together. (Microtasks would run after every single event, a timer a millisecond later.)
 *
 * Deferring is the most frequent thing this process does, so it costs a store and an increment: the queue's array is
 * never given back to the collector, and cleared slot by slot.
 *
 * An exception of a task is not caught: it is our bug, and the process stops.
 */
export class NodeTurn implements Turn {
  #scheduled = false;
  #queue: (() => void)[] = [];
  /** Slots of `#queue` in use; the rest hold `nothing`. */
  #queued = 0;
  #spare: (() => void)[] = [];
  #endTasks: EndTask[] = [];

  defer(run: () => void): void {
    this.#queue[this.#queued++] = run;
    if (!this.#scheduled) this.#schedule();
  }

  atEnd(task: EndTask): void {
    this.#endTasks.push(task);
    if (!this.#scheduled) this.#schedule();
  }

  #schedule(): void {
    this.#scheduled = true;
    setImmediate(this.#run);
  }

  readonly #run = (): void => {
    while (true) {
      while (this.#queued > 0) this.#runDeferred();
      if (this.#endTasks.length === 0) break;
      const tasks = this.#endTasks;
      this.#endTasks = [];
      for (const task of tasks) task.endOfTurn();
    }
    this.#scheduled = false;
  };

  /** Runs what is queued now; what that defers gathers in the other array. */
  #runDeferred(): void {
    const queue = this.#queue;
    const queued = this.#queued;
    this.#queue = this.#spare;
    this.#spare = queue;
    this.#queued = 0;
    for (let index = 0; index < queued; index++) {
      const run = queue[index] ?? nothing;
      queue[index] = nothing;
      run();
    }
  }
}

function nothing(): void {}
