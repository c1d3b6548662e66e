/**
 * Reads and changes one group's record, one change at a time.
 *
 * Invariants:
 * - Every change is made against the revision it was computed from; a record changed by somebody else is never
 *   overwritten (R11).
 * - After an outcome that is not known the record is read back before anybody is told (R11, R15); until that succeeds
 *   the change stays pending.
 */
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import { pause } from '../base/waiting.ts';
import { groupRecordKey } from '../store/document.ts';
import type { Entry, Store, Transaction } from '../store/store.ts';
import { parseRecord, type GroupRecord } from './record.ts';

export type ChangeOutcome =
  | { readonly kind: 'done'; readonly record: GroupRecord }
  /** Somebody else has changed the record meanwhile (or an extra condition did not hold). */
  | { readonly kind: 'lost'; readonly reason: string }
  /** Nothing was changed. */
  | { readonly kind: 'unreachable'; readonly reason: string };

const readBackMs = 300;

export class RecordKeeper {
  readonly #environment: Environment;
  readonly #store: Store;
  readonly #key: string;
  readonly #taken: () => void;
  #record: GroupRecord | null = null;
  #revision = 0;
  #seen = false;
  #damage: string | null = null;
  #changing: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #version = 0;
  #closed = false;

  /** @param taken another record is known now than before. */
  constructor(environment: Environment, store: Store, group: string, taken: () => void = () => {}) {
    this.#taken = taken;
    this.#environment = environment;
    this.#store = store;
    this.#key = groupRecordKey(group);
  }

  /** As last read or written; null when there is none, or none was read yet (`seen`). */
  get record(): GroupRecord | null {
    return this.#record;
  }

  get seen(): boolean {
    return this.#seen;
  }

  /** A change is under way: what has been read meanwhile may be older or newer than it. */
  get busy(): boolean {
    return this.#pending > 0;
  }

  /** Why what the store holds cannot be understood; null when it can. */
  get damage(): string | null {
    return this.#damage;
  }

  /** Changes with everything learnt and every change begun: a read that began at another version may be outdated. */
  get version(): number {
    return this.#version;
  }

  /** What a read of the store found that began at `version`. What is older than what is known already is ignored. */
  observe(entry: Entry | null, version: number): void {
    if (version !== this.#version || this.#pending > 0) return;
    this.#learn(entry);
  }

  #learn(entry: Entry | null): void {
    if (this.#seen && entry !== null && entry.revision === this.#revision) return;
    if (this.#seen && (entry?.revision ?? 0) < this.#revision) {
      if (entry !== null) return;
      this.#damage = 'the group’s record has vanished from the store';
      return;
    }
    this.#take(entry);
  }

  /** Reads the record now. Rejects with `E_STORE_UNREACHABLE`. */
  async refresh(): Promise<void> {
    for (;;) {
      const version = this.#version;
      const entry = await this.#store.read(this.#key);
      if (version !== this.#version || this.#pending > 0) {
        // Something was learnt or written meanwhile: this answer may be older.
        await this.#changing;
        continue;
      }
      this.#learn(entry);
      return;
    }
  }

  /**
   * Writes what `next` makes of the record; null makes no change and counts as lost.
   * @param extra further conditions and removals of the same transaction.
   */
  change(
    next: (record: GroupRecord | null) => GroupRecord | null,
    extra: Partial<Pick<Transaction, 'require' | 'remove'>> = {},
  ): Promise<ChangeOutcome> {
    this.#pending++;
    this.#version++;
    const outcome = this.#changing.then(() => this.#change(next, extra));
    this.#changing = outcome
      .catch(() => {})
      .then(() => {
        this.#pending--;
      });
    return outcome;
  }

  close(): void {
    this.#closed = true;
  }

  async #change(
    next: (record: GroupRecord | null) => GroupRecord | null,
    extra: Partial<Pick<Transaction, 'require' | 'remove'>>,
  ): Promise<ChangeOutcome> {
    const revision = this.#revision;
    const before = this.#record;
    const record = next(before);
    if (record === null) return { kind: 'lost', reason: 'the record is not as expected' };
    const value = JSON.stringify(record);
    const transaction = {
      require: [{ key: this.#key, revision }, ...(extra.require ?? [])],
      put: [{ key: this.#key, value }],
      ...(extra.remove ? { remove: extra.remove } : {}),
    };
    const outcome = await this.#store.commit(transaction);
    switch (outcome.kind) {
      case 'committed':
        this.#take({ key: this.#key, value, revision: outcome.revision });
        return { kind: 'done', record };
      case 'conflict':
        await this.#store.read(this.#key).then(
          (entry) => this.#learn(entry),
          () => {},
        );
        return { kind: 'lost', reason: `changed by another node (${outcome.conflicts.join(', ')})` };
      case 'unreachable':
        return outcome;
      case 'unknown':
        return this.#readBack(transaction, value, record, { revision, id: before?.id ?? null });
    }
  }

  /**
   * Asks until the store says whether the change happened. A generation
   * of ours that is there came by it, whatever its owner has changed since.
   */
  async #readBack(
    transaction: Transaction,
    value: string,
    record: GroupRecord,
    before: { readonly revision: number; readonly id: string | null },
  ): Promise<ChangeOutcome> {
    for (;;) {
      if (this.#closed) return { kind: 'unreachable', reason: 'this node stops' };
      try {
        const entry = await this.#store.read(this.#key);
        this.#learn(entry);
        if (entry?.value === value) return { kind: 'done', record };
        const found = this.#record;
        if (record.id !== before.id && found?.id === record.id) return { kind: 'done', record: found };
        if ((entry?.revision ?? 0) === before.revision) {
          // It may still be on its way. Writing the record as it is makes it fail for good; where there is none, the
          // same once more can happen once only.
          if (entry !== null) {
            if (await this.#fence(entry)) return { kind: 'unreachable', reason: 'the change did not happen' };
          } else {
            const again = await this.#store.commit(transaction);
            if (again.kind === 'committed') {
              this.#take({ key: this.#key, value, revision: again.revision });
              return { kind: 'done', record };
            }
            if (again.kind === 'conflict' && !again.conflicts.includes(this.#key)) {
              return { kind: 'lost', reason: `changed by another node (${again.conflicts.join(', ')})` };
            }
          }
          // A store that reads but does not write, such as one without space, is not to be asked without a pause.
          await pause(this.#environment.clock, readBackMs);
          continue;
        }
        return { kind: 'lost', reason: 'changed by another node' };
      } catch (error) {
        this.#environment.log.warn(`${this.#key}: whether it was changed is not known: ${messageOf(error)}`);
        await pause(this.#environment.clock, readBackMs);
      }
    }
  }

  async #fence(entry: Entry): Promise<boolean> {
    const outcome = await this.#store.commit({
      require: [{ key: this.#key, revision: entry.revision }],
      put: [{ key: this.#key, value: entry.value }],
    });
    if (outcome.kind === 'committed') this.#take({ ...entry, revision: outcome.revision });
    return outcome.kind === 'committed';
  }

  #take(entry: Entry | null): void {
    this.#seen = true;
    this.#version++;
    this.#revision = entry?.revision ?? 0;
    const record = entry === null ? null : parseRecord(entry.value);
    this.#damage = entry !== null && record === null ? 'the store holds something else than a group’s record' : null;
    this.#record = record;
    this.#taken();
  }
}
