import { describe, expect, it } from 'vitest';
import type { Indication } from '../../src/pulse/indication.ts';
import { LinkChannel } from '../../src/pulse/link-channel.ts';
import { advance, chosen, emptyTable, sealTable, type StatusTable } from '../../src/pulse/status-table.ts';
import { World } from '../../src/sim/world/world.ts';
import { hearing, key, lan, members, refused, startNode, TestChannel, type TestNode } from './nodes.ts';

async function pair(seed: string, change: Parameters<typeof startNode>[2] = {}) {
  const world = new World({ seed });
  const east = startNode(world, 'east', change);
  const west = startNode(world, 'west', change);
  await world.run(2000);
  return { world, east, west };
}

/** Codes of what a node was told, `over` behind those that ended. */
const codes = ({ indications }: TestNode): string[] =>
  indications.map(({ indication, from }) => `${from} ${indication.code}${indication.over ? ' over' : ''}`);

const cut = (world: World, from: string, to: string): void =>
  world.network.partition(world.machine(from), world.machine(to), 'oneToOther');

const failing: Indication = {
  component: 'disk',
  id: '/dev/sdb',
  code: 'disk-failed',
  level: 'SERIOUS',
  node: 'east',
  group: 'g1',
  atMs: 1,
  text: 'the disk does not answer',
  over: false,
};

describe('two pulses', () => {
  it('hear each other within some intervals, and what each says of itself', async () => {
    const { east, west, world } = await pair('first');
    east.pulse.say({ leaving: false, automatic: true, lease: 'valid', ownedVersion: 4, serving: 2 });
    await world.run(500);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['alive', 'alive']);
    expect(west.pulse.snapshot().peers[0]).toMatchObject({
      node: 'east',
      site: 'here',
      said: { automatic: true, lease: 'valid', ownedVersion: 4, serving: 2, hears: { west: ['network'] } },
    });
    expect(west.pulse.table()).toMatchObject({ network: { enable: 'ENABLE', remote: 'ALIVE' } });
    expect(west.pulse.snapshot().masters).toEqual({ here: 'east', there: 'west' });
    expect(refused(east, 'west')?.unproven ?? 0).toBeLessThan(3);
  });

  it('see a death after the timeout, and report it once (HM-7, HM-12, HM-16)', async () => {
    const { east, west, world } = await pair('death');
    east.process.crash();
    await world.run(750);
    expect(hearing(west, 'east')).toBe('alive');
    await world.run(500);
    expect(hearing(west, 'east')).toBe('silent');
    await world.run(5000);
    expect(codes(west)).toEqual(['west network-path-failed']);
    expect(west.pulse.table().network).toEqual({ enable: 'FAILED', remote: 'FAILED' });
    expect(west.pulse.snapshot().masters).toEqual({ here: null, there: 'west' });
  });

  it('take one back after its probation, sending to it all the while (HM-19)', async () => {
    const { east, west, world } = await pair('probation');
    world.network.partition(east.process.machine, west.process.machine);
    await world.run(3000);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['silent', 'silent']);
    world.network.healAll();
    await world.run(1000);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['probation', 'probation']);
    expect(west.pulse.table().network.enable).toBe('FAILED');
    await world.run(2000);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['alive', 'alive']);
    expect(west.pulse.table().network).toEqual({ enable: 'ENABLE', remote: 'ALIVE' });
    expect(codes(west).filter((code) => code.startsWith('west'))).toEqual([
      'west network-path-failed',
      'west network-path-failed over',
    ]);
  });

  it('hear right across a cut of one direction (HM-12)', async () => {
    const { east, west, world } = await pair('one-way');
    cut(world, 'east', 'west');
    await world.run(3000);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['alive', 'silent']);
    // The one that is heard says that it does not hear.
    expect(east.pulse.snapshot().peers[0]?.said?.hears).toEqual({ east: [] });
  });

  it('do not take a process for dead that cannot hear them after its start', async () => {
    const { east, west, world } = await pair('deaf');
    cut(world, 'west', 'east');
    east.process.crash();
    await world.run(300);
    startNode(world, 'east');
    await world.run(20_000);
    expect(hearing(west, 'east')).toBe('unknown');
    world.network.healAll();
    await world.run(4000);
    expect(hearing(west, 'east')).toBe('alive');
  });

  it('know a restarted process at once, when it was away for less than the timeout', async () => {
    const { east, west, world } = await pair('restart');
    const before = west.pulse.snapshot().peers[0]?.incarnation;
    east.process.crash();
    await world.run(300);
    startNode(world, 'east');
    await world.run(1500);
    expect(hearing(west, 'east')).toBe('alive');
    expect(west.pulse.snapshot().peers[0]?.incarnation).not.toBe(before);
    expect(codes(west)).toEqual([]);
  });

  it('are not disturbed by loss of 30 %, copies and delays', async () => {
    const world = new World({ seed: 'loss' });
    world.datagrams.lostShare = 0.3;
    world.datagrams.duplicatedShare = 0.3;
    world.datagrams.lateShare = 0.2;
    // Five messages in a timeout: all of them are lost about once in 400 timeouts, with 1.5 s once in 3000.
    const settings = { timeoutMs: 2000 };
    const east = startNode(world, 'east', { settings });
    const west = startNode(world, 'west', { settings });
    await world.run(60_000);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['alive', 'alive']);
    expect(codes(east).concat(codes(west))).toEqual([]);
    expect(refused(west, 'east')?.forged).toBe(0);
  });

  it('do the same again with the same seed', async () => {
    const run = async (): Promise<string> => {
      const world = new World({ seed: 'again' });
      world.datagrams.lostShare = 0.3;
      startNode(world, 'east');
      const west = startNode(world, 'west');
      await world.run(20_000);
      return `${world.traceHash} ${JSON.stringify(west.snapshots)}`;
    };
    expect(await run()).toBe(await run());
  });
});

