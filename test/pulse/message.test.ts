import { describe, expect, it } from 'vitest';
import { channelBytesMax } from '../../src/pulse/channel.ts';
import type { Indication } from '../../src/pulse/indication.ts';
import { hmacSha256 } from '../../src/base/hmac.ts';
import {
  decodeHeartbeat,
  encodeHeartbeat,
  nextSerial,
  PayloadsKnown,
  serialMax,
  serialRises,
  type Heartbeat,
} from '../../src/pulse/message.ts';
import { Prng } from '../../src/sim/world/prng.ts';

const key = new Uint8Array(32).fill(7);

const indication: Indication = {
  component: 'disk',
  id: '/dev/sdb',
  code: 'disk-failed',
  level: 'SERIOUS',
  node: 'east',
  group: 'g1',
  atMs: 1_750_000_000_000,
  text: 'the disk does not answer',
  over: false,
};

const sample: Heartbeat = {
  clusterId: 'c1'.repeat(16),
  from: 'east',
  to: 'west',
  channel: 'mirror:hb-east',
  incarnation: 'e1'.repeat(16),
  startedWallMs: 1_750_000_000_000,
  serial: 258,
  wallMs: 1_750_000_001_000,
  monotonicMs: 5000,
  echo: { incarnation: 'f1'.repeat(16), monotonicMs: 7000 },
  payload: {
    word: {
      leaving: false,
      automatic: true,
      lease: 'valid',
      ownedVersion: 3,
      serving: 2,
      hears: { west: ['network'] },
    },
    master: 'east',
    indications: [{ number: 4, indication }],
    control: { number: 1, message: { kind: 'use', body: { select: 'both' } } },
    received: { incarnation: 'f1'.repeat(16), indication: 2, answer: { number: 1, error: null } },
  },
};

/** Bytes 0 … of a message, cut where fields end, as hexadecimal. */
function fieldsOf(bytes: Uint8Array, widths: readonly number[]): string[] {
  let offset = 0;
  return widths.map((width) => Buffer.from(bytes.subarray(offset, (offset += width))).toString('hex'));
}

