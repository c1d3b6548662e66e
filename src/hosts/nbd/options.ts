/**
 * Codec of option haggling (NBD proto.md, "Newstyle negotiation"). Pure, and total: option data from a client either
 * has the form its option demands or is `null`, never an exception.
 *
 *   option   magic `IHAVEOPT` 8 │ option 4 │ length 4 │ data
 *   reply    magic 0x3e889045565a9 8 │ option 4 │ reply type 4 │ length 4 │ data
 */
import {
  Info,
  optionReplyMagicHigh,
  optionReplyMagicLow,
  OptionReply,
  payloadBytesMax,
  preferredBlockBytes,
  stringBytesMax,
} from './wire.ts';

export const optionHeaderBytes = 16;

/** Longest option data taken in; longer data is passed over and answered with ERR_TOO_BIG. */
export const optionDataBytesMax = 64 * 1024;

/** Data of INFO and GO: name length 4 │ name │ number of information requests 2 │ requests 2 each. */
export interface ExportRequest {
  readonly name: string;
  readonly wantsName: boolean;
  readonly wantsDescription: boolean;
}

export function decodeExportRequest(data: Uint8Array): ExportRequest | null {
  const reader = new OptionReader(data);
  const name = reader.text();
  const wanted = new Set<number>();
  for (let left = reader.number16(); left > 0 && !reader.failed; left -= 1) wanted.add(reader.number16());
  if (name === null || !reader.complete) return null;
  return { name, wantsName: wanted.has(Info.name), wantsDescription: wanted.has(Info.description) };
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT: name length 4 │ name │ number of queries 4 │ (length 4 │ query) each. */
export interface ContextRequest {
  readonly exportName: string;
  readonly queries: readonly string[];
}

export function decodeContextRequest(data: Uint8Array): ContextRequest | null {
  const reader = new OptionReader(data);
  const exportName = reader.text();
  const queries: string[] = [];
  for (let left = reader.number32(); left > 0 && !reader.failed; left -= 1) queries.push(reader.text() ?? '');
  return exportName === null || !reader.complete ? null : { exportName, queries };
}

/** A name that stands alone as option data (EXPORT_NAME). */
export function decodeName(data: Uint8Array): string | null {
  if (data.length > stringBytesMax) return null;
  const text = Buffer.from(data.buffer, data.byteOffset, data.length).toString('utf8');
  return text.includes('\0') ? null : text;
}

/** Reads fields one after another; past the end it fails for good and yields zeroes. */
class OptionReader {
  failed = false;
  readonly #view: DataView;
  readonly #data: Uint8Array;
  #position = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
    this.#view = new DataView(data.buffer, data.byteOffset, data.length);
  }

  get complete(): boolean {
    return !this.failed && this.#position === this.#data.length;
  }

  number16(): number {
    const at = this.#advance(2);
    return at === null ? 0 : this.#view.getUint16(at);
  }

  number32(): number {
    const at = this.#advance(4);
    return at === null ? 0 : this.#view.getUint32(at);
  }

  /** A string behind its 32-bit length. */
  text(): string | null {
    const length = this.number32();
    const at = this.#advance(length);
    const text = at === null ? null : decodeName(this.#data.subarray(at, at + length));
    if (text === null) this.failed = true;
    return text;
  }

  #advance(length: number): number | null {
    const at = this.#position;
    if (this.failed || length > this.#data.length - at) {
      this.failed = true;
      return null;
    }
    this.#position = at + length;
    return at;
  }
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const reply = Buffer.allocUnsafe(20 + data.length);
  reply.writeUInt32BE(optionReplyMagicHigh, 0);
  reply.writeUInt32BE(optionReplyMagicLow, 4);
  reply.writeUInt32BE(option, 8);
  reply.writeUInt32BE(type, 12);
  reply.writeUInt32BE(data.length, 16);
  reply.set(data, 20);
  return reply;
}

/** An error, or any other reply whose data is a sentence for people. */
export function encodeSentence(option: number, type: number, sentence: string): Uint8Array {
  return encodeOptionReply(option, type, boundedText(sentence));
}

/** An export of the list: name length 4 │ name │ description. */
export function encodeListEntry(option: number, name: string, description: string): Uint8Array {
  const nameBytes = Buffer.from(name);
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(nameBytes.length);
  return encodeOptionReply(option, OptionReply.server, Buffer.concat([head, nameBytes, boundedText(description)]));
}

/** INFO_EXPORT: type 2 │ size in bytes 8 │ transmission flags 2. */
export function encodeExportInfo(option: number, sizeBytes: number, transmissionFlags: number): Uint8Array {
  const data = Buffer.allocUnsafe(12);
  data.writeUInt16BE(Info.export, 0);
  data.writeBigUInt64BE(BigInt(sizeBytes), 2);
  data.writeUInt16BE(transmissionFlags, 10);
  return encodeOptionReply(option, OptionReply.info, data);
}

/** INFO_BLOCK_SIZE: type 2 │ minimum 4 │ preferred 4 │ maximum 4. */
export function encodeBlockSizeInfo(option: number, minimumBytes: number): Uint8Array {
  const data = Buffer.allocUnsafe(14);
  data.writeUInt16BE(Info.blockSize, 0);
  data.writeUInt32BE(minimumBytes, 2);
  data.writeUInt32BE(Math.max(minimumBytes, preferredBlockBytes), 6);
  data.writeUInt32BE(payloadBytesMax, 10);
  return encodeOptionReply(option, OptionReply.info, data);
}

/** INFO_NAME and INFO_DESCRIPTION: type 2 │ text. */
export function encodeTextInfo(option: number, info: number, text: string): Uint8Array {
  const head = Buffer.allocUnsafe(2);
  head.writeUInt16BE(info);
  return encodeOptionReply(option, OptionReply.info, Buffer.concat([head, boundedText(text)]));
}

/** A metadata context: id 4 │ name. */
export function encodeContext(option: number, id: number, name: string): Uint8Array {
  const head = Buffer.allocUnsafe(4);
  head.writeUInt32BE(id);
  return encodeOptionReply(option, OptionReply.metaContext, Buffer.concat([head, Buffer.from(name)]));
}

/** The answer to EXPORT_NAME, which has no header: size in bytes 8 │ transmission flags 2 │ 124 zeroes if still wanted. */
export function encodeExportNameAnswer(sizeBytes: number, transmissionFlags: number, zeroes: boolean): Uint8Array {
  const answer = Buffer.alloc(zeroes ? 134 : 10);
  answer.writeBigUInt64BE(BigInt(sizeBytes), 0);
  answer.writeUInt16BE(transmissionFlags, 8);
  return answer;
}

function boundedText(text: string): Uint8Array {
  return Buffer.from(text).subarray(0, stringBytesMax);
}
