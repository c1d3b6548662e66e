/** HM-5 on real nodes: a new master has the user's choice from the heartbeat mirrors, when all who could tell it are gone. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { StatusTable } from '../../src/pulse/status-table.ts';
import { until } from './command.ts';
import { Namespaces } from './namespaces.ts';
import { NodeCluster } from './node-cluster.ts';

const obstacle = await Namespaces.obstacle();
let nodes: NodeCluster;

beforeAll(async () => {
  if (obstacle !== null) return;
  const sites = { first: 'here', second: 'here', remote: 'there' };
  nodes = await NodeCluster.start({ nodes: ['first', 'second', 'remote'], sites, takeOver: { automatic: 'off' } });
}, 120_000);

afterAll(async () => {
  if (obstacle === null) await nodes.stop();
}, 60_000);

async function tableOf(node: string): Promise<StatusTable | null> {
  const { stdout, status } = await nodes.cli(node, 'pulse', 'table', '--json');
  if (status !== 0) return null;
  const found = JSON.parse(stdout) as readonly { readonly table: StatusTable | null }[];
  return found.find(({ table }) => table?.node === node)?.table ?? null;
}

describe.skipIf(obstacle !== null)('a new master (HM-1, HM-5)', () => {
  test('uses the ways of heartbeats that were chosen while it was away, though nobody is left to ask it', async () => {
    await nodes.end('second', 'SIGTERM');
    expect((await nodes.cli('first', 'pulse', 'use', 'mirrors')).status).toBe(0);
    expect((await tableOf('remote'))?.network.enable).toBe('DISABLE');
    await nodes.end('first', 'SIGKILL');
    nodes.spawn('second');
    const table = await until('the choice is picked up', 30_000, async () => {
      const found = await tableOf('second');
      return found?.network.enable === 'DISABLE' ? found : null;
    });
    expect(table.mirrors.enable).not.toBe('DISABLE');
    expect(await nodes.logTail('second', 1000)).toContain('as the table of remote has it');
  });
});
