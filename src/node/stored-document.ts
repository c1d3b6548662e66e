/** The cluster document as the store has it: read, and held against what a file declares. */
import {
  defaultGroupSettings,
  type ClusterDocument,
  type GroupEntry,
  type GroupSettings,
  type LogEntry,
} from '../store/document.ts';

/** What an older version of the program wrote lacks the keys that came later. */
type StoredGroup = Omit<GroupEntry, 'log' | 'settings'> & {
  readonly log?: LogEntry | null;
  readonly settings: Partial<GroupSettings>;
};

export function parseDocument(text: string): ClusterDocument {
  // Written by nodes of this cluster only, and validated before it was.
  const stored = JSON.parse(text) as Omit<ClusterDocument, 'groups'> & { readonly groups: readonly StoredGroup[] };
  const groups = stored.groups.map((group) => ({
    ...group,
    log: group.log ?? null,
    settings: { ...defaultGroupSettings, ...group.settings },
  }));
  return { ...stored, groups };
}

/** Whether a file declares something else than the store has, identities aside. */
export function differs(stored: ClusterDocument, declared: ClusterDocument): boolean {
  const shape = (document: ClusterDocument): string =>
    JSON.stringify([
      document.cluster,
      document.sites,
      document.nodes,
      document.groups.map(({ name, preferredOwner, volumes, legs, log, settings }) => [
        name,
        preferredOwner,
        volumes.map(({ name: volume, sizeBytes, blockSizeBytes, paths }) => [
          volume,
          sizeBytes,
          blockSizeBytes,
          paths,
        ]),
        legs,
        log,
        settings,
      ]),
    ]);
  return shape(stored) !== shape(declared);
}
