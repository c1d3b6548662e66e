/** Two nodes that keep their copies of a group's record themselves, without a coordination store (BY-1, R12). */
import { describe, expect, test } from 'vitest';
import { MiB } from '../volume/legs.ts';
import { Nodes, type Node } from './nodes.ts';

const refused = (text: string): object => ({
  code: 'E_REFUSED',
  message: expect.stringContaining(text) as string,
});

function byte(nodes: Nodes, node: Node, offset: number): number | undefined {
  return nodes.disk(node).cached[offset];
}

/** East and west have both written without the other, and are linked again. */
async function split(options: Partial<ConstructorParameters<typeof Nodes>[0]> = {}): Promise<Nodes> {
  const nodes = await Nodes.synced({ seed: 'split', storeless: true, ...options });
  expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
  nodes.link(false);
  expect(await nodes.world.settle(nodes.write(nodes.east, 65536, 2))).toBeNull();
  await nodes.world.settle(nodes.west.group.moves.takeOver(false));
  expect(await nodes.world.settle(nodes.write(nodes.west, 131072, 3))).toBeNull();
  nodes.link(true);
  await nodes.until(() => nodes.east.group.exchange?.split != null && nodes.west.group.exchange?.split != null);
  return nodes;
}

describe('without a coordination store', () => {
  test('R11: a group is first opened when both nodes have heard each other, and replicates', async () => {
    const nodes = new Nodes({ seed: 'first', storeless: true });
    nodes.start('east');
    await nodes.world.run(10_000);
    expect(nodes.east.group.serving).toBe(false);
    expect(nodes.east.group.problem).toContain('west');
    nodes.start('west');
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
    expect(byte(nodes, nodes.west, 0)).toBe(1);
    await nodes.until(() => nodes.west.group.record?.legs['west']?.class === 'inSync');
  });

  test('IM-10: a group without any other leg is served at once', async () => {
    const nodes = new Nodes({ seed: 'alone', legs: ['east'], storeless: true });
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
  });

  test('R15: a planned move hands the group over, there and back', async () => {
    const nodes = await Nodes.synced({ seed: 'planned', storeless: true });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    await nodes.world.settle(nodes.east.group.moves.switchOver('west'));
    await nodes.until(() => nodes.west.group.serving && nodes.whole());
    expect(nodes.west.group.record?.generation).toBe(2);
    await nodes.world.settle(nodes.write(nodes.west, 512, 2));
    await nodes.world.settle(nodes.west.group.moves.switchOver('east'));
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    expect(byte(nodes, nodes.east, 512)).toBe(2);
  });

  test('BY-1: an owner that loses its target goes on; one that is started again waits until it is heard', async () => {
    const nodes = await Nodes.synced({ seed: 'wait', storeless: true });
    nodes.link(false);
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
    await nodes.world.run(20_000);
    expect(nodes.east.group.serving).toBe(true);
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.world.run(20_000);
    expect(nodes.east.group.serving).toBe(false);
    expect(nodes.east.group.problem).toContain('west has not been heard');
    nodes.link(true);
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    expect(byte(nodes, nodes.west, 0)).toBe(1);
  });

  test('BY-1: an owner that is started again serves alone when somebody says so', async () => {
    const nodes = await Nodes.synced({ seed: 'told', storeless: true });
    nodes.end('west', 'crash');
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.world.run(5000);
    const moved = await nodes.world.settle(nodes.east.group.moves.takeOver(false));
    expect(nodes.east.group.serving).toBe(true);
    expect(moved.loss).toMatchObject({ writes: null });
  });

  test('BY-1: an owner that was stopped for longer than its lease serves again when it has heard its target', async () => {
    const nodes = await Nodes.synced({ seed: 'stopped', storeless: true });
    nodes.east.process.pause(10_000);
    await nodes.world.run(9000);
    nodes.link(false);
    await nodes.world.run(20_000);
    expect(nodes.east.group.serving).toBe(false);
    nodes.link(true);
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
  });

  test('a live owner is not taken over from, forced or not', async () => {
    const nodes = await Nodes.synced({ seed: 'alive', storeless: true });
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toMatchObject(refused('east'));
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(true))).rejects.toMatchObject(refused('east'));
    expect(nodes.east.group.serving).toBe(true);
  });

  test('a dead owner is taken over from by hand, with a loss that is not known, and follows when it is back', async () => {
    const nodes = await Nodes.synced({ seed: 'dead', storeless: true });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    nodes.end('east', 'crash');
    const moved = await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    expect(moved.loss).toMatchObject({
      writes: null,
      text: expect.stringContaining('no coordination store') as string,
    });
    expect(await nodes.world.settle(nodes.write(nodes.west, 512, 2))).toBeNull();
    nodes.start('east');
    await nodes.until(() => nodes.whole());
    expect(nodes.east.group.role).toBe('secondary');
    expect(nodes.east.group.exchange?.split).toBeNull();
    expect(byte(nodes, nodes.east, 512)).toBe(2);
  });

  test('an asynchronous owner that returns with writes of its bound gives them up, as was stated, and keeps them aside', async () => {
    const nodes = await Nodes.synced({ seed: 'bound', storeless: true, mode: 'async' });
    nodes.link(false);
    expect(await nodes.world.settle(nodes.write(nodes.east, 65536, 7))).toBeNull();
    nodes.end('east', 'crash');
    await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    nodes.link(true);
    await nodes.world.settle(nodes.write(nodes.west, 0, 1));
    nodes.start('east');
    await nodes.until(() => nodes.whole());
    expect(nodes.east.group.exchange?.split).toBeNull();
    expect(byte(nodes, nodes.east, 65536)).toBe(0);
    expect(nodes.east.group.leg?.state.forks.at(-1)?.bytes).toBeGreaterThan(0);
  });

  test('a take-over under which nothing was written gives way to an owner that went on', async () => {
    const nodes = await Nodes.synced({ seed: 'idle', storeless: true });
    nodes.link(false);
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
    await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    nodes.link(true);
    await nodes.until(() => !nodes.west.group.serving && nodes.whole());
    expect(nodes.east.group.serving).toBe(true);
    expect(byte(nodes, nodes.west, 0)).toBe(1);
  });

  test('an owner that was lost but acknowledged nothing alone gives way to a take-over', async () => {
    const nodes = await Nodes.synced({ seed: 'quiet', storeless: true });
    nodes.link(false);
    await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    expect(await nodes.world.settle(nodes.write(nodes.west, 0, 1))).toBeNull();
    nodes.link(true);
    await nodes.until(() => !nodes.east.group.serving && nodes.whole());
    expect(nodes.west.group.serving).toBe(true);
    expect(byte(nodes, nodes.east, 0)).toBe(1);
  });

  test('BY-1: both wrote: recognised at first contact, described at both, nothing applied, both go on serving', async () => {
    const nodes = await split();
    await nodes.world.run(20_000);
    for (const node of [nodes.east, nodes.west]) {
      expect(node.group.serving).toBe(true);
      const told = node.events.filter((event) => event.startsWith('splitBrain'));
      expect(told).toHaveLength(1);
      expect(told[0]).toContain('east in generation 1');
      expect(told[0]).toContain('west in generation 2');
    }
    expect([0, 65536, 131072].map((offset) => byte(nodes, nodes.east, offset))).toEqual([1, 2, 0]);
    expect([0, 65536, 131072].map((offset) => byte(nodes, nodes.west, offset))).toEqual([1, 0, 3]);
    expect(await nodes.world.settle(nodes.write(nodes.east, 512, 4))).toBeNull();
    expect(await nodes.world.settle(nodes.write(nodes.west, 1024, 5))).toBeNull();
  });

  for (const [keep, lose] of [
    ['east', 'west'],
    ['west', 'east'],
  ] as const) {
    test(`BY-1: the history of ${keep} is kept: ${lose} follows, is made equal, and its own is kept as an image`, async () => {
      const nodes = await split();
      await nodes.world.settle(nodes.node(keep).group.moves.resolve(false));
      await nodes.until(() => !nodes.node(lose).group.serving && nodes.whole());
      expect(nodes.node(keep).group.serving).toBe(true);
      expect(nodes.node(lose).group.role).toBe('secondary');
      expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
      expect(byte(nodes, nodes.node(lose), keep === 'east' ? 65536 : 131072)).toBe(keep === 'east' ? 2 : 3);
      const fork = nodes.node(lose).group.leg?.state.forks.at(-1);
      expect(fork?.image).not.toBeNull();
      expect(fork?.bytes).toBeGreaterThan(0);
      expect(await nodes.world.settle(nodes.write(nodes.node(keep), 0, 9))).toBeNull();
      expect(byte(nodes, nodes.node(lose), 0)).toBe(9);
    });

    test(`BY-1: a resolution for ${keep} that is cut off after any step of either node is carried on`, async () => {
      for (let effects = 1; effects < 200; effects += 11) {
        for (const victim of ['east', 'west']) {
          const nodes = await split({ seed: `cut ${effects}`, sizeBytes: MiB });
          const { process } = nodes.node(victim);
          process.crashAfterEffects(effects);
          void nodes
            .node(keep)
            .group.moves.resolve(true)
            .catch(() => {});
          await nodes.world.run(20_000);
          if (process.alive) break;
          nodes.end(victim, 'crash');
          nodes.start(victim);
          await nodes.world.run(10_000);
          if (nodes.node(keep).group.exchange?.split != null)
            await nodes.world.settle(nodes.node(keep).group.moves.resolve(true));
          await nodes.until(() => !nodes.node(lose).group.serving && nodes.whole());
          expect(nodes.node(keep).group.serving).toBe(true);
          expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
        }
      }
    });
  }

  test('BY-1: a restarted side of a split brain serves nothing until a history is chosen', async () => {
    const nodes = await split();
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.exchange?.split != null);
    await nodes.world.run(10_000);
    expect(nodes.east.group.serving).toBe(false);
    expect(nodes.east.group.problem).toContain('split brain');
    await expect(nodes.world.settle(nodes.east.group.moves.takeOver(true))).rejects.toMatchObject(refused('resolve'));
    await nodes.world.settle(nodes.east.group.moves.resolve(true));
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    expect(byte(nodes, nodes.west, 65536)).toBe(2);
  });

  test('BY-1: after-split-brain "discard-secondary" keeps the history of the only one that serves', async () => {
    const nodes = await split({ afterSplitBrain: { onePrimary: 'discard-secondary' } });
    await nodes.world.run(5000);
    expect(nodes.east.group.exchange?.split).not.toBeNull();
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.until(() => nodes.whole());
    expect(nodes.west.group.serving).toBe(true);
    expect(byte(nodes, nodes.east, 131072)).toBe(3);
    expect(nodes.west.events.some((event) => event.includes('after-split-brain keeps the history of west'))).toBe(
      true,
    );
  });

  test('R12: a node that has lost its copy of the record has it from the other', async () => {
    const nodes = await Nodes.synced({ seed: 'lost copy', storeless: true });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    nodes.end('east', 'crash');
    const files = nodes.start('east').process.environment.files;
    for (const name of await nodes.world.settle(files.list('/data/store')))
      await nodes.world.settle(files.remove(`/data/store/${name}`));
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    expect(nodes.east.group.record?.generation).toBeGreaterThan(1);
    expect(byte(nodes, nodes.west, 0)).toBe(1);
  });

  test('R12: nothing that an owner of an unheard tenure sends is taken in', async () => {
    // East goes through so many tenures alone that its number is above that of the other history.
    const nodes = await split();
    nodes.link(false);
    for (let pauses = 0; pauses < 2; pauses++) {
      await nodes.world.run(15_000);
      nodes.east.process.pause(10_000);
      await nodes.world.run(12_000);
    }
    expect(nodes.east.group.serving).toBe(true);
    expect(nodes.east.group.record?.generation).toBe(3);
    nodes.end('west', 'crash');
    nodes.start('west');
    nodes.link(true);
    await nodes.world.run(20_000);
    expect(byte(nodes, nodes.west, 131072)).toBe(3);
    expect(nodes.west.group.serving).toBe(false);
    expect(nodes.west.group.leg?.state.seen.generation).toBe(2);
    expect(nodes.west.group.problem).toContain('split brain');
    await nodes.world.settle(nodes.west.group.moves.resolve(true));
    await nodes.until(() => nodes.west.group.serving && !nodes.east.group.serving && nodes.whole());
    expect(byte(nodes, nodes.east, 131072)).toBe(3);
  });
});
