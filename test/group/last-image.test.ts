/** What is left of a copy while a resync overwrites it, and what becomes of it when the owner is lost meanwhile (TL-16). */
import { describe, expect, test } from 'vitest';
import type { LegStatus } from '../../src/group/status.ts';
import { imagePathOf } from '../../src/volume/last-image.ts';
import { volumePath } from '../volume/legs.ts';
import { shownLeg } from '../../src/sim/honesty.ts';
import { Nodes, type Node } from './nodes.ts';

const imagePath = imagePathOf(volumePath(0));
const hasImage = ({ process }: Node): boolean => process.machine.disks.has(imagePath);

const refused = (text: string): object => ({
  code: 'E_REFUSED',
  message: expect.stringContaining(text) as string,
});

/** What `at` says of west's copy. */
function told(nodes: Nodes, at: 'east' | 'west'): LegStatus | undefined {
  return shownLeg(nodes.node(at).group, at, 'west');
}

/** West was away while its two first blocks were written anew, the first one back in time to be copied. */
async function away(seed: string, canClone = true): Promise<Nodes> {
  const nodes = new Nodes({ seed });
  for (const name of ['east', 'west']) nodes.start(name);
  nodes.west.process.machine.canClone = canClone;
  await nodes.until(() => nodes.east.group.serving && nodes.classOf('west') === 'inSync');
  await nodes.world.run(5000);
  for (const offset of [0, 512]) expect(await nodes.world.settle(nodes.write(nodes.east, offset, 1))).toBeNull();
  await nodes.world.run(5000);
  nodes.link(false);
  for (const offset of [0, 512]) expect(await nodes.world.settle(nodes.write(nodes.east, offset, 2))).toBeNull();
  return nodes;
}

/** The resync has begun; west's disk takes nothing more, or the first copy only. */
async function inTheMiddle(nodes: Nodes): Promise<void> {
  nodes.disk(nodes.west).hang();
  nodes.link(true);
  await nodes.until(() => nodes.west.group.leg?.metadata.saved?.condition === 'inconsistent');
  await nodes.world.run(1000);
}

/** East is lost while west holds part of what it was sent. */
async function lostInTheMiddle(nodes: Nodes): Promise<void> {
  await inTheMiddle(nodes);
  nodes.end('east', 'crash');
  nodes.disk(nodes.west).unhang();
  await nodes.world.run(1000);
  expect(nodes.disk(nodes.west).cached[0]).toBe(2);
}

