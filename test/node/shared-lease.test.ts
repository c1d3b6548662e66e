import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { NodeClock } from '../../src/base/node/node-clock.ts';
import { LeaseMemory, SharedLease } from '../../src/node/shared-lease.ts';
import type { LeaseView } from '../../src/store/lease.ts';
import { HandClock, HandTurn } from './hand-clock.ts';

function setUp() {
  const holder = new LeaseMemory();
  const clock = new HandClock();
  const turn = new HandTurn();
  const told: string[] = [];
  const lease = new SharedLease({
    memory: new LeaseMemory(holder.buffer),
    clock,
    turn,
    events: {
      acquired: (id) => void told.push(`acquired ${id}`),
      lapsed: (reason) => void told.push(`lapsed: ${reason}`),
    },
  });
  const valid = (leaseId: string, forMs: number, reason: string | null = null): LeaseView => ({
    state: 'valid',
    reason,
    leaseId,
    deadline: { monotonicMs: clock.monotonicMs() + forMs, wallMs: clock.wallMs() + forMs },
  });
  /** As the holder does it: published, and the engine told. */
  const publish = (view: LeaseView): void => {
    holder.publish(view);
    lease.look();
    turn.run();
  };
  return { holder, clock, turn, told, lease, valid, publish };
}

describe('a lease in shared memory', () => {
  test('is unknown before anything is published, and then what the holder says', () => {
    const { lease, told, valid, publish } = setUp();
    expect(lease).toMatchObject({ state: 'unknown', leaseId: null, reason: 'not acquired yet' });
    expect(lease.isValid()).toBe(false);
    publish({ state: 'unknown', reason: 'store: it does not answer', leaseId: null, deadline: null });
    expect(lease.reason).toBe('store: it does not answer');
    publish(valid('a'.repeat(32), 3000));
    expect(lease).toMatchObject({ state: 'valid', leaseId: 'a'.repeat(32), reason: null });
    publish(valid('a'.repeat(32), 3000, 'store: slow'));
    expect(lease.reason).toBe('store: slow');
    expect(told).toEqual([`acquired ${'a'.repeat(32)}`]);
  });

  test('a reason of any length is told, cut between two characters', () => {
    const { lease, publish } = setUp();
    for (const reason of ['€'.repeat(500), 'x'.repeat(500), '']) {
      publish({ state: 'unknown', reason, leaseId: null, deadline: null });
      expect(reason.startsWith(lease.reason ?? '?')).toBe(true);
      expect(lease.reason?.length).toBeGreaterThanOrEqual(Math.min(reason.length, 100));
    }
  });

  test('R15: it lapses at the deadline, noticed by a timer of the engine, though the holder is dead', () => {
    const { lease, clock, turn, told, valid, publish } = setUp();
    publish(valid('a', 3000));
    clock.pass(2999);
    expect(lease.isValid()).toBe(true);
    clock.pass(2);
    turn.run();
    expect(told).toEqual(['acquired a', expect.stringContaining('lapsed: not renewed in time')]);
    expect(lease).toMatchObject({ state: 'lapsed', leaseId: null });
    clock.pass(60_000);
    turn.run();
    expect(told).toHaveLength(2);
  });

  test('R15: it lapses when the wall clock says so', () => {
    const { lease, clock, valid, publish } = setUp();
    publish(valid('a', 3000));
    clock.wallOffsetMs += 2999;
    expect(lease.isValid()).toBe(true);
    clock.wallOffsetMs += 1;
    expect(lease.isValid()).toBe(false);
  });

  test('renewals are seen without a message', () => {
    const { lease, holder, clock, turn, told, valid, publish } = setUp();
    publish(valid('a', 3000));
    for (let second = 0; second < 30; second++) {
      clock.pass(1000);
      turn.run();
      expect(lease.isValid()).toBe(true);
      holder.publish(valid('a', 3000));
    }
    expect(told).toEqual(['acquired a']);
  });

  test('R11: after a pause in which the holder was first, the next identity is not valid before the lapse is told', () => {
    const { lease, holder, clock, turn, told, valid, publish } = setUp();
    publish(valid('a', 3000));
    clock.sleep(10_000);
    holder.publish({ state: 'lapsed', reason: 'this process stood still', leaseId: null, deadline: null });
    holder.publish(valid('b', 3000));
    expect(lease.isValid()).toBe(false);
    lease.look();
    expect(lease.isValid()).toBe(false);
    expect(told).toEqual(['acquired a']);
    turn.run();
    expect(told).toEqual(['acquired a', expect.stringContaining('lapsed'), 'acquired b']);
    expect(lease).toMatchObject({ state: 'valid', leaseId: 'b' });
  });

  test('an identity renewed at the very moment it lapsed here is told as lapsed, and as acquired again', () => {
    const { lease, clock, turn, told, valid, publish } = setUp();
    publish(valid('a', 3000));
    clock.sleep(3000);
    expect(lease.isValid()).toBe(false);
    turn.run();
    publish(valid('a', 2500));
    expect(told).toEqual(['acquired a', expect.stringContaining('lapsed'), 'acquired a']);
    expect(lease.leaseId).toBe('a');
  });

  test('closed, it is valid no more and tells nothing', () => {
    const { lease, clock, turn, told, valid, publish } = setUp();
    publish(valid('a', 3000));
    lease.close();
    clock.pass(10_000);
    publish(valid('b', 3000));
    turn.run();
    expect(lease.isValid()).toBe(false);
    expect(told).toEqual(['acquired a']);
  });
});

