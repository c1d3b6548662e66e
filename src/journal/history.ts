/** The moments of a log at which its group can be viewed: ends of epochs, and bookmarks (BY-3). */
import { comparePositions, type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import type { JournalReader } from './reader.ts';
import type { Damage } from './segment-walk.ts';

/** `wallMs`: when the last of it was logged, since 1970. */
export type Moment =
  /** Everything up to `position`, and nothing later, is an image of the group; `records` and `bytes` are of the epoch. */
  | {
      readonly kind: 'epochEnd';
      readonly epoch: number;
      readonly position: Position;
      readonly wallMs: number;
      readonly records: number;
      readonly bytes: number;
      /** What it changed, in order. */
      readonly extents: readonly Extent[];
    }
  | { readonly kind: 'mark'; readonly name: string; readonly position: Position; readonly wallMs: number }
  | { readonly kind: 'damage'; readonly damage: Damage };

export interface Extent {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
}

type EpochEnd = Extract<Moment, { kind: 'epochEnd' }>;

/** In order. The last epoch is given as ended although records may still be added to it. */
export async function* momentsOf(reader: JournalReader): AsyncGenerator<Moment> {
  let open: EpochEnd | null = null;
  for (let item = await reader.next(); item !== null; item = await reader.next()) {
    switch (item.kind) {
      case 'records':
        for (const record of item.records) {
          if (open !== null && (open.epoch !== record.epoch || open.position.generation !== record.generation)) {
            yield open;
            open = null;
          }
          open = joined(open, record, item.wallMs);
        }
        break;
      case 'mark':
      case 'damage':
        // Nothing of an epoch follows a mark that was set between its records but what belongs behind the mark.
        if (open !== null && (item.kind === 'damage' || comparePositions(item.position, open.position) >= 0)) {
          yield open;
          open = null;
        }
        yield item;
        break;
      case 'members':
        break;
    }
  }
  if (open !== null) yield open;
}

function joined(open: EpochEnd | null, record: StreamRecord, wallMs: number): EpochEnd {
  const extents = (open?.extents ?? []) as Extent[];
  const { generation, seq, epoch, volume, offset, length } = record;
  if (length > 0) extents.push({ volume, offset, length });
  return {
    kind: 'epochEnd',
    epoch,
    position: { generation, seq },
    wallMs,
    records: (open?.records ?? 0) + 1,
    bytes: (open?.bytes ?? 0) + (record.data?.length ?? 0),
    extents,
  };
}
