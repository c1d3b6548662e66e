/**
 * The copies of a log: the same segments, with the same bytes, in one place or in two; while a log moves, some are in the
 * places it leaves.
 *
 * Invariant: what a write or a sync answered for is so in every copy in use that it went to. A copy that fails is dropped
 * from use, once and for all until the log is opened again or the copy rebuilt, and reported; the others go on. An error
 * reaches the caller only when no copy is left to go on with, or none has space.
 *
 * A copy keeps its index for as long as the log is open.
 */
import { assert } from '../base/assert.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { FileHandle } from '../base/files.ts';
import { DevicePlace } from './segment-device.ts';
import { FolderPlace } from './segment-folder.ts';
import { sectorBytes } from './segment-header.ts';
import type { SegmentDraft, SegmentPlace } from './segment-place.ts';

export interface CopyStatus {
  /** Path of the folder, or of the device. */
  readonly folder: string;
  /** Why it is not in use; null while it is. */
  readonly dropped: string | null;
}

export interface CopyOptions {
  readonly segmentBytes: number;
  /** What is on a device, and is not a log's, may be overwritten. */
  readonly initialise: boolean;
  readonly onDropped: (folder: string, reason: string) => void;
}

interface Copy {
  readonly path: string;
  /** Null before it was opened, and where it cannot be. */
  place: SegmentPlace | null;
  dropped: HoldfastError | null;
  /**
   * - `written`: new segments go there.
   * - `left`: holds segments that the others do not have yet.
   * - `gone`: holds none any more.
   */
  role: 'written' | 'left' | 'gone';
}

/** Whether a segment that begins with these bytes is of this log. */
export type IsOurs = (number: number, firstSector: Uint8Array) => boolean;

type World = Pick<Environment, 'files' | 'random'>;

export class SegmentCopies {
  readonly #world: World;
  readonly #options: CopyOptions;
  readonly #copies: Copy[];
  /** Segments that are being opened: they are not removed meanwhile. */
  readonly #opening = new Set<Promise<FileHandle>>();

  constructor(world: World, paths: readonly string[], options: CopyOptions) {
    assert(paths.length >= 1, 'a log without a place');
    this.#world = world;
    this.#options = options;
    this.#copies = paths.map(newCopy);
  }

  get status(): readonly CopyStatus[] {
    const there = this.#copies.filter(({ role }) => role !== 'gone');
    return there.map(({ path, dropped }) => ({ folder: path, dropped: dropped?.message ?? null }));
  }

  /** Of the place that has least of it; null where none knows. */
  get capacityBytes(): number | null {
    return this.#least(({ capacityBytes }) => capacityBytes);
  }

  get freeBytes(): number | null {
    return this.#least(({ freeBytes }) => freeBytes);
  }

  /** Why there may be more than is found; null when some copy knows all it has. */
  get hides(): string | null {
    const reasons = this.written.map((index) => this.#placeAt(index).hides);
    return reasons.includes(null) ? null : reasons.join(', ');
  }

  /** Copies that new segments go to. */
  get written(): number[] {
    return this.#indexes(({ role, dropped }) => role === 'written' && dropped === null);
  }

  /** Opens the places. Numbers of the segments in each copy, ascending. */
  async list(): Promise<number[][]> {
    const lists: number[][] = this.#copies.map(() => []);
    await this.#inEach(this.written, async (index) => {
      const copy = this.#copyAt(index);
      copy.place = await openPlace(this.#world, copy.path, this.#options);
      lists[index] = await copy.place.list();
    });
    return lists;
  }

