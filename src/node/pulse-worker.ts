/**
 * The pulse and the lease in a thread of their own: production's.
 *
 * What the engine relies on does not need the thread to live: the lease is looked at in shared memory against both clocks
 * (`shared-lease.ts`). A thread that dies or throws is an error of ours, and the process ends: it would sooner or later
 * lose its lease anyway, and without a pulse others could not tell it from a dead one.
 */
import { Worker } from 'node:worker_threads';
import { assert, assertNever } from '../base/assert.ts';
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError } from '../base/errors.ts';
import { within } from '../base/waiting.ts';
import type { Indication } from '../pulse/indication.ts';
import type { SpokenWord } from '../pulse/service.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import type { Lease } from '../store/lease.ts';
import type { StoreConfiguration } from './configuration-store.ts';
import { EngineProgress } from './progress.ts';
import type {
  PulseAnswers,
  PulseHost,
  PulseHostEvents,
  PulseLocal,
  PulseQuestion,
  PulseStart,
  QuestionOf,
} from './pulse-host.ts';
import {
  Incoming,
  newTaken,
  Outgoing,
  questionsMax,
  type FromPulse,
  type PulseThreadData,
  type ToPulse,
} from './pulse-messages.ts';
import { LeaseMemory, SharedLease } from './shared-lease.ts';

export interface WorkerPulseHostOptions {
  readonly environment: Environment;
  /** Opened by the thread for itself. */
  readonly store: StoreConfiguration;
  /** Its name. */
  readonly cluster: string;
  readonly local: PulseLocal;
  /** The thread's program, compiled; for tests. */
  readonly program?: URL;
}

/** A store that hangs does not keep the process from ending. */
const stopMs = 5000;

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: HoldfastError) => void;
}

export class WorkerPulseHost implements PulseHost {
  snapshot: PulseSnapshot | null = null;
  readonly #options: WorkerPulseHostOptions;
  readonly #lease: SharedLease;
  readonly #leaseMemory = new LeaseMemory();
  readonly #progress = new EngineProgress();
  readonly #taken = newTaken();
  readonly #asked = new Map<number, Asked>();
  /** 0 is the start. */
  #askedCount = 0;
  #worker: Worker | null = null;
  #outgoing: Outgoing<ToPulse> | null = null;
  #events: PulseHostEvents | null = null;
  #noting: Timer | null = null;
  /** Not sent yet, since the thread takes nothing: only the newest counts. */
  #unsaid: SpokenWord | null = null;
  #ending = false;

