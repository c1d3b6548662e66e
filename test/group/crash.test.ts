/** An owner's process dies with writes under way, and starts again on the same kernel (R7, TL-7, TL-8). */
import { describe, expect, test } from 'vitest';
import type { MirrorMode } from '../../src/store/document.ts';
import { MiB } from '../volume/legs.ts';
import { Nodes, type Node } from './nodes.ts';

/** Counts what is read from the volume of a node. */
function readsOf(nodes: Nodes, node: Node): { bytes: number } {
  const reads = { bytes: 0 };
  const disk = nodes.disk(node);
  const read = disk.read.bind(disk);
  disk.read = (offset, into) => {
    reads.bytes += into.length;
    return read(offset, into);
  };
  return reads;
}

/** Writes all over the volume until `count` are asked for, at most `depth` at once. Returns what has been acknowledged. */
function keepWriting(nodes: Nodes, node: Node, count: number, depth: number): Map<number, number> {
  const acknowledged = new Map<number, number>();
  let asked = 0;
  const next = (): void => {
    if (asked === count || !node.process.alive) return;
    const number = ++asked;
    const offset = ((number * 37) % 512) * 4096;
    void nodes.write(node, offset, number % 251).then((fault) => {
      if (fault === null) acknowledged.set(offset, number % 251);
      next();
    });
  };
  for (let lane = 0; lane < depth; lane++) next();
  return acknowledged;
}

function expectEqual(nodes: Nodes): void {
  expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
}

describe('an owner whose process died with writes under way', () => {
  test.each<MirrorMode>(['sync', 'receive'])(
    'R7, TL-7: fetches only those from a leg in sync (%s), and both are equal',
    async (mode) => {
      for (let seed = 0; seed < 12; seed++) {
        const nodes = await Nodes.synced({ seed: `crash ${mode} ${seed}`, mode });
        const before = await nodes.record();
        const acknowledged = keepWriting(nodes, nodes.east, 400, 8);
        nodes.east.process.crashAfterEffects(40 + 61 * seed);
        await nodes.world.runUntil(() => !nodes.east.process.alive, 20_000);
        expect(nodes.east.process.alive).toBe(false);
        nodes.end('east', 'crash');
        const reads = readsOf(nodes, nodes.west);
        nodes.start('east');
        await nodes.until(() => nodes.east.group.serving);
        await nodes.until(() => nodes.classOf('west') === 'inSync');
        expectEqual(nodes);
        expect((await nodes.record()).generation).toBeGreaterThan(before.generation);
        // As many as were under way, some that had just ended, and no whole region.
        expect(reads.bytes).toBeLessThanOrEqual(64 * 512);
        for (const [offset, fill] of acknowledged) expect(nodes.disk(nodes.east).cached[offset]).toBe(fill);
      }
    },
  );

  test('R7: after loss of power, entries are not believed: all that was hot is fetched', async () => {
    const nodes = await Nodes.synced({ seed: 'dark' });
    keepWriting(nodes, nodes.east, 400, 8);
    await nodes.world.run(30);
    nodes.end('east', 'powerLoss');
    const reads = readsOf(nodes, nodes.west);
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving && nodes.classOf('west') === 'inSync');
    expectEqual(nodes);
    expect(reads.bytes).toBeGreaterThanOrEqual(4 * MiB);
  });

  test('TL-7: with the map full, writes wait in order, and go on', async () => {
    const nodes = await Nodes.synced({ seed: 'full', mode: 'async', settings: { intentEntries: 16 } });
    nodes.disk(nodes.west).hang();
    const told: number[] = [];
    for (let number = 1; number <= 40; number++) {
      void nodes.write(nodes.east, number * 512, number).then((fault) => {
        expect(fault).toBeNull();
        told.push(number);
      });
    }
    await nodes.world.run(2000);
    expect(told.length).toBe(16);
    expect([...(nodes.east.group.owner?.holds ?? [])]).toEqual(['intent']);
    nodes.disk(nodes.west).unhang();
    await nodes.until(() => told.length === 40);
    await nodes.until(() => nodes.east.group.owner?.holds.size === 0);
    await nodes.world.run(1000);
    expectEqual(nodes);
  });
});
