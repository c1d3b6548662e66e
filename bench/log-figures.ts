/**
 * What the log costs: hosts while a target is away, the merge when it is back, the owner's memory, the time to open it.
 *
 * A rate of a merge is taken between two looks at its progress, so that attaching and settling are not in it.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { join } from 'node:path';
import { createNodeEnvironment } from '../src/base/node/node-environment.ts';
import { silentLog } from '../src/base/log.ts';
import type { CopyProgress } from '../src/group/status.ts';
import { Journal, journalDefaults } from '../src/journal/journal.ts';
import { origin } from '../src/stream/position.ts';
import { until } from '../test/clients/command.ts';
import { Pair, type GroupDeclaration } from '../test/clients/pair.ts';
import { RecordingHost, WriteRecord } from '../test/clients/recording-host.ts';
import { workingSetBytes } from './contenders.ts';
import { fill, flushesOfDisk, runLoad, writeOnce, type Load, type LoadResult } from './fio.ts';
import { cpuSeconds, residentBytes } from './process-cost.ts';
import { median, type Figure } from './table.ts';

const kibibyte = 1024;
const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;
const smallWrites: Load = { pattern: 'randwrite', blockBytes: 4 * kibibyte, depth: 32 };
const largeWrites: Load = { pattern: 'write', blockBytes: mebibyte, depth: 8 };

/** A merge shorter than so would be over between two looks at it. */
const mergeSecondsMin = 4;

export interface LogBenchOptions {
  readonly folder: string;
  /** Where a flush costs nothing: a disk's flushes would hide what a log costs. */
  readonly memoryFolder: string;
  readonly rounds: number;
  readonly seconds: number;
}

const group = (name: string, more: Partial<GroupDeclaration> = {}): GroupDeclaration => ({
  name,
  owner: 'east',
  volumes: [{ name, size: '4GiB' }],
  mirrors: [{ to: 'west', mode: 'sync' }],
  ...more,
});

const logIn = (folder: string) => ({
  size: '16GiB',
  places: { east: join(folder, 'log-east'), west: join(folder, 'log-west') },
});

/** A synchronous writer whose target is away, beside one whose target is there; and beside the bare disk with flushes. */
export async function measureLogging(options: LogBenchOptions): Promise<Figure[]> {
  const { folder, memoryFolder, rounds, seconds } = options;
  const groups = [group('live'), group('logged', { log: logIn(memoryFolder) }), group('on-disk', { log: '16GiB' })];
  const pair = await Pair.start({ parent: folder, groups });
  try {
    for (const { name } of groups) await fill(pair.uri('east', name), workingSetBytes);
    await pair.untilEstablished();
    for (const name of ['logged', 'on-disk']) await pauseIntoLog(pair, name);
    const measured: { speed: number; cpu: number; flushed: number; flushedAlone: number }[] = [];
    for (let round = 0; round < rounds; round++) {
      // Who goes first alternates: a machine that gets faster or slower meanwhile favours nobody.
      const order = round % 2 === 0 ? ['live', 'logged'] : ['logged', 'live'];
      const results = new Map<string, LoadResult & { readonly cpuPerWrite: number }>();
      for (const name of order) results.set(name, await ownersLoad(pair, name, smallWrites, seconds));
      const [live, logged] = [results.get('live'), results.get('logged')];
      const raw = await flushesOfDisk(join(folder, 'flushed.img'), seconds);
      const span = { bytes: workingSetBytes, seconds };
      const many = await runLoad(pair.uri('east', 'on-disk'), { ...smallWrites, writesPerFlush: 1 }, span);
      const alone = await runLoad(pair.uri('east', 'on-disk'), { ...smallWrites, depth: 1, writesPerFlush: 1 }, span);
      if (live === undefined || logged === undefined) continue;
      measured.push({
        speed: logged.operationsPerSecond / live.operationsPerSecond,
        cpu: logged.cpuPerWrite / live.cpuPerWrite,
        flushed: many.operationsPerSecond / raw.operationsPerSecond,
        flushedAlone: alone.operationsPerSecond / raw.operationsPerSecond,
      });
    }
    return [
      ratio(
        'logging 4 KiB, depth 32 : live mirroring',
        '≥ 0.6',
        measured.map(({ speed }) => speed),
      ),
      ratio(
        "the owner's CPU per write : live mirroring",
        '≤ 2',
        measured.map(({ cpu }) => cpu),
      ),
      ratio(
        'logging, a flush each, depth 32 : bare disk',
        '≥ 0.8',
        measured.map(({ flushed }) => flushed),
      ),
      ratio(
        'logging, a flush each, depth 1 : bare disk',
        '',
        measured.map(({ flushedAlone }) => flushedAlone),
      ),
    ];
  } finally {
    await pair.stop();
  }
}

