import fc from 'fast-check';
import { expect, test } from 'vitest';
import { crc32cSoftware } from '../../../src/base/crc32c.ts';
import { PduDecoder, type PduSink } from '../../../src/hosts/iscsi/decoder.ts';
import { receiveLent } from '../../base/lent-chunk.ts';

interface Pdu {
  opcode: number;
  tag: number;
  ahs: Uint8Array;
  data: Uint8Array;
}

/** As it goes over the wire (RFC 7143 11.1). */
function encode(pdu: Pdu, digests: { header?: boolean; data?: boolean } = {}): Buffer {
  const head = Buffer.alloc(48 + pdu.ahs.length);
  head[0] = pdu.opcode;
  head[4] = pdu.ahs.length / 4;
  head.writeUIntBE(pdu.data.length, 5, 3);
  head.writeUInt32BE(pdu.tag, 16);
  head.set(pdu.ahs, 48);
  const data = Buffer.alloc(Math.ceil(pdu.data.length / 4) * 4);
  data.set(pdu.data);
  const parts: Buffer[] = [head];
  if (digests.header) parts.push(digestOf(head));
  parts.push(data);
  if (digests.data && data.length > 0) parts.push(digestOf(data));
  return Buffer.concat(parts);
}

function digestOf(bytes: Uint8Array): Buffer {
  const digest = Buffer.alloc(4);
  digest.writeUInt32LE(crc32cSoftware(bytes));
  return digest;
}

function pdu(tag: number, dataBytes: number, ahsBytes = 0): Pdu {
  const bytes = (count: number) => Uint8Array.from({ length: count }, (_, index) => (tag * 31 + index * 7) & 0xff);
  return { opcode: 0x01, tag, ahs: bytes(ahsBytes), data: bytes(dataBytes) };
}

/** Keeps copies of what it is given. */
class Sink implements PduSink {
  full = false;
  readonly pdus: Pdu[] = [];
  readonly damagedTags: number[] = [];
  readonly garbled: string[] = [];
  readonly places: (Uint8Array | null)[] = [];
  /** Asked for each data segment. */
  placing: (bytes: number, tag: number) => Uint8Array | null = () => null;
  /** At the end of each PDU. */
  after: () => void = () => {};

  place(header: { dataBytes: number; taskTag: number }): Uint8Array | null {
    const place = this.placing(header.dataBytes, header.taskTag);
    this.places.push(place);
    return place;
  }

  pdu(header: { opcode: number; taskTag: number }, ahs: Uint8Array, data: Uint8Array): void {
    this.pdus.push({
      opcode: header.opcode,
      tag: header.taskTag,
      ahs: new Uint8Array(ahs),
      data: new Uint8Array(data),
    });
    this.after();
  }

  damaged(header: { taskTag: number }): void {
    this.damagedTags.push(header.taskTag);
  }

  garbage(reason: string): void {
    this.garbled.push(reason);
  }
}

/** Hands bytes over as a binding does: into `space` where it is offered, else in memory used again. */
function receive(decoder: PduDecoder, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length) {
    const space = decoder.space();
    if (space === null) {
      receiveLent(bytes.subarray(at), (chunk) => decoder.received(chunk));
      return;
    }
    const count = Math.min(space.length, bytes.length - at);
    space.set(bytes.subarray(at, at + count));
    at += count;
    decoder.received(space.subarray(0, count));
  }
}

const sample = [pdu(1, 0), pdu(2, 5), pdu(3, 0, 8), pdu(4, 12, 4), pdu(5, 1)];

