/** A segment of a log in words, for looking into what does not start any more; a damaged part is shown as damaged. */
import { formatPosition, type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import { entryHeaderAt, inspectEntry, type EntryBody, type EntryHeader } from './entry.ts';
import { decodeSegmentHeader, sectorBytes, segmentMagic } from './segment-header.ts';

export function isSegment(file: Uint8Array): boolean {
  return Buffer.from(file.subarray(0, segmentMagic.length)).toString('latin1') === segmentMagic;
}

/**
 * In the terms of the log unit's format: a container (whose it is, its members), the stream (where it stands), and extent
 * lists, each extent with its target address, ordering limit and length (TL-10). Plain data, fit for JSON.
 */
export function describeSegment(file: Uint8Array): unknown {
  const read = decodeSegmentHeader(file);
  if (read.kind === 'newer') return { damaged: `written by a newer program, format ${read.version}` };
  if (read.kind !== 'header')
    return { damaged: read.kind === 'rotten' ? read.reason : 'the first sector is missing' };
  const { header } = read;
  const lists: unknown[] = [];
  let position: Position = header.after;
  let end = 'the bytes read end here';
  let offset: number = sectorBytes;
  while (offset < file.length) {
    const place = { tag: header.journalId.slice(0, 16), segment: header.number, offset };
    const found = inspectEntry(file.subarray(offset), place);
    if (found.kind === 'entry') {
      position = found.header.position;
      lists.push(describeEntry(found.header, found.body));
      offset += found.header.bytes;
      continue;
    }
    const next = nextEntry(file, { ...place, offset: offset + sectorBytes });
    if (next === null) {
      end = found.kind === 'rotten' ? `damaged: ${found.reason}` : `${found.kind === 'torn' ? 'a torn' : 'no'} entry`;
      break;
    }
    lists.push({ offset, damaged: found.kind === 'rotten' ? found.reason : 'sectors are missing', until: next });
    offset = next;
  }
  return {
    container: {
      group: header.group,
      log: header.journalId,
      segment: header.number,
      generation: header.generation,
      generationId: header.generationId,
      written: timeOf(header.wallMs),
      recordsBefore: header.recordsBefore,
      dataBytesBefore: header.dataBytesBefore,
      previousSegment: { ...header.previous, last: formatPosition(header.previous.last) },
    },
    stream: { after: formatPosition(header.after), upTo: formatPosition(position), endsAt: offset, end },
    lists,
  };
}

function nextEntry(file: Uint8Array, from: { tag: string; segment: number; offset: number }): number | null {
  for (let { offset } = from; offset < file.length; offset += sectorBytes) {
    if (entryHeaderAt(file.subarray(offset), { ...from, offset }) !== null) return offset;
  }
  return null;
}

function describeEntry(header: EntryHeader, body: EntryBody): unknown {
  const { offset, number, synced, bytes, wallMs } = header;
  const frame = { offset, number, syncedUpTo: synced, bytes, written: timeOf(wallMs), kind: body.kind };
  switch (body.kind) {
    case 'records':
      return { ...frame, extents: body.records.map(describeRecord) };
    case 'members':
      return { ...frame, members: body.members };
    case 'mark':
      return { ...frame, mark: body.name, at: formatPosition(header.position) };
    case 'note':
      return frame;
    case 'index':
      return { ...frame, points: body.points.map((point) => ({ ...point, after: formatPosition(point.after) })) };
  }
}

function describeRecord(record: StreamRecord): unknown {
  return {
    position: formatPosition(record),
    orderingLimit: record.epoch,
    kind: record.kind,
    volume: record.volume,
    address: record.offset,
    bytes: record.length,
    ...(record.hole ? { hole: true } : {}),
    ...(record.data === null ? {} : { checksum: record.checksum.toString(16).padStart(8, '0') }),
  };
}

function timeOf(wallMs: number): string {
  // Beyond this no date has a text.
  return wallMs <= 8.64e15 ? new Date(wallMs).toISOString() : String(wallMs);
}
