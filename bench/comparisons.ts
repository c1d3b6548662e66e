/** The speeds we promise: each load, on which of our volumes, against what, and the ratio to reach. Data only. */
import type { Load, LoadResult } from './fio.ts';

export type Ours = 'plain' | 'sync' | 'async';
export type Baseline = 'nbdkit' | 'qemu-mirror' | 'qemu-copied';

export interface Comparison {
  /** For `--only`. */
  readonly name: string;
  readonly title: string;
  readonly load: Load;
  readonly ours: Ours;
  readonly baseline: Baseline;
  /** Our operations per second over the baseline's, at least; null where nothing is promised. */
  readonly target: number | null;
}

/** One of ours or of theirs in one round. */
export interface Measurement extends LoadResult {
  readonly cpuSecondsPer1000: number;
}

export interface ComparisonResult {
  readonly comparison: Comparison;
  readonly rounds: readonly { readonly ours: Measurement; readonly baseline: Measurement; readonly ratio: number }[];
}

const kibibyte = 1024;
const small = { blockBytes: 4 * kibibyte };
const large = { blockBytes: 1024 * kibibyte, depth: 8 };

export const comparisons: readonly Comparison[] = [
  {
    name: 'plain-write-4k-32',
    title: 'unmirrored 4 KiB write, depth 32',
    load: { pattern: 'randwrite', ...small, depth: 32 },
    ours: 'plain',
    baseline: 'nbdkit',
    target: 1.0,
  },
  {
    name: 'plain-read-4k-32',
    title: 'unmirrored 4 KiB read, depth 32',
    load: { pattern: 'randread', ...small, depth: 32 },
    ours: 'plain',
    baseline: 'nbdkit',
    target: 1.0,
  },
  {
    name: 'plain-write-4k-1',
    title: 'unmirrored 4 KiB write, depth 1',
    load: { pattern: 'randwrite', ...small, depth: 1 },
    ours: 'plain',
    baseline: 'nbdkit',
    target: 0.65,
  },
  {
    name: 'plain-read-4k-1',
    title: 'unmirrored 4 KiB read, depth 1',
    load: { pattern: 'randread', ...small, depth: 1 },
    ours: 'plain',
    baseline: 'nbdkit',
    target: 0.65,
  },
  {
    name: 'plain-write-1m-8',
    title: 'unmirrored 1 MiB write, depth 8',
    load: { pattern: 'write', ...large },
    ours: 'plain',
    baseline: 'nbdkit',
    target: 0.6,
  },
  {
    name: 'plain-read-1m-8',
    title: 'unmirrored 1 MiB read, depth 8',
    load: { pattern: 'read', ...large },
    ours: 'plain',
    baseline: 'nbdkit',
    target: 0.7,
  },
  {
    name: 'sync-write-4k-32',
    title: 'sync 4 KiB write, depth 32',
    load: { pattern: 'randwrite', ...small, depth: 32 },
    ours: 'sync',
    baseline: 'nbdkit',
    target: 0.45,
  },
  {
    name: 'sync-write-4k-32-qemu',
    title: 'sync 4 KiB write, depth 32',
    load: { pattern: 'randwrite', ...small, depth: 32 },
    ours: 'sync',
    baseline: 'qemu-mirror',
    target: 8,
  },
  {
    name: 'sync-write-4k-32-copied',
    title: 'sync 4 KiB write, depth 32',
    load: { pattern: 'randwrite', ...small, depth: 32 },
    ours: 'sync',
    baseline: 'qemu-copied',
    target: 8,
  },
  {
    name: 'sync-write-4k-1-qemu',
    title: 'sync 4 KiB write, depth 1',
    load: { pattern: 'randwrite', ...small, depth: 1 },
    ours: 'sync',
    baseline: 'qemu-mirror',
    target: 1.2,
  },
  {
    name: 'sync-write-1m-8-qemu',
    title: 'sync 1 MiB write, depth 8',
    load: { pattern: 'write', ...large },
    ours: 'sync',
    baseline: 'qemu-mirror',
    target: 1.2,
  },
  {
    name: 'sync-flush-4k-32-qemu',
    title: 'sync 4 KiB write, depth 32, flushes',
    load: { pattern: 'randwrite', ...small, depth: 32, writesPerFlush: 32 },
    ours: 'sync',
    baseline: 'qemu-mirror',
    target: null,
  },
  {
    name: 'async-write-4k-32',
    title: 'async 4 KiB write, depth 32',
    load: { pattern: 'randwrite', ...small, depth: 32 },
    ours: 'async',
    baseline: 'nbdkit',
    target: null,
  },
];
