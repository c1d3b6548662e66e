/**
 * Who takes a group over when several could: a node of the lost owner's site before one elsewhere (HM-21), one that lacks nothing
 * before one that may lag, then the order of the group's copies (AS-12, HG-7). Only a preference: whoever comes first in the
 * store wins, and one that does not get on is overtaken after a while.
 */
import type { GroupRecord } from '../group/record.ts';
import type { ClusterDocument, GroupEntry, LegClass } from '../store/document.ts';

const classRank: Readonly<Record<LegClass, number>> = { inSync: 0, withinBound: 1, behind: 2 };

/** The copies that may serve, first come first; the owner left out. `behind` ones never do by themselves. */
export function succession(document: ClusterDocument, group: GroupEntry, record: GroupRecord): readonly string[] {
  const siteOf = (node: string): string | undefined => document.nodes.find(({ name }) => name === node)?.site;
  const site = siteOf(record.owner);
  return group.legs
    .map(({ node }, order) => ({ node, order, rank: classRank[record.legs[node]?.class ?? 'behind'] }))
    .filter(({ node, rank }) => node !== record.owner && rank < classRank.behind)
    .sort(
      (one, two) =>
        Number(siteOf(one.node) !== site) - Number(siteOf(two.node) !== site) ||
        one.rank - two.rank ||
        one.order - two.order,
    )
    .map(({ node }) => node);
}
