/**
 * Messages that are rare: the control part is JSON in UTF-8. What the value must look like is for the one who knows the
 * message to check; here only that it is JSON and not larger than allowed.
 */
import { assert } from '../../base/assert.ts';
import { messageOf } from '../../base/errors.ts';
import type { Decoded } from '../../base/codec.ts';
import { encodeFrame, type Frame } from '../frame.ts';

export const jsonBytesMax = 64 * 1024;

const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder('utf-8', { fatal: true });

export function encodeJson(type: number, value: unknown, pieces: readonly Uint8Array[] = []): Uint8Array[] {
  const bytes = jsonBytes(value);
  assert(bytes.length <= jsonBytesMax, `message of type ${type} with ${bytes.length} bytes of JSON`);
  return encodeFrame(type, bytes, pieces);
}

/** Absent values (`undefined`) travel as null. */
export function jsonBytes(value: unknown): Uint8Array {
  return textEncoder.encode(JSON.stringify(value ?? null));
}

export function decodeJson(frame: Frame, bytesMax = jsonBytesMax): Decoded<unknown> {
  const { control } = frame;
  if (control.length > bytesMax) {
    return { ok: false, reason: `${control.length} bytes of JSON, at most ${bytesMax} allowed` };
  }
  try {
    const value: unknown = JSON.parse(textDecoder.decode(control));
    return { ok: true, value };
  } catch (error) {
    return { ok: false, reason: `not JSON: ${messageOf(error)}` };
  }
}
