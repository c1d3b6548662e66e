/**
 * Decoder of the transmission phase (NBD proto.md, "Request message"), incremental and total. Requests are read where
 * they lie in the received chunk; a payload wholly inside it is handed on as a view. A longer one gets memory of its
 * own, with room for the next header behind it, and the socket fills it (`space`): nothing is ever concatenated. Large
 * writes come in rows, so after one the next is expected: header and payload find memory of that size waiting.
 *
 *   magic 0x25609513 4 │ flags 2 │ type 2 │ cookie 8 │ offset 8 │ length 4 │ payload of a WRITE
 *
 * Keeps: no more is allocated than `payloadBytesMax` for one payload, and only for a write the sink accepted; while the
 * sink is full nothing is decoded. Leaves validation and limits to the sink.
 */
import { assert } from '../../base/assert.ts';
import { payloadMemory } from '../../base/payload-memory.ts';
import { Command, payloadBytesMax, requestHeaderBytes, requestMagic } from './wire.ts';

/** The cookie is the client's: never looked at, only sent back. */
export interface RequestHeader {
  readonly type: number;
  readonly flags: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Bytes. Above 2^53 imprecise, but still larger than any volume. */
  readonly offset: number;
  readonly length: number;
}

export interface RequestSink {
  /** True while no further request may be taken in; decoding goes on with `proceed`. */
  readonly full: boolean;
  /** A header. For a WRITE: true to get its payload by `payload`, false to have it passed over. */
  request(header: RequestHeader): boolean;
  /** The payload of the WRITE last accepted, to be given back when nobody needs it any more (`PayloadMemory`). */
  payload(data: Uint8Array): void;
  /** Not NBD any more. Nothing is decoded afterwards. */
  garbage(reason: string): void;
}

/**
 * When at least so much of a payload is missing, the socket reads straight into its place. Below, taking the rest from
 * the next chunk costs less than a system call of its own.
 */
const directBytesMin = 32 * 1024;

/** Larger writes are taken as they come: memory is not made ready for what may never arrive. */
const expectedBytesMax = 4 * 1024 * 1024;

export class RequestDecoder implements RequestHeader {
  // The fields of the header being handed on; one object for all, since the sink keeps only what it needs.
  type = 0;
  flags = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offset = 0;
  length = 0;

  readonly #sink: RequestSink;
  /** The beginning of a header that a chunk ended in. */
  readonly #header = new Uint8Array(requestHeaderBytes);
  readonly #headerView = new DataView(this.#header.buffer);
  #headerFilled = 0;
  /** Memory of the payload being collected; null when there is none. */
  #payload: Uint8Array | null = null;
  #payloadStart = 0;
  #payloadBytes = 0;
  #payloadFilled = 0;
  /** Of the request before, if that was a large write, else 0. */
  #expectedBytes = 0;
  /** Memory offered for a header and a payload that are expected. */
  #offered: Uint8Array | null = null;
  /** Payload bytes of a refused write still to pass over. */
  #skipBytes = 0;
  /** What arrived while the sink was full, in order. */
  #held: Uint8Array[] = [];
  #over = false;

  constructor(sink: RequestSink) {
    this.#sink = sink;
  }

