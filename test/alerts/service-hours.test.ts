import { describe, expect, it } from 'vitest';
import { isTimeZone, parseHourSpans, ServiceHours } from '../../src/alerts/service-hours.ts';

const hours = (zone: string, ...spans: string[]): ServiceHours =>
  new ServiceHours(
    spans.flatMap((span) => parseHourSpans(span) ?? []),
    zone,
  );
const at = (text: string): number => Date.parse(text);
const nextOf = (service: ServiceHours, from: string): string => new Date(service.nextOpenMs(at(from))).toISOString();

describe('spans of service hours', () => {
  it.each([
    ['mon 08:00-18:00', [[480, 1080]]],
    [
      'sat-sun 9:30-10:00',
      [
        [7770, 7800],
        [9210, 9240],
      ],
    ],
    ['mon-sun 00:00-24:00', Array.from({ length: 7 }, (_, day) => [day * 1440, day * 1440 + 1440])],
    ['tue 22:00-06:00', [[2760, 3240]]],
    [
      'sun 22:00-06:00',
      [
        [9960, 10080],
        [0, 360],
      ],
    ],
    [
      'sat-mon 08:00-09:00',
      [
        [7680, 7740],
        [9120, 9180],
        [480, 540],
      ],
    ],
  ])('%s', (text, spans) => {
    expect(parseHourSpans(text)?.map(({ fromMinute, toMinute }) => [fromMinute, toMinute])).toEqual(spans);
  });

  it.each([
    '',
    'mon',
    '08:00-18:00',
    'moon 08:00-18:00',
    'mon 8-18',
    'mon 08:60-18:00',
    'mon 08:00-25:00',
    'mon 8:00-8:00',
    'mon 24:00-08:00',
  ])('refuses %j', (text) => {
    expect(parseHourSpans(text)).toBeNull();
  });

  it('knows zones by their names', () => {
    expect([isTimeZone('Europe/Berlin'), isTimeZone('UTC'), isTimeZone('Europe/Atlantis')]).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe('service hours (HM-16)', () => {
  it('are by the clocks of the zone, before and after they change', () => {
    const berlin = hours('Europe/Berlin', 'mon-fri 08:00-18:00');
    // Fridays before and after the end of summer time, 2026-10-25.
    expect([berlin.isOpen(at('2026-10-23T05:59Z')), berlin.isOpen(at('2026-10-23T06:00Z'))]).toEqual([false, true]);
    expect([berlin.isOpen(at('2026-10-30T06:59Z')), berlin.isOpen(at('2026-10-30T07:00Z'))]).toEqual([false, true]);
    expect(berlin.isOpen(at('2026-10-30T17:00Z'))).toBe(false);
  });

  it('begin next at the right moment over a weekend in which the clocks change', () => {
    const berlin = hours('Europe/Berlin', 'mon-fri 08:00-18:00');
    expect(nextOf(berlin, '2026-10-23T16:00Z')).toBe('2026-10-26T07:00:00.000Z');
    expect(nextOf(berlin, '2026-03-27T17:00Z')).toBe('2026-03-30T06:00:00.000Z');
    expect(nextOf(hours('America/New_York', 'mon-fri 08:00-18:00'), '2026-10-30T23:00Z')).toBe(
      '2026-11-02T13:00:00.000Z',
    );
    expect(nextOf(hours('Asia/Kolkata', 'mon 09:00-10:00'), '2026-11-28T01:02:03Z')).toBe('2026-11-30T03:30:00.000Z');
  });

  it('whose beginning the clocks jump over begin where they land', () => {
    expect(nextOf(hours('Europe/Berlin', 'sun 02:30-04:00'), '2026-03-28T12:00Z')).toBe('2026-03-29T01:00:00.000Z');
    expect(nextOf(hours('Europe/Berlin', 'sun 02:30-02:45'), '2026-03-28T12:00Z')).toBe('2026-04-05T00:30:00.000Z');
  });

  it('are now when they are now, and always where none are given', () => {
    const moment = at('2026-11-28T03:04:05.678Z');
    expect(hours('UTC').isOpen(moment)).toBe(true);
    expect(hours('UTC').nextOpenMs(moment)).toBe(moment);
    expect(hours('UTC', 'sat 03:00-04:00').nextOpenMs(moment)).toBe(moment);
    expect(nextOf(hours('UTC', 'sat 03:00-03:04'), '2026-11-28T03:04:00Z')).toBe('2026-12-05T03:00:00.000Z');
  });
});
