/**
 * The form of `holdfast.yaml`: every key, what its value may be, and the words for what would be right. What takes more
 * than one value to judge is in `configuration-checks.ts`; defaults are filled in by `configuration.ts`.
 */
import { z } from 'zod';
import { parseAddress } from '../base/network.ts';
import { logBytesMin } from '../store/document.ts';
import { volumeBytesMax } from '../volume/change-bitmap.ts';
import { intentEntriesMax, intentEntriesMin } from '../volume/intent-map.ts';
import { agentsSchema } from './configuration-agents.ts';
import { alertsSchema } from './configuration-alerts.ts';
import {
  duration,
  field,
  list,
  name,
  numberFrom,
  oneOf,
  path,
  readTcp,
  section,
  show,
  size,
  sizeFrom,
  whole,
  Wrong,
} from './configuration-fields.ts';
import { groupIscsiSchema, nodeIscsiField } from './configuration-iscsi.ts';
import { nodePulseFields, pulseSchema } from './configuration-pulse.ts';
import { resourceSchema, takeOverSchema } from './configuration-resources.ts';
import { storeSchema } from './configuration-store.ts';

/** A mistake, by its path in the file. */
export interface Finding {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  /** The key itself is what is wrong. */
  readonly onKey?: boolean;
}

const mebibyte = 1024 ** 2;
export const volumeBytesMin = mebibyte;
export const logBytesMax = volumeBytesMax;
/** A log is kept once, or twice on different disks. */
export const logFoldersMax = 2;
export const logRetentionMsMax = 365 * 86_400_000;

const blockSize = field('512 or 4096', (value): 512 | 4096 | null =>
  value === 512 || value === 4096 ? value : null,
);

const replication = field('host:port, such as 10.0.0.1:7410', (value) => {
  const address = readTcp(value);
  if (address?.port === 0)
    return new Wrong('port 0 cannot be found by the other nodes; write a port from 1 to 65535');
  return address;
});

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);

const api = field('host:port on this machine, such as 127.0.0.1:8009', (value) => {
  const address = readTcp(value);
  if (address && !isLoopback(address.host)) {
    const instead = `write 127.0.0.1:${address.port}`;
    return new Wrong(`${show(value)} is open to others, and this version does not know who is calling; ${instead}`);
  }
  return address;
});

const nbdAddress = field('host:port or unix:/path', (value) =>
  typeof value === 'string' ? parseAddress(value) : null,
);

const mode = oneOf(['sync', 'receive', 'async']);

const volume = section('a volume', {
  name,
  size: sizeFrom('a volume has', volumeBytesMin, volumeBytesMax),
  'block-size': blockSize.optional(),
  paths: z
    .record(z.string(), path, { error: (issue) => `${show(issue.input)} is not of the form NODE: PATH` })
    .optional(),
});

const settings = section('settings', {
  grace: duration(100, 3_600_000, 'from 100ms to 1h').optional(),
  'lag-writes': whole(1, 1_000_000).optional(),
  'lag-bytes': sizeFrom('the bound may be', mebibyte, 1024 ** 4).optional(),
  'resync-share': numberFrom('a share', 0.05, 1).optional(),
  'hot-regions': whole(16, 65_536).optional(),
  'intent-entries': whole(intentEntriesMin, intentEntriesMax).optional(),
  'on-target-loss': oneOf(['log', 'suspend']).optional(),
  'on-congestion': oneOf(['throttle', 'log']).optional(),
  'on-log-full': oneOf(['throttle', 'bitmap', 'suspend']).optional(),
  'merge-gain': numberFrom('a number', 1.1, 10).optional(),
});

/** `log: 8GiB` is short for a log of that size about which nothing else is said; one folder, for a list of one. */
const log = z.preprocess(
  (value) => (typeof value === 'string' || typeof value === 'number' ? { size: value } : value),
  section('a log', {
    size: sizeFrom('a log has', logBytesMin, logBytesMax),
    places: z
      .record(
        z.string(),
        z.preprocess(
          (value): unknown => (Array.isArray(value) ? value : [value]),
          list(path, 'folders', { min: 1 }).max(logFoldersMax, {
            error: `has too many; a log has ${logFoldersMax} copies at most`,
          }),
        ),
        { error: (issue) => `${show(issue.input)} is not of the form NODE: FOLDER` },
      )
      .optional(),
    retention: duration(0, logRetentionMsMax, 'from 0s to 365d').optional(),
    'retention-size': size.optional(),
  }),
);

const group = section('a group', {
  name,
  owner: name,
  volumes: list(volume, 'volumes', { min: 1 }),
  mirrors: list(section('a mirror', { to: name, mode: mode.optional() }), 'mirrors', { min: 0 }).optional(),
  log: log.optional(),
  settings: settings.optional(),
  'take-over': takeOverSchema.optional(),
  resources: list(resourceSchema, 'resources', { min: 0 }).optional(),
  iscsi: groupIscsiSchema.optional(),
});

const node = section('a node', {
  name,
  site: name,
  data: path,
  replication,
  connections: whole(1, 16).optional(),
  api,
  nbd: list(nbdAddress, 'addresses', { min: 1 }),
  iscsi: nodeIscsiField,
  ...nodePulseFields,
  agents: agentsSchema.optional(),
});

export const configurationSchema = section('the configuration', {
  cluster: name,
  store: storeSchema,
  sites: list(name, 'sites', { min: 1 }),
  nodes: list(node, 'nodes', { min: 1 }),
  groups: list(group, 'groups', { min: 0 }).optional(),
  pulse: pulseSchema.optional(),
  alerts: alertsSchema.optional(),
});

export type DeclaredConfiguration = z.infer<typeof configurationSchema>;
