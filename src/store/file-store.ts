/**
 * The embedded store: a folder shared by the processes of one machine, without a lock and without a server.
 *
 * Every commit makes a file `state-<revision, 16 digits>.json`. It is written aside under a name of its own and then
 * hard-linked to the next number: whoever gets that name has committed, all others read again. The file of a commit that
 * must last holds the whole state. That of another one, a lease renewal mostly, holds what has changed since the last
 * whole state: to write and to read all of it with every renewal was most of what an idle node did.
 *
 * Invariant: the state is the highest undamaged version; a version that has its name is complete unless power was lost.
 * What this rests on:
 * - The revision is the number in the name, counted on from the highest name even where that file is damaged, so
 *   no revision ever comes back.
 * - A commit that must last is synced before it gets its name, and the folder after, before anything is built on it.
 *   The others may be damaged by a power loss; readers then fall back to the next older one, so old versions are pruned
 *   only right after a commit that lasts, and one in `unsyncedRunMax` is always made to.
 * - A process that slept while others committed could get a number that was used and pruned meanwhile. Hence each version
 *   names the commits that led to it, and whoever finds higher names after its link looks for itself there.
 */
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { Files } from '../base/files.ts';
import type { Log } from '../base/log.ts';
import { type Random, randomHex } from '../base/random.ts';
import { afterCommit, conflictsOf, emptyState, entriesUnder, type StoreState } from './state.ts';
import {
  decodeVersion,
  encodeVersion,
  lineageMax,
  versionOf,
  type StateVersion,
  type StoredVersion,
} from './state-file.ts';
import type { CommitOutcome, Entry, Store, Transaction } from './store.ts';

const unsyncedRunMax = 16;
/** Left for readers that listed the folder a moment ago, and for falling back: one that is whole must be among them. */
const versionsKept = unsyncedRunMax + 8;
/** Somebody commits with every attempt, so losing this often in a row means that something else is wrong. */
const attemptsMax = 200;

/** The newest undamaged version, and the highest number taken, by a damaged one perhaps. */
interface Latest {
  readonly version: StateVersion;
  readonly highest: number;
}

/** A commit's attempt; null when another one came first. */
type Attempt = CommitOutcome | null;

export class FileStore implements Store {
  readonly #files: Files;
  readonly #folder: string;
  readonly #log: Log;
  /** Unique over all processes, for the names of commits. */
  readonly #writer: string;
  #commitCount = 0;
  #cached: Latest = { version: { state: emptyState, synced: emptyState, lineage: [] }, highest: 0 };
  /** Names at or below are known to survive power loss, if they are to. */
  #folderSyncedRevision = 0;
  /** The last commit, settled or not: those of one handle would only get in each other's way. */
  #committing: Promise<unknown> = Promise.resolve();

  private constructor(files: Files, folder: string, random: Random, log: Log) {
    this.#files = files;
    this.#folder = folder;
    this.#log = log;
    this.#writer = randomHex(random, 8);
  }

  /** Makes the folder when absent; an empty folder is an empty store. */
  static async open(files: Files, folder: string, random: Random, log: Log): Promise<FileStore> {
    await files.makeFolder(folder);
    // Left behind by dead writers; a living one whose file vanishes writes it again.
    for (const name of await files.list(folder))
      if (name.startsWith('temp-')) await files.remove(`${folder}/${name}`);
    return new FileStore(files, folder, random, log);
  }

