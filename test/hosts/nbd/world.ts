/** A small world for one NBD server: turns and time by hand, streams and volumes in memory. */
import type { Clock, Timer } from '../../../src/base/clock.ts';
import type { Log } from '../../../src/base/log.ts';
import type { Address, ByteStream, Listener, Network, StreamEvents } from '../../../src/base/network.ts';
import type { EndTask, Turn } from '../../../src/base/turn.ts';
import type {
  ExportCatalogue,
  ExportEntry,
  ExportRefusal,
  HostCompletion,
  HostExtent,
  HostFault,
  HostSession,
  HostVolume,
} from '../../../src/group/host-access.ts';
import { type NbdLimits, NbdServer } from '../../../src/hosts/nbd/server.ts';
import { receiveLent } from '../../base/lent-chunk.ts';

export class ManualTurn implements Turn {
  #deferred: (() => void)[] = [];
  #ends: EndTask[] = [];

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  atEnd(task: EndTask): void {
    this.#ends.push(task);
  }

  run(): void {
    while (this.#deferred.length > 0 || this.#ends.length > 0) {
      for (let next = this.#deferred.shift(); next !== undefined; next = this.#deferred.shift()) next();
      const ends = this.#ends;
      this.#ends = [];
      for (const task of ends) task.endOfTurn();
    }
  }
}

export class ManualClock implements Clock {
  #nowMs = 0;
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];

  monotonicMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, run };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#timers.filter((timer) => timer.atMs <= this.#nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.#nowMs);
    for (const timer of due) timer.run();
  }
}

/** The server's end of a connection; the test is the client. */
export class TestStream implements ByteStream {
  readonly remote = '192.0.2.1:4000';
  unsentBytes = 0;
  /** While true, what is sent stays unsent until `fetch`. */
  slow = false;
  paused = false;
  ended = false;
  destroyed = false;
  closed = false;
  events: StreamEvents | null = null;
  #sent: Uint8Array[] = [];
  /** Calls of `send`. */
  sends = 0;

  send(parts: readonly Uint8Array[]): void {
    if (this.ended || this.destroyed) return;
    this.sends += 1;
    for (const part of parts) {
      if (this.slow) this.unsentBytes += part.length;
      // Copied at `fetch`, so that memory used again too early shows as wrong bytes.
      this.#sent.push(this.slow ? part : Uint8Array.from(part));
    }
  }

  pauseReading(paused: boolean): void {
    this.paused = paused;
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  /** What the server sent since the last call. */
  fetch(): Buffer {
    const bytes = Buffer.concat(this.#sent);
    this.#sent = [];
    if (this.unsentBytes > 0) {
      this.unsentBytes = 0;
      this.events?.drained?.();
    }
    return bytes;
  }

  /** Delivers as a socket would: into the place offered, or in memory of its own. False when the server does not read. */
  deliver(bytes: Uint8Array): boolean {
    let at = 0;
    while (at < bytes.length) {
      if (this.closed || this.destroyed) return true;
      if (this.paused) return false;
      const space = this.events?.space?.() ?? null;
      const count = Math.min(bytes.length - at, space?.length ?? bytes.length);
      const part = bytes.subarray(at, at + count);
      at += count;
      if (space === null) receiveLent(part, (chunk) => this.events?.received(chunk));
      else {
        space.set(part);
        this.events?.received(space.subarray(0, count));
      }
    }
    return true;
  }

  close(reason = 'closed by the other side'): void {
    if (this.closed) return;
    this.closed = true;
    this.events?.closed(reason);
  }
}

export class TestVolume implements HostVolume {
  readonly name: string;
  readonly wwid = `6${'0'.repeat(31)}`;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly data: Buffer;
  /** What was asked for, in words. */
  readonly calls: string[] = [];
  /** Completions wait until `release` while true. */
  holding = false;
  fault: HostFault | null = null;
  extents: HostExtent[] | null = null;
  readonly #turn: Turn;
  #held: (() => void)[] = [];

  constructor(turn: Turn, name: string, sizeBytes: number, blockSizeBytes: number) {
    this.#turn = turn;
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.blockSizeBytes = blockSizeBytes;
    this.data = Buffer.alloc(sizeBytes);
  }

  read(offset: number, into: Uint8Array, done: HostCompletion): void {
    this.#complete(`read ${offset}+${into.length}`, () => {
      if (this.fault === null) into.set(this.data.subarray(offset, offset + into.length));
      done(this.fault);
    });
  }

