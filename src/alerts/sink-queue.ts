/**
 * What one sink has still to tell. Messages go out one at a time, the worst first; a sink that fails is tried again with
 * growing pauses and holds up nobody else. What does not page waits for service hours (HM-16). In any hour no more than
 * `perHour` messages go out; the rest is counted and told in one summary as soon as there is room again. SYSTEM DOWN is
 * always told.
 *
 * Of one alert at most one message waits: an end, or a repetition, takes the place of what was not told in time.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { formatDuration } from '../base/units.ts';
import { within } from '../base/waiting.ts';
import type { AlertLevel } from '../pulse/indication.ts';
import { headlineOf, type AlertMessage } from './alert.ts';
import { pages, rankOf } from './codes.ts';
import type { ServiceHours } from './service-hours.ts';
import type { AlertSink, SinkStatus } from './sink.ts';

export interface SinkQueueOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly sink: AlertSink;
  readonly hours: ServiceHours;
  /** Messages an hour, at least 1. */
  readonly perHour: number;
  /** Makes the message that stands for what was held back. */
  summary(level: AlertLevel, text: string): AlertMessage;
  /** What is to be kept over a restart has changed. */
  changed(): void;
}

/** What is kept over a restart. */
export interface SinkBacklog {
  readonly queued: readonly AlertMessage[];
  readonly heldBack: HeldBack | null;
}

export interface HeldBack {
  readonly count: number;
  readonly level: AlertLevel;
  /** The first few. */
  readonly headlines: readonly string[];
}

export const queueLengthMax = 200;
const headlinesMax = 5;
const sendTimeoutMs = 60_000;
const retryMsMin = 1000;
const retryMsMax = 300_000;
const hourMs = 3_600_000;
/** Waiting is by the monotonic clock, service hours are by the wall: looked at anew after so long. */
const waitMsMax = 600_000;

export class SinkQueue {
  readonly #options: SinkQueueOptions;
  #queued: AlertMessage[];
  #heldBack: HeldBack | null;
  /** Monotonic, of the last hour. */
  #sentAtMs: number[] = [];
  #sending: AlertMessage | null = null;
  #timer: Timer | null = null;
  #tries = 0;
  /** Monotonic: not tried again before. */
  #retryAtMs = -Infinity;
  #sent = 0;
  #lastSentAtMs: number | null = null;
  #failingSinceMs: number | null = null;
  #problem: string | null = null;
  #nextTryAtMs: number | null = null;
  #closed = false;

  constructor(options: SinkQueueOptions, backlog: SinkBacklog | null = null) {
    this.#options = options;
    this.#queued = [...(backlog?.queued ?? [])].slice(0, queueLengthMax);
    this.#heldBack = backlog?.heldBack ?? null;
  }

