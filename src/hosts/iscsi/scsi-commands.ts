/**
 * The SCSI commands of one session: gathers each with its data, gives it to the device server, answers it once.
 *
 * Keeps: every command taken in is answered exactly once, or was aborted, or the session has ended (I9). Memory is
 * bounded: without room for its data a write is not asked for it (R2T withheld), and when nothing is being gathered
 * reading stops (`overLimit`). Commands reach the device server in the order of arrival as far as their data does;
 * an ordered one never overtakes one that still gathers (SAM-5 8.6.3).
 * No promise and, once warm, no object a command: they are used again.
 */
import { assert } from '../../base/assert.ts';
import { payloadMemory } from '../../base/payload-memory.ts';
import type { Outbox } from '../outbox.ts';
import { type Nexus, type ScsiDevice, ScsiStatus } from '../scsi/task.ts';
import type { OperationalParameters } from './agreement.ts';
import type { CommandWindow } from './command-window.ts';
import type { MemoryBudget } from './memory-budget.ts';
import { decodeAdditionalHeaders, noTag, RejectReason, type RequestHeader } from './pdu.ts';
import type { Replies } from './replies.ts';
import {
  bidirectional,
  type CommandOwner,
  damagedData,
  type Failure,
  incorrectAmount,
  ScsiCommand,
  taskSetFull,
  unexpectedData,
} from './scsi-command.ts';

export interface ScsiCommandLimits {
  /** Payload bytes under way of one session; one command may exceed it. */
  readonly sessionBytesMax: number;
  /** Commands outside the window (RFC 7143 4.2.2.1): further ones are rejected. */
  readonly immediateMax: number;
}

export interface ScsiCommandParts {
  readonly device: ScsiDevice;
  readonly nexus: Nexus;
  readonly parameters: OperationalParameters;
  readonly window: CommandWindow;
  readonly replies: Replies;
  readonly outbox: Outbox;
  readonly budget: MemoryBudget;
}

const none = new Uint8Array(0);

export class ScsiCommands implements CommandOwner {
  readonly #device: ScsiDevice;
  readonly #nexus: Nexus;
  readonly #parameters: OperationalParameters;
  readonly #window: CommandWindow;
  readonly #replies: Replies;
  readonly #outbox: Outbox;
  readonly #budget: MemoryBudget;
  readonly #limits: ScsiCommandLimits;
  /** Something is to be sent, or there is room again: the turn shall end with a call of `grant`. */
  readonly #stirred: () => void;
  readonly #byTag = new Map<number, ScsiCommand>();
  readonly #idle: ScsiCommand[] = [];
  /** Those in state `waiting`, oldest first. */
  #waiting: ScsiCommand[] = [];
  /** Those in state `queued`, oldest first. */
  #queue: ScsiCommand[] = [];
  #gathering = 0;
  #immediate = 0;
  #order = 0;
  #transferTag = 0;
  /** Memory of commands, and replies not fetched. */
  #usedBytes = 0;
  #unsentBytes = 0;
  #over = false;
  /** Data-Out that counted, ever: `sweep` of the session looks whether there was any. */
  sequencesReceived = 0;

  constructor(parts: ScsiCommandParts, limits: ScsiCommandLimits, stirred: () => void) {
    this.#device = parts.device;
    this.#nexus = parts.nexus;
    this.#parameters = parts.parameters;
    this.#window = parts.window;
    this.#replies = parts.replies;
    this.#outbox = parts.outbox;
    this.#budget = parts.budget;
    this.#limits = limits;
    this.#stirred = stirred;
  }

  get inFlight(): number {
    return this.#byTag.size;
  }

