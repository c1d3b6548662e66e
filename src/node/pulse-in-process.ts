/** The pulse and the lease in the engine's own loop: the simulator's. */
import { assert } from '../base/assert.ts';
import type { Environment } from '../base/environment.ts';
import type { Indication } from '../pulse/indication.ts';
import type { SpokenWord } from '../pulse/service.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import type { Lease, LeaseState } from '../store/lease.ts';
import type { Store } from '../store/store.ts';
import type {
  PulseAnswers,
  PulseHost,
  PulseHostEvents,
  PulseLocal,
  PulseMaker,
  PulseQuestion,
  PulseStart,
  QuestionOf,
} from './pulse-host.ts';
import { PulseSide } from './pulse-side.ts';

export class InProcessPulseHost implements PulseHost {
  readonly lease: Lease;
  snapshot: PulseSnapshot | null = null;
  readonly #options: {
    readonly environment: Environment;
    readonly store: Store;
    readonly maker: PulseMaker | null;
    readonly local: PulseLocal;
  };
  #side: PulseSide | null = null;

  constructor(options: {
    readonly environment: Environment;
    /** Closed by whoever opened it. */
    readonly store: Store;
    readonly maker: PulseMaker | null;
    readonly local: PulseLocal;
  }) {
    this.#options = options;
    this.lease = new LeaseOnceStarted(() => this.#side?.lease ?? null);
  }

  async start(start: PulseStart, events: PulseHostEvents): Promise<void> {
    this.#side = new PulseSide({
      ...this.#options,
      start,
      progress: null,
      leaseEvents: {
        acquired: (leaseId) => events.leaseAcquired(leaseId),
        lapsed: (reason) => events.leaseLapsed(reason),
      },
      events: {
        changed: (snapshot) => {
          this.snapshot = snapshot;
          events.changed(snapshot);
        },
        indicated: (indication, from) => events.indicated(indication, from),
        tableChanged: (table) => events.tableChanged(table),
        control: (from, message) => events.control(from, message),
      },
    });
    this.#side.start();
  }

  say(word: SpokenWord): void {
    this.#side?.say(word);
  }

  mute(reason: string | null): void {
    this.#side?.mute(reason);
  }

  heard(channel: string, peer: string, agoMs: number): void {
    this.#side?.heard(channel, peer, agoMs);
  }

  indicate(indication: Indication): void {
    this.#side?.indicate(indication);
  }

  async ask<Kind extends PulseQuestion['kind']>(question: QuestionOf<Kind>): Promise<PulseAnswers[Kind]> {
    assert(this.#side !== null, 'asked before the start');
    return this.#side.ask(question);
  }

  async stop(): Promise<void> {
    await this.#side?.ask({ kind: 'stop' });
  }
}

/** The holder comes with the start; who acts on the lease has it before. */
class LeaseOnceStarted implements Lease {
  readonly #holder: () => Lease | null;

  constructor(holder: () => Lease | null) {
    this.#holder = holder;
  }

  get state(): LeaseState {
    return this.#holder()?.state ?? 'unknown';
  }

  get reason(): string | null {
    const holder = this.#holder();
    return holder === null ? 'not acquired yet' : holder.reason;
  }

  get leaseId(): string | null {
    return this.#holder()?.leaseId ?? null;
  }

  isValid(): boolean {
    return this.#holder()?.isValid() ?? false;
  }
}