describe('the last consistent image of a copy', () => {
  test('TL-16: is kept from the first to the last block of a resync, interruptions or not, and said to be', async () => {
    const nodes = await away('kept');
    expect(hasImage(nodes.west)).toBe(false);
    await inTheMiddle(nodes);
    expect(hasImage(nodes.west)).toBe(true);
    expect(told(nodes, 'east')?.reason).toMatch(
      /; its last consistent image of \d{4}-\d\d-\d\d \d\d:\d\d UTC is kept$/,
    );
    const { image } = nodes.west.group.leg?.state ?? {};
    nodes.link(false);
    nodes.disk(nodes.west).unhang();
    await nodes.world.run(1000);
    expect(told(nodes, 'west')).toMatchObject({
      disk: 'Inconsistent',
      reason: expect.stringContaining('is kept') as string,
      nextStep: expect.stringContaining('--last-consistent') as string,
    });
    nodes.disk(nodes.west).hang();
    nodes.link(true);
    await nodes.until(() => nodes.west.group.target?.owner?.copying === true);
    expect(nodes.west.group.leg?.state.image).toEqual(image);
    nodes.disk(nodes.west).unhang();
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    await nodes.world.run(100);
    expect(hasImage(nodes.west)).toBe(false);
    expect(nodes.west.group.leg?.metadata.saved?.image).toBeNull();
  });

  test('TL-16: is served instead of the copy when the owner is lost; the owner is copied to when it returns', async () => {
    const nodes = await away('promoted');
    for (let at = 1; at < 60; at++) {
      expect(await nodes.world.settle(nodes.write(nodes.east, at * 65536, 2))).toBeNull();
    }
    nodes.disk(nodes.west).slowness = 20_000;
    nodes.link(true);
    // R9: east remembers on its medium that west has come further than the image is.
    const image = (): number => nodes.west.group.leg?.state.image?.position.seq ?? 1e9;
    const confirmed = (): number => nodes.east.group.leg?.metadata.saved?.peers['west']?.confirmed.seq ?? 0;
    for (let step = 0; step < 200 && confirmed() <= image(); step++) {
      expect(await nodes.world.settle(nodes.write(nodes.east, 65536, 3))).toBeNull();
      await nodes.world.run(500);
    }
    expect(confirmed()).toBeGreaterThan(image());
    nodes.disk(nodes.west).slowness = 1;
    await lostInTheMiddle(nodes);
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('--last-consistent'),
    );
    const { loss } = await nodes.world.settle(nodes.west.group.moves.takeOver(false, true));
    expect(loss).toMatchObject({ writes: null, text: expect.stringMatching(/^This is the image of \d/) as string });
    expect(nodes.west.group.serving).toBe(true);
    expect([0, 512].map((offset) => nodes.disk(nodes.west).cached[offset])).toEqual([1, 1]);
    expect(hasImage(nodes.west)).toBe(false);
    nodes.start('east');
    await nodes.until(() => nodes.classOf('east') === 'inSync');
    expect(nodes.west.group.serving).toBe(true);
    expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
    expect(nodes.disk(nodes.east).cached[0]).toBe(1);
  });

  test.each(Array.from({ length: 12 }, (_, at) => at))(
    'TL-16: a crash at moment %i of the take-over leaves the half-copied leg with its image, or all of the image',
    async (afterMs) => {
      const nodes = await away('crash');
      await lostInTheMiddle(nodes);
      await nodes.world.run(20_000);
      const { process } = nodes.west;
      const takingOver = nodes.west.group.moves.takeOver(false, true).catch(() => {});
      void takingOver;
      await nodes.world.runUntil(() => nodes.west.group.leg?.state.image?.state !== 'kept', 20_000);
      await nodes.world.run(afterMs / 2);
      expect(process.alive).toBe(true);
      nodes.end('west', 'powerLoss');
      const west = nodes.start('west');
      await nodes.until(() => west.group.leg !== null);
      if (west.group.leg?.state.condition === 'inconsistent') {
        await nodes.world.run(20_000);
        await nodes.world.settle(west.group.moves.takeOver(false, true));
      } else if (!west.group.serving && west.group.record?.owner !== 'west') {
        await nodes.world.run(20_000);
        await nodes.world.settle(west.group.moves.takeOver(true));
      }
      await nodes.until(() => west.group.serving);
      expect([0, 512].map((offset) => nodes.disk(west).cached[offset])).toEqual([1, 1]);
      expect(hasImage(west)).toBe(false);
    },
  );

  test('TL-16: that cannot be kept is said before the resync, and during it', async () => {
    const nodes = await away('no clones', false);
    expect(told(nodes, 'east')).toMatchObject({
      disk: 'Outdated',
      reason: expect.stringMatching(/no image of it can be kept: the file system cannot clone files$/) as string,
    });
    await nodes.world.run(1000);
    expect(told(nodes, 'west')?.reason).toContain('no image of it can be kept');
    await inTheMiddle(nodes);
    expect(told(nodes, 'east')?.reason).toContain('no image of it is kept: the file system cannot clone files');
    nodes.end('east', 'crash');
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(true, true))).rejects.toMatchObject(
      refused('no image of it is kept: '),
    );
  });

  test('is not made of a copy that restarted and is unconfirmed', async () => {
    const nodes = await away('unconfirmed');
    nodes.end('west', 'powerLoss');
    nodes.start('west');
    await nodes.until(() => nodes.west.group.leg !== null);
    expect(nodes.west.group.leg?.state.condition).toBe('unconfirmed');
    await inTheMiddle(nodes);
    expect(hasImage(nodes.west)).toBe(false);
    expect(told(nodes, 'east')?.reason).toContain('may lack what was not flushed');
  });

  test('is refused for a copy that is one itself', async () => {
    const nodes = await away('needless');
    nodes.end('east', 'crash');
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false, true))).rejects.toMatchObject(
      refused('not Inconsistent'),
    );
  });
});
