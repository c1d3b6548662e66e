/** The agent of whole nodes in a simulated world, by what its scripted pulse hears. */
import { describe, expect, it } from 'vitest';
import { Cluster } from './cluster.ts';

const rules = (cluster: Cluster, name: string): string[] =>
  cluster
    .at(name)
    .node.agentDecisions('g1')
    .map(({ verdict }) => verdict.rule);

describe('a lost owner', () => {
  it('is taken over from, and the decision tells who was silent (BY-7)', async () => {
    const cluster = await Cluster.synced({ seed: 'lost' });
    cluster.at('east').process.crash();
    const killedMs = cluster.world.nowMs;
    await cluster.world.run(1000);
    cluster.silence('east');
    await cluster.until('taken over', () => cluster.serving('west'));
    expect(cluster.world.nowMs - killedMs).toBeLessThan(6000);
    expect(rules(cluster, 'west').at(-1)).toBe('owner-lost');
    const last = cluster.at('west').node.agentDecisions('g1').at(-1);
    expect(last?.outcome).toMatch(/generation \d+\. No acknowledged write is lost/);
    expect(last?.verdict.text).toContain('east is silent on network');
  });

  it('is not taken over from while one channel hears it (HM-13)', async () => {
    const cluster = await Cluster.synced({ seed: 'one channel' });
    cluster.at('east').process.crash();
    cluster.at('west').pulse.hear('east', 'mirror', 'alive');
    cluster.silence('east');
    await cluster.world.run(20_000);
    expect(cluster.serving('west')).toBe(false);
    expect(cluster.at('west').node.groups.get('g1')?.record?.owner).toBe('east');
  });

  it('is not taken over from when it said that it stops; when it is back it serves (AS-7)', async () => {
    const cluster = await Cluster.synced({ seed: 'planned' });
    const { node, process, pulse } = cluster.at('east');
    process.call(() => void node.stop().then(() => process.exit()));
    await cluster.until('stopped', () => !process.alive);
    expect(pulse.left).toBe(true);
    cluster.silence('east');
    await cluster.world.run(20_000);
    expect(cluster.serving('west')).toBe(false);
    expect(rules(cluster, 'west').at(-1)).toBe('planned-shutdown');
    // Remembered over a restart of the one that was told.
    cluster.at('west').process.crash();
    cluster.start('west', 'unknown');
    await cluster.world.run(2000);
    cluster.silence('east');
    await cluster.world.run(10_000);
    expect(rules(cluster, 'west').at(-1)).toBe('planned-shutdown');
    cluster.start('east');
    cluster.silence('east', 'alive');
    await cluster.until('serving again', () => cluster.serving('east'));
    expect(rules(cluster, 'west').at(-1)).toBe('owner-alive');
  });

  it('whose process answers when asked is not taken over from, and somebody is told (AS-4)', async () => {
    const cluster = await Cluster.synced({ seed: 'answers' });
    cluster.silence('east');
    await cluster.world.run(5000);
    expect(cluster.serving('east')).toBe(true);
    expect(rules(cluster, 'west')).toContain('presence-answered');
    expect(cluster.at('west').events.join('\n')).toContain('east answers over the network');
  });

  it('is not taken over from with automatic take-over off, for the group or at the node (AS-14)', async () => {
    for (const where of ['group', 'node'] as const) {
      const cluster = await Cluster.synced({
        seed: `off ${where}`,
        takeOver: { automatic: where === 'group' ? 'off' : 'on' },
      });
      const { node } = cluster.at('west');
      if (where === 'node') await cluster.world.settle(node.setNodeAutomatic({ node: 'west', on: false }));
      const told = (): boolean =>
        cluster.at('west').events.some((event) => event.includes('is not taken over by west'));
      await cluster.world.run(5000);
      // Its owner lives: nobody misses a take-over.
      expect(told()).toBe(false);
      cluster.at('east').process.crash();
      cluster.silence('east');
      await cluster.world.run(15_000);
      expect(cluster.serving('west')).toBe(false);
      expect(rules(cluster, 'west').at(-1)).toBe('automatic-off');
      expect(told()).toBe(true);
    }
  });

  it('is awaited after a start, but not by the survivor of before (AS-5, AS-8)', async () => {
    const cluster = await Cluster.synced({ seed: 'start' });
    cluster.at('west').process.crash();
    cluster.at('east').process.crash();
    cluster.start('west', 'unknown');
    await cluster.world.run(100);
    cluster.silence('east', 'unknown');
    await cluster.world.run(8000);
    expect(rules(cluster, 'west').at(-1)).toBe('starting-up');
    cluster.silence('east', 'silent');
    await cluster.until('taken over', () => cluster.serving('west'));
    // The survivor is restarted before its partner is back: it does not wait for the start-up time.
    cluster.at('west').process.crash();
    cluster.start('west', 'unknown');
    await cluster.until('serving by itself', () => cluster.serving('west'));
    expect(cluster.at('west').node.agentState.waitingFor).toHaveProperty('east');
    cluster.silence('east', 'alive');
    await cluster.world.run(100);
    expect(cluster.at('west').node.agentState.waitingFor).not.toHaveProperty('east');
  });

  it('of three goes to the one of its site, then in succession (HM-21, AS-12)', async () => {
    const nodes = ['east', 'west', 'south'];
    const near = await Cluster.synced({ seed: 'near', nodes, sites: { east: 'a', south: 'a', west: 'b' } });
    near.at('east').process.crash();
    near.silence('east');
    await near.until('taken over', () => near.serving('south') || near.serving('west'));
    expect(near.serving('south')).toBe(true);
    expect(rules(near, 'west')).toContain('precedence');
    near.at('south').process.crash();
    near.silence('south');
    await near.until('taken over again', () => near.serving('west'));
  });

  it('is taken over from by the next one when the first in succession does not get on (AS-12)', async () => {
    const cluster = await Cluster.synced({ seed: 'next', nodes: ['east', 'west', 'south'] });
    await cluster.world.settle(cluster.at('west').node.setNodeAutomatic({ node: 'west', on: false }));
    cluster.at('east').process.crash();
    cluster.silence('east');
    await cluster.until('taken over', () => cluster.serving('south'));
  });
});

