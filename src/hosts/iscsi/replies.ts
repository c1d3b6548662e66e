/**
 * What a session sends: numbers PDUs (StatSN, DataSN), cuts data for the initiator into PDUs and bursts, adds digests.
 * Everything of a turn leaves together, in the order it was said, data from where it was read to.
 *
 * Keeps: StatSN of what leaves rises by one with every PDU that has one of its own (RFC 7143 4.2.2.2).
 */
import { crc32c } from '../../base/crc32c.ts';
import type { Outbox, Slab } from '../outbox.ts';
import type { OperationalParameters } from './agreement.ts';
import type { CommandWindow } from './command-window.ts';
import {
  bhsBytes,
  type DataIn,
  digestBytes,
  encodeAsyncMessage,
  encodeDataIn,
  encodeLogoutResponse,
  encodeNopIn,
  encodeReadyToTransfer,
  encodeReject,
  encodeResponse,
  encodeTaskManagementResponse,
  encodeTextResponse,
  noTag,
  paddingOf,
  type ReadyToTransfer,
  type Response,
  ServiceResponse,
} from './pdu.ts';
import type { ScsiCommand } from './scsi-command.ts';

const none = new Uint8Array(0);
const good = 0;

export class Replies {
  /** Longest data segment the initiator takes, bytes. */
  dataBytesMax: number;
  readonly #outbox: Outbox;
  readonly #window: CommandWindow;
  readonly #headerDigest: boolean;
  readonly #dataDigest: boolean;
  readonly #burstBytes: number;
  #statSn: number;
  // Filled again for each PDU of their kinds, the only ones that are many.
  readonly #dataIn: DataIn;
  readonly #response: Response;
  readonly #readyToTransfer: ReadyToTransfer;

