import type { ChildProcess } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockFileOf, lockPath } from '../../src/block/lock.ts';
import { startLockHolder } from './lock-holder.ts';

describe('lockPath', () => {
  let folder: string;
  let path: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lock-'));
    path = join(folder, 'volume.img');
    writeFileSync(path, '');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('gives a file to one holder at a time, and names the holder to the others', async () => {
    const lock = await lockPath(path);
    await expect(lockPath(path)).rejects.toMatchObject({
      code: 'E_VOLUME_IN_USE',
      message: expect.stringMatching(new RegExp(`^${path} is in use by process ${process.pid} \\(.*node`)),
    });
    await lock.release();
    expect(existsSync(lockFileOf(path))).toBe(false);
    await (await lockPath(path)).release();
  });

  it('knows the file by whatever path: symbolic and hard links', async () => {
    symlinkSync(path, join(folder, 'symbolic'));
    linkSync(path, join(folder, 'hard'));
    const lock = await lockPath(path);
    await expect(lockPath(join(folder, 'symbolic'))).rejects.toMatchObject({ code: 'E_VOLUME_IN_USE' });
    await expect(lockPath(join(folder, 'hard'))).rejects.toMatchObject({ code: 'E_VOLUME_IN_USE' });
    await lock.release();
  });

  it('locks folders, and files with a long path', async () => {
    const lock = await lockPath(folder);
    await expect(lockPath(folder)).rejects.toMatchObject({ code: 'E_VOLUME_IN_USE' });
    await lock.release();
    expect(existsSync(lockFileOf(folder))).toBe(false);

    const deep = join(folder, 'd'.repeat(100), 'e'.repeat(100));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, 'volume.img'), '');
    await (await lockPath(join(deep, 'volume.img'))).release();
  });

  it('has no lock for what is not there', async () => {
    await expect(lockPath(join(folder, 'none'))).rejects.toMatchObject({ code: 'E_FILE_MISSING' });
  });

  it('refuses where only the socket beside the file is held, as from another network namespace', async () => {
    const other = createServer((caller) => caller.on('error', () => {}).end('process 1 (elsewhere)'));
    await new Promise<void>((resolve) => other.listen(lockFileOf(path), resolve));
    await expect(lockPath(path)).rejects.toMatchObject({
      code: 'E_VOLUME_IN_USE',
      message: `${path} is in use by process 1 (elsewhere)`,
    });
    await new Promise((resolve) => other.close(resolve));
    await (await lockPath(path)).release();
  });

  describe('of another process', () => {
    let child: ChildProcess;

    beforeEach(async () => {
      child = await startLockHolder(path, join(folder, 'program'));
    });
    afterEach(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
    });

    it('dies with the process, also by SIGKILL', async () => {
      await expect(lockPath(path)).rejects.toMatchObject({
        code: 'E_VOLUME_IN_USE',
        message: expect.stringContaining(`process ${child.pid} (`),
      });
      child.kill('SIGKILL');
      await new Promise((resolve) => child.once('exit', resolve));
      expect(existsSync(lockFileOf(path))).toBe(true);
      await (await lockPath(path)).release();
    });

    it('is kept by a process that is stopped', async () => {
      child.kill('SIGSTOP');
      await expect(lockPath(path)).rejects.toMatchObject({
        code: 'E_VOLUME_IN_USE',
        message: `${path} is in use by a process that does not answer`,
      });
      child.kill('SIGCONT');
    });
  });
});
