/**
 * What a new owner does before it lets hosts in (R7, R14): finds out what its own leg holds exactly, and fetches what it
 * lacks from the most advanced leg that lost nothing.
 *
 *   | own leg                                  | a leg in sync, attached, which kept all | then                          |
 *   |-------------------------------------------|------------------------------------------|-------------------------------|
 *   | exact (clean stop, or a target's cursor)  | none further                             | goes on from its own position |
 *   | exact                                     | one further, in sync or not              | fetches from it               |
 *   | may hold parts of records, or lost some   | any                                      | fetches from it               |
 *   | the same                                  | none                                     | is the source; states so      |
 *   | inconsistent                              | none, but one that is an image           | fetches from it; states so    |
 *   | inconsistent                              | none                                     | waits; cannot serve           |
 *
 * What is fetched: after a crash of the process what the intent map names, else all hot regions of both, and bits always.
 *
 * A leg that is not in sync serves an exact one only, which is a part of what that one holds: any other may have flushed
 * what hosts rely on and that leg lacks. Nobody waits for it unless it is being attached.
 */
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import type { SourceLeg } from '../mirror/source-leg.ts';
import { isOlder, ownerLacks } from '../mirror/attach-decision.ts';
import {
  childOf,
  comparePositions,
  formatPosition,
  idOfGeneration,
  lineageContains,
  origin,
  type Lineage,
  type Position,
} from '../stream/position.ts';
import type { LocalLeg } from '../volume/local-leg.ts';

export interface Opened {
  readonly lineage: Lineage;
  readonly start: Position;
  /** Legs that hold exactly what the own leg holds. */
  readonly equal: ReadonlySet<string>;
  /** What may be missing, in a sentence; null when nothing acknowledged is. */
  readonly missing: string | null;
}

/** The own leg must not be served: that node's is further. */
export interface WentBack {
  readonly wentBack: { readonly node: string; readonly reason: string };
}

export interface OpeningOptions {
  readonly environment: Environment;
  readonly leg: LocalLeg;
  readonly generation: number;
  readonly generationId: string;
  /** All that may be asked. Those in sync by the record are worth waiting for. */
  readonly legs: readonly SourceLeg[];
  readonly waitMs: number;
  /** False when ownership or the process ended meanwhile. */
  readonly goesOn: () => boolean;
  readonly progress: (text: string) => void;
}

const fetchBytes = 512 * 1024;
const fetchesInFlight = 4;
const lookAgainMs = 20;

/** Null when it must not go on. */
export async function openLeg(options: OpeningOptions): Promise<Opened | WentBack | null> {
  const { environment, leg } = options;
  const { clock } = environment;
  const deadlineMs = clock.monotonicMs() + options.waitMs;
  const pause = (): Promise<void> => new Promise((resolve) => void clock.after(lookAgainMs, resolve));
  const usable = (): boolean => leg.state.condition !== 'inconsistent';
  // A fetch from one leg notes bits against all, whatever they hold.
  const lacking = new Set(options.legs.filter((other) => other.bitsSet));

  for (;;) {
    if (!options.goesOn()) return null;
    const missing = options.legs.filter((other) => other.attachedAs === null && !other.paused);
    const early = clock.monotonicMs() < deadlineMs;
    if (missing.some(inSync) ? early || !usable() : early && missing.some(({ phase }) => phase === 'attaching')) {
      options.progress(
        usable() ? 'waiting for other legs' : 'this leg is not usable alone; waiting for one that is in sync',
      );
      await pause();
      continue;
    }
    const wentBack = isBehindItself(options);
    if (wentBack !== null) return { wentBack };
    const exact =
      leg.held && comparePositions(leg.applied, leg.intended) === 0 && leg.state.condition === 'consistent';
    const kept = furthest(options, (as, other) => keptAll(as) && (inSync(other) || (exact && continues(leg, as))));
    const best = kept ?? (usable() ? null : furthest(options, (as, other) => isAnImage(as) && inSync(other)));
    if (best === null) {
      if (!usable()) {
        options.progress('this leg is not usable, and no leg in sync is');
        await pause();
        continue;
      }
      return alone(options, exact, lacking);
    }
    const from = best.attachedAs;
    if (from === null) continue;
    const further = comparePositions(from.position, leg.applied) > 0;
    if (!exact || further) {
      if (!(await fetchFrom(options, best))) {
        await pause();
        continue;
      }
      leg.applied = from.position;
      leg.intended = from.position;
      leg.held = true;
    }
    const opened = settled(options, leg.state.lineage, lacking);
    return kept === null && best !== null ? { ...opened, missing: lostCache([leg.node, best.node]) } : opened;
  }
}

function inSync(other: SourceLeg): boolean {
  return other.recordClass === 'inSync';
}

