import { MemoryStore, StoreMemory } from '../../src/store/memory-store.ts';
import { storeContract } from '../contract/store.ts';

storeContract('in memory', () => {
  const memory = new StoreMemory();
  return Promise.resolve({ open: () => Promise.resolve(new MemoryStore(memory)), dispose: () => Promise.resolve() });
});
