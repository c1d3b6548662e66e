import { describe, expect, test } from 'vitest';
import { RecordKeeper, type ChangeOutcome } from '../../src/group/record-keeper.ts';
import { claimed, withLeg, type GroupRecord } from '../../src/group/record.ts';
import { World } from '../../src/sim/world/world.ts';
import { groupRecordKey } from '../../src/store/document.ts';
import { MemoryStore, StoreMemory } from '../../src/store/memory-store.ts';
import type { CommitOutcome, Entry, Store, Transaction } from '../../src/store/store.ts';

const key = groupRecordKey('g1');
const claim = { group: 'g1', owner: 'east', leaseId: 'l1', id: 'a', legs: ['east', 'west'], generationMin: 1 };
const pausing = (record: GroupRecord | null): GroupRecord | null =>
  record === null ? null : withLeg(record, 'west', { paused: true });

/** A store whose next commit ends as the test says. */
class Bench {
  readonly world = new World({ seed: 'keeper' });
  readonly store = new MemoryStore(new StoreMemory());
  /** Of the next commit: whether it happens and what is said of it; then it is as ever. */
  next: { happens: boolean; outcome: CommitOutcome } | null = null;
  unreadable = 0;
  /** Of all commits the outcome is unknown; none happens. */
  silent = false;
  reads = 0;
  readonly keeper = new RecordKeeper(this.world.machine('east').start('a').environment, this.#way(), 'g1');

  #way(): Store {
    return {
      read: async (of): Promise<Entry | null> => {
        this.reads++;
        if (this.unreadable-- > 0) throw new Error('the store does not answer');
        return this.store.read(of);
      },
      readAll: (prefix) => this.store.readAll(prefix),
      commit: async (transaction: Transaction): Promise<CommitOutcome> => {
        if (this.silent) return { kind: 'unknown', reason: 'no space' };
        const { next } = this;
        this.next = null;
        if (next === null) return this.store.commit(transaction);
        if (next.happens) await this.store.commit(transaction);
        return next.outcome;
      },
      close: () => Promise.resolve(),
    };
  }

  async claimed(): Promise<GroupRecord> {
    await this.keeper.refresh();
    const outcome = await this.keeper.change((before) => claimed(before, claim));
    if (outcome.kind !== 'done') throw new Error(outcome.reason);
    return outcome.record;
  }

  /** Somebody else writes the record. */
  async other(change: (record: GroupRecord) => GroupRecord): Promise<void> {
    const entry = await this.store.read(key);
    const record = JSON.parse(entry?.value ?? 'null') as GroupRecord;
    const put = [{ key, value: JSON.stringify(change(record)) }];
    await this.store.commit({ require: [], put });
  }

  change(next: (record: GroupRecord | null) => GroupRecord | null = pausing): Promise<ChangeOutcome> {
    return this.world.settle(this.keeper.change(next));
  }

  async inStore(): Promise<GroupRecord | null> {
    const entry = await this.store.read(key);
    return entry === null ? null : (JSON.parse(entry.value) as GroupRecord);
  }
}

