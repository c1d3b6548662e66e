/**
 * Frames: how messages travel on a link's connections. A frame is a header, a control part and pieces of payload.
 * All integers are little-endian.
 *
 *   offset  size  header
 *        0     4  magic: the bytes "HFLK"
 *        4     1  version of this layout: 1
 *        5     1  type of message (messages/types.ts)
 *        6     2  number of pieces, at most 4,096
 *        8     4  control length in bytes, at most 1 MiB
 *       12     4  payload length in bytes: the sum of the pieces, at most 64 MiB
 *       16     4  CRC-32C of the control part
 *       20     4  CRC-32C of the 20 bytes before
 *       24        control: the length of each piece (4 bytes each, at most 32 MiB), then the message's own part
 *                 payload: the pieces, one after another
 *
 * Invariants: no payload byte is copied when it arrives in the same chunk as the rest of its piece, or when the binding
 * fills the space offered; nothing is ever concatenated; a length is trusted for an allocation only after the header's
 * checksum and the bounds have been checked. Payload carries no checksum here: the messages that carry payload have one
 * for each piece, computed once where the data came in.
 */
import { assert } from '../base/assert.ts';
import { payloadMemory } from '../base/payload-memory.ts';
import { crc32c } from '../base/crc32c.ts';

export interface Frame {
  readonly type: number;
  /** The message's own part: without the lengths of the pieces. To be read in the call that delivers it. */
  readonly control: Uint8Array;
  /** Each to be given back when nobody needs it any more (`PayloadMemory`). */
  readonly pieces: readonly Uint8Array[];
}

/** Why bytes are not a frame. The connection cannot go on: where the next frame begins is not known. */
export type FrameBreach =
  | 'badMagic'
  | 'badVersion'
  | 'headerChecksum'
  | 'controlTooLong'
  | 'payloadTooLong'
  | 'tooManyPieces'
  | 'controlChecksum'
  | 'pieceTooLong'
  | 'pieceLengths';

export interface FrameRefusal {
  readonly breach: FrameBreach;
  /** In plain words, with the numbers. */
  readonly detail: string;
}

export interface FrameLimits {
  readonly controlBytesMax: number;
  readonly payloadBytesMax: number;
}

interface FrameHeader {
  readonly type: number;
  readonly pieceCount: number;
  readonly controlLength: number;
  readonly payloadLength: number;
  readonly controlChecksum: number;
}

const magic = 0x4b4c4648;
const layoutVersion = 1;
const headerBytes = 24;

export const piecesMax = 4096;
export const pieceBytesMax = 32 * 1024 * 1024;
export const controlBytesMax = 1024 * 1024;
export const payloadBytesMax = 64 * 1024 * 1024;

export const fullLimits: FrameLimits = { controlBytesMax, payloadBytesMax };

/** What is left of a piece is offered to the binding from this size on: below it, reading ahead saves system calls. */
const spaceBytesMin = 16 * 1024;

const nothing = new Uint8Array(0);

/**
 * Incremental and total: after each `push`, call `next` until it returns null. Having refused, it refuses for ever. The
 * limits may be changed between two frames.
 */
export class FrameDecoder {
  limits: FrameLimits;
  /** What was pushed and is not used up yet begins at `#at`. */
  #chunk: Uint8Array = nothing;
  #at = 0;
  /** The field being gathered because it straddles chunks: exactly its size, the first `#filled` bytes are there. */
  #partial: Uint8Array | null = null;
  #filled = 0;
  /** Of the frame being read; null until its header is complete. */
  #header: FrameHeader | null = null;
  /** With the lengths of the pieces. Null until it is complete. */
  #control: Uint8Array | null = null;
  #pieces: Uint8Array[] = [];
  #refusal: FrameRefusal | null = null;

  constructor(limits: FrameLimits = fullLimits) {
    this.limits = limits;
  }

  /** Where the next bytes should be put, for `StreamEvents.space`. */
  space(): Uint8Array | null {
    const partial = this.#partial;
    return partial !== null && partial.length - this.#filled >= spaceBytesMin ? partial.subarray(this.#filled) : null;
  }

