/**
 * The machine's file systems by synchronous calls: for a thread that must get on when the process's thread pool does not.
 *
 * The pool is one for all threads of a process, four workers by default, and the engine's flushes may hold all of them for
 * as long as its slowest disk takes. A lease renewed through the pool would wait behind them, and a node would lose its
 * lease because it is busy. A synchronous call waits for its own file only. The price: while that file's disk hangs, the
 * whole thread does — so this is for the small files of the `file` store, in the thread of the pulse, and for nothing
 * that many wait for.
 */
import * as fs from 'node:fs';
import { dirname } from 'node:path';
import { HoldfastError } from '../errors.ts';
import type { FileHandle, Files, RawHandle } from '../files.ts';
import { blockDeviceSize, errnoOf, fileError } from './node-files.ts';

const { O_RDWR, O_CREAT, O_EXCL } = fs.constants;

export class NodeFilesSync implements Files {
  async read(path: string): Promise<Uint8Array> {
    return named(path, () => fs.readFileSync(path));
  }

  async write(path: string, data: Uint8Array, options: { sync: boolean }): Promise<void> {
    named(path, () => {
      withDescriptor(fs.openSync(path, 'w', 0o644), (descriptor) => {
        writeAll(descriptor, 0, data);
        if (options.sync) fs.fsyncSync(descriptor);
      });
    });
  }

  async open(path: string): Promise<FileHandle> {
    return new SyncFileHandle(
      path,
      named(path, () => fs.openSync(path, O_RDWR | O_CREAT, 0o644)),
    );
  }

  async openRaw(path: string): Promise<RawHandle | null> {
    try {
      const found = fs.statSync(path);
      if (!found.isFile() && !found.isBlockDevice()) return null;
      return new SyncFileHandle(path, fs.openSync(path, found.isFile() ? O_RDWR : O_RDWR | O_EXCL));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return null;
      if (errnoOf(error) === 'EBUSY') {
        throw new HoldfastError('E_VOLUME_IN_USE', `${path} is in use: mounted, or opened by another process`, {
          cause: error,
        });
      }
      throw fileError(path, error);
    }
  }

  async link(from: string, to: string): Promise<void> {
    named(to, () => fs.linkSync(from, to));
  }

  async rename(from: string, to: string): Promise<void> {
    named(from, () => fs.renameSync(from, to));
  }

  async remove(path: string): Promise<void> {
    unlessAbsent(path, () => fs.unlinkSync(path), undefined);
  }

  async list(folder: string): Promise<string[]> {
    return unlessAbsent(folder, () => fs.readdirSync(folder), []);
  }

  async makeFolder(path: string): Promise<void> {
    named(path, () => makeFolders(path));
  }

  async syncFolder(path: string): Promise<void> {
    named(path, () => withDescriptor(fs.openSync(path, 'r'), (descriptor) => fs.fsyncSync(descriptor)));
  }
}

class SyncFileHandle implements RawHandle {
  readonly #path: string;
  readonly #descriptor: number;

  constructor(path: string, descriptor: number) {
    this.#path = path;
    this.#descriptor = descriptor;
  }

  async readAt(offset: number, length: number): Promise<Uint8Array> {
    return named(this.#path, () => {
      const into = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const count = fs.readSync(this.#descriptor, into, filled, length - filled, offset + filled);
        if (count === 0) break;
        filled += count;
      }
      return into.subarray(0, filled);
    });
  }

  async writeAt(offset: number, data: Uint8Array): Promise<void> {
    named(this.#path, () => writeAll(this.#descriptor, offset, data));
  }

  async size(): Promise<number> {
    try {
      const found = fs.fstatSync(this.#descriptor);
      return found.isBlockDevice() ? await blockDeviceSize(found) : found.size;
    } catch (error) {
      throw fileError(this.#path, error);
    }
  }

  async sync(): Promise<void> {
    named(this.#path, () => fs.fsyncSync(this.#descriptor));
  }

  async close(): Promise<void> {
    named(this.#path, () => fs.closeSync(this.#descriptor));
  }
}

function named<Value>(path: string, work: () => Value): Value {
  try {
    return work();
  } catch (error) {
    throw fileError(path, error);
  }
}

function unlessAbsent<Value>(path: string, work: () => Value, absent: Value): Value {
  try {
    return work();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return absent;
    throw fileError(path, error);
  }
}

/** The operating system may take less than it is given at any time. */
function writeAll(descriptor: number, offset: number, data: Uint8Array): void {
  let written = 0;
  while (written < data.length) {
    written += fs.writeSync(descriptor, data, written, data.length - written, offset + written);
  }
}

function withDescriptor(descriptor: number, work: (descriptor: number) => void): void {
  try {
    work(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** Not by `recursive`, as in `NodeFiles`: that never returns where the system refuses new names with ENOENT. */
function makeFolders(path: string): void {
  if (fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  makeFolders(dirname(path));
  try {
    fs.mkdirSync(path);
  } catch (error) {
    if (fs.statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
  }
}