/** How fast a target is brought up from the log, beside what the same link takes live, and beside a resync. */
export async function measureMerge({ folder, rounds, seconds }: LogBenchOptions): Promise<Figure[]> {
  const groups = [group('live'), group('logged', { log: '16GiB' }), group('copied')];
  const pair = await Pair.start({ parent: folder, groups });
  try {
    for (const { name } of groups) await fill(pair.uri('east', name), gibibyte);
    await pair.untilEstablished();
    const small: number[] = [];
    const large: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const live = await ownersLoad(pair, 'live', smallWrites, seconds);
      const backlog =
        Math.round(live.operationsPerSecond * Math.max(seconds, mergeSecondsMin)) * smallWrites.blockBytes;
      const merge = await catchUp(pair, 'logged', smallWrites, backlog);
      small.push(merge / (live.operationsPerSecond * smallWrites.blockBytes));
      const copy = await catchUp(pair, 'copied', largeWrites, gibibyte);
      large.push((await catchUp(pair, 'logged', largeWrites, gibibyte)) / copy);
    }
    return [
      ratio('merge of 4 KiB records : live, depth 32', '≥ 0.7', small),
      ratio('merge of 1 MiB records : resync', '≥ 0.8', large),
    ];
  } finally {
    await pair.stop();
  }
}

/** Memory of the owner with a backlog of very many small records, and the time to open it after a crash. */
export async function measureBacklog({ folder, memoryFolder }: LogBenchOptions, entries: number): Promise<Figure[]> {
  const load: Load = { pattern: 'randwrite', blockBytes: 512, depth: 64 };
  const volumes = [{ name: 'vol1', size: '4GiB', 'block-size': 512 }] as const;
  const pair = await Pair.start({ parent: folder, groups: [group('g1', { volumes, log: logIn(memoryFolder) })] });
  try {
    await pauseIntoLog(pair, 'g1');
    await writeOnce(pair.uri('east'), load, { bytes: workingSetBytes, totalBytes: entries * load.blockBytes });
    const logging = residentBytes(pair.pid('east'));
    const copies = (await pair.group('g1')).log?.copies ?? [];
    await pair.kill('east');
    const openMs = await timeToOpen(copies.map((copy) => copy.folder));
    const startedMs = performance.now();
    await pair.startNode('east');
    await until('hosts are served', 60_000, async () =>
      (await pair.group('g1')).service === 'Serving' ? true : null,
    );
    const servedMs = performance.now() - startedMs;
    await resume(pair, 'g1');
    await pair.untilEstablished(1_800_000);
    const merging = residentBytes(pair.pid('east'));
    const note = `${entries} entries of ${load.blockBytes} bytes`;
    const memory = (bytes: number) => `${Math.round(bytes / mebibyte)} MiB`;
    return [
      { title: "owner's memory while logging, peak", target: '≤ 160 MiB', value: memory(logging.peak), note },
      { title: "owner's memory while merging, peak", target: '≤ 160 MiB', value: memory(merging.peak), note },
      {
        title: 'opening the log after a crash',
        target: '≤ 2 s',
        value: `${(openMs / 1000).toFixed(2)} s`,
        note: `${entries} entries; the node started and served hosts after ${(servedMs / 1000).toFixed(1)} s`,
      },
    ];
  } finally {
    await pair.stop();
  }
}

/** The longest time a host waits for the next answer around the end of a merge, beside the same without any. */
export async function measureHandOver(folder: string, times: number): Promise<Figure[]> {
  const pair = await Pair.start({ parent: folder, groups: [group('g1', { log: '1GiB' })] });
  const blocks = workingSetBytes / (4 * kibibyte);
  const port = pair.nbdPort('east');
  const options = { port, volume: 'g1', blocks, depth: 4, random: Math.random };
  try {
    const host = await RecordingHost.start(options, new WriteRecord(blocks));
    const longest = async (what: () => Promise<void>): Promise<number> => {
      host.longestPauseMs = 0;
      await what();
      return host.longestPauseMs;
    };
    const withMerge: number[] = [];
    const without: number[] = [];
    for (let time = 0; time < times; time++) {
      await pauseIntoLog(pair, 'g1');
      await delay(100);
      const startedMs = performance.now();
      withMerge.push(
        await longest(async () => {
          await resume(pair, 'g1');
          await until('merged', 60_000, () => withoutLog(pair, 'g1'));
        }),
      );
      const tookMs = performance.now() - startedMs;
      without.push(await longest(() => delay(tookMs)));
    }
    await host.stop();
    return [
      {
        title: 'hosts wait at the end of a merge, p99',
        target: '≤ 50 ms',
        value: `${percentile(withMerge, 0.99).toFixed(0)} ms`,
        note:
          `${times} merges, median ${median(withMerge).toFixed(0)} ms, longest ${Math.max(...withMerge).toFixed(0)} ms; ` +
          `as long without: p99 ${percentile(without, 0.99).toFixed(0)} ms, median ${median(without).toFixed(0)} ms`,
      },
    ];
  } finally {
    await pair.stop();
  }
}

