/**
 * Hostile input for the decoders of a log: true entries and segment headers cut, changed and mixed, with their checksums
 * mended as often as not so that what lies behind them is reached too. Never an exception, whatever the bytes are.
 */
import { crc32c } from '../../src/base/crc32c.ts';
import { describeSegment } from '../../src/journal/describe.ts';
import { encodeEntry, encodeRecordsEntry, inspectEntry, recordsEntryBytes } from '../../src/journal/entry.ts';
import { decodeSegmentHeader, encodeSegmentHeader } from '../../src/journal/segment-header.ts';
import { generator, type Draw } from '../link/fuzz.ts';
import { write } from './samples.ts';

const journalId = '0123456789abcdef'.repeat(2);
const place = { tag: journalId.slice(0, 16), segment: 2, offset: 512 };
const stamp = { ...place, number: 1, synced: 0, wallMs: 1.7e12, position: { generation: 1, seq: 4 } };

const records = [
  write(1, 700),
  write(2, 4096, { kind: 'zero', data: null, hole: true }),
  write(3, 0, { kind: 'flush', data: null, offset: 0 }),
  write(4, 900, { kind: 'copy' }),
];
const entries = [
  encodeRecordsEntry(stamp, records, new Uint8Array(recordsEntryBytes(4, 1600))),
  encodeEntry(stamp, { kind: 'members', members: [{ volume: 1, wwid: '6a', sizeBytes: 2 ** 40 }] }),
  encodeEntry(stamp, { kind: 'mark', name: 'before the upgrade' }),
  encodeEntry(stamp, { kind: 'note' }),
  encodeEntry(stamp, { kind: 'index', points: [{ offset: 2 ** 20, after: { generation: 1, seq: 3 } }] }),
];
const segmentHeader = encodeSegmentHeader({
  journalId,
  group: 'g1',
  number: 2,
  generation: 1,
  generationId: 'ab'.repeat(16),
  after: { generation: 1, seq: 0 },
  wallMs: 1.7e12,
  recordsBefore: 5,
  dataBytesBefore: 6,
  previous: { endBytes: 7, indexAt: 8, last: { generation: 1, seq: 0 } },
  oldest: 1,
});

/** How often each outcome was found. Throws at the first input that does what none may; seed and number replay it. */
export function fuzzEntries(seed: number, count: number): Map<string, number> {
  const found = new Map<string, number>();
  const note = (kind: string): void => void found.set(kind, (found.get(kind) ?? 0) + 1);
  for (let number = 0; number < count; number++) {
    const draw = generator(seed * 1_000_003 + number);
    try {
      if (draw(4) === 0) note(decodeSegmentHeader(hostile(segmentHeader, 508, draw)).kind);
      else {
        const entry = hostile(entries[draw(entries.length)] ?? new Uint8Array(0), 92, draw);
        note(inspectEntry(entry, place).kind);
        if (draw(8) === 0)
          describeSegment(new Uint8Array(Buffer.concat([segmentHeader, entry, hostile(entry, 92, draw)])));
      }
    } catch (error) {
      throw new Error(`fuzzEntries(${seed}, …) fails at input ${number}`, { cause: error });
    }
  }
  return found;
}

function hostile(valid: Uint8Array, checksumAt: number, draw: Draw): Uint8Array {
  const bytes = valid.slice();
  switch (draw(8)) {
    case 0:
      return bytes;
    case 1:
      return new Uint8Array(draw(1200)).map(() => draw(256));
    case 2:
      return bytes.subarray(0, draw(bytes.length));
    case 3:
      return bytes.fill(0, draw(2) * 512, bytes.length);
    case 4: {
      // A length or count that lies.
      const value = [0, 1, 2, 0xffff, 0xffff_ffff, 0x10_0000, draw(1000)][draw(7)] ?? 0;
      const at = [8, 32, 40, 44, 52, 96, 136][draw(7)] ?? 0;
      if (at + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(at, value, true);
      break;
    }
    default:
      for (let changes = 1 + draw(3); changes > 0; changes--) {
        const at = draw(Math.min(bytes.length, 400));
        bytes[at] = draw(2) === 0 ? (bytes[at] ?? 0) ^ (1 << draw(8)) : ([0, 1, 0x7f, 0x80, 0xff][draw(5)] ?? 0);
      }
  }
  return draw(4) === 0 ? bytes : mended(bytes, checksumAt);
}

/** With checksums that are true of what header and table say now. */
function mended(bytes: Uint8Array, checksumAt: number): Uint8Array {
  if (bytes.length < checksumAt + 4) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (checksumAt === 92) view.setUint32(48, crc32c(bytes.subarray(96, 96 + view.getUint32(44, true))), true);
  view.setUint32(checksumAt, crc32c(bytes.subarray(0, checksumAt)), true);
  return bytes;
}
