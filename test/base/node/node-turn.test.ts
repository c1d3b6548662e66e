import { describe, expect, it } from 'vitest';
import { NodeTurn } from '../../../src/base/node/node-turn.ts';

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('NodeTurn', () => {
  it('runs deferred work first in first out, what it defers included, then end tasks, then what those defer', async () => {
    const turn = new NodeTurn();
    const seen: string[] = [];
    const ending = (name: string): { endOfTurn(): void } => ({
      endOfTurn() {
        seen.push(name);
        if (name !== 'end 1') return;
        turn.atEnd(ending('end 3'));
        turn.defer(() => seen.push('deferred by end 1'));
      },
    });
    turn.atEnd(ending('end 1'));
    turn.defer(() => {
      seen.push('a');
      turn.defer(() => {
        seen.push('c');
        turn.defer(() => seen.push('d'));
      });
      turn.atEnd(ending('end 2'));
    });
    turn.defer(() => seen.push('b'));
    expect(seen).toEqual([]);
    await nextTurn();
    expect(seen).toEqual(['a', 'b', 'c', 'd', 'end 1', 'end 2', 'deferred by end 1', 'end 3']);
  });

  it('starts a new turn after one has ended, however many there were', async () => {
    const turn = new NodeTurn();
    let count = 0;
    for (let round = 1; round <= 5; round++) {
      for (let index = 0; index < 1000; index++) turn.defer(() => count++);
      await nextTurn();
      expect(count).toBe(round * 1000);
    }
  });
});
