/**
 * Who is master of a site (HM-1), as one node sees it: a pure function of whom it hears, of who was master before, and of
 * what the site's own nodes say. The master stays as long as it is heard; the others' word lets a node that has just
 * started, or was cut off, agree with those that were there, instead of taking the role back by its rank.
 */
export interface MasterCandidate {
  readonly name: string;
  /** It said something valid within the master timeout, of the incarnation that was master, and does not leave. */
  readonly isValid: boolean;
  /** Whom it calls the master of its site; null: nobody, or it has not said. */
  readonly says: string | null;
}

/** @param members of the site, in the order of the cluster document: the succession. */
export function masterOf(members: readonly MasterCandidate[], before: string | null): string | null {
  const valid = members.filter((member) => member.isValid);
  const claimed = new Set(valid.flatMap(({ says }) => says ?? []));
  if (before !== null) claimed.add(before);
  // Several after a cut inside the site: the first in succession, which all come to see.
  const master = valid.find(({ name }) => claimed.has(name)) ?? valid[0];
  return master?.name ?? null;
}
