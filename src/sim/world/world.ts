/**
 * A simulated world: machines, network, store and time, all from one seed. The same seed and the same product give the
 * same run, event for event (`traceHash`).
 *
 *     const world = new World({ seed: '42' });
 *     const process = world.machine('east').start('holdfast');
 *     build(process.environment, process.devices, process.store);
 *     await world.run(10_000);
 *
 * Scenes act between runs, or as events of their own with `at`. What they draw, they draw from `prng.derive(name)`.
 */
import { MemoryStore, StoreMemory } from '../../store/memory-store.ts';
import type { Store } from '../../store/store.ts';
import { SimMachine } from './machine.ts';
import { SimDatagrams } from './datagrams.ts';
import { SimNetwork } from './network.ts';
import { SimStoreService } from './store.ts';
import { SimScheduler } from './scheduler.ts';
import { Prng } from './prng.ts';
import type { SimProcess } from './process.ts';
import type { TraceListener } from './trace.ts';

export interface WorldOptions {
  readonly seed: string;
  /** The coordination store behind all nodes, instead of a `MemoryStore`; must be deterministic. */
  readonly store?: Store;
  /** Gets every line of the trace: slow, for reading a failing run. */
  readonly trace?: TraceListener;
  /** Gets what the processes log. */
  readonly log?: (line: LogLine) => void;
}

export interface LogLine {
  readonly atMs: number;
  readonly process: SimProcess;
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export class World {
  readonly seed: string;
  readonly prng: Prng;
  readonly scheduler: SimScheduler;
  readonly network: SimNetwork;
  readonly datagrams: SimDatagrams;
  readonly store: SimStoreService;
  readonly #log: ((line: LogLine) => void) | undefined;
  readonly #machines = new Map<string, SimMachine>();
  #processes = 0;
  #lastSettle: Promise<void> = Promise.resolve();

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.prng = new Prng(options.seed);
    this.scheduler = new SimScheduler(options.trace);
    this.network = new SimNetwork(this);
    this.datagrams = new SimDatagrams(this);
    this.store = new SimStoreService(this, options.store ?? new MemoryStore(new StoreMemory()));
    this.#log = options.log;
  }

  /** Virtual milliseconds since the beginning of the run. */
  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  get trace(): SimScheduler['trace'] {
    return this.scheduler.trace;
  }

  get traceHash(): string {
    return this.trace.hash;
  }

  /** The machine of that name, made and switched on at the first call. */
  machine(name: string): SimMachine {
    let machine = this.#machines.get(name);
    if (machine === undefined) {
      machine = new SimMachine(this, name);
      this.#machines.set(name, machine);
      this.network.nameHost(name, machine);
    }
    return machine;
  }

  get machines(): readonly SimMachine[] {
    return [...this.#machines.values()];
  }

  /** An event of the scene's own, belonging to no process. */
  at(atMs: number, run: () => void): void {
    this.scheduler.after(Math.max(0, atMs - this.nowMs), 'note', null, run);
  }

  /** Runs for `durationMs` of virtual time. */
  run(durationMs: number): Promise<void> {
    return this.scheduler.run(this.nowMs + durationMs);
  }

  /** Runs until the predicate holds; false when it does not within `durationMs`. It is asked after every event. */
  runUntil(predicate: () => boolean, durationMs: number): Promise<boolean> {
    return this.scheduler.runUntil(predicate, this.nowMs + durationMs);
  }

  /**
   * Runs until the promise settles, and gives what it gives; rejects when it does not within `durationMs`. Several calls
   * at once are served one after another.
   */
  settle<Result>(promise: Promise<Result>, durationMs = 60_000): Promise<Result> {
    let isSettled = false;
    const note = (): void => {
      isSettled = true;
    };
    promise.then(note, note);
    const result = this.#lastSettle.then(async () => {
      if (!(await this.runUntil(() => isSettled, durationMs))) throw new Error(`not settled within ${durationMs} ms`);
      return promise;
    });
    this.#lastSettle = result.then(note, note);
    return result;
  }

  // What follows is for processes.

  nextProcessNumber(): number {
    return ++this.#processes;
  }

  log(process: SimProcess, level: LogLine['level'], message: string, fields: LogLine['fields']): void {
    this.#log?.({ atMs: this.nowMs, process, level, message, fields });
  }
}
