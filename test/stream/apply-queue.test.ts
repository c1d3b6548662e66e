import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BlockFault } from '../../src/block/device.ts';
import { ApplyQueue, type RegionGate } from '../../src/stream/apply-queue.ts';
import { recordsOverlap, type RecordKind, type StreamRecord } from '../../src/stream/record.ts';
import { HeldDevice, record, StepTurn } from './steps.ts';

const openGate: RegionGate = { admit: () => true };
const failed: BlockFault = { kind: 'writeFailed', detail: 'EIO' };

/** Two volumes on held devices; `done` lists what has completed, in order. */
class Bench {
  readonly turn = new StepTurn();
  readonly devices = [new HeldDevice(64), new HeldDevice(64)];
  readonly done: [seq: number, fault: BlockFault | null][] = [];
  readonly queue: ApplyQueue<StreamRecord>;

  constructor(
    strict: boolean,
    gate: RegionGate = openGate,
    prepare?: (record: StreamRecord, proceed: () => void) => void,
  ) {
    this.queue = new ApplyQueue<StreamRecord>({
      turn: this.turn,
      strict,
      device: (volume) => this.device(volume),
      gate,
      applied: ({ seq }, fault) => this.done.push([seq, fault]),
      ...(prepare ? { prepare } : {}),
    });
  }

  device(volume: number): HeldDevice {
    const device = this.devices[volume];
    if (device === undefined) throw new Error(`no volume ${volume}`);
    return device;
  }

  /** What is in flight on a volume, as `write 0+1`. */
  flying(volume = 0): string[] {
    return this.device(volume).operations.map(({ kind, offset, length }) => `${kind} ${offset}+${length}`);
  }

  complete(index = 0, fault: BlockFault | null = null, volume = 0): void {
    const operation = this.device(volume).operations[index];
    if (operation === undefined) throw new Error(`nothing in flight at ${index}`);
    operation.complete(fault);
  }

  get order(): number[] {
    return this.done.map(([seq]) => seq);
  }
}

