/**
 * One connection of an initiator: login, then the full feature phase of the session it has become, then its end. Binds
 * all three to the stream, and decides when it is read.
 *
 * Keeps: the answer that ends a login leaves when nothing of an earlier session of the nexus can touch a volume any more
 * (I9), and nothing is read in between. A connection costs no timer: the server's strokes carry its time limits.
 */
import type { Log } from '../../base/log.ts';
import type { ByteStream, StreamEvents } from '../../base/network.ts';
import type { Random } from '../../base/random.ts';
import type { Turn } from '../../base/turn.ts';
import type { SlabPool } from '../outbox.ts';
import type { Agreement, LoginStep, SessionRequest, SessionType } from './agreement.ts';
import { type PduSink, PduDecoder } from './decoder.ts';
import { Login } from './login.ts';
import type { MemoryBudget } from './memory-budget.ts';
import { Opcode, type RequestHeader } from './pdu.ts';
import { Session, type SessionLimits } from './session.ts';
import type { Place, SessionTable } from './session-table.ts';
import type { Peers } from './task-management.ts';
import type { IscsiTarget, TargetDirectory } from './targets.ts';

export interface ConnectionLimits extends SessionLimits {
  /** From the connection to the end of the login. */
  readonly loginMs: number;
  /** From our last word to the connection being cut, if the initiator leaves it open. */
  readonly closeMs: number;
  /** Longest data segment we take. */
  readonly maxRecvDataSegmentLength: number;
}

export interface ConnectionWorld {
  readonly turn: Turn;
  readonly log: Log;
  readonly random: Random;
  readonly targets: TargetDirectory;
  readonly table: SessionTable;
  readonly slabs: SlabPool;
  readonly budget: MemoryBudget;
  /** Of the portal the connection has come through. */
  readonly portalTag: number;
  readonly localAddress: string;
  peersOf(connection: Connection): Peers;
  ended(connection: Connection): void;
}

/** For status. */
export interface SessionStatus {
  /** For `disconnect`. */
  readonly id: number;
  readonly type: SessionType;
  readonly initiatorName: string;
  /** Empty: none given. */
  readonly initiatorAlias: string;
  /** `host:port` of the initiator. */
  readonly remote: string;
  /** Null in a discovery session. */
  readonly target: string | null;
  readonly portalTag: number;
  /** 12 hex digits. */
  readonly isid: string;
  readonly tsih: number;
  readonly commandsInFlight: number;
  /** Milliseconds since the login. */
  readonly ageMs: number;
}

export type ConnectionState =
  | 'login'
  /** Agreed, and waits for an earlier session of the same nexus. */
  | 'waiting'
  | 'fullFeature'
  /** Our last word is said; what still arrives is passed over, so that the initiator can read what we sent. */
  | 'ending'
  | 'closed';

/** Answers of the login the initiator has not fetched; beyond it we give no further ones. */
const unsentAnswersBytesMax = 256 * 1024;

export class Connection implements StreamEvents, PduSink {
  readonly id: number;
  readonly remoteAddress: string;
  readonly #stream: ByteStream;
  readonly #world: ConnectionWorld;
  readonly #limits: ConnectionLimits;
  readonly #decoder = new PduDecoder(this);
  #login: Login | null;
  #place: Place | null = null;
  #agreement: Agreement | null = null;
  #session: Session | null = null;
  #state: ConnectionState = 'login';
  #paused = false;
  /** When it has come into its state. */
  #sinceMs: number;
  /** The clock, as of the last stroke: exact enough for time limits. */
  #nowMs: number;

  constructor(id: number, stream: ByteStream, world: ConnectionWorld, limits: ConnectionLimits, nowMs: number) {
    this.id = id;
    this.remoteAddress = hostOf(stream.remote);
    this.#stream = stream;
    this.#world = world;
    this.#limits = limits;
    this.#sinceMs = this.#nowMs = nowMs;
    this.#login = new Login({
      random: world.random,
      targets: world.targets,
      sessions: { open: (request) => this.#open(request) },
      remoteAddress: this.remoteAddress,
      portalTag: world.portalTag,
      maxRecvDataSegmentLength: limits.maxRecvDataSegmentLength,
      commandWindow: limits.commandWindow,
    });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Null until it has logged in, and in a discovery session. */
  get target(): IscsiTarget | null {
    return this.#agreement?.target ?? null;
  }

