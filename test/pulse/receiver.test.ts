import { beforeEach, describe, expect, it } from 'vitest';
import { encodeHeartbeat, type Echo, type Heartbeat } from '../../src/pulse/message.ts';
import { Receiver, type ReceiverOptions } from '../../src/pulse/receiver.ts';
import { clusterId, key } from './nodes.ts';

const ours = '0e'.repeat(16);
const timeoutMs = 1000;
let nowMs: number;
let receiver: Receiver;

const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs, after: () => ({ cancel() {} }) };

function makeReceiver(change: Partial<ReceiverOptions> = {}): Receiver {
  return new Receiver({
    clock,
    node: 'west',
    peers: ['east', 'north'],
    clusterId,
    key,
    incarnation: ours,
    timeoutMs,
    validity: { serial: true, time: true },
    ...change,
  });
}

beforeEach(() => {
  nowMs = 100_000;
  receiver = makeReceiver();
});

/** A process of east: what it sends, by its own clocks. */
class East {
  serial = 0;
  readonly incarnation: string;
  readonly startedWallMs: number;
  /** Its monotonic clock less ours. */
  aheadMs = 5_000_000;
  echo: Echo | null = null;

  constructor(incarnation: string, startedWallMs: number) {
    this.incarnation = incarnation.repeat(16);
    this.startedWallMs = startedWallMs;
  }

  hearsUs(): this {
    this.echo = { incarnation: ours, monotonicMs: nowMs };
    return this;
  }

  say(change: Partial<Heartbeat> = {}, by = key): Uint8Array {
    const word = { leaving: false, automatic: true, lease: 'valid' as const, ownedVersion: 1, serving: 1, hears: {} };
    const heartbeat: Heartbeat = {
      clusterId,
      from: 'east',
      to: 'west',
      channel: 'network',
      incarnation: this.incarnation,
      startedWallMs: this.startedWallMs,
      serial: ++this.serial,
      wallMs: nowMs,
      monotonicMs: nowMs + this.aheadMs,
      echo: this.echo,
      payload: { word, master: null, indications: [], control: null, received: null },
      ...change,
    };
    return encodeHeartbeat(heartbeat, by);
  }
}

const outcome = (bytes: Uint8Array, channel = 'network'): string => {
  const verdict = receiver.judge(bytes, channel);
  return verdict.kind === 'refused' ? verdict.reason : verdict.kind;
};

describe('what can never be deselected (HM-7, BY-6)', () => {
  it.each([
    { serial: true, time: true },
    { serial: false, time: false },
  ])('is refused by name and counted, with validity %o', (validity) => {
    receiver = makeReceiver({ validity });
    const east = new East('e1', 1000).hearsUs();
    expect(outcome(east.say({}, new Uint8Array(32).fill(9)))).toBe('forged');
    expect(outcome(new Uint8Array(50))).toBe('forged');
    expect(outcome(east.say({ clusterId: 'd'.repeat(32) }))).toBe('foreign');
    expect(outcome(east.say({ from: 'nobody' }))).toBe('unknown');
    expect(outcome(east.say({ to: 'north' }))).toBe('misdirected');
    expect(outcome(east.say({ from: 'west', to: 'east' }))).toBe('misdirected');
    expect(outcome(east.say(), 'mirror:hb1')).toBe('misdirected');
    expect(receiver.counts()).toMatchObject({
      '?': { forged: 2, foreign: 1, unknown: 1, misdirected: 1 },
      east: { misdirected: 2 },
    });
    expect(outcome(east.say())).toBe('valid');
  });
});

describe('proof that a sender hears us', () => {
  it('is missing until a message echoes our own incarnation with a time of ours within the timeout', () => {
    const east = new East('e1', 1000);
    expect(outcome(east.say())).toBe('unproven');
    expect(receiver.incarnationOf('east')).toBe(null);
    expect(outcome(east.say({ echo: { incarnation: 'aa'.repeat(16), monotonicMs: nowMs } }))).toBe('unproven');
    expect(outcome(east.say({ echo: { incarnation: ours, monotonicMs: nowMs - timeoutMs - 5 } }))).toBe('unproven');
    expect(outcome(east.say({ echo: { incarnation: ours, monotonicMs: nowMs + 1 } }))).toBe('unproven');
    expect(outcome(east.hearsUs().say())).toBe('valid');
    expect(receiver.incarnationOf('east')).toBe(east.incarnation);
    expect(receiver.counts()['east']?.unproven).toBe(4);
  });

  it('is needed once: what is proven stays so while it does not hear us', () => {
    const east = new East('e1', 1000).hearsUs();
    expect(outcome(east.say())).toBe('valid');
    for (let count = 0; count < 30; count++) {
      nowMs += 200;
      expect(outcome(east.say({ channel: 'mirror:hb1' }), 'mirror:hb1')).toBe('valid');
    }
  });

  it('cannot be had by a recording played to a process that has just started', () => {
    const recorded: Uint8Array[] = [];
    const old = new East('e1', 1000);
    old.echo = { incarnation: 'aa'.repeat(16), monotonicMs: nowMs };
    for (let count = 0; count < 50; count++) recorded.push(old.say({ monotonicMs: 10_000 + count * 200 }));
    for (const message of recorded) {
      expect(outcome(message)).toBe('unproven');
      nowMs += 200;
    }
    // The live one wins at its first word, though its wall clock was set back.
    expect(outcome(new East('e2', 500).hearsUs().say())).toBe('valid');
    expect(receiver.incarnationOf('east')).toBe('e2'.repeat(16));
  });

  it('is what our own messages give the other: the last authentic one is echoed', () => {
    expect(receiver.echoFor('east')).toBe(null);
    const east = new East('e1', 1000);
    outcome(east.say());
    expect(receiver.echoFor('east')).toEqual({ incarnation: east.incarnation, monotonicMs: nowMs + east.aheadMs });
    expect(receiver.echoFor('north')).toBe(null);
  });
});

