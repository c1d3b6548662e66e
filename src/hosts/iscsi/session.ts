/**
 * The full feature phase of a session and its one connection (RFC 7143 4.2, 11): numbers of commands, what each PDU
 * asks for, signs of life, the end. SCSI commands and their data are `ScsiCommands`', their management `task-management`'s.
 *
 * Keeps: commands are performed in the order of CmdSN, each once; one that comes early is kept, one outside the window
 * or a second time is ignored (RFC 7143 4.2.2.1). Error recovery level 0: what is lost is not asked for again.
 * Leaves to the connection: the stream, when to read; to the server: sessions of the same nexus, the clock's strokes.
 */
import { assert } from '../../base/assert.ts';
import type { ByteStream } from '../../base/network.ts';
import type { EndTask, Turn } from '../../base/turn.ts';
import { Outbox, type SlabPool } from '../outbox.ts';
import { encodeLun, type Nexus, type ScsiDevice } from '../scsi/task.ts';
import type { Agreement } from './agreement.ts';
import { CommandWindow } from './command-window.ts';
import type { MemoryBudget } from './memory-budget.ts';
import {
  AsyncEvent,
  bhsBytes,
  LogoutReason,
  LogoutResponse,
  noTag,
  Opcode,
  RejectReason,
  RequestHeader,
} from './pdu.ts';
import { Replies } from './replies.ts';
import { type ScsiCommandLimits, ScsiCommands } from './scsi-commands.ts';
import { manage, type Peers } from './task-management.ts';
import type { TargetDirectory } from './targets.ts';
import { type TextAddresses, TextNegotiation } from './text.ts';

export interface SessionLimits extends ScsiCommandLimits {
  /** Commands in flight beside immediate ones. */
  readonly commandWindow: number;
  /** Replies the initiator has not fetched; beyond it nothing is read. */
  readonly unsentBytesMax: number;
  /** So long without a PDU, and the initiator is asked for a sign of life; as long again, and the session ends. */
  readonly silenceMs: number;
  /** So long without progress of what the initiator owes, data that was asked for or fetching replies, and the session ends. */
  readonly stallMs: number;
}

export interface SessionParts {
  readonly agreement: Agreement;
  /** Null in a discovery session. */
  readonly nexus: Nexus | null;
  readonly stream: ByteStream;
  readonly turn: Turn;
  readonly slabs: SlabPool;
  readonly budget: MemoryBudget;
  readonly targets: TargetDirectory;
  readonly addresses: TextAddresses;
  readonly peers: Peers;
}

export interface SessionEvents {
  /** Said all there was to say: the connection is to be ended. `fault`: the initiator broke the protocol, or is silent. */
  finished(reason: string, fault: boolean): void;
  /** Replies have left: there may be room for more. */
  turnEnded(): void;
}

type State =
  | 'serving'
  /** A logout is answered when the device server has let go; nothing else is said. */
  | 'leaving'
  /** Nothing is said any more. */
  | 'over';

/** A command that came before its turn; null in its place: it is to be ignored. */
interface Early {
  readonly header: RequestHeader;
  readonly ahs: Uint8Array;
  readonly data: Uint8Array;
}

const none = new Uint8Array(0);

export class Session implements EndTask {
  readonly agreement: Agreement;
  readonly #device: ScsiDevice | null;
  readonly #nexus: Nexus | null;
  readonly #stream: ByteStream;
  readonly #turn: Turn;
  readonly #peers: Peers;
  readonly #limits: SessionLimits;
  readonly #events: SessionEvents;
  readonly #window: CommandWindow;
  readonly #outbox: Outbox;
  readonly #replies: Replies;
  readonly #text: TextNegotiation;
  /** Null in a discovery session: those have text and logout only (RFC 7143 4.3). */
  readonly #commands: ScsiCommands | null;
  readonly #early = new Map<number, Early | null>();
  #earlyBytes = 0;
  #managing = 0;
  #state: State = 'serving';
  /** After a logout the device server has let go. */
  #left = false;
  /** Set when the connection has ended before that. */
  #released: (() => void) | null = null;
  #endAsked = false;

  // For `sweep`: what has happened since the last one.
  #heard = true;
  #heardAtMs = 0;
  #progressAtMs = 0;
  #sequencesSeen = 0;
  #takenBytesSeen = 0;
  /** Of the NOP-In that awaits its answer; null: none does. */
  #pingTag: number | null = null;
  #pings = 0;

