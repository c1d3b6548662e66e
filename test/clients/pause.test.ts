/**
 * A node that is stopped by SIGSTOP and goes on later: to everybody else it was dead meanwhile, to itself no time has
 * passed (R15, R16).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { mustRun } from './command.ts';
import { Pair, oneSyncGroup } from './pair.ts';
import { RecordingHost, WriteRecord, seededRandom } from './recording-host.ts';

const blocks = 4096;

describe('an owner that is stopped and goes on', () => {
  let pair: Pair;

  afterEach(() => pair?.stop());

  const hostAt = (node: 'east' | 'west', record: WriteRecord, depth = 16) =>
    RecordingHost.start({ port: pair.nbdPort(node), volume: 'vol1', blocks, depth, random: seededRandom(7) }, record);

  test('R15: stopped for longer than its lease, with another taking over meanwhile, it answers nothing any more', async () => {
    pair = await Pair.start();
    // Reads of a marked block run all the time beside the writes of the recording host.
    await mustRun('qemu-io', ['-f', 'raw', pair.uri('east'), '-c', 'write -P 1 512M 64k', '-c', 'flush']);
    const record = new WriteRecord(blocks);
    const old = await hostAt('east', record);
    await delay(1000);
    const east = pair.pid('east');
    process.kill(east, 'SIGSTOP');
    // What was on its way to the host is taken from the socket still.
    await delay(500);
    const stoppedAt = record.acknowledgedCount;
    const readsAfter = ReadingHost.start(pair.nbdPort('east'));
    const taken = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west', '--json');
    expect(taken).toMatchObject({ status: 0 });
    expect(JSON.parse(taken.stdout)).toMatchObject({ owner: 'west', loss: { writes: 0, bytes: 0 } });
    await mustRun('qemu-io', ['-f', 'raw', pair.uri('west'), '-c', 'write -P 2 512M 64k', '-c', 'flush']);
    const newRecord = new WriteRecord(blocks);
    for (const [block, number] of record.acknowledged.entries()) newRecord.acknowledged[block] = number;
    expect(record.acknowledgedCount).toBe(stoppedAt);
    await delay(3000);
    process.kill(east, 'SIGCONT');
    await old.ended;
    expect(record.acknowledgedCount).toBe(stoppedAt);
    expect(await readsAfter).toEqual([]);
    await pair.untilEstablished();
    expect(await pair.group()).toMatchObject({ owner: 'west' });
    expect(await record.faultsIn(pair.imagePath('west'))).toEqual([]);
    await pair.compareLegs();
    await mustRun('qemu-io', ['-f', 'raw', pair.uri('west'), '-c', 'read -P 2 512M 64k']);
  });
});
