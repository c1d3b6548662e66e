import fc from 'fast-check';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { NodeTurn } from '../../src/base/node/node-turn.ts';
import type { KeptMemory } from '../../src/block/device.ts';
import { openMappedFile } from '../../src/block/mapped-file.ts';
import { World } from '../../src/sim/world/world.ts';
import {
  IntentMap,
  intentMapBytes,
  readIntents,
  type FoundIntents,
  type Intent,
} from '../../src/volume/intent-map.ts';
import { HeldDevice } from '../stream/steps.ts';
import { providerOf } from './legs.ts';

const places = 16;
const begin = { generation: 6, seq: 99 };

function change(seq: number): Intent {
  return { position: { generation: 7, seq }, volume: seq % 3, offset: seq * 4096, length: 512 * (1 + (seq % 8)) };
}

/** A file that keeps at once, as a mapped one does. */
class Kept implements KeptMemory {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  keep(): null {
    return null;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

async function openOn(
  bytes: Uint8Array,
  entries = places,
): Promise<{ readonly map: IntentMap; readonly found: FoundIntents | null }> {
  const devices = { ...providerOf(new HeldDevice(4096)), openMemory: () => Promise.resolve(new Kept(bytes)) };
  return IntentMap.open(devices, '/data', entries);
}

async function begun(bytes = new Uint8Array(intentMapBytes)): Promise<{ map: IntentMap; bytes: Uint8Array }> {
  const { map } = await openOn(bytes);
  map.begin(7, begin, null);
  return { map, bytes };
}

const seqsIn = ({ intents }: { readonly intents: readonly Intent[] | null }): number[] | null =>
  intents === null ? null : intents.map(({ position }) => position.seq);

describe('the intent map', () => {
  test('TL-7: names what was begun and has not ended, under the generation it was begun in', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= 5; seq++) map.add(seq, change(seq));
    map.release(2);
    map.add(6, change(6));
    expect((await openOn(bytes)).found).toEqual({
      generation: 7,
      intents: [3, 4, 5, 6].map(change),
      after: { generation: 7, seq: 2 },
    });
    map.beginGeneration(9);
    expect((await openOn(bytes)).found).toMatchObject({ generation: 9, intents: [3, 4, 5, 6].map(change) });
  });

  test('a file that was never written names nothing, which is not the same as "all is equal"', async () => {
    expect((await openOn(new Uint8Array(intentMapBytes))).found).toBeNull();
    const { bytes } = await begun();
    expect((await openOn(bytes)).found).toEqual({ generation: 7, intents: [], after: begin });
  });

