/** The copier alone: its source stamps, reads and tells when the test says so. */
import { describe, expect, test } from 'vitest';
import type { AllocationExtent, BlockFault } from '../../src/block/device.ts';
import { Copier, type CopySource } from '../../src/mirror/copier.ts';
import { World } from '../../src/sim/world/world.ts';
import type { Change } from '../../src/stream/change.ts';
import { ChangeBitmap } from '../../src/volume/change-bitmap.ts';
import { MiB } from '../volume/legs.ts';

const sizeBytes = 4 * MiB;
const pieceBytes = MiB / 4;

class Bench {
  readonly world = new World({ seed: 'copier' });
  readonly process = this.world.machine('east').start('a');
  readonly bytes = new Uint8Array(sizeBytes).fill(7);
  readonly bits = new ChangeBitmap(sizeBytes);
  readonly stamped: Change[] = [];
  /** Reads under way; each is ended by calling it. */
  readonly reads: ((fault?: BlockFault | null) => void)[] = [];
  extents: AllocationExtent[] | null = null;
  hostsActive = false;
  ready = true;
  finished = false;
  /** Something happens between the question for holes and its answer. */
  afterPlanning: () => void = () => {};
  failed: string[] = [];
  #watches: { offset: number; length: number; touched: boolean }[] = [];

  readonly source: CopySource = ((bench): CopySource => ({
    environment: bench.process.environment,
    resyncShare: 0.25,
    get hostsActive() {
      return bench.hostsActive;
    },
    readyToCopy: () => bench.ready,
    watch: (_volume, offset, length) => {
      const watch = { offset, length, touched: false, release: () => {} };
      bench.#watches.push(watch);
      return watch;
    },
    readOwn: (_volume, offset, into, done) => {
      bench.reads.push((fault = null) => {
        into.set(bench.bytes.subarray(offset, offset + into.length));
        done(fault);
      });
    },
    allocation: (_volume, offset, length, done) => {
      bench.afterPlanning();
      done(null, bench.extents ?? [{ offset, length, data: true }]);
    },
    stampCopy: (change) => bench.stamped.push(change),
    copyFailed: (target, fault) => void bench.failed.push(`${target} ${fault.kind}`),
  }))(this);

  copier(skipHoles = false): Copier {
    const made = new Copier(this.source, {
      target: 'west',
      bits: new Map([[0, this.bits]]),
      kind: 'resync',
      skipHoles,
      finished: () => (this.finished = true),
    });
    made.run();
    return made;
  }

  /** A host's change is stamped there. */
  touch(offset: number, length = 512): void {
    for (const watch of this.#watches) {
      if (watch.offset < offset + length && offset < watch.offset + watch.length) watch.touched = true;
    }
  }

  readAll(): void {
    for (const end of this.reads.splice(0)) end();
  }

  get copies(): string[] {
    return this.stamped.map(({ kind, offset, length }) => `${kind} ${offset / pieceBytes}+${length / pieceBytes}`);
  }
}

