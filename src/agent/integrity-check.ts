/**
 * AS-9: after a take-over a command of the user's looks at the volumes before hosts are let in.
 *
 * Invariant: a check that is owed is not forgotten. That a group was taken over and has not passed yet stands in the data
 * folder before the command runs; a node that starts again meanwhile checks first. Another owner, who handed the group
 * over, has served it: then nothing is owed any more.
 */
import type { Files } from '../base/files.ts';
import type { Clock } from '../base/clock.ts';
import type { OpenedBy } from '../group/service.ts';
import type { TakeOverSettings } from '../store/document.ts';
import { faultOf, type Commands } from './commands.ts';
import { OutputTail } from './output-tail.ts';

export interface CheckResult {
  readonly atMs: number;
  readonly state: 'running' | 'ok' | 'failed';
  /** What went wrong; null when nothing did. */
  readonly problem: string | null;
  readonly output: string;
}

export interface IntegrityCheckOptions {
  readonly clock: Clock;
  readonly files: Files;
  readonly commands: Commands;
  /** Of this group alone. */
  readonly folder: string;
  readonly settings: () => TakeOverSettings;
  readonly variables: (reason: string) => Readonly<Record<string, string>>;
  readonly event: (kind: string, message: string) => void;
  /** Hosts are kept out, or are let in all the same. */
  readonly failed: (reason: string, letIn: boolean) => void;
  /** It found nothing wrong, or is not asked any more: whatever failed before counts no longer. */
  readonly settled: () => void;
}

export class IntegrityCheck {
  readonly #options: IntegrityCheckOptions;
  #output = new OutputTail();
  #last: Omit<CheckResult, 'output'> | null = null;
  #running: AbortController | null = null;

  constructor(options: IntegrityCheckOptions) {
    this.#options = options;
  }

  /** Null: it was never needed since this process started. */
  get last(): CheckResult | null {
    return this.#last === null ? null : { ...this.#last, output: this.#output.text };
  }

  /** Whether hosts may be let in: null, or why not. */
  async beforeServing(why: OpenedBy): Promise<string | null> {
    if (why === 'handedOver') {
      await this.#owe(false);
      return null;
    }
    const { check } = this.#options.settings();
    if (check === null) return null;
    if (why === 'start' && !(await this.#isOwed())) return null;
    await this.#owe(true);
    return this.again();
  }

  /** Runs it now. */
  async again(): Promise<string | null> {
    const { check, onCheckFailed } = this.#options.settings();
    if (check === null) return null;
    this.cancel();
    const running = new AbortController();
    this.#running = running;
    this.#output = new OutputTail();
    const output = this.#output;
    this.#last = { atMs: this.#options.clock.wallMs(), state: 'running', problem: null };
    const result = await this.#options.commands.run({
      words: check.words,
      timeoutMs: check.timeoutMs,
      environment: this.#options.variables('check'),
      output: (text) => output.add(text),
      signal: running.signal,
    });
    const fault = faultOf(result, check.timeoutMs);
    const problem = fault === null ? null : `the integrity check ${check.words[0] ?? ''} ${fault}`;
    if (this.#running !== running) return problem ?? 'another check is under way';
    this.#running = null;
    this.#last = { atMs: this.#options.clock.wallMs(), state: problem === null ? 'ok' : 'failed', problem };
    if (problem === null) {
      this.#options.event('check', 'the integrity check found nothing wrong');
      this.#options.settled();
      await this.#owe(false);
      return null;
    }
    const letIn = onCheckFailed === 'serve';
    this.#options.event('check', `${problem}; hosts are ${letIn ? 'let in all the same' : 'kept out'}`);
    this.#options.failed(problem, letIn);
    if (!letIn) return problem;
    await this.#owe(false);
    return null;
  }

  /** Somebody has looked, and lets hosts in. */
  forgo(): Promise<void> {
    this.cancel();
    this.#options.settled();
    return this.#owe(false);
  }

  /** The group is not owned here any more. */
  cancel(): void {
    this.#running?.abort();
    this.#running = null;
  }

  async #isOwed(): Promise<boolean> {
    return (await this.#options.files.list(this.#options.folder)).includes('check-owed');
  }

  /** A folder that cannot be written leads to one check too many, or to none after a crash; hosts do not wait for it. */
  async #owe(owed: boolean): Promise<void> {
    const { files, folder } = this.#options;
    try {
      if (!owed && !(await this.#isOwed())) return;
      await files.makeFolder(folder);
      if (owed) await files.write(`${folder}/check-owed`, new Uint8Array(0), { sync: true });
      else await files.remove(`${folder}/check-owed`);
      await files.syncFolder(folder);
    } catch {
      this.#options.event('check', `whether a check is owed could not be noted in ${folder}`);
    }
  }
}
