/**
 * One direction of a simulated connection. Bytes pass three places, in order and without loss:
 *
 *   unsent (the sender's own memory, by reference)  →  in transit (copied: kernels and wire)  →  receiver
 *
 * In transit are at most `capacityBytes`; what does not fit waits unsent, which is back-pressure. Every chunk taken gets
 * a drawn arrival time, never before that of the chunk ahead. Deliveries end anywhere: several chunks may come as one,
 * one as several. A direction that is blocked (partition, stall, machine without power) keeps what is in transit; after
 * `giveUpMs` without progress the sender's kernel gives the connection up.
 */
import { payloadMemory } from '../../base/payload-memory.ts';
import type { SimNetwork } from './network.ts';
import type { Prng } from './prng.ts';
import type { SimStream } from './stream.ts';

/** How long a kernel sends the same data again before it gives up. */
const giveUpMs = 60_000;

/** At most so much is read at once where the reader offers no space. */
const readBytesMax = 65_536;

/** Largest single retransmission delay after a blocked way has opened. */
const retransmitMsMax = 300;

interface Chunk {
  readonly bytes: Uint8Array;
  readonly atMs: number;
  /** The last of the direction: why it ends. */
  readonly end: string | null;
}

export class Pipe {
  readonly #network: SimNetwork;
  readonly #from: SimStream;
  readonly #prng: Prng;
  readonly #capacityBytes: number;
  readonly #unsent: Uint8Array[] = [];
  readonly #transit: Chunk[] = [];
  unsentBytes = 0;
  #transitBytes = 0;
  /** Bytes of the first chunk in transit that were delivered. */
  #consumed = 0;
  #lastArrivalMs = 0;
  /** Null until the other side has accepted. */
  #to: SimStream | null = null;
  #isOpen = false;
  #endReason: string | null = null;
  #ended = false;
  #isScheduled = false;
  #stalledUntilMs = 0;
  /** Since when the way has been blocked with something in transit; null when it is not. */
  #stuckSinceMs: number | null = null;

  constructor(network: SimNetwork, from: SimStream, prng: Prng) {
    this.#network = network;
    this.#from = from;
    this.#prng = prng;
    this.#capacityBytes = prng.pick([4096, 65_536, 1_048_576]);
  }

  /** The other side has accepted; nothing arrives there before `notBeforeMs`. */
  leadTo(to: SimStream, notBeforeMs: number): void {
    this.#to = to;
    this.#lastArrivalMs = notBeforeMs;
  }

  /** From now on bytes flow. */
  open(): void {
    this.#isOpen = true;
    this.#take();
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#endReason !== null) return;
    for (const part of parts) {
      if (part.length === 0) continue;
      this.#unsent.push(part);
      this.unsentBytes += part.length;
    }
    this.#take();
  }

  /** After what is unsent, the direction ends; the receiver hears `reason`. */
  endAfterUnsent(reason: string): void {
    this.#endReason ??= reason;
    this.#take();
  }

