/**
 * Alerts on disk, in a folder of the node's own:
 * - `state.json`: the book and what sinks have still to tell; replaced as a whole, so that it is one or the other.
 * - `history-<n>.jsonl`: what is over, a line each, oldest first. A file that is full is followed by the next number; the
 *   oldest go when there are too many. A line torn by a crash is passed over.
 *
 * An alert goes to the history before it leaves the state: after a crash between the two it is in both, and the newer
 * line of a number counts.
 */
import { z } from 'zod';
import { HoldfastError } from '../base/errors.ts';
import type { Files } from '../base/files.ts';
import { alertCodes, type Component } from '../pulse/indication.ts';
import type { Alert } from './alert.ts';
import type { BookState } from './alert-book.ts';
import { alertLevels } from './codes.ts';
import type { SinkBacklog } from './sink-queue.ts';

export interface AlertState {
  readonly book: BookState;
  /** By the sink's name. */
  readonly sinks: Readonly<Record<string, SinkBacklog>>;
}

export interface AlertFilesOptions {
  readonly historyFileBytesMax?: number;
  readonly historyFilesMax?: number;
}

export const componentNames = [
  'node',
  'network',
  'mirror',
  'interconnect',
  'link',
  'volume',
  'disk',
  'application',
  'store',
  'group',
  'log',
] as const satisfies readonly Component[];

const alert = {
  number: z.int().min(1),
  component: z.enum(componentNames),
  id: z.string(),
  code: z.enum(alertCodes),
  level: z.enum(alertLevels),
  node: z.string(),
  group: z.string().nullable(),
  text: z.string(),
  firstAtMs: z.number(),
  lastAtMs: z.number(),
  count: z.int(),
  seenBy: z.array(z.string()),
  endedAtMs: z.number().nullable(),
  acknowledged: z.object({ by: z.string(), atMs: z.number() }).nullable(),
};
const historyLine = z.object(alert);
const told = z.object({ by: z.string(), atMs: z.number(), rank: z.int(), count: z.int(), open: z.boolean() });
const bookEntry = z.object({
  ...alert,
  about: z.array(z.string()).default([]),
  openedAtMs: z.number(),
  raisedHereAtMs: z.number(),
  told: told.nullable(),
});
const message = z.object({
  schema: z.literal(1),
  messageId: z.string(),
  occasion: z.enum(['new', 'again', 'worse', 'over', 'event', 'summary']),
  cluster: z.string(),
  sender: z.string(),
  node: z.string(),
  number: z.int(),
  component: z.enum(componentNames),
  id: z.string(),
  code: z.enum([...alertCodes, 'held-back']),
  level: z.enum(alertLevels),
  group: z.string().nullable(),
  atMs: z.number(),
  saidAtMs: z.number(),
  count: z.int(),
  over: z.boolean(),
  text: z.string(),
});
const heldBack = z.object({ count: z.int(), level: z.enum(alertLevels), headlines: z.array(z.string()) });
const stateFile = z.object({
  schema: z.literal(1),
  book: z.object({ nextNumber: z.int(), entries: z.array(bookEntry) }),
  sinks: z.record(z.string(), z.object({ queued: z.array(message), heldBack: heldBack.nullable() })),
});

const historyPattern = /^history-(\d{6,})\.jsonl$/;
const mebibyte = 1024 ** 2;

export class AlertFiles {
  readonly #files: Files;
  readonly #folder: string;
  readonly #fileBytesMax: number;
  readonly #filesMax: number;

  constructor(files: Files, folder: string, options: AlertFilesOptions = {}) {
    this.#files = files;
    this.#folder = folder;
    this.#fileBytesMax = options.historyFileBytesMax ?? mebibyte;
    this.#filesMax = options.historyFilesMax ?? 8;
  }

  /** Null: there is none. Rejects for one that cannot be read, or is of another version. */
  async loadState(): Promise<AlertState | null> {
    const bytes = await this.#files.read(this.#statePath).catch((error: unknown) => {
      if (error instanceof HoldfastError && error.code === 'E_FILE_MISSING') return null;
      throw error;
    });
    if (bytes === null) return null;
    try {
      return stateFile.parse(JSON.parse(Buffer.from(bytes).toString()));
    } catch (error) {
      throw new HoldfastError('E_METADATA', `${this.#statePath} is not a state of alerts`, { cause: error });
    }
  }

  /** Puts a state that cannot be read out of the way. */
  async setAside(): Promise<void> {
    await this.#files.rename(this.#statePath, `${this.#statePath}.unreadable`);
  }

  async saveState(state: AlertState): Promise<void> {
    const aside = `${this.#statePath}.new`;
    const bytes = Buffer.from(JSON.stringify({ schema: 1, ...state }));
    await this.#files.makeFolder(this.#folder);
    await this.#files.write(aside, bytes, { sync: true });
    await this.#files.rename(aside, this.#statePath);
    await this.#files.syncFolder(this.#folder);
  }

  /** One call at a time. */
  async append(alerts: readonly Alert[]): Promise<void> {
    if (alerts.length === 0) return;
    await this.#files.makeFolder(this.#folder);
    const numbers = await this.#historyNumbers();
    let number = numbers.at(-1) ?? 1;
    let before = numbers.length === 0 ? 0 : await this.#lengthOf(number);
    const lines = Buffer.from(alerts.map((one) => `${JSON.stringify(one)}\n`).join(''));
    if (before > 0 && before + lines.length > this.#fileBytesMax) {
      number++;
      before = 0;
    }
    const handle = await this.#files.open(this.#historyPath(number));
    try {
      // A line break first: what a crash tore off there ends with it.
      await handle.writeAt(before, before === 0 ? lines : Buffer.concat([Buffer.from('\n'), lines]));
      await handle.sync();
    } finally {
      await handle.close();
    }
    const old = numbers.filter((one) => one <= number - this.#filesMax);
    for (const one of old) await this.#files.remove(this.#historyPath(one));
    await this.#files.syncFolder(this.#folder);
  }

  /** Oldest first, the newest `limit` of them. */
  async history(limit: number): Promise<Alert[]> {
    const numbers = await this.#historyNumbers();
    const found = new Map<number, Alert>();
    for (const number of numbers.reverse()) {
      const text = Buffer.from(await this.#files.read(this.#historyPath(number))).toString();
      for (const line of text.split('\n').reverse()) {
        const one = parseLine(line);
        if (one !== null && !found.has(one.number)) found.set(one.number, one);
      }
      if (found.size >= limit) break;
    }
    return [...found.values()].sort((a, b) => a.number - b.number).slice(-limit);
  }

  get #statePath(): string {
    return `${this.#folder}/state.json`;
  }

  #historyPath(number: number): string {
    return `${this.#folder}/history-${String(number).padStart(6, '0')}.jsonl`;
  }

  async #historyNumbers(): Promise<number[]> {
    const names = await this.#files.list(this.#folder);
    return names
      .flatMap((name) => {
        const digits = historyPattern.exec(name)?.[1];
        return digits === undefined ? [] : [Number(digits)];
      })
      .sort((a, b) => a - b);
  }

  async #lengthOf(number: number): Promise<number> {
    return (await this.#files.read(this.#historyPath(number))).length;
  }
}

function parseLine(line: string): Alert | null {
  if (line === '') return null;
  try {
    return historyLine.parse(JSON.parse(line));
  } catch {
    return null;
  }
}
