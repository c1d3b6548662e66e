import { describe, expect, it } from 'vitest';
import type { BlockFault, Device } from '../../../src/block/device.ts';
import type { SimDisk } from '../../../src/sim/world/disk.ts';
import type { SimProcess } from '../../../src/sim/world/process.ts';
import { World } from '../../../src/sim/world/world.ts';
import { deviceContract } from '../../contract/device.ts';

for (const blockSizeBytes of [512, 4096]) {
  deviceContract(`simulated, blocks of ${blockSizeBytes}`, { showsHoles: true }, async () => {
    const world = new World({ seed: `contract ${blockSizeBytes}` });
    const { devices } = world.machine('east').start('a');
    const open = devices.open({ path: '/d', sizeBytes: 2 << 20, blockSizeBytes, create: true });
    const { device } = await world.settle(open);
    return { device, run: (work) => world.settle(work), dispose: () => Promise.resolve() };
  });
}

const sizeBytes = 64 * 512;

interface Bench {
  readonly world: World;
  readonly process: SimProcess;
  readonly device: Device;
  readonly disk: SimDisk;
  write(sector: number, fill: number, sectors?: number): Promise<BlockFault | null>;
  flush(): Promise<BlockFault | null>;
  read(sector: number): Promise<number>;
}

async function open(world: World, create: boolean): Promise<Bench> {
  const machine = world.machine('east');
  const process = machine.start('a');
  const { device } = await world.settle(process.devices.open({ path: '/d', sizeBytes, blockSizeBytes: 512, create }));
  const disk = machine.disks.get('/d');
  if (disk === undefined) throw new Error('no disk');
  const until = <T>(start: (done: (value: T) => void) => void): Promise<T> => world.settle(new Promise<T>(start));
  return {
    world,
    process,
    device,
    disk,
    write: (sector, fill, sectors = 1) =>
      until((done) => device.write(sector * 512, Buffer.alloc(sectors * 512, fill), done)),
    flush: () => until((done) => device.flush(done)),
    read: async (sector) => {
      const into = Buffer.alloc(512);
      const fault = await until<BlockFault | null>((done) => device.read(sector * 512, into, done));
      if (fault !== null) throw new Error(fault.detail);
      expect(into.every((byte) => byte === into[0])).toBe(true);
      return into[0] ?? -1;
    },
  };
}

/** The same on many seeds; gives what each returned. */
async function onSeeds<T>(count: number, run: (world: World) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let seed = 0; seed < count; seed++) results.push(await run(new World({ seed: `disk ${seed}` })));
  return results;
}

async function afterPowerLoss(world: World): Promise<Bench> {
  world.machine('east').powerLoss();
  world.machine('east').powerOn();
  return open(world, false);
}

