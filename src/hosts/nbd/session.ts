/**
 * One connection of a host: handshake, then transmission, then its end. Binds both to the stream; the catalogue is
 * told exactly once that a volume is no longer used.
 *
 * Ends: by the client (DISC, close), by `moved` (ESHUTDOWN for what is in flight, then close), by a breach of the
 * protocol (one log line), by the deadline of the handshake. An ending session that its client does not let go of is
 * cut after `closeMs`.
 */
import type { Clock, Timer } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { ByteStream, StreamEvents } from '../../base/network.ts';
import type { Turn } from '../../base/turn.ts';
import type { ExportCatalogue, HostSession } from '../../group/host-access.ts';
import { greeting, Handshake, type HandshakeStep } from './handshake.ts';
import type { SlabPool } from '../outbox.ts';
import { Transmission, type TransmissionLimits } from './transmission.ts';

export interface SessionLimits extends TransmissionLimits {
  /** From the connection to the choice of an export. */
  readonly handshakeMs: number;
  /** From our last word to the connection being cut, if the client leaves it open. */
  readonly closeMs: number;
}

export interface SessionWorld {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly log: Log;
  readonly catalogue: ExportCatalogue;
  readonly slabs: SlabPool;
}

/** For status. */
export interface SessionStatus {
  readonly remote: string;
  /** Null during the handshake and after the end. */
  readonly volume: string | null;
  readonly requestsInFlight: number;
}

type State =
  | 'handshake'
  | 'transmission'
  /** Our last word is said; what still arrives is passed over, so that the client can read what we sent. */
  | 'ending'
  | 'closed';

/** Answers to options the client has not fetched; beyond it we answer no further ones. */
const unsentAnswersBytesMax = 1024 * 1024;

export class NbdSession implements StreamEvents, HostSession {
  readonly label: string;
  readonly #stream: ByteStream;
  readonly #world: SessionWorld;
  readonly #limits: SessionLimits;
  readonly #ended: (session: NbdSession) => void;
  readonly #handshake: Handshake;
  #transmission: Transmission | null = null;
  /** Null while none is open. */
  #volumeName: string | null = null;
  #state: State = 'handshake';
  #paused = false;
  #deadline: Timer;

  constructor(stream: ByteStream, world: SessionWorld, limits: SessionLimits, ended: (session: NbdSession) => void) {
    this.label = `nbd ${stream.remote}`;
    this.#stream = stream;
    this.#world = world;
    this.#limits = limits;
    this.#ended = ended;
    this.#handshake = new Handshake({
      list: () => world.catalogue.list(),
      open: (name) => world.catalogue.open(name, this),
      close: () => {
        world.catalogue.close(this);
      },
    });
    this.#deadline = world.clock.after(limits.handshakeMs, () => {
      this.#break(`no export chosen within ${limits.handshakeMs} ms`);
    });
    stream.send([greeting()]);
  }

  status(): SessionStatus {
    return {
      remote: this.#stream.remote,
      volume: this.#volumeName,
      requestsInFlight: this.#transmission?.requestsInFlight ?? 0,
    };
  }

  // ---- events of the stream

  space(): Uint8Array | null {
    return this.#state === 'transmission' && this.#transmission !== null ? this.#transmission.space() : null;
  }

  received(chunk: Uint8Array): void {
    if (this.#state === 'transmission') {
      this.#transmission?.received(chunk);
    } else if (this.#state === 'handshake') {
      this.#handshake.received(chunk);
      this.#negotiate();
    }
  }

  drained(): void {
    if (this.#state === 'transmission') this.#transmission?.drained();
    else if (this.#state === 'handshake') this.#negotiate();
  }

  closed(reason: string): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'ending') this.#world.log.info(`${this.label}: ${reason}`, { volume: this.#volumeName });
    this.#transmission?.close();
    this.#leaveVolume();
    this.#deadline.cancel();
    this.#state = 'closed';
    this.#ended(this);
  }

  // ---- events of the group

  moved(reason: string): void {
    if (this.#state !== 'transmission') return;
    this.#world.log.info(`${this.label}: session ends: ${reason}`, { volume: this.#volumeName });
    this.#transmission?.abandon();
    this.#end();
  }

  /** The server stops. */
  stop(): void {
    if (this.#state === 'transmission') this.moved('the node stops');
    else if (this.#state === 'handshake') this.#end();
  }

  // ---- handshake

  #negotiate(): void {
    while (this.#state === 'handshake') {
      this.#pause(this.#stream.unsentBytes > unsentAnswersBytesMax);
      if (this.#paused) return;
      const step = this.#handshake.next();
      if (step.kind === 'wait') return;
      if (step.kind !== 'end' || step.parts.length > 0) this.#stream.send(step.parts);
      if (step.kind === 'enter') this.#enter(step);
      else if (step.kind === 'end') this.#conclude(step);
    }
  }

  #enter(step: HandshakeStep & { kind: 'enter' }): void {
    this.#deadline.cancel();
    this.#state = 'transmission';
    this.#volumeName = step.volume.name;
    const { turn, slabs, log } = this.#world;
    this.#transmission = new Transmission(
      { volume: step.volume, agreement: step.agreement, stream: this.#stream, turn, slabs },
      this.#limits,
      {
        finished: () => {
          this.#end();
        },
        garbage: (reason) => {
          log.warn(`${this.label}: closed: ${reason}`, { volume: this.#volumeName });
        },
      },
    );
    log.info(`${this.label}: opened volume ${step.volume.name}`);
    if (step.rest.length > 0) this.#transmission.received(step.rest);
  }

  #conclude(step: HandshakeStep & { kind: 'end' }): void {
    const message = `${this.label}: closed: ${step.reason}`;
    if (step.fault) this.#world.log.warn(message);
    else this.#world.log.info(message);
    this.#end();
  }

  #pause(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    this.#stream.pauseReading(paused);
  }

  // ---- end

  /** Everything is said: close, and cut the connection if that does not work. */
  #end(): void {
    this.#state = 'ending';
    this.#leaveVolume();
    this.#deadline.cancel();
    this.#deadline = this.#world.clock.after(this.#limits.closeMs, () => {
      this.#stream.destroy();
    });
    // Bytes left unread would turn our close into a reset, and the client might lose our last replies.
    this.#stream.pauseReading(false);
    this.#stream.end();
  }

  #break(reason: string): void {
    this.#world.log.warn(`${this.label}: closed: ${reason}`);
    this.#state = 'ending';
    this.#stream.destroy();
  }

  #leaveVolume(): void {
    if (this.#volumeName === null) return;
    this.#volumeName = null;
    this.#world.catalogue.close(this);
  }
}