describe('a pulse that stood still', () => {
  it('does not believe that others are dead when it goes on', async () => {
    const { east, west, world } = await pair('stopped');
    west.process.pause(10_000);
    await world.run(10_000);
    const before = west.snapshots.length;
    await world.run(3000);
    expect(hearing(west, 'east')).toBe('alive');
    const heard = west.snapshots.slice(before).flatMap(({ peers }) => peers[0]?.heard.map((one) => one.hearing));
    expect(heard.filter((one) => one !== 'alive')).toEqual([]);
    expect(codes(west).filter((code) => code.startsWith('west'))).toEqual([]);
    // The others saw it well: it did not send.
    expect(codes(east)).toContain('east network-path-failed');
  });

  it('sees a death that happened meanwhile one timeout after it goes on', async () => {
    const { east, west, world } = await pair('stopped-dead');
    west.process.pause(10_000);
    await world.run(1000);
    east.process.crash();
    await world.run(9800);
    expect(hearing(west, 'east')).toBe('alive');
    await world.run(700);
    expect(hearing(west, 'east')).toBe('silent');
  });

  it('hears what lies in its sockets before it judges', async () => {
    const { west, world } = await pair('short-stops');
    for (let round = 0; round < 20; round++) {
      west.process.pause(480);
      await world.run(500);
    }
    expect(hearing(west, 'east')).toBe('alive');
    expect(codes(west).filter((code) => code.startsWith('west'))).toEqual([]);
  });
});

describe('a muted pulse', () => {
  it('sends nothing, listens on, and says why', async () => {
    const { east, west, world } = await pair('muted');
    east.pulse.mute('the engine has not moved for 1.2 s');
    await world.run(2000);
    expect([hearing(east, 'west'), hearing(west, 'east')]).toEqual(['alive', 'silent']);
    expect(east.pulse.snapshot().muted).toBe('the engine has not moved for 1.2 s');
    east.pulse.mute(null);
    await world.run(3000);
    expect(hearing(west, 'east')).toBe('alive');
  });
});

