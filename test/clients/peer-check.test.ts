/** HM-7 on real nodes: the user's own check decides, beside authentication, whether what is heard of a node counts. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { until } from './command.ts';
import { Namespaces } from './namespaces.ts';
import { NodeCluster } from './node-cluster.ts';

const obstacle = await Namespaces.obstacle();
/** While it is there the check fails of the node that it names. */
const unfit = join(tmpdir(), `holdfast-unfit-${process.pid}`);
let nodes: NodeCluster;

beforeAll(async () => {
  if (obstacle !== null) return;
  const check = { command: ['sh', '-c', `! grep -qs "^$HOLDFAST_PEER$" ${unfit}`], timeout: '1s' };
  nodes = await NodeCluster.start({ pulse: { validity: { check } } });
}, 120_000);

afterAll(async () => {
  await rm(unfit, { force: true });
  if (obstacle === null) await nodes.stop();
}, 60_000);

interface Pulse {
  readonly snapshot: { readonly peers: readonly { readonly node: string; readonly heard: readonly Heard[] }[] };
}
interface Heard {
  readonly hearing: string;
  readonly unfit?: string;
}

async function heardAt(node: string, peer: string): Promise<readonly Heard[]> {
  const { stdout } = await nodes.cli(node, 'pulse', 'status', '--json');
  return (JSON.parse(stdout) as Pulse).snapshot.peers.find((one) => one.node === peer)?.heard ?? [];
}

describe.skipIf(obstacle !== null)('a check of the user', () => {
  test('makes a node silent that fails it, says why, and loses nothing by it: the node that lives is not taken over from', async () => {
    await writeFile(unfit, 'east\n');
    await until('east is not believed', 20_000, async () => {
      const heard = await heardAt('west', 'east');
      return heard.length > 0 && heard.every(({ hearing }) => hearing === 'silent') ? true : null;
    });
    expect((await heardAt('east', 'west')).map(({ hearing }) => hearing)).toContain('alive');
    const why = await until('it is told why', 20_000, async () => {
      const { stdout } = await nodes.cli('west', 'why', 'g1');
      return stdout.includes('not believed') ? stdout : null;
    });
    expect(why).toMatch(/not believed: the check of it \(sh -c .*\) ended with status 1/);
    expect((await nodes.group('east'))?.owner).toBe('east');
    await rm(unfit);
    await until('east is believed', 20_000, async () => {
      const heard = await heardAt('west', 'east');
      return heard.every((one) => one.hearing === 'alive' && one.unfit === undefined) ? true : null;
    });
  });
});
