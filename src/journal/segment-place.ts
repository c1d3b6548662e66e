/**
 * Where one copy of a log lies: its segments by number, in a folder (`segment-folder.ts`) or on a device
 * (`segment-device.ts`).
 *
 * Invariants of every place: a sector of a segment that was never written reads as zeroes, or lies beyond the end; a
 * segment that was removed or replaced can still be read by those who have it open.
 */
import type { FileHandle } from '../base/files.ts';

export interface SegmentPlace {
  readonly path: string;
  /** Bytes that segments can have, and those still free: null where the place does not know. */
  readonly capacityBytes: number | null;
  readonly freeBytes: number | null;
  /** Why a segment, or the end of one, may be there that `list` and `open` do not know of; else null. */
  readonly hides: string | null;
  /** Ascending. What an interrupted draft left is removed. */
  list(): Promise<number[]>;
  /** Of a segment that is there. */
  open(number: number): Promise<FileHandle>;
  /** Makes a segment, instead of any that an earlier attempt left; it and its header are on the medium afterwards. */
  create(number: number, header: Uint8Array): Promise<FileHandle>;
  /** Writes a segment aside: what is there of that number stays until `commit`, whatever happens. */
  draft(number: number): Promise<SegmentDraft>;
  /** Makes what is there of a segment survive power loss. */
  adopt(number: number): Promise<void>;
  /** Gone for good when this resolves; silent when it is not there. */
  remove(number: number): Promise<void>;
  /** Nothing of a log is left: the place is as free as it can be made. */
  giveUp(): Promise<void>;
  close(): Promise<void>;
}

export interface SegmentDraft {
  writeAt(offset: number, bytes: Uint8Array): Promise<void>;
  /** In one step, on the medium. */
  commit(): Promise<void>;
  abandon(): Promise<void>;
}
