/**
 * Runs other people's programs: their output, their exit status, an end after a time limit, and no process left behind.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Null when a signal ended it. */
  readonly status: number | null;
}

export interface CommandOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it is started; else where the tests run. */
  readonly folder?: string;
}

/** Administrators' tools are not in every user's PATH. */
const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;

const outputCharactersMax = 64 * 1024 * 1024;

export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = startCommand(program, args, options);
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      if (output[name].length < outputCharactersMax) output[name] += text;
    });
  }
  child.stdin?.on('error', () => {}); // It may end without reading its input.
  child.stdin?.end(options.input ?? '');
  const timeoutMs = options.timeoutMs ?? 120_000;
  const timer = setTimeout(() => {
    output.stderr += `\n${program}: ended after ${timeoutMs} ms`;
    child.kill('SIGKILL');
  }, timeoutMs);
  try {
    await once(child, 'close');
  } finally {
    clearTimeout(timer);
  }
  return { ...output, status: child.exitCode };
}

/** Like `runCommand`, for when anything but success is an error of the test itself. */
export async function mustRun(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const result = await runCommand(program, args, options);
  if (result.status === 0) return result;
  const command = [program, ...args].join(' ');
  throw new Error(
    `${command}: exit status ${result.status}\n${result.stdout.slice(-4000)}${result.stderr.slice(-4000)}`,
  );
}

const living = new Set<ChildProcess>();
// Also when a test run is cut short, nothing of it goes on.
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL');
});
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

export function startCommand(program: string, args: readonly string[], options: CommandOptions = {}): ChildProcess {
  const environment = { ...process.env, PATH: path, LC_ALL: 'C.UTF-8', NO_COLOR: '1', ...options.environment };
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: environment, cwd: options.folder });
  living.add(child);
  child.once('exit', () => living.delete(child));
  return child;
}

/** Signals a child and waits until the process is gone. */
export async function endCommand(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

/** Asks again and again until the answer is not null. */
export async function until<T>(what: string, timeoutMs: number, ask: () => Promise<T | null> | T | null): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== null) return answer;
    if (performance.now() > deadlineMs) throw new Error(`${what}: not so after ${timeoutMs} ms`);
    await delay(50);
  }
}

/** Ports nobody listens on now; all are held at once while choosing, so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** True when something accepts connections there. */
export async function acceptsConnections(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
