import { beforeEach, describe, expect, it } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import { type Address } from '../../src/base/network.ts';
import { encodeFrame, FrameDecoder, type Frame } from '../../src/link/frame.ts';
import { LinkTable } from '../../src/link/link-table.ts';
import type { LinkConnection, LinkHandler, LinkIdentity, LinkOptions, LinkPeer } from '../../src/link/link.ts';
import { encodeCall, encodeResult } from '../../src/link/messages/call.ts';
import { decodeRefused, encodeHello, type Hello } from '../../src/link/messages/handshake.ts';
import { encodeJson } from '../../src/link/messages/json.ts';
import { encodePing } from '../../src/link/messages/liveness.ts';
import { MessageType } from '../../src/link/messages/types.ts';
import { World } from './world.ts';

const address = (node: string): Address => ({ kind: 'tcp', host: node, port: 7000 });
const peer = (name: string): LinkPeer => ({ name, address: address(name) });
const incarnation = (digit: string): string => digit.repeat(32);
const clusterId = incarnation('c');

/** One process with a link table, and everything its handler was told. */
class Node implements LinkHandler {
  readonly table: LinkTable;
  readonly events: string[] = [];
  readonly frames: Frame[] = [];
  readonly up = new Set<LinkConnection>();
  answer: (method: string, params: unknown) => Promise<unknown> = async (method, params) => ({ method, params });
  onFrame: (connection: LinkConnection) => void = () => {};

  constructor(
    world: World,
    name: string,
    peers: readonly LinkPeer[],
    changes: { identity?: Partial<LinkIdentity>; options?: Partial<LinkOptions> } = {},
  ) {
    const identity = {
      clusterId,
      node: name,
      incarnation: incarnation('1'),
      softwareVersion: '0.1.0',
      features: ['a', 'b'],
      ...changes.identity,
    };
    const options = { listen: address(name), peers, ...changes.options };
    this.table = new LinkTable(world.environment(name), identity, options, this);
  }

  connectionUp(connection: LinkConnection): void {
    this.up.add(connection);
    this.events.push(`up ${connection.direction} ${connection.index} ${connection.peer}`);
  }

  connectionDown(connection: LinkConnection, reason: string): void {
    expect(this.up.delete(connection)).toBe(true);
    this.events.push(`down ${connection.direction} ${connection.index} ${connection.peer}: ${reason}`);
  }

  frame(connection: LinkConnection, frame: Frame): void {
    expect(this.up.has(connection)).toBe(true);
    this.frames.push({ ...frame, control: new Uint8Array(frame.control) });
    this.onFrame(connection);
  }

  drained(connection: LinkConnection): void {
    this.events.push(`drained ${connection.direction} ${connection.index}`);
  }

  call(from: string, method: string, params: unknown): Promise<unknown> {
    this.events.push(`call ${method} of ${from}`);
    return this.answer(method, params);
  }

  take(): string[] {
    return this.events.splice(0);
  }
}

const everyConnection = ['in 0', 'in 1', 'out 0', 'out 1'];
const ups = (name: string): string[] => everyConnection.map((which) => `up ${which} ${name}`);
const first = (node: Node, direction: 'in' | 'out', index = 0): LinkConnection => {
  const found = [...node.up].find((connection) => connection.direction === direction && connection.index === index);
  if (found === undefined) throw new Error(`no connection ${direction} ${index}`);
  return found;
};

