/** A world for the tests of this folder; the store is one that nobody asks unless the test brings its own. */
import type { Store } from '../../../src/store/store.ts';
import { World, type WorldOptions } from '../../../src/sim/world/world.ts';

const absentStore: Store = {
  read: () => Promise.resolve(null),
  readAll: () => Promise.resolve([]),
  commit: () => Promise.resolve({ kind: 'unreachable', reason: 'no store in this test' }),
  close: () => Promise.resolve(),
};

export function makeWorld(seed: string, options: Partial<WorldOptions> = {}): World {
  return new World({ seed, store: absentStore, ...options });
}
