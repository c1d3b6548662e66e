import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/base/crc32c.ts';
import type { Frame } from '../../../src/link/frame.ts';
import { decodeRecords, encodeRecords, verifyRecordData } from '../../../src/link/messages/records.ts';
import type { StreamRecord } from '../../../src/stream/record.ts';
import { anyPosition, anyRecords, frameOf, sampleHeader, sampleRecord, sampleRecords } from '../samples.ts';

const refusal = (records: readonly StreamRecord[]): string => {
  const decoded = decodeRecords(frameOf(encodeRecords(sampleHeader, records)));
  return decoded.ok ? 'accepted' : decoded.reason;
};

/** The sample frame with bytes of its control part overwritten; the frame around it stays true. */
const patched = (offset: number, ...bytes: number[]): Frame => {
  const frame = frameOf(encodeRecords(sampleHeader, sampleRecords));
  const control = Uint8Array.from(frame.control);
  control.set(bytes, offset);
  return { ...frame, control };
};

describe('records', () => {
  it('HG-1: come back as they were stamped, in order', () => {
    fc.assert(
      fc.property(anyRecords, anyPosition, anyPosition, fc.nat(0xffff_ffff), (records, stamped, stable, attachId) => {
        const header = { attachId, generation: 9, stamped, stable };
        const decoded = decodeRecords(frameOf(encodeRecords(header, records)));
        expect(decoded).toEqual({ ok: true, value: { ...header, records } });
        expect(records.every(verifyRecordData)).toBe(true);
      }),
    );
  });

  it('are encoded without copying their data', () => {
    const parts = encodeRecords(sampleHeader, sampleRecords);
    expect(parts.slice(1)).toEqual(sampleRecords.flatMap(({ data }) => data ?? []));
    expect(parts[1]).toBe(sampleRecords[0]?.data);
  });

  it('are not true when a bit of their data is not', () => {
    const record = sampleRecord('write', 1);
    expect(verifyRecordData(record)).toBe(true);
    expect(verifyRecordData({ ...record, data: Uint8Array.of(1, 2, 3, 5) })).toBe(false);
  });

  it.each<[string, StreamRecord[], string]>([
    ['that repeat a position', [sampleRecord('flush', 5), sampleRecord('flush', 5)], 'flush 3:5 after 3:5'],
    ['that go back', [sampleRecord('flush', 5), sampleRecord('skip', 4)], 'skip 3:4 after 3:5'],
    ['of seq 0', [sampleRecord('flush', 0)], 'flush 3:0 is of epoch 1'],
    ['before their epoch', [sampleRecord('flush', 5, { epoch: 6 })], 'flush 3:5 is of epoch 6'],
    ['without an epoch', [sampleRecord('flush', 5, { epoch: 0 })], 'flush 3:5 is of epoch 0'],
    ['that are a flush with a range', [sampleRecord('flush', 5, { length: 1 })], 'flush 3:5 has a range, 0 + 1'],
    ['that are a skip with a volume', [sampleRecord('skip', 5, { volume: 1 })], 'skip 3:5 has a volume, 1'],
    ['without length', [sampleRecord('zero', 5, { length: 0 })], 'zero 3:5 has no length'],
    [
      'past the end of numbers',
      [sampleRecord('zero', 5, { offset: Number.MAX_SAFE_INTEGER })],
      'zero 3:5 ends above 2^53 - 1',
    ],
    ['that are a hole with data', [sampleRecord('write', 5, { hole: true })], 'write 3:5 is marked as a hole'],
    ['with a checksum of nothing', [sampleRecord('zero', 5, { checksum: 1 })], 'zero 3:5 has a checksum but no data'],
    ['without their data', [sampleRecord('write', 5, { data: null })], 'write 3:5 has no piece'],
    ['with other data', [sampleRecord('copy', 5, { length: 3 })], 'copy 3:5 is 3 bytes long, its piece 4'],
    [
      'with data too long for one record',
      [sampleRecord('write', 5, { length: 2 ** 25 + 1 })],
      'write 3:5 is 33554433 bytes long, at most 33554432 allowed',
    ],
    [
      'whose data belongs to none',
      [sampleRecord('flush', 5, { data: new Uint8Array(3) })],
      '1 pieces for 0 records with data',
    ],
  ])('are refused %s', (_, records, reason) => {
    expect(refusal(records)).toBe(reason);
  });

  it.each<[string, Frame, string]>([
    ['a cut control part', { type: 32, control: new Uint8Array(55), pieces: [] }, 'control part of 55 bytes'],
    ['a count that lies', patched(48, 5), '5 records in a control part of 344 bytes'],
    ['a huge count', patched(48, 255, 255, 255, 255), '4294967295 records in a control part of 344 bytes'],
    ['a generation above 2^53 - 1', patched(8, 0, 0, 0, 0, 0, 0, 0x20, 0), 'a position above 2^53 - 1'],
    ['a reserved field in use', patched(4, 1), 'a reserved field that is not 0'],
    ['an unknown kind', patched(56, 7), 'a record of kind 7'],
    ['kind 0', patched(56, 0), 'a record of kind 0'],
    ['unknown flags', patched(57, 2), 'write 3:5 has unknown flags'],
    [
      'a seq above 2^53 - 1',
      patched(56 + 24, 0, 0, 0, 0, 0, 0, 0x20, 0),
      'write 3:9007199254740992 is above 2^53 - 1',
    ],
  ])('with %s are refused', (_, frame, reason) => {
    expect(decodeRecords(frame)).toEqual({ ok: false, reason });
  });

  it('are refused by the encoder when they are too many for a frame', () => {
    const records = Array.from({ length: 4097 }, (_, index) => sampleRecord('skip', index + 1));
    expect(() => encodeRecords(sampleHeader, records)).toThrow('4097 records in one frame');
    expect(refusal(records.slice(1))).toBe('accepted');
  });

  it('carry the checksum their owner took', () => {
    const data = new Uint8Array(4096).fill(9);
    const sent = sampleRecord('write', 1, { data, length: 4096, checksum: crc32c(data) });
    const decoded = decodeRecords(frameOf(encodeRecords(sampleHeader, [sent])));
    expect(decoded.ok && decoded.value.records.map((record) => [record.checksum, verifyRecordData(record)])).toEqual([
      [crc32c(data), true],
    ]);
  });
});
