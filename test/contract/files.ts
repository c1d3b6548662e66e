/** What every `Files` does (`src/base/files.ts`) while no power is lost. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Files } from '../../src/base/files.ts';

export interface FilesUnderTest {
  readonly files: Files;
  /** An existing, empty folder. */
  readonly folder: string;
  /** Lets the world go on until the work is done. */
  run<Value>(work: Promise<Value>): Promise<Value>;
  dispose(): Promise<void>;
}

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text));
const textOf = (data: Uint8Array): string => Buffer.from(data).toString();

export function filesContract(name: string, make: () => Promise<FilesUnderTest>): void {
  describe(`files contract: ${name}`, () => {
    let world: FilesUnderTest;
    const at = (path: string): string => `${world.folder}/${path}`;

    beforeEach(async () => {
      world = await make();
    });
    afterEach(() => world.dispose());

    it('reads back what was written, and only that after a shorter write', async () => {
      const { files, run } = world;
      await run(files.write(at('a'), bytes('long text'), { sync: true }));
      await run(files.write(at('a'), bytes('short'), { sync: false }));
      expect(textOf(await run(files.read(at('a'))))).toBe('short');
    });

    it('names a missing file', async () => {
      const { files, run } = world;
      const missing = { code: 'E_FILE_MISSING', message: expect.stringContaining(at('none')) };
      await expect(run(files.read(at('none')))).rejects.toMatchObject(missing);
      await expect(run(files.rename(at('none'), at('b')))).rejects.toMatchObject(missing);
      await expect(run(files.write(at('none/x'), bytes(''), { sync: false }))).rejects.toMatchObject(missing);
    });

    it('links only to a free name, and both names are one file', async () => {
      const { files, run } = world;
      await run(files.write(at('a'), bytes('one'), { sync: true }));
      await run(files.link(at('a'), at('b')));
      await expect(run(files.link(at('a'), at('b')))).rejects.toMatchObject({ code: 'E_FILE_EXISTS' });
      await run(files.remove(at('a')));
      expect(textOf(await run(files.read(at('b'))))).toBe('one');
    });

    it('replaces by renaming', async () => {
      const { files, run } = world;
      await run(files.write(at('a'), bytes('new'), { sync: true }));
      await run(files.write(at('b'), bytes('old'), { sync: true }));
      await run(files.rename(at('a'), at('b')));
      await run(files.syncFolder(world.folder));
      expect(textOf(await run(files.read(at('b'))))).toBe('new');
      expect(await run(files.list(world.folder))).toEqual(['b']);
    });

    it('makes folders with their parents, lists them, and is silent about what is not there', async () => {
      const { files, run } = world;
      await run(files.makeFolder(at('x/y/z')));
      await run(files.makeFolder(at('x/y/z')));
      await run(files.write(at('x/y/f'), bytes(''), { sync: false }));
      expect((await run(files.list(at('x/y')))).toSorted()).toEqual(['f', 'z']);
      expect(await run(files.list(at('nowhere')))).toEqual([]);
      await run(files.remove(at('nowhere')));
    });

    it('reads and writes at offsets of an open file, which it creates but does not empty', async () => {
      const { files, run } = world;
      const first = await run(files.open(at('a')));
      await run(first.writeAt(4, bytes('efgh')));
      await run(first.writeAt(0, bytes('abcd')));
      await run(first.sync());
      await run(first.close());
      const second = await run(files.open(at('a')));
      expect(textOf(await run(second.readAt(2, 4)))).toBe('cdef');
      expect(textOf(await run(second.readAt(6, 100)))).toBe('gh');
      expect((await run(second.readAt(100, 4))).length).toBe(0);
      await run(second.close());
    });

    it('opens as a device what is there, of the size it has at the time, and nothing else', async () => {
      const { files, run } = world;
      expect(await run(files.openRaw(at('a')))).toBeNull();
      expect(await run(files.openRaw(world.folder))).toBeNull();
      await run(files.write(at('a'), bytes('12345678'), { sync: true }));
      const handle = await run(files.openRaw(at('a')));
      expect(await run(handle?.size() ?? Promise.resolve(0))).toBe(8);
      await run(handle?.writeAt(8, bytes('9')) ?? Promise.resolve());
      expect(await run(handle?.size() ?? Promise.resolve(0))).toBe(9);
      await run(handle?.close() ?? Promise.resolve());
    });

    it('reads a gap that was never written as zeroes', async () => {
      const { files, run } = world;
      const handle = await run(files.open(at('a')));
      await run(handle.writeAt(4096, bytes('x')));
      expect(await run(handle.readAt(4090, 10))).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 120));
      await run(handle.close());
    });
  });
}
