/**
 * The lease of this node in shared memory: the thread that holds it writes, the engine reads, and neither waits for the
 * other. What the engine asks once a turn, `isValid`, costs one atomic load and two looks at clocks, no message and no
 * memory, and needs no living holder: when the deadline in the memory has passed by either clock, the lease has lapsed,
 * whatever became of the thread that was to renew it (R15).
 *
 * Layout, little-endian as the machine is: a word, the *version*, counts what was published; then two slots. What version v
 * says is in slot v mod 2.
 *
 *   0    i32   version; 0: nothing was published yet
 *   64   slot  of even versions
 *   512  slot  of odd versions
 *
 * Slot:  0 i64 deadline on the monotonic clock, µs · 8 i64 on the wall clock, µs · 16 i32 state · 20 i32 length of the
 * lease id · 24 i32 length of the reason, -1: none · 28 the lease id, latin1 · 92 the reason, UTF-8
 *
 * Invariant: a slot is written only while the version names the other one. A reader that finds the same version before and
 * after has read that version whole; since everything is read and written by sequentially consistent atomics, also where
 * the processor reorders. (With one slot and a version that is odd meanwhile, a holder that died or lost the processor in
 * the middle of writing would take a lease away that is valid.)
 */
import { assert } from '../base/assert.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Turn } from '../base/turn.ts';
import type { Lease, LeaseEvents, LeaseState, LeaseView } from '../store/lease.ts';

const slotsAt = 64;
const slotBytes = 448;
const leaseIdBytesMax = 64;
const reasonAt = 28 + leaseIdBytesMax;
/** What is longer is cut: it is for people. */
const reasonBytesMax = slotBytes - reasonAt;
const states: readonly LeaseState[] = ['unknown', 'valid', 'lapsed'];
/** A holder publishes a few times a second: a reader that is overtaken so often has found something else than one. */
const readsMax = 1000;

const nothingYet: LeaseView = { state: 'unknown', reason: 'not acquired yet', leaseId: null, deadline: null };

export function sameView(one: LeaseView, other: LeaseView): boolean {
  return (
    one.state === other.state &&
    one.reason === other.reason &&
    one.leaseId === other.leaseId &&
    one.deadline?.monotonicMs === other.deadline?.monotonicMs &&
    one.deadline?.wallMs === other.deadline?.wallMs
  );
}

/** The memory, as both sides see it. One thread publishes. */
export class LeaseMemory {
  readonly buffer: SharedArrayBuffer;
  readonly #version: Int32Array;
  readonly #slots: readonly Slot[];

  constructor(buffer = new SharedArrayBuffer(slotsAt + 2 * slotBytes)) {
    this.buffer = buffer;
    this.#version = new Int32Array(buffer, 0, 1);
    this.#slots = [0, 1].map((slot) => new Slot(buffer, slotsAt + slot * slotBytes));
  }

  /** Another version means another view. */
  get version(): number {
    return Atomics.load(this.#version, 0);
  }

  publish(view: LeaseView): void {
    const version = (this.version + 1) | 0;
    this.#slot(version).write(view);
    Atomics.store(this.#version, 0, version);
  }

  /** Null when it could not be read whole, which only a holder gone wild can bring about. */
  read(): { readonly version: number; readonly view: LeaseView } | null {
    for (let read = 0; read < readsMax; read++) {
      const { version } = this;
      if (version === 0) return { version, view: nothingYet };
      const view = this.#slot(version).read();
      if (view !== null && this.version === version) return { version, view };
    }
    return null;
  }

  #slot(version: number): Slot {
    const slot = this.#slots[version & 1];
    assert(slot !== undefined, 'there are two slots');
    return slot;
  }
}

class Slot {
  readonly #deadline: BigInt64Array;
  /** State, length of the lease id, length of the reason. */
  readonly #words: Int32Array;
  readonly #leaseId: Uint8Array;
  readonly #reason: Uint8Array;

  constructor(buffer: SharedArrayBuffer, at: number) {
    this.#deadline = new BigInt64Array(buffer, at, 2);
    this.#words = new Int32Array(buffer, at + 16, 3);
    this.#leaseId = new Uint8Array(buffer, at + 28, leaseIdBytesMax);
    this.#reason = new Uint8Array(buffer, at + reasonAt, reasonBytesMax);
  }

