/**
 * What is told of a group whose record the nodes keep themselves (`store: none`): a split brain, an owner that waits to
 * hear the others, and copies of which nobody can say while they are not connected whether they lack something.
 */
import type { Group } from './group.ts';
import { splitBrainWords } from './split-brain.ts';
import type { LegStatus } from './status.ts';

export interface ExchangeWords {
  readonly reason: string;
  readonly nextStep: string;
}

/** Null when there is nothing of the kind to tell. */
export function exchangeWords(
  { exchange, record, entry, role, name, problem }: Group,
  node: string,
): ExchangeWords | null {
  if (exchange === null) return null;
  const { split, obstacle } = exchange;
  if (split !== null) {
    const [one, two] = [split.ours.node, split.theirs.node].sort();
    return {
      reason: `${splitBrainWords(split)}; nothing is replicated between them`,
      nextStep: `Choose whose history is kept: holdfast group resolve ${name} --keep ${one}, or --keep ${two}; the other’s is given up, and kept as an image where there is room`,
    };
  }
  const owns = (record?.owner ?? entry.preferredOwner) === node;
  if (!owns || role !== 'secondary' || obstacle === null || problem === null) return null;
  const others = entry.legs.map((leg) => leg.node).filter((other) => other !== node);
  return {
    reason: obstacle,
    nextStep:
      `Start ${others.join(' and ')}, or mend the network: it then opens by itself. Only if it is certain that no other ` +
      `node has taken over: holdfast group take-over ${name} --node ${node}`,
  };
}

/** The leg as it is shown without a store. */
export function withoutStore(leg: LegStatus, { exchange, target, record, name }: Group, node: string): LegStatus {
  if (exchange === null) return leg;
  const { split } = exchange;
  const isApart = split !== null && [split.ours.node, split.theirs.node].includes(leg.node);
  if (isApart && split !== null) {
    const other = leg.node === split.ours.node ? split.theirs.node : split.ours.node;
    return {
      ...leg,
      ...(leg.role === 'Primary' && leg.node === node
        ? {}
        : { connection: 'StandAlone', replication: 'Off', disk: 'Consistent' }),
      lag: { writes: null, bytes: null, seconds: null },
      outOfSyncBytes: null,
      progress: null,
      reason: `split brain with ${other}`,
      nextStep: `holdfast group resolve ${name} --keep ${leg.node}, or --keep ${other}`,
    };
  }
  if (leg.node !== node || leg.disk !== 'UpToDate' || leg.role !== 'Secondary' || target?.owner != null) return leg;
  return {
    ...leg,
    disk: 'Consistent',
    reason:
      `${record?.owner ?? 'its owner'} is not connected, and there is no coordination store: whether this copy lacks ` +
      'something is not known',
    nextStep: leg.nextStep,
  };
}
