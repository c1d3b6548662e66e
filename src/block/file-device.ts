/**
 * A device on a file descriptor: a sparse file or a real block device, through the page cache.
 *
 * A read or write of cached pages takes a microsecond or two when called directly and twenty through the thread pool,
 * so it is called directly — until a call has taken longer than `slowCallMs`. Then the medium, not the cache, is
 * answering, and the device goes through the pool for a while, so that one slow disk does not stop everything else in
 * this process. A flush always goes through the pool, and never more than one at a time: those that come meanwhile
 * share the next.
 *
 * Kept here: transfers start in the order of the calls, and no direct call overtakes a pooled one; after a failed flush
 * every flush fails (R10: the kernel reports a lost page once and then forgets it); a file that was deleted or
 * shortened behind our back makes the device `gone`. Left to others: order of overlapping operations (R1), and what
 * becomes of a range after `noSpace`.
 */
import * as fs from 'node:fs';
import type { Turn } from '../base/turn.ts';
import type { AllocationExtent, BlockFault, Completion, Device } from './device.ts';
import { blockFault } from './fault.ts';
import { ProcessorWait } from './processor-wait.ts';
import { sparseCalls } from './sparse.ts';
import type { SparseCalls } from './sparse.ts';

/** A direct call that takes longer, waiting for the processor not counted, sends the device to the pool. */
const slowCallMs = 5;
/** For how long, at first; doubles while the device stays slow. */
const pooledMsMin = 100;
const pooledMsMax = 10_000;
/** Transfers in the pool at once. With the flush that makes three of the pool's four threads. */
const pooledTransfersMax = 2;
/** How often it is looked whether the file is still there and whole. */
const lookIntervalMs = 1000;
/** Zeroing goes on in steps of this size, and lets other work in between. */
const punchStepBytes = 16 * 1024 * 1024;
const zeroStepBytes = 1024 * 1024;
/** What is beyond so many extents is reported as data. */
const allocationExtentsMax = 1024;

/** One for all devices of the thread. */
const processorWaitOfThread = new ProcessorWait();

const zeroes = new Uint8Array(zeroStepBytes);

export interface FileDeviceOptions {
  /** Open for reading and writing; closed with the device. */
  readonly descriptor: number;
  /** For messages. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Regular files can be deleted and shortened, devices cannot. */
  readonly kind: 'file' | 'device';
  readonly turn: Turn;
  /** Called when the descriptor is closed: gives up the lock. */
  readonly released?: () => Promise<void>;
  /** `adaptive` as described above, by default; the others are for tests. */
  readonly calls?: 'adaptive' | 'direct' | 'pooled';
  /** For tests. */
  readonly processorWait?: Pick<ProcessorWait, 'mark' | 'sinceMarkMs'>;
  /** Null: as if the system calls for sparse files were not to be had. */
  readonly sparse?: SparseCalls | null;
}

interface Transfer {
  readonly kind: 'read' | 'write';
  readonly offset: number;
  readonly bytes: Uint8Array;
  transferredBytes: number;
  readonly done: Completion;
}

export class FileDevice implements Device {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly #options: FileDeviceOptions;
  readonly #descriptor: number;
  readonly #path: string;
  readonly #turn: Turn;
  readonly #sparse: SparseCalls | null;
  readonly #processorWait: Pick<ProcessorWait, 'mark' | 'sinceMarkMs'>;
  /** Calls this file system has turned down; they are not tried again. */
  readonly #unsupported = new Set<'punch' | 'keep' | 'seek'>();

  /** Monotonic; until then transfers go through the pool. */
  #pooledUntilMs: number;
  #pooledForMs = pooledMsMin;
  #pooledInFlight = 0;
  readonly #pooledWaiting: Transfer[] = [];

  #flushInFlight = false;
  #flushesWaiting: Completion[] = [];
  #flushFault: BlockFault | null = null;

  #nextLookMs = performance.now() + lookIntervalMs;
  /** Once set, the answer to everything. */
  #gone: BlockFault | null = null;

  /** Operations whose `done` has not been called yet, and looks at the file. */
  #inFlight = 0;
  #idle: (() => void) | null = null;

  constructor(options: FileDeviceOptions) {
    this.#options = options;
    this.sizeBytes = options.sizeBytes;
    this.blockSizeBytes = options.blockSizeBytes;
    this.#descriptor = options.descriptor;
    this.#path = options.path;
    this.#turn = options.turn;
    this.#sparse = options.sparse === undefined ? sparseCalls : options.sparse;
    this.#processorWait = options.processorWait ?? processorWaitOfThread;
    this.#pooledUntilMs = options.calls === 'pooled' ? Infinity : 0;
  }

  read(offset: number, into: Uint8Array, done: Completion): void {
    this.#transfer('read', offset, into, done);
  }

  write(offset: number, data: Uint8Array, done: Completion): void {
    this.#transfer('write', offset, data, done);
  }

