import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sparseCalls, sparseSupport } from '../../src/block/sparse.ts';

it('says whether the calls are available, and why not', () => {
  expect(sparseSupport()).toEqual({ available: sparseCalls !== null, reason: expect.stringMatching(/\S/) });
});

describe.skipIf(sparseCalls === null)('calls for sparse files (need the optional package)', () => {
  it('name the error of the system call', () => {
    expect(sparseCalls?.punch(-1, 0, 4096)).toBe('EBADF');
    expect(sparseCalls?.seek(-1, 0, 'data')).toBe('EBADF');
  });

  it('find data and holes beyond 4 GiB', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sparse-'));
    const descriptor = openSync(join(folder, 'file'), 'w+');
    const offset = 5 * 2 ** 30;
    ftruncateSync(descriptor, 2 * offset);
    writeSync(descriptor, Buffer.alloc(65_536, 1), 0, 65_536, offset);
    expect(sparseCalls?.seek(descriptor, 0, 'hole')).toBe(0);
    expect(sparseCalls?.seek(descriptor, 0, 'data')).toBe(offset);
    expect(sparseCalls?.seek(descriptor, offset, 'hole')).toBe(offset + 65_536);
    expect(sparseCalls?.seek(descriptor, offset + 65_536, 'data')).toBe('ENXIO');
    expect(sparseCalls?.punch(descriptor, offset, 65_536)).toBeNull();
    expect(sparseCalls?.seek(descriptor, 0, 'data')).toBe('ENXIO');
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  });
});
