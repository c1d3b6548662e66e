/**
 * Keeps the record's word about each leg true (R13): a leg joins the in-sync set before the first acknowledgement relies
 * on it, and leaves it before the first one does without it.
 *
 *   | the leg                                              | its class should be                 |
 *   |------------------------------------------------------|-------------------------------------|
 *   | streams, complete                                    | inSync, or withinBound when async   |
 *   | is paused, has failed, must be copied to             | behind                              |
 *   | is away, and bits remember what it lacks             | behind                              |
 *   | is away, lacks something, and the grace time is over | behind                              |
 *   | is away otherwise                                    | as it is                            |
 *
 * With `on-target-loss: suspend` hosts wait from the end of the grace time on while a leg that is not asynchronous, nor
 * paused, lacks something (TL-20); it falls behind in the record all the same.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import type { SourceLeg } from '../mirror/source-leg.ts';
import type { LegClass } from '../store/document.ts';
import type { Owner } from './owner.ts';
import { withLeg, type GroupRecord } from './record.ts';
import type { RecordKeeper } from './record-keeper.ts';

export interface MembershipOptions {
  readonly environment: Environment;
  readonly owner: Owner;
  readonly keeper: RecordKeeper;
  readonly graceMs: () => number;
  /** `on-target-loss: suspend`. */
  readonly suspends: () => boolean;
  /** Whether the record is still the one this owner may change. */
  readonly mine: (record: GroupRecord) => boolean;
  readonly lost: (reason: string) => void;
  readonly event: (kind: string, message: string) => void;
}

const retryMs = 500;

export class Membership {
  readonly #options: MembershipOptions;
  #changing = false;
  #retryAt: number | null = null;
  /** When the first grace time ends: looked at then. */
  #graceTimer: Timer | null = null;
  #closed = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
  }

  close(): void {
    this.#closed = true;
    this.#graceTimer?.cancel();
  }

  /** Looks at every leg, and has the first wrong class changed; looks again afterwards. */
  review(): void {
    const { owner, environment } = this.#options;
    const now = environment.clock.monotonicMs();
    if (this.#changing || this.#closed || !owner.established) return;
    if (this.#retryAt !== null && now < this.#retryAt) return;
    this.#retryAt = null;
    this.#holdForTarget();
    for (const leg of owner.legs) {
      const wanted = this.#wanted(leg, now);
      const joins = leg.complete && leg.mode !== 'async';
      if (leg.needed && leg.recordClass !== 'inSync' && !joins) {
        // It was to join, and was lost or made asynchronous first: the record never said so.
        leg.needed = false;
        owner.reconsider();
      }
      if (leg.bounded && leg.recordClass !== 'withinBound' && (joins || !leg.complete)) {
        leg.bounded = false;
        owner.reconsider();
      }
      if (leg.congested && leg.recordClass === 'behind') leg.divert();
      if (wanted !== leg.recordClass) {
        this.#change(leg, wanted);
        return;
      }
    }
  }

  #wanted(leg: SourceLeg, nowMs: number): LegClass {
    const { owner, graceMs } = this.#options;
    if (leg.paused || leg.failed || leg.congested) return 'behind';
    if (leg.complete) return leg.mode === 'async' ? 'withinBound' : this.#joining(leg);
    // It was lost while the record was being changed: nothing is kept for it any more.
    if (leg.flowing || leg.tracking) return 'behind';
    const graceLeftMs = graceMs() - leg.awayMs(nowMs);
    if (graceLeftMs > 0) this.#lookAfter(graceLeftMs);
    const lacks = owner.history.next - 1 > leg.appliedOrdinal || owner.requestsHeld > 0;
    return graceLeftMs <= 0 && lacks ? 'behind' : leg.recordClass;
  }

  /**
   * R13: first every acknowledgement needs the leg, then it gets what was acknowledged without it, and only then the
   * record may say that it lacks nothing.
   */
  #joining(leg: SourceLeg): LegClass {
    if (!leg.needed) {
      leg.needed = true;
      leg.joinAt = this.#options.owner.history.next - 1;
    }
    return leg.recordClass === 'inSync' || leg.answered >= leg.joinAt ? 'inSync' : leg.recordClass;
  }

  /** Before the class changes: nothing is acknowledged because a leg was let go. */
  #holdForTarget(): void {
    const { owner, suspends } = this.#options;
    const lost = suspends() && owner.legs.some((leg) => leg.mode !== 'async' && !leg.paused && isLost(leg));
    if (lost === owner.holds.has('target')) return;
    owner.hold('target', lost);
    if (!lost) owner.reconsider();
  }

  #lookAfter(delayMs: number): void {
    this.#graceTimer ??= this.#options.environment.clock.after(delayMs, () => {
      this.#graceTimer = null;
      this.review();
    });
  }

  #change(leg: SourceLeg, wanted: LegClass): void {
    const { keeper, mine, environment, event } = this.#options;
    const before = leg.recordClass;
    this.#changing = true;
    if (wanted === 'withinBound') leg.bounded = true;
    keeper
      .change((record) => {
        if (record === null || !mine(record)) return null;
        // A pause may have come in between.
        const still = this.#wanted(leg, environment.clock.monotonicMs());
        return withLeg(record, leg.node, { class: still === wanted ? wanted : leg.recordClass });
      })
      .then(
        (outcome) => {
          this.#changing = false;
          if (this.#closed) return;
          switch (outcome.kind) {
            case 'done': {
              const now = outcome.record.legs[leg.node]?.class ?? 'behind';
              if (now === before) break;
              leg.recordClass = now;
              this.#confirmed(leg);
              event('class', `${leg.node} is ${words[now]} now (was ${words[before]}): ${leg.reason || 'complete'}`);
              break;
            }
            case 'lost':
              this.#options.lost(outcome.reason);
              return;
            case 'unreachable':
              this.#retryAt = environment.clock.monotonicMs() + retryMs;
              environment.clock.after(retryMs, () => this.review());
              return;
          }
          this.review();
        },
        (error: unknown) => environment.abort(`changing a group's record failed: ${String(error)}`),
      );
  }

  #confirmed(leg: SourceLeg): void {
    const { owner } = this.#options;
    this.#holdForTarget();
    leg.needed = leg.recordClass === 'inSync';
    leg.bounded = leg.recordClass === 'withinBound';
    if (leg.recordClass === 'behind' && leg.congested) {
      leg.divert();
    } else if (leg.recordClass === 'behind' && !leg.flowing) {
      leg.beginTracking();
      leg.failed = false;
    }
    owner.reconsider();
    owner.review();
    leg.proceed();
  }
}

/** It fell behind, and has not yet all that it missed. */
function isLost(leg: SourceLeg): boolean {
  return leg.recordClass === 'behind' && !leg.complete;
}

const words: Readonly<Record<LegClass, string>> = {
  inSync: 'in sync',
  withinBound: 'within its bound',
  behind: 'behind',
};