describe('LinkTable', () => {
  let world: World;
  let east: Node;
  let west: Node;

  beforeEach(async () => {
    world = new World();
    east = new Node(world, 'east', [peer('west')]);
    west = new Node(world, 'west', [peer('east')]);
    await Promise.all([east.table.start(), west.table.start()]);
  });

  async function connected(): Promise<void> {
    await world.run(50);
    expect(east.take().sort()).toEqual(ups('west'));
    expect(west.take().sort()).toEqual(ups('east'));
  }

  it('IM-4: has one set of connections for each direction, and shows them', async () => {
    await connected();
    expect(east.table.outgoing('west').map(({ index }) => index)).toEqual([0, 1]);
    expect(
      east.table.rows().map(({ peer: name, direction, index, state }) => [name, direction, index, state]),
    ).toEqual([
      ['west', 'out', 0, 'up'],
      ['west', 'out', 1, 'up'],
      ['west', 'in', 0, 'up'],
      ['west', 'in', 1, 'up'],
    ]);
    expect(east.table.reachable('west')).toMatchObject({ state: 'up', reason: null });
    expect(first(east, 'in')).toMatchObject({ peerIncarnation: incarnation('1'), peerBootId: 'boot of west' });
  });

  it('agrees on the features both ends have', async () => {
    const north = new Node(world, 'north', [peer('south')], { identity: { features: ['b', 'z'] } });
    const south = new Node(world, 'south', [peer('north')]);
    await Promise.all([north.table.start(), south.table.start()]);
    await world.run(50);
    expect([...north.up, ...south.up].map(({ features }) => features)).toEqual(Array(8).fill(['b']));
  });

  it('delivers frames in order, whatever the chunks', async () => {
    await connected();
    world.chunkBytes = 7;
    const pieces = [new Uint8Array(20_000).fill(7)];
    for (let number = 0; number < 50; number++) {
      first(east, 'out').send(
        encodeFrame(MessageType.records, Uint8Array.of(number), number % 10 === 0 ? pieces : []),
      );
    }
    await world.run(50);
    expect(west.frames.map(({ control }) => control[0])).toEqual(Array.from({ length: 50 }, (_, number) => number));
  });

  it('gathers frames of one turn into one piece, and lets none be overtaken', async () => {
    await connected();
    const pieces: number[] = [];
    world.tap = (from, _to, bytes) => void (from === 'east' && pieces.push(bytes.length));
    const connection = first(east, 'out');
    const frame = (number: number): Uint8Array[] => encodeFrame(MessageType.records, Uint8Array.of(number));
    const frameBytes = frame(0).reduce((sum, part) => sum + part.length, 0);
    for (const number of [0, 1]) connection.gather(frame(number));
    connection.send(frame(2));
    for (const number of [3, 4, 5]) connection.gather(frame(number));
    await world.run(50);
    expect(west.frames.map(({ control }) => control[0])).toEqual([0, 1, 2, 3, 4, 5]);
    expect(pieces).toEqual([2 * frameBytes, frameBytes, 3 * frameBytes]);
  });

  it('delivers nothing after the handler has closed the connection, and does not call back inside the call', async () => {
    await connected();
    west.onFrame = (connection) => {
      connection.close('enough');
      expect(west.up.has(connection)).toBe(true);
    };
    const frame = encodeJson(MessageType.attach, {});
    first(east, 'out').send([...frame, ...frame]);
    await world.run(20);
    expect(west.frames).toHaveLength(1);
    expect(west.take()).toEqual(['down in 0 east: enough']);
    expect(east.take()).toEqual(['down out 0 west: closed by the other side']);
  });

  it('TL-17: finds a peer again, trying more and more rarely, and at once when the peer calls', async () => {
    await connected();
    world.kill('west');
    await world.run(10);
    expect(east.take().filter((event) => event.startsWith('down'))).toHaveLength(4);
    expect(east.table.reachable('west')).toMatchObject({ state: 'down' });
    const attempts: number[] = [];
    const slots = () => east.table.rows().filter(({ state }) => state === 'connecting').length;
    for (let ms = 0; ms < 20_000; ms++) {
      await world.run(1);
      if (slots() > 0) attempts.push(world.nowMs);
    }
    // Two places, each after 50…100 ms, then up to 2 s apart.
    expect(attempts.length).toBeGreaterThan(20);
    expect(attempts.length).toBeLessThan(60);
    expect(east.table.reachable('west').reason).toBe('connection refused');

    const again = new Node(world, 'west', [peer('east')], { identity: { incarnation: incarnation('2') } });
    await again.table.start();
    await world.run(20);
    expect(east.take().sort()).toEqual(ups('west'));
  });

  it('TL-17: refuses a node with another name at the address, and says which it found', async () => {
    const lost = new Node(world, 'lost', [{ name: 'north', address: address('west') }]);
    await lost.table.start();
    await world.run(50);
    expect(lost.table.reachable('north')).toMatchObject({
      state: 'down',
      reason: 'refused by west:7000: this is west, not north',
    });
    expect(lost.events).toEqual([]);
    expect(west.table.breaches.get('? wrongNode')).toBeGreaterThan(0);
  });

  it.each<[string, Partial<Hello>, string]>([
    ['of another cluster', { clusterId: incarnation('d') }, `west belongs to cluster ${clusterId}`],
    ['that nobody knows', {}, 'west knows no node north in its cluster'],
    ['with the own name', { node: 'west', incarnation: incarnation('3') }, 'there are two nodes named west'],
    ['that is itself', { node: 'west' }, 'west has dialled itself'],
  ])('refuses a node %s', async (_, changes, reason) => {
    const raw = world.dial(address('west'));
    raw.send(...encodeHello(hello({ node: 'north', ...changes })));
    await world.run(20);
    expect(refusalOf(raw.received)).toContain(reason);
    expect(raw.closed).not.toBe(null);
  });

  it('refuses protocol versions without overlap, naming both', async () => {
    const raw = world.dial(address('west'));
    raw.send(...encodeHello(hello({ protocols: [2, 3] })));
    await world.run(20);
    expect(refusalOf(raw.received)).toBe('west speaks version 1 of the link protocol, east speaks 2, 3');
  });

  it('R2: kills every connection of an older incarnation before one of the newer is up, and never goes back', async () => {
    await connected();
    const raw = world.dial(address('west'));
    raw.send(...encodeHello(hello({ incarnation: incarnation('2') })));
    await world.run(3);
    const events = west.take();
    expect(events.slice(0, 4).sort()).toEqual(
      everyConnection.map((which) => `down ${which} east: east was restarted`),
    );
    expect(events[4]).toBe('up in 0 east');
    await world.run(3000);
    expect([...west.up].map(({ peerIncarnation }) => peerIncarnation)).toEqual([incarnation('2')]);
    const old = world.dial(address('west'));
    old.send(...encodeHello(hello({})));
    await world.run(20);
    expect(refusalOf(old.received)).toBe('a newer process of east has been here');
  });

  it('replaces a connection by a newer one of the same place', async () => {
    await connected();
    const before = first(west, 'in');
    const raw = world.dial(address('west'));
    raw.send(...encodeHello(hello({})));
    await world.run(3);
    expect(west.take()).toEqual(['down in 0 east: replaced by a newer connection', 'up in 0 east']);
    expect(first(west, 'in')).not.toBe(before);
    expect(west.up.size).toBe(4);
  });

  it('closes a connection that is silent for too long, and no other', async () => {
    await connected();
    await world.run(60_000);
    expect([...east.take(), ...west.take()]).toEqual([]);
    for (const end of world.streams) if (end.node === 'west' && end.remote === 'east:7000') end.stalled = true;
    await world.run(3500);
    expect(east.take()).toEqual([]);
    await world.run(1500);
    expect(
      east
        .take()
        .filter((event) => event.startsWith('down'))
        .sort(),
    ).toEqual([
      'down in 0 west: nothing heard from west on this connection for too long',
      'down in 1 west: nothing heard from west on this connection for too long',
    ]);
    expect(east.table.outgoing('west')).toHaveLength(2);
  });

  it('does not take its own absence for the silence of the peer', async () => {
    await connected();
    // Nothing runs for a minute; timers that were due meanwhile come first, as they do in an event loop.
    world.nowMs += 60_000;
    await world.run(3000);
    expect([...east.take(), ...west.take()]).toEqual([]);
  });

  it('does not count silence while it does not read', async () => {
    await connected();
    first(east, 'in').pauseReading(true);
    await world.run(60_000);
    expect([...east.take(), ...west.take()]).toEqual([]);
  });

  it('gives up on a handshake that takes too long', async () => {
    const raw = world.dial(address('west'));
    raw.send(Uint8Array.of(0x48));
    await world.run(4000);
    expect(raw.closed).toBe(null);
    await world.run(2000);
    expect(raw.closed).toBe('closed by the other side');
  });

  it('holds no more than 64 connections that have not said who they are', async () => {
    await connected();
    const strangers = Array.from({ length: 80 }, () => world.dial(address('west')));
    await world.run(10);
    expect(strangers.filter(({ closed }) => closed === null)).toHaveLength(64);
    expect(west.table.breaches.get('? tooManyStrangers')).toBe(16);
    strangers.forEach((stranger) => stranger.destroy());
    await world.run(10);
    const late = world.dial(address('west'));
    await world.run(10);
    expect(late.closed).toBe(null);
    expect(west.take()).toEqual([]);
  });

  it.each<[string, Uint8Array[]]>([
    ['badMagic', [new Uint8Array(24)]],
    ['controlTooLong', encodeFrame(MessageType.hello, new Uint8Array(70_000))],
    ['payloadTooLong', encodeFrame(MessageType.hello, new Uint8Array(0), [new Uint8Array(1)])],
    ['unexpectedMessage', encodePing(1)],
    ['unknownMessage', encodeFrame(200, new Uint8Array(0))],
    ['badMessage', encodeJson(MessageType.hello, { protocols: [1] })],
  ])('refuses %s from a stranger, counts it, logs it once', async (rule, bytes) => {
    await connected();
    for (let attempt = 0; attempt < 3; attempt++) {
      const raw = world.dial(address('west'));
      raw.send(...bytes);
      await world.run(10);
      expect(refusalOf(raw.received)).toMatch(new RegExp(`^${rule}: `));
    }
    expect(west.table.breaches.get(`? ${rule}`)).toBe(3);
    expect(world.lines.filter((line) => line.includes(rule))).toHaveLength(1);
    expect(west.take()).toEqual([]);
  });

  it('closes only the connection on which the protocol was broken, and tells the peer why', async () => {
    await connected();
    first(east, 'out').send([new Uint8Array(30).fill(9)]);
    await world.run(10);
    expect(west.take()).toEqual(['down in 0 east: badMagic: a frame begins with 9090909']);
    expect(east.take()[0]).toMatch(/^down out 0 west: refused by west:7000: badMagic: /);
    await world.run(500);
    expect(west.take()).toEqual(['up in 0 east']);
    expect(west.table.breaches.get('east badMagic')).toBe(1);
  });

  it('answers requests, over whichever direction is up', async () => {
    await connected();
    const reply = east.table.request('west', 'status', { a: [1] }, 1000);
    await world.run(10);
    expect(await reply).toEqual({ method: 'status', params: { a: [1] } });
    expect(west.take()).toEqual(['call status of east']);
    east.table.setPeers([{ name: 'west', address: address('nowhere') }]);
    await world.run(10);
    expect(east.table.outgoing('west')).toEqual([]);
    const again = east.table.request('west', 'status', null, 1000);
    await world.run(10);
    expect(await again).toEqual({ method: 'status', params: null });
  });

  it('passes on errors of the other node as they are, and hides what is not one', async () => {
    await connected();
    west.answer = async () => {
      throw new HoldfastError('E_BUSY', 'group g1: a switch-over is under way');
    };
    const refused = expect(east.table.request('west', 'switchOver', {}, 1000)).rejects.toMatchObject({
      code: 'E_BUSY',
      message: 'group g1: a switch-over is under way',
    });
    await world.run(10);
    await refused;
    west.answer = async () => {
      throw new TypeError('ours');
    };
    const internal = expect(east.table.request('west', 'x', {}, 1000)).rejects.toMatchObject({ code: 'E_INTERNAL' });
    await world.run(10);
    await internal;
    expect(world.lines).toContain('request x of east failed: ours');
  });

  it('fails requests that time out, lose their connection, or have nowhere to go', async () => {
    await connected();
    west.answer = () => new Promise(() => {});
    const slow = expect(east.table.request('west', 'slow', {}, 1000)).rejects.toMatchObject({ code: 'E_TIMEOUT' });
    await world.run(1001);
    await slow;
    const lost = expect(east.table.request('west', 'lost', {}, 1000)).rejects.toMatchObject({
      code: 'E_NODE_UNREACHABLE',
      message: 'node west: connection lost before the reply to lost: closed by the other side',
    });
    await world.run(10);
    world.kill('west');
    await world.run(500);
    await lost;
    await expect(east.table.request('west', 'x', {}, 1000)).rejects.toThrow(
      'node west cannot be reached: connection refused',
    );
    await expect(east.table.request('south', 'x', {}, 1000)).rejects.toThrow('it is not a peer of this node');
  });

  it('serves no more than 64 requests of a connection at a time', async () => {
    await connected();
    west.answer = () => new Promise(() => {});
    const connection = first(east, 'out');
    for (let id = 0; id < 70; id++) connection.send(encodeCall({ id, method: 'x', params: null }) ?? []);
    await world.run(10);
    expect(west.take()).toHaveLength(64);
    for (let count = 0; count < 64; count++) east.table.request('west', 'x', {}, 1000).catch(() => null);
    await expect(east.table.request('west', 'x', {}, 1000)).rejects.toMatchObject({ code: 'E_BUSY' });
  });

  it('serves any number of requests one after another', async () => {
    await connected();
    for (let count = 0; count < 200; count++) {
      const reply = east.table.request('west', 'x', count, 1000);
      await world.run(5);
      expect(await reply).toEqual({ method: 'x', params: count });
    }
  });

  it('takes a reply only from the connection the request went to', async () => {
    await connected();
    west.answer = () => new Promise(() => {});
    const waiting = expect(east.table.request('west', 'x', {}, 100)).rejects.toMatchObject({ code: 'E_TIMEOUT' });
    for (let id = 0; id < 3; id++) first(west, 'out').send(encodeResult(id, 'forged'));
    await world.run(200);
    await waiting;
  });

  it('closes a connection whose peer asks but does not read', async () => {
    await connected();
    for (const end of world.streams) if (end.node === 'west') end.stalled = true;
    const huge = encodeFrame(MessageType.records, new Uint8Array(0), [
      new Uint8Array(32 << 20),
      new Uint8Array(32 << 20),
    ]);
    for (let sent = 0; sent < 5; sent++) first(west, 'in').send(huge);
    first(east, 'out').send(encodePing(1));
    await world.run(10);
    expect(west.take()).toEqual(['down in 0 east: east does not read what it asks for']);
  });

  it('adds, moves and removes peers without disturbing the others', async () => {
    await connected();
    const north = new Node(world, 'north', [peer('east')]);
    await north.table.start();
    east.table.setPeers([peer('west'), peer('north')]);
    await world.run(3000);
    expect(east.take().sort()).toEqual(ups('north'));
    east.table.setPeers([peer('north')]);
    await world.run(10);
    expect(east.take().sort()).toEqual(
      everyConnection.map((which) => `down ${which} west: west is no longer a peer of this node`),
    );
    expect(east.table.rows().map(({ peer: name }) => name)).toEqual(Array(4).fill('north'));
    expect(east.table.reachable('west').state).toBe('down');
  });

  it('stops: everything is closed, nothing is dialled, nothing is left to run', async () => {
    await connected();
    await west.table.close();
    world.turn(() => {});
    expect(west.take().sort()).toEqual(everyConnection.map((which) => `down ${which} east: west is stopping`));
    await east.table.close();
    await world.run(60_000);
    expect(world.streams.size).toBe(0);
    expect([...west.take(), ...east.take()].filter((event) => event.startsWith('up'))).toEqual([]);
  });

  it('rejects with E_PORT_TAKEN when it cannot listen', async () => {
    const twin = new Node(world, 'west', []);
    await expect(twin.table.start()).rejects.toMatchObject({ code: 'E_PORT_TAKEN' });
  });
});

