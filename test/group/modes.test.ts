/** A mirror's mode is changed while hosts write (R13, IM-3, TL-6). */
import { describe, expect, test } from 'vitest';
import type { MirrorMode } from '../../src/store/document.ts';
import { Nodes } from './nodes.ts';

/** A write at east that the host has not heard of yet; `told` becomes true when it has. */
function writing(nodes: Nodes, offset: number): { told: boolean; fault: unknown; classThen: string | undefined } {
  const write = { told: false, fault: null as unknown, classThen: undefined as string | undefined };
  void nodes.write(nodes.east, offset, 1).then((fault) => {
    Object.assign(write, { told: true, fault, classThen: nodes.classOf('west') });
  });
  return write;
}

describe('a mirror whose mode is changed in use', () => {
  test('R13: made asynchronous, is waited for until the record says so, and no longer', async () => {
    const nodes = await Nodes.synced({ seed: 'loosen' });
    nodes.disk(nodes.west).hang();
    const write = writing(nodes, 0);
    await nodes.world.run(500);
    expect(write.told).toBe(false);
    nodes.setMode('west', 'async');
    await nodes.until(() => write.told);
    expect(write).toMatchObject({ fault: null, classThen: 'withinBound' });
    expect((await nodes.record()).legs['west']?.class).toBe('withinBound');
    expect(await nodes.world.settle(nodes.write(nodes.east, 512, 1), 100)).toBeNull();
  });

  test('R13: with the store out of reach, is waited for on', async () => {
    const nodes = await Nodes.synced({ seed: 'storeless' });
    nodes.disk(nodes.west).hang();
    const write = writing(nodes, 0);
    nodes.world.store.setReachable(nodes.east.process.machine, false);
    nodes.setMode('west', 'async');
    await nodes.world.run(1500);
    expect(write.told).toBe(false);
    nodes.world.store.setReachable(nodes.east.process.machine, true);
    await nodes.until(() => write.told);
    expect(write.classThen).toBe('withinBound');
  });

  test('TL-6, R13: made synchronous, is waited for from then on, and in sync once it has all that was acknowledged', async () => {
    const nodes = await Nodes.synced({ seed: 'tighten', mode: 'async' });
    nodes.disk(nodes.west).hang();
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1), 100)).toBeNull();
    nodes.setMode('west', 'sync');
    const write = writing(nodes, 512);
    await nodes.world.run(3000);
    expect(write.told).toBe(false);
    expect((await nodes.record()).legs['west']?.class).toBe('withinBound');
    nodes.disk(nodes.west).unhang();
    await nodes.until(() => write.told && nodes.classOf('west') === 'inSync');
    expect([0, 512].map((offset) => nodes.disk(nodes.west).cached[offset])).toEqual([1, 1]);
  });

  test('a change of mind in the middle holds nobody up', async () => {
    const nodes = await Nodes.synced({ seed: 'there and back', mode: 'async' });
    nodes.disk(nodes.west).hang();
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1), 100)).toBeNull();
    nodes.setMode('west', 'sync');
    const write = writing(nodes, 512);
    await nodes.world.run(1000);
    nodes.setMode('west', 'async');
    await nodes.until(() => write.told);
    expect(write).toMatchObject({ fault: null, classThen: 'withinBound' });
  });

  test('IM-3: made `receive`, answers from memory once it knows of it, not before', async () => {
    const nodes = await Nodes.synced({ seed: 'receipt' });
    const { owner } = nodes.east.group;
    const { west } = nodes;
    nodes.disk(west).hang();
    const before = writing(nodes, 0);
    await nodes.world.run(100);
    nodes.setMode('west', 'receive');
    const after = writing(nodes, 1024);
    await nodes.world.run(100);
    expect(owner?.legOf('west')?.receivedOrdinal).toBeGreaterThan(owner?.legOf('west')?.appliedOrdinal ?? 0);
    expect([before.told, after.told]).toEqual([false, false]);
    nodes.disk(west).unhang();
    await nodes.until(() => before.told && after.told);
    await nodes.world.run(3000);
    expect(nodes.classOf('west')).toBe('inSync');
    nodes.disk(west).hang();
    expect(await nodes.world.settle(nodes.write(nodes.east, 512, 1), 100)).toBeNull();
  });

  test('goes through all modes under load, and ends equal and in sync', async () => {
    const nodes = await Nodes.synced({ seed: 'round' });
    const writes: { told: boolean; fault: unknown }[] = [];
    const modes: MirrorMode[] = ['async', 'receive', 'sync', 'receive', 'async', 'sync'];
    for (const [round, mode] of modes.entries()) {
      nodes.setMode('west', mode);
      for (let at = 0; at < 40; at++) {
        writes.push(writing(nodes, (round * 40 + at) * 512));
        await nodes.world.run(50);
      }
    }
    await nodes.until(() => writes.every((write) => write.told) && nodes.classOf('west') === 'inSync');
    expect(writes.every((write) => write.fault === null)).toBe(true);
    expect(nodes.east.events.some((event) => event.includes('is behind now'))).toBe(false);
    expect(Buffer.compare(nodes.disk(nodes.east).cached, nodes.disk(nodes.west).cached)).toBe(0);
  });
});
