/**
 * Hostile input for the link's decoders: true messages cut, changed, repeated and mixed, with their checksums mended as
 * often as not so that what lies behind them is reached too. Whatever the bytes are, the outcome is a valid message or a
 * refusal with a name; never an exception, never a buffer larger than the limits.
 */
import { crc32c } from '../../src/base/crc32c.ts';
import type { Decoded } from '../../src/base/codec.ts';
import { FrameDecoder, fullLimits, pieceBytesMax, type Frame } from '../../src/link/frame.ts';
import { decodeAnswer, decodeFault } from '../../src/link/messages/answer.ts';
import { decodeCall, decodeReply } from '../../src/link/messages/call.ts';
import { decodeFetch, decodeFetched } from '../../src/link/messages/fetch.ts';
import { decodeHello, decodeRefused, decodeWelcome } from '../../src/link/messages/handshake.ts';
import { decodeJson } from '../../src/link/messages/json.ts';
import { decodeToken } from '../../src/link/messages/liveness.ts';
import { decodeRecords, verifyRecordData } from '../../src/link/messages/records.ts';
import { MessageType } from '../../src/link/messages/types.ts';
import { sampleMessages } from './samples.ts';

export interface FuzzOutcome {
  readonly inputs: number;
  /** Of frames that held. */
  readonly messages: number;
  readonly brokenMessages: number;
  /** How often each breach of framing was found. */
  readonly breaches: ReadonlyMap<string, number>;
}

const decoders: Readonly<Record<number, (frame: Frame) => Decoded<unknown>>> = {
  [MessageType.hello]: decodeHello,
  [MessageType.welcome]: decodeWelcome,
  [MessageType.refused]: decodeRefused,
  [MessageType.ping]: decodeToken,
  [MessageType.pong]: decodeToken,
  [MessageType.call]: decodeCall,
  [MessageType.reply]: decodeReply,
  [MessageType.records]: decodeRecordsAndData,
  [MessageType.answer]: decodeAnswer,
  [MessageType.fault]: decodeFault,
  [MessageType.fetch]: decodeFetch,
  [MessageType.fetched]: decodeFetched,
};

/** Throws at the first input that does what none may; its seed and number replay it. */
export function fuzzLink(seed: number, count: number): FuzzOutcome {
  const breaches = new Map<string, number>();
  let messages = 0;
  let brokenMessages = 0;
  for (let number = 0; number < count; number++) {
    const draw = generator(seed * 1_000_003 + number);
    try {
      for (const frame of decodeAll(hostileInput(draw), draw)) {
        if ('breach' in frame) {
          breaches.set(frame.breach, (breaches.get(frame.breach) ?? 0) + 1);
          continue;
        }
        const decoded = (decoders[frame.type] ?? ((other: Frame) => decodeJson(other)))(frame);
        if (decoded.ok) messages++;
        else if (decoded.reason.length > 0 && decoded.reason.length < 1000) brokenMessages++;
        else throw new Error(`a refusal in ${decoded.reason.length} characters`);
      }
    } catch (error) {
      throw new Error(`fuzzLink(${seed}, …) fails at input ${number}`, { cause: error });
    }
  }
  return { inputs: count, messages, brokenMessages, breaches };
}

/** Whole numbers in [0, bound). */
export type Draw = (bound: number) => number;

export function generator(seed: number): Draw {
  let state = seed >>> 0;
  return (bound) => {
    // xorshift after a Weyl step, so that neighbouring seeds part at once.
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % bound;
  };
}

const valid = [...sampleMessages().values()];

export function hostileInput(draw: Draw): Uint8Array {
  const frames = Array.from({ length: 1 + draw(4) }, () => hostileFrame(draw));
  return new Uint8Array(Buffer.concat(frames));
}

function hostileFrame(draw: Draw): Uint8Array {
  const bytes = Uint8Array.from(valid[draw(valid.length)] ?? []);
  switch (draw(8)) {
    case 0:
      return bytes;
    case 1:
      return new Uint8Array(draw(200)).map(() => draw(256));
    case 2:
      return bytes.subarray(0, draw(bytes.length));
    case 3:
      for (let changes = 1 + draw(3); changes > 0; changes--) bytes[draw(bytes.length)] = draw(256);
      return bytes;
    case 4:
      // Another type of message around the same contents.
      bytes[5] = draw(40);
      return mended(bytes);
    case 5: {
      // A length or count that lies.
      const value = [0, 1, 0xffff, 0xffff_ffff, 0x10_0000, 0x10_0001, 0x400_0000, draw(1000)][draw(8)] ?? 0;
      const view = new DataView(bytes.buffer);
      if (draw(4) === 0) view.setUint16(6, value & 0xffff, true);
      else view.setUint32([8, 12, 24][draw(3)] ?? 8, value, true);
      return mended(bytes);
    }
    default:
      for (let changes = 1 + draw(3); changes > 0; changes--) {
        const at = 24 + draw(bytes.length - 24);
        bytes[at] = draw(2) === 0 ? (bytes[at] ?? 0) ^ (1 << draw(8)) : ([0, 1, 0x7f, 0x80, 0xff][draw(5)] ?? 0);
      }
      return mended(bytes);
  }
}

/** With checksums that are true of what the header and the control part say now. */
function mended(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const controlEnd = Math.min(bytes.length, 24 + view.getUint32(8, true));
  view.setUint32(16, crc32c(bytes.subarray(24, controlEnd)), true);
  view.setUint32(20, crc32c(bytes.subarray(0, 20)), true);
  return bytes;
}

/** In chunks of any size, sometimes through the space offered, under the limits before or after the handshake. */
function* decodeAll(input: Uint8Array, draw: Draw): Generator<ReturnType<FrameDecoder['next']> & object> {
  const limits = draw(2) === 0 ? fullLimits : { controlBytesMax: 65_536, payloadBytesMax: 0 };
  const decoder = new FrameDecoder(limits);
  for (let at = 0; at < input.length;) {
    const space = decoder.space();
    const spaceMax = Math.min(Math.max(limits.controlBytesMax, limits.payloadBytesMax), pieceBytesMax);
    if (space !== null && space.length > spaceMax) throw new Error(`space of ${space.length} bytes`);
    const useSpace = space !== null && draw(2) === 0;
    const length = Math.min(input.length - at, 1 + draw(draw(2) === 0 ? 400 : 5), useSpace ? space.length : Infinity);
    const chunk = useSpace ? space.subarray(0, length) : new Uint8Array(length);
    chunk.set(input.subarray(at, at + length));
    at += length;
    decoder.push(chunk);
    for (let next = decoder.next(); next !== null; next = decoder.next()) {
      yield next;
      if ('breach' in next) return;
    }
  }
}

function decodeRecordsAndData(frame: Frame): Decoded<unknown> {
  const decoded = decodeRecords(frame);
  if (decoded.ok && !decoded.value.records.every(verifyRecordData)) {
    return { ok: false, reason: 'data does not match its checksum' };
  }
  return decoded;
}
