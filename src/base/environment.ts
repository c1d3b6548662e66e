import type { Clock } from './clock.ts';
import type { Files } from './files.ts';
import type { Log } from './log.ts';
import type { Datagrams, Network } from './network.ts';
import type { Random } from './random.ts';
import type { Turn } from './turn.ts';

/** The world of one process. Production binds it in `base/node/`, the simulator in `sim/`; nothing else reaches out. */
export interface Environment {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly random: Random;
  readonly files: Files;
  readonly network: Network;
  readonly datagrams: Datagrams;
  readonly log: Log;
  /** Changes with every boot of the kernel: same id, same page cache (R6). */
  readonly bootId: string;
  /** Stops the process after an error of ours: the other side lives, and what we would have said next is not said. */
  abort(reason: string): never;
}