  constructor(parts: SessionParts, limits: SessionLimits, events: SessionEvents, nowMs: number) {
    const { agreement, stream, nexus } = parts;
    this.agreement = agreement;
    this.#nexus = nexus;
    this.#device = agreement.target?.device ?? null;
    this.#stream = stream;
    this.#turn = parts.turn;
    this.#peers = parts.peers;
    this.#limits = limits;
    this.#events = events;
    this.#heardAtMs = this.#progressAtMs = nowMs;
    this.#window = new CommandWindow(agreement.expCmdSn, limits.commandWindow);
    this.#outbox = new Outbox(parts.slabs, stream, 'inOrder');
    this.#replies = new Replies(this.#outbox, this.#window, agreement.parameters, agreement.statSn);
    this.#text = new TextNegotiation(agreement, parts.targets, parts.addresses);
    const device = this.#device;
    if (device === null || nexus === null) {
      this.#commands = null;
      return;
    }
    const { parameters } = agreement;
    this.#commands = new ScsiCommands(
      {
        device,
        nexus,
        parameters,
        window: this.#window,
        replies: this.#replies,
        outbox: this.#outbox,
        budget: parts.budget,
      },
      limits,
      () => {
        this.#askForEnd();
      },
    );
    device.nexusGained(nexus);
    device.onAsyncEvent(nexus, (lun, sense) => {
      if (this.#state !== 'serving') return;
      this.#replies.async(AsyncEvent.scsi, new DataView(encodeLun(lun).buffer).getUint32(0), [0, 0, 0], sense);
      this.#askForEnd();
    });
  }

  get commandsInFlight(): number {
    return this.#commands?.inFlight ?? 0;
  }

  // ---- what the connection's decoder finds

