/** Messages and records for tests: one small one of each kind, and arbitrary ones. */
import fc from 'fast-check';
import { crc32c } from '../../src/base/crc32c.ts';
import type { Position } from '../../src/stream/position.ts';
import type { RecordKind, StreamRecord } from '../../src/stream/record.ts';
import { FrameDecoder, type Frame } from '../../src/link/frame.ts';
import { encodeAnswer, encodeFault } from '../../src/link/messages/answer.ts';
import { encodeCall, encodeFailure, encodeResult } from '../../src/link/messages/call.ts';
import { encodeFetch, encodeFetched } from '../../src/link/messages/fetch.ts';
import {
  encodeHello,
  encodeRefused,
  encodeWelcome,
  type Hello,
  type Welcome,
} from '../../src/link/messages/handshake.ts';
import { encodeJson } from '../../src/link/messages/json.ts';
import { encodePing, encodePong } from '../../src/link/messages/liveness.ts';
import { encodeRecords, type RecordsHeader } from '../../src/link/messages/records.ts';
import { MessageType } from '../../src/link/messages/types.ts';

export function sampleRecord(kind: RecordKind, seq: number, changes: Partial<StreamRecord> = {}): StreamRecord {
  const ranged = kind !== 'flush' && kind !== 'skip';
  const data = kind === 'write' || kind === 'copy' ? Uint8Array.of(seq, 2, 3, 4) : null;
  return {
    kind,
    generation: 3,
    epoch: 1,
    seq,
    volume: kind === 'skip' ? 0 : 2,
    offset: ranged ? seq * 4096 : 0,
    length: ranged ? 4 : 0,
    hole: kind === 'zero',
    data,
    checksum: data === null ? 0 : crc32c(data),
    ...changes,
  };
}

export const sampleHeader: RecordsHeader = {
  attachId: 7,
  generation: 3,
  stamped: { generation: 3, seq: 20 },
  stable: { generation: 2, seq: 2 ** 40 },
};

export const sampleRecords: readonly StreamRecord[] = [
  sampleRecord('write', 5),
  sampleRecord('zero', 6),
  sampleRecord('flush', 7),
  sampleRecord('copy', 8),
  sampleRecord('copyZero', 9),
  sampleRecord('skip', 10),
];

export const sampleAnswer = {
  attachId: 7,
  flags: 1,
  received: { generation: 3, seq: 10 },
  applied: { generation: 3, seq: 9 },
  durable: { generation: 2, seq: 2 ** 40 },
};

const ends = {
  features: ['records'],
  clusterId: 'c'.repeat(32),
  incarnation: '1'.repeat(32),
  bootId: 'boot-1',
  softwareVersion: '0.1.0',
};
export const sampleHello: Hello = { protocols: [1], ...ends, node: 'east', to: 'west', index: 0, count: 2 };
export const sampleWelcome: Welcome = { protocol: 1, ...ends, node: 'west' };

/** One of every message, encoded. */
export function sampleMessages(): Map<string, Uint8Array> {
  const fault = { position: { generation: 3, seq: 5 }, detail: 'EIO', volume: 2, offset: 20480, length: 4 };
  const data = Uint8Array.of(1, 2, 3, 4);
  const messages: Record<string, readonly Uint8Array[]> = {
    hello: encodeHello(sampleHello),
    welcome: encodeWelcome(sampleWelcome),
    refused: encodeRefused({ code: 'wrongNode', message: 'this is west, not north' }),
    ping: encodePing(1),
    pong: encodePong(1),
    call: encodeCall({ id: 1, method: 'status', params: { full: true } }) ?? [],
    reply: encodeResult(1, { groups: [] }),
    'reply (error)': encodeFailure(2, new Error('broken')),
    attach: encodeJson(MessageType.attach, { group: 'g1' }),
    description: encodeJson(MessageType.description, { volumes: [2] }, [data, new Uint8Array(0)]),
    records: encodeRecords(sampleHeader, sampleRecords),
    answer: encodeAnswer(sampleAnswer),
    fault: encodeFault({ attachId: 7, kind: 'writeFailed', ...fault }),
    fetch: encodeFetch({ attachId: 7, requestId: 1, volume: 2, offset: 2 ** 41, length: 4 }),
    fetched: encodeFetched({ requestId: 1, status: 'data', data }),
    'fetched (zeroes)': encodeFetched({ requestId: 1, status: 'zeroes', data: null }),
  };
  return new Map(Object.entries(messages).map(([name, parts]) => [name, new Uint8Array(Buffer.concat(parts))]));
}

/** The only frame in the parts; whatever else comes is an error of the test's. */
export function frameOf(parts: readonly Uint8Array[]): Frame {
  const decoder = new FrameDecoder();
  decoder.push(new Uint8Array(Buffer.concat(parts)));
  const frame = decoder.next();
  if (frame === null || 'breach' in frame) throw new Error(`no frame: ${JSON.stringify(frame)}`);
  return frame;
}

const number64 = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(100),
  fc.constantFrom(2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);

export const anyPosition: fc.Arbitrary<Position> = fc.record({ generation: number64, seq: number64 });

/** Records in ascending order, as an owner stamps them. */
export const anyRecords: fc.Arbitrary<StreamRecord[]> = fc
  .record({
    generation: number64,
    start: fc.integer({ min: 1, max: 2 ** 45 }),
    items: fc.array(
      fc.record({
        kind: fc.constantFrom<RecordKind>('write', 'zero', 'flush', 'copy', 'copyZero', 'skip'),
        gap: fc.integer({ min: 1, max: 3 }),
        volume: fc.nat(0xffff),
        offset: fc.integer({ min: 0, max: 2 ** 46 }),
        hole: fc.boolean(),
        data: fc.uint8Array({ minLength: 1, maxLength: 40 }),
      }),
      { maxLength: 12 },
    ),
  })
  .map(({ generation, start, items }) => {
    let seq = start;
    return items.map(({ kind, gap, volume, offset, hole, data }) => {
      seq += gap;
      const hasData = kind === 'write' || kind === 'copy';
      const ranged = kind !== 'flush' && kind !== 'skip';
      return {
        kind,
        generation,
        epoch: start,
        seq,
        volume: kind === 'skip' ? 0 : volume,
        offset: ranged ? offset : 0,
        length: ranged ? data.length : 0,
        hole: hole && (kind === 'zero' || kind === 'copyZero'),
        data: hasData ? data : null,
        checksum: hasData ? crc32c(data) : 0,
      };
    });
  });