  /** What is unsent is lost; what is in transit arrives, or (a reset overtakes it) only a beginning of it. */
  endNow(reason: string): void {
    if (this.#ended) return;
    this.#unsent.length = 0;
    this.unsentBytes = 0;
    if (this.#prng.chance(0.5)) {
      const kept = this.#prng.below(this.#transit.length + 1);
      for (const lost of this.#transit.splice(kept)) this.#transitBytes -= lost.bytes.length;
      if (kept === 0) this.#consumed = 0;
    }
    this.#endReason = reason;
    this.open();
  }

  stall(durationMs: number): void {
    this.#stalledUntilMs = Math.max(this.#stalledUntilMs, this.#network.nowMs + durationMs);
    this.#schedule(durationMs);
  }

  /** The event that should have delivered died with the receiver; its machine answers instead. */
  receiverEnded(): void {
    this.#isScheduled = false;
    if (this.#transit.length > 0) this.#schedule(0);
  }

  /** The way may be free again, or the receiver reads again. */
  reschedule(): void {
    if (this.#transit.length === 0) return;
    const wasStuck = this.#stuckSinceMs !== null;
    this.#schedule(wasStuck ? this.#prng.fraction() * retransmitMsMax : 0);
  }

  #take(): void {
    const to = this.#to;
    if (to === null || !this.#isOpen || this.#ended) return;
    const room = this.#capacityBytes - this.#transitBytes;
    if (room > 0 && this.unsentBytes > 0) {
      const taken = new Uint8Array(Math.min(room, this.unsentBytes));
      for (let filled = 0; filled < taken.length;) {
        const part = this.#unsent[0];
        if (part === undefined) break;
        const count = Math.min(part.length, taken.length - filled);
        taken.set(part.subarray(0, count), filled);
        filled += count;
        if (count === part.length) this.#unsent.shift();
        else this.#unsent[0] = part.subarray(count);
      }
      this.unsentBytes -= taken.length;
      this.#enter(to, taken, null);
    }
    if (this.#endReason !== null && this.unsentBytes === 0) {
      this.#ended = true;
      this.#enter(to, new Uint8Array(0), this.#endReason);
    }
  }

  #enter(to: SimStream, bytes: Uint8Array, end: string | null): void {
    const atMs = this.#network.nowMs + this.#network.drawLatencyMs(this.#from.machine, to.machine);
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, atMs);
    this.#transit.push({ bytes, atMs: this.#lastArrivalMs, end });
    this.#transitBytes += bytes.length;
    if (!this.#isScheduled) this.#schedule(this.#lastArrivalMs - this.#network.nowMs);
  }

  #schedule(delayMs: number): void {
    this.#isScheduled = true;
    const process = this.#to?.process;
    // An ended process takes no events, but its machine still has to answer for it.
    if (process?.alive) process.after(delayMs, 'deliver', this.#deliver);
    else this.#network.scheduler.after(delayMs, 'deliver', null, this.#deliver);
  }

  readonly #deliver = (): void => {
    this.#isScheduled = false;
    const first = this.#transit[0];
    const to = this.#to;
    if (first === undefined || to === null) return;
    const { nowMs } = this.#network;
    if (nowMs < this.#stalledUntilMs) return this.#schedule(this.#stalledUntilMs - nowMs);
    if (first.atMs > nowMs) return this.#schedule(first.atMs - nowMs);
    if (this.#network.isBlocked(this.#from, to)) return this.#becomeStuck();
    this.#stuckSinceMs = null;
    if (to.closed) {
      // Nobody is there: the kernel answers with a reset.
      this.#drop();
      this.#from.resetByPeer();
      return;
    }
    this.#hand(to, this.#drawBudget(nowMs));
    if (this.#transit.length > 0 && !to.readingPaused && !this.#isScheduled) {
      this.#schedule(Math.max(0, (this.#transit[0]?.atMs ?? 0) - nowMs, this.#prng.fraction() * 0.05));
    }
    const hadUnsent = this.unsentBytes > 0;
    this.#take();
    if (hadUnsent && this.unsentBytes === 0) this.#from.drained();
  };

  /** Everything that has arrived, or any beginning of it. */
  #drawBudget(nowMs: number): number {
    let arrived = -this.#consumed;
    for (const chunk of this.#transit) if (chunk.atMs <= nowMs) arrived += chunk.bytes.length;
    return arrived > 1 && this.#prng.chance(0.2) ? 1 + this.#prng.below(arrived) : arrived;
  }

  #hand(to: SimStream, budget: number): void {
    let left = budget;
    while (!to.closed && !to.readingPaused) {
      if (left > 0) left -= to.receive(left, this.#fill);
      else {
        const chunk = this.#transit[0];
        if (chunk === undefined || chunk.end === null || chunk.atMs > this.#network.nowMs) return;
        this.#transit.shift();
        to.endedByPeer(chunk.end);
        return;
      }
    }
  }

  /** Moves the next bytes in transit into `space`, or into memory taken for them; at most `limit`. */
  readonly #fill = (space: Uint8Array | null, limit: number): Uint8Array => {
    const target = (space ?? payloadMemory.take(readBytesMax)).subarray(0, limit);
    const { length } = target;
    for (let filled = 0; filled < length;) {
      const chunk = this.#transit[0];
      if (chunk === undefined) break;
      const part = chunk.bytes.subarray(this.#consumed, this.#consumed + length - filled);
      target.set(part, filled);
      filled += part.length;
      this.#consumed += part.length;
      if (this.#consumed < chunk.bytes.length) break;
      this.#consumed = 0;
      this.#transit.shift();
      this.#transitBytes -= chunk.bytes.length;
    }
    return target;
  };

  #drop(): void {
    this.#transit.length = 0;
    this.#transitBytes = 0;
    this.#consumed = 0;
    this.#ended = true;
    this.#unsent.length = 0;
    this.unsentBytes = 0;
  }

  #becomeStuck(): void {
    if (this.#stuckSinceMs !== null) return;
    const since = this.#network.nowMs;
    this.#stuckSinceMs = since;
    this.#network.scheduler.after(giveUpMs, 'closed', null, () => {
      if (this.#stuckSinceMs !== since || this.#from.closed) return;
      this.#drop();
      this.#from.fail('timed out');
    });
  }
}