describe('messages that somebody else plays', () => {
  it('are refused from a recording of this run and of an earlier one, and logged once a minute (BY-6)', async () => {
    const lines: string[] = [];
    const world = new World({ seed: 'replay', log: ({ message }) => lines.push(message) });
    const wires = ['east', 'west'].map((name) => {
      const other = name === 'east' ? 'west' : 'east';
      return new TestChannel('interconnect:ic1', { targets: [other], sources: [other] });
    });
    const [eastWire, westWire] = wires;
    if (eastWire === undefined || westWire === undefined) throw new Error('two wires');
    const recorded: Uint8Array[] = [];
    eastWire.wire = (_to, message) => {
      recorded.push(message);
      west.process.call(() => westWire.arrive(message));
    };
    westWire.wire = (_to, message) => east.process.call(() => eastWire.arrive(message));
    const east = startNode(world, 'east', { network: false, channels: [{ channel: eastWire, device: 'ic' }] });
    const west = startNode(world, 'west', { network: false, channels: [{ channel: westWire, device: 'ic' }] });
    await world.run(5000);
    expect(hearing(west, 'east', 'interconnect:ic1')).toBe('alive');
    east.process.crash();
    const play = async (to: TestNode, wire: TestChannel): Promise<void> => {
      for (const message of recorded.slice(-20)) {
        to.process.call(() => wire.arrive(message));
        await world.run(200);
      }
    };
    await play(west, westWire);
    expect(hearing(west, 'east', 'interconnect:ic1')).toBe('silent');
    expect(refused(west, 'east')?.replayed).toBe(20);
    expect(lines.filter((line) => line.includes('replayed')).length).toBe(1);
    west.process.crash();
    const freshWire = new TestChannel('interconnect:ic1', { targets: ['east'], sources: ['east'] });
    const fresh = startNode(world, 'west', { network: false, channels: [{ channel: freshWire, device: 'ic' }] });
    await world.run(100);
    await play(fresh, freshWire);
    expect(refused(fresh, 'east')?.unproven).toBe(20);
    expect(fresh.pulse.snapshot().peers[0]?.said).toBe(null);
    await world.run(12_000);
    expect(hearing(fresh, 'east', 'interconnect:ic1')).toBe('silent');
  });
});

