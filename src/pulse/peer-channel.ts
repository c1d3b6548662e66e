/**
 * How one node hears another by one channel: from times alone, by the monotonic clock. Silence is what lies between the
 * last valid message and now, less the time in which we ourselves stood still: that nobody was heard while nobody
 * listened says nothing (`excuse`).
 *
 *     unknown ──heard──► alive ──no valid message for the timeout──► silent ──heard──► probation ──without a gap──► alive
 *        └──start-up over──► silent                                     ▲──────a gap─────┘
 */
import type { Hearing } from './snapshot.ts';

export interface PeerChannelOptions {
  readonly timeoutMs: number;
  /** 0: what is heard again counts at once. */
  readonly probationMs: number;
  /** Until then it is no silence that nothing was heard yet; Infinity: for ever. */
  readonly unknownUntilMs: number;
}

export class PeerChannel {
  readonly #options: PeerChannelOptions;
  #state: Hearing = 'unknown';
  #unknownUntilMs: number;
  #heardMs: number | null = null;
  /** Silence counts from here. */
  #sinceMs = -Infinity;
  #probationSinceMs = 0;
  #unprovenMs = -Infinity;

  constructor(options: PeerChannelOptions) {
    this.#options = options;
    this.#unknownUntilMs = options.unknownUntilMs;
  }

  /** Of the last valid message; null: never. */
  get heardMs(): number | null {
    return this.#heardMs;
  }

  /** A valid message came at `atMs`, now or a moment ago. True: the hearing has become another. */
  hear(atMs: number): boolean {
    if (this.#heardMs !== null && atMs <= this.#heardMs) return false;
    const before = this.#state;
    this.#settle(atMs);
    this.#heardMs = atMs;
    this.#sinceMs = Math.max(this.#sinceMs, atMs);
    if (this.#state === 'unknown') this.#state = 'alive';
    else if (this.#state === 'silent') {
      this.#state = this.#options.probationMs === 0 ? 'alive' : 'probation';
      this.#probationSinceMs = atMs;
    }
    return this.#state !== before;
  }

  /** Something authentic came of a process that does not hear us yet: it may live, so its silence is no evidence. */
  hearUnproven(nowMs: number): void {
    this.#unprovenMs = nowMs;
  }

  /** We stood still until now. */
  excuse(nowMs: number): void {
    this.#sinceMs = Math.max(this.#sinceMs, nowMs);
    if (this.#state === 'unknown')
      this.#unknownUntilMs = Math.max(this.#unknownUntilMs, nowMs + this.#options.timeoutMs);
  }

  /** The user wants it to count at once (HM-19): as it is heard now, or unknown for one timeout. */
  trust(nowMs: number): void {
    const isHeard = this.#heardMs !== null && nowMs - this.#heardMs <= this.#options.timeoutMs;
    this.#state = isHeard ? 'alive' : 'unknown';
    this.#unknownUntilMs = nowMs + this.#options.timeoutMs;
  }

  hearing(nowMs: number): Hearing {
    this.#settle(nowMs);
    const mayLive = this.#state === 'silent' && nowMs - this.#unprovenMs <= this.#options.timeoutMs;
    return mayLive ? 'unknown' : this.#state;
  }

  /** When the hearing becomes another, at the earliest, if nothing more is heard; Infinity: it does not. */
  changesAtMs(nowMs: number): number {
    const { timeoutMs, probationMs } = this.#options;
    this.#settle(nowMs);
    switch (this.#state) {
      case 'unknown':
        return this.#unknownUntilMs;
      case 'alive':
        return this.#sinceMs + timeoutMs;
      case 'probation':
        return Math.min(this.#sinceMs + timeoutMs, this.#probationSinceMs + probationMs);
      case 'silent': {
        const silentAgainMs = this.#unprovenMs + timeoutMs;
        return silentAgainMs < nowMs ? Infinity : silentAgainMs;
      }
    }
  }

  silentMs(nowMs: number): number | null {
    return this.#heardMs === null ? null : Math.max(0, nowMs - this.#heardMs);
  }

  #settle(nowMs: number): void {
    const { timeoutMs, probationMs } = this.#options;
    if (this.#state === 'unknown') {
      if (nowMs >= this.#unknownUntilMs) this.#state = 'silent';
    } else if (this.#state !== 'silent' && nowMs - this.#sinceMs > timeoutMs) this.#state = 'silent';
    else if (this.#state === 'probation' && nowMs - this.#probationSinceMs >= probationMs) this.#state = 'alive';
  }
}
