/**
 * The changes of a group that are stamped and not finished: what a read must not overtake (R1), what a lost owner leaves
 * in doubt. Small (bounded by what hosts keep in flight), hence a plain array that is scanned.
 */
import { assert } from '../base/assert.ts';
import type { Change } from './change.ts';

export class FlightTable {
  readonly #changes: Change[] = [];

  get size(): number {
    return this.#changes.length;
  }

  add(change: Change): void {
    change.flightIndex = this.#changes.length;
    this.#changes.push(change);
  }

  remove(change: Change): void {
    const at = change.flightIndex;
    assert(this.#changes[at] === change, `change ${change.generation}:${change.seq} is not in flight`);
    const last = this.#changes.pop() as Change;
    if (last !== change) {
      this.#changes[at] = last;
      last.flightIndex = at;
    }
    change.flightIndex = -1;
  }

  /** Some change in flight that touches the range, flushes aside; null when there is none. */
  overlapping(volume: number, offset: number, length: number): Change | null {
    const end = offset + length;
    for (const change of this.#changes) {
      if (change.volume === volume && change.offset < end && offset < change.offset + change.length) return change;
    }
    return null;
  }

  /** In stamp order. */
  all(): Change[] {
    return [...this.#changes].sort((a, b) => a.ordinal - b.ordinal);
  }
}
