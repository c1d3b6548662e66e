/** Figures of ours alone: memory, idle cost, what a resync leaves to hosts, how long hosts wait when a group moves. */
import { setTimeout as delay } from 'node:timers/promises';
import { Pair, nodeNames, otherNode, type GroupDeclaration, type NodeName } from '../test/clients/pair.ts';
import { comparisons } from './comparisons.ts';
import { workingSetBytes, type Contenders } from './contenders.ts';
import { fill, runLoad, type Load } from './fio.ts';
import { cpuSeconds, residentBytes } from './process-cost.ts';
import type { Figure } from './table.ts';

const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;
const smallWrites: Load = { pattern: 'randwrite', blockBytes: 4096, depth: 32 };

const mirrored = (name: string, size: string, owner: NodeName = 'east'): GroupDeclaration => ({
  name,
  owner,
  volumes: [{ name, size }],
  mirrors: [{ to: otherNode(owner), mode: 'sync' }],
  settings: { grace: '500ms' },
});

/** Resident memory of each node under the mirrored loads, with 1 TiB of thin volumes. */
export async function measureMemory(contenders: Contenders, seconds: number): Promise<Figure[]> {
  const pair = await contenders.startPair();
  const { uri } = await contenders.ours('sync');
  const loads = new Set(comparisons.filter(({ ours }) => ours === 'sync').map(({ load }) => load));
  for (const load of loads) await runLoad(uri, load, { bytes: workingSetBytes, seconds });
  return nodeNames.map((node) => {
    const { now, peak } = residentBytes(pair.pid(node));
    return {
      title: `resident memory of ${node} under load, peak`,
      target: '≤ 160 MiB',
      value: `${Math.round(peak / mebibyte)} MiB`,
      note: `${Math.round(now / mebibyte)} MiB after it`,
    };
  });
}

/** Time on a processor that each node of a pair with 100 mirrored volumes takes when nobody writes. */
export async function measureIdle(folder: string, seconds: number): Promise<Figure[]> {
  const groups = Array.from({ length: 100 }, (_, index) => mirrored(`v${index}`, '10GiB', nodeNames[index % 2]));
  const pair = await Pair.start({ parent: folder, groups });
  try {
    await delay(5000);
    const before = nodeNames.map((node) => cpuSeconds([pair.pid(node)]));
    await delay(seconds * 1000);
    return nodeNames.map((node, index) => {
      const share = (cpuSeconds([pair.pid(node)]) - (before[index] ?? 0)) / seconds;
      return {
        title: `idle processor time of ${node}`,
        target: '≤ 1 %',
        value: `${(share * 100).toFixed(1)} %`,
        note: `100 groups of one volume, over ${seconds} s`,
      };
    });
  } finally {
    await pair.stop();
  }
}

/** The share of their throughput that hosts keep while 1 GiB is copied to a target that was away. */
export async function measureResync(folder: string): Promise<Figure[]> {
  const pair = await Pair.start({ parent: folder, groups: [mirrored('vol1', '4GiB')] });
  try {
    const uri = pair.uri('east');
    const span = { bytes: workingSetBytes, seconds: 2 };
    await fill(uri, workingSetBytes);
    const before = await runLoad(uri, smallWrites, span);
    await pair.kill('west');
    await fill(uri, gibibyte);
    await pair.startNode('west');
    const startedMs = performance.now();
    const during = await runLoad(uri, smallWrites, span);
    const stillRunning = (await pair.leg('west', 'vol1')).replication !== 'Established';
    await pair.untilEstablished(300_000);
    const seconds = (performance.now() - startedMs) / 1000;
    return [
      {
        title: 'throughput hosts keep during a resync',
        target: '≥ 50 %',
        value: `${Math.round((during.operationsPerSecond / before.operationsPerSecond) * 100)} %`,
        note: `1 GiB in ${seconds.toFixed(1)} s, ${stillRunning ? 'longer than' : 'done before the end of'} the load`,
      },
    ];
  } finally {
    await pair.stop();
  }
}

/** How long hosts are without their volume: planned moves as the node tells, unplanned ones from kill to served. */
export async function measureMoves(folder: string, times: number): Promise<Figure[]> {
  const pair = await Pair.start({ parent: folder, groups: [mirrored('vol1', '1GiB')] });
  try {
    const planned: number[] = [];
    const unplanned: number[] = [];
    let owner: NodeName = 'east';
    for (let time = 0; time < times; time++) {
      owner = otherNode(owner);
      const moved = await pair.cli('east', 'group', 'switch-over', 'vol1', '--to', owner, '--json');
      planned.push((JSON.parse(moved.stdout) as { pauseMs: number | null }).pauseMs ?? NaN);
      await pair.untilEstablished();
    }
    for (let time = 0; time < Math.ceil(times / 3); time++) {
      const startedMs = performance.now();
      await pair.kill(owner);
      const dead = owner;
      owner = otherNode(owner);
      await pair.cli(owner, 'group', 'take-over', 'vol1', '--node', owner);
      unplanned.push(performance.now() - startedMs);
      await pair.startNode(dead);
      await pair.untilEstablished();
    }
    return [
      { title: 'hosts wait at a switch-over', target: '', value: range(planned), note: `${planned.length} of them` },
      {
        title: 'hosts wait at a take-over by hand',
        target: '',
        value: range(unplanned),
        note: `${unplanned.length} of them, from kill -9; the lease of 3 s must lapse first`,
      },
    ];
  } finally {
    await pair.stop();
  }
}

const range = (values: readonly number[]): string =>
  `${Math.round(Math.min(...values))}–${Math.round(Math.max(...values))} ms`;
