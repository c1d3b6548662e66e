import { readFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import type { Environment } from '../environment.ts';
import type { Log } from '../log.ts';
import { NodeClock } from './node-clock.ts';
import { NodeFiles } from './node-files.ts';
import { NodeDatagrams } from './node-datagrams.ts';
import { NodeNetwork } from './node-network.ts';
import { NodeRandom } from './node-random.ts';
import { NodeTurn } from './node-turn.ts';

/** Exit status after an error of ours (EX_SOFTWARE of sysexits). */
export const internalErrorStatus = 70;

/** The real world, for one process. */
export function createNodeEnvironment(log: Log): Environment {
  return {
    clock: new NodeClock(),
    turn: new NodeTurn(),
    random: new NodeRandom(),
    files: new NodeFiles(),
    network: new NodeNetwork(log),
    datagrams: new NodeDatagrams(),
    log,
    bootId: readBootId(),
    abort(reason) {
      log.error(reason);
      process.exit(internalErrorStatus);
    },
  };
}

/** From now on an exception that nobody caught stops the process with a line in the log: it is always ours. */
export function abortOnUncaught(environment: Environment): void {
  const abort = (error: unknown): void => {
    environment.abort(error instanceof Error ? (error.stack ?? error.message) : String(error));
  };
  process.on('uncaughtException', abort);
  process.on('unhandledRejection', abort);
}

/** Where the kernel does not tell, every start counts as one after a power loss: the safe side (R6). */
function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return randomUUID();
  }
}