  async read(key: string): Promise<Entry | null> {
    return (await this.#readLatest()).version.state.entries.get(key) ?? null;
  }

  async readAll(prefix: string): Promise<readonly Entry[]> {
    return entriesUnder((await this.#readLatest()).version.state, prefix);
  }

  commit(transaction: Transaction): Promise<CommitOutcome> {
    const outcome = this.#committing.then(() => this.#commit(transaction));
    this.#committing = outcome;
    return outcome;
  }

  async close(): Promise<void> {
    await this.#committing;
  }

  /** Never rejects. */
  async #commit(transaction: Transaction): Promise<CommitOutcome> {
    const id = `${this.#writer}-${++this.#commitCount}`;
    const temporary = `${this.#folder}/temp-${id}`;
    try {
      for (let attempt = 0; attempt < attemptsMax; attempt++) {
        const outcome = await this.#attempt(transaction, id, temporary);
        if (outcome !== null) return outcome;
      }
      return { kind: 'unreachable', reason: `${this.#folder}: lost against other commits ${attemptsMax} times` };
    } catch (error) {
      return { kind: 'unreachable', reason: messageOf(error) };
    } finally {
      await this.#files.remove(temporary).catch(() => {});
    }
  }

  /** A rejection means that nothing was changed. */
  async #attempt(transaction: Transaction, id: string, temporary: string): Promise<Attempt> {
    const base = await this.#latest();
    const conflicts = conflictsOf(base.version.state, transaction);
    if (conflicts.length > 0) return { kind: 'conflict', conflicts };
    const revision = base.highest + 1;
    const { synced } = base.version;
    // The first version of all is what a power loss falls back to: without it the folder would look damaged.
    const lasts =
      transaction.durable !== false || synced.revision === 0 || revision - synced.revision >= unsyncedRunMax;
    const state = afterCommit(base.version.state, transaction, revision);
    const version: StateVersion = {
      state,
      synced: lasts ? state : synced,
      lineage: [...base.version.lineage.slice(1 - lineageMax), id],
    };
    await this.#files.write(temporary, encodeVersion(version), { sync: lasts });
    try {
      await this.#files.link(temporary, this.#pathOf(revision));
    } catch (error) {
      const code = error instanceof HoldfastError ? error.code : null;
      if (code === 'E_FILE_EXISTS' || code === 'E_FILE_MISSING') return null;
      if (code === 'E_NO_SPACE' || code === 'E_READ_ONLY') throw error;
      return { kind: 'unknown', reason: messageOf(error) };
    }
    return this.#afterLink(version, id, temporary, lasts);
  }

  /** The name is ours. Whether that was the commit, and whether it lasts. */
  async #afterLink(version: StateVersion, id: string, temporary: string, lasts: boolean): Promise<Attempt> {
    const { revision } = version.state;
    try {
      const names = await this.#revisions();
      if ((names[0] ?? 0) === revision) {
        if (revision > this.#cached.highest) this.#cached = { version, highest: revision };
      } else {
        const { lineage } = (await this.#latest()).version;
        if (!lineage.includes(id)) {
          // A lineage shorter than its maximum reaches back to the first commit of all.
          const outOfSight = lineage.length === lineageMax && (names[0] ?? 0) - revision >= lineageMax;
          // The next attempt writes a file of its own: this one has another name by now.
          await this.#files.remove(temporary);
          return outOfSight
            ? { kind: 'unknown', reason: `${this.#pathOf(revision)}: slept during the commit` }
            : null;
        }
      }
      if (lasts) {
        await this.#files.syncFolder(this.#folder);
        this.#folderSyncedRevision = Math.max(this.#folderSyncedRevision, revision);
        for (const old of names) {
          if (old <= revision - versionsKept) await this.#files.remove(this.#pathOf(old)).catch(() => {});
        }
      }
      return { kind: 'committed', revision };
    } catch (error) {
      return { kind: 'unknown', reason: messageOf(error) };
    }
  }

  async #readLatest(): Promise<Latest> {
    try {
      return await this.#latest();
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'E_STORE_DAMAGED') throw error;
      throw new HoldfastError('E_STORE_UNREACHABLE', `store ${this.#folder}: ${messageOf(error)}`, { cause: error });
    }
  }

  async #latest(): Promise<Latest> {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const seen = this.#cached.highest;
      const revisions = await this.#revisions();
      const highest = revisions[0] ?? 0;
      if (highest < seen) throw this.#damaged(`revision ${seen} was there, now the highest is ${highest}`);
      if (highest > this.#cached.highest) {
        const version = await this.#newest(revisions);
        if (version === null) continue;
        // Another call may have read a newer one meanwhile.
        if (highest > this.#cached.highest) this.#cached = { version, highest };
      }
      const latest = this.#cached;
      // Nobody may act on what a power loss would still undo.
      const { revision } = latest.version.synced;
      if (revision > this.#folderSyncedRevision) {
        await this.#files.syncFolder(this.#folder);
        this.#folderSyncedRevision = Math.max(this.#folderSyncedRevision, revision);
      }
      return latest;
    }
    throw new HoldfastError('E_BUSY', `versions vanished under the reader ${attemptsMax} times`);
  }

  /** The newest version that is undamaged; null when one was pruned since the folder was listed. */
  async #newest(revisions: readonly number[]): Promise<StateVersion | null> {
    try {
      for (const revision of revisions) {
        const stored = await this.#load(revision);
        if (stored !== null) return versionOf(stored, await this.#syncedStateOf(stored, revisions));
      }
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'E_FILE_MISSING') return null;
      throw error;
    }
    throw this.#damaged(`none of ${revisions.length} versions is whole`);
  }

  /** What a version rests on; null where it stands for itself. */
  async #syncedStateOf(stored: StoredVersion, revisions: readonly number[]): Promise<StoreState | null> {
    const { revision, syncedRevision } = stored;
    if (syncedRevision === revision) return null;
    const known = this.#cached.version.synced;
    if (known.revision === syncedRevision) return known;
    const synced = revisions.includes(syncedRevision) ? await this.#load(syncedRevision) : null;
    // No power loss does that. Older versions would lack what was committed to last.
    if (synced === null)
      throw this.#damaged(`revision ${revision} is built on ${syncedRevision}, which is not whole`);
    return versionOf(synced, null).state;
  }

  /** Null when it is damaged. */
  async #load(revision: number): Promise<StoredVersion | null> {
    const path = this.#pathOf(revision);
    const read = decodeVersion(await this.#files.read(path), revision);
    if (read.kind === 'version') return read.version;
    if (read.kind === 'newer') throw this.#damaged(`${path} is of schema ${read.schema}, from a newer program`);
    this.#log.warn(`store ${this.#folder}: ${path} ${read.reason}; going back to the version before`);
    return null;
  }

  /** Descending. A folder this small is listed in one call to the kernel, hence as it was at one moment. */
  async #revisions(): Promise<number[]> {
    const names = await this.#files.list(this.#folder);
    return names
      .flatMap((name) => /^state-(\d{16})\.json$/.exec(name)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a);
  }

  #pathOf(revision: number): string {
    return `${this.#folder}/state-${String(revision).padStart(16, '0')}.json`;
  }

  #damaged(what: string): HoldfastError {
    return new HoldfastError('E_STORE_DAMAGED', `store ${this.#folder}: ${what}`);
  }
}
