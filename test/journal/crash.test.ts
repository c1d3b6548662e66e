/**
 * I7, exhaustively for small logs: every sequence of up to four operations (of the longest, those of three kinds), cut off after every effect of the last one
 * (an earlier cut is the end of a shorter sequence), by a crash of the process or by power loss that keeps several
 * subsets of the unsynced sectors. What was answered for is there afterwards, in order; what is there was appended; and
 * nothing is reported as damage.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Journal } from '../../src/journal/journal.ts';
import { World } from '../../src/sim/world/world.ts';
import { answered, append, at, dataOf, itemsOf, makeDevice, settings, write } from './samples.ts';

type Operation = 'small' | 'mark' | 'several' | 'large' | 'full disk' | 'close and open' | 'release';
const operations: readonly Operation[] = ['small', 'mark', 'several', 'large', 'full disk', 'close and open'];

/** Small enough for a large write to need a segment of its own. */
const small = { ...settings, segmentBytes: 4096 };

function sequences(length: number, kinds = length < 4 ? operations : operations.slice(3)): Operation[][] {
  if (length === 0) return [[]];
  return sequences(length - 1, kinds).flatMap((head) => kinds.map((last) => [...head, last]));
}

/** One run, cut `cutAfter` effects into the last operation; returns whether the cut came before its end. */
async function run(
  sequence: readonly Operation[],
  cutAfter: number,
  how: 'crash' | 'power',
  seed: number,
  synchronous: boolean,
  folders: readonly string[] = ['/log'],
): Promise<boolean> {
  const world = new World({ seed: `${sequence.join()} ${cutAfter} ${seed}` });
  const machine = world.machine('east');
  let process = machine.start('holdfast');
  const chosen = { ...small, synchronous, folders };
  if (folders.includes('/device')) await makeDevice(world, process);
  let journal = await world.settle(Journal.open(process.environment, chosen));
  let appended = 0;
  let promised = 0;
  let released = 0;
  const put = async (count: number, length: number): Promise<void> => {
    const seqs = Array.from({ length: count }, () => ++appended);
    const last = appended;
    await Promise.all(seqs.map((seq) => append(journal, [write(seq, length)])));
    promised = last;
  };
  // The first write finds no space and leaves any part of itself; the record is appended anew, shorter.
  const putAgain = async (): Promise<void> => {
    const seq = ++appended;
    machine.files.fail({ code: 'E_NO_SPACE', operation: 'write' }, 1);
    try {
      // With two copies the other one has it.
      await append(journal, [write(seq, 1500)]);
    } catch {
      journal.retry();
      await append(journal, [write(seq, 1200)]);
    }
    promised = seq;
  };
  const perform = (operation: Operation): Promise<void> => {
    switch (operation) {
      case 'small':
        return put(1, 40);
      case 'large':
        return put(1, 2000);
      case 'several':
        return put(3, 700);
      case 'full disk':
        return putAgain();
      case 'release':
        released = promised;
        journal.release(at(released));
        return new Promise((resolve) => process.environment.clock.after(50, resolve));
      case 'mark':
        return answered((done) => journal.mark('here', done));
      case 'close and open':
        return journal.close().then(async () => {
          journal = await Journal.open(process.environment, chosen);
        });
    }
  };
  for (const operation of sequence.slice(0, -1)) await world.settle(perform(operation));
  if (how === 'crash') process.crashAfterEffects(cutAfter);
  let isDone = false;
  const before = process.effects;
  const last = sequence.at(-1);
  process.call(() => {
    if (last !== undefined) void perform(last).then(() => (isDone = true));
  });
  await world.runUntil(() => isDone || !process.alive || process.effects - before >= cutAfter, 1000);
  const wasCut = !isDone;
  // Synchronous answers hold through anything; asynchronous ones through a crash of the process.
  const held = synchronous || how === 'crash' ? promised : 0;
  if (how === 'power') {
    machine.powerLoss();
    machine.powerOn();
  } else process.crash();
  machine.files.heal();
  for (const round of [1, 2]) {
    process = machine.start('holdfast');
    const { environment } = process;
    const opened = await world.settle(Journal.open(environment, chosen));
    const reader = opened.read(at(released, released === 0 ? 0 : 1));
    const items = reader === null ? [] : await world.settle(itemsOf(reader));
    const records = items.flatMap((item) => (item.kind === 'records' ? item.records : []));
    const label = `${sequence.join(', ')}: ${how} after effect ${cutAfter}, seed ${seed}, opened ${round} times`;
    const seqs = records.map(({ seq }) => seq);
    const isWhole = opened.damages.length === 0 && items.every(({ kind }) => kind !== 'damage');
    const isGapless = seqs.every((seq, index) => seq === released + index + 1);
    if (!isWhole || !isGapless || released + seqs.length < held || released + seqs.length > appended) {
      expect.fail(`${label}: found ${seqs.join()} of ${held}…${appended}, damages ${JSON.stringify(opened.damages)}`);
    }
    for (const { seq, data } of records) {
      if (data === null || Buffer.compare(data, dataOf(seq, data.length)) !== 0)
        throw new Error(`${label}: record ${seq}`);
    }
    if (round === 2) break;
    // It goes on: what comes next is read behind what was kept.
    appended = released + seqs.length + 1;
    await world.settle(append(opened, [write(appended, 100)]));
    promised = appended;
    if (synchronous) machine.powerLoss();
    else process.crash();
    if (synchronous) machine.powerOn();
  }
  return wasCut;
}

