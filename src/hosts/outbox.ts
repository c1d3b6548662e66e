/**
 * Memory of replies, and their way out. A reply is written where it will be sent from: a READ reserves room for its
 * header and data, the volume reads the data into it, and what became ready in one turn leaves together, neighbours
 * as one part. In the usual turn — every request answered within it — that is one buffer for the whole turn.
 *
 * Slabs are used again, because touching fresh memory costs more than reading into it: 1 MiB is 256 page faults. So:
 * a slab goes back to the pool only when nothing reserved in it is open (a volume may still write there, even after
 * the session has ended) and all that was sent from it has been taken by the operating system.
 */
import { assert } from '../base/assert.ts';
import type { ByteStream } from '../base/network.ts';

/** Room for a turn of small replies; in the second-level cache of most processors. */
const slabBytes = 256 * 1024;
/** Beyond this a reply gets a slab of its own. */
const sharedBytesMax = 64 * 1024;
/**
 * Slabs of their own come in powers of two and this much for the header of a reply, which ends where it ends: large
 * allocations begin 16 bytes into a page, so the data begins on a cache line, and is copied faster.
 */
const headroomBytes = 48;

export class Slab {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Everything before it is reserved. */
  used = 0;
  /** Reservations neither released nor sent. */
  open = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
    this.view = new DataView(this.bytes.buffer);
  }
}

/** Slabs not in use, shared by the sessions of a server. */
export class SlabPool {
  readonly #idleBytesMax: number;
  #idleBytes = 0;
  readonly #idle = new Map<number, Slab[]>();

  constructor(idleBytesMax: number) {
    this.#idleBytesMax = idleBytesMax;
  }

  take(bytes: number): Slab {
    const size = bytes <= slabBytes ? slabBytes : powerOfTwo(bytes - headroomBytes) + headroomBytes;
    const slab = this.#idle.get(size)?.pop();
    if (slab === undefined) return new Slab(size);
    this.#idleBytes -= size;
    return slab;
  }

  give(slab: Slab): void {
    const size = slab.bytes.length;
    if (this.#idleBytes + size > this.#idleBytesMax) return;
    slab.used = 0;
    this.#idleBytes += size;
    const same = this.#idle.get(size);
    if (same === undefined) this.#idle.set(size, [slab]);
    else same.push(slab);
  }
}

function powerOfTwo(atLeast: number): number {
  return 2 ** (32 - Math.clz32(atLeast - 1));
}

/** Replies side by side in a slab, ready to go or on their way. */
interface Part {
  readonly slab: Slab;
  readonly start: number;
  end: number;
  reservations: number;
}

export class Outbox {
  readonly #pool: SlabPool;
  readonly #stream: ByteStream;
  /** Where the next replies go. Two, because data is reserved when asked for and the rest when ready: mixed, neither would be side by side. */
  #dataSlab: Slab | null = null;
  #shortSlab: Slab | null = null;
  readonly #dataParts: Part[] = [];
  /** The same list where replies leave in the order they became ready. */
  readonly #shortParts: Part[];
  /** Sent, not known to be taken by the operating system, oldest first; `endBytes` counts from the first byte sent. */
  #transit: { readonly part: Part; readonly endBytes: number }[] = [];
  #sentBytes = 0;
  #closed = false;

  /**
   * `inOrder`: what became ready first leaves first, as numbered replies must; else data before the rest, in fewer parts.
   */
  constructor(pool: SlabPool, stream: ByteStream, order: 'inOrder' | 'dataFirst') {
    this.#pool = pool;
    this.#stream = stream;
    this.#shortParts = order === 'inOrder' ? this.#dataParts : [];
  }

  /** What the operating system has taken, ever. */
  get takenBytes(): number {
    return this.#sentBytes - this.#stream.unsentBytes;
  }

