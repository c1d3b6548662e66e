/**
 * A small file as memory (contract: `KeptMemory`). Where the system allows, it is mapped: what is stored is in the page
 * cache at once, at the price of a store. Elsewhere each change is written, at the price of a system call.
 *
 * A mapped page that the file system cannot bring or make room for kills the process. Hence the file is written out
 * before it is mapped, and only file systems that then store in place are trusted with it.
 */
import * as fs from 'node:fs';
import { fileError } from '../base/node/node-files.ts';
import type { Turn } from '../base/turn.ts';
import type { BlockFault, KeptMemory } from './device.ts';
import { blockFault } from './fault.ts';
import { foreignFunctions } from './foreign.ts';

/** statfs(2), `f_type`: ext2 to ext4, XFS, tmpfs. */
const inPlace: ReadonlySet<number> = new Set([0xef53, 0x5846_5342, 0x0102_1994]);

// <sys/mman.h>
const protReadWrite = 0x1 | 0x2;
const mapShared = 0x01;

interface Mapping {
  readonly bytes: Uint8Array;
  unmap(): void;
}

const map = bind();

/** @param mapped false: as if it could not be mapped, for tests. Rejects with `E_IO`, `E_NO_SPACE`, `E_READ_ONLY`. */
export async function openMappedFile(
  turn: Turn,
  path: string,
  sizeBytes: number,
  mapped = true,
): Promise<KeptMemory> {
  try {
    const descriptor = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
    try {
      const found = wholeContents(descriptor, sizeBytes);
      const mapping = mapped && inPlace.has(fs.statfsSync(path).type) ? map?.(descriptor, sizeBytes) : null;
      return new MappedFile({ turn, path, descriptor, mapping: mapping ?? null, bytes: mapping?.bytes ?? found });
    } catch (error) {
      fs.closeSync(descriptor);
      throw error;
    }
  } catch (error) {
    throw fileError(path, error);
  }
}

/** What the file holds, zeroes where it ends; all of it has its place on the medium afterwards. */
function wholeContents(descriptor: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  const { size, blocks } = fs.fstatSync(descriptor);
  fs.readSync(descriptor, bytes, 0, sizeBytes, 0);
  if (size !== sizeBytes || blocks * 512 < sizeBytes) {
    fs.writeSync(descriptor, bytes, 0, sizeBytes, 0);
    fs.ftruncateSync(descriptor, sizeBytes);
    fs.fsyncSync(descriptor);
  }
  return bytes;
}

class MappedFile implements KeptMemory {
  readonly #turn: Turn;
  readonly #path: string;
  readonly #descriptor: number;
  readonly #mapping: Mapping | null;
  #bytes: Uint8Array | null;

  constructor(parts: { turn: Turn; path: string; descriptor: number; mapping: Mapping | null; bytes: Uint8Array }) {
    this.#turn = parts.turn;
    this.#path = parts.path;
    this.#descriptor = parts.descriptor;
    this.#mapping = parts.mapping;
    this.#bytes = parts.bytes;
  }

  get bytes(): Uint8Array {
    if (this.#bytes === null) throw new Error(`${this.#path} is closed`);
    return this.#bytes;
  }

  keep(offset: number, length: number): BlockFault | null {
    if (this.#mapping !== null) return null;
    try {
      fs.writeSync(this.#descriptor, this.bytes, offset, length, offset);
      return null;
    } catch (error) {
      return blockFault(this.#path, error, 'writeFailed');
    }
  }

  close(): Promise<void> {
    // Whoever still held the mapped bytes would touch memory that is not there any more.
    this.#bytes = null;
    this.#mapping?.unmap();
    fs.closeSync(this.#descriptor);
    return new Promise((resolve) => this.#turn.defer(resolve));
  }
}

function bind(): ((descriptor: number, sizeBytes: number) => Mapping | null) | null {
  const { functions } = foreignFunctions;
  if (functions === null) return null;
  const library = functions.load(null);
  type Mmap = (at: null, length: number, prot: number, flags: number, descriptor: number, offset: number) => bigint;
  const mmap = library.func('void *mmap(void *, size_t, int, int, int, int64_t)') as Mmap;
  const munmap = library.func('int munmap(void *, size_t)') as (at: bigint, length: number) => number;
  return (descriptor, sizeBytes) => {
    const address = mmap(null, sizeBytes, protReadWrite, mapShared, descriptor, 0);
    // MAP_FAILED is the highest address.
    if (BigInt.asIntN(64, address) === -1n) return null;
    return {
      bytes: new Uint8Array(functions.view(address, sizeBytes)),
      unmap: () => void munmap(address, sizeBytes),
    };
  };
}
