/**
 * A kernel and a small file system in memory for a guest, put together from Debian's packages: they are unpacked, not
 * installed, so nothing of them runs on this machine. Kept from run to run in `node_modules/.cache`.
 */
import { constants } from 'node:fs';
import {
  access,
  chmod,
  copyFile,
  cp,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { mustRun } from '../command.ts';

export interface GuestImage {
  readonly kernel: string;
  readonly initialRamDisk: string;
}

const packages = ['linux-image-amd64', 'busybox-static', 'open-iscsi', 'multipath-tools', 'e2fsprogs'];
/** Come along as dependencies of the packages, and are not needed to run the programs. */
const needless =
  /^(adduser|coreutils|cpio|debconf|dpkg|initramfs-tools.*|klibc-utils|libklibc|libpam.*|passwd|perl.*|libperl.*|tar)_/;
const heavy = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/lib/x86_64-linux-gnu/gconv',
  'lib/udev/hwdb.d',
];
const modules = [
  ...['virtio-pci', 'virtio-net', 'sd-mod', 'sg', 'iscsi-tcp', 'scsi-dh-alua'],
  ...['dm-multipath', 'dm-round-robin', 'dm-service-time', 'ext4', 'crc32c-generic'],
];

/** Where hosts are told what to set: the guest is set up by that. */
const manual = resolve('docs/manual/iscsi-hosts.md');
const guestSettings = 'defaults {\n    user_friendly_names yes\n    find_multipaths no\n}';

/** Needs root, for depmod. Downloads about 100 MiB the first time. */
export async function guestImage(): Promise<GuestImage> {
  const cache = resolve('node_modules/.cache/guest');
  const image = { kernel: join(cache, 'kernel'), initialRamDisk: join(cache, 'initrd') };
  const sources = [...['init.sh', 'image.ts'].map((name) => join(import.meta.dirname, name)), manual];
  const fingerprint = (await Promise.all(sources.map((path) => readFile(path, 'utf8')))).join('\n');
  const known = await readFile(join(cache, 'made-from'), 'utf8').catch(() => '');
  if (known === fingerprint) return image;
  const work = `${cache}.${process.pid}`;
  try {
    await rm(cache, { recursive: true, force: true });
    await mkdir(work, { recursive: true });
    await build(work);
    await writeFile(join(work, 'made-from'), fingerprint);
    await rename(work, cache);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return image;
}

async function build(work: string): Promise<void> {
  const archives = join(work, 'archives');
  const root = join(work, 'root');
  await mkdir(join(archives, 'partial'), { recursive: true });
  await mkdir(root);
  // An empty list of installed packages: every library they need comes along.
  await mustRun(
    'apt-get',
    [
      ...['-q', '-y', '--no-install-recommends', '--download-only'],
      ...['-o', 'Dir::State::status=/dev/null', '-o', `Dir::Cache::archives=${archives}`, '-o', 'Debug::NoLocking=1'],
      ...['install', ...packages],
    ],
    { timeoutMs: 240_000 },
  );
  for (const name of await readdir(archives)) {
    if (name.endsWith('.deb') && !needless.test(name)) await mustRun('dpkg', ['-x', join(archives, name), root]);
  }
  await rm(archives, { recursive: true });
  for (const path of heavy) await rm(join(root, path), { recursive: true, force: true });

  const [release] = await readdir(join(root, 'lib/modules'));
  if (release === undefined) throw new Error('the kernel’s package has no modules');
  await rename(join(root, 'boot', `vmlinuz-${release}`), join(work, 'kernel'));
  await rm(join(root, 'boot'), { recursive: true });
  await keepModules(root, release);

  for (const folder of ['proc', 'sys', 'dev', 'run', 'tmp', 'mnt', 'etc/iscsi', 'var/lib/iscsi']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await linkApplets(root);
  await copyFile(join(import.meta.dirname, 'init.sh'), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  await writeFile(join(root, 'etc/multipath.conf'), `${guestSettings}\n${await fromManual('devices {')}`);
  await writeFile(join(root, 'etc/iscsi/iscsid.conf'), await fromManual('node.startup'));
  await writeFile(join(root, 'etc/iscsi/initiatorname.iscsi'), 'InitiatorName=iqn.2026-11.org.holdfast:guest\n');
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\ntty:x:5:\ndisk:x:6:\n');
  await mustRun('sh', ['-c', 'find . | cpio --quiet -o -H newc > ../initrd'], { folder: root });
  await rm(root, { recursive: true });
}

/** Those that are loaded, and what these need; all others would only fill memory. */
async function keepModules(root: string, release: string): Promise<void> {
  await mustRun('chroot', [root, '/sbin/depmod', release]);
  const folder = join(root, 'lib/modules', release);
  const files = new Map<string, string[]>();
  for (const line of (await readFile(join(folder, 'modules.dep'), 'utf8')).trimEnd().split('\n')) {
    const [file = '', needs = ''] = line.split(':');
    files.set(
      basename(file)
        .replace(/\.ko.*$/, '')
        .replaceAll('_', '-'),
      [file, ...needs.split(' ').filter(Boolean)],
    );
  }
  const kept = join(root, 'kept');
  for (const file of new Set(modules.flatMap((name) => files.get(name) ?? []))) {
    await mkdir(dirname(join(kept, file)), { recursive: true });
    await cp(join(folder, file), join(kept, file));
  }
  await rm(folder, { recursive: true });
  await rename(kept, folder);
  await mustRun('chroot', [root, '/sbin/depmod', release]);
  await writeFile(join(root, 'modules'), modules.join('\n'));
}

/** BusyBox stands in for what has no program of its own. */
async function linkApplets(root: string): Promise<void> {
  const { stdout } = await mustRun(join(root, 'bin/busybox'), ['--list']);
  const folders = ['bin', 'sbin', 'usr/bin', 'usr/sbin'];
  for (const applet of stdout.trimEnd().split('\n')) {
    const known = await Promise.all(
      folders.map((folder) =>
        access(join(root, folder, applet), constants.F_OK).then(
          () => true,
          () => false,
        ),
      ),
    );
    if (!known.includes(true)) await symlink('/bin/busybox', join(root, 'bin', applet)).catch(() => {});
  }
}

/** The settings of the manual that begin so. */
async function fromManual(beginning: string): Promise<string> {
  const blocks = (await readFile(manual, 'utf8')).matchAll(/^```text\n([\s\S]*?)^```$/gm);
  for (const [, block = ''] of blocks) if (block.startsWith(beginning)) return block;
  throw new Error(`${manual} has no settings that begin with ${beginning}`);
}
