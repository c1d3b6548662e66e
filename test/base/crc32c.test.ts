import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c, crc32cSoftware } from '../../src/base/crc32c.ts';

describe.each([
  ['crc32c', crc32c],
  ['crc32cSoftware', crc32cSoftware],
])('%s', (_name, checksum) => {
  it.each([
    ['', 0],
    ['123456789', 0xe3069283],
    // RFC 3720 appendix B.4
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
  ])('agrees with the published vectors (%s)', (input, expected) => {
    expect(checksum(typeof input === 'string' ? Buffer.from(input) : input)).toBe(expected);
  });

  it('goes on from a seed as if there had been no break', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1000 }), fc.nat(1000), (data, cut) => {
        expect(checksum(data.subarray(cut), checksum(data.subarray(0, cut)))).toBe(checksum(data));
      }),
    );
  });
});

it('crc32c is the same in software and native code at every length and alignment', () => {
  const bytes = Uint8Array.from({ length: 700 }, (_, index) => (index * 131) ^ (index >> 3));
  for (let start = 0; start < 8; start++) {
    for (let length = 0; length < 640; length++) {
      const part = bytes.subarray(start, start + length);
      expect(crc32c(part)).toBe(crc32cSoftware(part));
    }
  }
});
