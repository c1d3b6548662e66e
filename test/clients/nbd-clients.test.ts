/** Other people's NBD clients on a mirrored volume. */
import { randomFillSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mustRun, runCommand } from './command.ts';
import { Pair } from './pair.ts';

const mebibyte = 1024 ** 2;

describe('NBD clients on a pair', () => {
  let pair: Pair;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-clients-'));
    pair = await Pair.start({
      groups: [
        {
          name: 'g1',
          owner: 'east',
          volumes: [{ name: 'vol1', size: '1GiB' }],
          mirrors: [{ to: 'west', mode: 'sync' }],
        },
        {
          name: 'g2',
          owner: 'west',
          volumes: [{ name: 'vol2', size: '64MiB', 'block-size': 4096 }],
          mirrors: [{ to: 'east', mode: 'async' }],
        },
        { name: 'g3', owner: 'east', volumes: [{ name: 'alone', size: '64MiB' }] },
      ],
    });
  });

  afterAll(async () => {
    await pair?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  interface Export {
    'export-name': string;
    'export-size': number;
    [property: string]: unknown;
  }

  async function nbdinfo(...args: string[]): Promise<Export[]> {
    const { stdout } = await mustRun('nbdinfo', ['--json', ...args]);
    return (JSON.parse(stdout) as { exports: Export[] }).exports;
  }

  const qemuIo = (uri: string, ...commands: string[]) =>
    runCommand('qemu-io', ['-f', 'raw', uri, ...commands.flatMap((command) => ['-c', command])]);

  async function mustQemuIo(uri: string, ...commands: string[]): Promise<void> {
    const { stdout, stderr, status } = await qemuIo(uri, ...commands);
    expect.soft(stdout + stderr).not.toMatch(/fail|error/i);
    expect(status).toBe(0);
  }

  test('nbdinfo sees size, block sizes and everything the server offers', async () => {
    const [vol1] = await nbdinfo(pair.uri('east'));
    expect(vol1).toMatchObject({
      'export-size': 1024 * mebibyte,
      is_read_only: false,
      can_multi_conn: true,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_cache: true,
      can_df: true,
      contexts: ['base:allocation'],
      block_size_minimum: 512,
    });
    const [vol2] = await nbdinfo(pair.uri('west', 'vol2'));
    expect(vol2).toMatchObject({ 'export-size': 64 * mebibyte, block_size_minimum: 4096 });
  });

  test('the list names every volume of the node, those owned elsewhere too', async () => {
    // nbdinfo and qemu-nbd open all that is listed, and end at the first refusal: what they were told is in the log.
    const { stderr } = await runCommand('qemu-nbd', [
      ...['--list', '--bind=127.0.0.1', `--port=${pair.nbdPort('east')}`],
      ...['--trace', 'nbd_receive_list*'],
    ]);
    for (const name of ['alone', 'vol1', 'vol2']) expect(stderr).toContain(name);
  });

  test('an export owned by another node is refused with a sentence that names the owner', async () => {
    const refused = await runCommand('qemu-img', ['info', pair.uri('west')]);
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toContain('owned by east');
    const unknown = await runCommand('qemu-img', ['info', pair.uri('east', 'nothing')]);
    expect(unknown.status).not.toBe(0);
    expect(unknown.stderr).toContain('nothing');
  });

  test('TL-1: the target refuses host access while it is mirrored to', async () => {
    const { status, stdout } = await qemuIo(pair.uri('west'), 'write 0 4k');
    expect(status === 0 && /wrote/.test(stdout)).toBe(false);
  });

  test('the Unix socket serves the same volume', async () => {
    const [viaSocket] = await nbdinfo(`nbd+unix:///vol1?socket=${pair.nbdSocket('east')}`);
    expect(viaSocket?.['export-size']).toBe(1024 * mebibyte);
  });

  test('BY-8: nbdinfo --map tells data from holes, and a trim makes a hole of it again on both legs', async () => {
    interface Part {
      offset: number;
      length: number;
      type: number;
    }
    const map = async () =>
      (JSON.parse((await mustRun('nbdinfo', ['--map', '--json', pair.uri('east', 'vol1')])).stdout) as Part[]).filter(
        ({ type }) => type === 0,
      );
    const at = 512 * mebibyte;
    await mustQemuIo(pair.uri('east'), `write -P 0x11 ${at} 4M`, 'flush');
    expect(await map()).toContainEqual(expect.objectContaining({ offset: at, length: 4 * mebibyte }));
    await mustQemuIo(pair.uri('east'), `discard ${at} 4M`, `read -P 0 ${at} 4M`);
    expect((await map()).filter(({ offset }) => offset >= at && offset < at + 4 * mebibyte)).toEqual([]);
    await pair.untilEstablished();
    const { stdout } = await mustRun('qemu-img', ['map', '--output=json', '-U', '-f', 'raw', pair.imagePath('west')]);
    const there = (JSON.parse(stdout) as { start: number; length: number; data: boolean }[]).filter(
      ({ start, length, data }) => data && start < at + 4 * mebibyte && start + length > at,
    );
    expect(there).toEqual([]);
  });

  test('IM-2: what nbdcopy writes comes back the same and is on both legs', async () => {
    const original = join(folder, 'original');
    await writeFile(original, randomFillSync(Buffer.alloc(48 * mebibyte)));
    await mustRun('nbdcopy', [original, pair.uri('east')]);
    await mustRun('nbdcopy', ['--flush', original, pair.uri('east')]);
    await mustRun('nbdcopy', [pair.uri('east'), join(folder, 'copy')]);
    const copied = (await readFile(join(folder, 'copy'))).subarray(0, 48 * mebibyte);
    expect(copied.equals(await readFile(original))).toBe(true);
    await pair.compareLegs();
  });

  test('qemu-io: patterns, zeroes, FUA and parallel requests read back, and both legs are equal', async () => {
    await mustQemuIo(
      pair.uri('east'),
      'write -P 0x5a 1M 3M',
      'read -P 0x5a 1M 3M',
      'write -f -P 0x6b 512 1024',
      'read -P 0x6b 512 1024',
      'write -z 2M 1M',
      'write -z -u 3M 512k',
      'read -P 0 2M 1M',
      'read -P 0x5a 1M 1M',
      'aio_write -P 1 16M 64k',
      'aio_write -P 2 17M 64k',
      'aio_flush',
      'read -P 1 16M 64k',
      'read -P 2 17M 64k',
      'flush',
    );
    await mustQemuIo(pair.uri('west', 'vol2'), 'write -P 3 0 64k', 'flush', 'read -P 3 0 64k');
    await mustQemuIo(pair.uri('east', 'alone'), 'write -P 4 0 64k', 'flush', 'read -P 4 0 64k');
    await pair.untilEstablished();
    await Promise.all([pair.compareLegs('vol1'), pair.compareLegs('vol2')]);
  });

  test('a request past the end is an error, and the session goes on', async () => {
    const { stdout, stderr } = await qemuIo(pair.uri('east'), 'read 1G 4k', 'write -P 9 0 4k', 'read -P 9 0 4k');
    expect(stdout + stderr).toMatch(/wrote 4096\/4096/);
    expect(stdout).toMatch(/read 4096\/4096 bytes at offset 0/);
  });

  test('qemu-img converts into the volume, and compares equal with the source', async () => {
    const source = join(folder, 'source.qcow2');
    await mustRun('qemu-img', ['create', '-q', '-f', 'qcow2', source, '1G']);
    await mustRun('qemu-io', ['-f', 'qcow2', source, '-c', 'write -P 7 5M 9M', '-c', 'write -P 8 900M 3M']);
    await mustRun('qemu-img', ['convert', '-n', '-f', 'qcow2', '-O', 'raw', source, pair.uri('east')]);
    await mustRun('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', source, pair.uri('east')]);
    await pair.untilEstablished();
    await pair.compareLegs();
  });

  test('several connections of one client share one volume (CAN_MULTI_CONN)', async () => {
    const original = join(folder, 'many');
    await writeFile(original, randomFillSync(Buffer.alloc(16 * mebibyte)));
    await mustRun('nbdcopy', ['--connections=4', '--requests=64', '--flush', original, pair.uri('east')]);
    await mustRun('qemu-img', [
      'compare',
      '-f',
      'raw',
      '-F',
      'raw',
      '-U',
      pair.imagePath('east'),
      pair.imagePath('west'),
    ]);
    const image = (await readFile(pair.imagePath('west'))).subarray(0, 16 * mebibyte);
    expect(image.equals(await readFile(original))).toBe(true);
  });
});
