/** Real block devices and small file systems, where the machine lets us have them. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

function works(act: () => void): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}

/** Attaches a fresh loop device of zeroes; null where that is not possible. */
export function withLoopDevice(sizeBytes: number): (() => { path: string; detach: () => void }) | null {
  const attach = (): { path: string; detach: () => void } => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-loop-test-'));
    const image = join(folder, 'image');
    closeSync(openSync(image, 'w'));
    truncateSync(image, sizeBytes);
    try {
      const path = execFileSync('losetup', ['--find', '--show', image], { stdio: ['ignore', 'pipe', 'ignore'] })
        .toString()
        .trim();
      return {
        path,
        detach() {
          execFileSync('losetup', ['--detach', path]);
          rmSync(folder, { recursive: true });
        },
      };
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
  };
  return works(() => attach().detach()) ? attach : null;
}

/** Mounts a file system of 2 MiB; null where that is not possible. */
export function mountSmall(): (() => { folder: string; unmount: () => void }) | null {
  const mount = (): { folder: string; unmount: () => void } => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-small-'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', folder], { stdio: 'ignore' });
    } catch (error) {
      rmSync(folder, { recursive: true });
      throw error;
    }
    return {
      folder,
      unmount() {
        execFileSync('umount', [folder]);
        rmSync(folder, { recursive: true });
      },
    };
  };
  return works(() => mount().unmount()) ? mount : null;
}

/** Mounts an empty file system that can clone files; null where that is not possible. */
export function mountCloning(): (() => { folder: string; unmount: () => void }) | null {
  const mount = (): { folder: string; unmount: () => void } => {
    const at = mkdtempSync(join(tmpdir(), 'holdfast-clones-'));
    const image = join(at, 'image');
    const folder = join(at, 'mounted');
    try {
      closeSync(openSync(image, 'w'));
      // The least that mkfs.xfs takes.
      truncateSync(image, 300 * 1024 * 1024);
      mkdirSync(folder);
      execFileSync('mkfs.xfs', ['-q', '-m', 'reflink=1', image], { stdio: 'ignore' });
      execFileSync('mount', ['-o', 'loop', image, folder], { stdio: 'ignore' });
    } catch (error) {
      rmSync(at, { recursive: true });
      throw error;
    }
    return {
      folder,
      unmount() {
        execFileSync('umount', [folder]);
        rmSync(at, { recursive: true });
      },
    };
  };
  return works(() => mount().unmount()) ? mount : null;
}
