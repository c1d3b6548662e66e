import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TwoSlotFile } from '../../src/volume/two-slot-file.ts';
import { Crash, CrashingFiles } from './crashing-files.ts';

const path = '/data/vol1.meta';
const format = { slotBytes: 8192, magic: 'HFTEST01', version: 3 };

async function opened(files: CrashingFiles, as = format): Promise<{ file: TwoSlotFile; payload: string | null }> {
  const file = await TwoSlotFile.open(files, path, as);
  const payload = await file.load();
  return { file, payload: payload === null ? null : Buffer.from(payload).toString() };
}

/** Long enough to fill several sectors, different in all of them. */
const payloadOf = (number: number): Uint8Array => Buffer.from(`${number},`.repeat(300 + ((number * 137) % 700)));

const swallowCrash = (error: unknown): void => {
  if (!(error instanceof Crash || (error instanceof Error && error.cause instanceof Crash))) throw error;
};

describe('a file of two slots', () => {
  test('is empty when new, and gives back what was saved last', async () => {
    const files = new CrashingFiles();
    const first = await opened(files);
    expect(first.payload).toBeNull();
    for (const text of ['one', 'two', 'three', '']) {
      await first.file.save(Buffer.from(text));
      expect((await opened(files)).payload).toBe(text);
    }
    const second = await opened(files);
    await second.file.save(Buffer.from('four'));
    expect((await opened(files)).payload).toBe('four');
  });

  test('I7: a crash or power loss at any effect leaves the old payload or the new one', async () => {
    const run = async (effects: number, syncs: boolean[], powerLost: boolean, coins: boolean[]) => {
      let coin = 0;
      let files = new CrashingFiles(() => coins[coin++ % coins.length] ?? true);
      files.effectsLeft = effects;
      let synced = 0;
      let saved = 0;
      let started = 0;
      try {
        const { file } = await opened(files);
        for (const [index, sync] of syncs.entries()) {
          started = index + 1;
          await file.save(payloadOf(index + 1), { sync });
          saved = started;
          if (sync) synced = saved;
        }
      } catch (error) {
        swallowCrash(error);
      }
      files = files.restart(powerLost);
      const { file, payload } = await opened(files);
      const found = payload === null ? 0 : Number(payload.slice(0, payload.indexOf(',')));
      expect(payload).toBe(found === 0 ? null : Buffer.from(payloadOf(found)).toString());
      expect(found).toBeLessThanOrEqual(started);
      expect(found).toBeGreaterThanOrEqual(powerLost ? synced : saved);
      await file.save(payloadOf(99));
      expect((await opened(files.restart(true))).payload).toBe(Buffer.from(payloadOf(99)).toString());
    };
    await fc.assert(
      fc.asyncProperty(
        fc.nat(25),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
        run,
      ),
      { numRuns: 2000 },
    );
  });

  test('saves called together run one after another, and the last wins', async () => {
    const files = new CrashingFiles();
    const { file } = await opened(files);
    await Promise.all(['one', 'two', 'three'].map((text) => file.save(Buffer.from(text))));
    expect((await opened(files)).payload).toBe('three');
  });

  test('a save that failed leaves the payload before it, and the next one goes on', async () => {
    for (const kind of ['write', 'sync'] as const) {
      const files = new CrashingFiles();
      const { file } = await opened(files);
      await file.save(Buffer.from('one'));
      await file.save(Buffer.from('two'));
      files.failNext = kind;
      await expect(file.save(Buffer.from('lost'))).rejects.toMatchObject({ code: 'E_IO' });
      await file.save(Buffer.from('three'));
      expect((await opened(files.restart(true))).payload).toBe('three');
    }
  });

  test('R10: after a failed sync of what the newest slot relies on, nothing is saved any more', async () => {
    const files = new CrashingFiles();
    const { file } = await opened(files);
    await file.save(Buffer.from('one'));
    await file.save(Buffer.from('two'), { sync: false });
    files.failNext = 'sync';
    await expect(file.save(Buffer.from('three'))).rejects.toMatchObject({ code: 'E_IO' });
    await expect(file.save(Buffer.from('four'))).rejects.toMatchObject({ code: 'E_IO' });
    expect((await opened(files)).payload).toBe('two');
  });

  test('with both slots damaged it is refused, with what is wrong with each', async () => {
    const files = new CrashingFiles();
    const { file } = await opened(files);
    await file.save(Buffer.from('one'));
    await file.save(Buffer.from('two'));
    const handle = await files.open(path);
    await handle.writeAt(64, Buffer.from('x'));
    expect((await opened(files)).payload).toBe('two');
    await handle.writeAt(8192 + 20, Buffer.from('x'));
    await expect(opened(files)).rejects.toMatchObject({
      code: 'E_METADATA',
      message: expect.stringMatching(/slot 0 .*payload.*slot 1 .*checksum/) as string,
    });
  });

  test('a file of zeroes or of another kind is not taken for a new one', async () => {
    for (const content of [new Uint8Array(8192), Buffer.from('hello')]) {
      const files = new CrashingFiles();
      await files.write(path, content, { sync: true });
      await expect(opened(files)).rejects.toMatchObject({ code: 'E_METADATA' });
    }
    const files = new CrashingFiles();
    await (await opened(files)).file.save(Buffer.from('one'));
    await expect(opened(files, { ...format, magic: 'HFOTHER1' })).rejects.toThrow('"HFTEST01"');
    await expect(opened(files, { ...format, slotBytes: 4096 })).rejects.toMatchObject({ code: 'E_METADATA' });
  });

  test('a slot of a newer version refuses the file, although the other slot could be read', async () => {
    const files = new CrashingFiles();
    const { file } = await opened(files);
    await file.save(Buffer.from('one'));
    const newer = await opened(files, { ...format, version: 4 });
    expect(newer.payload).toBe('one');
    await newer.file.save(Buffer.from('two'));
    await expect(opened(files)).rejects.toThrow('version 4');
  });

  test('any damage gives a named refusal or the other payload', async () => {
    const files = new CrashingFiles();
    const { file } = await opened(files);
    await file.save(payloadOf(1));
    await file.save(payloadOf(2));
    const whole = await files.read(path);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(whole.length - 1),
        fc.uint8Array({ minLength: 1, maxLength: 100 }),
        async (at, noise) => {
          const damaged = Uint8Array.from(whole);
          damaged.set(noise.subarray(0, whole.length - at), at);
          await files.write(path, damaged, { sync: true });
          const { payload } = await opened(files);
          expect([payloadOf(1), payloadOf(2)].map((one) => Buffer.from(one).toString())).toContain(payload);
        },
      ),
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), async (noise) => {
        await files.write(path, noise, { sync: true });
        await expect(opened(files)).rejects.toMatchObject({ code: 'E_METADATA' });
      }),
    );
  });
});
