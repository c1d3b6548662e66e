/**
 * Bad days of a group's log while its target is away: its disk full, read-only or gone, a pause, a link that flaps, and
 * both nodes killed in the middle of the merge. Hosts go on without an error, and both legs end up equal.
 */
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LegStatus } from '../../src/group/status.ts';
import { mustRun, until } from './command.ts';
import { SmallDisk, fileSystemObstacle } from './host-file-system.ts';
import { Pair, type GroupDeclaration } from './pair.ts';
import { RecordingHost, WriteRecord, seededRandom } from './recording-host.ts';

const mebibyte = 1024 ** 2;
const blocks = 8192;

let pair: Pair | undefined;
let disk: SmallDisk | undefined;
let record: WriteRecord;

beforeEach(() => {
  record = new WriteRecord(blocks);
});

afterEach(async () => {
  await pair?.stop();
  await disk?.remove();
  disk = undefined;
});

/** East's log is in `place`. */
async function startPair(place?: string): Promise<Pair> {
  // Small, so that its segments are: space is given back by whole ones.
  const log = { size: '128MiB', ...(place === undefined ? {} : { places: { east: place } }) };
  const group: GroupDeclaration = {
    name: 'g1',
    owner: 'east',
    volumes: [{ name: 'vol1', size: '32MiB' }],
    mirrors: [{ to: 'west', mode: 'sync' }],
    log,
    settings: { grace: '300ms', 'resync-share': 1 },
  };
  pair = await Pair.start({ cuttable: true, groups: [group] });
  return pair;
}

const startWriting = (at: Pair) =>
  RecordingHost.start(
    { port: at.nbdPort('east'), volume: 'vol1', blocks, depth: 16, random: seededRandom(7) },
    record,
  );

/** Writes that are answered from now on. */
const untilAnswered = (count: number) => {
  const wanted = record.acknowledgedCount + count;
  return until(`${count} more writes are answered`, 60_000, () => (record.acknowledgedCount >= wanted ? true : null));
};

const untilLeg = (at: Pair, what: string, is: (leg: LegStatus) => boolean) =>
  until(`west is ${what}`, 60_000, async () => {
    const leg = await at.leg('west');
    return is(leg) ? leg : null;
  });

const untilLogging = (at: Pair) => untilLeg(at, 'Logging', ({ replication }) => replication === 'Logging');

const untilLogEnded = (at: Pair) =>
  until('the log has ended', 60_000, async () => {
    const { log } = await at.group();
    return log !== null && ['ended', 'failed'].includes(log.state) ? log : null;
  });

/** With the link whole again, under load and after it. */
async function settle(at: Pair, host: RecordingHost): Promise<void> {
  at.restore();
  await untilLeg(at, 'good', ({ replication, disk }) => replication === 'Established' && disk === 'UpToDate');
  await untilAnswered(100);
  await host.stop();
  expect(host.errorCount).toBe(0);
  await at.untilEstablished();
  for (const node of ['east', 'west'] as const) expect(await record.faultsIn(at.imagePath(node))).toEqual([]);
  await at.compareLegs();
}

/** The next outage is merged again. */
async function assertLogsAgain(at: Pair): Promise<void> {
  const host = await startWriting(at);
  at.cut('closed');
  await untilLogging(at);
  await untilAnswered(1000);
  at.restore();
  await untilLeg(at, 'Merging', ({ replication }) => replication === 'Merging');
  await settle(at, host);
}

/** The log ends during the outage: hosts go on, it is said why, and change bits bring the target up. */
async function outageThatLosesTheLog(at: Pair, misfortune: () => Promise<void>): Promise<string> {
  const host = await startWriting(at);
  at.cut('closed');
  await untilLogging(at);
  await untilAnswered(1000);
  await misfortune();
  const { reason, nextStep } = await untilLogEnded(at);
  expect(nextStep).not.toBeNull();
  await untilAnswered(1000);
  await settle(at, host);
  return reason ?? '';
}

