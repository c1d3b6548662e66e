/**
 * One incarnation of a process: an `Environment` bound to the world, and the ways in which a process can fail.
 *
 * - Its events run in turns. A process is busy for a moment after some of its turns; what arrives meanwhile waits and
 *   runs together, in one turn. Paused is the same for longer: the clocks go on, the process does not, not even the
 *   rest of the turn in which it was paused.
 * - `crash` is final: no timer, completion, stream event or end task runs after it, no promise of the world settles,
 *   nothing that is still called has an effect. Only the JavaScript on the stack at that moment runs to its end, since
 *   it cannot be stopped: an observer that product code calls must look at `alive` first, or be wrapped in `whileAlive`.
 * - Whatever it does that others can see or that outlives it is an *effect*: sending, starting a write or flush of a
 *   device, changing or syncing files, committing to the store. `crashAfterEffects` and `pauseAfterEffects` strike right
 *   after the n-th, so every gap between two effects can be reached.
 *
 * What becomes of unfinished work is decided by those who do it (devices, files, streams), as `Attachment`s.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { DeviceProvider } from '../../block/device.ts';
import type { Environment } from '../../base/environment.ts';
import type { Log } from '../../base/log.ts';
import type { Store } from '../../store/store.ts';
import { SimDeviceProvider } from './device-provider.ts';
import { ProcessEnded, type EventTarget, type SimEvent } from './scheduler.ts';
import { SimProcessFiles } from './files.ts';
import { SimProcessNetwork } from './network.ts';
import { SimTurn, type TurnOwner } from './turn.ts';
import type { EventKind } from './trace.ts';
import type { SimMachine } from './machine.ts';
import type { World } from './world.ts';

/** How a process ended: by itself, by an assertion of ours, killed, or with the power of its machine. */
export type ProcessEnd = 'exit' | 'abort' | 'crash' | 'powerLoss';

/** Something of a process that the world must settle when it ends: an operation in flight, a stream, a lock. */
export interface Attachment {
  processEnded(end: ProcessEnd): void;
}

export class SimProcess implements EventTarget, TurnOwner {
  readonly number: number;
  readonly name: string;
  readonly machine: SimMachine;
  readonly world: World;
  readonly environment: Environment;
  readonly devices: DeviceProvider;
  readonly store: Store;
  /** Null while it lives. */
  end: ProcessEnd | null = null;
  endReason = '';
  /** Effects so far. */
  effects = 0;
  readonly #turn: SimTurn;
  readonly #attachments = new Set<Attachment>();
  readonly #endListeners: (() => void)[] = [];
  /** What arrived while it could not run, in order. */
  #held: SimEvent[] = [];
  #busyUntilMs = 0;
  #pausedUntilMs = 0;
  #wakeIsScheduled = false;
  #strikeAt = Infinity;
  #strike: () => void = () => {};

  constructor(world: World, machine: SimMachine, name: string, number: number) {
    this.world = world;
    this.machine = machine;
    this.name = name;
    this.number = number;
    this.#turn = new SimTurn(this);
    this.devices = new SimDeviceProvider(this);
    this.store = world.store.openFor(this);
    this.environment = {
      clock: new ProcessClock(this),
      turn: this.#turn,
      random: world.prng.derive(`process ${number} of ${machine.name}`),
      files: new SimProcessFiles(this),
      network: new SimProcessNetwork(this),
      datagrams: world.datagrams.openFor(this),
      log: this.#log(),
      bootId: machine.bootId,
      abort: (reason) => {
        this.finish('abort', reason);
        throw new ProcessEnded(reason);
      },
    };
  }

  get alive(): boolean {
    return this.end === null;
  }

  /** A clean stop, after the product's own: what is still open is closed by the kernel. */
  exit(): void {
    this.finish('exit', 'stopped');
  }

  /** SIGKILL. The page cache lives on. */
  crash(reason = 'killed'): void {
    this.finish('crash', reason);
  }

