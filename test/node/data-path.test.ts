import { expect, test } from 'vitest';
import { DataPathWatch } from '../../src/node/data-path.ts';

const stallMs = 30_000;

function setUp() {
  const owner = {
    leg: { fault: null as unknown },
    unstoredSinceMs: null as number | null,
    counters: { reads: 0 },
    readsAnswered: 0,
  };
  const group = { name: 'g1', entry: { takeOver: { stallMs } }, owner: owner as typeof owner | null };
  const watch = new DataPathWatch();
  let nowMs = 1_000_000;
  /** A look a second; all that was told. */
  const pass = (seconds: number, each: () => void = () => {}): string[] => {
    const told: string[] = [];
    for (let second = 0; second < seconds; second++) {
      nowMs += 1000;
      each();
      told.push(...watch.look([group], nowMs).map(({ reason }) => reason));
    }
    return told;
  };
  const standStill = (seconds: number): void => {
    nowMs += 1000 * seconds;
  };
  return { owner, group, pass, standStill, now: () => nowMs };
}

test('HM-17: a change that its storage does not take for the stall time is told once', () => {
  const { owner, pass, now } = setUp();
  expect(pass(100)).toEqual([]);
  owner.unstoredSinceMs = now();
  expect(pass(29)).toEqual([]);
  expect(pass(100)).toEqual(['its storage has not taken a change for 30000 ms']);
  owner.unstoredSinceMs = null;
  expect(pass(100)).toEqual([]);
  owner.unstoredSinceMs = now();
  expect(pass(100)).toHaveLength(1);
});

test('HM-17: reads that its storage does not answer are told, whenever hosts go on asking', () => {
  const { owner, pass } = setUp();
  pass(5);
  owner.counters.reads = 1;
  expect(pass(29, () => owner.counters.reads++)).toEqual([]);
  expect(pass(100)).toHaveLength(1);
});

test('storage that is slow but answers is not stalled, nor is one that nobody asks', () => {
  const { owner, pass, now } = setUp();
  owner.counters.reads = 8;
  const slow = (): void => {
    owner.counters.reads++;
    owner.readsAnswered++;
    owner.unstoredSinceMs = now() - 20_000;
  };
  expect(pass(1000, slow)).toEqual([]);
  owner.unstoredSinceMs = null;
  owner.readsAnswered = owner.counters.reads;
  expect(pass(1000)).toEqual([]);
});

test('a leg that has failed is not also called stalled, and another owner begins anew', () => {
  const { owner, group, pass, now } = setUp();
  owner.unstoredSinceMs = now();
  owner.counters.reads = 1;
  owner.leg.fault = { kind: 'writeFailed' };
  expect(pass(100)).toEqual([]);
  group.owner = { ...owner, leg: { fault: null }, unstoredSinceMs: null };
  expect(pass(29)).toEqual([]);
  expect(pass(2)).toHaveLength(1);
});

test('HM-17: the time in which the process itself stood still is no stall of its storage', () => {
  const { owner, pass, standStill, now } = setUp();
  pass(5);
  owner.unstoredSinceMs = now();
  owner.counters.reads = 1;
  pass(2);
  standStill(120);
  expect(pass(29)).toEqual([]);
  // What stands since then is one.
  expect(pass(100)).toHaveLength(1);
});
