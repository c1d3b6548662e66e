import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { NodeFiles } from '../../src/base/node/node-files.ts';
import { NodeRandom } from '../../src/base/node/node-random.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { silentLog } from '../../src/base/log.ts';
import { FileStore } from '../../src/store/file-store.ts';
import { MemoryStore, StoreMemory } from '../../src/store/memory-store.ts';
import { decodeVersion } from '../../src/store/state-file.ts';
import type { CommitOutcome, Store } from '../../src/store/store.ts';
import { storeContract } from '../contract/store.ts';
import { Crash, CrashingFiles } from '../volume/crashing-files.ts';

const run = promisify(execFile);
const random = new NodeRandom();
const folder = '/store';

storeContract('in a folder', async () => {
  const real = await mkdtemp(join(tmpdir(), 'holdfast-store-'));
  return {
    open: () => FileStore.open(new NodeFiles(), join(real, 'store'), random, silentLog),
    dispose: () => rm(real, { recursive: true, force: true }),
  };
});

const openOn = (files: CrashingFiles): Promise<FileStore> => FileStore.open(files, folder, random, silentLog);
const put = (store: Store, value: string, durable = true, revision?: number): Promise<CommitOutcome> =>
  store.commit({
    require: revision === undefined ? [] : [{ key: 'k', revision }],
    put: [{ key: 'k', value }],
    durable,
  });
const pathOf = (revision: number): string => `${folder}/state-${String(revision).padStart(16, '0')}.json`;

