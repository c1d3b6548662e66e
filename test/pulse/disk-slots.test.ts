/** Heartbeat mirrors' share of the thread pool: hung disks, and what becomes of the mirrors on others. */
import { beforeEach, describe, expect, test } from 'vitest';
import type { Environment } from '../../src/base/environment.ts';
import type { FileHandle, Files } from '../../src/base/files.ts';
import { DiskSlots, diskSlotsMax } from '../../src/pulse/disk-slots.ts';
import { MirrorVolume, type WriteOutcome } from '../../src/pulse/mirror-volume.ts';
import { World } from '../../src/sim/world/world.ts';

const limitMs = 1000;

/** The disks of one process: what is asked of a hanging one is answered when it hangs no more. */
class Disks {
  readonly hanging = new Set<string>();
  underWay = 0;
  underWayMost = 0;
  readonly #waiting: (() => void)[] = [];

  around(files: Files): Files {
    const work = async <Result>(path: string, begin: () => Promise<Result>): Promise<Result> => {
      this.underWayMost = Math.max(this.underWayMost, ++this.underWay);
      if (this.hanging.has(path)) await new Promise<void>((go) => this.#waiting.push(go));
      return begin().finally(() => this.underWay--);
    };
    const open = async (path: string): Promise<FileHandle> => {
      const handle = await work(path, () => files.open(path));
      return {
        readAt: (offset, length) => work(path, () => handle.readAt(offset, length)),
        writeAt: (offset, data) => work(path, () => handle.writeAt(offset, data)),
        sync: () => work(`${path} flush`, () => handle.sync()),
        close: () => work(path, () => handle.close()),
      };
    };
    const makeFolder = (path: string): Promise<void> => files.makeFolder(path);
    return Object.assign(Object.create(files) as Files, { open, makeFolder, openRaw: () => Promise.resolve(null) });
  }

  mend(): void {
    this.hanging.clear();
    for (const go of this.#waiting.splice(0)) go();
  }
}

describe('all volumes of a process together', () => {
  let world: World;
  let disks: Disks;
  let environment: Environment;
  let volumes: MirrorVolume[];
  /** Of the last message written to each. */
  let outcomes: (WriteOutcome['kind'] | null)[];

  beforeEach(async () => {
    world = new World({ seed: 'slots' });
    ({ environment } = world.machine('east').start('node'));
    disks = new Disks();
    const slots = new DiskSlots();
    const files = disks.around(environment.files);
    volumes = ['a', 'b', 'c', 'd'].map(
      (name) => new MirrorVolume({ clock: environment.clock, files }, { path: `/${name}`, limitMs, slots }, () => {}),
    );
    outcomes = volumes.map(() => null);
    await beat(1);
  });

  /** A message to each volume, every 200 ms. */
  async function beat(count: number): Promise<void> {
    for (let number = 0; number < count; number++) {
      for (const [index, volume] of volumes.entries())
        volume.write('message', Buffer.from('beat'), ({ kind }) => void (outcomes[index] = kind));
      await world.run(200);
    }
  }

  test('take their turns at two slots, and every one is written with each beat', async () => {
    await beat(50);
    expect(volumes.map((volume) => volume.newest('message')?.sequence)).toEqual([51, 51, 51, 51]);
    expect(volumes.map(({ skipped }) => skipped)).toEqual([0, 0, 0, 0]);
    expect(disks.underWayMost).toBe(diskSlotsMax);
  });

  test('one disk that hangs takes no turn from the others', async () => {
    disks.hanging.add('/a');
    await beat(20);
    expect(volumes.map(({ problem }) => problem)).toEqual([expect.stringMatching(/not answered/), null, null, null]);
    expect(outcomes).toEqual(['failed', 'written', 'written', 'written']);
    expect(volumes[1]?.newest('message')?.sequence).toBe(21);
  });

  test('two that hang hold two slots for ever, and no third; what is on other disks is skipped, and says so', async () => {
    disks.hanging.add('/a').add('/b');
    await beat(50);
    expect(disks.underWay).toBe(diskSlotsMax);
    expect(disks.underWayMost).toBe(diskSlotsMax);
    const [, , quick] = volumes;
    expect(quick?.skipped).toBeGreaterThan(40);
    expect(quick?.problem).toMatch(/other disks hang: no turn for 1000 ms/);
  });

  test('the wait for a slot counts in the time limit of the volume, and ends when a slot is free', async () => {
    disks.hanging.add('/a').add('/b');
    await beat(4);
    expect(volumes[2]?.problem).toBeNull();
    await beat(2);
    expect(volumes[2]?.problem).not.toBeNull();
    disks.mend();
    await beat(2);
    expect(volumes.map(({ problem }) => problem)).toEqual([null, null, null, null]);
    expect(outcomes).toEqual(['written', 'written', 'written', 'written']);
  });

  test('a disk whose flushes hang, and then its writes, holds one slot', async () => {
    disks.hanging.add('/a flush');
    await beat(40);
    expect(volumes[0]?.problem).toMatch(/not answered/);
    disks.hanging.add('/a');
    await beat(20);
    expect(disks.underWay).toBe(1);
    expect(outcomes).toEqual(['failed', 'written', 'written', 'written']);
    disks.mend();
    await beat(20);
    expect(volumes[0]?.problem).toBeNull();
  });
});

test('there is one flush at a time, begun when no write waits', () => {
  const slots = new DiskSlots();
  const begun: string[] = [];
  const leaves = new Map<string, () => void>();
  const begin = (name: string) => (leave: () => void) => {
    begun.push(name);
    leaves.set(name, leave);
  };
  for (const name of ['w1', 'w2', 'w3']) slots.enter(begin(name));
  for (const name of ['f1', 'f2']) slots.enterToFlush(begin(name));
  expect(begun).toEqual(['w1', 'w2']);
  leaves.get('w1')?.();
  expect(begun).toEqual(['w1', 'w2', 'w3']);
  leaves.get('w2')?.();
  leaves.get('w3')?.();
  expect(begun).toEqual(['w1', 'w2', 'w3', 'f1']);
  leaves.get('f1')?.();
  expect(begun).toEqual(['w1', 'w2', 'w3', 'f1', 'f2']);
});
