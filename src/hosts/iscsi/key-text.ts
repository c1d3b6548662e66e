/**
 * Text of login and text negotiations (RFC 7143 6.1): `key=value` pairs, each ended by a zero byte. A pair may reach over
 * several PDUs, tied together by the C bit. Total: foreign text is a list of pairs or a sentence that says what is wrong.
 */

export interface Pair {
  readonly key: string;
  readonly value: string;
}

/** Of one negotiation step, all its PDUs together. Nobody needs as much. */
export const textBytesMax = 16 * 1024;
/** RFC 7143 6.1. */
const keyBytesMax = 63;
/** `CHAP_C` of 1024 bytes in hexadecimal; everything else is shorter (RFC 7143 6.1, 12.1.3). */
const valueBytesMax = 2 + 2 * 1024;
/** Every key there is, and as many private ones. */
const pairsMax = 64;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text as it comes in, PDU by PDU. */
export class TextGathering {
  #parts: Uint8Array[] = [];
  #bytes = 0;

  /** Copies `data`. False: too much. */
  add(data: Uint8Array): boolean {
    this.#bytes += data.length;
    if (this.#bytes > textBytesMax) return false;
    // Not `slice`, which does not copy where `data` is a Buffer.
    if (data.length > 0) this.#parts.push(new Uint8Array(data));
    return true;
  }

  /** All there is, and begins anew. */
  take(): Uint8Array {
    const text = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    return text;
  }
}

/** The pairs in order, duplicates too. A string: why not. */
export function decodeText(text: Uint8Array): readonly Pair[] | string {
  const pairs: Pair[] = [];
  let at = 0;
  while (at < text.length) {
    const zero = text.indexOf(0, at);
    // The last zero byte is missing from some initiators' text, and some pad with zeroes that they count.
    const end = zero < 0 ? text.length : zero;
    if (end > at) {
      if (pairs.length === pairsMax) return `more than ${pairsMax} keys`;
      const pair = decodePair(text.subarray(at, end));
      if (typeof pair === 'string') return pair;
      pairs.push(pair);
    }
    at = end + 1;
  }
  return pairs;
}

function decodePair(bytes: Uint8Array): Pair | string {
  const equals = bytes.indexOf(0x3d);
  if (equals < 0) return `${bytes.length} bytes of text without '='`;
  if (equals > keyBytesMax) return `key of ${equals} bytes, at most ${keyBytesMax} allowed`;
  const valueBytes = bytes.length - equals - 1;
  if (valueBytes > valueBytesMax) return `value of ${valueBytes} bytes, at most ${valueBytesMax} allowed`;
  const key = Buffer.from(bytes.subarray(0, equals)).toString('latin1');
  // RFC 7143 6.1, "standard-label"; 13.22 for private ones. `iSCSIProtocolLevel` begins with a small letter.
  if (!/^[A-Za-z][A-Za-z0-9.+@_#-]*$/.test(key)) return `malformed key ${JSON.stringify(key)}`;
  try {
    return { key, value: decoder.decode(bytes.subarray(equals + 1)) };
  } catch {
    return `value of ${key} is not UTF-8`;
  }
}

export function encodeText(pairs: readonly Pair[]): Uint8Array {
  return Buffer.from(pairs.map(({ key, value }) => `${key}=${value}\0`).join(''));
}

/** A numerical value (RFC 7143 6.1): decimal, or hexadecimal behind `0x`. Null: none, or beyond 2^32 - 1. */
export function decodeNumber(value: string): number | null {
  return /^(0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10})$/.test(value) && Number(value) <= 0xffff_ffff ? Number(value) : null;
}

/** A binary value (RFC 7143 6.1): hexadecimal behind `0x`, base64 behind `0b`. Null: none, empty, or longer than `bytesMax`. */
export function decodeBinary(value: string, bytesMax: number): Uint8Array | null {
  const digits = value.slice(2);
  let bytes: Uint8Array;
  if (/^0[xX][0-9a-fA-F]+$/.test(value)) {
    bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  } else if (/^0[bB](?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}={0,2})?$/.test(value)) {
    bytes = Buffer.from(digits, 'base64');
  } else {
    return null;
  }
  return bytes.length > 0 && bytes.length <= bytesMax ? bytes : null;
}

export function encodeBinary(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes).toString('hex')}`;
}
