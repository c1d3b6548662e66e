/**
 * One way a heartbeat travels. A channel carries bytes: what they say, and whether they are to be believed, is decided by
 * who receives them, the same for all channels.
 */
export type ChannelKind = 'network' | 'mirror' | 'interconnect' | 'link';

export interface Channel {
  /** Unique on the node, the same word at both ends: `network`, `mirror:hb1`, `interconnect:ic1`, `link`. */
  readonly id: string;
  readonly kind: ChannelKind;
  /** Nodes it can send to. */
  readonly targets: readonly string[];
  /** Nodes it can hear. A mirror goes one way. */
  readonly sources: readonly string[];
  /** Never rejects: what cannot be opened is a fault, told, and tried again for as long as the channel lives. */
  start(events: ChannelEvents): void;
  /** Sends the newest message to a node; an older one that is still under way may be dropped. At most `channelBytesMax`. */
  send(to: string, message: Uint8Array): void;
  close(): Promise<void>;
}

export interface ChannelEvents {
  /** Something arrived: noise, perhaps, or somebody else's. Complete as far as the channel's own framing can tell. */
  received(message: Uint8Array, remote: string): void;
  /**
   * What is known to be broken about the channel itself (a write to the mirror failed, carrier lost, port error), null when
   * that is over. A faulty channel proves nothing by its silence (AS-6, HM-11).
   */
  fault(problem: string | null): void;
  /** By a mirror, at its target: its volume has another status table of the source (HM-5). */
  tableArrived?(): void;
}

/** Of one message: a UDP datagram that is not cut up anywhere. */
export const channelBytesMax = 1400;
