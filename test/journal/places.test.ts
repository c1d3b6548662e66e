/** TL-9: where a log lies: on devices, in two copies, moved, rebuilt, removed. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { Journal, type JournalSettings } from '../../src/journal/journal.ts';
import type { SimMachine } from '../../src/sim/world/machine.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';
import { append, at, makeDevice, pathsOf, settings, shown, shownOnce, write, writes } from './samples.ts';

let world: World;
let machine: SimMachine;
let process: SimProcess;
let seed = 0;

beforeEach(() => begin(`places ${seed++}`));

function begin(name: string): void {
  world = new World({ seed: name });
  machine = world.machine('east');
  process = machine.start('holdfast');
}

const small = { ...settings, segmentBytes: 8192 };
const open = (changes: Partial<JournalSettings> = {}): Promise<Journal> =>
  world.settle(Journal.open(process.environment, { ...small, ...changes }));
const put = async (journal: Journal, from: number, to = from, length = 3000): Promise<void> => {
  for (let seq = from; seq <= to; seq++) await world.settle(append(journal, [write(seq, length)]));
};
const shownFrom = (journal: Journal, seq: number): Promise<(number | string)[]> =>
  world.settle(shownOnce(journal.read(at(seq, seq === 0 ? 0 : 1))));
const upTo = (last: number): number[] => writes(1, last).map(({ seq }) => seq);

async function restart(changes: Partial<JournalSettings> = {}): Promise<Journal> {
  machine.powerLoss();
  machine.powerOn();
  process = machine.start('holdfast');
  return open(changes);
}

const bytesOf = (path: string): Uint8Array => machine.files.peek(path) ?? new Uint8Array(0);

describe('a log on a device', () => {
  const folders = ['/device'];

  it('is read back, with records longer than a slot, and trimmed', async () => {
    await makeDevice(world, process, '/device', 64);
    const journal = await open({ folders });
    await put(journal, 1, 10);
    await put(journal, 11, 11, 30_000);
    const again = await restart({ folders });
    expect([again.end, again.damages, await shownFrom(again, 0)]).toEqual([at(11), [], upTo(11)]);
    again.release(at(9));
    await put(again, 12);
    expect(await shownFrom(again, 9)).toEqual([10, 11, 12]);
  });

  it('uses its slots again and again', async () => {
    await makeDevice(world, process);
    const journal = await open({ folders });
    for (let seq = 1; seq <= 100; seq++) {
      await put(journal, seq);
      journal.release(at(seq));
      await world.run(50);
    }
    expect(await shownFrom(await restart({ folders }), 99)).toEqual([100]);
  });

  it('is full when its slots are, says so in bytes, and goes on when the device was grown', async () => {
    await makeDevice(world, process);
    const journal = await open({ folders });
    expect(journal.status()).toMatchObject({ capacityBytes: 16 * 4096, freeBytes: 16 * 4096 });
    let last = 0;
    await expect(put(journal, 1, 100).finally(() => (last = journal.end.seq))).rejects.toMatchObject({
      code: 'E_NO_SPACE',
      message: expect.stringContaining('all 16 slots of 4 KiB are used'),
    });
    expect(journal.status()).toMatchObject({ state: 'full', freeBytes: 0 });
    const { files } = process.environment;
    const grown = new Uint8Array(1024 * 1024 + 1024 * 512 + 64 * 4096).fill(0x5a);
    grown.set(bytesOf('/device'));
    await world.settle(files.write('/device', grown, { sync: true }));
    journal.retry();
    await put(journal, last + 1, last + 10);
    const again = await restart({ folders });
    expect([again.damages, await shownFrom(again, 0)]).toEqual([[], upTo(last + 10)]);
    expect(again.status().capacityBytes).toBe(64 * 4096);
  });

  it('refuses a device that holds something else, by name, unless it is to be initialised', async () => {
    await makeDevice(world, process);
    const { files } = process.environment;
    const foreign = bytesOf('/device').slice();
    foreign.set([0x53, 0xef], 1080);
    await world.settle(files.write('/device', foreign, { sync: true }));
    const refusal = {
      code: 'E_REFUSED',
      message: expect.stringContaining('/device holds an ext2, ext3 or ext4 file system'),
    };
    await expect(open({ folders })).rejects.toMatchObject(refusal);
    await expect(open({ folders: ['/log', '/device'] })).rejects.toMatchObject(refusal);
    expect(Buffer.compare(bytesOf('/device'), foreign)).toBe(0);
    const journal = await open({ folders, initialise: true });
    await put(journal, 1, 3);
    await world.settle(journal.close());
    expect(await shownFrom(await open({ folders, initialise: true }), 0)).toEqual([1, 2, 3]);
    await expect(open({ folders, initialise: true, group: 'g2' })).rejects.toMatchObject({ code: 'E_REFUSED' });
  });

  it('refuses one that is too small, has shrunk, is of a newer version, or has lost both superblocks', async () => {
    await makeDevice(world, process, '/device', 1);
    await expect(open({ folders })).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: expect.stringContaining('too little'),
    });
    await makeDevice(world, process);
    await put(await open({ folders }), 1);
    const { files } = process.environment;
    const whole = bytesOf('/device').slice();
    const opened = async (bytes: Uint8Array): Promise<Journal> => {
      await world.settle(files.write('/device', bytes, { sync: true }));
      return open({ folders });
    };
    await expect(opened(whole.subarray(0, whole.length - 4096))).rejects.toMatchObject({ code: 'E_REFUSED' });
    const rotten = whole.slice();
    for (const offset of [20, 4096 + 20]) {
      rotten[offset] = (rotten[offset] ?? 0) ^ 1;
      if (offset === 20) expect(await shownFrom(await opened(rotten), 0)).toEqual([1]);
    }
    await expect(opened(rotten)).rejects.toMatchObject({
      code: 'E_METADATA',
      message: expect.stringContaining('damaged'),
    });
  });

  it('does not take a missing device for a folder', async () => {
    await expect(open({ folders: ['/dev/sdz'] })).rejects.toMatchObject({ code: 'E_FILE_MISSING' });
  });

  it('I7: reports what a rotten table hides, and never takes it for the end', async () => {
    await makeDevice(world, process);
    await put(await open({ folders }), 1, 5);
    const whole = bytesOf('/device').slice();
    const table = 1024 * 1024;
    for (let slot = 0; slot < 16; slot++) {
      const isUsed = whole[table + slot * 512] !== 0;
      begin(`rotten table ${slot}`);
      await makeDevice(world, process);
      const rotten = whole.slice();
      rotten[table + slot * 512 + 30] = (rotten[table + slot * 512 + 30] ?? 0) ^ 4;
      await world.settle(process.environment.files.write('/device', rotten, { sync: true }));
      const journal = await open({ folders });
      const reader = journal.read(at(0, 0));
      const found = reader === null ? ['gone'] : await world.settle(shown(reader));
      const isReported = journal.damages.length > 0 || found.some((item) => typeof item === 'string');
      expect([slot, isReported]).toEqual([slot, true]);
      expect([slot, isUsed || JSON.stringify(found.slice(0, 5)) === JSON.stringify(upTo(5))]).toEqual([slot, true]);
      // It has gone on since: what was lost is known, the rest stays.
      await put(journal, 6);
      const again = await restart({ folders });
      expect([slot, await shownFrom(again, journal.segments.at(-1)?.header.after.seq ?? 5)]).toEqual([slot, [6]]);
      expect(again.status().freeBytes).toBeGreaterThan(0);
    }
  });
});

describe.each([
  ['a folder', '/new/log'],
  ['a device', '/device'],
])('TL-9: a log that is moved to %s', (_kind, target) => {
  const prepare = async (): Promise<Journal> => {
    await makeDevice(world, process, '/device', 64);
    const journal = await open();
    await put(journal, 1, 12);
    return journal;
  };

  it('is there afterwards, whole, and nowhere else; readers and writers went on', async () => {
    const journal = await prepare();
    const reader = journal.read(at(2), { aheadBytesMax: 1 });
    const first = await world.settle(reader?.next() ?? Promise.resolve(null));
    expect(first).toMatchObject({ kind: 'records', records: [{ seq: 3 }] });
    const moving = journal.moveTo([target]);
    await put(journal, 13, 20);
    expect(await world.settle(moving)).toEqual([]);
    expect(journal.status().copies).toEqual([{ folder: target, dropped: null }]);
    expect(await pathsOf(world, process)).toEqual([]);
    await put(journal, 21, 22);
    expect(await world.settle(shown(reader))).toEqual(upTo(22).slice(3));
    const again = await restart({ folders: [target] });
    expect([again.damages, await shownFrom(again, 0)]).toEqual([[], upTo(22)]);
  });

  it('I7: is whole whenever it stops in the middle, and is moved on after that', { timeout: 120_000 }, async () => {
    const folders = ['/log', target];
    const anyCut = fc.integer({ min: 1, max: 120 });
    await fc.assert(
      fc.asyncProperty(anyCut, fc.constantFrom('crash', 'power'), fc.nat(1000), async (cutAfter, how, number) => {
        begin(`move ${number}`);
        const journal = await prepare();
        process.crashAfterEffects(cutAfter);
        let promised = 12;
        process.call(() => {
          journal.moveTo([target]).catch(() => {});
          for (let seq = 13; seq <= 20; seq++) {
            journal.append([write(seq, 3000)], (error) => {
              if (error === null) promised = seq;
            });
          }
        });
        await world.run(2000);
        if (how === 'power') {
          machine.powerLoss();
          machine.powerOn();
        } else process.crash();
        process = machine.start('holdfast');
        const again = await open({ folders });
        const found = await shownFrom(again, 0);
        expect(again.damages).toEqual([]);
        expect(found).toEqual(upTo(Math.max(promised, found.length)));
        expect(await world.settle(again.moveTo([target]))).toEqual([]);
        expect(await pathsOf(world, process)).toEqual([]);
        const moved = await restart({ folders: [target] });
        expect([moved.damages, await shownFrom(moved, 0)]).toEqual([[], found]);
      }),
      { numRuns: 80, seed: 1 },
    );
  });

  it('is not moved over another log, nor twice at a time', async () => {
    const journal = await prepare();
    const other = await open({ group: 'g2', folders: [target] });
    await put(other, 1);
    await world.settle(other.close());
    await expect(world.settle(journal.moveTo([target]))).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: expect.stringContaining('another log'),
    });
    const moving = journal.moveTo(['/third']);
    await expect(journal.moveTo(['/log'])).rejects.toMatchObject({ code: 'E_BUSY' });
    await world.settle(moving);
    expect(await shownFrom(journal, 0)).toEqual(upTo(12));
  });

  it('gets a second copy there, which alone is the log, too', async () => {
    const journal = await prepare();
    expect(await world.settle(journal.moveTo(['/log', target]))).toEqual([]);
    await put(journal, 13);
    for (const folder of [target, '/log']) {
      const again = await restart({ folders: [folder] });
      expect([folder, again.damages, await shownFrom(again, 0)]).toEqual([folder, [], upTo(13)]);
      await world.settle(again.close());
    }
  });

  it('has a copy that failed rebuilt there', async () => {
    const folders = ['/log', target];
    await makeDevice(world, process, '/device', 64);
    const journal = await open({ folders });
    await put(journal, 1, 5);
    machine.files.fail({ code: 'E_IO', path: target });
    await put(journal, 6, 9);
    expect(journal.status().copies[1]?.dropped).toContain('failed');
    machine.files.heal();
    expect(await world.settle(journal.moveTo(folders))).toEqual([]);
    expect(journal.status().copies).toEqual(folders.map((folder) => ({ folder, dropped: null })));
    await put(journal, 10, 12);
    expect(await shownFrom(await restart({ folders: [target] }), 0)).toEqual(upTo(12));
  });

  it('is removed from there, and nothing else is', async () => {
    await makeDevice(world, process);
    const journal = await open({ folders: ['/log', target] });
    await put(journal, 1, 5);
    const { files } = process.environment;
    await world.settle(files.write('/log/mine', new Uint8Array(3), { sync: true }));
    await world.settle(journal.remove());
    expect(await pathsOf(world, process)).toEqual(['/log/mine']);
    await expect(put(journal, 100)).rejects.toMatchObject({ code: 'E_REFUSED' });
    const again = await restart({ folders: [target] });
    expect([again.segments, again.end]).toEqual([[], at(0, 0)]);
  });
});

/** Cut off by a crash or by power loss `cutAfter` effects into `work`. */
async function cutOff(work: () => void, cutAfter: number, how: 'crash' | 'power'): Promise<void> {
  process.crashAfterEffects(cutAfter);
  process.call(work);
  await world.run(2000);
  if (how === 'power') {
    machine.powerLoss();
    machine.powerOn();
  } else process.crash();
  process = machine.start('holdfast');
}

