import { existsSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeTurn } from '../../src/base/node/node-turn.ts';
import { lockFileOf } from '../../src/block/lock.ts';
import { NodeDeviceProvider } from '../../src/block/node-device-provider.ts';
import { withLoopDevice } from './loop.ts';

const sizeBytes = 1 << 30;

describe('NodeDeviceProvider', () => {
  const provider = new NodeDeviceProvider(new NodeTurn());
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'provider-'));
    path = join(folder, 'volumes/vol1.img');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const open = (create: boolean, size = sizeBytes) =>
    provider.open({ path, sizeBytes: size, blockSizeBytes: 4096, create });

  it('makes a sparse file with its folder, once, and opens it again afterwards', async () => {
    const first = await open(true);
    expect(first.created).toBe(true);
    expect(statSync(path)).toMatchObject({ size: sizeBytes, blocks: 0 });
    await first.device.close();
    const second = await open(true);
    expect(second.created).toBe(false);
    await second.device.close();
  });

  it('finishes what a process left behind that died before giving the file its size', async () => {
    await (await open(true)).device.close();
    truncateSync(path, 0);
    const { device, created } = await open(true);
    expect(created).toBe(true);
    await device.close();
    truncateSync(path, 0);
    await expect(open(false)).rejects.toMatchObject({ code: 'E_VOLUME_SIZE' });
  });

  it('names both sizes when they differ', async () => {
    await (await open(true)).device.close();
    await expect(open(true, 2 * sizeBytes)).rejects.toMatchObject({
      code: 'E_VOLUME_SIZE',
      message: `${path} has 1073741824 bytes (1 GiB), not 2147483648 bytes (2 GiB)`,
    });
    // The refusal has given up the lock again.
    await (await open(true)).device.close();
  });

  it('opens a file for one at a time, and frees it on close', async () => {
    const { device } = await open(true);
    await expect(open(true)).rejects.toMatchObject({
      code: 'E_VOLUME_IN_USE',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    await device.close();
    await (await open(false)).device.close();
  });

  it('names a file that is missing, and one that is none', async () => {
    await expect(open(false)).rejects.toMatchObject({
      code: 'E_FILE_MISSING',
      message: expect.stringContaining(path),
    });
    path = folder;
    await expect(open(false)).rejects.toMatchObject({ code: 'E_IO', message: expect.stringContaining(folder) });
  });

  it('names a path whose folder cannot be made', async () => {
    writeFileSync(join(folder, 'volumes'), 'a file');
    await expect(open(true)).rejects.toMatchObject({ message: expect.stringContaining('volumes') });
  });

  it('removes a file with its lock, silently when there is none', async () => {
    await (await open(true)).device.close();
    writeFileSync(lockFileOf(path), '');
    await provider.remove(path);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(lockFileOf(path))).toBe(false);
    await provider.remove(path);
  });

  const loop = withLoopDevice(4 << 20);
  it.skipIf(loop === null)(
    'opens a block device for itself alone, of the size it has, and never deletes it',
    async () => {
      const attached = loop?.();
      if (attached === undefined) throw new Error('no loop device');
      try {
        path = attached.path;
        const { device, created } = await open(true, 4 << 20);
        expect(created).toBe(false);
        await expect(open(true, 4 << 20)).rejects.toMatchObject({ code: 'E_VOLUME_IN_USE' });
        await device.close();
        await expect(open(true, 8 << 20)).rejects.toMatchObject({ code: 'E_VOLUME_SIZE' });
        await provider.remove(path);
        expect(statSync(path).isBlockDevice()).toBe(true);
      } finally {
        attached.detach();
      }
    },
  );
});
