/**
 * Who owns a group where no coordination store says so: two nodes tell each other what they know, and both come to the
 * same verdict (R12, BY-1). An *account* is what a node knows of the group; a node *claims* it when its own copy of the
 * record names itself as owner. Pure; what follows from a verdict is carried out in `record-exchange.ts`.
 *
 * The idea: within a tenure only its owner changes the record, so a copy of another node's tenure is worth less than that
 * node's own. Two claims conflict only if on both sides something was acknowledged that the other lacks. What a claimant
 * stamped beyond the other's history was acknowledged without it only if its own record calls the other's leg behind
 * (R13); all else is what hosts were never told is safe, or an asynchronous leg's stated loss, as after any take-over.
 *
 *   | both records                               | verdict                                                       |
 *   |--------------------------------------------|---------------------------------------------------------------|
 *   | none                                       | none                                                          |
 *   | one only                                   | the one there is                                              |
 *   | of one tenure                              | its owner's copy; of two others' copies, either               |
 *   | one gives up the other's tenure (resolved) | that one                                                      |
 *   | only one node claims, the other follows it | the claimant's                                                |
 *   | only one claims, the other follows a third | the higher generation, if it stems from the lower; else wait  |
 *   | neither claims                             | the higher generation; equal: wait for their owners           |
 *   | both claim, both wrote without the other   | split brain                                                   |
 *   | both claim, one wrote without the other    | that one                                                      |
 *   | both claim, neither did                    | established before not; the higher generation; the lower id   |
 *
 * Judging is symmetric: what is `ours` for one is `theirs` for the other.
 */
import { z } from 'zod';
import { assertNever } from '../base/assert.ts';
import { comparePositions, origin, type Lineage, type Position } from '../stream/position.ts';
import { lineageSchema } from '../volume/leg-metadata.ts';
import { recordSchema, type GroupRecord } from './record.ts';

export const accountSchema = z
  .object({
    node: z.string(),
    record: recordSchema.nullable(),
    /** Of the node's own leg; null while that is not open. */
    history: z
      .object({
        lineage: lineageSchema,
        /** It holds nothing beyond; of an owner that crashed it is not known: `Number.MAX_SAFE_INTEGER`. */
        end: z.object({ generation: z.int().min(0), seq: z.int().min(0) }).readonly(),
        /** The highest generation ever seen there. */
        seen: z.object({ generation: z.int().min(0), id: z.string() }).readonly(),
      })
      .readonly()
      .nullable(),
    /** Hosts are let in there. */
    serving: z.boolean(),
    /** Hosts' sessions. */
    sessions: z.int().min(0),
    /** What its bits against the node it is told to name, at most; null: not known. */
    changedBytes: z.number().nullable(),
    /** Of the lease it could be handed the group on; null: it holds none. */
    leaseId: z.string().nullable(),
  })
  .readonly();

export type Account = z.infer<typeof accountSchema>;
type History = NonNullable<Account['history']>;

export type Verdict =
  | { readonly kind: 'none' }
  /** Both know the same. */
  | { readonly kind: 'same' }
  /** Our record counts; they take it over. */
  | { readonly kind: 'ours' }
  | { readonly kind: 'theirs' }
  /** Not to be decided between these two, or not yet. */
  | { readonly kind: 'wait'; readonly reason: string }
  | { readonly kind: 'split'; readonly common: Position };

export function judgeAccounts(ours: Account, theirs: Account): Verdict {
  const { record: mine } = ours;
  const { record: its } = theirs;
  if (mine === null) return { kind: its === null ? 'none' : 'theirs' };
  if (its === null) return { kind: 'ours' };
  const claims = mine.owner === ours.node;
  const itClaims = its.owner === theirs.node;
  if (mine.generation === its.generation && mine.id === its.id) {
    if (claims || !itClaims || JSON.stringify(mine) === JSON.stringify(its))
      return { kind: claims ? 'ours' : 'same' };
    return { kind: 'theirs' };
  }
  const gaveUp = givesUp(mine, theirs);
  const isGivenUp = givesUp(its, ours);
  if (gaveUp !== isGivenUp) return { kind: gaveUp ? 'ours' : 'theirs' };
  if (claims && itClaims) return gaveUp ? byNumber(mine, its) : betweenClaims(ours, theirs, mine, its);
  if (claims && its.owner === ours.node) return { kind: 'ours' };
  if (itClaims && mine.owner === theirs.node) return { kind: 'theirs' };
  const newer = mine.generation > its.generation;
  if (!claims && !itClaims) {
    if (mine.generation !== its.generation) return { kind: newer ? 'ours' : 'theirs' };
  } else if (stemsFrom(newer ? mine : its, newer ? its : mine)) return { kind: newer ? 'ours' : 'theirs' };
  return { kind: 'wait', reason: `what ${mine.owner} and ${its.owner} know of each other has to be heard from them` };
}

/**
 * The record's history was chosen over that node's tenure. One it has begun since is another: what was written in it
 * nobody has given up.
 */
function givesUp(record: GroupRecord, { record: other }: Account): boolean {
  return (record.overrules ?? []).some(({ id }) => other?.id === id);
}

