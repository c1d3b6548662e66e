/**
 * The requests of one session: checks each wholly before anything happens, gives it to the volume, answers it once.
 *
 * Keeps: every request taken in is answered exactly once, or the session has ended (I9). Nothing of a request that
 * breaks a rule reaches the volume. Requests and bytes in flight, and replies the client does not fetch, are bounded:
 * at the bound the decoder stops and the stream is not read on. Replies leave at the end of the turn, together.
 * Leaves to the volume: order, overlap, when a write may be acknowledged (R1, R16). Leaves to the session: its end.
 */
import { assert } from '../../base/assert.ts';
import type { ByteStream } from '../../base/network.ts';
import type { EndTask, Turn } from '../../base/turn.ts';
import type { HostCompletion, HostExtent, HostFault, HostVolume } from '../../group/host-access.ts';
import type { Agreement } from './handshake.ts';
import { Outbox, type Slab, type SlabPool } from '../outbox.ts';
import {
  errorChunkBytes,
  statusChunkBytes,
  type StatusExtent,
  writeDataChunk,
  writeEmptyChunk,
  writeErrorChunk,
  writeSimpleReply,
  writeStatusChunk,
} from './reply.ts';
import { RequestDecoder, type RequestHeader, type RequestSink } from './request.ts';
import {
  chunkHeaderBytes,
  Command,
  CommandFlag,
  dataChunkHeaderBytes,
  ErrorNumber,
  payloadBytesMax,
  simpleReplyBytes,
  stringBytesMax,
} from './wire.ts';

/** Bounds of one session; at each of them its requests wait in the client. */
export interface TransmissionLimits {
  readonly requestsMax: number;
  /** Of READ and WRITE data. One request may exceed it. */
  readonly bytesMax: number;
  /** Replies the operating system has not taken: a client that does not read. */
  readonly unsentBytesMax: number;
}

export const defaultTransmissionLimits: TransmissionLimits = {
  requestsMax: 1024,
  bytesMax: 128 * 1024 * 1024,
  unsentBytesMax: 16 * 1024 * 1024,
};

/** A status reply has at most so many extents; the client asks again from where it ends. */
const extentsMax = 4096;

/** What the session learns. */
export interface TransmissionEvents {
  /** No reply will follow: everything is answered and handed to the stream. */
  finished(): void;
  garbage(reason: string): void;
}

type State =
  | 'serving'
  /** The client said DISC or sent garbage: what is in flight is answered, then it is over. */
  | 'finishing'
  /** Nothing is answered any more. */
  | 'over';

/** A request in flight. Used again when it has been answered: 100,000 a second should not be 100,000 closures. */
class Request {
  /** Given to the volume, `done` not called. */
  active = false;
  /** Answered by `abandon`; what the volume says later is for nobody. */
  answered = false;
  type = 0;
  cookieHigh = 0;
  cookieLow = 0;
  flags = 0;
  offset = 0;
  length = 0;
  /** For a READ, where its reply is being put together. */
  slab: Slab | null = null;
  replyStart = 0;
  readonly done: HostCompletion;
  readonly extentsDone: (fault: HostFault | null, extents: HostExtent[]) => void;

  constructor(completed: (request: Request, fault: HostFault | null, extents: HostExtent[] | null) => void) {
    this.done = (fault) => {
      completed(this, fault, null);
    };
    this.extentsDone = (fault, extents) => {
      completed(this, fault, extents);
    };
  }
}

export class Transmission implements RequestSink, EndTask {
  readonly #volume: HostVolume;
  readonly #structured: boolean;
  readonly #allocation: boolean;
  readonly #stream: ByteStream;
  readonly #turn: Turn;
  readonly #limits: TransmissionLimits;
  readonly #events: TransmissionEvents;
  readonly #outbox: Outbox;
  readonly #decoder = new RequestDecoder(this);
  /** All there are, at most `requestsMax`, and those of them not in use. */
  readonly #requests: Request[] = [];
  readonly #idle: Request[] = [];
  /** The write whose payload the decoder is collecting. */
  #writing: Request | null = null;
  #requestsInFlight = 0;
  #bytesInFlight = 0;
  #state: State = 'serving';
  #paused = false;
  #endAsked = false;

