/** The cluster document as the store has it: read, and held against what a file declares. */
import {
  defaultGroupSettings,
  defaultIscsi,
  defaultTakeOverSettings,
  type ClusterDocument,
  type GroupEntry,
  type GroupSettings,
  type IscsiEntry,
  type LogEntry,
  type NodeEntry,
  type ResourceEntry,
  type TakeOverSettings,
} from '../store/document.ts';
import type { PulseSettings } from '../pulse/settings.ts';
import { withPresetDefaults } from './configuration-pulse.ts';

/** What an older version of the program wrote lacks the keys that came later. */
type StoredGroup = Omit<GroupEntry, 'log' | 'settings' | 'takeOver' | 'resources' | 'iscsi'> & {
  readonly log?: LogEntry | null;
  readonly settings: Partial<GroupSettings>;
  readonly takeOver?: Partial<TakeOverSettings>;
  readonly resources?: readonly ResourceEntry[];
  readonly iscsi?: Partial<IscsiEntry>;
};

type StoredNode = Omit<NodeEntry, 'pulse' | 'heartbeat' | 'iscsi'> & Partial<NodeEntry>;

type StoredDocument = Omit<ClusterDocument, 'groups' | 'nodes' | 'pulse'> & {
  readonly nodes: readonly StoredNode[];
  readonly groups: readonly StoredGroup[];
  readonly pulse?: (Partial<PulseSettings> & Pick<PulseSettings, 'preset'>) | null;
};

export function parseDocument(text: string): ClusterDocument {
  // Written by nodes of this cluster only, and validated before it was.
  const stored = JSON.parse(text) as StoredDocument;
  const groups = stored.groups.map((group) => ({
    ...group,
    log: group.log ?? null,
    settings: { ...defaultGroupSettings, ...group.settings },
    takeOver: { ...defaultTakeOverSettings, ...group.takeOver },
    resources: group.resources ?? [],
    iscsi: { ...defaultIscsi, ...group.iscsi },
  }));
  const nodes = stored.nodes.map((node) => ({
    ...node,
    pulse: node.pulse ?? [],
    heartbeat: node.heartbeat ?? null,
    iscsi: node.iscsi ?? [],
  }));
  return { ...stored, nodes, groups, pulse: stored.pulse == null ? null : withPresetDefaults(stored.pulse) };
}

/** Whether a file declares something else than the store has, identities aside. */
export function differs(stored: ClusterDocument, declared: ClusterDocument): boolean {
  const shape = (document: ClusterDocument): string =>
    JSON.stringify([
      document.cluster,
      document.sites,
      document.nodes,
      document.pulse,
      document.groups.map(({ name, preferredOwner, volumes, legs, log, settings, takeOver, resources, iscsi }) => [
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
        takeOver,
        resources,
        iscsi,
      ]),
    ]);
  return shape(stored) !== shape(declared);
}
