/**
 * Copies what a target lacks, block by block, while hosts go on: the full copy of a new mirror and the resync after an
 * outage (TL-1).
 *
 * Invariants (R8):
 * - A copied block is read, or found to be a hole, when every overlapping earlier change is stored locally, and takes its stamp before any other
 *   overlapping change does: a block that is written to in between is read again.
 * - The bit of a block is cleared when its copy is durable at the target, not before.
 *
 * One pass over the volumes suffices: while it runs, hosts' changes travel to the target as they are stamped.
 *
 * Throttle: while hosts are active, copies take turns with pauses, so that about `resyncShare` of the time is theirs.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { crc32c } from '../base/crc32c.ts';
import { payloadMemory } from '../base/payload-memory.ts';
import type { AllocationExtent, BlockFault } from '../block/device.ts';
import { Change } from '../stream/change.ts';
import { Fifo } from '../stream/fifo.ts';
import { recordsOverlap } from '../stream/record.ts';
import { RateMeter } from './rate-meter.ts';
import type { PeerBits } from '../volume/leg-metadata.ts';

/** What the owner lends to a copier. */
export interface CopySource {
  readonly environment: Environment;
  /** Share of time copies may take while hosts are active, 0…1. */
  readonly resyncShare: number;
  readonly hostsActive: boolean;
  /** False while an overlapping change is not stored locally yet. */
  readyToCopy(volume: number, offset: number, length: number): boolean;
  /** Tells of changes stamped in the range from now on. */
  watch(volume: number, offset: number, length: number): CopyWatch;
  readOwn(volume: number, offset: number, into: Uint8Array, done: (fault: BlockFault | null) => void): void;
  allocation(
    volume: number,
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void;
  /** Stamps the copy; it travels with the other records. Returns its ordinal. */
  stampCopy(change: Change): number;
  /** The owner's own leg cannot be read. */
  copyFailed(target: string, fault: BlockFault): void;
}

export interface CopyWatch {
  readonly touched: boolean;
  release(): void;
}

export interface CopierOptions {
  readonly target: string;
  readonly bits: PeerBits;
  readonly kind: 'fullCopy' | 'resync';
  /** The target reads as zeroes where nothing was copied to it: holes need not travel (R4). */
  readonly skipHoles: boolean;
  /** Everything has been applied at the target. */
  readonly finished: () => void;
}

/** Bytes read and sent as one copy, and as one hole. */
const pieceBytes = 256 * 1024;
const holeBytes = 32 * 1024 * 1024;
/** Bytes of volume planned at once, by asking the storage for its holes. */
const planBytesMin = 256 * 1024 * 1024;
/** Among holes plans grow, so that a volume of 64 TiB with nothing in it is soon gone through. */
const planBytesMax = 64 * 2 ** 30;
const copiesInFlightMax = 8;
const conflictRetryMs = 2;

interface Piece {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  /** False: a hole when planned. */
  readonly data: boolean;
}

interface Copied {
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  readonly ordinal: number;
  readonly startedAtMs: number;
  /** The owner's leg has become different since: the bits stay. */
  stale: boolean;
}

export class Copier {
  readonly kind: 'fullCopy' | 'resync';
  readonly totalBytes: number;
  readonly #source: CopySource;
  readonly #options: CopierOptions;
  readonly #volumes: readonly number[];
  /** Index into `#volumes`, and how far that volume has been planned. */
  #volumeAt = 0;
  #offset = 0;
  #plan: Piece[] = [];
  #planWatch: CopyWatch | null = null;
  #planning = false;
  #planBytes = planBytesMin;
  #reading = 0;
  /** Stamped, not applied yet. */
  readonly #inFlight = new Fifo<Copied>();
  /** Applied, not durable yet: their bits are still set. */
  readonly #undurable = new Fifo<Copied>();
  #doneBytes = 0;
  #pause: Timer | null = null;
  #stopped = false;
  #finished = false;
  readonly #rate: RateMeter;

  constructor(source: CopySource, options: CopierOptions) {
    this.#source = source;
    this.#rate = new RateMeter(source.environment.clock);
    this.#options = options;
    this.kind = options.kind;
    this.#volumes = [...options.bits.keys()].sort((a, b) => a - b);
    let total = 0;
    for (const bitmap of options.bits.values()) total += bitmap.setBytes;
    this.totalBytes = total;
  }

