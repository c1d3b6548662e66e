import { describe, expect, it } from 'vitest';
import type { ByteStream, StreamEvents } from '../../../src/base/network.ts';
import type { SimProcess } from '../../../src/sim/world/process.ts';
import { World } from '../../../src/sim/world/world.ts';
import { networkContract } from '../../contract/network.ts';

const address = { kind: 'tcp', host: 'west', port: 7000 } as const;

for (let seed = 0; seed < 5; seed++) {
  networkContract(`simulated, seed ${seed}`, () => {
    const world = new World({ seed: `contract ${seed}` });
    const server = world.machine('west').start('server').environment.network;
    return Promise.resolve({
      server: {
        connect: (to, events) => server.connect(to, events),
        listen: (at, accept) => world.settle(server.listen(at, accept)),
      },
      client: world.machine('east').start('client').environment.network,
      address: { ...address, port: 0 },
      until: async (condition) => {
        if (!(await world.runUntil(condition, 600_000))) throw new Error('it did not happen');
      },
      dispose: () => Promise.resolve(),
    });
  });
}

class End implements StreamEvents {
  stream: ByteStream | null = null;
  bytes = 0;
  chunks = 0;
  closedReason: string | null = null;
  isOpen = false;
  opened(): void {
    this.isOpen = true;
  }
  received(chunk: Uint8Array): void {
    // What is sent counts up: any loss, repetition or exchange shows.
    for (const byte of chunk) expect(byte).toBe(this.bytes++ & 0xff);
    this.chunks++;
  }
  closed(reason: string): void {
    this.closedReason = reason;
  }
  send(bytes: number, from = 0): void {
    this.stream?.send([Uint8Array.from({ length: bytes }, (_, index) => from + index)]);
  }
}

interface Pair {
  readonly world: World;
  readonly east: SimProcess;
  readonly west: SimProcess;
  readonly client: End;
  readonly server: End;
}

async function connect(seed: string): Promise<Pair> {
  const world = new World({ seed: seed });
  const east = world.machine('east').start('client');
  const west = world.machine('west').start('server');
  const server = new End();
  await world.settle(
    west.environment.network.listen(address, (stream) => {
      server.stream = stream;
      return server;
    }),
  );
  const client = new End();
  client.stream = east.environment.network.connect(address, client);
  expect(await world.runUntil(() => client.isOpen, 100)).toBe(true);
  return { world, east, west, client, server };
}

describe('SimNetwork', () => {
  it('keeps order and content while it cuts and joins chunks at random', async () => {
    let split = false;
    let joined = false;
    for (let seed = 0; seed < 20; seed++) {
      const { world, client, server } = await connect(`order ${seed}`);
      for (let sent = 0; sent < 100; sent++) {
        client.send(100, sent * 100);
        await world.run(seed % 2 === 0 ? 0.05 : 2);
      }
      await world.run(100);
      expect(server.bytes).toBe(10_000);
      split ||= server.chunks > 100;
      joined ||= server.chunks < 100;
    }
    expect([split, joined]).toEqual([true, true]);
  });

  it('holds what is in transit during a partition and delivers it late, whole', async () => {
    const { world, east, west, client, server } = await connect('partition');
    world.network.partition(east.machine, west.machine);
    client.send(1000);
    await world.run(20_000);
    expect(server.bytes).toBe(0);
    world.network.heal(east.machine, west.machine);
    await world.run(1000);
    expect(server.bytes).toBe(1000);
    expect([client.closedReason, server.closedReason]).toEqual([null, null]);
  });

  it('gives a connection up after a minute without progress; new attempts time out meanwhile', async () => {
    const { world, east, west, client, server } = await connect('give up');
    world.network.partition(east.machine, west.machine);
    client.send(10);
    const late = new End();
    late.stream = east.environment.network.connect(address, late);
    await world.run(100_000);
    expect(client.closedReason).toBe('timed out');
    expect(late.closedReason).toBe('timed out');
    expect(server.closedReason).toBeNull();
  });

  it('lets one direction through when only the other is blocked', async () => {
    const { world, east, west, client, server } = await connect('one way');
    world.network.partition(east.machine, west.machine, 'oneToOther');
    client.send(10);
    server.send(10);
    await world.run(1000);
    expect([client.bytes, server.bytes]).toEqual([10, 0]);
  });

  it('cuts, stalls and silences single connections', async () => {
    const cut = await connect('cut');
    for (const connection of cut.world.network.connections()) connection.cut();
    await cut.world.run(100);
    expect([cut.client.closedReason, cut.server.closedReason]).toEqual(['connection reset', 'connection reset']);

    const stalled = await connect('stall');
    stalled.client.send(10);
    stalled.world.network.connections()[0]?.stall(500);
    await stalled.world.run(490);
    expect(stalled.server.bytes).toBe(0);
    await stalled.world.run(100);
    expect(stalled.server.bytes).toBe(10);

    const silent = await connect('silence');
    silent.world.network.connections(silent.east.machine)[0]?.silence(silent.east.machine);
    silent.client.send(10);
    silent.server.send(10);
    await silent.world.run(10_000);
    expect([silent.server.bytes, silent.client.bytes, silent.client.closedReason]).toEqual([0, 10, null]);
  });

  it('tells the other end when a process dies, after a beginning of what it had sent', async () => {
    const received = new Set<number>();
    for (let seed = 0; seed < 30; seed++) {
      const { world, east, client, server } = await connect(`dies ${seed}`);
      for (let sent = 0; sent < 5; sent++) client.send(10, sent * 10);
      east.crash();
      await world.run(1000);
      expect(server.closedReason).toBe('connection reset');
      received.add(server.bytes);
    }
    expect(received.has(50)).toBe(true);
    expect(received.size).toBeGreaterThan(1);
  });

  it('says nothing when a machine loses power; the peer hears a reset once it is up again', async () => {
    const { world, west, client } = await connect('power');
    west.machine.powerLoss();
    client.send(10);
    await world.run(5000);
    expect(client.closedReason).toBeNull();
    west.machine.powerOn();
    await world.run(1000);
    expect(client.closedReason).toBe('connection reset');
  });

  it('gives up in the end when the machine stays without power, whatever was under way when it went', async () => {
    for (let seed = 0; seed < 10; seed++) {
      const { world, west, client } = await connect(`stays off ${seed}`);
      client.send(10);
      await world.run(0.1 * seed);
      west.machine.powerLoss();
      client.send(10);
      await world.run(100_000);
      expect(client.closedReason).toBe('timed out');
    }
  });

  it('refuses where told, where nobody listens, and names a host it does not know', async () => {
    const { world, east, west } = await connect('refuse');
    const attempt = async (host: string, port: number): Promise<string | null> => {
      const end = new End();
      end.stream = east.environment.network.connect({ kind: 'tcp', host, port }, end);
      await world.run(1000);
      return end.closedReason;
    };
    expect(await attempt('west', 7001)).toBe('connection refused');
    expect(await attempt('nowhere', 7000)).toBe('host not found');
    expect(await attempt('west', 7000)).toBeNull();
    world.network.refuse(west.machine, true);
    expect(await attempt('west', 7000)).toBe('connection refused');
    await expect(world.settle(east.environment.network.listen(address, () => new End()))).rejects.toMatchObject({
      code: 'E_ADDRESS_UNAVAILABLE',
    });
  });

  it('delivers to a paused process when it wakes', async () => {
    const { world, west, client, server } = await connect('paused');
    west.pause(2000);
    client.send(10);
    await world.run(1990);
    expect(server.bytes).toBe(0);
    await world.run(50);
    expect(server.bytes).toBe(10);
  });
});
