import { describe, expect, it } from 'vitest';
import { World } from '../../../src/sim/world/world.ts';
import { FileStore } from '../../../src/store/file-store.ts';
import type { Store, Transaction } from '../../../src/store/store.ts';
import { storeContract } from '../../contract/store.ts';

/** The suite knows no world: every call drives it. */
function driven(world: World, store: Store): Store {
  return {
    read: (key) => world.settle(store.read(key)),
    readAll: (prefix) => world.settle(store.readAll(prefix)),
    commit: (transaction) => world.settle(store.commit(transaction)),
    close: () => world.settle(store.close()),
  };
}

storeContract('as simulated nodes reach it', () => {
  const world = new World({ seed: 'store contract' });
  const open = (): Promise<Store> => Promise.resolve(driven(world, world.machine('east').start('a').store));
  return Promise.resolve({ open, dispose: () => Promise.resolve() });
});

storeContract('in files, on simulated files', () => {
  const world = new World({ seed: 'file store contract' });
  const open = async (): Promise<Store> => {
    const { files, random, log } = world.machine('east').start('a').environment;
    return driven(world, await world.settle(FileStore.open(files, '/store', random, log)));
  };
  return Promise.resolve({ open, dispose: () => Promise.resolve() });
});

const putting = (value: string): Transaction => ({ require: [], put: [{ key: 'k', value }] });

describe('SimStoreService', () => {
  it('answers late, and only to the living; what was sent happens all the same', async () => {
    let happened = 0;
    for (let seed = 0; seed < 20; seed++) {
      const world = new World({ seed: `store ${seed}` });
      const process = world.machine('east').start('a');
      process.crashAfterEffects(1);
      let answered = false;
      void process.store.commit(putting('x')).then(() => (answered = true));
      expect(process.end).toBe('crash');
      await world.run(5000);
      expect(answered).toBe(false);
      void process.store.commit(putting('from the dead'));
      await world.run(5000);
      if ((await world.store.backing.read('k'))?.value === 'x') happened++;
      expect((await world.store.backing.read('k'))?.value).not.toBe('from the dead');
    }
    expect(happened).toBe(20);
  });

  it('is unreachable for the machines named, and nothing is changed', async () => {
    const world = new World({ seed: 'unreachable' });
    const east = world.machine('east').start('a');
    const west = world.machine('west').start('b');
    world.store.setReachable(east.machine, false);
    expect(await world.settle(east.store.commit(putting('x')))).toMatchObject({ kind: 'unreachable' });
    await expect(world.settle(east.store.read('k'))).rejects.toMatchObject({ code: 'E_STORE_UNREACHABLE' });
    expect(await world.store.backing.read('k')).toBeNull();
    expect(await world.settle(west.store.commit(putting('y')))).toMatchObject({ kind: 'committed' });
    world.store.heal();
    expect(await world.settle(east.store.read('k'))).toMatchObject({ value: 'y' });
  });

  it('says unknown when the answer is lost; the commit has happened or not', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 30; seed++) {
      const world = new World({ seed: `unknown ${seed}` });
      const process = world.machine('east').start('a');
      world.store.unknownShare = 1;
      expect(await world.settle(process.store.commit(putting('x')))).toMatchObject({ kind: 'unknown' });
      seen.add((await world.store.backing.read('k')) === null ? 'not' : 'happened');
    }
    expect(seen).toEqual(new Set(['not', 'happened']));
  });
});
