/**
 * What of a group may run on this node, in a file of the data folder: written before the first command, emptied after the
 * last. It holds the entries themselves: the document may say something else by the time a crashed node starts again.
 *
 * It is not bound to the boot of the machine: a service manager may start after a reboot what ran before.
 */
import { HoldfastError } from '../base/errors.ts';
import type { Files } from '../base/files.ts';
import type { ResourceEntry } from '../store/document.ts';

export class RunNote {
  readonly #files: Files;
  readonly #folder: string;
  #last: string | null = null;

  /** @param folder of this group alone */
  constructor(files: Files, folder: string) {
    this.#files = files;
    this.#folder = folder;
  }

  get #path(): string {
    return `${this.#folder}/running`;
  }

  async read(): Promise<readonly ResourceEntry[]> {
    let bytes: Uint8Array;
    try {
      bytes = await this.#files.read(this.#path);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'E_FILE_MISSING') return [];
      throw error;
    }
    try {
      // Written by this class alone.
      return (JSON.parse(new TextDecoder().decode(bytes)) as { resources: readonly ResourceEntry[] }).resources;
    } catch (error) {
      throw new HoldfastError('E_METADATA', `${this.#path} cannot be read`, { cause: error });
    }
  }

  async write(resources: readonly ResourceEntry[]): Promise<void> {
    const text = JSON.stringify({ resources });
    if (text === this.#last || (resources.length === 0 && this.#last === null && !(await this.#exists()))) return;
    await this.#files.makeFolder(this.#folder);
    if (resources.length === 0) await this.#files.remove(this.#path);
    else {
      await this.#files.write(`${this.#path}.new`, new TextEncoder().encode(text), { sync: true });
      await this.#files.rename(`${this.#path}.new`, this.#path);
    }
    await this.#files.syncFolder(this.#folder);
    this.#last = text;
  }

  async #exists(): Promise<boolean> {
    return (await this.#files.list(this.#folder)).includes('running');
  }
}
