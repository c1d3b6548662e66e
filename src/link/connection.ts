/**
 * One connection to another node: frames over one byte stream, from the first byte to the last. It says when it is idle,
 * notices when the peer is silent, and ends at the first breach of the protocol. Who the peer may be, and what messages
 * mean, is its owner's business.
 *
 * Silence is counted in ticks of the table, not on the clock: a process that was stopped for a minute has not listened
 * for a minute, and must not take its own absence for the peer's.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { ByteStream, StreamEvents } from '../base/network.ts';
import type { EndTask, Turn } from '../base/turn.ts';
import { FrameDecoder, fullLimits, type Frame } from './frame.ts';
import type { LinkConnection } from './link.ts';
import { encodeRefused, type RefusalCode } from './messages/handshake.ts';
import { jsonBytesMax } from './messages/json.ts';
import { decodeToken, encodePing, encodePong } from './messages/liveness.ts';
import { messageNames, MessageType } from './messages/types.ts';

type State =
  /** Being established, or established and not yet known to be the right peer's. */
  | 'greeting'
  /** The handshake has succeeded. */
  | 'up'
  /** Nothing is sent or delivered any more; the stream may still carry the last words. */
  | 'closed';

/** What the handshake tells of the peer. */
export interface PeerFacts {
  readonly peer: string;
  readonly peerIncarnation: string;
  readonly peerBootId: string;
  readonly peerSoftwareVersion: string;
  readonly features: readonly string[];
  readonly index: number;
}

export interface ConnectionOwner {
  readonly clock: Clock;
  readonly turn: Turn;
  /** The stream stands. */
  opened(connection: Connection): void;
  /** Everything but pings and pongs. */
  received(connection: Connection, frame: Frame): void;
  drained(connection: Connection): void;
  /** Once, from inside whatever ended it. */
  closed(connection: Connection, reason: string, wasUp: boolean): void;
  /** Once, after `closed`: the stream holds nothing of the operating system's any more. */
  gone(connection: Connection): void;
  breached(connection: Connection, rule: string, detail: string): void;
}

export interface Patience {
  readonly greetingTicks: number;
  readonly silenceTicks: number;
  readonly pingTicks: number;
}

/** Before the handshake nobody may make this node set aside memory. */
const greetingLimits = { controlBytesMax: jsonBytesMax, payloadBytesMax: 0 };

/** Pongs and replies, which flow control above does not see, find an end here when the peer asks but does not read. */
const unsentBytesMax = 256 * 1024 * 1024;

/** How long last words may take to leave. */
const farewellMs = 1000;

export class Connection implements LinkConnection, EndTask {
  readonly id: number;
  readonly direction: 'out' | 'in';
  /** The other end's address, for people. */
  readonly remote: string;
  lastHeardMs: number | null = null;
  readonly #owner: ConnectionOwner;
  readonly #decoder = new FrameDecoder(greetingLimits);
  #state: State = 'greeting';
  #facts: PeerFacts;
  #stream: ByteStream | null = null;
  #farewell: Timer | null = null;
  #readingPaused = false;
  /** Leaves at the end of this turn, or before what is sent sooner. */
  #gathered: Uint8Array[] = [];
  /** Ticks since it began (greeting), since anything was heard and since anything was sent (up). */
  #silentTicks = 0;
  #idleTicks = 0;
  #pingToken = 0;

