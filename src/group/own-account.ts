/** What a node says of a group to the other nodes where there is no coordination store (`accounts.ts`). */
import type { LocalLeg } from '../volume/local-leg.ts';
import type { Account } from './accounts.ts';
import type { Group } from './group.ts';

export function accountOf(group: Group, node: string, to: string, leaseId: string | null): Account {
  const { leg, record, role } = group;
  return {
    node,
    record,
    history: leg === null ? null : historyOf(group, leg),
    serving: role === 'primary',
    sessions: group.sessionCount,
    changedBytes: leg === null ? null : changedBytes(leg, to, role === 'primary'),
    leaseId,
  };
}

function historyOf({ owner, role }: Group, leg: LocalLeg): Account['history'] {
  const { lineage, seen } = leg.state;
  if (role === 'primary' && owner !== null) return { lineage: owner.lineage, end: owner.last, seen };
  // While it is being opened nothing is stamped in the generation, though the leg is ready for anything.
  const begins =
    role === 'opening' && leg.intended.generation === lineage.generation && owner?.lineage.id === lineage.id;
  return { lineage, end: begins ? { generation: lineage.generation, seq: 0 } : leg.intended, seen };
}

/** An owner that crashed may not have saved its last bits: hot regions stand for them. */
function changedBytes(leg: LocalLeg, to: string, live: boolean): number {
  let bytes = 0;
  for (const bitmap of leg.bits.get(to)?.values() ?? []) bytes += bitmap.setBytes;
  if (!live) for (const { length } of leg.hot.extents()) bytes += length;
  return bytes;
}
