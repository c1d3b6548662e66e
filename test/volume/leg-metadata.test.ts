import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import { ChangeBitmap } from '../../src/volume/change-bitmap.ts';
import { decodeSector, LegCursor } from '../../src/volume/leg-cursor.ts';
import {
  BitsFile,
  decodeLegState,
  LegMetadata,
  legFormat,
  newLegState,
  type LegState,
} from '../../src/volume/leg-metadata.ts';
import { TwoSlotFile } from '../../src/volume/two-slot-file.ts';
import { HeldDevice } from '../stream/steps.ts';
import { CrashingFiles } from './crashing-files.ts';
import { MiB, providerOf } from './legs.ts';

const inputs = Number(process.env['FUZZ_INPUTS'] ?? 20_000);
const slotBytes = 256 * 1024;
const initial = newLegState('g1', 'west', 'boot-1');

const full: LegState = {
  ...initial,
  seen: { generation: 9, id: 'i' },
  lineage: { generation: 8, id: 'h', ancestors: [{ generation: 7, id: 'g', leftAtSeq: 70 }] },
  durable: { generation: 8, seq: 80 },
  condition: 'unconfirmed',
  clean: false,
  hot: [1, 2, 2 ** 24 + 3],
  peers: { east: { known: true, confirmed: { generation: 8, seq: 79 } } },
  volumes: [{ index: 3, wwid: '6'.repeat(32), sizeBytes: MiB }],
  forks: [{ generation: 6, leftAtSeq: null, foundAtMs: 1.5, extents: 2, bytes: 1024, image: '/forks/x-*.img' }],
};

const opened = (files: CrashingFiles): ReturnType<typeof LegMetadata.open> =>
  LegMetadata.open(files, '/data', initial);

describe('the metadata of a leg', () => {
  test('is what was saved last; before the first save, what it begins with', async () => {
    const files = new CrashingFiles();
    const first = await opened(files);
    expect([first.found, first.metadata.state, first.metadata.saved]).toEqual([false, initial, null]);
    first.metadata.change(full);
    expect(first.metadata.saved).toBeNull();
    await first.metadata.save();
    const second = await opened(files.restart(true));
    expect([second.found, second.metadata.state, second.metadata.saved]).toEqual([true, full, full]);
  });

  test('R5: what is known to be on the medium is what was there when the save began', async () => {
    const { metadata } = await opened(new CrashingFiles());
    metadata.change({ durable: { generation: 1, seq: 1 } });
    const saving = metadata.save();
    metadata.change({ durable: { generation: 1, seq: 2 } });
    await saving;
    expect([metadata.saved?.durable.seq, metadata.state.durable.seq]).toEqual([1, 2]);
  });

  test('a save that failed is not taken for done', async () => {
    const files = new CrashingFiles();
    const { metadata } = await opened(files);
    await metadata.save();
    metadata.change({ durable: { generation: 1, seq: 1 } });
    files.failNext = 'sync';
    await expect(metadata.save()).rejects.toMatchObject({ code: 'E_IO' });
    expect(metadata.saved?.durable.seq).toBe(0);
  });

  test('of a peer is made when first needed, and changed in part', async () => {
    const { metadata } = await opened(new CrashingFiles());
    metadata.changePeer('east', { known: true });
    metadata.changePeer('east', { confirmed: { generation: 2, seq: 3 } });
    expect(metadata.state.peers).toEqual({ east: { known: true, confirmed: { generation: 2, seq: 3 } } });
  });

  test('that is none of ours is refused with the reason', async () => {
    const files = new CrashingFiles();
    const file = await TwoSlotFile.open(files, '/data/leg', legFormat);
    await file.load();
    await file.save(Buffer.from(JSON.stringify({ ...full, condition: 'splendid' })));
    await expect(opened(files)).rejects.toMatchObject({
      code: 'E_METADATA',
      message: expect.stringMatching(/^\/data\/leg: condition: /) as string,
    });
    expect(decodeLegState(Buffer.from('{'))).toEqual({ ok: false, reason: 'not JSON' });
  });
});

describe('the file of change bits', () => {
  const bitmap = (...chunks: number[]): ChangeBitmap => {
    const made = new ChangeBitmap(8 * MiB);
    for (const chunk of chunks) made.set(chunk * 64 * 1024, 1);
    return made;
  };
  const open = async (
    files: CrashingFiles,
  ): Promise<{ file: BitsFile; bits: Awaited<ReturnType<BitsFile['load']>> }> => {
    const file = await BitsFile.open(files, '/data', slotBytes);
    return { file, bits: await file.load() };
  };

  test('R9: gives back every bit of every volume against every leg', async () => {
    const files = new CrashingFiles();
    const { file, bits } = await open(files);
    expect(bits.size).toBe(0);
    const saved = new Map([
      [
        'east',
        new Map([
          [0, bitmap(1, 5)],
          [7, bitmap(0)],
        ]),
      ],
      ['north', new Map([[0, bitmap(127)]])],
      ['south', new Map([[0, bitmap()]])],
    ]);
    await file.save(saved);
    const found = (await open(files.restart(true))).bits;
    const shown = (of: typeof found): unknown =>
      [...of].map(([node, volumes]) => [node, [...volumes].map(([volume, one]) => [volume, [...one.encode()]])]);
    saved.delete('south');
    expect(shown(found)).toEqual(shown(saved));
  });

  test('cut short is refused, not half read', async () => {
    const files = new CrashingFiles();
    const { file } = await open(files);
    await file.save(new Map([['east', new Map([[0, bitmap(1)]])]]));
    const slots = await TwoSlotFile.open(files, '/data/bits', { slotBytes, magic: 'HFBITS_1', version: 1 });
    const payload = await slots.load();
    await slots.save((payload ?? new Uint8Array()).subarray(0, -1));
    await expect(open(files)).rejects.toMatchObject({ code: 'E_METADATA' });
  });
});

