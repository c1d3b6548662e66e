/**
 * `Files` of one process, on the file system of its machine (contract: `base/files.ts`; what survives what:
 * `file-system.ts`). An operation takes effect at one moment, a drawn time after the call, when its promise settles;
 * when the process ends before, a drawn part of it has happened.
 */
import { HoldfastError } from '../../base/errors.ts';
import type { FileHandle, Files, RawHandle } from '../../base/files.ts';
import { folderOf, Inode, normal, type FileFault, type FileOperation, type SimFileSystem } from './file-system.ts';
import type { Attachment, SimProcess } from './process.ts';

const latencyMsMax: Readonly<Record<FileOperation, number>> = { read: 0.2, write: 0.3, sync: 2, name: 0.3 };

interface Work<Result> {
  readonly operation: FileOperation;
  readonly path: string;
  readonly apply: () => Result;
  /** The process ended, or a fault struck, in the middle. Absent: nothing has happened then. */
  readonly interrupted?: (by: 'end' | FileFault['code']) => void;
}

export class SimProcessFiles implements Files {
  readonly #process: SimProcess;
  readonly #system: SimFileSystem;

  constructor(process: SimProcess) {
    this.#process = process;
    this.#system = process.machine.files;
  }

  read(path: string): Promise<Uint8Array> {
    const at = normal(path);
    return this.#run({ operation: 'read', path: at, apply: () => this.#present(at).data.slice() });
  }

  write(path: string, data: Uint8Array, options: { sync: boolean }): Promise<void> {
    const at = normal(path);
    const { prng } = this.#system;
    return this.#run({
      operation: 'write',
      path: at,
      apply: () => {
        const inode = this.#emptied(at);
        inode.write(0, data);
        if (!options.sync) return;
        const fault = this.#system.faultOf('sync', at);
        if (fault === null) {
          inode.sync(inode.syncMark);
          return;
        }
        inode.lose(prng);
        throw new HoldfastError(fault.code, `${at}: sync failed`);
      },
      interrupted: () => {
        if (!this.#system.hasFolder(folderOf(at)) || prng.chance(0.3)) return;
        const inode = this.#emptied(at);
        if (prng.chance(0.3)) inode.write(0, data);
        else inode.write(0, data.subarray(0, prng.below(data.length + 1)));
      },
    });
  }

  open(path: string): Promise<FileHandle> {
    const at = normal(path);
    return this.#run<FileHandle>({
      operation: 'name',
      path: at,
      apply: () => new SimFileHandle(at, this.#system.lookup(at) ?? this.#created(at), this.#system, this.#run),
    });
  }

  openRaw(path: string): Promise<RawHandle | null> {
    const at = normal(path);
    return this.#run<RawHandle | null>({
      operation: 'read',
      path: at,
      apply: () => {
        const inode = this.#system.lookup(at);
        return inode === undefined ? null : new SimFileHandle(at, inode, this.#system, this.#run);
      },
    });
  }

  link(from: string, to: string): Promise<void> {
    const [source, target] = [normal(from), normal(to)];
    return this.#name(target, () => {
      const inode = this.#present(source);
      this.#parentOf(target);
      if (this.#system.lookup(target)) throw new HoldfastError('E_FILE_EXISTS', `${target} is already there`);
      this.#system.changeName({ kind: 'set', path: target, inode });
    });
  }

  rename(from: string, to: string): Promise<void> {
    const [source, target] = [normal(from), normal(to)];
    return this.#name(target, () => {
      const inode = this.#present(source);
      this.#parentOf(target);
      // POSIX: two names of one file stay as they are.
      if (this.#system.lookup(target) === inode) return;
      this.#system.changeName({ kind: 'rename', from: source, path: target, inode });
    });
  }

  remove(path: string): Promise<void> {
    const at = normal(path);
    return this.#name(at, () => {
      const inode = this.#system.lookup(at);
      if (inode) this.#system.changeName({ kind: 'remove', path: at, inode });
    });
  }

  list(folder: string): Promise<string[]> {
    const at = normal(folder);
    return this.#run({ operation: 'read', path: at, apply: () => this.#system.list(at) });
  }

  makeFolder(path: string): Promise<void> {
    const at = normal(path);
    return this.#name(at, () => this.#system.makeFolder(at));
  }

  syncFolder(path: string): Promise<void> {
    const at = normal(path);
    const mark = this.#system.nameMark;
    return this.#run({
      operation: 'sync',
      path: at,
      apply: () => {
        if (!this.#system.hasFolder(at)) throw new HoldfastError('E_FILE_MISSING', `folder ${at} is not there`);
        this.#system.syncFolder(at, mark);
      },
    });
  }

  /** A change of names happens wholly or not at all. */
  #name(path: string, apply: () => void): Promise<void> {
    return this.#run({
      operation: 'name',
      path,
      apply,
      interrupted: (by) => {
        if (by === 'E_NO_SPACE' || this.#system.prng.chance(0.5)) return;
        try {
          apply();
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
        }
      },
    });
  }

  readonly #run = <Result>(work: Work<Result>): Promise<Result> => {
    const process = this.#process;
    const system = this.#system;
    if (!process.alive) return new Promise(() => {});
    return new Promise((resolve, reject) => {
      const attachment: Attachment = { processEnded: () => work.interrupted?.('end') };
      process.attach(attachment);
      const complete = (): void => {
        process.detach(attachment);
        const fault = system.faultOf(work.operation, work.path);
        try {
          if (fault === null) return resolve(work.apply());
          if (fault.code !== 'E_READ_ONLY') work.interrupted?.(fault.code);
        } catch (error) {
          return reject(error instanceof Error ? error : new Error(String(error)));
        }
        reject(new HoldfastError(fault.code, `${work.path}: ${work.operation} failed`));
      };
      system.admit(() => {
        const delayMs = system.prng.fraction() * latencyMsMax[work.operation] * system.slowness;
        process.after(delayMs, 'files', complete);
      });
      if (work.operation !== 'read') process.countEffect(work.path.length);
    });
  };

  #present(path: string): Inode {
    const inode = this.#system.lookup(path);
    if (!inode) throw new HoldfastError('E_FILE_MISSING', `${path} is not there`);
    return inode;
  }

  #parentOf(path: string): void {
    const folder = folderOf(path);
    if (!this.#system.hasFolder(folder))
      throw new HoldfastError('E_FILE_MISSING', `${path}: folder ${folder} is not there`);
  }

  #created(path: string): Inode {
    this.#parentOf(path);
    const inode = new Inode();
    this.#system.changeName({ kind: 'set', path, inode });
    return inode;
  }

  #emptied(path: string): Inode {
    const inode = this.#system.lookup(path);
    if (!inode) return this.#created(path);
    inode.truncate();
    return inode;
  }
}

