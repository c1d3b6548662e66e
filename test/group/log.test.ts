/** What a lost target misses is kept in order in the group's log, and merged when it is back. */
import { describe, expect, test } from 'vitest';
import type { HostFault } from '../../src/group/host-access.ts';
import type { LegStatus } from '../../src/group/status.ts';
import { shownLeg } from '../../src/sim/honesty.ts';
import { formatPosition } from '../../src/stream/position.ts';
import { MiB } from '../volume/legs.ts';
import { Nodes, type Node, type NodesOptions } from './nodes.ts';

const logBytes = 4 * MiB;
const settings = { graceMs: 500 };

function logged(options: Omit<NodesOptions, 'seed'> & { seed: string }): Promise<Nodes> {
  return Nodes.synced({ logBytes, ...options, settings: { ...settings, ...options.settings } });
}

function shown({ group, name }: Node, leg: string): LegStatus {
  const found = shownLeg(group, name, leg);
  if (found === undefined) throw new Error(`no leg ${leg}`);
  return found;
}

async function write(nodes: Nodes, place: number, fill: number, node = nodes.east): Promise<HostFault | null> {
  return nodes.world.settle(nodes.write(node, place * 512, fill), 20_000);
}

/** What the node's group is asked, as its API would. */
function asked<T>(nodes: Nodes, { process, group }: Node, ask: (of: Node['group']) => Promise<T>): Promise<T> {
  const answer = new Promise<T>((resolve, reject) => process.call(() => void ask(group).then(resolve, reject)));
  return nodes.world.settle(answer, 5000);
}

/** West is away, and its grace time is over. */
async function away(nodes: Nodes): Promise<void> {
  nodes.link(false);
  await write(nodes, 0, 1);
  await nodes.until(() => shown(nodes.east, 'west').replication === 'Logging');
}

/** Waits until west is in sync again, and returns the states in which it was seen on the way. */
async function back(nodes: Nodes): Promise<Set<string>> {
  const seen = new Set<string>();
  nodes.link(true);
  await nodes.until(() => {
    const { disk, replication } = shown(nodes.east, 'west');
    seen.add(`${disk} ${replication}`);
    if (nodes.west.process.alive) seen.add(nodes.west.group.leg?.state.condition ?? '');
    return nodes.classOf('west') === 'inSync' || nodes.classOf('west') === 'withinBound';
  });
  return seen;
}

function expectEqual(nodes: Nodes): void {
  expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
}

