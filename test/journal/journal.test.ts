import { beforeEach, describe, expect, it } from 'vitest';
import { crc32c } from '../../src/base/crc32c.ts';
import { Journal, type JournalSettings } from '../../src/journal/journal.ts';
import type { SimMachine } from '../../src/sim/world/machine.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';
import { answered, append, at, itemsOf, pathsOf, settings, shown, shownOnce, write, writes } from './samples.ts';

let world: World;
let machine: SimMachine;
let process: SimProcess;
let seed = 0;

beforeEach(() => {
  world = new World({ seed: `journal ${seed++}` });
  machine = world.machine('east');
  process = machine.start('holdfast');
});

const open = (changes: Partial<JournalSettings> = {}): Promise<Journal> =>
  world.settle(Journal.open(process.environment, { ...settings, ...changes }));
const put = (journal: Journal, from: number, to = from, length = 100): Promise<void> =>
  world.settle(append(journal, writes(from, to, length)));
const shownFrom = (journal: Journal, seq: number): Promise<(number | string)[]> =>
  world.settle(shownOnce(journal.read(at(seq, seq === 0 ? 0 : 1))));

async function restart(changes: Partial<JournalSettings> = {}): Promise<Journal> {
  process.crash();
  process = machine.start('holdfast');
  return open(changes);
}

async function restartAfterPowerLoss(changes: Partial<JournalSettings> = {}): Promise<Journal> {
  machine.powerLoss();
  machine.powerOn();
  process = machine.start('holdfast');
  return open(changes);
}