  zero(offset: number, length: number, space: 'punch' | 'keep', done: Completion): void {
    this.#inFlight++;
    this.#zeroFrom(offset, offset + length, space, done);
  }

  flush(done: Completion): void {
    this.#inFlight++;
    this.#flushesWaiting.push(done);
    this.#runFlush();
  }

  allocation(
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void {
    this.#inFlight++;
    const extents = this.#extents(offset, offset + length);
    this.#complete((fault) => done(fault, fault === null ? extents : []), this.#gone);
  }

  async close(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    await new Promise<void>((resolve) => fs.close(this.#descriptor, () => resolve()));
    await this.#options.released?.();
  }

  #transfer(kind: 'read' | 'write', offset: number, bytes: Uint8Array, done: Completion): void {
    this.#inFlight++;
    const nowMs = performance.now();
    if (nowMs >= this.#nextLookMs) this.#look(nowMs, null);
    if (this.#gone !== null) {
      this.#complete(done, this.#gone);
    } else if (nowMs < this.#pooledUntilMs || this.#pooledInFlight > 0) {
      this.#pooledWaiting.push({ kind, offset, bytes, transferredBytes: 0, done });
      this.#runPooled();
    } else {
      this.#transferDirectly(kind, offset, bytes, done, nowMs);
    }
  }

  #transferDirectly(
    kind: 'read' | 'write',
    offset: number,
    bytes: Uint8Array,
    done: Completion,
    startMs: number,
  ): void {
    this.#processorWait.mark(startMs);
    let fault: BlockFault | null = null;
    let transferredBytes = 0;
    while (transferredBytes < bytes.length && fault === null) {
      try {
        const rest = bytes.length - transferredBytes;
        const count =
          kind === 'read'
            ? fs.readSync(this.#descriptor, bytes, transferredBytes, rest, offset + transferredBytes)
            : fs.writeSync(this.#descriptor, bytes, transferredBytes, rest, offset + transferredBytes);
        transferredBytes += count;
        if (count === 0) fault = this.#noProgress(kind, offset + transferredBytes);
      } catch (error) {
        if (isInterruption(error)) {
          // Tried again by way of the pool, where trying again does not stop everything else.
          this.#pooledWaiting.push({ kind, offset, bytes, transferredBytes, done });
          this.#runPooled();
          return;
        }
        fault = blockFault(this.#path, error, failureOf(kind));
      }
    }
    this.#noteDuration(startMs);
    this.#complete(done, fault);
  }

  #noteDuration(startMs: number): void {
    const endMs = performance.now();
    if (endMs - startMs < slowCallMs || this.#options.calls === 'direct') return;
    if (endMs - startMs - this.#processorWait.sinceMarkMs() < slowCallMs) return;
    // Slow again before it has been fast for as long as it was in the pool: it is not a hiccup.
    const again = startMs < this.#pooledUntilMs + this.#pooledForMs;
    this.#pooledForMs = again ? Math.min(this.#pooledForMs * 2, pooledMsMax) : pooledMsMin;
    this.#pooledUntilMs = endMs + this.#pooledForMs;
  }

  #runPooled(): void {
    while (this.#pooledInFlight < pooledTransfersMax) {
      const transfer = this.#pooledWaiting.shift();
      if (transfer === undefined) return;
      this.#pooledInFlight++;
      this.#continuePooled(transfer);
    }
  }

  #continuePooled(transfer: Transfer): void {
    const { kind, bytes, transferredBytes } = transfer;
    const offset = transfer.offset + transferredBytes;
    const called = (error: Error | null, count: number): void => {
      let fault: BlockFault | null = null;
      if (error === null) {
        transfer.transferredBytes += count;
        if (count === 0 && bytes.length > 0) fault = this.#noProgress(kind, offset);
      } else if (!isInterruption(error)) {
        fault = blockFault(this.#path, error, failureOf(kind));
      }
      if (fault === null && transfer.transferredBytes < bytes.length) {
        this.#continuePooled(transfer);
        return;
      }
      this.#pooledInFlight--;
      this.#complete(transfer.done, fault);
      this.#runPooled();
    };
    const rest = bytes.length - transferredBytes;
    if (kind === 'read') fs.read(this.#descriptor, bytes, transferredBytes, rest, offset, called);
    else fs.write(this.#descriptor, bytes, transferredBytes, rest, offset, called);
  }

  /** Inside `sizeBytes` a read can only come back empty from a file that has become shorter. */
  #noProgress(kind: 'read' | 'write', offset: number): BlockFault {
    if (kind === 'write') return { kind: 'writeFailed', detail: `nothing written at byte ${offset}, ${this.#path}` };
    this.#gone ??= {
      kind: 'gone',
      detail: `the file ends before byte ${offset} of ${this.sizeBytes}, ${this.#path}`,
    };
    return this.#gone;
  }

  #runFlush(): void {
    if (this.#flushInFlight || this.#flushesWaiting.length === 0) return;
    const served = this.#flushesWaiting;
    this.#flushesWaiting = [];
    this.#flushInFlight = true;
    const nowMs = performance.now();
    if (nowMs >= this.#nextLookMs) this.#look(nowMs, () => this.#sync(served));
    else this.#sync(served);
  }

  #sync(served: readonly Completion[]): void {
    fs.fdatasync(this.#descriptor, (error) => {
      this.#flushInFlight = false;
      if (error !== null) this.#flushFault ??= blockFault(this.#path, error, 'flushFailed');
      for (const done of served) this.#complete(done, this.#gone ?? this.#flushFault);
      this.#runFlush();
    });
  }

  /** Deleted, the file would take every further write to its grave; shortened, it would grow again with zeroes. */
  #look(nowMs: number, then: (() => void) | null): void {
    this.#nextLookMs = nowMs + lookIntervalMs;
    if (this.#options.kind === 'device') {
      then?.();
      return;
    }
    this.#inFlight++;
    fs.fstat(this.#descriptor, (error, found) => {
      if (error !== null) this.#gone ??= { kind: 'gone', detail: `${error.message} ${this.#path}` };
      else if (found.nlink === 0) this.#gone ??= { kind: 'gone', detail: `the file has been deleted, ${this.#path}` };
      else if (found.size < this.sizeBytes) {
        const detail = `the file has been cut to ${found.size} of ${this.sizeBytes} bytes, ${this.#path}`;
        this.#gone ??= { kind: 'gone', detail };
      }
      then?.();
      this.#settle();
    });
  }

  #zeroFrom(offset: number, end: number, space: 'punch' | 'keep', done: Completion): void {
    if (offset >= end || this.#gone !== null) {
      this.#complete(done, this.#gone);
      return;
    }
    const goOn = (next: number, fault: BlockFault | null): void => {
      if (fault !== null || next >= end) this.#complete(done, fault);
      // Not the turn: it goes on until nothing is deferred, and would keep everything else waiting.
      else setImmediate(() => this.#zeroFrom(next, end, space, done));
    };
    if (this.#sparse !== null && !this.#unsupported.has(space)) {
      const length = Math.min(end - offset, punchStepBytes);
      const call = space === 'punch' ? this.#sparse.punch : this.#sparse.zero;
      const error = call(this.#descriptor, offset, length);
      if (error === null || !isUnsupported(error)) {
        goOn(offset + length, error === null ? null : blockFault(this.#path, error, 'writeFailed'));
        return;
      }
      this.#unsupported.add(space);
    }
    const length = Math.min(end - offset, zeroStepBytes);
    this.#transfer('write', offset, zeroes.subarray(0, length), (fault) => goOn(offset + length, fault));
  }

  /** Holes shrink and data grows to whole blocks: what is called a hole reads as zeroes to its last byte. */
  #extents(start: number, end: number): AllocationExtent[] {
    const extents: AllocationExtent[] = [];
    const append = (to: number, data: boolean): void => {
      const last = extents.at(-1);
      const from = last === undefined ? start : last.offset + last.length;
      if (to <= from) return;
      if (last !== undefined && last.data === data)
        extents[extents.length - 1] = { ...last, length: to - last.offset };
      else extents.push({ offset: from, length: to - from, data });
    };
    let at = start;
    while (at < end && extents.length < allocationExtentsMax - 1) {
      const data = this.#seek(at, 'data', end);
      const hole = data === null || data >= end ? end : this.#seek(data, 'hole', end);
      if (data === null || hole === null) break;
      append(Math.min(end, data - (data % this.blockSizeBytes)), false);
      at = Math.min(end, Math.ceil(hole / this.blockSizeBytes) * this.blockSizeBytes);
      if (data < end) append(at, true);
    }
    append(end, true);
    return extents;
  }

  /** At most `end`; null when the storage cannot tell. */
  #seek(offset: number, what: 'data' | 'hole', end: number): number | null {
    if (this.#sparse === null || this.#unsupported.has('seek')) return null;
    const found = this.#sparse.seek(this.#descriptor, offset, what);
    if (typeof found === 'number') return Math.min(found, end);
    if (found === 'ENXIO') return end;
    this.#unsupported.add('seek');
    return null;
  }

  #complete(done: Completion, fault: BlockFault | null): void {
    this.#turn.defer(() => {
      done(fault);
      this.#settle();
    });
  }

  #settle(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) this.#idle?.();
  }
}

function failureOf(kind: 'read' | 'write'): 'readFailed' | 'writeFailed' {
  return kind === 'read' ? 'readFailed' : 'writeFailed';
}

function isInterruption(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return code === 'EINTR' || code === 'EAGAIN';
}

/** EINVAL and ENODEV: a file system or device that never heard of the mode. */
function isUnsupported(error: string): boolean {
  return (
    error === 'EOPNOTSUPP' || error === 'ENOTSUP' || error === 'ENOSYS' || error === 'EINVAL' || error === 'ENODEV'
  );
}
