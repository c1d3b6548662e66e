/**
 * A record at its owner: the stamp and payload that travel, and what is known of it here. One object a change serves as
 * the host's request, the entry of the history, and the record on the wire.
 */
import type { RecordKind, StreamRecord } from './record.ts';

export type ChangeFault = 'io' | 'noSpace' | 'moved';

export class Change implements StreamRecord {
  generation = 0;
  epoch = 0;
  seq = 0;
  readonly kind: RecordKind;
  readonly volume: number;
  readonly offset: number;
  readonly length: number;
  readonly hole: boolean;
  readonly data: Uint8Array | null;
  checksum = 0;

  /** Place in the history of this process (`History`). */
  ordinal = 0;
  /** Monotonic clock, when it was stamped. */
  stampedAtMs = 0;
  /** The owner's own leg has it, or has failed to. */
  stored = false;
  /** Nobody waits for it any more: acknowledged, failed, or given up. */
  finished = false;
  /** Place in the flight table; -1 when not in it. */
  flightIndex = -1;
  /** The only leg a `copy` travels to; null for what concerns every leg. */
  readonly onlyFor: string | null;
  /** Tells the host; null for what no host asked for. */
  readonly done: ((fault: ChangeFault | null) => void) | null;
  /** Reads that overlap it, waiting until it is finished (R1). */
  waiting: (() => void)[] | null = null;

  constructor(
    kind: RecordKind,
    at: { readonly volume: number; readonly offset: number; readonly length: number },
    data: Uint8Array | null,
    hole: boolean,
    done: ((fault: ChangeFault | null) => void) | null,
    onlyFor: string | null = null,
  ) {
    this.kind = kind;
    this.volume = at.volume;
    this.offset = at.offset;
    this.length = at.length;
    this.data = data;
    this.hole = hole;
    this.done = done;
    this.onlyFor = onlyFor;
  }
}
