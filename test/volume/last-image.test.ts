/** The clones beside a leg's volumes, and how they take their places (TL-16). */
import { describe, expect, test } from 'vitest';
import { World } from '../../src/sim/world/world.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { imagePathOf, LastImage } from '../../src/volume/last-image.ts';
import type { LocalLeg } from '../../src/volume/local-leg.ts';
import { diskOf, openLeg, volumeEntry, volumePath } from './legs.ts';

const volumes = [volumeEntry(0), volumeEntry(1)];
const lineage = { generation: 1, id: 'a', ancestors: [{ generation: 0, id: '', leftAtSeq: 0 }] };
const position = { generation: 1, seq: 7 };

function fill(process: SimProcess, leg: LocalLeg, byte: number): Promise<unknown> {
  const writes = volumes.map(
    ({ index }) => new Promise((done) => leg.device(index).write(0, new Uint8Array(512).fill(byte), done)),
  );
  return process.world.settle(Promise.all(writes));
}

const contents = (process: SimProcess): unknown[] =>
  volumes.map(({ index }) => diskOf(process, volumePath(index)).cached[0]);
const images = (process: SimProcess): boolean[] =>
  volumes.map(({ index }) => process.machine.disks.has(imagePathOf(volumePath(index))));

/** A leg that was 1 everywhere when a resync began, which has written 2 over it. */
async function beingCopiedTo(seed: string): Promise<{ process: SimProcess; leg: LocalLeg; image: LastImage }> {
  const world = new World({ seed });
  const process = world.machine('west').start('holdfast');
  const leg = await openLeg(process, { volumes });
  leg.metadata.change({ lineage, durable: position, peers: { east: { known: true, confirmed: position } } });
  leg.applied = position;
  leg.intended = position;
  await fill(process, leg, 1);
  const image = imageOf(process, leg);
  await world.settle(image.begin());
  const kept = await world.settle(image.keep(() => true));
  leg.metadata.change({ condition: 'inconsistent', image: kept, durable: { generation: 2, seq: 3 } });
  await world.settle(leg.save());
  await fill(process, leg, 2);
  return { process, leg, image };
}

function imageOf({ environment, devices }: SimProcess, leg: LocalLeg): LastImage {
  return new LastImage({ environment, devices, leg });
}

describe('the last image of a leg', () => {
  test('takes the places of all volumes when the leg is opened next, exact, with nothing known of others any more', async () => {
    const { process, leg, image } = await beingCopiedTo('promoted');
    await process.world.settle(image.promote());
    expect(contents(process)).toEqual([2, 2]);
    await process.world.settle(leg.close());
    const opened = await openLeg(process, { volumes });
    expect(contents(process)).toEqual([1, 1]);
    expect(images(process)).toEqual([false, false]);
    expect(opened.state).toMatchObject({ condition: 'consistent', lineage, image: { state: 'promoted' } });
    expect(opened.state.peers['east']).toEqual({ known: false, confirmed: position });
    expect(opened).toMatchObject({ applied: position, intended: position, held: true });
  });

  test('takes them all, wherever the power fails in between', async () => {
    let interrupted = 0;
    for (let step = 0; step < 40; step++) {
      const { process, leg, image } = await beingCopiedTo('crash');
      await process.world.settle(image.promote());
      await process.world.settle(leg.close());
      const { machine, world } = process;
      void openLeg(process, { volumes }).catch(() => {});
      await world.run(step / 8);
      if (images(process)[0] !== images(process)[1]) interrupted++;
      machine.powerLoss();
      machine.powerOn();
      const next = machine.start('holdfast');
      const opened = await openLeg(next, { volumes });
      expect(contents(next)).toEqual([1, 1]);
      expect(opened.state.lineage).toEqual(lineage);
    }
    expect(interrupted).toBeGreaterThan(0);
  });

  test('is not put in place when it is not whole', async () => {
    const { process, leg, image } = await beingCopiedTo('partly');
    process.machine.disks.delete(imagePathOf(volumePath(1)));
    await expect(process.world.settle(image.promote())).rejects.toMatchObject({ code: 'E_FILE_MISSING' });
    expect(leg.state.image?.state).toBe('kept');
    await process.world.settle(leg.addVolume(volumeEntry(2)));
    await expect(process.world.settle(image.promote())).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: expect.stringContaining('vol2 is newer') as string,
    });
  });

  test('that the metadata does not tell of goes when the leg is opened', async () => {
    const { process, leg, image } = await beingCopiedTo('rubbish');
    expect(images(process)).toEqual([true, true]);
    await process.world.settle(image.begin());
    expect(images(process)).toEqual([true, true]);
    leg.metadata.change({ condition: 'consistent', image: null });
    await process.world.settle(imageOf(process, leg).begin());
    expect(images(process)).toEqual([false, false]);
  });

  test('is not begun for a resync that does not begin', async () => {
    const { process, leg, image } = await beingCopiedTo('unwanted');
    leg.metadata.change({ condition: 'consistent', image: null });
    expect(await process.world.settle(image.keep(() => false))).toBeNull();
    expect(images(process)).toEqual([false, false]);
  });

  test('is not kept of a leg that holds part of what it could not store', async () => {
    const { process, leg, image } = await beingCopiedTo('part');
    leg.metadata.change({ condition: 'consistent', image: null });
    leg.intended = { generation: 1, seq: 9 };
    expect(await process.world.settle(image.keep(() => true))).toBeNull();
    expect(image.words).toBe('no image of it is kept: it holds part of what it could not store');
  });
});
