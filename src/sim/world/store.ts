/**
 * The coordination store as the nodes of the simulated world reach it: a correct store (the backing one is linearizable
 * by itself) behind an unreliable way. Specification:
 *
 * - A request takes effect at one moment after a drawn latency; the answer takes another one. The process may have ended
 *   meanwhile: what it had sent still takes effect.
 * - `unreachable` machines: reads reject, commits are `unreachable` — at once (refused) or after `timeoutMs`. Where the
 *   way breaks after the request has gone, or for a share `unknownShare` of commits, the outcome is `unknown`, and the
 *   commit has happened or not.
 * - `wentBack()`: the store was restored from a backup of lower revisions. Who had an answer before refuses it for good, as
 *   a back end does that knows a higher revision; others know nothing of that.
 * - `slowness` is a factor on latencies. A request that would take longer than `timeoutMs` is answered as if the way had
 *   broken.
 */
import { HoldfastError } from '../../base/errors.ts';
import type { CommitOutcome, Entry, Store, Transaction } from '../../store/store.ts';
import type { SimMachine } from './machine.ts';
import type { SimProcess } from './process.ts';
import type { Prng } from './prng.ts';
import type { World } from './world.ts';

const timeoutMs = 1000;

const noAnswer = 'the store does not answer';
const olderNow = 'the store was restored from a backup';

export class SimStoreService {
  /** The truth, for checkers and for setting up a scene; no latency, no faults. */
  readonly backing: Store;
  readonly #world: World;
  readonly #prng: Prng;
  readonly #unreachable = new Set<SimMachine>();
  slowness = 1;
  latencyMsMax = 2;
  /** Share of commits, on a way that works, whose answer gets lost. */
  unknownShare = 0;
  #restorations = 0;

  constructor(world: World, backing: Store) {
    this.#world = world;
    this.#prng = world.prng.derive('store');
    this.backing = backing;
  }

  setReachable(machine: SimMachine, reachable: boolean): void {
    if (reachable) this.#unreachable.delete(machine);
    else this.#unreachable.add(machine);
  }

  wentBack(): void {
    this.#restorations++;
  }

  heal(): void {
    this.#unreachable.clear();
    this.slowness = 1;
    this.unknownShare = 0;
  }

  /** The store as this process sees it. */
  openFor(process: SimProcess): Store {
    /** As many restorations there had been at the first answer; null: there was none. */
    let followed: number | null = null;
    const refuses = (): boolean => followed !== null && followed < this.#restorations;
    const readable = async <Result>(read: () => Promise<Result>): Promise<Result> => {
      if (refuses()) throw new HoldfastError('E_STORE_DAMAGED', olderNow);
      const answer = await this.#request(process, read);
      if (answer.kind !== 'answered') throw new HoldfastError('E_STORE_UNREACHABLE', noAnswer);
      followed ??= this.#restorations;
      return answer.result;
    };
    return {
      read: (key): Promise<Entry | null> => readable(() => this.backing.read(key)),
      readAll: (prefix): Promise<readonly Entry[]> => readable(() => this.backing.readAll(prefix)),
      commit: async (transaction: Transaction): Promise<CommitOutcome> => {
        if (refuses()) return { kind: 'unreachable', reason: olderNow };
        const request = this.#request(process, () => this.backing.commit(transaction), this.unknownShare);
        process.countEffect(transaction.put.length);
        const answer = await request;
        switch (answer.kind) {
          case 'answered':
            followed ??= this.#restorations;
            return answer.result;
          case 'notSent':
            return { kind: 'unreachable', reason: noAnswer };
          case 'lost':
            return { kind: 'unknown', reason: 'the answer of the store was lost' };
        }
      },
      close: () => Promise.resolve(),
    };
  }

  /** Never returns in a process that has ended. */
  async #request<Result>(
    process: SimProcess,
    perform: () => Promise<Result>,
    lostShare = 0,
  ): Promise<{ kind: 'answered'; result: Result } | { kind: 'notSent' } | { kind: 'lost' }> {
    if (!process.alive) return new Promise(() => {});
    if (!this.#canReach(process)) {
      await this.#answer(process, this.#prng.chance(0.5) ? 0 : timeoutMs);
      return { kind: 'notSent' };
    }
    const there = this.#drawLatencyMs();
    const back = this.#drawLatencyMs();
    const getsLost = this.#prng.chance(lostShare);
    const happens = this.#prng.chance(0.5);
    // An event of the world: what was sent arrives though the sender is dead or paused.
    const arrived = new Promise<{ result: Result } | null>((resolve, reject) => {
      this.#world.scheduler.after(Math.min(there, timeoutMs), 'store', null, () => {
        if ((getsLost || !this.#canReach(process)) && !happens) resolve(null);
        else perform().then((result) => resolve({ result }), reject);
      });
    });
    const outcome = await arrived;
    if (outcome === null || getsLost || !this.#canReach(process) || there + back > timeoutMs) {
      await this.#answer(process, Math.max(0, timeoutMs - there));
      return { kind: 'lost' };
    }
    await this.#answer(process, back);
    return { kind: 'answered', result: outcome.result };
  }

  #answer(process: SimProcess, delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      if (process.alive) process.after(delayMs, 'store', resolve);
    });
  }

  #canReach(process: SimProcess): boolean {
    return !this.#unreachable.has(process.machine);
  }

  #drawLatencyMs(): number {
    return this.#prng.between(0.1, this.latencyMsMax) * this.slowness;
  }
}
