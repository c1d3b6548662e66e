/**
 * `npm run bench`: our volumes beside what a user would otherwise run, in one run on one machine, in alternating rounds;
 * what counts is the ratio. Reports what was reached beside what we promise; passes and fails nothing.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Server } from './baselines.ts';
import { comparisons, type Comparison, type ComparisonResult, type Measurement } from './comparisons.ts';
import { Contenders, workingSetBytes } from './contenders.ts';
import { measureIdle, measureMemory, measureMoves, measureResync } from './figures.ts';
import { runLoad, type Load } from './fio.ts';
import { measureIscsi } from './iscsi-figures.ts';
import { measureBacklog, measureHandOver, measureLogging, measureMerge } from './log-figures.ts';
import { cpuSeconds } from './process-cost.ts';
import { measurePulse, measureTakeOvers } from './take-over-figures.ts';
import { formatComparisons, formatFigures, type Figure } from './table.ts';

const figureNames = [
  'memory',
  'idle',
  'resync',
  'moves',
  'iscsi',
  'log-write',
  'log-merge',
  'log-backlog',
  'log-hold',
  'take-over',
  'pulse',
];

const usage = `usage: npm run bench -- [options]

  --quick       2 seconds a measurement instead of 5, one round instead of 3
  --only NAME   (repeatable; the beginning of a name selects all that begin so)
                ${[...comparisons.map(({ name }) => name), ...figureNames].join('\n                ')}
  --rounds N    alternating rounds of each comparison
  --seconds N   length of a measurement
  --entries N   of the backlog of log-backlog (default: 10000000; 200000 with --quick)
  --dir FOLDER  where the volumes' files are made (default: the temporary folder)
  --json FILE   everything measured
`;

async function measure(server: Server, load: Load, seconds: number): Promise<Measurement> {
  const before = cpuSeconds(server.pids);
  const result = await runLoad(server.uri, load, { bytes: workingSetBytes, seconds });
  return { ...result, cpuSecondsPer1000: ((cpuSeconds(server.pids) - before) / result.operations) * 1000 };
}

async function compare(
  comparison: Comparison,
  contenders: Contenders,
  options: { readonly rounds: number; readonly seconds: number },
): Promise<ComparisonResult> {
  const baseline = await contenders.baseline(comparison.baseline);
  const ours = await contenders.ours(comparison.ours);
  const rounds = [];
  for (let round = 0; round < options.rounds; round++) {
    // Who goes first alternates: a machine that gets faster or slower meanwhile favours nobody.
    const order = round % 2 === 0 ? [baseline, ours] : [ours, baseline];
    const results = new Map<Server, Measurement>();
    for (const server of order) results.set(server, await measure(server, comparison.load, options.seconds));
    const [a, b] = [results.get(ours), results.get(baseline)];
    if (a && b) rounds.push({ ours: a, baseline: b, ratio: a.operationsPerSecond / b.operationsPerSecond });
  }
  return { comparison, rounds };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      entries: { type: 'string' },
      dir: { type: 'string', default: tmpdir() },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return;
  }
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  const seconds = Number(values.seconds ?? (values.quick ? 2 : 5));
  const entries = Number(values.entries ?? (values.quick ? 200_000 : 10_000_000));
  const chosen = (name: string) => values.only.length === 0 || values.only.some((only) => name.startsWith(only));

  const folder = await mkdtemp(join(values.dir, 'holdfast-bench-'));
  const memory = existsSync('/dev/shm') ? await mkdtemp('/dev/shm/holdfast-bench-') : folder;
  // By another name: a log in /dev would have to be a device.
  const memoryFolder = join(folder, 'memory');
  await symlink(memory, memoryFolder);
  const ofLog = { folder, memoryFolder, rounds, seconds };
  const contenders = new Contenders(folder);
  const results: ComparisonResult[] = [];
  const figures: Figure[] = [];
  try {
    const selected = comparisons.filter(({ name }) => chosen(name));
    for (const comparison of selected) {
      process.stderr.write(`${comparison.title} (${comparison.name})…\n`);
      results.push(await compare(comparison, contenders, { rounds, seconds }));
    }
    if (chosen('memory')) figures.push(...(await measureMemory(contenders, seconds)));
    await contenders.stop();
    if (chosen('idle')) figures.push(...(await measureIdle(folder, values.quick ? 5 : 20)));
    if (chosen('resync')) figures.push(...(await measureResync(folder)));
    if (chosen('moves')) figures.push(...(await measureMoves(folder, values.quick ? 2 : 10)));
    if (chosen('iscsi')) figures.push(...(await measureIscsi(folder, rounds, seconds)));
    if (chosen('log-write')) figures.push(...(await measureLogging(ofLog)));
    if (chosen('log-merge')) figures.push(...(await measureMerge(ofLog)));
    if (chosen('log-backlog')) figures.push(...(await measureBacklog(ofLog, entries)));
    if (chosen('take-over')) figures.push(...(await measureTakeOvers(values.quick ? 3 : 50)));
    if (chosen('pulse')) figures.push(...(await measurePulse(values.quick ? 20 : 60)));
    if (chosen('log-hold')) figures.push(...(await measureHandOver(folder, values.quick ? 20 : 100)));
  } finally {
    await contenders.stop();
    for (const made of [folder, memory]) await rm(made, { recursive: true, force: true });
  }
  const machine = { node: process.version, processors: cpus().length, model: cpus()[0]?.model ?? 'unknown' };
  const heading = `Node ${machine.node}, ${machine.processors} × ${machine.model}; rounds: ${rounds}, of ${seconds} s`;
  process.stdout.write(`${heading}\n\n${formatComparisons(results)}${formatFigures(figures)}`);
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify({ machine, rounds, seconds, results, figures }, null, 2)}\n`);
  }
}

await main();
