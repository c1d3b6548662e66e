/**
 * The three system calls Node does not offer: fallocate, for giving space back, and lseek, for finding holes. They come
 * through an optional package; without it zeroes are written and everything counts as data, and `sparseSupport` says
 * so. Calls are synchronous: the package's asynchronous ones would compete with the thread pool unseen.
 */
import { createRequire } from 'node:module';
import { messageOf } from '../base/errors.ts';

export interface SparseCalls {
  /** Gives the range back; it reads as zeroes. Returns the name of the error, or null. */
  punch(descriptor: number, offset: number, length: number): string | null;
  /** Makes the range read as zeroes and keeps it allocated. */
  zero(descriptor: number, offset: number, length: number): string | null;
  /** First byte of data, or of a hole, at or after the offset; or the name of the error (`ENXIO`: none). */
  seek(descriptor: number, offset: number, what: 'data' | 'hole'): number | string;
}

/** Only what is used of the package. */
interface ForeignFunctions {
  load(library: null): { func(declaration: string): (...values: number[]) => number };
  errno(): number;
  readonly os: { readonly errno: Readonly<Record<string, number>> };
}

// <linux/falloc.h>, <unistd.h>
const keepSize = 0x01;
const punchHole = 0x02;
const zeroRange = 0x10;
const whence = { data: 3, hole: 4 } as const;

const loaded = load();

/** Null where `sparseSupport` says that it is not available. */
export const sparseCalls: SparseCalls | null = loaded.calls;

export function sparseSupport(): { readonly available: boolean; readonly reason: string } {
  return { available: loaded.calls !== null, reason: loaded.reason };
}

function load(): { readonly calls: SparseCalls | null; readonly reason: string } {
  if (process.platform !== 'linux') return { calls: null, reason: `not known how on ${process.platform}` };
  // Offsets are declared with 64 bits, which is what these functions take on 64-bit machines only.
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    return { calls: null, reason: `not known how on ${process.arch}` };
  try {
    return {
      calls: bind(createRequire(import.meta.url)('koffi') as ForeignFunctions),
      reason: 'fallocate and lseek',
    };
  } catch (error) {
    return {
      calls: null,
      reason: `the optional package koffi cannot be loaded: ${messageOf(error).split('\n', 1)[0]}`,
    };
  }
}

function bind(foreign: ForeignFunctions): SparseCalls {
  const library = foreign.load(null);
  const fallocate = library.func('int fallocate(int, int, int64_t, int64_t)');
  const lseek = library.func('int64_t lseek(int, int64_t, int)');
  const names = new Map(Object.entries(foreign.os.errno).map(([name, number]) => [number, name]));
  const errorName = (): string => names.get(foreign.errno()) ?? `errno ${foreign.errno()}`;

  const allocate = (descriptor: number, mode: number, offset: number, length: number): string | null => {
    while (true) {
      if (fallocate(descriptor, mode, offset, length) === 0) return null;
      const error = errorName();
      if (error !== 'EINTR') return error;
    }
  };
  return {
    punch: (descriptor, offset, length) => allocate(descriptor, punchHole | keepSize, offset, length),
    zero: (descriptor, offset, length) => allocate(descriptor, zeroRange | keepSize, offset, length),
    seek(descriptor, offset, what) {
      const found = lseek(descriptor, offset, whence[what]);
      return found < 0 ? errorName() : found;
    },
  };
}
