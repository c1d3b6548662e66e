/**
 * Automatic take-over with other stores than the embedded one: an etcd of three members on hosts of their own, and none at all,
 * where heartbeats alone decide.
 */
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ChildProcess } from 'node:child_process';
import { until } from './command.ts';
import { Namespaces, ports } from './namespaces.ts';
import { NodeCluster, type NodeClusterOptions } from './node-cluster.ts';
import { seededRandom, WriteRecord } from './recording-host.ts';
import { RoamingHost } from './roaming-host.ts';

const blocks = 512;
const members = ['m1', 'm2', 'm3'];
let cluster: NodeCluster | null = null;
let host: RoamingHost | null = null;
let obstacle: string | null = null;
const etcd = new Map<string, ChildProcess>();

beforeAll(async () => {
  obstacle = await Namespaces.obstacle();
});

afterEach(async () => {
  await host?.stop();
  host = null;
  const ends = [...etcd.values()].map(async (child) => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  await cluster?.stop();
  await Promise.all(ends);
  etcd.clear();
  cluster = null;
});

async function start(
  options: NodeClusterOptions,
): Promise<{ record: WriteRecord; nodes: NodeCluster; writer: RoamingHost }> {
  const nodes = await NodeCluster.start(options);
  cluster = nodes;
  const record = new WriteRecord(blocks);
  const sockets = nodes.nodes.map((node) => nodes.socket(node));
  const writer = new RoamingHost(
    { sockets, volume: 'vol1', blocks, depth: 8, random: seededRandom(11), patienceMs: 2000 },
    record,
  );
  host = writer;
  await writer.untilAcknowledged(200, 20_000);
  return { record, nodes, writer };
}

async function startEtcd(namespaces: Namespaces, folder: string): Promise<void> {
  const url = (name: string, port: number): string => `http://${namespaces.address(name)}:${port}`;
  const all = members.map((name) => `${name}=${url(name, ports.etcdPeer)}`).join(',');
  for (const name of members) {
    const data = join(folder, `etcd-${name}`);
    await mkdir(data, { mode: 0o700 });
    etcd.set(
      name,
      namespaces.start(name, 'etcd', [
        ...['--name', name, '--data-dir', data, '--initial-cluster', all, '--initial-cluster-state', 'new'],
        ...['--listen-client-urls', url(name, ports.etcd), '--advertise-client-urls', url(name, ports.etcd)],
        ...['--listen-peer-urls', url(name, ports.etcdPeer)],
        ...['--initial-advertise-peer-urls', url(name, ports.etcdPeer)],
        ...['--heartbeat-interval', '50', '--election-timeout', '300'],
      ]),
    );
  }
  await until('etcd answers', 30_000, async () => {
    const asked = await namespaces.run('m1', 'curl', ['-s', '-m', '2', `${url('m1', ports.etcd)}/health`]);
    return asked.stdout.includes('"true"') ? true : null;
  });
}

describe('with an etcd of three members on hosts of their own', () => {
  const withEtcd: NodeClusterOptions = {
    hosts: members,
    prepare: startEtcd,
    store: (namespaces) => ({
      kind: 'etcd',
      endpoints: members.map((name) => `http://${namespaces.address(name)}:${ports.etcd}`),
    }),
  };

  test('a killed owner is taken over from; one that is cut off from nodes and store stops serving before the other begins (R15, I3)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { record, nodes, writer } = await start(withEtcd);
    await nodes.end('east', 'SIGKILL');
    const killedMs = await writer.untilAcknowledged(50, 20_000);
    await nodes.untilServedBy('west');
    nodes.spawn('east');
    await nodes.untilSettled();
    // The owner is alone now: its host must not be told anything that the other side does not have.
    await nodes.namespaces.cut('west', 'all');
    const cutMs = await writer.untilAcknowledged(50, 30_000);
    await nodes.untilServedBy('east');
    console.log(`hosts wrote again ${Math.round(killedMs)} ms after a kill, ${Math.round(cutMs)} ms after a cut`);
    await nodes.namespaces.mend('west');
    await nodes.untilSettled();
    expect(await nodes.server()).toBe('east');
    await writer.stop();
    host = null;
    await nodes.end('east', 'SIGTERM');
    expect(await record.faultsIn(nodes.imagePath('east'))).toEqual([]);
    expect(await record.faultsIn(nodes.imagePath('west'))).toEqual([]);
  });

  test('one member killed: nothing moves; all gone: no ownership changes, and a group whose copies promise goes on (R16)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer } = await start(withEtcd);
    etcd.get('m2')?.kill('SIGKILL');
    await delay(4000);
    await writer.untilAcknowledged(50, 20_000);
    for (const name of ['m1', 'm3']) etcd.get(name)?.kill('SIGSTOP');
    await delay(6000);
    await writer.untilAcknowledged(200, 20_000);
    expect((await nodes.cli('east', 'why', 'g1')).stdout).toMatch(/promise/);
    for (const name of ['m1', 'm3']) etcd.get(name)?.kill('SIGCONT');
    await writer.untilAcknowledged(200, 30_000);
    await nodes.untilSettled();
    expect(await nodes.server()).toBe('east');
  });
});