describe('the procedure (HM-14)', () => {
  const mirrored = async (seed: string) => {
    const world = new World({ seed });
    const settings = { mirrors: [{ name: 'hb1', from: 'east', to: 'west', paths: {} }] };
    const out = new TestChannel('mirror:hb1', { targets: ['west'], sources: [] });
    const into = new TestChannel('mirror:hb1', { targets: [], sources: ['east'] });
    out.wire = (_to, message) => west.process.call(() => into.arrive(message));
    const east = startNode(world, 'east', { settings, channels: [{ channel: out, device: '/hb/out' }] });
    const west = startNode(world, 'west', { settings, channels: [{ channel: into, device: '/hb/in' }] });
    await world.run(2000);
    return { world, east, west, out, into };
  };

  it('is applied here at once and at the other site, while heartbeats go on', async () => {
    const { world, east, west } = await mirrored('use');
    const result = await world.settle(east.pulse.use({ select: 'mirrors', confirmed: false }));
    expect(result.passedOn).toEqual([{ node: 'west', confirmed: true, problem: null }]);
    expect(east.pulse.table().network.enable).toBe('DISABLE');
    expect(west.pulse.table().network.enable).toBe('DISABLE');
    await world.run(5000);
    expect(hearing(west, 'east', 'mirror:hb1')).toBe('alive');
    // The one mirror goes one way: east hears nothing any more, and says so.
    expect(codes(west)).toEqual(['east no-heartbeat-path']);
    const { sent } = east.pulse.status().channels[0] ?? {};
    await world.run(2000);
    expect(east.pulse.status().channels[0]?.sent).toBe(sent);
  });

  it('asks before the last path is disabled (HM-14, HM-13)', async () => {
    const { world, east, west } = await mirrored('last');
    await world.settle(east.pulse.use({ disable: ['mirror:hb1'], confirmed: false }));
    expect(west.pulse.table().list[0]?.status).toBe('DISABLE');
    await expect(east.pulse.use({ disable: ['network'], confirmed: false })).rejects.toMatchObject({
      code: 'E_REFUSED',
    });
    expect(east.pulse.table().network.enable).toBe('ENABLE');
    await world.settle(east.pulse.use({ disable: ['network'], confirmed: true }));
    expect(west.pulse.table().network.enable).toBe('DISABLE');
    await world.run(100);
    expect(codes(east)).toContain('east no-heartbeat-path');
  });

  it('refuses a path that nobody knows', async () => {
    const { east } = await mirrored('unknown');
    await expect(east.pulse.use({ enable: ['hb9'], confirmed: true })).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
      message: 'there is no heartbeat path hb9 to choose; there are: network, mirrors, hb1',
    });
  });

  it('lets a FAILED path count at once (HM-19)', async () => {
    const { world, east, west } = await mirrored('at-once');
    cut(world, 'east', 'west');
    await world.run(3000);
    expect(west.pulse.table().network.enable).toBe('FAILED');
    world.network.healAll();
    await world.run(300);
    expect(hearing(west, 'east')).toBe('probation');
    await world.settle(west.pulse.use({ enable: ['network'], confirmed: false }));
    expect(hearing(west, 'east')).toBe('alive');
    expect(east.pulse.table().network.enable).toBe('ENABLE');
  });

  it('keeps what the user chose over a restart', async () => {
    const { world, west } = await mirrored('kept');
    await world.settle(west.pulse.use({ select: 'mirrors', confirmed: false }));
    await world.settle(west.pulse.use({ enable: ['network'], confirmed: false }));
    await world.settle(west.pulse.use({ disable: ['hb1'], confirmed: false }));
    const table = west.pulse.table();
    await world.settle(west.pulse.use({ enable: ['hb1'], confirmed: false }));
    west.process.crash();
    const into = new TestChannel('mirror:hb1', { targets: [], sources: ['east'] });
    const again = startNode(world, 'west', { channels: [{ channel: into, device: '/hb/in' }], table });
    await world.run(1000);
    expect(again.pulse.table().list[0]).toMatchObject({ name: 'hb1', status: 'DISABLE' });
    expect(again.pulse.table().network.enable).toBe('ENABLE');
    const without = startNode(world, 'north', {
      members: [...members, { name: 'north', site: 'there' }],
      table: { ...table, network: { enable: 'DISABLE', remote: null } },
    });
    expect(without.pulse.table().network.enable).toBe('DISABLE');
  });

  it('shows a mirror whose write fails as FAILED until it works for the probation (HM-11, HM-19)', async () => {
    const { world, east, west, out } = await mirrored('write');
    east.process.call(() => out.fault('write to /hb/out failed: E_IO'));
    await world.run(100);
    expect([east.pulse.table().mirrors.enable, east.pulse.table().list[0]?.status]).toEqual(['FAILED', 'FAILED']);
    expect(codes(east)).toEqual(['east mirror-failed']);
    await world.run(400);
    expect(codes(west)).toEqual(['east mirror-failed']);
    east.process.call(() => out.fault(null));
    await world.run(1900);
    expect(east.pulse.table().mirrors.enable).toBe('FAILED');
    await world.run(400);
    expect(east.pulse.table().mirrors.enable).toBe('ENABLE');
  });

  it('shows a mirror in which nothing valid is read as FAILED, and the network as the only way left (HM-12)', async () => {
    const { world, west, out } = await mirrored('read');
    out.wire = () => {};
    await world.run(2000);
    expect(west.pulse.table()).toMatchObject({ mirrors: { enable: 'FAILED', remote: 'FAILED' } });
    expect(codes(west)).toEqual(['west mirror-failed', 'west heartbeat-only-network']);
  });

  it('takes mirrors in and out without disturbing the checking (HM-10)', async () => {
    const { world, west } = await mirrored('install');
    const more = new TestChannel('mirror:hb2', { targets: [], sources: ['east'] });
    west.process.call(() => west.pulse.addChannel({ channel: more, device: '/hb/2' }));
    await world.run(500);
    expect(hearing(west, 'east', 'mirror:hb2')).toBe('unknown');
    expect(west.pulse.table().list[1]).toMatchObject({ name: 'hb2', direction: 'receive', device: '/hb/2' });
    await west.pulse.removeChannel('mirror:hb2');
    expect(west.pulse.table().list[1]).toBe(null);
    await world.run(2000);
    expect(codes(west)).toEqual([]);
  });
});

