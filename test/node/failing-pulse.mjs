// A process whose pulse fails as its argument says. Never ends by itself.
import { createNodeEnvironment } from '../../dist/base/node/node-environment.js';
import { createNodeLog } from '../../dist/base/node/node-log.js';
import { WorkerPulseHost } from '../../dist/node/pulse-worker.js';

const [, , storePath, how] = process.argv;
const host = new WorkerPulseHost({
  environment: createNodeEnvironment(createNodeLog({ name: 'east' })),
  store: { kind: 'file', path: storePath },
  local: { dataFolder: '/nowhere', key: null },
  program: new URL('./fake-pulse-thread.mjs', import.meta.url),
});
const nothing = () => {};
const pulse = { clusterId: 'c', nodes: [], settings: {}, table: null };
await host.start(
  { node: 'east', incarnation: 'i', leaseTtlMs: 3000, stallMs: 1000, pulse },
  {
    leaseAcquired: nothing,
    leaseLapsed: nothing,
    changed: nothing,
    indicated: nothing,
    tableChanged: nothing,
    control: async () => null,
  },
);
await host.ask({ kind: 'sendControl', to: 'west', message: { kind: how, body: null }, limitMs: 1 });
setInterval(nothing, 1000);
