/** A device with a log in words (TL-10): superblocks, which slots hold what, and the segments found in what was read. */
import {
  decodeSlotUse,
  decodeSuperblock,
  deviceMagic,
  slotCount,
  slotOffset,
  superblockOffsets,
  tablesOf,
  tableSectorOf,
  type SlotUse,
  type Superblock,
} from './device-layout.ts';
import { describeSegment } from './describe.ts';
import { sectorBytes } from './segment-header.ts';

export function isLogDevice(front: Uint8Array): boolean {
  return superblockOffsets.some(
    (at) => Buffer.from(front.subarray(at, at + deviceMagic.length)).toString('latin1') === deviceMagic,
  );
}

/** Of the beginning of a device, as long as it may be. Plain data, fit for JSON. */
export function describeLogDevice(front: Uint8Array): unknown {
  const reads = superblockOffsets.map((at) => decodeSuperblock(front.subarray(at, at + sectorBytes)));
  const superblocks = reads.map((read) => {
    if (read.kind === 'superblock') return read.superblock;
    return { damaged: read.kind === 'newer' ? `written by a newer program, format ${read.version}` : read.reason };
  });
  const [newest] = reads
    .flatMap((read) => (read.kind === 'superblock' ? [read.superblock] : []))
    .sort((a, b) => b.sequence - a.sequence);
  if (newest === undefined) return { superblocks };
  const { uses, damaged, free } = readTables(front, newest);
  const parts = uses.map(({ slot, use }) => ({ slot, segment: use.segment, part: use.part, edition: use.edition }));
  return {
    superblocks,
    slots: { inUse: parts, free, damaged },
    segments: segmentsOf(uses).map((segment) => describeParts(front, newest, segment)),
  };
}

interface FoundUse {
  readonly slot: number;
  readonly use: SlotUse;
}

function readTables(front: Uint8Array, { slotBytes, sizeBytes }: Superblock) {
  const uses: FoundUse[] = [];
  const damaged: number[] = [];
  let free = 0;
  const end = slotCount(slotBytes, sizeBytes);
  for (const { firstSlot, slots } of tablesOf(slotBytes, 0, end)) {
    for (let slot = firstSlot; slot < firstSlot + slots; slot++) {
      const at = tableSectorOf(slotBytes, slot);
      if (at + sectorBytes > front.length) break;
      const decoded = decodeSlotUse(front.subarray(at, at + sectorBytes));
      if (!decoded.ok) damaged.push(slot);
      else if (decoded.value === null) free++;
      else uses.push({ slot, use: decoded.value });
    }
  }
  return { uses, damaged, free };
}

/** The parts of each, first to last; of editions of one number the newest. */
function segmentsOf(uses: readonly FoundUse[]): FoundUse[][] {
  const found = new Map<number, FoundUse[]>();
  const ordered = uses.toSorted((a, b) => b.use.edition - a.use.edition || a.use.part - b.use.part);
  for (const one of ordered) {
    const parts = found.get(one.use.segment) ?? [];
    if (parts.length === 0 || parts[0]?.use.edition === one.use.edition) parts.push(one);
    found.set(one.use.segment, parts);
  }
  return [...found.values()].sort((a, b) => (a[0]?.use.segment ?? 0) - (b[0]?.use.segment ?? 0));
}

function describeParts(front: Uint8Array, { slotBytes }: Superblock, parts: readonly FoundUse[]): unknown {
  const [first] = parts;
  const read = parts.filter(({ slot }) => slotOffset(slotBytes, slot) < front.length);
  const bytes = new Uint8Array((Math.max(-1, ...read.map(({ use }) => use.part)) + 1) * slotBytes);
  for (const { slot, use } of read) {
    const at = slotOffset(slotBytes, slot);
    bytes.set(front.subarray(at, Math.min(at + slotBytes, front.length)), use.part * slotBytes);
  }
  const note =
    read.length < parts.length ? { notRead: `${parts.length - read.length} of ${parts.length} slots` } : {};
  return { segment: first?.use.segment, ...note, contents: describeSegment(bytes) };
}
