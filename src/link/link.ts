/**
 * What the link layer offers to the layers above: connections to other nodes, frames on them, and requests between
 * nodes. Knows nothing of groups; which connection carries what is decided above (R2).
 *
 * Contract:
 * - `connectionUp` comes before the first frame of a connection, `connectionDown` after the last, each once. All
 *   connections of an older incarnation of a peer are down before the first of a newer one is up (R2).
 * - Nothing is called back inside a call of `send`, `close`, `breach` or `LinkTable.close`: what they cause is deferred.
 * - Frames of one connection arrive in the order sent, none twice, none left out, until it goes down; what was sent but
 *   not received by then is lost, and the sender cannot know how much of it that is.
 */
import type { Address } from '../base/network.ts';
import type { HealthTimes, Mark } from './connection-health.ts';
import type { Frame } from './frame.ts';

export interface LinkConnection {
  /** Never given again while the process runs. */
  readonly id: number;
  readonly peer: string;
  readonly peerIncarnation: string;
  readonly peerBootId: string;
  readonly peerSoftwareVersion: string;
  /** What both ends understand. */
  readonly features: readonly string[];
  /** `out`: dialled by this node, for the groups it owns. */
  readonly direction: 'out' | 'in';
  readonly index: number;
  /** Bytes handed to `send` that the operating system has not taken yet. */
  readonly unsentBytes: number;
  /** Takes the parts without copying: they must not change until sent. Ignored once the connection is down. */
  send(frame: readonly Uint8Array[]): void;
  /**
   * Like `send`, for small frames of many groups in one turn: they leave together at its end, in one piece. Never overtaken
   * by what is sent later.
   */
  gather(frame: readonly Uint8Array[]): void;
  /** Back-pressure towards the peer. While it lasts, the peer's silence is not counted. */
  pauseReading(paused: boolean): void;
  /** At once: what is queued is lost, no frame is delivered any more. */
  close(reason: string): void;
  /**
   * Closes because the peer broke the protocol; it is told so where possible, and it is counted and logged once per
   * peer and `rule`, the rule's short name.
   */
  breach(rule: string, detail: string): void;
}

export interface LinkHandler {
  connectionUp(connection: LinkConnection): void;
  connectionDown(connection: LinkConnection, reason: string): void;
  /** Every message of a known type that is not the link's own. */
  frame(connection: LinkConnection, frame: Frame): void;
  /** Everything sent has been taken by the operating system, after some of it had to wait. */
  drained(connection: LinkConnection): void;
  /** A request of another node. A rejection with a `HoldfastError` reaches the caller as it is. */
  call(peer: string, method: string, params: unknown): Promise<unknown>;
}

export interface LinkIdentity {
  readonly clusterId: string;
  readonly node: string;
  /** 32 hex digits, drawn with every start of the process. */
  readonly incarnation: string;
  readonly softwareVersion: string;
  readonly features: readonly string[];
}

export interface LinkPeer {
  readonly name: string;
  readonly address: Address;
}

export interface LinkOptions {
  readonly listen: Address;
  readonly peers: readonly LinkPeer[];
  /** Of each direction; 1…16, default 2. */
  readonly connectionsPerLink?: number;
  /** A connection that has nothing else to say says so every so often; default 1000. */
  readonly pingIntervalMs?: number;
  /** A connection on which nothing has arrived for so long is closed; default 4000. */
  readonly silenceMs?: number;
  /** IM-5, IM-6: of marks by heartbeats; null or absent: there is no pulse, and nobody is marked. */
  readonly health?: () => HealthTimes | null;
}

export interface Reachability {
  /** `up`: at least one connection stands, in either direction. `connecting`: no attempt has failed yet. */
  readonly state: 'up' | 'connecting' | 'down';
  /** Why the last attempt failed or the last connection was lost; null when none has since the link was up. */
  readonly reason: string | null;
  /** On the monotonic clock; null when never. */
  readonly lastHeardMs: number | null;
}

/** One row of the connection table (IM-4). */
export interface LinkRow {
  readonly peer: string;
  readonly direction: 'out' | 'in';
  readonly index: number;
  /** The address listened at for `in`; empty for `out`, whose local port the system has chosen. */
  readonly local: string;
  readonly remote: string;
  readonly state: 'up' | 'connecting' | 'down';
  /** On the monotonic clock; null when never. */
  readonly lastHeardMs: number | null;
  /** Why it is not up; null otherwise. */
  readonly reason: string | null;
  /** Of the peer, by its heartbeats over the network: `down` and `probation` keep connections from being made (IM-5, IM-6). */
  readonly mark: Mark;
  /** Until connections are made again, if no heartbeat is missed; null outside probation. */
  readonly probationLeftMs: number | null;
}
