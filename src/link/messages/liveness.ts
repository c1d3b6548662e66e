/**
 * `ping` and `pong`: sent on a connection that has had nothing else to say for a while; a pong repeats the ping's token.
 *
 *   token 4
 */
import { decode, Writer, type Decoded } from '../../base/codec.ts';
import { encodeFrame, type Frame } from '../frame.ts';
import { MessageType } from './types.ts';

export function encodePing(token: number): Uint8Array[] {
  return encodeFrame(MessageType.ping, new Writer(4, 4).u32(token).finish());
}

export function encodePong(token: number): Uint8Array[] {
  return encodeFrame(MessageType.pong, new Writer(4, 4).u32(token).finish());
}

/** The token of either. */
export function decodeToken(frame: Frame): Decoded<number> {
  return decode(frame.control, (reader) => reader.u32());
}
