/**
 * A node that is stopped by SIGSTOP and goes on later: to everybody else it was dead meanwhile, to itself no time has
 * passed (R15, R16).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { mustRun, until } from './command.ts';
import { Pair } from './pair.ts';
import { ReadingHost, RecordingHost, WriteRecord, seededRandom } from './recording-host.ts';

const blocks = 4096;
/** Beyond what the recording host writes. */
const readBlock = 131_072;
const readAt = '512M';
/** Shorter than what is left of a lease right before its renewal. */
const shortPauseMs = 1000;

describe('an owner that is stopped and goes on', () => {
  let pair: Pair;

  afterEach(() => pair?.stop());

  const qemuIo = (node: 'east' | 'west', ...commands: string[]) =>
    mustRun('qemu-io', ['-f', 'raw', pair.uri(node), ...commands.flatMap((command) => ['-c', command])]);
  const writing = (record: WriteRecord) =>
    RecordingHost.start(
      { port: pair.nbdPort('east'), volume: 'vol1', blocks, depth: 16, random: seededRandom(7) },
      record,
    );
  const reading = () => ReadingHost.start({ port: pair.nbdPort('east'), volume: 'vol1', block: readBlock, depth: 4 });

  test('R15, R16: stopped until another owns the group, it answers no read, and no write the other lacks', async () => {
    pair = await Pair.start();
    await qemuIo('east', `write -P 1 ${readAt} 4k`, 'flush');
    const record = new WriteRecord(blocks);
    const writer = await writing(record);
    const reader = await reading();
    await delay(1000);
    const east = pair.pid('east');
    process.kill(east, 'SIGSTOP');
    const stoppedMs = performance.now();
    // What it had sent arrives still.
    await delay(300);
    const answered = reader.answers.length;
    expect(answered).toBeGreaterThan(0);
    const taken = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west', '--json');
    expect(taken).toMatchObject({ status: 0 });
    expect(JSON.parse(taken.stdout)).toMatchObject({ owner: 'west', loss: { writes: 0, bytes: 0 } });
    await qemuIo('west', `write -P 2 ${readAt} 4k`, 'flush');
    await delay(Math.max(0, 10_000 - (performance.now() - stoppedMs)));
    process.kill(east, 'SIGCONT');
    await Promise.all([writer.ended, reader.ended]);
    // Its reads were in flight all the time: they would have found the old content.
    expect(reader.answers.length).toBe(answered);
    await pair.untilEstablished();
    expect(await pair.group()).toMatchObject({ owner: 'west' });
    // An acknowledgement that waited in a socket for the owner to go on is of a write that both legs had (R16 a).
    expect(await record.faultsIn(pair.imagePath('west'))).toEqual([]);
    await pair.compareLegs();
    await qemuIo('west', `read -P 2 ${readAt} 4k`);
  });

  test('R11: stopped until its lease has lapsed, with nobody taking over, it goes on under a new generation', async () => {
    pair = await Pair.start();
    const { generation } = await pair.group();
    const record = new WriteRecord(blocks);
    const writer = await writing(record);
    await delay(500);
    const east = pair.pid('east');
    process.kill(east, 'SIGSTOP');
    await delay(5000);
    process.kill(east, 'SIGCONT');
    const before = record.acknowledgedCount;
    await until('the host goes on', 20_000, async () => (record.acknowledgedCount > before + 100 ? true : null));
    expect((await pair.group()).generation).toBeGreaterThan(generation);
    await writer.stop();
    await pair.untilEstablished();
    expect(writer.errorCount).toBe(0);
    expect(await record.faultsIn(pair.imagePath('east'))).toEqual([]);
    await pair.compareLegs();
  });

  test('stopped for less than its lease nothing happens but a pause', async () => {
    pair = await Pair.start();
    const { generation } = await pair.group();
    const record = new WriteRecord(blocks);
    const writer = await writing(record);
    const reader = await reading();
    await delay(500);
    for (let pause = 0; pause < 3; pause++) {
      process.kill(pair.pid('east'), 'SIGSTOP');
      await delay(shortPauseMs);
      process.kill(pair.pid('east'), 'SIGCONT');
      await delay(2000);
    }
    reader.stop();
    await writer.stop();
    expect(await pair.group()).toMatchObject({ owner: 'east', generation });
    expect(writer.errorCount).toBe(0);
    expect(writer.longestPauseMs).toBeLessThan(shortPauseMs + 1500);
    expect(await record.faultsIn(pair.imagePath('east'))).toEqual([]);
    await pair.untilEstablished();
    await pair.compareLegs();
  });
});
