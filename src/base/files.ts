/**
 * Files for metadata and the store: small, rarely written, always through this interface so that the simulator can
 * lose what was not synced. Volumes' data goes through `block/` instead. Every promise rejects with a
 * `HoldfastError` (`E_NO_SPACE`, `E_FILE_MISSING`, `E_FILE_EXISTS`, `E_IO`, `E_READ_ONLY`) that names the path.
 */
export interface Files {
  /** The whole file. */
  read(path: string): Promise<Uint8Array>;
  /** Creates or truncates, writes all, syncs the file when `sync`. Not atomic: for that write aside, then `rename`. */
  write(path: string, data: Uint8Array, options: { sync: boolean }): Promise<void>;
  /** Opens for reading and writing at offsets, creating it when absent. */
  open(path: string): Promise<FileHandle>;
  /**
   * A block device, lent to this process alone, or a file, used as one: null where there is neither. Rejects with
   * `E_VOLUME_IN_USE` for a device that is mounted or opened by another.
   */
  openRaw(path: string): Promise<RawHandle | null>;
  /** Atomic hard link; rejects with `E_FILE_EXISTS` when `to` exists. */
  link(from: string, to: string): Promise<void>;
  /** Atomic replacement. */
  rename(from: string, to: string): Promise<void>;
  /** Silent when absent. */
  remove(path: string): Promise<void>;
  /** Names in a folder, unsorted; empty when the folder is absent. */
  list(folder: string): Promise<string[]>;
  /** With parents; silent when it exists. */
  makeFolder(path: string): Promise<void>;
  /** Makes links, renames and removals in a folder survive power loss. */
  syncFolder(path: string): Promise<void>;
}

export interface RawHandle extends FileHandle {
  /** In bytes, as it is now: it may have been grown. */
  size(): Promise<number>;
}

export interface FileHandle {
  /**
   * Up to `length` bytes at `offset`; shorter at the end of the file. The caller's alone: a large one may be given to
   * `payloadMemory`.
   */
  readAt(offset: number, length: number): Promise<Uint8Array>;
  writeAt(offset: number, data: Uint8Array): Promise<void>;
  /** Returns when everything written before the call is on the medium. */
  sync(): Promise<void>;
  close(): Promise<void>;
}