  get doneBytes(): number {
    return Math.min(this.#doneBytes, this.totalBytes);
  }

  get remainingBytes(): number {
    return this.totalBytes - this.doneBytes;
  }

  /** Over the last seconds. */
  get bytesPerSecond(): number {
    return this.#rate.bytesPerSecond(this.#doneBytes);
  }

  stop(): void {
    this.#stopped = true;
    this.#pause?.cancel();
    this.#planWatch?.release();
    this.#planWatch = null;
  }

  /** The target has applied everything up to the ordinal. */
  applied(ordinal: number): void {
    const now = this.#source.environment.clock.monotonicMs();
    let latest: Copied | null = null;
    for (
      let next = this.#inFlight.peek();
      next !== undefined && next.ordinal <= ordinal;
      next = this.#inFlight.peek()
    ) {
      this.#inFlight.shift();
      this.#undurable.push(next);
      this.#doneBytes += next.length;
      latest = next;
    }
    if (latest === null) return;
    this.#rate.note(this.#doneBytes);
    if (this.#source.hostsActive && this.#pause === null && !this.#stopped) {
      const share = this.#source.resyncShare;
      const restMs = Math.min(1000, (now - latest.startedAtMs) * (1 / share - 1));
      this.#pause = this.#source.environment.clock.after(restMs, () => {
        this.#pause = null;
        this.run();
      });
      return;
    }
    this.run();
  }

  /** Everything up to the ordinal is on the target's medium: those bits have done their work (R5). */
  durable(ordinal: number): void {
    this.applied(ordinal);
    const { bits } = this.#options;
    for (
      let next = this.#undurable.peek();
      next !== undefined && next.ordinal <= ordinal;
      next = this.#undurable.peek()
    ) {
      this.#undurable.shift();
      if (!next.stale) bits.get(next.volume)?.clear(next.offset, next.length);
    }
  }

