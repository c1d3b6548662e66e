import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode, Reader, Writer } from '../../src/base/codec.ts';

describe('Writer and Reader', () => {
  it('return every kind of field unchanged, whatever it is', () => {
    const u64 = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER));
    const message = fc.record({
      small: fc.nat(0xff),
      medium: fc.nat(0xffff),
      large: fc.nat(0xffff_ffff),
      huge: u64,
      flag: fc.boolean(),
      name: fc.string({ unit: 'binary', maxLength: 60 }),
      text: fc.string({ unit: 'binary', maxLength: 300 }),
      payload: fc.uint8Array({ maxLength: 2000 }),
      list: fc.array(u64, { maxLength: 50 }),
    });
    fc.assert(
      fc.property(message, (sent) => {
        const bytes = new Writer(1 << 16, 1)
          .u8(sent.small)
          .u16(sent.medium)
          .u32(sent.large)
          .u64(sent.huge)
          .boolean(sent.flag)
          .string8(sent.name)
          .string16(sent.text)
          .bytes32(sent.payload)
          .list16(sent.list, (writer, item) => writer.u64(item))
          .list32(sent.list, (writer, item) => writer.u64(item))
          .finish();
        const received = decode(bytes, (reader) => {
          const fields = {
            small: reader.u8(),
            medium: reader.u16(),
            large: reader.u32(),
            huge: reader.u64(),
            flag: reader.boolean(),
            name: reader.string8(),
            text: reader.string16(),
            payload: Uint8Array.from(reader.bytes32(2000)),
            list: reader.list16(50, (item) => item.u64()),
          };
          expect(reader.list32(50, (item) => item.u64())).toEqual(fields.list);
          return fields;
        });
        expect(received).toEqual({ ok: true, value: sent });
      }),
    );
  });

  it('write little-endian', () => {
    expect([...new Writer(64).u16(0x0102).u32(0x03040506).u64(0x0708090a0b).finish()]).toEqual([
      2, 1, 6, 5, 4, 3, 0x0b, 0x0a, 9, 8, 7, 0, 0, 0,
    ]);
  });

  it('fill in a length or checksum known only afterwards', () => {
    const writer = new Writer(64).u32(0).string8('abc');
    expect([...writer.patchU32(0, writer.length).finish()]).toEqual([8, 0, 0, 0, 3, 97, 98, 99]);
    expect(() => writer.patchU32(6, 1)).toThrow(RangeError);
  });
});

describe('Writer', () => {
  it('refuses what does not fit its field or its maximum', () => {
    expect(() => new Writer(64).u8(256)).toThrow(RangeError);
    expect(() => new Writer(64).u32(-1)).toThrow(RangeError);
    expect(() => new Writer(64).u64(0.5)).toThrow(RangeError);
    expect(() => new Writer(64).u64(2 ** 53)).toThrow(RangeError);
    expect(() => new Writer(64).string8('x'.repeat(256))).toThrow(RangeError);
    expect(() => new Writer(16).raw(new Uint8Array(17))).toThrow('message of 17 bytes, at most 16 allowed');
  });
});

describe('Reader', () => {
  it.each<[string, number[], (reader: Reader) => unknown, string]>([
    ['the end', [1, 2, 3], (reader) => reader.u32(), '4 bytes wanted, 3 left at byte 0'],
    [
      'a number too large',
      [0, 0, 0, 0, 0, 0, 0x20, 0],
      (reader) => reader.u64(),
      'a number above 2^53 - 1 at byte 0',
    ],
    ['a boolean that is none', [2], (reader) => reader.boolean(), '2 where 0 or 1 belongs at byte 0'],
    [
      'a string too long',
      [4, 97, 97, 97, 97],
      (reader) => reader.string8(3),
      'a string of 4, at most 3 allowed at byte 1',
    ],
    ['a string cut off', [4, 97], (reader) => reader.string8(), '4 bytes wanted, 1 left at byte 1'],
    ['bytes that are no UTF-8', [1, 0xff], (reader) => reader.string8(), 'a string that is not UTF-8 at byte 1'],
    [
      'bytes too many',
      [0xff, 0xff, 0xff, 0xff],
      (reader) => reader.bytes32(9),
      'a field of 4294967295, at most 9 allowed at byte 4',
    ],
    [
      'a list too long',
      [3, 0],
      (reader) => reader.list16(2, (r) => r.u8()),
      'a list of 3, at most 2 allowed at byte 2',
    ],
    [
      'a count that lies',
      [255, 255, 255, 255, 1],
      (reader) => reader.list32(2 ** 32, (r) => r.u8()),
      '1 bytes wanted, 0 left at byte 5',
    ],
    ['what follows the end', [1, 2, 3], (reader) => reader.u8(), '2 bytes too many at byte 1'],
  ])('names %s', (_what, bytes, read, reason) => {
    expect(decode(Uint8Array.from(bytes), read)).toEqual({ ok: false, reason });
  });

  it('never throws anything else than its named failure, nor reads outside its bytes', () => {
    const steps: ((reader: Reader) => unknown)[] = [
      (reader) => reader.u8(),
      (reader) => reader.u64(),
      (reader) => reader.boolean(),
      (reader) => reader.string8(40),
      (reader) => reader.string16(40),
      (reader) => reader.bytes32(40),
      (reader) => reader.list16(40, (item) => item.string8()),
      (reader) => reader.list32(40, (item) => item.u16()),
    ];
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.array(fc.constantFrom(...steps), { maxLength: 8 }),
        (bytes, grammar) => {
          const around = new Uint8Array(bytes.length + 16).fill(1);
          around.set(bytes, 8);
          const inside = around.subarray(8, 8 + bytes.length);
          const result = decode(inside, (reader) => grammar.map((step) => step(reader)));
          expect(result).toEqual(decode(bytes, (reader) => grammar.map((step) => step(reader))));
        },
      ),
    );
  });

  it('lets errors of ours through', () => {
    expect(() =>
      decode(new Uint8Array(0), () => {
        throw new TypeError('ours');
      }),
    ).toThrow(TypeError);
  });
});