describe('a target that was away', () => {
  test('TL-9, TL-11, IM-8: is merged from the log, and is never inconsistent', async () => {
    const nodes = await logged({ seed: 'merged' });
    await away(nodes);
    for (let at = 1; at < 40; at++) expect(await write(nodes, at, at)).toBeNull();
    expect(shown(nodes.east, 'west').lag).toMatchObject({ writes: 40, bytes: 40 * 512 });
    const seen = await back(nodes);
    expect(seen).toContain('Outdated Merging');
    expect([...seen].filter((state) => state.toLowerCase().includes('inconsistent'))).toEqual([]);
    expectEqual(nodes);
    // Nobody needs it any more: writes go without it.
    await nodes.until(() => nodes.east.group.owner?.log?.on === false);
    expect(nodes.east.group.leg?.state.logAhead).toBeNull();
  });

  test('TL-11: hosts do not wait for metadata at the end of a merge', async () => {
    const nodes = await logged({ seed: 'end of a merge' });
    await away(nodes);
    const { leg } = nodes.east.group;
    if (leg === null) throw new Error('east has no leg');
    let goOn = (): void => {};
    const held = new Promise<void>((resolve) => (goOn = resolve));
    const save = leg.save.bind(leg);
    leg.save = async () => {
      if (leg.state.logAhead === null && leg.metadata.saved?.logAhead !== null) await held;
      await save();
    };
    await nodes.until(() => leg.metadata.saved?.logAhead != null);
    nodes.link(true);
    // Without a pause, in which regions would cool: to write there again would need the metadata.
    while (leg.state.logAhead !== null) await write(nodes, 1, 1);
    for (let at = 1; at < 10; at++) expect(await write(nodes, at, at)).toBeNull();
    expect(leg.metadata.saved?.logAhead).not.toBeNull();
    goOn();
    await back(nodes);
    await nodes.until(() => nodes.east.group.owner?.log?.on === false);
    for (let at = 5; at < 15; at++) expect(await write(nodes, at, 100 + at)).toBeNull();
    expectEqual(nodes);
  });

  test('TL-18: is merged although the owner crashed in the middle of the outage, in another generation', async () => {
    const nodes = await logged({ seed: 'crash while logging' });
    await away(nodes);
    for (let at = 1; at < 20; at++) await write(nodes, at, at);
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    await write(nodes, 30, 9);
    const seen = await back(nodes);
    expect(seen).toContain('Outdated Merging');
    expect(seen).not.toContain('inconsistent');
    expectEqual(nodes);
  });

  test('TL-18: the same after loss of power: what was acknowledged was in the log, on its medium', async () => {
    const nodes = await logged({ seed: 'power while logging' });
    await away(nodes);
    for (let at = 1; at < 20; at++) await write(nodes, at, at);
    // The own leg's checkpoint reaches to where the log begins.
    await nodes.world.run(4000);
    for (let at = 20; at < 30; at++) await write(nodes, at, at);
    nodes.end('east', 'powerLoss');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expect(nodes.disk(nodes.east).cached[29 * 512]).toBe(29);
    const seen = await back(nodes);
    expect(seen).not.toContain('inconsistent');
    expectEqual(nodes);
  });

  test('TL-18: goes on where it was when the link is lost in the middle of the merge', async () => {
    const nodes = await logged({ seed: 'twice away' });
    await away(nodes);
    for (let at = 1; at < 60; at++) await write(nodes, at, at);
    nodes.disk(nodes.west).slowness = 50;
    nodes.link(true);
    await nodes.until(() => shown(nodes.east, 'west').replication === 'Merging');
    nodes.link(false);
    nodes.disk(nodes.west).slowness = 1;
    await write(nodes, 70, 7);
    const seen = await back(nodes);
    expect(seen).not.toContain('inconsistent');
    expectEqual(nodes);
  });

  test('TL-16: with the log full, change bits remember the rest, and it is said', async () => {
    const nodes = await logged({ seed: 'full', logBytes: 128 * 1024 });
    await away(nodes);
    for (let at = 1; at < 400; at++) await write(nodes, at, at & 0xff);
    const { replication, reason } = shown(nodes.east, 'west');
    expect(replication).toBe('Off');
    expect(reason).toContain('not in the log');
    expect(nodes.east.events.some((event) => event.includes('the log ends'))).toBe(true);
    expect(await back(nodes)).toContain('inconsistent');
    expectEqual(nodes);
  });

  test('TL-20: with on-log-full: suspend hosts wait for space, and go on when it comes', async () => {
    const nodes = await logged({ seed: 'suspend', logBytes: 128 * 1024, settings: { onLogFull: 'suspend' } });
    await away(nodes);
    let told = 0;
    const oneByOne = (): void =>
      void nodes.write(nodes.east, (told + 1) * 512, told & 0xff).then((fault) => {
        if (fault === null && ++told < 399) oneByOne();
      });
    oneByOne();
    await nodes.world.run(5000);
    expect(told).toBeLessThan(399);
    expect(nodes.east.group.owner?.holds.has('log')).toBe(true);
    nodes.setLog(MiB);
    await nodes.until(() => told === 399);
    expect(await back(nodes)).not.toContain('inconsistent');
    expectEqual(nodes);
  });

  test('TL-20: what the log begins with waits for space like the rest, and none of it is lost', async () => {
    const nodes = await logged({ seed: 'full at once', logBytes: 128 * 1024, settings: { onLogFull: 'suspend' } });
    nodes.link(false);
    const writes = Array.from({ length: 400 }, (_, at) => nodes.write(nodes.east, at * 512, at & 0xff));
    await nodes.until(() => nodes.east.group.owner?.holds.has('log') === true);
    nodes.setLog(MiB);
    expect(await back(nodes)).not.toContain('inconsistent');
    expect(new Set(await nodes.world.settle(Promise.all(writes), 5000))).toEqual(new Set([null]));
    expectEqual(nodes);
  });

  test('TL-20: a log that fills is warned of; with on-log-full: throttle hosts are slowed from three quarters on', async () => {
    const nodes = await logged({ seed: 'filling', settings: { onLogFull: 'throttle' } });
    await away(nodes);
    const usedAtFirstPause: number[] = [];
    for (let at = 0; at < 110 && usedAtFirstPause.length === 0; at++) {
      await nodes.world.settle(nodes.write(nodes.east, 0, at & 0xff, 32 * 1024), 20_000);
      const { owner } = nodes.east.group;
      const { usedBytes = 0, capacityBytes = 1 } = owner?.log?.status() ?? {};
      if (owner?.holds.has('merge') === true) usedAtFirstPause.push(usedBytes / capacityBytes);
    }
    expect(usedAtFirstPause[0]).toBeGreaterThan(0.7);
    for (let at = 0; at < 12; at++) await nodes.world.settle(nodes.write(nodes.east, 0, at, 32 * 1024), 20_000);
    await nodes.world.run(1500);
    expect(nodes.east.events.some((event) => /8\d % of the log are used/.test(event))).toBe(true);
    expect(await back(nodes)).not.toContain('inconsistent');
    expectEqual(nodes);
  });

  test('TL-20: with on-target-loss: suspend hosts wait for the target, and lose nothing', async () => {
    const nodes = await logged({ seed: 'rather stop', settings: { onTargetLoss: 'suspend' } });
    nodes.link(false);
    let told = false;
    void nodes.write(nodes.east, 0, 3).then(() => (told = true));
    await nodes.world.run(5000);
    expect(told).toBe(false);
    await back(nodes);
    await nodes.until(() => told);
    expectEqual(nodes);
  });

  test('TL-20: with on-congestion: log an asynchronous target that is too slow follows from the log', async () => {
    const nodes = await logged({
      seed: 'congested',
      mode: 'async',
      settings: { lagWritesMax: 8, onCongestion: 'log' },
    });
    nodes.disk(nodes.west).hang();
    for (let at = 1; at < 60; at++) expect(await write(nodes, at, at)).toBeNull();
    expect((await nodes.record()).legs['west']?.class).toBe('behind');
    nodes.disk(nodes.west).unhang();
    const seen = await back(nodes);
    expect(seen).not.toContain('inconsistent');
    await nodes.world.run(1000);
    expectEqual(nodes);
  });

  test('a pause by the user is an outage like any other', async () => {
    const nodes = await logged({ seed: 'paused' });
    const pause = (paused: boolean): Promise<void> =>
      asked(nodes, nodes.east, (group) => group.pauseMirror('west', paused));
    await pause(true);
    for (let at = 1; at < 20; at++) await write(nodes, at, at);
    await pause(false);
    const seen = await back(nodes);
    expect(seen).toContain('Outdated Merging');
    expect(seen).not.toContain('inconsistent');
    expectEqual(nodes);
  });

  test('BY-3: a bookmark set meanwhile stands in its place in the log, and reaches the target', async () => {
    const nodes = await logged({ seed: 'bookmark' });
    await away(nodes);
    await write(nodes, 1, 1);
    const mark = await asked(nodes, nodes.east, (group) => group.markLog('before the upgrade'));
    await write(nodes, 2, 2);
    const { moments } = await asked(nodes, nodes.east, (group) => group.logMoments({ limit: 100, extents: true }));
    const at = moments.findIndex(({ name }) => name === 'before the upgrade');
    expect(moments[at]?.position).toBe(mark.position);
    expect(moments[at - 1]).toMatchObject({ kind: 'epochEnd', position: mark.position });
    expect(moments[at + 1]?.extents).toEqual([{ volume: 'vol0', offset: 1024, length: 512 }]);
    await back(nodes);
    const [known] = nodes.west.group.leg?.state.marks ?? [];
    expect(known === undefined ? null : formatPosition(known.position)).toBe(mark.position);
  });

  test('HG-5: two that left at different times are each merged from the one log, the sooner one not kept by the later', async () => {
    const nodes = new Nodes({ seed: 'two away', legs: ['east', 'west', 'south'], logBytes, settings });
    for (const name of ['east', 'west', 'south']) nodes.start(name);
    const whole = (name: string): boolean => nodes.classOf(name) === 'inSync';
    await nodes.until(() => whole('west') && whole('south'));
    const seen = new Set<string>();
    const look = (): void => {
      for (const name of ['west', 'south']) seen.add(nodes.node(name).group.leg?.state.condition ?? '');
    };
    let place = 0;
    for (const name of ['west', 'south']) {
      nodes.link(false, name);
      for (let count = 0; count < 10; count++) expect(await write(nodes, ++place, place)).toBeNull();
      await nodes.until(() => shown(nodes.east, name).replication === 'Logging');
    }
    const behind = ['west', 'south'].map((name) => shown(nodes.east, name).lag.writes ?? 0);
    expect(behind[0]).toBeGreaterThan(behind[1] ?? 0);
    nodes.link(true, 'south');
    await nodes.until(() => {
      look();
      return whole('south');
    });
    expect(shown(nodes.east, 'west').replication).toBe('Logging');
    for (let count = 0; count < 10; count++) await write(nodes, ++place, place);
    nodes.link(true, 'west');
    await nodes.until(() => {
      look();
      return whole('west');
    });
    expect(seen).not.toContain('inconsistent');
    const images = ['east', 'west', 'south'].map((name) => nodes.disk(nodes.node(name)).cached);
    expect(images.map((image) => Buffer.compare(image, images[0] ?? image))).toEqual([0, 0, 0]);
  });
});
