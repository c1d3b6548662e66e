import * as net from 'node:net';
import { messageOf } from '../errors.ts';
import { formatAddress } from '../network.ts';
import type { Address, ByteStream, StreamEvents } from '../network.ts';
import { payloadMemory } from '../payload-memory.ts';
import { errnoOf } from './node-files.ts';

/** Memory for reads nobody offered a place for, one after another. */
const slabBytes = 256 * 1024;
/** A slab with less left than this is given up: short reads cost more than the rest of it. */
const slabRestBytesMin = 32 * 1024;
/** Before the first read. (An empty slab is something else: one that a read has filled to the end.) */
const noSlab = new Uint8Array(0);

/** TCP asks an idle peer for a sign of life after so long. Milliseconds. */
export const keepAliveInitialDelay = 10_000;

/**
 * One socket as a `ByteStream`.
 *
 * Reading: through the `onread` option, which lets the kernel write straight into the memory that `space` offers. (The
 * ordinary 'data' event allocates 64 KiB for each read and never knows the destination.) Node offers the option for
 * connecting sockets only; an accepted one is rebuilt around its handle, which is not documented: where anything looks
 * unfamiliar it stays with 'data' events and a copy, slower but the same.
 *
 * Writing: a `send` is one gathered write.
 */
export class NodeStream implements ByteStream {
  readonly remote: string;
  readonly #socket: net.Socket;
  /** Null until the one who listens has said where events go, and after `closed`. */
  #events: StreamEvents | null;
  #slab: Uint8Array = noSlab;
  /** Whether `send` left something in the queue since it was last empty. */
  #owesDrained = false;
  /** Whether `end` or `destroy` was called. */
  #ending = false;
  #closeReason = 'closed by the other side';

  static connecting(to: Address, events: StreamEvents): ByteStream {
    const stream = new NodeStream(formatAddress(to), events, (onread) =>
      to.kind === 'tcp'
        ? net.connect({ host: to.host, port: to.port, noDelay: true, keepAlive: true, keepAliveInitialDelay, onread })
        : net.connect({ path: to.path, onread }),
    );
    stream.#socket.on('connect', () => stream.#events?.opened?.());
    return stream;
  }