  get session(): Session | null {
    return this.#session;
  }

  /** Null where there is no session. */
  status(nowMs: number): SessionStatus | null {
    const agreement = this.#agreement;
    if (agreement === null || (this.#state !== 'fullFeature' && this.#state !== 'waiting')) return null;
    return {
      id: this.id,
      type: agreement.type,
      initiatorName: agreement.initiatorName,
      initiatorAlias: agreement.initiatorAlias,
      remote: this.#stream.remote,
      target: agreement.target?.name ?? null,
      portalTag: this.#world.portalTag,
      isid: agreement.isid,
      tsih: agreement.tsih,
      commandsInFlight: this.#session?.commandsInFlight ?? 0,
      ageMs: Math.max(0, nowMs - this.#sinceMs),
    };
  }

  // ---- events of the stream

  space(): Uint8Array | null {
    return this.#decoder.space();
  }

  received(chunk: Uint8Array): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#decoder.received(chunk);
    this.#pauseWhenFull();
  }

  drained(): void {
    this.#session?.drained();
    this.#resume();
  }

  closed(reason: string): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'ending') this.#note(reason, false);
    this.#become('closed');
    this.#leave();
    this.#world.ended(this);
  }

  // ---- PDUs, as the decoder finds them

  get full(): boolean {
    switch (this.#state) {
      case 'login':
        return this.#stream.unsentBytes > unsentAnswersBytesMax;
      case 'fullFeature':
        return this.#session?.full ?? false;
      default:
        return true;
    }
  }

  place(header: RequestHeader): Uint8Array | null {
    return this.#session === null ? null : this.#session.place(header);
  }

  pdu(header: RequestHeader, ahs: Uint8Array, data: Uint8Array): void {
    if (this.#state === 'login') this.#negotiate(header, data);
    else if (this.#state === 'fullFeature') this.#session?.pdu(header, ahs, data);
  }

  damaged(header: RequestHeader, ahs: Uint8Array): void {
    this.#session?.damaged(header, ahs);
  }

  garbage(reason: string): void {
    this.#end(reason, true);
  }

  // ---- strokes of the server's clock

  sweep(nowMs: number): void {
    this.#nowMs = nowMs;
    const { loginMs, closeMs } = this.#limits;
    const forMs = nowMs - this.#sinceMs;
    switch (this.#state) {
      case 'login':
        if (forMs >= loginMs) this.#end(`no login within ${loginMs} ms`, true);
        return;
      case 'fullFeature':
        this.#session?.sweep(nowMs, !this.#paused);
        return;
      case 'ending':
        if (forMs >= closeMs) this.#stream.destroy();
        return;
      default:
    }
  }

  // ---- from the server

  requestLogout(seconds: number): void {
    if (this.#state === 'fullFeature') this.#session?.requestLogout(seconds);
    else this.#end('the node stops', false);
  }

  /** Ends it now, telling an initiator that is logged in. */
  expel(reason: string): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#session?.expel();
    this.#end(reason, false);
  }

  destroy(): void {
    this.#stream.destroy();
  }

  // ---- login

  #negotiate(header: RequestHeader, data: Uint8Array): void {
    if (header.opcode !== Opcode.login) {
      // RFC 7143 6.3: nothing else is answered before the full feature phase.
      this.#end(`opcode 0x${header.opcode.toString(16)} during the login`, true);
      return;
    }
    const step = this.#login?.request(header, data);
    if (step !== undefined) this.#take(step);
  }

  #take(step: LoginStep): void {
    switch (step.kind) {
      case 'reply':
        this.#stream.send(step.parts);
        return;
      case 'end':
        this.#stream.send(step.parts);
        this.#end(step.reason, step.fault);
        return;
      case 'agreed':
        this.#agreed(step.agreement, step.parts);
    }
  }

