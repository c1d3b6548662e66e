/** Where a node keeps production data: what a heartbeat mirror must not be put on (HM-3). */
import { stat } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import type { ClusterDocument } from '../store/document.ts';

interface Place {
  readonly path: string;
  readonly what: string;
}

/**
 * What of production lies at the path (`volume db1`), by whatever name it is called: a link to a volume's device is the
 * volume. Null: nothing known.
 */
export async function productionAt(
  document: ClusterDocument,
  { node, dataFolder }: { readonly node: string; readonly dataFolder: string },
  path: string,
): Promise<string | null> {
  const wanted = resolve(path);
  const own = resolve(dataFolder);
  for (const { path: place, what } of placesOf(document, node, own)) {
    if (isWithin(wanted, resolve(place)) || (await isSame(wanted, place))) return what;
  }
  if (isWithin(wanted, own) && !isWithin(wanted, `${own}${sep}heartbeat`)) return `the data of node ${node}`;
  return null;
}

function placesOf(document: ClusterDocument, node: string, dataFolder: string): Place[] {
  return document.groups
    .filter(({ legs }) => legs.some((leg) => leg.node === node))
    .flatMap(({ name, volumes, log }) => [
      ...volumes.map((volume) => ({
        path: volume.paths[node] ?? `${dataFolder}/volumes/${volume.name}.img`,
        what: `volume ${volume.name}`,
      })),
      ...(log === null ? [] : (log.places[node] ?? [])).map((place) => ({ path: place, what: `the log of ${name}` })),
    ]);
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}${sep}`);
}

/** One file by two names, or two nodes of one device. */
async function isSame(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([one, other].map((path) => stat(path).catch(() => null)));
  if (!first || !second) return false;
  if (first.isBlockDevice() && second.isBlockDevice()) return first.rdev === second.rdev;
  return first.dev === second.dev && first.ino === second.ino;
}
