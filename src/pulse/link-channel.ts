/**
 * The replication link as a way of hearing (TL-4): its connections have echoes of their own, so this channel carries no
 * messages. Whoever has the connection table tells the pulse when each node was last heard (`Pulse.heard`).
 */
import type { Channel, ChannelEvents } from './channel.ts';

export const linkChannelId = 'link';

export class LinkChannel implements Channel {
  readonly id = linkChannelId;
  readonly kind = 'link';
  readonly targets: readonly string[] = [];
  readonly sources: readonly string[];

  /** @param sources the other nodes. */
  constructor(sources: readonly string[]) {
    this.sources = sources;
  }

  start(_events: ChannelEvents): void {}

  send(_to: string, _message: Uint8Array): void {}

  close(): Promise<void> {
    return Promise.resolve();
  }
}
