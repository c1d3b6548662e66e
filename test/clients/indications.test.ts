/**
 * HM-16: every component is really broken, and its failure is shown at the other site, with its id and its level, and so is its
 * end when it is mended. One cluster: two nodes on hosts of their own, g1 on files, g2 with a copy on a disk that can fail.
 */
import { readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Alert } from '../../src/alerts/alert.ts';
import { mustRun, runCommand, until } from './command.ts';
import { Namespaces } from './namespaces.ts';
import { NodeCluster } from './node-cluster.ts';

const volumeBytes = 64 * 1024 ** 2;
let nodes: NodeCluster;
let disk = '';
let diskImage = '';
let sick = '';
const obstacle = await Namespaces.obstacle();

beforeAll(async () => {
  if (obstacle !== null) return;
  const mirrors = [{ to: 'west', mode: 'sync' }];
  nodes = await NodeCluster.start({
    prepare: async (_, folder) => {
      diskImage = join(folder, 'disk.img');
      sick = join(folder, 'sick');
      await writeFile(diskImage, '');
      await truncate(diskImage, volumeBytes);
      disk = (await mustRun('losetup', ['--find', '--show', diskImage])).stdout.trim();
      await nodesDeclared(folder);
    },
  });

  async function nodesDeclared(folder: string): Promise<void> {
    const file = join(folder, 'holdfast.yaml');
    const declared = JSON.parse(await readFile(file, 'utf8')) as { groups: unknown[] };
    declared.groups = [
      { name: 'g1', owner: 'east', volumes: [{ name: 'vol1', size: '64MiB' }], mirrors, log: '256MiB' },
      {
        name: 'g2',
        owner: 'east',
        volumes: [{ name: 'vol2', size: '64MiB', paths: { west: disk } }],
        mirrors,
        log: '256MiB',
        'take-over': { automatic: 'off' },
        resources: [
          {
            application: 'clock',
            start: ['true'],
            stop: ['true'],
            health: { command: ['test', '!', '-e', sick], every: '1s', restarts: 0 },
          },
        ],
      },
    ];
    await writeFile(file, JSON.stringify(declared, null, 2));
  }
}, 120_000);

afterAll(async () => {
  if (obstacle !== null) return;
  await nodes.stop();
  if (disk !== '') await runCommand('losetup', ['--detach', disk]);
}, 60_000);

interface Expected {
  readonly code: string;
  readonly component: string;
  readonly id: string | RegExp;
  readonly level: string;
  /** Who sees it. */
  readonly by: string;
}

async function alertsAt(node: string): Promise<readonly Alert[]> {
  const { stdout } = await nodes.cli(node, 'alerts', 'list', '--json');
  return (JSON.parse(stdout) as { alerts: Alert[] }).alerts;
}

const fits = (alert: Alert, { code, component, id }: Expected): boolean =>
  alert.code === code &&
  alert.component === component &&
  (typeof id === 'string' ? alert.id === id : id.test(alert.id));

/** Open at that node, as seen by the one that is expected to see it. */
async function isShown(at: string, expected: Expected, timeoutMs = 30_000): Promise<void> {
  let last: readonly Alert[] = [];
  const alert = await until(`${expected.code} is shown at ${at}`, timeoutMs, async () => {
    last = await alertsAt(at);
    return last.find((one) => fits(one, expected) && one.seenBy.includes(expected.by)) ?? null;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last, null, 1)}`, { cause: error });
  });
  expect([alert.code, alert.level]).toEqual([expected.code, expected.level]);
  expect(alert.text).not.toBe('');
}

async function isOver(at: string, expected: Expected, timeoutMs = 60_000): Promise<void> {
  let last: readonly Alert[] = [];
  await until(`${expected.code} is over at ${at}`, timeoutMs, async () => {
    last = (await alertsAt(at)).filter((one) => fits(one, expected));
    return last.length > 0 && last.every(({ endedAtMs }) => endedAtMs !== null) ? true : null;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last, null, 1)}`, { cause: error });
  });
}

const linkDown: Expected = {
  code: 'link-down',
  component: 'link',
  id: 'east – west',
  level: 'SERIOUS',
  by: 'east',
};
const behind = (group: string): Expected => ({
  code: 'copy-behind',
  component: 'volume',
  id: `${group} at west`,
  level: 'MODERATE',
  by: 'east',
});

const write = (volume: string, pattern: number) =>
  runCommand(
    'qemu-io',
    [
      ...['-f', 'raw', `nbd+unix:///${volume}?socket=${nodes.socket('east')}`],
      ...['-c', `write -P ${pattern} 0 4M`, '-c', 'flush'],
    ],
    { timeoutMs: 10_000 },
  );

