/**
 * One process at a time, without a native module: a lock is a listening Unix socket. The kernel ends it with the
 * process, however that dies, and whoever finds it taken can ask the holder for its name.
 *
 * Each lock is two sockets. The one in the abstract namespace is named by device and inode: taken atomically, the same
 * for every path that leads to the file. It reaches no further than a network namespace; the one in the file system,
 * `<path>.lock`, reaches every process of this kernel, but stays behind as a dead file when its holder is killed, and is
 * recognised as such because nobody listens. (A file with a process number in it, the usual way, says nothing to a
 * process in another container, and wrong things once numbers are used again.)
 */
import { readFileSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import * as net from 'node:net';
import { basename, dirname, join } from 'node:path';
import { HoldfastError } from '../base/errors.ts';
import { errnoOf, fileError } from '../base/node/node-files.ts';

export interface PathLock {
  release(): Promise<void>;
}

/** A holder that is stopped or busy holds its lock all the same; it only stays nameless. Milliseconds. */
const answerTimeoutMs = 1000;

/** How often a dead socket file is cleared away before giving up; more than once takes a crowd of starting processes. */
const attemptsMax = 5;

/**
 * Locks an existing file or folder until released or until this process dies. Rejects with `E_VOLUME_IN_USE`, naming
 * the holder, or with `E_FILE_MISSING`, `E_READ_ONLY`, `E_IO`.
 */
export async function lockPath(path: string): Promise<PathLock> {
  try {
    const realPath = await fs.realpath(path);
    const { dev, ino } = await fs.stat(realPath, { bigint: true });
    const byInode = await listen(`\0holdfast-lock-${dev}-${ino}`);
    if (typeof byInode === 'string') throw await inUse(path, `\0holdfast-lock-${dev}-${ino}`);
    try {
      const byPath = await lockSocketFile(path, realPath);
      return {
        async release() {
          await byPath.release();
          await closed(byInode);
        },
      };
    } catch (error) {
      await closed(byInode);
      throw error;
    }
  } catch (error) {
    throw fileError(path, error);
  }
}

/** `vol1.img` is locked by `vol1.img.lock` beside it. */
export function lockFileOf(path: string): string {
  return `${path}.lock`;
}

async function lockSocketFile(path: string, realPath: string): Promise<PathLock> {
  // Names of sockets end at 107 bytes; by way of the open folder only the last part of the path counts.
  const folder = await fs.open(dirname(realPath), 'r');
  const at = `/proc/self/fd/${folder.fd}`;
  const socketPath = lockFileOf(join(at, basename(realPath)));
  try {
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const server = await listen(socketPath);
      if (typeof server !== 'string') {
        return {
          async release() {
            await closed(server);
            await folder.close();
          },
        };
      }
      if (await isAlive(socketPath)) throw await inUse(path, socketPath);
      await clearAway(socketPath);
    }
    throw await inUse(path, socketPath);
  } catch (error) {
    await folder.close();
    throw error;
  }
}

/**
 * Removes a dead socket file. By renaming it first: of several processes that found the same one dead, a late one might
 * otherwise delete the live socket that a faster one has put there since. That one is put back.
 */
async function clearAway(socketPath: string): Promise<void> {
  const aside = `${socketPath}.${process.pid}`;
  try {
    await fs.rename(socketPath, aside);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  if (await isAlive(aside)) await fs.link(aside, socketPath);
  await fs.unlink(aside);
}

/** A server that tells each caller who it is; `taken` when the name is in use. It does not keep the process alive. */
function listen(socketPath: string): Promise<net.Server | 'taken'> {
  return new Promise((resolve, reject) => {
    const server = net.createServer((caller) => {
      caller.on('error', () => {});
      caller.end(`process ${process.pid} (${ownCommand()})`);
    });
    // Also later, when a caller cannot be accepted: the name is held all the same.
    server.on('error', (error) => {
      if (errnoOf(error) === 'EADDRINUSE') resolve('taken');
      else reject(error);
    });
    server.listen(socketPath, () => resolve(server));
    server.unref();
  });
}

function closed(server: net.Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}

function isAlive(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const caller = net.connect(socketPath);
    caller.on('connect', () => {
      caller.destroy();
      resolve(true);
    });
    // Anything but "nobody listens" or "not there" may be a live holder that this user may not talk to.
    caller.on('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error))));
  });
}

async function inUse(path: string, socketPath: string): Promise<HoldfastError> {
  return new HoldfastError('E_VOLUME_IN_USE', `${path} is in use by ${await holderOf(socketPath)}`);
}

function holderOf(socketPath: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const caller = net.connect(socketPath);
    const finish = (): void => {
      caller.destroy();
      resolve(answer === '' ? 'a process that does not answer' : answer.slice(0, 300));
    };
    caller.setTimeout(answerTimeoutMs, finish);
    caller.on('data', (chunk) => (answer += chunk.toString()));
    caller.on('error', finish);
    caller.on('end', finish);
  });
}

function ownCommand(): string {
  try {
    return readFileSync('/proc/self/cmdline', 'utf8').split('\0').join(' ').trim().slice(0, 200);
  } catch {
    return process.title;
  }
}
