/**
 * What the engine and the thread of the pulse say to each other. Plain data; each side handles all kinds the other may
 * send. The deadline of the lease and the engine's progress are not among it: they are in shared memory, and count when
 * one of the two does not listen any more.
 */
import type { MessagePort, Worker } from 'node:worker_threads';
import type { ErrorCode } from '../base/errors.ts';
import type { Indication } from '../pulse/indication.ts';
import type { ControlMessage } from '../pulse/message.ts';
import type { SpokenWord } from '../pulse/service.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';
import type { StatusTable } from '../pulse/status-table.ts';
import type { StoreConfiguration } from './configuration-store.ts';
import type { PulseLocal, PulseQuestion, PulseStart } from './pulse-host.ts';

/** What the thread is born with. */
export interface PulseThreadData {
  readonly lease: SharedArrayBuffer;
  readonly progress: SharedArrayBuffer;
  readonly taken: SharedArrayBuffer;
  readonly store: StoreConfiguration;
  readonly cluster: string;
  readonly local: PulseLocal;
}

export type ToPulse =
  | { readonly kind: 'start'; readonly start: PulseStart }
  | { readonly kind: 'say'; readonly word: SpokenWord }
  | { readonly kind: 'mute'; readonly reason: string | null }
  | { readonly kind: 'heard'; readonly channel: string; readonly peer: string; readonly agoMs: number }
  | { readonly kind: 'indicate'; readonly indication: Indication }
  /** Answered by `answer` or `refusal` with the same number. */
  | { readonly kind: 'ask'; readonly number: number; readonly question: PulseQuestion }
  /** Of `control`. */
  | { readonly kind: 'controlled'; readonly number: number; readonly problem: string | null };

export type FromPulse =
  /** Of `start`, as `answer` or `refusal` to number 0. */
  | { readonly kind: 'answer'; readonly number: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly number: number; readonly code: ErrorCode; readonly message: string }
  /** The memory of the lease says something new. */
  | { readonly kind: 'lease' }
  | { readonly kind: 'changed'; readonly snapshot: PulseSnapshot }
  | { readonly kind: 'indicated'; readonly indication: Indication; readonly from: string }
  | { readonly kind: 'tableChanged'; readonly table: StatusTable }
  /** Answered by `controlled` with the same number. */
  | { readonly kind: 'control'; readonly number: number; readonly from: string; readonly message: ControlMessage }
  | {
      readonly kind: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>> | null;
    }
  /** An error of ours: the thread ends, and the process with it. */
  | { readonly kind: 'aborted'; readonly reason: string };

/** On the way to a thread that does not take it. */
const backlogMax = 1024;

/**
 * One direction. A port queues without end what the other thread does not take, hence both count, in shared memory: what
 * may be lost is not sent beyond a maximum. (What may not be is bounded by what was asked.)
 */
export class Outgoing<Message> {
  readonly #port: Pick<MessagePort | Worker, 'postMessage'>;
  readonly #taken: Int32Array;
  readonly #direction: 0 | 1;
  #sent = 0;

  constructor(port: Pick<MessagePort | Worker, 'postMessage'>, taken: SharedArrayBuffer, to: 'engine' | 'pulse') {
    this.#port = port;
    this.#taken = new Int32Array(taken);
    this.#direction = to === 'engine' ? 0 : 1;
  }

  send(message: Message): void {
    this.#sent = (this.#sent + 1) | 0;
    this.#port.postMessage(message);
  }

  /** False: the other side has not taken what it has; nothing was sent. */
  offer(message: Message): boolean {
    if (((this.#sent - Atomics.load(this.#taken, this.#direction)) | 0) >= backlogMax) return false;
    this.send(message);
    return true;
  }
}

/** Counts what a side has taken. */
export class Incoming {
  readonly #taken: Int32Array;
  readonly #direction: 0 | 1;

  constructor(taken: SharedArrayBuffer, at: 'engine' | 'pulse') {
    this.#taken = new Int32Array(taken);
    this.#direction = at === 'engine' ? 0 : 1;
  }

  take(): void {
    Atomics.add(this.#taken, this.#direction, 1);
  }
}

export const newTaken = (): SharedArrayBuffer => new SharedArrayBuffer(8);

/** Questions asked at once, in either direction. */
export const questionsMax = 256;