/** Once nothing is wrong any more nothing is open. */
async function nothingIsOpen(): Promise<void> {
  for (const node of nodes.nodes) {
    let open: readonly Alert[] = [];
    await until(`nothing is open at ${node}`, 60_000, async () => {
      open = (await alertsAt(node)).filter(({ code, endedAtMs }) => endedAtMs === null && code !== 'clock-step');
      return open.length === 0 ? true : null;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(open, null, 1)}`, { cause: error });
    });
  }
}

describe.skipIf(obstacle !== null)('HM-16: a failure is shown at the other site, and its end', () => {
  test('of nothing, while all is well', nothingIsOpen);

  test('of a network path', async () => {
    const silent = (by: string, of: string): Expected => ({
      code: 'network-path-failed',
      component: 'network',
      id: `network from ${of}`,
      level: 'MODERATE',
      by,
    });
    await nodes.namespaces.cut('west', 'network');
    await isShown('east', silent('west', 'east'));
    await isShown('west', silent('east', 'west'));
    await nodes.namespaces.mend('west');
    await isOver('east', silent('west', 'east'));
    await isOver('west', silent('east', 'west'));
  });

  test('of the heartbeat mirrors’ way: then the network is the last', async () => {
    const mirror: Expected = {
      code: 'mirror-failed',
      component: 'mirror',
      id: /east-west from east/,
      level: 'SERIOUS',
      by: 'west',
    };
    const onlyNetwork: Expected = {
      code: 'heartbeat-only-network',
      component: 'node',
      id: 'west to east',
      level: 'SERIOUS',
      by: 'west',
    };
    await nodes.namespaces.cut('west', 'mirror');
    await isShown('east', mirror);
    await isShown('east', onlyNetwork);
    await nodes.namespaces.mend('west');
    await isOver('east', mirror);
    await isOver('east', onlyNetwork);
  });

  test('of the disk of a heartbeat mirror', async ({ skip }) => {
    const path = join(nodes.folder, 'west', 'heartbeat', 'west-east.img');
    const made = await runCommand('chattr', ['+i', path]);
    skip(made.status !== 0, 'files cannot be made immutable here');
    const failed: Expected = {
      code: 'mirror-failed',
      component: 'mirror',
      id: `mirror:west-east at ${path}`,
      level: 'SERIOUS',
      by: 'west',
    };
    try {
      await isShown('east', failed);
    } finally {
      await mustRun('chattr', ['-i', path]);
    }
    await isOver('east', failed);
  });

  test('of the replication link, and of the copy behind it', async () => {
    await nodes.namespaces.cut('west', 'link');
    await write('vol1', 1);
    await isShown('west', linkDown);
    await isShown('west', behind('g1'), 40_000);
    await nodes.namespaces.mend('west');
    await isOver('west', linkDown);
    await isOver('west', behind('g1'));
  });

  test('of an application', async () => {
    const failed: Expected = {
      code: 'application-failed',
      component: 'application',
      id: 'clock',
      level: 'SERIOUS',
      by: 'east',
    };
    await writeFile(sick, '');
    await isShown('west', failed);
    await rm(sick);
    await isOver('west', failed);
  });

  test('of the coordination store', async () => {
    const silent: Expected = {
      code: 'store-unreachable',
      component: 'store',
      id: 'coordination store',
      level: 'SERIOUS',
      by: 'east',
    };
    const store = join(nodes.folder, 'store');
    await rename(store, `${store}.away`);
    await isShown('west', silent);
    await rename(`${store}.away`, store);
    await isOver('west', silent);
    await nodes.untilSettled();
  });

  test('of a disk, which takes the volume on it along', async ({ skip }) => {
    const diskFailed: Expected = {
      code: 'disk-failed',
      component: 'disk',
      id: `west:${disk}`,
      level: 'SERIOUS',
      by: 'west',
    };
    const volumeFailed: Expected = {
      code: 'volume-failed',
      component: 'volume',
      id: 'vol2',
      level: 'SERIOUS',
      by: 'west',
    };
    const made = await runCommand('chattr', ['+i', diskImage]);
    skip(made.status !== 0, 'files cannot be made immutable here');
    try {
      await write('vol2', 2);
      await isShown('east', diskFailed);
      await isShown('east', volumeFailed);
      await isShown('west', behind('g2'), 40_000);
    } finally {
      await mustRun('chattr', ['-i', diskImage]);
    }
    await nodes.end('west', 'SIGTERM');
    nodes.spawn('west');
    await isOver('east', diskFailed);
    await isOver('east', volumeFailed);
    await isOver('west', behind('g2'));
  });

  test('of a volume whose file is gone', async () => {
    const failed: Expected = {
      code: 'volume-failed',
      component: 'volume',
      id: 'vol1',
      level: 'SERIOUS',
      by: 'west',
    };
    await rm(nodes.imagePath('west'));
    await write('vol1', 3);
    await isShown('east', failed);
    await nodes.end('west', 'SIGTERM');
    // Without what it remembers of the lost file a copy is made anew.
    await rm(join(nodes.folder, 'west', 'groups', 'g1'), { recursive: true });
    nodes.spawn('west');
    await isOver('east', failed);
    await isOver('west', behind('g1'));
  });

  test('of a node (kill -9)', async () => {
    const silent: Expected = { code: 'node-silent', component: 'node', id: 'west', level: 'SYSTEM DOWN', by: 'east' };
    await nodes.end('west', 'SIGKILL');
    await isShown('east', silent);
    await isShown('east', linkDown);
    nodes.spawn('west');
    await isOver('east', silent);
    await isOver('east', linkDown);
  });

  test('and in the end nothing is open', nothingIsOpen);
});
