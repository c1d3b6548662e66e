/**
 * The targets' end of heartbeat mirrors' replication: one listener for all mirrors to this node, at its `heartbeat` address.
 * Whoever connects must first show that he knows the cluster's key and name a mirror that is installed here, from the node
 * that feeds it; all others are refused and counted (BY-6). It goes on trying to listen for as long as it lives.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import type { Address, ByteStream, Listener, StreamEvents } from '../base/network.ts';
import { BackOff } from './back-off.ts';
import {
  encodePlain,
  encodeSigned,
  FeedDecoder,
  FeedKeys,
  feedVersion,
  isSigned,
  nonceBytes,
} from './mirror-feed.ts';
import type { FeedFrame, FeedIdentity } from './mirror-feed.ts';
import type { RegionName } from './mirror-slot.ts';

/** A mirror of which this node is the target. */
export interface FeedTarget {
  readonly identity: FeedIdentity;
  /** Sequence numbers that the secondary holds. */
  sequences(): Readonly<Record<RegionName, number>>;
  /** A block has arrived; `answer` with what is wrong, or null when it is written and read back. */
  arrived(region: RegionName, payload: Uint8Array, remote: string, answer: (problem: string | null) => void): void;
  /** Why nothing can be fed to this node at all; null when that is over. */
  listening(problem: string | null): void;
}

/** What was refused, since the start. */
export interface FeedRefusals {
  wrongKey: number;
  unknownMirror: number;
  /** Bytes that are no frames, frames at the wrong time, writes with a wrong MAC. */
  breaches: number;
  /** Greetings that were not over in time, or too many at once. */
  greetings: number;
}

/** Connections that have not shown yet that they know the key. */
const greetingsMax = 16;
const greetingMs = 5000;

export class MirrorFeedListener {
  readonly refused: FeedRefusals = { wrongKey: 0, unknownMirror: 0, breaches: 0, greetings: 0 };
  readonly #world: Pick<Environment, 'clock' | 'random' | 'network' | 'log'>;
  readonly #at: Address;
  readonly #key: Uint8Array;
  readonly #targets = new Map<string, FeedTarget>();
  readonly #greeting = new Set<Feed>();
  /** By mirror; a new one takes the place of the old one, which its source has given up. */
  readonly #feeds = new Map<string, Feed>();
  readonly #again: BackOff;
  #listener: Listener | null = null;
  #problem: string | null = null;
  #closed = false;

  constructor(world: Pick<Environment, 'clock' | 'random' | 'network' | 'log'>, at: Address, key: Uint8Array) {
    this.#world = world;
    this.#at = at;
    this.#key = key;
    this.#again = new BackOff(world, () => void this.#listen());
  }

  /** Where it really listens; null: it does not yet. */
  get address(): Address | null {
    return this.#listener?.address ?? null;
  }

  start(): void {
    void this.#listen();
  }

  add(target: FeedTarget): void {
    this.#targets.set(target.identity.mirror, target);
    target.listening(this.#problem);
  }

  /** Its connection ends; those of other mirrors go on (HM-10). */
  remove(mirror: string): void {
    this.#targets.delete(mirror);
    this.#feeds.get(mirror)?.end();
    this.#feeds.delete(mirror);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#again.cancel();
    for (const feed of [...this.#greeting, ...this.#feeds.values()]) feed.end();
    await this.#listener?.close();
  }

  async #listen(): Promise<void> {
    if (this.#closed) return;
    try {
      const listener = await this.#world.network.listen(this.#at, (stream) => this.#accept(stream));
      if (this.#closed) return await listener.close();
      this.#listener = listener;
      this.#tell(null);
    } catch (error) {
      this.#tell(messageOf(error));
      this.#again.failed();
    }
  }

  #tell(problem: string | null): void {
    this.#problem = problem;
    for (const target of this.#targets.values()) target.listening(problem);
  }

  #accept(stream: ByteStream): StreamEvents {
    const feed = new Feed(stream, this.#key, this.#world.random.bytes(nonceBytes), {
      known: (identity) => this.#targetOf(identity),
      accepted: (target) => {
        this.#greeting.delete(feed);
        timer.cancel();
        this.#feeds.get(target.identity.mirror)?.end();
        this.#feeds.set(target.identity.mirror, feed);
      },
      refused: (kind, detail) => {
        this.refused[kind]++;
        this.#world.log.warn(`heartbeat mirrors: ${stream.remote}: ${detail}`);
      },
    });
    const timer: Timer = this.#world.clock.after(greetingMs, () => {
      this.refused.greetings++;
      feed.end();
    });
    if (this.#closed || this.#greeting.size >= greetingsMax) {
      this.refused.greetings++;
      timer.cancel();
      stream.destroy();
      return { received() {}, closed() {} };
    }
    this.#greeting.add(feed);
    feed.greet();
    return {
      received: (chunk) => feed.push(chunk),
      closed: () => {
        timer.cancel();
        feed.end();
        this.#greeting.delete(feed);
        for (const [mirror, other] of this.#feeds) if (other === feed) this.#feeds.delete(mirror);
      },
    };
  }

  #targetOf({ mirror, from, to }: FeedIdentity): FeedTarget | null {
    const target = this.#targets.get(mirror);
    return target?.identity.from === from && target.identity.to === to ? target : null;
  }
}

