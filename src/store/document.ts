import type { PulseSettings } from '../pulse/settings.ts';

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
  /** Null: there is no pulse, and take-over is by hand. */
  readonly pulse: PulseSettings | null;
}

export interface NodeEntry {
  readonly name: string;
  readonly site: string;
  /** Where other nodes reach its replication: `host:port`. */
  readonly replication: string;
  /** Where other nodes reach its pulse by UDP, each on a path of its own: `host:port`. */
  readonly pulse: readonly string[];
  /** Where heartbeat mirrors to this node are fed, TCP `host:port`; null: it is the target of none. */
  readonly heartbeat: string | null;
  /** iSCSI portals: where it listens for hosts, `host:port`, 16 at most. A host of all zeroes: every address it has. */
  readonly iscsi: readonly string[];
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
  readonly takeOver: TakeOverSettings;
  /** What runs on the volumes, and moves with them (HM-18, HM-20, BY-12), in the order in which it is started. */
  readonly resources: readonly ResourceEntry[];
  readonly iscsi: IscsiEntry;
}

/** A group as an iSCSI target. */
export interface IscsiEntry {
  /** Its name; null: `iscsiTargetName` makes it. */
  readonly target: string | null;
  /** Hosts that log in at a node that does not serve it are sent to the one that does. Default: they stay, and use all paths. */
  readonly redirect: boolean;
  /** Who may log in: the first that fits counts. Null: everybody, without authentication. */
  readonly hosts: readonly IscsiHostEntry[] | null;
}

export interface IscsiHostEntry {
  /** Name of the initiator, in lower case; `*`: any. */
  readonly initiator: string;
  /** Addresses it may come from, `address` or `address/prefix length`; null: any. */
  readonly addresses: readonly string[] | null;
  /** Names of the volumes it sees; null: all. */
  readonly volumes: readonly string[] | null;
  /** What it must know; null: it is not asked. */
  readonly chap: ChapEntry | null;
  /** What we answer with when it asks in turn; null: nothing. Only with `chap`. */
  readonly mutual: ChapEntry | null;
}

export interface ChapEntry {
  readonly user: string;
  /** Absolute path, the same at every node; its first line is the secret. */
  readonly secretFile: string;
}

/**
 * `on`: another node takes over when the owner is lost and the store consents. `heartbeat-only`: without a store, on the
 * word of the heartbeats alone, which risks two owners at once (`store: none` only). `off`: by hand (AS-14).
 */
export type AutomaticTakeOver = 'on' | 'off' | 'heartbeat-only';

export interface TakeOverSettings {
  /** Default `on` where there is a pulse and a store, else `off`. */
  readonly automatic: AutomaticTakeOver;
  /** TL-15: the group goes back to its preferred owner by hand, or by itself after `giveBackSettleMs` of good health. */
  readonly giveBack: 'manual' | 'auto';
  /** Default 60 000; each repeated failure of the preferred owner doubles it, up to a day. */
  readonly giveBackSettleMs: number;
  /** HM-17: the owner's site hands over when fewer of its nodes live. Default 1. */
  readonly nodesMin: number;
  /** HM-17, TL-19: own storage that does not answer for so long counts as failed. Default 30 000. */
  readonly stallMs: number;
  /** AS-9: run on the new owner before hosts are let in; null: none. */
  readonly check: CommandEntry | null;
  /** Whether a failed check keeps the volumes closed (default), or is only told. */
  readonly onCheckFailed: 'close' | 'serve';
  /** When the store cannot be reached and legs do not promise: hosts wait (`freeze`) or their sessions end (`stop`). */
  readonly onStoreLost: 'freeze' | 'stop';
  /** BY-1: what is done without asking when both sides wrote; DRBD's words. Default `disconnect`: stop and ask. */
  readonly afterSplitBrain: SplitBrainPolicy;
  /** BY-11: faults may be performed on it. */
  readonly drills: boolean;
}

export interface SplitBrainPolicy {
  readonly zeroPrimaries: 'disconnect' | 'discard-younger-primary' | 'discard-least-changes' | 'discard-zero-changes';
  readonly onePrimary: 'disconnect' | 'discard-secondary' | 'consensus';
  readonly twoPrimaries: 'disconnect';
}

export interface CommandEntry {
  /** Program and arguments; no shell. */
  readonly words: readonly string[];
  readonly timeoutMs: number;
}

export type ResourceEntry =
  /** BY-12: an address that moves; `address` with prefix length, `device` per node. */
  | {
      readonly kind: 'address';
      readonly name: string;
      readonly address: string;
      readonly device: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: 'application';
      readonly name: string;
      readonly start: CommandEntry;
      readonly stop: CommandEntry;
      /** HM-20: run every `everyMs`; after `restarts` failures in a row answered by a restart each, the group is handed over. */
      readonly health: { readonly command: CommandEntry; readonly everyMs: number; readonly restarts: number } | null;
    };

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

export const defaultTakeOverSettings: TakeOverSettings = {
  automatic: 'off',
  giveBack: 'manual',
  giveBackSettleMs: 60_000,
  nodesMin: 1,
  stallMs: 30_000,
  check: null,
  onCheckFailed: 'close',
  onStoreLost: 'freeze',
  afterSplitBrain: { zeroPrimaries: 'disconnect', onePrimary: 'disconnect', twoPrimaries: 'disconnect' },
  drills: false,
};

export const defaultIscsi: IscsiEntry = { target: null, redirect: false, hosts: null };

/** Name of a group's target where the document gives none: of what a configuration allows, only `_` is not of an iSCSI name (RFC 7143 4.2.7.2). */
export const iscsiTargetName = (cluster: string, group: string): string =>
  `iqn.2026-11.org.holdfast:${cluster}:${group}`.toLowerCase().replaceAll('_', '-');

/** Retention of a log that says nothing else. */
export const defaultLogRetention = { retentionMs: 0, retentionBytes: 0 } as const;
/** A log's least size: some segments. */
export const logBytesMin = 64 * 1024 * 1024;

export const documentKey = 'cluster/document';
export const groupRecordKey = (group: string): string => `groups/${group}`;
export const leaseKey = (node: string): string => `leases/${node}`;
