/** What every `Network` does (`src/base/network.ts`), whatever carries its bytes. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Address, ByteStream, Listener, Network, StreamEvents } from '../../src/base/network.ts';
import { payloadMemory } from '../../src/base/payload-memory.ts';

export interface NetworkUnderTest {
  readonly server: Network;
  /** How the client's machine reaches the server's; the same object where there is one machine only. */
  readonly client: Network;
  /** Free to listen at; a port may be 0. */
  readonly address: Address;
  /** Lets the world go on until the condition holds; rejects when it does not for unreasonably long. */
  until(condition: () => boolean): Promise<void>;
  dispose(): Promise<void>;
}

/** One end of a stream, remembering what it is told. */
class End implements StreamEvents {
  stream: ByteStream | null = null;
  readonly calls: string[] = [];
  readonly chunks: Uint8Array[] = [];
  receivedBytes = 0;
  closedReason: string | null = null;
  /** What `space` answers; null for memory of the binding's. */
  offered: Uint8Array | null = null;
  offeredBytesUsed = 0;

  opened(): void {
    this.calls.push('opened');
  }

  space(): Uint8Array | null {
    return this.offered?.subarray(this.offeredBytesUsed) ?? null;
  }

  received(chunk: Uint8Array): void {
    expect(this.closedReason).toBeNull();
    this.calls.push('received');
    if (this.offered !== null && chunk.buffer === this.offered.buffer) {
      expect(chunk.byteOffset).toBe(this.offered.byteOffset + this.offeredBytesUsed);
      this.offeredBytesUsed += chunk.length;
    }
    payloadMemory.share(chunk);
    this.chunks.push(chunk);
    this.receivedBytes += chunk.length;
  }

  drained(): void {
    this.calls.push('drained');
  }

  closed(reason: string): void {
    expect(this.closedReason).toBeNull();
    this.closedReason = reason;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }

  send(...texts: string[]): void {
    this.stream?.send(texts.map((text) => Buffer.from(text, 'latin1')));
  }
}