  get backlog(): SinkBacklog {
    const queued = this.#sending === null ? this.#queued : [this.#sending, ...this.#queued];
    return { queued, heldBack: this.#heldBack };
  }

  get status(): SinkStatus {
    const { name, kind, levels } = this.#options.sink;
    return {
      name,
      kind,
      levels,
      state: this.#failingSinceMs === null ? 'ok' : 'failing',
      sent: this.#sent,
      queued: this.backlog.queued.length,
      heldBack: this.#heldBack?.count ?? 0,
      lastSentAtMs: this.#lastSentAtMs,
      failingSinceMs: this.#failingSinceMs,
      problem: this.#problem,
      nextTryAtMs: this.#nextTryAtMs,
    };
  }

  takes(level: AlertLevel): boolean {
    return this.#options.sink.levels.includes(level);
  }

  /** Begins with what a former run left. */
  start(): void {
    this.#run();
  }

  offer(message: AlertMessage): void {
    if (this.#closed || !this.takes(message.level)) return;
    const at = this.#queued.findIndex(({ number }) => number !== 0 && number === message.number);
    if (at >= 0) this.#queued.splice(at, 1);
    this.#queued.push(message);
    this.#bound();
    this.#options.changed();
    this.#run();
  }

  /** At once, past limit and service hours, once: to see whether it works. Rejects with what does not. */
  async test(message: AlertMessage): Promise<void> {
    await this.#deliver(message);
    this.#lastSentAtMs = this.#options.clock.wallMs();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#options.sink.close();
  }

  /** The one place that acts: sends the next message, or waits for the moment at which one may be sent. */
  #run(): void {
    if (this.#closed || this.#sending !== null) return;
    this.#timer?.cancel();
    this.#nextTryAtMs = null;
    const { clock, hours, perHour } = this.#options;
    const nowMs = clock.monotonicMs();
    const wallMs = clock.wallMs();
    this.#sentAtMs = this.#sentAtMs.filter((atMs) => atMs > nowMs - hourMs);
    const isFull = this.#sentAtMs.length >= perHour;
    const inService = hours.isOpen(wallMs);
    const mayGo = ({ level }: AlertMessage): boolean => pages(level) || inService;
    if (isFull) {
      const isLimited = (message: AlertMessage): boolean => mayGo(message) && message.level !== 'SYSTEM DOWN';
      for (const message of this.#queued.filter(isLimited)) this.#holdBack(message);
    } else if (this.#heldBack !== null && this.#tries === 0 && (pages(this.#heldBack.level) || inService)) {
      this.#queued.unshift(this.#summaryOf(this.#heldBack));
      this.#heldBack = null;
    }
    const next = this.#queued.filter(mayGo).sort((a, b) => rankOf(a.level) - rankOf(b.level))[0];
    if (next !== undefined && nowMs >= this.#retryAtMs) {
      this.#queued.splice(this.#queued.indexOf(next), 1);
      void this.#send(next);
      return;
    }
    const waits: number[] = [];
    if (next !== undefined) waits.push(this.#retryAtMs - nowMs);
    if (this.#heldBack !== null && isFull) waits.push((this.#sentAtMs[0] ?? nowMs) + hourMs - nowMs);
    const summaryWaits = this.#heldBack !== null && !isFull && !pages(this.#heldBack.level);
    if (!inService && (summaryWaits || this.#queued.some((message) => !mayGo(message))))
      waits.push(hours.nextOpenMs(wallMs) - wallMs);
    if (waits.length === 0) return;
    const waitMs = Math.max(1, Math.min(...waits));
    this.#nextTryAtMs = wallMs + waitMs;
    this.#timer = clock.after(Math.min(waitMs, waitMsMax), () => this.#run());
  }

  async #send(message: AlertMessage): Promise<void> {
    const { clock, log, sink } = this.#options;
    this.#sending = message;
    try {
      await this.#deliver(message);
      this.#sentAtMs.push(clock.monotonicMs());
      this.#sent++;
      this.#lastSentAtMs = clock.wallMs();
      if (this.#failingSinceMs !== null) log.info(`alerts go out by ${sink.name} again`);
      this.#tries = 0;
      this.#failingSinceMs = null;
      this.#problem = null;
    } catch (error) {
      this.#problem = messageOf(error);
      if (this.#failingSinceMs === null) log.error(`alerts cannot go out by ${sink.name}: ${this.#problem}`);
      this.#failingSinceMs ??= clock.wallMs();
      this.#retryAtMs = clock.monotonicMs() + Math.min(retryMsMax, retryMsMin * 2 ** this.#tries);
      this.#tries++;
      // Unless something newer is to be said of the same alert.
      const isStale = this.#queued.some(({ number }) => number !== 0 && number === message.number);
      if (!isStale) this.#queued.unshift(message);
      this.#bound();
    }
    this.#sending = null;
    if (this.#closed) return;
    this.#options.changed();
    this.#run();
  }

  /** A sink that never answers is a sink that fails. */
  async #deliver(message: AlertMessage): Promise<void> {
    const { clock, sink } = this.#options;
    let failure: unknown = null;
    const inTime = await within(clock, sendTimeoutMs, (done) => {
      sink.send(message).then(done, (error: unknown) => {
        failure = error ?? new HoldfastError('E_IO', 'failed');
        done();
      });
    });
    if (!inTime) throw new HoldfastError('E_TIMEOUT', `no answer after ${formatDuration(sendTimeoutMs)}`);
    if (failure !== null) throw failure instanceof Error ? failure : new HoldfastError('E_IO', messageOf(failure));
  }

  #bound(): void {
    while (this.#queued.length > queueLengthMax) this.#holdBack(this.#least());
  }

  #holdBack(message: AlertMessage): void {
    this.#queued = this.#queued.filter((one) => one !== message);
    const before = this.#heldBack ?? { count: 0, level: message.level, headlines: [] };
    this.#heldBack = {
      count: before.count + 1,
      level: rankOf(message.level) < rankOf(before.level) ? message.level : before.level,
      headlines: [...before.headlines, headlineOf(message)].slice(0, headlinesMax),
    };
  }

  #summaryOf({ count, level, headlines }: HeldBack): AlertMessage {
    const rest = count > headlines.length ? '; …' : '';
    const what = count === 1 ? '1 more alert was' : `${count} more alerts were`;
    return this.#options.summary(
      level,
      `${what} held back, see holdfast alerts list --all; ${headlines.join('; ')}${rest}`,
    );
  }

  /** The oldest of the lowest level. */
  #least(): AlertMessage {
    return this.#queued.reduce((least, one) => (rankOf(one.level) > rankOf(least.level) ? one : least));
  }
}