describe('a restarted sender', () => {
  it('supersedes its earlier process for ever, whatever was recorded of that', () => {
    const first = new East('e1', 1000).hearsUs();
    outcome(first.say());
    const recorded = first.say();
    const second = new East('e2', 2000);
    expect(outcome(second.say())).toBe('unproven');
    expect(outcome(second.hearsUs().say())).toBe('valid');
    expect(outcome(recorded)).toBe('superseded');
    nowMs += 60_000;
    expect(outcome(first.hearsUs().say())).toBe('superseded');
    expect(receiver.counts()['east']?.superseded).toBe(2);
  });

  it('is not displaced by an older process while it is heard, proof or not', () => {
    outcome(new East('e2', 2000).hearsUs().say());
    expect(outcome(new East('e1', 1000).hearsUs().say())).toBe('superseded');
  });

  it('whose wall clock was set back is believed once the earlier process is silent', () => {
    outcome(new East('e1', 2000).hearsUs().say());
    nowMs += timeoutMs + 1;
    expect(outcome(new East('e2', 1000).hearsUs().say())).toBe('valid');
  });
});

describe('the serial number (HM-7)', () => {
  it('must rise within an incarnation and channel', () => {
    const east = new East('e1', 1000).hearsUs();
    const first = east.say();
    const second = east.say();
    expect([outcome(first), outcome(second), outcome(second), outcome(first)]).toEqual([
      'valid',
      'valid',
      'replayed',
      'replayed',
    ]);
    // Each channel counts for itself.
    expect(outcome(east.say({ serial: 1, channel: 'mirror:hb1' }), 'mirror:hb1')).toBe('valid');
    expect(receiver.counts()['east']?.replayed).toBe(2);
  });

  it('may wrap', () => {
    const east = new East('e1', 1000).hearsUs();
    east.serial = 0xffff_fffe;
    const last = east.say();
    expect([outcome(last), outcome(east.say({ serial: 1 })), outcome(last)]).toEqual(['valid', 'valid', 'replayed']);
  });

  it('is not looked at when deselected', () => {
    receiver = makeReceiver({ validity: { serial: false, time: true } });
    const message = new East('e1', 1000).hearsUs().say();
    expect([outcome(message), outcome(message)]).toEqual(['valid', 'valid']);
    nowMs += timeoutMs + 10;
    expect(outcome(message)).toBe('stale');
  });
});

describe('the time (HM-7)', () => {
  it('must keep moving with ours: what was held back for longer than the timeout is stale', () => {
    const east = new East('e1', 1000).hearsUs();
    outcome(east.say());
    const early = east.say();
    const later = east.say();
    nowMs += timeoutMs - 100;
    expect(outcome(early)).toBe('valid');
    nowMs += 200;
    expect(outcome(later)).toBe('stale');
    expect(outcome(east.say())).toBe('valid');
  });

  it('may run a thousandth slower for days, but not be held back more and more', () => {
    const east = new East('e1', 1000).hearsUs();
    outcome(east.say());
    for (let count = 0; count < 20_000; count++) {
      nowMs += 10_000;
      east.aheadMs -= 9;
      expect(outcome(east.say())).toBe('valid');
    }
    east.echo = null;
    let taken = 0;
    while (outcome(east.say()) === 'valid' && taken < 1000) {
      nowMs += 1000;
      east.aheadMs -= 50;
      taken++;
    }
    expect(taken).toBeLessThan(25);
  });

  it('of a machine that was suspended is taken again when it proves that it hears us now', () => {
    const east = new East('e1', 1000).hearsUs();
    outcome(east.say());
    nowMs += 60_000;
    east.aheadMs -= 60_000;
    expect(outcome(east.say())).toBe('stale');
    expect(outcome(east.hearsUs().say())).toBe('valid');
    east.echo = null;
    expect(outcome(east.say())).toBe('valid');
  });

  it('is not looked at when deselected', () => {
    receiver = makeReceiver({ validity: { serial: true, time: false } });
    const east = new East('e1', 1000).hearsUs();
    outcome(east.say());
    const held = east.say();
    nowMs += 60_000;
    expect(outcome(held)).toBe('valid');
  });
});
