import { describe, expect, test } from 'vitest';
import { InterconnectChannel } from '../../src/pulse/interconnect-channel.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';

const timeoutMs = 1000;
type Name = 'east' | 'west';

class End {
  readonly received: string[] = [];
  readonly faults: (string | null)[] = [];
  beats = 0;
  channel: InterconnectChannel | null = null;
  get fault(): string | null {
    return this.faults.at(-1) ?? null;
  }
}

class Scene {
  readonly world: World;
  readonly at: Readonly<Record<Name, string>>;
  readonly ends = { east: new End(), west: new End() };
  readonly processes: Record<Name, SimProcess>;

  constructor(seed: string, at: Readonly<Record<Name, string>>) {
    this.world = new World({ seed });
    this.at = at;
    const start = (name: Name): SimProcess => this.world.machine(name).start('node');
    this.processes = { east: start('east'), west: start('west') };
  }

  start(name: Name): void {
    const process = this.processes[name];
    const end = this.ends[name];
    const channel = new InterconnectChannel(process.environment, {
      interconnect: { name: 'ic1', at: this.at, baudRate: 115_200 },
      node: name,
      peer: name === 'east' ? 'west' : 'east',
      role: name === 'east' ? 'listen' : 'dial',
      timeoutMs,
    });
    end.channel = channel;
    process.call(() =>
      channel.start({
        received: (message) => void end.received.push(Buffer.from(message).toString()),
        fault: (problem) => void end.faults.push(problem),
      }),
    );
    const beat = (): void => {
      channel.send('', Buffer.from(`${name} ${++end.beats}`));
      process.environment.clock.after(200, beat);
    };
    process.call(beat);
  }

  restart(name: Name): void {
    this.processes[name] = this.world.machine(name).start('node');
    this.start(name);
  }

  /** Messages heard at both during the next `durationMs`. */
  async heard(durationMs: number): Promise<Record<Name, number>> {
    const before = { east: this.ends.east.received.length, west: this.ends.west.received.length };
    await this.world.run(durationMs);
    return {
      east: this.ends.east.received.length - before.east,
      west: this.ends.west.received.length - before.west,
    };
  }
}

function serial(seed: string): Scene {
  const scene = new Scene(seed, { east: '/dev/ttyS0', west: '/dev/ttyS1' });
  scene.world.datagrams.joinSerial(
    scene.world.machine('east'),
    '/dev/ttyS0',
    scene.world.machine('west'),
    '/dev/ttyS1',
  );
  scene.start('east');
  scene.start('west');
  return scene;
}

function tcp(seed: string): Scene {
  const scene = new Scene(seed, { east: 'east:7200', west: 'west:7200' });
  scene.start('east');
  scene.start('west');
  return scene;
}

const both = (count: number) => ({ east: count, west: count });
const atLeast = (count: number) => ({
  east: expect.toSatisfy((heard: number) => heard >= count),
  west: expect.toSatisfy((heard: number) => heard >= count),
});

describe('AS-3: an interconnect over a serial line', () => {
  test('carries heartbeats both ways', async () => {
    const scene = serial('plain');
    expect(await scene.heard(10_000)).toEqual(atLeast(49));
    expect([scene.ends.east.faults, scene.ends.west.faults]).toEqual([[], []]);
  });

  test('goes on through noise, and lets none of it through', async () => {
    const scene = serial('noise');
    const prng = scene.world.prng.derive('noise');
    for (let atMs = 0; atMs < 10_000; atMs += 30) {
      scene.world.at(atMs, () => {
        const noise = Uint8Array.from({ length: 1 + prng.below(40) }, () => prng.below(256));
        scene.world.datagrams.noise(scene.world.machine('west'), '/dev/ttyS1', noise);
      });
    }
    expect(await scene.heard(10_000)).toEqual(atLeast(30));
    for (const text of scene.ends.west.received) expect(text).toMatch(/^east \d+$/);
    expect(scene.ends.west.channel?.noise.damagedFrames).toBeGreaterThan(20);
    expect(scene.ends.west.faults).toEqual([]);
  });

  test('AS-6: a line that was pulled out is silent, which is no fault by itself, and works when it is put back', async () => {
    const scene = serial('unplugged');
    await scene.world.run(2000);
    scene.world.datagrams.plugSerial(scene.world.machine('west'), '/dev/ttyS1', false);
    await scene.world.run(50);
    expect(await scene.heard(10_000)).toEqual(both(0));
    expect([scene.ends.east.faults, scene.ends.west.faults]).toEqual([[], []]);
    scene.world.datagrams.plugSerial(scene.world.machine('west'), '/dev/ttyS1', true);
    expect(await scene.heard(2000)).toEqual(atLeast(9));
  });

  test('a partner that is heard and acknowledges nothing: the way out is broken, until it acknowledges again', async () => {
    const scene = serial('one way');
    await scene.world.run(2000);
    // Nothing that east sends arrives at west any more.
    const { datagrams } = scene.world;
    const east = scene.world.machine('east');
    datagrams.joinSerial(east, '/dev/ttyS0', scene.world.machine('third'), '/dev/ttyS9');
    await scene.world.run(900);
    expect(scene.ends.east.faults).toEqual([]);
    await scene.world.run(600);
    expect(scene.ends.east.fault).toMatch(/interconnect ic1: the partner is heard, but acknowledges nothing/);
    expect(scene.ends.west.faults).toEqual([]);
    datagrams.joinSerial(east, '/dev/ttyS0', scene.world.machine('west'), '/dev/ttyS1');
    await scene.world.run(500);
    expect(scene.ends.east.fault).toBeNull();
  });

  test('a partner that dies is silent, not faulty', async () => {
    const scene = serial('dead');
    await scene.world.run(2000);
    scene.processes.west.crash();
    await scene.world.run(5000);
    expect(scene.ends.east.faults).toEqual([]);
    scene.restart('west');
    expect(await scene.heard(2000)).toEqual(atLeast(8));
  });
});

