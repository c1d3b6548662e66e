/**
 * The wire of heartbeat mirrors: what carries a block from the primary backing store to the secondary (HM-2), on a TCP
 * connection of its own. Little-endian.
 *
 *     frame      = length u32 (of what follows the checksum) · CRC-32C u32 · type u8 · body
 *     1 challenge  target → source   version u16 · nonce 16
 *     2 hello      source → target   nonce 16 · mirror string8 · from string8 · to string8 · mac 32
 *     3 welcome    target → source   message u64 · table u64 · mac 32     sequence numbers that the secondary holds
 *     4 refused    target → source   text string16                        the connection ends
 *     5 write      source → target   number u64 · region u8 · payload bytes32 · mac 32
 *     6 answer     target → source   number u64 · problem string16 (empty: written, and read back) · mac 32
 *
 * Every MAC is HMAC-SHA256 over a label, and over all of the frame's body before it (BY-6). Those of hello and welcome are by
 * the cluster's key and cover both nonces, so neither can be played again; those of writes and answers are by a key of
 * the connection, with numbers that rise: nothing can be slipped in, repeated or exchanged.
 *
 * The source sends the next write of a region when the last one is answered: at most one of each is under way.
 */
import { assertNever } from '../base/assert.ts';
import { decode, Writer, type Reader } from '../base/codec.ts';
import { crc32c } from '../base/crc32c.ts';
import { hmacBytes, hmacSha256, isSameMac } from '../base/hmac.ts';
import { regions, tableBytesMax, type RegionName } from './mirror-slot.ts';

export const feedVersion = 1;
export const nonceBytes = 16;
const prefixBytes = 8;
const nameLengthMax = 63;
const textLengthMax = 400;
const frameBytesMax = 1 + 8 + 1 + 4 + tableBytesMax + hmacBytes;
/** Before the other end has shown that it knows the key. */
const greetingBytesMax = 512;

export interface FeedIdentity {
  readonly mirror: string;
  readonly from: string;
  readonly to: string;
}

export type FeedFrame =
  | { readonly type: 'challenge'; readonly version: number; readonly nonce: Uint8Array }
  | { readonly type: 'hello'; readonly nonce: Uint8Array; readonly identity: FeedIdentity; readonly mac: Uint8Array }
  | {
      readonly type: 'welcome';
      readonly sequences: Readonly<Record<RegionName, number>>;
      readonly mac: Uint8Array;
    }
  | { readonly type: 'refused'; readonly text: string }
  | {
      readonly type: 'write';
      readonly number: number;
      readonly region: RegionName;
      readonly payload: Uint8Array;
      readonly mac: Uint8Array;
    }
  /** `problem` null: written, and read back. */
  | { readonly type: 'answer'; readonly number: number; readonly problem: string | null; readonly mac: Uint8Array };

const types = { challenge: 1, hello: 2, welcome: 3, refused: 4, write: 5, answer: 6 } as const;

/** A frame without its MAC: what the MAC covers. */
type Unsigned<Frame> = Frame extends unknown ? Omit<Frame, 'mac'> : never;

function writeBody(writer: Writer, frame: Unsigned<FeedFrame>): void {
  writer.u8(types[frame.type]);
  switch (frame.type) {
    case 'challenge':
      writer.u16(frame.version).raw(frame.nonce);
      return;
    case 'hello':
      writer.raw(frame.nonce).string8(frame.identity.mirror).string8(frame.identity.from).string8(frame.identity.to);
      return;
    case 'welcome':
      writer.u64(frame.sequences.message).u64(frame.sequences.table);
      return;
    case 'refused':
      writer.string16(frame.text.slice(0, textLengthMax / 4));
      return;
    case 'write':
      writer.u64(frame.number).u8(regions[frame.region].number).bytes32(frame.payload);
      return;
    case 'answer':
      writer.u64(frame.number).string16((frame.problem ?? '').slice(0, textLengthMax / 4));
      return;
    default:
      assertNever(frame);
  }
}

function bodyOf(frame: Unsigned<FeedFrame>): Uint8Array {
  const writer = new Writer(frameBytesMax);
  writeBody(writer, frame);
  return writer.finish();
}

/** Of a frame that bears no MAC. */
export function encodePlain(frame: Extract<FeedFrame, { type: 'challenge' | 'refused' }>): Uint8Array {
  return framed(bodyOf(frame));
}

export function encodeSigned(
  frame: Unsigned<Exclude<FeedFrame, { type: 'challenge' | 'refused' }>>,
  sign: (body: Uint8Array) => Uint8Array,
): Uint8Array {
  const body = bodyOf(frame);
  return framed(body, sign(body));
}

/** Whether the frame's MAC is what `sign` gives for `signed`, what came before it. */
export function isSigned(
  { mac }: Exclude<FeedFrame, { type: 'challenge' | 'refused' }>,
  signed: Uint8Array,
  sign: (body: Uint8Array) => Uint8Array,
): boolean {
  return isSameMac(mac, sign(signed));
}

function framed(...parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const frame = new Writer(prefixBytes + body.length, prefixBytes + body.length);
  return frame.u32(body.length).u32(crc32c(body)).raw(body).finish();
}

