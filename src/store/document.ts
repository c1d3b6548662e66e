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
  /** Its ordered log; null: it has none, and what a target misses is remembered by change bits only. */
  readonly log: LogEntry | null;
  readonly settings: GroupSettings;
}

/** Where a group's history is kept while a target is away, and afterwards (TL-9, BY-3). */
export interface LogEntry {
  /** All of it, at each node that has it. */
  readonly sizeBytes: number;
  /** Per node one folder, or two on different disks with the same contents; default `<data folder>/logs/<group>`. */
  readonly places: Readonly<Record<string, readonly string[]>>;
  /** History that no target needs any more is kept for this long, but not more of it than these bytes. Default 0. */
  readonly retentionMs: number;
  readonly retentionBytes: number;
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
  /** Writes that may be under way in a mirrored group before further ones wait, 16…4096; default 240 (TL-7). */
  readonly intentEntries: number;
  /** When the grace time of a lost target is over: hosts go on and the log is written, or hosts wait. Default `log`. */
  readonly onTargetLoss: OnTargetLoss;
  /** When an asynchronous leg's lag is at its bound: hosts wait, or the log takes the leg's place. Default `throttle`. */
  readonly onCongestion: OnCongestion;
  /** When the log is full. Default `bitmap`. */
  readonly onLogFull: OnLogFull;
  /** While a leg is merged, hosts write at most 1/mergeGain of what it takes in. 1.1…10, default 2 (TL-11). */
  readonly mergeGain: number;
}

export type OnTargetLoss = 'log' | 'suspend';
export type OnCongestion = 'throttle' | 'log';
/**
 * `throttle`: hosts are slowed from three quarters on, and wait for a merge to free space; with no merge under way as
 * `bitmap`. `bitmap`: the log ends, change bits remember the rest. `suspend`: hosts wait for space.
 */
export type OnLogFull = 'throttle' | 'bitmap' | 'suspend';

export const defaultGroupSettings: GroupSettings = {
  graceMs: 5000,
  lagWritesMax: 4096,
  lagBytesMax: 64 * 1024 * 1024,
  resyncShare: 0.3,
  hotRegionsMax: 1024,
  intentEntries: 240,
  onTargetLoss: 'log',
  onCongestion: 'throttle',
  onLogFull: 'bitmap',
  mergeGain: 2,
};

/** Retention of a log that says nothing else. */
export const defaultLogRetention = { retentionMs: 0, retentionBytes: 0 } as const;
/** A log's least size: some segments. */
export const logBytesMin = 64 * 1024 * 1024;

export const documentKey = 'cluster/document';
export const groupRecordKey = (group: string): string => `groups/${group}`;
export const leaseKey = (node: string): string => `leases/${node}`;