describe('TL-9: what is appended', () => {
  it('is read back as it was, in order, from any position', async () => {
    const journal = await open();
    const records = [
      write(1, 5000),
      write(2, 4096, { kind: 'zero', data: null, hole: true }),
      write(3, 0, { kind: 'flush', data: null, offset: 0 }),
      write(4, 700, { epoch: 3 }),
    ];
    await world.settle(append(journal, records));
    const items = await world.settle(itemsOf(journal.read(at(0, 0))));
    expect(items).toMatchObject([{ kind: 'records', records }]);
    expect(await shownFrom(journal, 2)).toEqual([3, 4]);
    expect(await shownFrom(journal, 4)).toEqual([]);
  });

  it('survives power loss once it was answered for, in synchronous mode', async () => {
    const journal = await open();
    await put(journal, 1, 20);
    const again = await restartAfterPowerLoss();
    expect([again.end, again.damages]).toEqual([at(20), []]);
    expect(await shownFrom(again, 18)).toEqual([19, 20]);
    await put(again, 21, 22);
    expect(await shownFrom(again, 18)).toEqual([19, 20, 21, 22]);
    expect(await shownFrom(await restart(), 19)).toEqual([20, 21, 22]);
  });

  it('is answered for in a turn of its own, in order', async () => {
    const journal = await open();
    const seen: string[] = [];
    process.call(() => {
      for (const seq of [1, 2, 3]) journal.append([write(seq)], () => seen.push(`answer ${seq}`));
      seen.push('returned');
    });
    await world.run(100);
    expect(seen).toEqual(['returned', 'answer 1', 'answer 2', 'answer 3']);
    await world.settle(journal.close());
    process.call(() => {
      journal.append([write(4)], (error) => seen.push(error?.code ?? 'stored'));
      seen.push('returned');
    });
    await world.run(100);
    expect(seen.slice(4)).toEqual(['returned', 'E_REFUSED']);
  });

  it('costs one write and one flush for all that waits', async () => {
    const journal = await open();
    await put(journal, 1);
    const before = process.effects;
    process.call(() => {
      for (let seq = 2; seq <= 33; seq++) journal.append([write(seq, 4096)], () => {});
    });
    await world.runUntil(() => journal.end.seq === 33, 1000);
    expect(process.effects - before).toBe(2);
  });

  it('is divided among segments of the set size, and found in each', async () => {
    const journal = await open({ segmentBytes: 16 * 1024 });
    for (let seq = 1; seq <= 40; seq++) await put(journal, seq, seq, 3000);
    expect(journal.segments.length).toBeGreaterThan(8);
    for (const { endBytes } of journal.segments) expect(endBytes).toBeLessThanOrEqual(17 * 1024);
    const again = await restart({ segmentBytes: 16 * 1024 });
    for (const seq of [1, 7, 20, 39]) {
      expect(await shownFrom(again, seq)).toEqual(writes(seq + 1, 40).map((record) => record.seq));
    }
  });

  it('may be a single record longer than a segment, or a million bytes at once', async () => {
    const journal = await open({ segmentBytes: 64 * 1024 });
    await put(journal, 1, 1, 12 * 1024 * 1024);
    await world.settle(append(journal, writes(2, 40, 30_000)));
    expect(await shownFrom(journal, 0)).toEqual(writes(1, 40).map(({ seq }) => seq));
    expect((await restart()).end).toEqual(at(40));
  });

  it('in asynchronous mode is answered for when written, and on the medium within the interval', async () => {
    const journal = await open({ synchronous: false });
    await put(journal, 1, 5);
    expect(journal.status().durable).toEqual(at(0, 0));
    await world.run(1100);
    expect(journal.status().durable).toEqual(at(5));
    await put(journal, 6);
    expect((await restartAfterPowerLoss()).end.seq).toBeGreaterThanOrEqual(5);
  });

  it('in asynchronous mode is on the medium after a flush', async () => {
    for (let round = 0; round < 10; round++) {
      world = new World({ seed: `flush ${round}` });
      machine = world.machine('east');
      process = machine.start('holdfast');
      const journal = await open({ synchronous: false });
      const appended = append(journal, writes(1, 3));
      await world.settle(Promise.all([appended, answered((done) => journal.flush(done))]));
      expect((await restartAfterPowerLoss()).end).toEqual(at(3));
    }
  });

  it('goes on in another tenure, which begins a segment of its own', async () => {
    const journal = await open();
    journal.beginGeneration(1, 'a'.repeat(32));
    await put(journal, 1, 3);
    journal.beginGeneration(2, 'b'.repeat(32));
    await world.settle(append(journal, [write(1, 10, { generation: 2 })]));
    const again = await restart();
    expect(again.segments.map(({ header }) => [header.generation, header.generationId, header.after])).toEqual([
      [1, 'a'.repeat(32), at(0, 0)],
      [2, 'b'.repeat(32), at(3)],
    ]);
    expect(await shownFrom(again, 2)).toEqual([3, 1]);
  });

  it('bears marks and members in their place', async () => {
    const journal = await open();
    await world.settle(
      Promise.all([
        answered((done) => journal.setMembers([{ volume: 1, wwid: '6'.repeat(32), sizeBytes: 2 ** 40 }], done)),
        append(journal, writes(1, 2)),
        answered((done) => journal.mark('before the upgrade', done)),
        append(journal, writes(3, 3)),
      ]),
    );
    expect(await shownFrom(await restart(), 0)).toEqual(['members', 1, 2, 'before the upgrade', 3]);
  });
});

describe('a log that was not written for a while', () => {
  it('is not taken for the history between', async () => {
    const journal = await open();
    await put(journal, 1, 3);
    journal.skipTo(at(10));
    await put(journal, 11, 12);
    for (const next of [() => Promise.resolve(journal), restart]) {
      const log = await next();
      expect(log.read(at(3))).toBeNull();
      expect(log.read(at(5))).toBeNull();
      expect(await shownFrom(log, 10)).toEqual([11, 12]);
      expect(await shownFrom(log, 1)).toEqual([2, 3, 'lost 3…10', 11, 12]);
    }
  });

  it('is not taken for what was before it was made', async () => {
    const journal = await open({ start: at(100) });
    await world.settle(answered((done) => journal.mark('first', done)));
    await put(journal, 101, 102);
    expect(journal.read(at(99))).toBeNull();
    expect(await shownFrom(journal, 100)).toEqual(['first', 101, 102]);
  });
});

