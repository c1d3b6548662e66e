/**
 * Brings an owner's own leg to where its log ends, after an unclean end (architecture, the ways a write can go, 3): every
 * change was in the log before it was begun on the leg, so what the log holds is what was ever stamped.
 */
import type { Environment } from '../base/environment.ts';
import type { Journal } from '../journal/journal.ts';
import { ApplyQueue } from '../stream/apply-queue.ts';
import { comparePositions, type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import type { LocalLeg } from '../volume/local-leg.ts';

/**
 * - `done`: the leg is exact, and all of it durable.
 * - `unreadable`: the log cannot be read whole; the leg is what it was.
 * - `cutOff`: older data was put over newer, and what follows is missing. The leg is `inconsistent`, on its medium, until
 *   a replay from the same `start` is done.
 */
export type Replayed = 'done' | 'unreadable' | 'cutOff';

/** Applies what the log holds after `start`; what is before it, the leg has, be it in this kernel's memory alone. */
export async function replay(
  environment: Environment,
  leg: LocalLeg,
  journal: Journal,
  start: Position,
): Promise<Replayed> {
  // Looked through first: records applied again put back what later ones have written, until those follow.
  if (!(await isWhole(leg, journal, start))) return 'unreadable';
  if (comparePositions(leg.state.durable, start) < 0) {
    // Nowhere else any more: when power is lost during the replay, the next one must find it on the medium.
    if (!(await leg.flush())) return 'unreadable';
    leg.metadata.change({ durable: start });
  }
  const reader = journal.read(start);
  if (reader === null) return 'unreadable';
  leg.metadata.change({ condition: 'inconsistent' });
  await leg.save();
  let failed = false;
  const queue = new ApplyQueue<StreamRecord>({
    turn: environment.turn,
    strict: false,
    device: (volume) => leg.device(volume),
    gate: leg.hot,
    applied: (_record, fault) => {
      failed ||= fault !== null;
    },
  });
  const idle = (): Promise<void> => new Promise((resolve) => queue.whenIdle(resolve));
  try {
    for (let item = await reader.next(); item !== null && !failed; item = await reader.next()) {
      if (item.kind === 'damage') return 'cutOff';
      if (item.kind !== 'records') continue;
      for (const record of item.records) {
        // Flushes stand for what hosts were told; one at the end covers all.
        if (record.kind === 'flush') continue;
        queue.push(record);
      }
      await idle();
      item.done();
    }
  } finally {
    queue.stop();
    await idle();
    await reader.close();
  }
  if (failed || !(await leg.flush())) return 'cutOff';
  leg.applied = journal.end;
  leg.intended = journal.end;
  leg.held = true;
  leg.metadata.change({ durable: journal.end, owning: false, condition: 'consistent' });
  await leg.save();
  return 'done';
}

async function isWhole(leg: LocalLeg, journal: Journal, start: Position): Promise<boolean> {
  const reader = journal.read(start);
  if (reader === null) return false;
  try {
    for (let item = await reader.next(); item !== null; item = await reader.next()) {
      if (item.kind === 'damage') return false;
      if (item.kind === 'records' && !item.records.every(({ kind, volume }) => kind === 'flush' || leg.has(volume)))
        return false;
    }
    return true;
  } finally {
    await reader.close();
  }
}
