/**
 * The simulated network: listeners by host name and port, connections between processes, and what can go wrong on the
 * way. Specification:
 *
 * - A machine is reached by its name and by the names given to it (`nameHost`); `localhost`, `127.0.0.1`, `0.0.0.0`, `::1`
 *   and `::` are the own machine, as are Unix sockets. Latency is drawn for every chunk, small within a machine.
 * - A way between two machines may be blocked, in one direction or both (`partition`): what is in transit stays there
 *   and arrives late after `heal`. A connection attempt over a blocked way is repeated, then given up as `timed out`.
 * - No listener on a machine that is on: `connection refused`. So too where a scene says so (`refuse`).
 * - Each connection can be cut (both ends hear a reset), stalled for a time, or silenced in one direction for ever: the
 *   sender notices nothing until the pipe is full or its kernel gives up.
 *
 * Pipes (`pipe.ts`) do ordering, chunking and back-pressure; streams (`stream.ts`) do opening and closing.
 */
import { HoldfastError } from '../../base/errors.ts';
import {
  formatAddress,
  type Address,
  type ByteStream,
  type Listener,
  type Network,
  type StreamEvents,
} from '../../base/network.ts';
import { Pipe } from './pipe.ts';
import { SimStream } from './stream.ts';
import type { Attachment, SimProcess } from './process.ts';
import type { Prng } from './prng.ts';
import type { SimMachine } from './machine.ts';
import type { SimScheduler } from './scheduler.ts';
import type { World } from './world.ts';

const ownMachine = new Set(['localhost', '127.0.0.1', '0.0.0.0', '::1', '::']);

/** When a kernel sends its request for a connection again, and when it gives up. */
const connectRetryMs = 1000;
const connectAttemptsMax = 8;

interface Listening {
  readonly process: SimProcess;
  readonly accept: (stream: ByteStream) => StreamEvents;
}

/** A connection as scenes see and break it. */
export interface Connection {
  readonly from: SimMachine;
  readonly to: SimMachine;
  /** Both ends hear a reset, each after its latency. */
  cut(): void;
  stall(durationMs: number): void;
  /** What `sender` sends does not arrive any more; it is not told. */
  silence(sender: SimMachine): void;
}

export class SimNetwork {
  readonly #world: World;
  readonly #prng: Prng;
  readonly #hosts = new Map<string, SimMachine>();
  readonly #listening = new Map<string, Listening>();
  readonly #connections = new Set<SimConnection>();
  /** Blocked ways: `from>to`. */
  readonly #blocked = new Set<string>();
  readonly #refusing = new Set<string>();
  /** Bounds of latency between two machines, milliseconds; one chunk in `spikeEvery` takes up to `spikeMsMax`. */
  latencyMs = { from: 0.05, to: 0.5 };
  spikeEvery = 200;
  spikeMsMax = 20;
  #nextPort = 40_000;

  constructor(world: World) {
    this.#world = world;
    this.#prng = world.prng.derive('network');
  }

  get nowMs(): number {
    return this.#world.nowMs;
  }

  get scheduler(): SimScheduler {
    return this.#world.scheduler;
  }

  /** From now on `host` leads to this machine. */
  nameHost(host: string, machine: SimMachine): void {
    this.#hosts.set(host, machine);
  }

