/**
 * The cluster document: what the installation consists of. One versioned JSON document in the coordination store under
 * `documentKey`, changed by compare-and-swap through any node; `holdfast.yaml` declares the first one.
 */
export interface ClusterDocument {
  readonly schema: 1;
  /** Random, made with the first document: 32 hex digits. Links of another cluster are refused. */
  readonly clusterId: string;
  readonly cluster: string;
  /** +1 with every change. */
  readonly version: number;
  readonly sites: readonly string[];
  readonly nodes: readonly NodeEntry[];
  readonly groups: readonly GroupEntry[];
}

export interface NodeEntry {
  readonly name: string;
  readonly site: string;
  /** Where other nodes reach its replication: `host:port`. */
  readonly replication: string;
}

export interface GroupEntry {
  readonly name: string;
  /** The node that owns it when it is first started; afterwards the group's record says. */
  readonly preferredOwner: string;
  readonly volumes: readonly VolumeEntry[];
  /** Index of the next volume to be added. */
  readonly nextVolumeIndex: number;
  /** Every node with a copy, the preferred owner among them; order is the succession. */
  readonly legs: readonly LegEntry[];
  readonly settings: GroupSettings;
}

export interface VolumeEntry {
  readonly name: string;
  /** Number of the volume within its group's stream, 0…65535; never given to another volume of the group again. */
  readonly index: number;
  /** NAA 6: 32 hex digits beginning with 6, made once. */
  readonly wwid: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: 512 | 4096;
  /** Backing path per node, where it is not the default `<data folder>/volumes/<name>.img`. */
  readonly paths: Readonly<Record<string, string>>;
}

/** How a leg's answer counts (IM-3): `sync` stored, `receive` in its memory, `async` not waited for. */
export type MirrorMode = 'sync' | 'receive' | 'async';

/**
 * What a group's record says of a leg: `inSync` lacks nothing acknowledged, `withinBound` no more than the bounds of its
 * asynchronous mirror, `behind` may lack anything (R13, R16).
 */
export type LegClass = 'inSync' | 'withinBound' | 'behind';

export interface LegEntry {
  readonly node: string;
  /** How it is written to while another node owns the group. */
  readonly mode: MirrorMode;
}

export interface GroupSettings {
  /** How long hosts wait for a lost target before it leaves the in-sync set. Milliseconds, default 5000. */
  readonly graceMs: number;
  /** Bounds of an asynchronous leg's lag (TL-6). Defaults 4096 writes, 64 MiB. */
  readonly lagWritesMax: number;
  readonly lagBytesMax: number;
  /** Share of time a resync may use while hosts are active, 0.05…1; default 0.3. */
  readonly resyncShare: number;
  /** At most so many 4 MiB regions are hot at once; default 1024. */
  readonly hotRegionsMax: number;
}

export const defaultGroupSettings: GroupSettings = {
  graceMs: 5000,
  lagWritesMax: 4096,
  lagBytesMax: 64 * 1024 * 1024,
  resyncShare: 0.3,
  hotRegionsMax: 1024,
};

export const documentKey = 'cluster/document';
export const groupRecordKey = (group: string): string => `groups/${group}`;
export const leaseKey = (node: string): string => `leases/${node}`;
