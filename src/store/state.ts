/**
 * What a store holds at one moment, and what a transaction makes of it: the one definition of `commit` for the back ends
 * that keep the whole state themselves.
 */
import { assert } from '../base/assert.ts';
import type { Entry, Transaction } from './store.ts';

/** Immutable; every commit makes a new one. */
export interface StoreState {
  /** Of the last commit; 0 before the first. */
  readonly revision: number;
  readonly entries: ReadonlyMap<string, Entry>;
}

export const emptyState: StoreState = { revision: 0, entries: new Map() };

/** The required keys that have another revision, in the transaction's order. */
export function conflictsOf(state: StoreState, transaction: Transaction): string[] {
  return transaction.require
    .filter(({ key, revision }) => (state.entries.get(key)?.revision ?? 0) !== revision)
    .map(({ key }) => key);
}

/** The state after a transaction without conflicts. */
export function afterCommit(state: StoreState, transaction: Transaction, revision: number): StoreState {
  assert(revision > state.revision, `revision ${revision} after ${state.revision}`);
  const entries = new Map(state.entries);
  for (const key of transaction.remove ?? []) entries.delete(key);
  for (const { key, value } of transaction.put) entries.set(key, { key, value, revision });
  return { revision, entries };
}

export function entriesUnder(state: StoreState, prefix: string): Entry[] {
  return [...state.entries.values()]
    .filter(({ key }) => key.startsWith(prefix))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}
