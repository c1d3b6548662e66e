import { describe, expect, it } from 'vitest';
import { World } from '../../../src/sim/world/world.ts';

/** Two processes that talk, store, sync, and are mistreated: something of everything the world can do. */
async function busyWorld(seed: string, lines: string[] = []): Promise<World> {
  const world = new World({ seed: seed, trace: (line) => lines.push(line) });
  const scene = world.prng.derive('scene');
  const start = async (name: string): Promise<void> => {
    const process = world.machine(name).start(name);
    const { clock, files, network, random } = process.environment;
    const { device } = await process.devices.open({
      path: '/vol',
      sizeBytes: 65_536,
      blockSizeBytes: 512,
      create: true,
    });
    await network.listen({ kind: 'tcp', host: name, port: 1 }, (stream) => ({
      received: (chunk) =>
        device.write((chunk[0] ?? 0) * 128, Buffer.alloc(512, chunk[0]), () => stream.send([chunk])),
      closed: () => {},
    }));
    const peer = name === 'east' ? 'west' : 'east';
    const talk = (): void => {
      const stream = network.connect({ kind: 'tcp', host: peer, port: 1 }, { received: () => {}, closed: talkLater });
      stream.send([random.bytes(1).map((byte) => byte & 0xfc)]);
    };
    const talkLater = (): void => void clock.after(50, talk);
    talk();
    const tick = (): void => {
      device.flush(() => {});
      files.write('/state', random.bytes(100), { sync: true }).catch(() => {});
      clock.after(5 + random.below(20), tick);
    };
    tick();
  };
  for (const name of ['east', 'west']) {
    void start(name);
    for (let atMs = 100; atMs < 2000; atMs += 100 + scene.below(200)) {
      world.at(atMs, () => {
        const machine = world.machine(name);
        switch (scene.below(4)) {
          case 0:
            machine.living[0]?.crashAfterEffects(scene.below(5) + 1);
            break;
          case 1:
            machine.living[0]?.pause(scene.below(100));
            break;
          case 2:
            machine.powerLoss();
            machine.powerOn();
            break;
          default:
            world.network.partition(world.machine('east'), world.machine('west'));
            world.at(world.nowMs + 60, () => world.network.healAll());
        }
        if (machine.living.length === 0) void start(name);
      });
    }
  }
  await world.run(3000);
  return world;
}

describe('World', () => {
  it('is deterministic: the same seed gives the same trace, to the byte', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const first: string[] = [];
      const second: string[] = [];
      const one = await busyWorld(`${seed}`, first);
      const other = await busyWorld(`${seed}`, second);
      expect(first.length).toBeGreaterThan(500);
      expect(second).toEqual(first);
      expect(other.traceHash).toBe(one.traceHash);
    }
  });

  it('differs from seed to seed', async () => {
    const hashes = new Set<string>();
    for (let seed = 0; seed < 10; seed++) hashes.add((await busyWorld(`${seed}`)).traceHash);
    expect(hashes.size).toBe(10);
  });

  it('gives each boot of a machine an id of its own, and each process of a boot the same', () => {
    const world = new World({ seed: 'boots' });
    const machine = world.machine('east');
    const first = machine.start('a').environment.bootId;
    machine.living[0]?.crash();
    expect(machine.start('a').environment.bootId).toBe(first);
    machine.powerLoss();
    machine.powerOn();
    expect(machine.start('a').environment.bootId).not.toBe(first);
  });
});
