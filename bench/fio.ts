/**
 * One bounded load through fio's nbd engine, the same for every server: what differs in a comparison is the server
 * alone.
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
  const side = await fio(uri, load, span.bytes, ['--time_based=1', `--runtime=${span.seconds}`], span.seconds + 60);
  return {
    operations: side.total_ios,
    operationsPerSecond: side.iops,
    meanMs: side.clat_ns.mean / 1e6,
    p99Ms: (side.clat_ns.percentile?.['99.000000'] ?? 0) / 1e6,
  };
}

/**
 * Fills the working set by 4 KiB writes in order. Never by larger ones: a file that came into the page cache in large
 * pieces takes later 4 KiB writes several times slower, which would compare fill patterns instead of servers.
 */
export async function fill(uri: string, bytes: number): Promise<void> {
  await fio(uri, { pattern: 'write', blockBytes: 4096, depth: 32 }, bytes, [], 300);
}

async function fio(
  uri: string,
  load: Load,
  bytes: number,
  more: readonly string[],
  limitSeconds: number,
): Promise<FioSide> {
  const args = [
    '--name=load',
    '--ioengine=nbd',
    `--uri=${uri}`,
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
  if (job === undefined || job.error !== 0) throw new Error(`fio on ${uri} failed: ${stdout.slice(-2000)}`);
  return load.pattern.endsWith('read') ? job.read : job.write;
}
