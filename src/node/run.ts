/** One node, wired and running: the composition root. */
import { HoldfastError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Configuration } from './configuration.ts';
import type { NodeControl } from './control.ts';

export interface RunningNode {
  readonly control: NodeControl;
  /** Ends serving hosts, leaves everything clean on disk. */
  stop(): Promise<void>;
  /** Resolves when the node has ended, of itself or by `stop`. */
  readonly stopped: Promise<void>;
  readonly nbdAddresses: readonly string[];
  readonly apiAddress: string;
}

export async function runNode(options: {
  configuration: Configuration;
  nodeName: string;
  log: Log;
}): Promise<RunningNode> {
  throw new HoldfastError('E_INTERNAL', `node ${options.nodeName} cannot be run by this build`);
}