interface FeedOwner {
  known(identity: FeedIdentity): FeedTarget | null;
  accepted(target: FeedTarget): void;
  refused(kind: keyof FeedRefusals, detail: string): void;
}

/** One connection from a source. */
class Feed {
  readonly #stream: ByteStream;
  readonly #key: Uint8Array;
  readonly #nonce: Uint8Array;
  readonly #owner: FeedOwner;
  readonly #decoder: FeedDecoder;
  #keys: FeedKeys | null = null;
  #target: FeedTarget | null = null;
  #lastNumber = 0;
  #ended = false;

  constructor(stream: ByteStream, key: Uint8Array, nonce: Uint8Array, owner: FeedOwner) {
    this.#stream = stream;
    this.#key = key;
    this.#nonce = nonce;
    this.#owner = owner;
    this.#decoder = new FeedDecoder(
      (frame, signed) => this.#received(frame, signed),
      (reason) => this.#breach(reason),
    );
  }

  greet(): void {
    this.#stream.send([encodePlain({ type: 'challenge', version: feedVersion, nonce: this.#nonce })]);
  }

  push(chunk: Uint8Array): void {
    this.#decoder.push(chunk);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#decoder.end();
    this.#stream.destroy();
  }

  #received(frame: FeedFrame, signed: Uint8Array): void {
    if (frame.type === 'hello' && this.#keys === null) this.#greeted(frame, signed);
    else if (frame.type === 'write' && this.#target !== null) this.#write(frame, signed, this.#target);
    else this.#breach(`a ${frame.type} at the wrong time`);
  }

  #greeted(frame: Extract<FeedFrame, { type: 'hello' }>, signed: Uint8Array): void {
    const keys = new FeedKeys(this.#key, this.#nonce, frame.nonce);
    this.#keys = keys;
    if (!isSigned(frame, signed, keys.signHello))
      return this.#refuse('wrongKey', 'it does not know the key of the cluster');
    const { mirror, from, to } = frame.identity;
    const target = this.#owner.known(frame.identity);
    if (target === null)
      return this.#refuse('unknownMirror', `no mirror ${mirror} from ${from} to ${to} is installed`);
    this.#target = target;
    this.#owner.accepted(target);
    this.#decoder.allowBlocks();
    this.#stream.send([encodeSigned({ type: 'welcome', sequences: target.sequences() }, keys.signWelcome)]);
  }

  #write(frame: Extract<FeedFrame, { type: 'write' }>, signed: Uint8Array, target: FeedTarget): void {
    const keys = this.#keys;
    if (keys === null || !isSigned(frame, signed, keys.signWrite) || frame.number <= this.#lastNumber) {
      return this.#breach('a write that is not of the source');
    }
    const { number } = frame;
    this.#lastNumber = number;
    target.arrived(frame.region, frame.payload, this.#stream.remote, (problem) => {
      if (!this.#ended) this.#stream.send([encodeSigned({ type: 'answer', number, problem }, keys.signAnswer)]);
    });
  }

  /** Says why, so that the other side's administrator can read it, and closes when that is sent. */
  #refuse(kind: keyof FeedRefusals, text: string): void {
    this.#owner.refused(kind, text);
    this.#ended = true;
    this.#decoder.end();
    this.#stream.send([encodePlain({ type: 'refused', text })]);
    this.#stream.end();
  }

  #breach(reason: string): void {
    if (this.#ended) return;
    this.#owner.refused('breaches', reason);
    this.end();
  }
}
