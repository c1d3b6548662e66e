/**
 * A block device as the layers above see it: a file, a real device, or the simulator's disk.
 *
 * Contract (proved by `test/contract/device.ts` against every implementation):
 * - Offsets and lengths are bytes, multiples of `blockSizeBytes`, inside `sizeBytes`; callers have checked that.
 * - Each operation calls `done` exactly once, never inside the call: completions are deferred to the turn.
 * - Operations in flight on disjoint ranges may complete in any order; callers never overlap two that matter (R1).
 * - A write is visible to reads started after it completed; it survives power loss only after a later `flush` returned
 *   without fault. A flush covers the writes completed before it was started.
 * - After a fault of a flush nothing is known about what reached the medium; it is never retried (R10).
 */
export interface Device {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Fills all of `into` from `offset`. */
  read(offset: number, into: Uint8Array, done: Completion): void;
  /** `data` must not change until `done`. */
  write(offset: number, data: Uint8Array, done: Completion): void;
  /** Makes the range read as zeroes: `punch` gives the space back where the storage can, `keep` leaves it allocated. */
  zero(offset: number, length: number, space: 'punch' | 'keep', done: Completion): void;
  flush(done: Completion): void;
  /**
   * Which parts of the range hold data, in order, without gaps, covering it wholly. One extent of data when the storage
   * cannot tell (a hole it reports reads as zeroes; never the reverse).
   */
  allocation(
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void;
  /** Waits for what is in flight. No call may follow. */
  close(): Promise<void>;
}

export interface AllocationExtent {
  readonly offset: number;
  readonly length: number;
  readonly data: boolean;
}

export type Completion = (fault: BlockFault | null) => void;

/** What can go wrong with a device; `noSpace` is the only one after which it may be used on (R10). */
export interface BlockFault {
  readonly kind: 'readFailed' | 'writeFailed' | 'flushFailed' | 'noSpace' | 'readOnly' | 'gone';
  /** The operating system's words, with the path: `EIO: i/o error, write /srv/vol1.img`. */
  readonly detail: string;
}

/**
 * A small file as memory. What is stored in `bytes`, and then named to `keep`, is found by a process that starts later on
 * the same kernel, whatever becomes of this one and at whatever moment. Loss of power leaves anything.
 */
export interface KeptMemory {
  readonly bytes: Uint8Array;
  /** Cheap, and done when it returns. After a fault the file holds what it held, or a part of what was stored. */
  keep(offset: number, length: number): BlockFault | null;
  /** `bytes` must not be used any more. */
  close(): Promise<void>;
}

/** Opens, and when asked creates, the devices of a node. */
export interface DeviceProvider {
  /**
   * Opens for one process at a time. Rejects with `E_VOLUME_IN_USE` (naming the holder), `E_FILE_MISSING`,
   * `E_VOLUME_SIZE` (what is there has another size), `E_NO_SPACE`, `E_IO`.
   * @param create make a sparse file of this size when there is none; `created` says that it was made just now, hence
   *   reads as zeroes everywhere.
   */
  open(request: {
    readonly path: string;
    readonly sizeBytes: number;
    readonly blockSizeBytes: number;
    readonly create: boolean;
  }): Promise<{ readonly device: Device; readonly created: boolean }>;
  /** Zeroes where there was none. Who may open it is the caller's to see to. Rejects with `E_NO_SPACE`, `E_IO`. */
  openMemory(path: string, sizeBytes: number): Promise<KeptMemory>;
  /** Deletes a backing file (silent when absent); a real block device is left as it is. */
  remove(path: string): Promise<void>;
  /**
   * Makes `to`, instead of what was there, a file with the contents `from` has now, sharing its space (reflink): at once,
   * whatever its size, and on the medium when it resolves. `from` may be open, with nothing in flight. Rejects with `E_IO`
   * where the storage cannot, `E_NO_SPACE`, `E_FILE_MISSING`; there is no `to` then.
   */
  clone(from: string, to: string): Promise<void>;
  /** Why `clone` of the backing file would fail, as far as can be known before; null when nothing is in the way. */
  cloneObstacle(path: string): Promise<string | null>;
  /** Puts the file `from` in the place of `to`, for good; silent when `from` is absent. Neither is open. */
  replace(from: string, to: string): Promise<void>;
}
