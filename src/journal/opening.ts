/**
 * Finding out, when a log is opened, what it holds.
 *
 * Of all segments but the newest only the first sector is read: each says where the one before it ended, so the time it
 * takes depends on the size of a segment, not of the log. The newest is walked from its beginning to find its end; so is
 * one whose successor cannot be asked.
 *
 * Segments are never written again after this: what is appended goes to a new one, which states where the last one ended.
 * So a torn tail is cut by saying so, and nothing written twice.
 */
import { HoldfastError, messageOf } from '../base/errors.ts';
import { comparePositions, origin, type Position } from '../stream/position.ts';
import type { IndexPoint } from './entry.ts';
import type { SegmentCopies } from './segment-copies.ts';
import {
  decodeSegmentHeader,
  journalVersion,
  sectorBytes,
  type PreviousSegment,
  type ReadSegmentHeader,
  type SegmentHeader,
} from './segment-header.ts';
import { emptySegment, pointEveryBytes, type Segment } from './segment-table.ts';
import { justBefore, SegmentWalk, type Damage } from './segment-walk.ts';

export interface OpenedLog {
  /** 32 hex digits; null for a log that does not exist yet. */
  readonly journalId: string | null;
  readonly segments: Segment[];
  /** What was found so far; a reader finds the rest. */
  readonly damages: readonly Damage[];
  /** Whether the newest segment ended in something that was being written when the log's process or machine stopped. */
  readonly tornTail: boolean;
}

interface Found {
  /** Of the best copy. */
  read: ReadSegmentHeader;
  readonly copies: number[];
  /** Where it was being made when the copy failed: there is nothing in it. */
  readonly unbegun: number[];
}

/** Rejects with `E_METADATA` for a log of a newer version, or none of whose segments can be recognised. */
export async function openLog(copies: SegmentCopies, group: string): Promise<OpenedLog> {
  const { journalId, oldest, found } = await findSegments(copies, group);
  if (journalId === null) {
    copies.refuseForeign();
    await removeBlank(copies, found);
    return { journalId, segments: [], damages: [], tornTail: false };
  }
  const tag = journalId.slice(0, 16);
  const leftOver = leftOvers(found, oldest);
  for (const number of leftOver) found.delete(number);
  const numbers = [...found.keys()].sort((a, b) => a - b);
  const segments: Segment[] = [];
  const damages: Damage[] = [];
  let tornTail = false;
  for (const [index, number] of numbers.entries()) {
    const segment = found.get(number);
    if (segment === undefined) continue;
    const before = segments.at(-1);
    const isNewest = index === numbers.length - 1;
    const next = isNewest ? undefined : found.get(number + 1)?.read;
    let header = segment.read.kind === 'header' ? segment.read.header : null;
    if (before !== undefined && number !== before.header.number + 1) {
      const missing = before.header.number + 1;
      damages.push(damageOf(missing, 'the segment is missing', before.last, header?.after ?? null));
    }
    if (header !== null && next?.kind === 'header') {
      segments.push(closedSegment(header, next.header, segment.copies));
      continue;
    }
    const walk = await SegmentWalk.open(copies, segment.copies, tag, number);
    try {
      const start = header ?? standIn(journalId, group, number, before);
      const walked = await walkSegment(walk, start, segment.copies);
      if (header === null) {
        const isUnbegun =
          segment.read.kind === 'blank' && isNewest && walked.entries === 0 && walked.damages.length === 0;
        if (isUnbegun) {
          await copies.remove(number);
          continue;
        }
        const reason = segment.read.kind === 'rotten' ? segment.read.reason : 'the first sector is missing';
        damages.push(damageOf(number, reason, start.after, walked.entries > 0 ? start.after : null));
      }
      header = start;
      damages.push(...walked.damages);
      if (isNewest) tornTail = walked.torn;
      segments.push(walked.segment);
    } finally {
      await walk.close();
    }
  }
  const newest = segments.at(-1);
  if (newest !== undefined && copies.hides !== null) {
    damages.push(damageOf(newest.header.number + 1, copies.hides, newest.last, null));
  }
  // A process that died may have left it unsynced; what is about to be believed must last.
  if (newest !== undefined) await copies.adopt(newest.header.number, newest.copies);
  for (const number of leftOver) await copies.remove(number);
  for (const [number, { unbegun }] of found) for (const index of unbegun) await copies.removeFrom(index, number);
  return { journalId, segments, damages, tornTail };
}

