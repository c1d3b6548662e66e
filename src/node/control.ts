/**
 * What an administrator can ask of a node: the one interface behind HTTP API and command line. Every method may be
 * called on any node; a node that is not the one concerned passes the request on over its link. Rejections are
 * `HoldfastError`s whose message is fit to be shown.
 */
import type { ReadDecision } from '../agent/decision-book.ts';
import type { LogMark, LogMoments, LogMomentsOptions } from '../group/log-moments.ts';
import type { ClusterStatus, GroupStatus, LogStatus } from '../group/status.ts';
import type { ClusterDocument, LogEntry, MirrorMode } from '../store/document.ts';
import type { AgentControl } from './agent-control.ts';
import type { AlertControl } from './alert-control.ts';
import type { DrillControl } from './drill-control.ts';
import type { IscsiControl } from './iscsi-control.ts';
import type { HeartbeatMirrorControl } from './mirror-control.ts';
import type { ResourceControlMethods } from './resource-status.ts';
import type { PulseControl } from './pulse-control.ts';

export interface NodeControl
  extends AgentControl, PulseControl, ResourceControlMethods, AlertControl, DrillControl, IscsiControl {
  readonly nodeName: string;
  readonly heartbeatMirrors: HeartbeatMirrorControl;
  status(): Promise<ClusterStatus>;
  document(): Promise<ClusterDocument>;
  /** Group or volume name; `E_NOT_FOUND`. */
  why(subject: string): Promise<Explanation>;
  createVolume(request: CreateVolumeRequest): Promise<{ group: string; wwid: string }>;
  /** Refused (`E_REFUSED`) while a host has it open, unless `force`. Deletes the data at every site. */
  deleteVolume(request: { name: string; force: boolean }): Promise<void>;
  /** Returns when hosts are served at `to`. */
  switchOver(request: { group: string; to: string }): Promise<MoveResult>;
  /** Waits until the owner's lease has lapsed; refused for a live owner, and for a leg not safe to use unless forced. */
  takeOver(request: TakeOverRequest): Promise<MoveResult>;
  /** BY-1: of two histories that both sides wrote, keeps one; refused while hosts are connected at the other, unless `yes`. */
  resolveSplitBrain(request: ResolveRequest): Promise<ResolveResult>;
  pauseMirror(request: { group: string; to: string }): Promise<void>;
  resumeMirror(request: { group: string; to: string }): Promise<void>;
  /** Copies everything anew. */
  resyncMirror(request: { group: string; to: string }): Promise<void>;
  /** Every group, with its log where it has one. */
  listLogs(): Promise<readonly LogRow[]>;
  createLog(request: CreateLogRequest): Promise<void>;
  /** Makes the log there, or moves it there with what it holds. */
  assignLog(request: AssignLogRequest): Promise<void>;
  /** Refused (`E_REFUSED`) for less than targets still need. */
  setLogSize(request: LogSizeRequest): Promise<void>;
  setLogRetention(request: LogRetentionRequest): Promise<void>;
  /** Refused (`E_REFUSED`) while a target needs it, unless `force`: then that target is brought up by a resync. */
  removeLog(request: { group: string; force: boolean }): Promise<void>;
  /** Sets a bookmark, which reaches the targets in its place among the writes. */
  markLog(request: { group: string; name: string }): Promise<LogMark>;
  logMoments(request: LogMomentsOptions & { readonly group: string }): Promise<LogMoments>;
  /** How the copy is written to while another node owns the group; hosts are served all the while. */
  setMirror(request: { group: string; to: string; mode: MirrorMode }): Promise<void>;
  /** Returns a function that ends the subscription. */
  onEvent(listener: (event: NodeEvent) => void): () => void;
}

export interface TakeOverRequest {
  readonly group: string;
  readonly node: string;
  readonly force: boolean;
  /** With the image that was kept of an `Inconsistent` copy (TL-16). Default false. */
  readonly lastConsistent?: boolean;
}

export interface ResolveRequest {
  readonly group: string;
  /** The node whose history is kept. */
  readonly keep: string;
  readonly yes: boolean;
}

export interface ResolveResult {
  readonly group: string;
  readonly kept: string;
  readonly generation: number;
  /** What becomes of the other history. */
  readonly text: string;
}

export interface CreateVolumeRequest {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: 512 | 4096;
  /** Default: a group of the volume's own name. An existing group keeps its legs. */
  readonly group?: string;
  /** For a new group: its owner (default: the node asked). */
  readonly owner?: string;
  /** For a new group: its targets. */
  readonly mirrors: readonly { readonly node: string; readonly mode: MirrorMode }[];
  readonly paths: Readonly<Record<string, string>>;
}

export interface LogRow {
  readonly group: string;
  /** As the document has it; null: the group has none. */
  readonly log: LogEntry | null;
  /** As its owner has it; null where that cannot be asked. */
  readonly status: LogStatus | null;
}

export interface CreateLogRequest {
  readonly group: string;
  readonly sizeBytes: number;
  /** Whole paths per node: a folder, or two on different disks. Default `<data folder>/logs/<group>`. */
  readonly places: Readonly<Record<string, readonly string[]>>;
  /** Default 0: nothing is kept. */
  readonly retentionMs?: number;
  /** Default a quarter of the log, where something is kept at all. */
  readonly retentionBytes?: number;
}

export interface AssignLogRequest {
  readonly group: string;
  readonly node: string;
  /** One, or two on different disks. */
  readonly folders: readonly string[];
}

export interface LogSizeRequest {
  readonly group: string;
  readonly sizeBytes: number;
}

/** What is left out stays. */
export interface LogRetentionRequest {
  readonly group: string;
  readonly retentionMs?: number;
  readonly retentionBytes?: number;
}

export interface MoveResult {
  readonly group: string;
  readonly owner: string;
  readonly generation: number;
  /** How long hosts were not served, milliseconds, as far as this node can tell. */
  readonly pauseMs: number | null;
  readonly loss: LossStatement;
}

/** What may have been lost by a take-over; all zero after a switch-over (BY-7). Null: unknown. */
export interface LossStatement {
  readonly writes: number | null;
  readonly bytes: number | null;
  readonly seconds: number | null;
  /** The same in a sentence. */
  readonly text: string;
}

export interface Explanation {
  readonly group: string;
  /** One sentence: normal, or what is not. */
  readonly summary: string;
  readonly findings: readonly {
    readonly subject: string;
    readonly state: string;
    readonly reason: string;
    readonly nextStep: string;
  }[];
  /** The last ones of the agents about the group, also those not to take over; oldest first. */
  readonly decisions: readonly ReadDecision[];
}

export interface NodeEvent {
  /** Wall clock, milliseconds. */
  readonly atMs: number;
  readonly node: string;
  readonly group: string | null;
  readonly kind: string;
  readonly message: string;
  readonly status?: GroupStatus;
}
