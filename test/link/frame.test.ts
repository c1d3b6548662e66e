import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/base/crc32c.ts';
import { payloadBytesMin, payloadMemory } from '../../src/base/payload-memory.ts';
import {
  controlBytesMax,
  encodeFrame,
  FrameDecoder,
  payloadBytesMax,
  pieceBytesMax,
  piecesMax,
  type Frame,
  type FrameRefusal,
} from '../../src/link/frame.ts';
import { receiveLent } from '../base/lent-chunk.ts';

interface Spec {
  type: number;
  control: Uint8Array;
  pieces: Uint8Array[];
}

/** A header with true checksums, whatever else it says. */
function header(fields: {
  magic?: number;
  version?: number;
  pieces?: number;
  control?: number;
  payload?: number;
  controlChecksum?: number;
}): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt32LE(fields.magic ?? 0x4b4c4648, 0);
  bytes.writeUInt8(fields.version ?? 1, 4);
  bytes.writeUInt8(33, 5);
  bytes.writeUInt16LE(fields.pieces ?? 0, 6);
  bytes.writeUInt32LE(fields.control ?? 0, 8);
  bytes.writeUInt32LE(fields.payload ?? 0, 12);
  bytes.writeUInt32LE(fields.controlChecksum ?? 0, 16);
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, 20)), 20);
  return bytes;
}

function withControl(control: Buffer, fields: { pieces?: number; payload?: number }): Buffer {
  return Buffer.concat([header({ ...fields, control: control.length, controlChecksum: crc32c(control) }), control]);
}

function lengths(...values: number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer);
}

function receive(decoder: FrameDecoder, chunks: readonly Uint8Array[]): (Frame | FrameRefusal)[] {
  const results: (Frame | FrameRefusal)[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let next = decoder.next(); next !== null; next = decoder.next()) {
      results.push(next);
      if ('breach' in next) return results;
    }
  }
  return results;
}

/** As a binding delivers: into the space offered when there is some, else in chunks of the sizes given. */
function deliver(decoder: FrameDecoder, stream: Buffer, sizes: readonly number[]): (Frame | FrameRefusal)[] {
  const results: (Frame | FrameRefusal)[] = [];
  for (let at = 0, turn = 0; at < stream.length; turn++) {
    const space = decoder.space();
    const length = Math.min(stream.length - at, sizes[turn % sizes.length] ?? 1, space?.length ?? Infinity);
    const part = stream.subarray(at, at + length);
    at += length;
    const received = (chunk: Uint8Array): void => {
      for (const result of receive(decoder, [chunk])) {
        results.push('breach' in result ? result : { ...result, control: new Uint8Array(result.control) });
      }
    };
    if (space === null) receiveLent(part, received);
    else {
      space.set(part);
      received(space.subarray(0, length));
    }
  }
  return results;
}

const specs = fc.array(
  fc.record({
    type: fc.nat(255),
    control: fc.uint8Array({ maxLength: 60 }),
    pieces: fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 80 }),
        fc.integer({ min: 16_000, max: 40_000 }).map((length) => new Uint8Array(length).fill(length)),
      ),
      { maxLength: 4 },
    ),
  }),
  { minLength: 1, maxLength: 4 },
);

const encoded = (frames: readonly Spec[]): Buffer =>
  Buffer.concat(frames.flatMap(({ type, control, pieces }) => encodeFrame(type, control, pieces)));