interface FoundSegments {
  readonly journalId: string | null;
  /** Number of the oldest segment there was when the newest was made. */
  readonly oldest: number;
  readonly found: Map<number, Found>;
}

async function findSegments(copies: SegmentCopies, group: string): Promise<FoundSegments> {
  const lists = await copies.list();
  const heads: ReadonlyMap<number, ReadSegmentHeader>[] = [];
  for (const [index, numbers] of lists.entries()) heads.push(await readHeads(copies, index, numbers, group));
  let newest: SegmentHeader | null = null;
  for (const read of heads.flatMap((head) => [...head.values()])) {
    if (read.kind === 'header' && read.header.number > (newest?.number ?? 0)) newest = read.header;
  }
  if (newest === null) {
    const rotten = heads.flatMap((head) => [...head].filter(([, { kind }]) => kind === 'rotten'));
    const [first] = rotten;
    if (first?.[1].kind === 'rotten') {
      const where = copies.status.map(({ folder }) => folder).join(', ');
      throw new HoldfastError(
        'E_METADATA',
        `${where}: no segment of the log of group ${group} can be recognised; segment ${first[0]}: ${first[1].reason}`,
      );
    }
    return { journalId: null, oldest: 0, found: merged(heads) };
  }
  const { journalId, oldest } = newest;
  const usable = heads.map((head, index) => {
    const other = [...head.values()].find((read) => read.kind === 'header' && read.header.journalId !== journalId);
    if (other === undefined) return head;
    copies.drop(index, 'it holds another log');
    return new Map<number, ReadSegmentHeader>();
  });
  return { journalId, oldest, found: merged(usable) };
}

async function readHeads(
  copies: SegmentCopies,
  index: number,
  numbers: readonly number[],
  group: string,
): Promise<Map<number, ReadSegmentHeader>> {
  const heads = new Map<number, ReadSegmentHeader>();
  for (const number of numbers) {
    const read = await readHead(copies, index, number);
    const where = `${copies.pathOf(index)}: segment ${number} of the log of group ${group}`;
    if (read.kind === 'newer') {
      throw new HoldfastError(
        'E_METADATA',
        `${where} was written by a newer program (format ${read.version}; this one knows ${journalVersion}): start that one`,
      );
    }
    if (read.kind === 'header' && read.header.group !== group) {
      throw new HoldfastError('E_REFUSED', `${where} belongs to group ${read.header.group}`);
    }
    const misplaced = read.kind === 'header' && read.header.number !== number;
    heads.set(number, misplaced ? { kind: 'rotten', reason: `it says that it is ${read.header.number}` } : read);
  }
  return heads;
}

async function readHead(copies: SegmentCopies, index: number, number: number): Promise<ReadSegmentHeader> {
  try {
    const handle = await copies.open(index, number);
    try {
      return decodeSegmentHeader(await handle.readAt(0, sectorBytes));
    } finally {
      await handle.close();
    }
  } catch (error) {
    return { kind: 'rotten', reason: messageOf(error) };
  }
}

function merged(heads: readonly ReadonlyMap<number, ReadSegmentHeader>[]): Map<number, Found> {
  const found = new Map<number, Found>();
  for (const [index, head] of heads.entries()) {
    for (const [number, read] of head) {
      const known = found.get(number);
      if (known === undefined) {
        found.set(number, { read, copies: [index], unbegun: [] });
        continue;
      }
      known.copies.push(index);
      if (rank(read) > rank(known.read)) known.read = read;
    }
  }
  for (const [number, { read, copies, unbegun }] of found) {
    if (read.kind !== 'header') continue;
    unbegun.push(...copies.filter((index) => heads[index]?.get(number)?.kind === 'blank'));
    copies.splice(0, copies.length, ...copies.filter((index) => !unbegun.includes(index)));
  }
  return found;
}

/**
 * Segments that were removed while a copy was out of use, and so stayed there: those older than the newest segment knows
 * of, and all up to a gap, or to one that was just being made, where another copy begins only behind it. Were they lost
 * instead, readers from there find history missing just the same.
 */
