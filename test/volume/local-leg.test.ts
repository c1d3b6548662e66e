import { describe, expect, test } from 'vitest';
import type { BlockFault } from '../../src/block/device.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';
import type { Position } from '../../src/stream/position.ts';
import type { LocalLeg } from '../../src/volume/local-leg.ts';
import { diskOf, legOptions, MiB, openLeg, volumeEntry, volumePath } from './legs.ts';

const at = (seq: number, generation = 1): Position => ({ generation, seq });

async function writeOn(process: SimProcess, leg: LocalLeg, offset: number, fill: number): Promise<void> {
  const write = new Promise<BlockFault | null>((resolve) => {
    leg.device(0).write(offset, new Uint8Array(512).fill(fill), resolve);
  });
  expect(await process.world.settle(write)).toBeNull();
}

/** A leg whose cursor and metadata say that it has applied and made durable so much, and its process. */
async function legAt(
  world: World,
  progress: { durable: number; applied: number; intended: number },
): Promise<{ process: SimProcess; leg: LocalLeg }> {
  const process = world.machine('east').start('a');
  const leg = await openLeg(process);
  leg.metadata.change({ lineage: { generation: 1, id: 'a', ancestors: [] } });
  expect(await world.settle(leg.checkpoint(at(progress.durable)))).toBe(true);
  leg.applied = at(progress.applied);
  leg.intended = at(progress.intended);
  expect(await world.settle(leg.writeCursor())).toBe(true);
  return { process, leg };
}

async function stopCleanly(world: World, leg: LocalLeg): Promise<void> {
  leg.metadata.change({ clean: true });
  await world.settle(leg.saveBits());
  await world.settle(leg.close());
}

interface Start {
  readonly after: string;
  readonly progress: { durable: number; applied: number; intended: number };
  readonly end: (world: World, process: SimProcess, leg: LocalLeg) => void | Promise<void>;
  readonly then: { applied: number; intended: number; held: boolean; condition: string };
}

const powerLoss = (_: World, { machine }: SimProcess): void => {
  machine.powerLoss();
  machine.powerOn();
};

const starts: Start[] = [
  {
    after: 'a clean stop',
    progress: { durable: 7, applied: 7, intended: 7 },
    end: async (world, process, leg) => {
      await stopCleanly(world, leg);
      process.exit();
    },
    then: { applied: 7, intended: 7, held: true, condition: 'consistent' },
  },
  {
    after: 'a clean stop and loss of power',
    progress: { durable: 7, applied: 7, intended: 7 },
    end: async (world, process, leg) => {
      await stopCleanly(world, leg);
      powerLoss(world, process);
    },
    then: { applied: 7, intended: 7, held: true, condition: 'consistent' },
  },
  {
    after: 'a crash with nothing under way',
    progress: { durable: 4, applied: 7, intended: 7 },
    end: (_, process) => process.crash(),
    then: { applied: 7, intended: 7, held: true, condition: 'consistent' },
  },
  {
    after: 'a crash with records under way',
    progress: { durable: 4, applied: 7, intended: 9 },
    end: (_, process) => process.crash(),
    then: { applied: 7, intended: 9, held: true, condition: 'unconfirmed' },
  },
  {
    after: 'loss of power',
    progress: { durable: 4, applied: 7, intended: 7 },
    end: powerLoss,
    then: { applied: 4, intended: 4, held: false, condition: 'unconfirmed' },
  },
  {
    after: 'a crash after a failed flush',
    progress: { durable: 4, applied: 7, intended: 7 },
    end: async (world, process, leg) => {
      diskOf(process, volumePath(0)).failNext('flush');
      expect(await world.settle(leg.flush())).toBe(false);
      await world.run(100);
      process.crash();
    },
    then: { applied: 4, intended: 4, held: false, condition: 'unconfirmed' },
  },
  {
    after: 'a crash that took the cursor along',
    progress: { durable: 4, applied: 7, intended: 7 },
    end: (_, process) => {
      process.crash();
      process.machine.disks.delete('/data/g1/cursor');
    },
    then: { applied: 4, intended: 4, held: false, condition: 'unconfirmed' },
  },
];