describe('an owner that cannot do its job', () => {
  it('whose disk fails hands over, and hosts see no error (TL-19, HM-17)', async () => {
    const cluster = await Cluster.synced({ seed: 'disk' });
    const { process, node } = cluster.at('east');
    const disk = process.machine.disks.get('/data/volumes/v1.img');
    disk?.failNext('write');
    const outcome: string[] = [];
    process.call(() => {
      node.groups
        .get('g1')
        ?.owner?.write(0, 0, new Uint8Array(512).fill(1), false, (fault) => outcome.push(String(fault)));
    });
    await cluster.until('handed over', () => cluster.serving('west'));
    expect(outcome.every((fault) => fault === 'moved' || fault === 'null')).toBe(true);
    expect(cluster.at('east').events.join('\n')).toContain('handing over: its disk failed');
  });

  it('falls silent when nobody can be told, and is heard again when another one owns the group (HM-17)', async () => {
    const cluster = await Cluster.synced({ seed: 'silent' });
    const { process, node, pulse } = cluster.at('east');
    const { network } = cluster.world;
    network.partition(process.machine, cluster.at('west').process.machine);
    process.machine.disks.get('/data/volumes/v1.img')?.failNext('write');
    process.call(() => node.groups.get('g1')?.owner?.write(0, 0, new Uint8Array(512).fill(1), false, () => {}));
    await cluster.until('silent', () => pulse.muted !== null, 120_000);
    network.healAll();
    await cluster.until('taken over', () => cluster.serving('west'), 120_000);
    await cluster.until('heard again', () => pulse.muted === null);
  });
});

describe('give-back', () => {
  it('is by hand by default, and by itself after the settle time where told so; each failure doubles it (TL-15, I12)', async () => {
    for (const giveBack of ['manual', 'auto'] as const) {
      const cluster = await Cluster.synced({
        seed: `back ${giveBack}`,
        takeOver: { giveBack, giveBackSettleMs: 5000 },
      });
      const backAfterMs: number[] = [];
      for (let failure = 0; failure < 2; failure++) {
        cluster.at('east').process.crash();
        cluster.silence('east');
        await cluster.until('taken over', () => cluster.serving('west'));
        cluster.start('east');
        cluster.silence('east', 'alive');
        await cluster.until(
          'merged back',
          () => cluster.group('west').owner?.legOf('east')?.recordClass === 'inSync',
        );
        const sinceMs = cluster.world.nowMs;
        if (giveBack === 'manual') {
          await cluster.world.run(60_000);
          expect(cluster.serving('west')).toBe(true);
          await cluster.world.settle(cluster.at('west').node.giveBack({ group: 'g1' }));
          return;
        }
        await cluster.until('given back', () => cluster.serving('east'), 60_000);
        backAfterMs.push(cluster.world.nowMs - sinceMs);
        await cluster.world.run(2000);
      }
      expect(backAfterMs[0]).toBeGreaterThan(4000);
      expect(backAfterMs[1]).toBeGreaterThan(9000);
    }
  });
});
