/**
 * The history of the drills that a node ran: lines of JSON, one when a drill begins and one when it has ended, under the same
 * id. A drill without the second was interrupted: the node ended in the middle of it, and says so when it is asked.
 *
 * Bounded: the newest ones are kept, and a file that has grown beyond them is written anew.
 */
import { messageOf } from '../base/errors.ts';
import type { Environment } from '../base/environment.ts';
import { parseDrill, type DrillReport } from './drill-report.ts';

const keptMax = 200;
/** Two for each drill, and some that are rewritten once in a while only. */
const linesMax = 3 * keptMax;
const fileBytesMax = 16 * 1024 * 1024;

export class DrillBook {
  readonly #environment: Pick<Environment, 'files' | 'log'>;
  readonly #folder: string;
  readonly #drills = new Map<string, DrillReport>();
  #lines = 0;
  #bytes = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(environment: Pick<Environment, 'files' | 'log'>, folder: string) {
    this.#environment = environment;
    this.#folder = folder;
  }

  /** Never rejects: what cannot be read is told to the log. */
  async open(): Promise<void> {
    await this.#guarded(async () => {
      const { files } = this.#environment;
      await files.makeFolder(this.#folder);
      const file = await files.open(this.#path);
      const text = new TextDecoder().decode(await file.readAt(0, fileBytesMax));
      await file.close();
      for (const line of text.split('\n')) {
        const drill = parseDrill(line);
        if (drill !== null) this.#learn(drill);
      }
      for (const drill of [...this.#drills.values()]) if (drill.state === 'running') this.#learn(interrupted(drill));
      await this.#rewrite();
    });
  }

  /** Oldest first. */
  of(group: string): readonly DrillReport[] {
    return [...this.#drills.values()].filter((drill) => drill.group === group);
  }

  /** In memory at once; on the medium when it resolves, if that can be done at all. */
  keep(drill: DrillReport): Promise<void> {
    this.#learn(drill);
    this.#writing = this.#writing.then(() => this.#guarded(() => this.#append(drill)));
    return this.#writing;
  }

  /** As it goes on; not written. */
  update(drill: DrillReport): void {
    this.#learn(drill);
  }

  close(): Promise<void> {
    return this.#writing;
  }

  get #path(): string {
    return `${this.#folder}/drills.jsonl`;
  }

  #learn(drill: DrillReport): void {
    this.#drills.set(drill.id, drill);
    for (const id of this.#drills.keys()) {
      if (this.#drills.size <= keptMax) break;
      this.#drills.delete(id);
    }
  }

  async #append(drill: DrillReport): Promise<void> {
    if (this.#lines >= linesMax) return this.#rewrite();
    const file = await this.#environment.files.open(this.#path);
    const data = new TextEncoder().encode(`${JSON.stringify(drill)}\n`);
    await file.writeAt(this.#bytes, data);
    await file.sync();
    await file.close();
    this.#bytes += data.length;
    this.#lines++;
  }

  async #rewrite(): Promise<void> {
    const { files } = this.#environment;
    const lines = [...this.#drills.values()].map((drill) => `${JSON.stringify(drill)}\n`);
    const data = new TextEncoder().encode(lines.join(''));
    await files.write(`${this.#path}.new`, data, { sync: true });
    await files.rename(`${this.#path}.new`, this.#path);
    this.#bytes = data.length;
    this.#lines = lines.length;
  }

  async #guarded(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.#environment.log.warn(`the history of drills cannot be kept in ${this.#folder}: ${messageOf(error)}`);
    }
  }
}

function interrupted(drill: DrillReport): DrillReport {
  return {
    ...drill,
    state: 'interrupted',
    verdict: `${drill.node} ended in the middle of it, at the step ${drill.steps.at(-1)?.step ?? 'measuring'}.`,
    nextStep: leftOver(drill.group, drill.owner),
  };
}

/** For a drill that did not come to its end. */
export const leftOver = (group: string, owner: string): string =>
  `See \`holdfast why ${group}\`; when all copies are whole: holdfast group switch-over ${group} --to ${owner}`;
