import { execFileSync } from 'node:child_process';
import { open as openFile } from 'node:fs/promises';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { NodeDatagrams } from '../../../src/base/node/node-datagrams.ts';
import { NodeFiles } from '../../../src/base/node/node-files.ts';
import { NodeFilesSync } from '../../../src/base/node/node-files-sync.ts';
import { filesContract } from '../../contract/files.ts';

filesContract('the machine, by synchronous calls', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'files-'));
  return {
    files: new NodeFilesSync(),
    folder,
    run: (work) => work,
    dispose: () => rm(folder, { recursive: true }),
  };
});

it('with the thread pool full, synchronous files and datagrams to addresses get on, and nothing else', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'files-'));
  const pipe = join(folder, 'pipe');
  execFileSync('mkfifo', [pipe]);
  // To open a pipe for reading takes as long as until somebody opens it for writing.
  const workers = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4);
  const opened = Array.from({ length: workers }, () => openFile(pipe, 'r'));
  let pooledDone = false;
  const pooled = new NodeFiles().read('/proc/self/stat').then(() => (pooledDone = true));
  const files = new NodeFilesSync();
  await files.write(join(folder, 'a'), Uint8Array.of(1, 2), { sync: true });
  await files.link(join(folder, 'a'), join(folder, 'b'));
  expect(await files.read(join(folder, 'b'))).toEqual(Buffer.from([1, 2]));
  let arrived = (): void => {};
  const received = new Promise<void>((resolve) => (arrived = resolve));
  const receiver = await new NodeDatagrams().bind({ host: '127.0.0.1', port: 0 }, () => arrived());
  const sender = await new NodeDatagrams().bind({ host: '127.0.0.1', port: 0 }, () => {});
  sender.send(Uint8Array.of(7), receiver.address);
  await received;
  expect(pooledDone).toBe(false);
  const writer = openSync(pipe, constants.O_RDWR);
  for (const handle of await Promise.all(opened)) await handle.close();
  closeSync(writer);
  await pooled;
  await Promise.all([receiver.close(), sender.close()]);
  rmSync(folder, { recursive: true });
});
