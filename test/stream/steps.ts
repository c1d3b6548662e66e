/** Turns and devices that move only when a test says so, and records to put on them. */
import type { EndTask, Turn } from '../../src/base/turn.ts';
import type { AllocationExtent, BlockFault, Completion, Device } from '../../src/block/device.ts';
import type { RecordKind, StreamRecord } from '../../src/stream/record.ts';

/** Deferred work waits for `run`. */
export class StepTurn implements Turn {
  readonly #deferred: (() => void)[] = [];
  readonly #ends: EndTask[] = [];

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  atEnd(task: EndTask): void {
    this.#ends.push(task);
  }

  run(): void {
    for (;;) {
      const next = this.#deferred.shift();
      if (next !== undefined) next();
      else if (this.#ends.length === 0) return;
      else for (const task of this.#ends.splice(0)) task.endOfTurn();
    }
  }
}

export interface HeldOperation {
  readonly kind: 'write' | 'zero' | 'flush';
  readonly offset: number;
  readonly length: number;
  readonly data: Uint8Array | null;
  /** Does it, unless there is a fault, and tells. */
  readonly complete: (fault?: BlockFault | null) => void;
}

/** A device whose changes wait until the test completes them. */
export class HeldDevice implements Device {
  readonly sizeBytes: number;
  readonly blockSizeBytes = 1;
  readonly bytes: Uint8Array;
  readonly operations: HeldOperation[] = [];

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.bytes = new Uint8Array(sizeBytes);
  }

  read(offset: number, into: Uint8Array, done: Completion): void {
    into.set(this.bytes.subarray(offset, offset + into.length));
    done(null);
  }

  write(offset: number, data: Uint8Array, done: Completion): void {
    this.#hold({ kind: 'write', offset, length: data.length, data }, done, () => this.bytes.set(data, offset));
  }

  zero(offset: number, length: number, _space: 'punch' | 'keep', done: Completion): void {
    this.#hold({ kind: 'zero', offset, length, data: null }, done, () => this.bytes.fill(0, offset, offset + length));
  }

  flush(done: Completion): void {
    this.#hold({ kind: 'flush', offset: 0, length: 0, data: null }, done, () => {});
  }

  allocation(
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void {
    done(null, [{ offset, length, data: true }]);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #hold(operation: Omit<HeldOperation, 'complete'>, done: Completion, act: () => void): void {
    const held: HeldOperation = {
      ...operation,
      complete: (fault = null) => {
        this.operations.splice(this.operations.indexOf(held), 1);
        if (fault === null) act();
        done(fault);
      },
    };
    this.operations.push(held);
  }
}

export function record(kind: RecordKind, seq: number, changes: Partial<StreamRecord> = {}): StreamRecord {
  const length = kind === 'flush' || kind === 'skip' ? 0 : (changes.length ?? 1);
  const hasData = kind === 'write' || kind === 'copy';
  return {
    kind,
    generation: 1,
    epoch: 1,
    seq,
    volume: 0,
    offset: 0,
    hole: false,
    data: hasData ? new Uint8Array(length).fill(seq) : null,
    checksum: 0,
    ...changes,
    length,
  };
}