  /** Where the next bytes should go; null: anywhere. */
  space(): Uint8Array | null {
    if (this.#payload !== null) {
      const direct = this.#payloadBytes - this.#payloadFilled >= directBytesMin;
      return direct ? this.#payload.subarray(this.#payloadStart + this.#payloadFilled) : null;
    }
    if (this.#expectedBytes === 0 || this.#headerFilled > 0 || this.#over) return null;
    this.#offered = payloadMemory.take(this.#expectedBytes + 2 * requestHeaderBytes);
    return this.#offered;
  }

  received(chunk: Uint8Array): void {
    if (this.#over) return;
    if (this.#held.length > 0) this.#hold(chunk);
    else this.#decode(chunk);
  }

  /** The sink may have room again. */
  proceed(): void {
    while (!this.#over && !this.#sink.full) {
      const chunk = this.#held.shift();
      if (chunk === undefined) return;
      const later = this.#held;
      this.#held = [];
      this.#decode(chunk);
      payloadMemory.give(chunk);
      this.#held.push(...later);
    }
  }

  /** Ends decoding for good. */
  stop(): void {
    this.#over = true;
    this.#held = [];
    this.#payload = null;
  }

  #hold(chunk: Uint8Array): void {
    payloadMemory.share(chunk);
    this.#held.push(chunk);
  }

  #decode(chunk: Uint8Array): void {
    const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
    const end = chunk.length;
    let at = 0;
    while (at < end && !this.#over) {
      if (this.#payload !== null) {
        at = this.#fill(this.#payload, chunk, at);
      } else if (this.#skipBytes > 0) {
        const count = Math.min(this.#skipBytes, end - at);
        this.#skipBytes -= count;
        at += count;
      } else if (this.#sink.full) {
        this.#hold(chunk.subarray(at));
        return;
      } else if (this.#headerFilled === 0 && end - at >= requestHeaderBytes) {
        at = this.#begin(view, at, chunk, at + requestHeaderBytes);
      } else {
        const count = Math.min(requestHeaderBytes - this.#headerFilled, end - at);
        this.#header.set(chunk.subarray(at, at + count), this.#headerFilled);
        this.#headerFilled += count;
        at += count;
        if (this.#headerFilled < requestHeaderBytes) return;
        this.#headerFilled = 0;
        at = this.#begin(this.#headerView, 0, chunk, at);
      }
    }
  }

  /** Reads the header at `headerAt`; its payload begins at `at` in the chunk. Returns where to go on in the chunk. */
  #begin(view: DataView, headerAt: number, chunk: Uint8Array, at: number): number {
    if (view.getUint32(headerAt) !== requestMagic) {
      this.#over = true;
      this.#sink.garbage(`request with magic 0x${view.getUint32(headerAt).toString(16).padStart(8, '0')}`);
      return at;
    }
    this.flags = view.getUint16(headerAt + 4);
    this.type = view.getUint16(headerAt + 6);
    this.cookieHigh = view.getUint32(headerAt + 8);
    this.cookieLow = view.getUint32(headerAt + 12);
    this.offset = view.getUint32(headerAt + 16) * 0x1_0000_0000 + view.getUint32(headerAt + 20);
    const length = (this.length = view.getUint32(headerAt + 24));
    this.#expectedBytes = 0;
    const accepted = this.#sink.request(this);
    if (this.type !== Command.write || this.#over) return at;
    if (!accepted) {
      this.#skipBytes = length;
      return at;
    }
    assert(length <= payloadBytesMax, 'accepted a write that is too long');
    const present = chunk.length - at;
    this.#expectedBytes = length >= directBytesMin && length <= expectedBytesMax ? length : 0;
    if (length <= present) {
      const payload = new Uint8Array(chunk.buffer, chunk.byteOffset + at, length);
      payloadMemory.share(payload);
      this.#sink.payload(payload);
      return at + length;
    }
    this.#payloadBytes = length;
    this.#payloadFilled = 0;
    const start = chunk.byteOffset + at;
    if (this.#offered?.buffer === chunk.buffer && start + length <= this.#offered.length) {
      this.#payload = this.#offered;
      this.#payloadStart = start;
    } else {
      this.#payload = payloadMemory.take(length - present < directBytesMin ? length : length + requestHeaderBytes);
      this.#payloadStart = 0;
    }
    return at;
  }

  #fill(payload: Uint8Array, chunk: Uint8Array, at: number): number {
    const count = Math.min(this.#payloadBytes - this.#payloadFilled, chunk.length - at);
    const inPlace = chunk.buffer === payload.buffer;
    if (!inPlace) payload.set(chunk.subarray(at, at + count), this.#payloadStart + this.#payloadFilled);
    this.#payloadFilled += count;
    if (this.#payloadFilled === this.#payloadBytes) {
      this.#payload = null;
      this.#sink.payload(new Uint8Array(payload.buffer, this.#payloadStart, this.#payloadBytes));
    }
    return at + count;
  }
}
