/**
 * Leases: how long a node may act alone on what the store last said (R15).
 *
 * A node holds `leases/<node>` under an identity, the lease id, which a group's record names. The identity is valid until
 * TTL after the last renewal that succeeded was *sent*, by the monotonic or the wall clock, whichever passes
 * first, and never again afterwards: what stood on it is void, and the node acquires a new one.
 *
 * What to do about it is left to the callbacks, which are deferred to the turn and never called from inside `isValid`.
 */
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { type Random, randomHex } from '../base/random.ts';
import type { Turn } from '../base/turn.ts';
import { leaseKey } from './document.ts';
import type { CommitOutcome, Entry, Store } from './store.ts';

export const defaultLeaseTtlMs = 3000;
export const defaultLeaseMarginMs = 1000;
/** A holder that gets through to the store renews so often within its lease's time. */
const renewalsPerTtl = 3;

export interface LeaseValue {
  readonly leaseId: string;
  readonly node: string;
  readonly incarnation: string;
  /** +1 with every renewal: tells which one a read-back found. */
  readonly counter: number;
  readonly ttlMs: number;
}

/** Null when the text is no lease. */
export function parseLease(text: string): LeaseValue | null {
  try {
    const value = JSON.parse(text) as Partial<LeaseValue> | null;
    const { leaseId, node, incarnation, counter, ttlMs } = value ?? {};
    if (typeof leaseId !== 'string' || typeof node !== 'string' || typeof incarnation !== 'string') return null;
    if (typeof counter !== 'number' || typeof ttlMs !== 'number') return null;
    return { leaseId, node, incarnation, counter, ttlMs };
  } catch {
    return null;
  }
}

export type LeaseState =
  | 'valid'
  /** It was valid and passed or was taken away. */
  | 'lapsed'
  /** Not acquired since the start. */
  | 'unknown';

/** A moment on both clocks. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** What the holder says at one moment. */
export interface LeaseView {
  readonly state: LeaseState;
  readonly reason: string | null;
  /** Null unless valid. */
  readonly leaseId: string | null;
  /** From then on, by either clock, it is valid no more. Null unless valid. */
  readonly deadline: Moment | null;
}

/**
 * The lease of this node as those see it who act on it. `LeaseHolder` is one; where the holder lives in another thread, a view
 * of it in shared memory.
 */
export interface Lease {
  readonly state: LeaseState;
  /** Why it is not valid, or why it may soon not be; null when all is well. */
  readonly reason: string | null;
  /** Null unless valid. */
  readonly leaseId: string | null;
  /** True only while both clocks say so. Cheap: called once a turn, and after any pause. */
  isValid(): boolean;
}

export interface LeaseEvents {
  acquired(leaseId: string): void;
  /** Once for each lease acquired, unless it is released. A new one is being acquired already. */
  lapsed(reason: string): void;
  /**
   * State, reason, identity or deadline are others than before. Called at once, in the middle of whatever changed them: for
   * those who only write it down.
   */
  changed?(): void;
}

export interface LeaseOptions {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly random: Random;
  readonly store: Store;
  readonly events: LeaseEvents;
  readonly node: string;
  /** Of this process. */
  readonly incarnation: string;
  readonly ttlMs?: number;
  /**
   * Why this node shall not keep its lease any longer, such as an engine that is stuck; null when it shall. As long as there
   * is a reason it is neither renewed nor acquired anew, and lapses at its deadline.
   */
  readonly withheld?: () => string | null;
}

/** The identity held or being acquired; `counter` and `sentAt` are those of the last attempt. */
interface Held {
  readonly id: string;
  counter: number;
  sentAt: Moment;
  revision: number;
}