describe('letters in heartbeats', () => {
  it('bring an indication to the other site by whatever path works, once (HM-16)', async () => {
    const { east, west, world } = await pair('indicate');
    cut(world, 'east', 'west');
    await world.run(100);
    east.pulse.indicate(failing);
    await world.run(3000);
    expect(west.indications.filter(({ from }) => from === 'east')).toEqual([]);
    world.network.healAll();
    await world.run(3000);
    expect(west.indications.filter(({ from }) => from === 'east')).toContainEqual({
      from: 'east',
      indication: failing,
    });
    expect(west.indications.filter(({ indication }) => indication.code === 'disk-failed').length).toBe(1);
    expect(east.pulse.status().waiting).toEqual({ west: 0 });
  });

  it('carry a request and its answer, also across loss (HM-8)', async () => {
    const { east, west, world } = await pair('control');
    world.datagrams.lostShare = 0.3;
    await world.settle(east.pulse.sendControl('west', { kind: 'mirror.install', body: { name: 'hb9' } }, 10_000));
    expect(west.controls).toEqual([{ from: 'east', message: { kind: 'mirror.install', body: { name: 'hb9' } } }]);
    west.answer = 'no mirror is created';
    await expect(
      world.settle(east.pulse.sendControl('west', { kind: 'mirror.install', body: {} }, 10_000)),
    ).rejects.toMatchObject({ code: 'E_REFUSED', message: 'west: no mirror is created' });
  });

  it('give a request up when no path brings it there in time', async () => {
    const { east, world } = await pair('lost');
    cut(world, 'east', 'west');
    await expect(
      world.settle(east.pulse.sendControl('west', { kind: 'mirror.install', body: {} }, 2000)),
    ).rejects.toMatchObject({ code: 'E_TIMEOUT' });
    await expect(east.pulse.sendControl('nobody', { kind: 'x', body: {} }, 2000)).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });
});

describe('a planned stop (AS-7)', () => {
  it('is announced, and known to be known, before the pulse ends', async () => {
    const { east, west, world } = await pair('leave');
    const startedMs = world.nowMs;
    await world.settle(east.pulse.leave());
    expect(world.nowMs - startedMs).toBeLessThan(400);
    expect(west.pulse.snapshot().peers[0]?.said?.leaving).toBe(true);
    await world.settle(east.pulse.stop());
    east.process.exit();
    await world.run(5000);
    expect(hearing(west, 'east')).toBe('silent');
    expect(codes(west)).toEqual([]);
  });

  it('does not wait for ever for a node that does not hear it', async () => {
    const { east, world } = await pair('leave-deaf');
    cut(world, 'east', 'west');
    const startedMs = world.nowMs;
    await world.settle(east.pulse.leave());
    expect(world.nowMs - startedMs).toBeLessThan(1200);
  });
});

