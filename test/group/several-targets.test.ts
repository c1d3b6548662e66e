/** HG-5, HG-7, R14: three legs, and what a new owner knows of the third. */
import { describe, expect, test } from 'vitest';
import { MiB } from '../volume/legs.ts';
import { Nodes, type Node, type NodesOptions } from './nodes.ts';

const regionBytes = 4 * MiB;
const legs = ['east', 'west', 'south'];

const three = (options: NodesOptions): NodesOptions => ({ legs, sizeBytes: 16 * MiB, ...options });

/** Long enough for regions to cool at a target whose owner has time to tell what is stable. */
const coolMs = 20_000;

async function write(nodes: Nodes, node: Node, offset: number, fill: number): Promise<void> {
  expect(await nodes.world.settle(nodes.write(node, offset, fill))).toBeNull();
}

/** Waits until all legs are whole; returns what was planned to be copied to `to` meanwhile, in bytes. */
async function copiedUntilWhole(nodes: Nodes, owner: Node, to: string): Promise<number> {
  let planned = 0;
  await nodes.until(() => {
    planned = Math.max(planned, owner.group.owner?.legOf(to)?.copier?.totalBytes ?? 0);
    return owner.group.serving && nodes.whole();
  });
  return planned;
}

function expectEqual(nodes: Nodes, one: string, other: string): void {
  const [a, b] = [nodes.disk(nodes.node(one)).cached, nodes.disk(nodes.node(other)).cached];
  expect(Buffer.compare(a, b)).toBe(0);
}

const fillOf = (nodes: Nodes, name: string, offset: number): number | undefined =>
  nodes.disk(nodes.node(name)).cached[offset];

/** The owner at east dies, and `to` takes over; the others are as they are. */
async function takeOver(nodes: Nodes, to: string): Promise<Node> {
  nodes.end('east', 'crash');
  const node = nodes.node(to);
  await nodes.world.settle(node.group.moves.takeOver(false));
  return node;
}

