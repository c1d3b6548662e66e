/**
 * The other site is away while three volumes of one group are written to as fast as it goes. Hosts see no error, the
 * target is told apart from a good copy, and afterwards both sites hold the same. `OUTAGE_SECONDS` sets how long it is away.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { endCommand, mustRun, startCommand, until } from './command.ts';
import type { CutKind } from './network-path.ts';
import { Pair, nodeNames, type GroupDeclaration } from './pair.ts';

const outageSeconds = Number(process.env['OUTAGE_SECONDS'] ?? 10);
const timeLimitMs = 240_000 + outageSeconds * 10_000;
/** Of one size each, so that an image can be verified later without knowing in which order it was written. */
const volumes = [
  { name: 'small', blockSize: '4k', depth: 16 },
  { name: 'medium', blockSize: '16k', depth: 8 },
  { name: 'large', blockSize: '128k', depth: 4 },
] as const;
const size = '64M';
const verified = ['--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', `--size=${size}`];

let pair: Pair | undefined;

afterEach(() => pair?.stop());

const startPair = (more: Partial<GroupDeclaration>): Promise<Pair> =>
  Pair.start({
    cuttable: true,
    groups: [
      {
        name: 'g1',
        owner: 'east',
        volumes: volumes.map(({ name }) => ({ name, size: '64MiB' })),
        mirrors: [{ to: 'west', mode: 'sync' }],
        ...more,
      },
    ],
  });

/** One job for each volume, all in one process. */
const jobs = (options: (volume: (typeof volumes)[number]) => readonly string[]): string[] =>
  volumes.flatMap((volume) => [
    ...[`--name=${volume.name}`, '--thread=1', `--bs=${volume.blockSize}`, `--iodepth=${volume.depth}`],
    ...verified,
    ...options(volume),
  ]);

const overNbd = (uri: string) => ['--ioengine=nbd', `--uri=${uri}`];

/** Every block gets a checksum once, so that none is without one later. */
const fillVolumes = (at: Pair) =>
  mustRun(
    'fio',
    jobs(({ name }) => [...overNbd(at.uri('east', name)), '--rw=write', '--do_verify=0']),
  );

/** Writes at random and reads some of it back, until it is ended; `end` rejects unless every request succeeded. */
function startLoad(at: Pair, pace: readonly string[]) {
  const child = startCommand('fio', [
    '--output-format=json',
    ...jobs(({ name }) => [
      ...overNbd(at.uri('east', name)),
      ...['--rw=randwrite', '--verify_backlog=64', '--verify_backlog_batch=16'],
      ...['--time_based=1', '--runtime=1d', '--fsync=128', ...pace],
    ]),
  ]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  }
  return {
    assertGoesOn: (): void => expect(child.exitCode, output).toBeNull(),
    end: async (): Promise<void> => {
      await endCommand(child, 'SIGINT');
      const report = JSON.parse(output.slice(output.indexOf('{\n'))) as FioReport;
      for (const job of report.jobs) {
        expect(job, output).toMatchObject({ error: 0 });
        expect(job.write.total_ios).toBeGreaterThan(0);
        expect(job.read.total_ios).toBeGreaterThan(0);
      }
    },
  };
}

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly write: { readonly total_ios: number };
    readonly read: { readonly total_ios: number };
  }[];
}

/** Notes the states in which its owner shows west's copy, each once, in the order of their first sight. */
function watch(at: Pair) {
  const seen = new Set<string>();
  let ended = false;
  const watching = (async () => {
    while (!ended) {
      const leg = await at.leg('west').catch(() => null);
      if (leg !== null) seen.add(`${leg.replication} ${leg.disk}`);
      await delay(20);
    }
  })();
  return {
    end: async (): Promise<string[]> => {
      ended = true;
      await watching;
      return [...seen];
    },
  };
}

/** Both nodes end cleanly; then their images are equal, and every block in them is one that fio wrote there. */
async function compareImages(at: Pair): Promise<void> {
  expect(await Promise.all(nodeNames.map((node) => at.endNode(node)))).toEqual([0, 0]);
  for (const { name } of volumes)
    await mustRun(
      'cmp',
      nodeNames.map((node) => at.imagePath(node, name)),
    );
  await mustRun(
    'fio',
    jobs(({ name }) => ['--ioengine=psync', `--filename=${at.imagePath('west', name)}`, '--rw=read']),
  );
}

/** Cut and restored under load, which goes on until the target is good again; returns the states seen meanwhile. */
async function outage(at: Pair, kind: CutKind, pace: readonly string[] = []): Promise<string[]> {
  await fillVolumes(at);
  const load = startLoad(at, pace);
  await delay(1000);
  const watching = watch(at);
  at.cut(kind);
  await delay(outageSeconds * 1000);
  at.restore();
  await until('west is Established under load', timeLimitMs / 2, async () => {
    load.assertGoesOn();
    const { replication, disk } = await at.leg('west');
    return replication === 'Established' && disk === 'UpToDate' ? true : null;
  });
  await delay(1000);
  await load.end();
  await at.untilEstablished();
  return watching.end();
}

describe('three volumes of one group under load, their other site away', () => {
  test.each<CutKind>(['silent', 'closed'])(
    'TL-9, TL-11, TL-13: a %s cut is logged and merged; the target is an image of some moment throughout',
    async (kind) => {
      pair = await startPair({ log: { size: '32GiB' }, settings: { grace: '1s' } });
      const seen = await outage(pair, kind);
      expect(seen).toContainEqual(expect.stringMatching(/^Logging /));
      expect(seen).toContainEqual(expect.stringMatching(/^Merging /));
      expect(seen.filter((state) => /Inconsistent|Sync/.test(state))).toEqual([]);
      await compareImages(pair);
    },
    timeLimitMs,
  );

  test(
    'TL-16: without a log changes are remembered, the target says Inconsistent until it has them',
    async () => {
      pair = await startPair({ settings: { grace: '1s', 'resync-share': 1 } });
      // An unordered copy goes slowly beside hosts that write as fast as they can.
      const seen = await outage(pair, 'silent', ['--rate=4m']);
      expect(seen).toContain('SyncTarget Inconsistent');
      expect(seen.filter((state) => /^SyncTarget (?!Inconsistent)/.test(state))).toEqual([]);
      await compareImages(pair);
    },
    timeLimitMs,
  );
});
