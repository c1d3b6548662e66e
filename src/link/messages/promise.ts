/**
 * `askPromise` and `promise`: the owner asks a target's node not to take over the group for a while, and the node promises it
 * (R16). Spoken only where both ends have the feature `promises`.
 *
 *   askPromise   attachment 4 │ token 4
 *   promise      attachment 4 │ token 4 │ duration in ms 4, at least 1
 *
 * A promise repeats the token of the question it answers: whoever asked counts the duration from when it asked, whoever promised
 * from when it promised, which is later. A node that will not promise does not answer.
 */
import { decode, Writer, type Decoded } from '../../base/codec.ts';
import { encodeFrame, type Frame } from '../frame.ts';
import { MessageType } from './types.ts';

/** Feature of the handshake without which neither is sent. */
export const promisesFeature = 'promises';

export interface AskPromise {
  readonly attachId: number;
  readonly token: number;
}

export interface NodePromise extends AskPromise {
  readonly durationMs: number;
}

export function encodeAskPromise({ attachId, token }: AskPromise): Uint8Array[] {
  return encodeFrame(MessageType.askPromise, new Writer(8, 8).u32(attachId).u32(token).finish());
}

export function encodePromise({ attachId, token, durationMs }: NodePromise): Uint8Array[] {
  return encodeFrame(MessageType.promise, new Writer(12, 12).u32(attachId).u32(token).u32(durationMs).finish());
}

export function decodeAskPromise(frame: Frame): Decoded<AskPromise> {
  return decode(frame.control, (reader) => ({ attachId: reader.u32(), token: reader.u32() }));
}

export function decodePromise(frame: Frame): Decoded<NodePromise> {
  const decoded = decode(frame.control, (reader) => ({
    attachId: reader.u32(),
    token: reader.u32(),
    durationMs: reader.u32(),
  }));
  return decoded.ok && decoded.value.durationMs === 0 ? { ok: false, reason: 'a promise of no time' } : decoded;
}
