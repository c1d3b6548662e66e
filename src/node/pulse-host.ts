/**
 * The pulse and the lease as the engine has them: asked and told here, living elsewhere. In production that is a thread of
 * their own (`pulse-worker.ts`), so that a busy engine loses neither its heartbeats nor its lease, and a stuck one both;
 * in the simulator it is the engine's own loop (`pulse-in-process.ts`). What lives there is the same (`pulse-side.ts`).
 *
 * Where no pulse is configured the lease lives there all the same: what it is to be protected from, a busy engine, does
 * not depend on heartbeats. The thread costs a few wake-ups a second.
 */
import type { Environment } from '../base/environment.ts';
import type { ControlMessage } from '../pulse/message.ts';
import type {
  ChannelEntry,
  PulseEvents,
  PulseService,
  PulseStatus,
  SpokenWord,
  UseChange,
  UseResult,
} from '../pulse/service.ts';
import type { Indication } from '../pulse/indication.ts';
import type { HeartbeatMirror, Interconnect, PulseSettings } from '../pulse/settings.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import type { StatusTable } from '../pulse/status-table.ts';
import type { NodeEntry } from '../store/document.ts';
import type { Lease } from '../store/lease.ts';

export interface PulseHost {
  /** Of state `unknown` before `start`. */
  readonly lease: Lease;
  /** The last one told; null before the first, and without a pulse. Its times are of this process's clocks. */
  readonly snapshot: PulseSnapshot | null;
  /**
   * Once. Resolves when the lease is being acquired and the pulse beats; rejects with what the store brings
   * (`E_STORE_DAMAGED`, `E_IO` …).
   */
  start(start: PulseStart, events: PulseHostEvents): Promise<void>;
  say(word: SpokenWord): void;
  /**
   * Not null: this node is to be taken for dead (HM-17). It sends no heartbeats, and its lease is not renewed; null ends
   * that.
   */
  mute(reason: string | null): void;
  /** By a channel that carries no messages of its own (TL-4). */
  heard(channel: string, peer: string, agoMs: number): void;
  /** HM-16. */
  indicate(indication: Indication): void;
  /**
   * Asks what needs an answer; see `PulseQuestion`. Rejects as `PulseService` does; with `E_REFUSED` where there is no pulse,
   * `E_BUSY` when too much is being asked already.
   */
  ask<Kind extends PulseQuestion['kind']>(question: QuestionOf<Kind>): Promise<PulseAnswers[Kind]>;
  /** Ends the pulse and gives the lease back. No event follows. */
  stop(): Promise<void>;
}

export interface PulseHostEvents extends PulseEvents {
  leaseAcquired(leaseId: string): void;
  leaseLapsed(reason: string): void;
}

export interface PulseStart {
  readonly node: string;
  /** Of this process. */
  readonly incarnation: string;
  /** For as long as the process lives: others reckon with what the lease in the store says. */
  readonly leaseTtlMs: number;
  /** After so long without a turn the engine counts as stuck. */
  readonly stallMs: number;
  /** Null: there is only the lease. */
  readonly pulse: PulseConfiguration | null;
}

/** What the cluster document says of the pulse, and what was kept over a restart. Plain data. */
export interface PulseConfiguration {
  readonly clusterId: string;
  readonly nodes: readonly NodeEntry[];
  readonly settings: PulseSettings;
  readonly table: StatusTable | null;
}

/** What only this node has. */
export interface PulseLocal {
  readonly dataFolder: string;
  /** The cluster's key; null: none is configured. */
  readonly key: Uint8Array | null;
}

/** A way of heartbeats that comes or goes while the pulse beats (HM-8, HM-9). */
export type ChannelSpec =
  | { readonly kind: 'mirror'; readonly mirror: HeartbeatMirror }
  | { readonly kind: 'interconnect'; readonly interconnect: Interconnect };

export type PulseQuestion =
  | { readonly kind: 'status' }
  /** What of it changes all the time. */
  | { readonly kind: 'snapshot' }
  /** HM-14. */
  | { readonly kind: 'use'; readonly change: UseChange }
  | { readonly kind: 'addChannel'; readonly channel: ChannelSpec }
  | { readonly kind: 'removeChannel'; readonly id: string }
  /** HM-7: the user's check has ended; null: the node has passed. */
  | { readonly kind: 'checked'; readonly peer: string; readonly problem: string | null }
  | {
      readonly kind: 'sendControl';
      readonly to: string;
      readonly message: ControlMessage;
      readonly limitMs: number;
    }
  /** The document has changed: the pulse ends and begins as it says now. */
  | { readonly kind: 'configure'; readonly pulse: PulseConfiguration | null }
  /** AS-7. */
  | { readonly kind: 'leave' }
  | { readonly kind: 'stop' };

export type QuestionOf<Kind extends PulseQuestion['kind']> = Extract<PulseQuestion, { readonly kind: Kind }>;

export interface PulseAnswers {
  readonly status: PulseStatus;
  readonly snapshot: PulseSnapshot;
  readonly use: UseResult;
  readonly addChannel: null;
  readonly removeChannel: null;
  readonly checked: null;
  readonly sendControl: null;
  readonly configure: null;
  readonly leave: null;
  readonly stop: null;
}

/** Builds a pulse, and channels for it, in the thread it is to live in. */
export interface PulseMaker {
  pulse(options: {
    readonly environment: Environment;
    readonly start: Omit<PulseStart, 'pulse'>;
    readonly configuration: PulseConfiguration;
    readonly local: PulseLocal;
    readonly events: PulseEvents;
  }): PulseService;
  channel(options: {
    readonly environment: Environment;
    readonly node: string;
    readonly configuration: PulseConfiguration;
    readonly local: PulseLocal;
    readonly spec: ChannelSpec;
  }): ChannelEntry;
}
