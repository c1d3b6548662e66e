/**
 * The measuring client of drills (BY-11): one session to each node that may serve a volume, and one read of its first block on
 * each every 20 ms, as a host with several paths would see it. Whatever ends a session, it connects again. It never writes.
 *
 * What it measures is the longest time between two answers, on whichever path they came.
 */
import type { DrillProbe } from '../agent/drill.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Address, ByteStream, Network } from '../base/network.ts';
import {
  Command,
  HandshakeFlag,
  Option,
  optionMagicHigh,
  optionMagicLow,
  OptionReply,
  requestHeaderBytes,
  requestMagic,
  serverMagicHigh,
  simpleReplyBytes,
  simpleReplyMagic,
} from '../hosts/nbd/wire.ts';

const everyMs = 20;
/** A session that owes an answer for so long is given up; also one that does not come about. */
const patienceMs = 2000;
/** While another path answers; else every `everyMs`. */
const idleRetryMs = 500;
const blockBytes = 4096;
/** Option replies are a few hundred bytes: whoever sends more is no server of ours. */
const pendingBytesMax = 64 * 1024;

export class NbdProbe implements DrillProbe {
  readonly #clock: Clock;
  readonly #paths: readonly Path[];
  #ticker: Timer | null = null;
  #answers = 0;
  #lastMs = -Infinity;
  #markMs = -Infinity;
  #longest: DrillProbe['longest'] = null;

  constructor(options: {
    readonly clock: Clock;
    readonly network: Network;
    readonly volume: string;
    readonly addresses: readonly Address[];
  }) {
    const { clock, network, volume, addresses } = options;
    this.#clock = clock;
    this.#paths = addresses.map((address) => new Path({ clock, network, volume, address }, () => this.#answered()));
  }

  get answers(): number {
    return this.#answers;
  }

  get silentMs(): number {
    return this.#clock.monotonicMs() - this.#lastMs;
  }

  get longest(): DrillProbe['longest'] {
    return this.#longest;
  }

  mark(): void {
    this.#answers = 0;
    this.#longest = null;
    // The pause may have begun with the last answer before.
    this.#markMs = this.#lastMs;
  }

  start(): void {
    if (this.#ticker !== null) return;
    this.#lastMs = -Infinity;
    this.#markMs = -Infinity;
    this.#tick();
  }

  stop(): void {
    this.#ticker?.cancel();
    this.#ticker = null;
    for (const path of this.#paths) path.close();
  }

  #tick(): void {
    this.#ticker = this.#clock.after(everyMs, () => this.#tick());
    const retryMs = this.silentMs > 3 * everyMs ? everyMs : idleRetryMs;
    for (const path of this.#paths) path.look(retryMs);
  }

  #answered(): void {
    if (this.#ticker === null) return;
    const now = this.#clock.monotonicMs();
    const lengthMs = now - this.#lastMs;
    this.#answers++;
    if (this.#lastMs >= this.#markMs && Number.isFinite(lengthMs) && lengthMs > (this.#longest?.lengthMs ?? 0))
      this.#longest = { lengthMs, endedAtMs: this.#clock.wallMs() };
    this.#lastMs = now;
  }
}

interface PathOptions {
  readonly clock: Clock;
  readonly network: Network;
  readonly volume: string;
  readonly address: Address;
}

/** A session to one address, or the time between two. */
class Path {
  readonly #options: PathOptions;
  readonly #answered: () => void;
  #stream: ByteStream | null = null;
  #phase: 'greeting' | 'haggling' | 'reading' = 'greeting';
  #pending: Buffer = Buffer.alloc(0);
  /** A read is under way. */
  #owed = false;
  /** When it was connected, asked, or lost, whichever was last; monotonic. */
  #sinceMs = -Infinity;

  constructor(options: PathOptions, answered: () => void) {
    this.#options = options;
    this.#answered = answered;
  }

  look(retryMs: number): void {
    const now = this.#options.clock.monotonicMs();
    const sinceMs = now - this.#sinceMs;
    if (this.#stream === null) {
      if (sinceMs >= retryMs) this.#connect(now);
      return;
    }
    if ((this.#owed || this.#phase !== 'reading') && sinceMs > patienceMs) this.close();
    else if (this.#phase === 'reading' && !this.#owed) this.#read(now);
  }

  close(): void {
    const stream = this.#stream;
    this.#stream = null;
    this.#sinceMs = this.#options.clock.monotonicMs();
    stream?.destroy();
  }

  #connect(now: number): void {
    const { network, address } = this.#options;
    this.#sinceMs = now;
    this.#phase = 'greeting';
    this.#pending = Buffer.alloc(0);
    this.#owed = false;
    const stream: ByteStream = network.connect(address, {
      received: (chunk) => {
        if (this.#stream === stream) this.#received(chunk);
      },
      closed: () => {
        if (this.#stream === stream) this.close();
      },
    });
    this.#stream = stream;
  }

  #read(now: number): void {
    const header = Buffer.alloc(requestHeaderBytes);
    header.writeUInt32BE(requestMagic, 0);
    header.writeUInt16BE(Command.read, 6);
    header.writeUInt32BE(blockBytes, 24);
    this.#owed = true;
    this.#sinceMs = now;
    this.#stream?.send([header]);
  }

  #received(chunk: Uint8Array): void {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    while (this.#stream !== null && this.#step()) continue;
    if (this.#pending.length > pendingBytesMax) this.close();
  }

  /** One message; false when it is not whole yet. */
  #step(): boolean {
    switch (this.#phase) {
      case 'greeting':
        return this.#greeted();
      case 'haggling':
        return this.#haggled();
      case 'reading':
        return this.#replied();
    }
  }

  #greeted(): boolean {
    const bytes = this.#take(18);
    if (bytes === null) return false;
    if (bytes.readUInt32BE(0) !== serverMagicHigh) {
      this.close();
      return false;
    }
    const name = Buffer.from(this.#options.volume);
    const hello = Buffer.alloc(26 + name.length);
    hello.writeUInt32BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 0);
    hello.writeUInt32BE(optionMagicHigh, 4);
    hello.writeUInt32BE(optionMagicLow, 8);
    hello.writeUInt32BE(Option.go, 12);
    hello.writeUInt32BE(name.length + 6, 16);
    hello.writeUInt32BE(name.length, 20);
    name.copy(hello, 24); // Followed by a count of zero information requests.
    this.#stream?.send([hello]);
    this.#phase = 'haggling';
    return true;
  }

  #haggled(): boolean {
    if (this.#pending.length < 20) return false;
    const bytes = this.#take(20 + this.#pending.readUInt32BE(16));
    if (bytes === null) return false;
    const type = bytes.readUInt32BE(12);
    if (type === OptionReply.ack) {
      this.#phase = 'reading';
      this.#read(this.#options.clock.monotonicMs());
    } else if (type !== OptionReply.info) this.close(); // Not served here, or not now.
    return true;
  }

  #replied(): boolean {
    if (this.#pending.length < simpleReplyBytes) return false;
    const failed = this.#pending.readUInt32BE(4) !== 0;
    const magic = this.#pending.readUInt32BE(0);
    const bytes = this.#take(failed ? simpleReplyBytes : simpleReplyBytes + blockBytes);
    if (bytes === null) return false;
    this.#owed = false;
    if (magic !== simpleReplyMagic) this.close();
    else if (!failed) this.#answered();
    return true;
  }

  #take(length: number): Buffer | null {
    if (this.#pending.length < length) return null;
    const bytes = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return bytes;
  }
}
