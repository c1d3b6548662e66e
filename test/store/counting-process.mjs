/** Counts up a key by compare-and-swap as often as asked: `node counting-process.mjs COMPILED-SOURCES FOLDER TIMES`. */
import { join } from 'node:path';

const [sources, folder, times] = process.argv.slice(2);
const load = (module) => import(join(sources, module));
const { FileStore } = await load('store/file-store.js');
const { NodeFiles } = await load('base/node/node-files.js');
const { NodeRandom } = await load('base/node/node-random.js');
const { silentLog } = await load('base/log.js');

const store = await FileStore.open(new NodeFiles(), folder, new NodeRandom(), silentLog);
for (let counted = 0; counted < Number(times);) {
  const entry = await store.read('counter');
  const outcome = await store.commit({
    require: [{ key: 'counter', revision: entry?.revision ?? 0 }],
    put: [{ key: 'counter', value: String(Number(entry?.value ?? 0) + 1) }],
    durable: counted % 10 === 0,
  });
  if (outcome.kind === 'committed') counted++;
  else if (outcome.kind !== 'conflict') throw new Error(JSON.stringify(outcome));
}
await store.close();
