/**
 * fallocate, for giving space back, and lseek, for finding holes. Without them zeroes are written and everything counts
 * as data, and `sparseSupport` says so.
 */
import { foreignFunctions, type ForeignFunctions } from './foreign.ts';

export interface SparseCalls {
  /** Gives the range back; it reads as zeroes. Returns the name of the error, or null. */
  punch(descriptor: number, offset: number, length: number): string | null;
  /** Makes the range read as zeroes and keeps it allocated. */
  zero(descriptor: number, offset: number, length: number): string | null;
  /** First byte of data, or of a hole, at or after the offset; or the name of the error (`ENXIO`: none). */
  seek(descriptor: number, offset: number, what: 'data' | 'hole'): number | string;
}

// <linux/falloc.h>, <unistd.h>
const keepSize = 0x01;
const punchHole = 0x02;
const zeroRange = 0x10;
const whence = { data: 3, hole: 4 } as const;

const { functions, reason } = foreignFunctions;

/** Null where `sparseSupport` says that it is not available. */
export const sparseCalls: SparseCalls | null = functions === null ? null : bind(functions);

export function sparseSupport(): { readonly available: boolean; readonly reason: string } {
  return { available: sparseCalls !== null, reason: sparseCalls === null ? reason : 'fallocate and lseek' };
}

function bind(foreign: ForeignFunctions): SparseCalls {
  const library = foreign.load(null);
  const fallocate = library.func('int fallocate(int, int, int64_t, int64_t)') as (...values: number[]) => number;
  const lseek = library.func('int64_t lseek(int, int64_t, int)') as (...values: number[]) => number;
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
