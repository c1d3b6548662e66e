/**
 * One SCSI command in flight and the data gathered for it (RFC 7143 11.3, 11.7, 11.8): what was sent with the command,
 * then unsolicited Data-Out, then what R2Ts ask for, into one buffer, in order (DataPDUInOrder, DataSequenceInOrder: Yes).
 *
 * Keeps: a byte counts only in its place and in turn; a sequence that breaks a rule is still waited for to its end (RFC
 * 7143 11.4.2) and then the command fails. Used again when it has ended: a hundred thousand a second should not be as
 * many objects. Leaves to `ScsiCommands` when there is memory, and to send R2Ts and answers.
 */
import type { Slab } from '../outbox.ts';
import type { Nexus, ScsiStatus, ScsiTask, TaskAttribute } from '../scsi/task.ts';
import { noTag, type RequestHeader } from './pdu.ts';

export type CommandState =
  /** Not in use. */
  | 'idle'
  /** Needs more data than it brought, and there is no memory for it yet: nothing has been asked for. */
  | 'waiting'
  /** Data is on its way, or what is to be passed over. */
  | 'gathering'
  /** Has all its data, and stands behind an ordered command that has not (SAM-5 8.6.3). */
  | 'queued'
  /** With the device server. */
  | 'running';

/** What a command that never reaches the device server is answered with. */
export interface Failure {
  readonly status: ScsiStatus;
  readonly sense: Uint8Array | null;
}

export interface CommandOwner {
  reserve(command: ScsiCommand, bytes: number): Uint8Array;
  completed(command: ScsiCommand, status: ScsiStatus, sense: Uint8Array | null, dataInBytes: number | null): void;
  dropped(command: ScsiCommand): void;
}

const none = new Uint8Array(0);

export class ScsiCommand implements ScsiTask {
  readonly nexus: Nexus;
  lun = -1;
  cdb: Uint8Array = none;
  attribute: TaskAttribute = 'simple';
  dataOut: Uint8Array = none;

  state: CommandState = 'idle';
  taskTag = 0;
  lunWord = 0;
  /** Immediate commands are not counted in the window. */
  immediate = false;
  read = false;
  write = false;
  /** Expected data transfer length, of the initiator. */
  expectedBytes = 0;
  /** What the command takes from the initiator, by its CDB. */
  wantedBytes = 0;
  /** Place in the order of arrival. */
  order = 0;
  /** An abort was asked for: however it ends, it is not answered. */
  aborted = false;
  /** Counted in the memory of the session. */
  countedBytes = 0;

  // ---- gathering

  /** As long as the data will be; shorter while it waits for memory; empty when what comes is passed over. */
  buffer: Uint8Array = none;
  /** Bytes to gather: the lesser of what is wanted and what is expected. */
  gatherBytes = 0;
  /** Up to here all has come, kept or passed over. */
  receivedBytes = 0;
  /** Up to here R2Ts have been sent. */
  requestedBytes = 0;
  /** Unsolicited Data-Out may come until one is final. */
  unsolicited = false;
  /** Of R2Ts not fulfilled, oldest first. */
  readonly transferTags: number[] = [];
  /** Where the present sequence ends. */
  sequenceEnd = 0;
  /** Of the next Data-Out in the present sequence. */
  dataSn = 0;
  r2tSn = 0;
  failure: Failure | null = null;

  // ---- data for the initiator

  slab: Slab | null = null;
  /** Where the data lies in the slab. */
  dataInStart = 0;
  reservedBytes = 0;

  readonly #owner: CommandOwner;

  constructor(nexus: Nexus, owner: CommandOwner) {
    this.nexus = nexus;
    this.#owner = owner;
  }

