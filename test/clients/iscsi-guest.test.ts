/**
 * A real Linux host on iSCSI: open-iscsi logged in at both nodes, dm-multipath over the two paths, ext4 on it, configured as
 * `docs/manual/iscsi-hosts.md` says. Its owner is killed while it writes and syncs.
 */
import { afterEach, beforeAll, expect, test } from 'vitest';
import { LinuxGuest } from './guest/linux-guest.ts';
import { Namespaces } from './namespaces.ts';
import { NodeCluster } from './node-cluster.ts';
import { until } from './command.ts';

let obstacle: string | null = null;
let cluster: NodeCluster | null = null;
let guest: LinuxGuest | null = null;

beforeAll(async () => {
  obstacle = await Namespaces.obstacle();
});
afterEach(async () => {
  await guest?.stop();
  await cluster?.stop();
  guest = cluster = null;
});

/** One is active, the other one stands by. */
async function untilTwoPaths(host: LinuxGuest): Promise<void> {
  let last = '';
  await until('two paths, one of them active', 60_000, async () => {
    last = (await host.run('multipath -ll')).output;
    return /prio=50 status=(active|enabled)/.test(last) && /prio=1 status=enabled/.test(last) ? true : null;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${last}`, { cause: error });
  });
}

test('a Linux host with two paths lives through the death of the owner: no I/O error, all it synced is there (BY-5, TL-14)', async ({
  skip,
}) => {
  skip(obstacle !== null, obstacle ?? '');
  const nodes = (cluster = await NodeCluster.start({ iscsi: true, hosts: ['host'] }));
  const host = (guest = await LinuxGuest.start({ namespaces: nodes.namespaces, name: 'host' }));
  const portal = (node: string): string => `${nodes.namespaces.address(node)}:3260`;

  const found = await host.must(`iscsiadm -m discovery -t sendtargets -p ${portal('west')}`);
  for (const node of nodes.nodes) expect(found).toContain(`${portal(node)},`);
  await host.must('iscsiadm -m node --login');
  await untilTwoPaths(host);
  expect((await host.must('multipath -ll')).match(/^mpath/gm)).toHaveLength(1);

  await host.must('mkfs.ext4 -q /dev/mapper/mpatha && mount /dev/mapper/mpatha /mnt', 120_000);
  // Every number is in the file before it is in the list; what is in the list was synced.
  await host.must(
    '(i=0; while ! test -e /run/stop && echo $i >> /mnt/synced && sync -d /mnt/synced; do echo $i > /run/last; i=$((i+1)); done; test -e /run/stop || touch /run/failed) > /run/writer 2>&1 & true',
  );
  const last = async (): Promise<number> => Number((await host.run('cat /run/last')).output.trim() || '-1');
  await until('some writes', 60_000, async () => ((await last()) > 20 ? true : null));

  await nodes.end('east', 'SIGKILL');
  await nodes.untilServedBy('west');
  const before = await last();
  await until('writes go on', 120_000, async () => ((await last()) > before + 20 ? true : null));
  expect((await host.run('test -e /run/failed')).status).toBe(1);
  expect(
    (await host.must('dmesg')).match(/.*(Buffer I\/O error|EXT4-fs error|Remounting filesystem read-only).*/g),
  ).toBeNull();

  nodes.spawn('east');
  await nodes.untilSettled();
  await untilTwoPaths(host);
  // A planned move back.
  expect((await nodes.cli('west', 'group', 'switch-over', 'g1', '--to', 'east')).status).toBe(0);
  const moved = await last();
  await until('writes go on after the move', 120_000, async () => ((await last()) > moved + 20 ? true : null));
  expect((await host.run('test -e /run/failed')).status).toBe(1);

  await host.must('touch /run/stop; sleep 2; umount /mnt', 60_000);
  await host.must('e2fsck -fn /dev/mapper/mpatha', 120_000);
  await host.must('mount -o ro /dev/mapper/mpatha /mnt');
  const count = await last();
  const lines = (await host.must('cat /mnt/synced')).trim().split('\n').map(Number);
  expect(lines.slice(0, count + 1)).toEqual(Array.from({ length: count + 1 }, (_, index) => index));
}, 600_000);
