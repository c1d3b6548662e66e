import { describe, expect, test } from 'vitest';
import type { Clock, Timer } from '../../src/base/clock.ts';
import type { Random } from '../../src/base/random.ts';
import { LeaseHolder, LeaseObserver, parseLease } from '../../src/store/lease.ts';
import { MemoryStore, StoreMemory } from '../../src/store/memory-store.ts';
import type { CommitOutcome, Entry, Store, Transaction } from '../../src/store/store.ts';

/** Time passes only by `pass`; the wall clock may be set besides. */
class HandClock implements Clock {
  nowMs = 1000;
  wallOffsetMs = 1_000_000;
  timers: { atMs: number; run: () => void }[] = [];

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.nowMs + this.wallOffsetMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.timers.push(timer);
    return { cancel: () => void (this.timers = this.timers.filter((other) => other !== timer)) };
  }

  async pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    for (;;) {
      const next = this.timers.filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((other) => other !== next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
      await settled();
    }
    this.nowMs = untilMs;
    await settled();
  }

  /** The process does not run meanwhile; its timers are late. */
  sleep(ms: number): void {
    this.nowMs += ms;
  }
}

/** Lets all promises that can settle do so. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
}

type Fault = 'none' | 'unreachable' | 'unknownDone' | 'unknownNotDone' | 'hang';

class FaultyStore implements Store {
  readonly inner: Store;
  fault: Fault = 'none';
  /** Ends a hanging commit: it happens now. */
  resume: () => void = () => {};
  /** Commits that an unknown outcome left on the way. */
  late: Transaction[] = [];
  commits = 0;

  constructor(inner: Store) {
    this.inner = inner;
  }

  read(key: string): Promise<Entry | null> {
    return this.inner.read(key);
  }

  readAll(prefix: string): Promise<readonly Entry[]> {
    return this.inner.readAll(prefix);
  }

  async commit(transaction: Transaction): Promise<CommitOutcome> {
    this.commits++;
    switch (this.fault) {
      case 'none':
        return this.inner.commit(transaction);
      case 'unreachable':
        return { kind: 'unreachable', reason: 'no answer' };
      case 'unknownDone':
        await this.inner.commit(transaction);
        return { kind: 'unknown', reason: 'cut' };
      case 'unknownNotDone':
        this.late.push(transaction);
        return { kind: 'unknown', reason: 'cut' };
      case 'hang':
        await new Promise<void>((resolve) => (this.resume = resolve));
        return this.inner.commit(transaction);
    }
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

let identities = 0;
const random: Random = { bytes: (count) => new Uint8Array(count).fill(++identities), below: () => 0 };

function setUp(memory = new StoreMemory(), clock = new HandClock(), incarnation = 'i1') {
  const store = new FaultyStore(new MemoryStore(memory));
  const events: string[] = [];
  const withheld: { reason: string | null } = { reason: null };
  const views: { valid: boolean; deadlineMs: number | null; reason: string | null }[] = [];
  let inIsValid = false;
  const holder = new LeaseHolder({
    clock,
    // Deferred to the end of the microtasks at hand: never inside a call.
    turn: { defer: (run) => queueMicrotask(run), atEnd: () => {} },
    random,
    store,
    node: 'east',
    incarnation,
    withheld: () => withheld.reason,
    events: {
      changed: () =>
        void views.push({
          valid: holder.view.state === 'valid',
          deadlineMs: holder.view.deadline?.monotonicMs ?? null,
          reason: holder.view.reason,
        }),
      acquired: (id) => void (expect(inIsValid).toBe(false), events.push(`acquired ${id.slice(0, 2)}`)),
      lapsed: (reason) => void (expect(inIsValid).toBe(false), events.push(`lapsed ${reason}`)),
    },
  });
  const isValid = (): boolean => {
    inIsValid = true;
    const valid = holder.isValid();
    inIsValid = false;
    return valid;
  };
  const stored = async () => parseLease((await new MemoryStore(memory).read('leases/east'))?.value ?? '');
  return { memory, clock, store, events, holder, isValid, stored, withheld, views };
}

async function started(...parameters: Parameters<typeof setUp>) {
  const scene = setUp(...parameters);
  scene.holder.start();
  await scene.clock.pass(0);
  expect(scene.isValid()).toBe(true);
  expect(scene.events).toHaveLength(1);
  return scene;
}

describe('the holder of a lease', () => {
  test('acquires it, renews every third of its time, and stays valid', async () => {
    const { clock, holder, store, events, isValid, stored } = setUp();
    expect(isValid()).toBe(false);
    expect(holder.state).toBe('unknown');
    holder.start();
    await clock.pass(0);
    expect(holder.state).toBe('valid');
    expect(holder.reason).toBeNull();
    const { leaseId } = holder;
    expect(await stored()).toMatchObject({ leaseId, node: 'east', incarnation: 'i1', ttlMs: 3000 });
    for (let second = 0; second < 60; second++) {
      await clock.pass(1000);
      expect(isValid()).toBe(true);
    }
    expect(store.commits).toBe(61);
    expect(holder.leaseId).toBe(leaseId);
    expect(events).toHaveLength(1);
  });

  test('R15: the deadline counts from before the renewal was sent', async () => {
    const { clock, store, isValid } = await started();
    store.fault = 'hang';
    await clock.pass(1000);
    await clock.pass(1900);
    expect(isValid()).toBe(true);
    store.fault = 'unreachable';
    store.resume();
    await settled();
    // Sent at 1000, answered at 2900.
    await clock.pass(1099);
    expect(isValid()).toBe(true);
    await clock.pass(2);
    expect(isValid()).toBe(false);
  });

  test('R15: it lapses when the store cannot be reached, once, and is acquired anew under another identity', async () => {
    const { clock, store, holder, events } = await started();
    const first = holder.leaseId;
    store.fault = 'unreachable';
    await clock.pass(2999);
    expect(holder.state).toBe('valid');
    expect(holder.reason).toContain('no answer');
    await clock.pass(1);
    await clock.pass(5000);
    expect(holder.state).toBe('lapsed');
    expect(events.slice(1)).toEqual(['lapsed store: no answer']);
    store.fault = 'none';
    await clock.pass(1000);
    expect(holder.state).toBe('valid');
    expect(holder.leaseId).not.toBe(first);
    expect(events).toHaveLength(3);
  });

  test.each([
    ['the monotonic clock alone', (clock: HandClock) => void (clock.sleep(3000), (clock.wallOffsetMs -= 3000))],
    ['the wall clock alone, as after a machine slept', (clock: HandClock) => void (clock.wallOffsetMs += 3000)],
    ['a pause of the process', (clock: HandClock) => clock.sleep(120_000)],
  ])('R15: %s ends it, before any timer has run', async (_, happen) => {
    const { clock, holder, isValid, events } = await started();
    const first = holder.leaseId;
    happen(clock);
    expect(isValid()).toBe(false);
    expect(holder.leaseId).toBeNull();
    expect(events).toHaveLength(1);
    await settled();
    expect(events[1]).toMatch(/^lapsed .*stood still/);
    await clock.pass(500);
    expect(holder.leaseId).not.toBe(first);
    expect(isValid()).toBe(true);
  });

  test('a wall clock set back does not make it last longer', async () => {
    const { clock, store, isValid } = await started();
    clock.wallOffsetMs -= 3_600_000;
    store.fault = 'unreachable';
    await clock.pass(3000);
    expect(isValid()).toBe(false);
  });

  test('a renewal that is answered after the deadline does not bring the identity back', async () => {
    const { clock, store, holder, isValid, events } = await started();
    const first = holder.leaseId;
    await clock.pass(999);
    store.fault = 'hang';
    await clock.pass(1);
    clock.sleep(2001);
    store.fault = 'none';
    store.resume();
    await settled();
    expect(isValid()).toBe(false);
    await clock.pass(300);
    expect(events).toHaveLength(3);
    expect(holder.leaseId).not.toBe(first);
  });

  test('R11: an unknown outcome that had happened is read back and counts from when it was sent', async () => {
    const { clock, store, isValid, events } = await started();
    store.fault = 'unknownDone';
    await clock.pass(1000);
    store.fault = 'unreachable';
    await clock.pass(2999);
    expect(isValid()).toBe(true);
    await clock.pass(1);
    expect(isValid()).toBe(false);
    expect(events).toHaveLength(2);
  });

  test('R11: an unknown outcome that had not happened extends nothing', async () => {
    const { clock, store, isValid } = await started();
    store.fault = 'unknownNotDone';
    await clock.pass(1000);
    store.fault = 'unreachable';
    await clock.pass(1999);
    expect(isValid()).toBe(true);
    await clock.pass(1);
    expect(isValid()).toBe(false);
  });

  test('a renewal in doubt that happens late, after its read-back, is not taken for somebody else', async () => {
    const { clock, store, isValid, events } = await started();
    store.fault = 'unknownNotDone';
    await clock.pass(1000);
    store.read = async (key) => {
      const entry = await store.inner.read(key);
      for (const transaction of store.late.splice(0)) await store.inner.commit(transaction);
      return entry;
    };
    store.fault = 'none';
    await clock.pass(10_000);
    expect(isValid()).toBe(true);
    expect(events).toHaveLength(1);
  });

  test('an acquisition in doubt is read back', async () => {
    const { clock, store, holder, events, stored } = setUp();
    store.fault = 'unknownDone';
    holder.start();
    await clock.pass(0);
    expect(holder.state).toBe('unknown');
    await clock.pass(300);
    expect(holder.state).toBe('valid');
    expect(holder.leaseId).toBe((await stored())?.leaseId);
    expect(store.commits).toBe(1);
    expect(events).toHaveLength(1);
  });

  test.each(['gone', 'of another identity'])('R11: a lease found %s at renewal is lost at once', async (what) => {
    const { clock, store, memory, holder, events } = await started();
    const first = holder.leaseId;
    const other = new MemoryStore(memory);
    if (what === 'gone') await other.commit({ require: [], put: [], remove: ['leases/east'] });
    else await other.commit({ require: [], put: [{ key: 'leases/east', value: '{}' }] });
    await clock.pass(1000);
    expect(events[1]).toMatch(/^lapsed the lease is gone/);
    await clock.pass(300);
    expect(holder.leaseId).not.toBe(first);
    expect(store.commits).toBeGreaterThan(2);
  });

  test('R11: a process started again replaces the identity of the one before without waiting', async () => {
    const first = await started();
    const second = await started(first.memory, new HandClock(), 'i2');
    expect(second.holder.leaseId).not.toBe(first.holder.leaseId);
    expect(await second.stored()).toMatchObject({ leaseId: second.holder.leaseId, incarnation: 'i2' });
  });

  test('withheld, it is neither renewed nor acquired anew until it is not withheld any more', async () => {
    const { clock, holder, store, events, isValid, withheld } = await started();
    const { leaseId } = holder;
    withheld.reason = 'the engine is stuck';
    await clock.pass(2999);
    expect(isValid()).toBe(true);
    expect(holder.reason).toContain('the engine is stuck');
    await clock.pass(2);
    expect(holder.state).toBe('lapsed');
    expect(events[1]).toContain('the engine is stuck');
    await clock.pass(60_000);
    expect(store.commits).toBe(1);
    withheld.reason = null;
    await clock.pass(300);
    expect(holder).toMatchObject({ state: 'valid', reason: null });
    expect(holder.leaseId).not.toBe(leaseId);
  });

  test('withheld for a moment only, it is renewed in time and keeps its identity', async () => {
    const { clock, holder, events, withheld } = await started();
    const { leaseId } = holder;
    withheld.reason = 'the engine is stuck';
    await clock.pass(2500);
    withheld.reason = null;
    await clock.pass(10_000);
    expect(holder).toMatchObject({ state: 'valid', reason: null, leaseId });
    expect(events).toHaveLength(1);
  });

  test('whoever writes it down hears of each deadline, of the lapse and of the release', async () => {
    const { clock, store, holder, views } = await started();
    expect(views[0]).toEqual({ valid: true, deadlineMs: 4000, reason: null });
    await clock.pass(1000);
    expect(views.at(-1)).toEqual({ valid: true, deadlineMs: 5000, reason: null });
    store.fault = 'unreachable';
    await clock.pass(1100);
    expect(views.at(-1)).toMatchObject({ valid: true, deadlineMs: 5000, reason: expect.stringContaining('store') });
    await clock.pass(2000);
    expect(views.at(-1)).toMatchObject({ valid: false, deadlineMs: null });
    store.fault = 'none';
    await clock.pass(1000);
    expect(views.at(-1)).toMatchObject({ valid: true, reason: null });
    await holder.release();
    expect(views.at(-1)).toEqual({ valid: false, deadlineMs: null, reason: 'released' });
  });

  test('released, it is gone from the store at once, and nothing is renewed or reported', async () => {
    const { clock, holder, isValid, events, stored, store } = await started();
    await holder.release();
    expect(isValid()).toBe(false);
    expect(await stored()).toBeNull();
    await clock.pass(10_000);
    expect(store.commits).toBe(2);
    expect(events).toHaveLength(1);
    expect(clock.timers).toEqual([]);
  });

  test('released while it is being acquired, it is gone too', async () => {
    const { clock, store, holder, stored, events } = setUp();
    store.fault = 'hang';
    holder.start();
    await clock.pass(0);
    const released = holder.release();
    store.fault = 'none';
    store.resume();
    await released;
    expect(await stored()).toBeNull();
    expect(events).toEqual([]);
    expect(clock.timers).toEqual([]);
  });
});

describe('the observer of a lease', () => {
  const entry = (revision: number): Entry => ({
    key: 'leases/east',
    value: JSON.stringify({ leaseId: 'a', node: 'east', incarnation: 'i', counter: revision, ttlMs: 3000 }),
    revision,
  });

  test('R15: calls it lapsed only after one revision was there for TTL and margin since the first look', () => {
    const observer = new LeaseObserver();
    expect(observer.lapsed(1e9)).toBe(false);
    observer.observe(entry(7), 10_000);
    expect(observer.remainingMs(10_000)).toBe(4000);
    observer.observe(entry(7), 13_000);
    expect(observer.lapsed(13_999)).toBe(false);
    expect(observer.lapsed(14_000)).toBe(true);
    expect(observer.revision).toBe(7);
    observer.observe(entry(8), 14_500);
    expect(observer.lapsed(18_499)).toBe(false);
    expect(observer.revision).toBe(8);
    expect(observer.lapsed(18_500)).toBe(true);
  });

  test('expects the next renewal a third of the time after the last look that did not show this one', () => {
    const observer = new LeaseObserver();
    expect(observer.renewalDueMs).toBe(-Infinity);
    observer.observe(entry(7), 10_000);
    // It may have been there for long.
    expect(observer.renewalDueMs).toBe(-Infinity);
    observer.observe(entry(7), 10_250);
    observer.observe(entry(8), 10_500);
    expect(observer.renewalDueMs).toBe(11_250);
    observer.observe(entry(8), 10_750);
    expect(observer.renewalDueMs).toBe(11_250);
    observer.observe(null, 11_000);
    expect(observer.renewalDueMs).toBe(-Infinity);
  });

  test('calls an absent lease lapsed, and a new one not', () => {
    const observer = new LeaseObserver();
    observer.observe(null, 0);
    expect([observer.lapsed(0), observer.revision]).toEqual([true, 0]);
    observer.observe(entry(9), 1);
    expect(observer.lapsed(1)).toBe(false);
  });

  test('never calls lapsed what it cannot read', () => {
    const observer = new LeaseObserver();
    observer.observe({ key: 'leases/east', value: 'null', revision: 1 }, 0);
    expect(observer.lapsed(1e9)).toBe(false);
  });
});
