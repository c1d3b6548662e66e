/** What a group's log tells of its history (BY-3), as it is shown and sent between nodes. */
import { HoldfastError } from '../base/errors.ts';
import type { Moment } from '../journal/history.ts';
import type { VolumeEntry } from '../store/document.ts';
import { formatPosition, origin, type Position } from '../stream/position.ts';
import type { GroupLog } from './group-log.ts';

/** A moment at which the group was an image that could be viewed, a bookmark, or a part that is lost. */
export interface LogMoment {
  readonly kind: 'epochEnd' | 'mark' | 'damage';
  /** `generation:seq` of the last record that belongs to it; of damage, of the last one before it. */
  readonly position: string;
  /** When it was logged, wall clock, milliseconds; null where that is lost. */
  readonly atMs: number | null;
  /** Of a mark; else null. */
  readonly name: string | null;
  /** Of damage: what was found, and what is lost; else null. */
  readonly reason: string | null;
  /** Of the epoch; 0 else. */
  readonly records: number;
  readonly bytes: number;
  /** What the epoch changed, in order; null where that was not asked for. */
  readonly extents: readonly LogExtent[] | null;
}

export interface LogExtent {
  /** Its name; `#index` of one that was deleted since. */
  readonly volume: string;
  readonly offset: number;
  readonly length: number;
}

export interface LogMomentsOptions {
  /** `generation:seq`: only what comes later; default from the oldest on. */
  readonly after?: string;
  /** At most so many, from 1. */
  readonly limit: number;
  readonly extents: boolean;
}

export interface LogMoments {
  readonly moments: readonly LogMoment[];
  /** Whether later ones were left out. */
  readonly more: boolean;
}

/** Rejects with `E_USAGE` for a position that is none, and with the errors of reading. */
export async function readMoments(
  log: GroupLog,
  volumes: readonly VolumeEntry[],
  { after, limit, extents }: LogMomentsOptions,
): Promise<LogMoments> {
  const from = after === undefined ? origin : parsePosition(after);
  if (from === null)
    throw new HoldfastError('E_USAGE', `"${after}" is no position; write GENERATION:SEQ, such as 7:1042`);
  const moments: LogMoment[] = [];
  for await (const moment of log.moments(from)) {
    if (moments.length === limit) return { moments, more: true };
    moments.push(shown(moment, volumes, extents));
  }
  return { moments, more: false };
}

const nothing = { name: null, reason: null, records: 0, bytes: 0, extents: null } as const;

function shown(moment: Moment, volumes: readonly VolumeEntry[], withExtents: boolean): LogMoment {
  switch (moment.kind) {
    case 'mark':
      return {
        ...nothing,
        kind: 'mark',
        position: formatPosition(moment.position),
        atMs: moment.wallMs,
        name: moment.name,
      };
    case 'damage': {
      const { after, upTo, segment, reason } = moment.damage;
      const lost = upTo === null ? 'what follows is lost' : `lost up to ${formatPosition(upTo)}`;
      return {
        ...nothing,
        kind: 'damage',
        position: formatPosition(after),
        atMs: null,
        reason: `segment ${segment}: ${reason}; ${lost}`,
      };
    }
    case 'epochEnd': {
      const nameOf = (index: number): string => volumes.find((volume) => volume.index === index)?.name ?? `#${index}`;
      const { records, bytes } = moment;
      const changed = moment.extents.map(({ volume, offset, length }) => ({
        volume: nameOf(volume),
        offset,
        length,
      }));
      return {
        ...nothing,
        kind: 'epochEnd',
        position: formatPosition(moment.position),
        atMs: moment.wallMs,
        records,
        bytes,
        extents: withExtents ? changed : null,
      };
    }
  }
}

function parsePosition(text: string): Position | null {
  const [, generation, seq] = /^(\d{1,15}):(\d{1,15})$/.exec(text) ?? [];
  return generation === undefined ? null : { generation: Number(generation), seq: Number(seq) };
}

/** A bookmark that was set. */
export interface LogMark {
  /** `generation:seq`: everything up to it is before the mark. */
  readonly position: string;
  /** Wall clock, milliseconds. */
  readonly atMs: number;
}
