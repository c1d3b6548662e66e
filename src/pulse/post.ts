/**
 * What one node tells another until it is confirmed: failure indications (HM-16) and requests (HM-8, HM-14). Letters travel
 * inside the heartbeats, by every channel, again and again; numbers make it once. Numbers hold within an incarnation:
 * a receiver that was restarted may get the last ones again.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { HoldfastError } from '../base/errors.ts';
import type { Indication } from './indication.ts';
import {
  boundedError,
  boundedIndication,
  controlBytesMax,
  indicationsMax,
  type ControlMessage,
  type HeartbeatPayload,
  type NumberedControl,
  type NumberedIndication,
  type Received,
} from './message.ts';

/** Beyond them the oldest are forgotten. */
export const waitingIndicationsMax = 64;
/** Beyond them no more are taken. */
export const waitingControlsMax = 32;

interface Request {
  readonly number: number;
  readonly message: ControlMessage;
  readonly timer: Timer;
  readonly settle: (error: HoldfastError | null) => void;
}

/** Letters to one node. */
export class Outbox {
  readonly #clock: Clock;
  readonly #to: string;
  #indications: NumberedIndication[] = [];
  #requests: Request[] = [];
  #lastIndication = 0;
  #lastRequest = 0;

  constructor(clock: Clock, to: string) {
    this.#clock = clock;
    this.#to = to;
  }

  get waiting(): number {
    return this.#indications.length + this.#requests.length;
  }

  get indications(): readonly NumberedIndication[] {
    return this.#indications.slice(0, indicationsMax);
  }

  get control(): NumberedControl | null {
    const first = this.#requests[0];
    return first === undefined ? null : { number: first.number, message: first.message };
  }

  /** The newest of a condition is all that is told of it. */
  indicate(indication: Indication): void {
    const condition = conditionOf(indication);
    this.#indications = this.#indications.filter((letter) => conditionOf(letter.indication) !== condition);
    this.#indications.push({ number: ++this.#lastIndication, indication: boundedIndication(indication) });
    if (this.#indications.length > waitingIndicationsMax) this.#indications.shift();
  }

  ask(message: ControlMessage, limitMs: number): Promise<void> {
    const bytes = Buffer.byteLength(JSON.stringify(message.body ?? null));
    const what = `${message.kind} to ${this.#to}`;
    if (bytes > controlBytesMax) {
      return Promise.reject(
        new HoldfastError('E_REFUSED', `${what}: ${bytes} bytes, at most ${controlBytesMax} fit`),
      );
    }
    if (this.#requests.length >= waitingControlsMax) {
      return Promise.reject(new HoldfastError('E_BUSY', `${what}: ${waitingControlsMax} requests wait already`));
    }
    return new Promise((resolve, reject) => {
      const number = ++this.#lastRequest;
      const settle = (error: HoldfastError | null): void => {
        timer.cancel();
        this.#requests = this.#requests.filter((request) => request.number !== number);
        if (error === null) resolve();
        else reject(error);
      };
      const timer = this.#clock.after(limitMs, () =>
        settle(new HoldfastError('E_TIMEOUT', `${what}: not confirmed within ${limitMs} ms by any heartbeat path`)),
      );
      this.#requests.push({ number, message, timer, settle });
    });
  }

  /** What the receiver has, of letters of this process. */
  confirmed({ indication, answer }: Received): void {
    this.#indications = this.#indications.filter(({ number }) => number > indication);
    const first = this.#requests[0];
    if (answer === null || first?.number !== answer.number) return;
    first.settle(answer.error === null ? null : new HoldfastError('E_REFUSED', `${this.#to}: ${answer.error}`));
  }

  close(): void {
    for (const { settle } of [...this.#requests]) settle(new HoldfastError('E_TIMEOUT', 'the pulse is stopping'));
  }
}

/** Letters from one node. */
export class Inbox {
  #incarnation: string | null = null;
  #indication = 0;
  #answer: Received['answer'] = null;
  /** Number of the request under way; 0: none. */
  #working = 0;

  /** What goes back with the next heartbeats. */
  get received(): Received | null {
    if (this.#incarnation === null) return null;
    return { incarnation: this.#incarnation, indication: this.#indication, answer: this.#answer };
  }

  take(
    incarnation: string,
    { indications, control }: HeartbeatPayload,
    deliver: {
      indication(indication: Indication): void;
      control(message: ControlMessage): Promise<string | null>;
      answered(): void;
    },
  ): void {
    if (this.#incarnation !== incarnation) {
      this.#incarnation = incarnation;
      this.#indication = 0;
      this.#answer = null;
      this.#working = 0;
    }
    for (const { number, indication } of indications) {
      if (number <= this.#indication) continue;
      this.#indication = number;
      deliver.indication(indication);
    }
    if (control === null || this.#working !== 0 || control.number <= (this.#answer?.number ?? 0)) return;
    const { number, message } = control;
    this.#working = number;
    const answer = (error: string | null): void => {
      if (this.#incarnation !== incarnation || this.#working !== number) return;
      this.#working = 0;
      this.#answer = { number, error: error === null ? null : boundedError(error) };
      deliver.answered();
    };
    deliver
      .control(message)
      .then(answer, (error: unknown) => answer(error instanceof Error ? error.message : 'failed'));
  }
}

/** Component and code name a condition, of one thing at one node. */
function conditionOf({ component, id, code, node, group }: Indication): string {
  return JSON.stringify([component, id, code, node, group]);
}
