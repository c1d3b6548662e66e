/**
 * Automatic take-over between real nodes on hosts of their own: killed, stopped, cut off from each other channel by channel,
 * while a host writes and remembers what it was told.
 */
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { until } from './command.ts';
import { Namespaces, type Traffic } from './namespaces.ts';
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
  await cluster?.stop();
  cluster = null;
});

async function start(
  options: NodeClusterOptions = {},
  patienceMs?: number,
): Promise<{ record: WriteRecord; nodes: NodeCluster; writer: RoamingHost }> {
  const nodes = await NodeCluster.start(options);
  cluster = nodes;
  const record = new WriteRecord(blocks);
  const writer = new RoamingHost(
    {
      sockets: nodes.nodes.map((node) => nodes.socket(node)),
      volume: 'vol1',
      blocks,
      depth: 8,
      random: seededRandom(7),
      ...(patienceMs === undefined ? {} : { patienceMs }),
    },
    record,
  );
  host = writer;
  await writer.untilAcknowledged(200, 20_000);
  return { record, nodes, writer };
}

/** Everything that the host was told is on the disk of that node. */
async function mustHoldAll(nodes: NodeCluster, node: string, record: WriteRecord): Promise<void> {
  await host?.stop();
  host = null;
  await nodes.end(node, 'SIGTERM');
  expect(await record.faultsIn(nodes.imagePath(node))).toEqual([]);
}

describe('a killed owner', () => {
  test('is taken over from by itself; nothing acknowledged is lost; when it is back it is made whole (I2, TL-14, TL-15)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { record, nodes, writer } = await start();
    const pauses: number[] = [];
    for (const [owner, other] of [
      ['east', 'west'],
      ['west', 'east'],
    ] as const) {
      await nodes.end(owner, 'SIGKILL');
      pauses.push(Math.round(await writer.untilAcknowledged(50, 20_000)));
      await nodes.untilServedBy(other);
      const why = await nodes.cli(other, 'why', 'g1');
      expect(why.stdout).toContain('[owner-lost]');
      expect(why.stdout).toMatch(new RegExp(`${owner} is silent on .*network.*and its lease has lapsed`));
      nodes.spawn(owner);
      await nodes.untilSettled();
    }
    console.log(`hosts wrote again after ${pauses.join(', ')} ms`);
    await mustHoldAll(nodes, 'east', record);
  });

  test('of three: the next in succession, then the one after (AS-12)', async ({ skip }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { record, nodes, writer } = await start({ nodes: ['east', 'west', 'south'] });
    await nodes.end('east', 'SIGKILL');
    await writer.untilAcknowledged(50, 20_000);
    await nodes.untilServedBy('west');
    await nodes.untilSettled();
    await nodes.end('west', 'SIGKILL');
    await writer.untilAcknowledged(50, 20_000);
    await nodes.untilServedBy('south');
    await mustHoldAll(nodes, 'south', record);
  });
});

describe('a stopped process (SIGSTOP)', () => {
  test('for 10 s: another serves, and what it had under way harms nothing when it goes on (I3)', async ({ skip }) => {
    skip(obstacle !== null, obstacle ?? '');
    // A host that gives a session up, as a kernel's initiator would.
    const { record, nodes, writer } = await start({}, 1000);
    nodes.signal('east', 'SIGSTOP');
    const pauseMs = await writer.untilAcknowledged(50, 20_000);
    await nodes.untilServedBy('west');
    await delay(10_000 - pauseMs);
    nodes.signal('east', 'SIGCONT');
    await nodes.untilSettled();
    expect(await nodes.server()).toBe('west');
    await mustHoldAll(nodes, 'west', record);
  });

  test('for less than the time-out: nothing moves (no false take-over)', async ({ skip }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer } = await start();
    for (let turn = 0; turn < 5; turn++) {
      nodes.signal('east', 'SIGSTOP');
      await delay(600);
      nodes.signal('east', 'SIGCONT');
      await writer.untilAcknowledged(50, 10_000);
      await delay(1500);
    }
    expect(await nodes.server()).toBe('east');
    expect((await nodes.cli('west', 'why', 'g1')).stdout).not.toContain('takes over');
  });

  test('of the survivor: it does not take its own sleep for the silence of the other', async ({ skip }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer } = await start();
    nodes.signal('west', 'SIGSTOP');
    await delay(8000);
    nodes.signal('west', 'SIGCONT');
    await writer.untilAcknowledged(50, 20_000);
    await nodes.untilSettled();
    expect(await nodes.server()).toBe('east');
    expect((await nodes.cli('west', 'why', 'g1')).stdout).not.toContain('takes over');
  });
});

