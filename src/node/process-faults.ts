/**
 * Faults that a node does to itself for a drill (BY-11). Each is begun by a small process of its own, which outlives the
 * node: it brings a killed node back, and lets a stopped one go on.
 *
 * Invariant: nothing happens to the node before the process that mends it has started.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { HoldfastError, messageOf } from '../base/errors.ts';

export interface ProcessFaults {
  /** Who starts a killed node again. */
  readonly restarts: 'itself' | 'init';
  /** `faultDelayMs` after it has resolved. Rejects with `E_REFUSED` where it cannot be arranged. */
  kill(): Promise<void>;
  /** Begins `faultDelayMs` after it has resolved. Rejects as `kill` does. */
  pause(forMs: number): Promise<void>;
}

/** Set to `init` where something else starts the node again: a container's restart policy, a supervisor. */
export const restartsVariable = 'HOLDFAST_RESTARTS';

/** How soon a fault begins: the answer to the request shall get away before, milliseconds. */
export const faultDelayMs = 200;
const downSeconds = 3;

// The pipe on descriptor 3 ends when the node's process has, even if nobody has collected its status.
const revive = 'cat <&3 >/dev/null; exec 3<&-; sleep "$1"; shift; exec "$@"';
const standStill = 'sleep "$2"; kill -STOP "$1" && sleep "$3"; kill -CONT "$1"';

export class OwnProcessFaults implements ProcessFaults {
  readonly restarts = restartsOf(process.env, process.pid);

  async kill(): Promise<void> {
    if (this.restarts === 'itself') {
      const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
      await begin(revive, [String(downSeconds), ...again], ['inherit', 'inherit', 'inherit', 'pipe']);
    }
    setTimeout(() => process.kill(process.pid, 'SIGKILL'), faultDelayMs);
  }

  async pause(forMs: number): Promise<void> {
    await begin(standStill, [String(process.pid), String(faultDelayMs / 1000), String(forMs / 1000)], 'ignore');
  }
}

/** By systemd (which sets INVOCATION_ID), in a container (process 1 ends it), or as the environment says. */
export function restartsOf(environment: NodeJS.ProcessEnv, pid: number): 'itself' | 'init' {
  const said = environment[restartsVariable];
  if (said === 'itself' || said === 'init') return said;
  return (environment['INVOCATION_ID'] ?? '') !== '' || pid === 1 ? 'init' : 'itself';
}

async function begin(
  script: string,
  words: readonly string[],
  stdio: 'ignore' | ('inherit' | 'pipe')[],
): Promise<void> {
  const child = spawn('/bin/sh', ['-c', script, 'sh', ...words], { detached: true, stdio });
  try {
    await once(child, 'spawn');
  } catch (error) {
    throw new HoldfastError('E_REFUSED', `the fault cannot be arranged: ${messageOf(error)}`, { cause: error });
  }
  child.on('error', () => {});
  child.unref();
}
