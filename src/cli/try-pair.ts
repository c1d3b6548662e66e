/**
 * The pair that `holdfast try` runs: its folder, its configuration, its ports. The configuration is written once and
 * kept, so that a later start carries on with the same data; it may be edited in between.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatAddress, parseAddress } from '../base/network.ts';
import { NodeFiles } from '../base/node/node-files.ts';
import { newPulseKey } from '../node/pulse-key.ts';
import { nodeConfiguration, type Configuration, type NodeConfiguration } from '../node/configuration.ts';
import { loadConfiguration } from './command-config.ts';

export const defaultFolder = './holdfast-data';

export interface Pair {
  readonly folder: string;
  readonly file: string;
  readonly configuration: Configuration;
  /** Those to be run here: both, or the one asked for. */
  readonly nodes: readonly NodeConfiguration[];
}

export interface PairOptions {
  readonly dir: string;
  readonly portBase?: number;
  readonly only?: 'east' | 'west';
}

type Side = 'east' | 'west';
const sides: readonly Side[] = ['east', 'west'];

/** Nothing is written when a port is taken: the next start may choose others. */
export async function preparePair(options: PairOptions): Promise<Pair> {
  const file = join(options.dir, 'holdfast.yaml');
  const isNew = !existsSync(file);
  const wanted = addressesFor(options.portBase);
  const inUse = isNew ? wanted : addressesIn(loadConfiguration(file));
  if (options.portBase !== undefined && JSON.stringify(wanted) !== JSON.stringify(inUse)) {
    const ports = `NBD at ${inUse.east.nbd} and ${inUse.west.nbd}`;
    const instead = `leave --port-base away, or choose another folder with --dir`;
    throw new HoldfastError('E_REFUSED', `the pair in ${options.dir} has ports already (${ports}); ${instead}`);
  }
  const started = options.only ? [options.only] : sides;
  for (const side of started) {
    for (const use of tcpUses) await requireFree(inUse[side][use], side, use, isNew);
  }
  if (isNew) {
    await new NodeFiles().makeFolder(options.dir);
    writeFileSync(join(options.dir, 'pulse.key'), `${newPulseKey()}\n`, { mode: 0o600 });
    writeFileSync(file, configurationText(wanted));
  }
  const configuration = loadConfiguration(file);
  return {
    folder: options.dir,
    file,
    configuration,
    nodes: started.map((side) => nodeConfiguration(configuration, side)),
  };
}

/** `npm start` with what finds the same pair again. */
export function startCommand(pair: Pair, node: string): string {
  const isDefault = relative(defaultFolder, pair.folder) === '';
  return `npm start -- --only ${node}${isDefault ? '' : ` --dir ${pair.folder}`}`;
}

const tcpUses = ['nbd', 'iscsi', 'api', 'replication', 'heartbeat'] as const;

interface Addresses {
  readonly nbd: string;
  /** Empty: none, as in pairs of before there was any. */
  readonly iscsi: string;
  readonly api: string;
  /** Its UDP port is that of heartbeats. */
  readonly replication: string;
  /** Empty: none. */
  readonly heartbeat: string;
}

function addressesFor(base?: number): Record<Side, Addresses> {
  const nbd = base ?? 10809;
  const api = base === undefined ? 8009 : base + 2;
  const iscsi = base === undefined ? 3260 : base + 4;
  const at = (index: number): Addresses => ({
    nbd: `127.0.0.1:${nbd + index}`,
    iscsi: `127.0.0.1:${iscsi + index}`,
    api: `127.0.0.1:${api + index}`,
    replication: `127.0.0.1:${nbd + 6 + index}`,
    heartbeat: `127.0.0.1:${nbd + 8 + index}`,
  });
  return { east: at(0), west: at(1) };
}

export const portBaseMax = 65535 - 9;

function addressesIn(configuration: Configuration): Record<Side, Addresses> {
  const of = (side: Side): Addresses => {
    const { nbd, iscsi, api, replication, heartbeat } = nodeConfiguration(configuration, side);
    const [portal] = iscsi;
    const tcp = nbd.find((address) => address.kind === 'tcp') ?? { kind: 'tcp', host: '127.0.0.1', port: 0 };
    return {
      nbd: formatAddress(tcp),
      iscsi: portal === undefined ? '' : formatAddress(portal),
      api: formatAddress(api),
      replication: formatAddress(replication),
      heartbeat: heartbeat === null ? '' : `${heartbeat.host}:${heartbeat.port}`,
    };
  };
  return { east: of('east'), west: of('west') };
}

async function requireFree(text: string, side: Side, use: string, isNew: boolean): Promise<void> {
  const address = parseAddress(text);
  if (address?.kind !== 'tcp') return;
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(address.port, address.host, resolve);
    });
    await new Promise((resolve) => server.close(resolve));
  } catch (error) {
    const cure = isNew ? 'choose other ports with --port-base' : 'does this pair run already?';
    const what = `${text}, ${use === 'nbd' ? 'NBD' : use === 'iscsi' ? 'iSCSI' : use} of ${side}`;
    const taken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    if (taken) throw new HoldfastError('E_PORT_TAKEN', `${what}: another program listens there; ${cure}`);
    throw new HoldfastError('E_LISTEN', `${what}: ${messageOf(error)}`, { cause: error });
  }
}

function configurationText(addresses: Record<Side, Addresses>): string {
  const node = (side: Side): string => `  - name: ${side}
    site: ${side}
    data: ./${side}
    replication: ${addresses[side].replication}
    pulse: ['${addresses[side].replication}']
    heartbeat: ${addresses[side].heartbeat}
    api: ${addresses[side].api}
    nbd: ['${addresses[side].nbd}']
    iscsi: ['${addresses[side].iscsi}']
`;
  return `# Written by \`holdfast try\` at its first start, and kept. docs/manual/configuration.md explains every key.
cluster: try
store:
  kind: file
  path: ./store
sites: [east, west]
pulse:
  preset: lan
  key-file: ./pulse.key
  mirrors:
    - name: hb-east
      from: east
      to: west
    - name: hb-west
      from: west
      to: east
nodes:
${sides.map(node).join('')}groups:
  - name: g1
    owner: east
    volumes:
      - name: vol1
        size: 1GiB
    mirrors:
      - to: west
        mode: sync
    log: 1GiB
    take-over:
      automatic: on
`;
}
