import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodePlain,
  encodeSigned,
  FeedDecoder,
  FeedKeys,
  isSigned,
  type FeedFrame,
} from '../../src/pulse/mirror-feed.ts';
import { decodeSlot, encodeSlot, recognise, regions, type RegionName } from '../../src/pulse/mirror-slot.ts';

const inputs = Number(process.env['FUZZ_INPUTS'] ?? 500);
const nonce = fc.uint8Array({ minLength: 16, maxLength: 16 });
const name = fc.string({ minLength: 1, maxLength: 15, unit: 'grapheme-ascii' });
const count = fc.nat();
const region = fc.constantFrom<RegionName>('message', 'table');
const write = fc
  .record({ number: count, region, bytes: fc.uint8Array({ maxLength: 16 * 1024, size: 'max' }) })
  .map(({ bytes, ...rest }) => ({
    type: 'write' as const,
    ...rest,
    payload: bytes.subarray(0, regions[rest.region].payloadBytesMax),
  }));

/** As they may follow each other, with their MACs. */
function frameOf(keys: FeedKeys): fc.Arbitrary<Uint8Array> {
  return fc.oneof(
    nonce.map((bytes) => encodePlain({ type: 'challenge', version: 1, nonce: bytes })),
    name.map((text) => encodePlain({ type: 'refused', text })),
    fc
      .record({ nonce, identity: fc.record({ mirror: name, from: name, to: name }) })
      .map((hello) => encodeSigned({ type: 'hello', ...hello }, keys.signHello)),
    fc
      .record({ message: count, table: count })
      .map((sequences) => encodeSigned({ type: 'welcome', sequences }, keys.signWelcome)),
    write.map((frame) => encodeSigned(frame, keys.signWrite)),
    fc
      .record({ number: count, problem: fc.option(name) })
      .map((answer) => encodeSigned({ type: 'answer', ...answer }, keys.signAnswer)),
  );
}

const keys = new FeedKeys(new Uint8Array(32).fill(1), new Uint8Array(16).fill(2), new Uint8Array(16).fill(3));

interface Taken {
  readonly frame: FeedFrame;
  readonly signed: Uint8Array;
}

function decodeAll(bytes: Uint8Array, cuts: readonly number[] = []): { frames: Taken[]; breach: string | null } {
  const frames: Taken[] = [];
  let breach: string | null = null;
  const decoder = new FeedDecoder(
    (frame, signed) => void frames.push({ frame, signed }),
    (reason) => (breach = reason),
  );
  decoder.allowBlocks();
  let at = 0;
  for (const cut of [...cuts.map((part) => part % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    decoder.push(bytes.subarray(at, cut));
    at = cut;
  }
  return { frames, breach };
}

function isTrue({ frame, signed }: Taken, by: FeedKeys): boolean {
  switch (frame.type) {
    case 'challenge':
    case 'refused':
      return true;
    case 'hello':
      return isSigned(frame, signed, by.signHello);
    case 'welcome':
      return isSigned(frame, signed, by.signWelcome);
    case 'write':
      return isSigned(frame, signed, by.signWrite);
    case 'answer':
      return isSigned(frame, signed, by.signAnswer);
  }
}

describe('the wire of heartbeat mirrors', () => {
  test('frames come out as they were put in, in whatever pieces, and with their MACs right', () => {
    fc.assert(
      fc.property(
        fc.array(frameOf(keys), { maxLength: 5 }),
        fc.array(fc.nat(20_000), { maxLength: 9 }),
        (list, cuts) => {
          const { frames, breach } = decodeAll(Buffer.concat(list), cuts);
          expect([frames.length, breach]).toEqual([list.length, null]);
          expect(frames.every((frame) => isTrue(frame, keys))).toBe(true);
        },
      ),
    );
  });

  test('BY-6: a MAC is of this connection, this key and this kind of frame', () => {
    const [zero, other] = [new Uint8Array(16), new Uint8Array(16).fill(9)];
    const key = new Uint8Array(32).fill(1);
    const strangers = [
      new FeedKeys(new Uint8Array(32).fill(2), new Uint8Array(16).fill(2), new Uint8Array(16).fill(3)),
      new FeedKeys(key, other, new Uint8Array(16).fill(3)),
      new FeedKeys(key, new Uint8Array(16).fill(2), zero),
    ];
    fc.assert(
      fc.property(frameOf(keys), (bytes) => {
        const [taken] = decodeAll(bytes).frames;
        if (taken === undefined) return;
        const { frame, signed } = taken;
        if (frame.type === 'challenge' || frame.type === 'refused') return;
        for (const stranger of strangers) expect(isTrue(taken, stranger)).toBe(false);
        expect(isSigned(frame, signed, frame.type === 'write' ? keys.signAnswer : keys.signWrite)).toBe(false);
      }),
    );
  });

  test('a changed bit is a breach, or a wrong MAC, or in the length of what never comes', () => {
    const bytes = encodeSigned(
      { type: 'write', number: 5, region: 'message', payload: new Uint8Array(40).fill(6) },
      keys.signWrite,
    );
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = bytes.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(decodeAll(changed).frames).toEqual([]);
    }
  });

  test('a frame longer than any is refused by its length alone; before the greeting so is one with a block', () => {
    const long = new Uint8Array(8);
    new DataView(long.buffer).setUint32(0, 0xffff_ffff, true);
    expect(decodeAll(long).breach).toMatch(/a frame of 4294967295 bytes/);
    let breach = '';
    const decoder = new FeedDecoder(
      () => expect.unreachable(),
      (reason) => (breach = reason),
    );
    decoder.push(
      encodeSigned({ type: 'write', number: 1, region: 'table', payload: new Uint8Array(5000) }, keys.signWrite),
    );
    expect(breach).toMatch(/at most 512 allowed/);
  });

  test('fuzz: no bytes make it throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.array(fc.nat(600), { maxLength: 4 }), (bytes, cuts) => {
        decodeAll(bytes, cuts);
      }),
      { numRuns: inputs },
    );
  });
});

describe('the slots of a heartbeat mirror', () => {
  test('read as written; any changed bit of header or payload makes a slot incomplete', () => {
    const payload = new Uint8Array(30).fill(4);
    for (const which of ['message', 'table'] as const) {
      const slot = encodeSlot(which, { sequence: 2 ** 40, payload });
      expect(decodeSlot(which, slot)).toEqual({ sequence: 2 ** 40, payload });
      expect(decodeSlot(which === 'table' ? 'message' : 'table', slot)).toBeNull();
      for (let bit = 0; bit < (64 + payload.length) * 8; bit++) {
        const changed = slot.slice();
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(decodeSlot(which, changed)).toBeNull();
      }
    }
  });

  test('fuzz: no bytes make reading throw, and none without the magic are taken for ours', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
        expect(decodeSlot('message', bytes)).toBeNull();
        expect(recognise(bytes)).toBe(bytes.every((byte) => byte === 0) ? 'empty' : 'foreign');
      }),
      { numRuns: inputs },
    );
  });
});