describe('a reader', () => {
  it('goes on where it stopped when more was written, and is told so', async () => {
    const journal = await open({ segmentBytes: 8192 });
    await put(journal, 1, 2);
    let told = 0;
    const reader = journal.read(at(0, 0), { onMore: () => told++ });
    expect(await world.settle(shown(reader))).toEqual([1, 2]);
    expect(told).toBe(0);
    for (let seq = 3; seq <= 9; seq++) await put(journal, seq, seq, 3000);
    expect(told).toBe(1);
    expect(await world.settle(shown(reader))).toEqual([3, 4, 5, 6, 7, 8, 9]);
  });

  it('reads ahead no more than it may', async () => {
    const journal = await open({ segmentBytes: 2 ** 20 });
    for (let seq = 1; seq <= 100; seq++) await put(journal, seq, seq, 64 * 1024);
    const reads: number[] = [];
    const { files } = process.environment;
    const open0 = files.open.bind(files);
    files.open = async (path) => {
      const handle = await open0(path);
      const readAt = handle.readAt.bind(handle);
      handle.readAt = (offset, length) => {
        reads.push(length);
        return readAt(offset, length);
      };
      return handle;
    };
    const reader = journal.read(at(0, 0), { aheadBytesMax: 256 * 1024 });
    await world.settle(reader?.next() ?? Promise.reject(new Error('no reader')));
    await world.run(1000);
    expect(reads.reduce((sum, length) => sum + length, 0)).toBeLessThan(3 * 2 ** 20);
    expect(await world.settle(shown(reader))).toHaveLength(99);
  });

  it('is one of several at once', async () => {
    const journal = await open({ segmentBytes: 8192 });
    for (let seq = 1; seq <= 20; seq++) await put(journal, seq, seq, 1000);
    const readers = [0, 5, 15].map((seq) => journal.read(at(seq, seq === 0 ? 0 : 1)));
    const seen = await world.settle(Promise.all(readers.map(shown)));
    expect(seen.map((numbers) => numbers.length)).toEqual([20, 15, 5]);
  });
});