export class LeaseHolder implements Lease {
  readonly #options: LeaseOptions;
  readonly #ttlMs: number;
  readonly #key: string;
  #state: LeaseState = 'unknown';
  #reason: string | null = 'not acquired yet';
  #lease: Held | null = null;
  /** Meaningful in state `valid`. */
  #deadline: Moment = { monotonicMs: 0, wallMs: 0 };
  /** An attempt may have happened without our knowing: a conflict then may be with ourselves. */
  #inDoubt = false;
  #started = false;
  #stopped = false;
  /** The store is asked one thing at a time. */
  #step: Promise<void> = Promise.resolve();
  #stepTimer: Timer | null = null;
  #deadlineTimer: Timer | null = null;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#ttlMs = options.ttlMs ?? defaultLeaseTtlMs;
    this.#key = leaseKey(options.node);
  }

  get state(): LeaseState {
    this.isValid();
    return this.#state;
  }

  /** Why it is not valid, or why it may soon not be; null when all is well. */
  get reason(): string | null {
    return this.#reason;
  }

  /** Null unless valid. */
  get leaseId(): string | null {
    return this.isValid() ? (this.#lease?.id ?? null) : null;
  }

  /** As it was last settled: whether the deadline has passed meanwhile is the reader's to see. */
  get view(): LeaseView {
    const valid = this.#state === 'valid';
    return {
      state: this.#state,
      reason: this.#reason,
      leaseId: valid ? (this.#lease?.id ?? null) : null,
      deadline: valid ? this.#deadline : null,
    };
  }

  /** For the transactions that rely on the lease being there still. */
  get revision(): number | null {
    return this.isValid() ? (this.#lease?.revision ?? null) : null;
  }

  /** Acquires, and from then on renews, until `release`. */
  start(): void {
    assert(!this.#started, 'a lease holder is started once');
    this.#started = true;
    this.#schedule(0);
  }

  /** True only while both clocks say so. Cheap: called once a turn, and after any pause. */
  isValid(): boolean {
    if (this.#state !== 'valid') return false;
    const { clock } = this.#options;
    if (clock.monotonicMs() < this.#deadline.monotonicMs && clock.wallMs() < this.#deadline.wallMs) return true;
    this.#lapse(this.#reason ?? `not renewed within ${this.#ttlMs} ms: this process stood still or a clock was set`);
    return false;
  }

  /** Gives the lease back so that nobody has to wait for it to lapse. `lapsed` is not called. */
  async release(): Promise<void> {
    this.#stopped = true;
    this.#stepTimer?.cancel();
    this.#deadlineTimer?.cancel();
    if (this.#state === 'valid') this.#state = 'lapsed';
    this.#reason = 'released';
    this.#options.events.changed?.();
    await this.#step;
    const lease = this.#lease;
    if (lease === null || lease.revision === 0) return;
    // Of another revision it is not ours, or lapses by itself.
    await this.#options.store.commit({
      require: [{ key: this.#key, revision: lease.revision }],
      put: [],
      remove: [this.#key],
    });
    this.#lease = null;
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#stepTimer?.cancel();
    this.#stepTimer = this.#options.clock.after(delayMs, () => {
      this.#step = this.#step.then(() => this.#run());
    });
  }

  /** One attempt to get on. Never rejects: what the store could not do is tried again. */
  async #run(): Promise<void> {
    if (this.#stopped) return;
    const wasValid = this.#state === 'valid';
    const withheld = this.#options.withheld?.() ?? null;
    try {
      if (withheld !== null) this.#reason = `neither renewed nor acquired: ${withheld}`;
      else if (!this.isValid()) await this.#acquire();
      else if (this.#inDoubt) await this.#readBack();
      else await this.#renew();
    } catch (error) {
      this.#reason = `store: ${messageOf(error)}`;
    }
    const isValid = this.isValid();
    this.#options.events.changed?.();
    if (isValid && this.#reason === null) {
      const sinceSentMs = this.#options.clock.monotonicMs() - (this.#lease?.sentAt.monotonicMs ?? 0);
      this.#schedule(Math.max(0, this.#ttlMs / renewalsPerTtl - sinceSentMs));
    } else {
      this.#schedule(wasValid && !isValid ? 0 : this.#ttlMs / 12);
    }
  }

  async #acquire(): Promise<void> {
    // Nobody else writes this key but to remove it: what is there is an identity of ours that has lapsed.
    const entry = await this.#options.store.read(this.#key);
    const found = entry === null ? null : parseLease(entry.value);
    if (entry !== null && found !== null && this.#inDoubt && found.leaseId === this.#lease?.id) {
      // The attempt in doubt did happen, but it is of no use any more when it was sent too long ago.
      if (this.#isAhead(this.#lease.sentAt)) return this.#confirm(entry.revision);
    }
    const lease: Held = {
      id: randomHex(this.#options.random, 16),
      counter: 0,
      sentAt: this.#now(),
      revision: entry?.revision ?? 0,
    };
    this.#lease = lease;
    this.#settle(await this.#commit(lease, true));
  }

  async #renew(): Promise<void> {
    const lease = this.#lease;
    assert(lease !== null, 'a valid lease without identity');
    lease.counter++;
    lease.sentAt = this.#now();
    this.#settle(await this.#commit(lease, false));
  }

  async #readBack(): Promise<void> {
    const entry = await this.#options.store.read(this.#key);
    if (!this.isValid()) return;
    const found = entry === null ? null : parseLease(entry.value);
    if (entry === null || found?.leaseId !== this.#lease?.id) return this.#lapse(takenAway);
    if (found?.counter === this.#lease?.counter) return this.#confirm(entry.revision);
    // It did not happen, or not yet: renewing on what is there now makes it conflict with us, not we with it.
    if (this.#lease !== null) this.#lease.revision = entry.revision;
    await this.#renew();
  }

  #commit(lease: Held, durable: boolean): Promise<CommitOutcome> {
    const { node, incarnation } = this.#options;
    const value: LeaseValue = { leaseId: lease.id, node, incarnation, counter: lease.counter, ttlMs: this.#ttlMs };
    return this.#options.store.commit({
      require: [{ key: this.#key, revision: lease.revision }],
      put: [{ key: this.#key, value: JSON.stringify(value) }],
      durable,
    });
  }

  #settle(outcome: CommitOutcome): void {
    switch (outcome.kind) {
      case 'committed':
        return this.#confirm(outcome.revision);
      case 'conflict':
        // Only an earlier attempt in doubt can have changed it besides somebody who took it away.
        if (this.#state === 'valid' && !this.#inDoubt) this.#lapse(takenAway);
        return;
      case 'unknown':
        this.#inDoubt = true;
        this.#reason = `store: ${outcome.reason}`;
        return;
      case 'unreachable':
        this.#reason = `store: ${outcome.reason}`;
        return;
    }
  }

  /** The last attempt is in the store: the deadline counts from when it was sent. */
  #confirm(revision: number): void {
    const lease = this.#lease;
    assert(lease !== null, 'a lease confirmed that nobody asked for');
    lease.revision = revision;
    this.#inDoubt = false;
    if (this.#stopped) return;
    // Too late for this identity, be it acquired or renewed.
    const wasValid = this.#state === 'valid';
    if (wasValid ? !this.isValid() : lease.counter > 0 || !this.#isAhead(lease.sentAt)) return;
    this.#state = 'valid';
    this.#reason = null;
    this.#deadline = this.#deadlineOf(lease.sentAt);
    this.#deadlineTimer?.cancel();
    const leftMs = this.#deadline.monotonicMs - this.#options.clock.monotonicMs();
    this.#deadlineTimer = this.#options.clock.after(leftMs, () => void this.isValid());
    this.#options.events.changed?.();
    if (!wasValid) {
      this.#options.turn.defer(() => this.#options.events.acquired(lease.id));
    }
  }

  #lapse(reason: string): void {
    this.#state = 'lapsed';
    this.#reason = reason;
    this.#inDoubt = false;
    this.#deadlineTimer?.cancel();
    this.#options.events.changed?.();
    this.#options.turn.defer(() => this.#options.events.lapsed(reason));
    this.#schedule(0);
  }

  #now(): Moment {
    return { monotonicMs: this.#options.clock.monotonicMs(), wallMs: this.#options.clock.wallMs() };
  }

  #deadlineOf(sentAt: Moment): Moment {
    return { monotonicMs: sentAt.monotonicMs + this.#ttlMs, wallMs: sentAt.wallMs + this.#ttlMs };
  }

  #isAhead(sentAt: Moment): boolean {
    const deadline = this.#deadlineOf(sentAt);
    const now = this.#now();
    return now.monotonicMs < deadline.monotonicMs && now.wallMs < deadline.wallMs;
  }
}

const takenAway =
  'the lease is gone from the store or has another identity: taken over, or a second process of this name';

/**
 * Another node's lease, seen from outside. It has lapsed when the store has none, or after the same revision was there
 * for TTL + margin on *our* monotonic clock since our first look: the holder's clocks and its last renewal's
 * way to the store do not come into it. Whoever acts on it requires `revision` in the same transaction.
 */
export class LeaseObserver {
  readonly #marginMs: number;
  #entry: Entry | null = null;
  #lease: LeaseValue | null = null;
  #firstSeenMs: number | null = null;
  /** The last look, and the last one at which the present revision was not there yet. */
  #lookedMs: number | null = null;
  #notYetMs = -Infinity;

  constructor(marginMs = defaultLeaseMarginMs) {
    this.#marginMs = marginMs;
  }

  /** What the store answered, and when the answer came: the entry may have been written while we were asking. */
  observe(entry: Entry | null, nowMonotonicMs: number): void {
    const beforeMs = this.#lookedMs ?? -Infinity;
    this.#lookedMs = nowMonotonicMs;
    if (this.#firstSeenMs !== null && entry?.revision === this.#entry?.revision) return;
    this.#notYetMs = beforeMs;
    this.#entry = entry;
    this.#lease = entry === null ? null : parseLease(entry.value);
    this.#firstSeenMs = nowMonotonicMs;
  }

  /** To be required of the key by a transaction that relies on what was seen; 0: absent. */
  get revision(): number {
    return this.#entry?.revision ?? 0;
  }

  /** Null when the key is absent or holds no lease. */
  get lease(): LeaseValue | null {
    return this.#lease;
  }

  /** Before that no other renewal is to be expected, and a look shows nothing new; -Infinity: that is not known. */
  get renewalDueMs(): number {
    return this.#lease === null ? -Infinity : this.#notYetMs + this.#lease.ttlMs / renewalsPerTtl;
  }

  lapsed(nowMonotonicMs: number): boolean {
    return this.remainingMs(nowMonotonicMs) === 0;
  }

  /** Until it lapses if not renewed; Infinity before the first look, and for what is no lease of this version. */
  remainingMs(nowMonotonicMs: number): number {
    if (this.#firstSeenMs === null) return Infinity;
    if (this.#entry === null) return 0;
    if (this.#lease === null) return Infinity;
    return Math.max(0, this.#firstSeenMs + this.#lease.ttlMs + this.#marginMs - nowMonotonicMs);
  }
}
