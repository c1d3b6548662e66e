/**
 * Requests between nodes, both ends: those waited for here, and those served for others. A request is sent once; when
 * its connection dies it fails, and whether it was carried out is not known: methods must be safe to ask for again.
 */
import { AssertionError } from '../base/assert.ts';
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Connection } from './connection.ts';
import { controlBytesMax, type Frame } from './frame.ts';
import type { LinkHandler } from './link.ts';
import {
  decodeCall,
  decodeReply,
  encodeCall,
  encodeFailure,
  encodeResult,
  errorOf,
  type Call,
} from './messages/call.ts';

/** Of one connection, either way; one more is refused with `E_BUSY`. */
const requestsMax = 64;

interface Pending {
  readonly connection: Connection;
  readonly method: string;
  readonly timer: Timer;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: HoldfastError) => void;
}

export class Requests {
  readonly #environment: Environment;
  readonly #handler: LinkHandler;
  readonly #pending = new Map<number, Pending>();
  readonly #serving = new Map<Connection, number>();
  #lastId = 0;

  constructor(environment: Environment, handler: LinkHandler) {
    this.#environment = environment;
    this.#handler = handler;
  }

  send(connection: Connection, method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    const { peer } = connection;
    let waiting = 0;
    for (const pending of this.#pending.values()) if (pending.connection === connection) waiting++;
    if (waiting >= requestsMax) {
      return Promise.reject(new HoldfastError('E_BUSY', `node ${peer}: ${waiting} requests wait for a reply`));
    }
    const id = this.#nextId();
    const frame = encodeCall({ id, method, params });
    if (frame === null) {
      const message = `node ${peer}: request ${method} is longer than ${controlBytesMax} bytes`;
      return Promise.reject(new HoldfastError('E_INTERNAL', message));
    }
    return new Promise((resolve, reject) => {
      const timer = this.#environment.clock.after(timeoutMs, () => {
        this.#pending.delete(id);
        reject(new HoldfastError('E_TIMEOUT', `node ${peer}: no reply to ${method} within ${timeoutMs} ms`));
      });
      this.#pending.set(id, { connection, method, timer, resolve, reject });
      connection.send(frame);
    });
  }

  replied(connection: Connection, frame: Frame): void {
    const reply = decodeReply(frame);
    if (!reply.ok) return connection.breach('badMessage', `reply: ${reply.reason}`);
    const pending = this.#pending.get(reply.value.id);
    // One that was given up, or of another connection's, is nobody's.
    if (pending?.connection !== connection) return;
    this.#pending.delete(reply.value.id);
    pending.timer.cancel();
    if (reply.value.ok) pending.resolve(reply.value.result);
    else pending.reject(errorOf(reply.value.error));
  }

  called(connection: Connection, frame: Frame): void {
    const call = decodeCall(frame);
    if (!call.ok) return connection.breach('badMessage', `call: ${call.reason}`);
    const serving = this.#serving.get(connection) ?? 0;
    if (serving >= requestsMax) {
      const error = new HoldfastError('E_BUSY', `${serving} requests of ${connection.peer} are being served already`);
      return connection.answer(encodeFailure(call.value.id, error));
    }
    this.#serving.set(connection, serving + 1);
    void this.#serve(connection, call.value);
  }

  connectionClosed(connection: Connection, reason: string): void {
    this.#serving.delete(connection);
    for (const [id, { connection: its, method, timer, reject }] of this.#pending) {
      if (its !== connection) continue;
      this.#pending.delete(id);
      timer.cancel();
      const message = `node ${connection.peer}: connection lost before the reply to ${method}: ${reason}`;
      reject(new HoldfastError('E_NODE_UNREACHABLE', message));
    }
  }

  async #serve(connection: Connection, { id, method, params }: Call): Promise<void> {
    let answer: Uint8Array[];
    try {
      answer = encodeResult(id, await this.#handler.call(connection.peer, method, params));
    } catch (error) {
      if (error instanceof AssertionError) this.#environment.abort(error.message);
      if (!(error instanceof HoldfastError)) {
        this.#environment.log.error(`request ${method} of ${connection.peer} failed: ${messageOf(error)}`);
      }
      answer = encodeFailure(id, error);
    }
    const serving = this.#serving.get(connection);
    if (serving !== undefined) this.#serving.set(connection, serving - 1);
    connection.answer(answer);
  }

  /** Not one that still waits, should the numbers ever come round. */
  #nextId(): number {
    do this.#lastId = (this.#lastId + 1) >>> 0;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }
}
