/** Whatever CDBs and parameter lists say, a command completes once, with a status of its own, and a refusal changes nothing. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { copyCommands } from '../../../src/hosts/scsi/copy.ts';
import { inquiryCommands } from '../../../src/hosts/scsi/inquiry.ts';
import { modeCommands } from '../../../src/hosts/scsi/mode.ts';
import { portGroupCommands } from '../../../src/hosts/scsi/port-groups.ts';
import { reportCommands } from '../../../src/hosts/scsi/report.ts';
import { ScsiStatus } from '../../../src/hosts/scsi/task.ts';
import { type Answer, Bench, hexOf, senseOf, wwidOf } from './bench-unit.ts';

const commands = [...inquiryCommands, ...modeCommands, ...reportCommands, ...portGroupCommands, ...copyCommands];

function makeBench(): Bench {
  return new Bench({
    commands,
    volumes: [
      { blocks: 64, blockSizeBytes: 512 },
      { blocks: 16, blockSizeBytes: 4096 },
    ],
  });
}

/** Any bytes, or ones that look right with a few of them wrong. */
function spoilt(good: readonly string[]): fc.Arbitrary<Uint8Array> {
  const like = fc
    .tuple(
      fc.constantFrom(...good.map((hex) => Buffer.from(hex, 'hex'))),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      fc.nat(12),
    )
    .map(([bytes, changes, cut]) => {
      const copy = Uint8Array.from(bytes);
      for (const [at, value] of changes) copy[at % copy.length] = value;
      return copy.subarray(0, copy.length - (cut > 8 ? cut - 8 : 0));
    });
  return fc.oneof({ arbitrary: like, weight: 3 }, { arbitrary: fc.uint8Array({ maxLength: 200 }), weight: 1 });
}

function checkAnswer({ status, sense, data }: Answer, allocated: number): void {
  if (status === ScsiStatus.good) {
    expect(sense).toBeNull();
    expect(data.length).toBeLessThanOrEqual(allocated);
  } else {
    expect(status).toBe(ScsiStatus.checkCondition);
    expect(data.length).toBe(0);
    expect([0x70, 0x72]).toContain(sense?.[0]);
    expect(sense?.length).toBe(8 + (sense?.[7] ?? 0));
    expect([0x2, 0x4, 0x5, 0x7, 0xa]).toContain(senseOf({ status, sense, data })?.[0]);
  }
}

it('answers every CDB that its usage data allows', () => {
  const bench = makeBench();
  const sent = fc.tuple(
    fc.constantFrom(...commands),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.uint8Array({ maxLength: 64 }),
    fc.nat(2),
  );
  const property = fc.property(sent, ([command, noise, dataOut, lun]) => {
    const cdb = command.usage.map((mask, at) => (noise[at] ?? 0) & mask);
    cdb[0] = command.opcode;
    if (command.serviceAction !== null) cdb[1] = ((cdb[1] ?? 0) & 0xe0) | command.serviceAction;
    if (lun === 2 && command.withoutUnit === undefined) return;
    checkAnswer(bench.send(cdb, { lun, dataOut }), 65536);
  });
  fc.assert(property, { numRuns: 1000, seed: 20261128 });
});

it('takes mode parameters whole or not at all', () => {
  const control = '0a0a0600' + '00000000' + 'ffff0000';
  const caching = '08120400' + '00'.repeat(16);
  const good = ['00000000' + control, '00000008' + '00000040' + '00000200' + caching + control];
  const property = fc.property(spoilt(good), fc.boolean(), (list, ten) => {
    const bench = makeBench();
    const cdb = ten ? [0x55, 0x10, 0, 0, 0, 0, 0, 0, list.length, 0] : [0x15, 0x10, 0, 0, list.length, 0];
    const before = hexOf(bench.send([0x1a, 0, 0x3f, 0, 255, 0]).data);
    const answer = bench.send(cdb, { dataOut: list });
    checkAnswer(answer, 0);
    const after = hexOf(bench.send([0x1a, 0, 0x3f, 0, 255, 0]).data);
    // Nothing but D_SENSE can have changed, and that only if all was well.
    expect([before, before.replace('0a0a02', '0a0a06')]).toContain(after);
    if (answer.status !== ScsiStatus.good) expect(after).toBe(before);
    expect(bench.units[0]?.attentions.length).toBe(after === before ? 0 : 1);
  });
  fc.assert(property, { numRuns: 1000, seed: 20261128 });
});

it('copies what the list says, or nothing of it', () => {
  const cscd = (lun: number): string =>
    'e4000000' + '01030010' + wwidOf(lun) + '00000000' + (lun === 0 ? '00000200' : '00001000');
  const segment = (ids: string, count: string, from: string, to: string): string =>
    '02000018' + ids + '0000' + count + '00'.repeat(7) + from + '00'.repeat(7) + to;
  const good = [
    '01000020' + '00000000' + '0000001c' + '00000000' + cscd(0) + segment('00000000', '0008', '00', '10'),
    '02100040' +
      '00000000' +
      '00000038' +
      '00000000' +
      cscd(0) +
      cscd(1) +
      segment('00000001', '0010', '08', '01') +
      segment('00010000', '0001', '03', '20'),
  ];
  const pattern = new Uint8Array(65537).map((_, at) => at + (at >> 8));
  let copied = 0;
  const property = fc.property(spoilt(good), (list) => {
    const bench = makeBench();
    for (const { bench: volume, lun } of bench.units) {
      volume.bytes.set(pattern.subarray(lun, lun + volume.bytes.length));
    }
    const before = bench.units.map((unit) => Buffer.from(unit.bench.bytes));
    const answer = bench.send([0x83, ...new Array<number>(12).fill(0), list.length, 0, 0], { dataOut: list });
    checkAnswer(answer, 0);
    const changed = bench.units.some((unit, lun) => before[lun]?.equals(unit.bench.bytes) !== true);
    if (answer.status !== ScsiStatus.good) expect(changed).toBe(false);
    if (changed) copied += 1;
  });
  fc.assert(property, { numRuns: 1000, seed: 20261128 });
  expect(copied).toBeGreaterThan(50);
});
