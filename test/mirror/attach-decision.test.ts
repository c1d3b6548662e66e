/** The recovery table of a mirror as data: every case hits exactly one row, and the decision is that row's. */
import { describe, expect, test } from 'vitest';
import { decideAttach, type AttachDecision, type OwnerView } from '../../src/mirror/attach-decision.ts';
import type { Attached } from '../../src/mirror/messages.ts';
import type { Position } from '../../src/stream/position.ts';

const at = (generation: number, seq: number): Position => ({ generation, seq });

/** What decides, each either way; a row that leaves one out does not care. */
interface Facts {
  readonly newerSeen: boolean;
  readonly ahead: boolean;
  readonly knowsOursBetter: boolean;
  readonly blank: boolean;
  readonly ownerKnows: boolean;
  readonly targetKnows: boolean;
  readonly fork: boolean;
  readonly older: boolean;
  /** The owner's own leg lacks what it once confirmed. */
  readonly ownerOlder: boolean;
  readonly condition: 'consistent' | 'unconfirmed' | 'inconsistent';
  readonly held: boolean;
  /** When it was lost it had applied no more than it holds now; false: more, or nobody knows. */
  readonly asWhenLost: boolean;
  readonly bitsSet: boolean;
  readonly tracking: boolean;
  readonly inHistory: boolean;
  readonly inLog: boolean;
}

type Decided =
  | 'deposed'
  | 'wentBack'
  | 'continueThere'
  | 'continueNow'
  | 'merge'
  | `${'all' | 'bits' | 'bitsAndHot'}${'' | ', fork'}`;
type Row = readonly [decided: Decided, when: { readonly [Fact in keyof Facts]?: readonly Facts[Fact][] }];

const no = [false] as const;
const yes = [true] as const;
const mine = { newerSeen: no, ahead: no, knowsOursBetter: no } as const;
const based = { ...mine, blank: no, ownerKnows: yes, targetKnows: yes } as const;
const notOlder = { ...based, older: no, ownerOlder: no } as const;
const line = { ...notOlder, fork: no } as const;
const standing = ['consistent', 'unconfirmed'] as const;
const whole = { ...line, condition: standing } as const;
const logged = { ...whole, inLog: yes } as const;
const bare = { ...whole, inLog: no } as const;
const kept = { held: yes, asWhenLost: yes } as const;

/** A full copy; what a fork wrote is kept, unless it is in pieces. */
function all(when: Row[1]): Row[] {
  return [
    ['all', { ...when, fork: no }],
    ['all', { ...when, fork: yes, condition: ['inconsistent'] }],
    ['all, fork', { ...when, fork: yes, condition: standing }],
  ];
}

const table: readonly Row[] = [
  ['deposed', { newerSeen: yes }],
  ['wentBack', { newerSeen: no, ahead: yes }],
  ['wentBack', { newerSeen: no, ahead: no, knowsOursBetter: yes }],
  ['all', { ...mine, blank: yes }],
  ...all({ ...mine, blank: no, ownerKnows: no }),
  ...all({ ...mine, blank: no, ownerKnows: yes, targetKnows: no }),
  ...all({ ...based, older: yes }),
  ...all({ ...based, older: no, ownerOlder: yes }),
  ['bitsAndHot, fork', { ...notOlder, fork: yes }],
  ['bits', { ...line, condition: ['inconsistent'], ...kept }],
  ['bitsAndHot', { ...line, condition: ['inconsistent'], held: yes, asWhenLost: no }],
  ['bitsAndHot', { ...line, condition: ['inconsistent'], held: no }],
  ['continueThere', { ...whole, bitsSet: no, tracking: no, inHistory: yes }],
  ['continueNow', { ...whole, bitsSet: no, tracking: yes, ...kept }],
  ['merge', { ...logged, bitsSet: yes }],
  ['merge', { ...logged, bitsSet: no, tracking: no, inHistory: no }],
  ['merge', { ...logged, bitsSet: no, tracking: yes, held: yes, asWhenLost: no }],
  ['merge', { ...logged, bitsSet: no, tracking: yes, held: no }],
  ['bits', { ...bare, bitsSet: no, tracking: no, inHistory: no, ...kept }],
  ['bits', { ...bare, bitsSet: yes, ...kept }],
  ['bitsAndHot', { ...bare, bitsSet: no, tracking: yes, held: yes, asWhenLost: no }],
  ['bitsAndHot', { ...bare, bitsSet: no, tracking: yes, held: no }],
  ['bitsAndHot', { ...bare, bitsSet: no, tracking: no, inHistory: no, held: yes, asWhenLost: no }],
  ['bitsAndHot', { ...bare, bitsSet: no, tracking: no, inHistory: no, held: no }],
  ['bitsAndHot', { ...bare, bitsSet: yes, held: yes, asWhenLost: no }],
  ['bitsAndHot', { ...bare, bitsSet: yes, held: no }],
];