  /** Every connection that stands, oldest first; between two machines when named. */
  connections(one?: SimMachine, other?: SimMachine): readonly Connection[] {
    return [...this.#connections].filter(({ from, to }) => {
      if (one !== undefined && from !== one && to !== one) return false;
      return other === undefined || from === other || to === other;
    });
  }

  partition(one: SimMachine, other: SimMachine, ways: 'both' | 'oneToOther' = 'both'): void {
    this.#world.trace.add(this.nowMs, 'fault', 0);
    this.#blocked.add(way(one, other));
    if (ways === 'both') this.#blocked.add(way(other, one));
  }

  heal(one: SimMachine, other: SimMachine): void {
    this.#blocked.delete(way(one, other));
    this.#blocked.delete(way(other, one));
    this.rescheduleAll();
  }

  healAll(): void {
    this.#blocked.clear();
    this.#refusing.clear();
    this.rescheduleAll();
  }

  /** New connections to the machine are refused, or not any more. */
  refuse(machine: SimMachine, refused: boolean): void {
    if (refused) this.#refusing.add(machine.name);
    else this.#refusing.delete(machine.name);
  }

  /** For the machine: ways may be free again. */
  rescheduleAll(): void {
    for (const connection of this.#connections) connection.reschedule();
  }

  // What follows is for pipes, streams, datagrams and processes.

  isCut(from: SimMachine, to: SimMachine): boolean {
    return !to.on || this.#blocked.has(way(from, to));
  }

  machineAt(own: SimMachine, host: string): SimMachine | null {
    return ownMachine.has(host) ? own : (this.#hosts.get(host) ?? null);
  }

  isBlocked(from: SimStream, to: SimStream): boolean {
    if (!to.machine.on || from.silent) return true;
    return this.#blocked.has(way(from.machine, to.machine));
  }

  drawLatencyMs(from: SimMachine, to: SimMachine): number {
    if (from === to) return this.#prng.between(0.01, 0.06);
    if (this.#prng.below(this.spikeEvery) === 0) return this.#prng.fraction() * this.spikeMsMax;
    return this.#prng.between(this.latencyMs.from, this.latencyMs.to);
  }

  async listen(process: SimProcess, at: Address, accept: Listening['accept']): Promise<Listener> {
    await new Promise<void>((resolve) => {
      if (process.alive) process.after(0, 'connect', resolve);
    });
    if (at.kind === 'tcp' && this.#machineOf(at, process.machine) !== process.machine) {
      throw new HoldfastError('E_ADDRESS_UNAVAILABLE', `${formatAddress(at)} is not an address of this machine`);
    }
    const address: Address = at.kind === 'tcp' && at.port === 0 ? { ...at, port: this.#nextPort++ } : at;
    const key = listenKey(process.machine, address);
    if (this.#listening.has(key)) {
      throw new HoldfastError('E_PORT_TAKEN', `another program listens on ${formatAddress(address)}`);
    }
    this.#listening.set(key, { process, accept });
    const stop: Attachment = { processEnded: () => void this.#listening.delete(key) };
    process.attach(stop);
    return {
      address,
      close: async () => {
        if (!process.alive) return;
        this.#listening.delete(key);
        process.detach(stop);
      },
    };
  }

  connect(process: SimProcess, to: Address, events: StreamEvents): ByteStream {
    const connection: SimConnection = new SimConnection(
      this,
      process,
      to,
      events,
      this.#prng.derive(`${this.#nextPort++}`),
    );
    const target = this.#machineOf(to, process.machine);
    if (process.alive) this.#attempt(connection, target, 1);
    return connection.client;
  }

  forget(connection: SimConnection): void {
    this.#connections.delete(connection);
  }

  #attempt(connection: SimConnection, target: SimMachine | null, attempt: number): void {
    const { client, address } = connection;
    const { machine } = client;
    const refuse = (reason: string): void => void client.process.after(0, 'connect', () => client.fail(reason));
    const goOutMs = this.drawLatencyMs(machine, target ?? machine);
    const arrived = (): void => {
      if (client.closed) return;
      if (target === null) return refuse('host not found');
      if (!target.on || this.#blocked.has(way(machine, target)) || this.#blocked.has(way(target, machine))) {
        if (attempt === connectAttemptsMax) return refuse('timed out');
        const again = (): void => this.#attempt(connection, target, attempt + 1);
        this.scheduler.after(connectRetryMs, 'connect', null, again);
        return;
      }
      const listening = this.#listening.get(listenKey(target, address));
      if (listening === undefined || this.#refusing.has(target.name)) return refuse('connection refused');
      // In the listener's backlog: if the process ends before it accepts, its kernel resets the connection.
      const waiting: Attachment = {
        processEnded: (end) => (end === 'powerLoss' ? undefined : refuse('connection reset')),
      };
      listening.process.attach(waiting);
      listening.process.after(0, 'accept', () => {
        listening.process.detach(waiting);
        if (client.closed) return;
        this.#connections.add(connection);
        connection.accept(listening.process, listening.accept);
      });
    };
    this.scheduler.after(goOutMs, 'connect', null, arrived);
  }

  #machineOf(address: Address, own: SimMachine): SimMachine | null {
    return address.kind === 'unix' ? own : this.machineAt(own, address.host);
  }
}

/** Two streams and the two pipes between them. */
class SimConnection implements Connection {
  readonly #network: SimNetwork;
  readonly #prng: Prng;
  readonly address: Address;
  readonly client: SimStream;
  #server: SimStream | null = null;
  /** From the client to the server; the way back exists once it is accepted. */
  readonly #there: Pipe;
  #back: Pipe | null = null;
  #openEnds = 2;

  constructor(network: SimNetwork, process: SimProcess, address: Address, events: StreamEvents, prng: Prng) {
    this.#network = network;
    this.#prng = prng;
    this.address = address;
    this.client = new SimStream(process, formatAddress(address), this.#endIsGone);
    this.client.setEvents(events);
    this.#there = new Pipe(network, this.client, prng);
    this.client.sendInto(this.#there);
  }

  get from(): SimMachine {
    return this.client.machine;
  }

  get to(): SimMachine {
    return this.#server?.machine ?? this.client.machine;
  }

  accept(process: SimProcess, accept: (stream: ByteStream) => StreamEvents): void {
    const { client } = this;
    const unix = this.address.kind === 'unix';
    const remote = unix ? formatAddress(this.address) : `${client.machine.name}:${50_000 + this.#prng.below(10_000)}`;
    const server = new SimStream(process, remote, this.#endIsGone);
    this.#server = server;
    const back = new Pipe(this.#network, server, this.#prng);
    this.#back = back;
    client.readFrom(back);
    server.readFrom(this.#there);
    server.sendInto(back);
    const openMs = this.#network.drawLatencyMs(server.machine, client.machine);
    // Scheduled first, so that the client hears of the opening before the first byte of the same instant.
    client.process.after(openMs, 'connect', () => client.connected());
    this.#there.leadTo(server, this.#network.nowMs);
    back.leadTo(client, this.#network.nowMs + openMs);
    server.connected();
    server.setEvents(accept(server));
  }

  cut(): void {
    for (const stream of [this.client, this.#server]) stream?.resetByPeer();
    this.#network.forget(this);
  }

  stall(durationMs: number): void {
    this.#there.stall(durationMs);
    this.#back?.stall(durationMs);
  }

  silence(sender: SimMachine): void {
    for (const stream of [this.client, this.#server]) if (stream?.machine === sender) stream.silent = true;
  }

  reschedule(): void {
    this.#there.reschedule();
    this.#back?.reschedule();
  }

  readonly #endIsGone = (): void => {
    // An end that lost its power stays known: the other one still has to find out.
    if (--this.#openEnds === 0) this.#network.forget(this);
  };
}

/** The network as one process sees it. */
export class SimProcessNetwork implements Network {
  readonly #process: SimProcess;

  constructor(process: SimProcess) {
    this.#process = process;
  }

  connect(to: Address, events: StreamEvents): ByteStream {
    return this.#process.world.network.connect(this.#process, to, events);
  }

  listen(at: Address, accept: (stream: ByteStream) => StreamEvents): Promise<Listener> {
    return this.#process.world.network.listen(this.#process, at, accept);
  }
}

function way(from: SimMachine, to: SimMachine): string {
  return `${from.name}>${to.name}`;
}

/** Whatever name of the machine was used, a port there is one port. */
function listenKey(machine: SimMachine, address: Address): string {
  return address.kind === 'tcp' ? `${machine.name}:${address.port}` : `${machine.name} ${address.path}`;
}
