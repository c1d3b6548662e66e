/**
 * HM-16: every component is really broken, and its failure is shown at the other site, with its id and its level, and so is its
 * end when it is mended. One cluster: two nodes on hosts of their own, g1 on files, g2 with a copy on a disk that can fail, g3
 * on small file systems of its own, with a small log.
 */
import { mkdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Alert, AlertMessage } from '../../src/alerts/alert.ts';
import { mustRun, runCommand, until } from './command.ts';
import { Namespaces } from './namespaces.ts';
import { NodeCluster } from './node-cluster.ts';

const volumeBytes = 64 * 1024 ** 2;
let nodes: NodeCluster;
let disk = '';
let diskImage = '';
let sick = '';
/** A message a line, in the order in which sinks were given them. */
let messages = '';
const fileSystem = { east: '', west: '' };
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
      messages = join(folder, 'messages');
      await writeFile(messages, '');
      for (const node of ['east', 'west'] as const) {
        fileSystem[node] = join(folder, `small-${node}`);
        await mkdir(fileSystem[node]);
        await mustRun('mkfs.ext4', ['-q', `${fileSystem[node]}.img`, '64M']);
        await mustRun('mount', ['-o', 'loop', `${fileSystem[node]}.img`, fileSystem[node]]);
      }
      await nodesDeclared(folder);
    },
  });

  async function nodesDeclared(folder: string): Promise<void> {
    const file = join(folder, 'holdfast.yaml');
    const declared = JSON.parse(await readFile(file, 'utf8')) as { groups: unknown[]; alerts: unknown };
    const sink = { name: 'file', kind: 'command', run: ['sh', '-c', `(cat; echo) >>${messages}`] };
    declared.alerts = { repeat: '1min', 'per-hour': 1000, sinks: [sink] };
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
      {
        name: 'g3',
        owner: 'east',
        volumes: [
          {
            name: 'vol3',
            size: '32MiB',
            paths: { east: join(fileSystem.east, 'vol3'), west: join(fileSystem.west, 'vol3') },
          },
        ],
        mirrors,
        log: '64MiB',
        'take-over': { automatic: 'off' },
      },
    ];
    await writeFile(file, JSON.stringify(declared, null, 2));
  }
}, 120_000);

