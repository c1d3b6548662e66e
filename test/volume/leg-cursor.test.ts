import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { World } from '../../src/sim/world/world.ts';
import { decodeSector, LegCursor, type CursorState } from '../../src/volume/leg-cursor.ts';
import { HeldDevice } from '../stream/steps.ts';
import { diskOf, providerOf } from './legs.ts';

const state = (applied: number, intended = applied): CursorState => ({
  applied: { generation: 2, seq: applied },
  intended: { generation: 3, seq: intended },
});

async function bench(device = new HeldDevice(4096)): Promise<{ device: HeldDevice; cursor: LegCursor }> {
  const { cursor } = await LegCursor.open(providerOf(device), '/data');
  return { device, cursor };
}

async function foundOn(device: HeldDevice): Promise<CursorState | null> {
  return (await LegCursor.open(providerOf(device), '/data')).found;
}

const lastOf = <Item>(items: readonly Item[]): Item => {
  const item = items.at(-1);
  if (item === undefined) throw new Error('nothing');
  return item;
};

describe('the cursor of a leg', () => {
  test('R6: a process on the same kernel finds what was written last', async () => {
    const { device, cursor } = await bench();
    expect(await foundOn(device)).toBeNull();
    for (let applied = 1; applied <= 5; applied++) {
      cursor.write(state(applied, applied + 3), () => {});
      lastOf(device.operations).complete();
      expect(await foundOn(device)).toEqual(state(applied, applied + 3));
    }
    const next = await bench(device);
    next.cursor.write(state(6), () => {});
    lastOf(device.operations).complete();
    expect(await foundOn(device)).toEqual(state(6));
  });

  test('a sector torn anywhere leaves the one before it', async () => {
    const { device, cursor } = await bench();
    for (const applied of [1, 2]) {
      cursor.write(state(applied), () => {});
      lastOf(device.operations).complete();
    }
    const before = device.bytes.slice();
    cursor.write(state(3), () => {});
    const { offset, data } = lastOf(device.operations);
    if (data === null) throw new Error('no data');
    for (let torn = 0; torn <= 52; torn++) {
      const mixed = new HeldDevice(4096);
      mixed.bytes.set(before);
      mixed.bytes.set(data.subarray(0, torn), offset);
      const found = await foundOn(mixed);
      // The two counts differ in one byte: before it, and when all that differs is there, either is whole.
      expect([state(2), state(3)]).toContainEqual(found);
      if (torn === 0) expect(found).toEqual(state(2));
      if (torn === 52) expect(found).toEqual(state(3));
    }
  });

  test('R1: one write at a time; what is asked for meanwhile is written together, the latest state', async () => {
    const { device, cursor } = await bench();
    const told: string[] = [];
    for (const applied of [1, 2, 3])
      cursor.write(state(applied), (fault) => told.push(`${applied} ${fault?.kind ?? 'ok'}`));
    expect(device.operations).toHaveLength(1);
    lastOf(device.operations).complete();
    expect(told).toEqual(['1 ok']);
    expect(device.operations).toHaveLength(1);
    expect(await foundOn(device)).toEqual(state(1));
    lastOf(device.operations).complete({ kind: 'writeFailed', detail: 'EIO' });
    expect(told).toEqual(['1 ok', '2 writeFailed', '3 writeFailed']);
    expect(device.operations).toHaveLength(0);
  });

  test('R6: survives the crash of its process, whatever became of writes in flight', async () => {
    for (let seed = 0; seed < 60; seed++) {
      const world = new World({ seed: `cursor ${seed}` });
      const machine = world.machine('east');
      const first = machine.start('a');
      const { cursor } = await world.settle(LegCursor.open(first.devices, '/data'));
      let asked = 0;
      let told = 0;
      const write = (): void => {
        const applied = ++asked;
        cursor.write(state(applied), () => {
          told = applied;
          if (asked < 20) write();
          if (asked < 20 && (asked + seed) % 5 === 0) write();
        });
      };
      first.call(write);
      first.crashAfterEffects(2 + (seed % 6));
      await world.run(100);
      expect(first.alive).toBe(false);
      const second = machine.start('b');
      const { found } = await world.settle(LegCursor.open(second.devices, '/data'));
      expect(found?.applied.seq ?? 0).toBeGreaterThanOrEqual(told);
      expect(found?.applied.seq ?? 0).toBeLessThanOrEqual(asked);
      expect(diskOf(second, '/data/cursor').sizeBytes).toBe(4096);
    }
  });

  test('is not read from bytes that are none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        expect(decodeSector(bytes)).toBeNull();
      }),
    );
  });
});
