import { describe, expect, it } from 'vitest';
import { copyCommands } from '../../../src/hosts/scsi/copy.ts';
import { ScsiStatus } from '../../../src/hosts/scsi/task.ts';
import { Bench, hexOf, nexusOf, senseOf, wwidOf } from './bench-unit.ts';

const blocks = 8192;

/** No two blocks of it are alike, nor are volumes that begin at different places of it. */
const pattern = new Uint8Array(blocks * 512 + 2).map((_, at) => at * 7 + (at >> 9) * 3 + (at >> 17) * 5);

function makeBench(): Bench {
  const bench = new Bench({
    commands: copyCommands,
    volumes: [
      { blocks, blockSizeBytes: 512 },
      { blocks, blockSizeBytes: 512 },
      { blocks: blocks / 8, blockSizeBytes: 4096 },
    ],
  });
  for (const { bench: volume, lun } of bench.units)
    volume.bytes.set(pattern.subarray(lun, lun + volume.bytes.length));
  return bench;
}

const digits = (value: number, bytes: number): string => value.toString(16).padStart(2 * bytes, '0');

function cscd(lun: number, { blockLength = lun === 2 ? 4096 : 512, flags = 0 } = {}): string {
  const designator = '01030010' + wwidOf(lun) + '00000000';
  return 'e4' + digits(flags, 1) + '0000' + designator + '00' + digits(blockLength, 3);
}

interface SegmentOptions {
  readonly source?: number;
  readonly destination?: number;
  readonly count?: number;
  readonly from?: number;
  readonly to?: number;
  readonly flags?: number;
}

function segment({ source = 0, destination = 0, count = 8, from = 0, to = 0, flags = 0 }: SegmentOptions): string {
  const ids = digits(source, 2) + digits(destination, 2);
  return '02' + digits(flags, 1) + '0018' + ids + '0000' + digits(count, 2) + digits(from, 8) + digits(to, 8);
}

function parameters(
  cscds: readonly string[],
  segments: readonly string[],
  {
    id = 1,
    usage = 0,
    inline = 0,
    cscdBytes = cscds.join('').length / 2,
    segmentBytes = segments.join('').length / 2,
  } = {},
): Buffer {
  const header = digits(id, 1) + digits(usage << 3, 1) + digits(cscdBytes, 2) + '00000000';
  const lengths = digits(segmentBytes, 4) + digits(inline, 4);
  return Buffer.from(header + lengths + cscds.join('') + segments.join(''), 'hex');
}

const copyCdb = (length: number): number[] => [
  0x83,
  ...new Array<number>(11).fill(0),
  length >> 8,
  length & 0xff,
  0,
  0,
];
const receive = (action: number, id = 1, length = 255): number[] => [
  ...[0x84, action, id, ...new Array<number>(10).fill(0), length, 0, 0],
];

function copy(bench: Bench, list: Buffer, length = list.length): ReturnType<Bench['send']> {
  return bench.send(copyCdb(length), { dataOut: list });
}