class SimFileHandle implements RawHandle {
  readonly #path: string;
  readonly #inode: Inode;
  readonly #system: SimFileSystem;
  readonly #run: <Result>(work: Work<Result>) => Promise<Result>;

  constructor(
    path: string,
    inode: Inode,
    system: SimFileSystem,
    run: <Result>(work: Work<Result>) => Promise<Result>,
  ) {
    this.#path = path;
    this.#inode = inode;
    this.#system = system;
    this.#run = run;
  }

  readAt(offset: number, length: number): Promise<Uint8Array> {
    const apply = (): Uint8Array => this.#inode.data.slice(offset, offset + length);
    return this.#run({ operation: 'read', path: this.#path, apply });
  }

  writeAt(offset: number, data: Uint8Array): Promise<void> {
    return this.#run({
      operation: 'write',
      path: this.#path,
      apply: () => this.#inode.write(offset, data),
      interrupted: () => this.#inode.writePartly(offset, data, this.#system.prng),
    });
  }

  size(): Promise<number> {
    return this.#run({ operation: 'read', path: this.#path, apply: () => this.#inode.data.length });
  }

  sync(): Promise<void> {
    const mark = this.#inode.syncMark;
    return this.#run({
      operation: 'sync',
      path: this.#path,
      apply: () => this.#inode.sync(mark),
      interrupted: (by) => {
        if (by !== 'end') this.#inode.lose(this.#system.prng, mark);
      },
    });
  }

  close(): Promise<void> {
    return this.#run({ operation: 'read', path: this.#path, apply: () => undefined });
  }
}