describe('a copier', () => {
  test('copies what its bits name in pieces, several at a time, and ends when all is applied', () => {
    const bench = new Bench();
    bench.bits.set(0, 3 * pieceBytes);
    const copier = bench.copier();
    expect([bench.reads.length, copier.totalBytes]).toEqual([3, 3 * pieceBytes]);
    bench.readAll();
    expect(bench.copies).toEqual(['copy 0+1', 'copy 1+1', 'copy 2+1']);
    copier.applied(2);
    expect([copier.doneBytes, bench.finished]).toEqual([2 * pieceBytes, false]);
    copier.applied(3);
    expect([copier.remainingBytes, bench.finished]).toEqual([0, true]);
  });

  test('R5, R8: a bit is cleared when its copy is durable, not when it is applied', () => {
    const bench = new Bench();
    bench.bits.set(0, 2 * pieceBytes);
    const copier = bench.copier();
    bench.readAll();
    copier.applied(2);
    expect(bench.bits.setBytes).toBe(2 * pieceBytes);
    copier.durable(1);
    expect([bench.bits.overlaps(0, pieceBytes), bench.bits.overlaps(pieceBytes, pieceBytes)]).toEqual([false, true]);
  });

  test('R8: a bit set again by other means than a change outlives its copy', () => {
    const bench = new Bench();
    bench.bits.set(0, pieceBytes);
    const copier = bench.copier();
    bench.readAll();
    copier.repaired(0, 512, 512);
    copier.durable(1);
    expect(bench.bits.overlaps(0, pieceBytes)).toBe(true);
  });

  test('R8: what was stamped there while it was read makes it read again; what was read first is not sent', async () => {
    const bench = new Bench();
    bench.bits.set(0, pieceBytes);
    bench.copier();
    bench.touch(512);
    bench.bytes.fill(8);
    bench.readAll();
    expect(bench.copies).toEqual([]);
    await bench.world.run(10);
    bench.readAll();
    expect(bench.copies).toEqual(['copy 0+1']);
    expect(bench.stamped[0]?.data?.[0]).toBe(8);
  });

  test('R8: a piece that must be read again is not forgotten when the next ones are planned meanwhile', async () => {
    const bench = new Bench();
    bench.bits.set(0, pieceBytes);
    bench.bits.set(3 * pieceBytes, pieceBytes);
    bench.afterPlanning = () => {
      if (bench.reads.length === 0) return;
      bench.touch(512);
      bench.readAll();
    };
    bench.copier();
    await bench.world.run(10);
    bench.readAll();
    expect(bench.copies.toSorted()).toEqual(['copy 0+1', 'copy 3+1']);
  });

  test('R8: is not read before earlier changes there are stored', async () => {
    const bench = new Bench();
    bench.bits.set(0, pieceBytes);
    bench.ready = false;
    bench.copier();
    await bench.world.run(50);
    expect(bench.reads).toHaveLength(0);
    bench.ready = true;
    await bench.world.run(10);
    expect(bench.reads).toHaveLength(1);
  });

  test('R4: holes and zeroes travel as such; to a leg made empty holes do not travel, unless written to since', () => {
    const extents = [
      { offset: 0, length: pieceBytes, data: true },
      { offset: pieceBytes, length: 3 * pieceBytes, data: false },
    ];
    const bench = new Bench();
    bench.bits.set(0, 4 * pieceBytes);
    bench.extents = extents;
    bench.bytes.fill(0);
    bench.copier();
    bench.readAll();
    expect(bench.copies.toSorted()).toEqual(['copyZero 0+1', 'copyZero 1+3']);
    expect(bench.stamped.every(({ hole }) => hole)).toBe(true);

    const empty = new Bench();
    empty.bits.set(0, 4 * pieceBytes);
    empty.extents = extents;
    empty.copier(true);
    empty.readAll();
    expect(empty.copies).toEqual(['copy 0+1']);

    const written = new Bench();
    written.bits.set(0, 4 * pieceBytes);
    written.extents = extents;
    written.afterPlanning = () => written.touch(2 * pieceBytes);
    written.copier(true);
    written.readAll();
    expect(written.copies.toSorted()).toEqual(['copy 0+1', 'copy 1+1', 'copy 2+1', 'copy 3+1']);
  });

  test('while hosts are active one copy is under way, and rests follow for the rest of its share', async () => {
    const bench = new Bench();
    bench.hostsActive = true;
    bench.bits.set(0, 3 * pieceBytes);
    const copier = bench.copier();
    expect(bench.reads).toHaveLength(1);
    bench.readAll();
    await bench.world.run(100);
    copier.applied(1);
    // 100 ms of work at a share of a quarter: 300 ms of rest.
    await bench.world.run(290);
    expect(bench.reads).toHaveLength(0);
    await bench.world.run(15);
    expect(bench.reads).toHaveLength(1);
  });

  test('R10: a read that failed stops it and is told; stopped, it does nothing more', async () => {
    const bench = new Bench();
    bench.bits.set(0, 2 * pieceBytes);
    const copier = bench.copier();
    bench.reads.shift()?.({ kind: 'readFailed', detail: 'EIO' });
    expect(bench.failed).toEqual(['west readFailed']);
    copier.stop();
    bench.readAll();
    await bench.world.run(100);
    expect([bench.copies, bench.finished, bench.bits.setBytes]).toEqual([[], false, 2 * pieceBytes]);
  });
});
