import { describe, expect, it } from 'vitest';
import { ConnectionHealth, type HealthTimes } from '../../src/link/connection-health.ts';

const lan: HealthTimes = { timeoutMs: 1500, probationMs: 1000, framesCount: true };
const everyMs = 100;

/** Looks every tenth of a second, with a heartbeat each time unless they are silenced. */
class Watched {
  nowMs = 0;
  silent = false;
  /** When the last frame came; null: no connection is up. */
  frameMs: number | null = null;
  readonly health: ConnectionHealth;

  constructor(times: HealthTimes | null = lan) {
    this.health = new ConnectionHealth(() => times);
  }

  run(forMs: number): void {
    for (const endMs = this.nowMs + forMs; this.nowMs < endMs;) {
      this.nowMs += everyMs;
      if (!this.silent) this.health.heard('west', this.nowMs);
      this.health.begin(this.nowMs);
      this.health.look('west', this.nowMs, this.frameMs);
    }
  }

  get mark(): string {
    return this.health.look('west', this.nowMs, this.frameMs).mark;
  }

  get reason(): string | null {
    return this.health.look('west', this.nowMs, this.frameMs).reason;
  }
}

describe('ConnectionHealth', () => {
  it('IM-5: marks a peer down when its heartbeats stay away for the timeout, not before', () => {
    const it = new Watched();
    it.run(1000);
    it.silent = true;
    it.run(1400);
    expect(it.mark).toBe('up');
    it.run(100);
    expect([it.mark, it.reason]).toEqual(['down', 'no heartbeat by network for 1.5 s']);
  });

  it('IM-5: takes frames for heartbeats, where they count', () => {
    for (const framesCount of [true, false]) {
      const it = new Watched({ ...lan, framesCount });
      it.run(1000);
      it.silent = true;
      for (let step = 0; step < 30; step++) {
        it.frameMs = it.nowMs;
        it.run(100);
      }
      expect(it.mark).toBe(framesCount ? 'up' : 'down');
    }
  });

  it('IM-7: knows a connection that hears nothing while others of the peer do', () => {
    const it = new Watched();
    it.run(1000);
    it.silent = true;
    it.run(2000);
    expect(it.health.silent('west', it.nowMs, it.nowMs - 100)).toBe(false);
    expect(it.health.silent('west', it.nowMs, it.nowMs - 1500)).toBe(true);
  });

  it('IM-6: lets it come back after the probation, and not before', () => {
    const it = new Watched();
    it.run(1000);
    it.silent = true;
    it.run(3000);
    it.silent = false;
    it.run(100);
    expect([it.mark, it.reason]).toEqual([
      'probation',
      'heartbeats by network are back; on probation for another 1.0 s',
    ]);
    it.run(900);
    expect(it.mark).toBe('probation');
    it.run(100);
    expect([it.mark, it.reason]).toEqual(['up', null]);
  });

  it('IM-6: begins the probation again after a gap', () => {
    const it = new Watched({ ...lan, probationMs: 5000 });
    it.run(1000);
    it.silent = true;
    it.run(3000);
    it.silent = false;
    it.run(4500);
    it.silent = true;
    it.run(1500);
    expect(it.mark).toBe('down');
    it.silent = false;
    it.run(4900);
    expect(it.mark).toBe('probation');
    it.run(200);
    expect(it.mark).toBe('up');
  });

  it('IM-6: sees a gap that nobody looked into, in what it is told afterwards', () => {
    const health = new ConnectionHealth(() => ({ ...lan, probationMs: 5000 }));
    health.heard('west', 0);
    health.look('west', 1500, null);
    health.heard('west', 2000);
    health.heard('west', 6900);
    expect(health.look('west', 7000, null)).toMatchObject({ mark: 'probation', probationLeftMs: 4900 });
  });

  it('IM-6: needs no probation of 0', () => {
    const it = new Watched({ ...lan, probationMs: 0 });
    it.run(1000);
    it.silent = true;
    it.run(3000);
    it.silent = false;
    it.run(100);
    expect(it.mark).toBe('up');
  });

  it('marks nobody who was never heard by the network, and nobody without a pulse', () => {
    const unheard = new Watched();
    unheard.silent = true;
    unheard.run(10_000);
    expect(unheard.mark).toBe('unknown');
    const without = new Watched(null);
    without.run(1000);
    without.silent = true;
    without.run(10_000);
    expect(without.mark).toBe('unknown');
  });

  it('does not take its own standing still for the silence of others', () => {
    const it = new Watched();
    it.run(1000);
    it.silent = true;
    it.nowMs += 60_000;
    it.run(1400);
    expect(it.mark).toBe('up');
    it.run(200);
    expect(it.mark).toBe('down');
  });
});