describe('the apply queue', () => {
  test('R1: overlapping records follow one another, disjoint ones run together', () => {
    const bench = new Bench(false);
    bench.queue.push(record('write', 1, { offset: 0, length: 4 }));
    bench.queue.push(record('write', 2, { offset: 8, length: 4 }));
    bench.queue.push(record('write', 3, { offset: 2, length: 4 }));
    expect(bench.flying()).toEqual(['write 0+4', 'write 8+4']);
    bench.complete(1);
    expect(bench.flying()).toEqual(['write 0+4']);
    bench.complete();
    expect(bench.flying()).toEqual(['write 2+4']);
  });

  test('R1: a later record does not overtake one that waits', () => {
    const bench = new Bench(false);
    bench.queue.push(record('write', 1, { offset: 0, length: 4 }));
    bench.queue.push(record('write', 2, { offset: 0, length: 8 }));
    bench.queue.push(record('write', 3, { offset: 4, length: 4 }));
    expect(bench.flying()).toEqual(['write 0+4']);
    bench.complete();
    expect(bench.flying()).toEqual(['write 0+8']);
  });

  test('a flush starts when all earlier records of its volume have completed; the other volume goes on', () => {
    const bench = new Bench(false);
    bench.queue.push(record('write', 1));
    bench.queue.push(record('write', 2, { volume: 1 }));
    bench.queue.push(record('flush', 3));
    bench.queue.push(record('write', 4, { volume: 1, offset: 9 }));
    expect(bench.flying(0)).toEqual(['write 0+1']);
    bench.complete();
    expect(bench.flying(0)).toEqual(['flush 0+0']);
    expect(bench.flying(1)).toEqual(['write 0+1', 'write 9+1']);
  });

  test('R3: on a target nothing stamped after a flush starts before the flush has returned', () => {
    const bench = new Bench(true);
    bench.queue.push(record('write', 1));
    bench.queue.push(record('flush', 2));
    bench.queue.push(record('write', 3, { volume: 1 }));
    bench.complete();
    expect([bench.flying(0), bench.flying(1)]).toEqual([['flush 0+0'], []]);
    bench.complete();
    expect([bench.flying(0), bench.flying(1)]).toEqual([[], ['write 0+1']]);
  });

  test('HG-2: on a target an epoch starts when every record of earlier ones has completed', () => {
    const bench = new Bench(true);
    bench.queue.push(record('write', 1, { offset: 0 }));
    bench.queue.push(record('write', 2, { offset: 1 }));
    bench.queue.push(record('write', 3, { offset: 2, epoch: 3 }));
    bench.complete(1);
    expect(bench.flying()).toEqual(['write 0+1']);
    bench.complete();
    expect(bench.flying()).toEqual(['write 2+1']);
  });

  test('HG-4: an epoch of the same number in a newer generation is another epoch', () => {
    const bench = new Bench(true);
    bench.queue.push(record('write', 1));
    bench.queue.push(record('write', 1, { generation: 2, offset: 5 }));
    expect(bench.flying()).toEqual(['write 0+1']);
  });

  test('R4: a zero record punches or keeps space as its owner decided', () => {
    const spaces: string[] = [];
    const bench = new Bench(false);
    bench.device(0).zero = (_offset, _length, space) => void spaces.push(space);
    bench.queue.push(record('zero', 1, { offset: 0, hole: true }));
    bench.queue.push(record('zero', 2, { offset: 1, hole: false }));
    bench.queue.push(record('copyZero', 3, { offset: 2, hole: true }));
    expect(spaces).toEqual(['punch', 'keep', 'punch']);
  });

  test('a record waits at the gate until its regions are hot, and those behind it wait too', () => {
    let hot = false;
    const retries: (() => void)[] = [];
    const bench = new Bench(false, {
      admit: (_record, retry) => {
        if (!hot) retries.push(retry);
        return hot;
      },
    });
    bench.queue.push(record('write', 1, { offset: 0 }));
    bench.queue.push(record('write', 2, { offset: 1 }));
    expect(bench.flying()).toEqual([]);
    hot = true;
    for (const retry of retries) retry();
    expect(bench.flying()).toEqual(['write 0+1', 'write 1+1']);
  });

  test('a copy is prepared before it starts, and counts as in flight meanwhile', () => {
    const proceeds: (() => void)[] = [];
    const bench = new Bench(true, openGate, (_record, proceed) => proceeds.push(proceed));
    bench.queue.push(record('copy', 1, { length: 4 }));
    bench.queue.push(record('write', 2, { offset: 2 }));
    expect(bench.flying()).toEqual([]);
    proceeds.shift()?.();
    expect(bench.flying()).toEqual(['write 0+4']);
    bench.complete();
    expect(bench.flying()).toEqual(['write 2+1']);
  });

  test('R10: a fault is told with its record; after a stop nothing starts any more, what flies completes', () => {
    const bench = new Bench(false);
    bench.queue.push(record('write', 1, { offset: 0 }));
    bench.queue.push(record('write', 2, { offset: 1 }));
    bench.queue.push(record('write', 3, { offset: 0 }));
    expect(bench.queue.stop().map(({ seq }) => seq)).toEqual([3]);
    let idle = false;
    bench.queue.whenIdle(() => (idle = true));
    bench.complete(0, failed);
    expect(idle).toBe(false);
    bench.complete();
    expect(idle).toBe(true);
    expect(bench.done).toEqual([
      [1, failed],
      [2, null],
    ]);
    expect(() => bench.queue.push(record('write', 4))).toThrow('stopped leg');
  });

  test('a completion never comes from inside push, not even of a skip', () => {
    const bench = new Bench(true);
    bench.queue.push(record('skip', 1));
    expect(bench.order).toEqual([]);
    bench.turn.run();
    expect(bench.order).toEqual([1]);
    let idle = false;
    bench.queue.whenIdle(() => (idle = true));
    expect(idle).toBe(true);
  });

  const anyRecords = fc
    .array(
      fc.record({
        kind: fc.constantFrom<RecordKind>('write', 'write', 'write', 'zero', 'copy', 'copyZero', 'flush', 'skip'),
        volume: fc.nat(1),
        offset: fc.nat(12),
        length: fc.integer({ min: 1, max: 6 }),
        newEpoch: fc.nat(4).map((draw) => draw === 0),
        newGeneration: fc.nat(30).map((draw) => draw === 0),
      }),
      { maxLength: 40 },
    )
    .map((items) => {
      let generation = 1;
      let epoch = 1;
      let seq = 0;
      return items.map(({ kind, volume, offset, length, newEpoch, newGeneration }) => {
        if (newGeneration) {
          generation++;
          seq = 0;
        }
        seq++;
        if (newEpoch || seq === 1) epoch = seq;
        const ranged = kind !== 'flush' && kind !== 'skip';
        return record(kind, seq, {
          generation,
          epoch,
          volume: kind === 'skip' ? 0 : volume,
          offset: ranged ? offset : 0,
          length,
        });
      });
    });

  test.each([true, false])('R1, R3, HG-2: any interleaving of completions keeps the order (target: %s)', (strict) => {
    fc.assert(
      fc.property(anyRecords, fc.array(fc.nat(), { minLength: 1, maxLength: 60 }), (records, draws) => {
        const completed = new Set<StreamRecord>();
        const started = new Set<StreamRecord>();
        const retries: (() => void)[] = [];
        const hot = new Set<string>();
        const wanted = new Set<string>();
        const turn = new StepTurn();
        const devices = [new HeldDevice(20), new HeldDevice(20)];
        const gate: RegionGate = {
          admit: ({ volume, offset }, retry) => {
            const key = `${volume} ${offset >> 2}`;
            if (hot.has(key)) return true;
            wanted.add(key);
            retries.push(retry);
            return false;
          },
        };
        const check = (one: StreamRecord): void => {
          started.add(one);
          const ranged = one.kind !== 'flush' && one.kind !== 'skip';
          if (ranged) expect(hot.has(`${one.volume} ${one.offset >> 2}`)).toBe(true);
          for (const earlier of records.slice(0, records.indexOf(one))) {
            // A skip touches no device, so its start shows only in what comes after it.
            expect(earlier.kind === 'skip' || started.has(earlier)).toBe(true);
            if (completed.has(earlier)) continue;
            expect(recordsOverlap(earlier, one)).toBe(false);
            if (one.kind === 'flush') expect(earlier.volume === one.volume && earlier.kind !== 'flush').toBe(false);
            if (!strict) continue;
            expect(earlier.kind).not.toBe('flush');
            expect(one.kind).not.toBe('flush');
            expect([earlier.generation, earlier.epoch]).toEqual([one.generation, one.epoch]);
          }
        };
        // The device tells when a record starts; which one it is, its place in the order says.
        const queue = new ApplyQueue<StreamRecord>({
          turn,
          strict,
          gate,
          device: (volume) => {
            const starting = records.find((one) => !started.has(one) && one.kind !== 'skip');
            if (starting !== undefined) check(starting);
            return devices[volume] ?? new HeldDevice(0);
          },
          applied: (one) => {
            expect(completed.has(one)).toBe(false);
            completed.add(one);
            started.add(one);
          },
        });
        const drawn = (bound: number): number => (draws[drawAt++ % draws.length] ?? 0) % bound;
        let drawAt = 0;
        let pushed = 0;
        while (completed.size < records.length) {
          const flying = devices.flatMap(({ operations }) => operations);
          const choices: (() => void)[] = [];
          const next = records[pushed];
          if (next !== undefined) choices.push(() => void (pushed++, queue.push(next)));
          if (flying.length > 0) choices.push(() => flying[drawn(flying.length)]?.complete());
          if (retries.length > 0) {
            choices.push(() => {
              for (const key of wanted) hot.add(key);
              wanted.clear();
              for (const retry of retries.splice(0)) retry();
            });
          }
          if (choices.length === 0) {
            turn.run();
            expect(completed.size).toBe(records.length);
            break;
          }
          choices[drawn(choices.length)]?.();
          turn.run();
        }
        const expected = [new Uint8Array(20), new Uint8Array(20)];
        for (const { volume, offset, length, data, kind } of records) {
          if (kind === 'flush' || kind === 'skip') continue;
          if (data === null) expected[volume]?.fill(0, offset, offset + length);
          else expected[volume]?.set(data, offset);
        }
        expect(devices.map(({ bytes }) => bytes)).toEqual(expected);
        expect(queue.pending).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});
