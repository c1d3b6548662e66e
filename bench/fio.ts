/**
 * One bounded load through fio's nbd engine, the same for every server: what differs in a comparison is the server
 * alone. And the disk below all of them, by itself.
 */
import { mustRun } from '../test/clients/command.ts';

export interface Load {
  readonly pattern: 'randwrite' | 'randread' | 'write' | 'read';
  readonly blockBytes: number;
  readonly depth: number;
  /** A flush after so many writes. */
  readonly writesPerFlush?: number;
}

export interface LoadResult {
  readonly operations: number;
  readonly operationsPerSecond: number;
  readonly meanMs: number;
  readonly p99Ms: number;
}

interface FioSide {
  total_ios: number;
  iops: number;
  clat_ns: { mean: number; percentile?: Record<string, number> };
}

export async function runLoad(
  uri: string,
  load: Load,
  span: { readonly bytes: number; readonly seconds: number },
): Promise<LoadResult> {
  return resultOf(await fio(uri, load, span.bytes, timed(span.seconds), span.seconds + 60));
}

/**
 * Fills the working set by 4 KiB writes in order. Never by larger ones: a file that came into the page cache in large
 * pieces takes later 4 KiB writes several times slower, which would compare fill patterns instead of servers.
 */
export async function fill(uri: string, bytes: number): Promise<void> {
  await fio(uri, { pattern: 'write', blockBytes: 4096, depth: 32 }, bytes, [], 300);
}

/** So many bytes in all, over and over the working set. */
export async function writeOnce(
  uri: string,
  load: Load,
  span: { readonly bytes: number; readonly totalBytes: number },
): Promise<void> {
  await fio(uri, load, span.bytes, [`--io_size=${span.totalBytes}`], 3600);
}

/** The disk itself: 4 KiB written and flushed, one after the other, in a file that is there already. */
export async function flushesOfDisk(path: string, seconds: number): Promise<LoadResult> {
  const bytes = 64 * 1024 ** 2;
  await mustRun('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', `count=${bytes / 1024 ** 2}`, 'conv=fsync']);
  const load: Load = { pattern: 'write', blockBytes: 4096, depth: 1 };
  const target = ['--ioengine=psync', `--filename=${path}`, '--fdatasync=1'];
  return resultOf(await job(target, load, bytes, timed(seconds), seconds + 60));
}

const timed = (seconds: number): string[] => ['--time_based=1', `--runtime=${seconds}`];

function resultOf(side: FioSide): LoadResult {
  return {
    operations: side.total_ios,
    operationsPerSecond: side.iops,
    meanMs: side.clat_ns.mean / 1e6,
    p99Ms: (side.clat_ns.percentile?.['99.000000'] ?? 0) / 1e6,
  };
}

function fio(
  uri: string,
  load: Load,
  bytes: number,
  more: readonly string[],
  limitSeconds: number,
): Promise<FioSide> {
  return job(['--ioengine=nbd', `--uri=${uri}`], load, bytes, more, limitSeconds);
}

async function job(
  target: readonly string[],
  load: Load,
  bytes: number,
  more: readonly string[],
  limitSeconds: number,
): Promise<FioSide> {
  const args = [
    '--name=load',
    ...target,
    `--rw=${load.pattern}`,
    `--bs=${load.blockBytes}`,
    `--iodepth=${load.depth}`,
    `--size=${bytes}`,
    '--randrepeat=1',
    '--norandommap=1',
    '--refill_buffers=0',
    '--thread=1',
    '--output-format=json',
    ...(load.writesPerFlush === undefined ? [] : [`--fsync=${load.writesPerFlush}`]),
    ...more,
  ];
  const { stdout } = await mustRun('fio', args, { timeoutMs: limitSeconds * 1000 });
  // fio may print notes before the document.
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
    jobs: { error: number; read: FioSide; write: FioSide }[];
  };
  const job = report.jobs[0];
  if (job === undefined || job.error !== 0) throw new Error(`fio ${target.join(' ')} failed: ${stdout.slice(-2000)}`);
  return load.pattern.endsWith('read') ? job.read : job.write;
}