  /** `facts`: as far as they are known before the handshake. */
  constructor(
    owner: ConnectionOwner,
    id: number,
    direction: 'out' | 'in',
    remote: string,
    facts: Partial<PeerFacts>,
  ) {
    this.#owner = owner;
    this.id = id;
    this.direction = direction;
    this.remote = remote;
    this.#facts = {
      peer: '',
      peerIncarnation: '',
      peerBootId: '',
      peerSoftwareVersion: '',
      features: [],
      index: 0,
      ...facts,
    };
  }

  /** Empty until known. */
  get peer(): string {
    return this.#facts.peer;
  }

  get peerIncarnation(): string {
    return this.#facts.peerIncarnation;
  }

  get peerBootId(): string {
    return this.#facts.peerBootId;
  }

  get peerSoftwareVersion(): string {
    return this.#facts.peerSoftwareVersion;
  }

  get features(): readonly string[] {
    return this.#facts.features;
  }

  get index(): number {
    return this.#facts.index;
  }

  get state(): State {
    return this.#state;
  }

  get unsentBytes(): number {
    return this.#state === 'closed' ? 0 : (this.#stream?.unsentBytes ?? 0);
  }

  /** Called once, with what the network made of `events`. */
  carry(stream: ByteStream): void {
    this.#stream = stream;
    if (this.#state === 'closed') stream.destroy();
  }

  readonly events: StreamEvents = {
    opened: () => {
      if (this.#state === 'greeting') this.#owner.opened(this);
    },
    space: () => this.#decoder.space(),
    received: (chunk) => this.#received(chunk),
    drained: () => {
      if (this.#state === 'up') this.#owner.drained(this);
    },
    closed: (reason) => {
      this.#finish(reason, null);
      this.#farewell?.cancel();
      this.#owner.gone(this);
    },
  };

  /** The handshake has succeeded: frames of every size, and time is counted anew. */
  becomeUp(facts: PeerFacts): void {
    this.#state = 'up';
    this.#facts = facts;
    this.#decoder.limits = fullLimits;
    this.#silentTicks = 0;
    this.lastHeardMs = this.#owner.clock.monotonicMs();
  }

  send(frame: readonly Uint8Array[]): void {
    if (this.#state === 'closed') return;
    this.#idleTicks = 0;
    if (this.#gathered.length > 0) this.endOfTurn();
    this.#stream?.send(frame);
  }

  gather(frame: readonly Uint8Array[]): void {
    if (this.#state === 'closed') return;
    this.#idleTicks = 0;
    if (this.#gathered.length === 0) this.#owner.turn.atEnd(this);
    this.#gathered.push(...frame);
  }

  endOfTurn(): void {
    const gathered = this.#gathered;
    this.#gathered = [];
    if (gathered.length > 0 && this.#state !== 'closed') this.#stream?.send([Buffer.concat(gathered)]);
  }

  /** For what the peer has asked for. */
  answer(frame: readonly Uint8Array[]): void {
    if (this.unsentBytes > unsentBytesMax) this.close(`${this.peer} does not read what it asks for`);
    else this.send(frame);
  }

  pauseReading(paused: boolean): void {
    this.#readingPaused = paused;
    if (this.#state !== 'closed') this.#stream?.pauseReading(paused);
  }

  close(reason: string): void {
    this.#finish(reason, null);
  }

  breach(rule: string, detail: string): void {
    if (this.#state === 'closed') return;
    this.#owner.breached(this, rule, detail);
    this.refuse('breach', `${rule}: ${detail}`);
  }

  /** Closes with last words; they are left unsaid when earlier ones still wait to be sent. */
  refuse(code: RefusalCode, message: string): void {
    this.#finish(message, this.unsentBytes > 0 ? null : encodeRefused({ code, message: message.slice(0, 4096) }));
  }

  /** Closes after what is queued has been sent. */
  end(reason: string): void {
    this.#finish(reason, []);
  }

  tick(patience: Patience): void {
    if (this.#state === 'closed') return;
    this.#silentTicks = this.#state === 'up' && this.#readingPaused ? 0 : this.#silentTicks + 1;
    if (this.#state === 'greeting') {
      if (this.#silentTicks > patience.greetingTicks) this.close(`no handshake with ${this.remote} in time`);
      return;
    }
    if (this.#silentTicks > patience.silenceTicks) {
      this.close(`nothing heard from ${this.peer} on this connection for too long`);
    } else if (++this.#idleTicks >= patience.pingTicks && this.unsentBytes === 0) {
      this.#pingToken = (this.#pingToken + 1) >>> 0;
      this.send(encodePing(this.#pingToken));
    }
  }

  #received(chunk: Uint8Array): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'up') {
      this.#silentTicks = 0;
      this.lastHeardMs = this.#owner.clock.monotonicMs();
    }
    this.#decoder.push(chunk);
    for (let frame = this.#decoder.next(); frame !== null; frame = this.#decoder.next()) {
      if ('breach' in frame) this.breach(frame.breach, frame.detail);
      else this.#deliver(frame);
      // Whoever got the frame may have closed the connection.
      if (this.state === 'closed') return;
    }
  }

  #deliver(frame: Frame): void {
    if (this.#state === 'up' && (frame.type === MessageType.ping || frame.type === MessageType.pong)) {
      const token = decodeToken(frame);
      if (!token.ok) this.breach('badMessage', `${messageNames.get(frame.type)}: ${token.reason}`);
      else if (frame.type === MessageType.ping) this.answer(encodePong(token.value));
    } else if (!messageNames.has(frame.type)) this.breach('unknownMessage', `type ${frame.type}`);
    else this.#owner.received(this, frame);
  }

  #finish(reason: string, lastWords: readonly Uint8Array[] | null): void {
    if (this.#state === 'closed') return;
    const wasUp = this.#state === 'up';
    if (lastWords !== null) this.endOfTurn();
    this.#state = 'closed';
    const stream = this.#stream;
    if (lastWords === null) stream?.destroy();
    else if (stream !== null) {
      if (lastWords.length > 0) stream.send(lastWords);
      stream.end();
      this.#farewell = this.#owner.clock.after(farewellMs, () => stream.destroy());
    }
    this.#owner.closed(this, reason, wasUp);
  }
}