/** Who signs what: by the cluster's key until both ends have shown that they know it, then by a key of the connection. */
export class FeedKeys {
  readonly #key: Uint8Array;
  readonly #nonces: Uint8Array;
  #session: Uint8Array | null = null;

  constructor(clusterKey: Uint8Array, challengeNonce: Uint8Array, helloNonce: Uint8Array) {
    this.#key = clusterKey;
    this.#nonces = Buffer.concat([challengeNonce, helloNonce]);
  }

  readonly signHello = (body: Uint8Array): Uint8Array => this.#sign(this.#key, 'hello', body);
  readonly signWelcome = (body: Uint8Array): Uint8Array => this.#sign(this.#key, 'welcome', body);
  readonly signWrite = (body: Uint8Array): Uint8Array => this.#sign(this.#sessionKey(), 'write', body);
  readonly signAnswer = (body: Uint8Array): Uint8Array => this.#sign(this.#sessionKey(), 'answer', body);

  #sessionKey(): Uint8Array {
    return (this.#session ??= this.#sign(this.#key, 'session', new Uint8Array(0)));
  }

  #sign(key: Uint8Array, label: string, body: Uint8Array): Uint8Array {
    return hmacSha256(key, Buffer.from(`holdfast heartbeat mirror ${label}\0`), this.#nonces, body);
  }
}

/** `signed`: what the MAC covers, of a frame that bears one. */
type FrameTaker = (frame: FeedFrame, signed: Uint8Array) => void;

/** Takes a connection's bytes in whatever pieces; after a breach nothing more comes out. */
export class FeedDecoder {
  readonly #received: FrameTaker;
  readonly #breached: (reason: string) => void;
  #bytes = new Uint8Array(prefixBytes + greetingBytesMax);
  #length = 0;
  #frameBytesMax = greetingBytesMax;
  #ended = false;

  constructor(received: FrameTaker, breached: (reason: string) => void) {
    this.#received = received;
    this.#breached = breached;
  }

  /** The other end has shown that it knows the key: it may send blocks. */
  allowBlocks(): void {
    const larger = new Uint8Array(prefixBytes + frameBytesMax);
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#frameBytesMax = frameBytesMax;
  }

  end(): void {
    this.#ended = true;
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && !this.#ended;) {
      const wanted = this.#wanted();
      const taken = Math.min(wanted - this.#length, chunk.length - at);
      this.#bytes.set(chunk.subarray(at, at + taken), this.#length);
      this.#length += taken;
      at += taken;
      if (this.#length === prefixBytes) this.#checkLength();
      else if (this.#length === wanted) this.#frameEnds();
    }
  }

  #bodyBytes(): number {
    return new DataView(this.#bytes.buffer).getUint32(0, true);
  }

  /** First the prefix, then all of the frame. */
  #wanted(): number {
    return this.#length < prefixBytes ? prefixBytes : prefixBytes + this.#bodyBytes();
  }

  #checkLength(): void {
    const bytes = this.#bodyBytes();
    if (bytes === 0 || bytes > this.#frameBytesMax) {
      this.#breach(`a frame of ${bytes} bytes, at most ${this.#frameBytesMax} allowed`);
    }
  }

  #frameEnds(): void {
    const body = this.#bytes.slice(prefixBytes, this.#length);
    const checksum = new DataView(this.#bytes.buffer).getUint32(4, true);
    this.#length = 0;
    if (crc32c(body) !== checksum) return this.#breach('a checksum that does not match');
    const frame = decode(body, readFrame);
    if (frame.ok) this.#received(frame.value, body.subarray(0, Math.max(0, body.length - hmacBytes)));
    else this.#breach(frame.reason);
  }

  #breach(reason: string): void {
    this.#ended = true;
    this.#breached(reason);
  }
}

function readFrame(reader: Reader): FeedFrame {
  const type = reader.u8();
  switch (type) {
    case types.challenge:
      return { type: 'challenge', version: reader.u16(), nonce: reader.raw(nonceBytes) };
    case types.hello: {
      const nonce = reader.raw(nonceBytes);
      const name = (): string => reader.string8(nameLengthMax);
      const identity = { mirror: name(), from: name(), to: name() };
      return { type: 'hello', nonce, identity, mac: reader.raw(hmacBytes) };
    }
    case types.welcome: {
      const sequences = { message: reader.u64(), table: reader.u64() };
      return { type: 'welcome', sequences, mac: reader.raw(hmacBytes) };
    }
    case types.refused:
      return { type: 'refused', text: reader.string16(textLengthMax) };
    case types.write: {
      const number = reader.u64();
      const code = reader.u8();
      const region = code === 1 ? 'message' : code === 2 ? 'table' : reader.fail(`region ${code}`);
      const payload = reader.bytes32(regions[region].payloadBytesMax);
      return { type: 'write', number, region, payload, mac: reader.raw(hmacBytes) };
    }
    case types.answer: {
      const number = reader.u64();
      const problem = reader.string16(textLengthMax);
      return { type: 'answer', number, problem: problem === '' ? null : problem, mac: reader.raw(hmacBytes) };
    }
    default:
      return reader.fail(`frames of type ${type} are not known`);
  }
}
