/**
 * Basic header segments (BHS) of the PDUs a target receives and sends (RFC 7143 11), all integers big-endian:
 *
 *   opcode 1 │ flags 3 │ AHS length in words 1 │ data segment length 3 │ LUN or own 8 │ initiator task tag 4 │ own 28
 *
 * then AHS, header digest, data segment, padding to four bytes, data digest. Fields are read and written where they lie.
 * Leaves to the decoder to cut a stream into PDUs, and to its users what a field means together with others.
 */
import { decodeLun } from '../scsi/task.ts';

export const bhsBytes = 48;
/** The length field counts words in one byte (RFC 7143 11.2.1.5). */
export const ahsBytesMax = 255 * 4;
export const digestBytes = 4;
/** Of data segments, until a login has agreed on more (RFC 7143 13.12). */
export const dataSegmentBytesDefault = 8192;

/** Task tags: none (RFC 7143 11.2.1.8, 11.7.4). */
export const noTag = 0xffff_ffff;

/** RFC 7143 11.2.1.2. */
export const Opcode = {
  nopOut: 0x00,
  command: 0x01,
  taskManagement: 0x02,
  login: 0x03,
  text: 0x04,
  dataOut: 0x05,
  logout: 0x06,
  snack: 0x10,
  nopIn: 0x20,
  response: 0x21,
  taskManagementResponse: 0x22,
  loginResponse: 0x23,
  textResponse: 0x24,
  dataIn: 0x25,
  logoutResponse: 0x26,
  readyToTransfer: 0x31,
  asyncMessage: 0x32,
  reject: 0x3f,
} as const;

/** Bits of byte 0 and 1 (RFC 7143 11.3, 11.7, 11.10, 11.12). */
export const Flag = {
  immediate: 0x40,
  final: 0x80,
  /** Of login and text: more of the same text follows. Of Data-In: acknowledge. Of a command: read. */
  continues: 0x40,
  acknowledge: 0x40,
  read: 0x40,
  write: 0x20,
  /** Of responses and Data-In (RFC 7143 11.4.1, 11.7.1). */
  bidirectionalOverflow: 0x10,
  bidirectionalUnderflow: 0x08,
  overflow: 0x04,
  underflow: 0x02,
  /** Data-In that carries the status. */
  status: 0x01,
} as const;

/** RFC 7143 11.3.1. */
export const Attribute = { untagged: 0, simple: 1, ordered: 2, headOfQueue: 3, aca: 4 } as const;

/** RFC 7143 11.5.1. */
export const TaskFunction = {
  abortTask: 1,
  abortTaskSet: 2,
  clearAca: 3,
  clearTaskSet: 4,
  logicalUnitReset: 5,
  targetWarmReset: 6,
  targetColdReset: 7,
  taskReassign: 8,
} as const;

/** RFC 7143 11.6.1. */
export const TaskResponse = {
  complete: 0,
  noTask: 1,
  noUnit: 2,
  stillAllegiant: 3,
  noReassignment: 4,
  notSupported: 5,
  authorizationFailed: 6,
  rejected: 255,
} as const;

/** RFC 7143 11.4.3. */
export const ServiceResponse = { completed: 0, failure: 1 } as const;

/** RFC 7143 11.14.1. */
export const LogoutReason = { session: 0, connection: 1, recovery: 2 } as const;

/** RFC 7143 11.15.1. */
export const LogoutResponse = { success: 0, noConnection: 1, noRecovery: 2, cleanupFailed: 3 } as const;

/** RFC 7143 11.9.1. */
export const AsyncEvent = {
  scsi: 0,
  logoutRequested: 1,
  connectionDropped: 2,
  sessionDropped: 3,
  negotiationRequested: 4,
  tasksTerminated: 5,
  vendor: 255,
} as const;

/** RFC 7143 11.17.1. */
export const RejectReason = {
  dataDigest: 0x02,
  snack: 0x03,
  protocol: 0x04,
  notSupported: 0x05,
  immediateCommands: 0x06,
  taskInProgress: 0x07,
  invalidDataAck: 0x08,
  invalidField: 0x09,
  resources: 0x0a,
  negotiationReset: 0x0b,
  waitingForLogout: 0x0c,
} as const;

/** Bytes that fill a segment up to whole words (RFC 7143 11.1). */
export function paddingOf(bytes: number): number {
  return -bytes & 3;
}

/** A BHS that was received, where it lies: nothing is copied, so it is true only until those bytes are used again. */
export class RequestHeader {
  view: DataView;
  at: number;

  constructor(view: DataView, at = 0) {
    this.view = view;
    this.at = at;
  }

  // ---- every PDU (RFC 7143 11.2.1)