describe('AS-3: an interconnect over TCP', () => {
  test('carries heartbeats both ways, whoever starts first and whoever is started again', async () => {
    const scene = tcp('plain');
    await scene.world.run(1000);
    expect(await scene.heard(2000)).toEqual(atLeast(9));
    for (const name of ['west', 'east'] as const) {
      scene.processes[name].crash();
      await scene.world.run(3000);
      scene.restart(name);
      await scene.world.run(6000);
      expect(await scene.heard(2000)).toEqual(atLeast(9));
    }
    expect([scene.ends.east.faults, scene.ends.west.faults]).toEqual([[], []]);
  });

  test('AS-6: a partner that refuses or closes is silent; an address this node cannot listen on is a fault', async () => {
    const scene = new Scene('refused', { east: 'east:7200', west: 'west:7200' });
    scene.start('west');
    await scene.world.run(3000);
    expect(scene.ends.west.faults).toEqual([]);
    const squatter = scene.world.machine('east').start('squatter');
    const events = { received() {}, closed() {} };
    const at = { kind: 'tcp', host: 'east', port: 7200 } as const;
    const taken = await scene.world.settle(squatter.environment.network.listen(at, () => events));
    scene.start('east');
    await scene.world.run(3000);
    expect(scene.ends.east.fault).toMatch(/another program listens on east:7200/);
    await taken.close();
    await scene.world.run(8000);
    expect(scene.ends.east.fault).toBeNull();
    await scene.world.run(6000);
    expect(await scene.heard(2000)).toEqual(atLeast(9));
  });

  test('comes back soon after an outage of the network: a connection that went silent is made anew', async () => {
    const scene = tcp('partition');
    await scene.world.run(2000);
    const [east, west] = [scene.world.machine('east'), scene.world.machine('west')];
    for (const connection of scene.world.network.connections()) connection.silence(east);
    expect((await scene.heard(10_000)).west).toBeGreaterThan(20);
    scene.world.network.partition(east, west);
    await scene.world.run(30_000);
    scene.world.network.heal(east, west);
    await scene.world.run(7000);
    expect(await scene.heard(2000)).toEqual(atLeast(9));
  });

  test('strangers who connect do not push the partner out', async () => {
    const scene = tcp('strangers');
    await scene.world.run(2000);
    const stranger = scene.world.machine('stranger').start('stranger');
    for (let times = 0; times < 50; times++) {
      scene.world.at(2000 + times * 250, () =>
        stranger.call(() => {
          const at = { kind: 'tcp', host: 'east', port: 7200 } as const;
          const stream = stranger.environment.network.connect(at, {
            opened: () => stream.send([Buffer.from('GET / HTTP/1.1\r\n\r\n')]),
            received: () => {},
            closed: () => {},
          });
        }),
      );
    }
    expect(await scene.heard(10_000)).toEqual(atLeast(48));
  });
});

test('AS-3: an interconnect over a Unix socket works within one machine', async () => {
  const scene = new Scene('unix', { east: 'unix:/run/ic.sock', west: 'unix:/run/ic.sock' });
  scene.processes.west = scene.world.machine('east').start('other node');
  scene.start('east');
  scene.start('west');
  await scene.world.run(1000);
  expect(await scene.heard(2000)).toEqual(atLeast(9));
  await Promise.all([scene.ends.east.channel?.close(), scene.ends.west.channel?.close()]);
  expect((await scene.heard(2000)).east).toBe(0);
});
