/** What `holdfast try` proposes to try: commands to copy, with the addresses, names and process ids of this very pair. */
import { formatAddress } from '../base/network.ts';
import type { ClusterStatus } from '../group/status.ts';
import type { Configuration } from '../node/configuration.ts';
import { defaultApi } from './command.ts';
import type { Colours } from './io.ts';
import { startCommand, type Pair } from './try-pair.ts';

export function renderNextSteps(pair: Pair, status: ClusterStatus, colours: Colours): string {
  const group = status.groups.find((candidate) => candidate.volumes.length > 0);
  const owner = status.nodes.find((node) => node.name === group?.owner);
  const other = status.nodes.find((node) => node.name !== group?.owner);
  const volume = group?.volumes[0];
  if (!group || !owner || !other || !volume) return '';
  const uri =
    volume.exports.find((at) => at.startsWith('nbd://')) ??
    `nbd://${nbdOf(pair.configuration, owner.name)}/${volume.name}`;
  const [host, port] = nbdOf(pair.configuration, owner.name).split(':');
  const folder = `/tmp/holdfast-${volume.name}`;
  const ask = holdfast(pair.configuration, owner.name);
  const askOther = holdfast(pair.configuration, other.name);
  const steps: [string, readonly string[]][] = [
    ['Look at it', [ask('status'), ask(`why ${group.name}`)]],
    ['Write and read, without root', [`qemu-io -f raw -c 'write -P 7 0 1M' -c 'read -P 7 0 1M' ${uri}`]],
    [
      'Mount it, as root, with nbd-client',
      [
        `modprobe nbd && nbd-client ${host} ${port} -N ${volume.name} /dev/nbd0`,
        'mkfs.ext4 /dev/nbd0 && mount /dev/nbd0 /mnt',
      ],
    ],
    [
      'Mount it, as root, without the kernel module',
      [
        `mkdir -p ${folder} && (nbdfuse ${folder} ${uri} &) && sleep 1`,
        `mkfs.ext4 -F ${folder}/nbd && mount -o loop ${folder}/nbd /mnt`,
      ],
    ],
    ...iscsiSteps(volume.exports),
    [`Move it to ${other.name}, nothing is lost`, [ask(`group switch-over ${group.name} --to ${other.name}`)]],
    ...(owner.pid === null ? [] : [[`Kill ${owner.name}`, [`kill -9 ${owner.pid}`]] satisfies [string, string[]]]),
    [
      `${other.name} takes over by itself within seconds; why, and who was silent`,
      [askOther(`why ${group.name}`), askOther('pulse status')],
    ],
    [`Start ${owner.name} again, in another terminal`, [startCommand(pair, owner.name)]],
    [`Give it back to ${owner.name}, when it is whole again`, [askOther(`group give-back ${group.name}`)]],
  ];
  const text = steps.map(
    ([what, commands]) => `${colours.bold(what)}\n${commands.map((command) => `  ${command}\n`).join('')}`,
  );
  return `What to try next, in another terminal:\n\n${text.join('\n')}\n`;
}

/** A login at one portal finds those of the other node, and multipath goes over when the group moves. */
function iscsiSteps(exports: readonly string[]): [string, readonly string[]][] {
  const [, portal, target] =
    exports.map((at) => /^iscsi:\/\/([^/]+)\/([^/]+)\//.exec(at)).find((found) => found) ?? [];
  if (portal === undefined || target === undefined) return [];
  const discovery = `iscsiadm -m discovery -t sendtargets -p ${portal}`;
  return [['Log in to it, as root, with open-iscsi', [discovery, `iscsiadm -m node -T ${target} --login`]]];
}

/** A command line that asks this node. */
function holdfast(configuration: Configuration, node: string): (words: string) => string {
  const api = configuration.nodes.find((candidate) => candidate.name === node)?.api;
  const at = api ? formatAddress(api) : defaultApi;
  return (words) => `npx holdfast ${words}${at === defaultApi ? '' : ` --api ${at}`}`;
}

function nbdOf(configuration: Configuration, node: string): string {
  const nbd = configuration.nodes.find((candidate) => candidate.name === node)?.nbd ?? [];
  const tcp = nbd.find((address) => address.kind === 'tcp');
  return tcp ? formatAddress(tcp) : '';
}
