/** Segments as files of a folder, named by number. Files of other names are let alone. */
import type { FileHandle, Files } from '../base/files.ts';
import type { SegmentDraft, SegmentPlace } from './segment-place.ts';

const namePattern = /^segment-(\d{16})\.log$/;
const draftPattern = /^segment-\d{16}\.log\.new$/;

function nameOf(number: number): string {
  return `segment-${String(number).padStart(16, '0')}.log`;
}

export class FolderPlace implements SegmentPlace {
  readonly path: string;
  readonly capacityBytes = null;
  readonly freeBytes = null;
  readonly hides = null;
  readonly #files: Files;

  private constructor(files: Files, path: string) {
    this.#files = files;
    this.path = path;
  }

  /** Makes the folder when it is not there. */
  static async open(files: Files, path: string): Promise<FolderPlace> {
    await files.makeFolder(path);
    await files.syncFolder(parentOf(path));
    return new FolderPlace(files, path);
  }

  async list(): Promise<number[]> {
    const names = await this.#files.list(this.path);
    for (const name of names) if (draftPattern.test(name)) await this.#files.remove(`${this.path}/${name}`);
    const numbers = names.map((name) => Number(namePattern.exec(name)?.[1] ?? 0));
    return numbers.filter((number) => number > 0).sort((a, b) => a - b);
  }

  open(number: number): Promise<FileHandle> {
    return this.#files.open(this.#pathOf(number));
  }

  async create(number: number, header: Uint8Array): Promise<FileHandle> {
    const path = this.#pathOf(number);
    // A file that an earlier attempt left is another's: nothing may be written twice.
    await this.#files.remove(path);
    const handle = await this.#files.open(path);
    try {
      await handle.writeAt(0, header);
      await handle.sync();
      await this.#files.syncFolder(this.path);
      return handle;
    } catch (error) {
      await handle.close().catch(() => {});
      throw error;
    }
  }

  async draft(number: number): Promise<SegmentDraft> {
    const path = this.#pathOf(number);
    const aside = `${path}.new`;
    await this.#files.remove(aside);
    const handle = await this.#files.open(aside);
    return {
      writeAt: (offset, bytes) => handle.writeAt(offset, bytes),
      commit: async () => {
        await handle.sync();
        await handle.close();
        await this.#files.rename(aside, path);
        await this.#files.syncFolder(this.path);
      },
      abandon: async () => {
        await handle.close().catch(() => {});
        await this.#files.remove(aside);
      },
    };
  }

  async adopt(number: number): Promise<void> {
    const handle = await this.open(number);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await this.#files.syncFolder(this.path);
  }

  async remove(number: number): Promise<void> {
    await this.#files.remove(this.#pathOf(number));
    await this.#files.syncFolder(this.path);
  }

  /** The folder stays: it may be the user's. */
  giveUp(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #pathOf(number: number): string {
    return `${this.path}/${nameOf(number)}`;
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash > 0 ? path.slice(0, slash) : slash === 0 ? '/' : '.';
}