  get opcode(): number {
    return this.view.getUint8(this.at) & 0x3f;
  }
  get immediate(): boolean {
    return (this.view.getUint8(this.at) & Flag.immediate) !== 0;
  }
  /** Byte 1. */
  get flags(): number {
    return this.view.getUint8(this.at + 1);
  }
  get final(): boolean {
    return (this.flags & Flag.final) !== 0;
  }
  get ahsBytes(): number {
    return this.view.getUint8(this.at + 4) * 4;
  }
  /** Without padding. */
  get dataBytes(): number {
    return this.view.getUint32(this.at + 4) & 0xff_ffff;
  }
  /** As `decodeLun`. */
  get lun(): number {
    return decodeLun(new Uint8Array(this.view.buffer, this.view.byteOffset + this.at + 8, 8));
  }
  /** The first half of the LUN field, to be sent back; the second is zero for every LUN we know. */
  get lunWord(): number {
    return this.view.getUint32(this.at + 8);
  }
  get taskTag(): number {
    return this.view.getUint32(this.at + 16);
  }
  /** NOP-Out, Data-Out, Text, SNACK. */
  get transferTag(): number {
    return this.view.getUint32(this.at + 20);
  }
  /** All but Data-Out and SNACK. */
  get cmdSn(): number {
    return this.view.getUint32(this.at + 24);
  }
  get expStatSn(): number {
    return this.view.getUint32(this.at + 28);
  }

  // ---- SCSI Command (RFC 7143 11.3)

  get read(): boolean {
    return (this.flags & Flag.read) !== 0;
  }
  get write(): boolean {
    return (this.flags & Flag.write) !== 0;
  }
  /** 0…7, see `Attribute`. */
  get attribute(): number {
    return this.flags & 0x07;
  }
  get expectedBytes(): number {
    return this.view.getUint32(this.at + 20);
  }
  /** A copy of the 16 bytes. */
  get cdb(): Uint8Array {
    const start = this.view.byteOffset + this.at + 32;
    return new Uint8Array(this.view.buffer, start, 16).slice();
  }

  // ---- Task Management Function Request (RFC 7143 11.5)

  get taskFunction(): number {
    return this.flags & 0x7f;
  }
  get referencedTaskTag(): number {
    return this.view.getUint32(this.at + 20);
  }
  get refCmdSn(): number {
    return this.view.getUint32(this.at + 32);
  }

  // ---- Data-Out (RFC 7143 11.7)

  get dataSn(): number {
    return this.view.getUint32(this.at + 36);
  }
  get bufferOffset(): number {
    return this.view.getUint32(this.at + 40);
  }

  // ---- Login and Text Request (RFC 7143 11.12, 11.10)

  get transit(): boolean {
    return this.final;
  }
  get continues(): boolean {
    return (this.flags & Flag.continues) !== 0;
  }
  /** 0…3. */
  get currentStage(): number {
    return (this.flags >> 2) & 3;
  }
  get nextStage(): number {
    return this.flags & 3;
  }
  get versionMax(): number {
    return this.view.getUint8(this.at + 2);
  }
  get versionMin(): number {
    return this.view.getUint8(this.at + 3);
  }
  /** 12 hex digits. */
  get isid(): string {
    const high = this.view
      .getUint32(this.at + 8)
      .toString(16)
      .padStart(8, '0');
    return (
      high +
      this.view
        .getUint16(this.at + 12)
        .toString(16)
        .padStart(4, '0')
    );
  }
  get tsih(): number {
    return this.view.getUint16(this.at + 14);
  }
  /** Login and Logout. */
  get cid(): number {
    return this.view.getUint16(this.at + 20);
  }

  // ---- Logout (RFC 7143 11.14)

  get logoutReason(): number {
    return this.flags & 0x7f;
  }

  // ---- SNACK (RFC 7143 11.16)

  get snackType(): number {
    return this.flags & 0x0f;
  }
  get runStart(): number {
    return this.view.getUint32(this.at + 40);
  }
  get runLength(): number {
    return this.view.getUint32(this.at + 44);
  }
}

/** Additional header segments of a command (RFC 7143 11.2.2): length 2 │ type 1 │ own 1 and `length` − 1 more, padded. */
export interface AdditionalHeaders {
  /** Bytes of the CDB beyond its first 16; null: none. A view. */
  readonly extendedCdb: Uint8Array | null;
  /** Expected length of the read half of a bidirectional command; null: not one. */
  readonly bidirectionalReadBytes: number | null;
}