  /** While true, no further PDU is taken in. */
  get full(): boolean {
    const commands = this.#commands;
    if (this.#state !== 'serving') return true;
    return (
      this.#stream.unsentBytes > this.#limits.unsentBytesMax ||
      // Data of writes that have their memory is let in, whatever there is beside.
      (commands !== null && commands.gathering === 0 && commands.overLimit)
    );
  }

  place(header: RequestHeader): Uint8Array | null {
    switch (header.opcode) {
      case Opcode.dataOut:
        return this.#commands?.place(header) ?? none;
      case Opcode.command:
      case Opcode.nopOut:
      case Opcode.text:
        return null;
      default:
        return none;
    }
  }

  pdu(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    this.#heard = true;
    switch (header.opcode) {
      case Opcode.dataOut: {
        const reason = this.#commands === null ? RejectReason.protocol : this.#commands.dataOut(header);
        if (reason !== null) this.#reject(reason, header, ahs);
        return;
      }
      case Opcode.snack:
        // RFC 7143 11.16: not at error recovery level 0.
        this.#reject(RejectReason.snack, header, ahs);
        return;
      case Opcode.command:
      case Opcode.taskManagement:
      case Opcode.nopOut:
      case Opcode.text:
      case Opcode.logout:
        if (header.immediate) this.#perform(header, ahs, data);
        else this.#inTurn(header, ahs, data);
        return;
      case Opcode.login:
        this.#reject(RejectReason.protocol, header, ahs);
        this.#finish('login request in the full feature phase', true);
        return;
      default:
        this.#reject(RejectReason.notSupported, header, ahs);
    }
  }

  /** A data segment is not what was sent (RFC 7143 7.8): the PDU is refused, and what it was is not known to have come. */
  damaged(header: RequestHeader, ahs: Uint8Array): void {
    this.#heard = true;
    this.#reject(RejectReason.dataDigest, header, ahs);
    if (header.opcode === Opcode.dataOut) this.#commands?.damaged(header);
  }

  drained(): void {
    this.#outbox.taken();
    this.#askForEnd();
  }

  // ---- turns and time

  endOfTurn(): void {
    this.#endAsked = false;
    if (this.#state === 'over') return;
    this.#commands?.grant();
    this.#outbox.send();
    this.#commands?.account(this.#stream.unsentBytes);
    this.#events.turnEnded();
  }

  /** Every few seconds. `reading`: false while the connection does not read, for whatever reason. */
  sweep(nowMs: number, reading: boolean): void {
    if (this.#state !== 'serving') return;
    const commands = this.#commands;
    if (this.#heard || !reading) {
      this.#heard = false;
      this.#heardAtMs = nowMs;
    }
    const sequences = commands?.sequencesReceived ?? 0;
    const takenBytes = this.#outbox.takenBytes;
    const owes = (commands?.gathering ?? 0) > 0 || this.#stream.unsentBytes > 0;
    if (!owes || sequences !== this.#sequencesSeen || takenBytes !== this.#takenBytesSeen) this.#progressAtMs = nowMs;
    this.#sequencesSeen = sequences;
    this.#takenBytesSeen = takenBytes;
    const silentMs = nowMs - this.#heardAtMs;
    if (nowMs - this.#progressAtMs >= this.#limits.stallMs) {
      this.#finish(`data or replies have not moved for ${this.#limits.stallMs} ms`, true);
    } else if (silentMs >= 2 * this.#limits.silenceMs) {
      this.#finish(`silent for ${Math.round(silentMs)} ms`, true);
    } else if (silentMs >= this.#limits.silenceMs && this.#pingTag === null && commands !== null) {
      this.#pings = (this.#pings + 1) & 0x7fff_ffff;
      this.#pingTag = this.#pings;
      this.#replies.ping(this.#pingTag);
      this.#askForEnd();
    }
  }

  // ---- the end

  /** Asks the initiator to log out within so many seconds (RFC 7143 11.9.1). */
  requestLogout(seconds: number): void {
    if (this.#state !== 'serving') return;
    this.#replies.async(AsyncEvent.logoutRequested, 0, [0, 0, seconds], null);
    this.#askForEnd();
  }

  /** Commands for that LUN (null: all) that the device server does not have yet end without an answer: another session resets it. */
  abortWaiting(lun: number | null): void {
    if (this.#state === 'serving') this.#commands?.abortAll(lun, false);
  }

  /** Tells the initiator that its session ends now; the connection is to be closed then. */
  expel(): void {
    if (this.#state !== 'serving') return;
    this.#replies.async(AsyncEvent.sessionDropped, 0, [0, 0, 0], null);
    this.#outbox.send();
  }

  /** Nothing is answered from now on. `released` once nothing of the session can touch a volume any more (I9). */
  close(released: () => void): void {
    assert(this.#state !== 'over', 'session closed twice');
    const leaving = this.#state === 'leaving';
    this.#state = 'over';
    this.#commands?.close();
    this.#outbox.close();
    if (!leaving) this.#leave(released);
    else if (this.#left) released();
    else this.#released = released;
  }

  #leave(done: () => void): void {
    if (this.#device === null || this.#nexus === null) done();
    else this.#device.nexusLost(this.#nexus, done);
  }

  #finish(reason: string, fault: boolean): void {
    this.#outbox.send();
    this.#events.finished(reason, fault);
  }

  // ---- numbered commands

  #inTurn(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    const { cmdSn } = header;
    const window = this.#window;
    if (!window.contains(cmdSn) || this.#early.has(cmdSn)) return;
    if (cmdSn !== window.expCmdSn) {
      this.#keep(cmdSn, header, ahs, data);
      return;
    }
    window.advance();
    this.#perform(header, ahs, data);
    this.#performEarly();
  }

  #performEarly(): void {
    while (this.#early.size > 0 && this.#state === 'serving') {
      const early = this.#early.get(this.#window.expCmdSn);
      if (early === undefined) return;
      this.#early.delete(this.#window.expCmdSn);
      this.#window.advance();
      if (early === null) {
        this.#window.retire();
      } else {
        this.#earlyBytes -= early.data.length;
        this.#perform(early.header, early.ahs, early.data);
      }
    }
  }

  /** Before its turn: on one connection because one before it was damaged, and will be sent again, or never. */
  #keep(cmdSn: number, header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    if (this.#earlyBytes + data.length > this.#limits.sessionBytesMax) {
      this.#finish(`commands before CmdSN ${this.#window.expCmdSn} do not come`, true);
      return;
    }
    this.#earlyBytes += data.length;
    const copy = new Uint8Array(header.view.buffer, header.view.byteOffset + header.at, bhsBytes).slice();
    this.#early.set(cmdSn, {
      header: new RequestHeader(new DataView(copy.buffer)),
      ahs: ahs.slice(),
      data: data.slice(),
    });
  }

  #perform(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    switch (header.opcode) {
      case Opcode.command:
        this.#command(header, ahs, data);
        return;
      case Opcode.taskManagement:
        this.#manage(header, ahs);
        return;
      case Opcode.nopOut:
        this.#nopOut(header, ahs, data);
        return;
      case Opcode.text:
        this.#negotiate(header, ahs, data);
        return;
      case Opcode.logout:
        this.#logout(header);
        return;
      default:
        assert(false, `opcode ${header.opcode} has no CmdSN`);
    }
  }

  #command(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    const reason = this.#commands === null ? RejectReason.protocol : this.#commands.command(header, ahs, data);
    if (reason !== null) this.#refuse(reason, header, ahs);
  }

