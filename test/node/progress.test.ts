import { expect, test } from 'vitest';
import { EngineProgress, judgeProgress, ProgressWatch } from '../../src/node/progress.ts';
import { HandClock } from './hand-clock.ts';

test.each([
  { what: 'an engine that has just moved', turnedAtMs: 900, watchedSinceMs: 0, stuck: false },
  { what: 'one that has moved a moment too long ago', turnedAtMs: 0, watchedSinceMs: 0, stuck: true },
  { what: 'one at the very limit', turnedAtMs: 0.5, watchedSinceMs: 0, stuck: false },
  { what: 'one that nobody watched for long enough', turnedAtMs: 0, watchedSinceMs: 500, stuck: false },
])('judges $what', ({ turnedAtMs, watchedSinceMs, stuck }) => {
  expect(judgeProgress({ turnedAtMs, watchedSinceMs }, 1000, 1000) !== null).toBe(stuck);
});

test('says how long it has not moved', () => {
  expect(judgeProgress({ turnedAtMs: 500, watchedSinceMs: 0 }, 2000, 1000)).toContain('1500 ms');
});

function setUp() {
  const engine = new HandClock();
  const progress = new EngineProgress();
  const noting = progress.keepNoting(engine, 1000);
  const clock = new HandClock();
  const told: (string | null)[] = [];
  const watch = new ProgressWatch({
    // As the other thread sees it.
    progress: new EngineProgress(progress.buffer),
    clock,
    stallMs: 1000,
    changed: (stuck) => told.push(stuck),
  });
  const both = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 25) {
      engine.pass(25);
      clock.pass(25);
    }
  };
  return { engine, clock, noting, told, watch, both };
}

test('an engine that turns is never called stuck', () => {
  const { told, watch, both } = setUp();
  both(60_000);
  expect(watch.look()).toBeNull();
  expect(told).toEqual([]);
});

test('an engine that stands still is called stuck after the stall time, once, and not any more when it turns', () => {
  const { engine, clock, told, both } = setUp();
  both(5000);
  clock.pass(900);
  engine.sleep(900);
  expect(told).toEqual([]);
  clock.pass(1100);
  engine.sleep(1100);
  expect(told).toEqual([expect.stringContaining('stuck')]);
  both(1000);
  expect(told).toEqual([expect.stringContaining('stuck'), null]);
});

test('a pause of the whole process is not held against the engine, however late it moves again within the stall time', () => {
  const { engine, clock, told, watch, both } = setUp();
  both(5000);
  engine.sleep(10_000);
  clock.sleep(10_000);
  // The watch runs first.
  expect(watch.look()).toBeNull();
  clock.pass(900);
  expect(told).toEqual([]);
  engine.pass(900);
  both(5000);
  expect(told).toEqual([]);
});

test('the judgement is told whoever looks first', () => {
  const { engine, clock, told, watch, both } = setUp();
  both(5000);
  clock.pass(990);
  engine.sleep(990);
  clock.sleep(120);
  expect(watch.look()).toContain('stuck');
  clock.pass(5000);
  expect(told).toHaveLength(1);
});

test('an engine that does not come back from a pause of the whole process is called stuck', () => {
  const { clock, told, both } = setUp();
  both(5000);
  clock.sleep(10_000);
  clock.pass(1500);
  expect(told).toHaveLength(1);
});
