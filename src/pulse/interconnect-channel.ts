/**
 * Heartbeats on a dedicated way between two nodes of one site (AS-3): a serial device, a Unix socket or TCP. Each
 * message is acknowledged; who sent it is told by the message itself.
 *
 * What is a fault and what is silence (AS-6):
 *
 * | seen                                                         | means                                       |
 * |--------------------------------------------------------------|---------------------------------------------|
 * | the device cannot be opened, reads an error, loses carrier   | fault: cable or port                        |
 * | this node cannot listen at its address, or has no network    | fault: this end of the way is broken        |
 * | a connection is refused, is closed by the partner, times out | silence: a partner that died looks the same |
 * | nothing arrives                                              | silence                                     |
 * | the partner is heard, and acknowledges nothing               | fault: the way out is broken                |
 *
 * The way out stays faulty until something is acknowledged, even if the partner falls silent too: a line that is breaking
 * proves nothing.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import {
  formatAddress,
  parseAddress,
  type Address,
  type ByteStream,
  type Listener,
  type StreamEvents,
} from '../base/network.ts';
import { BackOff } from './back-off.ts';
import { channelBytesMax, type Channel, type ChannelEvents } from './channel.ts';
import { encodeLineFrame, LineDecoder, type LineFrame } from './framing.ts';
import type { Interconnect } from './settings.ts';

export type InterconnectWorld = Pick<Environment, 'clock' | 'random' | 'network' | 'datagrams'>;

export interface InterconnectOptions {
  readonly interconnect: Interconnect;
  readonly node: string;
  /** The other of the two nodes. */
  readonly peer: string;
  /** Of sockets: whether this node listens at its own address, or dials the one its partner has. */
  readonly role: 'listen' | 'dial';
  /** After so long without acknowledgement from a partner that is heard, the way out counts as broken; milliseconds. */
  readonly timeoutMs: number;
}

/** Where bytes come and go: the line, or one of the connections. */
interface Way {
  /** Null until the call that opens it has returned. */
  stream: ByteStream | null;
  open: boolean;
  /** Of the monotonic clock: a whole frame arrived, or else it was made. */
  heardMs: number;
}

/** Connections accepted at once: the partner's, one it has given up without our knowing, and strangers. */
const waysMax = 4;

/** The reason that `NodeStream` gives when this machine has no network to the partner's address. */
const noNetwork = 'no way to the network';

export class InterconnectChannel implements Channel {
  readonly id: string;
  readonly kind = 'interconnect';
  readonly targets: readonly string[];
  readonly sources: readonly string[];
  readonly #world: InterconnectWorld;
  readonly #options: InterconnectOptions;
  readonly #at: string;
  readonly #ways = new Set<Way>();
  readonly #again: BackOff;
  readonly #wayOut: WayOut;
  #events: ChannelEvents | null = null;
  #listener: Listener | null = null;
  /** Sent as soon as the line has taken what is before it. */
  #waiting: Uint8Array | null = null;
  #number = 0;
  /** Of ways that are gone, for `noise`. */
  readonly #noise = { damagedFrames: 0, damagedBytes: 0 };
  readonly #decoders = new Map<Way, LineDecoder>();
  #wayFault: string | null = null;
  #fault: string | null = null;
  #closed = false;

  constructor(world: InterconnectWorld, options: InterconnectOptions) {
    this.#world = world;
    this.#options = options;
    this.id = `interconnect:${options.interconnect.name}`;
    this.targets = [options.peer];
    this.sources = [options.peer];
    // Of sockets both ends name a place of their own; the one dialled is the listener's.
    const place = options.role === 'dial' && !isDevice(options) ? options.peer : options.node;
    this.#at = options.interconnect.at[place] ?? '';
    this.#again = new BackOff(world, () => this.#open());
    this.#wayOut = new WayOut(world.clock, options.timeoutMs, () => this.#tell());
  }

