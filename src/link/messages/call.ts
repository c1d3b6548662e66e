/**
 * `call` and `reply`: requests between nodes that are not part of any group's stream, such as status and the steps of a
 * switch-over. JSON, at most 1 MiB. Numbers are the caller's, for one connection.
 *
 *   call    {id, method, params}
 *   reply   {id, ok: true, result} or {id, ok: false, error: {code, message}}
 */
import { z } from 'zod';
import type { Decoded } from '../../base/codec.ts';
import { errorKinds, HoldfastError, type ErrorCode } from '../../base/errors.ts';
import { controlBytesMax, encodeFrame, type Frame } from '../frame.ts';
import { decodeJson, jsonBytes } from './json.ts';
import { parsed } from './parsed.ts';
import { MessageType } from './types.ts';

const id = z.number().int().nonnegative().max(0xffff_ffff);
const call = z.object({ id, method: z.string().min(1).max(128), params: z.unknown() });
const reply = z.discriminatedUnion('ok', [
  z.object({ id, ok: z.literal(true), result: z.unknown() }),
  z.object({ id, ok: z.literal(false), error: z.object({ code: z.string().max(64), message: z.string() }) }),
]);

export type Call = Readonly<z.infer<typeof call>>;
export type Reply = Readonly<z.infer<typeof reply>>;

/** Null when it is too long to be sent. */
export function encodeCall(value: Call): Uint8Array[] | null {
  return encodeBounded(MessageType.call, value);
}

export const decodeCall = (frame: Frame): Decoded<Call> => parsed(call, decodeJson(frame, controlBytesMax));

export function encodeResult(callId: number, result: unknown): Uint8Array[] {
  return (
    encodeBounded(MessageType.reply, { id: callId, ok: true, result: result ?? null }) ??
    encodeFailure(callId, new HoldfastError('E_INTERNAL', `the answer is longer than ${controlBytesMax} bytes`))
  );
}

/** Anything but a `HoldfastError` is an error of ours and shown as one. */
export function encodeFailure(callId: number, failure: unknown): Uint8Array[] {
  const error =
    failure instanceof HoldfastError
      ? { code: failure.code, message: failure.message.slice(0, 16_384) }
      : { code: 'E_INTERNAL', message: String(failure).slice(0, 16_384) };
  return encodeFrame(MessageType.reply, jsonBytes({ id: callId, ok: false, error }));
}

export const decodeReply = (frame: Frame): Decoded<Reply> => parsed(reply, decodeJson(frame, controlBytesMax));

/** The error as if it had happened here. A code of a newer version counts as internal. */
export function errorOf({ code, message }: { readonly code: string; readonly message: string }): HoldfastError {
  return new HoldfastError(isErrorCode(code) ? code : 'E_INTERNAL', message);
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorKinds, code);
}

function encodeBounded(type: number, value: unknown): Uint8Array[] | null {
  const bytes = jsonBytes(value);
  return bytes.length <= controlBytesMax ? encodeFrame(type, bytes) : null;
}
