/**
 * Memory for large payloads, used again: fresh megabytes cost page faults and garbage collections, and make a process as
 * large as what it has not collected yet.
 *
 * Whoever makes room for one payload takes it here; whoever is the last to need the payload gives it back. A payload that
 * is never given back, or whose memory came from elsewhere, is the garbage collector's as usual: giving is an offer.
 *
 * Invariant: memory is lent once at a time, and given memory is lent again only if it was taken for one payload alone.
 */

/** Smaller payloads share the chunks they arrived in. Bytes. */
export const payloadBytesMin = 32 * 1024;

const idleBytesMax = 12 * 1024 * 1024;
const sizesMax = 8;

export class PayloadMemory {
  readonly #idle = new Map<number, ArrayBuffer[]>();
  readonly #lent = new WeakSet<ArrayBufferLike>();
  #idleBytes = 0;

  /** Exactly `length` bytes of any content, alone in their buffer. */
  take(length: number): Uint8Array<ArrayBuffer> {
    const buffer = this.#idle.get(length)?.pop();
    if (buffer === undefined) {
      const fresh = Buffer.allocUnsafeSlow(length);
      if (length >= payloadBytesMin) this.#lent.add(fresh.buffer);
      return fresh;
    }
    this.#idleBytes -= length;
    this.#lent.add(buffer);
    return new Uint8Array(buffer);
  }

  /** Several payloads lie in this memory now: it is not taken back. */
  keep(bytes: Uint8Array): void {
    this.#lent.delete(bytes.buffer);
  }

  /** Nobody reads the payload any more, and nobody will. */
  give(payload: Uint8Array): void {
    if (payload.length < payloadBytesMin || !this.#lent.delete(payload.buffer)) return;
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