  /** What arrived that was no frame, since the start. */
  get noise(): { readonly damagedFrames: number; readonly damagedBytes: number } {
    const sum = { ...this.#noise };
    for (const { noise } of this.#decoders.values()) addNoise(sum, noise);
    return sum;
  }

  start(events: ChannelEvents): void {
    this.#events = events;
    this.#open();
  }

  send(_to: string, message: Uint8Array): void {
    if (this.#closed || message.length === 0 || message.length > channelBytesMax) return;
    this.#waiting = message.slice();
    this.#wayOut.look();
    this.#dropStale();
    this.#pump();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#again.cancel();
    this.#wayOut.close();
    for (const way of [...this.#ways]) way.stream?.destroy();
    await this.#listener?.close();
  }

  #open(): void {
    if (this.#closed) return;
    const address = parseAddress(this.#at);
    if (isDevice(this.#options)) this.#openDevice();
    else if (address === null) this.#tellWay(`${this.#at} is no address`);
    else if (this.#options.role === 'listen') void this.#listen(address);
    else this.#dial(address);
  }

  #openDevice(): void {
    this.#adopt(
      (events) => this.#world.datagrams.openSerial(this.#at, this.#options.interconnect.baudRate, events),
      (reason) => {
        this.#tellWay(`${this.#at}: ${reason}`);
        this.#again.failed();
      },
    );
  }

  #dial(address: Address): void {
    this.#adopt(
      (events) => this.#world.network.connect(address, events),
      (reason) => {
        this.#tellWay(reason === noNetwork ? `${formatAddress(address)}: ${reason}` : null);
        this.#again.failed();
      },
    );
  }

  async #listen(address: Address): Promise<void> {
    try {
      const listener = await this.#world.network.listen(address, (stream) => this.#accept(stream));
      if (this.#closed) return await listener.close();
      this.#listener = listener;
      this.#again.succeeded();
      this.#tellWay(null);
    } catch (error) {
      this.#tellWay(messageOf(error));
      this.#again.failed();
    }
  }

  /** A stranger may connect, but must not push the partner out: who was heard last stays. */
  #accept(stream: ByteStream): StreamEvents {
    if (this.#closed) stream.destroy();
    const longest = [...this.#ways].sort((one, other) => one.heardMs - other.heardMs)[0];
    if (this.#ways.size >= waysMax) longest?.stream?.destroy();
    const way = this.#newWay(stream);
    return this.#eventsOf(way, () => {});
  }

  #adopt(open: (events: StreamEvents) => ByteStream, gone: (reason: string) => void): void {
    const way = this.#newWay(null);
    way.stream = open(this.#eventsOf(way, gone));
  }

  #newWay(stream: ByteStream | null): Way {
    const way = { stream, open: stream !== null, heardMs: this.#world.clock.monotonicMs() };
    this.#ways.add(way);
    return way;
  }

  /**
   * A connection on which nothing has come for long is made anew: TCP would find out after a quarter of an hour that the
   * partner's machine has lost its power, and after an outage of the network it waits longer the longer that took.
   */
  #dropStale(): void {
    if (isDevice(this.#options)) return;
    const sinceMs = this.#world.clock.monotonicMs() - this.#options.timeoutMs;
    for (const way of [...this.#ways]) if (way.heardMs < sinceMs) way.stream?.destroy();
  }

  #eventsOf(way: Way, gone: (reason: string) => void): StreamEvents {
    const decoder = new LineDecoder((frame) => this.#received(way, frame));
    this.#decoders.set(way, decoder);
    return {
      opened: () => {
        way.open = true;
        this.#tellWay(null);
        this.#pump();
      },
      received: (chunk: Uint8Array) => {
        if (!this.#closed) decoder.push(chunk);
      },
      drained: () => this.#pump(),
      closed: (reason: string) => {
        this.#ways.delete(way);
        this.#decoders.delete(way);
        addNoise(this.#noise, decoder.noise);
        if (!this.#closed) gone(reason);
      },
    };
  }

  #received(way: Way, frame: LineFrame): void {
    way.heardMs = this.#world.clock.monotonicMs();
    // Not when it was opened: a device that opens and breaks at once would be opened without a pause.
    this.#again.succeeded();
    if (frame.kind === 'acknowledgement') return this.#wayOut.acknowledged(frame.number);
    this.#wayOut.heard();
    // On a line that is busy it is left out: the next message will be acknowledged.
    const { number } = frame;
    if (way.stream?.unsentBytes === 0) way.stream.send([encodeLineFrame({ kind: 'acknowledgement', number })]);
    this.#events?.received(frame.payload.slice(), way.stream?.remote ?? '');
  }

  /** The newest message goes to every way that has room; a line that has not taken the last one waits for `drained`. */
  #pump(): void {
    const payload = this.#waiting;
    if (payload === null) return;
    const free = [...this.#ways].filter((way) => way.open && way.stream?.unsentBytes === 0);
    if (free.length === 0) return;
    this.#waiting = null;
    this.#number = (this.#number + 1) % 0x1_0000_0000;
    const frame = encodeLineFrame({ kind: 'message', number: this.#number, payload });
    for (const way of free) way.stream?.send([frame]);
    this.#wayOut.sent(this.#number);
  }

  #tellWay(problem: string | null): void {
    this.#wayFault = problem;
    this.#tell();
  }

  #tell(): void {
    const { name } = this.#options.interconnect;
    const problem = this.#wayFault ?? this.#wayOut.problem;
    const fault = problem === null ? null : `interconnect ${name}: ${problem}`;
    if (fault === this.#fault || this.#closed) return;
    this.#fault = fault;
    this.#events?.fault(fault);
  }
}

/** Whether what we send arrives, as far as acknowledgements tell. */
class WayOut {
  problem: string | null = null;
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #changed: () => void;
  /** When the first message was sent that nothing was acknowledged after; null: none was. */
  #unansweredMs: number | null = null;
  #firstUnanswered = 0;
  #heardMs: number | null = null;
  #timer: Timer | null = null;

  constructor(clock: Clock, limitMs: number, changed: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#changed = changed;
  }

  sent(number: number): void {
    if (this.#unansweredMs !== null) return;
    this.#unansweredMs = this.#clock.monotonicMs();
    this.#firstUnanswered = number;
    this.#timer = this.#clock.after(this.#limitMs, () => this.look());
  }

  /** An older number is an answer that was under way: it proves nothing about now. */
  acknowledged(number: number): void {
    if (
      this.#unansweredMs === null ||
      (number - this.#firstUnanswered + 0x1_0000_0000) % 0x1_0000_0000 >= 0x8000_0000
    )
      return;
    this.#unansweredMs = null;
    this.#timer?.cancel();
    this.#become(null);
  }

  heard(): void {
    this.#heardMs = this.#clock.monotonicMs();
    this.look();
  }

  look(): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#unansweredMs === null || this.#heardMs === null) return;
    if (nowMs - this.#unansweredMs < this.#limitMs || nowMs - this.#heardMs >= this.#limitMs) return;
    this.#become('the partner is heard, but acknowledges nothing: the way out is broken');
  }

  close(): void {
    this.#timer?.cancel();
  }

  #become(problem: string | null): void {
    if (problem === this.problem) return;
    this.problem = problem;
    this.#changed();
  }
}

function isDevice({ interconnect, node }: InterconnectOptions): boolean {
  return interconnect.at[node]?.startsWith('/') === true;
}

function addNoise(sum: { damagedFrames: number; damagedBytes: number }, more: typeof sum): void {
  sum.damagedFrames += more.damagedFrames;
  sum.damagedBytes += more.damagedBytes;
}
