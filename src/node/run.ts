/** One node on this machine: the composition root. Binds the world to `Node` and serves hosts; the control API is above. */
import { createNodeEnvironment, abortOnUncaught } from '../base/node/node-environment.ts';
import { HoldfastError } from '../base/errors.ts';
import { formatAddress, type Address } from '../base/network.ts';
import type { Log } from '../base/log.ts';
import { lockPath } from '../block/lock.ts';
import { NodeDeviceProvider } from '../block/node-device-provider.ts';
import { sparseSupport } from '../block/sparse.ts';
import { NbdServer } from '../hosts/nbd/server.ts';
import { NodeIscsi } from './iscsi.ts';
import { createSinks } from './alert-sinks/create-sinks.ts';
import { nodeConfiguration, type Configuration } from './configuration.ts';
import { toClusterDocument } from './configuration-document.ts';
import type { NodeControl } from './control.ts';
import { Node } from './node.ts';
import { NodeAddresses } from './node-addresses.ts';
import { NodeCommands } from './node-commands.ts';
import { openStore, storeOfNode } from './open-store.ts';
import { OwnProcessFaults } from './process-faults.ts';
import { productionAt } from './production-places.ts';
import { productVersion } from './product-version.ts';
import { pulseKeyVariable, readPulseKey } from './pulse-key.ts';
import { WorkerPulseHost } from './pulse-worker.ts';

export interface RunningNode {
  readonly control: NodeControl;
  /** Ends serving hosts, leaves everything clean on disk. */
  stop(): Promise<void>;
  /** Resolves when the node has ended, of itself or by `stop`. */
  readonly stopped: Promise<void>;
  readonly nbdAddresses: readonly string[];
  readonly iscsiAddresses: readonly string[];
  readonly apiAddress: string;
}

/** Room of one slot of change bits. The file is sparse: it takes what the bits take. */
const bitsSlotBytes = 2 ** 30;

/**
 * Rejects with `E_VOLUME_IN_USE` when another process runs this node, `E_PORT_TAKEN`, `E_NOT_FOUND`, and what the data
 * folder brings.
 */
export async function runNode(options: {
  configuration: Configuration;
  nodeName: string;
  log: Log;
}): Promise<RunningNode> {
  const { configuration, nodeName, log } = options;
  const own = nodeConfiguration(configuration, nodeName);
  const environment = createNodeEnvironment(log);
  abortOnUncaught(environment);
  await environment.files.makeFolder(own.dataFolder);
  const lock = await lockPath(own.dataFolder).catch((error: unknown) => {
    if (error instanceof HoldfastError && error.code === 'E_VOLUME_IN_USE') {
      throw new HoldfastError('E_VOLUME_IN_USE', `node ${nodeName}: ${error.message}`, { cause: error });
    }
    throw error;
  });
  const sparse = sparseSupport();
  if (!sparse.available) log.warn(`holes in backing files are not seen or made: ${sparse.reason}`);
  // A node whose file has no pulse section may be of a cluster that has one: the key can be in the environment.
  const asked = configuration.pulse !== null || (process.env[pulseKeyVariable] ?? '') !== '';
  const key = asked ? readPulseKey(configuration.pulse?.keyFile ?? null, process.env, log) : null;
  const store = await openStore(
    storeOfNode(configuration.store, own.dataFolder),
    configuration.cluster,
    environment,
    configuration.pulse?.settings.leaseTtlMs,
  );
  const commands = new NodeCommands();
  const node = new Node({
    environment,
    devices: new NodeDeviceProvider(environment.turn),
    store,
    pulse: new WorkerPulseHost({
      environment,
      store: configuration.store,
      cluster: configuration.cluster,
      local: { dataFolder: own.dataFolder, key },
    }),
    name: nodeName,
    declared: toClusterDocument(configuration, environment.random),
    dataFolder: own.dataFolder,
    listen: own.replication,
    connectionsPerLink: own.connectionsPerLink,
    softwareVersion: productVersion,
    pid: process.pid,
    bitsSlotBytes,
    productionAt: (document, path) => productionAt(document, { node: nodeName, dataFolder: own.dataFolder }, path),
    storeless: configuration.store.kind === 'none',
    faults: new OwnProcessFaults(),
    resources: { commands, networkDevices: new NodeAddresses(commands), agents: own.agents },
    alerts: {
      settings: configuration.alerts,
      sinks: createSinks(configuration.alerts.sinks, environment, `${own.dataFolder}/alerts`),
    },
  });
  const nbd = new NbdServer(environment, node.exports);
  let nbdAddresses: Address[];
  try {
    nbdAddresses = await nbd.listen(own.nbd);
    await node.start();
  } catch (error) {
    await nbd.close();
    await lock.release();
    throw error;
  }
  node.exportBases = nbdAddresses.map(exportBase);
  const iscsi = new NodeIscsi(environment, node);
  let iscsiAddresses: Address[];
  try {
    iscsiAddresses = await iscsi.listen(own.iscsi);
  } catch (error) {
    await node.stop();
    await Promise.all([nbd.close(), iscsi.close()]);
    await lock.release();
    throw error;
  }
  node.ownIscsi = iscsi;
  let ended = (): void => {};
  const stopped = new Promise<void>((resolve) => (ended = resolve));
  let stopping: Promise<void> | null = null;
  return {
    control: node,
    stop: () => {
      stopping ??= node
        .stop()
        .then(() => Promise.all([nbd.close(), iscsi.close()]))
        .then(() => lock.release())
        .then(ended);
      return stopping;
    },
    stopped,
    nbdAddresses: nbdAddresses.map(formatAddress),
    iscsiAddresses: iscsiAddresses.map(formatAddress),
    apiAddress: formatAddress(own.api),
  };
}

/** Where an export's URI begins; the volume's name follows. */
function exportBase(address: Address): string {
  return address.kind === 'tcp' ? `nbd://${formatAddress(address)}` : `nbd+unix:///?socket=${address.path}`;
}
