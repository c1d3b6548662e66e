/**
 * I7: rot is never taken for a tail. Each byte of a small log is changed in turn, a sector is lost in turn; then all that
 * was acknowledged is read back as it was, or what is missing is named.
 */
import { describe, expect, it } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import { Journal } from '../../src/journal/journal.ts';
import { World } from '../../src/sim/world/world.ts';
import { comparePositions, type Position } from '../../src/stream/position.ts';
import type { StreamRecord } from '../../src/stream/record.ts';
import { answered, append, at, itemsOf, settings, write } from './samples.ts';

const small = { ...settings, segmentBytes: 4096 };

interface Prepared {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly records: readonly StreamRecord[];
}

/** Segments with every kind of entry; `clean`: it was closed, else the power failed right after the last answer. */
async function prepare(clean: boolean): Promise<Prepared> {
  const world = new World({ seed: `rot ${clean}` });
  const machine = world.machine('east');
  const journal = await world.settle(Journal.open(machine.start('holdfast').environment, small));
  // One of them holds sectors of zeroes.
  const zeroes = write(4, 1500, { data: new Uint8Array(1500) });
  const first = [write(1, 300), write(2, 1200), write(3, 900), zeroes, write(5, 700)];
  await world.settle(answered((done) => journal.setMembers([{ volume: 1, wwid: '6abc', sizeBytes: 4096 }], done)));
  for (const record of first) await world.settle(append(journal, [record]));
  await world.settle(answered((done) => journal.mark('here', done)));
  const last = write(6, 800);
  await world.settle(append(journal, [last]));
  if (clean) await world.settle(journal.close());
  machine.powerLoss();
  return { files: machine.files.snapshot().files, records: [...first, last] };
}

type Outcome = 'whole' | 'reported' | 'lost in silence' | 'something else';

async function outcomeOf(prepared: Prepared, path: string, damage: (bytes: Uint8Array) => void): Promise<Outcome> {
  const world = new World({ seed: 'look' });
  const machine = world.machine('east');
  const files = new Map([...prepared.files].map(([name, bytes]) => [name, bytes.slice()]));
  damage(files.get(path) ?? new Uint8Array(0));
  machine.files.restore({ files, folders: new Set(['/', '/log']) });
  let journal: Journal;
  try {
    journal = await world.settle(Journal.open(machine.start('holdfast').environment, small));
  } catch (error) {
    if (error instanceof HoldfastError) return 'reported';
    throw error;
  }
  const reader = journal.read(at(0, 0));
  const items = reader === null ? [] : await world.settle(itemsOf(reader));
  const damages = [...journal.damages, ...items.flatMap((item) => (item.kind === 'damage' ? [item.damage] : []))];
  const found = new Map(
    items.flatMap((item) =>
      item.kind === 'records' ? item.records.map((record) => [record.seq, record] as const) : [],
    ),
  );
  for (const { seq, data } of found.values()) {
    const expected = prepared.records[seq - 1]?.data;
    if (!expected || !data || Buffer.compare(expected, data) !== 0) return 'something else';
  }
  const covers = (position: Position): boolean =>
    damages.some(
      ({ after, upTo }) =>
        comparePositions(after, position) < 0 && (upTo === null || comparePositions(position, upTo) <= 0),
    );
  const missing = prepared.records.filter(({ seq }) => !found.has(seq));
  if (missing.length === 0) return damages.length > 0 ? 'reported' : 'whole';
  return missing.every(covers) ? 'reported' : 'lost in silence';
}

describe.each([true, false])('I7: of a log that was closed: %s', (clean) => {
  it('no changed byte loses anything in silence', { timeout: 120_000 }, async () => {
    const prepared = await prepare(clean);
    const outcomes = new Map<Outcome, number>();
    for (const [path, bytes] of prepared.files) {
      for (let offset = 0; offset < bytes.length; offset++) {
        const outcome = await outcomeOf(prepared, path, (file) => {
          file[offset] = (file[offset] ?? 0) ^ (1 << (offset % 8));
        });
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        if (outcome !== 'whole' && outcome !== 'reported') expect.fail(`${path}, byte ${offset}: ${outcome}`);
      }
    }
    // Most bytes matter; the padding of entries does not.
    expect(outcomes.get('reported')).toBeGreaterThan(4000);
    expect(outcomes.get('whole')).toBeGreaterThan(100);
  });

  it('no sector that vanished does, unless it may never have been written', async () => {
    const prepared = await prepare(clean);
    const silent: string[] = [];
    const paths = [...prepared.files.keys()].sort();
    for (const path of paths) {
      const length = prepared.files.get(path)?.length ?? 0;
      for (let offset = 0; offset < length; offset += 512) {
        const outcome = await outcomeOf(prepared, path, (file) => file.fill(0, offset, offset + 512));
        if (outcome !== 'whole' && outcome !== 'reported') silent.push(`${path} ${offset} ${outcome}`);
      }
    }
    // Without the note of an orderly end the last entry looks as if it had been torn: two sectors of 800 bytes and a header.
    const lastPath = paths.at(-1) ?? '';
    expect(silent.every((line) => line.startsWith(lastPath))).toBe(true);
    expect(silent.length).toBeLessThanOrEqual(clean ? 0 : 2);
  });
});