describe('the link as a channel (TL-4)', () => {
  it('is heard by what its connections hear, and carries no messages', async () => {
    const { world, west } = await pair('link', { channels: [] });
    west.process.call(() => west.pulse.addChannel({ channel: new LinkChannel(['east']), device: 'link' }));
    for (let round = 0; round < 10; round++) {
      west.process.call(() => west.pulse.heard('link', 'east', 100));
      await world.run(300);
    }
    expect(hearing(west, 'east', 'link')).toBe('alive');
    // Told again and again of the same moment, which grows old.
    for (let round = 0; round < 10; round++) {
      west.process.call(() => west.pulse.heard('link', 'east', 400 + 300 * round));
      await world.run(300);
    }
    expect([hearing(west, 'east', 'link'), hearing(west, 'east')]).toEqual(['silent', 'alive']);
    // The node tells of its links.
    expect(codes(west)).toEqual([]);
  });
});

describe('a node that fails the check of the user (HM-7)', () => {
  it('is not believed, by whatever channel, and is heard again once it has passed; it hears us all along', async () => {
    const { world, east, west } = await pair('unfit');
    const link = new LinkChannel(['east']);
    west.process.call(() => west.pulse.addChannel({ channel: link, device: 'link' }));
    const said = async (ms: number): Promise<void> => {
      for (let leftMs = ms; leftMs > 0; leftMs -= 200) {
        west.process.call(() => west.pulse.heard('link', 'east', 0));
        await world.run(200);
      }
    };
    await said(1000);
    west.process.call(() => west.pulse.checked('east', 'it ended with status 1'));
    await said(1400);
    expect([hearing(west, 'east'), hearing(west, 'east', 'link')]).toEqual(['silent', 'silent']);
    expect(west.pulse.snapshot().peers[0]?.heard.map(({ unfit }) => unfit)).toEqual(
      Array(2).fill('it ended with status 1'),
    );
    expect(refused(west, 'east')?.unfit).toBeGreaterThan(3);
    expect(hearing(east, 'west')).toBe('alive');
    west.process.call(() => west.pulse.checked('east', null));
    await said(4000);
    expect([hearing(west, 'east'), hearing(west, 'east', 'link')]).toEqual(['alive', 'alive']);
    expect(west.pulse.snapshot().peers[0]?.heard[0]).not.toHaveProperty('unfit');
  });

  it('and has just started, is believed when it has passed', async () => {
    const { world, east, west } = await pair('unfit-new');
    east.process.crash();
    west.process.call(() => west.pulse.checked('east', 'no'));
    startNode(world, 'east');
    await world.run(3000);
    expect(hearing(west, 'east')).toBe('silent');
    west.process.call(() => west.pulse.checked('east', null));
    await world.run(3000);
    expect(hearing(west, 'east')).toBe('alive');
  });
});

