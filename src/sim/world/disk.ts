/**
 * The simulated disk: what a backing file or device does with writes, power and faults. Specification:
 *
 * - There are two images, *cache* (what reads see) and *medium* (what survives power loss). A write goes into the cache
 *   at its completion and is remembered as unsynced. Allocation (data or hole, per block) is kept for both images.
 * - A flush puts on the medium exactly what was unsynced when the flush *started*, at its completion.
 * - The kernel writes back by itself: beyond `unsyncedWritesMax` or `unsyncedBytesMax` the oldest goes to the medium.
 * - Power loss: each unsynced write, oldest first, reaches the medium or not, sector by sector (a sector is never torn:
 *   it is as before or as written). How many survive is drawn once per loss: none, all, or any, per sector or per
 *   write. So a sector may come back as any of its unsynced versions. The cache becomes the medium.
 * - Crash of the process alone: the cache stays. A write in flight reaches it or not, sector by sector.
 * - Operations take a drawn time and complete in any order. Some complete within the call, as writes to a real page
 *   cache do, but tell so at the end of the turn like all others. `data` is read, and `into` filled, at completion.
 * - Faults, each set by the scene, in force until changed or used up:
 *   `failNext`/`failAlways` — a read leaves garbage; a write leaves its range partly written; a flush leaves what it
 *   covered on the medium or not, sector by sector, and *clean*: the next flush succeeds and does not write it.
 *   `freeBytes` — allocating beyond is `noSpace`, with a leading part of the range written; punching gives space back.
 *   `slowness` — factor on every latency. `hang`/`unhang` — nothing completes meanwhile.
 *   `gone` — every operation fails. `corrupt` — bits of both images turn over, silently.
 * - `snapshot`/`restore` is the medium of yesterday.
 *
 * Not modelled: sectors that fail alone for ever, a medium slower in one place than in another, resizing.
 */
import { assert } from '../../base/assert.ts';
import type { AllocationExtent, BlockFault, Completion, Device } from '../../block/device.ts';
import type { SimMachine } from './machine.ts';
import type { Attachment, SimProcess } from './process.ts';
import type { Prng } from './prng.ts';

/** What is kept or lost as a whole, and what allocation is counted in. The power-fail atom of common disks. */
export const sectorBytes = 512;

/** Unsynced writes remembered one by one, and their bytes; more of them would only cost memory. */
const unsyncedWritesMax = 4096;
const unsyncedBytesMax = 4 * 1024 * 1024;

export type DiskOperation = 'read' | 'write' | 'flush';

export interface DiskSnapshot {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly bytes: Uint8Array;
  readonly allocated: Uint8Array;
}

/** A change of an image: bytes, or zeroes (`data` null) with or without giving the space back. */
interface Change {
  readonly offset: number;
  readonly length: number;
  readonly data: Uint8Array | null;
  readonly allocates: boolean;
}

/** Bytes and, per sector, whether space is allocated for it (1) or it is a hole (0) and reads as zeroes. */
class Image {
  readonly bytes: Uint8Array;
  readonly allocated: Uint8Array;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
    this.allocated = new Uint8Array(Math.ceil(sizeBytes / sectorBytes));
  }

  copyFrom(other: { readonly bytes: Uint8Array; readonly allocated: Uint8Array }): void {
    this.bytes.set(other.bytes);
    this.allocated.set(other.allocated);
  }

  /** The part of a change in [offset, offset + length). */
  apply(change: Change, offset = change.offset, length = change.length): void {
    if (change.data === null) this.bytes.fill(0, offset, offset + length);
    else this.bytes.set(change.data.subarray(offset - change.offset, offset - change.offset + length), offset);
    this.allocated.fill(change.allocates ? 1 : 0, offset / sectorBytes, (offset + length) / sectorBytes);
  }

  /** Bytes by which a change would raise (or lower) what is allocated. */
  growthBytes(change: Change): number {
    let sectors = 0;
    for (let sector = change.offset / sectorBytes; sector < (change.offset + change.length) / sectorBytes; sector++) {
      sectors += (change.allocates ? 1 : 0) - (this.allocated[sector] ?? 0);
    }
    return sectors * sectorBytes;
  }
}

