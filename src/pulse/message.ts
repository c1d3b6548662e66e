/**
 * The one message of all channels: who lives, what it says of itself, and whom it hears. Sealed with a MAC over all of
 * it: what is not from a holder of the cluster's key is no message. Little-endian; described in `docs/formats/pulse.md`.
 *
 *     bytes  field
 *     4      magic `HFpl`
 *     1      version, 1
 *     16     cluster id
 *     1+n    sender's name
 *     1+n    receiver's name: a message says nothing to anybody else
 *     1+n    channel id, at most 80 bytes
 *     16     sender's incarnation, drawn with every start of the process
 *     8      wall clock of the sender when that process started, ms
 *     4      serial number, 1 … 2^32 - 1: +1 with each message of the incarnation on the channel, then 1 again (HM-6)
 *     8      sender's wall clock, ms
 *     8      sender's monotonic clock, ms
 *     1      1: an echo follows; 0: the sender has heard nothing of the receiver yet
 *     16     echo: incarnation of the receiver in the last message the sender heard from it
 *     8      echo: monotonic clock in that message
 *     2+n    payload, JSON
 *     32     HMAC-SHA256 by the cluster's key over everything before
 *
 * The echo is what a recording cannot contain: our own incarnation, and a recent time of our own clock. Decoding is total:
 * any bytes give a message or a named refusal, and nothing but the MAC is looked at before the MAC is right.
 */
import { z } from 'zod';
import { assert } from '../base/assert.ts';
import { decode, type Reader, Writer } from '../base/codec.ts';
import { hmacBytes, hmacSha256, isSameMac } from '../base/hmac.ts';
import { channelBytesMax } from './channel.ts';
import { alertCodes, type Indication } from './indication.ts';
import type { NodeWord } from './snapshot.ts';

export interface Heartbeat {
  /** 32 hex digits. */
  readonly clusterId: string;
  readonly from: string;
  readonly to: string;
  readonly channel: string;
  /** 32 hex digits. */
  readonly incarnation: string;
  readonly startedWallMs: number;
  readonly serial: number;
  readonly wallMs: number;
  readonly monotonicMs: number;
  readonly echo: Echo | null;
  readonly payload: HeartbeatPayload;
}

export interface Echo {
  readonly incarnation: string;
  readonly monotonicMs: number;
}

export interface HeartbeatPayload {
  readonly word: NodeWord;
  /** Master of the sender's own site, by what it hears (HM-1). */
  readonly master: string | null;
  /** Not yet acknowledged by the receiver, oldest first, with rising numbers (HM-16). */
  readonly indications: readonly NumberedIndication[];
  /** The oldest request the receiver has not answered (HM-8, HM-14). */
  readonly control: NumberedControl | null;
  /** Of the receiver's own letters to the sender. */
  readonly received: Received | null;
}

export interface NumberedIndication {
  readonly number: number;
  readonly indication: Indication;
}

/** What one node asks of another by whatever channel works. */
export interface ControlMessage {
  /** Such as `use`, `mirror.install`. */
  readonly kind: string;
  /** Plain data; as JSON at most `controlBytesMax`. */
  readonly body: unknown;
}

export interface NumberedControl {
  readonly number: number;
  readonly message: ControlMessage;
}

export interface Received {
  /** Incarnation whose letters these were. */
  readonly incarnation: string;
  /** Indications up to this number have arrived. */
  readonly indication: number;
  /** The last request that was carried out or refused (`error`: why). */
  readonly answer: { readonly number: number; readonly error: string | null } | null;
}

export const controlBytesMax = 400;
export const serialMax = 0xffff_ffff;
const indicationTextMax = 300;
export const indicationsMax = 8;
const answerTextMax = 200;

const magic = 0x6c70_4648;
const version = 1;
const channelLengthMax = 80;
const nameLengthMax = 63;

const name = z.string().min(1).max(nameLengthMax);
const hexId = z.string().regex(/^[0-9a-f]{32}$/);
const number = z.int().positive();
const clockMs = z.number().nonnegative().max(Number.MAX_SAFE_INTEGER);