describe('without a store, on heartbeats alone', () => {
  const heartbeatOnly: NodeClusterOptions = {
    store: () => ({ kind: 'none' }),
    takeOver: { automatic: 'heartbeat-only' },
  };

  test('its risk is told; a killed owner is taken over from, and comes back as a copy (BY-1)', async ({ skip }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { record, nodes, writer } = await start(heartbeatOnly);
    expect((await nodes.cli('east', 'status')).stdout).toMatch(/no coordination store/);
    await nodes.end('east', 'SIGKILL');
    const pauseMs = await writer.untilAcknowledged(50, 30_000);
    console.log(`hosts wrote again after ${Math.round(pauseMs)} ms`);
    await nodes.untilServedBy('west');
    expect((await nodes.cli('west', 'why', 'g1')).stdout).toContain('[heartbeat-only]');
    nodes.spawn('east');
    await nodes.untilSettled();
    expect(await nodes.server()).toBe('west');
    await writer.stop();
    host = null;
    await nodes.end('east', 'SIGTERM');
    expect(await record.faultsIn(nodes.imagePath('east'))).toEqual([]);
  });

  test('a cut of every channel makes two owners: seen at first contact, nothing applied, both kept, resolved by choice (BY-1)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer } = await start(heartbeatOnly);
    await writer.stop();
    // A host at each side that knows of no other: what both are told cannot be had together.
    const at = (node: string): RoamingHost =>
      new RoamingHost(
        { sockets: [nodes.socket(node)], volume: 'vol1', blocks, depth: 2, random: seededRandom(3) },
        new WriteRecord(blocks),
      );
    const eastern = at('east');
    host = eastern;
    await eastern.untilAcknowledged(50, 20_000);
    await nodes.namespaces.cut('west', 'all');
    await until('two owners', 40_000, async () => {
      const [east, west] = [await nodes.group('east'), await nodes.group('west')];
      return east?.service === 'Serving' && west?.owner === 'west' && west.service === 'Serving' ? true : null;
    });
    await eastern.untilAcknowledged(100, 20_000);
    const other = at('west');
    await other.untilAcknowledged(50, 20_000);
    await other.stop();
    await eastern.stop();
    host = null;
    await nodes.namespaces.mend('west');
    let last = '';
    const told = await until('told', 30_000, async () => {
      const { stdout } = await nodes.cli('east', 'why', 'g1');
      last = stdout;
      return /split brain/i.test(stdout) ? stdout : null;
    }).catch(async (error: unknown) => {
      throw new Error(`${String(error)}; east says: ${last}; ${await nodes.logTail('west')}`, { cause: error });
    });
    expect(told).toContain('resolve');
    const resolved = await nodes.cli('east', 'group', 'resolve', 'g1', '--keep', 'east', '--yes');
    expect([resolved.status, resolved.stderr]).toEqual([0, '']);
    await nodes.untilSettled(90_000);
    expect(await nodes.server()).toBe('east');
    const status = await nodes.group('east');
    expect(status?.forks.length).toBeGreaterThan(0);
  });
});
