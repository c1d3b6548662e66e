/**
 * What a new owner does before it lets hosts in (R7, R14): finds out what its own leg holds exactly, and fetches what it
 * lacks from the most advanced leg that is in sync and lost nothing.
 *
 *   | own leg                                  | a leg in sync, attached, which kept all | then                          |
 *   |-------------------------------------------|------------------------------------------|-------------------------------|
 *   | exact (clean stop, or a target's cursor)  | none further                             | goes on from its own position |
 *   | exact                                     | one further                              | fetches from it               |
 *   | may hold parts of records, or lost some   | any                                      | fetches from it               |
 *   | the same                                  | none                                     | is the source; states so      |
 *   | inconsistent                              | none, but one that is an image           | fetches from it; states so    |
 *   | inconsistent                              | none                                     | waits; cannot serve           |
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
  /** Those in sync by the record, this node's aside, worth waiting for. */
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

  for (;;) {
    if (!options.goesOn()) return null;
    const waiting = options.legs.some((other) => other.attachedAs === null && !other.paused);
    if (waiting && (clock.monotonicMs() < deadlineMs || !usable())) {
      options.progress(
        usable() ? 'waiting for the legs in sync' : 'this leg is not usable alone; waiting for one that is in sync',
      );
      await pause();
      continue;
    }
    const wentBack = isBehindItself(options);
    if (wentBack !== null) return { wentBack };
    const kept = furthest(options, keptAll);
    const best = kept ?? (usable() ? null : furthest(options, isAnImage));
    const exact =
      usable() &&
      leg.held &&
      comparePositions(leg.applied, leg.intended) === 0 &&
      leg.state.condition === 'consistent';
    if (best === null) {
      if (!usable()) {
        options.progress('this leg is not usable, and no leg in sync is');
        await pause();
        continue;
      }
      return alone(options, exact);
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
    const opened = settled(options, leg.state.lineage);
    return kept === null && best !== null ? { ...opened, missing: lostCache([leg.node, best.node]) } : opened;
  }
}

/** R9: a leg in sync knows that this one was durable further than it is: its disk is an older one. */
function isBehindItself({ leg, legs }: OpeningOptions): WentBack['wentBack'] | null {
  for (const { node, attachedAs } of legs) {
    if (attachedAs === null || comparePositions(leg.state.durable, attachedAs.ownerConfirmed) >= 0) continue;
    return { node, reason: `it knows that this leg was durable up to ${formatPosition(attachedAs.ownerConfirmed)}` };
  }
  return null;
}

type As = NonNullable<SourceLeg['attachedAs']>;

function keptAll(as: As): boolean {
  return as.held && as.condition === 'consistent';
}

/** After loss of power: all that was flushed, and of the rest what the medium happened to get. */
function isAnImage(as: As): boolean {
  return as.condition !== 'inconsistent';
}

function lostCache(nodes: readonly string[]): string {
  return (
    `${nodes.join(' and ')} restarted without page cache, and no other leg in sync could be asked: ` +
    'writes that were not flushed may be missing'
  );
}

/** The attached leg that is furthest among those that will do; null when there is none. */
function furthest({ leg, legs }: OpeningOptions, willDo: (as: As) => boolean): SourceLeg | null {
  let best: SourceLeg | null = null;
  for (const other of legs) {
    const as = other.attachedAs;
    if (as === null || as.blank || !willDo(as)) continue;
    // R9: with an older disk on either side, more may differ than anybody remembers.
    const confirmed = leg.state.peers[other.node]?.confirmed ?? origin;
    const { lineage } = leg.state;
    if (isOlder(as, { lineage, confirmed }) || ownerLacks(lineage, as)) continue;
    const bestAs = best?.attachedAs;
    if (!bestAs || comparePositions(as.position, bestAs.position) > 0) best = other;
  }
  return best;
}

function settled(options: OpeningOptions, parent: Lineage): Opened {
  const start = options.leg.applied;
  const ancestry = parent.generation === start.generation ? parent : cutAt(parent, start);
  const lineage = childOf(ancestry, start.seq, options.generation, options.generationId);
  const equal = new Set<string>();
  for (const other of options.legs) {
    const as = other.attachedAs;
    if (as === null || !as.held || as.condition !== 'consistent' || comparePositions(as.position, start) !== 0)
      continue;
    const id = idOfGeneration(as.lineage, as.position.generation);
    if (lineageContains(lineage, as.position, id)) equal.add(other.node);
  }
  return { lineage, start, equal, missing: null };
}

/** No leg in sync can be asked: what this leg holds is the truth from here on. */
function alone(options: OpeningOptions, exact: boolean): Opened {
  const { leg } = options;
  if (exact) return settled(options, leg.state.lineage);
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
  const theirs = await from.describe();
  if (theirs === null) return false;
  // Hot regions may have cooled into bits since this leg was last in step, in this process or in the one before.
  const all = leg.mayDiffer(from.node);
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
    leg.metadata.change({ condition: 'inconsistent' });
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
