/**
 * Memory for payloads, used again: fresh megabytes cost page faults and garbage collections, and make a process as large
 * as what it has not collected yet.
 *
 * Whoever makes room takes it here, for one large payload or for chunks in which small ones arrive. Who keeps a view of a
 * chunk beyond the call that brought it shares in it; whoever is the last to need a payload gives its share back. A share
 * that is never given leaves the memory to the garbage collector as usual, and so does memory from elsewhere: giving is
 * an offer.
 *
 * Invariant: memory is lent again only when every share in it has been given back.
 */

/** Smaller payloads get no memory of their own, but share the chunks they arrived in. Bytes. */
export const payloadBytesMin = 32 * 1024;

const idleBytesMax = 12 * 1024 * 1024;
const sizesMax = 8;

export class PayloadMemory {
  readonly #idle = new Map<number, ArrayBuffer[]>();
  /** Shares of lent memory that were not given back; absent for memory that is never taken back. */
  readonly #shares = new WeakMap<ArrayBufferLike, number>();
  #idleBytes = 0;

  /** Exactly `length` bytes of any content, alone in their buffer. */
  take(length: number): Uint8Array<ArrayBuffer> {
    const buffer = this.#idle.get(length)?.pop();
    if (buffer === undefined) {
      const fresh = Buffer.allocUnsafeSlow(length);
      if (length >= payloadBytesMin) this.#shares.set(fresh.buffer, 1);
      return fresh;
    }
    this.#idleBytes -= length;
    this.#shares.set(buffer, 1);
    return new Uint8Array(buffer);
  }

  /** One more needs these bytes, whoever took the memory they lie in: it is not lent again before both have given. */
  share(bytes: Uint8Array): void {
    const shares = this.#shares.get(bytes.buffer);
    if (shares !== undefined) this.#shares.set(bytes.buffer, shares + 1);
  }

  /** Whoever took or shared the bytes reads them no more. Once for each share: more would lend what others still read. */
  give(payload: Uint8Array): void {
    const shares = this.#shares.get(payload.buffer);
    if (shares === undefined) return;
    if (shares > 1) {
      this.#shares.set(payload.buffer, shares - 1);
      return;
    }
    this.#shares.delete(payload.buffer);
    const { byteLength } = payload.buffer;
    if (this.#idleBytes + byteLength > idleBytesMax || !(payload.buffer instanceof ArrayBuffer)) return;
    let list = this.#idle.get(byteLength);
    if (list === undefined) {
      // Hosts write in few sizes; when they change, the old ones go.
      if (this.#idle.size >= sizesMax) this.#forget();
      this.#idle.set(byteLength, (list = []));
    }
    list.push(payload.buffer);
    this.#idleBytes += byteLength;
  }

  #forget(): void {
    this.#idle.clear();
    this.#idleBytes = 0;
  }
}

/** Of this process. */
export const payloadMemory = new PayloadMemory();
