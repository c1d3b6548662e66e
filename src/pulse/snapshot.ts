/**
 * What a node knows of the others by its pulse, at one moment: plain data, fit for other threads, for records of decisions
 * and for people.
 */
import type { ChannelKind } from './channel.ts';

/** HM-5: as the user set it; FAILED by itself, and back after the probation (HM-19). */
export type Enable = 'ENABLE' | 'DISABLE' | 'FAILED';

export type Hearing =
  /** A valid message within the timeout. */
  | 'alive'
  /** None for longer than the timeout. */
  | 'silent'
  /** Heard again after silence; without a gap until the probation has passed it counts as silent for nobody, as alive for life. */
  | 'probation'
  /** Nothing was heard since this process started, and the start-up time is not over. */
  | 'unknown';

/** One channel, as one node hears another by it. */
export interface Heard {
  readonly channel: string;
  readonly kind: ChannelKind;
  readonly enable: Enable;
  readonly hearing: Hearing;
  /** Since the last valid message; null: never. */
  readonly silentMs: number | null;
  /** What is known to be broken about the channel itself; null when nothing is. Its silence is no evidence then. */
  readonly fault: string | null;
  /** Why nothing that arrives of the node is believed (HM-7); absent: it is. */
  readonly unfit?: string | undefined;
}

export interface PeerSnapshot {
  readonly node: string;
  readonly site: string;
  /** Null before anything valid was heard. */
  readonly incarnation: string | null;
  readonly heard: readonly Heard[];
  /** What it last said of itself; null before anything valid was heard. */
  readonly said: NodeWord | null;
}

export interface PulseSnapshot {
  readonly node: string;
  /** Of this node's clocks, when it was taken. */
  readonly monotonicMs: number;
  readonly wallMs: number;
  readonly peers: readonly PeerSnapshot[];
  /** Why this node's own pulse is silent (its engine is stuck); null when it is not. */
  readonly muted: string | null;
  /** Master of each site, by what is heard; null: nobody known (HM-1). */
  readonly masters: Readonly<Record<string, string | null>>;
}

/** What every heartbeat says of its sender: its state digest. */
export interface NodeWord {
  /** AS-7: it is about to stop, as planned. */
  readonly leaving: boolean;
  /** AS-14: automatic take-over is on at this node. */
  readonly automatic: boolean;
  readonly lease: 'valid' | 'lapsed' | 'unknown' | 'none';
  /** +1 with each change of what it owns: a change is worth a question over the link. */
  readonly ownedVersion: number;
  /** How many groups it serves. */
  readonly serving: number;
  /** Ids of channels by which it hears each node now (AS-6: the partner's word by another path). */
  readonly hears: Readonly<Record<string, readonly string[]>>;
}