function leftOvers(found: ReadonlyMap<number, Found>, oldest: number): number[] {
  const numbers = [...found.keys()].sort((a, b) => a - b);
  const lowest = new Map<number, number>();
  for (const number of numbers) {
    for (const copy of found.get(number)?.copies ?? []) if (!lowest.has(copy)) lowest.set(copy, number);
  }
  const latestBeginning = Math.max(0, ...lowest.values());
  let from = oldest;
  for (const number of numbers) {
    if (number > latestBeginning) break;
    if (!found.has(number - 1)) from = Math.max(from, number);
    if (found.get(number)?.read.kind === 'blank' && number < latestBeginning) from = Math.max(from, number + 1);
  }
  return numbers.filter((number) => number < from);
}

function rank({ kind }: ReadSegmentHeader): number {
  return kind === 'header' ? 2 : kind === 'rotten' ? 1 : 0;
}

/** Left by a log whose making was interrupted. */
async function removeBlank(copies: SegmentCopies, found: ReadonlyMap<number, Found>): Promise<void> {
  for (const number of found.keys()) await copies.remove(number);
}

function closedSegment(header: SegmentHeader, next: SegmentHeader, copies: readonly number[]): Segment {
  const { previous, recordsBefore: records, dataBytesBefore: dataBytes, wallMs: lastWallMs } = next;
  const { endBytes, indexAt, last } = previous;
  return { ...emptySegment(header, copies), endBytes, indexAt, last, records, dataBytes, lastWallMs };
}

/** For a segment whose own is lost: what the segment before it tells. */
function standIn(journalId: string, group: string, number: number, before: Segment | undefined): SegmentHeader {
  const previous: PreviousSegment = {
    endBytes: before?.endBytes ?? 0,
    indexAt: before?.indexAt ?? 0,
    last: before?.last ?? origin,
  };
  return {
    journalId,
    group,
    number,
    generation: before?.header.generation ?? 0,
    generationId: '',
    after: before?.last ?? origin,
    wallMs: before?.lastWallMs ?? 0,
    recordsBefore: before?.records ?? 0,
    dataBytesBefore: before?.dataBytes ?? 0,
    previous,
    oldest: before?.header.oldest ?? number,
  };
}

function damageOf(segment: number, reason: string, after: Position, upTo: Position | null): Damage {
  return { segment, offset: 0, reason, after, upTo };
}

interface WalkedSegment {
  readonly segment: Segment;
  readonly entries: number;
  readonly damages: readonly Damage[];
  readonly torn: boolean;
}

async function walkSegment(
  walk: SegmentWalk,
  header: SegmentHeader,
  copies: readonly number[],
): Promise<WalkedSegment> {
  const points: IndexPoint[] = [];
  const damages: Damage[] = [];
  const segment: Segment = { ...emptySegment(header, copies), points };
  let entries = 0;
  let number = 1;
  let open: Damage | null = null;
  for (let offset: number = sectorBytes; ;) {
    const step = await walk.step(offset, number, null);
    if (step.kind === 'end') {
      if (open !== null) damages.push(open);
      return { segment, entries, damages, torn: step.torn };
    }
    if (step.kind === 'damage') {
      open ??= { segment: header.number, offset, reason: step.reason, after: segment.last, upTo: null };
      if (step.next === null) {
        damages.push(open);
        // Within the segment, so that nobody reads past it without noticing.
        segment.endBytes = offset + sectorBytes;
        return { segment, entries, damages, torn: false };
      }
      offset = step.next;
      number = 0;
      continue;
    }
    const { header: entry, body } = step.entry;
    if (open !== null) {
      const [first] = body.kind === 'records' ? body.records : [];
      if (first !== undefined) {
        damages.push({ ...open, upTo: justBefore(first) });
        open = null;
      }
    }
    if (offset - (points.at(-1)?.offset ?? sectorBytes) >= pointEveryBytes)
      points.push({ offset, after: segment.last });
    if (body.kind === 'records') {
      segment.records += body.records.length;
      for (const { data } of body.records) segment.dataBytes += data?.length ?? 0;
    }
    if (body.kind === 'index') segment.indexAt = offset;
    if (comparePositions(entry.position, segment.last) > 0) segment.last = entry.position;
    segment.lastWallMs = entry.wallMs;
    segment.endBytes = step.next;
    offset = step.next;
    number = entry.number + 1;
    entries++;
  }
}
