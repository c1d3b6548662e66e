/**
 * A world of one thread for link tests: virtual time moves only in `run`, streams deliver in order after a millisecond,
 * and the test may cut, stall or watch them.
 */
import type { Environment } from '../../src/base/environment.ts';
import { HoldfastError } from '../../src/base/errors.ts';
import type { Files } from '../../src/base/files.ts';
import { formatAddress, type Address, type ByteStream, type StreamEvents } from '../../src/base/network.ts';
import type { Datagrams } from '../../src/base/network.ts';
import type { EndTask } from '../../src/base/turn.ts';
import { receiveLent } from '../base/lent-chunk.ts';

const delayMs = 1;

export class World {
  nowMs = 0;
  /** Every line logged. */
  readonly lines: string[] = [];
  /** Every delivery, when set. */
  tap: ((from: string, to: string, bytes: Uint8Array) => void) | null = null;
  /** How bytes handed over together are cut into chunks. */
  chunkBytes = Infinity;
  readonly streams = new Set<End>();
  readonly #timers = new Set<{ atMs: number; order: number; run: () => void }>();
  readonly #listeners = new Map<string, { node: string; accept: (stream: ByteStream) => StreamEvents }>();
  /** The process of each node that runs. */
  readonly #processes = new Map<string, { dead: boolean }>();
  #deferred: (() => void)[] = [];
  #endTasks: EndTask[] = [];
  #order = 0;
  #random = 1;