async function ownersLoad(
  pair: Pair,
  volume: string,
  load: Load,
  seconds: number,
): Promise<LoadResult & { readonly cpuPerWrite: number }> {
  const pids = [pair.pid('east')];
  const before = cpuSeconds(pids);
  const result = await runLoad(pair.uri('east', volume), load, { bytes: workingSetBytes, seconds });
  return { ...result, cpuPerWrite: (cpuSeconds(pids) - before) / result.operations };
}

/** Bytes a second at which the target is brought up with so many bytes that it missed. */
async function catchUp(pair: Pair, name: string, load: Load, totalBytes: number): Promise<number> {
  await post(pair, name, 'pause');
  if (name === 'logged') await untilLogging(pair, name);
  await writeOnce(pair.uri('east', name), load, { bytes: Math.min(totalBytes, gibibyte), totalBytes });
  const looks: { readonly atMs: number; readonly doneBytes: number }[] = [];
  const look = async (): Promise<true | null> => {
    const leg = (await pair.group(name)).legs.find(({ node }) => node === 'west');
    const progress: CopyProgress | null = leg?.progress ?? null;
    if (progress !== null && progress.doneBytes > 0 && progress.doneBytes < progress.totalBytes)
      looks.push({ atMs: performance.now(), doneBytes: progress.doneBytes });
    return leg?.replication === 'Established' ? true : null;
  };
  await resume(pair, name);
  await until(`${name} is brought up`, 600_000, look);
  const [first, last] = [looks[0], looks.at(-1)];
  if (first === undefined || last === undefined || first === last) throw new Error(`${name}: too little to merge`);
  return ((last.doneBytes - first.doneBytes) / (last.atMs - first.atMs)) * 1000;
}

async function pauseIntoLog(pair: Pair, name: string): Promise<void> {
  await post(pair, name, 'pause');
  await untilLogging(pair, name);
}

async function untilLogging(pair: Pair, name: string): Promise<void> {
  await until(`${name} is logged`, 20_000, async () =>
    (await pair.group(name)).log?.state === 'logging' ? true : null,
  );
}

/** The target has all, and the log is not written any more. */
async function withoutLog(pair: Pair, name: string): Promise<true | null> {
  const { legs, log } = await pair.group(name);
  const isEstablished = legs.every(({ replication }) => replication === null || replication === 'Established');
  return isEstablished && log?.state === 'idle' ? true : null;
}

const resume = (pair: Pair, name: string): Promise<void> => post(pair, name, 'resume');

/** Not by the command line: starting it a hundred times would be most of the load. */
async function post(pair: Pair, name: string, what: 'pause' | 'resume'): Promise<void> {
  const url = `http://127.0.0.1:${pair.apiPort('east')}/v1/groups/${name}/mirrors/west/${what}`;
  const response = await fetch(url, { method: 'POST' });
  if (!response.ok) throw new Error(`${what} of ${name}: HTTP ${response.status} ${await response.text()}`);
}

/** As the node's start would open it. Nothing is written to a log before its first record. */
async function timeToOpen(folders: readonly string[]): Promise<number> {
  const startedMs = performance.now();
  const journal = await Journal.open(createNodeEnvironment(silentLog), {
    ...journalDefaults,
    group: 'g1',
    start: origin,
    folders,
    capacityBytes: Number.MAX_SAFE_INTEGER,
    synchronous: true,
  });
  const openMs = performance.now() - startedMs;
  await journal.close();
  return openMs;
}

function ratio(title: string, target: string, values: readonly number[]): Figure {
  const rounded = values.map((value) => value.toFixed(2));
  return {
    title,
    target: target === '' ? '' : `${target} ×`,
    value: `${median(values).toFixed(2)} ×`,
    note: `rounds ${rounded.join(', ')}`,
  };
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}
