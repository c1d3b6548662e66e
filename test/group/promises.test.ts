/** R16: a group goes on while the store does not answer, as long as no other node may take over. */
import { describe, expect, test } from 'vitest';
import { describeGroup } from '../../src/group/describe.ts';
import { PromisesGiven, PromisesHeld } from '../../src/group/promises.ts';
import type { SourceLeg } from '../../src/mirror/source-leg.ts';
import { defaultLeaseMarginMs, defaultLeaseTtlMs } from '../../src/store/lease.ts';
import { Nodes, type Node } from './nodes.ts';

const ttlMs = 3000;
const marginMs = 1000;

class FakeClock {
  nowMs = 0;
  wallAheadMs = 0;
  monotonicMs = (): number => this.nowMs;
  wallMs = (): number => this.nowMs + this.wallAheadMs;
  /** Of the last timer. */
  delayMs = 0;
  after = (delayMs: number): { cancel: () => void } => {
    this.delayMs = delayMs;
    return { cancel: () => {} };
  };
}

describe('what a node has promised', () => {
  const times = () => ({ ttlMs, marginMs });

  test('lasts for its duration and the margin from when it was given', () => {
    const clock = new FakeClock();
    const given = new PromisesGiven(clock, times);
    clock.nowMs = 10_000;
    expect(given.remainingMs).toBe(0);
    expect(given.give()).toBe(ttlMs);
    expect(given.remainingMs).toBe(ttlMs + marginMs);
    clock.nowMs += ttlMs + marginMs - 1;
    expect(given.remainingMs).toBe(1);
  });

  test('is unknown to a process that has just started: it waits as if it had promised', () => {
    expect(new PromisesGiven(new FakeClock(), times).remainingMs).toBe(ttlMs + marginMs);
  });

  test('is not promised again once it wants to take over', () => {
    const clock = new FakeClock();
    const given = new PromisesGiven(clock, times);
    given.cease(true);
    clock.nowMs = 1000;
    expect([given.give(), given.remainingMs]).toEqual([null, ttlMs + marginMs - 1000]);
    given.cease(false);
    expect(given.give()).toBe(ttlMs);
  });
});

describe('what an owner has been promised', () => {
  interface Asking {
    readonly clock: FakeClock;
    readonly held: PromisesHeld;
    readonly legs: { node: string; needed: boolean; recordClass: string; tokens: number[] }[];
  }

  function asking(...nodes: string[]): Asking {
    const clock = new FakeClock();
    const legs = nodes.map((node) => {
      const tokens: number[] = [];
      const askPromise = (token: number): boolean => tokens.push(token) > 0;
      return { node, needed: true, recordClass: 'inSync', tokens, askPromise };
    });
    const held = new PromisesHeld({
      clock,
      times: () => ({ ttlMs, marginMs }),
      legs: () => legs as unknown as readonly SourceLeg[],
      heard: () => {},
    });
    return { clock, held, legs };
  }

  const tokenOf = ({ legs }: Asking, at: number): number => legs[at]?.tokens.at(-1) ?? 0;

  test('is asked for at moments of the clock, whenever the owner began: questions of all groups leave together', () => {
    for (const begunMs of [0, 1, 400, 999.5, 1000, 2999.9999]) {
      const it = asking('west');
      it.clock.nowMs = begunMs;
      it.held.start();
      const nextMs = begunMs + it.clock.delayMs;
      expect(nextMs % 1000).toBeCloseTo(0, 6);
      expect(it.clock.delayMs).toBeGreaterThanOrEqual(1);
      expect(it.clock.delayMs).toBeLessThanOrEqual(1001);
    }
  });

  test('counts from before it was asked for, not from when the answer came', () => {
    const it = asking('west');
    it.held.start();
    it.clock.nowMs = 1000;
    it.held.promised('west', tokenOf(it, 0), ttlMs);
    expect(it.held.remainingMs).toBe(ttlMs - 1000);
  });

  test('ends when either clock says so', () => {
    const it = asking('west');
    it.held.start();
    it.held.promised('west', tokenOf(it, 0), ttlMs);
    it.clock.wallAheadMs = ttlMs;
    expect(it.held.remainingMs).toBe(0);
    it.clock.wallAheadMs = -60_000;
    it.clock.nowMs = ttlMs;
    expect(it.held.remainingMs).toBe(0);
  });

  test('needs every leg’s node, one of them in sync, and nothing longer than a lease', () => {
    const it = asking('west', 'south');
    it.held.start();
    it.held.promised('west', tokenOf(it, 0), 10 * ttlMs);
    expect([it.held.remainingMs, it.held.missing]).toEqual([0, ['south']]);
    it.held.promised('south', tokenOf(it, 1), ttlMs / 2);
    expect([it.held.remainingMs, it.held.missing]).toEqual([ttlMs / 2, []]);
    for (const leg of it.legs) leg.recordClass = 'withinBound';
    expect(it.held.remainingMs).toBe(0);
  });

  test('answers to nothing it has asked are none', () => {
    const it = asking('west');
    it.held.start();
    it.held.promised('west', 99, ttlMs);
    it.held.promised('south', tokenOf(it, 0), ttlMs);
    expect(it.held.remainingMs).toBe(0);
    it.held.promised('west', tokenOf(it, 0), ttlMs);
    it.clock.nowMs = 2000;
    // The same answer again promises nothing anew.
    it.held.promised('west', tokenOf(it, 0), ttlMs);
    expect(it.held.remainingMs).toBe(1000);
  });
});