describe('TL-9: space', () => {
  it('is freed segment by segment as positions are released, and never earlier', async () => {
    const journal = await open({ segmentBytes: 8192 });
    for (let seq = 1; seq <= 30; seq++) await put(journal, seq, seq, 3000);
    const before = journal.status().usedBytes;
    journal.release(at(15));
    await world.run(1000);
    expect(journal.status().usedBytes).toBeLessThan(before);
    expect(journal.read(at(10))).toBeNull();
    expect(await shownFrom(journal, 15)).toEqual(writes(16, 30).map(({ seq }) => seq));
    expect(await shownFrom(await restartAfterPowerLoss(), 15)).toHaveLength(15);
  });

  it('is not freed under a reader', async () => {
    const journal = await open({ segmentBytes: 8192 });
    for (let seq = 1; seq <= 30; seq++) await put(journal, seq, seq, 3000);
    const reader = journal.read(at(3), { aheadBytesMax: 1 });
    journal.release(at(30));
    await world.run(1000);
    expect(await world.settle(shown(reader))).toHaveLength(27);
    await world.settle(reader?.close() ?? Promise.resolve());
    journal.release(at(30));
    await world.run(1000);
    expect(journal.segments).toHaveLength(1);
  });

  it('BY-3: is kept for the retention window', async () => {
    const journal = await open({ segmentBytes: 8192, retentionMs: 60_000, retentionBytes: 40 * 1024 });
    for (let seq = 1; seq <= 4; seq++) await put(journal, seq, seq, 3000);
    journal.release(at(4));
    await world.run(30_000);
    expect(await shownFrom(journal, 0)).toEqual([1, 2, 3, 4]);
    for (let seq = 5; seq <= 30; seq++) await put(journal, seq, seq, 3000);
    journal.release(at(30));
    await world.run(1000);
    expect(journal.status().usedBytes).toBeGreaterThan(30 * 1024);
    expect(journal.status().usedBytes).toBeLessThan(50 * 1024);
    await world.run(60_000);
    journal.release(at(30));
    await world.run(1000);
    expect(journal.segments).toHaveLength(1);
  });

  it('TL-16: when it is used up is told apart, and the log goes on after more was given', async () => {
    const journal = await open({ segmentBytes: 8192, capacityBytes: 21_000 });
    for (let seq = 1; seq <= 5; seq++) await put(journal, seq, seq, 3000);
    await expect(put(journal, 6, 6, 3000)).rejects.toMatchObject({ code: 'E_NO_SPACE' });
    expect(journal.state).toBe('full');
    for (const seq of [7, 6]) await expect(put(journal, seq, seq, 10)).rejects.toMatchObject({ code: 'E_NO_SPACE' });
    journal.setCapacity(2 ** 20);
    journal.retry();
    for (let seq = 6; seq <= 8; seq++) await put(journal, seq, seq, 3000);
    expect(await shownFrom(await restartAfterPowerLoss(), 0)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('TL-16: a full disk is the same, whatever the failed write left', async () => {
    const journal = await open();
    await put(journal, 1, 3);
    machine.files.fail({ code: 'E_NO_SPACE', operation: 'write' });
    await expect(put(journal, 4, 9, 3000)).rejects.toMatchObject({ code: 'E_NO_SPACE' });
    journal.retry();
    await expect(put(journal, 4, 9, 2000)).rejects.toMatchObject({ code: 'E_NO_SPACE' });
    machine.files.heal();
    journal.retry();
    await put(journal, 4, 9, 1000);
    const items = await world.settle(itemsOf((await restartAfterPowerLoss()).read(at(0, 0))));
    const records = items.flatMap((item) => (item.kind === 'records' ? item.records : []));
    expect(records.map(({ seq, length }) => [seq, length])).toEqual([
      ...[1, 2, 3].map((seq) => [seq, 100]),
      ...[4, 5, 6, 7, 8, 9].map((seq) => [seq, 1000]),
    ]);
  });

  it('is counted, and forecast at the present rate', async () => {
    const journal = await open({ capacityBytes: 10 * 2 ** 20 });
    for (let second = 1; second <= 20; second++) {
      await put(journal, second, second, 100 * 1024);
      await world.run(1000);
    }
    const { usedBytes, freeBytes, fullInMs } = journal.status();
    expect(usedBytes + freeBytes).toBe(10 * 2 ** 20);
    expect(usedBytes).toBeGreaterThan(20 * 100 * 1024);
    expect(fullInMs).toBeGreaterThan(60_000);
    expect(fullInMs).toBeLessThan(100_000);
  });

  it('the distance of a leg is told in records, bytes and time', async () => {
    const journal = await open({ segmentBytes: 16 * 1024 });
    for (let seq = 1; seq <= 40; seq++) await put(journal, seq, seq, 1000);
    expect(journal.distanceFrom(at(40))).toEqual({ records: 0, bytes: 0, oldestWallMs: null });
    expect(journal.distanceFrom(at(0, 0))).toMatchObject({ records: 40, bytes: 40_000 });
    for (const next of [() => Promise.resolve(journal), restart]) {
      const log = await next();
      expect(log.distanceFrom(at(13))).toMatchObject({ records: 27, bytes: 27_000 });
      expect(log.distanceFrom(at(13)).oldestWallMs).toBeGreaterThan(1.7e12);
    }
  });
});

describe('a log that fails', () => {
  it('answers for nothing more, and says why', async () => {
    for (const operation of ['write', 'sync'] as const) {
      const journal = await open({ folders: [`/log-${operation}`] });
      await put(journal, 1, 3);
      machine.files.fail({ code: 'E_IO', operation }, 1);
      await expect(put(journal, 4)).rejects.toMatchObject({ code: 'E_IO' });
      journal.retry();
      await expect(put(journal, 5)).rejects.toMatchObject({ code: 'E_IO' });
      expect(journal.status()).toMatchObject({ state: 'failed', end: at(3), reason: expect.stringContaining('g1') });
    }
  });

  it('for want of space in a flush has failed: nobody knows what was lost', async () => {
    const journal = await open();
    await put(journal, 1);
    machine.files.fail({ code: 'E_NO_SPACE', operation: 'sync' }, 1);
    await expect(put(journal, 2)).rejects.toMatchObject({ code: 'E_IO' });
    expect(journal.state).toBe('failed');
  });

  it('goes on with the other copy, and reports the one it lost', async () => {
    const folders = ['/disk1/log', '/disk2/log'];
    const journal = await open({ folders });
    await put(journal, 1, 3);
    machine.files.fail({ code: 'E_IO', path: '/disk1' });
    await put(journal, 4, 6);
    expect(journal.status()).toMatchObject({
      state: 'open',
      copies: [{ folder: '/disk1/log', dropped: expect.stringContaining('failed') }, { dropped: null }],
    });
    machine.files.heal();
    const again = await restartAfterPowerLoss({ folders });
    expect(again.damages).toEqual([]);
    expect(await shownFrom(again, 0)).toEqual([1, 2, 3, 4, 5, 6]);
    await put(again, 7);
    expect(await shownFrom(await restartAfterPowerLoss({ folders: ['/disk2/log'] }), 0)).toEqual([
      1, 2, 3, 4, 5, 6, 7,
    ]);
  });

  it('reads what has rotted in one copy from the other', async () => {
    const folders = ['/disk1/log', '/disk2/log'];
    const journal = await open({ folders, segmentBytes: 8192 });
    for (let seq = 1; seq <= 10; seq++) await put(journal, seq, seq, 3000);
    process.crash();
    process = machine.start('holdfast');
    for (const path of await pathsOf(world, process, '/disk1/log')) machine.files.corrupt(path);
    const again = await open({ folders });
    expect(again.damages).toEqual([]);
    expect(await shownFrom(again, 0)).toEqual(writes(1, 10).map(({ seq }) => seq));
  });
});

describe('opening', () => {
  it('refuses a log of a newer version in plain words, and one of another group', async () => {
    const journal = await open();
    await put(journal, 1);
    const [path = ''] = await pathsOf(world, process);
    await expect(open({ group: 'g2' })).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: expect.stringContaining('belongs to group g1'),
    });
    const bytes = machine.files.peek(path);
    if (bytes === null) throw new Error('no segment');
    const view = new DataView(bytes.buffer);
    view.setUint32(8, 2, true);
    view.setUint32(508, crc32c(bytes.subarray(0, 508)), true);
    await expect(restart()).rejects.toMatchObject({
      code: 'E_METADATA',
      message: expect.stringContaining('was written by a newer program (format 2; this one knows 1)'),
    });
  });

  it('says that a segment is missing', async () => {
    const journal = await open({ segmentBytes: 8192 });
    for (let seq = 1; seq <= 10; seq++) await put(journal, seq, seq, 3000);
    const paths = await pathsOf(world, process);
    await world.settle(process.environment.files.remove(paths[2] ?? ''));
    const again = await restart();
    expect(again.damages).toMatchObject([
      { segment: 3, reason: 'the segment is missing', after: at(4), upTo: at(6) },
    ]);
    expect(await shownFrom(again, 0)).toEqual([1, 2, 3, 4, 'lost 4…6', 7, 8, 9, 10]);
  });

  it('after a clean stop finds all, and no torn tail', async () => {
    const journal = await open({ synchronous: false });
    await put(journal, 1, 3);
    await world.settle(journal.close());
    await expect(put(journal, 4)).rejects.toMatchObject({ code: 'E_REFUSED' });
    const again = await restartAfterPowerLoss();
    expect([again.end, again.tornTail, again.damages]).toEqual([at(3), false, []]);
  });
});