describe('the keeper of a record', () => {
  test('R11: writes a record only over the one it was made from', async () => {
    const bench = new Bench();
    await bench.claimed();
    await bench.other((record) => ({ ...record, owner: 'west' }));
    expect(await bench.change()).toMatchObject({ kind: 'lost' });
    expect(await bench.inStore()).toMatchObject({ owner: 'west', legs: { west: { paused: false } } });
    // What it lost against, it knows now.
    expect(bench.keeper.record?.owner).toBe('west');
  });

  test('R11: further conditions of the same transaction keep it from happening', async () => {
    const bench = new Bench();
    await bench.claimed();
    await bench.store.commit({ require: [], put: [{ key: 'leases/west', value: 'x' }] });
    const extra = { require: [{ key: 'leases/west', revision: 1000 }] };
    expect(await bench.world.settle(bench.keeper.change(pausing, extra))).toMatchObject({
      kind: 'lost',
      reason: expect.stringContaining('leases/west') as string,
    });
    expect((await bench.inStore())?.legs['west']?.paused).toBe(false);
  });

  const outcomes: [what: string, happens: boolean, later: boolean, kind: ChangeOutcome['kind']][] = [
    ['happened', true, false, 'done'],
    ['did not happen', false, false, 'unreachable'],
    ['was overtaken', false, true, 'lost'],
  ];
  test.each(outcomes)(
    'R11, R15: an unknown outcome is read back: the change that %s is known as such',
    async (_, happens, later, kind) => {
      const bench = new Bench();
      await bench.claimed();
      bench.next = { happens, outcome: { kind: 'unknown', reason: 'no answer' } };
      bench.unreadable = 3;
      if (later) await bench.other((record) => ({ ...record, owner: 'west' }));
      expect((await bench.change()).kind).toBe(kind);
      expect(bench.reads).toBeGreaterThanOrEqual(4);
      expect(bench.keeper.record).toEqual(await bench.inStore());
    },
  );

  test('R15: until the outcome is known the change stays under way', async () => {
    const bench = new Bench();
    await bench.claimed();
    bench.next = { happens: true, outcome: { kind: 'unknown', reason: 'no answer' } };
    bench.unreadable = Infinity;
    const change = bench.keeper.change(pausing);
    await bench.world.run(60_000);
    expect(bench.keeper.busy).toBe(true);
    bench.unreadable = 0;
    expect((await bench.world.settle(change)).kind).toBe('done');
    expect(bench.keeper.busy).toBe(false);
  });

  test.each([true, false])(
    'R11: of an unknown outcome the first record there is was written once (it happened: %s)',
    async (happens) => {
      const bench = new Bench();
      await bench.keeper.refresh();
      bench.next = { happens, outcome: { kind: 'unknown', reason: 'no answer' } };
      expect((await bench.change((before) => claimed(before, claim))).kind).toBe('done');
      expect(await bench.inStore()).toEqual(bench.keeper.record);
      expect((await bench.store.read(key))?.revision).toBe(1);
      // What it goes on from is what is there.
      expect((await bench.change()).kind).toBe('done');
    },
  );

  test('R11: a first record whose other conditions do not hold any more is lost', async () => {
    const bench = new Bench();
    await bench.keeper.refresh();
    bench.next = { happens: false, outcome: { kind: 'unknown', reason: 'no answer' } };
    const extra = { require: [{ key: 'leases/west', revision: 1 }] };
    const change = bench.keeper.change((before) => claimed(before, claim), extra);
    expect(await bench.world.settle(change)).toMatchObject({ kind: 'lost' });
  });

  test.each([true, false])(
    'a store that reads but cannot say what it writes is asked now and then (a record is there: %s)',
    async (there) => {
      const bench = new Bench();
      if (there) await bench.claimed();
      else await bench.keeper.refresh();
      bench.silent = true;
      const change = bench.keeper.change((before) => (before === null ? claimed(before, claim) : pausing(before)));
      await bench.world.run(60_000);
      expect(bench.reads).toBeLessThan(250);
      bench.silent = false;
      const { kind } = await bench.world.settle(change);
      expect(kind).toBe(there ? 'unreachable' : 'done');
    },
  );

  test('a store that cannot be reached changed nothing', async () => {
    const bench = new Bench();
    const before = await bench.claimed();
    bench.next = { happens: false, outcome: { kind: 'unreachable', reason: 'no route' } };
    expect(await bench.change()).toEqual({ kind: 'unreachable', reason: 'no route' });
    expect(bench.keeper.record).toEqual(before);
  });

  test('a change that no longer makes sense is not sent', async () => {
    const bench = new Bench();
    await bench.claimed();
    const revision = (await bench.store.read(key))?.revision;
    expect((await bench.change(() => null)).kind).toBe('lost');
    expect((await bench.store.read(key))?.revision).toBe(revision);
  });

  test('changes run one after another, each on what the one before it made', async () => {
    const bench = new Bench();
    await bench.claimed();
    const seen: string[] = [];
    const changes = ['x', 'y', 'z'].map((leaseId) =>
      bench.keeper.change((record) => {
        seen.push(record?.leaseId ?? '');
        return record === null ? null : { ...record, leaseId };
      }),
    );
    await bench.world.settle(Promise.all(changes));
    expect(seen).toEqual(['l1', 'x', 'y']);
  });

  test('R12: a poll that began before something was learnt, or during a change, is not believed', async () => {
    const bench = new Bench();
    await bench.keeper.refresh();
    const version = bench.keeper.version;
    await bench.claimed();
    bench.keeper.observe(null, version);
    expect([bench.keeper.record?.owner, bench.keeper.damage]).toEqual(['east', null]);
    bench.keeper.observe(await bench.store.read(key), bench.keeper.version);
    expect(bench.keeper.record?.owner).toBe('east');
  });

  test('R12: what is older than what is known is ignored; a record that vanished is damage', async () => {
    const bench = new Bench();
    await bench.claimed();
    const old = await bench.store.read(key);
    await bench.change();
    bench.keeper.observe(old, bench.keeper.version);
    expect(bench.keeper.record?.legs['west']?.paused).toBe(true);
    bench.keeper.observe(null, bench.keeper.version);
    expect(bench.keeper.damage).toContain('vanished');
  });

  test('what is no record is damage, never a record', async () => {
    const bench = new Bench();
    await bench.store.commit({ require: [], put: [{ key, value: '{"schema":1}' }] });
    await bench.keeper.refresh();
    expect([bench.keeper.seen, bench.keeper.record, bench.keeper.damage === null]).toEqual([true, null, false]);
  });
});
