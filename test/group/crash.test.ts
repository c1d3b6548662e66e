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

/** The conditions that a node's leg has been in since. */
function conditionsOf(nodes: Nodes, node: Node): Set<string> {
  const seen = new Set<string>();
  const look = (): void => {
    if (node.group.leg !== null) seen.add(node.group.leg.state.condition);
    nodes.world.scheduler.after(0.5, 'timer', null, look);
  };
  look();
  return seen;
}

/** East has crashed with acknowledged writes that an asynchronous west lacks; and west's volume as it was then. */
async function lagging(seed: string, log = false): Promise<{ nodes: Nodes; before: Buffer }> {
  const nodes = await Nodes.synced({ seed, mode: 'async', ...(log ? { logBytes: 64 * MiB } : {}) });
  const first = keepWriting(nodes, nodes.east, 30, 4);
  await nodes.until(() => first.size === 30);
  await nodes.world.run(100);
  nodes.link(false);
  const acknowledged = keepWriting(nodes, nodes.east, 100, 8);
  await nodes.until(() => acknowledged.size === 100);
  const before = Buffer.from(nodes.disk(nodes.west).cached);
  nodes.end('east', 'crash');
  nodes.link(true);
  return { nodes, before };
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

  test('TL-8: completes an asynchronous leg in one step, with no resync', async () => {
    for (let seed = 0; seed < 12; seed++) {
      const nodes = await Nodes.synced({ seed: `crash async ${seed}`, mode: 'async' });
      const acknowledged = keepWriting(nodes, nodes.east, 400, 8);
      nodes.disk(nodes.west).slowness = 1 + 20 * (seed % 3);
      nodes.east.process.crashAfterEffects(40 + 61 * seed);
      await nodes.world.runUntil(() => !nodes.east.process.alive, 20_000);
      nodes.end('east', 'crash');
      const conditions = conditionsOf(nodes, nodes.west);
      nodes.start('east');
      await nodes.until(() => nodes.east.group.serving);
      expect(nodes.classOf('west')).toBe('withinBound');
      expectEqual(nodes);
      expect(conditions).not.toContain('inconsistent');
      for (const [offset, fill] of acknowledged) expect(nodes.disk(nodes.west).cached[offset]).toBe(fill);
      // And on from there.
      const further = keepWriting(nodes, nodes.east, 50, 4);
      await nodes.until(() => further.size === 50);
      await nodes.world.run(2000);
      expect(nodes.classOf('west')).toBe('withinBound');
      expectEqual(nodes);
      expect(conditions).not.toContain('inconsistent');
    }
  });

  test('TL-8: the step is received whole before any of it is applied', async () => {
    const { nodes, before } = await lagging('whole');
    nodes.start('east');
    await nodes.until(() => nodes.west.group.target?.owner?.node === 'east');
    // West gets only the first part of it, and then nobody.
    await nodes.world.runUntil(() => nodes.west.group.leg?.state.lineage.id === nodes.east.group.record?.id, 5000);
    for (let look = 0; look < 400; look++) {
      await nodes.world.run(0.25);
      const now = Buffer.from(nodes.disk(nodes.west).cached);
      const { condition } = nodes.west.group.leg?.state ?? { condition: '' };
      if (condition === 'consistent')
        expect([before, Buffer.from(nodes.disk(nodes.east).cached)].some((image) => image.equals(now))).toBe(true);
    }
    expectEqual(nodes);
  });

  test('TL-8: crashes again before the step has arrived: it is sent all the same', async () => {
    const { nodes } = await lagging('again');
    nodes.disk(nodes.west).hang();
    const second = nodes.start('east');
    await nodes.until(() => second.group.owner?.wholeUpTo !== null && second.group.role === 'primary');
    expect(second.group.serving).toBe(false);
    nodes.end('east', 'crash');
    nodes.disk(nodes.west).unhang();
    const conditions = conditionsOf(nodes, nodes.west);
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expectEqual(nodes);
    expect(conditions).not.toContain('inconsistent');
  });

  test('TL-8: with the leg away, hosts are let in once the record says that it lacks something', async () => {
    const { nodes } = await lagging('away');
    nodes.link(false);
    nodes.start('east');
    await nodes.until(() => nodes.east.group.role === 'primary');
    expect(nodes.east.group.serving).toBe(false);
    await nodes.until(() => nodes.east.group.serving);
    expect(nodes.classOf('west')).toBe('behind');
    nodes.link(true);
    await nodes.until(() => nodes.classOf('west') === 'withinBound');
    expectEqual(nodes);
  });

  test('TL-8, TL-9: with the leg away and a log, the step is logged and merged', async () => {
    const { nodes } = await lagging('logged', true);
    nodes.link(false);
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expect(nodes.classOf('west')).toBe('behind');
    const further = keepWriting(nodes, nodes.east, 50, 4);
    await nodes.until(() => further.size === 50);
    const conditions = conditionsOf(nodes, nodes.west);
    nodes.link(true);
    await nodes.until(() => nodes.classOf('west') === 'withinBound');
    expectEqual(nodes);
    expect(conditions).not.toContain('inconsistent');
  });

  test('TL-8: what cannot be read is left to a resync, and said', async () => {
    const { nodes } = await lagging('unreadable');
    nodes.disk(nodes.east).failNext('read', 1);
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expect(nodes.east.events.find((event) => event.startsWith('failed: west must be resynced'))).toMatch(/EIO/);
    await nodes.until(() => nodes.classOf('west') === 'withinBound');
    expectEqual(nodes);
  });

  test('a leg that went down in the middle of the step is no image until it has the rest', async () => {
    const { nodes, before } = await lagging('middle');
    nodes.disk(nodes.west).slowness = 50;
    nodes.start('east');
    await nodes.until(() => nodes.west.group.leg?.state.condition === 'unconfirmed');
    await nodes.until(() => !before.equals(nodes.disk(nodes.west).cached));
    nodes.end('west', 'crash');
    const west = nodes.start('west');
    await nodes.until(() => west.group.leg !== null);
    expect(west.group.leg?.state.condition).toBe('unconfirmed');
    await nodes.until(() => nodes.east.group.serving && nodes.classOf('west') === 'withinBound');
    await nodes.until(() => west.group.leg?.state.condition === 'consistent');
    expectEqual(nodes);
  });

  test.each<MirrorMode>(['sync', 'async'])(
    'R9: an older disk at the other side (%s) is no source, and differs in more than entries name',
    async (mode) => {
      const nodes = await Nodes.synced({ seed: `older ${mode}`, mode });
      const whole = mode === 'sync' ? 'inSync' : 'withinBound';
      nodes.end('west', 'crash');
      const { machine } = nodes.west.process;
      const older = machine.snapshot();
      nodes.start('west');
      await nodes.until(() => nodes.classOf('west') === whole);
      const written = keepWriting(nodes, nodes.east, 60, 4);
      await nodes.until(() => written.size === 60);
      await nodes.world.run(200);
      for (const name of ['east', 'west']) nodes.end(name, 'crash');
      machine.restore(older);
      for (const name of ['west', 'east']) nodes.start(name);
      await nodes.until(() => nodes.east.group.serving && nodes.classOf('west') === whole);
      await nodes.world.run(200);
      expectEqual(nodes);
      for (const [offset, fill] of written) expect(nodes.disk(nodes.east).cached[offset]).toBe(fill);
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
