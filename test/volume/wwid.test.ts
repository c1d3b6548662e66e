import { expect, test } from 'vitest';
import { isWwid, makeWwid } from '../../src/volume/wwid.ts';

test('TL-14: a WWID is an NAA 6 identity under a locally administered company id', () => {
  const wwid = makeWwid({ bytes: (count) => new Uint8Array(count).fill(0xab), below: () => 0 });
  expect(wwid).toBe(`6024846${'b'}${'ab'.repeat(12)}`);
  expect(isWwid(wwid)).toBe(true);
});

test.each(['', '6', '5024846babababababababababababab', '6024846BABABABABABABABABABABABAB', `6${'0'.repeat(32)}`])(
  'what is no NAA 6 identity is told: %j',
  (text) => {
    expect(isWwid(text)).toBe(false);
  },
);