  /** The pieces of frames share in the memory of `chunk`, unless it is the front part of the space offered. */
  push(chunk: Uint8Array): void {
    assert(this.#at === this.#chunk.length, 'a chunk was pushed before the one before it was used up');
    const partial = this.#partial;
    if (
      partial !== null &&
      chunk.buffer === partial.buffer &&
      chunk.byteOffset === partial.byteOffset + this.#filled
    ) {
      this.#filled += chunk.length;
      return;
    }
    this.#chunk = chunk;
    this.#at = 0;
  }

  /** Null: more bytes are needed. */
  next(): Frame | FrameRefusal | null {
    if (this.#refusal !== null) return this.#refusal;
    const result = this.#read();
    if (result === null || 'breach' in result) {
      // Copied rather than shared: nobody would give it back.
      if (this.#control?.buffer === this.#chunk.buffer) this.#control = new Uint8Array(this.#control);
      this.#chunk = nothing;
      this.#at = 0;
    }
    if (result !== null && 'breach' in result) this.#refusal = result;
    return result;
  }

  #read(): Frame | FrameRefusal | null {
    if (this.#header === null) {
      const bytes = this.#take(headerBytes);
      if (bytes === null) return null;
      const refusal = this.#readHeader(bytes);
      if (refusal !== null) return refusal;
    }
    const header = this.#header;
    assert(header !== null, 'a header was read');
    if (this.#control === null) {
      const bytes = this.#take(header.controlLength);
      if (bytes === null) return null;
      const refusal = this.#readControl(bytes, header);
      if (refusal !== null) return refusal;
    }
    const control = this.#control;
    assert(control !== null, 'a control part was read');
    while (this.#pieces.length < header.pieceCount) {
      const piece = this.#take(readU32(control, 4 * this.#pieces.length));
      if (piece === null) return null;
      // One that was gathered has memory of its own.
      if (piece.buffer === this.#chunk.buffer) payloadMemory.share(piece);
      this.#pieces.push(piece);
    }
    const frame: Frame = {
      type: header.type,
      control: control.subarray(4 * header.pieceCount),
      pieces: this.#pieces,
    };
    this.#header = null;
    this.#control = null;
    this.#pieces = [];
    return frame;
  }

  #readHeader(bytes: Uint8Array): FrameRefusal | null {
    const foundMagic = readU32(bytes, 0);
    if (foundMagic !== magic) return refuse('badMagic', `a frame begins with ${foundMagic.toString(16)}`);
    const version = bytes[4];
    if (version !== layoutVersion)
      return refuse('badVersion', `frame of version ${version ?? 0}, not ${layoutVersion}`);
    if (readU32(bytes, 20) !== crc32c(bytes.subarray(0, 20))) {
      return refuse('headerChecksum', 'the checksum of a frame header is wrong');
    }
    const pieceCount = readU32(bytes, 4) >>> 16;
    const controlLength = readU32(bytes, 8);
    const payloadLength = readU32(bytes, 12);
    if (pieceCount > piecesMax) return refuse('tooManyPieces', `${pieceCount} pieces, at most ${piecesMax} allowed`);
    if (controlLength > this.limits.controlBytesMax) {
      return refuse(
        'controlTooLong',
        `control of ${controlLength} bytes, at most ${this.limits.controlBytesMax} allowed`,
      );
    }
    if (payloadLength > this.limits.payloadBytesMax) {
      return refuse(
        'payloadTooLong',
        `payload of ${payloadLength} bytes, at most ${this.limits.payloadBytesMax} allowed`,
      );
    }
    if (4 * pieceCount > controlLength) {
      return refuse('pieceLengths', `${pieceCount} pieces, but a control part of only ${controlLength} bytes`);
    }
    const controlChecksum = readU32(bytes, 16);
    this.#header = { type: bytes[5] ?? 0, pieceCount, controlLength, payloadLength, controlChecksum };
    return null;
  }

  #readControl(bytes: Uint8Array, header: FrameHeader): FrameRefusal | null {
    const { pieceCount, payloadLength } = header;
    if (crc32c(bytes) !== header.controlChecksum)
      return refuse('controlChecksum', 'the checksum of a control part is wrong');
    let sum = 0;
    for (let piece = 0; piece < pieceCount; piece++) {
      const length = readU32(bytes, 4 * piece);
      if (length > pieceBytesMax) {
        return refuse('pieceTooLong', `piece of ${length} bytes, at most ${pieceBytesMax} allowed`);
      }
      sum += length;
    }
    if (sum !== payloadLength) {
      return refuse('pieceLengths', `pieces of ${sum} bytes together in a payload of ${payloadLength}`);
    }
    this.#control = bytes;
    return null;
  }

  /** The next `length` bytes: a view where one chunk has them all, else gathered. Null: not all there yet. */
  #take(length: number): Uint8Array | null {
    const rest = this.#chunk.length - this.#at;
    if (this.#partial === null) {
      if (rest >= length) {
        this.#at += length;
        return this.#chunk.subarray(this.#at - length, this.#at);
      }
      // Nothing of a small field has come: the next chunk may well have it whole.
      if (rest === 0 && length < spaceBytesMin) return null;
      this.#partial = payloadMemory.take(length);
      this.#filled = 0;
    }
    const partial = this.#partial;
    const taken = Math.min(rest, partial.length - this.#filled);
    partial.set(this.#chunk.subarray(this.#at, this.#at + taken), this.#filled);
    this.#at += taken;
    this.#filled += taken;
    if (this.#filled < partial.length) return null;
    this.#partial = null;
    return partial;
  }
}

/** A DataView for each frame received would cost more than all that is read through it. */
function readU32(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
  return (low | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}

function refuse(breach: FrameBreach, detail: string): FrameRefusal {
  return { breach, detail };
}

/** A frame whose own part the caller writes at `offset` of `view`; `sealFrame` then makes it ready to be sent. */
export interface OpenFrame {
  readonly view: DataView;
  readonly offset: number;
  readonly head: Uint8Array;
  readonly pieces: readonly Uint8Array[];
}

/** Heads are cut from slabs: an allocation and a DataView for each frame would cost more than writing it. */
const slabBytes = 64 * 1024;
let slab = Buffer.allocUnsafeSlow(slabBytes);
let slabView = new DataView(slab.buffer);
let slabUsed = 0;

export function openFrame(type: number, ownControlLength: number, pieces: readonly Uint8Array[]): OpenFrame {
  const controlLength = 4 * pieces.length + ownControlLength;
  let payloadLength = 0;
  for (const piece of pieces) {
    assert(piece.length <= pieceBytesMax, `piece of ${piece.length} bytes`);
    payloadLength += piece.length;
  }
  assert(pieces.length <= piecesMax, `frame of ${pieces.length} pieces`);
  assert(controlLength <= controlBytesMax, `frame with a control part of ${controlLength} bytes`);
  assert(payloadLength <= payloadBytesMax, `frame with a payload of ${payloadLength} bytes`);

  const length = headerBytes + controlLength;
  let bytes = slab;
  let view = slabView;
  let at = slabUsed;
  if (length > slabBytes / 4) {
    bytes = Buffer.allocUnsafeSlow(length);
    view = new DataView(bytes.buffer);
    at = 0;
  } else {
    if (slabUsed + length > slabBytes) {
      bytes = slab = Buffer.allocUnsafeSlow(slabBytes);
      view = slabView = new DataView(slab.buffer);
      at = 0;
    }
    slabUsed = at + length;
  }
  view.setUint32(at, magic, true);
  view.setUint8(at + 4, layoutVersion);
  view.setUint8(at + 5, type);
  view.setUint16(at + 6, pieces.length, true);
  view.setUint32(at + 8, controlLength, true);
  view.setUint32(at + 12, payloadLength, true);
  let offset = at + headerBytes;
  for (const piece of pieces) {
    view.setUint32(offset, piece.length, true);
    offset += 4;
  }
  return { view, offset, head: bytes.subarray(at, at + length), pieces };
}

/** The parts to send, in order: the head, then the pieces themselves, which must not change until sent. */
export function sealFrame({ view, head, pieces }: OpenFrame): Uint8Array[] {
  const at = head.byteOffset;
  view.setUint32(at + 16, crc32c(head.subarray(headerBytes)), true);
  view.setUint32(at + 20, crc32c(head.subarray(0, 20)), true);
  return [head, ...pieces];
}

/** For messages that are rare enough to be written aside first. */
export function encodeFrame(type: number, control: Uint8Array, pieces: readonly Uint8Array[] = []): Uint8Array[] {
  const open = openFrame(type, control.length, pieces);
  open.head.set(control, open.head.length - control.length);
  return sealFrame(open);
}
