import { describe, expect, test } from 'vitest';
import { childOf } from '../../src/stream/position.ts';
import { diskOf, MiB } from '../volume/legs.ts';
import { firstLineage, Pair } from './pair.ts';

const forkImage = '/forks/g1-generation-1-volume-0.img';

/** West went on by itself in generation 1 beyond the point where generation 2 had left it; it is overwritten now. */
async function forked(room: boolean): Promise<Pair> {
  const pair = await Pair.make({ seed: 'fork' });
  await pair.sync();
  await pair.settle(pair.write(0, 1, 4096));
  await pair.settle(pair.write(MiB, 2, 4096));
  const branch = pair.owner.last.seq;
  // What west wrote as owner, and no one else has.
  pair.ends?.east.close('cut');
  const { leg } = pair.west;
  const own = new Promise<void>((resolve) =>
    leg.device(0).write(MiB, new Uint8Array(4096).fill(77), () => resolve()),
  );
  await pair.settle(own);
  leg.applied = leg.intended = { generation: 1, seq: branch + 1 };
  leg.metadata.changePeer('east', { known: true });
  leg.bitsFor('east').get(0)?.set(MiB, 4096);
  if (!room) {
    const process = pair.west.process;
    const { device } = await pair.settle(
      process.devices.open({ path: forkImage, sizeBytes: 4 * MiB, blockSizeBytes: 512, create: true }),
    );
    await pair.settle(device.close());
    diskOf(process, forkImage).freeBytes = 0;
  }
  await pair.newGeneration(childOf(firstLineage, branch, 2, 'b'));
  pair.joined('behind');
  pair.connect();
  await pair.until(() => pair.source.complete);
  return pair;
}

describe('a fork', () => {
  test('is overwritten by the resync, what it held before is kept in an image at the offsets it had', async () => {
    const pair = await forked(true);
    expect(pair.difference()).toBeNull();
    const image = diskOf(pair.west.process, forkImage);
    expect([image.cached[MiB], image.cached[MiB + 4095], image.cached[0]]).toEqual([77, 77, 0]);
    expect(image.durable[MiB]).toBe(77);
    expect(pair.west.leg.metadata.saved?.forks).toEqual([
      expect.objectContaining({ generation: 1, leftAtSeq: 2, extents: 1, image: '/forks/g1-generation-1-*.img' }),
    ]);
  });

  test('without room for its image is overwritten all the same, and reported without one', async () => {
    const pair = await forked(false);
    expect(pair.difference()).toBeNull();
    expect(pair.west.leg.metadata.saved?.forks).toEqual([
      expect.objectContaining({ generation: 1, leftAtSeq: 2, image: null }),
    ]);
  });
});
