/**
 * One of the two backing stores of a heartbeat mirror: a file or a block device (HM-2). Of each region it keeps two slots
 * (`mirror-slot.ts`); only the newest write counts, so while one is under way a newer one takes the place of what waits.
 *
 * Nothing here waits for a disk without end. A disk that has not answered for `limitMs` is a problem, and is asked for
 * nothing more until it has: at most one write and one flush of a volume hang, whatever it is asked for. All volumes of a
 * process share a few slots for that (`disk-slots.ts`); a heartbeat that finds none waits until the next takes its place, and
 * a volume that finds none for `limitMs` has a problem, though another disk's: what is not carried proves nothing.
 *
 * A write is not flushed before it counts: a heartbeat tells that its sender lives, and after a loss of power what it
 * told before is worth nothing. But a disk's errors are hidden behind the page cache, so the volume is flushed now and
 * then, beside the writes, and what the flush says is believed.
 */
import type { Clock, Timer } from '../base/clock.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { FileHandle, Files } from '../base/files.ts';
import type { DiskSlots } from './disk-slots.ts';
import {
  decodeSlot,
  encodeSlot,
  firstSector,
  mirrorVolumeBytes,
  recognise,
  regions,
  type RegionName,
  type Slot,
} from './mirror-slot.ts';

export interface VolumeWorld {
  readonly clock: Clock;
  readonly files: Files;
}

export interface VolumeOptions {
  readonly path: string;
  /** A disk that has not answered for so long counts as failed; milliseconds. */
  readonly limitMs: number;
  /** Of all volumes of this process. */
  readonly slots: DiskSlots;
  /** Between two flushes. Default 5000. */
  readonly flushEveryMs?: number;
}

export type WriteOutcome =
  /** As read back from the volume. */
  | { readonly kind: 'written'; readonly slot: Slot }
  | { readonly kind: 'failed'; readonly problem: string }
  /** A newer one took its place before it was begun. */
  | { readonly kind: 'replaced' };

interface Waiting {
  readonly payload: Uint8Array;
  readonly done: (outcome: WriteOutcome) => void;
}

interface RegionState {
  newest: Slot | null;
  /** Index of the slot that is written next: never that of the newest. */
  nextSlot: 0 | 1;
  waiting: Waiting | null;
}

const order: readonly RegionName[] = ['message', 'table'];