  write({ state, reason, leaseId, deadline }: LeaseView): void {
    const id = Buffer.from(leaseId ?? '', 'latin1');
    assert(id.length <= leaseIdBytesMax, `lease id of ${id.length} bytes`);
    // Rounded down: never later than the holder says.
    Atomics.store(this.#deadline, 0, microseconds(deadline?.monotonicMs ?? 0));
    Atomics.store(this.#deadline, 1, microseconds(deadline?.wallMs ?? 0));
    Atomics.store(this.#words, 0, states.indexOf(state));
    Atomics.store(this.#words, 1, id.length);
    store(this.#leaseId, id);
    const words = cut(reason ?? '', reasonBytesMax);
    Atomics.store(this.#words, 2, reason === null ? -1 : words.length);
    store(this.#reason, words);
  }

  /** Null for what was not written in one piece, if it shows already. */
  read(): LeaseView | null {
    const deadline = {
      monotonicMs: Number(Atomics.load(this.#deadline, 0)) / 1000,
      wallMs: Number(Atomics.load(this.#deadline, 1)) / 1000,
    };
    const state = states[Atomics.load(this.#words, 0)];
    const leaseId = load(this.#leaseId, Atomics.load(this.#words, 1));
    const reasonLength = Atomics.load(this.#words, 2);
    const reason = reasonLength < 0 ? '' : load(this.#reason, reasonLength);
    if (state === undefined || leaseId === null || reason === null) return null;
    return {
      state,
      reason: reasonLength < 0 ? null : reason,
      leaseId: state === 'valid' ? leaseId : null,
      deadline: state === 'valid' ? deadline : null,
    };
  }
}

function microseconds(ms: number): bigint {
  return BigInt(Math.floor(ms * 1000));
}

function store(into: Uint8Array, bytes: Uint8Array): void {
  for (const [at, byte] of bytes.entries()) Atomics.store(into, at, byte);
}

function load(from: Uint8Array, length: number): string | null {
  if (length < 0 || length > from.length) return null;
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at++) bytes[at] = Atomics.load(from, at);
  return bytes.toString();
}

/** UTF-8, cut between two characters. */
function cut(text: string, bytesMax: number): Uint8Array {
  const bytes = Buffer.from(text);
  if (bytes.length <= bytesMax) return bytes;
  let end = bytesMax;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.subarray(0, end);
}

/**
 * The lease as the engine sees it, with the holder's events in the engine's own turns.
 *
 * Invariants:
 * - One identity at a time: when the memory says another one, or none, the one before has lapsed, and the next is not valid
 *   here before `lapsed` has been told. After a pause of the whole process the holder's thread may be the first to run:
 *   what stood on the old identity is void although a valid lease is there (R11).
 * - `lapsed` and `acquired` take turns. They follow from the memory and the clocks alone; the holder's message that
 *   it has published something is only a reason to look, and the timer at the deadline another.
 *
 * An identity found past its deadline here, and extended by the holder in the same moment, lapses and is acquired again: to
 * a group that is one more generation.
 */
export class SharedLease implements Lease {
  readonly #memory: LeaseMemory;
  readonly #clock: Clock;
  readonly #turn: Turn;
  readonly #events: LeaseEvents;
  /** Of the memory, when it was last read. */
  #version = 0;
  #view: LeaseView = nothingYet;
  /** The identity relied on here; null: none. */
  #leaseId: string | null = null;
  #monotonicDeadlineMs = -Infinity;
  #wallDeadlineMs = -Infinity;
  /** Why the last identity lapsed, until there is another. */
  #lapseReason: string | null = null;
  /** `lapsed` has not been told yet. */
  #owesLapsed = false;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: {
    readonly memory: LeaseMemory;
    readonly clock: Clock;
    readonly turn: Turn;
    readonly events: LeaseEvents;
  }) {
    this.#memory = options.memory;
    this.#clock = options.clock;
    this.#turn = options.turn;
    this.#events = options.events;
  }

  get state(): LeaseState {
    if (this.isValid()) return 'valid';
    if (this.#lapseReason !== null) return 'lapsed';
    return this.#view.state === 'valid' ? 'unknown' : this.#view.state;
  }

  get reason(): string | null {
    return this.isValid() ? this.#view.reason : (this.#view.reason ?? this.#lapseReason ?? 'not acquired yet');
  }

  get leaseId(): string | null {
    return this.isValid() ? this.#leaseId : null;
  }

  isValid(): boolean {
    if (this.#memory.version !== this.#version) this.#read();
    if (this.#leaseId === null) return false;
    if (this.#clock.monotonicMs() < this.#monotonicDeadlineMs && this.#clock.wallMs() < this.#wallDeadlineMs)
      return true;
    this.#lapse(
      this.#view.reason ?? 'not renewed in time: this process stood still, its thread hangs, or a clock was set',
    );
    return false;
  }

  /** The holder has published something. */
  look(): void {
    if (this.#closed || this.isValid() || this.#owesLapsed) return;
    this.#adopt();
  }

  /** It is to be given back: no event follows. */
  close(): void {
    this.#closed = true;
    this.#leaseId = null;
    this.#timer?.cancel();
  }

  #read(): void {
    const read = this.#memory.read();
    if (read === null) {
      this.#lapse('the memory shared with its holder cannot be read');
      return;
    }
    this.#version = read.version;
    this.#view = read.view;
    const { leaseId, deadline, reason } = read.view;
    if (this.#leaseId === null) return;
    if (leaseId !== this.#leaseId || deadline === null) {
      this.#lapse(reason ?? 'it lapsed while this thread stood still');
      return;
    }
    this.#monotonicDeadlineMs = deadline.monotonicMs;
    this.#wallDeadlineMs = deadline.wallMs;
  }

  #lapse(reason: string): void {
    if (this.#leaseId === null) return;
    this.#leaseId = null;
    this.#lapseReason = reason;
    this.#timer?.cancel();
    if (this.#closed) return;
    this.#owesLapsed = true;
    this.#turn.defer(() => {
      this.#owesLapsed = false;
      if (this.#closed) return;
      this.#events.lapsed(reason);
      this.look();
    });
  }

  /** Relies on what the memory says from here on, if it is valid. */
  #adopt(): void {
    const { leaseId, deadline } = this.#view;
    if (leaseId === null || deadline === null) return;
    if (this.#clock.monotonicMs() >= deadline.monotonicMs || this.#clock.wallMs() >= deadline.wallMs) return;
    this.#leaseId = leaseId;
    this.#monotonicDeadlineMs = deadline.monotonicMs;
    this.#wallDeadlineMs = deadline.wallMs;
    this.#lapseReason = null;
    this.#lookAtDeadline();
    this.#turn.defer(() => {
      if (!this.#closed) this.#events.acquired(leaseId);
    });
  }

  /** A holder that died tells nobody. While it lives, each look finds a later deadline. */
  #lookAtDeadline(): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(this.#monotonicDeadlineMs - this.#clock.monotonicMs(), () => {
      if (this.isValid()) this.#lookAtDeadline();
    });
  }
}
