/**
 * One node of `holdfast try`, as a child process. It stops when told to, and also when this process is gone without
 * having told it anything: its standard input, which we hold open, ends then. It is not in the terminal's foreground
 * group, so that Ctrl-C reaches it once, through us.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeFlags } from './node-flags.ts';
import type { Pair } from './try-pair.ts';

/** A node that has not ended by itself after so long is killed. */
const stopPatienceMs = 30_000;

export class TryNode {
  readonly name: string;
  readonly logFile: string;
  readonly #child: ChildProcess;
  #ending: string | null = null;
  readonly ended: Promise<void>;

  /** @param program the command line's entry file. */
  constructor(pair: Pair, name: string, program: string) {
    this.name = name;
    this.logFile = join(pair.folder, 'logs', `${name}.log`);
    mkdirSync(dirname(this.logFile), { recursive: true });
    if (existsSync(this.logFile)) renameSync(this.logFile, `${this.logFile}.1`);
    const log = openSync(this.logFile, 'a');
    const words = [...nodeFlags, program, 'node', 'run', '--config', pair.file, '--name', name, '--while-input-open'];
    this.#child = spawn(process.execPath, words, { stdio: ['pipe', log, log], detached: true });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#ending ??= how;
        resolve();
      };
      this.#child.on('error', (error) => end(`could not be started: ${error.message}`));
      this.#child.on('exit', (code, signal) =>
        end(signal === null ? `ended with status ${code}` : `was killed by ${signal}`),
      );
    });
  }

  get pid(): number | null {
    return this.#child.pid ?? null;
  }

  /** How it ended; null while it runs. */
  get ending(): string | null {
    return this.#ending;
  }

  /** Resolves when the process is gone; false when it did not end well. */
  async stop(): Promise<boolean> {
    if (this.#ending !== null) return true;
    this.#child.kill('SIGTERM');
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), stopPatienceMs);
    await this.ended;
    clearTimeout(patience);
    // Killed by our signal: it had not come so far as to heed it.
    return this.#child.exitCode === 0 || this.#child.signalCode === 'SIGTERM';
  }

  lastLogLines(count: number): string[] {
    return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-count);
  }
}
