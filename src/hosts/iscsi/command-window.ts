/**
 * Which commands may come: ExpCmdSN and MaxCmdSN of a session (RFC 7143 4.2.2.1). The window moves on when a command has
 * ended, so it bounds those in flight: at most `size`, beside immediate ones, which have no number of their own.
 *
 * Numbers are of 32 bits and compare as serial numbers (RFC 1982): *before* means by less than half of the circle.
 */
export class CommandWindow {
  /** The next command to be performed. */
  expCmdSn: number;
  /** The last that may be sent; it never goes back. One before `expCmdSn`: none may. */
  maxCmdSn: number;

  constructor(expCmdSn: number, size: number) {
    this.expCmdSn = expCmdSn;
    this.maxCmdSn = (expCmdSn + size - 1) >>> 0;
  }

  /** False for a duplicate, and for what the initiator was not allowed to send: both are ignored. */
  contains(cmdSn: number): boolean {
    return !serialBefore(cmdSn, this.expCmdSn) && !serialBefore(this.maxCmdSn, cmdSn);
  }

  /** `expCmdSn` is being performed. */
  advance(): void {
    this.expCmdSn = (this.expCmdSn + 1) >>> 0;
  }

  /** A command that had a number has ended: there is room for another. */
  retire(): void {
    this.maxCmdSn = (this.maxCmdSn + 1) >>> 0;
  }
}

export function serialBefore(left: number, right: number): boolean {
  return ((left - right) | 0) < 0;
}