  #manage(header: RequestHeader, ahs: Uint8Array): void {
    const commands = this.#commands;
    const { taskTag, immediate } = header;
    if (commands === null || this.#device === null || this.#nexus === null || taskTag === noTag) {
      this.#refuse(commands === null ? RejectReason.protocol : RejectReason.invalidField, header, ahs);
      return;
    }
    if (immediate && this.#managing >= this.#limits.immediateMax) {
      this.#refuse(RejectReason.immediateCommands, header, ahs);
      return;
    }
    this.#managing += 1;
    const parts = {
      device: this.#device,
      nexus: this.#nexus,
      commands,
      window: this.#window,
      peers: this.#peers,
      skip: (cmdSn: number) => {
        this.#skip(cmdSn);
      },
    };
    manage(parts, header, (response) => {
      this.#managing -= 1;
      if (!immediate) this.#window.retire();
      if (this.#state !== 'serving') return;
      this.#replies.taskManagement(taskTag, response);
      this.#askForEnd();
    });
  }

  /** The command of that number is ignored when it comes, or, having come early, is forgotten. */
  #skip(cmdSn: number): void {
    this.#earlyBytes -= this.#early.get(cmdSn)?.data.length ?? 0;
    this.#early.set(cmdSn, null);
    this.#performEarly();
  }

  #nopOut(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    const { taskTag, immediate, transferTag } = header;
    if (this.#commands === null) {
      this.#refuse(RejectReason.protocol, header, ahs);
      return;
    }
    if (!immediate) this.#window.retire();
    if (taskTag === noTag) {
      // An answer, or only news of what the initiator has received (RFC 7143 11.18).
      if (transferTag === this.#pingTag) this.#pingTag = null;
      return;
    }
    this.#replies.pong(taskTag, header.lunWord, data);
    this.#askForEnd();
  }

  #negotiate(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    const { taskTag, immediate } = header;
    const step = this.#text.request(header, data);
    if (step.kind === 'reject') {
      this.#refuse(step.reason, header, ahs);
      return;
    }
    if (!immediate) this.#window.retire();
    this.#replies.text(taskTag, step);
    if (step.maxSendDataSegmentLength !== null) this.#replies.dataBytesMax = step.maxSendDataSegmentLength;
    this.#askForEnd();
  }

  /** RFC 7143 11.14: with one connection, to close it is to close the session; there is no recovery. */
  #logout(header: RequestHeader): void {
    const { taskTag, logoutReason } = header;
    if (!header.immediate) this.#window.retire();
    const ofThis = logoutReason === LogoutReason.session || header.cid === this.agreement.cid;
    const recovery = logoutReason === LogoutReason.recovery;
    if (!ofThis || recovery || logoutReason > LogoutReason.recovery) {
      this.#replies.logout(taskTag, ofThis ? LogoutResponse.noRecovery : LogoutResponse.noConnection);
      this.#askForEnd();
      return;
    }
    // What was ready in this turn still leaves; what is under way ends without an answer.
    this.#outbox.send();
    this.#state = 'leaving';
    this.#commands?.abortAll(null, true);
    this.#leave(() => {
      this.#left = true;
      if (this.#state === 'over') {
        this.#released?.();
        return;
      }
      this.#replies.logout(taskTag, LogoutResponse.success);
      this.#finish('logged out', false);
    });
  }

  // ---- refusals

  /** Of a command: its number is used up. */
  #refuse(reason: number, header: RequestHeader, ahs: Uint8Array): void {
    if (!header.immediate) this.#window.retire();
    this.#reject(reason, header, ahs);
  }

  #reject(reason: number, header: RequestHeader, ahs: Uint8Array): void {
    const refused = new Uint8Array(bhsBytes + ahs.length);
    refused.set(new Uint8Array(header.view.buffer, header.view.byteOffset + header.at, bhsBytes));
    refused.set(ahs, bhsBytes);
    this.#replies.reject(reason, refused);
    this.#askForEnd();
  }

  #askForEnd(): void {
    if (this.#endAsked) return;
    this.#endAsked = true;
    this.#turn.atEnd(this);
  }
}
