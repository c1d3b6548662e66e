/**
 * What a command sees of the process it runs in: streams, passing time, the wish to stop. Commands take
 * nothing else, so that tests run them without a process.
 */
import picocolors from 'picocolors';
import type { ExitStatus } from '../base/errors.ts';

export type Colours = ReturnType<typeof picocolors.createColors>;

export interface Output {
  write(text: string): void;
  readonly isTerminal: boolean;
  readonly columns: number;
  readonly rows: number;
  readonly colours: Colours;
}

export interface Io {
  readonly out: Output;
  readonly err: Output;
  /** Aborted by SIGINT, SIGTERM, or a reader of our output that has gone. */
  readonly stop: AbortSignal;
  /** Resolves when the program that started this one has closed its end of our standard input. */
  inputClosed(): Promise<void>;
  /** Resolves after so many milliseconds, or as soon as `stop` is aborted. */
  pause(ms: number): Promise<void>;
  wallMs(): number;
}

export type CommandStatus = 0 | ExitStatus;

/** Binds the process: to be called once, by the program itself. */
export function processIo(): Io {
  const stopper = new AbortController();
  const stop = (): void => stopper.abort();
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // The reader has seen enough (`holdfast status --watch | head`): no failure of ours.
      if (error.code === 'EPIPE') stop();
      else throw error;
    });
  }
  return {
    out: output(process.stdout),
    err: output(process.stderr),
    stop: stopper.signal,
    inputClosed: () =>
      new Promise((resolve) => {
        process.stdin.on('end', resolve).on('close', resolve).on('error', resolve).resume();
      }),
    pause: (ms) => pause(ms, stopper.signal),
    wallMs: () => Date.now(),
  };
}

function output(stream: NodeJS.WriteStream): Output {
  const isTerminal = stream.isTTY === true && process.env['TERM'] !== 'dumb';
  return {
    write: (text) => {
      if (stream.writable) stream.write(text);
    },
    isTerminal,
    get columns() {
      return stream.columns || 80;
    },
    get rows() {
      return stream.rows || 24;
    },
    colours: picocolors.createColors(isTerminal && !process.env['NO_COLOR']),
  };
}

function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (stop.aborted) return resolve();
    const timer = setTimeout(done, ms);
    stop.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      stop.removeEventListener('abort', done);
      resolve();
    }
  });
}
