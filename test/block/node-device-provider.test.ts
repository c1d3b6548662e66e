import {
  existsSync,
  mkdtempSync,
  readdirSync,
  openSync,
  readSync,
  closeSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeTurn } from '../../src/base/node/node-turn.ts';
import { lockFileOf } from '../../src/block/lock.ts';
import { NodeDeviceProvider } from '../../src/block/node-device-provider.ts';
import { mountCloning, mountSmall, withLoopDevice } from './loop.ts';

const sizeBytes = 1 << 30;

function firstBytes(path: string): Uint8Array {
  const into = new Uint8Array(4096);
  const file = openSync(path, 'r');
  readSync(file, into);
  closeSync(file);
  return into;
}

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

  const clones = mountCloning();
  it.skipIf(clones === null)(
    'TL-16: clones a file at once, open and written to, and puts the clone in its place',
    async () => {
      const mounted = clones?.();
      if (mounted === undefined) throw new Error('no file system that clones');
      try {
        path = join(mounted.folder, 'vol1.img');
        const clone = `${path}.image`;
        const { device } = await open(true);
        const write = (byte: number): Promise<unknown> =>
          new Promise((done) => device.write(0, new Uint8Array(4096).fill(byte), done));
        await write(1);
        expect(await provider.cloneObstacle(path)).toBeNull();
        expect(readdirSync(mounted.folder).sort()).toEqual(['vol1.img', 'vol1.img.lock']);
        writeFileSync(clone, 'an older one');
        await provider.clone(path, clone);
        await write(2);
        await device.close();
        expect(firstBytes(path).every((byte) => byte === 2)).toBe(true);
        await provider.replace(clone, path);
        expect(firstBytes(path).every((byte) => byte === 1)).toBe(true);
        expect(existsSync(clone)).toBe(false);
        await provider.replace(clone, path);
        const again = await open(false);
        await again.device.close();
      } finally {
        mounted.unmount();
      }
    },
  );

  const small = mountSmall();
  it.skipIf(small === null)(
    'TL-16: says why it cannot clone, before and then, and leaves nothing behind',
    async () => {
      const mounted = small?.();
      if (mounted === undefined) throw new Error('no tmpfs');
      try {
        path = join(mounted.folder, 'vol1.img');
        await (await open(true)).device.close();
        const why = `the file system of ${mounted.folder} cannot clone files`;
        expect(await provider.cloneObstacle(path)).toBe(why);
        await expect(provider.clone(path, `${path}.image`)).rejects.toMatchObject({ code: 'E_IO', message: why });
        expect(readdirSync(mounted.folder)).toEqual(['vol1.img']);
      } finally {
        mounted.unmount();
      }
    },
  );
});
