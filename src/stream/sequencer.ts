/**
 * Gives every change of a group its place in the one order there is (HG-1).
 *
 * Invariants: within a generation `seq` is gapless from 1, and no position is ever given twice. An epoch's number is the
 * seq of its first record. A record stamped after a write was completed to a host lies in a later epoch than that write,
 * so that whatever a host may have issued *because of* a completed write is applied after it.
 */
import { assert } from '../base/assert.ts';
import type { Position } from './position.ts';

/** What the sequencer fills in. */
export interface Stampable {
  generation: number;
  epoch: number;
  seq: number;
}

export class Sequencer {
  #generation: number;
  #lastSeq = 0;
  /** 0 while no epoch is open. */
  #epoch = 0;

  constructor(generation: number) {
    this.#generation = generation;
  }

  /** The newest stamp given. */
  get last(): Position {
    return { generation: this.#generation, seq: this.#lastSeq };
  }

  get generation(): number {
    return this.#generation;
  }

  stamp(record: Stampable): void {
    const seq = ++this.#lastSeq;
    if (this.#epoch === 0) this.#epoch = seq;
    record.generation = this.#generation;
    record.epoch = this.#epoch;
    record.seq = seq;
  }

  /** A write is being completed to a host: the epoch is closed, the next record opens another. */
  completed(): void {
    this.#epoch = 0;
  }

  /** Numbers begin anew (HG-4). */
  beginGeneration(generation: number): void {
    assert(generation > this.#generation, `generation ${generation} does not follow ${this.#generation}`);
    this.#generation = generation;
    this.#lastSeq = 0;
    this.#epoch = 0;
  }
}