describe('the heartbeat message', () => {
  it('is laid out as docs/formats/pulse.md says (HM-6)', () => {
    const bytes = encodeHeartbeat(sample, key);
    const widths = [4, 1, 16, 5, 5, 15, 16, 8, 4, 8, 8, 1, 16, 8, 2];
    expect(fieldsOf(bytes, widths)).toEqual([
      Buffer.from('HFpl').toString('hex'),
      '01',
      'c1'.repeat(16),
      `04${Buffer.from('east').toString('hex')}`,
      `04${Buffer.from('west').toString('hex')}`,
      `0e${Buffer.from('mirror:hb-east').toString('hex')}`,
      'e1'.repeat(16),
      '00dc207497010000',
      '02010000',
      'e8df207497010000',
      '8813000000000000',
      '01',
      'f1'.repeat(16),
      '581b000000000000',
      (bytes.length - 117 - 32)
        .toString(16)
        .padStart(4, '0')
        .replace(/(..)(..)/, '$2$1'),
    ]);
    expect(JSON.parse(Buffer.from(bytes.subarray(117, -32)).toString())).toEqual(sample.payload);
    expect([...bytes.subarray(-32)]).toEqual([...hmacSha256(key, bytes.subarray(0, -32))]);
  });

  it('is read as it was written, with an echo or without', () => {
    for (const heartbeat of [sample, { ...sample, echo: null }])
      expect(decodeHeartbeat(encodeHeartbeat(heartbeat, key), key)).toEqual({ kind: 'message', heartbeat });
  });

  it('is forged under another key, and with any bit of it changed (BY-6)', () => {
    const bytes = encodeHeartbeat(sample, key);
    expect(decodeHeartbeat(bytes, new Uint8Array(32).fill(8))).toMatchObject({ reason: 'forged' });
    for (let bit = 0; bit < bytes.length * 8; bit += 3) {
      const mutated = bytes.slice();
      mutated[bit >> 3] = (mutated[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(decodeHeartbeat(mutated, key)).toMatchObject({ kind: 'refused', reason: 'forged' });
    }
  });

  it('is refused by name, never with an exception, whatever the bytes are', () => {
    const prng = new Prng('heartbeats');
    const bytes = encodeHeartbeat(sample, key);
    for (let length = 0; length < bytes.length; length++)
      expect(decodeHeartbeat(bytes.subarray(0, length), key)).toMatchObject({ reason: 'forged' });
    expect(decodeHeartbeat(new Uint8Array(channelBytesMax + 1), key)).toMatchObject({ reason: 'forged' });
    for (let round = 0; round < 2000; round++) {
      const random = prng.bytes(prng.below(channelBytesMax));
      expect(decodeHeartbeat(random, key).kind).toBe('refused');
      // Even by somebody who has the key.
      const body = round % 2 === 0 ? random : mutate(bytes.subarray(0, -32), prng);
      const sealed = new Uint8Array([...body, ...hmacSha256(key, body)]);
      const opened = decodeHeartbeat(sealed, key);
      if (opened.kind === 'refused') expect(['malformed', 'forged']).toContain(opened.reason);
      else expect(opened.heartbeat.serial).toBeGreaterThan(0);
    }
  });

  it('leaves indications out, newest first, before it grows beyond a datagram (HM-16)', () => {
    const many = Array.from({ length: 8 }, (_, index) => ({
      number: index + 1,
      indication: { ...indication, text: 'x'.repeat(290) },
    }));
    const bytes = encodeHeartbeat({ ...sample, payload: { ...sample.payload, indications: many } }, key);
    expect(bytes.length).toBeLessThanOrEqual(channelBytesMax);
    const opened = decodeHeartbeat(bytes, key);
    const numbers = opened.kind === 'message' ? opened.heartbeat.payload.indications.map(({ number }) => number) : [];
    expect(numbers.length).toBeGreaterThan(0);
    expect(numbers).toEqual(many.slice(0, numbers.length).map(({ number }) => number));
  });

  it('gives up the digest of who hears whom rather than the heartbeat', () => {
    const hears = Object.fromEntries(
      Array.from({ length: 40 }, (_, index) => [`node-${index}`, ['network', 'mirror:hb', 'link']]),
    );
    const word = { ...sample.payload.word, hears };
    const opened = decodeHeartbeat(encodeHeartbeat({ ...sample, payload: { ...sample.payload, word } }, key), key);
    expect(opened).toMatchObject({ kind: 'message', heartbeat: { payload: { word: { hears: {}, serving: 2 } } } });
  });

  it('keeps its heartbeat when it reports what this version does not know', () => {
    const unknown = { number: 5, indication: { ...indication, code: 'from-the-future' } };
    const payload = { ...sample.payload, indications: [...sample.payload.indications, unknown] };
    const opened = decodeHeartbeat(encodeHeartbeat({ ...sample, payload } as unknown as Heartbeat, key), key);
    expect(opened).toMatchObject({ kind: 'message', heartbeat: { payload: { indications: [{ number: 4 }] } } });
  });
});

describe('payloads known', () => {
  const payloadOf = (heartbeat: Heartbeat, known: PayloadsKnown): unknown => {
    const opened = decodeHeartbeat(encodeHeartbeat(heartbeat, key), key, known);
    return opened.kind === 'message' ? opened.heartbeat.payload : opened;
  };

  it('are the same object for the same words, another for others, and no more than a few', () => {
    const known = new PayloadsKnown();
    const first = payloadOf(sample, known);
    expect(payloadOf({ ...sample, serial: 259 }, known)).toBe(first);
    const other = { ...sample, payload: { ...sample.payload, master: 'west' } };
    expect(payloadOf(other, known)).toEqual(other.payload);
    for (let number = 0; number < 64; number++) {
      const word = { ...sample.payload.word, serving: 1000 + number };
      payloadOf({ ...sample, payload: { ...sample.payload, word } }, known);
    }
    const again = payloadOf(sample, known);
    expect(again).toEqual(first);
    expect(again).not.toBe(first);
  });
});

describe('serial numbers (HM-6)', () => {
  it('rise by one, back to 1 after the maximum, which counts as rising', () => {
    expect([nextSerial(1), nextSerial(serialMax - 1), nextSerial(serialMax)]).toEqual([2, serialMax, 1]);
    expect(serialRises(serialMax, 1)).toBe(true);
    expect(serialRises(serialMax - 5, 3)).toBe(true);
    expect(serialRises(5, 6)).toBe(true);
    expect(serialRises(5, 500)).toBe(true);
  });

  it('do not rise when they are the same or lower, across the wrap too', () => {
    expect(serialRises(5, 5)).toBe(false);
    expect(serialRises(6, 5)).toBe(false);
    expect(serialRises(1, serialMax)).toBe(false);
    expect(serialRises(500, 5)).toBe(false);
  });
});

function mutate(bytes: Uint8Array, prng: Prng): Uint8Array {
  const mutated = bytes.slice();
  for (let count = 0; count <= prng.below(4); count++) mutated[prng.below(mutated.length)] = prng.below(256);
  return mutated.subarray(0, mutated.length - prng.below(3));
}