const memoryModule = new URL('../../dist/node/shared-lease.js', import.meta.url);

describe.runIf(existsSync(fileURLToPath(memoryModule)))('with a holder in another thread', () => {
  test('a view is never torn, and a holder that dies in the middle of writing leaves the one before', async () => {
    const memory = new LeaseMemory();
    // Everything in a view follows from one number; it is valid for ever when that is even.
    const program = `
      import { workerData } from 'node:worker_threads';
      const { LeaseMemory } = await import(workerData.module);
      const memory = new LeaseMemory(workerData.buffer);
      for (let n = 1; ; n++) {
        const word = String(n).repeat(n % 2 === 0 ? 2 : 1).slice(0, 60);
        const deadline = { monotonicMs: n * 8, wallMs: n * 16 };
        memory.publish(n % 3 === 0
          ? { state: 'lapsed', reason: word, leaseId: null, deadline: null }
          : { state: 'valid', reason: word, leaseId: word, deadline });
      }`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), {
      workerData: { module: memoryModule.href, buffer: memory.buffer },
      execArgv: [],
    });
    const started = performance.now();
    let reads = 0;
    let seen = 0;
    const versions = new Set<number>();
    const look = (): void => {
      const read = memory.read();
      reads++;
      if (read === null || read.version === 0) return;
      const { version, view } = read;
      versions.add(version);
      seen++;
      const word = String(version)
        .repeat(version % 2 === 0 ? 2 : 1)
        .slice(0, 60);
      const expected: LeaseView =
        version % 3 === 0
          ? { state: 'lapsed', reason: word, leaseId: null, deadline: null }
          : {
              state: 'valid',
              reason: word,
              leaseId: word,
              deadline: { monotonicMs: version * 8, wallMs: version * 16 },
            };
      if (JSON.stringify(view) !== JSON.stringify(expected))
        throw new Error(`torn: ${JSON.stringify(view)} of ${version}`);
    };
    while (performance.now() - started < 20_000 && versions.size < 1000) {
      const sliceMs = performance.now();
      while (performance.now() - sliceMs < 50) look();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await worker.terminate();
    expect(versions.size).toBeGreaterThan(100);
    expect(seen).toBeGreaterThan(reads / 100);
    for (let again = 0; again < 100; again++) look();
  });

  test('monotonic time is the same in all threads', async () => {
    const program = `
      import { parentPort, workerData } from 'node:worker_threads';
      const { NodeClock } = await import(workerData.module);
      const clock = new NodeClock();
      parentPort.on('message', () => parentPort.postMessage(clock.monotonicMs()));
      parentPort.postMessage(0);`;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), {
      workerData: { module: new URL('../../dist/base/node/node-clock.js', import.meta.url).href },
      execArgv: [],
    });
    const answer = (): Promise<number> => new Promise((resolve) => worker.once('message', resolve));
    await answer();
    const clock = new NodeClock();
    for (let ask = 0; ask < 20; ask++) {
      const before = clock.monotonicMs();
      const answered = answer();
      worker.postMessage(null);
      const there = await answered;
      // The two origins are read a few microseconds apart.
      expect(there).toBeGreaterThan(before - 0.5);
      expect(there).toBeLessThan(clock.monotonicMs() + 0.5);
    }
    await worker.terminate();
  });
});