  /** A command has come; `unsolicitedEnd`: how far data that nobody asked for may go, with what came in its PDU. */
  begin(header: RequestHeader, cdb: Uint8Array, order: number, unsolicitedEnd: number): void {
    const { flags } = header;
    this.lun = header.lun;
    this.lunWord = header.lunWord;
    this.cdb = cdb;
    this.attribute = attributes[flags & 0x07] ?? 'simple';
    this.taskTag = header.taskTag;
    this.immediate = header.immediate;
    this.read = header.read;
    this.write = header.write;
    this.expectedBytes = header.expectedBytes;
    this.wantedBytes = 0;
    this.order = order;
    this.aborted = false;
    this.dataOut = this.buffer = none;
    this.gatherBytes = this.receivedBytes = this.requestedBytes = 0;
    this.unsolicited = this.write && !header.final;
    this.transferTags.length = 0;
    this.sequenceEnd = Math.min(unsolicitedEnd, this.expectedBytes);
    this.dataSn = this.r2tSn = 0;
    this.failure = null;
    this.reservedBytes = 0;
  }

  // ---- for the device server

  reserveDataIn(bytes: number): Uint8Array {
    return this.#owner.reserve(this, bytes);
  }

  complete(status: ScsiStatus, sense: Uint8Array | null = null, dataInBytes: number | null = null): void {
    this.#owner.completed(this, status, sense, dataInBytes);
  }

  // Named `dropped` by SAM's words: the device server has dropped it.
  dropped(): void {
    this.#owner.dropped(this);
  }

  // ---- Data-Out

  /** Whether it belongs to the sequence that is due. Others are refused. */
  expects(header: RequestHeader): boolean {
    const tag = header.transferTag;
    if (this.state !== 'gathering') return false;
    return tag === noTag ? this.unsolicited : !this.unsolicited && tag === this.transferTags[0];
  }

  /** Where the data segment of a Data-Out goes; empty: nowhere. Changes nothing. */
  place(header: RequestHeader): Uint8Array {
    if (!this.expects(header) || this.failure !== null || this.#breach(header) !== null) return none;
    return this.buffer.subarray(this.receivedBytes, this.receivedBytes + header.dataBytes);
  }

  /** One that it expects has come whole, its data in its place. True: the sequence has ended. */
  received(header: RequestHeader): boolean {
    this.failure ??= this.#breach(header);
    if (this.failure === null) {
      this.receivedBytes += header.dataBytes;
      this.dataSn = (this.dataSn + 1) >>> 0;
    }
    if (!header.final) {
      // The initiator owes a final one; what it sends until then is passed over.
      if (!this.unsolicited && this.receivedBytes === this.sequenceEnd) this.failure ??= incorrectAmount;
      return false;
    }
    if (!this.unsolicited) {
      this.transferTags.shift();
      if (this.receivedBytes < this.sequenceEnd) this.failure ??= incorrectAmount;
    }
    this.unsolicited = false;
    this.dataSn = 0;
    return true;
  }

  /** Ordered commands wait for it (SAM-5 8.6.3). */
  get incomplete(): boolean {
    return this.state === 'waiting' || this.state === 'gathering';
  }

  #breach(header: RequestHeader): Failure | null {
    if (header.dataSn !== this.dataSn || header.bufferOffset !== this.receivedBytes) return damagedData;
    return this.receivedBytes + header.dataBytes > this.sequenceEnd ? incorrectAmount : null;
  }
}

const attributes: readonly TaskAttribute[] = ['simple', 'simple', 'ordered', 'headOfQueue', 'aca'];

/** Fixed format, ABORTED COMMAND unless said otherwise (SPC-4 4.5.3). */
function failed(code: number, key = 0x0b): Failure {
  const sense = new Uint8Array(18);
  sense.set([0x70, 0, key, 0, 0, 0, 0, 10]);
  sense.set([code >> 8, code & 0xff], 12);
  return { status: 0x02, sense };
}

// RFC 7143 11.4.7.2: what a target reports of faults of its own protocol.
export const unexpectedData = failed(0x0c0c);
export const incorrectAmount = failed(0x0c0d);
/** PROTOCOL SERVICE CRC ERROR: data was lost on the way. */
export const damagedData = failed(0x4705);
/** No command of ours takes and gives data (INVALID FIELD IN COMMAND INFORMATION UNIT). */
export const bidirectional = failed(0x0e03, 0x05);
export const taskSetFull: Failure = { status: 0x28, sense: null };
