/** Every relation that two nodes' accounts of a group can have, and what both make of it. */
import { describe, expect, test } from 'vitest';
import {
  changesSince,
  commonPosition,
  judgeAccounts,
  mayAdopt,
  mustRenumber,
  type Account,
  type Verdict,
} from '../../src/group/accounts.ts';
import type { GroupRecord } from '../../src/group/record.ts';
import { chosenByPolicy, splitBrainWords } from '../../src/group/split-brain.ts';
import type { LegClass } from '../../src/store/document.ts';
import type { Ancestor } from '../../src/stream/position.ts';

const unbounded = Number.MAX_SAFE_INTEGER;

interface Sketch {
  readonly owner: string;
  /** Generation and id in one, such as `2w`. */
  readonly tenure: string;
  /** As `1e@990`. */
  readonly past?: readonly string[];
  /** `2w:37`; default: the beginning of the tenure. */
  readonly end?: string;
  /** How the record has the other node's leg. */
  readonly other?: LegClass;
  readonly established?: boolean;
  readonly overrules?: readonly string[];
}

const tenureOf = (text: string): { generation: number; id: string } => ({
  generation: Number.parseInt(text, 10),
  id: text.replace(/^\d+/, ''),
});

function account(node: string, sketch: Sketch | null, changes: Partial<Account> = {}): Account {
  const other = node === 'east' ? 'west' : 'east';
  if (sketch === null) {
    const history = { lineage: { generation: 0, id: '', ancestors: [] }, end: { generation: 0, seq: 0 } };
    const seen = { generation: 0, id: '' };
    return { ...nothing, node, record: null, history: { ...history, seen }, ...changes };
  }
  const { owner, tenure, past = [], end = `${tenure}:0`, established = true, overrules = [] } = sketch;
  const ancestors = past.map((text): Ancestor => {
    const [of = '', left = '0'] = text.split('@');
    return { ...tenureOf(of), leftAtSeq: Number(left) };
  });
  const record: GroupRecord = {
    schema: 1,
    group: 'g1',
    ...tenureOf(tenure),
    established,
    ancestors,
    owner,
    leaseId: 'l',
    legs: { [node]: { class: 'inSync', paused: false }, [other]: { class: sketch.other ?? 'behind', paused: false } },
    ...(overrules.length === 0 ? {} : { overrules: overrules.map(tenureOf) }),
  };
  const [at = '', seq = '0'] = end.split(':');
  const reached = { generation: tenureOf(at).generation, seq: seq === '*' ? unbounded : Number(seq) };
  const lineage = { ...tenureOf(tenure), ancestors };
  return { ...nothing, node, record, history: { lineage, end: reached, seen: tenureOf(tenure) }, ...changes };
}

const nothing = { serving: false, sessions: 0, changedBytes: null, leaseId: null };

const east = (tenure: string, more: Partial<Sketch> = {}): Account =>
  account('east', { owner: 'east', tenure, ...more });
const west = (tenure: string, more: Partial<Sketch> = {}): Account =>
  account('west', { owner: 'west', tenure, ...more });
const westFollows = (owner: string, tenure: string, more: Partial<Sketch> = {}): Account =>
  account('west', { owner, tenure, ...more });
const eastFollows = (owner: string, tenure: string, more: Partial<Sketch> = {}): Account =>
  account('east', { owner, tenure, ...more });

const taken = west('2w', { past: ['1e@990'], end: '2w:37' });