export function networkContract(name: string, make: () => Promise<NetworkUnderTest>): void {
  describe(`network contract: ${name}`, () => {
    let world: NetworkUnderTest;
    let listener: Listener;
    let accepted: End[];

    beforeEach(async () => {
      world = await make();
      accepted = [];
      listener = await world.server.listen(world.address, (stream) => {
        const end = new End();
        end.stream = stream;
        accepted.push(end);
        return end;
      });
    });

    afterEach(async () => {
      await listener.close();
      for (const end of accepted) end.stream?.destroy();
      await world.dispose();
    });

    function connect(): End {
      const end = new End();
      end.stream = world.client.connect(listener.address, end);
      return end;
    }

    async function pair(): Promise<{ client: End; server: End }> {
      const client = connect();
      client.send('!');
      await world.until(() => accepted.some((end) => end.receivedBytes > 0));
      const server = accepted.at(-1);
      if (server === undefined) throw new Error('nothing was accepted');
      server.chunks.length = 0;
      server.receivedBytes = 0;
      return { client, server };
    }

    it('sends what was handed over before the stream stood, after opening it', async () => {
      const client = connect();
      client.send('early ', 'bird');
      expect(client.calls).toEqual([]);
      await world.until(() => accepted[0]?.receivedBytes === 10);
      expect(accepted[0]?.text).toBe('early bird');
      expect(accepted[0]?.calls).not.toContain('opened');
      await world.until(() => client.calls.includes('opened'));
      expect(client.calls.filter((call) => call === 'opened')).toHaveLength(1);
    });

    it('delivers parts in order, both ways, and never within the call', async () => {
      const { client, server } = await pair();
      let expected = '';
      for (let index = 0; index < 200; index++) {
        const parts = [`${index}`, '', 'x'.repeat(index), ';'];
        client.send(...parts);
        expected += parts.join('');
      }
      expect(server.receivedBytes).toBe(0);
      server.send('answer');
      expect(client.receivedBytes).toBe(0);
      await world.until(() => server.receivedBytes >= expected.length && client.receivedBytes >= 6);
      expect(server.text).toBe(expected);
      expect(client.text).toBe('answer');
    });

    it('delivers parts in order that lie side by side in memory, or overlap, or lie the other way round', async () => {
      const { client, server } = await pair();
      const memory = Buffer.alloc(10, '0123456789', 'latin1');
      const parts = [
        [0, 2],
        [2, 5],
        [5, 5],
        [5, 6],
        [5, 8],
        [2, 4],
        [0, 2],
        [8, 10],
      ].map(([from, to]) => memory.subarray(from, to));
      client.stream?.send(parts);
      await world.until(() => server.receivedBytes >= 15);
      expect(server.text).toBe('012345567230189');
    });

    it('never uses memory again while somebody shares in it', async () => {
      const { client, server } = await pair();
      const copies: Buffer[] = [];
      let expectedBytes = 0;
      for (let round = 0; round < 40; round++) {
        client.stream?.send([Buffer.alloc(30_000, round)]);
        expectedBytes += 30_000;
        await world.until(() => server.receivedBytes === expectedBytes);
        while (copies.length < server.chunks.length) copies.push(Buffer.from(server.chunks[copies.length] ?? []));
      }
      expect(Buffer.concat(server.chunks).equals(Buffer.concat(copies))).toBe(true);
    });

    it('fills the memory offered, front to back, and no byte beyond it', async () => {
      const { client, server } = await pair();
      const memory = Buffer.alloc(100_016, 0xee);
      server.offered = memory.subarray(8, 100_008);
      const payload = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7) & 0xff));
      // The next read may have been given its place before the offer was made: it ends with this byte.
      client.send('a');
      await world.until(() => server.receivedBytes === 1);
      const before = server.offeredBytesUsed;
      client.stream?.send([payload, Buffer.from('rest')]);
      await world.until(() => server.receivedBytes === 1 + payload.length + 4);
      const used = server.offeredBytesUsed - before;
      expect(server.offeredBytesUsed).toBe(100_000);
      expect(memory.subarray(8 + before, 100_008).equals(payload.subarray(0, used))).toBe(true);
      expect(memory.subarray(0, 8).equals(Buffer.alloc(8, 0xee))).toBe(true);
      expect(memory.subarray(100_008).equals(Buffer.alloc(8, 0xee))).toBe(true);
      expect(server.text.slice(1)).toBe(payload.toString('latin1') + 'rest');
    });

    it('stops reading while paused, counts what is unsent meanwhile, and says when all of it has gone', async () => {
      const { client, server } = await pair();
      server.stream?.pauseReading(true);
      const block = Buffer.alloc(1 << 20, 7);
      let sentBytes = 0;
      while (sentBytes < 64 << 20) {
        client.stream?.send([block]);
        sentBytes += block.length;
      }
      expect(client.stream?.unsentBytes).toBeGreaterThan(0);
      client.calls.length = 0;
      server.send('still talking');
      await world.until(() => client.text === 'still talking');
      expect(server.receivedBytes).toBe(0);
      expect(client.calls).not.toContain('drained');
      server.stream?.pauseReading(false);
      await world.until(() => server.receivedBytes === sentBytes && client.calls.includes('drained'));
      expect(client.stream?.unsentBytes).toBe(0);
    });

    it('sends what is queued before it ends, and names both ends of the story', async () => {
      const { client, server } = await pair();
      const block = Buffer.alloc(8 << 20, 1);
      client.stream?.send([block]);
      client.stream?.end();
      client.send('ignored');
      await world.until(() => server.closedReason !== null && client.closedReason !== null);
      expect(server.receivedBytes).toBe(block.length);
      expect(server.closedReason).toBe('closed by the other side');
      expect(client.closedReason).toBe('closed here');
    });

    it('closes both ends once when one is destroyed, and ignores what is sent afterwards', async () => {
      const { client, server } = await pair();
      server.stream?.destroy();
      expect(server.closedReason).toBeNull();
      server.stream?.destroy();
      server.send('ignored');
      await world.until(() => server.closedReason !== null && client.closedReason !== null);
      expect(server.closedReason).toBe('closed here');
      expect(client.receivedBytes).toBe(0);
      client.send('ignored');
      client.stream?.end();
      client.stream?.destroy();
    });

    it('tells why a connection cannot be made', async () => {
      await listener.close();
      const client = connect();
      await world.until(() => client.closedReason !== null);
      expect(client.closedReason).toContain('connection refused');
      expect(client.calls).toEqual([]);
    });

    it('refuses a place where somebody listens already', async () => {
      await expect(world.server.listen(listener.address, () => new End())).rejects.toMatchObject({
        code: 'E_PORT_TAKEN',
      });
    });

    it('keeps accepted streams when the listener closes, and can listen there again', async () => {
      const { client, server } = await pair();
      await listener.close();
      client.send('alive');
      await world.until(() => server.text === 'alive');
      listener = await world.server.listen(listener.address, () => new End());
    });
  });
}
