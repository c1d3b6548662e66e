/** The owner of a group in front of hosts, with a real target behind it. */
import { describe, expect, test } from 'vitest';
import type { HostFault } from '../../src/group/host-access.ts';
import type { LegClass, MirrorMode } from '../../src/store/document.ts';
import { childOf } from '../../src/stream/position.ts';
import { firstLineage, Pair, type PairOptions } from '../mirror/pair.ts';
import { MiB, openLeg, volumeEntry } from '../volume/legs.ts';

type Told = HostFault | 'ok' | 'waits';

/** What a host has been told by now, and how often. */
class Request {
  told: Told = 'waits';
  times = 0;
  readonly done = (fault: HostFault | null): void => {
    this.told = fault ?? 'ok';
    this.times++;
  };
}

const write = (pair: Pair, offset = 0, fill = 1, length = 512): Request => {
  const request = new Request();
  pair.east.process.call(() => pair.owner.write(0, offset, new Uint8Array(length).fill(fill), false, request.done));
  return request;
};

const read = (pair: Pair, offset = 0, length = 512): Request & { into: Uint8Array } => {
  const request = Object.assign(new Request(), { into: new Uint8Array(length) });
  pair.east.process.call(() => pair.owner.read(0, offset, request.into, request.done));
  return request;
};

async function alone(options: PairOptions = {}): Promise<Pair> {
  return Pair.make({ seed: 'owner', ...options });
}

async function synced(options: PairOptions = {}): Promise<Pair> {
  const pair = await alone(options);
  await pair.sync();
  return pair;
}

type Answer = 'none' | 'received' | 'applied';

interface Case {
  readonly mode: MirrorMode;
  readonly class: LegClass;
  readonly answer: Answer;
  readonly stored: boolean;
  readonly lease: boolean;
}

const cases: Case[] = [];
for (const mode of ['sync', 'receive', 'async'] as const) {
  for (const as of ['inSync', 'withinBound', 'behind'] as const) {
    for (const answer of ['none', 'received', 'applied'] as const) {
      for (const stored of [true, false])
        for (const lease of [true, false]) cases.push({ mode, class: as, answer, stored, lease });
    }
  }
}

/** The rule, as its words have it. */
function acknowledged({ mode, class: as, answer, stored, lease }: Case): boolean {
  if (!stored) return false;
  if (as !== 'inSync') return lease;
  return mode === 'receive' ? answer !== 'none' : answer === 'applied';
}

