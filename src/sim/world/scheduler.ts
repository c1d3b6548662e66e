/**
 * Virtual time: a heap of events ordered by time, then by the order in which they were scheduled. Nothing in the world
 * happens but as an event, and no event starts before all that the last one set in motion is over, promise callbacks
 * included. That is what makes a run a function of its seed.
 *
 * Promise callbacks are drained after each event by Node's own end-of-callback routine, called directly: 30 ns, where
 * waiting for a macrotask costs 1,200. It works only from a macrotask, therefore `run` enters one before its loop; the
 * first run checks that it does work.
 *
 * Which process an event belongs to, and whether that process is able to take it now, is its target's business.
 */
import { setImmediate as macrotask } from 'node:timers';
import { assert } from '../../base/assert.ts';
import { Trace, type EventKind, type TraceListener } from './trace.ts';

/** Who takes events: a process. An event without target is the world's own. */
export interface EventTarget {
  readonly number: number;
  arrive(event: SimEvent): void;
}

export interface SimEvent {
  readonly atMs: number;
  readonly sequence: number;
  readonly kind: EventKind;
  readonly target: EventTarget | null;
  readonly run: () => void;
  cancelled: boolean;
}

/** Unwinds the stack of a process that ended itself; the loop takes it for a normal return. */
export class ProcessEnded extends Error {
  override readonly name = 'ProcessEnded';
}

/** Events in one macrotask; between two of them the real event loop gets a chance (test time-outs, signals). */
const eventsPerMacrotask = 50_000;

export class SimScheduler {
  nowMs = 0;
  readonly trace: Trace;
  readonly #heap: SimEvent[] = [];
  #sequence = 0;
  #running = false;

  constructor(listener?: TraceListener) {
    this.trace = new Trace(listener);
  }

  /** Events scheduled and not yet run, cancelled ones included. */
  get pendingEvents(): number {
    return this.#heap.length;
  }

  after(delayMs: number, kind: EventKind, target: EventTarget | null, run: () => void): SimEvent {
    assert(delayMs >= 0, `an event cannot be ${delayMs} ms from now`);
    const event = { atMs: this.nowMs + delayMs, sequence: this.#sequence++, kind, target, run, cancelled: false };
    this.#push(event);
    return event;
  }

  /** Runs all events up to `untilMs` and leaves the clock there. Rejects with what product code threw or left unhandled. */
  async run(untilMs: number): Promise<void> {
    await this.#drive(untilMs, () => false);
    if (this.nowMs < untilMs) this.nowMs = untilMs;
  }

  /** Runs until the predicate, asked after every event, is true; false when it is not by `maxMs` (absolute). */
  async runUntil(predicate: () => boolean, maxMs: number): Promise<boolean> {
    const met = await this.#drive(maxMs, predicate);
    if (!met && this.nowMs < maxMs) this.nowMs = maxMs;
    return met;
  }

  async #drive(untilMs: number, predicate: () => boolean): Promise<boolean> {
    assert(!this.#running, 'the world runs already');
    this.#running = true;
    const rejections: unknown[] = [];
    const onRejection = (reason: unknown): void => {
      if (!(reason instanceof ProcessEnded)) rejections.push(reason);
    };
    process.on('unhandledRejection', onRejection);
    try {
      for (;;) {
        const outcome = await new Promise<boolean | 'more'>((resolve, reject) => {
          macrotask(() => {
            try {
              if (!drainIsProven) proveDrain();
              resolve(this.#batch(untilMs, predicate, rejections));
            } catch (error) {
              reject(error instanceof Error ? error : new Error(String(error)));
            }
          });
        });
        if (outcome !== 'more') return outcome;
      }
    } finally {
      process.off('unhandledRejection', onRejection);
      this.#running = false;
    }
  }

  #batch(untilMs: number, predicate: () => boolean, rejections: unknown[]): boolean | 'more' {
    for (let budget = eventsPerMacrotask; budget > 0; budget--) {
      if (predicate()) return true;
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) return false;
      this.#pop();
      if (event.cancelled) continue;
      this.nowMs = event.atMs;
      this.trace.add(event.atMs, event.kind, event.target?.number ?? 0);
      if (event.target === null) event.run();
      else event.target.arrive(event);
      drainMicrotasks();
      if (rejections.length > 0) throw rejections[0];
    }
    return 'more';
  }

  #push(event: SimEvent): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex];
      if (parent === undefined || !isBefore(event, parent)) break;
      heap[index] = parent;
      index = parentIndex;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let childIndex = index * 2 + 1;
      let child = heap[childIndex];
      if (child === undefined) break;
      const right = heap[childIndex + 1];
      if (right !== undefined && isBefore(right, child)) {
        child = right;
        childIndex++;
      }
      if (!isBefore(child, last)) break;
      heap[index] = child;
      index = childIndex;
    }
    heap[index] = last;
  }
}

function isBefore(one: SimEvent, other: SimEvent): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.sequence < other.sequence);
}

/** What Node runs after each of its own callbacks: promise callbacks until none is left, then unhandled rejections. */
const runPromiseCallbacks = (process as unknown as { _tickCallback(): void })._tickCallback;

/** Runs every promise callback that is due, and those they make due. */
export function drainMicrotasks(): void {
  runPromiseCallbacks.call(process);
}

let drainIsProven = false;

function proveDrain(): void {
  let steps = 0;
  const procedure = async (): Promise<void> => {
    for (; steps < 3; steps++) await Promise.resolve();
  };
  void procedure();
  drainMicrotasks();
  assert(steps === 3, 'this version of Node does not run promise callbacks on demand; the simulator needs that');
  drainIsProven = true;
}
