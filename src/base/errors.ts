/**
 * The registry of error codes: what each means, what to do about it, and how it looks to a shell. Errors of the world
 * only: our own mistakes are assertions (`assert.ts`), a peer's breach of protocol closes its session by name.
 * `docs/reference/errors.md` is generated from this table.
 */

/** Exit status of the command line: 1 failed, 2 usage, 3 refused (nothing was changed). */
export type ExitStatus = 1 | 2 | 3;

interface ErrorKind {
  readonly meaning: string;
  readonly cure: string;
  readonly exitStatus: ExitStatus;
}

const kinds = {
  E_USAGE: {
    meaning: 'The command line or request is not of the form the command takes.',
    cure: 'See the command with --help.',
    exitStatus: 2,
  },
  E_CONFIG: {
    meaning: 'The configuration file is wrong; the message names file, line, and what would be right.',
    cure: 'Correct the line, then try `holdfast config check`.',
    exitStatus: 2,
  },
  E_NOT_FOUND: {
    meaning: 'There is no volume, group, node or file of that name.',
    cure: 'Look at the names with `holdfast status`.',
    exitStatus: 2,
  },
  E_EXISTS: { meaning: 'The name is taken.', cure: 'Choose another name.', exitStatus: 3 },
  E_REFUSED: {
    meaning: 'Doing it now would risk data or has no sense in this state; nothing was changed.',
    cure: 'Do what the message says; `holdfast why` tells more of the state it is in.',
    exitStatus: 3,
  },
  E_BUSY: {
    meaning: 'Another operation on the same object is under way.',
    cure: 'Wait until it has ended, then try again.',
    exitStatus: 3,
  },
  E_NODE_UNREACHABLE: {
    meaning: 'A node does not answer.',
    cure: 'Check that it runs and that its address is right.',
    exitStatus: 1,
  },
  E_STORE_UNREACHABLE: {
    meaning: 'The coordination store does not answer.',
    cure: 'Check the store; without it no ownership can change.',
    exitStatus: 1,
  },
  E_STORE_DAMAGED: {
    meaning: 'The coordination store holds something that cannot be read or goes back in time.',
    cure: 'Do not restore it from a backup while nodes run; the message says what was found.',
    exitStatus: 1,
  },
  E_CHECK_FAILED: {
    meaning: 'The integrity check of a group that was taken over has failed; hosts are kept out.',
    cure: 'See what it wrote with `holdfast group check`; then run it again there, or let hosts in.',
    exitStatus: 1,
  },
  E_TIMEOUT: {
    meaning: 'It took longer than allowed.',
    cure: 'See `holdfast why` for what it waits for.',
    exitStatus: 1,
  },
  E_PORT_TAKEN: {
    meaning: 'Another program listens on the port.',
    cure: 'End that program or choose another port.',
    exitStatus: 1,
  },
  E_ADDRESS_UNAVAILABLE: {
    meaning: 'The address does not belong to this machine.',
    cure: 'Correct the address in the configuration.',
    exitStatus: 1,
  },
  E_LISTEN: { meaning: 'The address cannot be listened on.', cure: 'The message has the reason.', exitStatus: 1 },
  E_VOLUME_IN_USE: {
    meaning: 'Another process has the backing file or device open.',
    cure: 'End the process named; one process opens a volume at a time.',
    exitStatus: 1,
  },
  E_VOLUME_SIZE: {
    meaning: 'The backing file or device has another size than the configuration says.',
    cure: 'Correct the size in the configuration, or name another file.',
    exitStatus: 1,
  },
  E_FILE_MISSING: { meaning: 'The file is not there.', cure: 'Bring it back, or correct the path.', exitStatus: 1 },
  E_FILE_EXISTS: { meaning: 'The file is already there.', cure: 'Remove it or choose another name.', exitStatus: 3 },
  E_READ_ONLY: {
    meaning: 'The file or device cannot be written.',
    cure: 'Check permissions and mounts.',
    exitStatus: 1,
  },
  E_NO_SPACE: {
    meaning: 'The file system is full.',
    cure: 'Make room; writes go on by themselves then.',
    exitStatus: 1,
  },
  E_IO: { meaning: 'The operating system reported an input/output error.', cure: 'Check the disk.', exitStatus: 1 },
  E_METADATA: {
    meaning: 'Both slots of a metadata file are unreadable, or were written by a newer version.',
    cure: 'Bring the file back from the same moment as the volume, or let the leg be copied anew from the other node.',
    exitStatus: 1,
  },
  E_PROTOCOL: {
    meaning: 'The other side sent what the protocol does not allow.',
    cure: 'Check versions.',
    exitStatus: 1,
  },
  E_INTERNAL: { meaning: 'An error of ours.', cure: 'Please report it, with the log.', exitStatus: 1 },
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof kinds;

export const errorKinds: Readonly<Record<ErrorCode, ErrorKind>> = kinds;

/** A fault of the world. The message names the object and the numbers; the code leads to meaning and cure. */
export class HoldfastError extends Error {
  override readonly name = 'HoldfastError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** For a value caught at an edge: what to show of it. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