  environment(node: string, bootId = `boot of ${node}`): Environment {
    const process = { dead: false };
    this.#processes.set(node, process);
    const files = new Proxy({} as Files, { get: (_, name) => expectUnused(String(name)) });
    return {
      clock: {
        monotonicMs: () => this.nowMs,
        wallMs: () => this.nowMs,
        after: (afterMs, run) => this.at(this.nowMs + afterMs, () => process.dead || run()),
      },
      turn: { defer: (run) => this.#deferred.push(run), atEnd: (task) => this.#endTasks.push(task) },
      random: {
        bytes: (count) => new Uint8Array(count).map(() => this.#below(256)),
        below: (bound) => this.#below(bound),
      },
      files,
      network: {
        connect: (to, events) => this.#connect(node, to, events),
        listen: async (at, accept) => {
          const key = formatAddress(at);
          if (this.#listeners.has(key)) throw new HoldfastError('E_PORT_TAKEN', `${key} is taken`);
          this.#listeners.set(key, { node, accept });
          return { address: at, close: async () => void this.#listeners.delete(key) };
        },
      },
      datagrams: new Proxy({} as Datagrams, { get: (_, name) => expectUnused(String(name)) }),
      log: {
        info: (message) => this.lines.push(message),
        warn: (message) => this.lines.push(message),
        error: (message) => this.lines.push(message),
      },
      bootId,
      abort: (reason) => {
        throw new Error(reason);
      },
    };
  }

  at(atMs: number, run: () => void) {
    const timer = { atMs, order: this.#order++, run };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Lets `durationMs` pass; promises settle between any two events. */
  async run(durationMs: number): Promise<void> {
    const endMs = this.nowMs + durationMs;
    for (;;) {
      await settle();
      const next = [...this.#timers].sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      this.turn(next.run);
    }
    this.nowMs = endMs;
  }

  turn(run: () => void): void {
    run();
    while (this.#deferred.length > 0 || this.#endTasks.length > 0) {
      const deferred = this.#deferred.shift();
      if (deferred !== undefined) deferred();
      else this.#endTasks.splice(0).forEach((task) => task.endOfTurn());
    }
  }

  /** The process is no more: nothing of it runs, and its streams break. */
  kill(node: string): void {
    const process = this.#processes.get(node);
    if (process !== undefined) process.dead = true;
    for (const [key, listener] of this.#listeners) if (listener.node === node) this.#listeners.delete(key);
    for (const end of [...this.streams]) {
      if (end.node !== node) continue;
      end.dead = true;
      end.destroy();
    }
  }

  /** A raw connection, for talking garbage. */
  dial(to: Address): RawClient {
    return new RawClient(this, to);
  }

  #connect(node: string, to: Address, events: StreamEvents): ByteStream {
    const mine = new End(this, node, formatAddress(to), events);
    this.at(this.nowMs + delayMs, () => {
      if (mine.state === 'closed') return;
      const listener = this.#listeners.get(formatAddress(to));
      if (listener === undefined) return mine.closedBy('connection refused');
      const theirs = new End(this, listener.node, `${node}:${this.#order}`, { received() {}, closed() {} });
      mine.other = theirs;
      theirs.other = mine;
      theirs.state = 'open';
      theirs.events = listener.accept(theirs);
      mine.open();
    });
    return mine;
  }

  #below(bound: number): number {
    this.#random = (Math.imul(this.#random, 1103515245) + 12345) >>> 0;
    return Math.floor((this.#random / 2 ** 32) * bound);
  }
}

/** One end of a stream. */
export class End implements ByteStream {
  state: 'connecting' | 'open' | 'closed' = 'connecting';
  other: End | null = null;
  events: StreamEvents;
  /** Its process is dead: nothing is called any more. */
  dead = false;
  /** What it sends waits (true) instead of being delivered. */
  stalled = false;
  paused = false;
  readonly world: World;
  readonly node: string;
  readonly remote: string;
  #waiting: Uint8Array[] = [];
  #unread: Uint8Array[] = [];

  constructor(world: World, node: string, remote: string, events: StreamEvents) {
    this.world = world;
    this.node = node;
    this.remote = remote;
    this.events = events;
    world.streams.add(this);
  }

  get unsentBytes(): number {
    return this.#waiting.reduce((sum, { length }) => sum + length, 0);
  }

  open(): void {
    this.state = 'open';
    if (!this.dead) this.events.opened?.();
    this.flush();
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.state === 'closed') return;
    this.#waiting.push(...parts);
    if (this.state === 'open') this.flush();
  }

  flush(): void {
    if (this.stalled || this.#waiting.length === 0) return;
    const bytes = Buffer.concat(this.#waiting.splice(0));
    const { other, world } = this;
    world.at(world.nowMs + delayMs, () => {
      if (other === null || other.state === 'closed' || other.dead) return;
      world.tap?.(this.node, other.node, bytes);
      other.#unread.push(bytes);
      other.read();
    });
  }

  read(): void {
    while (!this.paused && this.state === 'open') {
      const bytes = this.#unread.shift();
      if (bytes === undefined) return;
      const space = this.events.space?.() ?? null;
      const length = Math.min(bytes.length, this.world.chunkBytes, space?.length ?? Infinity);
      if (length < bytes.length) this.#unread.unshift(bytes.subarray(length));
      if (space === null) receiveLent(bytes.subarray(0, length), (chunk) => this.events.received(chunk));
      else {
        space.set(bytes.subarray(0, length));
        this.events.received(space.subarray(0, length));
      }
    }
  }

  pauseReading(paused: boolean): void {
    this.paused = paused;
    if (!paused) this.world.at(this.world.nowMs, () => this.read());
  }

  /** Also closes at once when stalled, unlike the real thing: then what waits is lost. */
  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.world.streams.delete(this);
    this.world.at(this.world.nowMs, () => this.dead || this.events.closed('closed here'));
    this.world.at(this.world.nowMs + delayMs, () => this.other?.closedBy('closed by the other side'));
  }

  closedBy(reason: string): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.world.streams.delete(this);
    if (!this.dead) this.events.closed(reason);
  }
}

export class RawClient {
  readonly received: Uint8Array[] = [];
  closed: string | null = null;
  readonly #stream: ByteStream;

  constructor(world: World, to: Address) {
    this.#stream = world.environment('stranger').network.connect(to, {
      received: (chunk) => void this.received.push(new Uint8Array(chunk)),
      closed: (reason) => (this.closed = reason),
    });
  }

  send(...parts: Uint8Array[]): void {
    this.#stream.send(parts);
  }

  destroy(): void {
    this.#stream.destroy();
  }
}

async function settle(): Promise<void> {
  for (let round = 0; round < 8; round++) await Promise.resolve();
}

function expectUnused(name: string): never {
  throw new Error(`links do not use files.${name}`);
}