  /**
   * Reserves room for a reply of header and data, in the slab returned, ending at its `used`. Then `ready` or
   * `release`.
   */
  reserve(headerBytes: number, dataBytes: number): Slab {
    const bytes = headerBytes + dataBytes;
    if (bytes > sharedBytesMax) {
      const slab = this.#pool.take(headroomBytes + dataBytes);
      slab.used = headroomBytes - headerBytes;
      return reserveIn(slab, bytes);
    }
    this.#dataSlab = this.#roomIn(this.#dataSlab, bytes);
    return reserveIn(this.#dataSlab, bytes);
  }

  /** The reply in reserved memory is complete. */
  ready(slab: Slab, start: number, bytes: number): void {
    append(this.#dataParts, slab, start, bytes, 1);
  }

  /** A piece of it is, and more is to become `ready`. */
  piece(slab: Slab, start: number, bytes: number): void {
    append(this.#dataParts, slab, start, bytes, 0);
  }

  /** The reservation is not needed. Right also after `close`. */
  release(slab: Slab): void {
    this.#settle(slab, 1);
  }

  /** Reserves room for a reply to be written at once, in the slab returned, at its `used - bytes`. */
  short(bytes: number): Slab {
    assert(bytes <= sharedBytesMax, 'short reply that is long');
    const slab = reserveIn((this.#shortSlab = this.#roomIn(this.#shortSlab, bytes)), bytes);
    append(this.#shortParts, slab, slab.used - bytes, bytes, 1);
    return slab;
  }

  /** Sends all that is ready. */
  send(): void {
    const parts: Uint8Array[] = [];
    for (const part of this.#dataParts) parts.push(this.#depart(part));
    if (this.#shortParts !== this.#dataParts) for (const part of this.#shortParts) parts.push(this.#depart(part));
    this.#dataParts.length = 0;
    this.#shortParts.length = 0;
    if (parts.length > 0) this.#stream.send(parts);
    this.taken();
  }

  /** Gives back what the operating system has taken; to be called when the stream has drained, too. */
  taken(): void {
    const { takenBytes } = this;
    let count = 0;
    for (const { part, endBytes } of this.#transit) {
      if (endBytes > takenBytes) break;
      this.#settle(part.slab, part.reservations);
      count += 1;
    }
    if (count === this.#transit.length) this.#transit.length = 0;
    else if (count > 0) this.#transit.splice(0, count);
    // An idle session keeps no slab.
    this.#dataSlab = this.#withdraw(this.#dataSlab);
    this.#shortSlab = this.#withdraw(this.#shortSlab);
  }

  /** Nothing will be sent any more. What is on its way is left to the garbage collector: who reads it now is not known. */
  close(): void {
    this.#closed = true;
    this.#transit = [];
    this.#dataParts.length = 0;
    this.#shortParts.length = 0;
    this.#dataSlab = null;
    this.#shortSlab = null;
  }

  #roomIn(slab: Slab | null, bytes: number): Slab {
    return slab !== null && slab.bytes.length - slab.used >= bytes ? slab : this.#pool.take(bytes);
  }

  #depart(part: Part): Uint8Array {
    const bytes = part.end - part.start;
    this.#sentBytes += bytes;
    this.#transit.push({ part, endBytes: this.#sentBytes });
    return new Uint8Array(part.slab.bytes.buffer, part.start, bytes);
  }

  #settle(slab: Slab, reservations: number): void {
    slab.open -= reservations;
    assert(slab.open >= 0, 'slab released more often than reserved');
    if (slab.open > 0 || this.#closed) return;
    if (slab === this.#dataSlab || slab === this.#shortSlab) slab.used = 0;
    else this.#pool.give(slab);
  }

  #withdraw(current: Slab | null): Slab | null {
    if (current === null || current.open > 0) return current;
    this.#pool.give(current);
    return null;
  }
}

function reserveIn(slab: Slab, bytes: number): Slab {
  slab.used += bytes;
  slab.open += 1;
  return slab;
}

function append(parts: Part[], slab: Slab, start: number, bytes: number, reservations: number): void {
  const last = parts.at(-1);
  if (last !== undefined && last.slab === slab && last.end === start) {
    last.end += bytes;
    last.reservations += reservations;
  } else {
    parts.push({ slab, start, end: start + bytes, reservations });
  }
}