  test('what has ended since the last entry is told with `tidy`', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= 3; seq++) map.add(seq, change(seq));
    map.release(3);
    expect(seqsIn(readIntents(bytes))).toEqual([1, 2, 3]);
    map.tidy();
    expect(seqsIn(readIntents(bytes))).toEqual([]);
    expect(readIntents(bytes).after).toEqual({ generation: 7, seq: 3 });
    map.add(4, change(4));
    expect(seqsIn(readIntents(bytes))).toEqual([4]);
  });

  test('goes round, and is full when it is', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= 100; seq++) {
      map.add(seq, change(seq));
      expect(map.size).toBe(Math.min(seq, 10));
      if (seq >= 10) map.release(seq - 9);
      expect(seqsIn(readIntents(bytes))?.at(-1)).toBe(seq);
    }
    for (let seq = 101; map.free > 0; seq++) map.add(seq, change(seq));
    expect(map.size).toBe(places);
    expect(seqsIn(readIntents(bytes))).toHaveLength(places);
  });

  test('several changes of one request end together', async () => {
    const { map } = await begun();
    map.add(4, change(1));
    map.add(5, change(5));
    map.release(3);
    expect(map.size).toBe(2);
    map.release(4);
    expect(map.size).toBe(1);
  });

  test('an entry cut short anywhere leaves those before it', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= places + 4; seq++) {
      map.add(seq, change(seq));
      map.release(seq - 3);
    }
    const before = bytes.slice();
    map.add(places + 5, change(places + 5));
    const at = (1 + ((places + 5) % places)) * 64;
    for (let cut = 0; cut <= 60; cut++) {
      const torn = before.slice();
      torn.set(bytes.subarray(at, at + cut), at);
      const seqs = seqsIn(readIntents(torn));
      const first = places + 1;
      if (cut === 60) expect(seqs).toEqual([first + 1, first + 2, first + 3, first + 4]);
      else expect(seqs).toEqual([first, first + 1, first + 2, first + 3]);
    }
  });

  test('one that is damaged among others, or a head that is, names nothing', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= 5; seq++) map.add(seq, change(seq));
    for (const place of [0, 2, 4]) {
      const damaged = bytes.slice();
      damaged[place * 64 + 20] = 0x77;
      expect((await openOn(damaged)).found?.intents ?? null).toBeNull();
    }
  });

  test('given up, names nothing until the next tenure', async () => {
    const { map, bytes } = await begun();
    map.giveUp();
    map.add(1, change(1));
    expect((await openOn(bytes)).found).toMatchObject({ generation: 7, intents: null });
    const next = await openOn(bytes);
    next.map.begin(8, begin, null);
    next.map.add(1, change(1));
    expect(seqsIn(readIntents(bytes))).toEqual([1]);
  });

  test('a new tenure forgets what was found, or goes on to name it until its own changes cover it', async () => {
    const first = await begun();
    for (let seq = 1; seq <= 3; seq++) first.map.add(seq, change(seq));
    const second = await openOn(first.bytes.slice());
    expect(second.map.size).toBe(3);
    second.map.begin(8, begin, 2);
    second.map.add(3, change(9));
    second.map.release(1);
    expect(second.map.size).toBe(4);
    second.map.release(2);
    expect(second.map.size).toBe(1);
    const third = await openOn(first.bytes);
    third.map.begin(8, begin, null);
    expect(third.map.size).toBe(0);
    expect(seqsIn(readIntents(first.bytes))).toEqual([]);
  });

  test('with another number of places is read all the same, and then written in the new ones', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= 20; seq++) {
      map.add(seq, change(seq));
      map.release(seq - 4);
    }
    const wider = await openOn(bytes, 40);
    expect(wider.found?.intents?.map(({ position }) => position.seq)).toEqual([16, 17, 18, 19, 20]);
    expect(wider.map.adoptable).toBe(false);
    wider.map.begin(8, begin, null);
    for (let seq = 21; seq <= 100; seq++) {
      wider.map.add(seq, change(seq));
      wider.map.release(seq - 30);
    }
    expect(seqsIn(readIntents(bytes))).toHaveLength(31);
  });

  test('TL-7: a crash after any effect leaves named all that was begun and not told as ended', async () => {
    for (let seed = 0; seed < 80; seed++) {
      const world = new World({ seed: `intents ${seed}` });
      const machine = world.machine('east');
      const first = machine.start('a');
      const { map } = await world.settle(IntentMap.open(first.devices, '/data', places));
      const started = new Set<number>();
      let ended = 0;
      let seq = 0;
      let steps = seed;
      const step = (): void => {
        if (!first.alive) return;
        if (map.free > 0) {
          map.add(++seq, change(seq));
          // Only a process that lives begins what it has named.
          if (first.alive) started.add(seq);
        }
        if (++steps % 3 === 0) map.release((ended = Math.max(ended, seq - (seed % places))));
        if (steps % 7 === 0) map.tidy();
        first.environment.clock.after(1, step);
      };
      first.call(() => {
        map.begin(7, begin, null);
        step();
      });
      first.crashAfterEffects(1 + seed);
      await world.run(400);
      expect(first.alive).toBe(false);
      const { found } = await world.settle(IntentMap.open(machine.start('b').devices, '/data', places));
      const named = new Set(found?.intents?.map(({ position }) => position.seq));
      for (const one of started) if (one > ended) expect(named).toContain(one);
      expect(named.size).toBeLessThanOrEqual(places);
    }
  });

  test('any bytes are read as a map of some kind, or as none', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(readIntents(bytes).intents).toBeNull();
      }),
    );
  });

  test('a map with any bytes turned over names all, a later part, or nothing', async () => {
    const { map, bytes } = await begun();
    for (let seq = 1; seq <= 12; seq++) map.add(seq, change(seq));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 14 * 64 - 1 }), fc.integer({ min: 1, max: 255 }), (at, turned) => {
        const damaged = bytes.slice();
        damaged[at] = (damaged[at] ?? 0) ^ turned;
        const seqs = seqsIn(readIntents(damaged));
        // The last one, damaged, cannot be told from one that was cut short.
        if (seqs !== null) expect(seqs.slice(0, 11)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
      }),
    );
  });
});

describe('a mapped file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-map-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each([true, false])('keeps what is stored in it; mapped: %s', async (mapped) => {
    const path = join(folder, `kept-${mapped}`);
    const first = await openMappedFile(new NodeTurn(), path, 8192, mapped);
    expect(first.bytes.every((byte) => byte === 0)).toBe(true);
    // Its place on the medium is there: a page without one would kill the process.
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(8192);
    first.bytes.set([1, 2, 3], 5000);
    expect(first.keep(5000, 3)).toBeNull();
    const second = await openMappedFile(new NodeTurn(), path, 8192, mapped);
    expect([...second.bytes.subarray(4999, 5004)]).toEqual([0, 1, 2, 3, 0]);
    await first.close();
    await second.close();
    expect(() => first.bytes).toThrow('closed');
  });

  test('one that was shortened is made whole, with what it had', async () => {
    const path = join(folder, 'grown');
    const small = await openMappedFile(new NodeTurn(), path, 4096);
    small.bytes[10] = 9;
    small.keep(10, 1);
    await small.close();
    const large = await openMappedFile(new NodeTurn(), path, 8192);
    expect([large.bytes.length, large.bytes[10]]).toEqual([8192, 9]);
    await large.close();
  });

  test('cannot be had in a folder that is not there', async () => {
    await expect(openMappedFile(new NodeTurn(), join(folder, 'no', 'file'), 4096)).rejects.toMatchObject({
      code: 'E_FILE_MISSING',
    });
  });
});
