/**
 * The coordination store that a configuration names. Needs plain data and the world only, so that every thread of a node
 * can open one for itself.
 */
import type { Environment } from '../base/environment.ts';
import { HoldfastError } from '../base/errors.ts';
import { NodeHttpClient, type HttpTls } from '../base/node/node-http.ts';
import { EtcdStore, etcdTimeoutMs, type EtcdUser } from '../store/etcd-store.ts';
import { FileStore } from '../store/file-store.ts';
import { defaultLeaseTtlMs } from '../store/lease.ts';
import type { Store } from '../store/store.ts';
import {
  etcdPasswordVariable,
  type EtcdStoreConfiguration,
  type FileStoreConfiguration,
  type StoreConfiguration,
} from './configuration-store.ts';

/** Where a node keeps what it knows: where the nodes have no store in common, a folder of its own. */
export function storeOfNode(
  configuration: StoreConfiguration,
  dataFolder: string,
): FileStoreConfiguration | EtcdStoreConfiguration {
  return configuration.kind === 'none' ? { kind: 'file', path: `${dataFolder}/store` } : configuration;
}

/**
 * Does not wait for a store that cannot be reached. Rejects with what its files bring, `E_FILE_MISSING` or `E_IO`, and
 * with `E_CONFIG` for a user without a password.
 * @param cluster names the keys, unless the configuration has a prefix.
 * @param leaseTtlMs of the leases that are to be renewed in time; gives the default time for a request.
 */
export async function openStore(
  configuration: FileStoreConfiguration | EtcdStoreConfiguration,
  cluster: string,
  environment: Environment,
  leaseTtlMs = defaultLeaseTtlMs,
): Promise<Store> {
  const { files, random, log } = environment;
  switch (configuration.kind) {
    case 'file':
      return FileStore.open(files, configuration.path, random, log);
    case 'etcd':
      return new EtcdStore({
        http: new NodeHttpClient(await tlsOf(configuration, environment)),
        log,
        endpoints: configuration.endpoints,
        prefix: configuration.prefix ?? `/holdfast/${cluster}/`,
        timeoutMs: configuration.timeoutMs ?? etcdTimeoutMs(leaseTtlMs),
        user: await userOf(configuration, environment),
      });
  }
}

async function tlsOf({ ca, cert, key }: EtcdStoreConfiguration, environment: Environment): Promise<HttpTls> {
  return {
    ...(ca === null ? {} : { ca: await textOf(ca, environment) }),
    ...(cert === null ? {} : { cert: await textOf(cert, environment) }),
    ...(key === null ? {} : { key: await textOf(key, environment) }),
  };
}

/** The file goes before the environment. One line end belongs to the file, not to the password. */
async function userOf(
  { user, passwordFile }: EtcdStoreConfiguration,
  environment: Environment,
): Promise<EtcdUser | null> {
  if (user === null) return null;
  const password =
    passwordFile === null
      ? process.env[etcdPasswordVariable]
      : (await textOf(passwordFile, environment)).replace(/\r?\n$/, '');
  if (password !== undefined && password !== '') return { name: user, password };
  const where = passwordFile === null ? `the environment has no ${etcdPasswordVariable}` : `${passwordFile} is empty`;
  throw new HoldfastError('E_CONFIG', `store: there is no password for the user ${user}: ${where}`);
}

async function textOf(path: string, { files }: Environment): Promise<string> {
  return Buffer.from(await files.read(path)).toString('utf8');
}
