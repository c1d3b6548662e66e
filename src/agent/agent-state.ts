/**
 * What the agent of a node remembers over restarts: one small file, written aside and renamed, so that a crash leaves the
 * old or the new. Losing it costs caution, never safety: whoever forgets that it waits for a partner waits for the start-up
 * time again, and the store decides all the same.
 */
import { z } from 'zod';
import type { Files } from '../base/files.ts';
import { HoldfastError } from '../base/errors.ts';

const stateSchema = z.object({
  schema: z.literal(1),
  /** AS-14: automatic take-over by this node is on. */
  automatic: z.boolean(),
  /** AS-7: nodes that announced that they stop, and were not heard since: wall clock of the announcement. */
  planned: z.record(z.string(), z.number()),
  /** AS-8: nodes whose groups were to be taken over, successfully or not, and that were not heard since. */
  waitingFor: z.record(z.string(), z.number()),
  /** TL-15: how often a group's preferred owner has failed it lately, and when last. */
  failures: z.record(z.string(), z.object({ count: z.number().int().min(0), lastAtMs: z.number() })),
});

export type Remembered = z.infer<typeof stateSchema>;

const nothing: Remembered = { schema: 1, automatic: true, planned: {}, waitingFor: {}, failures: {} };

export class AgentState {
  readonly #files: Files;
  readonly #folder: string;
  #state: Remembered = nothing;
  /** The last save under way; saves follow one another, and the last one has everything. */
  #saving: Promise<void> = Promise.resolve();
  #dirty = false;

  constructor(files: Files, folder: string) {
    this.#files = files;
    this.#folder = folder;
  }

  get current(): Readonly<Remembered> {
    return this.#state;
  }

  /** What cannot be read counts as nothing remembered; the reason is returned, null when all is well. */
  async load(): Promise<string | null> {
    try {
      await this.#files.makeFolder(this.#folder);
      const text = new TextDecoder().decode(await this.#files.read(`${this.#folder}/state.json`));
      const parsed = stateSchema.safeParse(JSON.parse(text));
      if (!parsed.success) return `${this.#folder}/state.json is not of this version`;
      this.#state = parsed.data;
      return null;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'E_FILE_MISSING') return null;
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Resolves when it is on the medium; rejects when it cannot be written: it counts in memory all the same. */
  change(change: (state: Remembered) => Remembered): Promise<void> {
    const next = change(this.#state);
    if (next === this.#state) return this.#saving;
    this.#state = next;
    this.#dirty = true;
    this.#saving = this.#saving.catch(() => {}).then(() => this.#save());
    return this.#saving;
  }

  async #save(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    const path = `${this.#folder}/state.json`;
    const data = new TextEncoder().encode(`${JSON.stringify(this.#state, null, 1)}\n`);
    try {
      await this.#files.write(`${path}.new`, data, { sync: true });
      await this.#files.rename(`${path}.new`, path);
      await this.#files.syncFolder(this.#folder);
    } catch (error) {
      this.#dirty = true;
      throw error;
    }
  }
}

/** Without a key; the same object when it is not there. */
export function without<Value>(record: Readonly<Record<string, Value>>, key: string): Record<string, Value> {
  if (!(key in record)) return record;
  return Object.fromEntries(Object.entries(record).filter(([name]) => name !== key));
}