/** R9: a leg knows that this one was durable further than it is: its disk is an older one. */
function isBehindItself({ leg, legs }: OpeningOptions): WentBack['wentBack'] | null {
  for (const { node, attachedAs } of legs) {
    if (attachedAs === null || comparePositions(leg.state.durable, attachedAs.ownerConfirmed) >= 0) continue;
    return { node, reason: `it knows that this leg was durable up to ${formatPosition(attachedAs.ownerConfirmed)}` };
  }
  return null;
}

type As = NonNullable<SourceLeg['attachedAs']>;

/** What the two may differ in is named by bits and hot regions, here or there (R9). */
export function haveBase({ state: { peers } }: LocalLeg, { node, attachedAs }: SourceLeg): boolean {
  return peers[node]?.known === true && attachedAs?.known === true && !attachedAs.blank;
}

/** All this leg holds is part of what that one holds, and both are on the line this leg knows (R12). */
function continues({ state: { lineage }, applied }: LocalLeg, as: As): boolean {
  return (
    lineageContains(lineage, as.position, idOfGeneration(as.lineage, as.position.generation)) &&
    lineageContains(as.lineage, applied, idOfGeneration(lineage, applied.generation))
  );
}

function keptAll(as: As): boolean {
  return as.held && as.condition === 'consistent';
}

/** After loss of power: all that was flushed, and of the rest what the medium happened to get. */
function isAnImage(as: As): boolean {
  return as.condition !== 'inconsistent';
}

/**
 * It kept all it had when this leg crashed as its owner, and holds no part of a record: whatever the two differ in, the
 * intent map names.
 */
export function isAsFollowed(leg: LocalLeg, { attachedAs: as }: SourceLeg): boolean {
  if (leg.outstanding === null || as === null || !keptAll(as)) return false;
  return comparePositions(as.position, as.intended) === 0 && hasWhatItHad(leg, as);
}

/** R9: less than what it certainly had, with nothing lost, is an older disk. Nothing is known of it without an intent map. */
function hasWhatItHad({ outstanding }: LocalLeg, as: As): boolean {
  return outstanding === null || comparePositions(as.position, outstanding.after) >= 0;
}

function lostCache(nodes: readonly string[]): string {
  return (
    `${nodes.join(' and ')} restarted without page cache, and no other leg in sync could be asked: ` +
    'writes that were not flushed may be missing'
  );
}

/** The attached leg that is furthest among those that will do; null when there is none. */
function furthest({ leg, legs }: OpeningOptions, willDo: (as: As, other: SourceLeg) => boolean): SourceLeg | null {
  let best: SourceLeg | null = null;
  for (const other of legs) {
    const as = other.attachedAs;
    if (as === null || !haveBase(leg, other) || !willDo(as, other)) continue;
    // R9: with an older disk on either side, more may differ than anybody remembers.
    const confirmed = leg.state.peers[other.node]?.confirmed ?? origin;
    const { lineage } = leg.state;
    if (isOlder(as, { lineage, confirmed }) || ownerLacks(lineage, as)) continue;
    if (other.recordClass !== 'behind' && keptAll(as) && !hasWhatItHad(leg, as)) continue;
    const bestAs = best?.attachedAs;
    if (!bestAs || comparePositions(as.position, bestAs.position) > 0) best = other;
  }
  return best;
}

/** @param lacking legs that bits named something of: their position does not tell all. */
function settled(options: OpeningOptions, parent: Lineage, lacking: ReadonlySet<SourceLeg>): Opened {
  const start = options.leg.applied;
  const ancestry = parent.generation === start.generation ? parent : cutAt(parent, start);
  const lineage = childOf(ancestry, start.seq, options.generation, options.generationId);
  const equal = new Set<string>();
  for (const other of options.legs) {
    const as = other.attachedAs;
    if (as === null || !keptAll(as) || !haveBase(options.leg, other) || lacking.has(other)) continue;
    if (comparePositions(as.position, start) !== 0) continue;
    const id = idOfGeneration(as.lineage, as.position.generation);
    if (lineageContains(lineage, as.position, id)) equal.add(other.node);
  }
  return { lineage, start, equal, missing: null };
}

/** No leg in sync can be asked: what this leg holds is the truth from here on. */
function alone(options: OpeningOptions, exact: boolean, lacking: ReadonlySet<SourceLeg>): Opened {
  const { leg } = options;
  if (exact) return settled(options, leg.state.lineage, lacking);
  const { lineage, durable } = leg.state;
  // A crash of the process lost nothing of the page cache: all that was ever stamped is on the lineage. Loss of power
  // leaves only what was durable; a target that has more holds a fork.
  const leftAtSeq = leg.held ? Number.MAX_SAFE_INTEGER : durable.generation === lineage.generation ? durable.seq : 0;
  const first = lineage.generation === 0;
  return {
    lineage: childOf(lineage, leftAtSeq, options.generation, options.generationId),
    start: { generation: lineage.generation, seq: leftAtSeq },
    equal: new Set(),
    missing: leg.held || first ? null : lostCache([leg.node]),
  };
}

