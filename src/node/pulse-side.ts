/**
 * What lives beside the engine: the holder of the lease, the pulse if one is configured, and the watch over the engine.
 *
 * Invariant: while the engine is stuck, or has asked for it, the pulse is muted *and* the lease is not renewed: a node is
 * not dead by one and alive by the other.
 */
import { assert, assertNever } from '../base/assert.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError } from '../base/errors.ts';
import type { Indication } from '../pulse/indication.ts';
import type { PulseEvents, PulseService, SpokenWord } from '../pulse/service.ts';
import { LeaseHolder, type LeaseEvents } from '../store/lease.ts';
import type { Store } from '../store/store.ts';
import { ProgressWatch, type EngineProgress } from './progress.ts';
import type {
  PulseAnswers,
  PulseConfiguration,
  PulseLocal,
  PulseMaker,
  PulseQuestion,
  PulseStart,
  QuestionOf,
} from './pulse-host.ts';

export interface PulseSideOptions {
  readonly environment: Environment;
  /** Closed by whoever opened it. */
  readonly store: Store;
  readonly start: PulseStart;
  readonly local: PulseLocal;
  /** Null where there is only the lease. */
  readonly maker: PulseMaker | null;
  /** Null where the engine shares this loop: then it cannot be stuck alone. */
  readonly progress: EngineProgress | null;
  readonly leaseEvents: LeaseEvents;
  readonly events: PulseEvents;
}

export class PulseSide {
  readonly lease: LeaseHolder;
  readonly #options: PulseSideOptions;
  readonly #watch: ProgressWatch | null;
  #configuration: PulseConfiguration | null = null;
  #service: PulseService | null = null;
  #word: SpokenWord | null = null;
  /** What the engine asked for. */
  #muted: string | null = null;
  #stuck: string | null = null;

  constructor(options: PulseSideOptions) {
    this.#options = options;
    const { environment, store, start, progress, leaseEvents } = options;
    const { clock, turn, random, log } = environment;
    this.#watch =
      progress === null
        ? null
        : new ProgressWatch({
            progress,
            clock,
            stallMs: start.stallMs,
            changed: (stuck) => {
              if (stuck === null) log.warn('the engine moves again');
              else log.error(`${stuck}; this node gives no sign of life until it does`);
              this.#stuck = stuck;
              this.#applyMute();
            },
          });
    this.lease = new LeaseHolder({
      clock,
      turn,
      random,
      store,
      node: start.node,
      incarnation: start.incarnation,
      ttlMs: start.leaseTtlMs,
      withheld: () => this.#watch?.look() ?? this.#muted,
      events: leaseEvents,
    });
    this.#make(start.pulse);
  }

  start(): void {
    this.lease.start();
  }

  say(word: SpokenWord): void {
    this.#word = word;
    this.#service?.say(word);
  }

  mute(reason: string | null): void {
    this.#muted = reason;
    this.#applyMute();
  }

  heard(channel: string, peer: string, agoMs: number): void {
    this.#service?.heard(channel, peer, agoMs);
  }

  indicate(indication: Indication): void {
    this.#service?.indicate(indication);
  }

  async ask<Kind extends PulseQuestion['kind']>(question: QuestionOf<Kind>): Promise<PulseAnswers[Kind]> {
    // The compiler does not follow from the kind of the question to that of the answer; `answers` shows it piece by piece.
    return (await this.#answer(question)) as PulseAnswers[Kind];
  }

  async #answer(question: PulseQuestion): Promise<PulseAnswers[keyof PulseAnswers]> {
    switch (question.kind) {
      case 'status':
        return this.#mustBeat().status();
      case 'snapshot':
        return this.#mustBeat().snapshot();
      case 'use':
        return this.#mustBeat().use(question.change);
      case 'addChannel':
        this.#addChannel(question);
        return null;
      case 'removeChannel':
        await this.#mustBeat().removeChannel(question.id);
        return null;
      case 'checked':
        this.#mustBeat().checked(question.peer, question.problem);
        return null;
      case 'sendControl':
        await this.#mustBeat().sendControl(question.to, question.message, question.limitMs);
        return null;
      case 'configure':
        await this.#endService();
        this.#make(question.pulse);
        return null;
      case 'leave':
        await this.#service?.leave();
        return null;
      case 'stop':
        this.#watch?.close();
        await this.#endService();
        // What cannot be given back lapses.
        await this.lease.release().catch(() => {});
        return null;
      default:
        return assertNever(question);
    }
  }

  #mustBeat(): PulseService {
    if (this.#service === null) throw new HoldfastError('E_REFUSED', 'no pulse is configured');
    return this.#service;
  }

  #make(configuration: PulseConfiguration | null): void {
    this.#configuration = configuration;
    if (configuration === null) return;
    const { environment, start, local, maker, events } = this.#options;
    assert(maker !== null, 'a pulse is configured where none can be made');
    this.#service = maker.pulse({ environment, start, configuration, local, events });
    if (this.#word !== null) this.#service.say(this.#word);
    this.#applyMute();
    this.#service.start();
  }

  #addChannel({ channel }: QuestionOf<'addChannel'>): void {
    const service = this.#mustBeat();
    const { environment, start, local, maker } = this.#options;
    assert(maker !== null && this.#configuration !== null, 'a pulse that nobody made');
    const configuration = this.#configuration;
    service.addChannel(maker.channel({ environment, node: start.node, configuration, local, spec: channel }));
  }

  async #endService(): Promise<void> {
    const service = this.#service;
    this.#service = null;
    await service?.stop();
  }

  #applyMute(): void {
    this.#service?.mute(this.#stuck ?? this.#muted);
  }
}
