/**
 * `answer`: how far a leg has come, sent by the target to the owner, once a turn. Cursors never go back within one
 * attachment, so a later answer says all that earlier ones said.
 *
 *   offset  size  control part
 *        0     4  attachment
 *        4     4  flags, defined by the mirror
 *        8    16  received: everything up to here is in the target's memory (generation 8 │ seq 8)
 *       24    16  applied (generation 8 │ seq 8)
 *       40    16  durable (generation 8 │ seq 8)
 *
 * `fault` (JSON): why the leg cannot go on: {attachId, position {generation, seq}, kind, detail, volume, offset, length}.
 */
import { z } from 'zod';
import type { BlockFault } from '../../block/device.ts';
import type { Decoded } from '../../base/codec.ts';
import type { Position } from '../../stream/position.ts';
import { openFrame, sealFrame, type Frame } from '../frame.ts';
import { decodeJson, encodeJson } from './json.ts';
import { parsed } from './parsed.ts';
import { MessageType } from './types.ts';
import { isSafePosition, readPosition, writePosition } from './words.ts';

export interface Answer {
  readonly attachId: number;
  readonly flags: number;
  readonly received: Position;
  readonly applied: Position;
  readonly durable: Position;
}

const answerBytes = 56;

export function encodeAnswer(answer: Answer): Uint8Array[] {
  const open = openFrame(MessageType.answer, answerBytes, []);
  const { view, offset } = open;
  view.setUint32(offset, answer.attachId, true);
  view.setUint32(offset + 4, answer.flags, true);
  writePosition(view, offset + 8, answer.received);
  writePosition(view, offset + 24, answer.applied);
  writePosition(view, offset + 40, answer.durable);
  return sealFrame(open);
}

export function decodeAnswer({ control, pieces }: Frame): Decoded<Answer> {
  if (control.length !== answerBytes || pieces.length !== 0) {
    return { ok: false, reason: `answer of ${control.length} bytes with ${pieces.length} pieces` };
  }
  const view = new DataView(control.buffer, control.byteOffset, control.byteLength);
  const answer: Answer = {
    attachId: view.getUint32(0, true),
    flags: view.getUint32(4, true),
    received: readPosition(view, 8),
    applied: readPosition(view, 24),
    durable: readPosition(view, 40),
  };
  return isSafePosition(answer.received) && isSafePosition(answer.applied) && isSafePosition(answer.durable)
    ? { ok: true, value: answer }
    : { ok: false, reason: 'a position above 2^53 - 1' };
}

export interface LegFault {
  readonly attachId: number;
  /** Of the record that could not be done. */
  readonly position: Position;
  readonly kind: BlockFault['kind'];
  readonly detail: string;
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
}

const count = z.number().int().nonnegative();

const legFault = z.object({
  attachId: count,
  position: z.object({ generation: count, seq: count }),
  kind: z.enum(['readFailed', 'writeFailed', 'flushFailed', 'noSpace', 'readOnly', 'gone']),
  detail: z.string().max(4096),
  volume: count.max(0xffff),
  offset: count,
  length: count,
}) satisfies z.ZodType<LegFault>;

export function encodeFault(fault: LegFault): Uint8Array[] {
  return encodeJson(MessageType.fault, { ...fault, detail: fault.detail.slice(0, 4096) });
}

export function decodeFault(frame: Frame): Decoded<LegFault> {
  return parsed(legFault, decodeJson(frame));
}
