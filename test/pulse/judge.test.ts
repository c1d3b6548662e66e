/**
 * The judge, against everything: each combination of what every channel may say, in each configuration of enabled
 * channels, crossed with what else counts. The oracle below is written from the requirements, not from the rules.
 */
import { describe, expect, it } from 'vitest';
import type { ChannelKind } from '../../src/pulse/channel.ts';
import { judge, ruleTable, type Evidence, type RuleName } from '../../src/pulse/judge.ts';
import type { Heard } from '../../src/pulse/snapshot.ts';

const kinds: readonly ChannelKind[] = ['network', 'mirror', 'interconnect', 'link'];

function channel(kind: ChannelKind, more: Partial<Heard>): Heard {
  return { channel: kind, kind, enable: 'ENABLE', hearing: 'silent', silentMs: 2000, fault: null, ...more };
}

/** Everything one channel may be. */
const states = (kind: ChannelKind): readonly (Heard | null)[] => [
  null,
  channel(kind, { enable: 'DISABLE', hearing: 'alive' }),
  ...(['ENABLE', 'FAILED'] as const).flatMap((enable) =>
    (['alive', 'silent', 'probation', 'unknown'] as const).flatMap((hearing) =>
      [null, 'cable'].map((fault) => channel(kind, { enable, hearing, fault })),
    ),
  ),
];

const base: Evidence = {
  schema: 1,
  atMs: 1,
  node: 'west',
  group: 'g1',
  owner: 'east',
  generation: 4,
  automatic: 'on',
  nodeAutomatic: true,
  heard: [channel('network', {})],
  deaf: null,
  heardBy: [],
  presence: 'silent',
  planned: false,
  waitsForRecovery: false,
  store: 'lapsed',
  mayServe: true,
  unsafe: null,
  before: [],
  precedenceMs: 0,
  precedenceMaxMs: 1000,
};

/** All combinations of four channels: 17 states each, 83,521 pictures. */
function* pictures(): Generator<readonly Heard[]> {
  const all = kinds.map(states);
  const indices = [0, 0, 0, 0];
  for (;;) {
    yield indices.flatMap((index, at) => all[at]?.[index] ?? []);
    let at = 0;
    while (at < 4) {
      const next = (indices[at] ?? 0) + 1;
      indices[at] = next;
      if (next < (all[at]?.length ?? 0)) break;
      indices[at++] = 0;
    }
    if (at === 4) return;
  }
}

const variants: readonly Partial<Evidence>[] = [
  {},
  { store: 'none', automatic: 'heartbeat-only' },
  { store: 'none' },
  { store: 'held' },
  { store: 'unreachable' },
  { automatic: 'off' },
  { nodeAutomatic: false },
  { planned: true },
  { deaf: 'stood still' },
  { waitsForRecovery: true },
  { presence: 'off' },
  { presence: 'answered' },
  { presence: 'asking' },
  { presence: 'notAsked' },
  { heardBy: ['south'] },
  { unsafe: 'Outdated' },
  { mayServe: false },
  { before: ['south'] },
  { before: ['south'], precedenceMs: 1000 },
];

/** HM-13, AS-4…AS-8, AS-14, R11 as sentences. */
function mayTakeOver(evidence: Evidence): boolean {
  const asked = evidence.heard.filter((heard) => heard.enable !== 'DISABLE');
  if (asked.some((heard) => heard.hearing === 'alive' || heard.hearing === 'probation')) return false;
  const sound = asked.filter((heard) => heard.fault === null);
  if (sound.length === 0) return false;
  if (!evidence.waitsForRecovery && sound.some((heard) => heard.hearing === 'unknown')) return false;
  if (evidence.automatic === 'off' || !evidence.nodeAutomatic || evidence.planned || evidence.deaf !== null)
    return false;
  if (evidence.heardBy.length > 0 || evidence.unsafe !== null) return false;
  if (evidence.presence !== 'silent' && evidence.presence !== 'off') return false;
  if (evidence.before.length > 0 && evidence.precedenceMs < evidence.precedenceMaxMs) return false;
  if (evidence.store === 'none') {
    return evidence.automatic === 'heartbeat-only' && sound.some((heard) => heard.kind !== 'mirror');
  }
  return evidence.store === 'lapsed' && evidence.mayServe;
}

describe('the judge', () => {
  it('takes over in exactly the pictures in which it may: all channel states, all configurations (HM-13, AS-4, AS-6, AS-14)', () => {
    const reached = new Set<RuleName>();
    const wrong: unknown[] = [];
    let taken = 0;
    for (const heard of pictures()) {
      for (const variant of variants) {
        const evidence = { ...base, ...variant, heard };
        const verdict = judge(evidence);
        reached.add(verdict.rule);
        if (verdict.decision === 'takeOver') taken++;
        if ((verdict.decision === 'takeOver') !== mayTakeOver(evidence) && wrong.length < 3) wrong.push(evidence);
      }
    }
    expect(wrong).toEqual([]);
    expect(taken).toBeGreaterThan(1000);
    expect([...reached].sort()).toEqual(ruleTable.map(({ name }) => name).sort());
  });

  it('a broken channel is no evidence: with the cable fault alone there is no take-over, with another silent one there is (AS-6)', () => {
    const cable = channel('interconnect', { fault: 'carrier lost' });
    expect(judge({ ...base, heard: [cable] })).toMatchObject({ decision: 'no', rule: 'no-evidence' });
    expect(judge({ ...base, heard: [cable, channel('network', {})] }).decision).toBe('takeOver');
  });

  it('asks over the network only when every channel is silent (AS-4)', () => {
    expect(judge({ ...base, presence: 'notAsked' })).toMatchObject({ decision: 'verify' });
    const one = channel('network', { hearing: 'alive' });
    expect(judge({ ...base, presence: 'notAsked', heard: [one, channel('mirror', {})] }).decision).toBe('no');
  });

  it('tells who was silent on which channel, in words', () => {
    const heard = [channel('network', {}), channel('mirror', { channel: 'mirror:hb1' })];
    expect(judge({ ...base, heard }).text).toBe('east is silent on network, mirror:hb1 and its lease has lapsed');
  });

  it('says the same of the same evidence, also after it was written down and read again (BY-9)', () => {
    for (const variant of variants) {
      const evidence: Evidence = { ...base, ...variant };
      expect(judge(JSON.parse(JSON.stringify(evidence)) as Evidence)).toEqual(judge(evidence));
    }
  });
});