const word = z.object({
  leaving: z.boolean(),
  automatic: z.boolean(),
  lease: z.enum(['valid', 'lapsed', 'unknown', 'none']),
  ownedVersion: z.int().nonnegative(),
  serving: z.int().nonnegative(),
  hears: z.record(name, z.array(z.string().max(channelLengthMax)).max(64).readonly()),
});

const indication = z.object({
  component: z.enum([
    'node',
    'network',
    'mirror',
    'interconnect',
    'link',
    'volume',
    'disk',
    'application',
    'store',
    'group',
    'log',
  ]),
  id: z.string().max(indicationTextMax),
  code: z.enum(alertCodes),
  level: z.enum(['SYSTEM DOWN', 'SERIOUS', 'MODERATE', 'TEMPORARY']),
  node: name,
  group: name.nullable(),
  atMs: clockMs,
  about: name.optional(),
  text: z.string().max(indicationTextMax),
  over: z.boolean(),
});

const numberedIndication = z.object({ number, indication });

const payload = z.object({
  word,
  master: name.nullable(),
  // A code that a newer version knows must not cost its sender the heartbeat.
  indications: z
    .array(z.unknown())
    .max(indicationsMax)
    .transform((list): readonly NumberedIndication[] =>
      list.flatMap((item) => {
        const read = numberedIndication.safeParse(item);
        return read.success ? [read.data] : [];
      }),
    ),
  control: z
    .strictObject({ number, message: z.object({ kind: z.string().min(1).max(40), body: z.unknown() }) })
    .nullable(),
  received: z
    .strictObject({
      incarnation: hexId,
      indication: z.int().nonnegative(),
      answer: z.object({ number, error: z.string().max(answerTextMax).nullable() }).nullable(),
    })
    .nullable(),
});

/**
 * Sealed with `key`. What does not fit into `channelBytesMax` beside the sender's word is left out, the indications last in
 * the list first, and then the request: it is in the next message again.
 */
export function encodeHeartbeat(heartbeat: Heartbeat, key: Uint8Array): Uint8Array {
  const { payload } = heartbeat;
  let indications = payload.indications.slice(0, indicationsMax);
  let control = payload.control;
  for (;;) {
    const sealed = seal(heartbeat, { ...payload, indications, control }, key);
    if (sealed !== null) return sealed;
    if (indications.length > 0) indications = indications.slice(0, -1);
    else if (control !== null) control = null;
    else if (Object.keys(payload.word.hears).length > 0)
      // A cluster of so many nodes and channels that even this is too much: the digest goes without.
      return encodeHeartbeat({ ...heartbeat, payload: { ...payload, word: { ...payload.word, hears: {} } } }, key);
    else assert(false, `a heartbeat to ${heartbeat.to} does not fit into ${channelBytesMax} bytes`);
  }
}

function seal(heartbeat: Heartbeat, payload: HeartbeatPayload, key: Uint8Array): Uint8Array | null {
  const text = new TextEncoder().encode(JSON.stringify(payload));
  const writer = new Writer(channelBytesMax + text.length, 1024)
    .u32(magic)
    .u8(version)
    .raw(Buffer.from(heartbeat.clusterId, 'hex'))
    .string8(heartbeat.from)
    .string8(heartbeat.to)
    .string8(heartbeat.channel)
    .raw(Buffer.from(heartbeat.incarnation, 'hex'))
    .u64(Math.floor(heartbeat.startedWallMs))
    .u32(heartbeat.serial)
    .u64(Math.floor(heartbeat.wallMs))
    .u64(Math.floor(heartbeat.monotonicMs))
    .boolean(heartbeat.echo !== null);
  if (heartbeat.echo !== null) {
    writer.raw(Buffer.from(heartbeat.echo.incarnation, 'hex')).u64(Math.floor(heartbeat.echo.monotonicMs));
  }
  writer.u16(text.length).raw(text);
  if (writer.length + hmacBytes > channelBytesMax) return null;
  writer.raw(hmacSha256(key, writer.finish()));
  return writer.finish().slice();
}

