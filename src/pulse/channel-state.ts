import type { Channel } from './channel.ts';
import { PeerChannel, type PeerChannelOptions } from './peer-channel.ts';
import type { ChannelEntry } from './service.ts';

/** A channel in use: what was sent by it, what is broken about it, and how each node is heard by it. */
export class ChannelState {
  readonly channel: Channel;
  readonly device: string;
  /** By node, those it can hear. */
  readonly peers: ReadonlyMap<string, PeerChannel>;
  serial = 0;
  sent = 0;
  fault: string | null = null;
  /** When the last fault ended, monotonic. */
  faultOverMs = -Infinity;
  /** Disabled a moment ago, it is sent on until then: to bring the change to the other site, and its answer back. */
  lingerUntilMs = -Infinity;

  constructor({ channel, device }: ChannelEntry, options: PeerChannelOptions) {
    this.channel = channel;
    this.device = device;
    this.peers = new Map(channel.sources.map((node): [string, PeerChannel] => [node, new PeerChannel(options)]));
  }
}