/** One copy keeps a segment that was released, and the beginning of the newest one, but not what is between. */
const aCopyFailsInTheNewestSegment: [Operation[], number, 'crash' | 'power', number, boolean, readonly string[]] = [
  ['full disk', 'full disk', 'close and open', 'full disk', 'small', 'release'],
  19,
  'crash',
  0,
  true,
  ['/disk1/log', '/disk2/log'],
];

describe('I7: a log cut off at any moment keeps all that was answered for, and invents nothing', () => {
  it.each([1, 2, 3, 4])('sequences of %i operations, synchronous', { timeout: 120_000 }, async (length) => {
    for (const sequence of sequences(length)) {
      for (const [how, seeds] of [
        ['crash', 1],
        ['power', [6, 6, 3, 2, 1][length] ?? 1],
      ] as const) {
        for (let seed = 0; seed < seeds; seed++) {
          for (let cutAfter = 1; await run(sequence, cutAfter, how, seed, true); cutAfter++);
        }
      }
    }
  });

  it.each([1, 2])('sequences of %i operations, asynchronous', { timeout: 60_000 }, async (length) => {
    for (const sequence of sequences(length)) {
      for (const how of ['crash', 'power'] as const) {
        for (let seed = 0; seed < (length === 1 ? 6 : 2); seed++) {
          for (let cutAfter = 1; await run(sequence, cutAfter, how, seed, false); cutAfter++);
        }
      }
    }
  });

  it.each([1, 2, 3])('sequences of %i operations, on a device', { timeout: 120_000 }, async (length) => {
    for (const sequence of sequences(length, ['large', 'several', 'release', 'close and open', 'full disk'])) {
      for (const [how, seeds] of [
        ['crash', 1],
        ['power', [4, 4, 2, 1][length] ?? 1],
      ] as const) {
        for (let seed = 0; seed < seeds; seed++) {
          for (let cutAfter = 1; await run(sequence, cutAfter, how, seed, true, ['/device']); cutAfter++);
        }
      }
    }
  });

  it('sequences of any length, in one place or two', { timeout: 120_000 }, async () => {
    const anySequence = fc.array(fc.constantFrom<Operation>(...operations, 'release'), {
      minLength: 1,
      maxLength: 12,
    });
    const anyCut = fc.integer({ min: 1, max: 25 });
    const anyFolders = fc.constantFrom<readonly string[]>(
      ['/log'],
      ['/disk1/log', '/disk2/log'],
      ['/device'],
      ['/log', '/device'],
    );
    await fc.assert(
      fc.asyncProperty(
        anySequence,
        anyCut,
        fc.constantFrom('crash' as const, 'power' as const),
        fc.nat(1000),
        fc.boolean(),
        anyFolders,
        async (sequence, cutAfter, how, seed, synchronous, folders) => {
          await run(sequence, cutAfter, how, seed, synchronous, folders);
        },
      ),
      { numRuns: 400, seed: 1, examples: [aCopyFailsInTheNewestSegment] },
    );
  });
});
