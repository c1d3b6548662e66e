/**
 * Tells an alert by running a program: the message as JSON on standard input, and its parts in the environment as
 * `HOLDFAST_ALERT_…`. Exit status 0 is delivered; anything else, or no end within the time limit, is tried again. Of what
 * it prints the end is kept, in the node's log and, where it fails, in the problem shown.
 */
import { spawn } from 'node:child_process';
import type { AlertMessage } from '../../alerts/alert.ts';
import type { AlertSink } from '../../alerts/sink.ts';
import { HoldfastError } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { formatDuration } from '../../base/units.ts';
import type { CommandSettings } from './sink-settings.ts';

const outputCharactersMax = 4096;
/** What a program needs to run at all; the rest of the node's environment may hold secrets. */
const passedOn = ['PATH', 'HOME', 'USER', 'LANG', 'TZ', 'TMPDIR'];

export function createCommandSink(settings: CommandSettings, log: Log): AlertSink {
  const { name, kind, levels } = settings;
  const running = new Set<() => void>();
  return {
    name,
    kind,
    levels,
    send: (message) => run(settings, message, log, running),
    async close() {
      for (const kill of running) kill();
    },
  };
}

function run(settings: CommandSettings, message: AlertMessage, log: Log, running: Set<() => void>): Promise<void> {
  const { program, args, timeLimitMs, name } = settings;
  return new Promise((resolve, reject) => {
    // A process group of its own: at the end of the time its children go with it.
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: environmentOf(message),
      detached: true,
    });
    let output = '';
    let isLate = false;
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has just ended.
      }
      // Whoever left the group may hold the pipes for ever.
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => {
      isLate = true;
      kill();
    }, timeLimitMs);
    running.add(kill);
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-outputCharactersMax)));
    }
    const end = (problem: string | null): void => {
      clearTimeout(timer);
      running.delete(kill);
      const printed = output.trim();
      if (printed !== '') log.info(`${program}, which sink ${name} runs, printed`, { output: printed });
      if (problem === null) resolve();
      else reject(new HoldfastError('E_IO', `${program} ${problem}${printed === '' ? '' : `: ${printed}`}`));
    };
    child.on('error', (error) => end(`cannot be run: ${error.message}`));
    child.on('close', (status, signal) => {
      if (isLate) end(`did not end within ${formatDuration(timeLimitMs)}`);
      else if (status === 0) end(null);
      else end(status === null ? `was ended by ${signal}` : `ended with exit status ${status}`);
    });
    // It need not read what it is given.
    child.stdin.on('error', () => {});
    child.stdin.end(`${JSON.stringify(message)}\n`);
  });
}

/** `messageId` becomes `HOLDFAST_ALERT_MESSAGE_ID`; null becomes empty. */
function environmentOf(message: AlertMessage): Record<string, string> {
  const own = Object.entries(message).map(([key, value]: [string, string | number | boolean | null]) => [
    `HOLDFAST_ALERT_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
    value === null ? '' : String(value),
  ]);
  const given = passedOn.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  return Object.fromEntries([...given, ...own]) as Record<string, string>;
}
