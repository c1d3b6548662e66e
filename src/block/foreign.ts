/**
 * System calls that Node does not offer, through an optional package. Calls are synchronous: the package's asynchronous
 * ones would compete with the thread pool unseen.
 */
import { createRequire } from 'node:module';
import { messageOf } from '../base/errors.ts';

/** Only what is used of the package. */
export interface ForeignFunctions {
  load(library: null): { func(declaration: string): (...values: never[]) => unknown };
  errno(): number;
  /** The memory at an address, as it is: nothing is copied. */
  view(address: unknown, length: number): ArrayBuffer;
  readonly os: { readonly errno: Readonly<Record<string, number>> };
}

/** `functions` is null where `reason` says why. */
export const foreignFunctions = load();

function load(): { readonly functions: ForeignFunctions | null; readonly reason: string } {
  if (process.platform !== 'linux') return { functions: null, reason: `not known how on ${process.platform}` };
  // Offsets are declared with 64 bits, which is what these functions take on 64-bit machines only.
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    return { functions: null, reason: `not known how on ${process.arch}` };
  try {
    return { functions: createRequire(import.meta.url)('koffi') as ForeignFunctions, reason: '' };
  } catch (error) {
    return {
      functions: null,
      reason: `the optional package koffi cannot be loaded: ${messageOf(error).split('\n', 1)[0]}`,
    };
  }
}
