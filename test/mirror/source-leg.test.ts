/** The owner's end of a mirror against a real target. */
import { describe, expect, test } from 'vitest';
import { decodeRecords } from '../../src/link/messages/records.ts';
import { MessageType } from '../../src/link/messages/types.ts';
import { childOf } from '../../src/stream/position.ts';
import type { StreamRecord } from '../../src/stream/record.ts';
import { MiB } from '../volume/legs.ts';
import { firstLineage, Pair, sizeBytes } from './pair.ts';

/** Every record that reaches the target from now on. */
function tapped(pair: Pair): StreamRecord[] {
  const records: StreamRecord[] = [];
  pair.tap = (_from, frame) => {
    if (frame.type !== MessageType.records) return;
    const decoded = decodeRecords(frame);
    if (decoded.ok) records.push(...decoded.value.records);
  };
  return records;
}

const kinds = (records: readonly StreamRecord[]): string[] =>
  records.map(({ kind, offset, length }) => `${kind} ${offset / MiB}+${length / MiB}`);

describe('a source leg', () => {
  test('TL-1: a first binding copies what there is, while hosts write on', async () => {
    const pair = await Pair.make();
    for (const block of [0, 1, 2]) await pair.settle(pair.write(block * MiB, block + 1, 4096));
    const records = tapped(pair);
    pair.connect();
    const writes: Promise<unknown>[] = [];
    for (let count = 0; count < 40; count++) {
      writes.push(pair.write((count % 5) * 512 * 1024, 100 + count));
      await pair.world.run(3);
    }
    await pair.settle(Promise.all(writes));
    await pair.until(() => pair.source.complete);
    expect(pair.difference()).toBeNull();
    expect(pair.source.outOfSyncBytes).toBe(0);
    const copied = records.filter(({ kind }) => kind === 'copy').reduce((sum, { length }) => sum + length, 0);
    expect(copied).toBeGreaterThanOrEqual(3 * 4096);
    expect(copied).toBeLessThan(sizeBytes / 2);
    // Holes are none any more where hosts may have written since, but they are not sent as data either.
    expect(records.every(({ length }) => length <= 256 * 1024)).toBe(true);
  });

  test('TL-1, R4: a copy to a leg that was created empty skips holes; to any other it sends them as such', async () => {
    for (const blank of [true, false]) {
      const pair = await Pair.make();
      await pair.settle(pair.write(MiB, 1, 4096));
      if (!blank) await pair.settle(pair.west.leg.see(1, 'a'));
      if (!blank) await pair.restartTarget('crash');
      const records = tapped(pair);
      pair.connect();
      await pair.until(() => pair.source.complete);
      expect(kinds(records)).toContain(`copy 1+${64 / 1024}`);
      expect(records.some(({ kind, hole }) => kind === 'copyZero' && hole)).toBe(!blank);
      expect(pair.difference()).toBeNull();
    }
  });

  test('R2: after a reconnect what was not applied is sent again, once, in order', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    ends.east.close('cut');
    const writes = [1, 2, 3].map((fill) => pair.write(0, fill));
    await pair.world.run(50);
    const records = tapped(pair);
    pair.connect();
    await pair.settle(Promise.all(writes));
    expect(records.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(pair.difference()).toBeNull();
  });

  test('R10: while it is away every change sets its bit before the host hears; a resync sends those alone', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    await pair.settle(pair.write(0, 1));
    ends.east.close('cut');
    await pair.world.run(10);
    pair.joined('behind');
    await pair.settle(pair.write(MiB, 2));
    expect(pair.source.bits.get(0)?.overlaps(MiB, 512)).toBe(true);
    expect(pair.source.outOfSyncBytes).toBe(64 * 1024);
    const records = tapped(pair);
    pair.connect();
    await pair.until(() => pair.source.complete);
    expect(kinds(records)).toEqual([`copy 1+${64 / 1024}`]);
    expect(pair.difference()).toBeNull();
  });

  test('R8: what was in flight when it was lost is in its bits too', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    ends.west.heldBack = [];
    const write = pair.write(2 * MiB, 1);
    await pair.world.run(20);
    ends.east.close('cut');
    await pair.world.run(10);
    pair.joined('behind');
    expect(await pair.settle(write)).toBeNull();
    expect(pair.source.bits.get(0)?.overlaps(2 * MiB, 512)).toBe(true);
  });

  test('R5, R8: a copy interrupted before it was durable is copied again; what was durable is not', async () => {
    const pair = await Pair.make();
    for (let block = 0; block < 8; block++) await pair.settle(pair.write(block * 512 * 1024, 1 + block, 256 * 1024));
    pair.disk('west').latencyMsMax.write = 300;
    const ends = pair.connect();
    await pair.until(() => (pair.source.copier?.doneBytes ?? 0) > 600 * 1024);
    expect(pair.source.outOfSyncBytes).toBeLessThan(sizeBytes);
    ends.east.close('cut');
    await pair.world.run(1000);
    // Nothing was made durable: every bit of what holds data is still set.
    for (let block = 0; block < 8; block++) {
      expect(pair.source.bits.get(0)?.overlaps(block * 512 * 1024, 256 * 1024)).toBe(true);
    }
    await pair.restartTarget('powerLoss');
    pair.connect();
    await pair.until(() => pair.source.complete);
    expect(pair.difference()).toBeNull();
  });

  test('R8: a resync goes on from where it was when interrupted after a settlement', async () => {
    const pair = await Pair.make();
    for (let block = 0; block < 16; block++) await pair.settle(pair.write(block * 256 * 1024, 1 + block, 128 * 1024));
    pair.disk('west').latencyMsMax.write = 4000;
    pair.connect();
    await pair.until(() => pair.source.copier !== null);
    for (let second = 0; second < 60 && pair.source.bits.get(0)?.overlaps(0, 128 * 1024) === true; second++) {
      await pair.ticks(1);
    }
    expect(pair.source.bits.get(0)?.overlaps(0, 128 * 1024)).toBe(false);
    expect(pair.source.copier).not.toBeNull();
    await pair.restartTarget('crash');
    pair.disk('west').latencyMsMax.write = 0.4;
    const records = tapped(pair);
    pair.connect();
    await pair.until(() => pair.source.complete);
    expect(records.some(({ kind, offset }) => kind === 'copy' && offset === 0)).toBe(false);
    expect(pair.difference()).toBeNull();
  });

  test('R6, R9: a target that lost its page cache gets its hot regions again', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    for (let block = 0; block < 4; block++) await pair.settle(pair.write(block * MiB, 1 + block));
    ends.east.close('cut');
    await pair.restartTarget('powerLoss');
    pair.joined('behind');
    pair.connect();
    await pair.until(() => pair.source.complete);
    expect(pair.difference()).toBeNull();
  });

  test('R6: a target that lost its page cache while what it lacks is in memory is sent that, and no copy', async () => {
    const pair = await Pair.make();
    await pair.sync();
    pair.disk('west').hang();
    const writes = [0, 1, 2].map((block) => pair.write(block * MiB, 9));
    await pair.world.run(20);
    await pair.restartTarget('powerLoss');
    pair.disk('west').unhang();
    const records = tapped(pair);
    pair.connect();
    await pair.settle(Promise.all(writes));
    expect(records.map(({ kind }) => kind)).toEqual(['write', 'write', 'write']);
    expect(pair.difference()).toBeNull();
    expect(pair.west.leg.state.condition).toBe('consistent');
  });

  test('R13: a leg in sync that would have to be copied to has failed first, and is not copied to', async () => {
    const pair = await Pair.make();
    await pair.sync();
    await pair.settle(pair.write(0, 1));
    await pair.restartTarget('powerLoss');
    pair.connect();
    await pair.world.run(100);
    expect([pair.source.failed, pair.source.complete, pair.source.copier]).toEqual([true, false, null]);
    pair.joined('behind');
    await pair.until(() => pair.source.complete);
    expect(pair.difference()).toBeNull();
  });

  test('HG-4, R12: a new generation attaches anew and goes on where the old one was left', async () => {
    const pair = await Pair.make();
    await pair.sync();
    await pair.settle(pair.write(0, 1));
    const records = tapped(pair);
    await pair.newGeneration(childOf(firstLineage, pair.owner.last.seq, 2, 'b'));
    await pair.settle(pair.write(512, 2));
    expect(records.map(({ generation, seq, kind }) => `${generation}:${seq} ${kind}`)).toEqual(['2:1 write']);
    expect(pair.west.leg.state.lineage.generation).toBe(2);
    expect(pair.difference()).toBeNull();
  });

  test('R12: a target that has seen a newer generation ends the owner', async () => {
    const pair = await Pair.make();
    await pair.settle(pair.west.leg.see(7, 'g'));
    pair.connect();
    await pair.world.run(50);
    expect(pair.verdicts).toEqual([expect.stringContaining('generation 7')]);
    expect(pair.source.phase).toBe('refused');
  });

  test('R9: an owner whose leg went back in time is not the source of anything', async () => {
    const pair = await Pair.make();
    await pair.sync();
    await pair.settle(pair.write(0, 1));
    pair.west.leg.metadata.changePeer('east', { confirmed: { generation: 1, seq: 1000 } });
    pair.connect();
    await pair.world.run(50);
    expect(pair.verdicts).toEqual([expect.stringContaining('went back, says west')]);
    expect(pair.source.flowing).toBe(false);
  });

  test('R10: a target without space leaves; its extent is in its bits, and it is tried again', async () => {
    const pair = await Pair.make();
    await pair.sync();
    pair.disk('west').freeBytes = 0;
    const write = pair.write(0, 1);
    await pair.world.run(50);
    expect([pair.source.failed, pair.source.phase]).toEqual([true, 'refused']);
    expect(pair.source.bits.get(0)?.overlaps(0, 512)).toBe(true);
    pair.joined('behind');
    expect(await pair.settle(write)).toBeNull();
    pair.disk('west').freeBytes = Infinity;
    await pair.until(() => pair.source.complete, 20_000);
    expect(pair.difference()).toBeNull();
  });

  test('a pause stops it; resuming sends what changed since', async () => {
    const pair = await Pair.make();
    await pair.sync();
    pair.source.pause(true);
    pair.joined('behind');
    await pair.settle(pair.write(0, 1));
    await pair.world.run(5000);
    expect([pair.source.phase, pair.source.outOfSyncBytes]).toEqual(['detached', 64 * 1024]);
    pair.source.pause(false);
    await pair.until(() => pair.source.complete);
    expect(pair.difference()).toBeNull();
  });

  test('IM-3: in mode receive the answer counts when the target holds the record, in mode sync when it is stored', async () => {
    for (const mode of ['receive', 'sync'] as const) {
      const pair = await Pair.make({ mode });
      await pair.sync();
      pair.disk('west').hang();
      let answered = false;
      void pair.write(0, 1).then(() => (answered = true));
      await pair.world.run(100);
      expect(answered).toBe(mode === 'receive');
      pair.disk('west').unhang();
      await pair.world.run(100);
      expect(answered).toBe(true);
    }
  });

  test('back-pressure: nothing more is sent while the connection has not taken what it has', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    const records = tapped(pair);
    ends.east.unsentBytes = 64 * MiB;
    const write = pair.write(0, 1);
    await pair.world.run(50);
    expect(records).toEqual([]);
    ends.east.unsentBytes = 0;
    pair.east.process.call(() => pair.source.send());
    await pair.settle(write);
    expect(records.map(({ seq }) => seq)).toEqual([1]);
  });

  test('R3, R4: flushes, holes and zeroes reach the other copy as its owner decided them', async () => {
    const pair = await Pair.make();
    await pair.sync();
    await pair.settle(pair.write(0, 1, 8192));
    const records = tapped(pair);
    await pair.settle(pair.zero(0, 4096));
    await pair.settle(pair.flush());
    expect(records.map(({ kind, hole }) => `${kind} ${hole}`)).toEqual(['zero true', 'flush false']);
    expect(pair.disk('west').durable[4096]).toBe(1);
    expect(pair.disk('west').durable[0]).toBe(0);
  });
});

