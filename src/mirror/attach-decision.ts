/**
 * What to do with a target that has said where it stands: the recovery table of a mirror, as data in, decision out.
 *
 *   | the target                                          | decision                                        |
 *   |------------------------------------------------------|-------------------------------------------------|
 *   | has seen a newer generation                          | deposed: we are not the owner                   |
 *   | holds durably what we lack, and the lineage is ours  | wentBack: our leg is older than we think (R9)   |
 *   | never held a copy, or its bits have no common base   | resync, all                                     |
 *   | lacks what it once confirmed, or we do               | resync, all (R9)                                |
 *   | is on a fork                                         | resync, ours and its bits and hot regions; keep |
 *   | is inconsistent                                      | resync, what was left                           |
 *   | lacks what only bits remember, kept all it had       | resync, bits                                    |
 *   | the same, but may have lost what was not durable     | resync, bits and hot regions                    |
 *   | stands where the history in memory goes on           | continue there                                  |
 *   | kept all it had, and no bit was set since            | continue at the newest stamp                    |
 *   | stands where the log goes on                         | merge from there                                |
 *
 * The table's order is not that of precedence: an ordered source is always preferred to bits.
 */
import {
  comparePositions,
  idOfGeneration,
  lineageContains,
  lineageLacks,
  type Lineage,
  type Position,
} from '../stream/position.ts';
import type { Attached } from './messages.ts';

export interface OwnerView {
  readonly lineage: Lineage;
  /** Newest position stamped, or where this process's history begins. */
  readonly last: Position;
  /** Of the owner's own leg. */
  readonly ownDurable: Position;
  /** The highest durable position this target ever confirmed to us, and whether our bits for it have a common base. */
  readonly confirmed: Position;
  readonly known: boolean;
  /** Records that follow what it holds are in memory. */
  readonly historyFollows: boolean;
  /** Everything following this position, up to the newest change, is in the log. */
  readonly logFollows: (position: Position) => boolean;
  /** It was lost for good: since then bits, not the history, remember what it lacks. */
  readonly tracking: boolean;
  /** Whether change bits for it are set. */
  readonly bitsSet: boolean;
  /** When it was lost, it had certainly applied so far; null when it was lost before this process became owner. */
  readonly lostAt: Position | null;
}

export type AttachDecision =
  | { readonly kind: 'deposed'; readonly reason: string }
  | { readonly kind: 'wentBack'; readonly reason: string }
  | { readonly kind: 'continue'; readonly from: Position }
  | { readonly kind: 'merge'; readonly from: Position }
  /** `describe`: what it may hold beyond must be asked for. `fork`: it keeps what the copy overwrites. */
  | {
      readonly kind: 'resync';
      readonly what: 'all' | 'bits' | 'bitsAndHot';
      readonly fork: boolean;
      readonly reason: string;
    };

export function decideAttach(owner: OwnerView, target: Attached): AttachDecision {
  if (!target.ok) return { kind: 'deposed', reason: target.reason };
  const on = (position: Position): boolean =>
    lineageContains(owner.lineage, position, idOfGeneration(target.lineage, position.generation));
  const onLineage = on(target.position) && on(target.intended);
  const ahead = target.position.generation === owner.last.generation && target.position.seq > owner.last.seq;
  if (onLineage && ahead) {
    return { kind: 'wentBack', reason: `it holds position ${target.position.seq}, ours is ${owner.last.seq}` };
  }
  if (comparePositions(owner.ownDurable, target.ownerConfirmed) < 0) {
    const { generation, seq } = target.ownerConfirmed;
    return { kind: 'wentBack', reason: `it knows that this leg was durable up to ${generation}:${seq}` };
  }
  if (target.blank) return { kind: 'resync', what: 'all', fork: false, reason: 'it holds no copy yet' };
  const fork = !onLineage && target.condition !== 'inconsistent' && target.position.generation > 0;
  if (!owner.known || !target.known) {
    return { kind: 'resync', what: 'all', fork, reason: 'what it lacks is not known' };
  }
  if (isOlder(target, owner)) {
    return { kind: 'resync', what: 'all', fork, reason: 'its disk is older than it once confirmed' };
  }
  if (ownerLacks(owner.lineage, target)) {
    return { kind: 'resync', what: 'all', fork, reason: 'the owner’s disk is older than it once confirmed' };
  }
  if (!onLineage) {
    return { kind: 'resync', what: 'bitsAndHot', fork: true, reason: 'it wrote on its own after it was left behind' };
  }
  const keptAll = target.held && owner.lostAt !== null && comparePositions(target.position, owner.lostAt) >= 0;
  if (target.condition === 'inconsistent') {
    return {
      kind: 'resync',
      what: keptAll ? 'bits' : 'bitsAndHot',
      fork: false,
      reason: 'a copy to it was interrupted',
    };
  }
  if (!owner.bitsSet) {
    if (!owner.tracking && owner.historyFollows) return { kind: 'continue', from: target.position };
    if (owner.tracking && keptAll) return { kind: 'continue', from: owner.last };
  }
  if (owner.logFollows(target.position)) return { kind: 'merge', from: target.position };
  return keptAll
    ? { kind: 'resync', what: 'bits', fork: false, reason: 'it missed changes while it was away' }
    : { kind: 'resync', what: 'bitsAndHot', fork: false, reason: 'it may have lost what was not flushed' };
}

type Reached = Extract<Attached, { ok: true }>;

/** R9: the leg lacks what it once confirmed: bits that were cleared on its word are missing, its own hot regions too. */
export function isOlder(leg: Reached, owner: { readonly lineage: Lineage; readonly confirmed: Position }): boolean {
  const { confirmed, lineage } = owner;
  return (
    comparePositions(leg.durable, confirmed) < 0 ||
    lineageLacks(leg.lineage, confirmed, idOfGeneration(lineage, confirmed.generation))
  );
}

/** The same of the owner's leg, by the target's memory: regions that cooled there on its word are not known here. */
export function ownerLacks(lineage: Lineage, { ownerConfirmed, lineage: theirs }: Reached): boolean {
  return lineageLacks(lineage, ownerConfirmed, idOfGeneration(theirs, ownerConfirmed.generation));
}
