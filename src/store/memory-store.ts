/**
 * The store of the simulator and of tests: any number of handles on one shared state. It is always reachable and every
 * outcome is known; faults are injected around it.
 */
import { afterCommit, conflictsOf, emptyState, entriesUnder, type StoreState } from './state.ts';
import type { CommitOutcome, Entry, Store, Transaction } from './store.ts';

/** What the handles share. */
export class StoreMemory {
  state: StoreState = emptyState;
}

export class MemoryStore implements Store {
  readonly #memory: StoreMemory;

  constructor(memory: StoreMemory) {
    this.#memory = memory;
  }

  read(key: string): Promise<Entry | null> {
    return Promise.resolve(this.#memory.state.entries.get(key) ?? null);
  }

  readAll(prefix: string): Promise<readonly Entry[]> {
    return Promise.resolve(entriesUnder(this.#memory.state, prefix));
  }

  commit(transaction: Transaction): Promise<CommitOutcome> {
    const { state } = this.#memory;
    const conflicts = conflictsOf(state, transaction);
    if (conflicts.length > 0) return Promise.resolve({ kind: 'conflict', conflicts });
    const revision = state.revision + 1;
    this.#memory.state = afterCommit(state, transaction, revision);
    return Promise.resolve({ kind: 'committed', revision });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
