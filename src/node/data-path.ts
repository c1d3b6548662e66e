/**
 * Whether the storage of the groups served here answers (HM-17): a node that is alive but cannot do I/O must not go on
 * as their owner. Looked at about once a second from what owners know anyway, so that it costs the hot path nothing:
 * the oldest change not stored yet says since when writes and flushes stand; of reads it is known how many were answered.
 *
 * While the process itself stood still nothing could be answered: that time is no stall.
 *
 * That an own leg has *failed* is known at once, and no matter of this room.
 */
import type { Group } from '../group/group.ts';

export interface Stalled {
  readonly group: string;
  readonly reason: string;
}

/** What is looked at of a group; `Group` has it. */
export type WatchedGroup = Pick<Group, 'name'> & {
  readonly entry: { readonly takeOver: { readonly stallMs: number } };
  readonly owner: WatchedOwner | null;
};

interface WatchedOwner {
  readonly leg: { readonly fault: unknown };
  readonly unstoredSinceMs: number | null;
  readonly counters: { readonly reads: number };
  readonly readsAnswered: number;
}

interface Watched {
  readonly owner: WatchedOwner;
  readsAnswered: number;
  /** The earliest look since which some read is outstanding and none was answered. */
  readsStandSinceMs: number;
  told: boolean;
  reason: string | null;
}

/** Looks are a second apart; so long after the last one the process stood still. */
const standstillMs = 3000;

export class DataPathWatch {
  #lookedMs = -Infinity;
  /** Since when the process has been running without a stop, as far as is known; monotonic. */
  #awakeMs = -Infinity;
  readonly #watched = new Map<string, Watched>();

  /** Groups whose storage has begun to be stalled since the look before. */
  look(groups: Iterable<WatchedGroup>, nowMs: number): Stalled[] {
    const stalled: Stalled[] = [];
    if (nowMs - this.#lookedMs > standstillMs) this.#awakeMs = nowMs;
    this.#lookedMs = nowMs;
    for (const group of groups) {
      const reason = this.#judge(group, nowMs);
      const watched = this.#watched.get(group.name);
      if (watched === undefined) continue;
      if (reason !== null && !watched.told) stalled.push({ group: group.name, reason });
      watched.told = reason !== null;
      watched.reason = reason;
    }
    return stalled;
  }

  /** Of the last look. */
  reasonOf(group: string): string | null {
    return this.#watched.get(group)?.reason ?? null;
  }

  #judge({ name, entry, owner }: WatchedGroup, nowMs: number): string | null {
    if (owner === null || owner.leg.fault !== null) {
      this.#watched.delete(name);
      return null;
    }
    let watched = this.#watched.get(name);
    if (watched?.owner !== owner) {
      watched = { owner, readsAnswered: -1, readsStandSinceMs: nowMs, told: false, reason: null };
      this.#watched.set(name, watched);
    }
    if (owner.readsAnswered !== watched.readsAnswered || owner.readsAnswered === owner.counters.reads) {
      watched.readsAnswered = owner.readsAnswered;
      watched.readsStandSinceMs = nowMs;
    }
    const { stallMs } = entry.takeOver;
    const writesStandMs = nowMs - Math.max(owner.unstoredSinceMs ?? nowMs, this.#awakeMs);
    if (writesStandMs >= stallMs) return `its storage has not taken a change for ${Math.floor(writesStandMs)} ms`;
    const readsStandMs = nowMs - Math.max(watched.readsStandSinceMs, this.#awakeMs);
    if (readsStandMs >= stallMs) return `its storage has answered no read for ${Math.floor(readsStandMs)} ms`;
    return null;
  }
}
