/**
 * Drills on real nodes on hosts of their own (BY-11): each kind hurts a process or its ways for real, a host writes all the
 * while, and in the end everything is as before.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { DrillKind, DrillReport } from '../../src/agent/drill-report.ts';
import { until } from './command.ts';
import { Namespaces } from './namespaces.ts';
import { NodeCluster, type NodeClusterOptions } from './node-cluster.ts';
import { seededRandom, WriteRecord } from './recording-host.ts';
import { RoamingHost } from './roaming-host.ts';

const blocks = 512;
let cluster: NodeCluster | null = null;
let host: RoamingHost | null = null;
let obstacle: string | null = null;

beforeAll(async () => {
  obstacle = await Namespaces.obstacle();
});

afterEach(async () => {
  await host?.stop();
  host = null;
  if (cluster === null) return;
  const { folder } = cluster;
  // A node that came back by itself is nobody's child.
  for (const pid of processesOf(folder)) process.kill(pid, 'SIGTERM');
  await until('no process is left', 20_000, () => (processesOf(folder).length === 0 ? true : null)).catch(() => {
    for (const pid of processesOf(folder)) process.kill(pid, 'SIGKILL');
  });
  await cluster.stop();
  cluster = null;
});

/** Processes that name a file of the cluster on their command line. */
function processesOf(folder: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(folder) ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

async function start(
  options: NodeClusterOptions,
): Promise<{ nodes: NodeCluster; writer: RoamingHost; record: WriteRecord }> {
  const nodes = await NodeCluster.start(options);
  cluster = nodes;
  const record = new WriteRecord(blocks);
  const writer = new RoamingHost(
    {
      sockets: nodes.nodes.map((node) => nodes.socket(node)),
      volume: 'vol1',
      blocks,
      depth: 4,
      random: seededRandom(11),
      patienceMs: 1000,
    },
    record,
  );
  host = writer;
  await writer.untilAcknowledged(100, 20_000);
  return { nodes, writer, record };
}

async function drill(nodes: NodeCluster, at: string, kind: DrillKind): Promise<DrillReport> {
  const result = await nodes.cli(at, 'drill', 'g1', '--kind', kind, '--json');
  expect([result.status, result.stderr]).toEqual([0, '']);
  const report = JSON.parse(result.stdout) as DrillReport;
  console.log(kind, JSON.stringify({ pauseMs: report.pauseMs, ...report.phases, back: report.giveBackPauseMs }));
  return report;
}

describe('a drill', () => {
  test('of each kind measures a pause, and leaves the group as it was; the history has them all (BY-11)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer, record } = await start({ takeOver: { drills: true } });
    const pidBefore = nodes.pid('east');
    const kinds: readonly DrillKind[] = ['switch-over', 'partition', 'pause', 'kill'];
    for (const [index, kind] of kinds.entries()) {
      // Any node may be asked, also the one that is hurt.
      const report = await drill(nodes, index % 2 === 0 ? 'east' : 'west', kind);
      expect(report).toMatchObject({
        kind,
        node: 'west',
        owner: 'east',
        servedBy: 'west',
        state: 'passed',
        nextStep: null,
      });
      expect(report.loss).toBe('No acknowledged write is lost.');
      expect(report.generations.after).toBeGreaterThan(report.generations.before);
      expect(report.giveBackPauseMs).not.toBeNull();
      const { detectedMs, servingMs, answeredMs } = report.phases;
      if (kind !== 'switch-over') {
        // No less than it takes to notice, no more than the fault lasts.
        expect(detectedMs).toBeGreaterThan(500);
        expect(servingMs).toBeGreaterThanOrEqual(detectedMs ?? Infinity);
        expect(answeredMs).toBeGreaterThan(1000);
        expect(answeredMs).toBeLessThan(10_000);
        // A cut-off owner answers reads until its lease has lapsed.
        if (kind !== 'partition') expect(report.pauseMs).toBeGreaterThan(1000);
        expect(report.pauseMs).toBeLessThan(10_000);
      }
      expect(await nodes.server()).toBe('east');
      await writer.untilAcknowledged(20, 20_000);
    }
    const status = await nodes.status('east');
    const revived = status?.nodes.find(({ name }) => name === 'east')?.pid;
    expect(revived).not.toBe(pidBefore);
    const list = await nodes.cli('east', 'drill', 'list', 'g1', '--json');
    expect((JSON.parse(list.stdout) as { drills: DrillReport[] }).drills.map(({ kind }) => kind)).toEqual(kinds);
    await writer.stop();
    await nodes.end('west', 'SIGTERM');
    expect(await record.faultsIn(nodes.imagePath('west'))).toEqual([]);
    // But for the nodes nothing is left: what brought it back, and what let it go on, have ended.
    expect(processesOf(nodes.folder)).toEqual([revived]);
  }, 240_000);

  test('is refused where nobody marked the group for it, and possible once somebody did (BY-11)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes } = await start({});
    const refused = await nodes.cli('west', 'drill', 'g1', '--kind', 'kill');
    expect(refused.status).toBe(3);
    expect(refused.stderr).toContain('it is not marked for drills');
    expect((await nodes.cli('west', 'drill', 'allow', 'g1', 'on')).stdout).toContain('drills of g1 are allowed now');
    expect((await drill(nodes, 'west', 'switch-over')).state).toBe('passed');
    expect(await nodes.server()).toBe('east');
  }, 120_000);
});