  write(offset: number, data: Uint8Array, fua: boolean, done: HostCompletion): void {
    this.#complete(`write ${offset}+${data.length}${fua ? ' fua' : ''}`, () => {
      if (this.fault === null) this.data.set(data, offset);
      done(this.fault);
    });
  }

  zero(
    offset: number,
    length: number,
    options: { keepAllocated: boolean; fua: boolean },
    done: HostCompletion,
  ): void {
    const kind = `${options.keepAllocated ? ' keep' : ''}${options.fua ? ' fua' : ''}`;
    this.#complete(`zero ${offset}+${length}${kind}`, () => {
      if (this.fault === null) this.data.fill(0, offset, offset + length);
      done(this.fault);
    });
  }

  flush(done: HostCompletion): void {
    this.#complete('flush', () => {
      done(this.fault);
    });
  }

  allocation(offset: number, length: number, done: (fault: HostFault | null, extents: HostExtent[]) => void): void {
    this.#complete(`allocation ${offset}+${length}`, () => {
      done(this.fault, this.extents ?? [{ offset, length, data: true }]);
    });
  }

  release(): void {
    this.holding = false;
    for (const run of this.#held) this.#turn.defer(run);
    this.#held = [];
  }

  #complete(call: string, run: () => void): void {
    this.calls.push(call);
    if (this.holding) this.#held.push(run);
    else this.#turn.defer(run);
  }
}

export class TestCatalogue implements ExportCatalogue {
  readonly volumes: TestVolume[] = [];
  readonly refusals = new Map<string, ExportRefusal>();
  readonly openSessions = new Set<HostSession>();
  opened = 0;

  list(): readonly ExportEntry[] {
    const refused = [...this.refusals.keys()].map((name) => ({ name, description: 'not here', sizeBytes: 0 }));
    const here = this.volumes.map(({ name, sizeBytes }) => ({ name, description: `the ${name} volume`, sizeBytes }));
    return [...here, ...refused].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  open(name: string, session: HostSession): HostVolume | ExportRefusal {
    const volume = this.volumes.find((candidate) => candidate.name === name);
    if (volume === undefined) return this.refusals.get(name) ?? { refused: 'unknown', message: 'unknown' };
    if (this.openSessions.has(session)) throw new Error('opened twice');
    this.openSessions.add(session);
    this.opened += 1;
    return volume;
  }

  close(session: HostSession): void {
    if (!this.openSessions.delete(session)) throw new Error('closed without being open');
  }
}

export class World {
  readonly turn = new ManualTurn();
  readonly clock = new ManualClock();
  readonly catalogue = new TestCatalogue();
  readonly logged: string[] = [];
  readonly server: NbdServer;
  readonly streams: TestStream[] = [];
  #accept: ((stream: ByteStream) => StreamEvents) | null = null;

  constructor(limits: Partial<NbdLimits> = {}) {
    const note = (message: string): void => {
      this.logged.push(message);
    };
    const log: Log = { info: note, warn: note, error: note };
    const network: Network = {
      connect: () => {
        throw new Error('the server connects to nobody');
      },
      listen: (at: Address, accept: (stream: ByteStream) => StreamEvents): Promise<Listener> => {
        this.#accept = accept;
        return Promise.resolve({ address: at, close: () => Promise.resolve() });
      },
    };
    this.server = new NbdServer({ clock: this.clock, turn: this.turn, log, network }, this.catalogue, limits);
    void this.server.listen([{ kind: 'unix', path: '/test' }]);
  }

  volume(name: string, sizeBytes = 65536, blockSizeBytes = 512): TestVolume {
    const volume = new TestVolume(this.turn, name, sizeBytes, blockSizeBytes);
    this.catalogue.volumes.push(volume);
    return volume;
  }

  connect(): TestStream {
    if (this.#accept === null) throw new Error('nobody listens');
    const stream = new TestStream();
    this.streams.push(stream);
    stream.events = this.#accept(stream);
    if (stream.destroyed) stream.close('closed here');
    return stream;
  }

  /** Delivers, runs the turn, lets ended streams close, returns what came back. */
  exchange(stream: TestStream, bytes: Uint8Array = new Uint8Array(0)): Buffer {
    stream.deliver(bytes);
    this.turn.run();
    const answer = stream.fetch();
    if (stream.ended || stream.destroyed) stream.close('closed here');
    return answer;
  }
}
