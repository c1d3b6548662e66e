/**
 * The conversation before the first request: greeting, client flags, option haggling (fixed newstyle, NBD proto.md).
 * No I/O: bytes go in by `received`, `next` returns one thing to do at a time. Every option is answered, also those
 * nobody knows; only what cannot be answered (a wrong magic, a refused EXPORT_NAME) ends the conversation.
 *
 * Keeps: nothing is held open before GO or EXPORT_NAME; at most one option's data is in memory, bounded by
 * `optionDataBytesMax`. Leaves to the session: sending, the deadline, when to ask for the next step.
 */
import type { ExportEntry, ExportRefusal, HostVolume } from '../../group/host-access.ts';
import {
  decodeContextRequest,
  decodeExportRequest,
  decodeName,
  encodeBlockSizeInfo,
  encodeContext,
  encodeExportInfo,
  encodeExportNameAnswer,
  encodeListEntry,
  encodeOptionReply,
  encodeSentence,
  encodeTextInfo,
  type ExportRequest,
  optionDataBytesMax,
  optionHeaderBytes,
} from './options.ts';
import {
  allocationContext,
  allocationContextId,
  HandshakeFlag,
  Info,
  Option,
  OptionReply,
  optionMagicHigh,
  optionMagicLow,
  serverMagicHigh,
  serverMagicLow,
  TransmissionFlag,
} from './wire.ts';

/** A client that has not chosen an export after so many options never will. */
export const optionsMax = 1024;

/** The catalogue, as one session sees it. */
export interface Exports {
  list(): readonly ExportEntry[];
  open(name: string): HostVolume | ExportRefusal;
  /** Gives back what `open` returned. */
  close(): void;
}

/** What the client agreed to use. */
export interface Agreement {
  readonly structuredReplies: boolean;
  /** `base:allocation` may be asked for. */
  readonly allocation: boolean;
}

export type HandshakeStep =
  /** Nothing can be done before more bytes arrive. */
  | { readonly kind: 'wait' }
  | { readonly kind: 'reply'; readonly parts: readonly Uint8Array[] }
  /** Send the parts; then requests follow, the first ones perhaps already in `rest`. */
  | {
      readonly kind: 'enter';
      readonly parts: readonly Uint8Array[];
      readonly volume: HostVolume;
      readonly agreement: Agreement;
      readonly rest: Uint8Array;
    }
  /** Send the parts and close. `fault`: the other side broke the protocol. */
  | { readonly kind: 'end'; readonly parts: readonly Uint8Array[]; readonly reason: string; readonly fault: boolean };

type State =
  /** The 32 bits of client flags come next. */
  | 'clientFlags'
  | 'option'
  /** Data of an option that is too big is passed over. */
  | 'skipping'
  | 'over';

const wait: HandshakeStep = { kind: 'wait' };
const nothing = new Uint8Array(0);

/** What the server says first. */
export function greeting(): Uint8Array {
  const bytes = Buffer.allocUnsafe(18);
  bytes.writeUInt32BE(serverMagicHigh, 0);
  bytes.writeUInt32BE(serverMagicLow, 4);
  bytes.writeUInt32BE(optionMagicHigh, 8);
  bytes.writeUInt32BE(optionMagicLow, 12);
  bytes.writeUInt16BE(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes, 16);
  return bytes;
}

export class Handshake {
  readonly #exports: Exports;
  #state: State = 'clientFlags';
  /** Received, not consumed: a part of memory that doubles, since a client may send byte by byte. */
  #input: Uint8Array = nothing;
  #memory: Uint8Array = nothing;
  #skipBytes = 0;
  /** The option whose data is skipped. */
  #skippedOption = 0;
  #optionsSeen = 0;
  #noZeroes = false;
  #structuredReplies = false;
  /** Name of the export for which `base:allocation` was last selected; null when it was not. */
  #allocationOf: string | null = null;

  constructor(exports: Exports) {
    this.#exports = exports;
  }

  received(chunk: Uint8Array): void {
    const kept = this.#input;
    const end = kept.byteOffset + kept.length;
    if (this.#memory.length - end < chunk.length || kept.buffer !== this.#memory.buffer) {
      this.#memory = Buffer.allocUnsafeSlow(2 * (kept.length + chunk.length));
      this.#memory.set(kept);
      this.#memory.set(chunk, kept.length);
      this.#input = this.#memory.subarray(0, kept.length + chunk.length);
    } else {
      this.#memory.set(chunk, end);
      this.#input = this.#memory.subarray(kept.byteOffset, end + chunk.length);
    }
  }