export class SimDisk {
  readonly machine: SimMachine;
  readonly path: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Who has it open; null when nobody. */
  holder: SimProcess | null = null;
  /** Factor on latencies. */
  slowness = 1;
  /** Bytes that can still be allocated. */
  freeBytes = Infinity;
  /** The file vanished under its user: every operation fails. */
  gone = false;
  /** Share of operations, flushes excepted, that are done within the call. */
  inlineShare = 0.5;
  /** Upper ends of drawn latencies, milliseconds. */
  latencyMsMax = { read: 0.3, write: 0.4, flush: 2 };
  readonly #prng: Prng;
  readonly #cache: Image;
  readonly #medium: Image;
  readonly #unsynced: Change[] = [];
  #unsyncedBytes = 0;
  /** Number of the first entry of `#unsynced`, counting all changes since the beginning. */
  #firstUnsynced = 0;
  readonly #failNext: Record<DiskOperation, number> = { read: 0, write: 0, flush: 0 };
  #hanging: (() => void)[] | null = null;

  constructor(machine: SimMachine, path: string, sizeBytes: number, blockSizeBytes: number) {
    assert(sizeBytes % sectorBytes === 0 && blockSizeBytes % sectorBytes === 0, `disk ${path}: not whole sectors`);
    this.machine = machine;
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.blockSizeBytes = blockSizeBytes;
    this.#prng = machine.prng.derive(`disk ${path}`);
    this.#cache = new Image(sizeBytes);
    this.#medium = new Image(sizeBytes);
  }

  /** What reads see now, for checkers. Not a copy: look, do not touch. */
  get cached(): Uint8Array {
    return this.#cache.bytes;
  }

  /** What power loss would certainly leave, for checkers. */
  get durable(): Uint8Array {
    return this.#medium.bytes;
  }

  get unsyncedWrites(): number {
    return this.#unsynced.length;
  }

  /** The next `count` operations of the kind fail. */
  failNext(operation: DiskOperation, count = 1): void {
    this.#failNext[operation] = count;
  }

  failAlways(operation: DiskOperation): void {
    this.#failNext[operation] = Infinity;
  }

  heal(): void {
    for (const operation of ['read', 'write', 'flush'] as const) this.#failNext[operation] = 0;
    this.slowness = 1;
    this.freeBytes = Infinity;
    this.gone = false;
    this.unhang();
  }

  hang(): void {
    this.#hanging ??= [];
  }

  unhang(): void {
    const waiting = this.#hanging ?? [];
    this.#hanging = null;
    for (const go of waiting) go();
  }