describe('TL-4: the command timer', () => {
  test('gives up a connection whose target answers no record, though the link lives', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    pair.commandTimeoutMs = 4000;
    await pair.ticks(6);
    expect(ends.east.reason).toBeNull();
    ends.west.heldBack = [];
    const written = pair.write(0, 1);
    await pair.ticks(4);
    expect(ends.east.reason).toBeNull();
    await pair.ticks(2);
    expect(ends.east.reason).toContain('command timer: west has answered no record for 4000 ms');
    // Attached again, what was not answered is sent anew.
    pair.connect();
    expect(await pair.settle(written)).toBeNull();
    expect(pair.difference()).toBeNull();
  });

  test('bears a target that is slow, as long as its answers get on', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    pair.commandTimeoutMs = 4000;
    pair.disk('west').latencyMsMax.write = 3000;
    for (let count = 0; count < 12; count++) {
      void pair.write(0, count + 1);
      pair.tick();
      await pair.world.run(1000);
    }
    await pair.ticks(30);
    expect(ends.east.reason).toBeNull();
  });

  test('is off where there is no pulse', async () => {
    const pair = await Pair.make();
    const ends = await pair.sync();
    ends.west.heldBack = [];
    void pair.write(0, 1);
    await pair.ticks(60);
    expect(ends.east.reason).toBeNull();
  });
});
