/**
 * Frames on a line that may carry noise, such as a serial one (AS-3): what comes out was put in, whole, or it does not come
 * out at all.
 *
 * Consistent Overhead Byte Stuffing (Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999): the byte 0 stands
 * between frames and nowhere else. Noise thus destroys the frames it touches and no other: the next 0 begins anew. A length
 * field instead would, once hit, swallow what follows it.
 *
 * On the line: 00, stuffed body, 00. Body, little-endian:
 *
 *     u8  kind      1 message, 2 acknowledgement
 *     u32 number    of the message; an acknowledgement bears that of the message it answers
 *     …   payload   of a message: 1 to 1400 bytes; of an acknowledgement: none
 *     u32 CRC-32C   of all before it
 *
 * The checksum finds noise, not malice: who speaks is told by the message itself (BY-6).
 */
import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { channelBytesMax } from './channel.ts';

export type LineFrame =
  | { readonly kind: 'message'; readonly number: number; readonly payload: Uint8Array }
  | { readonly kind: 'acknowledgement'; readonly number: number };

const messageKind = 1;
const acknowledgementKind = 2;
const headBytes = 5;
const checksumBytes = 4;
const bodyBytesMax = headBytes + channelBytesMax + checksumBytes;
/** One more in every 254, and one at the beginning. */
const stuffedBytesMax = bodyBytesMax + Math.ceil(bodyBytesMax / 254);

/** `number`: 0 to 2^32 - 1. */
export function encodeLineFrame(frame: LineFrame): Uint8Array {
  const payload = frame.kind === 'message' ? frame.payload : new Uint8Array(0);
  assert(payload.length <= channelBytesMax, `a message of ${payload.length} bytes`);
  const body = new Uint8Array(headBytes + payload.length + checksumBytes);
  const view = new DataView(body.buffer);
  body[0] = frame.kind === 'message' ? messageKind : acknowledgementKind;
  view.setUint32(1, frame.number, true);
  body.set(payload, headBytes);
  const checksumAt = body.length - checksumBytes;
  view.setUint32(checksumAt, crc32c(body.subarray(0, checksumAt)), true);
  return stuffed(body);
}

/** What arrived and was no frame, since the line was opened. */
export interface LineNoise {
  /** Stretches between two zeroes that were not a frame. */
  damagedFrames: number;
  /** Bytes in them. */
  damagedBytes: number;
}

/** Takes the line's bytes in whatever pieces; memory is that of one frame. */
export class LineDecoder {
  readonly noise: LineNoise = { damagedFrames: 0, damagedBytes: 0 };
  readonly #received: (frame: LineFrame) => void;
  readonly #stretch = new Uint8Array(stuffedBytesMax);
  /** Bytes since the last zero; only the first `stuffedBytesMax` of them are kept: more is no frame. */
  #length = 0;

  constructor(received: (frame: LineFrame) => void) {
    this.#received = received;
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const zero = chunk.indexOf(0, at);
      const end = zero < 0 ? chunk.length : zero;
      if (this.#length < stuffedBytesMax) {
        this.#stretch.set(chunk.subarray(at, Math.min(end, at + stuffedBytesMax - this.#length)), this.#length);
      }
      this.#length += end - at;
      if (zero < 0) return;
      this.#stretchEnds();
      at = zero + 1;
    }
  }

  #stretchEnds(): void {
    const length = this.#length;
    this.#length = 0;
    if (length === 0) return;
    const body = length <= stuffedBytesMax ? unstuffed(this.#stretch.subarray(0, length)) : null;
    const frame = body === null ? null : decodeBody(body);
    if (frame === null) {
      this.noise.damagedFrames++;
      this.noise.damagedBytes += length;
    } else this.#received(frame);
  }
}

function decodeBody(body: Uint8Array): LineFrame | null {
  const checksumAt = body.length - checksumBytes;
  if (checksumAt < headBytes) return null;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  if (view.getUint32(checksumAt, true) !== crc32c(body.subarray(0, checksumAt))) return null;
  const number = view.getUint32(1, true);
  const payload = body.subarray(headBytes, checksumAt);
  if (body[0] === messageKind) {
    return payload.length > 0 && payload.length <= channelBytesMax ? { kind: 'message', number, payload } : null;
  }
  return body[0] === acknowledgementKind && payload.length === 0 ? { kind: 'acknowledgement', number } : null;
}

/**
 * Each run of bytes without a zero is preceded by its length + 1; the zero after it is left out. A run of 254 has no zero
 * after it.
 */
function stuffed(body: Uint8Array): Uint8Array {
  const line = new Uint8Array(body.length + Math.ceil((body.length + 1) / 254) + 2);
  let codeAt = 1;
  let length = 2;
  let run = 1;
  for (const byte of body) {
    if (byte !== 0) {
      line[length++] = byte;
      run++;
    }
    if (byte === 0 || run === 255) {
      line[codeAt] = run;
      codeAt = length++;
      run = 1;
    }
  }
  line[codeAt] = run;
  // The zero at its end is there already.
  return line.subarray(0, length + 1);
}

/** Null where a run would go beyond the end. */
function unstuffed(stretch: Uint8Array): Uint8Array | null {
  const body = new Uint8Array(stretch.length);
  let length = 0;
  for (let at = 0; at < stretch.length;) {
    const run = stretch[at] ?? 0;
    if (at + run > stretch.length) return null;
    body.set(stretch.subarray(at + 1, at + run), length);
    length += run - 1;
    at += run;
    // The zero that was left out; the last run has none.
    if (run < 255 && at < stretch.length) length++;
  }
  return body.subarray(0, length);
}