describe('masters among several nodes (HM-1)', () => {
  const three = [
    { name: 'a', site: 'here' },
    { name: 'b', site: 'here' },
    { name: 'c', site: 'there' },
  ];

  it('pass on after the master timeout, and stay when the first comes back', async () => {
    const world = new World({ seed: 'masters' });
    const settings = { masterTimeoutMs: 2000 };
    const [a, b, c] = three.map(({ name }) => startNode(world, name, { members: three, settings }));
    await world.run(3000);
    const mastersOf = (node: TestNode | undefined) => node?.pulse.snapshot().masters['here'];
    expect([a, b, c].map(mastersOf)).toEqual(['a', 'a', 'a']);
    a?.process.crash();
    await world.run(1800);
    expect([b, c].map(mastersOf)).toEqual(['a', 'a']);
    await world.run(1000);
    expect([b, c].map(mastersOf)).toEqual(['b', 'b']);
    const again = startNode(world, 'a', { members: three, settings });
    await world.run(4000);
    expect([again, b, c].map(mastersOf)).toEqual(['b', 'b', 'b']);
  });

  describe('pick up what was chosen while they were away, when they take the role (HM-5)', () => {
    const settings = { masterTimeoutMs: 2000 };
    const later = (table: StatusTable, atMs: number): StatusTable => chosen(table, table, atMs, atMs);
    /** As `c` has it: the network and one mirror are not to be used. */
    const choice = [
      { kind: 'install', row: { name: 'c-b', direction: 'send', device: '/hb/out' } },
      { kind: 'use', path: 'network', enable: false },
      { kind: 'use', path: { mirror: 'c-b' }, enable: false },
    ] as const;
    const theirs = choice.reduce(advance, emptyTable('c', 'there', { network: true }));

    function scene(sealed: Uint8Array, table?: StatusTable) {
      const world = new World({ seed: 'pick-up' });
      const mirror = new TestChannel('mirror:c-b', { targets: [], sources: ['c'] });
      mirror.table = sealed;
      const channels = [{ channel: mirror, device: '/hb/in' }];
      const a = startNode(world, 'a', { members: three, settings });
      const b = startNode(world, 'b', {
        members: three,
        settings,
        channels,
        ...(table === undefined ? {} : { table }),
      });
      const used = (): unknown[] => [b.pulse.table().network.enable, b.pulse.table().list[0]?.status];
      return { world, a, b, used };
    }

    it('once they are master, and not before', async () => {
      const { world, a, b, used } = scene(sealTable(later(theirs, 5000), key));
      await world.run(3000);
      expect(used()).not.toContain('DISABLE');
      a.process.crash();
      await world.run(3000);
      expect([used(), b.pulse.table().chosenAtMs]).toEqual([['DISABLE', 'DISABLE'], 5000]);
    });

    it.each<[string, Uint8Array, StatusTable?]>([
      ['sealed by another key', sealTable(later(theirs, 5000), new Uint8Array(32))],
      ['cut off', sealTable(later(theirs, 5000), key).subarray(1)],
      ['empty', new Uint8Array(0)],
      [
        'older than their own choice',
        sealTable(later(theirs, 5000), key),
        later(emptyTable('b', 'here', { network: true }), 5001),
      ],
    ])('not from a table that is %s', async (_, sealed, table) => {
      const { world, a, used } = scene(sealed, table);
      a.process.crash();
      await world.run(6000);
      expect(used()).not.toContain('DISABLE');
    });

    it('and a choice made anew is later than what was picked up, though the clock is behind', async () => {
      const { world, a, b, used } = scene(sealTable(later(theirs, 1e15), key));
      a.process.crash();
      await world.run(6000);
      await world.settle(b.pulse.use({ enable: ['network'], confirmed: true }));
      expect([used()[0], b.pulse.table().chosenAtMs]).toEqual(['FAILED', 1e15 + 1]);
    });
  });
});

it('beats at the same moments as the others, whenever it was started, and not in between', async () => {
  const world = new World({ seed: 'together' });
  const east = startNode(world, 'east');
  await world.run(77);
  const west = startNode(world, 'west');
  await world.run(3000);
  const sent = (): (number | undefined)[] => [east, west].map(({ pulse }) => pulse.status().channels[0]?.sent);
  const { clock } = east.process.environment;
  await world.run(2 * lan.intervalMs - (clock.wallMs() % lan.intervalMs) - 10);
  const [before = 0, beforeToo = 0] = sent();
  await world.run(20);
  expect(sent()).toEqual([before + 1, beforeToo + 1]);
  await world.run(lan.intervalMs - 20);
  expect(sent()).toEqual([before + 1, beforeToo + 1]);
});

it('does nothing before its start, and nothing after its stop', async () => {
  const world = new World({ seed: 'quiet' });
  const west = startNode(world, 'west', { start: false });
  await world.run(1000);
  expect(west.pulse.status().channels[0]?.sent).toBe(0);
  west.process.call(() => west.pulse.start());
  await world.run(lan.intervalMs * 5 + 100);
  expect(west.pulse.status().channels[0]?.sent).toBeGreaterThanOrEqual(6);
  await world.settle(west.pulse.stop());
  const { sent } = west.pulse.status().channels[0] ?? {};
  await world.run(2000);
  expect(west.pulse.status().channels[0]?.sent).toBe(sent);
});
