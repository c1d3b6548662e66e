/**
 * The section `store` of `holdfast.yaml`: where ownership is decided. Every kind has keys of its own; a key of another
 * kind is a mistake. Opening what it names is `open-store.ts`.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import { duration, field, list, path, section, show, Wrong } from './configuration-fields.ts';
import { didYouMean } from './configuration-positions.ts';
import type { Finding } from './configuration-schema.ts';

export type StoreConfiguration = FileStoreConfiguration | EtcdStoreConfiguration | NoStoreConfiguration;

/** The nodes have none in common: each keeps what it knows in its data folder, and they tell each other. */
export interface NoStoreConfiguration {
  readonly kind: 'none';
}

export interface FileStoreConfiguration {
  readonly kind: 'file';
  /** Folder, absolute. */
  readonly path: string;
}

export interface EtcdStoreConfiguration {
  readonly kind: 'etcd';
  /** `https://host:port` or `http://host:port`, each once; at least one. */
  readonly endpoints: readonly string[];
  /** Files, absolute. Without `ca` the system's authorities are trusted; `cert` and `key` are there both or neither. */
  readonly ca: string | null;
  readonly cert: string | null;
  readonly key: string | null;
  readonly user: string | null;
  /** File, absolute; null: the password is in the environment, as `HOLDFAST_ETCD_PASSWORD`. */
  readonly passwordFile: string | null;
  /** Ends in `/`; null: `/holdfast/<cluster>/`. */
  readonly prefix: string | null;
  /** Of one request to one endpoint; null: a sixth of the leases' TTL. */
  readonly timeoutMs: number | null;
}

export const etcdPasswordVariable = 'HOLDFAST_ETCD_PASSWORD';
const endpointsMax = 16;

const endpointPattern = /^https?:\/\/(?:\[[0-9a-fA-F:]+\]|[^\s:/?#@[\]]+):(\d{1,5})\/?$/;

const endpoint = field('the address of an etcd member, such as https://10.0.0.3:2379', (value) => {
  const port = typeof value === 'string' ? Number(endpointPattern.exec(value)?.[1] ?? 0) : 0;
  return typeof value === 'string' && port > 0 && port < 65_536 ? value.replace(/\/$/, '') : null;
});

const user = field('the name of a user of etcd', (value) =>
  typeof value === 'string' && value !== '' && value.length <= 255 ? value : null,
);

const prefix = field('the beginning of names of keys, such as /holdfast/example/', (value) => {
  if (typeof value !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(value)) return null;
  if (value === '/') return new Wrong('"/" is what others have, too; write for example /holdfast/');
  return value.endsWith('/') ? value : `${value}/`;
});

const fileStore = section('a store of the kind "file"', { kind: z.literal('file'), path });

const etcdStore = section('a store of the kind "etcd"', {
  kind: z.literal('etcd'),
  endpoints: list(endpoint, 'endpoints', { min: 1 }).max(endpointsMax, {
    error: `has too many; ${endpointsMax} endpoints at most`,
  }),
  ca: path.optional(),
  cert: path.optional(),
  key: path.optional(),
  user: user.optional(),
  'password-file': path.optional(),
  prefix: prefix.optional(),
  timeout: duration(50, 30_000, 'from 50ms to 30s').optional(),
});

const noStore = section('a store of the kind "none"', { kind: z.literal('none') });

const kinds = ['file', 'etcd', 'none'];

export const storeSchema = z.discriminatedUnion('kind', [fileStore, etcdStore, noStore], {
  error: ({ input }) => {
    if (input === undefined || input === null)
      return 'is missing; it should be the store, beginning with the key kind';
    if (typeof input !== 'object' || Array.isArray(input)) {
      return `${show(input)} is not the store; write the key kind, and those of the kind`;
    }
    const kind: unknown = 'kind' in input ? input.kind : undefined;
    if (kind === undefined || kind === null) return `is missing; it should be one of ${kinds.join(', ')}`;
    if (kind === 'memory') return 'the store "memory" is for tests only: it forgets; write "file" or "etcd"';
    return `${show(kind)} is not one of ${kinds.join(', ')}${typeof kind === 'string' ? didYouMean(kind, kinds) : ''}`;
  },
});

export type DeclaredStore = z.infer<typeof storeSchema>;

const sketch = z
  .object({
    kind: z.literal('etcd'),
    endpoints: z.array(z.string().catch('')).catch([]),
    ca: z.unknown().optional(),
    cert: z.unknown().optional(),
    key: z.unknown().optional(),
    user: z.unknown().optional(),
    'password-file': z.unknown().optional(),
  })
  .nullable()
  .catch(null);

/** What takes more than one value to judge. Lenient: what is malformed is told of elsewhere. */
export function* checkStore(declared: unknown): Generator<Finding> {
  const store = sketch.parse(declared);
  if (store === null) return;
  const seen = new Set<string>();
  for (const [index, declaredAs] of store.endpoints.entries()) {
    const address = declaredAs.replace(/\/$/, '');
    if (address !== '' && seen.has(address)) {
      yield { path: ['store', 'endpoints', index], message: `${address} is there twice; each member once` };
    }
    seen.add(address);
  }
  const has = (key: keyof typeof store): boolean => store[key] !== undefined && store[key] !== null;
  const needs = [
    ['cert', 'key', 'a certificate is of no use without its key; write "key" as well'],
    ['key', 'cert', 'a key is of no use without its certificate; write "cert" as well'],
    ['password-file', 'user', 'a password is of no use without a name; write "user" as well'],
  ] as const;
  for (const [key, needed, message] of needs) {
    if (has(key) && !has(needed)) yield { path: ['store', key], message, onKey: true };
  }
  if (store.endpoints.length > 0 && store.endpoints.every((each) => each.startsWith('http:'))) {
    for (const key of ['ca', 'cert'] as const) {
      const message = 'is for encrypted connections; write https:// for the endpoints, or leave it away';
      if (has(key)) yield { path: ['store', key], message, onKey: true };
    }
  }
}

/** Relative paths are relative to `folder`. */
export function toStoreConfiguration(declared: DeclaredStore, folder: string): StoreConfiguration {
  const absolute = (file: string | undefined): string | null => (file === undefined ? null : resolve(folder, file));
  switch (declared.kind) {
    case 'file':
      return { kind: 'file', path: resolve(folder, declared.path) };
    case 'none':
      return { kind: 'none' };
    case 'etcd':
      return {
        kind: 'etcd',
        endpoints: declared.endpoints,
        ca: absolute(declared.ca),
        cert: absolute(declared.cert),
        key: absolute(declared.key),
        user: declared.user ?? null,
        passwordFile: absolute(declared['password-file']),
        prefix: declared.prefix ?? null,
        timeoutMs: declared.timeout ?? null,
      };
  }
}

/** As a file would say it. */
export function describeStore(store: StoreConfiguration): unknown {
  switch (store.kind) {
    case 'file':
      return { kind: store.kind, path: store.path };
    case 'none':
      return { kind: store.kind };
    case 'etcd': {
      const { kind, endpoints, ca, cert, key, user, passwordFile, prefix, timeoutMs } = store;
      const timeout = timeoutMs === null ? null : `${timeoutMs}ms`;
      const optional = { ca, cert, key, user, 'password-file': passwordFile, prefix, timeout };
      const said = Object.entries(optional).filter(([, value]) => value !== null);
      return { kind, endpoints, ...Object.fromEntries(said) };
    }
  }
}