  constructor(options: WorkerPulseHostOptions) {
    this.#options = options;
    const { clock, turn } = options.environment;
    this.#lease = new SharedLease({
      memory: this.#leaseMemory,
      clock,
      turn,
      events: {
        acquired: (leaseId) => this.#events?.leaseAcquired(leaseId),
        lapsed: (reason) => this.#events?.leaseLapsed(reason),
      },
    });
  }

  get lease(): Lease {
    return this.#lease;
  }

  async start(start: PulseStart, events: PulseHostEvents): Promise<void> {
    assert(this.#worker === null, 'a pulse is started once');
    const {
      environment,
      store,
      cluster,
      local,
      program = new URL('./pulse-thread.js', import.meta.url),
    } = this.#options;
    this.#events = events;
    this.#noting = this.#progress.keepNoting(environment.clock, start.stallMs);
    const data: PulseThreadData = {
      lease: this.#leaseMemory.buffer,
      progress: this.#progress.buffer,
      taken: this.#taken,
      store,
      cluster,
      local,
    };
    const worker = new Worker(program, { name: 'pulse', workerData: data, execArgv: [] });
    this.#worker = worker;
    this.#outgoing = new Outgoing<ToPulse>(worker, this.#taken, 'pulse');
    const incoming = new Incoming(this.#taken, 'engine');
    worker.on('message', (message: FromPulse) => {
      incoming.take();
      this.#received(message);
    });
    worker.on('error', (error) => {
      environment.abort(`the thread of the pulse: ${error.stack ?? error.message}`);
    });
    worker.on('exit', (status) => {
      if (!this.#ending) environment.abort(`the thread of the pulse has ended, status ${status}`);
    });
    const started = new Promise<unknown>((resolve, reject) => this.#asked.set(0, { resolve, reject }));
    this.#outgoing.send({ kind: 'start', start });
    try {
      await started;
    } catch (error) {
      await this.#end();
      throw error;
    }
  }

  say(word: SpokenWord): void {
    this.#unsaid = word;
    this.#sayOwed();
  }

  mute(reason: string | null): void {
    this.#outgoing?.send({ kind: 'mute', reason });
  }

  heard(channel: string, peer: string, agoMs: number): void {
    this.#outgoing?.offer({ kind: 'heard', channel, peer, agoMs });
  }

  indicate(indication: Indication): void {
    if (this.#outgoing?.offer({ kind: 'indicate', indication }) !== false) return;
    this.#options.environment.log.error(`not told to the other nodes, the pulse hangs: ${indication.text}`);
  }

  async ask<Kind extends PulseQuestion['kind']>(question: QuestionOf<Kind>): Promise<PulseAnswers[Kind]> {
    const outgoing = this.#outgoing;
    assert(outgoing !== null, 'asked before the start');
    const number = ++this.#askedCount;
    if (this.#asked.size >= questionsMax || this.#ending || !outgoing.offer({ kind: 'ask', number, question })) {
      throw new HoldfastError('E_BUSY', 'the pulse does not answer what it was asked already');
    }
    const answer = await new Promise<unknown>((resolve, reject) => this.#asked.set(number, { resolve, reject }));
    // The thread answers with what `PulseSide.ask` gives, which is of the same type.
    return answer as PulseAnswers[Kind];
  }

  async stop(): Promise<void> {
    if (this.#worker === null || this.#ending) return;
    this.#lease.close();
    const stopped = this.ask({ kind: 'stop' }).catch(() => null);
    await within(this.#options.environment.clock, stopMs, (done) => void stopped.then(done));
    await this.#end();
  }

  async #end(): Promise<void> {
    this.#ending = true;
    this.#lease.close();
    this.#noting?.cancel();
    for (const { reject } of this.#asked.values()) reject(new HoldfastError('E_BUSY', 'this node stops'));
    this.#asked.clear();
    await this.#worker?.terminate();
  }

  #received(message: FromPulse): void {
    if (this.#ending) return;
    const { environment } = this.#options;
    this.#sayOwed();
    switch (message.kind) {
      case 'answer':
        this.#asked.get(message.number)?.resolve(message.value);
        this.#asked.delete(message.number);
        return;
      case 'refusal':
        this.#asked.get(message.number)?.reject(new HoldfastError(message.code, message.message));
        this.#asked.delete(message.number);
        return;
      case 'lease':
        this.#lease.look();
        return;
      case 'changed':
        this.snapshot = message.snapshot;
        this.#events?.changed(message.snapshot);
        return;
      case 'indicated':
        this.#events?.indicated(message.indication, message.from);
        return;
      case 'tableChanged':
        this.#events?.tableChanged(message.table);
        return;
      case 'control':
        void this.#events?.control(message.from, message.message).then((problem) => {
          this.#outgoing?.send({ kind: 'controlled', number: message.number, problem });
        });
        return;
      case 'log':
        environment.log[message.level](message.message, message.fields ?? undefined);
        return;
      case 'aborted':
        environment.abort(message.reason);
        return;
      default:
        assertNever(message);
    }
  }

  #sayOwed(): void {
    if (this.#unsaid !== null && this.#outgoing?.offer({ kind: 'say', word: this.#unsaid }) === true)
      this.#unsaid = null;
  }
}