/** The part of a lineage that ends at a position in one of its ancestors. */
function cutAt(lineage: Lineage, position: Position): Lineage {
  const at = lineage.ancestors.findIndex((ancestor) => ancestor.generation === position.generation);
  const ancestor = lineage.ancestors[at];
  if (ancestor === undefined) return lineage;
  return { generation: ancestor.generation, id: ancestor.id, ancestors: lineage.ancestors.slice(0, at) };
}

/** Makes the own leg equal to another: everything that either may hold beyond the common past. */
async function fetchFrom(options: OpeningOptions, from: SourceLeg): Promise<boolean> {
  const { leg } = options;
  // What was under way when this leg crashed as owner is known write by write, against a leg that it followed live, which
  // lost nothing and has no part of a record.
  const finely = from.recordClass !== 'behind' && isAsFollowed(leg, from);
  const theirs = await from.describe({ hot: !finely });
  if (theirs === null) return false;
  // Hot regions may have cooled into bits since this leg was last in step, in this process or in the one before.
  const all = finely ? leg.outstandingFor([from.node]) : leg.mayDiffer(from.node);
  for (const [volume, extents] of theirs) {
    if (!leg.has(volume)) continue;
    const set = all.get(volume);
    if (set === undefined) all.set(volume, extents.clone());
    else for (const { offset, length } of extents) set.add(offset, length);
  }
  let total = 0;
  for (const set of all.values()) total += set.totalBytes;
  if (total > 0) {
    // Against every leg, this one too: it may have another disk when an interrupted fetch goes on.
    for (const other of leg.bits.keys()) leg.remember(other, all);
    leg.metadata.change({ condition: 'inconsistent', logAhead: null });
    if (!(await saved(options))) return false;
    let done = 0;
    for (const [volume, set] of all) {
      const { sizeBytes } = leg.device(volume);
      const pieces: { offset: number; length: number }[] = [];
      for (const extent of set) {
        const end = Math.min(extent.offset + extent.length, sizeBytes);
        for (let offset = extent.offset; offset < end; offset += fetchBytes) {
          pieces.push({ offset, length: Math.min(fetchBytes, end - offset) });
        }
      }
      while (pieces.length > 0) {
        if (!options.goesOn()) return false;
        const batch = pieces.splice(0, fetchesInFlight);
        const fetched = await Promise.all(batch.map((piece) => fetchPiece(leg, from, volume, piece)));
        if (fetched.includes(false)) return false;
        for (const piece of batch) done += piece.length;
        options.progress(`fetching what it lacks from ${from.node}: ${formatSize(done)} of ${formatSize(total)}`);
      }
    }
    if (!(await leg.flush())) return false;
  }
  const as = from.attachedAs;
  if (as === null) return false;
  leg.isEqualTo(from.node);
  // R9: nothing but its disk remembers any more what it has; less than that, one day, is an older disk.
  leg.metadata.confirm(from.node, as.durable);
  leg.metadata.change({
    condition: 'consistent',
    lineage: lineageOfTarget(leg.state.lineage, as.position, idOfGeneration(as.lineage, as.position.generation)),
  });
  return saved(options);
}

/** False when metadata cannot be saved just now: it is tried again from the beginning. */
async function saved({ leg, progress }: OpeningOptions): Promise<boolean> {
  try {
    await leg.saveBits();
    return true;
  } catch (error) {
    progress(`metadata cannot be saved: ${messageOf(error)}`);
    return false;
  }
}

/** The target applied what this leg, or its predecessor as owner, stamped: it is on the lineage this leg knows. */
function lineageOfTarget(own: Lineage, position: Position, generationId: string): Lineage {
  if (own.generation === position.generation && own.id === generationId) return own;
  return cutAt(own, position);
}

async function fetchPiece(
  leg: LocalLeg,
  from: SourceLeg,
  volume: number,
  { offset, length }: { offset: number; length: number },
): Promise<boolean> {
  const fetched = await from.fetch(volume, offset, length);
  if (fetched === null || fetched.status === 'fault') return false;
  return new Promise((resolve) => {
    const device = leg.device(volume);
    const done = (fault: { readonly kind: string } | null): void => resolve(fault === null);
    if (fetched.data === null) device.zero(offset, length, 'punch', done);
    else device.write(offset, fetched.data, done);
  });
}
