/**
 * Programs of the user's on this machine. Each has a process group of its own, so that what it started ends with it: first
 * asked (SIGTERM), then ended (SIGKILL).
 *
 * A program counts as ended when it has, not when its output is closed: one that starts a service and returns leaves the
 * service its streams. They are read on, for closing them would end the service at its next word.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import type { CommandRequest, CommandResult, Commands } from '../agent/commands.ts';
import { messageOf } from '../base/errors.ts';

const killAfterMsDefault = 2000;
/** A process that even SIGKILL does not end hangs in the kernel; nobody waits longer for it. */
const giveUpAfterMs = 2000;
/** What was written just before the end arrives just after it. */
const lastWordsMs = 50;

export class NodeCommands implements Commands {
  run(request: CommandRequest): Promise<CommandResult> {
    const [program, ...args] = request.words;
    if (program === undefined) return Promise.resolve({ kind: 'notStarted', reason: 'no program is named' });
    if (request.signal?.aborted === true) return Promise.resolve({ kind: 'cancelled' });
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...inherited(), ...request.environment },
      });
    } catch (error) {
      return Promise.resolve({ kind: 'notStarted', reason: messageOf(error) });
    }
    return new Promise((resolve) => follow(child, request, resolve));
  }
}

function follow(child: ChildProcess, request: CommandRequest, resolve: (result: CommandResult) => void): void {
  const { signal, timeoutMs, killAfterMs = killAfterMsDefault } = request;
  const timers: NodeJS.Timeout[] = [];
  let why: 'timeout' | 'cancelled' | null = null;
  let settled = false;
  const settle = (result: CommandResult): void => {
    if (settled) return;
    settled = true;
    timers.forEach(clearTimeout);
    signal?.removeEventListener('abort', cancel);
    resolve(why === null ? result : { kind: why });
  };
  const end = (reason: 'timeout' | 'cancelled'): void => {
    if (why !== null || settled) return;
    why = reason;
    killGroup(child, 'SIGTERM');
    timers.push(
      setTimeout(() => killGroup(child, 'SIGKILL'), killAfterMs),
      setTimeout(() => settle({ kind: reason }), killAfterMs + giveUpAfterMs),
    );
  };
  const cancel = (): void => end('cancelled');
  signal?.addEventListener('abort', cancel);
  if (Number.isFinite(timeoutMs)) timers.push(setTimeout(() => end('timeout'), timeoutMs));
  for (const stream of [child.stdout, child.stderr]) if (stream !== null) read(stream, request.output);
  child.on('error', (error) => settle({ kind: 'notStarted', reason: messageOf(error) }));
  child.on('exit', (status, killedBy) => {
    // Its children may not have heard, or not have listened.
    if (why !== null) killGroup(child, 'SIGKILL');
    const result: CommandResult =
      status === null ? { kind: 'signalled', signal: killedBy ?? 'a signal' } : { kind: 'exited', status };
    setTimeout(() => settle(result), lastWordsMs);
  });
}

function read(stream: Readable, output: (text: string) => void): void {
  const decoder = new StringDecoder('utf8');
  stream.on('data', (chunk: Buffer) => output(decoder.write(chunk)));
  stream.on('error', () => {});
  // What a service left behind says is heard as long as this process lives, and does not keep it alive.
  if (stream instanceof Socket) stream.unref();
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody is left in it.
  }
}

/** Without what is ours: secrets among it. */
function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_')));
}