describe('a local leg when it is opened', () => {
  test.each(starts)('R6: after $after stands at $then', async ({ progress, end, then }) => {
    const world = new World({ seed: 'start' });
    const { process, leg } = await legAt(world, progress);
    await end(world, process, leg);
    const found = await openLeg(world.machine('east').start('b'));
    const { applied, intended, held, state } = found;
    expect({ applied, intended, held, condition: state.condition }).toEqual({
      ...then,
      applied: at(then.applied),
      intended: at(then.intended),
    });
    expect(state.clean).toBe(false);
  });

  test('R6: power lost once is remembered through a second crash on the new kernel', async () => {
    const world = new World({ seed: 'twice' });
    const { process } = await legAt(world, { durable: 4, applied: 7, intended: 7 });
    powerLoss(world, process);
    const second = world.machine('east').start('b');
    await openLeg(second);
    second.crash();
    const third = await openLeg(world.machine('east').start('c'));
    expect([third.applied, third.held, third.state.condition]).toEqual([at(4), false, 'unconfirmed']);
  });

  test('R6: once its cursor is trusted again, a crash on the same kernel costs nothing', async () => {
    const world = new World({ seed: 'trust' });
    const { process } = await legAt(world, { durable: 4, applied: 7, intended: 7 });
    powerLoss(world, process);
    const second = world.machine('east').start('b');
    const leg = await openLeg(second);
    leg.applied = leg.intended = at(9);
    expect(await world.settle(leg.trustCursor())).toBe(true);
    second.crash();
    const third = await openLeg(world.machine('east').start('c'));
    expect([third.applied, third.held]).toEqual([at(9), true]);
  });

  test('I11: in the middle of a copy it stays inconsistent, whatever happened', async () => {
    for (const end of [powerLoss, (_: World, process: SimProcess): void => process.crash()]) {
      const world = new World({ seed: 'inconsistent' });
      const { process, leg } = await legAt(world, { durable: 4, applied: 7, intended: 9 });
      leg.metadata.change({ condition: 'inconsistent' });
      await world.settle(leg.save());
      end(world, process);
      expect((await openLeg(world.machine('east').start('b'))).state.condition).toBe('inconsistent');
    }
  });

  test('a fresh leg is blank; one whose files were there before is not', async () => {
    const world = new World({ seed: 'blank' });
    const process = world.machine('east').start('a');
    const path = volumePath(0);
    const { device } = await world.settle(
      process.devices.open({ path, sizeBytes: 8 * MiB, blockSizeBytes: 512, create: true }),
    );
    await world.settle(device.close());
    expect((await openLeg(process)).blank).toBe(false);
    expect((await openLeg(world.machine('west').start('a'))).blank).toBe(true);
  });

  test('a volume that vanished is not made anew', async () => {
    const world = new World({ seed: 'vanished' });
    const { process } = await legAt(world, { durable: 4, applied: 7, intended: 7 });
    process.crash();
    process.machine.disks.delete(volumePath(0));
    await expect(openLeg(world.machine('east').start('b'))).rejects.toMatchObject({
      code: 'E_FILE_MISSING',
      message: expect.stringContaining('volume vol0: ') as string,
    });
  });

  test('one that cannot be opened leaves nothing open, and says which volume it is about', async () => {
    const world = new World({ seed: 'size' });
    const first = world.machine('east').start('a');
    const leg = await openLeg(first, { volumes: [volumeEntry(0), volumeEntry(1)] });
    await world.settle(leg.close());
    const larger = [volumeEntry(0), volumeEntry(1, 16 * MiB)];
    await expect(openLeg(first, { volumes: larger })).rejects.toMatchObject({
      code: 'E_VOLUME_SIZE',
      message: expect.stringContaining('volume vol1: ') as string,
    });
    const again = await openLeg(first, { volumes: [volumeEntry(0), volumeEntry(1)] });
    expect([...again.volumes].map(({ entry }) => entry.name)).toEqual(['vol0', 'vol1']);
    await expect(openLeg(world.machine('east').start('b'))).rejects.toMatchObject({ code: 'E_VOLUME_IN_USE' });
  });
});