  #open(request: SessionRequest): ReturnType<SessionTable['open']> {
    const opened = this.#world.table.open(request, this.#world.portalTag, () => {
      this.#end('the initiator has begun the session anew', false);
    });
    if (!('refused' in opened)) this.#place = opened;
    return opened;
  }

  #agreed(agreement: Agreement, parts: readonly Uint8Array[]): void {
    const place = this.#place;
    if (place === null) throw new Error('a login was agreed without a session');
    this.#login = null;
    this.#agreement = agreement;
    this.#become('waiting');
    const { parameters } = agreement;
    this.#decoder.headerDigest = parameters.headerDigest;
    this.#decoder.dataDigest = parameters.dataDigest;
    this.#decoder.dataBytesMax = parameters.maxRecvDataSegmentLength;
    this.#world.table.whenFree(place, () => {
      if (this.#state === 'waiting') this.#begin(agreement, parts);
      else this.#world.table.release(place);
    });
  }

  #begin(agreement: Agreement, parts: readonly Uint8Array[]): void {
    const { turn, slabs, budget, targets, localAddress, portalTag } = this.#world;
    const { initiatorPort, initiatorName, admission } = agreement;
    const addresses = { remote: this.remoteAddress, local: localAddress };
    this.#become('fullFeature');
    budget.members += 1;
    const label = `iscsi ${initiatorName} ${this.remoteAddress}`;
    const nexus =
      agreement.target === null
        ? null
        : { initiatorPort, targetPort: portalTag, label, visible: admission?.visible ?? null };
    this.#session = new Session(
      {
        agreement,
        nexus,
        stream: this.#stream,
        turn,
        slabs,
        budget,
        targets,
        addresses,
        peers: this.#world.peersOf(this),
      },
      this.#limits,
      {
        finished: (reason, fault) => {
          this.#end(reason, fault);
        },
        turnEnded: () => {
          this.#resume();
        },
      },
      this.#nowMs,
    );
    this.#note(
      agreement.target === null ? 'logged in for discovery' : `logged in to ${agreement.target.name}`,
      false,
    );
    this.#stream.send(parts);
    this.#resume();
  }

  // ---- flow

  #pauseWhenFull(): void {
    if (this.#paused || this.#state === 'ending' || this.#state === 'closed' || !this.full) return;
    this.#paused = true;
    this.#stream.pauseReading(true);
  }

  #resume(): void {
    if (!this.#paused || this.full) return;
    this.#decoder.proceed();
    if (this.full || !this.#paused) return;
    this.#paused = false;
    this.#stream.pauseReading(false);
  }

  // ---- end

  /** Everything is said: close, and cut the connection if that does not work. */
  #end(reason: string, fault: boolean): void {
    if (this.#state === 'ending' || this.#state === 'closed') return;
    this.#note(`closed: ${reason}`, fault);
    this.#become('ending');
    this.#decoder.stop();
    this.#leave();
    // Bytes left unread would turn our close into a reset, and the initiator might lose our last answers.
    if (this.#paused) this.#stream.pauseReading(false);
    this.#paused = false;
    this.#stream.end();
  }

  #leave(): void {
    const place = this.#place;
    const session = this.#session;
    this.#place = this.#session = null;
    this.#decoder.stop();
    if (place === null) return;
    const { table, budget } = this.#world;
    if (session === null) {
      // Agreed and not begun: `whenFree` releases it, since it has to wait as long as its predecessor does.
      if (this.#agreement === null) table.whenFree(place, () => table.release(place));
      return;
    }
    budget.members -= 1;
    session.close(() => {
      table.release(place);
    });
  }

  #become(state: ConnectionState): void {
    this.#state = state;
    this.#sinceMs = this.#nowMs;
  }

  #note(message: string, fault: boolean): void {
    const { log } = this.#world;
    const who = this.#agreement === null ? '' : ` ${this.#agreement.initiatorName}`;
    const line = `iscsi ${this.#stream.remote}${who}: ${message}`;
    if (fault) log.warn(line);
    else log.info(line);
  }
}

/** `host:port` without its port, and without the brackets of an IPv6 address. */
export function hostOf(remote: string): string {
  const host = remote.slice(0, Math.max(0, remote.lastIndexOf(':')));
  return host.startsWith('[') ? host.slice(1, -1) : host;
}
