/** What a group's log tells of its history (BY-3), as it is shown and sent between nodes. */

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

/** A bookmark that was set. */
export interface LogMark {
  /** `generation:seq`: everything up to it is before the mark. */
  readonly position: string;
  /** Wall clock, milliseconds. */
  readonly atMs: number;
}