describe('a local leg at work', () => {
  test('R5: durable moves only after a flush that covers it, and survives loss of power then', async () => {
    const world = new World({ seed: 'durable' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 7, intended: 7 });
    await writeOn(process, leg, 0, 7);
    expect(await world.settle(leg.checkpoint(at(7)))).toBe(true);
    expect(diskOf(process, volumePath(0)).durable[0]).toBe(7);
    expect(await world.settle(leg.checkpoint(at(5)))).toBe(true);
    expect(leg.state.durable).toEqual(at(7));
    powerLoss(world, process);
    expect((await openLeg(world.machine('east').start('b'))).state.durable).toEqual(at(7));
  });

  test('R10: a flush that failed moves nothing, fails the leg for good, and is told once', async () => {
    const world = new World({ seed: 'flush' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 7, intended: 7 });
    const told: string[] = [];
    leg.onFault = ({ kind }) => told.push(kind);
    diskOf(process, volumePath(0)).failNext('flush');
    expect(await world.settle(leg.checkpoint(at(7)))).toBe(false);
    expect(await world.settle(leg.checkpoint(at(7)))).toBe(false);
    expect([leg.state.durable, told, leg.fault?.kind]).toEqual([at(4), ['flushFailed'], 'flushFailed']);
  });

  test('R12: the highest generation seen is on the medium when it resolves, and never goes back', async () => {
    const world = new World({ seed: 'seen' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 7, intended: 7 });
    await world.settle(leg.see(5, 'e'));
    await world.settle(leg.see(3, 'c'));
    powerLoss(world, process);
    const again = await openLeg(world.machine('east').start('b'));
    expect(again.state.seen).toEqual({ generation: 5, id: 'e' });
  });

  test('R9: change bits are saved together with what was not confirmed, and stay apart in memory', async () => {
    const world = new World({ seed: 'bits' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 4, intended: 4 });
    leg.bitsFor('west').get(0)?.set(0, 1);
    leg
      .unconfirmedFor('west')
      .get(0)
      ?.set(4 * MiB, 1);
    await world.settle(leg.saveBits());
    expect(
      leg
        .bitsFor('west')
        .get(0)
        ?.overlaps(4 * MiB, 1),
    ).toBe(false);
    process.crash();
    const again = await openLeg(world.machine('east').start('b'));
    const bits = again.bitsFor('west').get(0);
    expect([bits?.overlaps(0, 1), bits?.overlaps(MiB, MiB), bits?.overlaps(4 * MiB, 1)]).toEqual([true, false, true]);
    expect(again.unconfirmedFor('west').get(0)?.isEmpty()).toBe(true);
  });

  test('R7: hot regions are found again after a crash', async () => {
    const world = new World({ seed: 'hot' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 4, intended: 4 });
    const record = {
      kind: 'write',
      generation: 1,
      epoch: 5,
      seq: 5,
      volume: 0,
      offset: 5 * MiB,
      length: 512,
    } as const;
    const hot = new Promise<void>((resolve) => {
      leg.hot.admit({ ...record, hole: false, data: new Uint8Array(512), checksum: 0 }, resolve);
    });
    await world.settle(hot);
    powerLoss(world, process);
    const again = await openLeg(world.machine('east').start('b'));
    expect([...again.hot.extents()]).toEqual([{ volume: 0, offset: 4 * MiB, length: 4 * MiB }]);
  });

  test('saves that come while one is under way share the next, which has all of theirs', async () => {
    const world = new World({ seed: 'saves' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 4, intended: 4 });
    const before = process.effects;
    const saves: Promise<void>[] = [];
    for (let generation = 2; generation < 12; generation++) saves.push(leg.see(generation, `${generation}`));
    await world.settle(Promise.all(saves));
    expect(leg.metadata.saved?.seen).toEqual({ generation: 11, id: '11' });
    // Each save writes and syncs.
    expect(process.effects - before).toBeLessThanOrEqual(4);
  });

  test('metadata that cannot be saved is trouble, shown until a save succeeds again', async () => {
    const world = new World({ seed: 'trouble' });
    const { process, leg } = await legAt(world, { durable: 4, applied: 4, intended: 4 });
    process.machine.files.fail({ operation: 'write', path: '/data/g1/leg', code: 'E_IO' }, 1);
    await expect(world.settle(leg.see(9, 'i'))).rejects.toMatchObject({ code: 'E_IO' });
    expect(leg.trouble).toContain('/data/g1/leg');
    expect(leg.metadata.saved?.seen.generation).toBe(0);
    await world.settle(leg.save());
    expect(leg.trouble).toBeNull();
    expect(leg.metadata.saved?.seen.generation).toBe(9);
  });

  test('volumes come and go; a new one is to be copied whole to legs there are', async () => {
    const world = new World({ seed: 'volumes' });
    const process = world.machine('east').start('a');
    const leg = await openLeg(process);
    leg.bitsFor('west');
    await world.settle(leg.addVolume(volumeEntry(1, MiB)));
    expect(leg.bitsFor('west').get(1)?.setBytes).toBe(MiB);
    expect(leg.bitsFor('west').get(0)?.isEmpty()).toBe(true);
    await world.settle(leg.removeVolume(1));
    expect([leg.has(1), leg.bitsFor('west').has(1)]).toEqual([false, false]);
    expect(leg.metadata.saved?.volumes.map(({ index }) => index)).toEqual([0]);
    expect(() => leg.device(1)).toThrow('no volume 1');
  });

  test('after closing, another process may open it', async () => {
    const world = new World({ seed: 'close' });
    const process = world.machine('east').start('a');
    const leg = await openLeg(process);
    await world.settle(leg.close());
    const options = legOptions(world.machine('east').start('b'));
    expect((await openLeg(process)).group).toBe(options.group);
  });
});
