/**
 * Heartbeats by a heartbeat mirror (HM-2): a small volume of its own on two nodes. The source writes the newest message to
 * the primary backing store; it is carried to the target, written to the secondary, *read back from it* and handed up: both
 * disks and the way between them must work for a heartbeat to arrive. It goes one way; the other has mirrors of its
 * own (HM-15).
 *
 * Only the newest message counts. Nothing is logged, merged, or queued behind anything else: every stage holds the one under
 * way and the newest that waits.
 *
 * Faults (HM-11): at the source a write that fails or hangs, at the primary or, as the target reports it, at the secondary, or
 * nothing written at the secondary for the limit. At the target a failing or hanging secondary, and a feed address that
 * cannot be listened on. A target that is fed nothing is merely silent.
 */
import type { Environment } from '../base/environment.ts';
import { HoldfastError } from '../base/errors.ts';
import { parseAddress } from '../base/network.ts';
import { BackOff } from './back-off.ts';
import type { Channel, ChannelEvents } from './channel.ts';
import type { DiskSlots } from './disk-slots.ts';
import type { MirrorFeedListener } from './mirror-feed-listener.ts';
import { MirrorFeedSource } from './mirror-feed-source.ts';
import type { FeedIdentity } from './mirror-feed.ts';
import type { RegionName } from './mirror-slot.ts';
import { MirrorVolume, type WriteOutcome } from './mirror-volume.ts';

export type MirrorWorld = Pick<Environment, 'clock' | 'random' | 'files' | 'network'>;

export interface MirrorOptions {
  readonly mirror: FeedIdentity;
  /** Backing file or device at this node. */
  readonly path: string;
  /** What has not answered for so long, a disk or the other end, is a fault. Milliseconds: the pulse's timeout. */
  readonly limitMs: number;
  /** Of all heartbeat mirrors of this process. */
  readonly slots: DiskSlots;
  /** Between two flushes of the volume; default 5000. */
  readonly flushEveryMs?: number;
}

export interface MirrorSourceOptions extends MirrorOptions {
  /** The target's `heartbeat` address. */
  readonly feedAt: string;
  readonly key: Uint8Array;
  /** It is being closed: nothing is to be written to it any more. */
  readonly closed?: () => void;
}

/**
 * The status table on the mirrored volume (HM-5), sealed by its writer: at the target, as the source wrote it. A new master
 * picks it up from there.
 */
export interface MirrorTable {
  /** As last written to or read from this node's backing store; null: never. */
  readTable(): Promise<Uint8Array | null>;
}

export class MirrorSourceChannel implements Channel, MirrorTable {
  readonly id: string;
  readonly kind = 'mirror';
  readonly targets: readonly string[];
  readonly sources: readonly string[] = [];
  readonly path: string;
  readonly #fault: FaultTeller;
  readonly #volume: MirrorVolume;
  readonly #feed: MirrorFeedSource;
  readonly #again: BackOff;
  readonly #whenClosed: (() => void) | null;
  /** Something was written since the start: a table found on the volume is older. */
  #tableWritten = false;

  constructor(world: MirrorWorld, options: MirrorSourceOptions) {
    const { mirror, path, limitMs } = options;
    const to = parseAddress(options.feedAt);
    if (to === null)
      throw new HoldfastError('E_CONFIG', `heartbeat mirror ${mirror.mirror}: ${options.feedAt} is no address`);
    this.id = `mirror:${mirror.mirror}`;
    this.targets = [mirror.to];
    this.#fault = new FaultTeller(mirror.mirror);
    this.#volume = new MirrorVolume(world, options, (problem) => this.#fault.set('disk', problem));
    this.#again = new BackOff(world, () => void this.#open());
    this.#feed = new MirrorFeedSource(
      world,
      { to, identity: mirror, key: options.key, limitMs },
      {
        connected: (sequences) => {
          for (const region of ['message', 'table'] as const) this.#volume.raiseSequence(region, sequences[region]);
          if (sequences.table === 0) this.#carryStoredTable();
        },
        problem: (text) => this.#fault.set('feed', text),
      },
    );
    this.path = path;
    this.#whenClosed = options.closed ?? null;
  }

  start(events: ChannelEvents): void {
    this.#fault.start(events);
    void this.#open();
    this.#feed.start();
  }

  send(_to: string, message: Uint8Array): void {
    this.#write('message', message.slice(), () => {});
  }

  /** Resolves when it is on the primary; the secondary follows as soon as it can. Rejects with what the disk said. */
  writeTable(table: Uint8Array): Promise<void> {
    this.#tableWritten = true;
    return new Promise((resolve, reject) => {
      this.#write('table', table.slice(), (outcome) => {
        if (outcome.kind === 'failed') reject(new HoldfastError('E_IO', outcome.problem));
        else resolve();
      });
    });
  }

  async readTable(): Promise<Uint8Array | null> {
    await this.#volume.open();
    return this.#volume.newest('table')?.payload ?? null;
  }

  async close(): Promise<void> {
    this.#whenClosed?.();
    this.#fault.close();
    this.#again.cancel();
    this.#feed.close();
    await this.#volume.close();
  }

  async #open(): Promise<void> {
    await this.#volume.open();
    if (this.#volume.problem !== null) return this.#again.failed();
  }

  #write(region: RegionName, payload: Uint8Array, done: (outcome: WriteOutcome) => void): void {
    this.#volume.write(region, payload, (outcome) => {
      // Not what the caller gave, but what the primary holds.
      if (outcome.kind === 'written') this.#feed.carry(region, outcome.slot.payload);
      done(outcome);
    });
  }

  /** The secondary is a new one: it gets what the primary kept. */
  #carryStoredTable(): void {
    const stored = this.#volume.newest('table');
    if (stored !== null && !this.#tableWritten) this.#feed.carry('table', stored.payload);
  }
}