  /** Waiting for data that was asked for. */
  get gathering(): number {
    return this.#gathering;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** No more data may be taken in than what has memory already. */
  get overLimit(): boolean {
    return this.#usedBytes >= this.#limits.sessionBytesMax || this.#budget.exceeded(this.#usedBytes);
  }

  // ---- as PDUs arrive

  /** Returns a `RejectReason`, or null. `data` is used during the call, or shared in. */
  command(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): number | null {
    const tag = header.taskTag;
    if (tag === noTag) return RejectReason.invalidField;
    if (this.#byTag.has(tag)) return RejectReason.taskInProgress;
    if (header.immediate && this.#immediate >= this.#limits.immediateMax) return RejectReason.immediateCommands;
    const additional = ahs.length === 0 ? null : decodeAdditionalHeaders(ahs);
    if (ahs.length > 0 && additional === null) return RejectReason.invalidField;
    const cdb = joined(header.cdb, additional?.extendedCdb ?? null);
    const overLimit = this.overLimit;
    const command = this.#take(header, cdb);
    const { firstBurstLength, immediateData, initialR2T } = this.#parameters;
    command.wantedBytes = this.#device.dataOutBytes(this.#nexus, command.lun, cdb);
    command.gatherBytes = command.write ? Math.min(command.expectedBytes, command.wantedBytes) : 0;
    command.receivedBytes = command.requestedBytes = data.length;
    if (command.read && command.write) command.failure = bidirectional;
    else if (data.length > 0 && (!command.write || !immediateData)) command.failure = unexpectedData;
    else if (command.unsolicited && initialR2T) command.failure = unexpectedData;
    else if (data.length > Math.min(firstBurstLength, command.expectedBytes)) command.failure = incorrectAmount;
    // Reading goes on for the sake of what is being gathered, not for more to do.
    else if (command.read && overLimit) command.failure = taskSetFull;
    this.#gather(command, data);
    return null;
  }

  /** Where the data segment of a Data-Out goes. */
  place(header: RequestHeader): Uint8Array {
    return this.#byTag.get(header.taskTag)?.place(header) ?? none;
  }

  /** Returns a `RejectReason`, or null. Data of commands that are not there any more is passed over. */
  dataOut(header: RequestHeader): number | null {
    const command = this.#byTag.get(header.taskTag);
    if (command === undefined) return null;
    if (!command.expects(header)) return RejectReason.protocol;
    if (command.received(header)) this.#sequenceEnded(command);
    return null;
  }

  /** Its data segment is not what was sent: without recovery within commands, the command fails (RFC 7143 7.8). */
  damaged(header: RequestHeader): void {
    const command = this.#byTag.get(header.taskTag);
    if (command === undefined || !command.expects(header)) return;
    command.failure ??= damagedData;
    if (command.received(header)) this.#sequenceEnded(command);
  }

  // ---- aborts

  find(tag: number): ScsiCommand | null {
    return this.#byTag.get(tag) ?? null;
  }

  /** Never to be answered. False: it had not reached the device server, and is gone. */
  abort(command: ScsiCommand): boolean {
    command.aborted = true;
    if (command.state === 'running') return true;
    this.#retire(command);
    this.#drain();
    return false;
  }

  /** All for that LUN, or all. `own`: those with the device server are not answered either. */
  abortAll(lun: number | null, own: boolean): void {
    for (const command of [...this.#byTag.values()]) {
      if (lun !== null && command.lun !== lun) continue;
      if (command.state !== 'running') this.#retire(command);
      else if (own) command.aborted = true;
    }
    this.#drain();
  }

  // ---- turns

  /** At the end of a turn: memory that has become free goes to those who wait for it. */
  grant(): void {
    while (this.#waiting.length > 0 && !this.overLimit) {
      const command = this.#waiting.shift();
      assert(command !== undefined, 'no first of those who wait');
      const early = command.buffer;
      this.#lend(command);
      command.buffer.set(early);
      this.#request(command);
    }
    if (this.#budget.exceeded(this.#usedBytes)) this.#budget.wait(this.#stirred);
  }

  /** What the initiator has not fetched, and is memory as much as the rest. */
  account(unsentBytes: number): void {
    if (unsentBytes === this.#unsentBytes) return;
    this.#use(unsentBytes - this.#unsentBytes);
    this.#unsentBytes = unsentBytes;
  }

  /** Nothing is answered any more. What is with the device server ends there. */
  close(): void {
    this.#over = true;
    this.#budget.forget(this.#stirred);
    for (const command of [...this.#byTag.values()]) if (command.state !== 'running') this.#retire(command);
    this.#waiting = [];
    this.#queue = [];
    this.#use(-this.#unsentBytes);
    this.#unsentBytes = 0;
  }

  // ---- gathering

  #gather(command: ScsiCommand, data: Uint8Array): void {
    const { gatherBytes } = command;
    if (command.failure === null && !command.unsolicited && data.length >= gatherBytes) {
      if (gatherBytes > 0) {
        command.dataOut = data.subarray(0, gatherBytes);
        payloadMemory.share(command.dataOut);
        this.#count(command, gatherBytes);
      }
      this.#ready(command);
      return;
    }
    command.state = 'gathering';
    this.#gathering += 1;
    if (this.overLimit && gatherBytes > 0 && command.failure === null) {
      if (!command.unsolicited) {
        this.#wait(command, data);
        return;
      }
      // It comes whether there is room or not.
      command.failure = taskSetFull;
    }
    if (command.failure === null) {
      this.#lend(command);
      command.buffer.set(data.subarray(0, gatherBytes));
    }
    if (!command.unsolicited) this.#request(command);
  }

  #wait(command: ScsiCommand, data: Uint8Array): void {
    command.state = 'waiting';
    this.#gathering -= 1;
    command.buffer = data.slice(0, command.gatherBytes);
    this.#count(command, command.buffer.length);
    this.#waiting.push(command);
    this.#stirred();
  }

  #lend(command: ScsiCommand): void {
    if (command.state === 'waiting') {
      command.state = 'gathering';
      this.#gathering += 1;
    }
    command.buffer = command.gatherBytes === 0 ? none : payloadMemory.take(command.gatherBytes);
    this.#count(command, command.gatherBytes - command.countedBytes);
  }

  #sequenceEnded(command: ScsiCommand): void {
    this.sequencesReceived += 1;
    if (command.failure === null && command.requestedBytes < command.receivedBytes) {
      command.requestedBytes = command.receivedBytes;
    }
    this.#request(command);
  }

  /** Asks for what is to come next, or goes on with the command when all is there (RFC 7143 11.8, 13.14, 13.17). */
  #request(command: ScsiCommand): void {
    const { maxBurstLength, maxOutstandingR2T } = this.#parameters;
    const { transferTags, gatherBytes } = command;
    while (
      command.failure === null &&
      command.requestedBytes < gatherBytes &&
      transferTags.length < maxOutstandingR2T
    ) {
      const bytes = Math.min(maxBurstLength, gatherBytes - command.requestedBytes);
      const tag = this.#nextTransferTag();
      this.#replies.readyToTransfer(command, tag, command.requestedBytes, bytes);
      transferTags.push(tag);
      command.r2tSn += 1;
      command.requestedBytes += bytes;
      this.#stirred();
    }
    if (transferTags.length > 0) {
      command.sequenceEnd = Math.min(command.receivedBytes + maxBurstLength, gatherBytes);
      return;
    }
    this.#gathering -= 1;
    command.dataOut = command.buffer;
    this.#ready(command);
    this.#drain();
  }

  #nextTransferTag(): number {
    this.#transferTag = (this.#transferTag + 1) >>> 0;
    if (this.#transferTag === noTag) this.#transferTag = 0;
    return this.#transferTag;
  }

  // ---- order

  /** Has all its data: goes to the device server, unless an ordered command forbids it. */
  #ready(command: ScsiCommand): void {
    command.state = 'queued';
    if (this.#queue.length === 0 && !this.#mustWait(command)) {
      this.#run(command);
      return;
    }
    let at = this.#queue.length;
    while (at > 0 && (this.#queue[at - 1]?.order ?? 0) > command.order) at -= 1;
    this.#queue.splice(at, 0, command);
    this.#drain();
  }

  /** Lets go what stands behind no ordered command that is itself held up. */
  #drain(): void {
    if (this.#queue.length === 0) return;
    const queue = this.#queue;
    this.#queue = [];
    const free: ScsiCommand[] = [];
    const closed = new Set<number>();
    for (const command of queue) {
      const { lun, attribute } = command;
      if (attribute !== 'headOfQueue' && (closed.has(lun) || this.#mustWait(command))) {
        if (attribute === 'ordered') closed.add(lun);
        this.#queue.push(command);
      } else {
        free.push(command);
      }
    }
    for (const command of free) if (command.state === 'queued') this.#run(command);
  }

  #mustWait(command: ScsiCommand): boolean {
    if (command.attribute !== 'ordered' || this.#gathering + this.#waiting.length === 0) return false;
    for (const other of this.#byTag.values()) {
      if (other.incomplete && other.lun === command.lun && other.order < command.order) return true;
    }
    return false;
  }

  #run(command: ScsiCommand): void {
    if (command.failure !== null) {
      const { status, sense }: Failure = command.failure;
      command.buffer = command.dataOut = none;
      this.completed(command, status, sense, 0);
      return;
    }
    command.state = 'running';
    this.#device.execute(command);
  }

  // ---- what the device server says

  reserve(command: ScsiCommand, bytes: number): Uint8Array {
    assert(command.slab === null && command.state === 'running', 'data reserved twice, or for no command');
    const { headroomBytes } = this.#replies;
    const slab = this.#outbox.reserve(headroomBytes, bytes);
    command.slab = slab;
    command.dataInStart = slab.used - bytes;
    command.reservedBytes = bytes;
    if (bytes > command.countedBytes) this.#count(command, bytes - command.countedBytes);
    return new Uint8Array(slab.bytes.buffer, command.dataInStart, bytes);
  }

  completed(command: ScsiCommand, status: ScsiStatus, sense: Uint8Array | null, dataInBytes: number | null): void {
    assert(command.state !== 'idle', 'command completed twice');
    if (this.#over || command.aborted) {
      this.dropped(command);
      return;
    }
    const successful = status === ScsiStatus.good || status === ScsiStatus.conditionMet;
    const dataIn = dataInBytes ?? (successful ? command.reservedBytes : 0);
    assert(dataIn <= command.reservedBytes, 'more data than was reserved');
    const { read, write, expectedBytes } = command;
    // RFC 7143 11.4.5: against what the initiator expects, not against what could be moved.
    const moved = read ? dataIn : write ? command.wantedBytes : dataIn + command.wantedBytes;
    const residual = read || write ? moved - expectedBytes : moved;
    if (!command.immediate) this.#window.retire();
    this.#replies.ended(command, status, sense, read ? Math.min(dataIn, expectedBytes) : 0, residual);
    this.#forget(command);
    this.#stirred();
  }

  dropped(command: ScsiCommand): void {
    assert(command.state !== 'idle', 'command ended twice');
    this.#retire(command);
    if (!this.#over) this.#stirred();
  }

  // ---- in and out of use

  #take(header: RequestHeader, cdb: Uint8Array): ScsiCommand {
    const command = this.#idle.pop() ?? new ScsiCommand(this.#nexus, this);
    command.begin(header, cdb, (this.#order += 1), this.#parameters.firstBurstLength);
    command.state = 'queued';
    this.#byTag.set(command.taskTag, command);
    if (command.immediate) this.#immediate += 1;
    // Data for the initiator is counted before it is reserved: a row of reads shall not be let in because none has begun.
    if (command.read) this.#count(command, Math.min(command.expectedBytes, expectedBytesMax));
    return command;
  }

  /** Ends without an answer. */
  #retire(command: ScsiCommand): void {
    if (command.slab !== null) this.#outbox.release(command.slab);
    command.slab = null;
    if (command.state === 'gathering') this.#gathering -= 1;
    if (command.state === 'waiting') this.#waiting = this.#waiting.filter((other) => other !== command);
    if (command.state === 'queued') this.#queue = this.#queue.filter((other) => other !== command);
    if (!command.immediate) this.#window.retire();
    this.#forget(command);
  }

  #forget(command: ScsiCommand): void {
    this.#count(command, -command.countedBytes);
    if (command.immediate) this.#immediate -= 1;
    this.#byTag.delete(command.taskTag);
    command.state = 'idle';
    // The decoder may be writing into the buffer just now, and the volume keeps what it was given: neither goes back here.
    command.buffer = command.dataOut = none;
    command.cdb = none;
    this.#idle.push(command);
  }

  #count(command: ScsiCommand, bytes: number): void {
    command.countedBytes += bytes;
    this.#use(bytes);
  }

  #use(bytes: number): void {
    this.#usedBytes += bytes;
    this.#budget.use(bytes);
  }
}

/** More than any command gives; what an initiator says it expects counts up to here. */
const expectedBytesMax = 8 * 1024 * 1024;

function joined(cdb: Uint8Array, more: Uint8Array | null): Uint8Array {
  if (more === null) return cdb;
  const whole = new Uint8Array(cdb.length + more.length);
  whole.set(cdb);
  whole.set(more, cdb.length);
  return whole;
}