/** Numbers below a bound, the same for the same seed. */
function generator(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) % bound;
  };
}

/** Random, cut, with bytes changed, doubled, or pieces of text that mean something to a parser of JSON. */
function mutated(bytes: Uint8Array, draw: (bound: number) => number): Uint8Array {
  const words = ['-1', '1e999', 'null', '[]', '{}', '""', '9007199254740993', '"__proto__":', 'true', '0.5', ','];
  switch (draw(6)) {
    case 0:
      return new Uint8Array(draw(300)).map(() => draw(256));
    case 1:
      return bytes.subarray(0, draw(bytes.length + 1));
    case 2:
      return Uint8Array.from([...bytes, ...bytes.subarray(draw(bytes.length))]);
    case 3: {
      const word = Buffer.from(words[draw(words.length)] ?? '');
      const at = draw(bytes.length);
      return Uint8Array.from([...bytes.subarray(0, at), ...word, ...bytes.subarray(at + draw(12))]);
    }
    default: {
      const changed = Uint8Array.from(bytes);
      for (let changes = 1 + draw(4); changes > 0; changes--) changed[draw(changed.length)] = draw(256);
      return changed;
    }
  }
}

describe('fuzz: metadata of a leg', () => {
  const seed = process.env['FUZZ_INPUTS'] === undefined ? 1 : Date.now();

  test(`fuzz: ${inputs} states give a whole state or a reason (seed ${seed})`, () => {
    const draw = generator(seed);
    const text = Buffer.from(JSON.stringify(full));
    let accepted = 0;
    for (let number = 0; number < inputs; number++) {
      const decoded = decodeLegState(mutated(text, draw));
      if (!decoded.ok) {
        expect(decoded.reason).not.toBe('');
        continue;
      }
      accepted++;
      // Whatever is accepted can be relied upon: every number is one, every position is safe.
      const { durable, hot, lineage, peers, seen } = decoded.state;
      const numbers = [durable.generation, durable.seq, seen.generation, lineage.generation, ...hot];
      for (const peer of Object.values(peers)) numbers.push(peer.confirmed.generation, peer.confirmed.seq);
      for (const ancestor of lineage.ancestors) numbers.push(ancestor.generation, ancestor.leftAtSeq);
      if (!numbers.every((value) => Number.isSafeInteger(value) && value >= 0)) {
        throw new Error(`input ${number} of seed ${seed} was accepted with ${numbers.join(' ')}`);
      }
    }
    expect(accepted).toBeGreaterThan(inputs / 100);
    expect(accepted).toBeLessThan(inputs);
  });

  test(`fuzz: ${inputs} cursor sectors are whole or none (seed ${seed})`, async () => {
    const device = new HeldDevice(4096);
    const { cursor } = await LegCursor.open(providerOf(device), '/data');
    const position = { generation: 3, seq: 30 };
    cursor.write({ applied: position, intended: position }, () => {});
    const sector = device.operations[0]?.data ?? new Uint8Array();
    const draw = generator(seed);
    for (let number = 0; number < inputs; number++) {
      const decoded = decodeSector(mutated(sector, draw));
      if (decoded !== null) expect(decoded.state).toEqual({ applied: position, intended: position });
    }
  });

  test(`fuzz: ${inputs} files of bits are read or refused, in bounded memory (seed ${seed})`, async () => {
    const files = new CrashingFiles();
    const source = await BitsFile.open(files, '/data', slotBytes);
    await source.load();
    const some = new ChangeBitmap(8 * MiB);
    some.set(3 * MiB, 100);
    const all = new ChangeBitmap(MiB);
    all.setAll();
    await source.save(
      new Map([
        [
          'east',
          new Map([
            [0, some],
            [1, all],
          ]),
        ],
        ['north', new Map([[0, all]])],
      ]),
    );
    const path = '/fuzz/bits';
    const slots = await TwoSlotFile.open(files, '/data/bits', { slotBytes, magic: 'HFBITS_1', version: 1 });
    const payload = (await slots.load()) ?? new Uint8Array();
    const draw = generator(seed);
    const before = process.memoryUsage().rss;
    let read = 0;
    for (let number = 0; number < inputs; number++) {
      files.names.delete(path);
      const file = await TwoSlotFile.open(files, path, { slotBytes, magic: 'HFBITS_1', version: 1 });
      await file.load();
      await file.save(number % 100 === 0 ? payload : mutated(payload, draw));
      try {
        await (await BitsFile.open(files, '/fuzz', slotBytes)).load();
        read++;
      } catch (error) {
        if (!(error instanceof HoldfastError && error.code === 'E_METADATA')) {
          throw new Error(`input ${number} of seed ${seed}`, { cause: error });
        }
      }
    }
    expect(read).toBeGreaterThanOrEqual(inputs / 100);
    expect(process.memoryUsage().rss - before).toBeLessThan(256 * MiB);
  });
});
