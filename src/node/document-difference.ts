/**
 * Where two nodes' cluster documents differ, in words (`store: none`, where each has its document from its own file).
 * Addresses are left out: they say where one node looks for another, and that may look different from either side; so is the
 * version, which counts changes in a store.
 */
import type { ClusterDocument } from '../store/document.ts';

/** The first difference; null when there is none. */
export function documentDifference(
  ours: ClusterDocument,
  theirs: ClusterDocument,
  names: { readonly ours: string; readonly theirs: string },
): string | null {
  const at = firstDifference(comparable(ours), comparable(theirs), '');
  if (at === null) return null;
  return `${at.path} is ${show(at.ours)} in the configuration of ${names.ours}, ${show(at.theirs)} in that of ${names.theirs}`;
}

/** Lists by name, as objects: what is missing is then named, not what stands in its place. */
function comparable(document: ClusterDocument): unknown {
  const { nodes, groups, ...rest } = document;
  return {
    ...rest,
    version: 0,
    nodes: Object.fromEntries(nodes.map(({ name, site }) => [name, { site }])),
    groups: Object.fromEntries(
      groups.map(({ name, volumes, legs, ...group }) => [
        name,
        {
          ...group,
          // Follows from the volumes, which say better what differs.
          nextVolumeIndex: 0,
          volumes: Object.fromEntries(volumes.map((volume) => [volume.name, volume])),
          legs: Object.fromEntries(legs.map((leg, place) => [leg.node, { place, mode: leg.mode }])),
        },
      ]),
    ),
  };
}

interface Difference {
  readonly path: string;
  readonly ours: unknown;
  readonly theirs: unknown;
}

function firstDifference(ours: unknown, theirs: unknown, path: string): Difference | null {
  if (!isObject(ours) || !isObject(theirs)) {
    return JSON.stringify(ours) === JSON.stringify(theirs) ? null : { path, ours, theirs };
  }
  for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)])) {
    const found = firstDifference(ours[key], theirs[key], path === '' ? key : `${path}.${key}`);
    if (found !== null) return found;
  }
  return null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function show(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}
