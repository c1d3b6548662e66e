/** The contract of a coordination store (`src/store/store.ts`), for every back end. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Store } from '../../src/store/store.ts';

export interface StoreFixture {
  /** Another handle on the same store. */
  open(): Promise<Store>;
  dispose(): Promise<void>;
}

export function storeContract(name: string, create: () => Promise<StoreFixture>): void {
  describe(`the coordination store ${name}`, () => {
    const fixtures: StoreFixture[] = [];
    const setUp = async (): Promise<StoreFixture> => {
      const fixture = await create();
      fixtures.push(fixture);
      return fixture;
    };
    afterEach(async () => {
      for (const fixture of fixtures.splice(0)) await fixture.dispose();
    });

    test('is empty at first', async () => {
      const store = await (await setUp()).open();
      expect(await store.read('a')).toBeNull();
      expect(await store.readAll('')).toEqual([]);
      await store.close();
    });

    test('gives every key of a commit the revision of the commit, visible to every handle', async () => {
      const fixture = await setUp();
      const [one, two] = [await fixture.open(), await fixture.open()];
      const put = [
        { key: 'a', value: '{"x":1}' },
        { key: 'b', value: '"ü\\n"' },
      ];
      const outcome = await one.commit({ require: [{ key: 'a', revision: 0 }], put });
      if (outcome.kind !== 'committed') throw new Error(outcome.kind);
      expect(outcome.revision).toBeGreaterThanOrEqual(1);
      expect(await two.read('b')).toEqual({ key: 'b', value: '"ü\\n"', revision: outcome.revision });
      expect(await two.readAll('')).toEqual(put.map((entry) => ({ ...entry, revision: outcome.revision })));
    });

    test('R11: changes nothing when a required key has another revision, and names it', async () => {
      const store = await (await setUp()).open();
      const first = await store.commit({ require: [], put: [{ key: 'a', value: '1' }] });
      if (first.kind !== 'committed') throw new Error(first.kind);
      const { revision } = first;
      const put = [
        { key: 'a', value: '2' },
        { key: 'b', value: '2' },
      ];
      const require = [
        { key: 'a', revision },
        { key: 'b', revision: 3 },
        { key: 'c', revision: 0 },
      ];
      expect(await store.commit({ require, put, remove: ['a'] })).toEqual({ kind: 'conflict', conflicts: ['b'] });
      expect(await store.commit({ require: [{ key: 'a', revision: 0 }], put })).toMatchObject({ kind: 'conflict' });
      expect(await store.readAll('')).toEqual([{ key: 'a', value: '1', revision }]);
      expect(await store.commit({ require: [{ key: 'a', revision }], put })).toMatchObject({ kind: 'committed' });
    });

    test('revisions rise over all keys and never repeat, not even for a key removed and made again', async () => {
      const fixture = await setUp();
      const handles = [await fixture.open(), await fixture.open()];
      const seen: number[] = [];
      for (let turn = 0; turn < 12; turn++) {
        const transaction =
          turn % 3 === 2
            ? { put: [], remove: ['k'] }
            : { put: [{ key: turn % 3 === 0 ? 'k' : 'other', value: '1' }] };
        const outcome = await handles[turn % 2]?.commit({ require: [], durable: turn % 2 === 0, ...transaction });
        if (outcome?.kind !== 'committed') throw new Error(outcome?.kind);
        expect(outcome.revision).toBeGreaterThan(seen.at(-1) ?? 0);
        seen.push(outcome.revision);
        expect(await handles[1]?.read('k')).toEqual(
          turn % 3 === 2 ? null : { key: 'k', value: '1', revision: seen[turn - (turn % 3)] },
        );
      }
    });

    test('lists what has the prefix, sorted by key', async () => {
      const store = await (await setUp()).open();
      const keys = ['leases/west', 'groups/g1', 'leases/east', 'lease'];
      await store.commit({ require: [], put: keys.map((key) => ({ key, value: '0' })) });
      expect((await store.readAll('leases/')).map(({ key }) => key)).toEqual(['leases/east', 'leases/west']);
    });

    test('many handles that count by compare-and-swap lose no count', async () => {
      const fixture = await setUp();
      const count = async (): Promise<void> => {
        const store = await fixture.open();
        for (let counted = 0; counted < 10;) {
          const entry = await store.read('counter');
          const outcome = await store.commit({
            require: [{ key: 'counter', revision: entry?.revision ?? 0 }],
            put: [{ key: 'counter', value: String(Number(entry?.value ?? 0) + 1) }],
            durable: counted % 4 === 0,
          });
          if (outcome.kind === 'committed') counted++;
          else expect(outcome.kind).toBe('conflict');
        }
        await store.close();
      };
      await Promise.all(Array.from({ length: 8 }, count));
      expect((await (await fixture.open()).read('counter'))?.value).toBe('80');
    });
  });
}