const anyHow = fc.constantFrom<'crash' | 'power'>('crash', 'power');

it.each([['/log'], ['/device']])(
  'I7: a log in %s whose removal was cut off is one that begins later',
  async (folder) => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), anyHow, fc.nat(1000), async (cutAfter, how, number) => {
        begin(`removal ${number}`);
        await makeDevice(world, process, '/device', 32);
        const journal = await open({ folders: [folder] });
        await put(journal, 1, 10);
        await cutOff(() => void journal.remove().catch(() => {}), cutAfter, how);
        const again = await open({ folders: [folder] });
        const after = again.status().start.seq;
        expect(again.damages).toEqual([]);
        expect(await shownFrom(again, after)).toEqual(upTo(again.end.seq).slice(after));
        await world.settle(again.remove());
        expect((await open({ folders: [folder] })).segments).toEqual([]);
      }),
      { numRuns: 40, seed: 1 },
    );
  },
);

it('I7: a device that was growing when all stopped has lost nothing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 30 }), anyHow, fc.nat(1000), async (cutAfter, how, number) => {
      begin(`growing ${number}`);
      await makeDevice(world, process, '/device', 8);
      const folders = ['/device'];
      const journal = await open({ folders });
      await put(journal, 1, 100).catch(() => {});
      const last = journal.end.seq;
      const { files } = process.environment;
      const grown = new Uint8Array(2 * 1024 * 1024).fill(0x5a);
      grown.set(bytesOf('/device'));
      await world.settle(files.write('/device', grown, { sync: true }));
      let promised = last;
      const appendAll = (): void => {
        journal.retry();
        for (let seq = last + 1; seq <= last + 6; seq++) {
          journal.append([write(seq, 3000)], (error) => {
            if (error === null) promised = seq;
          });
        }
      };
      await cutOff(appendAll, cutAfter, how);
      const again = await open({ folders });
      const found = await shownFrom(again, 0);
      expect([again.damages, found]).toEqual([[], upTo(Math.max(promised, found.length))]);
      again.release(at(again.end.seq - 1));
      await put(again, again.end.seq + 1, again.end.seq + 3);
    }),
    { numRuns: 40, seed: 1 },
  );
});

