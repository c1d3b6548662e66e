/** A group that is opened, handed over and taken over, on two nodes. */
import { describe, expect, test } from 'vitest';
import { Nodes } from './nodes.ts';

const refused = (text: string): object => ({
  code: 'E_REFUSED',
  message: expect.stringContaining(text) as string,
});

describe('a group', () => {
  test('R11: is opened first by its preferred owner, in generation 1, with its other leg behind until copied', async () => {
    const nodes = new Nodes({ seed: 'first' });
    nodes.start('west');
    await nodes.world.run(10_000);
    expect(nodes.west.group.record).toBeNull();
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expect(await nodes.record()).toMatchObject({ owner: 'east', generation: 1, established: true });
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
    expect(nodes.disk(nodes.west).cached[0]).toBe(1);
  });

  test('R11: a first start that is cut off after any effect is gone on with by the next', async () => {
    for (let effects = 1; effects < 60; effects++) {
      const nodes = new Nodes({ seed: 'cut off', legs: ['east'] });
      nodes.start('east').process.crashAfterEffects(effects);
      await nodes.world.run(4000);
      if (nodes.east.process.alive) return;
      nodes.start('east');
      await nodes.until(() => nodes.east.group.serving);
    }
    throw new Error('the start has more effects than were tried');
  });

  test('IM-10: without any other leg is served from its own', async () => {
    const nodes = new Nodes({ seed: 'unmirrored', legs: ['east'] });
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
  });

  test('IM-2: an asynchronous leg is within its bound, never in sync, and hosts do not wait for it', async () => {
    const nodes = new Nodes({ seed: 'async', mode: 'async' });
    nodes.start('east');
    nodes.start('west');
    await nodes.until(() => nodes.classOf('west') === 'withinBound');
    nodes.disk(nodes.west).hang();
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1), 100)).toBeNull();
  });

  test('R13: a lost leg keeps hosts waiting for the grace time, and no longer; it comes back by a resync', async () => {
    const nodes = await Nodes.synced({ seed: 'grace' });
    nodes.link(false);
    const startedMs = nodes.world.nowMs;
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
    expect(nodes.world.nowMs - startedMs).toBeGreaterThan(4900);
    expect(nodes.world.nowMs - startedMs).toBeLessThan(7000);
    expect((await nodes.record()).legs['west']?.class).toBe('behind');
    nodes.link(true);
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    expect(nodes.disk(nodes.west).cached[0]).toBe(1);
  });

  test('R13: a lost leg that lacks nothing stays in sync', async () => {
    const nodes = await Nodes.synced({ seed: 'quiet' });
    nodes.link(false);
    await nodes.world.run(20_000);
    expect((await nodes.record()).legs['west']?.class).toBe('inSync');
  });

  test('R11: an owner killed and started again takes a new generation and goes on', async () => {
    const nodes = await Nodes.synced({ seed: 'again' });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving && nodes.classOf('west') === 'inSync');
    expect((await nodes.record()).generation).toBe(2);
    expect(nodes.east.group.missing).toBeNull();
    expect(await nodes.world.settle(nodes.write(nodes.east, 512, 2))).toBeNull();
  });

  test('R7: an owner that lost power fetches what it lacks from the leg in sync before hosts are let in', async () => {
    for (let seed = 0; seed < 5; seed++) {
      const nodes = await Nodes.synced({ seed: `power ${seed}` });
      for (let count = 0; count < 8; count++)
        await nodes.world.settle(nodes.write(nodes.east, count * 512 * 1024, count + 1));
      nodes.end('east', 'powerLoss');
      nodes.start('east');
      await nodes.until(() => nodes.east.group.serving);
      const { cached } = nodes.disk(nodes.east);
      for (let count = 0; count < 8; count++) expect(cached[count * 512 * 1024]).toBe(count + 1);
      expect(nodes.east.group.missing).toBeNull();
    }
  });

  test('R7: with no leg to ask it is the source itself after the grace time, and says what may be missing', async () => {
    const nodes = await Nodes.synced({ seed: 'alone' });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    nodes.end('west', 'crash');
    nodes.end('east', 'powerLoss');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving);
    expect(nodes.east.group.missing).toContain('not flushed');
    expect((await nodes.record()).legs['west']?.class).toBe('behind');
  });
});