  /** Call until it says `wait`; after `enter` and `end` never again. */
  next(): HandshakeStep {
    switch (this.#state) {
      case 'clientFlags':
        return this.#clientFlags();
      case 'option':
        return this.#option();
      case 'skipping':
        return this.#skip();
      case 'over':
        return wait;
    }
  }

  /** NBD proto.md: unknown client flags must drop the connection; so must a client of the older style, which we cannot answer. */
  #clientFlags(): HandshakeStep {
    if (this.#input.length < 4) return wait;
    const flags = this.#number32(0);
    this.#consume(4);
    if ((flags & HandshakeFlag.fixedNewstyle) === 0) return this.#end('client does not speak fixed newstyle');
    if ((flags & ~(HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes)) !== 0) {
      return this.#end(`unknown client flags 0x${flags.toString(16)}`);
    }
    this.#noZeroes = (flags & HandshakeFlag.noZeroes) !== 0;
    this.#state = 'option';
    return this.#option();
  }

  #option(): HandshakeStep {
    if (this.#input.length < optionHeaderBytes) return wait;
    if (this.#number32(0) !== optionMagicHigh || this.#number32(4) !== optionMagicLow) {
      return this.#end('option without its magic number');
    }
    const option = this.#number32(8);
    const length = this.#number32(12);
    if (length > optionDataBytesMax) return this.#startSkipping(option, length);
    if (this.#input.length < optionHeaderBytes + length) return wait;
    const data = this.#input.subarray(optionHeaderBytes, optionHeaderBytes + length);
    this.#consume(optionHeaderBytes + length);
    this.#optionsSeen += 1;
    if (this.#optionsSeen > optionsMax) return this.#end(`more than ${optionsMax} options`);
    return this.#answer(option, data);
  }

  #startSkipping(option: number, length: number): HandshakeStep {
    // EXPORT_NAME has no form of answer but success (NBD proto.md).
    if (option === Option.exportName) return this.#end(`export name of ${length} bytes`);
    this.#consume(optionHeaderBytes);
    this.#skipBytes = length;
    this.#skippedOption = option;
    this.#state = 'skipping';
    return this.#skip();
  }

  #skip(): HandshakeStep {
    const count = Math.min(this.#skipBytes, this.#input.length);
    this.#consume(count);
    this.#skipBytes -= count;
    if (this.#skipBytes > 0) return wait;
    this.#state = 'option';
    const sentence = `option data longer than ${optionDataBytesMax} bytes`;
    return reply(encodeSentence(this.#skippedOption, OptionReply.tooBig, sentence));
  }

  #answer(option: number, data: Uint8Array): HandshakeStep {
    switch (option) {
      case Option.exportName:
        return this.#exportName(data);
      case Option.abort:
        return {
          ...this.#end('client ended the negotiation'),
          parts: [encodeOptionReply(option, OptionReply.ack)],
          fault: false,
        };
      case Option.list:
        return data.length === 0 ? this.#list() : invalid(option, 'LIST takes no data');
      case Option.info:
      case Option.go: {
        const request = decodeExportRequest(data);
        return request === null ? invalid(option, 'malformed export request') : this.#choose(option, request);
      }
      case Option.structuredReply:
        if (data.length !== 0) return invalid(option, 'STRUCTURED_REPLY takes no data');
        this.#structuredReplies = true;
        return reply(encodeOptionReply(option, OptionReply.ack));
      case Option.listMetaContext:
      case Option.setMetaContext:
        return this.#metaContext(option, data);
      default:
        return reply(encodeSentence(option, OptionReply.unsupported, `option ${option} is not supported`));
    }
  }

  #list(): HandshakeStep {
    const parts = this.#exports.list().map((entry) => encodeListEntry(Option.list, entry.name, entry.description));
    parts.push(encodeOptionReply(Option.list, OptionReply.ack));
    return { kind: 'reply', parts: [Buffer.concat(parts)] };
  }

  #exportName(data: Uint8Array): HandshakeStep {
    const name = decodeName(data);
    if (name === null) return this.#end('malformed export name');
    const opened = this.#open(name);
    if ('refused' in opened) return { ...this.#end(opened.message), fault: false };
    const answer = encodeExportNameAnswer(opened.sizeBytes, this.#transmissionFlags(), !this.#noZeroes);
    return this.#enter([answer], opened);
  }

  #choose(option: number, request: ExportRequest): HandshakeStep {
    const opened = this.#open(request.name);
    if ('refused' in opened) return reply(encodeSentence(option, refusalTypes[opened.refused], opened.message));
    const parts = [
      encodeExportInfo(option, opened.sizeBytes, this.#transmissionFlags()),
      // Also to clients that did not ask: they may ignore it, and it is what we enforce.
      encodeBlockSizeInfo(option, opened.blockSizeBytes),
    ];
    if (request.wantsName) parts.push(encodeTextInfo(option, Info.name, opened.name));
    if (request.wantsDescription) {
      const description = this.#exports.list().find((entry) => entry.name === opened.name)?.description;
      if (description !== undefined) parts.push(encodeTextInfo(option, Info.description, description));
    }
    parts.push(encodeOptionReply(option, OptionReply.ack));
    const joined = [Buffer.concat(parts)];
    if (option === Option.go) return this.#enter(joined, opened);
    this.#exports.close();
    return { kind: 'reply', parts: joined };
  }

  /**
   * LIST: no query, `base:` or the name itself finds the one context; SET: its exact name only. Queries in other
   * namespaces find nothing and are no error (NBD proto.md, "Metadata querying").
   */
  #metaContext(option: number, data: Uint8Array): HandshakeStep {
    const setting = option === Option.setMetaContext;
    if (setting) this.#allocationOf = null;
    const request = decodeContextRequest(data);
    if (request === null) return invalid(option, 'malformed context request');
    if (!this.#structuredReplies) return invalid(option, 'metadata contexts need structured replies');
    const name = this.#resolve(request.exportName);
    if (typeof name !== 'string') return reply(encodeSentence(option, OptionReply.unknown, name.message));
    const found = setting
      ? request.queries.includes(allocationContext)
      : request.queries.length === 0 ||
        request.queries.some((query) => query === 'base:' || query === allocationContext);
    const parts = [encodeOptionReply(option, OptionReply.ack)];
    if (found) parts.unshift(encodeContext(option, setting ? allocationContextId : 0, allocationContext));
    if (found && setting) this.#allocationOf = name;
    return { kind: 'reply', parts };
  }

  #open(name: string): HostVolume | ExportRefusal {
    const resolved = this.#resolve(name);
    return typeof resolved === 'string' ? this.#exports.open(resolved) : resolved;
  }

  /** The empty name means the only volume there is. */
  #resolve(name: string): string | ExportRefusal {
    const entries = this.#exports.list();
    if (name === '') {
      const [only, second] = entries;
      if (only !== undefined && second === undefined) return only.name;
      const message =
        only === undefined
          ? 'there is no volume here'
          : `there are ${entries.length} volumes here: name the one you want`;
      return { refused: 'unknown', message };
    }
    if (entries.some((entry) => entry.name === name)) return name;
    return { refused: 'unknown', message: `there is no volume ${JSON.stringify(name)} here` };
  }

  #enter(parts: readonly Uint8Array[], volume: HostVolume): HandshakeStep {
    this.#state = 'over';
    const rest = this.#input;
    this.#input = nothing;
    const agreement = {
      structuredReplies: this.#structuredReplies,
      allocation: this.#allocationOf === volume.name,
    };
    return { kind: 'enter', parts, volume, agreement, rest };
  }