it('TL-9: a move to a place without space is refused, and leaves the log usable', async () => {
  await makeDevice(world, process);
  const journal = await open();
  await put(journal, 1, 40);
  await expect(world.settle(journal.moveTo(['/device']))).rejects.toMatchObject({ code: 'E_NO_SPACE' });
  expect(await shownFrom(journal, 0)).toEqual(upTo(40));
  journal.retry();
  expect(await world.settle(journal.moveTo(['/third']))).toEqual([]);
  await put(journal, 41);
  expect(await shownFrom(await restart({ folders: ['/third'] }), 0)).toEqual(upTo(41));
});

it('TL-9: what is released while a log is moved goes, too', async () => {
  const journal = await open();
  await put(journal, 1, 30);
  const moving = journal.moveTo(['/new/log']);
  await world.runUntil(() => machine.files.peek('/new/log/segment-0000000000000001.log.new') !== null, 1000);
  journal.release(at(30));
  await world.settle(moving);
  await world.run(1000);
  expect(journal.segments).toHaveLength(1);
  expect(await pathsOf(world, process, '/new/log')).toHaveLength(1);
});

it('TL-9: a copy that returns after a while hides nothing, and reports nothing that was released as lost', async () => {
  const folders = ['/disk1/log', '/disk2/log'];
  const journal = await open({ folders });
  await put(journal, 1, 3);
  machine.files.fail({ code: 'E_IO', path: '/disk1' });
  await put(journal, 4, 12);
  journal.release(at(9));
  await world.run(1000);
  machine.files.heal();
  const again = await restart({ folders });
  expect([again.damages, again.read(at(1)), await shownFrom(again, 9)]).toEqual([[], null, [10, 11, 12]]);
  expect(await pathsOf(world, process, '/disk1/log')).toEqual([]);
});

it('TL-9, BY-2: rot in a copy is found by looking, and mended from the other', async () => {
  await makeDevice(world, process, '/device', 64);
  const folders = ['/log', '/device'];
  const journal = await open({ folders });
  await put(journal, 1, 10);
  const [, second = '', third = ''] = await pathsOf(world, process);
  machine.files.corrupt(second);
  machine.files.corrupt(third);
  expect(await world.settle(journal.verify())).toEqual([]);
  expect(await shownFrom(await restart({ folders: ['/log'] }), 0)).toEqual(upTo(10));
});

it('TL-9: rot that no copy can mend is reported, and stays reported after a move', async () => {
  const journal = await open();
  await put(journal, 1, 10);
  const [, second = ''] = await pathsOf(world, process);
  machine.files.corrupt(second);
  const lost = expect.objectContaining({ segment: 2, after: at(2), upTo: at(4) }) as unknown;
  expect(await world.settle(journal.verify())).toContainEqual(lost);
  expect(await world.settle(journal.moveTo(['/new/log']))).toContainEqual(lost);
  const again = await restart({ folders: ['/new/log'] });
  expect(await shownFrom(again, 0)).toContain('lost 2…4');
});
