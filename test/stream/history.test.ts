import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { History } from '../../src/stream/history.ts';
import { positionOf, type StreamRecord } from '../../src/stream/record.ts';
import { record } from './steps.ts';

describe('a history', () => {
  test('begins after the position it was given, whose ordinal is 0', () => {
    const history = new History({ generation: 3, seq: 41 });
    history.beginGeneration(4);
    expect([history.first, history.next, history.bytes]).toEqual([1, 1, 0]);
    expect(history.positionAt(0)).toEqual({ generation: 3, seq: 41 });
    expect(history.ordinalOf({ generation: 3, seq: 41 })).toBe(0);
    expect(history.ordinalOf({ generation: 4, seq: 0 })).toBe(0);
  });

  test('R12: knows no ordinal for what lies before it, past a branching point, or was never stamped', () => {
    const history = new History({ generation: 3, seq: 41 });
    history.beginGeneration(4);
    history.append(record('write', 1, { generation: 4 }));
    for (const [generation, seq] of [
      [3, 40],
      [3, 42],
      [4, 2],
      [2, 1],
      [5, 0],
    ] as const) {
      expect(history.ordinalOf({ generation, seq })).toBeNull();
    }
  });

  test('may be told before its first record that it follows another position, and not later', () => {
    const history = new History({ generation: 3, seq: 41 });
    history.beginGeneration(4);
    history.rebase({ generation: 2, seq: 7 }, 4);
    expect(history.positionAt(0)).toEqual({ generation: 2, seq: 7 });
    expect(history.ordinalOf({ generation: 3, seq: 41 })).toBeNull();
    expect(history.append(record('write', 1, { generation: 4 }))).toBe(1);
    expect(history.positionAt(1)).toEqual({ generation: 4, seq: 1 });
    expect(() => history.rebase({ generation: 2, seq: 7 }, 4)).toThrow('cannot begin elsewhere');
  });

  test('gives what it still holds, and nothing that was let go of or not appended yet', () => {
    const history = new History({ generation: 0, seq: 0 });
    history.beginGeneration(1);
    for (let seq = 1; seq <= 3; seq++) history.append(record('write', seq, { length: 10 }));
    history.trim(1);
    expect([history.first, history.bytes, history.at(2).seq]).toEqual([2, 20, 2]);
    expect(() => history.at(1)).toThrow('not held');
    expect(() => history.at(4)).toThrow('not held');
    history.trim(1000);
    expect([history.first, history.next, history.bytes]).toEqual([4, 4, 0]);
  });

  test('HG-4: ordinals and positions translate both ways, over generations, growth and trims', () => {
    const event = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({ kind: fc.constant('append' as const), count: fc.integer({ min: 1, max: 900 }) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('generation' as const), count: fc.integer({ min: 1, max: 3 }) }),
      },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant('trim' as const), count: fc.nat(1500) }) },
    );
    fc.assert(
      fc.property(fc.nat(50), fc.array(event, { maxLength: 20 }), (startSeq, events) => {
        const start = { generation: 1, seq: startSeq };
        const history = new History<StreamRecord>(start);
        const model: StreamRecord[] = [];
        let generation = 2;
        let seq = 0;
        let first = 1;
        history.beginGeneration(generation);
        for (const { kind, count } of events) {
          if (kind === 'append') {
            for (let made = 0; made < count; made++) {
              const made = record(seq % 3 === 0 ? 'flush' : 'write', ++seq, { generation });
              model.push(made);
              expect(history.append(made)).toBe(model.length);
            }
          } else if (kind === 'generation') {
            generation += count;
            seq = 0;
            history.beginGeneration(generation);
          } else {
            history.trim(first - 1 + count);
            first = Math.min(first + count, model.length + 1);
          }
          expect([history.first, history.next]).toEqual([first, model.length + 1]);
          const held = model.slice(first - 1);
          expect(history.bytes).toBe(held.reduce((sum, { length }) => sum + length, 0));
          for (const index of [0, 1, held.length >> 1, held.length - 1]) {
            const expected = held[index];
            if (expected !== undefined) expect(history.at(first + index)).toBe(expected);
          }
        }
        // Positions stay known after the records have gone.
        for (const [index, { generation: of, seq: at }] of model.entries()) {
          if (index % 37 !== 0 && index < model.length - 3) continue;
          expect(history.positionAt(index + 1)).toEqual({ generation: of, seq: at });
          expect(history.ordinalOf({ generation: of, seq: at })).toBe(index + 1);
        }
        const last = model.at(-1);
        if (last !== undefined) {
          const { generation: of, seq: at } = positionOf(last);
          expect(history.ordinalOf({ generation: of, seq: at + 1 })).toBeNull();
        }
      }),
      { numRuns: 60 },
    );
  });
});
