import { constants, read, write, type Stats } from 'node:fs';
import * as fs from 'node:fs/promises';
import { dirname } from 'node:path';
import { HoldfastError, messageOf } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import type { FileHandle, Files, RawHandle } from '../files.ts';
import { payloadMemory } from '../payload-memory.ts';

/** The machine's file systems, through the thread pool. */
export class NodeFiles implements Files {
  read(path: string): Promise<Uint8Array> {
    return named(path, fs.readFile(path));
  }

  write(path: string, data: Uint8Array, options: { sync: boolean }): Promise<void> {
    return named(path, writeWhole(path, data, options.sync));
  }

  async open(path: string): Promise<FileHandle> {
    return new NodeFileHandle(path, await named(path, fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o644)));
  }

  async openRaw(path: string): Promise<RawHandle | null> {
    try {
      const found = await fs.stat(path);
      if (!found.isFile() && !found.isBlockDevice()) return null;
      return new NodeFileHandle(
        path,
        await (found.isFile() ? fs.open(path, constants.O_RDWR) : openBlockDevice(path)),
      );
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      throw fileError(path, error);
    }
  }

  link(from: string, to: string): Promise<void> {
    return named(to, fs.link(from, to));
  }

  rename(from: string, to: string): Promise<void> {
    return named(from, fs.rename(from, to));
  }

  async remove(path: string): Promise<void> {
    try {
      await fs.unlink(path);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw fileError(path, error);
    }
  }

  async list(folder: string): Promise<string[]> {
    try {
      return await fs.readdir(folder);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(folder, error);
    }
  }

  async makeFolder(path: string): Promise<void> {
    await named(path, makeFolders(path));
  }

  syncFolder(path: string): Promise<void> {
    return named(path, syncFolder(path));
  }
}

class NodeFileHandle implements RawHandle {
  readonly #path: string;
  readonly #handle: fs.FileHandle;

  constructor(path: string, handle: fs.FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  readAt(offset: number, length: number): Promise<Uint8Array> {
    return named(this.#path, this.#readAll(offset, length));
  }

  writeAt(offset: number, data: Uint8Array): Promise<void> {
    return named(this.#path, this.#writeAll(offset, data));
  }

  size(): Promise<number> {
    return named(this.#path, sizeOf(this.#handle));
  }

  sync(): Promise<void> {
    return named(this.#path, this.#handle.sync());
  }

  close(): Promise<void> {
    return named(this.#path, this.#handle.close());
  }

  /** The operating system may transfer less than asked for at any time; only nothing means the end. */
  async #readAll(offset: number, length: number): Promise<Uint8Array> {
    const into = payloadMemory.take(length);
    let filled = 0;
    while (filled < length) {
      const count = await transferred((done) =>
        read(this.#handle.fd, into, filled, length - filled, offset + filled, done),
      );
      if (count === 0) break;
      filled += count;
    }
    return new Uint8Array(into.buffer, into.byteOffset, filled);
  }

  async #writeAll(offset: number, data: Uint8Array): Promise<void> {
    let written = 0;
    while (written < data.length) {
      written += await transferred((done) =>
        write(this.#handle.fd, data, written, data.length - written, offset + written, done),
      );
    }
  }
}

/** Of a call with a callback, which costs half of what a promise of `fs/promises` does. */
function transferred(call: (done: (error: Error | null, count: number) => void) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    call((error, count) => {
      if (error === null) resolve(count);
      else reject(error);
    });
  });
}

async function openBlockDevice(path: string): Promise<fs.FileHandle> {
  try {
    return await fs.open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    if (errnoOf(error) !== 'EBUSY') throw error;
    throw new HoldfastError('E_VOLUME_IN_USE', `${path} is in use: mounted, or opened by another process`, {
      cause: error,
    });
  }
}

async function sizeOf(handle: fs.FileHandle): Promise<number> {
  const found = await handle.stat();
  return found.isBlockDevice() ? blockDeviceSize(found) : found.size;
}

/** In sysfs, in units of 512 bytes whatever the device's block size. Numbers as in glibc's `gnu_dev_major`. */
export async function blockDeviceSize(found: Stats): Promise<number> {
  const major = (found.rdev >>> 8) & 0xfff;
  const minor = (found.rdev & 0xff) | ((found.rdev >>> 12) & 0xfff00);
  return Number(await fs.readFile(`/sys/dev/block/${major}:${minor}/size`, 'latin1')) * 512;
}

async function writeWhole(path: string, data: Uint8Array, sync: boolean): Promise<void> {
  const handle = await fs.open(path, 'w', 0o644);
  try {
    await handle.writeFile(data);
    if (sync) await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Not by `recursive`: that never returns where the system refuses new names with ENOENT, as /proc does. */
async function makeFolders(path: string): Promise<void> {
  if (await isFolder(path)) return;
  await makeFolders(dirname(path));
  try {
    await fs.mkdir(path);
  } catch (error) {
    // Somebody else may have made it just now.
    if (!(await isFolder(path))) throw error;
  }
}

function isFolder(path: string): Promise<boolean> {
  return fs.stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function syncFolder(path: string): Promise<void> {
  const handle = await fs.open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function named<Value>(path: string, work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    throw fileError(path, error);
  }
}

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'E_FILE_MISSING',
  EEXIST: 'E_FILE_EXISTS',
  ENOSPC: 'E_NO_SPACE',
  EDQUOT: 'E_NO_SPACE',
  EROFS: 'E_READ_ONLY',
  EACCES: 'E_READ_ONLY',
  EPERM: 'E_READ_ONLY',
};

/** The operating system's error as one of ours; the message names the path. */
export function fileError(path: string, error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  const message = messageOf(error);
  return new HoldfastError(
    codes[errnoOf(error)] ?? 'E_IO',
    message.includes(path) ? message : `${message} '${path}'`,
    {
      cause: error,
    },
  );
}

/** `ENOENT` and the like; empty when the error is not the operating system's. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