afterAll(async () => {
  if (obstacle !== null) return;
  for (const mounted of Object.values(fileSystem)) await runCommand('umount', ['--lazy', mounted]);
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

/** It has begun, whether it is over by now or not. */
async function wasShown(at: string, expected: Expected, timeoutMs = 30_000): Promise<void> {
  await until(`${expected.code} was shown at ${at}`, timeoutMs, async () => {
    const alert = (await alertsAt(at)).find((one) => fits(one, expected));
    return alert?.level === expected.level && alert.node === expected.by ? true : null;
  });
}

async function isOver(at: string, expected: Expected, timeoutMs = 60_000): Promise<void> {
  let last: readonly Alert[] = [];
  await until(`${expected.code} is over at ${at}`, timeoutMs, async () => {
    last = (await alertsAt(at)).filter((one) => fits(one, expected));
    // What has been over for the interval of repetition is not in sight any more.
    return last.every(({ endedAtMs }) => endedAtMs !== null) ? true : null;
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
const westSilent: Expected = {
  code: 'node-silent',
  component: 'node',
  id: 'west',
  level: 'SYSTEM DOWN',
  by: 'east',
};
const behind = (group: string): Expected => ({
  code: 'copy-behind',
  component: 'volume',
  id: `${group} at west`,
  level: 'MODERATE',
  by: 'east',
});

const write = (volume: string, pattern: number, offsets: readonly string[] = ['0']) =>
  runCommand(
    'qemu-io',
    [
      ...['-f', 'raw', `nbd+unix:///${volume}?socket=${nodes.socket('east')}`],
      ...offsets.flatMap((offset) => ['-c', `write -P ${pattern} ${offset} 4M`]),
      ...['-c', 'flush'],
    ],
    { timeoutMs: 10_000 },
  );

/** What all nodes have sent, that it began, be it anew, or is over. */
async function told(): Promise<string[]> {
  const lines = (await readFile(messages, 'utf8')).split('\n').filter((line) => line !== '');
  return lines
    .map((line) => JSON.parse(line) as AlertMessage)
    .map(({ over, code }) => `${code}${over ? ' over' : ''}`);
}

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

  test('of the coordination store, and of the lease that lapses without it', async () => {
    const silent: Expected = {
      code: 'store-unreachable',
      component: 'store',
      id: 'coordination store',
      level: 'SERIOUS',
      by: 'east',
    };
    const store = join(nodes.folder, 'store');
    const leaseLost: Expected = {
      code: 'lease-lost',
      component: 'node',
      id: 'east',
      level: 'SYSTEM DOWN',
      by: 'east',
    };
    await rename(store, `${store}.away`);
    await isShown('west', silent);
    await isShown('west', leaseLost);
    await rename(`${store}.away`, store);
    await isOver('west', silent);
    await isOver('west', leaseLost);
    await nodes.untilSettled();
  });

  test('of a file system that is full', async () => {
    const full: Expected = {
      code: 'disk-full',
      component: 'disk',
      id: `east:${join(fileSystem.east, 'vol3')}`,
      level: 'SERIOUS',
      by: 'east',
    };
    const filler = join(fileSystem.east, 'filler');
    await runCommand('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k']);
    try {
      await write('vol3', 1, ['8M']);
      await isShown('west', full);
    } finally {
      await rm(filler);
    }
  });

  test('of an engine that stands still, since its disk does not answer', async ({ skip }) => {
    const stuck: Expected = {
      code: 'node-stuck',
      component: 'node',
      id: 'west',
      level: 'SYSTEM DOWN',
      by: 'west',
    };
    const frozen = await runCommand('fsfreeze', ['--freeze', fileSystem.west]);
    skip(frozen.status !== 0, 'file systems cannot be frozen here');
    const written = write('vol3', 2);
    try {
      await isShown('east', westSilent);
    } finally {
      await mustRun('fsfreeze', ['--unfreeze', fileSystem.west]);
    }
    await wasShown('east', stuck);
    await isOver('east', stuck);
    await isOver('east', westSilent);
    await written;
  });

  test('of a log that fills, and is full', async () => {
    const filling = (level: string): Expected => ({
      code: 'log-filling',
      component: 'log',
      id: 'g3 at east',
      level,
      by: 'east',
    });
    await nodes.namespaces.cut('west', 'link');
    await write('vol3', 3, Array<string>(14).fill('0'));
    await isShown('west', filling('MODERATE'));
    await write('vol3', 4, Array<string>(6).fill('0'));
    await until('the log is full', 10_000, async () => {
      const alert = (await alertsAt('west')).find((one) => fits(one, filling('SERIOUS')));
      return alert?.level === 'SERIOUS' ? true : null;
    });
    await nodes.namespaces.mend('west');
    await isOver('west', filling('SERIOUS'));
  });

  test('of a disk, which is told once for the volume on it, too', async ({ skip }) => {
    const diskFailed: Expected = {
      code: 'disk-failed',
      component: 'disk',
      id: `west:${disk}`,
      level: 'SERIOUS',
      by: 'west',
    };
    const made = await runCommand('chattr', ['+i', diskImage]);
    skip(made.status !== 0, 'files cannot be made immutable here');
    try {
      await write('vol2', 2);
      await isShown('east', diskFailed);
      await isShown('west', behind('g2'), 40_000);
      expect((await alertsAt('east')).filter(({ code }) => code === 'volume-failed')).toEqual([]);
    } finally {
      await mustRun('chattr', ['-i', diskImage]);
    }
    await nodes.end('west', 'SIGTERM');
    nodes.spawn('west');
    await isOver('east', diskFailed);
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

  test('of a node (kill -9): that alone is told, not what comes of it', async () => {
    await nothingIsOpen();
    const before = (await told()).length;
    await nodes.end('west', 'SIGKILL');
    await isShown('east', westSilent);
    await isShown('east', linkDown);
    for (const group of ['g1', 'g2', 'g3']) await isShown('east', behind(group));
    nodes.spawn('west');
    await isOver('east', westSilent);
    await isOver('east', linkDown);
    for (const group of ['g1', 'g2', 'g3']) await isOver('east', behind(group));
    expect((await told()).slice(before)).toEqual(['node-silent', 'node-silent over']);
  });

  test('and in the end nothing is open', nothingIsOpen);
});