describe('EXTENDED COPY (SPC-4 6.4)', () => {
  it('copies within a unit and to another one, in pieces that fit in memory', () => {
    const bench = makeBench();
    const first = bench.unit(0).bench;
    const second = bench.unit(1).bench;
    const before = Uint8Array.from(first.bytes);
    const list = parameters(
      [cscd(0), cscd(1)],
      [segment({ count: 16, from: 3, to: 100 }), segment({ destination: 1, count: 6000, from: 200, to: 7 })],
    );
    expect(copy(bench, list).status).toBe(ScsiStatus.good);
    expect(hexOf(first.bytes.subarray(100 * 512, 116 * 512))).toBe(hexOf(before.subarray(3 * 512, 19 * 512)));
    expect(Buffer.compare(second.bytes.subarray(7 * 512, 6007 * 512), before.subarray(200 * 512, 6200 * 512))).toBe(
      0,
    );
    expect(Buffer.compare(first.bytes.subarray(116 * 512), before.subarray(116 * 512))).toBe(0);
    expect(first.largestRequest).toBe(1024 * 1024);
  });

  it('counts blocks of the source, or of the destination, where they differ', () => {
    const bench = makeBench();
    const first = bench.unit(0).bench;
    const third = bench.unit(2).bench;
    const cscds = [cscd(0), cscd(2)];
    expect(copy(bench, parameters(cscds, [segment({ destination: 1, count: 16, from: 8, to: 1 })])).status).toBe(0);
    expect(hexOf(third.bytes.subarray(4096, 3 * 4096))).toBe(hexOf(first.bytes.subarray(4096, 3 * 4096)));
    const counted = segment({ destination: 1, count: 2, from: 16, to: 5, flags: 0x02 });
    expect(copy(bench, parameters(cscds, [counted])).status).toBe(0);
    expect(hexOf(third.bytes.subarray(5 * 4096, 7 * 4096))).toBe(hexOf(first.bytes.subarray(8192, 16384)));
    const inexact = parameters(cscds, [segment({ destination: 1, count: 15 })]);
    expect(senseOf(copy(bench, inexact))).toEqual([0xa, 0x260a]);
  });

  it('does nothing with an empty list, or one without segments', () => {
    expect(copy(makeBench(), Buffer.alloc(0)).status).toBe(ScsiStatus.good);
    expect(copy(makeBench(), parameters([cscd(0)], [])).status).toBe(ScsiStatus.good);
    expect(copy(makeBench(), parameters([cscd(0)], [segment({ count: 0 })])).status).toBe(ScsiStatus.good);
  });

  it('refuses a list cut anywhere, or longer than it takes, for its length', () => {
    const list = parameters([cscd(0), cscd(1)], [segment({ destination: 1 })]);
    const bench = makeBench();
    for (let length = 1; length < list.length; length += 1) {
      expect(senseOf(copy(bench, list.subarray(0, length), length)), `${length} bytes`).toEqual([0x5, 0x1a00]);
    }
    expect(senseOf(copy(makeBench(), list.subarray(0, 40), list.length))).toEqual([0x5, 0x1a00]);
    const many = parameters(new Array<string>(17).fill(cscd(0)), new Array<string>(65).fill(segment({ to: 16 })));
    expect(senseOf(copy(makeBench(), many))).toEqual([0x5, 0x1a00]);
    const uneven = parameters([cscd(0) + '00'], [segment({ to: 16 })]);
    expect(senseOf(copy(makeBench(), uneven))).toEqual([0x5, 0x1a00]);
  });

  it('refuses more descriptors than it takes, and kinds it does not know', () => {
    const one = segment({ to: 16 });
    expect(senseOf(copy(makeBench(), parameters(new Array<string>(17).fill(cscd(0)), [one])))).toEqual([0x5, 0x2606]);
    expect(senseOf(copy(makeBench(), parameters([cscd(0)], new Array<string>(65).fill(one))))).toEqual([0x5, 0x2608]);
    expect(senseOf(copy(makeBench(), parameters(['e0' + cscd(0).slice(2)], [one])))).toEqual([0x5, 0x2607]);
    const stream = '03000010' + '00'.repeat(16);
    expect(senseOf(copy(makeBench(), parameters([cscd(0)], [stream])))).toEqual([0x5, 0x2609]);
    expect(senseOf(copy(makeBench(), parameters([cscd(0)], [one], { inline: 4 })))).toEqual([0x5, 0x260b]);
  });

  it('points at what is wrong in header and CSCD descriptors', () => {
    const cases: [list: Buffer, pointer: string][] = [
      [parameters([cscd(0)], [segment({})], { usage: 1 }), '8c0001'],
      [parameters([cscd(0)], [segment({})], { usage: 3 }), '800000'],
      [parameters([cscd(0, { blockLength: 4096 })], [segment({})]), '80002d'],
    ];
    for (const [list, pointer] of cases) {
      const answer = copy(makeBench(), list);
      expect(senseOf(answer)).toEqual([0x5, 0x2600]);
      expect(hexOf(answer.sense?.subarray(15) ?? [])).toBe(pointer);
    }
    const ofOtherKind = copy(makeBench(), parameters([cscd(0, { flags: 0xc0 })], [segment({})]));
    expect(ofOtherKind.status).toBe(0);
  });

  it('ends with COPY ABORTED for segments that cannot be done, and has copied nothing then', () => {
    const good = segment({ count: 8, from: 0, to: 64 });
    const cases: [why: string, cscds: string[], segment: string, code: number, pointer: string][] = [
      ['no such source', [cscd(0)], segment({ source: 1 }), 0x0d02, 'a00004'],
      ['no such destination', [cscd(0)], segment({ destination: 1 }), 0x0d02, 'a00006'],
      ['names no unit', [cscd(0), cscd(5)], segment({ destination: 1 }), 0x0d02, 'a00006'],
      ['null device', [cscd(0), cscd(1, { flags: 0x20 })], segment({ destination: 1 }), 0x0d02, 'a00006'],
      ['a tape', [cscd(0), cscd(1, { flags: 0x01 })], segment({ destination: 1 }), 0x0d03, 'a00006'],
      ['read past the end', [cscd(0)], segment({ from: blocks - 7 }), 0x0000, 'a0000c'],
      ['written past the end', [cscd(0)], segment({ to: blocks - 7 }), 0x0000, 'a00014'],
      ['far past the end', [cscd(0)], segment({ to: 2 ** 52 }), 0x0000, 'a00014'],
    ];
    for (const [why, cscds, bad, code, pointer] of cases) {
      const bench = makeBench();
      const before = bench.units.map((unit) => Buffer.from(unit.bench.bytes));
      const answer = copy(bench, parameters(cscds, [good, bad]));
      expect(senseOf(answer), why).toEqual([0xa, code]);
      expect(hexOf(answer.sense?.subarray(15) ?? []), why).toBe(pointer);
      bench.units.forEach((unit, lun) => expect(before[lun]?.equals(unit.bench.bytes), why).toBe(true));
    }
  });

  it('respects what others have reserved, at the source and at the destination', () => {
    const list = parameters([cscd(0), cscd(1)], [segment({ source: 1, destination: 0 })]);
    const bench = makeBench();
    bench.unit(1).reserved = 'write';
    expect(copy(bench, list).status).toBe(ScsiStatus.good);
    bench.unit(1).reserved = 'all';
    expect(senseOf(copy(bench, list))).toEqual([0xa, 0x0d01]);
    bench.unit(1).reserved = 'write';
    const reverse = parameters([cscd(0), cscd(1)], [segment({ source: 0, destination: 1 })]);
    expect(senseOf(copy(bench, reverse))).toEqual([0xa, 0x0d01]);
  });

  it('tells the host what it can handle by itself, and other faults as the copy’s', () => {
    const list = parameters([cscd(0), cscd(1)], [segment({ destination: 1 })]);
    const ends = { moved: [0x2, 0x040a], noSpace: [0x7, 0x2707], io: [0xa, 0x0d01] } as const;
    for (const fault of ['moved', 'noSpace', 'io'] as const) {
      for (const lun of [0, 1]) {
        const bench = makeBench();
        bench.unit(lun).bench.fault = fault;
        expect(senseOf(copy(bench, list))).toEqual(ends[fault]);
      }
    }
  });

  it('stops between pieces when it is aborted', () => {
    const bench = makeBench();
    const list = parameters([cscd(0), cscd(1)], [segment({ destination: 1, count: 8000 })]);
    const answer = bench.start(copyCdb(list.length), { dataOut: list });
    bench.turn.shift()?.();
    bench.turn.shift()?.();
    bench.unit(0).aborted = true;
    bench.turn.shift()?.();
    expect(bench.turn).toHaveLength(0);
    expect(answer()).not.toBeNull();
  });

  it('does not write what it was aborted for while others had the blocks to themselves', () => {
    const bench = makeBench();
    const list = parameters([cscd(0), cscd(1)], [segment({ destination: 1, count: 4 })]);
    let release = (): void => undefined;
    bench.unit(1).exclusively(0, bench.unit(1).unit.sizeBytes, (done) => (release = done));
    const answer = bench.start(copyCdb(list.length), { dataOut: list });
    bench.settle();
    bench.unit(0).aborted = true;
    release();
    // A write would be in the turn.
    expect(bench.turn).toHaveLength(0);
    expect(answer()).not.toBeNull();
  });
});

