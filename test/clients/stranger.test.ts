/** What befalls someone who does not know the product: taken ports, full disks, a second copy of a node, nobody there. */
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { mustRun, runCommand, until } from './command.ts';
import { SmallDisk, fileSystemObstacle } from './host-file-system.ts';
import { Pair, oneSyncGroup } from './pair.ts';

const mebibyte = 1024 ** 2;

describe('a stranger meets', () => {
  let pair: Pair | undefined;
  let disk: SmallDisk | undefined;

  afterEach(async () => {
    await pair?.stop();
    await disk?.remove();
    pair = disk = undefined;
  });

  const qemuIo = (uri: string, ...commands: string[]) =>
    runCommand('qemu-io', ['-f', 'raw', uri, ...commands.flatMap((command) => ['-c', command])]);

  test.each(['nbdPort', 'apiPort'] as const)('a taken port (%s): the node says which and ends', async (which) => {
    pair = await Pair.declare();
    const port = pair[which]('east');
    const squatter = createServer().listen(port, '127.0.0.1');
    await once(squatter, 'listening');
    try {
      const child = await pair.spawnNode('east');
      const [status] = (await once(child, 'close')) as [number | null];
      expect(status).toBe(1);
      expect(await pair.logTail('east')).toContain(String(port));
    } finally {
      await new Promise((resolve) => squatter.close(resolve));
    }
  });

  test('a second process of the same node: refused, the first goes on', async () => {
    pair = await Pair.start();
    const child = await pair.spawnNode('east');
    const [status] = (await once(child, 'close')) as [number | null];
    expect(status).toBe(1);
    expect(await pair.logTail('east')).toContain(String(pair.pid('east')));
    expect((await qemuIo(pair.uri('east'), 'write -P 1 0 4k', 'flush')).status).toBe(0);
  });

  test('another node with the same data folder, ports of its own: refused by the lock on it', async () => {
    pair = await Pair.start();
    const impostor = await Pair.declare({
      data: { east: join(pair.folder, 'east') },
    });
    try {
      const child = await impostor.spawnNode('east');
      const [status] = (await once(child, 'close')) as [number | null];
      expect(status).toBe(1);
      expect(await impostor.logTail('east')).toContain(String(pair.pid('east')));
    } finally {
      await impostor.stop();
    }
    expect((await qemuIo(pair.uri('east'), 'write -P 1 0 4k', 'flush')).status).toBe(0);
  });

  test('an unknown node name or a missing configuration: exit status 2, with a sentence', async () => {
    pair = await Pair.declare();
    const unknown = await pair.cli('east', 'node', 'run', '--config', pair.configurationPath, '--name', 'north');
    expect(unknown.status).toBe(2);
    expect(unknown.stderr).toContain('north');
    const missing = await pair.cli('east', 'node', 'run', '--config', join(pair.folder, 'no.yaml'), '--name', 'east');
    expect(missing.status).toBeGreaterThan(0);
    expect(missing.stderr).toContain('no.yaml');
  });

  test('no node running: the command line says whom it asked, exit status 1', async () => {
    pair = await Pair.declare();
    const answer = await pair.cli('east', 'status');
    expect(answer.status).toBe(1);
    expect(answer.stderr).toContain(String(pair.apiPort('east')));
  });

  test('a full disk at the owner: the host gets "no space", the state says so, and room heals it', async ({
    skip,
  }) => {
    skip(fileSystemObstacle !== null, fileSystemObstacle ?? '');
    disk = await SmallDisk.mount(96 * mebibyte);
    pair = await Pair.start({
      data: { east: join(disk.folder, 'east') },
      groups: [{ name: 'g1', owner: 'east', volumes: [{ name: 'vol1', size: '256MiB' }] }],
    });
    const filler = join(disk.folder, 'filler');
    await writeFile(filler, Buffer.alloc(40 * mebibyte));
    expect((await qemuIo(pair.uri('east'), 'write -P 1 0 8M', 'flush')).status).toBe(0);
    const full = await qemuIo(
      pair.uri('east'),
      ...Array.from({ length: 30 }, (_, n) => `write -P 2 ${8 + 4 * n}M 4M`),
    );
    expect(full.stdout + full.stderr).toMatch(/no space/i);
    const group = await pair.group();
    const words = [group.reason, ...group.legs.map((leg) => leg.reason)].join(' ');
    expect(words).toMatch(/space|full/i);
    expect((await qemuIo(pair.uri('east'), 'read -P 1 0 8M')).status).toBe(0);
    await rm(filler);
    const healed = await qemuIo(pair.uri('east'), 'write -P 3 64M 4M', 'flush', 'read -P 3 64M 4M');
    expect(healed.status).toBe(0);
    const running = pair;
    // It is told for a minute, so that somebody sees it.
    await until('the state is normal again', 90_000, async () =>
      (await running.group()).reason === null ? true : null,
    );
  });

  test('a full disk at the target: hosts go on, the leg says why it lags, and room heals it', async ({ skip }) => {
    skip(fileSystemObstacle !== null, fileSystemObstacle ?? '');
    disk = await SmallDisk.mount(64 * mebibyte);
    pair = await Pair.start({ data: { west: join(disk.folder, 'west') } });
    const written = await qemuIo(
      pair.uri('east'),
      ...Array.from({ length: 24 }, (_, n) => `write -P ${n + 1} ${4 * n}M 4M`),
      'flush',
    );
    expect(written.status).toBe(0);
    const running = pair;
    const leg = await until('the leg tells', 30_000, async () => {
      const found = await running.leg('west');
      return found.reason === null ? null : found;
    });
    expect(leg.reason).toMatch(/space|full/i);
    expect(leg.nextStep).not.toBeNull();
    await qemuIo(pair.uri('east'), 'discard 0 88M', 'flush');
    await pair.untilEstablished();
    await pair.compareLegs();
  });

  test('R10: a backing file that vanishes is told, and the group can be switched over', async () => {
    pair = await Pair.start({ groups: oneSyncGroup });
    expect((await qemuIo(pair.uri('east'), 'write -P 7 0 1M', 'flush')).status).toBe(0);
    await rm(pair.imagePath('east'));
    const running = pair;
    await until('the loss is told', 30_000, async () => {
      await runCommand('qemu-io', ['-f', 'raw', running.uri('east'), '-c', 'write 0 4k', '-c', 'flush'], {
        timeoutMs: 3000,
      });
      return (await running.group()).reason;
    });
    expect(await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'west')).toMatchObject({ status: 0 });
    expect((await qemuIo(pair.uri('west'), 'read -P 7 64k 64k')).status).toBe(0);
  });

  test('garbage and half a handshake on the NBD port: those sessions end, others are undisturbed', async () => {
    pair = await Pair.start();
    const uri = pair.uri('east');
    const load = mustRun('fio', [
      ...['--name=l', '--ioengine=nbd', `--uri=${uri}`, '--thread=1', '--rw=randwrite', '--bs=4k', '--size=16M'],
      ...['--iodepth=4', '--time_based=1', '--runtime=2', '--verify=crc32c', '--verify_state_save=0'],
    ]);
    const { port } = new URL(uri);
    for (let n = 0; n < 20; n++) {
      const garbage = Buffer.from(Array.from({ length: 512 }, (_, index) => (index * 31 + n * 7) % 256));
      const client = runCommand('bash', ['-c', `cat > /dev/tcp/127.0.0.1/${port}`], {
        input: garbage.toString('latin1'),
      });
      await client;
    }
    await load;
    expect((await pair.group()).service).toBe('Serving');
  });
});