export class MirrorVolume {
  readonly path: string;
  readonly #world: VolumeWorld;
  readonly #slots: DiskSlots;
  readonly #flushEveryMs: number;
  /** What is broken has become another; null: nothing is. */
  readonly #changed: (problem: string | null) => void;
  readonly #regions: Readonly<Record<RegionName, RegionState>> = {
    message: { newest: null, nextSlot: 0, waiting: null },
    table: { newest: null, nextSlot: 0, waiting: null },
  };
  #handle: FileHandle | null = null;
  /** Sequence numbers that the other end has seen: ours go on above them. */
  readonly #floors: Record<RegionName, number> = { message: 0, table: 0 };
  readonly #writing: Lane;
  readonly #flushing: Lane;
  #writeProblem: string | null = null;
  #flushProblem: string | null = null;
  #flushedMs: number;
  /** For a slot. */
  #flushWaits = false;
  #problem: string | null = null;
  #skipped = 0;
  #closed = false;

  constructor(world: VolumeWorld, options: VolumeOptions, changed: (problem: string | null) => void) {
    this.path = options.path;
    this.#world = world;
    this.#slots = options.slots;
    this.#flushEveryMs = options.flushEveryMs ?? 5000;
    this.#changed = changed;
    this.#flushedMs = world.clock.monotonicMs();
    this.#writing = new Lane(world.clock, options.limitMs);
    this.#flushing = new Lane(world.clock, options.limitMs);
  }

  get problem(): string | null {
    return this.#problem;
  }

  /** Messages whose place a newer one took before they were begun, or that found no slot in time; since the start. */
  get skipped(): number {
    return this.#skipped;
  }

  /** As last read or written here; null: nothing yet. */
  newest(region: RegionName): Slot | null {
    return this.#regions[region].newest;
  }

  /** Opens it, so that what is wrong with it shows before the first write. Resolves when it is open, or known not to be. */
  open(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#handle !== null || this.#closed) return resolve();
      const begun = this.#writing.run({
        enter: (begin) => this.#slots.enter(begin),
        work: () => this.#opened(),
        done: (problem) => {
          this.#settled(problem);
          resolve();
          this.#pump();
        },
      });
      // What is under way opens it, or is a write to what is open.
      if (!begun) void this.#writing.idle().then(resolve);
    });
  }

  /** `done` is called once, never inside the call. */
  write(region: RegionName, payload: Uint8Array, done: (outcome: WriteOutcome) => void): void {
    const state = this.#regions[region];
    if (state.waiting !== null && region === 'message') this.#skipped++;
    state.waiting?.done({ kind: 'replaced' });
    state.waiting = { payload, done };
    this.#pump();
  }

  raiseSequence(region: RegionName, floor: number): void {
    this.#floors[region] = Math.max(this.#floors[region], floor);
  }

  /** Waits for what is under way, but no longer than the limit. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#refuseWaiting('it was closed');
    await Promise.all([this.#writing.idle(), this.#flushing.idle()]);
    this.#dropHandle();
  }

  #pump(): void {
    if (this.#closed) return this.#refuseWaiting('it was closed');
    // Of a disk whose flush hangs no slot more: it is of no use anyway.
    if (this.#writing.isOverdue || this.#flushing.isOverdue)
      return this.#refuseWaiting(this.#problem ?? 'it does not answer');
    if (this.#writing.isBusy) return;
    if (!order.some((name) => this.#regions[name].waiting !== null)) return;
    let begun: Waiting | null = null;
    let written: Slot | null = null;
    this.#writing.run({
      enter: (begin) => this.#slots.enter(begin),
      work: async () => {
        // Chosen now that there is a slot: what came while none was free is newer.
        const region = order.find((name) => this.#regions[name].waiting !== null);
        begun = region === undefined ? null : this.#regions[region].waiting;
        if (region === undefined || begun === null) return;
        this.#regions[region].waiting = null;
        written = await this.#writeSlot(region, begun.payload);
      },
      done: (problem) => {
        this.#settled(problem);
        if (begun === null) this.#refuseWaiting(this.#problem ?? 'it was closed');
        else if (written !== null && problem === null) begun.done({ kind: 'written', slot: written });
        else begun.done({ kind: 'failed', problem: this.#problem ?? problem ?? 'it was closed' });
        this.#pump();
      },
      // It has answered after all: what came meanwhile was refused, the next write will show.
      late: () => this.#pump(),
    });
  }

  #refuseWaiting(problem: string): void {
    for (const region of order) {
      const { waiting } = this.#regions[region];
      this.#regions[region].waiting = null;
      if (waiting === null) continue;
      if (region === 'message') this.#skipped++;
      this.#world.clock.after(0, () => waiting.done({ kind: 'failed', problem }));
    }
  }

  async #writeSlot(region: RegionName, payload: Uint8Array): Promise<Slot> {
    if (this.#handle === null) await this.#opened();
    const handle = this.#handle;
    if (handle === null) throw new HoldfastError('E_IO', `${this.path} was closed`);
    const state = this.#regions[region];
    const { slotsAt, slotBytes } = regions[region];
    const sequence = Math.max(state.newest?.sequence ?? 0, this.#floors[region]) + 1;
    const at = slotsAt[state.nextSlot];
    await handle.writeAt(at, encodeSlot(region, { sequence, payload }));
    const read = decodeSlot(region, await handle.readAt(at, slotBytes));
    if (read?.sequence !== sequence) {
      throw new HoldfastError('E_IO', `${this.path} does not hold what was written to it`);
    }
    state.newest = { sequence, payload: read.payload.slice() };
    state.nextSlot = state.nextSlot === 0 ? 1 : 0;
    this.#flushNowAndThen();
    return state.newest;
  }

  /** Of one that is empty the first sector is made ours and flushed: no crash leaves it half written and unrecognisable. */
  async #opened(): Promise<void> {
    const handle = await openBacking(this.#world.files, this.path);
    try {
      const volume = await handle.readAt(0, mirrorVolumeBytes);
      const kind = recognise(volume);
      if (kind === 'foreign') {
        throw new HoldfastError(
          'E_REFUSED',
          `${this.path} holds something else than a heartbeat mirror; it is not overwritten. Name another place, or clear its first ${mirrorVolumeBytes} bytes`,
        );
      }
      if (kind === 'empty') {
        await handle.writeAt(0, firstSector());
        await handle.sync();
      }
      for (const region of order) this.#load(region, volume);
    } catch (error) {
      this.#close(handle);
      throw error;
    }
    this.#handle = handle;
    if (this.#closed) this.#dropHandle();
  }

  #load(region: RegionName, volume: Uint8Array): void {
    const { slotsAt, slotBytes } = regions[region];
    const state = this.#regions[region];
    const slots = slotsAt.map((at) => decodeSlot(region, volume.subarray(at, at + slotBytes)));
    const newest = (slots[1]?.sequence ?? 0) > (slots[0]?.sequence ?? 0) ? 1 : 0;
    const slot = slots[newest] ?? null;
    state.newest = slot === null ? null : { ...slot, payload: slot.payload.slice() };
    state.nextSlot = slot === null || newest === 1 ? 0 : 1;
  }

  /** While another disk's flush hangs, none is begun here: an error of this disk shows when it is written to, or later. */
  #flushNowAndThen(): void {
    const nowMs = this.#world.clock.monotonicMs();
    // Soon again while one has failed: its next success is what ends the problem.
    const everyMs = this.#flushProblem === null ? this.#flushEveryMs : Math.min(this.#flushEveryMs, 1000);
    if (this.#flushWaits || this.#flushing.isBusy || nowMs - this.#flushedMs < everyMs) return;
    this.#flushWaits = true;
    this.#slots.enterToFlush((leave) => {
      this.#flushWaits = false;
      const handle = this.#handle;
      if (handle === null) leave();
      else this.#flush(handle, leave);
    });
  }

  #flush(handle: FileHandle, leave: () => void): void {
    this.#flushedMs = this.#world.clock.monotonicMs();
    this.#flushing.run({
      enter: (begin) => {
        begin(leave);
        return () => {};
      },
      work: () => handle.sync(),
      done: (problem) => {
        this.#flushProblem = problem === null ? null : `${this.path}: ${problem}`;
        if (problem !== null) this.#dropHandle();
        this.#tell();
      },
    });
  }

  #settled(problem: string | null): void {
    this.#writeProblem = problem === null ? null : this.#named(problem);
    // A device that went and came back is another one: the handle of the old one fails for ever.
    if (problem !== null) this.#dropHandle();
    this.#tell();
  }

  #dropHandle(): void {
    const handle = this.#handle;
    if (handle === null || this.#writing.isOverdue || this.#flushing.isOverdue) return;
    this.#handle = null;
    this.#close(handle);
  }

  #close(handle: FileHandle): void {
    this.#slots.enter((leave) => void handle.close().then(leave, leave));
  }

  #named(problem: string): string {
    return problem.includes(this.path) ? problem : `${this.path}: ${problem}`;
  }

  #tell(): void {
    const problem = this.#writeProblem ?? this.#flushProblem;
    if (problem === this.#problem || this.#closed) return;
    this.#problem = problem;
    this.#changed(problem);
  }
}

