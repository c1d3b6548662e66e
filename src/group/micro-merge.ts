/**
 * Completes what the crash of this leg's owner left under way (TL-8): legs that it followed live differ from the own leg in
 * nothing but what the intent map names. They are sent that, as the own leg holds it now, in one epoch at the beginning of
 * the new generation, and need no resync.
 *
 *   | the leg                                                        | is completed              |
 *   |----------------------------------------------------------------|---------------------------|
 *   | behind by the record, paused, or bits name something it lacks  | no: by resync or merge    |
 *   | attached, and lost something, or is not on the line            | no: by resync             |
 *   | attached, and kept all it had                                  | from its position         |
 *   | not attached                                                   | if it did, when it does   |
 *
 * One epoch that is received whole before any of it is applied (`Start.wholeUpTo`): a leg in the middle of it would be no
 * image of any moment. Hence it is bounded, too: a larger one is left to a resync.
 */
import { crc32c } from '../base/crc32c.ts';
import { formatSize } from '../base/units.ts';
import type { BlockFault } from '../block/device.ts';
import { isOlder, ownerLacks } from '../mirror/attach-decision.ts';
import { wholeBytesMax } from '../mirror/messages.ts';
import type { SourceLeg } from '../mirror/source-leg.ts';
import { Change } from '../stream/change.ts';
import { idOfGeneration, lineageContains, origin } from '../stream/position.ts';
import { ExtentSet } from '../volume/extents.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import type { FirstStep } from './owner.ts';
import { haveBase, isAsFollowed, type Opened } from './opening.ts';

export interface MicroMerge {
  /** Legs that it completes. */
  readonly legs: ReadonlySet<string>;
  /** Null when there are none. */
  readonly step: FirstStep | null;
  /** Why no leg is completed; null when nothing stands in the way. */
  readonly obstacle: string | null;
}

const nothing: MicroMerge = { legs: new Set(), step: null, obstacle: null };

/** Bytes of one record: read, held and sent as one. */
const pieceBytes = 1024 * 1024;

/** Legs that were followed live when this one crashed as owner. To be asked before anything is fetched. */
export function followedLegs(leg: LocalLeg, legs: readonly SourceLeg[]): readonly SourceLeg[] {
  if (leg.outstanding === null) return [];
  return legs.filter((other) => other.recordClass !== 'behind' && !other.paused && !other.bitsSet);
}

/** Once the own leg is what it will be served as: reads what those legs may lack. */
export async function prepareMicroMerge(
  leg: LocalLeg,
  followed: readonly SourceLeg[],
  { lineage, equal }: Opened,
): Promise<MicroMerge> {
  const { outstanding } = leg;
  // Where a log goes on, it completes them in order.
  if (outstanding === null || leg.state.logAhead !== null || !leg.intents.adoptable) return nothing;
  const keptAll = (other: SourceLeg): boolean => {
    const { attachedAs: as } = other;
    if (as === null) return leg.state.peers[other.node]?.known === true;
    const confirmed = leg.state.peers[other.node]?.confirmed ?? origin;
    return (
      isAsFollowed(leg, other) &&
      haveBase(leg, other) &&
      !isOlder(as, { lineage, confirmed }) &&
      !ownerLacks(lineage, as) &&
      lineageContains(lineage, as.position, idOfGeneration(as.lineage, as.position.generation))
    );
  };
  const legs = followed.filter((other) => !equal.has(other.node) && keptAll(other)).map(({ node }) => node);
  if (legs.length === 0) return nothing;
  const extents = leg.outstandingFor(legs);
  let bytes = 0;
  for (const set of extents.values()) bytes += set.totalBytes;
  if (bytes > wholeBytesMax) {
    const text = `${formatSize(bytes)} were under way, more than the ${formatSize(wholeBytesMax)} of one step`;
    return { ...nothing, obstacle: `${legs.join(' and ')} must be resynced: ${text}` };
  }
  const read = await readAll(leg, extents);
  if (!read.ok) {
    const text = `what was under way cannot be read: ${read.fault.detail}`;
    return { ...nothing, obstacle: `${legs.join(' and ')} must be resynced: ${text}` };
  }
  return { legs: new Set(legs), step: { after: outstanding.after, changes: read.changes }, obstacle: null };
}

type Read =
  { readonly ok: true; readonly changes: readonly Change[] } | { readonly ok: false; readonly fault: BlockFault };

async function readAll(leg: LocalLeg, extents: ReadonlyMap<number, ExtentSet>): Promise<Read> {
  const changes: Change[] = [];
  for (const [volume, set] of extents) {
    for (const extent of set) {
      for (let at = 0; at < extent.length; at += pieceBytes) {
        const piece = { volume, offset: extent.offset + at, length: Math.min(pieceBytes, extent.length - at) };
        const data = new Uint8Array(piece.length);
        const fault = await new Promise<BlockFault | null>((resolve) => {
          leg.device(volume).read(piece.offset, data, resolve);
        });
        if (fault !== null) return { ok: false, fault };
        const change = new Change('copy', piece, data, false, null);
        change.checksum = crc32c(data);
        changes.push(change);
      }
    }
  }
  return { ok: true, changes };
}