  constructor(
    parts: { volume: HostVolume; agreement: Agreement; stream: ByteStream; turn: Turn; slabs: SlabPool },
    limits: TransmissionLimits,
    events: TransmissionEvents,
  ) {
    this.#volume = parts.volume;
    this.#structured = parts.agreement.structuredReplies;
    this.#allocation = parts.agreement.allocation;
    this.#stream = parts.stream;
    this.#turn = parts.turn;
    this.#outbox = new Outbox(parts.slabs, parts.stream, 'dataFirst');
    this.#limits = limits;
    this.#events = events;
  }

  get requestsInFlight(): number {
    return this.#requestsInFlight;
  }

  space(): Uint8Array | null {
    return this.#decoder.space();
  }

  received(chunk: Uint8Array): void {
    this.#decoder.received(chunk);
    this.#pauseWhenFull();
  }

  drained(): void {
    this.#outbox.taken();
    this.#resume();
  }

  /** Answers everything in flight with ESHUTDOWN, and nothing afterwards. */
  abandon(): void {
    if (this.#state === 'over') return;
    for (const request of this.#requests) {
      if (!request.active) continue;
      request.answered = true;
      this.#fail(request, ErrorNumber.shutdown, 'the volume is not served here any more');
    }
    this.#outbox.send();
    this.close();
  }

  /** The stream is gone, or nobody is to hear more: completions are ignored from now on. */
  close(): void {
    this.#state = 'over';
    this.#decoder.stop();
    if (this.#writing !== null) this.#retire(this.#writing);
    this.#outbox.close();
  }

  endOfTurn(): void {
    this.#endAsked = false;
    if (this.#state === 'over') return;
    this.#outbox.send();
    if (this.#state === 'finishing' && this.#requestsInFlight === 0) {
      this.close();
      this.#events.finished();
    } else {
      this.#resume();
    }
  }

  // ---- requests, as the decoder finds them

  get full(): boolean {
    return (
      this.#requestsInFlight >= this.#limits.requestsMax ||
      this.#bytesInFlight >= this.#limits.bytesMax ||
      this.#stream.unsentBytes > this.#limits.unsentBytesMax
    );
  }

  request(header: RequestHeader): boolean {
    if (header.type === Command.disconnect) {
      this.#finish();
      return false;
    }
    const refusal = this.#check(header);
    if (refusal !== null) {
      this.#fail(header, refusal.error, refusal.sentence);
      return false;
    }
    // Nothing to do for an empty range, nor for CACHE: the page cache is the cache.
    if (header.type === Command.cache || (header.length === 0 && header.type !== Command.flush)) {
      // The payload of an empty WRITE is none: passing over it is taking it.
      this.#succeed(header);
      return false;
    }
    const request = this.#take(header);
    const { offset, length } = header;
    const fua = (header.flags & CommandFlag.fua) !== 0;
    switch (header.type) {
      case Command.read:
        this.#read(request);
        return false;
      case Command.write:
        this.#writing = request;
        return true;
      case Command.flush:
        this.#volume.flush(request.done);
        return false;
      case Command.trim:
        this.#volume.zero(offset, length, { keepAllocated: false, fua }, request.done);
        return false;
      case Command.writeZeroes: {
        const keepAllocated = (header.flags & CommandFlag.noHole) !== 0;
        this.#volume.zero(offset, length, { keepAllocated, fua }, request.done);
        return false;
      }
      default:
        assert(header.type === Command.blockStatus, 'unknown command passed the checks');
        this.#volume.allocation(offset, length, request.extentsDone);
        return false;
    }
  }

  payload(data: Uint8Array): void {
    const request = this.#writing;
    assert(request !== null, 'payload without a write');
    this.#writing = null;
    this.#volume.write(request.offset, data, (request.flags & CommandFlag.fua) !== 0, request.done);
  }

  garbage(reason: string): void {
    this.#finish();
    this.#events.garbage(reason);
  }

  #read(request: Request): void {
    const head = this.#structured ? dataChunkHeaderBytes : simpleReplyBytes;
    const slab = this.#outbox.reserve(head, request.length);
    request.slab = slab;
    request.replyStart = slab.used - head - request.length;
    const into = new Uint8Array(slab.bytes.buffer, request.replyStart + head, request.length);
    this.#volume.read(request.offset, into, request.done);
  }

  /** What is wrong with a request (NBD proto.md, "Error values", "Block size constraints"); null: nothing. */
  #check(header: RequestHeader): Refusal | null {
    const { type, flags, offset, length } = header;
    const allowed = this.#flagsAllowed(type);
    if (allowed === null) return refuse(ErrorNumber.invalid, `unknown command ${type}`);
    if ((flags & ~allowed) !== 0) {
      return refuse(ErrorNumber.invalid, `flags 0x${flags.toString(16)} are not for ${nameOf(type)}`);
    }
    if (type === Command.flush) {
      return offset === 0 && length === 0 ? null : refuse(ErrorNumber.invalid, 'flush takes no range');
    }
    const volume = this.#volume;
    if ((type === Command.read || type === Command.write) && length > payloadBytesMax) {
      const error = (flags & CommandFlag.dontFragment) !== 0 ? ErrorNumber.overflow : ErrorNumber.invalid;
      return refuse(error, `${this.#place(header)} is longer than ${payloadBytesMax}`);
    }
    if (offset % volume.blockSizeBytes !== 0 || length % volume.blockSizeBytes !== 0) {
      return refuse(ErrorNumber.invalid, `${this.#place(header)} is not in whole blocks of ${volume.blockSizeBytes}`);
    }
    if (offset + length > volume.sizeBytes) {
      const error =
        type === Command.write || type === Command.writeZeroes ? ErrorNumber.noSpace : ErrorNumber.invalid;
      return refuse(error, `${this.#place(header)} is past the end (${volume.sizeBytes})`);
    }
    if (type === Command.blockStatus && (!this.#allocation || length === 0)) {
      return refuse(
        ErrorNumber.invalid,
        this.#allocation ? 'block status of nothing' : 'no metadata context was agreed on',
      );
    }
    // Punching a hole is fast everywhere; writing zeroes that stay allocated may not be.
    if ((flags & CommandFlag.fastZero) !== 0 && (flags & CommandFlag.noHole) !== 0) {
      return refuse(ErrorNumber.notSupported, 'zeroes that stay allocated are not faster than a write');
    }
    return null;
  }

  /** FUA must be accepted with every command (NBD proto.md, "Command flags"); null: there is no such command. */
  #flagsAllowed(type: number): number | null {
    switch (type) {
      case Command.read:
        return CommandFlag.fua | (this.#structured ? CommandFlag.dontFragment : 0);
      case Command.write:
      case Command.flush:
      case Command.trim:
      case Command.cache:
        return CommandFlag.fua;
      case Command.writeZeroes:
        return CommandFlag.fua | CommandFlag.noHole | CommandFlag.fastZero;
      case Command.blockStatus:
        return CommandFlag.fua | CommandFlag.requestOne;
      default:
        return null;
    }
  }

  #place(header: RequestHeader): string {
    return `volume ${this.#volume.name}: ${nameOf(header.type)} at ${header.offset} + ${header.length}`;
  }

  // ---- requests in flight

  #take(header: RequestHeader): Request {
    let request = this.#idle.pop();
    if (request === undefined) {
      request = new Request((completed, fault, extents) => {
        this.#completed(completed, fault, extents);
      });
      this.#requests.push(request);
    }
    request.active = true;
    request.answered = false;
    request.type = header.type;
    request.flags = header.flags;
    request.cookieHigh = header.cookieHigh;
    request.cookieLow = header.cookieLow;
    request.offset = header.offset;
    request.length = header.length;
    this.#requestsInFlight += 1;
    this.#bytesInFlight += carriedBytes(request);
    return request;
  }

