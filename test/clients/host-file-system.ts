/**
 * A real file system of a real kernel on one of our volumes: `nbdfuse` shows the export as a file, a loop device makes a
 * disk of it, ext4 is mounted from that. Needs root and /dev/fuse.
 */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endCommand, mustRun, runCommand, startCommand, until } from './command.ts';

/** Why there can be no such file system here; null when there can. */
export const fileSystemObstacle: string | null =
  process.getuid?.() !== 0 ? 'needs root to mount' : existsSync('/dev/fuse') ? null : 'needs /dev/fuse';

export class HostFileSystem {
  readonly mountPoint: string;
  private readonly folder: string;
  private readonly fuse: ChildProcess;
  private readonly loopDevice: string;

  private constructor(folder: string, fuse: ChildProcess, loopDevice: string) {
    this.folder = folder;
    this.mountPoint = join(folder, 'mounted');
    this.fuse = fuse;
    this.loopDevice = loopDevice;
  }

  /** Attaches the export as a disk, without mounting. */
  static async attach(uri: string): Promise<HostFileSystem> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-host-'));
    await Promise.all(['disk', 'mounted'].map((name) => mkdir(join(folder, name))));
    const file = join(folder, 'disk', 'volume');
    const fuse = startCommand('nbdfuse', [file, uri]);
    let words = '';
    fuse.stderr?.on('data', (chunk: Buffer) => (words += chunk.toString()));
    await until('nbdfuse shows the volume', 20_000, async () => {
      if (fuse.exitCode !== null) throw new Error(`nbdfuse ended: ${words}`);
      return stat(file).catch(() => null);
    });
    const { stdout } = await mustRun('losetup', ['--find', '--show', file]);
    return new HostFileSystem(folder, fuse, stdout.trim());
  }

  async format(): Promise<void> {
    await mustRun('mkfs.ext4', ['-q', '-F', this.loopDevice]);
  }

  async mount(): Promise<void> {
    await mustRun('mount', ['-t', 'ext4', this.loopDevice, this.mountPoint]);
  }

  async unmount(): Promise<void> {
    await mustRun('umount', [this.mountPoint]);
  }

  /** Reads everything and repairs nothing; rejects unless clean. */
  async check(): Promise<void> {
    await mustRun('e2fsck', ['-f', '-n', this.loopDevice], { timeoutMs: 300_000 });
  }

  /** Lets go of everything, also when the server behind it is dead. */
  async detach(): Promise<void> {
    await runCommand('umount', ['--lazy', this.mountPoint]);
    await runCommand('losetup', ['--detach', this.loopDevice]);
    // nbdfuse unmounts itself when told to end; what hung in it fails now.
    await endCommand(this.fuse, 'SIGTERM');
    await runCommand('umount', ['--lazy', join(this.folder, 'disk')]);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A small ext4 in a file of its own, mounted: a disk that can run full. */
export class SmallDisk {
  readonly folder: string;
  private readonly image: string;

  private constructor(folder: string, image: string) {
    this.folder = folder;
    this.image = image;
  }

  static async mount(bytes: number): Promise<SmallDisk> {
    const parent = await mkdtemp(join(tmpdir(), 'holdfast-small-'));
    const disk = new SmallDisk(join(parent, 'mounted'), join(parent, 'image'));
    await mkdir(disk.folder);
    await mustRun('truncate', ['-s', String(bytes), disk.image]);
    await mustRun('mkfs.ext4', ['-q', '-F', '-m', '0', disk.image]);
    await mustRun('mount', ['-o', 'loop', disk.image, disk.folder]);
    return disk;
  }

  async remove(): Promise<void> {
    await runCommand('umount', ['--lazy', this.folder]);
    await rm(join(this.folder, '..'), { recursive: true, force: true });
  }
}