function hello(changes: Partial<Hello>): Hello {
  return {
    protocols: [1],
    features: [],
    clusterId,
    node: 'east',
    to: 'west',
    incarnation: incarnation('1'),
    bootId: 'boot',
    softwareVersion: '0.1.0',
    index: 0,
    count: 2,
    ...changes,
  };
}

function refusalOf(received: readonly Uint8Array[]): string {
  const decoder = new FrameDecoder();
  decoder.push(Buffer.concat(received));
  const frame = decoder.next();
  if (frame === null || 'breach' in frame) return 'no frame';
  const refused = decodeRefused(frame);
  return refused.ok ? refused.value.message : refused.reason;
}

describe('IM-5…IM-7: a link whose peer is heard by heartbeats', () => {
  const times = { timeoutMs: 1500, probationMs: 1000, framesCount: false };
  const options = { health: () => times };

  async function pairOf(changes: Partial<LinkOptions> = options): Promise<{ world: World; east: Node; west: Node }> {
    const world = new World();
    const east = new Node(world, 'east', [peer('west')], { options: changes });
    const west = new Node(world, 'west', [peer('east')]);
    await Promise.all([east.table.start(), west.table.start()]);
    await world.run(50);
    east.take();
    west.take();
    return { world, east, west };
  }

  async function heard(world: World, table: LinkTable, forMs: number): Promise<void> {
    for (const endMs = world.nowMs + forMs; world.nowMs < endMs;) {
      table.healthHeard('west', 0);
      await world.run(100);
    }
  }

  it('closes its connections when they stay away, and neither dials nor accepts until the probation is over', async () => {
    const { world, east, west } = await pairOf();
    await heard(world, east.table, 1000);
    await world.run(2000);
    expect(east.take().filter((event) => event.startsWith('down'))).toHaveLength(4);
    expect(east.up.size).toBe(0);
    // The other end tries, and is told.
    await world.run(5000);
    expect(west.table.reachable('east')).toMatchObject({
      state: 'down',
      reason: expect.stringContaining('marked down'),
    });
    expect(east.table.rows()).toEqual([
      expect.objectContaining({
        index: 0,
        state: 'down',
        mark: 'down',
        reason: expect.stringContaining('no heartbeat'),
      }),
      expect.objectContaining({ index: 1, state: 'down', mark: 'down', probationLeftMs: null }),
    ]);

    await heard(world, east.table, 600);
    expect(east.table.rows()[0]).toMatchObject({ state: 'down', mark: 'probation' });
    expect(east.table.rows()[0]?.probationLeftMs).toBeLessThan(600);
    expect(east.up.size).toBe(0);
    await heard(world, east.table, 700);
    expect(east.up.size).toBeGreaterThanOrEqual(2);
    await heard(world, east.table, 2500);
    expect(
      east
        .take()
        .filter((event) => event.startsWith('up'))
        .sort(),
    ).toEqual(ups('west'));
    expect(east.table.rows()[0]).toMatchObject({ state: 'up', mark: 'up', reason: null });
  });

  it('lets frames stand for heartbeats where they count: echoes keep the link', async () => {
    const { world, east } = await pairOf({ health: () => ({ ...times, framesCount: true }), pingIntervalMs: 500 });
    await heard(world, east.table, 1000);
    await world.run(20_000);
    expect([east.take(), east.table.rows()[0]?.mark]).toEqual([[], 'up']);
  });

  it('changes nothing where no heartbeat was ever heard', async () => {
    const { world, east } = await pairOf();
    await world.run(20_000);
    expect([east.take(), east.table.rows()[0]?.mark]).toEqual([[], 'unknown']);
  });

  it('says how long ago each peer was last heard, for the channel `link`', async () => {
    const { world, east } = await pairOf({});
    await world.run(10_000);
    const agoMs = east.table.heardAgoMs.get('west') ?? Infinity;
    expect(agoMs).toBeLessThanOrEqual(1000);
    world.kill('west');
    await world.run(3000);
    expect(east.table.heardAgoMs.get('west')).toBeGreaterThanOrEqual(3000);
  });

  it('TL-17: finds its peer by name where it has moved to', async () => {
    const { world, east } = await pairOf({});
    world.kill('west');
    await world.run(500);
    const moved: LinkPeer = { name: 'west', address: address('elsewhere') };
    const again = new Node(world, 'west', [peer('east')], {
      identity: { incarnation: incarnation('2') },
      options: { listen: moved.address },
    });
    await again.table.start();
    east.table.setPeers([moved]);
    east.take();
    await world.run(100);
    expect(east.up.size).toBe(4);
  });
});