  #retire(request: Request): void {
    request.active = false;
    this.#requestsInFlight -= 1;
    this.#bytesInFlight -= carriedBytes(request);
    if (request === this.#writing) this.#writing = null;
    this.#idle.push(request);
  }

  #completed(request: Request, fault: HostFault | null, extents: HostExtent[] | null): void {
    assert(request.active, 'request completed twice');
    const slab = request.slab;
    request.slab = null;
    if (this.#state === 'over' || request.answered) {
      if (slab !== null) this.#outbox.release(slab);
    } else if (fault !== null) {
      if (slab !== null) this.#outbox.release(slab);
      this.#fail(request, errorOf[fault], sentenceOf[fault]);
    } else if (slab !== null) {
      this.#succeedReading(request, slab);
    } else if (extents !== null) {
      this.#succeedWithStatus(request, extents);
    } else {
      this.#succeed(request);
    }
    this.#retire(request);
  }

  // ---- replies

  #succeed(to: RequestHeader): void {
    const structuredRead = this.#structured && to.type === Command.read;
    const bytes = structuredRead ? chunkHeaderBytes : simpleReplyBytes;
    const slab = this.#outbox.short(bytes);
    if (structuredRead) writeEmptyChunk(slab.view, slab.used - bytes, to);
    else writeSimpleReply(slab.view, slab.used - bytes, to, 0);
    this.#askForEnd();
  }

  #succeedReading(request: Request, slab: Slab): void {
    const { replyStart, length } = request;
    if (this.#structured) writeDataChunk(slab.view, replyStart, request, request.offset, length);
    else writeSimpleReply(slab.view, replyStart, request, 0);
    this.#outbox.ready(slab, replyStart, (this.#structured ? dataChunkHeaderBytes : simpleReplyBytes) + length);
    this.#askForEnd();
  }

  #succeedWithStatus(request: Request, extents: readonly HostExtent[]): void {
    const status = describe(extents, (request.flags & CommandFlag.requestOne) !== 0 ? 1 : extentsMax);
    const bytes = statusChunkBytes(status);
    const slab = this.#outbox.short(bytes);
    writeStatusChunk(slab.view, slab.used - bytes, request, status);
    this.#askForEnd();
  }

  #fail(to: RequestHeader, error: number, sentence: string): void {
    if (this.#structured) {
      const text = Buffer.from(sentence).subarray(0, stringBytesMax);
      const bytes = errorChunkBytes(text);
      const slab = this.#outbox.short(bytes);
      writeErrorChunk(slab.view, slab.used - bytes, to, error, text);
    } else {
      const slab = this.#outbox.short(simpleReplyBytes);
      writeSimpleReply(slab.view, slab.used - simpleReplyBytes, to, error);
    }
    this.#askForEnd();
  }

  #askForEnd(): void {
    if (this.#endAsked) return;
    this.#endAsked = true;
    this.#turn.atEnd(this);
  }

  // ---- flow

  #finish(): void {
    this.#state = 'finishing';
    this.#decoder.stop();
    this.#askForEnd();
  }

  #pauseWhenFull(): void {
    if (this.#paused || this.#state !== 'serving' || !this.full) return;
    this.#paused = true;
    this.#stream.pauseReading(true);
  }

  #resume(): void {
    if (!this.#paused || this.#state !== 'serving' || this.full) return;
    this.#decoder.proceed();
    if (this.#state !== 'serving' || this.full) return;
    this.#paused = false;
    this.#stream.pauseReading(false);
  }
}

interface Refusal {
  readonly error: number;
  readonly sentence: string;
}

function refuse(error: number, sentence: string): Refusal {
  return { error, sentence };
}

function nameOf(type: number): string {
  for (const [name, value] of Object.entries(Command)) if (value === type) return name;
  return `command ${type}`;
}

function carriedBytes(request: Request): number {
  return request.type === Command.read || request.type === Command.write ? request.length : 0;
}

/** Neighbours of the same kind are one extent, as the document asks. */
function describe(extents: readonly HostExtent[], countMax: number): StatusExtent[] {
  const status: { length: number; data: boolean }[] = [];
  for (const { length, data } of extents) {
    const last = status.at(-1);
    if (last !== undefined && last.data === data) last.length += length;
    else if (status.length === countMax) break;
    else status.push({ length, data });
  }
  return status;
}

const errorOf: Readonly<Record<HostFault, number>> = {
  io: ErrorNumber.io,
  noSpace: ErrorNumber.noSpace,
  moved: ErrorNumber.shutdown,
};

const sentenceOf: Readonly<Record<HostFault, string>> = {
  io: 'the storage reported an error',
  noSpace: 'the storage is full',
  moved: 'the volume is not served here any more',
};
