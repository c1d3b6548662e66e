import { describe, expect, it } from 'vitest';
import { PeerChannel } from '../../src/pulse/peer-channel.ts';
import { Prng } from '../../src/sim/world/prng.ts';

const make = (change = {}) =>
  new PeerChannel({ timeoutMs: 1000, probationMs: 2000, unknownUntilMs: 10_000, ...change });

function hearEvery(channel: PeerChannel, everyMs: number, fromMs: number, toMs: number): void {
  for (let atMs = fromMs; atMs <= toMs; atMs += everyMs) channel.hear(atMs);
}

describe('hearing by one channel', () => {
  it('is unknown until the start-up time is over, then silent (AS-5)', () => {
    const channel = make();
    expect([channel.hearing(9999), channel.hearing(10_000)]).toEqual(['unknown', 'silent']);
    expect(channel.silentMs(10_000)).toBe(null);
    expect(make({ unknownUntilMs: Infinity }).hearing(1e12)).toBe('unknown');
  });

  it('is alive with the first message, and silent after the timeout (HM-7)', () => {
    const channel = make();
    channel.hear(500);
    expect([channel.hearing(500), channel.hearing(1500), channel.hearing(1501)]).toEqual([
      'alive',
      'alive',
      'silent',
    ]);
    expect(channel.silentMs(1501)).toBe(1001);
  });

  it('comes back after a probation without a gap (HM-19)', () => {
    const channel = make();
    channel.hear(0);
    expect(channel.hearing(5000)).toBe('silent');
    hearEvery(channel, 200, 5000, 6800);
    expect(channel.hearing(6999)).toBe('probation');
    hearEvery(channel, 200, 7000, 7000);
    expect(channel.hearing(7000)).toBe('alive');
  });

  it('begins the probation anew after a gap, also when nobody looked meanwhile', () => {
    const channel = make();
    channel.hear(0);
    channel.hear(5000);
    channel.hear(6500);
    expect(channel.hearing(7200)).toBe('probation');
    channel.hear(7400);
    channel.hear(8300);
    expect([channel.hearing(8499), channel.hearing(8500)]).toEqual(['probation', 'alive']);
  });

  it('counts at once without a probation, or by the user (IM-6, HM-14)', () => {
    const channel = make({ probationMs: 0 });
    channel.hear(0);
    channel.hear(5000);
    expect(channel.hearing(5000)).toBe('alive');
    const trusted = make();
    trusted.hear(0);
    trusted.hear(5000);
    trusted.trust(5100);
    expect(trusted.hearing(5100)).toBe('alive');
    trusted.hearing(9000);
    trusted.trust(9000);
    expect([trusted.hearing(9000), trusted.hearing(10_000)]).toEqual(['unknown', 'silent']);
  });

  it('takes no silence for evidence in which nobody listened', () => {
    const channel = make();
    channel.hear(0);
    channel.excuse(10_000);
    expect([channel.hearing(11_000), channel.hearing(11_001)]).toEqual(['alive', 'silent']);
    expect(channel.silentMs(11_001)).toBe(11_001);
    const fresh = make({ unknownUntilMs: 5000 });
    fresh.excuse(4900);
    expect([fresh.hearing(5899), fresh.hearing(5900)]).toEqual(['unknown', 'silent']);
  });

  it('is unknown, not silent, while a process that does not hear us yet sends', () => {
    const channel = make();
    channel.hear(0);
    channel.hearUnproven(3000);
    expect([channel.hearing(4000), channel.hearing(4001)]).toEqual(['unknown', 'silent']);
  });

  it('goes by when a message came, not by when it is told of', () => {
    const channel = make();
    channel.hear(4000);
    channel.hear(3500);
    expect(channel.silentMs(4500)).toBe(500);
  });

  it('is the same until the moment it tells, unless something is heard', () => {
    const random = new Prng('changes');
    for (let run = 0; run < 300; run++) {
      const channel = make();
      let nowMs = 0;
      let sameUntilMs = channel.changesAtMs(0);
      let hearing = channel.hearing(0);
      for (let step = 0; step < 60; step++) {
        nowMs += random.below(10) === 0 ? random.below(4000) : random.below(300);
        if (nowMs < sameUntilMs) expect(channel.hearing(nowMs)).toBe(hearing);
        const event = random.below(4);
        if (event === 0) channel.hearUnproven(nowMs);
        if (event === 1) {
          const before = channel.hearing(nowMs);
          const isOther = channel.hear(nowMs);
          if (before !== 'unknown') expect(channel.hearing(nowMs) !== before).toBe(isOther);
        }
        hearing = channel.hearing(nowMs);
        sameUntilMs = channel.changesAtMs(nowMs);
      }
    }
  });
});