export class MirrorTargetChannel implements Channel, MirrorTable {
  readonly id: string;
  readonly kind = 'mirror';
  readonly targets: readonly string[] = [];
  readonly sources: readonly string[];
  readonly path: string;
  readonly #mirror: FeedIdentity;
  readonly #fault: FaultTeller;
  readonly #volume: MirrorVolume;
  readonly #listener: MirrorFeedListener;
  readonly #again: BackOff;
  #events: ChannelEvents | null = null;

  constructor(world: MirrorWorld, options: MirrorOptions & { readonly listener: MirrorFeedListener }) {
    const { mirror, path, listener } = options;
    this.id = `mirror:${mirror.mirror}`;
    this.sources = [mirror.from];
    this.path = path;
    this.#mirror = mirror;
    this.#listener = listener;
    this.#fault = new FaultTeller(mirror.mirror);
    this.#volume = new MirrorVolume(world, options, (problem) => this.#fault.set('disk', problem));
    this.#again = new BackOff(world, () => void this.#open());
  }

  start(events: ChannelEvents): void {
    this.#events = events;
    this.#fault.start(events);
    void this.#open();
    this.#listener.add({
      identity: this.#mirror,
      sequences: () => ({
        message: this.#volume.newest('message')?.sequence ?? 0,
        table: this.#volume.newest('table')?.sequence ?? 0,
      }),
      arrived: (region, payload, remote, answer) => this.#arrived(region, payload, remote, answer),
      listening: (problem) => this.#fault.set('feed', problem),
    });
  }

  /** A mirror goes one way: there is nobody it could be sent to. */
  send(): void {}

  async readTable(): Promise<Uint8Array | null> {
    await this.#volume.open();
    return this.#volume.newest('table')?.payload ?? null;
  }

  async close(): Promise<void> {
    this.#fault.close();
    this.#again.cancel();
    this.#listener.remove(this.#mirror.mirror);
    this.#events = null;
    await this.#volume.close();
  }

  async #open(): Promise<void> {
    await this.#volume.open();
    if (this.#volume.problem !== null) return this.#again.failed();
  }

  #arrived(region: RegionName, payload: Uint8Array, remote: string, answer: (problem: string | null) => void): void {
    this.#volume.write(region, payload, (outcome) => {
      switch (outcome.kind) {
        case 'written':
          answer(null);
          if (region === 'message') this.#events?.received(outcome.slot.payload, remote);
          else this.#events?.tableArrived?.();
          return;
        case 'failed':
          return answer(outcome.problem);
        case 'replaced':
          return answer('a newer one took its place');
      }
    });
  }
}

/** One sentence for what is broken, told when it changes. */
class FaultTeller {
  readonly #mirror: string;
  readonly #problems: Record<'disk' | 'feed', string | null> = { disk: null, feed: null };
  #events: ChannelEvents | null = null;
  #told: string | null = null;

  constructor(mirror: string) {
    this.#mirror = mirror;
  }

  start(events: ChannelEvents): void {
    this.#events = events;
  }

  close(): void {
    this.#events = null;
  }

  set(part: 'disk' | 'feed', problem: string | null): void {
    this.#problems[part] = problem;
    const found = this.#problems.disk ?? this.#problems.feed;
    const fault = found === null ? null : `heartbeat mirror ${this.#mirror}: ${found}`;
    if (fault === this.#told || this.#events === null) return;
    this.#told = fault;
    this.#events.fault(fault);
  }
}