describe('a planned switch-over', () => {
  test('loses no write and lets hosts wait meanwhile; the old owner is the target then', async () => {
    const nodes = await Nodes.synced({ seed: 'switch' });
    const told: (string | null)[] = [];
    const moved = nodes.east.group.moves.switchOver('west');
    for (let count = 0; count < 5; count++) {
      void nodes.write(nodes.east, count * 512, count + 1).then((fault) => told.push(fault));
    }
    const { generation, loss } = await nodes.world.settle(moved);
    expect([generation, loss.writes]).toEqual([2, 0]);
    expect(await nodes.record()).toMatchObject({ owner: 'west', generation: 2, established: true });
    await nodes.until(() => nodes.west.group.serving && told.length === 5);
    const { cached } = nodes.disk(nodes.west);
    for (const [count, fault] of told.entries()) if (fault === null) expect(cached[count * 512]).toBe(count + 1);
    expect(nodes.east.group.role).toBe('secondary');
    await nodes.until(() => nodes.classOf('east') === 'inSync');
    expect(await nodes.world.settle(nodes.write(nodes.west, 4096, 9))).toBeNull();
    expect(nodes.disk(nodes.east).cached[4096]).toBe(9);
  });

  test('is refused to the owner itself, to a node without a copy, by another than the owner, and to a copy that lacks something', async () => {
    const nodes = await Nodes.synced({ seed: 'refused' });
    await expect(nodes.world.settle(nodes.east.group.moves.switchOver('east'))).rejects.toMatchObject(
      refused('is the owner already'),
    );
    await expect(nodes.world.settle(nodes.east.group.moves.switchOver('north'))).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
    await expect(nodes.world.settle(nodes.west.group.moves.switchOver('east'))).rejects.toMatchObject(
      refused('does not serve it'),
    );
    nodes.link(false);
    await nodes.world.run(100);
    await expect(nodes.world.settle(nodes.east.group.moves.switchOver('west'))).rejects.toMatchObject(
      refused('not complete'),
    );
    expect(await nodes.record()).toMatchObject({ owner: 'east', generation: 1 });
    nodes.link(true);
    await nodes.until(() => nodes.east.group.serving);
    expect(await nodes.world.settle(nodes.write(nodes.east, 0, 1))).toBeNull();
  });
});

