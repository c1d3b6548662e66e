import { expect, it } from 'vitest';
import { describeSegment, isSegment } from '../../src/journal/describe.ts';
import { momentsOf, type Moment } from '../../src/journal/history.ts';
import { Journal } from '../../src/journal/journal.ts';
import { World } from '../../src/sim/world/world.ts';
import { answered, append, at, settings, write } from './samples.ts';

async function segmentOf(): Promise<{ world: World; journal: Journal; bytes: Uint8Array }> {
  const world = new World({ seed: 'describe' });
  const machine = world.machine('east');
  const journal = await world.settle(Journal.open(machine.start('holdfast').environment, settings));
  await world.settle(answered((done) => journal.setMembers([{ volume: 1, wwid: '6abc', sizeBytes: 4096 }], done)));
  await world.settle(append(journal, [write(1, 600, { epoch: 1 }), write(2, 10, { epoch: 1 })]));
  await world.settle(answered((done) => journal.mark('noon', done)));
  await world.settle(append(journal, [write(3, 20), write(4, 8192, { kind: 'zero', data: null, hole: true })]));
  const bytes = machine.files.peek('/log/segment-0000000000000001.log') ?? new Uint8Array(0);
  return { world, journal, bytes };
}

it('TL-10: a segment is shown as container, members, stream and lists of extents', async () => {
  const { bytes } = await segmentOf();
  expect(isSegment(bytes)).toBe(true);
  expect(describeSegment(bytes)).toMatchObject({
    container: { group: 'g1', segment: 1 },
    stream: { after: '0:0', upTo: '1:4', end: 'the file ends here' },
    lists: [
      { kind: 'members', members: [{ volume: 1, wwid: '6abc' }] },
      {
        kind: 'records',
        extents: [
          { position: '1:1', orderingLimit: 1, kind: 'write', volume: 1, address: 4096, bytes: 600 },
          { position: '1:2', orderingLimit: 1 },
        ],
      },
      { kind: 'mark', mark: 'noon', at: '1:2' },
      {
        kind: 'records',
        syncedUpTo: 3,
        extents: [{ position: '1:3' }, { position: '1:4', kind: 'zero', hole: true }],
      },
    ],
  });
});

it('TL-10: what is damaged is shown as damaged, beside what is not', async () => {
  const { bytes } = await segmentOf();
  const rotten = bytes.slice();
  rotten[1024 + 300] = (rotten[1024 + 300] ?? 0) ^ 1;
  expect(describeSegment(rotten)).toMatchObject({
    stream: { upTo: '1:4' },
    lists: [
      { kind: 'members' },
      { damaged: expect.stringContaining('checksum') },
      { kind: 'mark' },
      { kind: 'records' },
    ],
  });
  expect(describeSegment(bytes.subarray(0, bytes.length - 512))).toMatchObject({ stream: { upTo: '1:2' } });
  rotten[20] = 9;
  expect(describeSegment(rotten)).toEqual({ damaged: expect.stringContaining('checksum') });
});

it('BY-3: ends of epochs and marks are listed in order, with times', async () => {
  const { world, journal } = await segmentOf();
  const list = async (): Promise<Moment[]> => {
    const moments: Moment[] = [];
    const reader = journal.read(at(0, 0));
    if (reader !== null) for await (const moment of momentsOf(reader)) moments.push(moment);
    return moments;
  };
  expect(await world.settle(list())).toMatchObject([
    { kind: 'epochEnd', epoch: 1, position: at(2), records: 2, bytes: 610, wallMs: expect.any(Number) },
    { kind: 'mark', name: 'noon', position: at(2) },
    { kind: 'epochEnd', epoch: 3, position: at(3), records: 1 },
    { kind: 'epochEnd', epoch: 4, position: at(4), bytes: 0 },
  ]);
});
