/**
 * The main job: a file system of real files, its server killed in the middle of writing, taken over by the other node.
 * What a program had been told is safe must be there, and right.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { HostFileSystem, fileSystemObstacle } from './host-file-system.ts';
import { Pair } from './pair.ts';

const mebibyte = 1024 ** 2;
/** The second only where a bare machine's `/usr/share` is too small. */
const sources = ['/usr/share', '/usr/lib'];
const treeBytes = 220 * mebibyte;
/** Large files are many bytes with few flushes, small ones the reverse; a tree has both. */
const largeBytes = 64 * 1024;
const smallFilesMax = 1500;

let pair: Pair | undefined;
let host: HostFileSystem | undefined;

afterEach(async () => {
  await host?.detach();
  await pair?.stop();
});

test('TL-6, TL-14: a file system survives its node, with every fsynced file right', async ({ skip }) => {
  skip(fileSystemObstacle !== null, fileSystemObstacle ?? '');
  pair = await Pair.start({
    groups: [
      {
        name: 'g1',
        owner: 'east',
        volumes: [{ name: 'vol1', size: '2GiB' }],
        mirrors: [{ to: 'west', mode: 'sync' }],
      },
    ],
  });
  const files = await chooseTree();
  const bytes = sumBytes(files);
  expect(bytes).toBeGreaterThanOrEqual(200 * mebibyte);

  host = await HostFileSystem.attach(pair.uri('east'));
  await host.format();
  await host.mount();
  let halfway = () => {};
  const reached = new Promise<void>((resolve) => (halfway = resolve));
  const synced = new Map<string, string>();
  let writtenBytes = 0;
  const copying = (async () => {
    for (const file of files) {
      if (host === undefined) return;
      await copyFile(file.path, host.mountPoint, synced);
      writtenBytes += file.bytes;
      if (writtenBytes > 0.6 * bytes) halfway();
    }
  })();
  await Promise.race([reached, copying]);
  await pair.kill('east');
  // The copy is cut short: its next write or fsync fails.
  await expect(copying).rejects.toThrow();
  const syncedBeforeCrash = new Map(synced);
  await host.detach();
  host = undefined;

  const taken = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west');
  expect(taken).toMatchObject({ status: 0 });
  host = await HostFileSystem.attach(pair.uri('west'));
  // As after any crash: mounting replays the journal. Nothing may be left to repair then.
  await host.mount();
  await host.unmount();
  await host.check();
  await host.mount();
  expect(await wrongFiles(syncedBeforeCrash, host.mountPoint)).toEqual([]);
  expect(syncedBeforeCrash.size).toBeGreaterThan(100);

  // Life goes on at west: the whole tree, the old owner back as a target, both legs equal.
  for (const file of files) await copyFile(file.path, host.mountPoint, synced);
  await pair.startNode('east');
  await host.unmount();
  await host.check();
  await host.mount();
  expect(synced.size).toBe(files.length);
  expect(await wrongFiles(synced, host.mountPoint)).toEqual([]);
  await host.unmount();
  await host.detach();
  host = undefined;
  await pair.untilEstablished();
  await pair.compareLegs();
}, 900_000);

interface SourceFile {
  readonly path: string;
  readonly bytes: number;
}

/** Real files in an order that is the same on every run: a small one after each large one, as long as there are any. */
async function chooseTree(): Promise<SourceFile[]> {
  const large: SourceFile[] = [];
  const small: SourceFile[] = [];
  for (const source of sources) {
    if (sumBytes(large) >= treeBytes) break;
    for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const { size } = await stat(path);
      if (size >= largeBytes) large.push({ path, bytes: size });
      else if (size > 0 && small.length < smallFilesMax) small.push({ path, bytes: size });
    }
  }
  const chosen: SourceFile[] = [];
  let bytes = 0;
  for (const [index, file] of large.entries()) {
    if (bytes >= treeBytes) break;
    const share = small.slice((index * small.length) / large.length, ((index + 1) * small.length) / large.length);
    for (const next of [file, ...share]) {
      chosen.push(next);
      bytes += next.bytes;
    }
  }
  return chosen;
}

const sumBytes = (files: readonly SourceFile[]) => files.reduce((sum, { bytes }) => sum + bytes, 0);

/** Copies, fsyncs file and folder, and only then notes the file's SHA-256. */
async function copyFile(path: string, mountPoint: string, synced: Map<string, string>): Promise<void> {
  const copyPath = join(mountPoint, path);
  const content = await readFile(path);
  await mkdir(dirname(copyPath), { recursive: true });
  const copy = await open(copyPath, 'w');
  try {
    await copy.writeFile(content);
    await copy.sync();
  } finally {
    await copy.close();
  }
  const folder = await open(dirname(copyPath), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  synced.set(path, sha256(content));
}

async function wrongFiles(expected: ReadonlyMap<string, string>, mountPoint: string): Promise<string[]> {
  const wrong: string[] = [];
  for (const [path, hash] of expected) {
    const found = await readFile(join(mountPoint, path)).then(sha256, (error: unknown) => String(error));
    if (found !== hash) wrong.push(`${path}: ${found}`);
  }
  return wrong;
}

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');
