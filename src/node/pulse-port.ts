/**
 * The thread of the pulse: takes the engine's messages, sends what the pulse and the lease tell.
 *
 * The store of the lease works on files with synchronous calls (`node-files-sync.ts` says why). The pulse's channels do not:
 * a heartbeat mirror on a disk that hangs must not silence the network.
 */
import type { MessagePort } from 'node:worker_threads';
import { assert, assertNever } from '../base/assert.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { abortOnUncaught, createNodeEnvironment, internalErrorStatus } from '../base/node/node-environment.ts';
import { NodeFilesSync } from '../base/node/node-files-sync.ts';
import type { PulseEvents } from '../pulse/service.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import type { StatusTable } from '../pulse/status-table.ts';
import type { LeaseView } from '../store/lease.ts';
import { MemoryStore, StoreMemory } from '../store/memory-store.ts';
import type { Store } from '../store/store.ts';
import { openStore } from './open-store.ts';
import { EngineProgress } from './progress.ts';
import type { PulseMaker, PulseStart } from './pulse-host.ts';
import {
  Incoming,
  Outgoing,
  questionsMax,
  type FromPulse,
  type PulseThreadData,
  type ToPulse,
} from './pulse-messages.ts';
import { PulseSide } from './pulse-side.ts';
import { LeaseMemory, sameView } from './shared-lease.ts';

/** Serves until the engine ends the thread. @param maker null: there is only the lease */
export function servePulse(port: MessagePort, data: PulseThreadData, maker: PulseMaker | null): void {
  const thread = new PulseThread(port, data, maker);
  const incoming = new Incoming(data.taken, 'pulse');
  port.on('message', (message: ToPulse) => {
    incoming.take();
    thread.take(message);
  });
}

class PulseThread {
  readonly #environment: Environment;
  readonly #data: PulseThreadData;
  readonly #maker: PulseMaker | null;
  readonly #outgoing: Outgoing<FromPulse>;
  readonly #memory: LeaseMemory;
  #published: LeaseView | null = null;
  #side: PulseSide | null = null;
  #store: Store | null = null;
  /** Not sent yet, since the engine takes nothing: only the newest counts. */
  #owed: { snapshot: PulseSnapshot | null; table: StatusTable | null } = { snapshot: null, table: null };
  /** Requests of other nodes that the engine works on. */
  readonly #controls = new Map<number, (problem: string | null) => void>();
  #controlCount = 0;

  constructor(port: MessagePort, data: PulseThreadData, maker: PulseMaker | null) {
    this.#data = data;
    this.#maker = maker;
    this.#outgoing = new Outgoing<FromPulse>(port, data.taken, 'engine');
    this.#memory = new LeaseMemory(data.lease);
    this.#environment = {
      ...createNodeEnvironment(this.#log()),
      // Here `exit` ends the thread; the engine ends the process.
      abort: (reason) => {
        this.#outgoing.send({ kind: 'aborted', reason });
        process.exit(internalErrorStatus);
      },
    };
    abortOnUncaught(this.#environment);
  }

  take(message: ToPulse): void {
    switch (message.kind) {
      case 'start':
        this.#answer(
          0,
          this.#start(message.start).then(() => null),
        );
        return;
      case 'say':
        this.#side?.say(message.word);
        return;
      case 'mute':
        this.#side?.mute(message.reason);
        return;
      case 'heard':
        this.#side?.heard(message.channel, message.peer, message.agoMs);
        return;
      case 'indicate':
        this.#side?.indicate(message.indication);
        return;
      case 'ask': {
        const side = this.#side;
        assert(side !== null, 'asked before the start');
        this.#answer(
          message.number,
          side.ask(message.question).then(async (value) => {
            if (message.question.kind === 'stop') await this.#store?.close();
            return value;
          }),
        );
        return;
      }
      case 'controlled':
        this.#controls.get(message.number)?.(message.problem);
        this.#controls.delete(message.number);
        return;
      default:
        assertNever(message);
    }
  }

  async #start(start: PulseStart): Promise<void> {
    assert(this.#side === null, 'a pulse is started once');
    const { store, cluster, local, progress } = this.#data;
    const environment = this.#environment;
    const files = new NodeFilesSync();
    // Without a store nobody else looks at the lease: what it is for is to notice that this process did not run for a while.
    this.#store =
      store.kind === 'none'
        ? new MemoryStore(new StoreMemory())
        : await openStore(store, cluster, { ...environment, files }, start.leaseTtlMs);
    this.#side = new PulseSide({
      environment,
      store: this.#store,
      start,
      local,
      maker: this.#maker,
      progress: new EngineProgress(progress),
      // The engine learns of both from the memory.
      leaseEvents: { acquired: () => {}, lapsed: () => {}, changed: () => this.#publish() },
      events: this.#events(),
    });
    this.#side.start();
  }

  #publish(): void {
    const lease = this.#side?.lease;
    if (lease === undefined) return;
    const { view } = lease;
    if (this.#published !== null && sameView(view, this.#published)) return;
    this.#published = view;
    this.#memory.publish(view);
    this.#outgoing.send({ kind: 'lease' });
    this.#sendOwed();
  }

  #events(): PulseEvents {
    return {
      changed: (snapshot) => {
        this.#owed.snapshot = snapshot;
        this.#sendOwed();
      },
      tableChanged: (table) => {
        this.#owed.table = table;
        this.#sendOwed();
      },
      indicated: (indication, from) => {
        if (!this.#outgoing.offer({ kind: 'indicated', indication, from }))
          this.#environment.log.error(`not told, the engine takes nothing: ${indication.text}`);
      },
      control: (from, message) => {
        const number = ++this.#controlCount;
        if (
          this.#controls.size >= questionsMax ||
          !this.#outgoing.offer({ kind: 'control', number, from, message })
        ) {
          return Promise.resolve('this node is busy; ask again');
        }
        return new Promise((resolve) => void this.#controls.set(number, resolve));
      },
    };
  }

  #sendOwed(): void {
    const { snapshot, table } = this.#owed;
    if (snapshot !== null && this.#outgoing.offer({ kind: 'changed', snapshot })) this.#owed.snapshot = null;
    if (table !== null && this.#outgoing.offer({ kind: 'tableChanged', table })) this.#owed.table = null;
  }

  #answer(number: number, work: Promise<unknown>): void {
    work.then(
      (value) => this.#outgoing.send({ kind: 'answer', number, value }),
      (error: unknown) => {
        if (!(error instanceof HoldfastError)) this.#environment.abort(stackOf(error));
        this.#outgoing.send({ kind: 'refusal', number, code: error.code, message: error.message });
      },
    );
  }

  #log(): Log {
    const line =
      (level: 'info' | 'warn' | 'error') =>
      (message: string, fields?: Readonly<Record<string, unknown>>): void => {
        this.#outgoing.offer({ kind: 'log', level, message, fields: fields ?? null });
      };
    return { info: line('info'), warn: line('warn'), error: line('error') };
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
}