test.each([{}, { header: true }, { data: true }, { header: true, data: true }])(
  'PDUs come out the same wherever the stream is cut, digests %o',
  (digests) => {
    const stream = Buffer.concat(sample.map((each) => encode(each, digests)));
    for (const place of [null, new Uint8Array(12)]) {
      for (let first = 0; first <= stream.length; first++) {
        // Two cuts: one moves, the other is so near that headers and tails are cut twice.
        for (const second of [first, Math.min(first + 3, stream.length), Math.min(first + 50, stream.length)]) {
          const sink = new Sink();
          sink.placing = (bytes) => place?.subarray(0, bytes) ?? null;
          const decoder = new PduDecoder(sink);
          decoder.headerDigest = digests.header ?? false;
          decoder.dataDigest = digests.data ?? false;
          receive(decoder, stream.subarray(0, first));
          receive(decoder, stream.subarray(first, second));
          receive(decoder, stream.subarray(second));
          expect(sink.garbled).toEqual([]);
          expect(sink.damagedTags).toEqual([]);
          expect(sink.pdus).toEqual(sample);
        }
      }
    }
  },
);

test('a large segment is read straight to the place named for it, and into nothing else', () => {
  const memory = new Uint8Array(200 * 1024);
  const sink = new Sink();
  const decoder = new PduDecoder(sink);
  decoder.dataBytesMax = 256 * 1024;
  decoder.dataDigest = true;
  sink.placing = (bytes) => memory.subarray(1000, 1000 + bytes);
  const sent = pdu(9, 150_001);
  const bytes = encode(sent, { data: true });
  decoder.received(bytes.subarray(0, 48));
  const space = decoder.space();
  expect(space?.buffer).toBe(memory.buffer);
  expect([space?.byteOffset, space?.length]).toEqual([1000, 150_001]);
  receive(decoder, bytes.subarray(48));
  expect(sink.pdus).toEqual([sent]);
  expect(memory.subarray(1000, 151_001)).toEqual(sent.data);
  expect(decoder.space()).toBe(null);
  expect(memory.subarray(151_001).every((byte) => byte === 0)).toBe(true);
});

test('a place shorter than the segment takes the front; the digest still covers all', () => {
  for (const digestRight of [true, false]) {
    for (const room of [0, 3, 40_000]) {
      const sink = new Sink();
      sink.placing = () => new Uint8Array(room);
      const decoder = new PduDecoder(sink);
      decoder.dataBytesMax = 65536;
      decoder.dataDigest = true;
      const sent = pdu(3, 50_000);
      const bytes = encode(sent, { data: true });
      if (!digestRight) bytes[48 + 45_000] = ~(bytes[48 + 45_000] ?? 0);
      receive(decoder, bytes.subarray(0, 100));
      receive(decoder, bytes.subarray(100));
      receive(decoder, encode(pdu(4, 0)));
      expect(sink.pdus.map((each) => each.data.length)).toEqual(digestRight ? [room, 0] : [0]);
      expect(sink.damagedTags).toEqual(digestRight ? [] : [3]);
    }
  }
});

test('a wrong data digest is reported for its PDU, wherever the stream is cut; later ones are taken', () => {
  const bad = encode(pdu(1, 10), { data: true });
  bad[50] = ~(bad[50] ?? 0);
  const stream = Buffer.concat([bad, encode(pdu(2, 10), { data: true })]);
  for (let cut = 0; cut <= stream.length; cut++) {
    const sink = new Sink();
    const decoder = new PduDecoder(sink);
    decoder.dataDigest = true;
    receive(decoder, stream.subarray(0, cut));
    receive(decoder, stream.subarray(cut));
    expect(sink.damagedTags).toEqual([1]);
    expect(sink.pdus).toEqual([pdu(2, 10)]);
  }
});

test('padding is covered by the data digest', () => {
  const bytes = encode(pdu(1, 5), { data: true });
  bytes[48 + 7] = 1;
  for (const cut of [0, 52, 55]) {
    const sink = new Sink();
    const decoder = new PduDecoder(sink);
    decoder.dataDigest = true;
    receive(decoder, bytes.subarray(0, cut));
    receive(decoder, bytes.subarray(cut));
    expect(sink.damagedTags).toEqual([1]);
  }
});

