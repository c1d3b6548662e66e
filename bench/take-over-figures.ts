/**
 * How long a host waits when its owner dies: killed, and gone from the network without a word. Nodes on hosts of their own,
 * preset `lan`, embedded store; a host that follows its volume, and fio beside it. And what heartbeats cost.
 */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { endCommand, startCommand } from '../test/clients/command.ts';
import { Namespaces } from '../test/clients/namespaces.ts';
import { NodeCluster } from '../test/clients/node-cluster.ts';
import { seededRandom, WriteRecord } from '../test/clients/recording-host.ts';
import { RoamingHost } from '../test/clients/roaming-host.ts';
import { cpuSeconds } from './process-cost.ts';
import type { Figure } from './table.ts';

const blocks = 2048;
const patienceMs = 1000;

/** @param count of each kind. */
export async function measureTakeOvers(count: number): Promise<Figure[]> {
  const obstacle = await Namespaces.obstacle();
  if (obstacle !== null) return [{ title: 'take-over', target: '', value: 'not measured', note: obstacle }];
  const cluster = await NodeCluster.start();
  const record = new WriteRecord(blocks);
  const sockets = cluster.nodes.map((node) => cluster.socket(node));
  const host = new RoamingHost(
    { sockets, volume: 'vol1', blocks, depth: 8, random: seededRandom(1), patienceMs },
    record,
  );
  const killed: number[] = [];
  const gone: number[] = [];
  try {
    for (let round = 0; round < 2 * count; round++) {
      const owner = await cluster.server();
      if (owner === null) throw new Error('nobody serves');
      const load = startLoad(cluster, owner);
      await host.untilAcknowledged(500, 30_000);
      // At any moment between two renewals of the lease.
      await delay(500 + ((round * 137) % 500));
      if (round % 2 === 0) {
        await cluster.end(owner, 'SIGKILL');
        killed.push(await host.untilAcknowledged(1, 60_000));
      } else {
        await cluster.namespaces.cut(owner, 'all');
        cluster.signal(owner, 'SIGSTOP');
        gone.push(await host.untilAcknowledged(1, 60_000));
        await cluster.end(owner, 'SIGKILL');
        await cluster.namespaces.mend(owner);
      }
      await endCommand(load, 'SIGKILL');
      cluster.spawn(owner);
      await cluster.untilSettled();
    }
    await host.stop();
    const faults: string[] = [];
    for (const node of cluster.nodes) await cluster.end(node, 'SIGTERM');
    for (const node of cluster.nodes) faults.push(...(await record.faultsIn(cluster.imagePath(node))));
    return [
      figure('hosts write again after kill -9', killed, '≤ 2 s, p99 4 s'),
      figure('the same, node silent and unreachable', gone, '≤ 5 s'),
      {
        title: 'acknowledged writes lost by take-overs',
        target: '0',
        value: String(faults.length),
        note: `${2 * count} take-overs, ${record.acknowledgedCount} writes acknowledged`,
      },
    ];
  } finally {
    await host.stop();
    await cluster.stop();
  }
}

/** Of another region than the recording host's. */
function startLoad(cluster: NodeCluster, owner: string): ChildProcess {
  return startCommand('fio', [
    ...['--name=load', '--ioengine=nbd', `--uri=nbd+unix:///vol1?socket=${cluster.socket(owner)}`, '--thread=1'],
    ...['--rw=randwrite', '--bs=4k', '--iodepth=16', '--offset=16M', '--size=32M', '--time_based=1', '--runtime=120'],
  ]);
}

/** CPU of an idle node with a hundred groups: with heartbeats on four channels, less the same without. */
export async function measurePulse(seconds: number): Promise<Figure[]> {
  const obstacle = await Namespaces.obstacle();
  if (obstacle !== null) return [];
  const shares: number[] = [];
  for (const withPulse of [false, true]) {
    const groups = Array.from({ length: 99 }, (_, index) => ({
      name: `h${index}`,
      owner: index % 2 === 0 ? 'east' : 'west',
      volumes: [{ name: `h${index}`, size: '1MiB' }],
      mirrors: [{ to: index % 2 === 0 ? 'west' : 'east', mode: 'sync' }],
    }));
    const cluster = await NodeCluster.start({ moreGroups: groups, withPulse, interconnect: true });
    try {
      await delay(20_000);
      const before = cpuSeconds([cluster.pid('east')]);
      await delay(seconds * 1000);
      shares.push((cpuSeconds([cluster.pid('east')]) - before) / seconds);
    } finally {
      await cluster.stop();
    }
  }
  const [without = 0, having = 0] = shares;
  return [
    {
      title: 'heartbeats: share of a core',
      target: '≤ 1 %',
      value: percent(having - without),
      note: `100 groups, 4 channels, preset lan; the node without a pulse ${percent(without)}, with one ${percent(having)}`,
    },
  ];
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

function figure(title: string, timesMs: number[], target: string): Figure {
  const sorted = [...timesMs].sort((a, b) => a - b);
  const at = (share: number): string => {
    const index = Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1);
    return `${((sorted[Math.max(0, index)] ?? 0) / 1000).toFixed(2)} s`;
  };
  const note = `median; p90 ${at(0.9)}, p99 ${at(0.99)}, longest ${at(1)} of ${sorted.length}`;
  return { title, target, value: at(0.5), note };
}