  constructor(outbox: Outbox, window: CommandWindow, parameters: OperationalParameters, statSn: number) {
    this.#outbox = outbox;
    this.#window = window;
    this.#headerDigest = parameters.headerDigest;
    this.#dataDigest = parameters.dataDigest;
    this.#burstBytes = parameters.maxBurstLength;
    this.dataBytesMax = parameters.maxSendDataSegmentLength;
    this.#statSn = statSn;
    const numbers = { statSn, expCmdSn: 0, maxCmdSn: 0, taskTag: 0 };
    this.#dataIn = {
      ...numbers,
      final: false,
      withStatus: false,
      status: 0,
      dataSn: 0,
      bufferOffset: 0,
      residual: 0,
      dataBytes: 0,
    };
    this.#response = {
      ...numbers,
      response: ServiceResponse.completed,
      status: 0,
      expDataSn: 0,
      residual: 0,
      dataBytes: 0,
    };
    this.#readyToTransfer = { ...numbers, lunWord: 0, transferTag: 0, r2tSn: 0, bufferOffset: 0, desiredBytes: 0 };
  }

  /** Room in front of data for the header of the PDU it may leave in. */
  get headroomBytes(): number {
    return this.#headerDigest ? 0 : bhsBytes;
  }

  /**
   * Ends a command: `dataInBytes` of its slab, all of which the initiator takes, and the status, with the last data if
   * there is nothing else to say (RFC 7143 11.7.3). `residual`: see `Response`. The slab is the outbox' afterwards.
   */
  ended(command: ScsiCommand, status: number, sense: Uint8Array | null, dataInBytes: number, residual: number): void {
    const collapsed = dataInBytes > 0 && status === good && sense === null;
    const { slab } = command;
    let count = command.r2tSn;
    if (slab !== null && dataInBytes > 0) {
      count = this.#sendData(command, slab, dataInBytes, collapsed ? residual : null);
    } else if (slab !== null) {
      this.#outbox.release(slab);
    }
    command.slab = null;
    if (collapsed) return;
    const segment = sense === null ? none : senseSegment(sense);
    const fields = this.#numbered(this.#response, true);
    fields.taskTag = command.taskTag;
    fields.status = status;
    fields.expDataSn = count;
    fields.residual = residual;
    fields.dataBytes = segment.length;
    const header = this.#header();
    encodeResponse(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
    this.#segment(segment);
  }

  readyToTransfer(command: ScsiCommand, transferTag: number, bufferOffset: number, desiredBytes: number): void {
    const fields = this.#numbered(this.#readyToTransfer, false);
    fields.taskTag = command.taskTag;
    fields.lunWord = command.lunWord;
    fields.transferTag = transferTag;
    fields.r2tSn = command.r2tSn;
    fields.bufferOffset = bufferOffset;
    fields.desiredBytes = desiredBytes;
    const header = this.#header();
    encodeReadyToTransfer(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
  }

  /** Answers a NOP-Out with as much of its data as the initiator takes (RFC 7143 11.19). */
  pong(taskTag: number, lunWord: number, data: Uint8Array): void {
    const segment = data.subarray(0, this.dataBytesMax);
    const numbers = this.#numbers(true);
    const header = this.#header();
    const fields = { ...numbers, taskTag, transferTag: noTag, lunWord, dataBytes: segment.length };
    encodeNopIn(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
    this.#segment(segment);
  }

  /** Asks for a sign of life; StatSN is the next one, not used up. */
  ping(transferTag: number): void {
    const fields = { ...this.#numbers(false), taskTag: noTag, transferTag, lunWord: 0, dataBytes: 0 };
    const header = this.#header();
    encodeNopIn(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
  }

  taskManagement(taskTag: number, response: number): void {
    const fields = { ...this.#numbers(true), taskTag, response };
    const header = this.#header();
    encodeTaskManagementResponse(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
  }

  logout(taskTag: number, response: number): void {
    // Nothing outlives the connection, so there is nothing to wait for or to retain.
    const fields = { ...this.#numbers(true), taskTag, response, timeToWait: 0, timeToRetain: 0 };
    const header = this.#header();
    encodeLogoutResponse(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
  }

  text(taskTag: number, answer: TextFields): void {
    const { data, final, continues, transferTag } = answer;
    const fields = {
      ...this.#numbers(true),
      taskTag,
      transferTag,
      lunWord: 0,
      final,
      continues,
      dataBytes: data.length,
    };
    const header = this.#header();
    encodeTextResponse(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
    this.#segment(data);
  }

  /** `refused`: header and additional headers of what is refused. */
  reject(reason: number, refused: Uint8Array): void {
    const segment = refused.subarray(0, this.dataBytesMax);
    const fields = { ...this.#numbers(true), reason, dataSn: 0, dataBytes: segment.length };
    const header = this.#header();
    encodeReject(header.view, header.used - this.#headerBytes, fields);
    this.#sealed(header);
    this.#segment(segment);
  }

  async(
    event: number,
    lunWord: number,
    parameters: readonly [number, number, number],
    sense: Uint8Array | null,
  ): void {
    const segment = sense === null ? none : senseSegment(sense);
    const [parameter1, parameter2, parameter3] = parameters;
    const fields = { lunWord, event, parameter1, parameter2, parameter3, dataBytes: segment.length };
    const header = this.#header();
    encodeAsyncMessage(header.view, header.used - this.#headerBytes, { ...this.#numbers(true), ...fields });
    this.#sealed(header);
    this.#segment(segment);
  }

  /** Returns how many PDUs it took. `residual` null: the status does not go with the last. */
  #sendData(command: ScsiCommand, slab: Slab, bytes: number, residual: number | null): number {
    const start = command.dataInStart;
    let count = 0;
    let burstLeft = this.#burstBytes;
    for (let offset = 0; offset < bytes;) {
      const length = Math.min(this.dataBytesMax, burstLeft, bytes - offset);
      const last = offset + length === bytes;
      const withStatus = last && residual !== null;
      burstLeft -= length;
      const fields = this.#numbered(this.#dataIn, withStatus);
      fields.taskTag = command.taskTag;
      fields.final = last || burstLeft === 0;
      fields.withStatus = withStatus;
      fields.status = good;
      fields.dataSn = count;
      fields.bufferOffset = offset;
      fields.residual = residual ?? 0;
      fields.dataBytes = length;
      let from = start + offset;
      if (offset === 0 && !this.#headerDigest) {
        from -= bhsBytes;
        encodeDataIn(slab.view, from, fields);
      } else {
        const header = this.#header();
        encodeDataIn(header.view, header.used - this.#headerBytes, fields);
        this.#sealed(header);
      }
      const end = start + offset + length;
      if (last) this.#outbox.ready(slab, from, end - from);
      else this.#outbox.piece(slab, from, end - from);
      this.#tail(new Uint8Array(slab.bytes.buffer, start + offset, length));
      if (burstLeft === 0) burstLeft = this.#burstBytes;
      offset += length;
      count += 1;
    }
    return count;
  }

  get #headerBytes(): number {
    return this.#headerDigest ? bhsBytes + digestBytes : bhsBytes;
  }

  #header(): Slab {
    return this.#outbox.short(this.#headerBytes);
  }

  /** The header that ends at the slab's `used` is complete. */
  #sealed(slab: Slab): void {
    if (!this.#headerDigest) return;
    const at = slab.used - digestBytes;
    slab.view.setUint32(at, crc32c(new Uint8Array(slab.bytes.buffer, at - bhsBytes, bhsBytes)), true);
  }

  #segment(data: Uint8Array): void {
    if (data.length === 0) return;
    for (let at = 0; at < data.length; at += segmentPieceBytes) {
      const piece = data.subarray(at, at + segmentPieceBytes);
      const slab = this.#outbox.short(piece.length);
      slab.bytes.set(piece, slab.used - piece.length);
    }
    this.#tail(data);
  }

  /** Padding and digest behind a data segment. */
  #tail(data: Uint8Array): void {
    const padding = paddingOf(data.length);
    const bytes = padding + (this.#dataDigest ? digestBytes : 0);
    if (bytes === 0) return;
    const slab = this.#outbox.short(bytes);
    const at = slab.used - bytes;
    slab.bytes.fill(0, at, at + padding);
    if (!this.#dataDigest) return;
    const checksum = crc32c(new Uint8Array(slab.bytes.buffer, at, padding), crc32c(data));
    slab.view.setUint32(at + padding, checksum, true);
  }

  #numbers(own: boolean): { statSn: number; expCmdSn: number; maxCmdSn: number } {
    return this.#numbered({ statSn: 0, expCmdSn: 0, maxCmdSn: 0 }, own);
  }

  #numbered<Fields extends { statSn: number; expCmdSn: number; maxCmdSn: number }>(
    fields: Fields,
    own: boolean,
  ): Fields {
    fields.statSn = this.#statSn;
    if (own) this.#statSn = (this.#statSn + 1) >>> 0;
    fields.expCmdSn = this.#window.expCmdSn;
    fields.maxCmdSn = this.#window.maxCmdSn;
    return fields;
  }
}

export interface TextFields {
  readonly data: Uint8Array;
  readonly final: boolean;
  readonly continues: boolean;
  readonly transferTag: number;
}

/** The most the outbox takes as a short reply. */
const segmentPieceBytes = 64 * 1024;

/** RFC 7143 11.4.7: its length in two bytes, then the sense. */
function senseSegment(sense: Uint8Array): Uint8Array {
  const segment = new Uint8Array(2 + sense.length);
  new DataView(segment.buffer).setUint16(0, sense.length);
  segment.set(sense, 2);
  return segment;
}
