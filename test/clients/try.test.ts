/** `npm start`, as in the first two minutes with the product. */
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { ClusterStatus } from '../../src/group/status.ts';
import { acceptsConnections, endCommand, mustRun, startCommand, until } from './command.ts';

let folder: string;
const started: Started[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-try-'));
});

afterEach(async () => {
  for (const { child } of started.splice(0)) await endCommand(child, 'SIGTERM');
  await rm(folder, { recursive: true, force: true });
});

interface Started {
  readonly child: ChildProcess;
  readonly output: () => string;
}

function npmStart(portBase: number, ...options: string[]): Started {
  const where = ['--dir', join(folder, 'data'), '--port-base', String(portBase), '--no-live'];
  const child = startCommand(process.execPath, ['scripts/start.mjs', ...where, ...options]);
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const one = { child, output: () => output };
  started.push(one);
  return one;
}

const statusAt = async (port: number): Promise<ClusterStatus | null> => {
  try {
    return (await (await fetch(`http://127.0.0.1:${port}/v1/status`)).json()) as ClusterStatus;
  } catch {
    return null;
  }
};

const established = (portBase: number, what: Started) =>
  until('both nodes Established', 60_000, async () => {
    if (what.child.exitCode !== null) throw new Error(`it ended: ${what.output()}`);
    const status = await statusAt(portBase + 2);
    const legs = status?.groups.flatMap((group) => group.legs) ?? [];
    const settled =
      legs.length === 2 && legs.every((leg) => leg.replication === null || leg.replication === 'Established');
    return settled && legs.every((leg) => leg.disk === 'UpToDate') ? status : null;
  });

/** Eight ports in a row, replication's among them, nobody on them now. */
async function freePortBase(): Promise<number> {
  return until('eight free ports in a row', 10_000, async () => {
    const base = 20_000 + Math.floor(Math.random() * 10_000);
    const taken = await Promise.all(Array.from({ length: 8 }, (_, index) => acceptsConnections(base + index)));
    return taken.includes(true) ? null : base;
  });
}

test('the first start makes a mirrored pair and tells what to try; the second carries on with the same data', async () => {
  const base = await freePortBase();
  const first = npmStart(base);
  const status = await established(base, first);
  expect(status).toMatchObject({
    schema: 1,
    groups: [{ name: 'g1', owner: 'east', volumes: [{ name: 'vol1', sizeBytes: 1024 ** 3 }] }],
  });
  await until('it tells what to try', 10_000, () => (/give-back/.test(first.output()) ? true : null));
  for (const words of [`${base}`, 'kill', 'status']) expect(first.output()).toContain(words);
  const uri = `nbd://127.0.0.1:${base}/vol1`;
  await mustRun('qemu-io', ['-f', 'raw', uri, '-c', 'write -P 0x77 1M 1M']);

  await endCommand(first.child, 'SIGTERM');
  expect(first.child.exitCode).toBe(0);
  expect(await Promise.all([0, 1, 2, 3].map((offset) => acceptsConnections(base + offset)))).not.toContain(true);

  const second = npmStart(base);
  const again = await established(base, second);
  expect(again.groups[0]?.volumes[0]?.wwid).toBe(status.groups[0]?.volumes[0]?.wwid);
  await mustRun('qemu-io', ['-f', 'raw', uri, '-c', 'read -P 0x77 1M 1M']);
});

test('a node that is killed stays dead until started again by --only, and Ctrl-C stops what is left', async () => {
  const base = await freePortBase();
  const both = npmStart(base);
  const pid = (await established(base, both)).nodes.find(({ name }) => name === 'east')?.pid;
  expect(pid).toBeTypeOf('number');
  // Killed before it was ready, a node would end the whole start.
  await until('it is ready', 10_000, () => (/What to try next/.test(both.output()) ? true : null));
  process.kill(Number(pid), 'SIGKILL');
  await until('it tells how to start east again', 20_000, () =>
    /east was killed by SIGKILL\..*\n.*--only east/.test(both.output()) ? true : null,
  );
  expect(await acceptsConnections(base)).toBe(false);

  const east = npmStart(base, '--only', 'east');
  await established(base, east);
  await endCommand(east.child, 'SIGINT');
  expect(await acceptsConnections(base + 2)).toBe(false);
  expect(await acceptsConnections(base + 3)).toBe(true);
  await endCommand(both.child, 'SIGINT');
  expect(await acceptsConnections(base + 3)).toBe(false);
});
