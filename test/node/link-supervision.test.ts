import { describe, expect, it } from 'vitest';
import { echoTimes, healthTimes, LinkSupervision } from '../../src/node/link-supervision.ts';
import { presets } from '../../src/pulse/presets.ts';
import type { PulseSettings } from '../../src/pulse/settings.ts';
import type { Heard, PulseSnapshot } from '../../src/pulse/snapshot.ts';
import { World } from '../link/world.ts';

const lan: PulseSettings = { ...presets.lan, network: true, mirrors: [], interconnects: [] };

function heardBy(channel: Partial<Heard>): Heard {
  return {
    channel: 'network',
    kind: 'network',
    enable: 'ENABLE',
    hearing: 'alive',
    silentMs: 100,
    fault: null,
    ...channel,
  };
}

/** A pulse that has this to say at any time. */
function snapshotOf(monotonicMs: number, heard: readonly Heard[]): PulseSnapshot {
  const west = { node: 'west', site: 'b', incarnation: null, heard, said: null };
  return { node: 'east', monotonicMs, wallMs: 0, peers: [west], muted: null, masters: {} };
}

describe('LinkSupervision', () => {
  it('TL-4, IM-5: takes its times from the document’s pulse, and has none without one', () => {
    expect(echoTimes(lan)).toEqual({ pingIntervalMs: 500, silenceMs: 2000 });
    expect(healthTimes(lan)).toEqual({ timeoutMs: 1500, probationMs: 1000, framesCount: true });
    expect(healthTimes({ ...lan, link: { ...lan.link, framesCount: false } })).toMatchObject({ framesCount: false });
    expect([echoTimes(null), healthTimes(null), healthTimes({ ...lan, network: false })]).toEqual([{}, null, null]);
  });

  async function told(heard: readonly Heard[], forMs: number, oldMs = 0): Promise<number[]> {
    const world = new World();
    const { clock } = world.environment('east');
    const ages: number[] = [];
    const supervision = new LinkSupervision({
      clock,
      times: () => healthTimes(lan),
      pulse: () => ({ snapshot: () => Promise.resolve(snapshotOf(world.nowMs - oldMs, heard)) }),
      heard: (_peer, agoMs) => ages.push(agoMs),
    });
    supervision.start();
    await world.run(forMs);
    supervision.stop();
    await world.run(forMs);
    return ages;
  }

  it('IM-5: asks on while nothing changes, several times within the timeout', async () => {
    expect(await told([heardBy({})], 15_000)).toHaveLength(41);
  });

  it('IM-5: takes the last of several addresses, no other channel, none that is switched off, and counts the answer’s age', async () => {
    const channels = [
      heardBy({ silentMs: 900 }),
      heardBy({ channel: 'network:2', silentMs: 300 }),
      heardBy({ channel: 'link', kind: 'link', silentMs: 1 }),
      heardBy({ channel: 'network:3', enable: 'DISABLE', silentMs: 2 }),
      heardBy({ channel: 'network:4', silentMs: null }),
    ];
    expect(await told(channels, 100, 50)).toEqual([350]);
    expect(await told([heardBy({ silentMs: null })], 1000)).toEqual([]);
  });

  it('goes on when the pulse refuses, or there is none', async () => {
    const world = new World();
    let asked = 0;
    const supervision = new LinkSupervision({
      clock: world.environment('east').clock,
      times: () => healthTimes(lan),
      pulse: () => (++asked % 2 === 0 ? null : { snapshot: () => Promise.reject(new Error('no pulse')) }),
      heard: () => expect.fail('nothing was heard'),
    });
    supervision.start();
    await world.run(3000);
    supervision.stop();
    expect(asked).toBe(9);
  });
});