function stemsFrom(child: GroupRecord, parent: GroupRecord): boolean {
  return child.ancestors.some(({ generation, id }) => generation === parent.generation && id === parent.id);
}

function betweenClaims(ours: Account, theirs: Account, mine: GroupRecord, its: GroupRecord): Verdict {
  if (ours.history === null || theirs.history === null) {
    const node = ours.history === null ? ours.node : theirs.node;
    return { kind: 'wait', reason: `the copy at ${node} is not open, so what was written there is not known` };
  }
  const common = commonPosition(ours.history, theirs.history);
  const wrote = wentOn(mine, ours.history, common, theirs.node);
  const itWrote = wentOn(its, theirs.history, common, ours.node);
  if (wrote && itWrote) return { kind: 'split', common };
  if (wrote !== itWrote) return { kind: wrote ? 'ours' : 'theirs' };
  if (mine.established !== its.established) return { kind: mine.established ? 'ours' : 'theirs' };
  return byNumber(mine, its);
}

function byNumber(mine: GroupRecord, its: GroupRecord): Verdict {
  const newer = mine.generation - its.generation || (mine.id < its.id ? 1 : -1);
  return { kind: newer > 0 ? 'ours' : 'theirs' };
}

/** Something was, or may have been, acknowledged beyond `common` without the other node. */
function wentOn(record: GroupRecord, { lineage, end }: History, common: Position, other: string): boolean {
  const without = (record.legs[other]?.class ?? 'behind') === 'behind';
  return without && comparePositions(beginningIsEnd(lineage, end), common) > 0;
}

/** The very beginning of a generation is where its parent was left. */
function beginningIsEnd(lineage: Lineage, position: Position): Position {
  let at = position;
  for (const { generation, leftAtSeq } of [...lineage.ancestors].reverse()) {
    if (at.seq > 0) break;
    if (generation < at.generation) at = { generation, seq: leftAtSeq };
  }
  return at.seq > 0 ? at : origin;
}

/** The furthest that both histories contain; the origin when they have nothing in common. */
export function commonPosition(
  one: Pick<History, 'lineage' | 'end'>,
  other: Pick<History, 'lineage' | 'end'>,
): Position {
  const reachOf = ({ lineage, end }: Pick<History, 'lineage' | 'end'>): (Position & { id: string })[] =>
    generationsOf(lineage)
      .filter(({ generation }) => generation <= end.generation)
      .map(({ generation, id, seq }) => ({
        generation,
        id,
        seq: generation === end.generation ? Math.min(seq, end.seq) : seq,
      }));
  const others = reachOf(other);
  let furthest = origin;
  for (const { generation, id, seq } of reachOf(one)) {
    const same = others.find((tenure) => tenure.generation === generation && tenure.id === id);
    if (same === undefined) continue;
    const reached = { generation, seq: Math.min(seq, same.seq) };
    if (comparePositions(reached, furthest) > 0) furthest = reached;
  }
  return beginningIsEnd(one.lineage, furthest);
}

function generationsOf({ generation, id, ancestors }: Lineage): (Position & { readonly id: string })[] {
  const past = ancestors.map((ancestor) => ({
    generation: ancestor.generation,
    id: ancestor.id,
    seq: ancestor.leftAtSeq,
  }));
  return [...past, { generation, id, seq: Number.MAX_SAFE_INTEGER }];
}

/** How many changes lie between a position of the history and its end; null where that is not known. */
export function changesSince({ lineage, end }: Pick<History, 'lineage' | 'end'>, from: Position): number | null {
  let count = 0;
  for (const { generation, seq } of generationsOf(lineage)) {
    if (generation < from.generation || generation > end.generation) continue;
    const reached = generation === end.generation ? end.seq : seq;
    if (reached === Number.MAX_SAFE_INTEGER) return null;
    count += reached - (generation === from.generation ? from.seq : 0);
  }
  return count;
}

/**
 * The claimant whose record counts must take a higher number before the other can accept it: that one has seen this one's,
 * or a higher, under another id (R12).
 */
export function mustRenumber(ours: Account, theirs: Account): boolean {
  const { record } = ours;
  if (record === null || record.owner !== ours.node) return false;
  const numbers = [theirs.record, theirs.history?.seen ?? null];
  return numbers.some((other) => other !== null && other.generation >= record.generation && other.id !== record.id);
}

/** The other can take over the record: it is newer than everything this node has ever seen (R12). */
export function mayAdopt(ours: Account, record: GroupRecord): boolean {
  const seen = ours.history?.seen ?? { generation: 0, id: '' };
  const known = [seen, ...(ours.record === null ? [] : [ours.record])];
  return known.every(
    ({ generation, id }) => generation < record.generation || (generation === record.generation && id === record.id),
  );
}

/** Whether a verdict lets the node serve what it claims. */
export function clears(verdict: Verdict): boolean {
  switch (verdict.kind) {
    case 'none':
    case 'same':
    case 'ours':
      return true;
    case 'theirs':
    case 'wait':
    case 'split':
      return false;
    default:
      return assertNever(verdict);
  }
}