test('a wrong header digest ends decoding, AHS included', () => {
  for (const at of [0, 17, 47, 48, 51, 52]) {
    const bytes = encode(pdu(1, 0, 4), { header: true });
    bytes[at] = ~(bytes[at] ?? 0);
    if (at === 4) continue;
    const sink = new Sink();
    const decoder = new PduDecoder(sink);
    decoder.headerDigest = true;
    receive(decoder, bytes);
    receive(decoder, encode(pdu(2, 0), { header: true }));
    expect(sink.garbled).toEqual(['wrong header digest']);
    expect(sink.pdus).toEqual([]);
  }
});

test('digests hold from the PDU after the one in which they are switched on, in the same chunk', () => {
  const sink = new Sink();
  const decoder = new PduDecoder(sink);
  sink.after = () => {
    decoder.headerDigest = decoder.dataDigest = true;
  };
  const digests = { header: true, data: true };
  receive(decoder, Buffer.concat([encode(pdu(1, 8)), encode(pdu(2, 8), digests), encode(pdu(3, 0), digests)]));
  expect(sink.pdus.map((each) => each.tag)).toEqual([1, 2, 3]);
});

test('a segment longer than allowed ends decoding before anything is made ready for it', () => {
  const sink = new Sink();
  const decoder = new PduDecoder(sink);
  const head = encode({ ...pdu(1, 0) });
  head.writeUIntBE(8193, 5, 3);
  receive(decoder, head);
  expect(sink.garbled).toEqual(['data segment of 8193 bytes, at most 8192 allowed']);
  expect(sink.places).toEqual([]);
  expect(decoder.space()).toBe(null);
});

test('while the sink is full no PDU is begun, and none is lost', () => {
  const sink = new Sink();
  const decoder = new PduDecoder(sink);
  sink.after = () => {
    sink.full = true;
  };
  const stream = Buffer.concat(sample.map((each) => encode(each)));
  receive(decoder, stream.subarray(0, 70));
  receive(decoder, stream.subarray(70, 130));
  receive(decoder, stream.subarray(130));
  for (let count = 1; count <= sample.length; count++) {
    expect(sink.pdus.length).toBe(count);
    sink.full = false;
    decoder.proceed();
  }
  expect(sink.pdus).toEqual(sample);
});

test('a sink that stops the decoder hears nothing more', () => {
  const sink = new Sink();
  const decoder = new PduDecoder(sink);
  sink.after = () => decoder.stop();
  receive(decoder, Buffer.concat(sample.map((each) => encode(each))));
  receive(decoder, encode(pdu(6, 0)));
  expect(sink.pdus.length).toBe(1);
});

test('any bytes, cut anywhere: named ends, bounded memory, no exception', () => {
  const noise = fc.uint8Array({ maxLength: 300 });
  const whole = fc
    .record({
      opcode: fc.integer({ min: 0, max: 255 }),
      tag: fc.nat(255),
      ahs: fc.nat(3).map((words) => new Uint8Array(words * 4)),
      data: fc.uint8Array({ maxLength: 600 }),
    })
    .map((fields) => encode(fields, { header: true, data: true }));
  const chunk = fc.oneof({ weight: 1, arbitrary: noise }, { weight: 6, arbitrary: whole });
  let taken = 0;
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 8 }), fc.nat(500), fc.boolean(), (chunks, pieceBytes, digests) => {
      const sink = new Sink();
      const decoder = new PduDecoder(sink);
      decoder.dataBytesMax = 512;
      decoder.headerDigest = decoder.dataDigest = digests;
      const stream = Buffer.concat(chunks);
      for (let at = 0; at < stream.length; at += pieceBytes + 1) {
        receive(decoder, stream.subarray(at, at + pieceBytes + 1));
      }
      taken += sink.pdus.length;
      expect(sink.garbled.length).toBeLessThanOrEqual(1);
      for (const { data, ahs } of sink.pdus) {
        expect(data.length).toBeLessThanOrEqual(512);
        expect(ahs.length).toBeLessThanOrEqual(1020);
      }
    }),
    { numRuns: 3000, seed: 20261128 },
  );
  expect(taken).toBeGreaterThan(3000);
});
