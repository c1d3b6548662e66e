/** Data of SCSI commands both ways, over every agreement a login may come to. */
import { describe, expect, it } from 'vitest';
import { pattern, read10, write10 } from './host.ts';
import { World } from './world.ts';

const overflow = (bytes: number): number => bytes;
const underflow = (bytes: number): number => -bytes;

describe('data to the target', () => {
  const agreements = [true, false].flatMap((initialR2T) =>
    [true, false].flatMap((immediateData) =>
      [512, 4096, 65536].flatMap((firstBurst) =>
        [4096, 65536]
          .filter((maxBurst) => maxBurst >= firstBurst)
          .map((maxBurst) => ({ initialR2T, immediateData, firstBurst, maxBurst })),
      ),
    ),
  );

  it.each(agreements)(
    'arrives whole: InitialR2T $initialR2T, ImmediateData $immediateData, first burst $firstBurst, burst $maxBurst',
    ({ initialR2T, immediateData, firstBurst, maxBurst }) => {
      const world = new World();
      const line = world.enter({
        keys: [
          `InitialR2T=${initialR2T ? 'Yes' : 'No'}`,
          `ImmediateData=${immediateData ? 'Yes' : 'No'}`,
          `FirstBurstLength=${firstBurst}`,
          `MaxBurstLength=${maxBurst}`,
        ],
      });
      expect(line.host.settings).toMatchObject({ initialR2T, immediateData, firstBurst, maxBurst });
      let seed = 1;
      for (const sendSegment of [512, 3072, 262144]) {
        line.host.settings = { ...line.host.settings, sendSegment };
        for (const blocks of [1, 2, 8, 9, 128, 129, 300]) {
          const all = pattern(blocks * 512, (seed += 1));
          const { answer, r2ts } = line.write(write10(seed, blocks), all);
          expect(answer).toMatchObject({ status: 0, response: 0, residual: 0 });
          expect(world.device.data.subarray(seed * 512, seed * 512 + all.length).equals(all)).toBe(true);
          const unasked = initialR2T ? (immediateData ? Math.min(sendSegment, firstBurst) : 0) : firstBurst;
          expect(r2ts.length).toBe(Math.ceil(Math.max(0, all.length - unasked) / maxBurst));
          expect(r2ts.map((r2t) => r2t.dataSn)).toEqual(r2ts.map((_, index) => index));
        }
      }
      expect(world.server.usedBytes).toBe(0);
    },
  );

  it('is asked for in as many bursts at once as MaxOutstandingR2T allows', () => {
    const world = new World();
    const line = world.enter({
      keys: ['ImmediateData=No', 'MaxBurstLength=4096', 'FirstBurstLength=4096', 'MaxOutstandingR2T=3'],
    });
    const all = pattern(16384);
    const first = line.say(line.host.write({ cdb: write10(0, 32), all }).bytes);
    // Ours is 1, and the lesser holds (RFC 7143 13.17).
    expect(first.map((answer) => answer.opcode)).toEqual([0x31]);
  });

  it.each([
    { name: 'nothing', expected: 0, blocks: 1, residual: overflow(512) },
    { name: 'less than a block', expected: 200, blocks: 1, residual: overflow(312) },
    { name: 'fewer blocks', expected: 512, blocks: 2, residual: overflow(512) },
    { name: 'more than the command takes', expected: 10000, blocks: 1, residual: underflow(9488) },
    { name: 'more, by whole bursts', expected: 600_000, blocks: 2, residual: underflow(598_976) },
  ])('is short or over when the initiator expects $name (RFC 7143 11.4.5)', ({ expected, blocks, residual }) => {
    for (const keys of [
      ['InitialR2T=Yes', 'ImmediateData=No'],
      ['InitialR2T=No'],
      ['ImmediateData=No', 'InitialR2T=No'],
    ]) {
      const world = new World();
      world.device.data.fill(0xaa);
      const line = world.enter({ keys });
      const all = pattern(expected);
      const { answer } = line.write(write10(0, blocks), all);
      expect(answer).toMatchObject({ status: 0, residual });
      const stored = Math.min(expected, blocks * 512);
      expect(world.device.data.subarray(0, stored).equals(all.subarray(0, stored))).toBe(true);
      expect(world.device.data.subarray(stored, 2048).every((byte) => byte === 0xaa)).toBe(true);
    }
  });

  describe('is refused', () => {
    const faults = {
      'a DataSN that is not the next': { dataSn: 1 },
      'an offset that is not the next': { offset: 512 },
    };
    it.each(Object.entries(faults))('for %s; the session goes on', (_name, fault) => {
      const world = new World();
      const line = world.enter({ keys: ['ImmediateData=No'] });
      const all = pattern(1024);
      const [r2t] = line.say(line.host.write({ cdb: write10(0, 2), all }).bytes);
      const { tag } = line.host;
      const transferTag = r2t?.transferTag ?? 0;
      const half = all.subarray(0, 512);
      const during = line.say(line.host.dataOut({ tag, transferTag, offset: 0, data: half, final: false, ...fault }));
      // RFC 7143 11.4.2: not answered before the initiator has said all.
      expect(during).toEqual([]);
      const [answer] = line.say(
        line.host.dataOut({ tag, transferTag, offset: 512, dataSn: 1, data: half, final: true }),
      );
      expect(answer).toMatchObject({ opcode: 0x21, status: 2 });
      expect(answer?.data.subarray(2).toString('hex', 0, 14)).toBe('70000b000000000a000000004705');
      expect(world.device.calls.filter((call) => call.startsWith('write'))).toEqual([]);
      expect(line.write(write10(0, 2), all).answer.status).toBe(0);
      expect(world.server.usedBytes).toBe(0);
    });

    it('when a burst is cut short or too long (0Ch/0Dh)', () => {
      for (const bytes of [512, 1536]) {
        const world = new World();
        const line = world.enter({ keys: ['ImmediateData=No'] });
        const [r2t] = line.say(line.host.write({ cdb: write10(0, 2), all: pattern(1024) }).bytes);
        const { tag } = line.host;
        const transferTag = r2t?.transferTag ?? 0;
        const [answer] = line.say(
          line.host.dataOut({ tag, transferTag, offset: 0, data: pattern(bytes), final: true }),
        );
        expect(answer?.data.subarray(2).toString('hex', 2, 14)).toBe('0b000000000a000000000c0d');
      }
    });

    it('when nobody has asked for it (0Ch/0Ch)', () => {
      const world = new World();
      const line = world.enter({ keys: ['ImmediateData=No', 'InitialR2T=Yes'] });
      const { host } = line;
      const data = pattern(512);
      const [immediate] = line.say(host.command({ write: true, cdb: write10(0, 1), data }));
      expect(immediate?.data.subarray(2).toString('hex', 12, 14)).toBe('0c0c');
      expect(line.say(host.command({ write: true, final: false, expected: 512, cdb: write10(0, 1) }))).toEqual([]);
      const [unsolicited] = line.say(host.dataOut({ offset: 0, data, final: true }));
      expect(unsolicited?.data.subarray(2).toString('hex', 12, 14)).toBe('0c0c');
      expect(world.device.calls.filter((call) => call.startsWith('write'))).toEqual([]);
    });

    it('when a command both takes and gives', () => {
      const world = new World();
      const line = world.enter();
      const [answer] = line.say(
        line.host.command({ write: true, read: true, cdb: write10(0, 1), data: pattern(512) }),
      );
      expect(answer).toMatchObject({ status: 2 });
      expect(answer?.data[4]).toBe(0x05);
    });

    it('by Reject when it answers another R2T', () => {
      const world = new World();
      const line = world.enter({ keys: ['ImmediateData=No'] });
      const [r2t] = line.say(line.host.write({ cdb: write10(0, 1), all: pattern(512) }).bytes);
      const { tag } = line.host;
      const wrong = line.host.dataOut({
        tag,
        transferTag: (r2t?.transferTag ?? 0) + 1,
        offset: 0,
        data: pattern(512),
        final: true,
      });
      const [reject] = line.say(wrong);
      expect(reject).toMatchObject({ opcode: 0x3f, response: 0x04 });
      expect(reject?.data.equals(wrong.subarray(0, 48))).toBe(true);
    });

    it('for its digest: Reject, and the command fails when all has come (RFC 7143 7.8)', () => {
      const world = new World();
      const line = world.enter({ keys: ['ImmediateData=No', 'DataDigest=CRC32C', 'HeaderDigest=CRC32C'] });
      expect(line.host.settings).toMatchObject({ dataDigest: true, headerDigest: true });
      const [r2t] = line.say(line.host.write({ cdb: write10(0, 2), all: pattern(1024) }).bytes);
      const { tag } = line.host;
      const transferTag = r2t?.transferTag ?? 0;
      const spoilt = line.host.dataOut({ tag, transferTag, offset: 0, data: pattern(512), final: false });
      spoilt[60] = (spoilt[60] ?? 0) ^ 1;
      const [reject] = line.say(spoilt);
      expect(reject).toMatchObject({ opcode: 0x3f, response: 0x02 });
      const rest = line.host.dataOut({ tag, transferTag, dataSn: 1, offset: 512, data: pattern(512), final: true });
      const [answer] = line.say(rest);
      expect(answer?.data.subarray(2).toString('hex', 12, 14)).toBe('4705');
      const { answer: next } = line.write(write10(0, 2), pattern(1024));
      expect(next.status).toBe(0);
    });
  });

  it('for a command that is not there any more is passed over', () => {
    const world = new World();
    const line = world.enter();
    expect(
      line.say(line.host.dataOut({ tag: 0x9999, transferTag: 5, offset: 0, data: pattern(512), final: true })),
    ).toEqual([]);
  });
});