  /** For a log that is made now: no place may hold something else. */
  refuseForeign(): void {
    for (const { dropped } of this.#copies) if (dropped?.code === 'E_REFUSED') throw dropped;
  }

  drop(index: number, reason: string | HoldfastError): void {
    const copy = this.#copyAt(index);
    if (copy.dropped !== null) return;
    copy.dropped = typeof reason === 'string' ? new HoldfastError('E_IO', reason) : reason;
    this.#options.onDropped(copy.path, copy.dropped.message);
  }

  isThere(index: number): boolean {
    return this.#copyAt(index).role !== 'gone';
  }

  pathOf(index: number): string {
    return this.#copyAt(index).path;
  }

  /** Of a segment that is there in the copy. */
  open(index: number, number: number): Promise<FileHandle> {
    const opened = this.#placeAt(index).open(number);
    this.#opening.add(opened);
    const forget = (): void => void this.#opening.delete(opened);
    opened.then(forget, forget);
    return opened;
  }

  /** Makes a segment that begins with `header`; on the medium, with its name, when this resolves. */
  async create(number: number, header: Uint8Array): Promise<SegmentWriter> {
    const handles = new Map<number, FileHandle>();
    try {
      await this.#inEach(this.written, async (index) => {
        handles.set(index, await this.#placeAt(index).create(number, header));
      });
    } catch (error) {
      await closeAll(handles);
      throw error;
    }
    return new SegmentWriter(handles, (work) => this.#inEach([...handles.keys()], work));
  }

  draft(index: number, number: number): Promise<SegmentDraft> {
    return this.#placeAt(index).draft(number);
  }

  /** Makes what is there of a segment, and its name, survive power loss. */
  async adopt(number: number, indexes: readonly number[]): Promise<void> {
    await this.#inEach(indexes, (index) => this.#placeAt(index).adopt(number));
  }

  /** Gone for good when this resolves; removing them one by one, oldest first, leaves no gap whatever happens. */
  async remove(number: number): Promise<void> {
    await this.#inEach(
      this.#indexes(({ role }) => role !== 'gone'),
      (index) => this.#placeAt(index).remove(number),
    );
  }

  /** In one copy that the segment is not read from any more. */
  async removeFrom(index: number, number: number): Promise<void> {
    await Promise.allSettled(this.#opening);
    try {
      await this.#placeAt(index).remove(number);
    } catch (error) {
      this.drop(index, worded(error));
    }
  }

  /**
   * Opens those of the places that are not in use yet, or not any more; they are written from `writeTo` on. Another log's
   * segments there are refused; this one's, of an earlier time, are removed.
   */
  async add(paths: readonly string[], isOurs: IsOurs): Promise<void> {
    assert(paths.length >= 1, 'a log without a place');
    const used = new Set(this.written.map((index) => this.pathOf(index)));
    const places: SegmentPlace[] = [];
    try {
      for (const path of paths) {
        if (used.has(path)) continue;
        await this.#closeDropped(path);
        const place = await openPlace(this.#world, path, this.#options);
        places.push(place);
        const other = await removeOwn(place, isOurs);
        if (other !== null) {
          throw new HoldfastError('E_REFUSED', `${path} holds segment ${other} of another log: choose another place`);
        }
      }
    } catch (error) {
      for (const place of places) await place.close().catch(() => {});
      throw error;
    }
    for (const place of places) this.#copies.push({ ...newCopy(place.path), place, role: 'left' });
  }

  /** From now on new segments go to these places. */
  writeTo(paths: readonly string[]): void {
    for (const copy of this.#copies) {
      if (copy.role !== 'gone') copy.role = paths.includes(copy.path) ? 'written' : 'left';
    }
  }

  get left(): number[] {
    return this.#indexes(({ role }) => role === 'left');
  }

  /** No segment is read from it any more. */
  async forget(index: number): Promise<void> {
    const copy = this.#copyAt(index);
    copy.role = 'gone';
    // It may be given up because it fails; then it cannot be made free either.
    if (copy.dropped === null) await copy.place?.giveUp().catch(() => {});
    await copy.place?.close().catch(() => {});
  }

  /** Every segment of the log, in all places that can be written. */
  async removeAll(isOurs: IsOurs): Promise<void> {
    await this.#inEach(
      this.#indexes(({ role }) => role !== 'gone'),
      async (index) => {
        const place = this.#placeAt(index);
        if ((await removeOwn(place, isOurs)) === null) await place.giveUp();
      },
    );
  }

  async close(): Promise<void> {
    for (const { role, place } of this.#copies) if (role !== 'gone') await place?.close().catch(() => {});
  }

  /** A place that is used again is opened anew. */
  async #closeDropped(path: string): Promise<void> {
    for (const copy of this.#copies) {
      if (copy.path !== path || copy.role === 'gone') continue;
      copy.role = 'gone';
      await copy.place?.close().catch(() => {});
    }
  }

  #least(of: (place: SegmentPlace) => number | null): number | null {
    const known = this.written.flatMap((index) => {
      const { place } = this.#copyAt(index);
      const bytes = place === null ? null : of(place);
      return bytes === null ? [] : [bytes];
    });
    return known.length === 0 ? null : Math.min(...known);
  }

