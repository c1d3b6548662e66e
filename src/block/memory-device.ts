import type { Turn } from '../base/turn.ts';
import type { AllocationExtent, BlockFault, Completion, Device } from './device.ts';

/** What an operation is about to do, for a test to decide its fate. */
export interface Operation {
  readonly kind: 'read' | 'write' | 'zero' | 'flush';
  readonly offset: number;
  readonly length: number;
}

/** A device in memory, for tests. `fate` gives the fault an operation meets instead of being done; none by default. */
export class MemoryDevice implements Device {
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly #turn: Turn;
  readonly #fate: (operation: Operation) => BlockFault | null;
  readonly #bytes: Uint8Array;
  /** One byte a block: 1 where there is data. */
  readonly #allocated: Uint8Array;

  constructor(options: {
    readonly sizeBytes: number;
    readonly blockSizeBytes: number;
    readonly turn: Turn;
    readonly fate?: (operation: Operation) => BlockFault | null;
  }) {
    this.sizeBytes = options.sizeBytes;
    this.blockSizeBytes = options.blockSizeBytes;
    this.#turn = options.turn;
    this.#fate = options.fate ?? (() => null);
    this.#bytes = new Uint8Array(options.sizeBytes);
    this.#allocated = new Uint8Array(options.sizeBytes / options.blockSizeBytes);
  }

  read(offset: number, into: Uint8Array, done: Completion): void {
    this.#perform({ kind: 'read', offset, length: into.length }, done, () => {
      into.set(this.#bytes.subarray(offset, offset + into.length));
    });
  }

  write(offset: number, data: Uint8Array, done: Completion): void {
    this.#perform({ kind: 'write', offset, length: data.length }, done, () => {
      this.#bytes.set(data, offset);
      this.#mark(offset, data.length, 1);
    });
  }

  zero(offset: number, length: number, space: 'punch' | 'keep', done: Completion): void {
    this.#perform({ kind: 'zero', offset, length }, done, () => {
      this.#bytes.fill(0, offset, offset + length);
      this.#mark(offset, length, space === 'keep' ? 1 : 0);
    });
  }

  flush(done: Completion): void {
    this.#perform({ kind: 'flush', offset: 0, length: this.sizeBytes }, done, () => {});
  }

  allocation(
    offset: number,
    length: number,
    done: (fault: BlockFault | null, extents: AllocationExtent[]) => void,
  ): void {
    const extents: AllocationExtent[] = [];
    const end = offset + length;
    for (let start = offset; start < end;) {
      const kind = this.#allocated[start / this.blockSizeBytes];
      let next = start + this.blockSizeBytes;
      while (next < end && this.#allocated[next / this.blockSizeBytes] === kind) next += this.blockSizeBytes;
      extents.push({ offset: start, length: next - start, data: kind === 1 });
      start = next;
    }
    this.#turn.defer(() => done(null, extents));
  }

  /** Nothing is ever in flight for longer than the turn. */
  close(): Promise<void> {
    return new Promise((resolve) => this.#turn.defer(resolve));
  }

  #perform(operation: Operation, done: Completion, act: () => void): void {
    const fault = this.#fate(operation);
    if (fault === null) act();
    this.#turn.defer(() => done(fault));
  }

  #mark(offset: number, length: number, kind: 0 | 1): void {
    this.#allocated.fill(kind, offset / this.blockSizeBytes, (offset + length) / this.blockSizeBytes);
  }
}
