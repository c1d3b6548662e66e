import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import type { Address } from '../../../src/base/network.ts';
import { createNodeEnvironment } from '../../../src/base/node/node-environment.ts';
import { NbdServer } from '../../../src/hosts/nbd/server.ts';
import { errorName, opening, parse, request } from './client.ts';
import { TestCatalogue, TestVolume } from './world.ts';

const mebibyte = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'holdfast-nbd-'));

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('an NBD server on real sockets', () => {
  it.each<[string, Address]>([
    ['TCP', { kind: 'tcp', host: '127.0.0.1', port: 0 }],
    ['a Unix socket', { kind: 'unix', path: join(folder, 'nbd.sock') }],
  ])('serves rows of large writes and reads over %s, and tells the host when it stops', async (_, address) => {
    const environment = createNodeEnvironment(silentLog);
    const catalogue = new TestCatalogue();
    const volume = new TestVolume(environment.turn, 'vol1', 8 * mebibyte, 512);
    catalogue.volumes.push(volume);
    const server = new NbdServer(environment, catalogue);
    const [bound] = await server.listen([address]);
    if (bound === undefined) throw new Error('bound nowhere');

    const received: Buffer[] = [];
    let wanted: { bytes: number; reached: () => void } | null = null;
    const look = (): void => {
      if (wanted !== null && received.reduce((sum, part) => sum + part.length, 0) >= wanted.bytes) wanted.reached();
    };
    let closed: () => void = () => undefined;
    const end = new Promise<void>((resolve) => (closed = resolve));
    const client = environment.network.connect(bound, {
      received: (chunk) => {
        received.push(Buffer.from(chunk));
        look();
      },
      closed: () => {
        closed();
      },
    });
    const answer = async (bytes: number): Promise<Buffer> => {
      await new Promise<void>((reached) => {
        wanted = { bytes, reached };
        look();
      });
      return Buffer.concat(received.splice(0));
    };

    client.send([opening('vol1', false)]);
    await answer(18 + 32 + 34 + 20);
    const payloads = Array.from({ length: 8 }, (_unused, index) => Buffer.alloc(mebibyte, index + 1));
    payloads.forEach((payload, index) => {
      client.send([request({ type: 1, cookie: index, offset: index * mebibyte }, payload)]);
    });
    expect(parse(await answer(8 * 16)).map((reply) => errorName(reply.error))).toEqual(Array(8).fill('success'));
    expect(volume.data.equals(Buffer.concat(payloads))).toBe(true);

    for (let index = 0; index < 8; index += 1) {
      client.send([request({ type: 0, cookie: index, offset: index * mebibyte, length: mebibyte })]);
    }
    for (const { cookie, data } of parse(await answer(8 * (16 + mebibyte)), () => mebibyte)) {
      expect(data.equals(payloads[cookie] ?? Buffer.alloc(0))).toBe(true);
    }

    volume.holding = true;
    client.send([request({ type: 3, cookie: 9 })]);
    while (volume.calls.at(-1) !== 'flush') await new Promise((resolve) => setImmediate(resolve));
    await server.close();
    await end;
    expect(parse(Buffer.concat(received)).map((reply) => errorName(reply.error))).toEqual(['ESHUTDOWN']);
    expect(server.sessions()).toEqual([]);
  });
});
