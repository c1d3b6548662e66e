import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Fifo } from '../../src/stream/fifo.ts';

test('a fifo gives back what was put in, oldest first, over thousands of items', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -3000, max: 3000 }), { maxLength: 12 }), fc.boolean(), (steps, drains) => {
      const fifo = new Fifo<number>();
      const model: number[] = [];
      let next = 0;
      for (const step of steps) {
        for (let count = 0; count < step; count++) {
          fifo.push(next);
          model.push(next++);
        }
        for (let count = 0; count < -step; count++) {
          const expected = model.shift();
          if (fifo.peek() !== expected || fifo.shift() !== expected) throw new Error(`not ${expected}`);
        }
        expect(fifo.length).toBe(model.length);
      }
      if (drains) expect(fifo.drain()).toEqual(model);
      else expect(fifo.peek()).toBe(model[0]);
    }),
  );
});
