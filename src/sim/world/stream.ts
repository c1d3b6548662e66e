/**
 * One end of a simulated connection (contract: `base/network.ts`). It hands bytes to its outgoing pipe, takes what the
 * incoming one delivers, and tells its owner, always as an event of the owner's process, never within a call.
 *
 * Closing, as TCP does it: `end` closes after what is unsent, and this end's `closed` comes when the other has answered;
 * `destroy` or the end of the process resets; loss of power says nothing to anybody, and the peer finds out when the
 * machine is up again and answers with a reset, or by giving up.
 */
import type { ByteStream, StreamEvents } from '../../base/network.ts';
import { payloadMemory } from '../../base/payload-memory.ts';
import type { SimMachine } from './machine.ts';
import type { Attachment, ProcessEnd, SimProcess } from './process.ts';
import type { Pipe } from './pipe.ts';

/** Moves arrived bytes into `space`, or into memory taken for them when null; at most `limit`. */
type Fill = (space: Uint8Array | null, limit: number) => Uint8Array;

export class SimStream implements ByteStream, Attachment {
  readonly process: SimProcess;
  readonly remote: string;
  readonly #onEnd: () => void;
  /** Nothing is delivered any more, and nothing sent. */
  closed = false;
  readingPaused = false;
  /** What it sends gets lost from now on, and nobody tells it. */
  silent = false;
  #outgoing: Pipe | null = null;
  #incoming: Pipe | null = null;
  #events: StreamEvents | null = null;
  #isEnding = false;
  #isConnected = false;

  /** @param onEnd tells the connection that this end is gone. */
  constructor(process: SimProcess, remote: string, onEnd: () => void) {
    this.process = process;
    this.remote = remote;
    this.#onEnd = onEnd;
    process.attach(this);
  }

  get machine(): SimMachine {
    return this.process.machine;
  }

  get unsentBytes(): number {
    return this.#outgoing?.unsentBytes ?? 0;
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.closed || this.#isEnding || !this.process.alive) return;
    this.#outgoing?.send(parts);
    this.process.countEffect(parts.length);
  }

  pauseReading(paused: boolean): void {
    if (this.readingPaused === paused) return;
    this.readingPaused = paused;
    if (!paused) this.#incoming?.reschedule();
  }

  end(): void {
    if (this.closed || this.#isEnding || !this.process.alive) return;
    if (!this.#isConnected) {
      this.destroy();
      return;
    }
    this.#isEnding = true;
    this.#outgoing?.endAfterUnsent('closed by the other side');
  }

  destroy(): void {
    if (this.closed || !this.process.alive) return;
    this.#outgoing?.endNow('connection reset');
    this.fail('closed here');
  }

  // What follows is for the network.

  sendInto(outgoing: Pipe): void {
    this.#outgoing = outgoing;
  }

  readFrom(incoming: Pipe): void {
    this.#incoming = incoming;
  }

  setEvents(events: StreamEvents): void {
    this.#events = events;
  }

  connected(): void {
    if (this.closed) return;
    this.#isConnected = true;
    const hadUnsent = this.unsentBytes > 0;
    this.#outgoing?.open();
    this.#events?.opened?.();
    if (hadUnsent && this.unsentBytes === 0) this.drained();
  }

  /** Gives the owner the next arrived bytes, at most `limit`; how many it took. */
  receive(limit: number, fill: Fill): number {
    const space = this.#events?.space?.() ?? null;
    const offered = space !== null && space.length > 0;
    const chunk = fill(offered ? space : null, limit);
    this.#events?.received(chunk);
    // At once, which no real network does: whoever keeps a view without a share in it is found out.
    if (!offered) payloadMemory.give(chunk);
    return chunk.length;
  }

  drained(): void {
    this.process.after(0, 'drained', () => {
      if (!this.closed && this.unsentBytes === 0) this.#events?.drained?.();
    });
  }

  /** The other end has closed in order, after all it sent. */
  endedByPeer(reason: string): void {
    if (this.closed) return;
    this.#outgoing?.endAfterUnsent('closed by the other side');
    this.#close(this.#isEnding ? 'closed here' : reason);
  }

  /** The other end's kernel knows nothing of this connection. */
  resetByPeer(): void {
    this.fail(this.#isEnding ? 'closed here' : 'connection reset');
  }

  /** Tells the owner in an event of its own. */
  fail(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.process.detach(this);
    this.#onEnd();
    this.process.after(0, 'closed', () => this.#events?.closed(reason));
  }

  processEnded(end: ProcessEnd): void {
    this.closed = true;
    this.#onEnd();
    this.#incoming?.receiverEnded();
    if (end !== 'powerLoss') this.#outgoing?.endNow(end === 'exit' ? 'closed by the other side' : 'connection reset');
  }

  /** From within an event of the owner's process. */
  #close(reason: string): void {
    this.closed = true;
    this.process.detach(this);
    this.#onEnd();
    this.#events?.closed(reason);
  }
}
