import * as fs from 'node:fs/promises';
import { close, constants, open } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { HoldfastError } from '../base/errors.ts';
import { blockDeviceSize, errnoOf, fileError, NodeFiles } from '../base/node/node-files.ts';
import type { Turn } from '../base/turn.ts';
import { formatSize } from '../base/units.ts';
import type { Device, DeviceProvider, KeptMemory } from './device.ts';
import { FileDevice } from './file-device.ts';
import { lockFileOf, lockPath } from './lock.ts';
import type { PathLock } from './lock.ts';
import { openMappedFile } from './mapped-file.ts';

type OpenRequest = Parameters<DeviceProvider['open']>[0];

/** Plain descriptors: a `FileHandle` would be closed by the collector when nobody holds it any more. */
const openDescriptor = promisify(open);
const closeDescriptor = promisify(close);

/**
 * Backing files and block devices of this machine. A file is locked by `lock.ts`; a block device by the kernel, which
 * lends it exclusively (`O_EXCL`) and so also keeps it from being mounted.
 */
export class NodeDeviceProvider implements DeviceProvider {
  readonly #turn: Turn;

  constructor(turn: Turn) {
    this.#turn = turn;
  }

  async open(request: OpenRequest): Promise<{ readonly device: Device; readonly created: boolean }> {
    try {
      const found = await statOrNull(request.path);
      if (found?.isBlockDevice() === true)
        return { device: await this.#openBlockDevice(request, found), created: false };
      return await this.#openFile(request);
    } catch (error) {
      throw fileError(request.path, error);
    }
  }

  async openMemory(path: string, sizeBytes: number): Promise<KeptMemory> {
    await new NodeFiles().makeFolder(dirname(path));
    return openMappedFile(this.#turn, path, sizeBytes);
  }

  async remove(path: string): Promise<void> {
    try {
      const found = await statOrNull(path);
      if (found?.isFile() !== true) return;
      await fs.rm(path, { force: true });
      await fs.rm(lockFileOf(path), { force: true });
      await new NodeFiles().syncFolder(dirname(path));
    } catch (error) {
      throw fileError(path, error);
    }
  }

  async clone(from: string, to: string): Promise<void> {
    try {
      const found = await fs.stat(from);
      if (!found.isFile()) throw new HoldfastError('E_IO', `${from} is a block device, which cannot be cloned`);
      await fs.rm(to, { force: true });
      await reflink(from, to);
      await synced(to);
    } catch (error) {
      await fs.rm(to, { force: true }).catch(() => {});
      throw fileError(from, error);
    }
  }

  async cloneObstacle(path: string): Promise<string | null> {
    const [probe, cloned] = [`${path}.probe`, `${path}.probe-clone`];
    try {
      if ((await fs.stat(path)).isBlockDevice()) return `${path} is a block device, which cannot be cloned`;
      await fs.writeFile(probe, new Uint8Array(4096));
      await fs.rm(cloned, { force: true });
      await reflink(probe, cloned);
      return null;
    } catch (error) {
      return fileError(path, error).message;
    } finally {
      for (const rubbish of [probe, cloned]) await fs.rm(rubbish, { force: true }).catch(() => {});
    }
  }

  async replace(from: string, to: string): Promise<void> {
    try {
      await fs.rename(from, to);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(to, error);
    }
    await new NodeFiles().syncFolder(dirname(to));
  }

  async #openFile(request: OpenRequest): Promise<{ readonly device: Device; readonly created: boolean }> {
    const { path, sizeBytes, blockSizeBytes, create } = request;
    if (create) await new NodeFiles().makeFolder(dirname(path));
    const descriptor = await openDescriptor(path, constants.O_RDWR | (create ? constants.O_CREAT : 0), 0o600);
    let lock: PathLock | null = null;
    try {
      lock = await lockPath(path);
      const found = await fs.stat(path);
      if (!found.isFile()) throw new HoldfastError('E_IO', `${path} is neither a file nor a block device`);
      // Empty is also what a process leaves behind that died between making the file and giving it its size.
      const created = create && found.size === 0;
      if (created) await giveSize(path, sizeBytes);
      else checkSize(path, found.size, sizeBytes);
      const { release } = lock;
      const device = new FileDevice({
        descriptor,
        path,
        sizeBytes,
        blockSizeBytes,
        kind: 'file',
        turn: this.#turn,
        released: release,
      });
      return { device, created };
    } catch (error) {
      await closeDescriptor(descriptor);
      await lock?.release();
      throw error;
    }
  }

  async #openBlockDevice(request: OpenRequest, found: Stats): Promise<Device> {
    const { path, sizeBytes, blockSizeBytes } = request;
    const descriptor = await openDescriptor(path, constants.O_RDWR | constants.O_EXCL).catch((error: unknown) => {
      if (errnoOf(error) !== 'EBUSY') throw error;
      throw new HoldfastError('E_VOLUME_IN_USE', `${path} is in use: mounted, or opened by another process`, {
        cause: error,
      });
    });
    try {
      checkSize(path, await blockDeviceSize(found), sizeBytes);
    } catch (error) {
      await closeDescriptor(descriptor);
      throw error;
    }
    return new FileDevice({ descriptor, path, sizeBytes, blockSizeBytes, kind: 'device', turn: this.#turn });
  }
}

async function reflink(from: string, to: string): Promise<void> {
  try {
    await fs.copyFile(from, to, constants.COPYFILE_FICLONE_FORCE);
  } catch (error) {
    if (!['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENOTTY', 'EINVAL'].includes(errnoOf(error))) throw error;
    throw new HoldfastError('E_IO', `the file system of ${dirname(from)} cannot clone files`, { cause: error });
  }
}

/** A file that was made just now, with its name. */
async function synced(path: string): Promise<void> {
  const handle = await fs.open(path, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await new NodeFiles().syncFolder(dirname(path));
}

/** A sparse file of zeroes that is still there, and still of that size, after power loss. */
async function giveSize(path: string, sizeBytes: number): Promise<void> {
  await fs.truncate(path, sizeBytes);
  await synced(path);
}

function checkSize(path: string, foundBytes: number, wantedBytes: number): void {
  if (foundBytes === wantedBytes) return;
  const amount = (bytes: number): string => `${bytes} bytes (${formatSize(bytes)})`;
  throw new HoldfastError('E_VOLUME_SIZE', `${path} has ${amount(foundBytes)}, not ${amount(wantedBytes)}`);
}

async function statOrNull(path: string): Promise<Stats | null> {
  try {
    return await fs.stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    throw error;
  }
}
