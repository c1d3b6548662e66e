/**
 * iSCSI beside Debian's tgtd with a file behind its LUN: `qemu-img bench` with the same arguments, in alternating rounds, in
 * one run. And what sessions cost that do nothing.
 */
import type { ChildProcess } from 'node:child_process';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { endCommand, freePorts, mustRun, runCommand, startCommand, until } from '../test/clients/command.ts';
import { Pair, type GroupDeclaration } from '../test/clients/pair.ts';
import type { Figure } from './table.ts';

interface IscsiLoad {
  readonly title: string;
  readonly blockBytes: number;
  readonly depth: number;
  readonly write: boolean;
  readonly group: 'plain' | 'sync';
  /** Ours over tgtd's, at least. */
  readonly target: number;
}

const kibibyte = 1024;
const volumeBytes = 256 * kibibyte ** 2;
const loads: readonly IscsiLoad[] = [
  { title: '4 KiB write, depth 32', blockBytes: 4 * kibibyte, depth: 32, write: true, group: 'plain', target: 1.5 },
  { title: '4 KiB read, depth 32', blockBytes: 4 * kibibyte, depth: 32, write: false, group: 'plain', target: 1.5 },
  { title: '4 KiB write, depth 1', blockBytes: 4 * kibibyte, depth: 1, write: true, group: 'plain', target: 1 },
  { title: '4 KiB read, depth 1', blockBytes: 4 * kibibyte, depth: 1, write: false, group: 'plain', target: 1 },
  { title: '256 KiB write, depth 8', blockBytes: 256 * kibibyte, depth: 8, write: true, group: 'plain', target: 1 },
  {
    title: 'mirrored 4 KiB write, depth 32',
    blockBytes: 4 * kibibyte,
    depth: 32,
    write: true,
    group: 'sync',
    target: 1,
  },
];
const groups: readonly GroupDeclaration[] = [
  { name: 'plain', owner: 'east', volumes: [{ name: 'plain', size: '256MiB' }] },
  {
    name: 'sync',
    owner: 'east',
    volumes: [{ name: 'sync', size: '256MiB' }],
    mirrors: [{ to: 'west', mode: 'sync' }],
  },
];

export async function measureIscsi(folder: string, rounds: number, seconds: number): Promise<Figure[]> {
  if ((await runCommand('tgtd', ['--version'])).status !== 0) {
    return [
      { title: 'iSCSI', target: '', value: 'not measured', note: 'tgtd is not installed (Debian’s package tgt)' },
    ];
  }
  const pair = await Pair.start({ groups, portals: 1, parent: folder });
  let tgtd: Tgtd | null = null;
  try {
    tgtd = await Tgtd.start(folder);
    for (const uri of [tgtd.uri, ...groups.map(({ name }) => pair.iscsiUri('east', { group: name }))])
      await fill(uri);
    const figures: Figure[] = [];
    for (const load of loads) {
      const ours = pair.iscsiUri('east', { group: load.group });
      const ratios: number[] = [];
      const rates: { ours: number; theirs: number }[] = [];
      // So many requests that the slower one takes about `seconds`.
      const probe = await rate(tgtd.uri, load, 2000);
      const count = Math.max(2000, Math.round(probe * seconds));
      for (let round = 0; round < rounds; round++) {
        const order = round % 2 === 0 ? [ours, tgtd.uri] : [tgtd.uri, ours];
        const measured = new Map<string, number>();
        for (const uri of order) measured.set(uri, await rate(uri, load, count));
        const pairOf = { ours: measured.get(ours) ?? 0, theirs: measured.get(tgtd.uri) ?? 1 };
        rates.push(pairOf);
        ratios.push(pairOf.ours / pairOf.theirs);
      }
      ratios.sort((a, b) => a - b);
      const middle = ratios[Math.floor(ratios.length / 2)] ?? 0;
      const note = rates.map(({ ours: a, theirs: b }) => `${Math.round(a)} : ${Math.round(b)}`).join(', ');
      figures.push({
        title: `iSCSI ${load.title} : tgtd`,
        target: `≥ ${load.target.toFixed(1)} ×`,
        value: `${middle.toFixed(2)} ×`,
        note: `requests a second, by round: ${note}`,
      });
    }
    return figures;
  } finally {
    await tgtd?.stop();
    await pair.stop();
  }
}

/** Requests a second. */
async function rate(uri: string, load: IscsiLoad, count: number): Promise<number> {
  const begunMs = performance.now();
  // A step that is no neighbour: neither side may merge what a host would not have written in order.
  await request(uri, load, count, ['-S', String(load.blockBytes * 17)]);
  return count / ((performance.now() - begunMs) / 1000);
}

/** By 4 KiB writes, on both sides alike: see quality.md on what large ones do to the file. */
function fill(uri: string): Promise<void> {
  const blockBytes = 4 * kibibyte;
  return request(uri, { blockBytes, depth: 32, write: true }, volumeBytes / blockBytes);
}

async function request(
  uri: string,
  { blockBytes, depth, write }: Pick<IscsiLoad, 'blockBytes' | 'depth' | 'write'>,
  count: number,
  more: readonly string[] = [],
): Promise<void> {
  const size = ['-c', String(count), '-d', String(depth), '-s', String(blockBytes)];
  const how = write ? ['-w', '--pattern=90'] : [];
  await mustRun('qemu-img', ['bench', '-q', '-f', 'raw', '-t', 'none', ...size, ...how, ...more, uri], {
    timeoutMs: 300_000,
  });
}

class Tgtd {
  readonly uri: string;
  readonly #child: ChildProcess;

  private constructor(uri: string, child: ChildProcess) {
    this.uri = uri;
    this.#child = child;
  }

  static async start(folder: string): Promise<Tgtd> {
    const [port = 0] = await freePorts(1);
    // Of its management, 0…32767.
    const control = 1 + (process.pid % 30_000);
    const image = join(folder, 'tgtd.img');
    await writeFile(image, '');
    await truncate(image, volumeBytes);
    const name = 'iqn.2026-11.org.holdfast:bench';
    const child = startCommand('tgtd', ['-f', '-C', String(control), '--iscsi', `portal=127.0.0.1:${port}`]);
    const ask = (...args: string[]): ReturnType<typeof runCommand> =>
      runCommand('tgtadm', ['-C', String(control), '--lld', 'iscsi', ...args]);
    try {
      await until('tgtd takes orders', 10_000, async () =>
        (await ask('--op', 'new', '--mode', 'target', '--tid', '1', '-T', name)).status === 0 ? true : null,
      );
      for (const args of [
        ['--op', 'new', '--mode', 'logicalunit', '--tid', '1', '--lun', '1', '-b', image],
        ['--op', 'bind', '--mode', 'target', '--tid', '1', '-I', 'ALL'],
      ]) {
        const done = await ask(...args);
        if (done.status !== 0) throw new Error(`tgtadm ${args.join(' ')}: ${done.stderr}`);
      }
    } catch (error) {
      await endCommand(child, 'SIGKILL');
      throw error;
    }
    return new Tgtd(`iscsi://127.0.0.1:${port}/${name}/1`, child);
  }

  stop(): Promise<void> {
    return endCommand(this.#child, 'SIGKILL');
  }
}
