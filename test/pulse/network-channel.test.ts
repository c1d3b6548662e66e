import { describe, expect, it } from 'vitest';
import { NetworkChannel } from '../../src/pulse/network-channel.ts';
import { World } from '../../src/sim/world/world.ts';

const at = (host: string, port: number) => ({ host, port });

function open(world: World, name: string, peer: string, ports: readonly number[], peerPorts: readonly number[]) {
  const process = world.machine(name).start('holdfast');
  const channel = new NetworkChannel(process.environment, {
    listen: ports.map((port) => at(name, port)),
    peers: [{ node: peer, addresses: peerPorts.map((port) => at(peer, port)) }],
  });
  const received: string[] = [];
  const faults: (string | null)[] = [];
  process.call(() =>
    channel.start({
      received: (message) => received.push(Buffer.from(message).toString()),
      fault: (problem) => faults.push(problem),
    }),
  );
  return { process, channel, received, faults };
}

describe('heartbeats by the network (HM-2)', () => {
  it('go from every socket to every address, and each message is received once', async () => {
    const world = new World({ seed: 'paths' });
    world.datagrams.duplicatedShare = 0.5;
    const east = open(world, 'east', 'west', [1, 2], [1, 2]);
    const west = open(world, 'west', 'east', [1, 2], [1, 2]);
    await world.run(10);
    for (const text of ['one', 'two', 'three']) {
      east.process.call(() => east.channel.send('west', Buffer.from(text)));
      await world.run(100);
    }
    expect(west.received).toEqual(['one', 'two', 'three']);
    expect(east.channel.targets).toEqual(['west']);
    expect(west.faults).toEqual([]);
  });

  it('arrive while one path of several works, which is no fault; each path is told of', async () => {
    const world = new World({ seed: 'one-path' });
    const east = open(world, 'east', 'west', [1], [1, 2]);
    const west = open(world, 'west', 'east', [1], [1, 2]);
    await world.run(10);
    west.process.call(() => west.channel.send('east', Buffer.from('here')));
    await world.run(50);
    expect(east.received).toEqual(['here']);
    const [first, second] = east.channel.paths();
    expect([first?.address, second?.address, second?.silentMs]).toEqual(['west:1', 'west:2', null]);
    expect(first?.silentMs).toBeLessThan(60);
    expect(east.faults).toEqual([]);
  });

  it('have a fault while no socket can be opened, and try again', async () => {
    const world = new World({ seed: 'taken' });
    const squatter = world.machine('east').start('squatter');
    await world.settle(squatter.environment.datagrams.bind(at('east', 1), () => {}));
    const east = open(world, 'east', 'west', [1], [1]);
    await world.run(100);
    expect(east.faults).toEqual(['east:1 (UDP) is taken']);
    squatter.exit();
    await world.run(1500);
    expect(east.faults).toEqual(['east:1 (UDP) is taken', null]);
  });

  it('end with the channel', async () => {
    const world = new World({ seed: 'closed' });
    const east = open(world, 'east', 'west', [1], [1]);
    const west = open(world, 'west', 'east', [1], [1]);
    await world.run(10);
    await world.settle(west.channel.close());
    east.process.call(() => east.channel.send('west', Buffer.from('late')));
    await world.run(100);
    expect(west.received).toEqual([]);
  });
});
