/** A full copy of more than may be hot at once (R5): a target in pieces has no position that lets its regions cool. */
import { expect, test } from 'vitest';
import { MiB } from '../volume/legs.ts';
import { Nodes } from './nodes.ts';

test('R5: a full copy of more regions than may be hot comes to its end', async () => {
  const settings = { hotRegionsMax: 16, graceMs: 500 };
  const nodes = new Nodes({ seed: 'more than may be hot', sizeBytes: 96 * MiB, settings });
  nodes.start('east');
  await nodes.until(() => nodes.east.group.serving);
  for (let region = 0; region < 24; region++) {
    expect(await nodes.world.settle(nodes.write(nodes.east, region * 4 * MiB, region + 1), 20_000)).toBeNull();
  }
  nodes.start('west');
  await nodes.until(() => nodes.classOf('west') === 'inSync');
  expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
});