describe('RECEIVE COPY RESULTS (SPC-4 6.17 to 6.20)', () => {
  const list = parameters(
    [cscd(0), cscd(1)],
    [segment({ destination: 1, count: 4 }), segment({ count: 0 }), segment({ destination: 1, count: 8 })],
  );

  it('tells the operating parameters', () => {
    expect(hexOf(makeBench().send(receive(0x03, 0)).data)).toBe(
      '0000002a' +
        '01000000' +
        '00100040' + // 16 CSCDs, 64 segments
        '00000900' + // in at most 2304 bytes
        '0ffff000' +
        '00000000'.repeat(3) +
        '0000001010' + // 16 copies at a time
        '090000' +
        '000000' +
        '0202e4',
    );
  });

  it('follows a copy by its list identifier: under way, ended, and not that of another nexus', () => {
    const bench = makeBench();
    expect(senseOf(bench.send(receive(0x00)))).toEqual([0x5, 0x2400]);
    const answer = bench.start(copyCdb(list.length), { dataOut: list });
    const early = bench.start(receive(0x00));
    expect(hexOf(early()?.data ?? [])).toBe('00000008' + '00000000' + '00000000');
    const again = bench.start(copyCdb(list.length), { dataOut: list })();
    expect(again && senseOf(again)).toEqual([0x5, 0x0016]);
    bench.settle();
    expect(answer()?.status).toBe(ScsiStatus.good);
    expect(hexOf(bench.send(receive(0x00)).data)).toBe('00000008' + '01000300' + '00001800');
    expect(hexOf(bench.send(receive(0x01)).data)).toBe('00000000');
    expect(hexOf(bench.send(receive(0x04)).data)).toBe('00000000');
    expect(senseOf(bench.send(receive(0x00, 2)))).toEqual([0x5, 0x2400]);
    expect(senseOf(bench.send(receive(0x00), { nexus: nexusOf(2) }))).toEqual([0x5, 0x2400]);
  });

  it('keeps how a copy failed', () => {
    const bench = makeBench();
    bench.unit(0).bench.fault = 'io';
    const { sense } = copy(bench, list);
    expect(hexOf(bench.send(receive(0x00)).data)).toBe('00000008' + '02000000' + '00000000');
    const details = bench.send(receive(0x04)).data;
    expect(hexOf(details)).toBe('0000004a' + '00'.repeat(52) + '02000012' + hexOf(sense ?? []));
  });

  it('keeps nothing of a copy without an identifier, and runs no more than it said at a time', () => {
    const bench = makeBench();
    const unidentified = parameters([cscd(0), cscd(1)], [segment({ destination: 1 })], { id: 0, usage: 3 });
    const started = Array.from({ length: 17 }, () =>
      bench.start(copyCdb(unidentified.length), { dataOut: unidentified }),
    );
    const last = started[16]?.();
    expect(last && senseOf(last)).toEqual([0x5, 0x5503]);
    bench.settle();
    expect(started.slice(0, 16).map((answer) => answer()?.status)).toEqual(new Array(16).fill(ScsiStatus.good));
    expect(senseOf(bench.send(receive(0x00, 0)))).toEqual([0x5, 0x2400]);
    expect(copy(bench, unidentified).status).toBe(ScsiStatus.good);
  });
});
