import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Sequencer, type Stampable } from '../../src/stream/sequencer.ts';

const stamped = (sequencer: Sequencer): Stampable => {
  const record = { generation: 0, epoch: 0, seq: 0 };
  sequencer.stamp(record);
  return record;
};

describe('a sequencer', () => {
  test('HG-1: a change stamped after a write was completed to a host lies in a later epoch', () => {
    const sequencer = new Sequencer(1);
    const before = [stamped(sequencer), stamped(sequencer)];
    sequencer.completed();
    const after = stamped(sequencer);
    expect(before.map(({ epoch }) => epoch)).toEqual([1, 1]);
    expect(after).toEqual({ generation: 1, epoch: 3, seq: 3 });
  });

  test('HG-1: completions without a change between them open no empty epoch', () => {
    const sequencer = new Sequencer(1);
    stamped(sequencer);
    sequencer.completed();
    sequencer.completed();
    expect([stamped(sequencer), stamped(sequencer)].map(({ epoch }) => epoch)).toEqual([2, 2]);
  });

  test('HG-4: a new generation numbers from 1 again, and only a higher one may follow', () => {
    const sequencer = new Sequencer(3);
    stamped(sequencer);
    expect(sequencer.last).toEqual({ generation: 3, seq: 1 });
    sequencer.beginGeneration(5);
    expect(sequencer.last).toEqual({ generation: 5, seq: 0 });
    expect(stamped(sequencer)).toEqual({ generation: 5, epoch: 1, seq: 1 });
    for (const generation of [5, 4]) expect(() => sequencer.beginGeneration(generation)).toThrow('does not follow');
  });

  test('I4: seq is gapless in a generation, no position is given twice, an epoch is named by its first record', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('stamp', 'completed', 'generation'), { maxLength: 200 }), (events) => {
        const sequencer = new Sequencer(1);
        let seq = 0;
        let epoch = 0;
        for (const event of events) {
          if (event === 'completed') {
            sequencer.completed();
            epoch = 0;
          } else if (event === 'generation') {
            sequencer.beginGeneration(sequencer.generation + 1);
            seq = 0;
            epoch = 0;
          } else {
            seq++;
            if (epoch === 0) epoch = seq;
            expect(stamped(sequencer)).toEqual({ generation: sequencer.generation, epoch, seq });
          }
        }
      }),
    );
  });
});
