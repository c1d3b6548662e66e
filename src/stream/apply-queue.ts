/**
 * Applies records to the devices of one leg, in stamp order as far as order matters.
 *
 * Invariants:
 * - R1: a record starts only when no earlier record that overlaps it is in flight; records start first in, first out.
 * - A flush starts only when every earlier record of its volume has completed.
 * - `strict` (a target's leg, HG-2, R3): a record starts only when every record of earlier epochs has completed, and
 *   nothing starts while a flush is in flight. The owner's own leg needs neither: a host waits for what it depends on.
 * - No record starts before its regions are hot on the medium (`RegionGate`).
 *
 * After a fault that is not `noSpace` the owner of the queue must `stop` it: a leg whose medium failed serves nothing.
 */
import { assert } from '../base/assert.ts';
import type { Turn } from '../base/turn.ts';
import type { BlockFault, Device } from '../block/device.ts';
import { Fifo } from './fifo.ts';
import { recordsOverlap, type StreamRecord } from './record.ts';

/** Lets a record pass once the regions it touches are marked hot durably. */
export interface RegionGate {
  /** True when `record` may start now; otherwise `retry` is called when it is worth asking again. */
  admit(record: StreamRecord, retry: () => void): boolean;
}

export interface ApplyOptions<R extends StreamRecord> {
  readonly turn: Turn;
  readonly strict: boolean;
  readonly device: (volume: number) => Device;
  readonly gate: RegionGate;
  /** Called when a record has completed, never inside `push`. */
  readonly applied: (record: R, fault: BlockFault | null) => void;
  /** Called before a record is started; it may do so later by calling `proceed`. Used to keep what a copy overwrites. */
  readonly prepare?: (record: R, proceed: () => void) => void;
}

export class ApplyQueue<R extends StreamRecord> {
  readonly #options: ApplyOptions<R>;
  readonly #waiting = new Fifo<R>();
  readonly #inFlight: R[] = [];
  #flushesInFlight = 0;
  #gateAsked = false;
  #lastStarted: R | null = null;
  #stopped = false;
  #idle: (() => void)[] = [];

  constructor(options: ApplyOptions<R>) {
    this.#options = options;
  }

  /** The latest that was started: starts are first in, first out. Null before the first. */
  get lastStarted(): R | null {
    return this.#lastStarted;
  }

  /** Records not completed yet. */
  get pending(): number {
    return this.#waiting.length + this.#inFlight.length;
  }

  push(record: R): void {
    assert(!this.#stopped, 'a record was pushed onto a stopped leg');
    this.#waiting.push(record);
    this.#run();
  }

  /** Drops what has not started and starts nothing more. What is in flight completes. */
  stop(): R[] {
    this.#stopped = true;
    return this.#waiting.drain();
  }

  /** Calls `run` when nothing is in flight and nothing waits; at once when that is so now. */
  whenIdle(run: () => void): void {
    if (this.pending === 0) run();
    else this.#idle.push(run);
  }

  #run(): void {
    for (;;) {
      const record = this.#waiting.peek();
      if (record === undefined || !this.#mayStart(record)) return;
      this.#waiting.shift();
      this.#start(record);
    }
  }

  #mayStart(record: R): boolean {
    const inFlight = this.#inFlight;
    if (this.#options.strict && inFlight.length > 0) {
      const first = inFlight[0] as R;
      if (this.#flushesInFlight > 0 || record.kind === 'flush') return false;
      if (first.epoch !== record.epoch || first.generation !== record.generation) return false;
    }
    if (record.kind === 'skip') return true;
    if (record.kind === 'flush') {
      for (const other of inFlight) if (other.volume === record.volume && other.kind !== 'flush') return false;
      return true;
    }
    for (let at = 0; at < inFlight.length; at++) {
      if (recordsOverlap(inFlight[at] as R, record)) return false;
    }
    if (this.#options.gate.admit(record, this.#retry)) return true;
    this.#gateAsked = true;
    return false;
  }

  readonly #retry = (): void => {
    if (!this.#gateAsked) return;
    this.#gateAsked = false;
    this.#run();
  };

  #start(record: R): void {
    this.#inFlight.push(record);
    this.#lastStarted = record;
    if (record.kind === 'flush') this.#flushesInFlight++;
    if (this.#options.prepare && (record.kind === 'copy' || record.kind === 'copyZero')) {
      this.#options.prepare(record, () => this.#perform(record));
    } else {
      this.#perform(record);
    }
  }

  #perform(record: R): void {
    const done = (fault: BlockFault | null): void => this.#completed(record, fault);
    const { kind } = record;
    if (kind === 'skip') {
      this.#options.turn.defer(() => done(null));
      return;
    }
    const device = this.#options.device(record.volume);
    if (kind === 'flush') {
      device.flush(done);
    } else if (record.data !== null) {
      device.write(record.offset, record.data, done);
    } else {
      device.zero(record.offset, record.length, record.hole ? 'punch' : 'keep', done);
    }
  }

  #completed(record: R, fault: BlockFault | null): void {
    const at = this.#inFlight.indexOf(record);
    assert(at >= 0, `record ${record.generation}:${record.seq} completed twice`);
    // Order is kept: in strict mode the first in flight tells the epoch that may run.
    this.#inFlight.splice(at, 1);
    if (record.kind === 'flush') this.#flushesInFlight--;
    this.#options.applied(record, fault);
    if (!this.#stopped) this.#run();
    if (this.pending === 0 && this.#idle.length > 0) {
      const idle = this.#idle;
      this.#idle = [];
      for (const run of idle) run();
    }
  }
}