  /** SIGSTOP, and SIGCONT after `durationMs`: everything that arrives meanwhile is delivered then. */
  pause(durationMs: number): void {
    if (!this.alive) return;
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.world.nowMs + durationMs);
    this.world.trace.add(this.world.nowMs, 'fault', this.number, durationMs);
    this.#scheduleWake();
  }

  get paused(): boolean {
    return this.#pausedUntilMs > this.world.nowMs;
  }

  /** Crashes right after the `count`-th effect from now. */
  crashAfterEffects(count: number): void {
    this.#strikeAt = this.effects + count;
    this.#strike = () => this.crash(`killed after effect ${this.effects}`);
  }

  pauseAfterEffects(count: number, durationMs: number): void {
    this.#strikeAt = this.effects + count;
    this.#strike = () => this.pause(durationMs);
  }

  /** Runs `run` in a turn of the process, as something it was asked from outside; later when it is paused. */
  call(run: () => void): void {
    if (this.alive) this.after(0, 'turn', run);
  }

  /** Calls `run` when the process has ended, whatever the way. */
  onEnd(run: () => void): void {
    this.#endListeners.push(run);
  }

  /** For observers called by product code: silent once the process has ended. */
  whileAlive<Arguments extends unknown[]>(run: (...values: Arguments) => void): (...values: Arguments) => void {
    return (...values) => {
      if (this.alive) run(...values);
    };
  }

  /** For the world's models: an event of this process. */
  after(delayMs: number, kind: EventKind, run: () => void): SimEvent {
    return this.world.scheduler.after(delayMs, kind, this, run);
  }

  /** For the world's models: an effect was just made. `detail` goes into the trace. */
  countEffect(detail: number): void {
    if (!this.alive) return;
    this.effects++;
    this.world.trace.add(this.world.nowMs, 'effect', this.number, detail);
    if (this.effects === this.#strikeAt) this.#strike();
  }

  attach(attachment: Attachment): void {
    this.#attachments.add(attachment);
  }

  detach(attachment: Attachment): void {
    this.#attachments.delete(attachment);
  }

  /** For the machine, which ends its processes with its power. */
  finish(end: ProcessEnd, reason: string): void {
    if (!this.alive) return;
    this.end = end;
    this.endReason = reason;
    this.#held = [];
    this.world.trace.add(this.world.nowMs, 'ended', this.number);
    for (const attachment of this.#attachments) attachment.processEnded(end);
    this.#attachments.clear();
    for (const listener of this.#endListeners) listener();
  }

  arrive(event: SimEvent): void {
    if (!this.alive) return;
    if (this.#held.length > 0 || !this.#isFree()) {
      this.#held.push(event);
      this.#scheduleWake();
      return;
    }
    this.#runTurn([event]);
  }

  mayRun(): boolean {
    return this.alive && !this.paused;
  }

  needsTurn(): void {
    this.call(() => {});
  }

  #runTurn(events: readonly SimEvent[]): void {
    try {
      this.#turn.run(() => {
        for (const [index, event] of events.entries()) {
          if (!this.mayRun()) {
            this.#held.unshift(...events.slice(index));
            return;
          }
          if (!event.cancelled) event.run();
        }
      });
    } catch (error) {
      if (!(error instanceof ProcessEnded)) throw error;
    }
    this.#busyUntilMs = this.world.nowMs + this.machine.drawBusyMs();
  }

  #isFree(): boolean {
    return this.world.nowMs >= this.#busyUntilMs && !this.paused;
  }

  #scheduleWake(): void {
    if (this.#wakeIsScheduled) return;
    this.#wakeIsScheduled = true;
    const untilMs = Math.max(this.#busyUntilMs, this.#pausedUntilMs);
    // The world's event, not the process's: it must not be held itself.
    this.world.scheduler.after(Math.max(0, untilMs - this.world.nowMs), 'wake', null, () => {
      this.#wakeIsScheduled = false;
      if (!this.alive) return;
      if (!this.#isFree()) {
        this.#scheduleWake();
        return;
      }
      const events = this.#held;
      this.#held = [];
      this.#runTurn(events);
    });
  }

  #log(): Log {
    const line =
      (level: 'info' | 'warn' | 'error') =>
      (message: string, fields?: Readonly<Record<string, unknown>>): void => {
        if (this.alive) this.world.log(this, level, message, fields ?? {});
      };
    return { info: line('info'), warn: line('warn'), error: line('error') };
  }
}

/** The machine's clocks, and timers that are never early and a little late. */
class ProcessClock implements Clock {
  readonly #process: SimProcess;

  constructor(process: SimProcess) {
    this.#process = process;
  }

  monotonicMs(): number {
    return this.#process.machine.monotonicMs();
  }

  wallMs(): number {
    return this.#process.machine.wallMs();
  }

  after(delayMs: number, run: () => void): Timer {
    const process = this.#process;
    if (!process.alive) return { cancel() {} };
    const event = process.after(process.machine.drawTimerDelayMs(Math.max(0, delayMs)), 'timer', run);
    return {
      cancel() {
        event.cancelled = true;
      },
    };
  }
}
