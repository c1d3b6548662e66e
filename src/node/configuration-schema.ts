/**
 * The form of `holdfast.yaml`: every key, what its value may be, and the words for what would be right. What takes more
 * than one value to judge is in `configuration-checks.ts`; defaults are filled in by `configuration.ts`.
 */
import { z } from 'zod';
import { parseAddress, type Address } from '../base/network.ts';
import { formatSize, parseDurationMs, parseSize } from '../base/units.ts';
import { logBytesMin } from '../store/document.ts';
import { volumeBytesMax } from '../volume/change-bitmap.ts';
import { intentEntriesMax, intentEntriesMin } from '../volume/intent-map.ts';
import { didYouMean } from './configuration-positions.ts';

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

/** A value refused with a sentence of its own. */
class Wrong {
  readonly sentence: string;
  constructor(sentence: string) {
    this.sentence = sentence;
  }
}

/** One value: `read` returns null for what is not `right`, or `Wrong` where more can be said. */
function field<T>(right: string, read: (value: unknown) => T) {
  return z.unknown().transform((value, context): Exclude<T, null | Wrong> => {
    const absent = value === undefined || value === null;
    const result = absent ? null : read(value);
    if (isRight(result)) return result;
    const message = absent ? `is missing; it should be ${right}` : `${show(value)} is not ${right}`;
    context.addIssue({ code: 'custom', message: result instanceof Wrong ? result.sentence : message });
    return z.NEVER;
  });
}

const isRight = <T>(result: T | null): result is Exclude<T, null | Wrong> =>
  result !== null && !(result instanceof Wrong);

function show(value: unknown): string {
  const text = typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 59)}…` : text;
}

/** A mapping of exactly these keys. The messages for unknown keys stand one per line, in the order of the issue's keys. */
function section<Shape extends z.core.$ZodLooseShape>(what: string, shape: Shape) {
  const keys = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? issue.keys
            .map((key) => `no such key${didYouMean(key, keys) || `; ${what} has: ${keys.join(', ')}`}`)
            .join('\n')
        : issue.input === undefined || issue.input === null
          ? `is missing; it should be ${what} with the keys ${keys.join(', ')}`
          : `${show(issue.input)} is not ${what}; write the keys ${keys.join(', ')}`,
  });
}

function list<Item extends z.ZodType>(item: Item, what: string, options: { min: number }) {
  return z
    .array(item, {
      error: (issue) =>
        issue.input === undefined || issue.input === null
          ? `is missing; it should be a list of ${what}`
          : `${show(issue.input)} is not a list; write each of the ${what} after a "- "`,
    })
    .min(options.min, { error: `is empty; there must be at least ${options.min} of the ${what}` });
}

/** Names stand in file names, addresses and export names, so they are plain. */
export const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

const name = field('a name (letters, digits, ".", "_" and "-", first a letter or digit, up to 63)', (value) => {
  if (typeof value === 'number')
    return new Wrong(`${value} is a number; put it in quotes to make it a name: "${value}"`);
  return typeof value === 'string' && namePattern.test(value) ? value : null;
});

const path = field('the path of a file or folder', (value) =>
  typeof value === 'string' && value !== '' && !value.includes('\0') ? value : null,
);

const size = field('a size such as 512MiB, 1GiB or 4TiB', (value) => {
  if (typeof value === 'number') return Number.isSafeInteger(value) && value >= 0 ? value : null;
  return typeof value === 'string' ? parseSize(value) : null;
});

/** A size in a range, such as `a volume has from 1MiB to 64TiB`. */
const sizeFrom = (what: string, min: number, max: number) =>
  size.transform((bytes, context) => {
    if (bytes >= min && bytes <= max) return bytes;
    const range = `from ${formatSize(min)} to ${formatSize(max)}`.replaceAll(/(\d) /g, '$1');
    context.addIssue({ code: 'custom', message: `${bytes} bytes: ${what} ${range}` });
    return z.NEVER;
  });

const blockSize = field('512 or 4096', (value): 512 | 4096 | null =>
  value === 512 || value === 4096 ? value : null,
);

const duration = (minMs: number, maxMs: number, range: string) =>
  field(`a time such as 5s or 500ms, ${range}`, (value) => {
    const ms = typeof value === 'string' ? parseDurationMs(value) : null;
    if (typeof value === 'number')
      return new Wrong(`${value} has no unit; write for example ${value}s or ${value}ms`);
    return ms !== null && ms >= minMs && ms <= maxMs ? ms : null;
  });

const whole = (min: number, max: number) =>
  field(`a whole number from ${min} to ${max}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : null,
  );

type TcpAddress = Extract<Address, { kind: 'tcp' }>;

const readTcp = (value: unknown): TcpAddress | null => {
  const address = typeof value === 'string' ? parseAddress(value) : null;
  return address?.kind === 'tcp' ? address : null;
};

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

const storeKind = field('"file"', (value): 'file' | null | Wrong => {
  if (value === 'none' || value === 'etcd') {
    return new Wrong(`the store "${value}" is not available in this version; write "file"`);
  }
  if (value === 'memory') return new Wrong('the store "memory" is for tests only: it forgets; write "file"');
  return value === 'file' ? value : null;
});

const oneOf = <Word extends string>(words: readonly Word[]) =>
  field(`one of ${words.join(', ')}`, (value): Word | null => words.find((word) => word === value) ?? null);

const mode = oneOf(['sync', 'receive', 'async']);

const numberFrom = (what: string, min: number, max: number) =>
  field(`${what} from ${min} to ${max}`, (value) =>
    typeof value === 'number' && value >= min && value <= max ? value : null,
  );

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
});

const node = section('a node', {
  name,
  site: name,
  data: path,
  replication,
  connections: whole(1, 16).optional(),
  api,
  nbd: list(nbdAddress, 'addresses', { min: 1 }),
});

export const configurationSchema = section('the configuration', {
  cluster: name,
  store: section('the store', { kind: storeKind, path }),
  sites: list(name, 'sites', { min: 1 }),
  nodes: list(node, 'nodes', { min: 1 }),
  groups: list(group, 'groups', { min: 0 }).optional(),
});

export type DeclaredConfiguration = z.infer<typeof configurationSchema>;
