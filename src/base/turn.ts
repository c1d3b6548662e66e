/**
 * A turn: everything that happens because of one round of the event loop. Completions never re-enter the code that
 * started the work: they are deferred, and run when the code that received the events has returned, in order. What
 * leaves the process (frames, replies) leaves at the very end of the turn, all of it together.
 *
 * Order within a turn: events → deferred work, first in first out, until none is left → end tasks, each once. Work
 * that end tasks defer starts another pass of the same turn.
 */
export interface Turn {
  /** Runs `run` later in this turn, after all that was deferred before it. */
  defer(run: () => void): void;
  /**
   * Calls `task.endOfTurn()` once when no deferred work is left. The caller keeps its own "already asked" flag: asking
   * twice means being called twice.
   */
  atEnd(task: EndTask): void;
}

export interface EndTask {
  endOfTurn(): void;
}
