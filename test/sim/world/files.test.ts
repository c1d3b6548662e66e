import { describe, expect, it } from 'vitest';
import type { Files } from '../../../src/base/files.ts';
import { World } from '../../../src/sim/world/world.ts';
import { filesContract } from '../../contract/files.ts';

filesContract('simulated', async () => {
  const world = new World({ seed: 'files contract' });
  const { files } = world.machine('east').start('a').environment;
  await world.settle(files.makeFolder('/data'));
  return { files, folder: '/data', run: (work) => world.settle(work), dispose: () => Promise.resolve() };
});

/** What `/f` holds, on many seeds, after `prepare` and power loss; `absent` when it is gone. */
async function afterPowerLoss(prepare: (files: Files, world: World) => Promise<void>): Promise<string[]> {
  const seen: string[] = [];
  for (let seed = 0; seed < 60; seed++) {
    const world = new World({ seed: `files ${seed}` });
    const machine = world.machine('east');
    await world.settle(prepare(machine.start('a').environment.files, world));
    machine.powerLoss();
    machine.powerOn();
    const data = machine.files.peek('/f');
    seen.push(data === null ? 'absent' : Buffer.from(data).toString());
  }
  return seen;
}

const synced = { sync: true };
const text = (value: string): Uint8Array => Buffer.from(value);

describe('SimFiles', () => {
  it('keeps through power loss what was synced with its folder', async () => {
    const seen = await afterPowerLoss(async (files) => {
      await files.write('/f', text('kept'), synced);
      await files.syncFolder('/');
    });
    expect(new Set(seen)).toEqual(new Set(['kept']));
  });

  it('may lose a name whose folder was not synced, and contents that were not', async () => {
    expect(new Set(await afterPowerLoss((files) => files.write('/f', text('x'), synced)))).toEqual(
      new Set(['absent', 'x']),
    );
    const contents = await afterPowerLoss(async (files) => {
      await files.write('/f', text('x'), { sync: false });
      await files.syncFolder('/');
    });
    expect(new Set(contents)).toEqual(new Set(['', 'x']));
  });

  it('keeps a rename wholly or not at all', async () => {
    const seen = await afterPowerLoss(async (files) => {
      await files.write('/f', text('old'), synced);
      await files.write('/g', text('new'), synced);
      await files.syncFolder('/');
      await files.rename('/g', '/f');
    });
    expect(new Set(seen)).toEqual(new Set(['old', 'new']));
  });

  it('leaves of a rewrite without rename anything from nothing to all, sector by sector', async () => {
    const seen = await afterPowerLoss(async (files) => {
      const handle = await files.open('/f');
      await handle.writeAt(0, Buffer.alloc(1024, 'a'));
      await handle.sync();
      await files.syncFolder('/');
      await handle.writeAt(0, Buffer.alloc(1024, 'b'));
    });
    const shapes = new Set(seen.map((data) => (data[0] ?? '') + (data[512] ?? '')));
    expect(shapes).toEqual(new Set(['aa', 'bb', 'ab', 'ba']));
    for (const data of seen) expect(data.slice(0, 512)).toMatch(/^(a+|b+)$/);
  });

  it('survives the crash of its process; of the operation in flight a part may have happened', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const world = new World({ seed: `crash ${seed}` });
      const process = world.machine('east').start('a');
      const { files } = process.environment;
      await world.settle(files.write('/f', text('done'), { sync: false }));
      await world.settle(files.write('/g', text('more'), { sync: false }));
      void files.rename('/g', '/f');
      process.crash();
      await world.run(10);
      seen.add(Buffer.from(world.machine('east').files.peek('/f') ?? []).toString());
    }
    expect(seen).toEqual(new Set(['done', 'more']));
  });

  it('keeps unsynced what a crash found in the middle of a sync, so that a later sync brings it', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 40; seed++) {
      const world = new World({ seed: `sync ${seed}` });
      const machine = world.machine('east');
      const first = machine.start('a');
      const handle = await world.settle(first.environment.files.open('/f'));
      await world.settle(first.environment.files.syncFolder('/'));
      await world.settle(handle.writeAt(0, text('x')));
      void handle.sync();
      first.crash();
      const again = await world.settle(machine.start('a').environment.files.open('/f'));
      await world.settle(again.sync());
      machine.powerLoss();
      seen.add(Buffer.from(machine.files.peek('/f') ?? []).toString());
    }
    expect(seen).toEqual(new Set(['x']));
  });

  it('fails as told, names the path, and heals', async () => {
    const world = new World({ seed: 'faults' });
    const machine = world.machine('east');
    const { files } = machine.start('a').environment;
    machine.files.fail({ code: 'E_NO_SPACE', operation: 'write', path: 'meta' });
    await expect(world.settle(files.write('/meta', text('x'), synced))).rejects.toMatchObject({
      code: 'E_NO_SPACE',
      message: expect.stringContaining('/meta') as unknown,
    });
    await world.settle(files.write('/other', text('x'), synced));
    machine.files.fail({ code: 'E_IO', operation: 'sync' }, 1);
    await expect(world.settle(files.write('/other', text('y'), synced))).rejects.toMatchObject({ code: 'E_IO' });
    await world.settle(files.write('/other', text('z'), synced));
    machine.files.hang();
    let done = false;
    void files.read('/other').then(() => (done = true));
    await world.run(10_000);
    expect(done).toBe(false);
    machine.files.heal();
    await world.run(10);
    expect(done).toBe(true);
  });
});
