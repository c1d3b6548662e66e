/**
 * The states shown to people: one definition each (glossary of ARCHITECTURE.md), as data. The words are those of the
 * field. `why` is in `explain.ts`: every state here that is not the normal one has a reason and a next step there.
 */
import type { Mark } from '../link/connection-health.ts';
import type { LegClass, MirrorMode } from '../store/document.ts';

/** The owner's leg is Primary; every other leg is Secondary. */
export type Role = 'Primary' | 'Secondary';

export type DiskState =
  /** Lacks nothing acknowledged, or (asynchronous) no more than its lag says. */
  | 'UpToDate'
  /** An image of some moment of the past; whether it lacks acknowledged writes is not known now. */
  | 'Consistent'
  /** An image of some moment of the past that is known to lack acknowledged writes. */
  | 'Outdated'
  /** In the middle of an unordered copy: not an image of any moment. */
  | 'Inconsistent'
  /** The medium failed; it serves nothing. */
  | 'Failed'
  /** Its backing storage is not there. */
  | 'Diskless';

export type ConnectionState =
  /** Not trying: paused by the user, or refused (see reason). */
  'StandAlone' | 'Connecting' | 'Connected';

export type ReplicationState =
  /** Every write goes there as it arrives. */
  | 'Established'
  /** It is away, and everything it misses is kept in order in the group's log. */
  | 'Logging'
  /** What it missed is replayed from the log, in order; it is an image of some moment all the time. */
  | 'Merging'
  /** Changed or all blocks are being copied there / from there. */
  | 'SyncSource'
  | 'SyncTarget'
  /** Stopped by the user; changes are remembered. */
  | 'Paused'
  /** Not replicating: not connected, or the connection is being negotiated. */
  | 'Off';

export interface CopyProgress {
  /** Of a `merge`, bytes are those of the log's records. */
  readonly kind: 'fullCopy' | 'resync' | 'merge';
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly bytesPerSecond: number;
  /** Null while no rate is known. */
  readonly secondsLeft: number | null;
}

export interface LegStatus {
  readonly node: string;
  readonly role: Role;
  readonly disk: DiskState;
  readonly mode: MirrorMode;
  readonly class: LegClass;
  /** Null on the owner's own leg. */
  readonly connection: ConnectionState | null;
  readonly replication: ReplicationState | null;
  /** What it lacks, as history or log know it; `seconds` is the age of the oldest. Null where it is not known. */
  readonly lag: { readonly writes: number | null; readonly bytes: number | null; readonly seconds: number | null };
  /** Bytes that differ or may differ from the owner's leg and are not in flight; null where not known. */
  readonly outOfSyncBytes: number | null;
  readonly progress: CopyProgress | null;
  /** Null in the normal state. */
  readonly reason: string | null;
  readonly nextStep: string | null;
}

export interface VolumeStatus {
  readonly name: string;
  readonly wwid: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** How hosts reach it at its owner, e.g. `nbd://127.0.0.1:10809/vol1`; empty when nobody serves it. */
  readonly exports: readonly string[];
}

/** Whether hosts are served. */
export type ServiceState =
  | 'Serving'
  /** Starting as owner: fetching what it lacks, settling the record. */
  | 'Opening'
  /** Requests are held: lease in doubt, in-sync leg lost and grace running, switch-over under way, own disk failed. */
  | 'Suspended'
  /** No node is known to serve it. */
  | 'Unserved';

export interface GroupStatus {
  readonly name: string;
  /** Per the group's record; null when no record can be read. */
  readonly owner: string | null;
  readonly generation: number;
  readonly service: ServiceState;
  /** Bytes and operations per second at hosts, over the last seconds. */
  readonly throughput: {
    readonly readBytes: number;
    readonly writeBytes: number;
    readonly reads: number;
    readonly writes: number;
  };
  readonly volumes: readonly VolumeStatus[];
  readonly legs: readonly LegStatus[];
  /** The log at the owner; null where the group has none, or its owner was not asked. */
  readonly log: LogStatus | null;
  /** Null in the normal state (`Serving`, every leg UpToDate). */
  readonly reason: string | null;
  readonly nextStep: string | null;
  /** Histories given up by a take-over and kept aside on this cluster's nodes. */
  readonly forks: readonly ForkStatus[];
}

export interface LogStatus {
  /** The node that writes it. */
  readonly node: string;
  /**
   * `idle`: no target needs it; `logging`: written ahead of every change; `ended`: the present outage is not in it (full,
   * failed, or begun too late), change bits remember it; `failed`: it cannot be opened or written.
   */
  readonly state: 'idle' | 'logging' | 'ended' | 'failed';
  readonly copies: readonly { readonly folder: string; readonly problem: string | null }[];
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  /** Segments on disk, and when the oldest record in them was written (wall clock); null when it is empty. */
  readonly segments: number;
  readonly oldestAtMs: number | null;
  /** At the present rate; null when it is not filling. */
  readonly fullInSeconds: number | null;
  /** Null in states `idle` and `logging` with space enough. */
  readonly reason: string | null;
  readonly nextStep: string | null;
}

export interface ForkStatus {
  readonly node: string;
  readonly generation: number;
  readonly extents: number;
  readonly bytes: number;
  /** Image of what the resync overwrote, where there was room. */
  readonly image: string | null;
}

export interface NodeStatus {
  readonly name: string;
  readonly site: string;
  /** `unreachable`: the node asked could not reach it. */
  readonly state: 'up' | 'unreachable';
  readonly pid: number | null;
  readonly version: string | null;
  readonly lease: 'valid' | 'lapsed' | 'unknown';
  readonly connections: readonly ConnectionEntry[];
  readonly reason: string | null;
  readonly nextStep: string | null;
}

/** One row of the connection table (IM-4). */
export interface ConnectionEntry {
  readonly peer: string;
  /** `out`: for groups this node owns. */
  readonly direction: 'out' | 'in';
  readonly index: number;
  readonly local: string;
  readonly remote: string;
  readonly state: 'up' | 'connecting' | 'down';
  readonly lastHeardSecondsAgo: number | null;
  /** Of the peer by its heartbeats over the network (IM-5): in `down` and `probation` it is neither dialled nor accepted. */
  readonly mark: Mark;
  /** IM-6; null outside probation. */
  readonly probationSecondsLeft: number | null;
  /** Why it is not up; null when it is. */
  readonly reason: string | null;
  readonly groups: readonly string[];
}

export interface ClusterStatus {
  readonly schema: 1;
  readonly cluster: string;
  /** The node that answered. */
  readonly answeredBy: string;
  readonly nodes: readonly NodeStatus[];
  readonly groups: readonly GroupStatus[];
  /** Plain sentences about what this answer could not include. */
  readonly notes: readonly string[];
}
