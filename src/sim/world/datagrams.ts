/**
 * Simulated datagrams and serial lines. Specification:
 *
 * - A datagram between two machines takes the network's latency; a blocked way (partition) drops it. It is lost, duplicated
 *   or late with the shares below, each drawn on its own, so that datagrams overtake each other.
 * - A serial line is named by its path on each machine (`joinSerial`): bytes arrive in order, after a latency, as long as it is
 *   plugged in; noise may be put on it. A line that nobody joined, or unplugged, is silent and can be opened all the same.
 */
import { HoldfastError } from '../../base/errors.ts';
import type { ByteStream, DatagramSocket, Datagrams, HostPort, StreamEvents } from '../../base/network.ts';
import type { SimMachine } from './machine.ts';
import type { Prng } from './prng.ts';
import type { ProcessEnd, SimProcess } from './process.ts';
import type { World } from './world.ts';

interface Bound {
  readonly process: SimProcess;
  readonly received: (data: Uint8Array, from: string) => void;
}

export class SimDatagrams {
  lostShare = 0;
  duplicatedShare = 0;
  lateShare = 0;
  lateMsMax = 200;
  readonly #world: World;
  readonly #prng: Prng;
  readonly #bound = new Map<string, Bound>();
  readonly #lines = new Map<string, { readonly machine: SimMachine; readonly path: string }>();
  readonly #open = new Map<string, SimSerial>();
  readonly #unplugged = new Set<string>();
  #nextPort = 50_000;

  constructor(world: World) {
    this.#world = world;
    this.#prng = world.prng.derive('datagrams');
  }

  openFor(process: SimProcess): Datagrams {
    return {
      bind: async (at, received) => this.#bind(process, at, received),
      openSerial: (path, _baudRate, events) => this.#openSerial(process, path, events),
    };
  }

  heal(): void {
    this.lostShare = 0;
    this.duplicatedShare = 0;
    this.lateShare = 0;
    this.#unplugged.clear();
  }

  /** One line between two devices. */
  joinSerial(one: SimMachine, onePath: string, other: SimMachine, otherPath: string): void {
    this.#lines.set(`${one.name} ${onePath}`, { machine: other, path: otherPath });
    this.#lines.set(`${other.name} ${otherPath}`, { machine: one, path: onePath });
  }

  plugSerial(machine: SimMachine, path: string, plugged: boolean): void {
    if (plugged) this.#unplugged.delete(`${machine.name} ${path}`);
    else this.#unplugged.add(`${machine.name} ${path}`);
  }

  /** Bytes that nobody sent. */
  noise(machine: SimMachine, path: string, bytes: Uint8Array): void {
    this.#open.get(`${machine.name} ${path}`)?.arrive(bytes);
  }

  #bind(process: SimProcess, at: HostPort, received: Bound['received']): DatagramSocket {
    const { machine } = process;
    const port = at.port === 0 ? this.#nextPort++ : at.port;
    const key = `${machine.name}:${port}`;
    if (this.#bound.has(key)) throw new HoldfastError('E_PORT_TAKEN', `${at.host}:${port} (UDP) is taken`);
    const bound = { process, received };
    this.#bound.set(key, bound);
    const unbind = (): void => {
      if (this.#bound.get(key) === bound) this.#bound.delete(key);
    };
    const attachment = { processEnded: (_end: ProcessEnd) => unbind() };
    process.attach(attachment);
    return {
      address: { host: at.host, port },
      send: (data, to) => {
        if (!process.alive) return;
        process.countEffect(data.length);
        this.#send(machine, `${machine.name}:${port}`, data.slice(), to);
      },
      close: async () => {
        process.detach(attachment);
        unbind();
      },
    };
  }

  #send(from: SimMachine, sender: string, data: Uint8Array, to: HostPort): void {
    const { network } = this.#world;
    const machine = network.machineAt(from, to.host);
    if (machine === null || this.#prng.chance(this.lostShare)) return;
    const copies = this.#prng.chance(this.duplicatedShare) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const lateMs = this.#prng.chance(this.lateShare) ? this.#prng.between(0, this.lateMsMax) : 0;
      this.#world.scheduler.after(
        this.#prng.between(network.latencyMs.from, network.latencyMs.to) + lateMs,
        'note',
        null,
        () => {
          if (network.isCut(from, machine)) return;
          const bound = this.#bound.get(`${machine.name}:${to.port}`);
          bound?.process.call(() => bound.received(data.slice(), sender));
        },
      );
    }
  }

  #openSerial(process: SimProcess, path: string, events: StreamEvents): ByteStream {
    const key = `${process.machine.name} ${path}`;
    const serial = new SimSerial(process, path, events, (data) => {
      const other = this.#lines.get(key);
      if (other === undefined) return;
      const otherKey = `${other.machine.name} ${other.path}`;
      this.#world.scheduler.after(this.#prng.between(0.5, 3), 'note', null, () => {
        if (this.#unplugged.has(key) || this.#unplugged.has(otherKey)) return;
        this.#open.get(otherKey)?.arrive(data);
      });
    });
    this.#open.set(key, serial);
    return serial;
  }
}

class SimSerial implements ByteStream {
  readonly remote: string;
  readonly unsentBytes = 0;
  readonly #process: SimProcess;
  readonly #events: StreamEvents;
  readonly #carry: (data: Uint8Array) => void;
  #closed = false;

  constructor(process: SimProcess, path: string, events: StreamEvents, carry: (data: Uint8Array) => void) {
    this.remote = path;
    this.#process = process;
    this.#events = events;
    this.#carry = carry;
    process.call(() => {
      if (!this.#closed) events.opened?.();
    });
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#closed || !this.#process.alive) return;
    const data = Buffer.concat(parts);
    this.#process.countEffect(data.length);
    this.#carry(data);
  }

  arrive(data: Uint8Array): void {
    this.#process.call(() => {
      if (!this.#closed) this.#events.received(data.slice());
    });
  }

  pauseReading(): void {}

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#process.call(() => this.#events.closed('closed here'));
  }
}
