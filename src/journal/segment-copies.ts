/**
 * Where segments lie: a file each, named by number, in one folder or, with the same bytes, in two.
 *
 * Invariant: what a write or a sync answered for is so in every copy in use. A copy that fails is dropped from use, once
 * and for all until the log is opened again, and reported; the other goes on. An error reaches the caller only when no
 * copy is left to go on with, or none has space.
 *
 * A segment grows as it is written: there is nothing to prepare, a sector never written is zeroes or lies beyond the end
 * of the file, and no place is written twice (`entry.ts` relies on all three). A block device can take the folder's
 * place by keeping segment n in slot n mod slots: a segment's number and log stand in each of its entries, so what an
 * earlier one left in the slot is told from its own; `inspectEntry` has to call that `blank` then, and this file to say
 * which slots are in use.
 */
import { assert } from '../base/assert.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { FileHandle, Files } from '../base/files.ts';

export interface CopyStatus {
  readonly folder: string;
  /** Why it is not in use; null while it is. */
  readonly dropped: string | null;
}

interface Copy {
  readonly folder: string;
  dropped: string | null;
}

const namePattern = /^segment-(\d{16})\.log$/;

function nameOf(number: number): string {
  return `segment-${String(number).padStart(16, '0')}.log`;
}

export class SegmentCopies {
  readonly #files: Files;
  readonly #copies: readonly Copy[];
  readonly #onDropped: (folder: string, reason: string) => void;

  constructor(files: Files, folders: readonly string[], onDropped: (folder: string, reason: string) => void) {
    assert(folders.length >= 1, 'a log without a folder');
    this.#files = files;
    this.#copies = folders.map((folder) => ({ folder, dropped: null }));
    this.#onDropped = onDropped;
  }

  get status(): readonly CopyStatus[] {
    return this.#copies.map(({ folder, dropped }) => ({ folder, dropped }));
  }

  /** Makes the folders. Numbers of the segments in each copy, ascending. */
  async list(): Promise<number[][]> {
    const lists: number[][] = this.#copies.map(() => []);
    await this.#inEach(async (copy, index) => {
      await this.#files.makeFolder(copy.folder);
      await this.#files.syncFolder(parentOf(copy.folder));
      const numbers = (await this.#files.list(copy.folder)).map((name) => Number(namePattern.exec(name)?.[1] ?? 0));
      lists[index] = numbers.filter((number) => number > 0).sort((a, b) => a - b);
    });
    return lists;
  }

  drop(index: number, reason: string): void {
    const copy = this.#copies[index];
    if (copy === undefined || copy.dropped !== null) return;
    copy.dropped = reason;
    this.#onDropped(copy.folder, reason);
  }

  /** Of a segment that is there in the copy. */
  open(index: number, number: number): Promise<FileHandle> {
    return this.#files.open(this.#pathOf(index, number));
  }

  /** Makes a segment that begins with `header`; on the medium, with its name, when this resolves. */
  async create(number: number, header: Uint8Array): Promise<SegmentWriter> {
    const handles: (FileHandle | null)[] = this.#copies.map(() => null);
    try {
      await this.#inEach(async (copy, index) => {
        const path = this.#pathOf(index, number);
        // A file that an earlier attempt left is another's: nothing may be written twice.
        await this.#files.remove(path);
        const handle = await this.#files.open(path);
        handles[index] = handle;
        await handle.writeAt(0, header);
        await handle.sync();
        await this.#files.syncFolder(copy.folder);
      });
    } catch (error) {
      await closeAll(handles);
      throw error;
    }
    return new SegmentWriter(handles, (work) => this.#inEach((_copy, index) => work(index)));
  }

  /** Makes what is there of a segment, and its name, survive power loss. */
  async adopt(number: number, indexes: readonly number[]): Promise<void> {
    await this.#inEach(async (copy, index) => {
      if (!indexes.includes(index)) return;
      const handle = await this.open(index, number);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
      await this.#files.syncFolder(copy.folder);
    });
  }

  /** Gone for good when this resolves; removing them one by one, oldest first, leaves no gap whatever happens. */
  async remove(number: number): Promise<void> {
    await this.#inEach(async (copy, index) => {
      await this.#files.remove(this.#pathOf(index, number));
      await this.#files.syncFolder(copy.folder);
    });
  }

  /** In every copy in use, at the same time. */
  async #inEach(work: (copy: Copy, index: number) => Promise<void>): Promise<void> {
    const failures: { index: number; error: unknown }[] = [];
    let done = 0;
    const attempts = this.#copies.map(async (copy, index) => {
      if (copy.dropped !== null) return;
      try {
        await work(copy, index);
        done++;
      } catch (error) {
        failures.push({ index, error });
      }
    });
    await Promise.all(attempts);
    const [first] = failures;
    if (done > 0) {
      for (const { index, error } of failures) this.drop(index, messageOf(error));
    } else if (first !== undefined) {
      // A full copy can go on when there is space again, a broken one cannot.
      const full = failures.find(({ error }) => isNoSpace(error));
      if (full !== undefined) {
        for (const { index, error } of failures) if (!isNoSpace(error)) this.drop(index, messageOf(error));
      }
      throw (full ?? first).error;
    } else {
      throw new HoldfastError('E_IO', `${this.#copies.map(({ folder }) => folder).join(', ')}: no copy is in use`);
    }
  }

  #pathOf(index: number, number: number): string {
    return `${this.#copies[index]?.folder ?? ''}/${nameOf(number)}`;
  }
}

/** The segment that is being written, in all copies in use. */
export class SegmentWriter {
  readonly #handles: readonly (FileHandle | null)[];
  readonly #inEach: (work: (index: number) => Promise<void>) => Promise<void>;

  constructor(
    handles: readonly (FileHandle | null)[],
    inEach: (work: (index: number) => Promise<void>) => Promise<void>,
  ) {
    this.#handles = handles;
    this.#inEach = inEach;
  }

  /** Which copies hold the segment from its beginning. */
  get copies(): number[] {
    return this.#handles.flatMap((handle, index) => (handle === null ? [] : [index]));
  }

  writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#inEach(async (index) => this.#handle(index).writeAt(offset, bytes));
  }

  /** Returns when all written before the call is on the medium. */
  sync(): Promise<void> {
    return this.#inEach(async (index) => this.#handle(index).sync());
  }

  async close(): Promise<void> {
    await closeAll(this.#handles);
  }

  #handle(index: number): FileHandle {
    const handle = this.#handles[index];
    assert(handle, `copy ${index} is in use but was not when the segment was made`);
    return handle;
  }
}

async function closeAll(handles: readonly (FileHandle | null)[]): Promise<void> {
  await Promise.allSettled(handles.flatMap((handle) => (handle === null ? [] : [handle.close()])));
}

function isNoSpace(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === 'E_NO_SPACE';
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash > 0 ? path.slice(0, slash) : slash === 0 ? '/' : '.';
}
