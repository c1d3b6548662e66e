import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ancestorsMax,
  childOf,
  comparePositions,
  formatPosition,
  lineageContains,
  origin,
  type Lineage,
  type Position,
} from '../../src/stream/position.ts';

const first: Lineage = { generation: 1, id: 'a', ancestors: [] };
const second = childOf(first, 10, 2, 'b');
const third = childOf(second, 5, 4, 'd');

describe('positions', () => {
  test('are ordered by generation, then by seq', () => {
    const position = fc.record({ generation: fc.nat(3), seq: fc.nat(3) });
    fc.assert(
      fc.property(position, position, (a, b) => {
        const expected = a.generation * 10 + a.seq - (b.generation * 10 + b.seq);
        expect(Math.sign(comparePositions(a, b))).toBe(Math.sign(expected));
      }),
    );
    expect(formatPosition(origin)).toBe('0:0');
  });
});

describe('a lineage', () => {
  test('remembers where each generation was left', () => {
    expect(third).toEqual({
      generation: 4,
      id: 'd',
      ancestors: [
        { generation: 1, id: 'a', leftAtSeq: 10 },
        { generation: 2, id: 'b', leftAtSeq: 5 },
      ],
    });
  });

  const rows: [what: string, position: Position, id: string, contained: boolean][] = [
    ['a position of the present generation', { generation: 4, seq: 1000 }, 'd', true],
    ['the present number with another id', { generation: 4, seq: 1 }, 'x', false],
    ['where the parent was left', { generation: 2, seq: 5 }, 'b', true],
    ['one write past it', { generation: 2, seq: 6 }, 'b', false],
    ['the parent’s number with another id', { generation: 2, seq: 1 }, 'x', false],
    ['where the grandparent was left', { generation: 1, seq: 10 }, 'a', true],
    ['past it', { generation: 1, seq: 11 }, 'a', false],
    ['a generation that was never owner', { generation: 3, seq: 0 }, '', false],
    ['a generation yet unknown', { generation: 5, seq: 0 }, 'e', false],
  ];
  test.each(rows)('R12: %s %o of id %s is on it: %s', (_what, position, id, contained) => {
    expect(lineageContains(third, position, id)).toBe(contained);
  });

  test(`I8: forgets ancestors beyond ${ancestorsMax}, the oldest first`, () => {
    let lineage = first;
    for (let generation = 2; generation <= 100; generation++)
      lineage = childOf(lineage, 1, generation, `${generation}`);
    expect(lineage.ancestors).toHaveLength(ancestorsMax);
    expect(lineage.ancestors.at(-1)?.generation).toBe(99);
    expect(lineageContains(lineage, { generation: 1, seq: 1 }, 'a')).toBe(false);
  });
});
