import { describe, expect, it } from 'vitest';
import { SimScheduler } from '../../../src/sim/world/scheduler.ts';

describe('SimScheduler', () => {
  it('runs events by time, those of one time in the order they were scheduled', async () => {
    const scheduler = new SimScheduler();
    const ran: string[] = [];
    for (const [delayMs, name] of [
      [5, 'c'],
      [1, 'a'],
      [5, 'd'],
      [3, 'b'],
      [5, 'e'],
    ] as const) {
      scheduler.after(delayMs, 'timer', null, () => ran.push(`${name}${scheduler.nowMs}`));
    }
    scheduler.after(2, 'timer', null, () => ran.push('never')).cancelled = true;
    await scheduler.run(10);
    expect(ran).toEqual(['a1', 'b3', 'c5', 'd5', 'e5']);
    expect(scheduler.nowMs).toBe(10);
  });

  it('keeps the order of scheduling among many events of one time', async () => {
    const scheduler = new SimScheduler();
    const ran: number[] = [];
    for (let index = 0; index < 100; index++) scheduler.after(1, 'timer', null, () => ran.push(index));
    await scheduler.run(1);
    expect(ran).toEqual(Array.from({ length: 100 }, (_, index) => index));
  });

  it('finishes every promise callback of an event before the next event', async () => {
    const scheduler = new SimScheduler();
    const ran: string[] = [];
    scheduler.after(1, 'timer', null, () => {
      void (async () => {
        for (let step = 0; step < 5; step++) {
          await Promise.resolve();
          ran.push(`step ${step} at ${scheduler.nowMs}`);
        }
      })();
    });
    scheduler.after(1, 'timer', null, () => ran.push('next'));
    await scheduler.run(1);
    expect(ran).toEqual(['step 0 at 1', 'step 1 at 1', 'step 2 at 1', 'step 3 at 1', 'step 4 at 1', 'next']);
  });

  it('stops as soon as the predicate holds, and says when it never did', async () => {
    const scheduler = new SimScheduler();
    let count = 0;
    for (let delayMs = 1; delayMs <= 10; delayMs++) scheduler.after(delayMs, 'timer', null, () => count++);
    expect(await scheduler.runUntil(() => count === 4, 100)).toBe(true);
    expect(scheduler.nowMs).toBe(4);
    expect(await scheduler.runUntil(() => count === 40, 100)).toBe(false);
    expect(scheduler.nowMs).toBe(100);
  });

  it('keeps heap order through many random insertions', async () => {
    const scheduler = new SimScheduler();
    let last = 0;
    let state = 1;
    const plant = (depth: number): void => {
      state = (Math.imul(state, 48_271) >>> 0) % 2_147_483_647;
      scheduler.after(state % 1000, 'timer', null, () => {
        expect(scheduler.nowMs).toBeGreaterThanOrEqual(last);
        last = scheduler.nowMs;
        if (depth > 0) plant(depth - 1);
      });
    };
    for (let index = 0; index < 300; index++) plant(10);
    await scheduler.run(100_000);
    expect(scheduler.trace.events).toBe(3300);
    expect(scheduler.pendingEvents).toBe(0);
  });

  it('gives up the run with what an event threw', async () => {
    const scheduler = new SimScheduler();
    scheduler.after(1, 'timer', null, () => {
      throw new Error('a bug');
    });
    await expect(scheduler.run(2)).rejects.toThrow('a bug');
  });
});