describe('cuts, channel by channel', () => {
  test.each<Traffic>(['network', 'mirror', 'link'])(
    '%s alone: its owner goes on, nobody takes over (HM-13)',
    async (traffic) => {
      if (obstacle !== null) return;
      const { nodes, writer } = await start();
      await nodes.namespaces.cut('west', traffic);
      await delay(5000);
      await writer.untilAcknowledged(50, 20_000);
      expect(await nodes.server()).toBe('east');
      await nodes.namespaces.mend('west');
      await nodes.untilSettled();
      expect(await nodes.server()).toBe('east');
    },
  );

  test('one way only: what is heard counts (HM-13)', async ({ skip }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer } = await start();
    await nodes.namespaces.cut('west', 'network', 'in');
    await delay(5000);
    await writer.untilAcknowledged(50, 20_000);
    expect(await nodes.server()).toBe('east');
  });

  test('all between the nodes, with the store in reach of both: the owner goes on, its lease forbids the other (R11, R15)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { record, nodes, writer } = await start();
    await nodes.namespaces.cut('west', 'all');
    await delay(8000);
    await writer.untilAcknowledged(50, 20_000);
    expect((await nodes.group('east'))?.service).toBe('Serving');
    const why = await until('told why', 20_000, async () => {
      const { stdout } = await nodes.cli('west', 'why', 'g1');
      return stdout.includes('[lease-held]') ? stdout : null;
    });
    expect(why).toContain('the lease of east has not lapsed yet');
    await nodes.namespaces.mend('west');
    await nodes.untilSettled();
    expect(await nodes.server()).toBe('east');
    await mustHoldAll(nodes, 'west', record);
  });
});

describe('a planned stop', () => {
  test('causes no take-over; status says who is unserved; the node serves again when it is back (AS-7)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const { nodes, writer } = await start();
    await nodes.end('east', 'SIGTERM');
    await delay(6000);
    const group = await nodes.group('west');
    expect(group?.owner).toBe('east');
    expect(group?.service).toBe('Unserved');
    expect((await nodes.cli('west', 'why', 'g1')).stdout).toContain('[planned-shutdown]');
    nodes.spawn('east');
    await writer.untilAcknowledged(50, 30_000);
    expect(await nodes.server()).toBe('east');
  });
});

describe('an application that does not stay up', () => {
  test('is started again, given up, and runs at the other node, which is given the group (HM-17, HM-20)', async ({
    skip,
  }) => {
    skip(obstacle !== null, obstacle ?? '');
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-application-'));
    try {
      const word = (verb: string): string[] => [
        'sh',
        '-c',
        `echo "$HOLDFAST_NODE ${verb} $HOLDFAST_REASON" >> ${folder}/words`,
      ];
      const words = async (): Promise<string[]> => (await readFile(`${folder}/words`, 'utf8')).trim().split('\n');
      const { record, nodes, writer } = await start({
        group: {
          resources: [
            {
              application: 'service',
              start: word('start'),
              stop: word('stop'),
              health: {
                command: ['sh', '-c', `test ! -e ${folder}/$HOLDFAST_NODE.ill`],
                every: '500ms',
                restarts: 2,
              },
            },
          ],
        },
      });
      expect(await words()).toEqual(['east start start']);
      const illMs = performance.now();
      await writeFile(`${folder}/east.ill`, '');
      // Three checks half a second apart, two restarts, and a planned move.
      await nodes.untilServedBy('west', 10_000);
      await until('it runs at west', 10_000, async () =>
        (await words()).at(-1) === 'west start handedOver' ? true : null,
      );
      console.log(`it runs at west ${Math.round(performance.now() - illMs)} ms after it fell ill`);
      const restart = ['east stop health', 'east start health'];
      expect(await words()).toEqual([
        'east start start',
        ...restart,
        ...restart,
        'east stop handOver',
        'west start handedOver',
      ]);
      await writer.untilAcknowledged(50, 10_000);
      await nodes.untilSettled();
      for (const node of nodes.nodes) {
        expect(await nodes.group(node)).toMatchObject({ owner: 'west', service: 'Serving', reason: null });
        const { stdout } = await nodes.cli(node, 'group', 'resources', 'g1', '--json');
        expect(JSON.parse(stdout)).toMatchObject({ node: 'west', state: 'running', problem: null });
      }
      const { stdout: alerts } = await nodes.cli('east', 'alerts', 'list', '--all');
      const fault = 'service does not stay up after 2 restarts: health command sh ended with status 1';
      expect(alerts).toMatch(/SERIOUS +application-failed +application service +g1 +east/);
      expect(alerts).toContain(`over: group g1: ${fault}`);
      expect(alerts).toContain(`east handed over to west: ${fault}`);
      // West stays: what ails east may do so still.
      expect(await nodes.server()).toBe('west');
      await mustHoldAll(nodes, 'west', record);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
