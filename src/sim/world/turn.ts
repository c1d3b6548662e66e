/**
 * The turn of a simulated process (contract: `base/turn.ts`): deferred work in order, promise callbacks whenever the
 * deferred work is done, then end tasks; again until nothing is left. All of it at one virtual instant.
 *
 * Between any two pieces of work the process may have been crashed or paused: then nothing more runs, and a paused turn
 * goes on from the very place when the process wakes.
 */
import type { EndTask, Turn } from '../../base/turn.ts';
import { drainMicrotasks } from './scheduler.ts';

export interface TurnOwner {
  /** False when crashed, or paused. */
  mayRun(): boolean;
  /** Work was deferred outside any event of the process (by a scene, or a promise of one): it needs a turn. */
  needsTurn(): void;
}

export class SimTurn implements Turn {
  readonly #owner: TurnOwner;
  readonly #deferred: (() => void)[] = [];
  readonly #ends: EndTask[] = [];
  #nextDeferred = 0;
  #nextEnd = 0;
  /** End tasks of the pass under way; those asked for meanwhile belong to the next. */
  #passEnds = 0;
  #active = false;

  constructor(owner: TurnOwner) {
    this.#owner = owner;
  }

  defer(run: () => void): void {
    this.#askForTurn();
    this.#deferred.push(run);
  }

  atEnd(task: EndTask): void {
    this.#askForTurn();
    this.#ends.push(task);
  }

  /** Runs the events of a turn and everything they set in motion. */
  run(events: () => void): void {
    this.#active = true;
    try {
      events();
      this.#settle();
    } finally {
      this.#active = false;
    }
  }

  /** Work left over when the process was paused gets its turn when it wakes. */
  #askForTurn(): void {
    if (!this.#active && this.#deferred.length === 0 && this.#ends.length === 0) this.#owner.needsTurn();
  }

  #settle(): void {
    for (;;) {
      drainMicrotasks();
      while (this.#nextDeferred < this.#deferred.length) {
        if (!this.#owner.mayRun()) return;
        this.#deferred[this.#nextDeferred++]?.();
      }
      if (this.#deferred.length > 0) {
        this.#deferred.length = 0;
        this.#nextDeferred = 0;
        continue;
      }
      if (this.#ends.length === 0) return;
      this.#passEnds = this.#ends.length;
      while (this.#nextEnd < this.#passEnds) {
        if (!this.#owner.mayRun()) return;
        this.#ends[this.#nextEnd++]?.endOfTurn();
      }
      this.#ends.splice(0, this.#passEnds);
      this.#nextEnd = 0;
    }
  }
}