const table: readonly [string, Account, Account, Verdict['kind'] | 'ours/theirs' | 'theirs/ours'][] = [
  ['neither knows of the group', account('east', null), account('west', null), 'none'],
  ['one has a record, the other none', east('1e'), account('west', null), 'ours/theirs'],
  ['both have the same', east('1e', { other: 'inSync' }), westFollows('east', '1e'), 'ours/theirs'],
  [
    'the follower has an older tenure of its owner',
    east('3e', { past: ['1e@9'] }),
    westFollows('east', '1e'),
    'ours/theirs',
  ],
  [
    'the follower knows a newer tenure of the owner than itself',
    east('1e'),
    westFollows('east', '3e'),
    'ours/theirs',
  ],
  [
    'handed over, and the new owner has not heard',
    eastFollows('west', '2w'),
    westFollows('east', '1e'),
    'ours/theirs',
  ],
  ['handed over, not heard, and taken over meanwhile', eastFollows('west', '2x'), west('2w'), 'theirs/ours'],
  [
    'taken over from a dead owner that lacked nothing alone',
    east('1e', { end: '1e:*', other: 'inSync' }),
    taken,
    'theirs/ours',
  ],
  ['the same from an asynchronous one', east('1e', { end: '1e:1000', other: 'withinBound' }), taken, 'theirs/ours'],
  ['taken over from one that had gone on alone', east('1e', { end: '1e:1500' }), taken, 'split'],
  ['the same, and it crashed', east('1e', { end: '1e:*' }), taken, 'split'],
  ['the same, under a tenure of its own', east('3e', { past: ['1e@1500'] }), taken, 'split'],
  ['the same, claimed and not established', east('3e', { past: ['1e@1500'], established: false }), taken, 'split'],
  [
    'taken over, and nothing was written',
    east('1e', { end: '1e:1500' }),
    west('2w', { past: ['1e@990'] }),
    'ours/theirs',
  ],
  ['nor by the old owner', east('1e', { end: '1e:990' }), west('2w', { past: ['1e@990'] }), 'theirs/ours'],
  ['claims of one number, both written', east('2e', { past: ['1e@990'], end: '2e:4' }), taken, 'split'],
  ['claims with no common past, both written', east('1e', { end: '1e:4' }), west('1w', { end: '1w:4' }), 'split'],
  [
    'claims of one number, nothing written',
    east('2e', { past: ['1e@990'] }),
    west('2w', { past: ['1e@990'] }),
    'ours/theirs',
  ],
  [
    'a take-over that was cut off',
    east('1e', { end: '1e:990' }),
    west('2w', { past: ['1e@990'], established: false }),
    'ours/theirs',
  ],
  ['both wrote, and one was chosen', east('3e', { past: ['1e@1500'], overrules: ['2w'] }), taken, 'ours/theirs'],
  [
    'each was chosen at its own node',
    east('3e', { past: ['1e@1500'], overrules: ['2w'] }),
    west('2w', { past: ['1e@990'], end: '2w:37', overrules: ['3e'] }),
    'ours/theirs',
  ],
  [
    'chosen, and the other began anew since',
    east('3e', { past: ['1e@1500'], overrules: ['2w'] }),
    west('4v', { past: ['1e@990', '2w@37'], end: '4v:1' }),
    'split',
  ],
  ['a copy is not open, and both claim', { ...east('1e'), history: null }, taken, 'wait'],
  ['both follow third nodes', eastFollows('north', '2n'), westFollows('south', '2s'), 'wait'],
  ['both follow, one knows a newer tenure', eastFollows('north', '3n'), westFollows('north', '2n'), 'ours/theirs'],
  [
    'one claims, the other follows a third that took over',
    east('1e'),
    westFollows('north', '2n', { past: ['1e@5'] }),
    'theirs/ours',
  ],
  ['one claims, the other follows a third of another history', east('1e'), westFollows('north', '2n'), 'wait'],
];