  /** Rot: one bit of each sector of the range turns over, on the medium and in the cache. */
  corrupt(offset: number, length: number): void {
    for (
      let sector = Math.floor(offset / sectorBytes) * sectorBytes;
      sector < offset + length;
      sector += sectorBytes
    ) {
      const at = sector + this.#prng.below(sectorBytes);
      const bit = 1 << this.#prng.below(8);
      for (const image of [this.#cache, this.#medium]) image.bytes[at] = (image.bytes[at] ?? 0) ^ bit;
    }
  }

  powerLoss(): void {
    const style = this.#prng.pick(['none', 'all', 'bySector', 'byWrite']);
    const share = this.#prng.fraction();
    for (const change of this.#unsynced) {
      if (style === 'bySector') this.#applyPartly(this.#medium, change, share);
      else if (style === 'all' || (style === 'byWrite' && this.#prng.chance(share))) this.#medium.apply(change);
    }
    this.#forget(this.#unsynced.length);
    this.#cache.copyFrom(this.#medium);
  }

  snapshot(): DiskSnapshot {
    return {
      sizeBytes: this.sizeBytes,
      blockSizeBytes: this.blockSizeBytes,
      bytes: this.#cache.bytes.slice(),
      allocated: this.#cache.allocated.slice(),
    };
  }

  restore(snapshot: DiskSnapshot): void {
    assert(this.holder === null && snapshot.sizeBytes === this.sizeBytes, `disk ${this.path} cannot be restored`);
    this.#forget(this.#unsynced.length);
    this.#cache.copyFrom(snapshot);
    this.#medium.copyFrom(snapshot);
  }

  // What follows is for SimDevice.

  /** Runs `complete` as an event of the process when the operation is over; nothing is over while the disk hangs. */
  schedule(process: SimProcess, operation: DiskOperation, complete: () => void): void {
    const finish = (): void => {
      if (this.#hanging === null) complete();
      else this.#hanging.push(() => process.after(0, 'device', finish));
    };
    const inline = operation !== 'flush' && this.slowness === 1 && this.#prng.chance(this.inlineShare);
    if (inline) process.environment.turn.defer(finish);
    else process.after(this.#prng.fraction() * this.latencyMsMax[operation] * this.slowness, 'device', finish);
  }

  read(offset: number, into: Uint8Array): BlockFault | null {
    if (this.gone) return this.#vanished();
    if (this.#fails('read')) {
      into.fill(0xee);
      return this.#fault('readFailed', `EIO: i/o error, read ${this.path}`);
    }
    into.set(this.#cache.bytes.subarray(offset, offset + into.length));
    return null;
  }

  change(change: Change): BlockFault | null {
    if (this.gone) return this.#vanished();
    if (this.#fails('write')) {
      this.changePartly(change);
      return this.#fault('writeFailed', `EIO: i/o error, write ${this.path}`);
    }
    const growthBytes = this.#cache.growthBytes(change);
    if (growthBytes > this.freeBytes) {
      const written = this.#prng.below(change.length / sectorBytes) * sectorBytes;
      if (written > 0) this.#record(cut(change, 0, written));
      return this.#fault('noSpace', `ENOSPC: no space left on device, write ${this.path}`);
    }
    this.freeBytes -= growthBytes;
    this.#record(change);
    return null;
  }

  /** A write whose process died, or that failed: each sector is as before or as written. */
  changePartly(change: Change): void {
    const share = this.#prng.fraction();
    for (let at = 0; at < change.length; at += sectorBytes) {
      if (this.#prng.chance(share)) this.#record(cut(change, at, sectorBytes));
    }
  }

  /** What a flush started now would cover. */
  get flushMark(): number {
    return this.#firstUnsynced + this.#unsynced.length;
  }

  flush(mark: number): BlockFault | null {
    if (this.gone) return this.#vanished();
    const count = Math.max(0, mark - this.#firstUnsynced);
    const fails = this.#fails('flush');
    const share = this.#prng.fraction();
    for (const change of this.#unsynced.slice(0, count)) {
      if (fails) this.#applyPartly(this.#medium, change, share);
      else this.#medium.apply(change);
    }
    this.#forget(count);
    return fails ? this.#fault('flushFailed', `EIO: i/o error, fdatasync ${this.path}`) : null;
  }

  allocation(offset: number, length: number): AllocationExtent[] {
    const extents: AllocationExtent[] = [];
    const end = offset + length;
    let start = offset;
    let data = this.#blockHoldsData(offset);
    for (let at = offset + this.blockSizeBytes; at <= end; at += this.blockSizeBytes) {
      const next = at < end ? this.#blockHoldsData(at) : !data;
      if (next === data) continue;
      extents.push({ offset: start, length: at - start, data });
      start = at;
      data = next;
    }
    return extents;
  }

  #blockHoldsData(offset: number): boolean {
    for (let at = offset; at < offset + this.blockSizeBytes; at += sectorBytes) {
      if (this.#cache.allocated[at / sectorBytes] === 1) return true;
    }
    return false;
  }

  #record(change: Change): void {
    this.#cache.apply(change);
    this.#unsynced.push(change);
    this.#unsyncedBytes += change.length;
    if (this.#unsynced.length <= unsyncedWritesMax && this.#unsyncedBytes <= unsyncedBytesMax) return;
    const count = Math.ceil(this.#unsynced.length / 2);
    for (const old of this.#unsynced.slice(0, count)) this.#medium.apply(old);
    this.#forget(count);
  }

  #forget(count: number): void {
    for (const change of this.#unsynced.splice(0, count)) this.#unsyncedBytes -= change.length;
    this.#firstUnsynced += count;
  }

  #applyPartly(image: Image, change: Change, share: number): void {
    for (let at = change.offset; at < change.offset + change.length; at += sectorBytes) {
      if (this.#prng.chance(share)) image.apply(change, at, sectorBytes);
    }
  }

  #fails(operation: DiskOperation): boolean {
    if (this.#failNext[operation] === 0) return false;
    this.#failNext[operation]--;
    return true;
  }

  #vanished(): BlockFault {
    return this.#fault('gone', `${this.path} is not there any more`);
  }

  #fault(kind: BlockFault['kind'], detail: string): BlockFault {
    this.machine.world.trace.add(this.machine.world.nowMs, 'fault', this.holder?.number ?? 0);
    return { kind, detail };
  }
}

/** One opening of a disk by one process (contract: `block/device.ts`). */
export class SimDevice implements Device, Attachment {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly #disk: SimDisk;
  readonly #process: SimProcess;
  /** Changes started and not completed, in order of start. */
  readonly #inFlight = new Set<Change>();
  #operations = 0;
  #closed = false;
  #whenIdle: (() => void)[] = [];

  constructor(disk: SimDisk, process: SimProcess) {
    this.#disk = disk;
    this.#process = process;
    this.sizeBytes = disk.sizeBytes;
    this.blockSizeBytes = disk.blockSizeBytes;
    disk.holder = process;
    process.attach(this);
  }

  read(offset: number, into: Uint8Array, done: Completion): void {
    this.#check(offset, into.length);
    this.#start('read', () => done(this.#disk.read(offset, into)));
  }

  write(offset: number, data: Uint8Array, done: Completion): void {
    this.#change({ offset, length: data.length, data, allocates: true }, done);
  }

  zero(offset: number, length: number, space: 'punch' | 'keep', done: Completion): void {
    this.#change({ offset, length, data: null, allocates: space === 'keep' }, done);
  }

  flush(done: Completion): void {
    const mark = this.#disk.flushMark;
    this.#start('flush', () => done(this.#disk.flush(mark)));
    this.#process.countEffect(mark);
  }

  allocation(
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void {
    this.#check(offset, length);
    this.#start('read', () => done(null, this.#disk.allocation(offset, length)));
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (!this.#process.alive) return new Promise(() => {});
    if (this.#operations > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
    this.#process.detach(this);
    this.#disk.holder = null;
  }

  /** What was in flight is as unsynced as the rest: with the power, the disk draws once more. */
  processEnded(): void {
    this.#disk.holder = null;
    for (const change of this.#inFlight) this.#disk.changePartly(snapshotOf(change));
  }

  #change(change: Change, done: Completion): void {
    this.#check(change.offset, change.length);
    if (!this.#process.alive) return;
    this.#inFlight.add(change);
    this.#start('write', () => {
      this.#inFlight.delete(change);
      done(this.#disk.change(snapshotOf(change)));
    });
    this.#process.countEffect(change.offset);
  }

  #start(operation: DiskOperation, complete: () => void): void {
    if (!this.#process.alive) return;
    this.#operations++;
    this.#disk.schedule(this.#process, operation, () => {
      this.#operations--;
      complete();
      if (this.#operations === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
    });
  }

  #check(offset: number, length: number): void {
    assert(!this.#closed, `device ${this.#disk.path}: used after close`);
    assert(
      offset >= 0 && length > 0 && offset + length <= this.sizeBytes,
      `device ${this.#disk.path}: ${offset} + ${length} is outside ${this.sizeBytes}`,
    );
    assert(
      offset % this.blockSizeBytes === 0 && length % this.blockSizeBytes === 0,
      `device ${this.#disk.path}: ${offset} + ${length} is not in blocks of ${this.blockSizeBytes}`,
    );
  }
}

/** The bytes as they are now; from here on the caller may change its buffer. (`slice` of a `Buffer` would be a view.) */
function snapshotOf(change: Change): Change {
  return change.data === null ? change : { ...change, data: new Uint8Array(change.data) };
}

function cut(change: Change, from: number, length: number): Change {
  const data = change.data === null ? null : new Uint8Array(change.data.subarray(from, from + length));
  return { offset: change.offset + from, length, data, allocates: change.allocates };
}