  #end(reason: string): HandshakeStep & { kind: 'end' } {
    this.#state = 'over';
    this.#input = nothing;
    return { kind: 'end', parts: [], reason, fault: true };
  }

  /** SEND_DF must stay clear without structured replies; READ_ONLY is never set: a volume is served to write or not at all. */
  #transmissionFlags(): number {
    const flags =
      TransmissionFlag.hasFlags |
      TransmissionFlag.flush |
      TransmissionFlag.fua |
      TransmissionFlag.trim |
      TransmissionFlag.writeZeroes |
      TransmissionFlag.multiConnection |
      TransmissionFlag.cache |
      TransmissionFlag.fastZero;
    return this.#structuredReplies ? flags | TransmissionFlag.dontFragment : flags;
  }

  #number32(at: number): number {
    return new DataView(this.#input.buffer, this.#input.byteOffset, this.#input.length).getUint32(at);
  }

  #consume(count: number): void {
    this.#input = this.#input.subarray(count);
  }
}

/**
 * `elsewhere` is what we decided, hence policy. `unavailable` passes, like a shutdown: clients turn ERR_SHUTDOWN into
 * ESHUTDOWN, the same they see when a session ends because ownership moved.
 */
const refusalTypes = {
  unknown: OptionReply.unknown,
  elsewhere: OptionReply.policy,
  unavailable: OptionReply.shutdown,
} as const satisfies Record<ExportRefusal['refused'], number>;

function reply(bytes: Uint8Array): HandshakeStep {
  return { kind: 'reply', parts: [bytes] };
}

function invalid(option: number, sentence: string): HandshakeStep {
  return reply(encodeSentence(option, OptionReply.invalid, sentence));
}
