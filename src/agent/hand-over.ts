/**
 * HM-17, TL-19: why this node can no longer do its job for a group that it owns; null while it can. Pure: looks, and leaves
 * the move to the agent.
 */
import type { Group } from '../group/group.ts';

export interface OwnerHealth {
  /** Why its storage counts as stalled; null: it answers. */
  readonly stalled: string | null;
  /** Nodes of the own site that live, this one among them, and how many there must be. */
  readonly nodesAlive: number;
  readonly nodesMin: number;
  /** The site has that many nodes in all: fewer than the minimum are no reason where there never were more. */
  readonly nodesInSite: number;
  /** For how long its copy could not be opened; 0 when it is open. It is tried again every few seconds. */
  readonly closedMs: number;
  /** Why an application will not stay up (HM-20); null when none gives up. */
  readonly application: string | null;
}

const closedMsMax = 10_000;

export function causeToHandOver(group: Group, health: OwnerHealth): string | null {
  const { leg, role } = group;
  if (leg !== null && leg.fault !== null) return `its disk failed: ${leg.fault.detail}`;
  if (role === 'frozen' && leg !== null && leg.state.wentBack !== null) return leg.state.wentBack;
  if (role === 'closed' && health.closedMs > closedMsMax)
    return `it cannot open its copy: ${group.problem ?? 'unknown'}`;
  if (role !== 'primary') return null;
  if (health.stalled !== null) return health.stalled;
  if (health.application !== null) return health.application;
  if (health.nodesInSite >= health.nodesMin && health.nodesAlive < health.nodesMin) {
    return `only ${health.nodesAlive} of at least ${health.nodesMin} nodes of its site live`;
  }
  return null;
}