describe('FrameDecoder', () => {
  it('IM-4: returns frames as they were sent, at every split of the stream into two chunks', () => {
    const frames: Spec[] = [
      { type: 1, control: Uint8Array.of(1, 2, 3), pieces: [] },
      { type: 255, control: new Uint8Array(0), pieces: [Uint8Array.of(4), new Uint8Array(0), Uint8Array.of(5, 6)] },
      { type: 0, control: new Uint8Array(0), pieces: [] },
    ];
    const stream = encoded(frames);
    for (let at = 0; at <= stream.length; at++) {
      const chunks = [stream.subarray(0, at), stream.subarray(at)].map((chunk) => new Uint8Array(chunk));
      expect(receive(new FrameDecoder(), chunks).map(plain)).toEqual(frames.map(plain));
    }
  });

  it('returns frames as they were sent, whatever the chunks and whether or not the space offered is used', () => {
    fc.assert(
      fc.property(
        specs,
        fc.array(fc.integer({ min: 16, max: 30_000 }), { minLength: 1, maxLength: 6 }),
        (frames, sizes) => {
          const stream = encoded(frames);
          expect(deliver(new FrameDecoder(), stream, sizes).map(plain)).toEqual(frames.map(plain));
          const chunks: Uint8Array[] = [];
          for (let at = 0, turn = 0; at < stream.length; turn++) {
            const length = sizes[turn % sizes.length] ?? 1;
            chunks.push(new Uint8Array(stream.subarray(at, at + length)));
            at += length;
          }
          expect(receive(new FrameDecoder(), chunks).map(plain)).toEqual(frames.map(plain));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('copies no piece that is wholly inside a chunk, nor what arrives in the space it offered', () => {
    const stream = new Uint8Array(encoded([{ type: 1, control: Uint8Array.of(1), pieces: [new Uint8Array(4096)] }]));
    const [whole] = receive(new FrameDecoder(), [stream]);
    expect(whole !== undefined && 'pieces' in whole && whole.pieces[0]?.buffer).toBe(stream.buffer);

    const decoder = new FrameDecoder();
    const large = new Uint8Array(
      encoded([{ type: 1, control: Uint8Array.of(1), pieces: [new Uint8Array(100_000)] }]),
    );
    expect(receive(decoder, [large.subarray(0, 1000)])).toEqual([]);
    const space = decoder.space();
    expect(space?.length).toBe(large.length - 1000);
    space?.set(large.subarray(1000));
    const [filled] = receive(decoder, [space ?? new Uint8Array(0)]);
    expect(filled !== undefined && 'pieces' in filled && filled.pieces[0]?.buffer).toBe(space?.buffer);
    expect(decoder.space()).toBe(null);
  });

  it.each<[string, Buffer]>([
    ['badMagic', header({ magic: 0x4b4c4649 })],
    ['badVersion', header({ version: 2 })],
    ['headerChecksum', Buffer.concat([header({}).subarray(0, 23), Buffer.of(1)])],
    ['tooManyPieces', header({ pieces: piecesMax + 1, control: controlBytesMax })],
    ['controlTooLong', header({ control: controlBytesMax + 1 })],
    ['payloadTooLong', header({ payload: payloadBytesMax + 1 })],
    ['pieceLengths', header({ pieces: 2, control: 7 })],
    ['controlChecksum', Buffer.concat([header({ control: 4 }), lengths(1)])],
    ['pieceTooLong', withControl(lengths(pieceBytesMax + 1), { pieces: 1, payload: pieceBytesMax + 1 })],
    ['pieceLengths', withControl(lengths(1, 2), { pieces: 2, payload: 4 })],
    ['pieceLengths', withControl(lengths(), { payload: 1 })],
  ])('refuses with %s, for ever', (breach, bytes) => {
    for (const chunks of [[bytes], [...bytes].map((byte) => Uint8Array.of(byte))]) {
      const decoder = new FrameDecoder();
      expect(receive(decoder, chunks)).toMatchObject([{ breach }]);
      expect(receive(decoder, [encoded([{ type: 1, control: Uint8Array.of(), pieces: [] }])])).toMatchObject([
        { breach },
      ]);
      expect(decoder.space()).toBe(null);
    }
  });

  it('keeps to narrower limits until they are widened', () => {
    const decoder = new FrameDecoder({ controlBytesMax: 10, payloadBytesMax: 0 });
    const small = encoded([{ type: 1, control: new Uint8Array(10), pieces: [] }]);
    const large = encoded([{ type: 1, control: new Uint8Array(11), pieces: [] }]);
    expect(receive(decoder, [small])).toHaveLength(1);
    decoder.limits = { controlBytesMax: 11, payloadBytesMax: 0 };
    expect(receive(decoder, [large])).toMatchObject([{ type: 1 }]);
    decoder.limits = { controlBytesMax: 10, payloadBytesMax: 0 };
    expect(receive(decoder, [large])).toMatchObject([{ breach: 'controlTooLong' }]);
  });

  it('lets the memory of a chunk be lent again when every piece in it was given', () => {
    const pieces = [new Uint8Array(4096).fill(1), new Uint8Array(4096).fill(2)];
    const stream = encoded([{ type: 1, control: new Uint8Array(8), pieces }]);
    const chunk = payloadMemory.take(payloadBytesMin);
    chunk.set(stream);
    const [frame] = receive(new FrameDecoder(), [chunk.subarray(0, stream.length)]);
    payloadMemory.give(chunk);
    if (frame === undefined || 'breach' in frame) throw new Error('no frame');
    for (const piece of frame.pieces) {
      expect(payloadMemory.take(payloadBytesMin).buffer).not.toBe(chunk.buffer);
      payloadMemory.give(piece);
    }
    expect(payloadMemory.take(payloadBytesMin).buffer).toBe(chunk.buffer);
  });

  it('is not disturbed when heads that were sent together share a slab', () => {
    const frames = Array.from({ length: 3000 }, (_, index) =>
      encodeFrame(index & 255, new Uint8Array(50).fill(index)),
    );
    const results = receive(new FrameDecoder(), [Buffer.concat(frames.flat())]);
    expect(results.map((frame) => ('type' in frame ? [frame.type, frame.control[49]] : frame))).toEqual(
      frames.map((_, index) => [index & 255, index & 255]),
    );
  });
});

/** Short enough to be compared quickly. */
function plain(frame: Frame | FrameRefusal): unknown {
  if ('breach' in frame) return frame;
  const pieces = frame.pieces.map((piece) => [piece.length, crc32c(piece)]);
  return { type: frame.type, control: Buffer.from(frame.control).toString('hex'), pieces };
}
