import { describe, expect, it } from 'vitest';
import { checkSettings, presets, type PresetSettings } from '../../src/pulse/presets.ts';

const lan = presets.lan;

describe('presets (AS-13)', () => {
  it.each(Object.keys(presets))('%s is consistent', (name) => {
    const preset = Object.values(presets).find((candidate) => candidate.preset === name);
    expect(preset && checkSettings(preset)).toEqual([]);
  });

  it.each<[string, Partial<PresetSettings>, string]>([
    [
      'timeout',
      { timeoutMs: 500, link: { ...lan.link, echoMs: 200 } },
      'timeout 500ms must be at least 3 × interval 200ms (600ms)',
    ],
    [
      'connection-timeout',
      { connectionTimeoutMs: 300 },
      'connection-timeout 300ms must be at least 2 × interval 200ms (400ms)',
    ],
    ['master-timeout', { masterTimeoutMs: 900 }, 'master-timeout 900ms must be at least timeout 1000ms'],
    ['stall, too long', { stallMs: 1201 }, 'stall 1201ms must be at most lease-ttl 1200ms'],
    ['stall, too short', { stallMs: 399 }, 'stall 399ms must be at least 2 × interval 200ms (400ms)'],
    ['lease-ttl', { leaseTtlMs: 599, stallMs: 500 }, 'lease-ttl 599ms must be at least 3 × interval 200ms (600ms)'],
    ['lease-margin', { leaseMarginMs: 59 }, 'lease-margin 59ms must be at least 0.05 × lease-ttl 1200ms (60ms)'],
    [
      'link.silence',
      { link: { ...lan.link, silenceMs: 999 } },
      'link.silence 999ms must be at least 2 × link.echo 500ms (1000ms)',
    ],
    [
      'link.echo',
      { link: { ...lan.link, echoMs: 501 } },
      'timeout 1000ms must be at least 2 × link.echo 501ms (1002ms)',
    ],
    [
      'link.command-timeout',
      { link: { ...lan.link, commandTimeoutMs: 1999 } },
      'link.command-timeout 1999ms must be at least link.silence 2000ms',
    ],
    ['probation', { probationMs: 399 }, 'probation 399ms must be at least 2 × interval 200ms (400ms)'],
    [
      'connection-probation',
      { connectionProbationMs: 1 },
      'connection-probation 1ms must be at least 2 × interval 200ms (400ms)',
    ],
    ['start-up', { startUpMs: 999 }, 'start-up 999ms must be at least timeout 1000ms'],
    [
      'presence',
      { presence: { enabled: true, waitMs: 1000, retries: 3 } },
      '4 × presence.wait 1000ms (4000ms) (3 retries) must be at most 3 × timeout 1000ms (3000ms)',
    ],
    [
      'presence, no time',
      { presence: { enabled: true, waitMs: 0, retries: 0 } },
      'presence.wait 0ms must be more than 0ms',
    ],
  ])('refuses an impossible %s with the inequality and its numbers', (_name, change, problem) => {
    expect(checkSettings({ ...lan, ...change })).toEqual([problem]);
  });

  it('lets 0 mean at once, or for ever, and what is off be anything', () => {
    const presence = { enabled: false, waitMs: 1, retries: 1000 };
    expect(checkSettings({ ...lan, probationMs: 0, connectionProbationMs: 0, startUpMs: 0, presence })).toEqual([]);
  });
});
