import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fileError, NodeFiles } from '../../../src/base/node/node-files.ts';
import { filesContract } from '../../contract/files.ts';

filesContract('the machine', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'files-'));
  return { files: new NodeFiles(), folder, run: (work) => work, dispose: () => rm(folder, { recursive: true }) };
});

it.each([
  ['ENOSPC', 'E_NO_SPACE'],
  ['EDQUOT', 'E_NO_SPACE'],
  ['EROFS', 'E_READ_ONLY'],
  ['EIO', 'E_IO'],
])('calls %s by the code %s and names the path', (errno, code) => {
  const error = fileError('/srv/meta', Object.assign(new Error(`${errno}: words, fsync`), { code: errno }));
  expect(error).toMatchObject({ code, message: `${errno}: words, fsync '/srv/meta'` });
});

it.skipIf(process.getuid?.() === 0)('tells of a folder it may not write (not tested as root)', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'files-'));
  await chmod(folder, 0o500);
  await expect(new NodeFiles().write(`${folder}/a`, new Uint8Array(1), { sync: false })).rejects.toMatchObject({
    code: 'E_READ_ONLY',
  });
  await rm(folder, { recursive: true });
});
