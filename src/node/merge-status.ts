/** One answer for the whole cluster from what each node says, and from the silence of those that say nothing. */
import type { GroupStatus, NodeStatus } from '../group/status.ts';

/** What a node says of itself and of the groups it holds. */
export interface StatusAnswer {
  readonly node: NodeStatus;
  readonly groups: readonly GroupStatus[];
}

export function unreachable(name: string, site: string, reason: string): NodeStatus {
  return {
    name,
    site,
    state: 'unreachable',
    pid: null,
    version: null,
    lease: 'unknown',
    connections: [],
    reason,
    nextStep: `Check that ${name} runs and that its address is right.`,
  };
}

/**
 * One answer from those of all nodes: the owner knows the group and its targets best; what it cannot know of a leg whose
 * node has answered itself, that node knows.
 */
export function mergeStatus(answers: readonly { node: string; status: GroupStatus }[]): GroupStatus | null {
  const newest = Math.max(0, ...answers.map(({ status }) => status.generation));
  const byOwner = answers.find(({ node, status }) => status.owner === node && status.generation === newest);
  const best = byOwner ?? answers.find(({ status }) => status.generation === newest) ?? answers[0];
  if (best === undefined) return null;
  const serving = byOwner !== undefined && byOwner.status.service !== 'Unserved';
  const legs = best.status.legs.map((leg) => {
    if (leg.node === best.node || serving) return leg;
    const own = answers.find(({ node }) => node === leg.node);
    return own?.status.legs.find((other) => other.node === leg.node) ?? leg;
  });
  return { ...best.status, legs, forks: answers.flatMap(({ status }) => status.forks) };
}
