/** What every `Device` does (`src/block/device.ts`), whatever stores its bytes. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AllocationExtent, BlockFault, Completion, Device } from '../../src/block/device.ts';

export interface DeviceUnderTest {
  /** Of at least 1 MiB, reading as zeroes. */
  readonly device: Device;
  /** Lets the world go on until the work is done. */
  run<Value>(work: Promise<Value>): Promise<Value>;
  /** After `device.close()`. */
  dispose(): Promise<void>;
}

export interface DeviceTraits {
  /** Whether `zero` with `punch` makes a hole that `allocation` shows. */
  readonly showsHoles: boolean;
}

export function deviceContract(name: string, traits: DeviceTraits, make: () => Promise<DeviceUnderTest>): void {
  describe(`device contract: ${name}`, () => {
    let world: DeviceUnderTest;
    let device: Device;
    let block: number;
    let closed: boolean;

    beforeEach(async () => {
      world = await make();
      device = world.device;
      block = device.blockSizeBytes;
      closed = false;
    });
    afterEach(async () => {
      if (!closed) await world.run(device.close());
      await world.dispose();
    });

    function settled(start: (done: Completion) => void): Promise<void> {
      return world.run(
        new Promise((resolve, reject) => {
          start((fault) => (fault === null ? resolve() : reject(new Error(`${fault.kind}: ${fault.detail}`))));
        }),
      );
    }
    const write = (offset: number, data: Uint8Array): Promise<void> =>
      settled((done) => device.write(offset, data, done));
    const zero = (offset: number, length: number, space: 'punch' | 'keep'): Promise<void> =>
      settled((done) => device.zero(offset, length, space, done));
    async function read(offset: number, length: number): Promise<Uint8Array> {
      const into = new Uint8Array(length).fill(0xaa);
      await settled((done) => device.read(offset, into, done));
      return into;
    }
    function allocation(offset: number, length: number): Promise<AllocationExtent[]> {
      return world.run(
        new Promise((resolve, reject) => {
          device.allocation(offset, length, (fault: BlockFault | null, extents) => {
            if (fault === null) resolve(extents);
            else reject(new Error(fault.detail));
          });
        }),
      );
    }
    /** Different in every byte that matters, and never zero. */
    function pattern(length: number, seed: number): Uint8Array {
      return Uint8Array.from({ length }, (_, index) => 1 + ((index * 31 + (index >> 8) + seed * 101) % 255));
    }

    /** `toEqual` takes seconds for a megabyte. */
    function expectSame(found: Uint8Array, expected: Uint8Array): void {
      const differs = found.findIndex((byte, index) => byte !== expected[index]);
      expect({ length: found.length, differs }).toEqual({ length: expected.length, differs: -1 });
    }

    it('reads zeroes where nothing was written', async () => {
      expect((await read(device.sizeBytes - block, block)).every((byte) => byte === 0)).toBe(true);
    });

    it('reads back what was written, at both ends and across blocks, and touches nothing beside it', async () => {
      const last = device.sizeBytes - 2 * block;
      await write(0, pattern(block, 1));
      await write(last, pattern(2 * block, 2));
      await write(3 * block, pattern(5 * block, 3));
      expectSame(await read(0, block), pattern(block, 1));
      expectSame(await read(last, 2 * block), pattern(2 * block, 2));
      const around = await read(2 * block, 7 * block);
      expectSame(around.subarray(block, 6 * block), pattern(5 * block, 3));
      expect(around.subarray(0, block).every((byte) => byte === 0)).toBe(true);
      expect(around.subarray(6 * block).every((byte) => byte === 0)).toBe(true);
    });

    it('takes many operations at once and completes each exactly once, never inside the call', async () => {
      const count = 100;
      const completions = new Array<number>(count).fill(0);
      let left = count;
      await world.run(
        new Promise<void>((resolve, reject) => {
          for (let index = 0; index < count; index++) {
            let returned = false;
            device.write(index * block, pattern(block, index), (fault) => {
              if (fault !== null || !returned) reject(new Error(fault?.detail ?? 'completed inside the call'));
              completions[index] = (completions[index] ?? 0) + 1;
              if (--left === 0) resolve();
            });
            returned = true;
          }
        }),
      );
      await settled((done) => device.flush(done));
      expect(completions).toEqual(new Array(count).fill(1));
      for (let index = 0; index < count; index++) {
        expectSame(await read(index * block, block), pattern(block, index));
      }
    });

    it('moves a megabyte in one operation', async () => {
      const data = pattern(1 << 20, 9);
      await write(0, data);
      expectSame(await read(0, 1 << 20), data);
    });

    it('makes a range read as zeroes, given back or kept, and nothing beside it', async () => {
      for (const space of ['punch', 'keep'] as const) {
        await write(0, pattern(64 * block, 4));
        await zero(5 * block, 33 * block, space);
        const found = await read(0, 64 * block);
        const expected = pattern(64 * block, 4).fill(0, 5 * block, 38 * block);
        expectSame(found, expected);
      }
    });

    it('flushes whenever asked, several times at once', async () => {
      await write(0, pattern(block, 5));
      await Promise.all([1, 2, 3].map(() => settled((done) => device.flush(done))));
    });

    it('describes a range in order, without gaps, wholly, and never calls data a hole', async () => {
      await write(16 * block, pattern(8 * block, 6));
      await write(100 * block, pattern(block, 7));
      const start = 3 * block;
      const length = 150 * block;
      const extents = await allocation(start, length);
      let at = start;
      for (const extent of extents) {
        expect(extent.offset).toBe(at);
        expect(extent.length).toBeGreaterThan(0);
        expect(extent.length % block).toBe(0);
        if (!extent.data) {
          expect((await read(extent.offset, extent.length)).every((byte) => byte === 0)).toBe(true);
        }
        at += extent.length;
      }
      expect(at).toBe(start + length);
    });

    it.runIf(traits.showsHoles)('shows what was never written and what was punched as holes', async () => {
      // Whole file system blocks: smaller holes need not be shown.
      const unit = 65_536;
      await write(unit, pattern(4 * unit, 8));
      expect(await allocation(0, 8 * unit)).toEqual([
        { offset: 0, length: unit, data: false },
        { offset: unit, length: 4 * unit, data: true },
        { offset: 5 * unit, length: 3 * unit, data: false },
      ]);
      await zero(2 * unit, unit, 'punch');
      expect((await allocation(unit, 4 * unit)).map((extent) => extent.data)).toEqual([true, false, true]);
    });

    it('closes only when what is in flight has completed', async () => {
      let completed = 0;
      for (let index = 0; index < 10; index++) device.write(index * block, pattern(block, index), () => completed++);
      device.flush(() => completed++);
      device.zero(20 * block, 10 * block, 'punch', () => completed++);
      await world.run(device.close());
      expect(completed).toBe(12);
      closed = true;
    });
  });
}