interface LaneWork {
  /** As `DiskSlots.enter`. */
  readonly enter: DiskSlots['enter'];
  readonly work: () => Promise<void>;
  /** Called once: with null when the work is done, with what went wrong, or, after the limit, with that. */
  readonly done: (problem: string | null) => void;
  /** The work has returned after it was given up. */
  readonly late?: () => void;
}

/** One piece of work at a time, none of which is waited for longer than the limit, the wait for a slot included. */
class Lane {
  readonly #clock: Clock;
  readonly #limitMs: number;
  #busy = false;
  #overdue = false;
  #idle: (() => void)[] = [];

  constructor(clock: Clock, limitMs: number) {
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /** Work is under way, or was given up and has not returned yet. */
  get isBusy(): boolean {
    return this.#busy;
  }

  get isOverdue(): boolean {
    return this.#overdue;
  }

  /** False, and nothing is begun, while other work is. */
  run({ enter, work, done, late }: LaneWork): boolean {
    if (this.#busy) return false;
    this.#busy = true;
    let begun = false;
    const timer: Timer = this.#clock.after(this.#limitMs, () => {
      if (begun) this.#overdue = true;
      else {
        ceaseWaiting();
        this.#busy = false;
      }
      this.#becomeIdle();
      done(
        begun ? `it has not answered for ${this.#limitMs} ms` : `other disks hang: no turn for ${this.#limitMs} ms`,
      );
    });
    const ceaseWaiting = enter((leave) => {
      begun = true;
      const returned = (problem: string | null): void => {
        timer.cancel();
        const wasOverdue = this.#overdue;
        this.#busy = false;
        this.#overdue = false;
        this.#becomeIdle();
        leave();
        if (wasOverdue) late?.();
        else done(problem);
      };
      work().then(
        () => returned(null),
        (error: unknown) => returned(messageOf(error)),
      );
    });
    return true;
  }

  /** Resolves when nothing is under way, or what is is overdue. */
  idle(): Promise<void> {
    if (!this.#busy || this.#overdue) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #becomeIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** A missing file is made, with its folder; a missing device is not: an ordinary file of its name would take its place. */
async function openBacking(files: Files, path: string): Promise<FileHandle> {
  const there = await files.openRaw(path);
  if (there !== null) return there;
  if (path.startsWith('/dev/')) throw new HoldfastError('E_FILE_MISSING', `${path}: there is no such device`);
  await files.makeFolder(path.slice(0, Math.max(path.lastIndexOf('/'), 1)));
  return files.open(path);
}
