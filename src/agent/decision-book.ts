/**
 * Every decision of the agent, also those not to act, with the evidence it was made from: the last ones in memory, all of them in
 * a file of lines of JSON that `holdfast judge replay` reads. Bounded: a file that has grown to its maximum becomes the
 * previous one, and the one before that goes.
 *
 * A decision is kept when it differs from the last one about the same group (another rule, another owner, another outcome), not with
 * every look: an owner that has been silent for an hour is one line.
 */
import { z } from 'zod';
import { messageOf } from '../base/errors.ts';
import type { FileHandle, Files } from '../base/files.ts';
import type { Log } from '../base/log.ts';
import type { Evidence, Verdict } from '../pulse/judge.ts';

export interface KeptDecision {
  readonly evidence: Evidence;
  readonly verdict: Verdict;
  /** What became of it, where it was acted upon. */
  readonly outcome: string | null;
}

const heardSchema = z.object({
  channel: z.string(),
  kind: z.enum(['network', 'mirror', 'interconnect', 'link']),
  enable: z.enum(['ENABLE', 'DISABLE', 'FAILED']),
  hearing: z.enum(['alive', 'silent', 'probation', 'unknown']),
  silentMs: z.number().nullable(),
  fault: z.string().nullable(),
  unfit: z.string().optional(),
});

const evidenceSchema: z.ZodType<Evidence> = z.object({
  schema: z.literal(1),
  atMs: z.number(),
  node: z.string(),
  group: z.string(),
  owner: z.string(),
  generation: z.number(),
  automatic: z.enum(['on', 'off', 'heartbeat-only']),
  nodeAutomatic: z.boolean(),
  heard: z.array(heardSchema),
  deaf: z.string().nullable(),
  heardBy: z.array(z.string()),
  presence: z.enum(['off', 'notAsked', 'asking', 'answered', 'silent']),
  planned: z.boolean(),
  waitsForRecovery: z.boolean(),
  store: z.enum(['none', 'unreachable', 'held', 'lapsed']),
  mayServe: z.boolean(),
  unsafe: z.string().nullable(),
  before: z.array(z.string()),
  precedenceMs: z.number(),
  precedenceMaxMs: z.number(),
});

export const decisionSchema = z.object({
  evidence: evidenceSchema,
  verdict: z.object({ decision: z.enum(['takeOver', 'verify', 'wait', 'no']), rule: z.string(), text: z.string() }),
  outcome: z.string().nullable(),
});

export type ReadDecision = z.infer<typeof decisionSchema>;

/** One line of a file of decisions; null when it is none. */
export function parseDecision(line: string): ReadDecision | null {
  try {
    const parsed = decisionSchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}

const inMemoryMax = 500;
const fileBytesMax = 4 * 1024 * 1024;

export class DecisionBook {
  readonly #files: Files;
  readonly #folder: string;
  readonly #log: Log;
  readonly #recent: KeptDecision[] = [];
  #file: FileHandle | null = null;
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();
  #problem: string | null = null;

  constructor(files: Files, folder: string, log: Log) {
    this.#files = files;
    this.#folder = folder;
    this.#log = log;
  }

  /** Reads the last ones of before, for `why`. Never rejects. */
  async open(): Promise<void> {
    try {
      await this.#files.makeFolder(this.#folder);
      this.#file = await this.#files.open(this.#path);
      const data = await this.#file.readAt(0, fileBytesMax * 2);
      this.#bytes = data.length;
      const lines = new TextDecoder().decode(data).trimEnd().split('\n').slice(-inMemoryMax);
      for (const line of lines) {
        const decision = parseDecision(line);
        if (decision !== null) this.#recent.push(decision as KeptDecision);
      }
      // A line cut off by a crash ends here, so that the next one stands by itself.
      if (data.length > 0 && data[data.length - 1] !== 0x0a) await this.#append('\n');
    } catch (error) {
      this.#failed(error);
    }
  }

  keep(decision: KeptDecision): void {
    this.#recent.push(decision);
    if (this.#recent.length > inMemoryMax) this.#recent.shift();
    this.#writing = this.#writing
      .then(() => this.#append(`${JSON.stringify(decision)}\n`))
      .catch((error: unknown) => this.#failed(error));
  }

  /** Newest last. */
  of(group: string, count: number): readonly KeptDecision[] {
    return this.#recent.filter(({ evidence }) => evidence.group === group).slice(-count);
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file?.close().catch(() => {});
    this.#file = null;
  }

  get #path(): string {
    return `${this.#folder}/decisions.jsonl`;
  }

  async #append(text: string): Promise<void> {
    if (this.#file === null) return;
    const data = new TextEncoder().encode(text);
    if (this.#bytes + data.length > fileBytesMax) await this.#rotate();
    await this.#file.writeAt(this.#bytes, data);
    this.#bytes += data.length;
    this.#problem = null;
  }

  async #rotate(): Promise<void> {
    await this.#file?.close();
    this.#file = null;
    await this.#files.rename(this.#path, `${this.#path}.1`);
    this.#file = await this.#files.open(this.#path);
    this.#bytes = 0;
  }

  /** Decisions that cannot be written are made all the same. */
  #failed(error: unknown): void {
    const problem = messageOf(error);
    if (problem !== this.#problem) this.#log.warn(`decisions cannot be kept in ${this.#folder}: ${problem}`);
    this.#problem = problem;
  }
}
