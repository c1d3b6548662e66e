/**
 * The source's end of a heartbeat mirror's replication: dials the target for ever, shows that it knows the cluster's key,
 * and carries the newest block of each region. While one is under way, newer ones take the place of the one that waits;
 * when the connection ends, what was under way is sent again on the next one, unless it is replaced.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import type { Address, ByteStream } from '../base/network.ts';
import { BackOff } from './back-off.ts';
import { encodeSigned, FeedDecoder, FeedKeys, feedVersion, isSigned, nonceBytes } from './mirror-feed.ts';
import type { FeedFrame, FeedIdentity } from './mirror-feed.ts';
import type { RegionName } from './mirror-slot.ts';

export type FeedWorld = Pick<Environment, 'clock' | 'random' | 'network'>;

export interface FeedSourceEvents {
  /** Sequence numbers that the secondary holds. */
  connected(sequences: Readonly<Record<RegionName, number>>): void;
  /** Why the newest blocks do not get to the secondary: no connection for long, or what it answered; null: they do. */
  problem(text: string | null): void;
}

const noAnswer = 'no answer';

interface Lane {
  waiting: Uint8Array | null;
  underWay: { readonly number: number; readonly payload: Uint8Array } | null;
}

export class MirrorFeedSource {
  readonly #world: FeedWorld;
  readonly #to: Address;
  readonly #identity: FeedIdentity;
  readonly #key: Uint8Array;
  /**
   * Nothing written at the secondary for so long is a problem. A connection gets twice the time, so that a target whose
   * disk hangs can say so. Milliseconds.
   */
  readonly #limitMs: number;
  readonly #events: FeedSourceEvents;
  readonly #again: BackOff;
  readonly #lanes: Readonly<Record<RegionName, Lane>> = {
    message: { waiting: null, underWay: null },
    table: { waiting: null, underWay: null },
  };
  #stream: ByteStream | null = null;
  #decoder: FeedDecoder | null = null;
  #keys: FeedKeys | null = null;
  #isUp = false;
  #number = 0;
  /** Runs while something is under way, or a greeting. */
  #patience: Timer | null = null;
  /** Runs from the first block that was not written at the secondary to the first one that is. */
  #overdue: Timer | null = null;
  /** Why the last connection ended, or could not be made. */
  #reason = noAnswer;
  #closed = false;

  constructor(
    world: FeedWorld,
    { to, identity, key, limitMs }: { to: Address; identity: FeedIdentity; key: Uint8Array; limitMs: number },
    events: FeedSourceEvents,
  ) {
    this.#world = world;
    this.#to = to;
    this.#identity = identity;
    this.#key = key;
    this.#limitMs = limitMs;
    this.#events = events;
    this.#again = new BackOff(world, () => this.#dial());
  }

  start(): void {
    this.#dial();
  }

  /** The newest of its region. */
  carry(region: RegionName, payload: Uint8Array): void {
    this.#lanes[region].waiting = payload;
    this.#overdue ??= this.#world.clock.after(this.#limitMs, () => {
      this.#events.problem(
        `nothing has been written at ${this.#identity.to} for ${this.#limitMs} ms: ${this.#reason}`,
      );
    });
    this.#pump(region);
  }

  close(): void {
    this.#closed = true;
    this.#again.cancel();
    this.#patience?.cancel();
    this.#overdue?.cancel();
    this.#stream?.destroy();
  }

  #dial(): void {
    if (this.#closed) return;
    const decoder = new FeedDecoder(
      (frame, signed) => this.#received(frame, signed, decoder),
      (reason) => this.#giveUp(reason),
    );
    this.#beginPatience('no connection, or no greeting');
    const stream = this.#world.network.connect(this.#to, {
      received: (chunk) => {
        if (this.#stream === stream) decoder.push(chunk);
      },
      closed: (reason) => {
        if (this.#stream === stream) this.#giveUp(reason);
      },
    });
    this.#decoder = decoder;
    this.#stream = stream;
  }

  #received(frame: FeedFrame, signed: Uint8Array, decoder: FeedDecoder): void {
    switch (frame.type) {
      case 'challenge':
        return this.#challenged(frame.version, frame.nonce);
      case 'welcome':
        if (this.#isUp || this.#keys === null || !isSigned(frame, signed, this.#keys.signWelcome)) {
          return this.#giveUp('the other side does not know the key of the cluster');
        }
        decoder.allowBlocks();
        return this.#welcomed(frame.sequences);
      case 'refused':
        return this.#giveUp(`refused: ${frame.text}`);
      case 'answer':
        if (!this.#isUp || this.#keys === null || !isSigned(frame, signed, this.#keys.signAnswer)) {
          return this.#giveUp('an answer that is not of the other side');
        }
        return this.#answered(frame.number, frame.problem);
      case 'hello':
      case 'write':
        return this.#giveUp(`a ${frame.type} from the target`);
    }
  }

  #challenged(version: number, challengeNonce: Uint8Array): void {
    if (this.#keys !== null) return this.#giveUp('a second challenge');
    if (version !== feedVersion) {
      return this.#giveUp(`the other side speaks version ${version} of heartbeat mirrors, this one ${feedVersion}`);
    }
    const nonce = this.#world.random.bytes(nonceBytes);
    this.#keys = new FeedKeys(this.#key, challengeNonce, nonce);
    this.#stream?.send([encodeSigned({ type: 'hello', nonce, identity: this.#identity }, this.#keys.signHello)]);
  }

  #welcomed(sequences: Readonly<Record<RegionName, number>>): void {
    this.#isUp = true;
    this.#reason = noAnswer;
    this.#again.succeeded();
    this.#patience?.cancel();
    this.#patience = null;
    this.#events.connected(sequences);
    this.#pump('message');
    this.#pump('table');
  }

  #pump(region: RegionName): void {
    const lane = this.#lanes[region];
    const { waiting: payload } = lane;
    if (!this.#isUp || this.#keys === null || payload === null || lane.underWay !== null) return;
    lane.waiting = null;
    const number = ++this.#number;
    lane.underWay = { number, payload };
    this.#stream?.send([encodeSigned({ type: 'write', number, region, payload }, this.#keys.signWrite)]);
    this.#beginPatience('the other side does not answer');
  }

  #answered(number: number, problem: string | null): void {
    const region = (['message', 'table'] as const).find((name) => this.#lanes[name].underWay?.number === number);
    if (region === undefined) return this.#giveUp(`an answer to ${number}, which is not under way`);
    const lane = this.#lanes[region];
    this.#patience?.cancel();
    this.#patience = null;
    // A table is written seldom: what failed must not be missing until the next one.
    if (problem !== null && region === 'table') lane.waiting ??= lane.underWay?.payload ?? null;
    lane.underWay = null;
    if (problem === null) {
      this.#overdue?.cancel();
      this.#overdue = null;
      this.#events.problem(null);
    } else {
      this.#reason = problem;
      this.#events.problem(`${this.#identity.to}: ${problem}`);
    }
    if (Object.values(this.#lanes).some((other) => other.underWay !== null)) {
      this.#beginPatience('the other side does not answer');
    }
    if (problem === null || region === 'message') this.#pump(region);
    if (region === 'message' && problem === null) this.#pump('table');
  }

  #beginPatience(reason: string): void {
    this.#patience ??= this.#world.clock.after(2 * this.#limitMs, () => {
      this.#patience = null;
      this.#giveUp(reason);
    });
  }

  /** Once per connection: what its stream says afterwards is not listened to any more. */
  #giveUp(reason: string): void {
    const stream = this.#stream;
    if (stream === null || this.#closed) return;
    this.#stream = null;
    this.#decoder?.end();
    this.#keys = null;
    this.#isUp = false;
    this.#reason = reason;
    this.#patience?.cancel();
    this.#patience = null;
    for (const lane of Object.values(this.#lanes)) {
      lane.waiting ??= lane.underWay?.payload ?? null;
      lane.underWay = null;
    }
    stream.destroy();
    this.#again.failed();
  }
}
