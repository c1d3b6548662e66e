/**
 * Files in memory that a test can crash at any effect (write, sync, link, rename, removal), torn at sectors of 512 bytes.
 * `restart` gives what the next process finds: after a crash of the process everything that was done, after a power loss
 * any mixture of what was synced and what was not.
 */
import { HoldfastError } from '../../src/base/errors.ts';
import type { FileHandle, Files, RawHandle } from '../../src/base/files.ts';

const sectorBytes = 512;

interface Inode {
  current: Uint8Array;
  synced: Uint8Array;
}

export class Crash extends Error {}

export class CrashingFiles implements Files {
  /** Effects until the crash; the last one is torn. */
  effectsLeft = Infinity;
  syncs = 0;
  /** The next call of this kind fails, without effect. */
  failNext: 'write' | 'sync' | 'link' | null = null;
  names = new Map<string, Inode>();
  syncedNames = new Map<string, Inode>();
  /** A coin for each decision of a crash: true keeps. */
  readonly keeps: () => boolean;

  constructor(keeps: () => boolean = () => true) {
    this.keeps = keeps;
  }

  restart(powerLost: boolean): CrashingFiles {
    const next = new CrashingFiles(this.keeps);
    for (const path of new Set([...this.names.keys(), ...this.syncedNames.keys()])) {
      const survivor = !powerLost || this.keeps() ? this.names.get(path) : this.syncedNames.get(path);
      if (survivor === undefined) continue;
      const content = powerLost ? mixed(survivor.synced, survivor.current, this.keeps) : survivor.current;
      const inode = { current: content, synced: powerLost ? content : survivor.synced };
      next.names.set(path, inode);
      if (powerLost || this.syncedNames.get(path) === survivor) next.syncedNames.set(path, inode);
    }
    return next;
  }

  async read(path: string): Promise<Uint8Array> {
    return this.inode(path).current.slice();
  }

  async write(path: string, data: Uint8Array, options: { sync: boolean }): Promise<void> {
    const inode = this.names.get(path) ?? { current: new Uint8Array(), synced: new Uint8Array() };
    this.names.set(path, inode);
    inode.current = new Uint8Array();
    this.store(inode, 0, data);
    if (options.sync) this.flush(inode);
  }

  async open(path: string): Promise<FileHandle> {
    const inode = this.names.get(path) ?? { current: new Uint8Array(), synced: new Uint8Array() };
    this.names.set(path, inode);
    return this.handleOf(inode);
  }

  async openRaw(path: string): Promise<RawHandle | null> {
    const inode = this.names.get(path);
    return inode === undefined ? null : this.handleOf(inode);
  }

  private handleOf(inode: Inode): RawHandle {
    return {
      size: async () => inode.current.length,
      readAt: async (offset, length) => inode.current.slice(offset, offset + length),
      writeAt: async (offset, data) => this.store(inode, offset, data),
      sync: async () => this.flush(inode),
      close: async () => {},
    };
  }

  async link(from: string, to: string): Promise<void> {
    if (this.names.has(to)) throw new HoldfastError('E_FILE_EXISTS', `${to} exists`);
    if (this.effect('link')) this.names.set(to, this.inode(from));
    this.afterEffect();
  }

  async rename(from: string, to: string): Promise<void> {
    const inode = this.inode(from);
    if (this.effect('link')) {
      this.names.set(to, inode);
      this.names.delete(from);
    }
    this.afterEffect();
  }

  async remove(path: string): Promise<void> {
    if (this.effect('link')) this.names.delete(path);
    this.afterEffect();
  }

  async list(folder: string): Promise<string[]> {
    return [...this.names.keys()]
      .filter((path) => path.startsWith(`${folder}/`))
      .map((path) => path.slice(folder.length + 1));
  }

  async makeFolder(): Promise<void> {}

  async syncFolder(folder: string): Promise<void> {
    if (this.effect('sync')) {
      for (const path of this.syncedNames.keys()) if (path.startsWith(`${folder}/`)) this.syncedNames.delete(path);
      for (const [path, inode] of this.names) if (path.startsWith(`${folder}/`)) this.syncedNames.set(path, inode);
    }
    this.afterEffect();
  }

  private inode(path: string): Inode {
    const inode = this.names.get(path);
    if (inode === undefined) throw new HoldfastError('E_FILE_MISSING', `${path} is not there`);
    return inode;
  }

  private store(inode: Inode, offset: number, data: Uint8Array): void {
    const whole = this.effect('write');
    const content = new Uint8Array(Math.max(inode.current.length, offset + data.length));
    content.set(inode.current);
    const torn = content.slice();
    content.set(data, offset);
    inode.current = whole ? content : mixed(torn.subarray(0, inode.current.length), content, this.keeps);
    this.afterEffect();
  }

  private flush(inode: Inode): void {
    this.syncs++;
    if (this.effect('sync')) inode.synced = inode.current.slice();
    this.afterEffect();
  }

  /** False: the crash comes in the middle of this effect. */
  private effect(kind: 'write' | 'sync' | 'link'): boolean {
    if (this.effectsLeft < 0) throw new Crash();
    if (this.failNext === kind) {
      this.failNext = null;
      throw new HoldfastError('E_IO', `${kind} failed`);
    }
    return --this.effectsLeft >= 0;
  }

  private afterEffect(): void {
    if (this.effectsLeft < 0) throw new Crash();
  }
}

/** Sector by sector one or the other; of different lengths, either. */
function mixed(synced: Uint8Array, current: Uint8Array, keeps: () => boolean): Uint8Array {
  const result = new Uint8Array(keeps() ? current.length : Math.min(synced.length, current.length));
  for (let at = 0; at < result.length; at += sectorBytes) {
    result.set((keeps() ? current : synced).subarray(at, Math.min(at + sectorBytes, result.length)), at);
  }
  return result;
}