describe('a take-over', () => {
  test('R11, R14: of a dead owner serves everything acknowledged; the old owner comes back as target', async () => {
    const nodes = await Nodes.synced({ seed: 'take' });
    await nodes.world.settle(nodes.write(nodes.east, 0, 7));
    nodes.end('east', 'crash');
    const { generation, loss } = await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    expect([generation, loss.writes, loss.text]).toEqual([2, 0, 'No acknowledged write is lost.']);
    await nodes.until(() => nodes.west.group.serving);
    expect(nodes.disk(nodes.west).cached[0]).toBe(7);
    expect(await nodes.world.settle(nodes.write(nodes.west, 512, 8))).toBeNull();
    nodes.start('east');
    await nodes.until(() => nodes.classOf('east') === 'inSync');
    expect(nodes.disk(nodes.east).cached[512]).toBe(8);
    expect(nodes.east.group.role).toBe('secondary');
  });

  test('R15: of a live owner is refused, be it that only the link is cut', async () => {
    const nodes = await Nodes.synced({ seed: 'alive' });
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('east is alive'),
    );
    nodes.link(false);
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(true))).rejects.toMatchObject(
      refused('switch-over'),
    );
    await expect(nodes.world.settle(nodes.east.group.moves.takeOver(true))).rejects.toMatchObject(
      refused('owner already'),
    );
    expect(await nodes.record()).toMatchObject({ owner: 'east', generation: 1 });
  });

  test('of an owner without lease that still replicates here is refused: it lives', async () => {
    const nodes = await Nodes.synced({ seed: 'replicates' });
    nodes.world.store.setReachable(nodes.east.process.machine, false);
    await nodes.world.run(10_000);
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('still replicates'),
    );
  });

  test('R13: by a copy that lacks acknowledged writes is refused unless forced, and says what that costs', async () => {
    const nodes = await Nodes.synced({ seed: 'outdated' });
    nodes.link(false);
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    nodes.end('east', 'crash');
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('Outdated'),
    );
    const { loss } = await nodes.world.settle(nodes.west.group.moves.takeOver(true));
    expect([loss.writes, loss.text]).toEqual([null, expect.stringContaining('not known')]);
    await nodes.until(() => nodes.west.group.serving);
  });

  test('I11: by a copy in the middle of being made, or unconfirmed after loss of power, is refused unless forced', async () => {
    const copying = new Nodes({ seed: 'copying' });
    copying.start('east');
    await copying.until(() => copying.east.group.serving);
    for (let count = 0; count < 8; count++)
      await copying.world.settle(copying.write(copying.east, count * 512 * 1024, 1));
    copying.start('west');
    await copying.until(() => copying.west.group.leg !== null);
    copying.disk(copying.west).latencyMsMax.write = 3000;
    await copying.until(() => copying.west.group.leg?.state.condition === 'inconsistent');
    await copying.world.run(500);
    copying.end('east', 'crash');
    await expect(copying.world.settle(copying.west.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('Inconsistent'),
    );

    const unconfirmed = await Nodes.synced({ seed: 'unconfirmed' });
    await unconfirmed.world.settle(unconfirmed.write(unconfirmed.east, 0, 1));
    unconfirmed.end('east', 'crash');
    unconfirmed.end('west', 'powerLoss');
    const west = unconfirmed.start('west');
    await unconfirmed.until(() => west.group.leg !== null && west.lease.isValid() && west.group.role === 'secondary');
    await expect(unconfirmed.world.settle(west.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('unconfirmed'),
    );
  });

  test('R12: a record that goes back in time freezes the group', async () => {
    const nodes = await Nodes.synced({ seed: 'restored' });
    const old = await nodes.record();
    nodes.end('east', 'crash');
    nodes.start('east');
    await nodes.until(() => nodes.east.group.serving && nodes.classOf('west') === 'inSync');
    await nodes.world.store.backing.commit({ require: [], put: [{ key: 'groups/g1', value: JSON.stringify(old) }] });
    await nodes.until(() => nodes.east.group.role === 'frozen' && nodes.west.group.role === 'frozen');
    expect(nodes.west.group.problem).toContain('restored from a backup');
  });

  test('R9: an owner on yesterday’s disk freezes before it serves, lets go when asked, and is made whole', async () => {
    for (const mode of ['sync', 'async'] as const) {
      const nodes = await Nodes.synced({ seed: `older ${mode}`, mode });
      const { machine } = nodes.east.process;
      await nodes.world.settle(nodes.write(nodes.east, 0, 1));
      nodes.end('east', 'crash');
      const yesterday = machine.snapshot();
      nodes.start('east');
      const whole = mode === 'sync' ? 'inSync' : 'withinBound';
      await nodes.until(() => nodes.classOf('west') === whole);
      await nodes.world.settle(nodes.write(nodes.east, 512, 2));
      // Long enough for what was written to be durable at both ends, and forgotten as that.
      await nodes.world.run(20_000);
      nodes.end('east', 'crash');
      machine.restore(yesterday);
      nodes.start('east');
      await nodes.until(() => nodes.east.group.role === 'frozen');
      expect(nodes.east.group.problem).toContain('Take over on west');
      expect((await nodes.record()).legs['west']?.class).toBe(whole);

      // Nor does it serve after it was started again.
      nodes.end('east', 'crash');
      nodes.start('east');
      await nodes.until(() => nodes.east.group.role === 'frozen');

      await nodes.world.settle(nodes.west.group.moves.takeOver(false));
      await nodes.until(() => nodes.classOf('east') === whole);
      expect(nodes.disk(nodes.east).cached[512]).toBe(2);
    }
  });

  test('R9: whoever knows that the further copy is gone may insist on the older one', async () => {
    const nodes = await Nodes.synced({ seed: 'insist' });
    const { machine } = nodes.east.process;
    nodes.end('east', 'crash');
    const yesterday = machine.snapshot();
    nodes.start('east');
    await nodes.until(() => nodes.classOf('west') === 'inSync');
    await nodes.world.settle(nodes.write(nodes.east, 512, 2));
    await nodes.world.run(20_000);
    nodes.end('east', 'crash');
    machine.restore(yesterday);
    nodes.start('east');
    await nodes.until(() => nodes.east.group.role === 'frozen');
    nodes.end('west', 'crash');
    await expect(nodes.world.settle(nodes.east.group.moves.takeOver(false))).rejects.toMatchObject(
      refused('owner already'),
    );
    const { loss } = await nodes.world.settle(nodes.east.group.moves.takeOver(true));
    expect(loss.text).toContain('not known');
    expect(nodes.east.group.serving).toBe(true);
  });

  test('an owner whose disk has failed lets go when asked; one that serves does not', async () => {
    const nodes = await Nodes.synced({ seed: 'release' });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    expect(await nodes.east.group.moves.release('another')).toBe(false);
    expect(await nodes.east.group.moves.release((await nodes.record()).id)).toBe(false);
    nodes.disk(nodes.east).failNext('write');
    void nodes.write(nodes.east, 512, 2);
    await nodes.until(() => nodes.east.group.leg?.fault != null);
    await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    expect([nodes.west.group.serving, nodes.east.group.role]).toEqual([true, 'secondary']);
    expect(nodes.disk(nodes.west).cached[0]).toBe(1);
  });

  test('an owner whose volume’s file is missing lets go when asked', async () => {
    const nodes = await Nodes.synced({ seed: 'missing' });
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    const { machine } = nodes.east.process;
    nodes.end('east', 'crash');
    for (const path of [...machine.disks.keys()]) if (path.endsWith('.img')) machine.disks.delete(path);
    nodes.start('east');
    await nodes.until(
      () => nodes.east.group.role === 'closed' && nodes.east.group.problem?.includes('is not there') === true,
    );
    await nodes.until(() => nodes.east.group.record !== null);
    await nodes.world.settle(nodes.west.group.moves.takeOver(false));
    expect([nodes.west.group.serving, nodes.east.group.role]).toEqual([true, 'closed']);
    expect(nodes.disk(nodes.west).cached[0]).toBe(1);
  });
});
