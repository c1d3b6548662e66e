/**
 * What is to be thought of before a copy is served that was not its group's owner's: whether it is safe, and what may be
 * lost by it (BY-7). Pure; carrying it out is `moves.ts`.
 */
import { HoldfastError } from '../base/errors.ts';
import { formatTime } from '../base/units.ts';
import type { Position } from '../stream/position.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import type { GroupRecord } from './record.ts';

/** Null: not known. */
export interface Loss {
  readonly writes: number | null;
  readonly bytes: number | null;
  readonly seconds: number | null;
  readonly text: string;
}

export const nothingLost: Loss = { writes: 0, bytes: 0, seconds: 0, text: 'No acknowledged write is lost.' };

/** Refuses (`E_REFUSED`) a leg that must not, or unless `force` should not, become the owner's. */
export function assertSafe(record: GroupRecord, leg: LocalLeg, force: boolean): void {
  const refuse = (text: string, anyway: string): void => {
    throw new HoldfastError('E_REFUSED', `group ${record.group}: ${text}. ${anyway}`);
  };
  if (leg.fault !== null) refuse(`the leg here has failed: ${leg.fault.detail}`, 'Mend the disk first');
  if (leg.state.lineage.generation === 0) refuse('this node holds no copy of it', 'There is nothing to serve');
  if (force) return;
  const anyway = `With --force it is served all the same, and what ${record.owner} wrote beyond is lost`;
  if (leg.state.condition === 'inconsistent') {
    const kept =
      leg.state.image?.state === 'kept' ? ' With --last-consistent the image is served that was kept of it' : '';
    refuse(
      'the copy here is Inconsistent: it was being copied when the owner was lost',
      kept === '' ? anyway : `${anyway}.${kept}`,
    );
  }
  if (leg.state.condition === 'unconfirmed') {
    refuse('the copy here is unconfirmed: it restarted and may lack what was not flushed', anyway);
  }
  const known = record.legs[leg.node];
  if (known === undefined || known.class === 'behind') {
    refuse('the copy here is Outdated: it lacks writes that hosts were told are safe', anyway);
  }
}

/**
 * Without a coordination store nobody says what the owner did after it was last heard: what the record had of the leg
 * then is no more than that.
 */
export function lossWithoutStore(known: Loss): Loss {
  const then =
    known.writes === 0
      ? 'When the owner was last heard, this copy lacked nothing'
      : `When the owner was last heard: ${known.text.replace(/\.$/, '')}`;
  const text = `${then}. There is no coordination store, so what it acknowledged afterwards is not known.`;
  return { writes: null, bytes: null, seconds: null, text };
}

/** What is lost by going on from a leg's last image, whose newest change arrived then; null: not known when. */
export function lossOfImage(atMs: number | null): Loss {
  const when = atMs === null ? '' : ` of ${formatTime(atMs)}`;
  const text = `This is the image${when} that was kept of this copy: what was written after it is lost.`;
  return { writes: null, bytes: null, seconds: null, text };
}

/**
 * What may be lost by going on from `applied` on `node`.
 * @param stamped the newest position the lost owner has told of; null when none is known.
 */
export function lossOf(record: GroupRecord, node: string, applied: Position, stamped: Position | null): Loss {
  switch (record.legs[node]?.class) {
    case 'inSync':
      return nothingLost;
    case 'withinBound': {
      const writes = stamped?.generation === applied.generation ? stamped.seq - applied.seq : null;
      const lag =
        writes === null
          ? 'how many writes it lacked is not known'
          : `it was ${writes} changes behind when the owner was last heard`;
      return {
        writes,
        bytes: null,
        seconds: null,
        text: `This copy was asynchronous: ${lag}; never more than the group’s bound.`,
      };
    }
    case 'behind':
    case undefined: {
      const heard = stamped?.generation === applied.generation ? stamped.seq - applied.seq : 0;
      const text =
        heard > 0
          ? `This copy was behind: at least ${heard} changes when the owner was last heard; what it wrote later is not known.`
          : 'This copy was behind: how much is lost is not known.';
      return { writes: null, bytes: null, seconds: null, text };
    }
  }
}