describe('the acknowledgement rule', () => {
  test('R16: holds for every mode, class, answer, state of the own leg and of the lease', async () => {
    for (const one of cases) {
      const pair = await alone({ mode: one.mode });
      const ends = await pair.sync();
      pair.joined(one.class);
      if (one.answer === 'none') ends.west.heldBack = [];
      if (one.answer === 'received') pair.disk('west').hang();
      if (!one.stored) pair.disk('east').hang();
      pair.leaseValid = one.lease;
      const request = write(pair);
      await pair.world.run(100);
      const expected = acknowledged(one) ? 'ok' : 'waits';
      if (request.told !== expected) throw new Error(`${request.told}, not ${expected}, for ${JSON.stringify(one)}`);
    }
  }, 60_000);

  test('R3: flushes that come while one is under way share the next, which covers what was written meanwhile', async () => {
    const pair = await synced();
    pair.disk('east').hang();
    const flushes = Array.from({ length: 5 }, () => new Request());
    const stamped = pair.owner.history.next;
    pair.east.process.call(() => {
      for (const [index, flush] of flushes.entries()) {
        pair.owner.flush(0, flush.done);
        if (index === 2) pair.owner.write(0, 0, new Uint8Array(512).fill(1), false, () => {});
      }
    });
    await pair.world.run(10);
    expect(flushes.map(({ told }) => told)).toEqual(Array(5).fill('waits'));
    pair.disk('east').unhang();
    await pair.world.run(100);
    expect(flushes.map(({ told, times }) => [told, times])).toEqual(Array(5).fill(['ok', 1]));
    // One, the write, and one for the other four.
    expect(pair.owner.history.next - stamped).toBe(3);
  });

  test('R3: flushes that wait for another are told when the group moves', async () => {
    const pair = await synced();
    pair.disk('east').hang();
    const flushes = [new Request(), new Request()];
    pair.east.process.call(() => {
      for (const flush of flushes) pair.owner.flush(0, flush.done);
      void pair.owner.close('over');
    });
    await pair.world.run(10);
    expect(flushes.map(({ told, times }) => [told, times])).toEqual(Array(2).fill(['moved', 1]));
  });

  test('R16: a flush counts like a write, FUA needs both', async () => {
    const pair = await synced();
    pair.disk('west').hang();
    const flush = new Request();
    const fua = new Request();
    pair.east.process.call(() => {
      pair.owner.flush(0, flush.done);
      pair.owner.write(0, 0, new Uint8Array(512), true, fua.done);
    });
    await pair.world.run(100);
    expect([flush.told, fua.told]).toEqual(['waits', 'waits']);
    pair.disk('west').unhang();
    await pair.world.run(100);
    expect([flush.told, fua.told, fua.times]).toEqual(['ok', 'ok', 1]);
  });

  test('R15: what was done while the lease was not valid is told once it is, under a new generation', async () => {
    const pair = await alone();
    pair.leaseValid = false;
    const requests = [write(pair), read(pair, MiB)];
    await pair.world.run(100);
    expect(requests.map(({ told }) => told)).toEqual(['waits', 'waits']);
    expect([...pair.owner.holds]).toEqual(['lease']);
    pair.leaseValid = true;
    await pair.newGeneration(childOf(firstLineage, pair.owner.last.seq, 2, 'b'));
    pair.east.process.call(() => pair.owner.hold('lease', false));
    await pair.world.run(100);
    expect(requests.map(({ told }) => told)).toEqual(['ok', 'ok']);
  });

  test('R11: what is done under the next lease, but before the generation that stands on it, is not told', async () => {
    const pair = await alone();
    pair.disk('east').hang();
    const requests = [write(pair), read(pair, MiB)];
    await pair.world.run(10);
    // The process stood still: the old lease has lapsed, the new one is there, and another node may own the group by now.
    pair.east.process.call(() => pair.owner.leaseLapsed());
    pair.disk('east').unhang();
    await pair.world.run(2000);
    expect(requests.map(({ told }) => told)).toEqual(['waits', 'waits']);
    await pair.newGeneration(childOf(firstLineage, pair.owner.last.seq, 2, 'b'));
    await pair.world.run(100);
    expect(requests.map(({ told }) => told)).toEqual(['ok', 'ok']);
  });

  test('R13: when a leg leaves the in-sync set, confirmed, what waited for it alone is told', async () => {
    const pair = await alone();
    const ends = await pair.sync();
    ends.east.close('cut');
    const request = write(pair);
    await pair.world.run(1000);
    expect(request.told).toBe('waits');
    pair.joined('behind');
    await pair.world.run(10);
    expect(request.told).toBe('ok');
    expect(pair.source.bits.get(0)?.overlaps(0, 512)).toBe(true);
  });
});

