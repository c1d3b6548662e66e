import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  claimed,
  established,
  handedOver,
  lineageOf,
  parseRecord,
  withLeg,
  type GroupRecord,
} from '../../src/group/record.ts';
import { childOf, lineageContains } from '../../src/stream/position.ts';

const claim = { group: 'g1', owner: 'east', leaseId: 'l1', id: 'a', legs: ['east', 'west'], generationMin: 1 };
const first = claimed(null, claim);
const open = established(first, childOf({ generation: 0, id: '', ancestors: [] }, 0, 1, 'a'), new Map());
const synced = withLeg(open, 'west', { class: 'inSync' });

describe('the record of a group', () => {
  test('R11: begins with its first owner alone in sync, and nothing fixed yet', () => {
    expect(first).toMatchObject({ generation: 1, owner: 'east', established: false, ancestors: [] });
    expect(first.legs).toEqual({
      east: { class: 'inSync', paused: false },
      west: { class: 'behind', paused: false },
    });
  });

  test('R11: every claim is a new generation, above any its node has seen, under the lease it stands on', () => {
    const again = claimed(synced, { ...claim, leaseId: 'l2', id: 'b' });
    expect([again.generation, again.id, again.leaseId, again.established]).toEqual([2, 'b', 'l2', false]);
    expect(claimed(synced, { ...claim, generationMin: 9 }).generation).toBe(9);
  });

  test('R13: a claim changes the class of no leg; a leg new to the group is behind', () => {
    const other = claimed(synced, { ...claim, owner: 'west', legs: ['east', 'west', 'north'] });
    expect(other.legs['east']?.class).toBe('inSync');
    expect(other.legs['west']?.class).toBe('inSync');
    expect(other.legs['north']?.class).toBe('behind');
  });

  test('R13: an owner that has fixed its history leaves in sync only what it knows to be equal', () => {
    const lineage = childOf(lineageOf(open), 5, 2, 'b');
    const record = claimed(synced, { ...claim, id: 'b' });
    expect(established(record, lineage, new Map()).legs['west']?.class).toBe('behind');
    const equal = established(record, lineage, new Map([['west', 'inSync' as const]]));
    expect([equal.established, equal.legs['west']?.class]).toEqual([true, 'inSync']);
    expect(lineageContains(lineageOf(equal), { generation: 1, seq: 5 }, 'a')).toBe(true);
    expect(lineageContains(lineageOf(equal), { generation: 1, seq: 6 }, 'a')).toBe(false);
  });

  test('R15: a planned move names the new owner, its lease and generation, both in sync, the target no longer paused', () => {
    const lineage = childOf(lineageOf(open), 7, 2, 'b');
    const three = withLeg(withLeg(synced, 'west', { paused: true }), 'north', { class: 'inSync' });
    const to = { node: 'west', leaseId: 'l9', id: 'b', lineage, equal: new Set<string>() };
    const moved = handedOver(three, { ...to, ownLegGood: true });
    expect(moved).toMatchObject({ owner: 'west', leaseId: 'l9', generation: 2, id: 'b', established: true });
    expect(moved.legs['west']).toEqual({ class: 'inSync', paused: false });
    expect(moved.legs['east']?.class).toBe('inSync');
    expect(handedOver(three, { ...to, ownLegGood: false }).legs['east']?.class).toBe('behind');
    // What it holds is not known to be equal at this moment, unless somebody says so.
    expect(moved.legs['north']?.class).toBe('behind');
    const equal = handedOver(three, { ...to, ownLegGood: true, equal: new Set(['north', 'west']) });
    expect([equal.legs['north']?.class, equal.legs['west']]).toEqual(['inSync', { class: 'inSync', paused: false }]);
  });

  test('is found again in its text, and in no other', () => {
    expect(parseRecord(JSON.stringify(synced))).toEqual(synced);
    for (const text of [
      '',
      'null',
      '{}',
      JSON.stringify({ ...synced, generation: 0 }),
      JSON.stringify({ ...synced, schema: 2 }),
    ]) {
      expect(parseRecord(text)).toBeNull();
    }
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parseRecord(text)).toBeNull();
      }),
    );
  });

  test('I4: no transition goes back in generation or changes another leg', () => {
    const change = fc.constantFrom<(record: GroupRecord) => GroupRecord>(
      (record) => claimed(record, { ...claim, id: 'x' }),
      (record) => withLeg(record, 'west', { class: 'behind' }),
      (record) => withLeg(record, 'west', { class: 'inSync' }),
      (record) => established(record, lineageOf(record), new Map([['west', record.legs['west']?.class ?? 'behind']])),
      (record) => {
        const lineage = childOf(lineageOf(record), 1, record.generation + 1, 'y');
        return handedOver(record, {
          node: 'west',
          leaseId: 'l',
          id: 'y',
          lineage,
          ownLegGood: true,
          equal: new Set(),
        });
      },
    );
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        let record = synced;
        for (const next of changes) {
          const after = next(record);
          expect(after.generation).toBeGreaterThanOrEqual(record.generation);
          if (after.generation === record.generation) expect(after.id).toBe(record.id);
          expect(Object.keys(after.legs)).toEqual(['east', 'west']);
          record = after;
        }
      }),
    );
  });
});
