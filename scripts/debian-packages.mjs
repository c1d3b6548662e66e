/**
 * The real clients the tests use: which Debian package brings which program. Installs what is missing where it may;
 * otherwise names it.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const packageOf = {
  openssl: 'openssl',
  sysctl: 'procps',
  ip: 'iproute2',
  nbdinfo: 'libnbd-bin',
  nbdcopy: 'libnbd-bin',
  nbdfuse: 'libnbd-bin',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-storage-daemon': 'qemu-system-common',
  'qemu-system-x86_64': 'qemu-system-x86',
  'iscsi-ls': 'libiscsi-bin',
  'iscsi-test-cu': 'libiscsi-bin',
  cpio: 'cpio',
  fio: 'fio',
  nbdkit: 'nbdkit',
  'mkfs.ext4': 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  fusermount3: 'fuse3',
  losetup: 'mount',
  socat: 'socat',
  mount: 'mount',
  etcd: 'etcd-server',
  etcdctl: 'etcd-client',
  openssl: 'openssl',
  initdb: 'postgresql',
  pgbench: 'postgresql',
  pg_amcheck: 'postgresql',
  snmptrapd: 'snmptrapd',
  snmptranslate: 'snmp',
};

/** Programs load these when they need them: below `/usr/lib/<architecture>`. */
const packageOfLibrary = { 'qemu/block-iscsi.so': 'qemu-block-extra' };

// A user's PATH may lack the folders where file system tools are.
const folders = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/local/sbin'])];
/** PostgreSQL's server and tools are below, in `<version>/bin`. */
const postgresFolder = '/usr/lib/postgresql';
const clusterSettings = '/etc/postgresql-common/createcluster.conf';

/** Returns the names of packages that are still missing afterwards. */
export function ensureDebianPackages() {
  process.env.PATH = folders.join(':');
  const missing = missingPackages();
  if (missing.length === 0 || process.getuid?.() !== 0 || !installed('apt-get')) return missing;
  console.log(`Installing Debian packages: ${missing.join(' ')}…`);
  if (missing.includes('postgresql')) forgoCluster();
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [
    ['update', '-q'],
    ['install', '-q', '-y', '--no-install-recommends', ...missing],
  ]) {
    const result = spawnSync('apt-get', args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environment,
    });
    if (result.status !== 0) process.stderr.write(`${result.stdout}${result.stderr}`);
  }
  return missingPackages();
}

/** Only the programs are wanted: else the package makes a database of its own and starts a server for it. */
function forgoCluster() {
  if (existsSync(clusterSettings)) return;
  mkdirSync(dirname(clusterSettings), { recursive: true });
  writeFileSync(clusterSettings, 'create_main_cluster = false\n');
}

function missingPackages() {
  const missing = Object.keys(packageOf).filter((program) => !installed(program));
  const libraries = Object.keys(packageOfLibrary).filter((library) => !present(library));
  return [
    ...new Set([
      ...missing.map((program) => packageOf[program]),
      ...libraries.map((library) => packageOfLibrary[library]),
    ]),
  ];
}

function present(library) {
  return readdirSync('/usr/lib').some((folder) => existsSync(join('/usr/lib', folder, library)));
}

function installed(program) {
  const versions = existsSync(postgresFolder) ? readdirSync(postgresFolder) : [];
  return [...folders, ...versions.map((version) => join(postgresFolder, version, 'bin'))].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
