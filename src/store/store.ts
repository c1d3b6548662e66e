/**
 * The coordination store: a small set of keys with revisions and one transaction. It is the only place where ownership
 * is decided (R11, R12, R15); we do not write a consensus protocol, back ends bring it.
 *
 * Contract (proved by `test/contract/store.ts` against every back end):
 * - `commit` is atomic and linearizable: it happens only if every required key still has the revision named.
 * - Every committed key gets the commit's revision; revisions rise, over all keys, never fall, never repeat.
 * - `unknown` means: it may or may not have happened. The caller reads back before relying on either (R11).
 */
export interface Store {
  /** What the key holds now; null when absent. Rejects with `E_STORE_UNREACHABLE`. */
  read(key: string): Promise<Entry | null>;
  /** All keys with the prefix, from one moment, sorted by key. Rejects with `E_STORE_UNREACHABLE`. */
  readAll(prefix: string): Promise<readonly Entry[]>;
  commit(transaction: Transaction): Promise<CommitOutcome>;
  close(): Promise<void>;
}

export interface Entry {
  readonly key: string;
  /** JSON text. */
  readonly value: string;
  /** Of the commit that wrote it; at least 1. */
  readonly revision: number;
}

export interface Transaction {
  /** Revision 0 requires the key to be absent. */
  readonly require: readonly { readonly key: string; readonly revision: number }[];
  readonly put: readonly { readonly key: string; readonly value: string }[];
  readonly remove?: readonly string[];
  /** False for what may be lost with power, such as lease renewals; true is the default. */
  readonly durable?: boolean;
}

export type CommitOutcome =
  | { readonly kind: 'committed'; readonly revision: number }
  /** Nothing was changed; `conflicts` names the required keys that had another revision. */
  | { readonly kind: 'conflict'; readonly conflicts: readonly string[] }
  /** Nothing was changed. */
  | { readonly kind: 'unreachable'; readonly reason: string }
  | { readonly kind: 'unknown'; readonly reason: string };
