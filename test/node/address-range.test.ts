import { expect, it } from 'vitest';
import { parseAddressRange } from '../../src/node/address-range.ts';

it('contains what its prefix covers, an IPv4 address in its IPv6 form too', () => {
  const range = parseAddressRange('10.0.1.0/24');
  expect(range?.contains('10.0.1.255')).toBe(true);
  expect(range?.contains('::ffff:10.0.1.7')).toBe(true);
  expect(range?.contains('10.0.2.1')).toBe(false);
  expect(range?.contains('fd00::1')).toBe(false);
  expect(range?.contains('no address')).toBe(false);
  expect(parseAddressRange('10.0.1.7')?.contains('10.0.1.8')).toBe(false);
  expect(parseAddressRange('fd00::/8')?.contains('fdff::1')).toBe(true);
});

it('is nothing else', () => {
  for (const text of ['', '10.0.0', '10.0.0.0/33', '10.0.0.0/', 'fd00::/129', 'host', '10.0.0.0/8/8'])
    expect([text, parseAddressRange(text)]).toEqual([text, null]);
});
