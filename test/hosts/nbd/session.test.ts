import { describe, expect, it } from 'vitest';
import { errorName, opening, parse, request } from './client.ts';
import { type TestStream, type TestVolume, World } from './world.ts';
import type { NbdLimits } from '../../../src/hosts/nbd/server.ts';

const readCommand = 0;
const writeCommand = 1;
const disconnect = 2;
const flush = 3;
const mebibyte = 1024 * 1024;

function open(options: { structured?: boolean; sizeBytes?: number; limits?: Partial<NbdLimits> } = {}): {
  world: World;
  volume: TestVolume;
  stream: TestStream;
} {
  const world = new World(options.limits);
  const volume = world.volume('vol1', options.sizeBytes ?? 65536);
  const stream = world.connect();
  world.exchange(stream, opening('vol1', options.structured ?? true));
  return { world, volume, stream };
}

function pattern(length: number, seed = 1): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 7 + seed * 13 + (index >> 8)) & 0xff));
}

describe('an NBD session', () => {
  it.each([1, 3, 27, 28, 29, 1000, 100_000])('reads requests and payloads cut into pieces of %i bytes', (piece) => {
    const { world, volume, stream } = open({ sizeBytes: 4 * mebibyte });
    const large = pattern(512 * 1024);
    const bytes = Buffer.concat([
      request({ type: writeCommand, cookie: 1, offset: 512 }, pattern(512)),
      request({ type: writeCommand, cookie: 2, offset: mebibyte }, large),
      request({ type: writeCommand, cookie: 3, offset: 2 * mebibyte }, large),
      request({ type: readCommand, cookie: 4, offset: 512, length: 512 }),
    ]);
    for (let at = 0; at < bytes.length; at += piece) stream.deliver(bytes.subarray(at, at + piece));
    const replies = parse(world.exchange(stream), () => 0);
    expect(replies.map((reply) => reply.cookie).sort()).toEqual([1, 2, 3, 4]);
    expect(volume.data.subarray(512, 1024).equals(pattern(512))).toBe(true);
    expect(volume.data.subarray(mebibyte, mebibyte + large.length).equals(large)).toBe(true);
    expect(volume.data.subarray(2 * mebibyte, 2 * mebibyte + large.length).equals(large)).toBe(true);
  });

  it('writes rows of large payloads unharmed, whatever the pieces they arrive in', () => {
    const { world, volume, stream } = open({ sizeBytes: 8 * mebibyte });
    const payloads = Array.from({ length: 16 }, (_, index) => pattern(512 * 1024, index + 1));
    const bytes = Buffer.concat(
      payloads.map((payload, index) =>
        request({ type: writeCommand, cookie: index, offset: index * payload.length }, payload),
      ),
    );
    for (let at = 0, piece = 1; at < bytes.length; at += piece, piece = (piece * 31 + 7) % 300_001) {
      stream.deliver(bytes.subarray(at, at + piece));
      world.turn.run();
    }
    world.exchange(stream);
    expect(volume.data.equals(Buffer.concat(payloads))).toBe(true);
  });

  it.each([10, 28, 1000, 300_000])(
    'writes large payloads one by one unharmed, first %i bytes, then the rest',
    (first) => {
      const { world, volume, stream } = open({ sizeBytes: 4 * mebibyte });
      const payloads = Array.from({ length: 8 }, (_, index) => pattern(512 * 1024, index + 1));
      payloads.forEach((payload, index) => {
        const bytes = request({ type: writeCommand, offset: index * payload.length }, payload);
        stream.deliver(bytes.subarray(0, first));
        world.turn.run();
        world.exchange(stream, bytes.subarray(first));
      });
      expect(volume.data.equals(Buffer.concat(payloads))).toBe(true);
    },
  );

  it('sends the replies of a turn together, in one part when they lie side by side', () => {
    const { world, stream, volume } = open();
    volume.data.set(pattern(65536));
    const sendsBefore = stream.sends;
    const requests = Array.from({ length: 8 }, (_, index) =>
      request({ type: readCommand, cookie: index, offset: index * 512, length: 512 }),
    );
    const replies = parse(world.exchange(stream, Buffer.concat(requests)));
    expect(stream.sends - sendsBefore).toBe(1);
    expect(replies).toHaveLength(8);
    for (const reply of replies) {
      expect(reply.data.equals(volume.data.subarray(reply.cookie * 512, reply.cookie * 512 + 512))).toBe(true);
    }
  });

  it('does not use the memory of replies again before the client has fetched them', () => {
    const { world, stream, volume } = open({ structured: false, sizeBytes: 4 * mebibyte });
    volume.data.set(pattern(4 * mebibyte));
    stream.slow = true;
    for (let index = 0; index < 64; index += 1) {
      const length = index % 2 === 0 ? 4096 : 65536;
      stream.deliver(request({ type: readCommand, cookie: index, offset: index * 65536, length }));
      world.turn.run();
    }
    const replies = parse(stream.fetch(), (cookie) => (cookie % 2 === 0 ? 4096 : 65536));
    expect(replies).toHaveLength(64);
    for (const { cookie, data } of replies) {
      expect(data.equals(volume.data.subarray(cookie * 65536, cookie * 65536 + data.length))).toBe(true);
    }
  });

  it('does not use the memory of an unfinished read for the next one', () => {
    const { world, stream, volume } = open({ structured: false });
    volume.data.fill(0xaa, 0, 512);
    volume.holding = true;
    world.exchange(stream, request({ type: readCommand, cookie: 1, offset: 0, length: 512 }));
    volume.holding = false;
    world.exchange(stream, request({ type: readCommand, cookie: 2, offset: 1024, length: 512 }));
    stream.slow = true;
    stream.deliver(request({ type: readCommand, cookie: 3, offset: 1024, length: 512 }));
    world.turn.run();
    volume.release();
    world.turn.run();
    const replies = parse(stream.fetch(), () => 512);
    expect(replies.map((reply) => [reply.cookie, reply.data[0]])).toEqual([
      [3, 0],
      [1, 0xaa],
    ]);
  });

  it('does not lend the memory of an unfinished read to another session after its own has ended', () => {
    const { world, stream, volume } = open({ structured: false });
    volume.data.fill(0xaa, 0, 512);
    volume.holding = true;
    stream.deliver(request({ type: readCommand, offset: 0, length: 512 }));
    stream.close();
    volume.holding = false;
    const other = world.connect();
    world.exchange(other, opening('vol1', false));
    other.slow = true;
    other.deliver(request({ type: readCommand, cookie: 9, offset: 1024, length: 512 }));
    world.turn.run();
    volume.release();
    world.turn.run();
    expect(
      parse(other.fetch(), () => 512)
        .at(-1)
        ?.data.every((byte) => byte === 0),
    ).toBe(true);
  });

  it('stops reading when the client does not fetch its replies, and goes on when it does', () => {
    const { world, stream } = open({ sizeBytes: 4 * mebibyte, limits: { unsentBytesMax: mebibyte } });
    stream.slow = true;
    const requests = Buffer.concat(
      Array.from({ length: 64 }, (_, index) => request({ type: readCommand, cookie: index, length: mebibyte / 4 })),
    );
    for (let at = 0; at < requests.length; at += 28) {
      stream.events?.received(requests.subarray(at, at + 28));
      world.turn.run();
    }
    expect(stream.paused).toBe(true);
    expect(stream.unsentBytes).toBeLessThan(2 * mebibyte);
    const cookies = new Set<number>();
    while (cookies.size < 64) {
      const replies = parse(stream.fetch());
      expect(replies.length).toBeGreaterThan(0);
      for (const reply of replies) cookies.add(reply.cookie);
      world.turn.run();
    }
    expect(stream.paused).toBe(false);
  });

  it.each([
    ['requests', { requestsMax: 4 }],
    ['bytes', { bytesMax: 4 * 512 }],
  ])('gives the volume no more %s at a time than allowed', (_, limits) => {
    const { world, stream, volume } = open({ limits });
    volume.holding = true;
    const requests = Array.from({ length: 10 }, (_unused, index) =>
      request({ type: readCommand, cookie: index, length: 512 }),
    );
    world.exchange(stream, Buffer.concat(requests));
    expect(volume.calls).toHaveLength(4);
    expect(stream.paused).toBe(true);
    volume.release();
    expect(parse(world.exchange(stream))).toHaveLength(10);
    expect(stream.paused).toBe(false);
  });

  it('answers what is in flight with ESHUTDOWN, once, when ownership moves, then ends', () => {
    const { world, stream, volume } = open();
    volume.holding = true;
    world.exchange(stream, Buffer.concat([request({ type: readCommand, cookie: 1, length: 512 })]));
    world.exchange(stream, request({ type: flush, cookie: 2 }));
    world.exchange(stream, request({ type: writeCommand, cookie: 3, length: 512 }));
    for (const session of [...world.catalogue.openSessions]) session.moved('vol1 is owned by west now');
    const replies = parse(stream.fetch());
    expect(replies.map((reply) => [reply.cookie, errorName(reply.error)])).toEqual([
      [1, 'ESHUTDOWN'],
      [2, 'ESHUTDOWN'],
      [3, 'ESHUTDOWN'],
    ]);
    expect(stream.ended).toBe(true);
    expect(world.catalogue.openSessions.size).toBe(0);
    volume.fault = 'moved';
    volume.release();
    expect(world.exchange(stream, request({ type: flush })).length).toBe(0);
  });

  it('waits for what is in flight before it closes after DISC, and reads nothing more', () => {
    const { world, stream, volume } = open();
    volume.holding = true;
    const late = request({ type: writeCommand, cookie: 8 }, pattern(512));
    world.exchange(stream, Buffer.concat([request({ type: flush, cookie: 7 }), request({ type: disconnect }), late]));
    expect(stream.ended).toBe(false);
    volume.release();
    const replies = parse(world.exchange(stream));
    expect(replies.map((reply) => reply.cookie)).toEqual([7]);
    expect(stream.ended).toBe(true);
    expect(volume.calls).toEqual(['flush']);
    expect(world.catalogue.openSessions.size).toBe(0);
  });

  it('ignores completions after the client has gone', () => {
    const { world, stream, volume } = open();
    volume.holding = true;
    world.exchange(stream, request({ type: readCommand, length: 512 }));
    stream.close();
    volume.release();
    world.turn.run();
    expect(stream.fetch()).toHaveLength(0);
    expect(world.server.sessions()).toEqual([]);
  });

  it('passes over the payload of a refused write, and goes on with the next request', () => {
    const { world, stream, volume } = open();
    const bytes = Buffer.concat([
      request({ type: writeCommand, cookie: 1, offset: 65536 }, pattern(70_000)),
      request({ type: writeCommand, cookie: 2, offset: 100 }, pattern(512)),
      request({ type: writeCommand, cookie: 3, flags: 0x20 }, pattern(512)),
      request({ type: writeCommand, cookie: 4, offset: 0 }, pattern(512)),
    ]);
    const replies = parse(world.exchange(stream, bytes));
    expect(replies.map((reply) => errorName(reply.error))).toEqual(['EINVAL', 'EINVAL', 'EINVAL', 'success']);
    expect(volume.calls).toEqual(['write 0+512']);
  });

  it.each([
    ['io', 'EIO'],
    ['noSpace', 'ENOSPC'],
    ['moved', 'ESHUTDOWN'],
  ] as const)('tells the host of the fault %s as %s', (fault, name) => {
    for (const structured of [true, false]) {
      const { world, stream, volume } = open({ structured });
      volume.fault = fault;
      const bytes = Buffer.concat([
        request({ type: readCommand, length: 512 }),
        request({ type: writeCommand }, pattern(512)),
      ]);
      expect(parse(world.exchange(stream, bytes)).map((reply) => errorName(reply.error))).toEqual([name, name]);
    }
  });

  it('closes a handshake that is not finished in time, and not one that is', () => {
    const world = new World({ handshakeMs: 30_000 });
    world.volume('vol1');
    const [idle, busy] = [world.connect(), world.connect()];
    world.exchange(busy, opening('vol1', true));
    world.clock.advance(29_999);
    expect(idle.destroyed).toBe(false);
    world.clock.advance(1);
    expect([idle.destroyed, busy.destroyed]).toEqual([true, false]);
    expect(world.logged.filter((line) => line.includes('no export chosen'))).toHaveLength(1);
  });

  it('cuts the connection when an ended session is not let go', () => {
    const { world, stream } = open({ limits: { closeMs: 5000 } });
    stream.deliver(request({ type: disconnect }));
    world.turn.run();
    expect([stream.ended, stream.destroyed]).toEqual([true, false]);
    world.clock.advance(5000);
    expect(stream.destroyed).toBe(true);
  });

  it('answers options no faster than the client fetches the answers', () => {
    const world = new World();
    for (let index = 0; index < 200; index += 1) world.volume(`volume-${index}-${'x'.repeat(200)}`, 512);
    const stream = world.connect();
    stream.slow = true;
    const list = Buffer.from('49484156454f50540000000300000000', 'hex');
    stream.deliver(Buffer.concat([Buffer.from([0, 0, 0, 3]), ...Array.from({ length: 500 }, () => list)]));
    expect(stream.paused).toBe(true);
    expect(stream.unsentBytes).toBeLessThan(2 * mebibyte);
    let bytes = 0;
    for (let part = stream.fetch(); part.length > 0; part = stream.fetch()) bytes += part.length;
    expect(bytes).toBeGreaterThan(500 * 200 * 200);
    expect(stream.paused).toBe(false);
  });
});