/** Null: not of the form. Types nobody knows are passed over (RFC 7143 11.2.2.1). */
export function decodeAdditionalHeaders(ahs: Uint8Array): AdditionalHeaders | null {
  const view = new DataView(ahs.buffer, ahs.byteOffset, ahs.length);
  let extendedCdb: Uint8Array | null = null;
  let bidirectionalReadBytes: number | null = null;
  let at = 0;
  while (at < ahs.length) {
    if (ahs.length - at < 4) return null;
    const length = view.getUint16(at);
    const end = at + 3 + length;
    if (length === 0 || end > ahs.length) return null;
    const type = view.getUint8(at + 2) & 0x3f;
    if (type === 1) {
      if (extendedCdb !== null) return null;
      extendedCdb = ahs.subarray(at + 4, end);
    } else if (type === 2) {
      if (bidirectionalReadBytes !== null || length !== 5) return null;
      bidirectionalReadBytes = view.getUint32(at + 4);
    }
    at = end + paddingOf(end);
  }
  return { extendedCdb, bidirectionalReadBytes };
}

// ---- what a target sends. Each fills 48 bytes at `at`; the caller may use one fields object again and again.

/** StatSN, ExpCmdSN, MaxCmdSN of a PDU (RFC 7143 4.2.2). Unsigned 32 bits. */
export interface SequenceNumbers {
  statSn: number;
  expCmdSn: number;
  maxCmdSn: number;
}

function begin(view: DataView, at: number, opcode: number, flags: number, dataBytes: number, taskTag: number): void {
  for (let word = 0; word < bhsBytes; word += 4) view.setUint32(at + word, 0);
  view.setUint8(at, opcode);
  view.setUint8(at + 1, flags);
  view.setUint32(at + 4, dataBytes);
  view.setUint32(at + 16, taskTag);
}

function number(view: DataView, at: number, sequence: SequenceNumbers): void {
  view.setUint32(at + 24, sequence.statSn);
  view.setUint32(at + 28, sequence.expCmdSn);
  view.setUint32(at + 32, sequence.maxCmdSn);
}

/** Overflow or underflow of `residual` (RFC 7143 11.4.5): > 0 what the initiator had no room for, < 0 what it did not get. */
function residualFlag(residual: number): number {
  return residual > 0 ? Flag.overflow : residual < 0 ? Flag.underflow : 0;
}

/** RFC 7143 11.4. Its data segment is the sense, behind its length in two bytes. */
export interface Response extends SequenceNumbers {
  taskTag: number;
  /** `ServiceResponse`. */
  response: number;
  status: number;
  /** How many Data-In and R2T PDUs were sent for the command. */
  expDataSn: number;
  /** Bytes the command had beyond (> 0), or short of (< 0), the expected data transfer length. */
  residual: number;
  dataBytes: number;
}

export function encodeResponse(view: DataView, at: number, fields: Response): void {
  const { residual } = fields;
  begin(view, at, Opcode.response, Flag.final | residualFlag(residual), fields.dataBytes, fields.taskTag);
  view.setUint8(at + 2, fields.response);
  view.setUint8(at + 3, fields.status);
  number(view, at, fields);
  view.setUint32(at + 36, fields.expDataSn);
  view.setUint32(at + 44, Math.abs(residual));
}

/** RFC 7143 11.7. With `withStatus` it ends the command: `status`, `residual` and StatSN count then only. */
export interface DataIn extends SequenceNumbers {
  taskTag: number;
  final: boolean;
  withStatus: boolean;
  status: number;
  dataSn: number;
  bufferOffset: number;
  residual: number;
  dataBytes: number;
}

export function encodeDataIn(view: DataView, at: number, fields: DataIn): void {
  const { withStatus, residual } = fields;
  let flags = fields.final ? Flag.final : 0;
  if (withStatus) flags |= Flag.status | residualFlag(residual);
  begin(view, at, Opcode.dataIn, flags, fields.dataBytes, fields.taskTag);
  view.setUint32(at + 20, noTag);
  number(view, at, fields);
  if (withStatus) {
    view.setUint8(at + 3, fields.status);
    view.setUint32(at + 44, Math.abs(residual));
  } else {
    view.setUint32(at + 24, 0);
  }
  view.setUint32(at + 36, fields.dataSn);
  view.setUint32(at + 40, fields.bufferOffset);
}

/** RFC 7143 11.8. StatSN is the next one, not consumed. */
export interface ReadyToTransfer extends SequenceNumbers {
  taskTag: number;
  lunWord: number;
  transferTag: number;
  r2tSn: number;
  bufferOffset: number;
  desiredBytes: number;
}

export function encodeReadyToTransfer(view: DataView, at: number, fields: ReadyToTransfer): void {
  begin(view, at, Opcode.readyToTransfer, Flag.final, 0, fields.taskTag);
  view.setUint32(at + 8, fields.lunWord);
  view.setUint32(at + 20, fields.transferTag);
  number(view, at, fields);
  view.setUint32(at + 36, fields.r2tSn);
  view.setUint32(at + 40, fields.bufferOffset);
  view.setUint32(at + 44, fields.desiredBytes);
}