  /** The owner's leg has become different from what was copied, by other means than a change: those bits stay (R8). */
  repaired(volume: number, offset: number, length: number): void {
    const range = { volume, offset, length };
    for (const copied of this.#inFlight) if (recordsOverlap(copied, range)) copied.stale = true;
    for (const copied of this.#undurable) if (recordsOverlap(copied, range)) copied.stale = true;
  }

  run(): void {
    if (this.#stopped || this.#finished || this.#pause !== null) return;
    const share = Math.max(1, Math.round((this.#source.resyncShare * copiesInFlightMax) / 2));
    const inFlightMax = this.#source.hostsActive ? share : copiesInFlightMax;
    while (this.#inFlight.length + this.#reading < inFlightMax) {
      const piece = this.#plan[0];
      if (piece === undefined) {
        if (this.#planning) return;
        if (!this.#planNext()) break;
        continue;
      }
      if (!this.#source.readyToCopy(piece.volume, piece.offset, piece.length)) {
        this.#later();
        return;
      }
      if (!piece.data && this.#planWatch?.touched === true) {
        // Something was written since the holes were asked for: it is read like data, in pieces of that size.
        const chunkBytes = this.#options.bits.get(piece.volume)?.chunkBytes ?? pieceBytes;
        this.#plan.splice(0, 1, ...pieces(piece.volume, { ...piece, data: true }, chunkBytes));
        continue;
      }
      this.#plan.shift();
      if (piece.data) this.#copy(piece);
      else this.#copyHole(piece);
    }
    if (this.#plan.length > 0 || this.#planning || this.#reading > 0 || this.#inFlight.length > 0) return;
    if (this.#volumeAt < this.#volumes.length) return;
    this.#finished = true;
    this.#options.finished();
  }

  /** Finds the next run of changed blocks and where it has holes. False when there is none left. */
  #planNext(): boolean {
    this.#planWatch?.release();
    this.#planWatch = null;
    for (; this.#volumeAt < this.#volumes.length; this.#volumeAt++, this.#offset = 0) {
      const volume = this.#volumes[this.#volumeAt] ?? 0;
      const bitmap = this.#options.bits.get(volume);
      const run = bitmap?.nextRun(this.#offset, this.#planBytes) ?? null;
      if (bitmap === undefined || run === null) continue;
      const { chunkBytes } = bitmap;
      if (!this.#source.readyToCopy(volume, run.offset, run.length)) {
        // What is still on its way to the disk would pass for a hole: a little of the run is read instead.
        const length = Math.min(run.length, Math.max(pieceBytes, chunkBytes));
        this.#offset = run.offset + length;
        this.#plan = pieces(volume, { offset: run.offset, length, data: true }, chunkBytes);
        return true;
      }
      this.#offset = run.offset + run.length;
      this.#planning = true;
      this.#planWatch = this.#source.watch(volume, run.offset, run.length);
      this.#source.allocation(volume, run.offset, run.length, (fault, extents) => {
        this.#planning = false;
        if (this.#stopped) return;
        const found = fault === null ? extents : [{ offset: run.offset, length: run.length, data: true }];
        const chunks = wholeChunks(found, chunkBytes);
        // A piece that was written to while it was read may have come back meanwhile.
        this.#plan.push(...chunks.flatMap((extent) => pieces(volume, extent, chunkBytes, this.#options.skipHoles)));
        const hole = chunks.every(({ data }) => !data);
        this.#planBytes = hole ? Math.min(2 * this.#planBytes, planBytesMax) : planBytesMin;
        // Holes that need not travel wait for nobody: others get their turn in between.
        if (hole && this.#options.skipHoles) this.#later(0);
        else this.run();
      });
      return true;
    }
    return false;
  }

  #copy(piece: Piece): void {
    const { volume, offset, length } = piece;
    const startedAtMs = this.#source.environment.clock.monotonicMs();
    const watch = this.#source.watch(volume, offset, length);
    const data = payloadMemory.take(length);
    this.#reading++;
    this.#source.readOwn(volume, offset, data, (fault) => {
      this.#reading--;
      watch.release();
      if (this.#stopped) return;
      if (fault !== null) {
        this.#source.copyFailed(this.#options.target, fault);
        return;
      }
      if (watch.touched) {
        this.#plan.unshift(piece);
        this.#later();
        return;
      }
      const change = isZero(data)
        ? new Change('copyZero', piece, null, true, null, this.#options.target)
        : new Change('copy', piece, data, false, null, this.#options.target);
      if (change.data !== null) change.checksum = crc32c(change.data);
      this.#stamp(change, startedAtMs);
      this.run();
    });
  }

  #copyHole(piece: Piece): void {
    const now = this.#source.environment.clock.monotonicMs();
    if (this.#options.skipHoles) {
      this.#doneBytes += piece.length;
      // The target reads as zeroes there already, durably: it was made so.
      this.#options.bits.get(piece.volume)?.clear(piece.offset, piece.length);
      this.#rate.note(this.#doneBytes);
      return;
    }
    this.#stamp(new Change('copyZero', piece, null, true, null, this.#options.target), now);
  }

  #stamp(change: Change, startedAtMs: number): void {
    const ordinal = this.#source.stampCopy(change);
    this.#inFlight.push({
      volume: change.volume,
      offset: change.offset,
      length: change.length,
      ordinal,
      startedAtMs,
      stale: false,
    });
  }

  #later(delayMs = conflictRetryMs): void {
    this.#pause ??= this.#source.environment.clock.after(delayMs, () => {
      this.#pause = null;
      this.run();
    });
  }
}

/** A bit is cleared for a whole chunk only: a chunk with any data in it is copied as data. */
function wholeChunks(extents: readonly AllocationExtent[], chunkBytes: number): AllocationExtent[] {
  const last = extents.at(-1);
  const after = last === undefined ? 0 : last.offset + last.length;
  const chunks: AllocationExtent[] = [];
  for (let at = 0, offset = extents[0]?.offset ?? 0; offset < after; offset += chunkBytes) {
    const length = Math.min(chunkBytes, after - offset);
    let data = false;
    for (let extent = extents[at]; extent !== undefined && extent.offset < offset + length; extent = extents[++at]) {
      data ||= extent.data;
      if (extent.offset + extent.length > offset + length) break;
    }
    const before = chunks.at(-1);
    if (before?.data === data) chunks[chunks.length - 1] = { ...before, length: before.length + length };
    else chunks.push({ offset, length, data });
  }
  return chunks;
}

function pieces(volume: number, extent: AllocationExtent, chunkBytes: number, holesWhole = false): Piece[] {
  const size = extent.data ? Math.max(pieceBytes, chunkBytes) : holesWhole ? extent.length : holeBytes;
  const list: Piece[] = [];
  for (let done = 0; done < extent.length; done += size) {
    const length = Math.min(size, extent.length - done);
    list.push({ volume, offset: extent.offset + done, length, data: extent.data });
  }
  return list;
}

const zeroes = Buffer.alloc(pieceBytes);

function isZero(data: Uint8Array): boolean {
  for (let at = 0; at < data.length; at += zeroes.length) {
    const part = data.subarray(at, at + zeroes.length);
    if (Buffer.compare(part, zeroes.subarray(0, part.length)) !== 0) return false;
  }
  return true;
}