describe('SimDisk', () => {
  it('keeps what was flushed through power loss; of the rest each sector is old or new', async () => {
    const seen = await onSeeds(60, async (world) => {
      const before = await open(world, true);
      await before.write(0, 1, 8);
      expect(await before.flush()).toBeNull();
      await before.write(0, 2, 4);
      const after = await afterPowerLoss(world);
      for (let sector = 4; sector < 8; sector++) expect(await after.read(sector)).toBe(1);
      const front: number[] = [];
      for (let sector = 0; sector < 4; sector++) front.push(await after.read(sector));
      return front.join('');
    });
    expect(seen).toContain('1111');
    expect(seen).toContain('2222');
    expect(seen.some((front) => front.includes('1') && front.includes('2'))).toBe(true);
    for (const front of seen) expect(front).toMatch(/^[12]{4}$/);
  });

  it('may keep any unsynced version of a sector, also one that was overwritten since', async () => {
    const seen = await onSeeds(60, async (world) => {
      const before = await open(world, true);
      for (const fill of [1, 2, 3]) await before.write(0, fill);
      return (await afterPowerLoss(world)).read(0);
    });
    expect(new Set(seen)).toEqual(new Set([0, 1, 2, 3]));
  });

  it('does not cover with a flush what completed after the flush started', async () => {
    let writtenFirst = 0;
    const seen = await onSeeds(60, async (world) => {
      const before = await open(world, true);
      await before.write(0, 1);
      const order: string[] = [];
      before.device.flush(() => order.push('flushed'));
      before.device.write(512, Buffer.alloc(512, 2), () => order.push('written'));
      await world.runUntil(() => order.length === 2, 1000);
      const after = await afterPowerLoss(world);
      expect(await after.read(0)).toBe(1);
      if (order[0] !== 'written') return null;
      writtenFirst++;
      return after.read(1);
    });
    expect(writtenFirst).toBeGreaterThan(10);
    expect(new Set(seen)).toEqual(new Set([null, 0, 2]));
  });

  it('keeps everything completed when only the process dies, and any part of what was in flight', async () => {
    const seen = await onSeeds(60, async (world) => {
      const before = await open(world, true);
      await before.write(0, 1, 8);
      before.device.write(4 * 512, Buffer.alloc(4 * 512, 2), () => {});
      before.process.crash();
      const after = await open(world, false);
      for (let sector = 0; sector < 4; sector++) expect(await after.read(sector)).toBe(1);
      return [4, 5, 6, 7].map((sector) => after.disk.cached[sector * 512]).join('');
    });
    for (const part of seen) expect(part).toMatch(/^[12]{4}$/);
    expect(new Set(seen).size).toBeGreaterThan(4);
  });

  it('after a failed flush succeeds at the next, which does not bring back what the first one lost', async () => {
    const seen = await onSeeds(40, async (world) => {
      const before = await open(world, true);
      await before.write(0, 1);
      before.disk.failNext('flush');
      expect((await before.flush())?.kind).toBe('flushFailed');
      expect(await before.flush()).toBeNull();
      expect(await before.read(0)).toBe(1);
      return (await afterPowerLoss(world)).read(0);
    });
    expect(new Set(seen)).toEqual(new Set([0, 1]));
  });

  it('completes disjoint operations in any order, never within the call', async () => {
    const orders = await onSeeds(40, async (world) => {
      const { device } = await open(world, true);
      const order: number[] = [];
      for (let sector = 0; sector < 4; sector++) {
        device.write(sector * 512, Buffer.alloc(512, sector), () => order.push(sector));
        expect(order).toEqual([]);
      }
      await world.runUntil(() => order.length === 4, 1000);
      return order.join('');
    });
    expect(new Set(orders).size).toBeGreaterThan(5);
  });

  it('reports read and write errors, and no space with only a leading part written', async () => {
    const bench = await open(new World({ seed: 'errors' }), true);
    bench.disk.failNext('read');
    await expect(bench.read(0)).rejects.toThrow('EIO: i/o error, read /d');
    expect(await bench.read(0)).toBe(0);
    bench.disk.failNext('write');
    expect((await bench.write(0, 9, 4))?.kind).toBe('writeFailed');
    bench.disk.freeBytes = 1024;
    expect((await bench.write(8, 5, 16))?.kind).toBe('noSpace');
    const written = [...bench.disk.cached.subarray(8 * 512, 24 * 512)].lastIndexOf(5) + 1;
    expect(bench.disk.cached.subarray(8 * 512, 8 * 512 + written).every((byte) => byte === 5)).toBe(true);
    expect(await bench.write(0, 1)).toBeNull();
  });

  it('holds everything back while it hangs', async () => {
    const bench = await open(new World({ seed: 'hang' }), true);
    bench.disk.hang();
    let done = false;
    bench.device.write(0, Buffer.alloc(512, 1), () => (done = true));
    await bench.world.run(100_000);
    expect(done).toBe(false);
    bench.disk.unhang();
    await bench.world.run(10);
    expect(done).toBe(true);
  });

  it('tells holes from data, and punches', async () => {
    const bench = await open(new World({ seed: 'holes' }), true);
    await bench.write(2, 1, 4);
    const { world, device } = bench;
    const zero = (sector: number, space: 'punch' | 'keep'): Promise<BlockFault | null> =>
      world.settle(new Promise((done) => device.zero(sector * 512, 512, space, done)));
    await zero(3, 'punch');
    await zero(10, 'keep');
    const extents = await world.settle(
      new Promise<string>((resolve) =>
        device.allocation(0, 12 * 512, (_fault, found) => {
          resolve(
            found.map(({ offset, length, data }) => `${offset / 512}+${length / 512}${data ? 'd' : 'h'}`).join(' '),
          );
        }),
      ),
    );
    expect(extents).toBe('0+2h 2+1d 3+1h 4+2d 6+4h 10+1d 11+1h');
    expect(await bench.read(3)).toBe(0);
  });

  it('is open in one living process at a time', async () => {
    const world = new World({ seed: 'lock' });
    const bench = await open(world, true);
    const other = world.machine('east').start('b');
    const request = { path: '/d', sizeBytes, blockSizeBytes: 512, create: false };
    await expect(world.settle(other.devices.open(request))).rejects.toMatchObject({ code: 'E_VOLUME_IN_USE' });
    bench.process.crash();
    await world.settle(other.devices.open(request));
    await expect(world.settle(other.devices.open({ ...request, path: '/x' }))).rejects.toMatchObject({
      code: 'E_FILE_MISSING',
    });
  });

  it('is put back as it was yesterday, files and all', async () => {
    const world = new World({ seed: 'yesterday' });
    const machine = world.machine('east');
    const today = await open(world, true);
    await today.write(0, 1);
    await world.settle(today.process.environment.files.write('/f', Buffer.from('old'), { sync: true }));
    today.process.crash();
    const snapshot = machine.snapshot();
    const tomorrow = await open(world, false);
    await tomorrow.write(0, 2);
    await world.settle(tomorrow.process.environment.files.write('/f', Buffer.from('new'), { sync: true }));
    tomorrow.process.crash();
    machine.restore(snapshot);
    expect(await (await open(world, false)).read(0)).toBe(1);
    expect(Buffer.from(machine.files.peek('/f') ?? []).toString()).toBe('old');
  });

  it('rots without a word', async () => {
    const bench = await open(new World({ seed: 'rot' }), true);
    await bench.write(0, 0, 2);
    bench.disk.corrupt(512, 512);
    const bytes = bench.disk.cached.subarray(0, 1024);
    expect(bytes.subarray(0, 512).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(512).filter((byte) => byte !== 0)).toHaveLength(1);
  });
});
