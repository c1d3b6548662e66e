import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Change } from '../../src/stream/change.ts';
import { FlightTable } from '../../src/stream/flight-table.ts';

function change(ordinal: number, volume: number, offset: number, length: number): Change {
  const made = new Change(length === 0 ? 'flush' : 'zero', { volume, offset, length }, null, false, null);
  made.ordinal = ordinal;
  return made;
}

describe('the flight table', () => {
  test('R1: finds a change in flight that touches a range, neighbours and flushes aside', () => {
    const table = new FlightTable();
    const write = change(1, 0, 100, 10);
    table.add(write);
    table.add(change(2, 0, 0, 0));
    expect(table.overlapping(0, 109, 1)).toBe(write);
    expect(table.overlapping(0, 90, 11)).toBe(write);
    expect(table.overlapping(0, 90, 10)).toBeNull();
    expect(table.overlapping(0, 110, 10)).toBeNull();
    expect(table.overlapping(1, 100, 10)).toBeNull();
    expect(table.overlapping(0, 0, 1)).toBeNull();
  });

  test('a change that is not in flight cannot be taken out', () => {
    const table = new FlightTable();
    const write = change(1, 0, 0, 1);
    table.add(write);
    table.remove(write);
    expect(() => table.remove(write)).toThrow('not in flight');
  });

  test('holds what was added and not taken out, in stamp order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { maxLength: 60 }), (draws) => {
        const table = new FlightTable();
        const model: Change[] = [];
        for (const [index, draw] of draws.entries()) {
          const victim = model[draw];
          if (victim !== undefined && draw % 2 === 0) {
            table.remove(victim);
            model.splice(draw, 1);
          } else {
            const added = change(index + 1, draw % 2, draw, 3);
            table.add(added);
            model.push(added);
          }
          expect(table.all()).toEqual(model);
          expect(table.size).toBe(model.length);
          const found = table.overlapping(draw % 2, draw + 2, 2);
          const touching = model.filter(
            (one) => one.volume === draw % 2 && one.offset < draw + 4 && draw + 2 < one.offset + 3,
          );
          if (found === null) expect(touching).toEqual([]);
          else expect(touching).toContain(found);
        }
      }),
    );
  });
});
