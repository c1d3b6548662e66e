import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { NodeFiles } from '../../src/base/node/node-files.ts';
import { NodeTurn } from '../../src/base/node/node-turn.ts';
import { NodeDeviceProvider } from '../../src/block/node-device-provider.ts';
import { main } from '../../src/cli/main.ts';
import { encodeVersion } from '../../src/store/state-file.ts';
import { ChangeBitmap } from '../../src/volume/change-bitmap.ts';
import { IntentMap } from '../../src/volume/intent-map.ts';
import { BitsFile, LegMetadata, legFormat, newLegState } from '../../src/volume/leg-metadata.ts';
import { fakeIo } from './fake-io.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-dump-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function dump(path: string): Promise<{ status: number; contents: unknown; err: string }> {
  const io = fakeIo();
  const status = await main(['dump', path, '--json'], io);
  const answer = status === 0 ? (JSON.parse(io.outText()) as { contents: unknown }) : { contents: null };
  return { status, contents: answer.contents, err: io.errText() };
}

async function legFile(): Promise<string> {
  const { metadata } = await LegMetadata.open(new NodeFiles(), folder, newLegState('g1', 'east', 'boot'));
  await metadata.save();
  metadata.change({ durable: { generation: 3, seq: 77 } });
  await metadata.save();
  await metadata.close();
  return join(folder, 'leg');
}

it('dump shows what an intent map names', async () => {
  const { map } = await IntentMap.open(new NodeDeviceProvider(new NodeTurn()), folder, 16);
  const after = { generation: 2, seq: 7 };
  map.begin(3, after, null);
  const intent = { position: { generation: 3, seq: 1 }, volume: 0, offset: 4096, length: 512 };
  map.add(1, intent);
  await map.close();
  expect(await dump(join(folder, 'intent'))).toMatchObject({
    status: 0,
    contents: { generation: 3, complete: true, places: 16, entriesMade: 1, after, named: [intent] },
  });
  writeFileSync(join(folder, 'intent'), 'HFIM of something else');
  expect(await dump(join(folder, 'intent'))).toMatchObject({
    status: 0,
    contents: { damaged: 'the head does not match its checksum' },
  });
});

it('dump shows both slots of a metadata file, and which one counts', async () => {
  expect(await dump(await legFile())).toMatchObject({
    status: 0,
    contents: {
      newestSlot: 1,
      slots: [
        { sequence: 1, state: 'complete', payload: { durable: { seq: 0 } } },
        {
          sequence: 2,
          state: 'complete',
          payload: { group: 'g1', node: 'east', durable: { generation: 3, seq: 77 } },
        },
      ],
    },
  });
});

it('dump shows what is damaged beside what is not', async () => {
  const path = await legFile();
  const bytes = readFileSync(path);
  bytes[legFormat.slotBytes + 100] = 0;
  writeFileSync(path, bytes);
  expect((await dump(path)).contents).toMatchObject({
    newestSlot: 0,
    slots: [{ state: 'complete' }, { state: 'damaged: the payload of sequence 2 does not match its checksum' }],
  });
  bytes[20] = 9;
  writeFileSync(path, bytes);
  expect((await dump(path)).contents).toMatchObject({ newestSlot: null, slots: [{ sequence: 0 }, { sequence: 0 }] });
});

it('dump shows how much each other leg may lack', async () => {
  const bits = await BitsFile.open(new NodeFiles(), folder, 64 * 1024);
  await bits.load();
  const bitmap = new ChangeBitmap(2 ** 30);
  bitmap.set(0, 1);
  await bits.save(new Map([['west', new Map([[0, bitmap]])]]));
  await bits.close();
  expect((await dump(join(folder, 'bits'))).contents).toMatchObject({
    slots: [{ payload: [{ node: 'west', volume: 0, changedBytes: 65536 }] }, { state: 'never written' }],
  });
});

it('dump shows the entries of a version of the store, or that it is damaged', async () => {
  const path = join(folder, 'copy.json');
  const entry = { key: 'leases/east', value: '{"untilMs":5}', revision: 9 };
  const version = {
    state: { revision: 9, entries: new Map([[entry.key, entry]]) },
    synced: { revision: 8, entries: new Map([['leases/west', { key: 'leases/west', value: '{}', revision: 8 }]]) },
    lineage: ['a'],
  };
  writeFileSync(path, encodeVersion(version));
  expect((await dump(path)).contents).toEqual({
    revision: 9,
    syncedRevision: 8,
    removed: ['leases/west'],
    entries: [{ key: 'leases/east', revision: 9, value: { untilMs: 5 } }],
  });
  writeFileSync(path, Buffer.from(encodeVersion(version)).toString().replace('untilMs', 'untilMS'));
  expect((await dump(path)).contents).toEqual({ damaged: 'does not match its checksum' });
});

it('dump refuses a file that is none of ours, and one that is not there', async () => {
  const path = join(folder, 'x');
  writeFileSync(path, 'hello');
  expect(await dump(path)).toMatchObject({ status: 1, err: expect.stringContaining('is no file of ours') as string });
  writeFileSync(path, '');
  expect((await dump(path)).status).toBe(1);
  expect((await dump(join(folder, 'y'))).err).toContain('there is no file');
  expect((await dump(folder)).status).toBe(1);
});
