/**
 * The records of a group that some leg may still ask for, in memory, in order. *Ordinals* count them within this process:
 * they run on across generations, so that cursors on one lineage are plain numbers here; positions are what leaves the
 * process.
 *
 * Invariant: the history is gapless from `first` up to, and without, `next`; a record at ordinal o has the position that
 * `positionAt(o)` says.
 */
import { assert } from '../base/assert.ts';
import type { Position } from './position.ts';
import type { StreamRecord } from './record.ts';

export class History<R extends StreamRecord> {
  #ring: (R | undefined)[] = new Array<R | undefined>(1024);
  #first = 1;
  #next = 1;
  #bytes = 0;
  /** For each generation stamped in this process: the ordinal of its seq 0. Oldest first. */
  readonly #bases: { generation: number; base: number }[];

  /** `start`: the position just before the first record. */
  constructor(start: Position) {
    this.#bases = [{ generation: start.generation, base: -start.seq }];
  }

  /** Ordinal of the oldest record held; equals `next` when none is. */
  get first(): number {
    return this.#first;
  }

  /** Ordinal of the record that will be appended next. */
  get next(): number {
    return this.#next;
  }

  /** Payload bytes held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Before the first record: the position it follows is another. */
  rebase(start: Position, generation: number): void {
    assert(this.#next === 1, 'a history with records cannot begin elsewhere');
    this.#bases.length = 0;
    this.#bases.push({ generation: start.generation, base: -start.seq });
    this.beginGeneration(generation);
  }

  beginGeneration(generation: number): void {
    this.#bases.push({ generation, base: this.#next - 1 });
  }

  /** Returns the record's ordinal. */
  append(record: R): number {
    if (this.#next - this.#first === this.#ring.length) this.#grow();
    const ordinal = this.#next++;
    this.#ring[ordinal & (this.#ring.length - 1)] = record;
    this.#bytes += record.data === null ? 0 : record.length;
    return ordinal;
  }

  at(ordinal: number): R {
    assert(
      ordinal >= this.#first && ordinal < this.#next,
      `record ${ordinal} is not held (${this.#first}…${this.#next})`,
    );
    return this.#ring[ordinal & (this.#ring.length - 1)] as R;
  }

  /** Lets go of everything up to and including `ordinal`. */
  trim(ordinal: number): void {
    const last = Math.min(ordinal, this.#next - 1);
    while (this.#first <= last) {
      const slot = this.#first & (this.#ring.length - 1);
      const record = this.#ring[slot] as R;
      this.#bytes -= record.data === null ? 0 : record.length;
      this.#ring[slot] = undefined;
      this.#first++;
    }
  }

  /** The ordinal of a position of this process's generations; null for one that was before them or never stamped. */
  ordinalOf(position: Position): number | null {
    for (let at = this.#bases.length - 1; at >= 0; at--) {
      const entry = this.#bases[at];
      if (entry?.generation !== position.generation) continue;
      const ordinal = entry.base + position.seq;
      const last = this.#bases[at + 1]?.base ?? this.#next - 1;
      return ordinal >= 0 && ordinal <= last ? ordinal : null;
    }
    return null;
  }

  /** The position with this ordinal, which may be one just before the first record. */
  positionAt(ordinal: number): Position {
    for (let at = this.#bases.length - 1; at > 0; at--) {
      const entry = this.#bases[at];
      if (entry !== undefined && ordinal > entry.base)
        return { generation: entry.generation, seq: ordinal - entry.base };
    }
    const oldest = this.#bases[0];
    assert(oldest !== undefined, 'a history without a generation');
    return { generation: oldest.generation, seq: ordinal - oldest.base };
  }

  #grow(): void {
    const larger = new Array<R | undefined>(this.#ring.length * 2);
    for (let ordinal = this.#first; ordinal < this.#next; ordinal++) {
      larger[ordinal & (larger.length - 1)] = this.#ring[ordinal & (this.#ring.length - 1)];
    }
    this.#ring = larger;
  }
}
