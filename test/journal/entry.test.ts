import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  encodeEntry,
  encodeRecordsEntry,
  entryHeaderAt,
  inspectEntry,
  recordsEntryBytes,
  type EntryBody,
  type EntryPlace,
  type EntryStamp,
} from '../../src/journal/entry.ts';
import { decodeSegmentHeader, encodeSegmentHeader, sectorBytes } from '../../src/journal/segment-header.ts';
import type { StreamRecord } from '../../src/stream/record.ts';
import { anyPosition, anyRecords } from '../link/samples.ts';
import { fuzzEntries } from './fuzz.ts';
import { write, writes } from './samples.ts';

const place: EntryPlace = { tag: '0123456789abcdef', segment: 7, offset: 1024 };
const stamp: EntryStamp = { ...place, number: 3, synced: 2, wallMs: 1.7e12, position: { generation: 1, seq: 9 } };

function encodeRecords(records: readonly StreamRecord[]): Uint8Array {
  const bytes = records.reduce((sum, { data }) => sum + (data?.length ?? 0), 0);
  const room = new Uint8Array(recordsEntryBytes(records.length, bytes)).fill(0xee);
  const last = records.at(-1);
  return encodeRecordsEntry(
    { ...stamp, ...(last ? { position: { generation: last.generation, seq: last.seq } } : {}) },
    records,
    room,
  );
}

describe('an entry', () => {
  it('is read as it was written: records', () => {
    fc.assert(
      fc.property(
        anyRecords.filter((records) => records.length > 0),
        (records) => {
          const encoded = encodeRecords(records);
          expect(encoded.length % sectorBytes).toBe(0);
          expect(inspectEntry(encoded, place)).toMatchObject({ kind: 'entry', body: { kind: 'records', records } });
        },
      ),
    );
  });

  it('is read as it was written: everything else', () => {
    const anyBody = fc.oneof(
      fc.record({
        kind: fc.constant('members' as const),
        members: fc.array(
          fc.record({ volume: fc.nat(65_535), wwid: fc.string({ maxLength: 40 }), sizeBytes: fc.maxSafeNat() }),
        ),
      }),
      fc.record({
        kind: fc.constant('mark' as const),
        name: fc.string({ maxLength: 60, unit: 'grapheme' }).filter((name) => Buffer.byteLength(name) <= 255),
      }),
      fc.constant({ kind: 'note' as const }),
      fc.record({
        kind: fc.constant('index' as const),
        points: fc.array(fc.record({ offset: fc.maxSafeNat(), after: anyPosition })),
      }),
    );
    fc.assert(
      fc.property(anyBody, (body: Exclude<EntryBody, { kind: 'records' }>) => {
        expect(inspectEntry(encodeEntry(stamp, body), place)).toMatchObject({ kind: 'entry', header: stamp, body });
      }),
    );
  });

  it('is taken for itself at its own place only', () => {
    const encoded = encodeRecords(writes(1, 3));
    for (const other of [{ tag: 'f'.repeat(16) }, { segment: 8 }, { offset: 512 }]) {
      expect(inspectEntry(encoded, { ...place, ...other })).toMatchObject({ kind: 'rotten', header: null });
      expect(entryHeaderAt(encoded, { ...place, ...other })).toBeNull();
    }
  });

  it('lacking any of its sectors is torn, or blank without the first', () => {
    // Data with sectors of zeroes, which are not taken for missing ones.
    const encoded = encodeRecords([write(1, 3000), write(2, 4096, { data: new Uint8Array(4096) }), write(3, 600)]);
    expect(inspectEntry(encoded, place).kind).toBe('entry');
    for (let from = 0; from < encoded.length; from += sectorBytes) {
      const torn = encoded.slice();
      torn.fill(0, from, from + sectorBytes);
      const zeroes = Buffer.compare(torn, encoded) === 0;
      expect([from, inspectEntry(torn, place).kind]).toEqual([
        from,
        from === 0 ? 'blank' : zeroes ? 'entry' : 'torn',
      ]);
      expect(inspectEntry(encoded.subarray(0, from), place).kind).toBe(from === 0 ? 'blank' : 'torn');
    }
  });

  it('with all its sectors, but a changed one, is rotten', () => {
    const encoded = encodeRecords([write(1, 3000), write(2, 2000, { data: new Uint8Array(2000) })]);
    const used = 96 + 2 * 48 + 5000;
    for (let offset = 0; offset < used; offset += 3) {
      const rotten = encoded.slice();
      rotten[offset] = (rotten[offset] ?? 0) ^ 0x10;
      expect([offset, inspectEntry(rotten, place).kind]).toEqual([offset, 'rotten']);
    }
  });
});

describe('the header of a segment', () => {
  it('is read as it was written', () => {
    const number = fc.maxSafeNat();
    const id = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
    const anyHeader = fc.record({
      journalId: id,
      group: fc.string({ maxLength: 60 }),
      number,
      generation: number,
      generationId: fc.constantFrom('', 'ab'.repeat(16)),
      after: anyPosition,
      wallMs: number,
      recordsBefore: number,
      dataBytesBefore: number,
      previous: fc.record({ endBytes: number, indexAt: number, last: anyPosition }),
      oldest: number,
    });
    fc.assert(
      fc.property(anyHeader, (header) => {
        expect(decodeSegmentHeader(encodeSegmentHeader(header))).toEqual({ kind: 'header', header });
      }),
    );
  });
});

/** `npm run fuzz` asks for more, and for inputs nobody has seen yet; a failure names the seed. */
const inputs = Number(process.env['FUZZ_INPUTS'] ?? 20_000);
const seed = process.env['FUZZ_INPUTS'] === undefined ? 1 : Date.now();

describe('fuzz: hostile input', () => {
  it('to the decoders of a log ends in what it is or a named refusal', () => {
    const found = fuzzEntries(seed, inputs);
    // That the chaos reaches everything there is to reach:
    expect([...found.keys()].sort()).toEqual(['blank', 'entry', 'header', 'newer', 'rotten', 'torn']);
    for (const [kind, count] of found) expect([kind, count > inputs / 400]).toEqual([kind, true]);
  });
});