/** RFC 7143 11.19. An answer has the tag of the NOP-Out and no transfer tag; a question the other way round. */
export interface NopIn extends SequenceNumbers {
  taskTag: number;
  transferTag: number;
  lunWord: number;
  dataBytes: number;
}

export function encodeNopIn(view: DataView, at: number, fields: NopIn): void {
  begin(view, at, Opcode.nopIn, Flag.final, fields.dataBytes, fields.taskTag);
  view.setUint32(at + 8, fields.lunWord);
  view.setUint32(at + 20, fields.transferTag);
  number(view, at, fields);
}

/** RFC 7143 11.6. */
export interface TaskManagementAnswer extends SequenceNumbers {
  taskTag: number;
  /** `TaskResponse`. */
  response: number;
}

export function encodeTaskManagementResponse(view: DataView, at: number, fields: TaskManagementAnswer): void {
  begin(view, at, Opcode.taskManagementResponse, Flag.final, 0, fields.taskTag);
  view.setUint8(at + 2, fields.response);
  number(view, at, fields);
}

/** RFC 7143 11.15. Times in seconds. */
export interface LogoutAnswer extends SequenceNumbers {
  taskTag: number;
  /** `LogoutResponse`. */
  response: number;
  timeToWait: number;
  timeToRetain: number;
}

export function encodeLogoutResponse(view: DataView, at: number, fields: LogoutAnswer): void {
  begin(view, at, Opcode.logoutResponse, Flag.final, 0, fields.taskTag);
  view.setUint8(at + 2, fields.response);
  number(view, at, fields);
  view.setUint16(at + 40, fields.timeToWait);
  view.setUint16(at + 42, fields.timeToRetain);
}

/** RFC 7143 11.13. */
export interface LoginAnswer extends SequenceNumbers {
  taskTag: number;
  transit: boolean;
  continues: boolean;
  currentStage: number;
  nextStage: number;
  /** 12 hex digits. */
  isid: string;
  tsih: number;
  /** Class and detail, as in `LoginStatus`. */
  status: number;
  dataBytes: number;
}

export function encodeLoginResponse(view: DataView, at: number, fields: LoginAnswer): void {
  let flags = fields.currentStage << 2;
  if (fields.transit) flags |= Flag.final | fields.nextStage;
  if (fields.continues) flags |= Flag.continues;
  begin(view, at, Opcode.loginResponse, flags, fields.dataBytes, fields.taskTag);
  // Version-max and version-active are 0: there is one version (RFC 7143 11.13.1, 11.13.2).
  view.setUint32(at + 8, parseInt(fields.isid.slice(0, 8), 16));
  view.setUint16(at + 12, parseInt(fields.isid.slice(8), 16));
  view.setUint16(at + 14, fields.tsih);
  number(view, at, fields);
  view.setUint16(at + 36, fields.status);
}

/** RFC 7143 11.11. */
export interface TextAnswer extends SequenceNumbers {
  taskTag: number;
  transferTag: number;
  lunWord: number;
  final: boolean;
  continues: boolean;
  dataBytes: number;
}

export function encodeTextResponse(view: DataView, at: number, fields: TextAnswer): void {
  const flags = (fields.final ? Flag.final : 0) | (fields.continues ? Flag.continues : 0);
  begin(view, at, Opcode.textResponse, flags, fields.dataBytes, fields.taskTag);
  view.setUint32(at + 8, fields.lunWord);
  view.setUint32(at + 20, fields.transferTag);
  number(view, at, fields);
}

/** RFC 7143 11.9. Its data segment for a SCSI event is sense behind its length in two bytes. */
export interface AsyncMessage extends SequenceNumbers {
  lunWord: number;
  /** `AsyncEvent`. */
  event: number;
  parameter1: number;
  parameter2: number;
  parameter3: number;
  dataBytes: number;
}

export function encodeAsyncMessage(view: DataView, at: number, fields: AsyncMessage): void {
  begin(view, at, Opcode.asyncMessage, Flag.final, fields.dataBytes, noTag);
  view.setUint32(at + 8, fields.lunWord);
  number(view, at, fields);
  view.setUint8(at + 36, fields.event);
  view.setUint16(at + 38, fields.parameter1);
  view.setUint16(at + 40, fields.parameter2);
  view.setUint16(at + 42, fields.parameter3);
}

/** RFC 7143 11.17. Its data segment is the BHS that is refused, with its AHS. */
export interface Rejection extends SequenceNumbers {
  /** `RejectReason`. */
  reason: number;
  /** Of a refused Data-Out: what is expected next; else 0. */
  dataSn: number;
  dataBytes: number;
}

export function encodeReject(view: DataView, at: number, fields: Rejection): void {
  begin(view, at, Opcode.reject, Flag.final, fields.dataBytes, noTag);
  view.setUint8(at + 2, fields.reason);
  number(view, at, fields);
  view.setUint32(at + 36, fields.dataSn);
}
