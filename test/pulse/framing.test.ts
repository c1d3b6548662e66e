import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { channelBytesMax } from '../../src/pulse/channel.ts';
import { encodeLineFrame, LineDecoder, type LineFrame } from '../../src/pulse/framing.ts';

const inputs = Number(process.env['FUZZ_INPUTS'] ?? 500);

/** Many zeroes, and long runs without one: both matter to the stuffing. */
const payload = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: channelBytesMax }),
  fc.array(fc.constantFrom(0, 0, 1, 255), { minLength: 1, maxLength: 600 }).map((bytes) => Uint8Array.from(bytes)),
  fc.integer({ min: 1, max: channelBytesMax }).map((length) => new Uint8Array(length).fill(7)),
);
const number = fc.integer({ min: 0, max: 0xffff_ffff });
const frame: fc.Arbitrary<LineFrame> = fc.oneof(
  fc.record({ kind: fc.constant('message' as const), number, payload }),
  fc.record({ kind: fc.constant('acknowledgement' as const), number }),
);

function decoding(): { decoder: LineDecoder; frames: LineFrame[] } {
  const frames: LineFrame[] = [];
  const decoder = new LineDecoder((one) =>
    frames.push(one.kind === 'message' ? { ...one, payload: one.payload.slice() } : one),
  );
  return { decoder, frames };
}

function decodeAll(line: Uint8Array, cuts: readonly number[] = []): LineFrame[] {
  const { decoder, frames } = decoding();
  let at = 0;
  for (const cut of [...cuts.map((part) => part % (line.length + 1)).sort((a, b) => a - b), line.length]) {
    decoder.push(line.subarray(at, cut));
    at = cut;
  }
  return frames;
}

const message = (fill: number, length = 40): LineFrame => ({
  kind: 'message',
  number: fill,
  payload: new Uint8Array(length).fill(fill),
});

describe('AS-3: frames on a noisy line', () => {
  test('come out as they were put in, in whatever pieces they arrive', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 6 }), fc.array(fc.nat(5000), { maxLength: 8 }), (frames, cuts) => {
        expect(decodeAll(Buffer.concat(frames.map(encodeLineFrame)), cuts)).toEqual(frames);
      }),
    );
  });

  test('have a zero at both ends and none inside', () => {
    fc.assert(
      fc.property(frame, (one) => {
        const line = encodeLineFrame(one);
        expect([line[0], line.at(-1), line.indexOf(0, 1)]).toEqual([0, 0, line.length - 1]);
      }),
    );
  });

  test.each([253, 254, 255, 508, 509, channelBytesMax])(
    'stuffing at its limits: %i bytes without a zero',
    (length) => {
      expect(decodeAll(encodeLineFrame(message(9, length)))).toEqual([message(9, length)]);
    },
  );

  test('survive noise before, between and after them', () => {
    const noise = fc.uint8Array({ maxLength: 3000 });
    fc.assert(
      fc.property(noise, noise, noise, (before, between, after) => {
        const [one, two] = [message(1), message(2)];
        const line = Buffer.concat([before, encodeLineFrame(one), between, encodeLineFrame(two), after]);
        expect(decodeAll(line)).toEqual([one, two]);
      }),
    );
  });

  test('noise inside costs the frame it hits and no other, and nothing wrong comes out', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 50 }), fc.nat(), (noise, at) => {
        const hit = encodeLineFrame(message(2));
        const cut = 1 + (at % (hit.length - 2));
        // Noise that repeats after a zero what it cut off leaves the frame whole.
        const tail = noise.subarray(noise.lastIndexOf(0) + 1);
        fc.pre(!noise.includes(0) || Buffer.compare(tail, hit.subarray(0, cut)) !== 0);
        const line = Buffer.concat([
          encodeLineFrame(message(1)),
          hit.subarray(0, cut),
          noise,
          hit.subarray(cut),
          encodeLineFrame(message(3)),
        ]);
        const numbers = decodeAll(line).map((one) => one.number);
        expect(numbers).toEqual([1, 3]);
      }),
    );
  });

  test('a flipped bit costs at most the frame and its neighbour, whose border it may be', () => {
    const three = [1, 2, 3].map((fill) => encodeLineFrame(message(fill)));
    const line = Buffer.concat(three);
    for (let bit = 0; bit < line.length * 8; bit++) {
      const flipped = Buffer.from(line);
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const hit = Math.floor((bit >> 3) / (line.length / 3)) + 1;
      const frames = decodeAll(flipped);
      for (const one of frames) expect(one).toEqual(message(one.number));
      expect(frames.length).toBeGreaterThanOrEqual(2);
      for (const other of [1, 2, 3]) if (other !== hit) expect(frames.map((one) => one.number)).toContain(other);
    }
  });

  test('a frame cut off, and two run together by a lost border, cost no later one', () => {
    const line = (fill: number): Uint8Array => encodeLineFrame(message(fill));
    expect(decodeAll(Buffer.concat([line(1).subarray(0, 20), line(2)]))).toEqual([message(2)]);
    const merged = Buffer.concat([line(1).subarray(0, -1), line(2).subarray(1), line(3)]);
    expect(decodeAll(merged)).toEqual([message(3)]);
  });

  test('what is too long is passed over without being kept', () => {
    const { decoder, frames } = decoding();
    const endless = new Uint8Array(10_000).fill(5);
    for (let times = 0; times < 100; times++) decoder.push(endless);
    decoder.push(encodeLineFrame(message(4)));
    expect(frames).toEqual([message(4)]);
    expect(decoder.noise).toEqual({ damagedFrames: 1, damagedBytes: 1_000_000 });
  });

  test('fuzz: no bytes make it throw, or give what is not a frame', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4000 }), (bytes) => {
        for (const one of decodeAll(bytes)) {
          expect(encodeLineFrame(one).length).toBeLessThanOrEqual(bytes.length + 2);
        }
      }),
      { numRuns: inputs },
    );
  });
});