export type Opened =
  | { readonly kind: 'message'; readonly heartbeat: Heartbeat }
  /** `forged`: the MAC is not by our key; `malformed`: it is, and the message is none of this version. */
  | { readonly kind: 'refused'; readonly reason: 'forged' | 'malformed'; readonly detail: string };

/** Payloads kept: of each sender the last is enough. */
const payloadsKnownMax = 64;

/** Payloads that were read, by their text: most heartbeats say what the one before said, and then it is the same object. */
export class PayloadsKnown {
  readonly #byText = new Map<string, HeartbeatPayload>();

  /** Throws a `DecodeError` through `reader`. */
  read(text: string, reader: Reader): HeartbeatPayload {
    const known = this.#byText.get(text);
    if (known !== undefined) return known;
    const parsed = payload.safeParse(jsonOf(text));
    if (!parsed.success)
      return reader.fail(`a payload that is none: ${parsed.error.issues[0]?.path.join('.') ?? ''}`);
    const [oldest] = this.#byText.keys();
    if (this.#byText.size >= payloadsKnownMax && oldest !== undefined) this.#byText.delete(oldest);
    this.#byText.set(text, parsed.data);
    return parsed.data;
  }
}

/** Total: whatever the bytes are. */
export function decodeHeartbeat(bytes: Uint8Array, key: Uint8Array, known = new PayloadsKnown()): Opened {
  if (bytes.length > channelBytesMax) return forged(`${bytes.length} bytes, at most ${channelBytesMax} allowed`);
  const end = bytes.length - hmacBytes;
  if (end <= 0) return forged(`${bytes.length} bytes are too few for a MAC`);
  const body = bytes.subarray(0, end);
  if (!isSameMac(hmacSha256(key, body), bytes.subarray(end))) return forged('not sealed by the key of this cluster');
  const decoded = decode(body, (reader) => readBody(reader, known));
  if (!decoded.ok) return { kind: 'refused', reason: 'malformed', detail: decoded.reason };
  return { kind: 'message', heartbeat: decoded.value };
}

const forged = (detail: string): Opened => ({ kind: 'refused', reason: 'forged', detail });

function readBody(reader: Reader, known: PayloadsKnown): Heartbeat {
  if (reader.u32() !== magic) reader.fail('another magic number', 0);
  const found = reader.u8();
  if (found !== version) reader.fail(`version ${found}, this program knows ${version}`, 4);
  const clusterId = hexOf(reader.raw(16));
  const from = reader.string8(nameLengthMax);
  const to = reader.string8(nameLengthMax);
  const channel = reader.string8(channelLengthMax);
  const incarnation = hexOf(reader.raw(16));
  const startedWallMs = reader.u64();
  const serial = reader.u32();
  if (serial === 0) reader.fail('serial number 0');
  const wallMs = reader.u64();
  const monotonicMs = reader.u64();
  const echo = reader.boolean() ? { incarnation: hexOf(reader.raw(16)), monotonicMs: reader.u64() } : null;
  const text = reader.string16(channelBytesMax);
  return {
    clusterId,
    from,
    to,
    channel,
    incarnation,
    startedWallMs,
    serial,
    wallMs,
    monotonicMs,
    echo,
    payload: known.read(text, reader),
  };
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Whether `next` comes later than `last`; the way from the maximum back to 1 counts as rising (HM-6). */
export function serialRises(last: number, next: number): boolean {
  const distance = (next - last + serialMax) % serialMax;
  return distance > 0 && distance < serialMax / 2;
}

export const nextSerial = (last: number): number => (last >= serialMax ? 1 : last + 1);

/** Cut to what a message can carry. */
export function boundedIndication(indication: Indication): Indication {
  const { id, text } = indication;
  return { ...indication, id: cut(id, 100), text: cut(text, indicationTextMax) };
}

export const boundedError = (text: string): string => cut(text, answerTextMax);

const cut = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length - 1)}…`;