describe('reads', () => {
  test('R1, I5: one that overlaps a change in flight waits until that is acknowledged, and then sees it', async () => {
    const pair = await synced();
    pair.disk('west').hang();
    const change = write(pair, 512, 7);
    await pair.world.run(10);
    const overlapping = read(pair, 0, 1024);
    const disjoint = read(pair, 1024);
    await pair.world.run(50);
    expect([change.told, overlapping.told, disjoint.told]).toEqual(['waits', 'waits', 'ok']);
    pair.disk('west').unhang();
    await pair.world.run(50);
    expect([change.told, overlapping.told]).toEqual(['ok', 'ok']);
    expect([overlapping.into[0], overlapping.into[512]]).toEqual([0, 7]);
  });

  test('R1, I5: one that was under way when an overlapping change began is not answered before that', async () => {
    const pair = await synced();
    pair.disk('east').latencyMsMax.read = 20;
    pair.disk('east').inlineShare = 0;
    pair.disk('west').hang();
    for (let attempt = 0; attempt < 10; attempt++) {
      const reading = new Request();
      const change = new Request();
      pair.east.process.call(() => {
        pair.owner.read(0, attempt * 4096, new Uint8Array(512), reading.done);
        pair.owner.write(0, attempt * 4096, new Uint8Array(512).fill(9), false, change.done);
      });
      await pair.world.run(100);
      expect([reading.told, change.told]).toEqual(['waits', 'waits']);
    }
  });

  test('R15: are answered under a valid lease only, looked at after the data was read', async () => {
    const pair = await alone();
    pair.disk('east').latencyMsMax.read = 20;
    pair.disk('east').inlineShare = 0;
    const reading = read(pair);
    await pair.world.run(0.01);
    pair.leaseValid = false;
    await pair.world.run(100);
    expect(reading.told).toBe('waits');
  });

  test('R10: a read that failed at the medium is told as such and shown', async () => {
    const pair = await alone();
    pair.disk('east').failNext('read');
    const reading = read(pair);
    await pair.world.run(50);
    expect([reading.told, pair.owner.readFault?.kind]).toEqual(['io', 'readFailed']);
  });
});