describe('TL-16, TL-20: the log is lost while the target is away', () => {
  test('its disk is full', async ({ skip }) => {
    skip(fileSystemObstacle !== null, fileSystemObstacle ?? '');
    disk = await SmallDisk.mount(64 * mebibyte);
    const at = await startPair(disk.folder);
    expect(await outageThatLosesTheLog(at, async () => {})).toMatch(/space/);
    await assertLogsAgain(at);
  });

  test('its disk has become read-only', async ({ skip }) => {
    skip(fileSystemObstacle !== null, fileSystemObstacle ?? '');
    const { folder } = (disk = await SmallDisk.mount(512 * mebibyte));
    const at = await startPair(disk.folder);
    const reason = await outageThatLosesTheLog(at, async () => {
      // As the kernel does to a file system whose device fails: also where files are open.
      await mustRun('mount', ['-o', 'remount,abort', folder]);
    });
    // Whichever comes first: a write that is refused, or the flush of one that was not.
    expect(reason).toMatch(/read-only|i\/o error/);
  });

  test('its folder is gone', async () => {
    const parent = await mkdtemp(join(tmpdir(), 'holdfast-log-'));
    try {
      const place = join(parent, 'log');
      const reason = await outageThatLosesTheLog(await startPair(place), () =>
        rename(place, join(parent, 'elsewhere')),
      );
      expect(reason).not.toBe('');
    } finally {
      await rm(parent, { recursive: true, force: true });
    }
  });
});

describe('TL-18: the log goes on', () => {
  test('both nodes killed in the middle of a merge go on with it', async () => {
    const at = await startPair();
    const host = await startWriting(at);
    at.cut('closed');
    await untilLogging(at);
    await untilAnswered(5000);
    at.restore(mebibyte);
    await until('the merge is cut short', 30_000, () => (at.isCut ? true : null));
    expect(await at.leg('west')).toMatchObject({ replication: 'Merging', disk: 'Outdated' });
    await Promise.all([at.kill('east'), at.kill('west')]);
    await host.ended;
    at.restore();
    await Promise.all([at.startNode('west'), at.startNode('east')]);
    const seen = new Set<string>();
    await until('west is good', 60_000, async () => {
      const leg = await at.leg('west').catch(() => null);
      if (leg !== null) seen.add(`${leg.replication} ${leg.disk}`);
      return leg?.replication === 'Established' && leg.disk === 'UpToDate' ? true : null;
    });
    expect([...seen].filter((state) => /Inconsistent/.test(state))).toEqual([]);
    await settle(at, await startWriting(at));
  });

  test('a link that flaps every second leaves the target an image of some moment all the time', async () => {
    const at = await startPair();
    const host = await startWriting(at);
    for (let round = 0; round < 8; round++) {
      at.cut(round % 2 === 0 ? 'closed' : 'silent');
      await delay(1000);
      expect((await at.leg('west')).disk).not.toBe('Inconsistent');
      at.restore();
      await delay(1000);
      expect((await at.leg('west')).disk).not.toBe('Inconsistent');
    }
    await settle(at, host);
  });

  test('a mirror paused while it is logging stays paused, and is merged when it is resumed', async () => {
    const at = await startPair();
    const host = await startWriting(at);
    at.cut('closed');
    await untilLogging(at);
    expect(await at.cli('east', 'mirror', 'pause', 'g1', '--to', 'west')).toMatchObject({ status: 0 });
    await untilAnswered(1000);
    at.restore();
    await untilAnswered(1000);
    await untilLeg(at, 'connected', ({ connection }) => connection !== 'Connecting');
    expect(await at.leg('west')).toMatchObject({ replication: 'Paused', disk: 'Outdated' });
    expect(await at.cli('east', 'mirror', 'resume', 'g1', '--to', 'west')).toMatchObject({ status: 0 });
    await untilLeg(at, 'Merging', ({ replication }) => replication === 'Merging');
    await settle(at, host);
  });
});
