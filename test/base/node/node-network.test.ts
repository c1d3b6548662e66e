import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../../src/base/log.ts';
import { NodeNetwork } from '../../../src/base/node/node-network.ts';
import { networkContract } from '../../contract/network.ts';
import { until } from './until.ts';

networkContract('TCP', async () => {
  const network = new NodeNetwork(silentLog);
  return {
    server: network,
    client: network,
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    until,
    dispose: async () => {},
  };
});

networkContract('Unix socket', async () => {
  const network = new NodeNetwork(silentLog);
  const folder = await mkdtemp(join(tmpdir(), 'network-'));
  return {
    server: network,
    client: network,
    address: { kind: 'unix', path: join(folder, 'socket') },
    until,
    dispose: () => rm(folder, { recursive: true }),
  };
});

describe('without the handle it expects in accepted sockets', () => {
  // Sockets of `net` get their handle hidden: what a later version of Node might do.
  const original = Reflect.getOwnPropertyDescriptor(Reflect, 'get');
  beforeEach(() => {
    const get = Reflect.get.bind(Reflect);
    Reflect.get = (target: object, key: PropertyKey) => (key === '_handle' ? undefined : get(target, key));
  });
  afterEach(() => {
    if (original !== undefined) Reflect.defineProperty(Reflect, 'get', original);
  });

  networkContract('TCP by data events', async () => {
    const network = new NodeNetwork(silentLog);
    return {
      server: network,
      client: network,
      address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
      until,
      dispose: async () => {},
    };
  });
});

describe('Unix sockets', () => {
  let folder: string;
  let path: string;
  const network = new NodeNetwork(silentLog);
  const nobody = () => ({ received: () => {}, closed: () => {} });

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'network-'));
    path = join(folder, 'socket');
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('take over the socket file of a process that died', async () => {
    // A socket bound and then dropped without unlinking, as kill -9 leaves it.
    const dead = net.createServer();
    await new Promise<void>((resolve) => dead.listen(join(folder, 'first'), resolve));
    const { renameSync } = await import('node:fs');
    renameSync(join(folder, 'first'), path);
    await new Promise((resolve) => dead.close(resolve));
    expect((await stat(path)).isSocket()).toBe(true);

    const listener = await network.listen({ kind: 'unix', path }, nobody);
    let closedReason = '';
    let opened = false;
    const stream = network.connect(listener.address, {
      opened: () => (opened = true),
      received: () => {},
      closed: (reason) => (closedReason = reason),
    });
    await until(() => opened);
    stream.destroy();
    await until(() => closedReason !== '');
    await listener.close();
  });

  it('leave a file alone that is none', async () => {
    await writeFile(path, 'precious');
    await expect(network.listen({ kind: 'unix', path }, nobody)).rejects.toMatchObject({ code: 'E_PORT_TAKEN' });
    expect((await stat(path)).size).toBe(8);
  });

  it('name a folder that is missing', async () => {
    await expect(network.listen({ kind: 'unix', path: join(folder, 'no/socket') }, nobody)).rejects.toMatchObject({
      code: 'E_LISTEN',
      message: expect.stringContaining('no/socket'),
    });
  });
});

describe('TCP', () => {
  it('names an address that is not of this machine', async () => {
    const listening = new NodeNetwork(silentLog).listen({ kind: 'tcp', host: '192.0.2.1', port: 0 }, () => ({
      received: () => {},
      closed: () => {},
    }));
    await expect(listening).rejects.toMatchObject({ code: 'E_ADDRESS_UNAVAILABLE' });
  });
});