describe('a synchronous group whose owner cannot reach the store', () => {
  function lost(nodes: Nodes, ...names: string[]): void {
    for (const name of names) nodes.world.store.setReachable(nodes.node(name).process.machine, false);
  }

  function back(nodes: Nodes, ...names: string[]): void {
    for (const name of names) nodes.world.store.setReachable(nodes.node(name).process.machine, true);
  }

  function shown(node: Node): ReturnType<typeof describeGroup> {
    return describeGroup(node.group, {
      node: node.name,
      leaseValid: node.lease.isValid(),
      leaseReason: node.lease.reason,
      storeProblem: null,
      exportsOf: () => [],
      throughput: { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 },
      reachable: () => ({ up: true, reason: null }),
    });
  }

  test('goes on reading and writing for as long as the other node promises, and says so', async () => {
    const nodes = await Nodes.synced({ seed: 'storeless' });
    lost(nodes, 'east', 'west');
    for (let second = 0; second < 30; second++) {
      expect(await nodes.world.settle(nodes.write(nodes.east, second * 512, second + 1), 500)).toBeNull();
      expect(await nodes.world.settle(nodes.read(nodes.east, second * 512), 500)).toBe(second + 1);
      await nodes.world.run(1000);
    }
    expect(nodes.east.lease.isValid()).toBe(false);
    expect(shown(nodes.east)).toMatchObject({
      service: 'Serving',
      reason: expect.stringContaining('goes on under the promises of west') as string,
      nextStep: expect.stringContaining('coordination store') as string,
    });
    expect(nodes.east.events.filter((event) => event.startsWith('promises'))).toHaveLength(1);
  });

  test('R11: begins a new generation when the store is back, and loses nothing', async () => {
    const nodes = await Nodes.synced({ seed: 'store back' });
    lost(nodes, 'east');
    await nodes.world.run(10_000);
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 7))).toBeNull();
    back(nodes, 'east');
    await nodes.until(() => nodes.east.group.owner?.authority === 'lease');
    expect(await nodes.record()).toMatchObject({ owner: 'east', generation: 2 });
    expect(await nodes.world.settle(nodes.write(nodes.east, 512, 8))).toBeNull();
    expect(await nodes.world.settle(nodes.read(nodes.east, 0))).toBe(7);
    await nodes.until(nodes.whole.bind(nodes));
    expect(nodes.disk(nodes.west).cached[512]).toBe(8);
  });

  test('holds hosts when the other node is gone, too, before that one may take over; and goes on when it is back', async () => {
    const nodes = await Nodes.synced({ seed: 'both gone' });
    lost(nodes, 'east', 'west');
    await nodes.world.run(10_000);
    nodes.link(false);
    await nodes.world.run(defaultLeaseTtlMs + 1);
    const read = nodes.read(nodes.east, 0);
    let told: unknown = null;
    void read.then((fault) => (told = fault));
    await nodes.world.run(20_000);
    expect([told, nodes.east.group.owner?.authority]).toEqual([null, 'none']);
    expect(shown(nodes.east)).toMatchObject({
      service: 'Suspended',
      reason: expect.stringContaining('west cannot be asked for a promise') as string,
    });
    nodes.link(true);
    await nodes.until(() => told !== null, 5000);
    expect([told, nodes.east.lease.isValid()]).toEqual([0, false]);
  });

  test('holds hosts of a group with another leg that is away: its node could take over', async () => {
    const nodes = await Nodes.synced({ seed: 'third', legs: ['east', 'west', 'south'] });
    lost(nodes, 'east');
    await nodes.world.run(10_000);
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
    nodes.link(false, 'south');
    await nodes.world.run(defaultLeaseTtlMs + 1);
    expect(nodes.east.group.owner?.authority).toBe('none');
    nodes.link(true, 'south');
    await nodes.until(() => nodes.east.group.owner?.authority === 'promises', 10_000);
  });

  test('asynchronous, or without another leg, holds hosts at the end of its lease', async () => {
    for (const options of [{ mode: 'async' as const }, { legs: ['east'] }]) {
      const nodes = await Nodes.synced({ seed: 'alone', ...options });
      lost(nodes, 'east');
      await nodes.world.run(defaultLeaseTtlMs + 1);
      let told: unknown = null;
      void nodes.write(nodes.east, 0, 1).then((fault) => (told = fault ?? 'done'));
      await nodes.world.run(10_000);
      expect([told, nodes.east.group.role]).toEqual([null, 'primary']);
      back(nodes, 'east');
      await nodes.until(() => told === 'done');
    }
  });

  test('on-store-lost: stop ends the sessions then, and opens again when the store is back', async () => {
    const nodes = await Nodes.synced({ seed: 'stop', mode: 'async', takeOver: { onStoreLost: 'stop' } });
    const ended: string[] = [];
    nodes.east.group.addSession({ label: 'a host', moved: (reason) => ended.push(reason) }, 'v0');
    lost(nodes, 'east');
    await nodes.world.run(defaultLeaseTtlMs + 100);
    expect(ended).toEqual([expect.stringContaining('no valid lease')]);
    expect(nodes.east.group.serving).toBe(false);
    back(nodes, 'east');
    await nodes.until(() => nodes.east.group.serving);
    expect((await nodes.record()).generation).toBe(2);
  });

  test('is not taken over unless somebody insists, and then not before the promise has ended', async () => {
    const nodes = await Nodes.synced({ seed: 'insists' });
    await nodes.world.settle(nodes.write(nodes.east, 0, 3));
    lost(nodes, 'east');
    await nodes.world.run(10_000);
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toThrow(/promises not to/);
    expect(nodes.east.group.owner?.authority).toBe('promises');

    const { loss } = await nodes.world.settle(nodes.west.group.moves.takeOver(true));
    expect(loss.writes).toBe(0);
    // The old owner has fallen silent of itself: it does not know yet.
    expect([nodes.east.group.role, nodes.east.group.owner?.authority]).toEqual(['primary', 'none']);
    expect(await nodes.world.settle(nodes.read(nodes.west, 0))).toBe(3);
  });

  test('is taken over by a target that was restarted no sooner than what it may have promised has ended', async () => {
    const nodes = await Nodes.synced({ seed: 'restarted' });
    lost(nodes, 'east');
    await nodes.world.run(10_000);
    nodes.link(false);
    nodes.end('west', 'crash');
    const startedMs = nodes.world.nowMs;
    const west = nodes.start('west');
    await nodes.until(() => west.group.role === 'secondary' && west.lease.isValid() && west.group.record !== null);
    // A lease that is gone altogether needs no watching: only the promise makes it wait.
    await nodes.world.store.backing.commit({ require: [], put: [], remove: ['leases/east'] });
    await nodes.world.run(400);
    await nodes.world.settle(west.group.moves.takeOver(false, false, { silent: true }));
    expect(nodes.world.nowMs - startedMs).toBeGreaterThanOrEqual(defaultLeaseTtlMs + defaultLeaseMarginMs);
  });
});