describe('the file store', () => {
  test('I4: after a crash or power loss at any effect the last lasting commit is there, or a later one', async () => {
    const scene = async (effects: number, durables: boolean[], powerLost: boolean, coins: boolean[]) => {
      let coin = 0;
      const files = new CrashingFiles(() => coins[coin++ % coins.length] ?? true);
      files.effectsLeft = effects;
      const store = await openOn(files);
      let floor = 0;
      let highestRevision = 0;
      for (const [index, durable] of durables.entries()) {
        const outcome = await put(store, String(index + 1), durable);
        if (outcome.kind !== 'committed') break;
        highestRevision = outcome.revision;
        if (durable || !powerLost) floor = index + 1;
      }
      const survivors = files.restart(powerLost);
      const reopened = await openOn(survivors);
      const found = Number((await reopened.read('k'))?.value ?? 0);
      expect(found).toBeGreaterThanOrEqual(floor);
      const next = await put(reopened, 'next');
      expect(next.kind).toBe('committed');
      if (!powerLost && next.kind === 'committed') expect(next.revision).toBeGreaterThan(highestRevision);
      expect((await (await openOn(survivors.restart(true))).read('k'))?.value).toBe('next');
    };
    await fc.assert(
      fc.asyncProperty(
        fc.nat(200),
        fc.array(
          fc.integer({ min: 0, max: 3 }).map((value) => value === 0),
          { minLength: 1, maxLength: 40 },
        ),
        fc.boolean(),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
        scene,
      ),
      { numRuns: 500 },
    );
  });

  test('I4: keys written and removed by commits of both kinds are what a new process finds, and an old one', async () => {
    const change = fc.record({
      keys: fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 }),
      removes: fc.boolean(),
      durable: fc.boolean(),
    });
    const scene = async (changes: { keys: string[]; removes: boolean; durable: boolean }[]) => {
      const files = new CrashingFiles();
      const [writer, follower] = [await openOn(files), await openOn(files)];
      const expected = new MemoryStore(new StoreMemory());
      for (const [index, { keys, removes, durable }] of changes.entries()) {
        const transaction = {
          require: [],
          put: removes ? [] : keys.map((key) => ({ key, value: String(index) })),
          remove: removes ? keys : [],
          durable,
        };
        expect(await writer.commit(transaction)).toEqual(await expected.commit(transaction));
        const state = await expected.readAll('');
        expect(await follower.readAll('')).toEqual(state);
        expect(await (await openOn(files)).readAll('')).toEqual(state);
      }
    };
    await fc.assert(fc.asyncProperty(fc.array(change, { maxLength: 40 }), scene), { numRuns: 50 });
  });

  test('a renewal writes what it changes, however much the store holds', async () => {
    const files = new CrashingFiles();
    const store = await openOn(files);
    const groups = Array.from({ length: 100 }, (_, index) => ({ key: `groups/v${index}`, value: 'x'.repeat(500) }));
    await store.commit({ require: [], put: groups });
    await put(store, 'renewed', false);
    expect((await files.read(pathOf(1))).length).toBeGreaterThan(50_000);
    expect((await files.read(pathOf(2))).length).toBeLessThan(500);
    expect(await (await openOn(files)).readAll('')).toHaveLength(101);
  });

  test('I4: when what a version is built on has rotted, older ones are not taken for the state', async () => {
    const files = new CrashingFiles();
    const store = await openOn(files);
    await put(store, 'one');
    await put(store, 'two');
    await put(store, 'renewed', false);
    await files.write(pathOf(2), Buffer.from('x'), { sync: true });
    await expect((await openOn(files)).read('k')).rejects.toMatchObject({ code: 'E_STORE_DAMAGED' });
    expect((await store.read('k'))?.value).toBe('renewed');
  });

  test('a folder of schema 1, where every version was whole, is read and carried on', async () => {
    const files = new CrashingFiles();
    for (const revision of [1, 2]) {
      const value = `old ${revision}`;
      const entries = [{ key: revision === 1 ? 'gone' : 'k', value, revision }];
      const body = { revision, syncedRevision: 1, lineage: ['w-1'], entries };
      const checksum = crc32c(Buffer.from(JSON.stringify(body)))
        .toString(16)
        .padStart(8, '0');
      await files.write(pathOf(revision), Buffer.from(JSON.stringify({ schema: 1, checksum, body })), { sync: true });
    }
    const store = await openOn(files);
    expect(await store.readAll('')).toEqual([{ key: 'k', value: 'old 2', revision: 2 }]);
    expect(await put(store, 'new', false, 2)).toEqual({ kind: 'committed', revision: 3 });
    expect(await (await openOn(files)).readAll('')).toEqual([{ key: 'k', value: 'new', revision: 3 }]);
  });

  test('a damaged highest version is passed over, and its number never used again', async () => {
    const files = new CrashingFiles();
    await put(await openOn(files), 'one');
    await put(await openOn(files), 'two');
    await files.write(pathOf(2), Buffer.from('{"schema":1,'), { sync: true });
    const store = await openOn(files);
    expect(await store.read('k')).toEqual({ key: 'k', value: 'one', revision: 1 });
    expect(await put(store, 'three', true, 1)).toEqual({ kind: 'committed', revision: 3 });
  });

  test('what a version below a damaged one is built on has been kept for it', async () => {
    const files = new CrashingFiles();
    const store = await openOn(files);
    await put(store, 'one');
    for (let index = 1; index <= 15; index++) await put(store, `renewed ${index}`, false);
    await put(store, 'two');
    await files.write(pathOf(17), Buffer.from('x'), { sync: true });
    expect((await (await openOn(files)).read('k'))?.value).toBe('renewed 15');
  });

  test('with no whole version, or one of a newer program, it is refused and says so', async () => {
    const files = new CrashingFiles();
    await files.write(pathOf(1), Buffer.from('x'), { sync: true });
    const store = await openOn(files);
    await expect(store.read('k')).rejects.toMatchObject({ code: 'E_STORE_DAMAGED' });
    expect(await put(store, 'one')).toMatchObject({ kind: 'unreachable' });
    await files.write(pathOf(2), Buffer.from('{"schema":3}'), { sync: true });
    await expect(store.read('k')).rejects.toThrow('newer program');
  });

  test('R12: a folder that goes back in time under a process is refused', async () => {
    const files = new CrashingFiles();
    const store = await openOn(files);
    await put(store, 'one');
    await put(store, 'two');
    await files.remove(pathOf(2));
    await expect(store.read('k')).rejects.toMatchObject({ code: 'E_STORE_DAMAGED' });
  });

  test('I8: old versions are pruned, and what a dead writer left behind', async () => {
    const files = new CrashingFiles();
    await files.write(`${folder}/temp-dead-1`, Buffer.from('x'), { sync: false });
    const store = await openOn(files);
    for (let index = 0; index < 100; index++) await put(store, String(index), false);
    const names = await files.list(folder);
    expect(names.length).toBeLessThanOrEqual(24 + 16);
    expect(names.filter((name) => !name.startsWith('state-'))).toEqual([]);
  });

  test('a renewal does not wait for the disk, but one in sixteen does so that power loss costs few', async () => {
    const files = new CrashingFiles();
    const store = await openOn(files);
    await put(store, '0');
    const before = files.syncs;
    for (let index = 0; index < 32; index++) await put(store, String(index), false);
    expect(files.syncs - before).toBe(2);
  });

  test.each([20, 70])(
    'R11: a process that slept while %d others committed and were pruned does not take a used number for its own',
    async (others) => {
      const files = new CrashingFiles();
      const sleeper = await openOn(files);
      await put(sleeper, 'one');
      const awake = await openOn(files);
      const link = files.link.bind(files);
      files.link = async (from, to) => {
        files.link = link;
        for (let index = 0; index < others; index++) await put(awake, `awake ${index}`);
        await link(from, to);
      };
      const outcome = await put(sleeper, 'sleeper', true, 1);
      expect(outcome.kind).toBe(others < 64 ? 'conflict' : 'unknown');
      expect((await awake.read('k'))?.value).toBe(`awake ${others - 1}`);
    },
  );

  test('R11: an error at the link or after it leaves the outcome unknown; one before changes nothing', async () => {
    for (const [kind, outcome] of [
      ['write', 'unreachable'],
      ['link', 'unknown'],
    ] as const) {
      const files = new CrashingFiles();
      const store = await openOn(files);
      files.failNext = kind;
      expect((await put(store, 'one', false)).kind).toBe(outcome);
      expect((await put(store, 'two')).kind).toBe('committed');
    }
    const files = new CrashingFiles();
    const store = await openOn(files);
    files.syncFolder = () => Promise.reject(new Crash('gone'));
    expect((await put(store, 'one')).kind).toBe('unknown');
  });

  test('R11: what a reader was told survives power loss, although the writer died before its folder was synced', async () => {
    const files = new CrashingFiles(() => false);
    const writer = await openOn(files);
    const syncFolder = files.syncFolder.bind(files);
    files.syncFolder = () => Promise.reject(new Crash('gone'));
    expect((await put(writer, 'one')).kind).toBe('unknown');
    files.syncFolder = syncFolder;
    expect((await (await openOn(files)).read('k'))?.value).toBe('one');
    expect((await (await openOn(files.restart(true))).read('k'))?.value).toBe('one');
  });

  test('R11: a writer whose folder could not be synced does not read its own commit back before it is', async () => {
    const files = new CrashingFiles(() => false);
    const writer = await openOn(files);
    await put(writer, 'one');
    const syncFolder = files.syncFolder.bind(files);
    files.syncFolder = () => Promise.reject(new Crash('gone'));
    expect((await put(writer, 'two')).kind).toBe('unknown');
    await expect(writer.read('k')).rejects.toMatchObject({ code: 'E_STORE_UNREACHABLE' });
    files.syncFolder = syncFolder;
    expect((await writer.read('k'))?.value).toBe('two');
    expect((await (await openOn(files.restart(true))).read('k'))?.value).toBe('two');
  });

  test('a temporary file taken away by another process that starts is written again', async () => {
    const files = new CrashingFiles();
    const store = await openOn(files);
    const link = files.link.bind(files);
    files.link = async (from, to) => {
      files.link = link;
      await openOn(files);
      await link(from, to);
    };
    expect(await put(store, 'one')).toEqual({ kind: 'committed', revision: 1 });
  });

  test('any bytes in a version file are refused by name', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map(Buffer.from)), (bytes) => {
        expect(['damaged', 'newer']).toContain(decodeVersion(bytes, 1).kind);
      }),
    );
  });

  test('four processes that count in one folder lose no count', async () => {
    const root = await mkdtemp(join(tmpdir(), 'holdfast-processes-'));
    try {
      const project = join(import.meta.dirname, '../..');
      await symlink(join(project, 'node_modules'), join(root, 'node_modules'));
      const compiled = join(root, 'compiled');
      const sources = ['store/file-store.ts', 'base/node/node-files.ts', 'base/node/node-random.ts'];
      await run(process.execPath, [
        join(project, 'node_modules/typescript/bin/tsc'),
        ...sources.map((source) => join(project, 'src', source)),
        ...['--ignoreConfig', '--outDir', compiled, '--rootDir', join(project, 'src'), '--module', 'NodeNext'],
        ...['--target', 'ES2023', '--rewriteRelativeImportExtensions', '--types', 'node', '--noCheck'],
      ]);
      const store = join(root, 'store');
      const program = join(import.meta.dirname, 'counting-process.mjs');
      await Promise.all(Array.from({ length: 4 }, () => run(process.execPath, [program, compiled, store, '50'])));
      const reader = await FileStore.open(new NodeFiles(), store, random, silentLog);
      expect((await reader.read('counter'))?.value).toBe('200');
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
});
