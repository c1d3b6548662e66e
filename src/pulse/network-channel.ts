/**
 * Heartbeats by UDP (HM-2). A node may have several addresses, each on a path of its own: a message goes from every
 * socket of ours to every address of the receiver, and hearing one copy is hearing it. The copies of one message are told
 * from repetitions of somebody else's here, so that a receiver sees each message once.
 *
 * The channel has a fault only while no socket of it can be opened: one dead path of several must not make the silence
 * of the others worthless. How single paths are, `paths` tells.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import { formatAddress, type DatagramSocket, type HostPort } from '../base/network.ts';
import type { Channel, ChannelEvents } from './channel.ts';

export const networkChannelId = 'network';

export interface NetworkChannelOptions {
  /** Own addresses: each gets a socket. */
  readonly listen: readonly HostPort[];
  readonly peers: readonly { readonly node: string; readonly addresses: readonly HostPort[] }[];
}

/** One address of a peer. */
export interface PulsePath {
  readonly node: string;
  /** `host:port` */
  readonly address: string;
  /** Since something came from there, believed or not; null: never. */
  readonly silentMs: number | null;
}

const bindRetryMs = 1000;
/** Messages whose copies are known; far more than come within the time that paths differ by. */
const recentMax = 128;

export class NetworkChannel implements Channel {
  readonly id = networkChannelId;
  readonly kind = 'network';
  readonly targets: readonly string[];
  readonly sources: readonly string[];
  readonly #environment: Environment;
  readonly #options: NetworkChannelOptions;
  readonly #clock: Clock;
  readonly #addresses = new Map<string, readonly HostPort[]>();
  readonly #sockets = new Map<HostPort, DatagramSocket>();
  readonly #problems = new Map<HostPort, string>();
  readonly #retries = new Set<Timer>();
  /** By `host:port`. */
  readonly #heardMs = new Map<string, number | null>();
  /** Messages, oldest first. */
  readonly #recent = new Set<string>();
  #fault: string | null = null;
  #closed = false;

  constructor(environment: Environment, options: NetworkChannelOptions) {
    this.#environment = environment;
    this.#clock = environment.clock;
    this.#options = options;
    for (const { node, addresses } of options.peers) {
      this.#addresses.set(node, addresses);
      for (const address of addresses) this.#heardMs.set(textOf(address), null);
    }
    this.targets = options.peers.filter(({ addresses }) => addresses.length > 0).map(({ node }) => node);
    this.sources = this.targets;
  }

  start(events: ChannelEvents): void {
    for (const at of this.#options.listen) void this.#bind(at, events);
  }

  send(to: string, message: Uint8Array): void {
    for (const address of this.#addresses.get(to) ?? []) {
      for (const socket of this.#sockets.values()) socket.send(message, address);
    }
  }

  paths(): PulsePath[] {
    const nowMs = this.#clock.monotonicMs();
    return this.#options.peers.flatMap(({ node, addresses }) =>
      addresses.map((at) => {
        const address = textOf(at);
        const heardMs = this.#heardMs.get(address) ?? null;
        return { node, address, silentMs: heardMs === null ? null : nowMs - heardMs };
      }),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#retries) timer.cancel();
    const sockets = [...this.#sockets.values()];
    this.#sockets.clear();
    for (const socket of sockets) await socket.close();
  }

  async #bind(at: HostPort, events: ChannelEvents): Promise<void> {
    try {
      const socket = await this.#environment.datagrams.bind(at, (data, from) => this.#arrived(data, from, events));
      if (this.#closed) return await socket.close();
      this.#sockets.set(at, socket);
      this.#problems.delete(at);
    } catch (error) {
      if (this.#closed) return;
      this.#problems.set(at, messageOf(error));
      const timer = this.#clock.after(bindRetryMs, () => {
        this.#retries.delete(timer);
        void this.#bind(at, events);
      });
      this.#retries.add(timer);
    }
    const fault = this.#sockets.size > 0 ? null : [...this.#problems.values()].join('; ');
    if (fault === this.#fault) return;
    this.#fault = fault;
    events.fault(fault);
  }

  #arrived(data: Uint8Array, from: string, events: ChannelEvents): void {
    if (this.#closed) return;
    if (this.#heardMs.has(from)) this.#heardMs.set(from, this.#clock.monotonicMs());
    // All of it, not its MAC alone: else a forgery with the MAC of a message under way would suppress that.
    const text = Buffer.from(data).toString('latin1');
    if (this.#recent.has(text)) return;
    this.#recent.add(text);
    const [oldest] = this.#recent;
    if (this.#recent.size > recentMax && oldest !== undefined) this.#recent.delete(oldest);
    events.received(data, from);
  }
}

/** As the sender of a datagram is named: without the brackets of an IPv6 address. */
const textOf = ({ host, port }: HostPort): string => `${host}:${port}`;

export const formatHostPort = ({ host, port }: HostPort): string => formatAddress({ kind: 'tcp', host, port });