  #indexes(suits: (copy: Copy) => boolean): number[] {
    return this.#copies.flatMap((copy, index) => (suits(copy) ? [index] : []));
  }

  #copyAt(index: number): Copy {
    const copy = this.#copies[index];
    assert(copy, `there is no copy ${index}`);
    return copy;
  }

  #placeAt(index: number): SegmentPlace {
    const { place, path, dropped } = this.#copyAt(index);
    if (place === null) throw dropped ?? new HoldfastError('E_IO', `${path} was not opened`);
    return place;
  }

  /** In those of the copies that are in use, at the same time. */
  async #inEach(indexes: readonly number[], work: (index: number) => Promise<void>): Promise<void> {
    const failures: { index: number; error: unknown }[] = [];
    let done = 0;
    const attempts = indexes.map(async (index) => {
      const copy = this.#copyAt(index);
      if (copy.dropped !== null) return;
      try {
        await work(index);
        done++;
      } catch (error) {
        failures.push({ index, error });
      }
    });
    await Promise.all(attempts);
    const [first] = failures;
    if (done > 0) {
      for (const { index, error } of failures) this.drop(index, worded(error));
    } else if (first !== undefined) {
      // A full copy can go on when there is space again, a broken one cannot.
      const full = failures.find(({ error }) => isNoSpace(error));
      if (full !== undefined) {
        for (const { index, error } of failures) if (!isNoSpace(error)) this.drop(index, worded(error));
      }
      throw (full ?? first).error;
    } else {
      throw new HoldfastError('E_IO', `${this.#copies.map(({ path }) => path).join(', ')}: no copy is in use`);
    }
  }
}

/** The segment that is being written, in all copies in use. */
export class SegmentWriter {
  readonly #handles: ReadonlyMap<number, FileHandle>;
  readonly #inEach: (work: (index: number) => Promise<void>) => Promise<void>;

  constructor(
    handles: ReadonlyMap<number, FileHandle>,
    inEach: (work: (index: number) => Promise<void>) => Promise<void>,
  ) {
    this.#handles = handles;
    this.#inEach = inEach;
  }

  /** Which copies hold the segment from its beginning. */
  get copies(): number[] {
    return [...this.#handles.keys()].sort((a, b) => a - b);
  }

  writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#inEach(async (index) => this.#handles.get(index)?.writeAt(offset, bytes));
  }

  /** Returns when all written before the call is on the medium. */
  sync(): Promise<void> {
    return this.#inEach(async (index) => this.#handles.get(index)?.sync());
  }

  async close(): Promise<void> {
    await closeAll(this.#handles);
  }
}

async function closeAll(handles: ReadonlyMap<number, FileHandle>): Promise<void> {
  await Promise.allSettled([...handles.values()].map((handle) => handle.close()));
}

function newCopy(path: string): Copy {
  return { path, place: null, dropped: null, role: 'written' };
}

async function openPlace({ files, random }: World, path: string, options: CopyOptions): Promise<SegmentPlace> {
  const raw = await files.openRaw(path);
  if (raw !== null) return DevicePlace.open(path, raw, { ...options, random });
  // A folder made there would be in memory, and hide that the device is missing.
  if (path.startsWith('/dev/')) throw new HoldfastError('E_FILE_MISSING', `there is no device ${path}`);
  return FolderPlace.open(files, path);
}

/** Oldest first. Number of a segment that is another's, and stays; null when there is none. */
async function removeOwn(place: SegmentPlace, isOurs: IsOurs): Promise<number | null> {
  let other: number | null = null;
  for (const number of await place.list()) {
    const handle = await place.open(number);
    const firstSector = await handle.readAt(0, sectorBytes).finally(() => handle.close());
    if (isOurs(number, firstSector)) await place.remove(number);
    else other = number;
  }
  return other;
}

function worded(error: unknown): HoldfastError {
  return error instanceof HoldfastError ? error : new HoldfastError('E_IO', messageOf(error), { cause: error });
}

function isNoSpace(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'E_NO_SPACE';
}