describe('an NBD server', () => {
  it('takes no more sessions than allowed, says so once, and has room again later', () => {
    const world = new World({ sessionsMax: 2 });
    const streams = [world.connect(), world.connect(), world.connect(), world.connect()];
    expect(streams.map((stream) => stream.destroyed)).toEqual([false, false, true, true]);
    expect(world.logged).toHaveLength(1);
    streams[0]?.close();
    expect(world.connect().destroyed).toBe(false);
  });

  it('reports its sessions', () => {
    const { world, stream, volume } = open();
    volume.holding = true;
    world.exchange(stream, request({ type: flush }));
    expect(world.server.sessions()).toEqual([{ remote: '192.0.2.1:4000', volume: 'vol1', requestsInFlight: 1 }]);
  });

  it('ends its sessions when it closes, and waits for them', async () => {
    const { world, stream, volume } = open();
    volume.holding = true;
    world.exchange(stream, request({ type: flush, cookie: 5 }));
    let closed = false;
    const closing = world.server.close().then(() => (closed = true));
    await Promise.resolve();
    await Promise.resolve();
    await Promise.resolve();
    expect(parse(stream.fetch()).map((reply) => errorName(reply.error))).toEqual(['ESHUTDOWN']);
    expect(closed).toBe(false);
    stream.close();
    await closing;
    expect(world.catalogue.openSessions.size).toBe(0);
  });
});
