import { crc32c } from '../../src/base/crc32c.ts';
import { journalDefaults, type Journal, type JournalSettings } from '../../src/journal/journal.ts';
import type { JournalItem, JournalReader } from '../../src/journal/reader.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import type { World } from '../../src/sim/world/world.ts';
import { origin, type Position } from '../../src/stream/position.ts';
import type { StreamRecord } from '../../src/stream/record.ts';

export const settings: JournalSettings = {
  ...journalDefaults,
  group: 'g1',
  start: origin,
  folders: ['/log'],
  capacityBytes: 2 ** 30,
  synchronous: true,
};

/**
 * A file that takes a device's place; with segments of 4096 bytes it has so many slots of 4096. Its first MiB is zeroes,
 * what lies behind is left from somebody else.
 */
export async function makeDevice(world: World, process: SimProcess, path = '/device', slots = 16): Promise<void> {
  const { files } = process.environment;
  const bytes = new Uint8Array(1024 * 1024 + 1024 * 512 + slots * 4096).fill(0xa5, 1024 * 1024);
  await world.settle(files.write(path, bytes, { sync: true }).then(() => files.syncFolder('/')));
}

/** Bytes that say which write they are of; never zeroes. */
export function dataOf(seq: number, length: number): Uint8Array {
  return new Uint8Array(length).map((_byte, index) => 1 + ((seq * 31 + index * 7 + (index >> 8)) % 255));
}

export function write(seq: number, length = 100, changes: Partial<StreamRecord> = {}): StreamRecord {
  const data = changes.data === undefined ? dataOf(seq, length) : changes.data;
  return {
    kind: 'write',
    generation: 1,
    epoch: seq,
    seq,
    volume: 1,
    offset: seq * 4096,
    length,
    hole: false,
    data,
    checksum: data === null ? 0 : crc32c(data),
    ...changes,
  };
}

export function writes(from: number, to: number, length = 100): StreamRecord[] {
  return Array.from({ length: to - from + 1 }, (_, index) => write(from + index, length));
}

export const at = (seq: number, generation = 1): Position => ({ generation, seq });

export function append(journal: Journal, records: readonly StreamRecord[]): Promise<void> {
  return answered((done) => journal.append(records, done));
}

export function answered(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => start((error) => (error === null ? resolve() : reject(error))));
}

/** All items up to the end of the log. */
export async function itemsOf(reader: JournalReader | null): Promise<JournalItem[]> {
  const items: JournalItem[] = [];
  if (reader === null) throw new Error('the position is not held');
  for (let item = await reader.next(); item !== null; item = await reader.next()) items.push(item);
  return items;
}

/** The same of a reader made for it alone. */
export async function shownOnce(reader: JournalReader | null): Promise<(number | string)[]> {
  const seen = await shown(reader);
  await reader?.close();
  return seen;
}

/** In short: numbers of records, names of marks, what is damaged. */
export async function shown(reader: JournalReader | null): Promise<(number | string)[]> {
  const items = await itemsOf(reader);
  return items.flatMap((item): (number | string)[] => {
    switch (item.kind) {
      case 'records':
        return item.records.map(({ seq }) => seq);
      case 'mark':
        return [item.name];
      case 'members':
        return ['members'];
      case 'damage':
        return [`lost ${item.damage.after.seq}…${item.damage.upTo?.seq ?? ''}`];
    }
  });
}

export async function pathsOf(world: World, process: SimProcess, folder = '/log'): Promise<string[]> {
  const names = await world.settle(process.environment.files.list(folder));
  return names.toSorted().map((name) => `${folder}/${name}`);
}