  /** `socket` has been accepted and does not read yet. */
  static accepted(socket: net.Socket, at: Address, accept: (stream: ByteStream) => StreamEvents): void {
    const remote = at.kind === 'unix' ? formatAddress(at) : remoteOf(socket);
    const stream = new NodeStream(remote, null, (onread) => rebuilt(socket, onread) ?? socket);
    if (stream.#socket === socket) socket.on('data', (chunk) => stream.#distribute(chunk)).resume();
    stream.#events = accept(stream);
  }

  private constructor(remote: string, events: StreamEvents | null, make: (onread: net.OnReadOpts) => net.Socket) {
    this.remote = remote;
    this.#events = events;
    this.#socket = make({ buffer: this.#nextSpace, callback: this.#received });
    this.#socket.on('error', (error) => {
      if (!this.#ending) this.#closeReason = closeReasonOf(error);
    });
    this.#socket.on('close', () => {
      const events = this.#events;
      this.#events = null;
      events?.closed(this.#closeReason);
    });
  }

  get local(): string {
    return formatAddress({ kind: 'tcp', host: this.#socket.localAddress ?? '?', port: this.#socket.localPort ?? 0 });
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#ending || parts.length === 0) return;
    const socket = this.#socket;
    const joined = joinNeighbours(parts);
    let written = 0;
    socket.cork();
    for (const part of joined) socket.write(part, ++written === joined.length ? this.#taken : undefined);
    socket.uncork();
    if (socket.writableLength > 0) this.#owesDrained = true;
  }

  pauseReading(paused: boolean): void {
    if (paused) this.#socket.pause();
    else this.#socket.resume();
  }

  end(): void {
    this.#leave();
    this.#socket.end();
  }

  destroy(): void {
    this.#leave();
    this.#socket.destroy();
  }

  #leave(): void {
    if (!this.#ending) this.#closeReason = 'closed here';
    this.#ending = true;
  }

  /** The operating system has taken everything up to the last part of some `send`. */
  readonly #taken = (): void => {
    if (!this.#owesDrained || this.#socket.writableLength > 0) return;
    this.#owesDrained = false;
    this.#events?.drained?.();
  };

  /** Called when the socket is made, when nobody can be asked yet, and after each read for the next one. */
  readonly #nextSpace = (): Uint8Array => {
    const space = this.#slab === noSlab ? null : (this.#events?.space?.() ?? null);
    if (space !== null && space.length > 0) return space;
    if (this.#slab.length < slabRestBytesMin) {
      payloadMemory.give(this.#slab);
      this.#slab = payloadMemory.take(slabBytes);
    }
    return this.#slab;
  };

  readonly #received = (length: number, space: Uint8Array): boolean => {
    if (space === this.#slab) this.#slab = this.#slab.subarray(length);
    this.#events?.received(length === space.length ? space : space.subarray(0, length));
    return true;
  };

  /** The same for bytes that arrived in memory of Node's choice. */
  #distribute(chunk: Buffer): void {
    let rest: Buffer = chunk;
    while (rest.length > 0 && this.#events !== null) {
      if (this.#socket.isPaused()) {
        this.#socket.unshift(rest);
        return;
      }
      const space = this.#events.space?.() ?? null;
      const length = space === null || space.length === 0 ? rest.length : Math.min(space.length, rest.length);
      const part = rest.subarray(0, length);
      rest = rest.subarray(length);
      if (space !== null && space.length > 0) space.set(part);
      this.#events.received(space !== null && space.length > 0 ? space.subarray(0, length) : part);
    }
  }
}

/** The accepted socket's handle in a socket that reads as `onread` says; null where Node is not built as expected. */
function rebuilt(accepted: net.Socket, onread: net.OnReadOpts): net.Socket | null {
  const handle: unknown = Reflect.get(accepted, '_handle');
  if (typeof handle !== 'object' || handle === null) return null;
  if (!('useUserBuffer' in handle) || !('readStart' in handle) || accepted.readableLength > 0) return null;
  Reflect.set(accepted, '_handle', null);
  // `Reflect`, because the types know neither of the two options here.
  return Reflect.construct(net.Socket, [{ handle, onread }]) as net.Socket;
}

function remoteOf(socket: net.Socket): string {
  // Both are undefined when the other side has gone already.
  return formatAddress({ kind: 'tcp', host: socket.remoteAddress ?? '?', port: socket.remotePort ?? 0 });
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by the other side',
  EPIPE: 'closed by the other side',
  ETIMEDOUT: 'the other side does not answer',
  EHOSTUNREACH: 'no way to the host',
  ENETUNREACH: 'no way to the network',
  ENOTFOUND: 'no host of that name',
  EAI_AGAIN: 'the name of the host cannot be looked up',
  ENOENT: 'connection refused: there is no such socket',
};

function closeReasonOf(error: Error): string {
  return reasons[errnoOf(error)] ?? messageOf(error);
}

/** What lies side by side in memory leaves as one: a record's data does, when it comes from the log. */
function joinNeighbours(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  const joined: Uint8Array[] = [];
  for (let first = 0, next = 1; first < parts.length; first = next++) {
    const part = parts[first] as Uint8Array;
    let end = part.byteOffset + part.length;
    for (; next < parts.length; next++) {
      const other = parts[next] as Uint8Array;
      if (other.buffer !== part.buffer || other.byteOffset !== end) break;
      end += other.length;
    }
    joined.push(next === first + 1 ? part : new Uint8Array(part.buffer, part.byteOffset, end - part.byteOffset));
  }
  return joined;
}
