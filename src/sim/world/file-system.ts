/**
 * The simulated file system of one machine, as metadata and the store use it. Specification:
 *
 * - Names lead to files (as inodes: a renamed or linked file is the same file; a removed one lives on for those who
 *   have it open). Both the names and each file's contents exist twice: as seen now, and as on the medium.
 * - Contents reach the medium by a sync of the file, names by a sync of their folder; neither brings the other. (ext4
 *   does more; POSIX promises no more.) A rename within a folder is one change; across two, syncing either keeps it.
 * - Power loss. Names: of the unsynced changes, in order, a beginning survives, or (other times) any subset. Contents: of
 *   the unsynced changes of a file, oldest first, a truncation survives or not, a write sector by sector; where a later
 *   sector survived, what is missing before it reads as zeroes. Both drawn per loss between none, all and any.
 * - A crash of the process keeps all that was done, and of the operation in flight a drawn beginning.
 * - A failed sync leaves what it covered on the medium or not, and *clean*: the next sync does not write it again.
 * - Folders themselves survive always.
 */
import type { HoldfastError } from '../../base/errors.ts';
import type { SimMachine } from './machine.ts';
import type { Prng } from './prng.ts';

const sectorBytes = 512;

type ContentChange =
  { readonly kind: 'write'; readonly offset: number; readonly data: Uint8Array } | { readonly kind: 'truncate' };

type NameChange =
  | { readonly kind: 'set'; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'rename'; readonly from: string; readonly path: string; readonly inode: Inode }
  | { readonly kind: 'remove'; readonly path: string; readonly inode: Inode };

export type FileOperation = 'read' | 'write' | 'sync' | 'name';

export interface FileFault {
  readonly code: Extract<HoldfastError['code'], 'E_IO' | 'E_NO_SPACE' | 'E_READ_ONLY'>;
  /** All operations when absent. */
  readonly operation?: FileOperation;
  /** Only paths that contain this. */
  readonly path?: string;
}

export interface FileSystemSnapshot {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly folders: ReadonlySet<string>;
}

/** One file's contents. */
export class Inode {
  data = new Uint8Array(0);
  durable = new Uint8Array(0);
  #unsynced: ContentChange[] = [];
  #firstUnsynced = 0;

  truncate(): void {
    this.#change({ kind: 'truncate' });
  }

  write(offset: number, data: Uint8Array): void {
    if (data.length > 0) this.#change({ kind: 'write', offset, data: new Uint8Array(data) });
  }

  /** The same, each sector by a draw. */
  writePartly(offset: number, data: Uint8Array, prng: Prng): void {
    for (const part of sectors(offset, data)) if (prng.chance(0.5)) this.#change(part);
  }

  /** What a sync started now would cover. */
  get syncMark(): number {
    return this.#firstUnsynced + this.#unsynced.length;
  }

  sync(mark: number): void {
    this.#settle(mark, (change) => [change]);
  }

  /** Power loss (with a mark: a failed sync, after which `data` is still what it was). */
  lose(prng: Prng, mark = this.syncMark): void {
    const share = prng.pick([0, 1, prng.fraction()]);
    this.#settle(mark, (change) => {
      const parts = change.kind === 'write' ? sectors(change.offset, change.data) : [change];
      return parts.filter(() => prng.chance(share));
    });
  }

  revert(): void {
    this.data = this.durable.slice();
  }

  #change(change: ContentChange): void {
    this.data = applied(this.data, change);
    this.#unsynced.push(change);
  }

  #settle(mark: number, survivors: (change: ContentChange) => readonly ContentChange[]): void {
    const covered = this.#unsynced.splice(0, Math.max(0, mark - this.#firstUnsynced));
    this.#firstUnsynced += covered.length;
    for (const change of covered) {
      for (const survivor of survivors(change)) this.durable = applied(this.durable, survivor);
    }
  }
}

export class SimFileSystem {
  readonly #machine: SimMachine;
  readonly prng: Prng;
  /** Factor on latencies. */
  slowness = 1;
  readonly #folders = new Set<string>(['/']);
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #unsyncedNames: { readonly change: NameChange; readonly number: number }[] = [];
  #nameChanges = 0;
  /** By the paths they concern. */
  readonly #faults = new Map<string | undefined, { readonly fault: FileFault; left: number }>();
  #hanging: (() => void)[] | null = null;

  constructor(machine: SimMachine) {
    this.#machine = machine;
    this.prng = machine.prng.derive('files');
  }

  /** The next `count` operations that match fail. Takes the place of an earlier fault of the same paths. */
  fail(fault: FileFault, count = Infinity): void {
    this.#faults.set(fault.path, { fault, left: count });
  }

  /** What concerns these paths works again. */
  mend(path: string): void {
    this.#faults.delete(path);
  }

  hang(): void {
    this.#hanging ??= [];
  }

  heal(): void {
    this.#faults.clear();
    this.slowness = 1;
    const waiting = this.#hanging ?? [];
    this.#hanging = null;
    for (const go of waiting) go();
  }

  /** Rot: one bit of every sector of the file turns over, on the medium and in the cache. */
  corrupt(path: string): void {
    const inode = this.#names.get(normal(path));
    if (inode === undefined) return;
    for (let sector = 0; sector < inode.data.length; sector += sectorBytes) {
      const at = sector + this.prng.below(Math.min(sectorBytes, inode.data.length - sector));
      const bit = 1 << this.prng.below(8);
      for (const image of [inode.data, inode.durable]) if (at < image.length) image[at] = (image[at] ?? 0) ^ bit;
    }
  }

