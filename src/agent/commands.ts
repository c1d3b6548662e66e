/**
 * Programs of the user's, as the agent runs them: start, stop and health of applications (HM-18, HM-20), the integrity
 * check (AS-9). No shell is involved: the words are program and arguments.
 */

/** Bound in `node/node-commands.ts`. */
export interface Commands {
  /** Never rejects. Resolves when the program has ended, or when it could not even be killed. */
  run(request: CommandRequest): Promise<CommandResult>;
}

export interface CommandRequest {
  readonly words: readonly string[];
  /** When it is over the program and what it started are ended; `Infinity`: it may run for ever. */
  readonly timeoutMs: number;
  /** Added to what this process was started with. */
  readonly environment: Readonly<Record<string, string>>;
  /** What it writes, on either stream, as it comes; also what children that outlive it write. */
  readonly output: (text: string) => void;
  /** Ends it as the time-out does. */
  readonly signal?: AbortSignal;
  /** Between the request to end (SIGTERM) and the end (SIGKILL). Default 2000. */
  readonly killAfterMs?: number;
}

export type CommandResult =
  | { readonly kind: 'exited'; readonly status: number }
  /** Ended by a signal that was not ours. */
  | { readonly kind: 'signalled'; readonly signal: string }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'notStarted'; readonly reason: string };

/** What went wrong, in words that follow the command's name: `ended with status 3`; null when nothing did. */
export function faultOf(result: CommandResult, timeoutMs: number): string | null {
  switch (result.kind) {
    case 'exited':
      return result.status === 0 ? null : `ended with status ${result.status}`;
    case 'signalled':
      return `was ended by ${result.signal}`;
    case 'timeout':
      return `did not end within ${timeoutMs / 1000} s and was ended`;
    case 'cancelled':
      return 'was broken off';
    case 'notStarted':
      return `could not be started: ${result.reason}`;
  }
}

/** A group's volumes, as programs are told of them. */
export interface VolumeAccess {
  readonly name: string;
  /** Backing file or device on this node; writing to it would not be mirrored. */
  readonly path: string;
  /** Where the volume is served, with its name; null while nobody listens. */
  readonly nbd: string | null;
}

/**
 * What every program finds in its environment: HOLDFAST_GROUP, HOLDFAST_NODE, HOLDFAST_REASON and, per volume,
 * HOLDFAST_VOLUME_<NAME> (path) and HOLDFAST_NBD_<NAME> (URI). In names everything but letters and digits is `_`.
 */
export function groupVariables(of: {
  readonly group: string;
  readonly node: string;
  readonly reason: string;
  readonly volumes: readonly VolumeAccess[];
}): Record<string, string> {
  const variables: Record<string, string> = {
    HOLDFAST_GROUP: of.group,
    HOLDFAST_NODE: of.node,
    HOLDFAST_REASON: of.reason,
  };
  for (const { name, path, nbd } of of.volumes) {
    const suffix = name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
    variables[`HOLDFAST_VOLUME_${suffix}`] = path;
    if (nbd !== null) variables[`HOLDFAST_NBD_${suffix}`] = nbd;
  }
  return variables;
}