describe('after a take-over', () => {
  test('a leg that holds the same goes on, in sync or within its bound, without any copy', async () => {
    for (const mode of ['sync', 'async'] as const) {
      const nodes = await Nodes.synced(three({ seed: `same ${mode}`, mode }));
      await write(nodes, nodes.east, 0, 1);
      await nodes.world.run(coolMs);
      const west = await takeOver(nodes, 'west');
      await nodes.until(() => west.group.owner?.legOf('south')?.complete === true);
      await nodes.world.run(1000);
      // Neither behind, nor in sync where it cannot be: the record is right from the beginning.
      expect(west.events.join()).not.toContain('south is');
      await write(nodes, west, 512, 2);
      await nodes.world.run(1000);
      expect(fillOf(nodes, 'south', 512)).toBe(2);
    }
  });

  test('a leg that lacks what was in flight gets the regions that name it, and no more', async () => {
    const nodes = await Nodes.synced(three({ seed: 'in flight' }));
    await write(nodes, nodes.east, 0, 1);
    await nodes.world.run(coolMs);
    nodes.disk(nodes.node('south')).hang();
    void nodes.write(nodes.east, 2 * regionBytes, 2);
    await nodes.world.run(100);
    nodes.end('east', 'crash');
    nodes.end('south', 'crash');
    const west = nodes.west;
    await nodes.world.settle(west.group.moves.takeOver(false));
    nodes.disk(nodes.node('south')).unhang();
    nodes.start('south');
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBeGreaterThan(0);
    expect(planned).toBeLessThanOrEqual(2 * regionBytes);
    expect(fillOf(nodes, 'south', 2 * regionBytes)).toBe(2);
    expectEqual(nodes, 'west', 'south');
    expectEqual(nodes, 'west', 'east');
  });

  test('R14: the new owner fetches what a leg within its bound has further', async () => {
    const nodes = await Nodes.synced(three({ seed: 'further', mode: 'async' }));
    await write(nodes, nodes.east, 0, 1);
    await nodes.world.run(coolMs);
    nodes.link(false, 'west');
    await write(nodes, nodes.east, regionBytes, 2);
    await nodes.world.run(100);
    nodes.end('east', 'crash');
    nodes.link(true, 'west');
    await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    expect(fillOf(nodes, 'west', regionBytes)).toBe(2);
    await nodes.until(() => nodes.classOf('south') === 'withinBound');
    expect(nodes.west.events.join()).not.toContain('south is behind');
  });

  test('R14: a leg that was further and could not be asked resyncs what it applied beyond, and keeps it aside', async () => {
    const nodes = await Nodes.synced(three({ seed: 'beyond', mode: 'async' }));
    await write(nodes, nodes.east, 0, 1);
    await nodes.world.run(coolMs);
    nodes.link(false, 'west');
    await write(nodes, nodes.east, regionBytes, 2);
    await nodes.world.run(100);
    const west = await takeOver(nodes, 'west');
    await write(nodes, west, 2 * regionBytes, 3);
    nodes.link(true, 'west');
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBeGreaterThan(0);
    expect(planned).toBeLessThanOrEqual(2 * regionBytes);
    expect(fillOf(nodes, 'south', regionBytes)).toBe(0);
    expectEqual(nodes, 'west', 'south');
    expectEqual(nodes, 'west', 'east');
    expect(nodes.node('south').group.leg?.state.forks).toHaveLength(1);
  });

  test('a leg that was behind gets what it missed under either owner, and no more', async () => {
    const nodes = await Nodes.synced(three({ seed: 'behind' }));
    await write(nodes, nodes.east, 0, 1);
    nodes.link(false, 'south');
    await write(nodes, nodes.east, regionBytes, 2);
    // The owner counts on west alone by now: its regions cool there.
    await nodes.world.run(2 * coolMs);
    expect(nodes.west.group.leg?.hot.size).toBe(0);
    const west = await takeOver(nodes, 'west');
    await write(nodes, west, 2 * regionBytes, 3);
    await nodes.world.run(coolMs);
    nodes.link(true, 'south');
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBeGreaterThan(0);
    expect(planned).toBeLessThan(3 * regionBytes);
    expectEqual(nodes, 'west', 'south');
  });

  test('a leg that fell behind while the other target was not connected is remembered there, too', async () => {
    const nodes = await Nodes.synced(three({ seed: 'meanwhile' }));
    nodes.link(false, 'west');
    await nodes.world.settle(nodes.east.group.pauseMirror('south', true));
    nodes.link(true, 'west');
    await nodes.until(() => nodes.east.group.owner?.legOf('west')?.complete === true);
    await write(nodes, nodes.east, regionBytes, 2);
    await nodes.world.run(2 * coolMs);
    expect(nodes.west.group.leg?.hot.size).toBe(0);
    const west = await takeOver(nodes, 'west');
    await nodes.world.settle(west.group.pauseMirror('south', false));
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBeLessThan(3 * regionBytes);
    expect(fillOf(nodes, 'south', regionBytes)).toBe(2);
  });

  test('what a leg that is behind lacks outlives loss of power at the other target', async () => {
    const nodes = await Nodes.synced(three({ seed: 'power' }));
    nodes.link(false, 'south');
    await write(nodes, nodes.east, regionBytes, 2);
    await nodes.world.run(2 * coolMs);
    nodes.end('west', 'powerLoss');
    nodes.start('west');
    await nodes.until(() => nodes.east.group.owner?.legOf('west')?.complete === true);
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    await nodes.world.run(coolMs);
    const west = await takeOver(nodes, 'west');
    nodes.link(true, 'south');
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBeLessThan(3 * regionBytes);
    expect(fillOf(nodes, 'south', regionBytes)).toBe(2);
    expectEqual(nodes, 'west', 'south');
  });

  test('what a target was never sent it is told: a leg that is behind has it zeroed, too', async () => {
    const nodes = new Nodes(three({ seed: 'told' }));
    const blank = nodes.world.machine('west').snapshot();
    for (const name of legs) nodes.start(name);
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    await write(nodes, nodes.east, regionBytes, 2);
    await nodes.world.run(coolMs);
    nodes.end('west', 'crash');
    nodes.link(false, 'south');
    await nodes.world.settle(nodes.zero(nodes.east, regionBytes, MiB));
    await nodes.world.run(coolMs);
    // West gets another disk: holes need not travel to it.
    nodes.world.machine('west').restore(blank);
    nodes.start('west');
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    await nodes.world.run(coolMs);
    const west = await takeOver(nodes, 'west');
    nodes.link(true, 'south');
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBeGreaterThan(0);
    expect(planned).toBeLessThan(3 * regionBytes);
    expect(fillOf(nodes, 'south', regionBytes)).toBe(0);
    expectEqual(nodes, 'west', 'south');
  });

  test('a leg that has been made whole again lacks nothing', async () => {
    const nodes = await Nodes.synced(three({ seed: 'whole' }));
    nodes.link(false, 'south');
    await write(nodes, nodes.east, regionBytes, 2);
    await nodes.world.run(coolMs);
    nodes.link(true, 'south');
    await nodes.until(() => nodes.whole());
    await nodes.world.run(coolMs);
    const west = await takeOver(nodes, 'west');
    await nodes.until(() => west.group.owner?.legOf('south')?.complete === true);
    expect(west.events.join()).not.toContain('south is behind');
  });

  test('I11: a leg whose full copy was interrupted is copied in full again', async () => {
    const nodes = new Nodes(three({ seed: 'interrupted' }));
    for (const name of ['east', 'west']) nodes.start(name);
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    for (let at = 0; at < 16; at++) await write(nodes, nodes.east, at * MiB, at + 1);
    await nodes.world.run(2 * coolMs);
    const south = nodes.start('south');
    await nodes.until(() => south.group.leg !== null);
    nodes.disk(south).latencyMsMax.write = 2000;
    await nodes.until(() => south.group.leg?.state.condition === 'inconsistent');
    await nodes.world.run(500);
    const west = await takeOver(nodes, 'west');
    nodes.disk(south).latencyMsMax.write = 1;
    nodes.start('east');
    await copiedUntilWhole(nodes, west, 'south');
    expectEqual(nodes, 'west', 'south');
  });

  test('R9: a leg with an older disk than it had when regions cooled is copied in full', async () => {
    const nodes = await Nodes.synced(three({ seed: 'older' }));
    const { machine } = nodes.node('south').process;
    await write(nodes, nodes.east, 0, 1);
    await nodes.world.run(coolMs);
    nodes.end('south', 'crash');
    const yesterday = machine.snapshot();
    nodes.start('south');
    await nodes.until(() => nodes.whole() && nodes.east.group.owner?.legOf('south')?.complete === true);
    await write(nodes, nodes.east, 3 * regionBytes, 2);
    await nodes.world.run(2 * coolMs);
    nodes.end('south', 'crash');
    machine.restore(yesterday);
    const west = await takeOver(nodes, 'west');
    nodes.start('south');
    nodes.start('east');
    const planned = await copiedUntilWhole(nodes, west, 'south');
    expect(planned).toBe(16 * MiB);
    expectEqual(nodes, 'west', 'south');
  });
});