describe('the owner', () => {
  test('HG-1, HG-3: volumes share one order; a write after a completed one lies in a later epoch', async () => {
    const pair = await alone({ volumes: 2 });
    await pair.sync();
    const stamps: string[] = [];
    for (const volume of [0, 1, 0]) {
      await pair.settle(pair.write(0, 1, 512, volume));
      const { generation, seq } = pair.owner.last;
      stamps.push(`${generation}:${seq}`);
    }
    expect(stamps).toEqual(['1:1', '1:2', '1:3']);
    expect([pair.difference(0), pair.difference(1)]).toEqual([null, null]);
  });

  test('R10: out of space is told to the host, repaired at the target, and no failure of the leg', async () => {
    const pair = await synced();
    pair.disk('east').freeBytes = 1024;
    const request = write(pair, MiB, 5, 8192);
    await pair.world.run(200);
    expect(request.told).toBe('noSpace');
    expect([pair.owner.shortOfSpace, pair.east.leg.fault]).toEqual([true, null]);
    pair.disk('east').freeBytes = Infinity;
    await pair.until(() => pair.source.complete && pair.source.outOfSyncBytes === 0);
    expect(pair.difference()).toBeNull();
    expect(await pair.settle(pair.write(0, 1))).toBeNull();
    await pair.world.run(61_000);
    expect(pair.owner.shortOfSpace).toBe(false);
  });

  test('R10: a failed write of the own leg holds hosts: nobody hears of it', async () => {
    const pair = await synced();
    pair.disk('east').failNext('write');
    const failed = write(pair);
    await pair.world.run(100);
    const later = [write(pair, 4096), read(pair, MiB)];
    await pair.world.run(100);
    expect([failed, ...later].map(({ told }) => told)).toEqual(['waits', 'waits', 'waits']);
    expect([...pair.owner.holds]).toEqual(['ownLeg']);
    await pair.settle(pair.owner.close('elsewhere now'));
    await pair.world.run(10);
    expect([failed, ...later].map(({ told, times }) => `${told} ${times}`)).toEqual([
      'moved 1',
      'moved 1',
      'moved 1',
    ]);
  });

  test('TL-6: at the bound of an asynchronous leg’s lag writes wait, reads do not, until it has caught up', async () => {
    for (const settings of [{ lagWritesMax: 4 }, { lagBytesMax: 4 * 512 }]) {
      const pair = await alone({ mode: 'async', settings });
      const ends = await pair.sync();
      pair.joined('withinBound');
      ends.west.heldBack = [];
      const requests = [];
      for (let count = 0; count < 6; count++) requests.push(write(pair, count * 512, count));
      await pair.world.run(50);
      expect(requests.map(({ told }) => told)).toEqual(['ok', 'ok', 'ok', 'ok', 'waits', 'waits']);
      expect(pair.owner.lagOf(pair.source)).toMatchObject({ writes: 4, bytes: 2048 });
      const reading = read(pair, 2 * MiB);
      await pair.world.run(50);
      expect(reading.told).toBe('ok');
      ends.west.letGo();
      await pair.world.run(100);
      expect(requests.map(({ told }) => told)).not.toContain('waits');
      expect(pair.owner.lagOf(pair.source)).toEqual({ writes: 0, bytes: 0, seconds: 0 });
      expect(pair.difference()).toBeNull();
    }
  });

  test('I9: at its end every request is completed exactly once, with `moved`, and later ones too', async () => {
    const pair = await synced();
    pair.disk('west').hang();
    pair.disk('east').latencyMsMax.read = 500;
    pair.disk('east').inlineShare = 0;
    const stored = write(pair);
    const behindIt = read(pair);
    const reading = read(pair, MiB);
    await pair.world.run(10);
    pair.owner.hold('switchOver', true);
    const held = [write(pair, 4096), read(pair, 4096)];
    await pair.world.run(10);
    const closed = pair.owner.close('elsewhere now');
    const after = [write(pair, 8192), read(pair, 8192)];
    await pair.settle(closed);
    pair.disk('west').unhang();
    await pair.world.run(1000);
    const all = [stored, behindIt, reading, ...held, ...after];
    expect(all.map(({ told, times }) => `${told} ${times}`)).toEqual(all.map(() => 'moved 1'));
  });

  test('R15: a hold keeps requests until it ends; draining waits for what is in flight', async () => {
    const pair = await synced();
    pair.disk('west').hang();
    const before = write(pair);
    await pair.world.run(10);
    pair.owner.hold('switchOver', true);
    const held = write(pair, 4096);
    let drained = false;
    pair.owner.whenDrained(() => (drained = true));
    await pair.world.run(50);
    expect([before.told, held.told, drained]).toEqual(['waits', 'waits', false]);
    pair.disk('west').unhang();
    await pair.world.run(50);
    expect([before.told, held.told, drained]).toEqual(['ok', 'waits', true]);
    pair.owner.hold('switchOver', false);
    await pair.world.run(50);
    expect(held.told).toBe('ok');
  });

  test('R4: a zero longer than a record is several, completed once', async () => {
    const pair = await alone();
    await pair.settle(pair.write(0, 1));
    const request = new Request();
    pair.east.process.call(() => {
      pair.owner.zero(0, 0, 4 * MiB, { keepAllocated: false, fua: true }, request.done);
    });
    await pair.world.run(100);
    expect([request.told, request.times, pair.disk('east').cached[0]]).toEqual(['ok', 1, 0]);
    expect(pair.disk('east').durable[0]).toBe(0);
  });

  test('I8: what every leg has applied is let go of', async () => {
    const pair = await synced();
    for (let count = 0; count < 50; count++) await pair.settle(pair.write(count * 512, count));
    await pair.world.run(50);
    expect(pair.owner.history.next - pair.owner.history.first).toBe(0);
    expect([pair.owner.history.bytes, pair.owner.changesInFlight]).toEqual([0, 0]);
  });

  test('R5: regions cool when what was written there is durable on every leg, and not before', async () => {
    const pair = await synced();
    await pair.settle(pair.write(0, 1));
    expect(pair.east.leg.hot.size).toBe(1);
    const ends = pair.ends;
    if (ends === null) throw new Error('not connected');
    ends.east.heldBack = [];
    await pair.ticks(6);
    expect(pair.east.leg.hot.size).toBe(1);
    ends.east.letGo();
    await pair.ticks(8);
    expect([pair.east.leg.hot.size, pair.west.leg.hot.size]).toEqual([0, 0]);
  });

  test('R5: a leg that is away keeps nothing hot once its bits are on the medium', async () => {
    const pair = await synced();
    pair.ends?.east.close('cut');
    await pair.world.run(10);
    pair.joined('behind');
    await pair.settle(pair.write(0, 1));
    await pair.ticks(6);
    expect(pair.east.leg.hot.size).toBe(0);
    const { process } = pair.east;
    process.crash();
    const again = await openLeg(process.machine.start('b'), { volumes: [volumeEntry(0, 4 * MiB)] });
    expect(again.bitsFor('west').get(0)?.overlaps(0, 512)).toBe(true);
  });
});