describe('two accounts of a group', () => {
  for (const [name, one, two, expected] of table) {
    test(`R12: ${name}: ${expected}`, () => {
      const [first, second = first] = expected.split('/');
      expect(judgeAccounts(one, two).kind).toBe(
        first === 'ours' && two.record?.id === one.record?.id ? 'ours' : first,
      );
      // The follower of the same tenure takes its owner's copy, which may say more of the legs.
      expect(judgeAccounts(two, one).kind).toBe(second);
    });
  }

  test('have their last common position where the first of them left it', () => {
    const one = east('1e', { end: '1e:1500' }).history;
    const two = taken.history;
    if (one === null || two === null) throw new Error('no history');
    expect(commonPosition(one, two)).toEqual({ generation: 1, seq: 990 });
    expect(commonPosition(two, one)).toEqual({ generation: 1, seq: 990 });
    expect(changesSince(one, { generation: 1, seq: 990 })).toBe(510);
    expect(changesSince(two, { generation: 1, seq: 990 })).toBe(37);
  });

  test('R12: the one that counts takes a number that the other can accept', () => {
    const went = east('1e', { end: '1e:1500' });
    const idle = west('2w', { past: ['1e@990'] });
    expect(mustRenumber(went, idle)).toBe(true);
    expect(mustRenumber(idle, went)).toBe(false);
    expect(went.record !== null && mayAdopt(idle, went.record)).toBe(false);
    const renumbered = east('3e', { past: ['1e@1500'] });
    expect(renumbered.record !== null && mayAdopt(idle, renumbered.record)).toBe(true);
  });
});

describe('a split brain', () => {
  const common = { generation: 1, seq: 990 };
  const older = { ...east('1e', { end: '1e:1500' }), changedBytes: 4096 };
  const younger = { ...taken, changedBytes: 65536 };
  const since = (one: Account, ownedSinceMs: number, serving = false): Account => ({
    ...one,
    serving,
    record: one.record === null ? null : { ...one.record, ownedSinceMs },
  });
  const policy = { zeroPrimaries: 'disconnect', onePrimary: 'disconnect', twoPrimaries: 'disconnect' } as const;

  test('BY-1: is described with both histories', () => {
    const words = splitBrainWords({ ours: { ...older, serving: true, sessions: 2 }, theirs: younger, common });
    expect(words).toContain('1:990');
    expect(words).toMatch(/east in generation 1: 510 changes, in at most 4 KiB, serves hosts \(2 sessions\)/);
    expect(words).toMatch(/west in generation 2: 37 changes, in at most 64 KiB, serves no hosts/);
  });

  test.each([
    ['disconnect', 0, null],
    ['discard-younger-primary', 0, 'east'],
    ['discard-least-changes', 0, 'west'],
    ['discard-zero-changes', 0, null],
    ['discard-younger-primary', 1, null],
    ['discard-younger-primary', 2, null],
  ] as const)('BY-1: %s with %d primaries keeps %s', (zeroPrimaries, serving, expected) => {
    const ours = since(older, 1000, serving > 0);
    const theirs = since(younger, 2000, serving > 1);
    expect(chosenByPolicy({ ours, theirs, common }, { ...policy, zeroPrimaries })).toBe(expected);
    expect(chosenByPolicy({ ours: theirs, theirs: ours, common }, { ...policy, zeroPrimaries })).toBe(expected);
  });

  test('BY-1: with one primary the policies for one decide', () => {
    const one = { ours: since(older, 1000), theirs: since(younger, 2000, true), common };
    expect(chosenByPolicy(one, { ...policy, onePrimary: 'discard-secondary' })).toBe('west');
    expect(chosenByPolicy(one, { ...policy, onePrimary: 'consensus', zeroPrimaries: 'discard-least-changes' })).toBe(
      'west',
    );
    expect(
      chosenByPolicy(one, { ...policy, onePrimary: 'consensus', zeroPrimaries: 'discard-younger-primary' }),
    ).toBeNull();
  });

  test('BY-1: the side that changed nothing gives way under "discard-zero-changes"', () => {
    const split = { ours: older, theirs: { ...younger, changedBytes: 0 }, common };
    expect(chosenByPolicy(split, { ...policy, zeroPrimaries: 'discard-zero-changes' })).toBe('east');
  });
});