describe('a planned switch-over', () => {
  test('keeps in sync what holds the same: nothing is copied to the third leg', async () => {
    const nodes = await Nodes.synced(three({ seed: 'planned', modes: { south: 'async' } }));
    await write(nodes, nodes.east, 0, 1);
    await nodes.world.run(1000);
    await nodes.world.settle(nodes.east.group.moves.switchOver('west'));
    await nodes.until(() => nodes.west.group.serving && nodes.whole());
    expect((await nodes.record()).legs['south']?.class).toBe('withinBound');
    expect(nodes.west.events.filter((event) => event.startsWith('class'))).toEqual([]);
    await write(nodes, nodes.west, 512, 2);
    await nodes.world.run(1000);
    expectEqual(nodes, 'west', 'south');
    expectEqual(nodes, 'west', 'east');
  });

  test('is not kept from being one by a copy to the third leg, which goes on at the new owner', async () => {
    const nodes = await Nodes.synced(three({ seed: 'copying' }));
    for (let at = 0; at < 16; at++) await write(nodes, nodes.east, at * MiB, at + 1);
    await nodes.world.run(coolMs);
    nodes.disk(nodes.node('south')).latencyMsMax.write = 100;
    await nodes.world.settle(nodes.east.group.resyncMirror('south'));
    await nodes.until(() => nodes.east.group.owner?.legOf('south')?.copier?.doneBytes !== undefined);
    // Time enough for copies to be stamped between drain and swap.
    nodes.world.store.latencyMsMax = 100;
    await nodes.world.settle(nodes.east.group.moves.switchOver('west'));
    expect((await nodes.record()).legs).toMatchObject({ east: { class: 'inSync' }, south: { class: 'behind' } });
    await nodes.until(() => nodes.whole());
    expect(nodes.west.events.join()).not.toContain('east is');
    expectEqual(nodes, 'west', 'south');
  });
});

describe('a merge', () => {
  test('ends, too, when what was stamped last was a copy for another leg', async () => {
    const nodes = await Nodes.synced(three({ seed: 'merge', logBytes: 4 * MiB }));
    nodes.link(false, 'south');
    await write(nodes, nodes.east, 0, 1);
    await nodes.world.settle(nodes.east.group.resyncMirror('west'));
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    nodes.link(true, 'south');
    expect(await copiedUntilWhole(nodes, nodes.east, 'south')).toBe(0);
    expect(fillOf(nodes, 'south', 0)).toBe(1);
  });
});
