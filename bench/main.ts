/**
 * `npm run bench`: our volumes beside what a user would otherwise run, in one run on one machine, in alternating rounds;
 * what counts is the ratio. Reports what was reached beside what we promise; passes and fails nothing.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Pair, nodeNames, type GroupDeclaration } from '../test/clients/pair.ts';
import { startNbdkit, startQemuMirror, type Server } from './baselines.ts';
import { comparisons } from './comparisons.ts';
import type { Baseline, Comparison, ComparisonResult, Measurement, Ours } from './comparisons.ts';
import { fill, runLoad, type Load } from './fio.ts';
import { cpuSeconds, residentBytes } from './process-cost.ts';
import { formatComparisons, formatFigures, type Figure } from './table.ts';

const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;
const workingSetBytes = 256 * mebibyte;

const usage = `usage: npm run bench -- [--quick] [--only NAME]... [--rounds N] [--seconds N] [--dir FOLDER] [--json FILE]

  --quick     2 seconds a measurement instead of 5, one round instead of 3
  --only      ${[...comparisons.map(({ name }) => name), 'memory', 'idle'].join(', ')}
              (the beginning of a name selects all that begin so)
  --dir       where the files of the volumes are made (default: the temporary folder)
`;

/** Our nodes with 1 TiB of thin volumes, as the memory figure demands. */
const groups: readonly GroupDeclaration[] = [
  { name: 'plain', owner: 'east', volumes: [{ name: 'plain', size: '256GiB' }] },
  {
    name: 'sync',
    owner: 'east',
    volumes: [{ name: 'sync', size: '512GiB' }],
    mirrors: [{ to: 'west', mode: 'sync' }],
  },
  {
    name: 'async',
    owner: 'east',
    volumes: [{ name: 'async', size: '256GiB' }],
    mirrors: [{ to: 'west', mode: 'async' }],
  },
];

/** Started when first asked for; all of them idle while another is measured. */
class Contenders {
  private readonly folder: string;
  private readonly servers = new Map<string, Server>();
  private pair: Pair | null = null;

  constructor(folder: string) {
    this.folder = folder;
  }

  async baseline(name: Baseline): Promise<Server> {
    const started = this.servers.get(name);
    if (started !== undefined) return started;
    const server =
      name === 'nbdkit'
        ? await startNbdkit(this.folder, 256 * gibibyte)
        : await startQemuMirror(
            this.folder,
            256 * gibibyte,
            workingSetBytes,
            name === 'qemu-mirror' ? 'equal' : 'copied',
          );
    this.servers.set(name, server);
    if (name === 'nbdkit') await fill(server.uri, workingSetBytes);
    return server;
  }

  async ours(volume: Ours): Promise<Server> {
    const pair = await this.startPair();
    const started = this.servers.get(volume);
    if (started !== undefined) return started;
    const pids = volume === 'plain' ? [pair.pid('east')] : nodeNames.map((node) => pair.pid(node));
    const server = { uri: pair.uri('east', volume), pids, stop: () => Promise.resolve() };
    this.servers.set(volume, server);
    await fill(server.uri, workingSetBytes);
    await pair.untilEstablished();
    return server;
  }

  async startPair(): Promise<Pair> {
    return (this.pair ??= await Pair.start({ groups, parent: this.folder }));
  }

  async stop(): Promise<void> {
    for (const server of this.servers.values()) await server.stop();
    await this.pair?.stop();
  }
}

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

/** Resident memory of each node under the mirrored loads, with 1 TiB of thin volumes. */
async function measureMemory(contenders: Contenders, seconds: number): Promise<Figure[]> {
  const pair = await contenders.startPair();
  const { uri } = await contenders.ours('sync');
  for (const { load } of comparisons.filter(({ ours }) => ours === 'sync')) {
    await runLoad(uri, load, { bytes: workingSetBytes, seconds });
  }
  return nodeNames.map((node) => {
    const { now, peak } = residentBytes(pair.pid(node));
    const value = `${Math.round(peak / mebibyte)} MiB`;
    return {
      title: `resident memory of ${node} under load, peak`,
      target: '≤ 160 MiB',
      value,
      note: `${Math.round(now / mebibyte)} MiB after it`,
    };
  });
}

/** Time on a processor that each node of a pair with 100 mirrored volumes takes when nobody writes. */
async function measureIdle(folder: string, quick: boolean): Promise<Figure[]> {
  const pair = await Pair.start({
    parent: folder,
    groups: Array.from({ length: 100 }, (_, index) => ({
      name: `g${index}`,
      owner: index % 2 === 0 ? 'east' : 'west',
      volumes: [{ name: `v${index}`, size: '10GiB' }],
      mirrors: [{ to: index % 2 === 0 ? 'west' : 'east', mode: 'sync' }],
    })),
  });
  try {
    const seconds = quick ? 5 : 20;
    await delay(5000);
    const before = nodeNames.map((node) => cpuSeconds([pair.pid(node)]));
    await delay(seconds * 1000);
    return nodeNames.map((node, index) => {
      const share = (cpuSeconds([pair.pid(node)]) - (before[index] ?? 0)) / seconds;
      const note = `over ${seconds} s, 100 groups of one volume`;
      return {
        title: `idle processor time of ${node}, 100 volumes`,
        target: '≤ 1 %',
        value: `${(share * 100).toFixed(1)} %`,
        note,
      };
    });
  } finally {
    await pair.stop();
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
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
  const chosen = (name: string) => values.only.length === 0 || values.only.some((only) => name.startsWith(only));

  const folder = await mkdtemp(join(values.dir, 'holdfast-bench-'));
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
    if (chosen('idle')) figures.push(...(await measureIdle(folder, values.quick)));
  } finally {
    await contenders.stop();
    await rm(folder, { recursive: true, force: true });
  }
  const machine = { node: process.version, processors: cpus().length, model: cpus()[0]?.model ?? 'unknown' };
  const heading = `Node ${machine.node}, ${machine.processors} × ${machine.model}; ${rounds} rounds of ${seconds} s`;
  process.stdout.write(`${heading}\n\n${formatComparisons(results)}${formatFigures(figures)}`);
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify({ machine, rounds, seconds, results, figures }, null, 2)}\n`);
  }
}

await main();