/** The owner is at 5:100; generation 4 was left at 50. A fork is 4:60, ahead is 5:120, all else 5:80. */
function viewOf(facts: Facts): { owner: OwnerView; target: Attached } {
  const position = facts.fork ? at(4, 60) : facts.ahead ? at(5, 120) : at(5, 80);
  const owner: OwnerView = {
    lineage: { generation: 5, id: 'e', ancestors: [{ generation: 4, id: 'd', leftAtSeq: 50 }] },
    last: at(5, 100),
    ownDurable: at(5, 90),
    confirmed: facts.fork ? at(4, 40) : at(5, 10),
    known: facts.ownerKnows,
    historyFollows: facts.inHistory,
    logFollows: ({ seq }) => facts.inLog && seq === position.seq,
    tracking: facts.tracking,
    bitsSet: facts.bitsSet,
    lostAt: facts.asWhenLost ? (facts.fork ? at(4, 60) : at(5, 80)) : facts.held ? at(5, 1000) : null,
  };
  if (facts.newerSeen) {
    return { owner, target: { attachId: 1, ok: false, code: 'newerGeneration', reason: 'generation 6', seen: 6 } };
  }
  const target: Attached = {
    attachId: 1,
    ok: true,
    position,
    lineage: facts.fork ? { generation: 4, id: 'd', ancestors: [] } : owner.lineage,
    intended: position,
    durable: facts.fork ? at(4, facts.older ? 39 : 40) : at(5, facts.older ? 9 : 10),
    condition: facts.condition,
    held: facts.held,
    blank: facts.blank,
    known: facts.targetKnows,
    ownerConfirmed: facts.knowsOursBetter ? at(5, 91) : at(4, facts.ownerOlder ? 55 : 50),
    image: { atMs: null, obstacle: null },
  };
  return { owner, target };
}

function* cases(): Generator<Facts> {
  for (let bits = 0; bits < 2 ** 15; bits++) {
    const bit = (place: number): boolean => ((bits >> place) & 1) === 1;
    // A fork is not on the lineage, hence never ahead on it.
    if (bit(1) && bit(6)) continue;
    for (const condition of ['consistent', 'unconfirmed', 'inconsistent'] as const) {
      yield {
        newerSeen: bit(0),
        ahead: bit(1),
        knowsOursBetter: bit(2),
        blank: bit(3),
        ownerKnows: bit(4),
        targetKnows: bit(5),
        fork: bit(6),
        older: bit(7),
        condition,
        held: bit(8),
        asWhenLost: bit(9),
        bitsSet: bit(10),
        tracking: bit(11),
        inHistory: bit(12),
        ownerOlder: bit(13),
        inLog: bit(14),
      };
    }
  }
}

function hits([, when]: Row, facts: Facts): boolean {
  return Object.entries(when).every(([fact, values]) =>
    (values as readonly unknown[]).includes(facts[fact as keyof Facts]),
  );
}

function named(decision: AttachDecision): Decided {
  if (decision.kind === 'resync') return `${decision.what}${decision.fork ? ', fork' : ''}`;
  if (decision.kind !== 'continue') return decision.kind;
  return decision.from.seq === 100 ? 'continueNow' : 'continueThere';
}

describe('what becomes of a target that has said where it stands', () => {
  test('R6, R8, R9, R12: every case hits exactly one row of the table, and that row decides', () => {
    const used = new Set<Row>();
    for (const facts of cases()) {
      const rows = table.filter((row) => hits(row, facts));
      const [row] = rows;
      if (rows.length !== 1 || row === undefined) throw new Error(`${rows.length} rows for ${JSON.stringify(facts)}`);
      used.add(row);
      const { owner, target } = viewOf(facts);
      const decided = named(decideAttach(owner, target));
      if (decided !== row[0]) throw new Error(`${decided}, not ${row[0]}, for ${JSON.stringify(facts)}`);
    }
    expect(used.size).toBe(table.length);
  });

  test('every decision but to go on says why', () => {
    for (const facts of cases()) {
      const { owner, target } = viewOf(facts);
      const decision = decideAttach(owner, target);
      if (decision.kind !== 'continue' && decision.kind !== 'merge') expect(decision.reason).not.toBe('');
    }
  });
});
