import { expect, it } from 'vitest';
import { describeSegment, isSegment } from '../../src/journal/describe.ts';
import { describeLogDevice, isLogDevice } from '../../src/journal/describe-device.ts';
import { momentsOf, type Moment } from '../../src/journal/history.ts';
import { Journal } from '../../src/journal/journal.ts';
import { World } from '../../src/sim/world/world.ts';
import { answered, append, at, makeDevice, settings, write, writes } from './samples.ts';

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
    stream: { after: '0:0', upTo: '1:4', end: 'the bytes read end here' },
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

it('TL-10: a device is shown as superblocks, slots and the segments in them', async () => {
  const world = new World({ seed: 'device' });
  const machine = world.machine('east');
  const process = machine.start('holdfast');
  await makeDevice(world, process);
  const folders = ['/device'];
  const opened = Journal.open(process.environment, { ...settings, segmentBytes: 8192, folders });
  const journal = await world.settle(opened);
  for (const first of [1, 7]) await world.settle(append(journal, writes(first, first + 5, 1000)));
  const bytes = (machine.files.peek('/device') ?? new Uint8Array(0)).slice();
  expect(isLogDevice(bytes)).toBe(true);
  const parts = [
    { segment: 1, part: 0 },
    { segment: 1, part: 1 },
    { segment: 2, part: 0 },
    { segment: 2, part: 1 },
  ];
  const second = { segment: 2, contents: { stream: { after: '1:6', upTo: '1:12' } } };
  expect(describeLogDevice(bytes)).toMatchObject({
    superblocks: [{ slotBytes: 4096, sequence: 1 }, { sequence: 1 }],
    slots: { inUse: parts, free: 12, damaged: [] },
    segments: [{ segment: 1, contents: { container: { group: 'g1' }, stream: { upTo: '1:6' } } }, second],
  });
  bytes[100] = 1;
  bytes[1024 * 1024 + 100] = 1;
  expect(describeLogDevice(bytes)).toMatchObject({
    superblocks: [{ damaged: expect.stringContaining('checksum') }, { sequence: 1 }],
    slots: { damaged: [0] },
    segments: [{ contents: { damaged: 'the first sector is missing' } }, second],
  });
  expect(isLogDevice(new Uint8Array(8192))).toBe(false);
});
