import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, formatRate, formatSize, parseDurationMs, parseSize } from '../../src/base/units.ts';

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['4096', 4096],
    ['512b', 512],
    ['1GiB', 2 ** 30],
    ['64MiB', 64 * 2 ** 20],
    ['10G', 10 * 2 ** 30],
    ['10gb', 10 * 2 ** 30],
    [' 1.5 TiB ', 1.5 * 2 ** 40],
  ])('reads %s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  it.each(['', 'G', '-1', '1e3', '1GiBs', '1 2', '0.3B', '9000000PiB', 'NaN', '0x10'])('refuses "%s"', (text) =>
    expect(parseSize(text)).toBeNull(),
  );

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [65_536, '64 KiB'],
    [1_567_000_000, '1.46 GiB'],
    [2 ** 30 - 1, '1 GiB'],
    [2 ** 46, '64 TiB'],
  ])('writes %d', (bytes, text) => expect(formatSize(bytes)).toBe(text));

  it('reads back what it wrote wherever a unit divides the size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), fc.nat(4), (amount, exponent) => {
        const bytes = amount * 1024 ** exponent;
        expect(parseSize(formatSize(bytes))).toBe(bytes);
      }),
    );
  });

  it('writes rates', () => expect(formatRate(13_107_200.4)).toBe('12.5 MiB/s'));
});

describe('durations', () => {
  it.each([
    ['0', 0],
    ['200ms', 200],
    ['5s', 5000],
    ['0.07s', 70],
    ['1.5 min', 90_000],
    ['2m', 120_000],
    ['2h', 7_200_000],
    ['1d', 86_400_000],
  ])('reads %s', (text, milliseconds) => expect(parseDurationMs(text)).toBe(milliseconds));

  it.each(['', '5', '-5s', '1.5ms', '5 weeks', 's'])('refuses "%s"', (text) =>
    expect(parseDurationMs(text)).toBeNull(),
  );

  it.each([
    [0, '0 ms'],
    [199.6, '200 ms'],
    [999.9, '1 s'],
    [4500, '4.5 s'],
    [9999, '10 s'],
    [59_600, '1 min'],
    [200_000, '3 min 20 s'],
    [3_599_700, '1 h'],
    [7_500_000, '2 h 5 min'],
    [86_399_000, '1 d'],
    [273_600_000, '3 d 4 h'],
  ])('writes %d', (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));
});
