/** Two nodes whose ownership is decided in a real etcd of three members. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mustRun, runCommand, until } from './command.ts';
import { EtcdCluster } from './etcd-cluster.ts';
import { Pair } from './pair.ts';
import { RecordingHost, seededRandom, WriteRecord } from './recording-host.ts';

let cluster: EtcdCluster;
let pair: Pair;

beforeEach(async () => {
  cluster = await EtcdCluster.start();
  pair = await Pair.start({ store: { kind: 'etcd', endpoints: cluster.endpoints } });
});
afterEach(async () => {
  await pair?.stop();
  await cluster?.stop();
});

const blocks = 4096;
const qemuIo = (node: 'east' | 'west', ...commands: string[]) =>
  mustRun('qemu-io', ['-f', 'raw', pair.uri(node), ...commands.flatMap((command) => ['-c', command])]);
const hostAt = (node: 'east' | 'west', record: WriteRecord) =>
  RecordingHost.start(
    { port: pair.nbdPort(node), volume: 'vol1', blocks, depth: 16, random: seededRandom(5) },
    record,
  );

test('a pair serves hosts and moves its group while a member of etcd, the leader, is killed', async () => {
  await qemuIo('east', 'write -P 7 32M 1M', 'flush');
  const record = new WriteRecord(blocks);
  const host = await hostAt('east', record);
  await delay(500);
  const leader = await cluster.leader();
  const killed = cluster.endMember(leader);
  // It is refused while nobody leads etcd; nothing is changed then.
  await until('the group is moved', 30_000, async () => {
    const moved = await pair.cli('west', 'group', 'switch-over', 'g1', '--to', 'west', '--json');
    return moved.status === 0 || (await pair.group()).owner === 'west' ? true : null;
  });
  await killed;
  await host.ended;
  const next = await hostAt('west', record);
  await delay(500);
  await next.stop();
  await pair.untilEstablished();
  expect(await record.faultsIn(pair.imagePath('west'))).toEqual([]);
  await pair.compareLegs();
  await qemuIo('west', 'read -P 7 32M 1M');
  await cluster.startMember(leader);
  const back = await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'east', '--json');
  expect(back).toMatchObject({ status: 0 });
  await qemuIo('east', 'read -P 7 32M 1M');
});

test('R15: with etcd gone for longer than the leases no ownership changes, and when it is back hosts go on; nothing is lost', async () => {
  const record = new WriteRecord(blocks);
  const host = await hostAt('east', record);
  await until('hosts are served', 20_000, () => (record.acknowledgedCount > 100 ? true : null));
  await cluster.endMembers();
  await until('the lease has lapsed', 30_000, async () => {
    const { nodes } = await pair.status('east');
    return nodes.find(({ name }) => name === 'east')?.lease === 'lapsed' ? true : null;
  });
  const { generation } = await pair.group();
  const refused = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west');
  expect(refused.status).not.toBe(0);
  await delay(3000);
  await cluster.startMembers();
  await pair.untilEstablished();
  const before = record.acknowledgedCount;
  await until('hosts go on', 30_000, () => (record.acknowledgedCount > before + 100 ? true : null));
  await host.stop();
  expect(await record.faultsIn(pair.imagePath('east'))).toEqual([]);
  await pair.compareLegs();
  const after = await pair.group();
  expect(after.owner).toBe('east');
  expect(after.generation).toBeGreaterThan(generation);
});

test('R12: nodes started on a store restored from a backup freeze a group that has moved on since', async () => {
  await qemuIo('east', 'write -P 1 0 1M', 'flush');
  const backup = await cluster.save();
  const moved = await pair.cli('west', 'group', 'switch-over', 'g1', '--to', 'west', '--json');
  expect(moved).toMatchObject({ status: 0 });
  await qemuIo('west', 'write -P 2 0 1M', 'flush');
  await pair.untilEstablished();
  expect(await Promise.all([pair.endNode('east'), pair.endNode('west')])).toEqual([0, 0]);
  await cluster.restore(backup);
  await Promise.all([pair.startNode('east'), pair.startNode('west')]);
  const frozen = await until('both say so', 30_000, async () => {
    const groups = await Promise.all((['east', 'west'] as const).map((node) => pair.status(node)));
    const reasons = groups.map(({ groups: [group] }) => group?.reason ?? '');
    return reasons.every((reason) => reason.includes('restored from a backup')) ? groups : null;
  });
  expect(frozen.map(({ groups: [group] }) => group?.service)).not.toContain('Serving');
  const read = await runCommand('qemu-img', ['info', pair.uri('east')], { timeoutMs: 5000 });
  expect(read.status).not.toBe(0);
});