describe('data to the initiator', () => {
  const cuts = [
    { segment: 512, burst: 1024 },
    { segment: 1024, burst: 512 },
    { segment: 8192, burst: 65536 },
    { segment: 262144, burst: 1048576 },
  ];
  const digests = ['None', 'CRC32C'];
  it.each(cuts.flatMap((cut) => digests.map((digest) => ({ ...cut, digest }))))(
    'comes in segments of $segment, bursts of $burst, digests $digest',
    ({ segment, burst, digest }) => {
      const world = new World();
      world.device.data.set(pattern(1024 * 1024));
      const line = world.enter({
        keys: [
          `MaxRecvDataSegmentLength=${segment}`,
          `MaxBurstLength=${burst}`,
          'FirstBurstLength=512',
          `HeaderDigest=${digest}`,
          `DataDigest=${digest}`,
        ],
      });
      for (const blocks of [1, 3, 130, 1000]) {
        const bytes = blocks * 512;
        const answers = line.say(line.host.command({ read: true, expected: bytes, cdb: read10(7, blocks) }));
        expect(
          Buffer.concat(answers.map((answer) => answer.data)).equals(world.device.data.subarray(3584, 3584 + bytes)),
        ).toBe(true);
        let offset = 0;
        answers.forEach((answer, index) => {
          expect(answer).toMatchObject({ opcode: 0x25, offset, dataSn: index, tag: line.host.tag });
          offset += answer.data.length;
          const last = index === answers.length - 1;
          expect((answer.flags & 0x80) !== 0).toBe(last || offset % burst === 0);
          expect((answer.flags & 0x01) !== 0).toBe(last);
          expect(answer.data.length).toBeLessThanOrEqual(Math.min(segment, burst));
        });
      }
      expect(world.server.usedBytes).toBe(0);
    },
  );

  it.each([
    { name: 'nothing', expected: 0, residual: overflow(1024) },
    { name: 'less', expected: 200, residual: overflow(824) },
    { name: 'more', expected: 10000, residual: underflow(8976) },
  ])('is short or over when the initiator expects $name (RFC 7143 11.4.5)', ({ expected, residual }) => {
    for (const digest of digests) {
      const world = new World();
      world.device.data.set(pattern(1024));
      const line = world.enter({ keys: [`DataDigest=${digest}`] });
      const answers = line.say(line.host.command({ read: true, expected, cdb: read10(0, 2) }));
      expect(answers.at(-1)).toMatchObject({ status: 0, residual });
      const data = Buffer.concat(answers.map((answer) => answer.data));
      expect(data.equals(pattern(1024).subarray(0, expected))).toBe(true);
    }
  });

  it('is not given for a command said to write; what the initiator sends is passed over', () => {
    const world = new World();
    const line = world.enter();
    const [answer] = line.say(line.host.command({ write: true, cdb: read10(0, 1), data: pattern(512) }));
    expect(answer).toMatchObject({ opcode: 0x21, status: 0 });
  });

  it('goes before its sense when a command fails in the middle', () => {
    const world = new World();
    world.device.data.set(pattern(1024));
    world.device.script = (task) => task.complete(2, Uint8Array.of(0x70, 0, 3), 512);
    const line = world.enter();
    const answers = line.say(line.host.command({ read: true, expected: 1024, cdb: read10(0, 2) }));
    expect(answers.map((answer) => answer.opcode)).toEqual([0x25, 0x21]);
    expect(answers[0]?.data.equals(pattern(512))).toBe(true);
    expect(answers[1]).toMatchObject({ status: 2, residual: underflow(512), dataSn: 1 });
    expect(answers[1]?.data).toEqual(Buffer.from([0, 3, 0x70, 0, 3]));
  });
});