  /** One bit turns over in a sector of one of the files below a folder, on the medium and in the cache. */
  rot(folder: string): void {
    const inodes = [...this.#names].filter(([path, { data }]) => isBelow(path, folder) && data.length > 0);
    if (inodes.length === 0) return;
    const inode = inodes[this.prng.below(inodes.length)]?.[1];
    if (inode === undefined) return;
    const at = this.prng.below(inode.data.length);
    const bit = 1 << this.prng.below(8);
    for (const image of [inode.data, inode.durable]) if (at < image.length) image[at] = (image[at] ?? 0) ^ bit;
  }

  /** Everything below a folder is gone, from the medium as well. */
  removeAll(folder: string): void {
    for (const names of [this.#names, this.#durableNames]) {
      for (const path of names.keys()) if (isBelow(path, folder)) names.delete(path);
    }
    this.#unsyncedNames = this.#unsyncedNames.filter(({ change }) => !isBelow(change.path, folder));
  }

  /** For checkers: what a file holds now. */
  peek(path: string): Uint8Array | null {
    return this.#names.get(normal(path))?.data ?? null;
  }

  powerLoss(): void {
    const style = this.prng.pick(['beginning', 'subset']);
    const changes = this.#unsyncedNames;
    const share = this.prng.pick([0, 1, this.prng.fraction()]);
    const beginning = Math.floor(this.prng.fraction() * (changes.length + 1));
    for (const [index, { change }] of changes.entries()) {
      if (style === 'beginning' ? index < beginning : this.prng.chance(share)) rename(this.#durableNames, change);
    }
    this.#unsyncedNames = [];
    this.#names = new Map(this.#durableNames);
    for (const inode of new Set(this.#names.values())) {
      inode.lose(this.prng);
      inode.revert();
    }
  }

  snapshot(): FileSystemSnapshot {
    return {
      files: new Map([...this.#names].map(([path, inode]) => [path, inode.data.slice()])),
      folders: new Set(this.#folders),
    };
  }

  restore(snapshot: FileSystemSnapshot): void {
    this.#unsyncedNames = [];
    this.#names = new Map();
    for (const [path, data] of snapshot.files) {
      const inode = new Inode();
      inode.data = data.slice();
      inode.durable = data.slice();
      this.#names.set(path, inode);
    }
    this.#durableNames = new Map(this.#names);
    for (const folder of snapshot.folders) this.#folders.add(folder);
  }

  // What follows is for SimProcessFiles; paths are normal.

  /** Runs `start` now, or when the file system no longer hangs. */
  admit(start: () => void): void {
    if (this.#hanging === null) start();
    else this.#hanging.push(start);
  }

  faultOf(operation: FileOperation, path: string): FileFault | null {
    for (const entry of this.#faults.values()) {
      const { fault } = entry;
      if (entry.left === 0) continue;
      if (fault.operation !== undefined && fault.operation !== operation) continue;
      if (fault.path !== undefined && !path.includes(fault.path)) continue;
      entry.left--;
      this.#machine.world.trace.add(this.#machine.world.nowMs, 'fault', 0);
      return fault;
    }
    return null;
  }

  lookup(path: string): Inode | undefined {
    return this.#names.get(path);
  }

  hasFolder(path: string): boolean {
    return this.#folders.has(path);
  }

  makeFolder(path: string): void {
    for (let folder = path; !this.#folders.has(folder); folder = folderOf(folder)) this.#folders.add(folder);
  }

  /** Names of files and folders directly in a folder. */
  list(folder: string): string[] {
    const paths = [...this.#names.keys(), ...this.#folders].filter(
      (path) => path !== folder && folderOf(path) === folder,
    );
    return paths.map((path) => path.slice(path.lastIndexOf('/') + 1));
  }

  changeName(change: NameChange): void {
    rename(this.#names, change);
    this.#unsyncedNames.push({ change, number: this.#nameChanges++ });
  }

  get nameMark(): number {
    return this.#nameChanges;
  }

  syncFolder(folder: string, mark: number): void {
    this.#unsyncedNames = this.#unsyncedNames.filter(({ change, number }) => {
      const here = folderOf(change.path) === folder || (change.kind === 'rename' && folderOf(change.from) === folder);
      if (!here || number >= mark) return true;
      rename(this.#durableNames, change);
      return false;
    });
  }
}

/** One way to write a path: absolute, without a slash at the end or two in a row. */
export function normal(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  return `/${parts.join('/')}`;
}

export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`);
}

/** Checks who is at a name before it takes it away, since changes before this one may have been lost. */
function rename(names: Map<string, Inode>, change: NameChange): void {
  const leaves = change.kind === 'rename' ? change.from : change.kind === 'remove' ? change.path : null;
  if (leaves !== null && names.get(leaves) === change.inode) names.delete(leaves);
  if (change.kind !== 'remove') names.set(change.path, change.inode);
}

function applied(image: Uint8Array<ArrayBuffer>, change: ContentChange): Uint8Array<ArrayBuffer> {
  if (change.kind === 'truncate') return new Uint8Array(0);
  const end = change.offset + change.data.length;
  let result = image;
  if (end > image.length) {
    result = new Uint8Array(end);
    result.set(image);
  }
  result.set(change.data, change.offset);
  return result;
}

/** A write in parts that do not cross a sector's border. */
function sectors(offset: number, data: Uint8Array): ContentChange[] {
  const parts: ContentChange[] = [];
  for (let at = 0; at < data.length;) {
    const end = Math.min(data.length, at + sectorBytes - ((offset + at) % sectorBytes));
    parts.push({ kind: 'write', offset: offset + at, data: data.slice(at, end) });
    at = end;
  }
  return parts;
}
