/** Who serves hosts: switch-over, take-over by hand, restarts, and what is refused. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { mustRun, runCommand } from './command.ts';
import { Pair, oneSyncGroup } from './pair.ts';
import { RecordingHost, WriteRecord, seededRandom } from './recording-host.ts';

const blocks = 4096;

describe('ownership of a mirrored group', () => {
  let pair: Pair;

  afterEach(() => pair?.stop());

  const qemuIo = (uri: string, ...commands: string[]) =>
    mustRun('qemu-io', ['-f', 'raw', uri, ...commands.flatMap((command) => ['-c', command])]);

  const hostAt = (node: 'east' | 'west', record: WriteRecord) =>
    RecordingHost.start(
      { port: pair.nbdPort(node), volume: 'vol1', blocks, depth: 16, random: seededRandom(7) },
      record,
    );

  test('IM-9: each node serves its own group and mirrors the other’s, at once', async () => {
    pair = await Pair.start({
      groups: [
        ...oneSyncGroup,
        {
          name: 'g2',
          owner: 'west',
          volumes: [{ name: 'vol2', size: '64MiB' }],
          mirrors: [{ to: 'east', mode: 'sync' }],
        },
      ],
    });
    await Promise.all([
      qemuIo(pair.uri('east', 'vol1'), 'write -P 1 0 8M', 'flush'),
      qemuIo(pair.uri('west', 'vol2'), 'write -P 2 0 8M', 'flush'),
    ]);
    await qemuIo(pair.uri('west', 'vol2'), 'read -P 2 0 8M');
    await pair.compareLegs('vol1');
    await pair.compareLegs('vol2');
  });

  test('a planned switch-over under load loses no acknowledged write, and another group goes on undisturbed', async () => {
    pair = await Pair.start({
      groups: [
        ...oneSyncGroup,
        {
          name: 'g2',
          owner: 'east',
          volumes: [{ name: 'vol2', size: '64MiB' }],
          mirrors: [{ to: 'west', mode: 'sync' }],
        },
      ],
    });
    const undisturbed = mustRun('fio', [
      ...[
        '--name=undisturbed',
        '--ioengine=nbd',
        `--uri=${pair.uri('east', 'vol2')}`,
        '--thread=1',
        '--rw=randwrite',
      ],
      ...[
        '--bs=4k',
        '--iodepth=4',
        '--size=32M',
        '--time_based=1',
        '--runtime=4',
        '--verify=crc32c',
        '--verify_state_save=0',
      ],
    ]);
    const record = new WriteRecord(blocks);
    const before = await hostAt('east', record);
    await delay(1000);
    const wwid = (await pair.group()).volumes[0]?.wwid;
    const moved = await pair.cli('west', 'group', 'switch-over', 'g1', '--to', 'west', '--json');
    expect(moved).toMatchObject({ status: 0 });
    expect(JSON.parse(moved.stdout)).toMatchObject({ owner: 'west', loss: { writes: 0, bytes: 0 } });
    await before.ended;
    const after = await hostAt('west', record);
    await delay(500);
    await after.stop();
    await undisturbed;
    await pair.untilEstablished();
    expect(await record.faultsIn(pair.imagePath('west'))).toEqual([]);
    await pair.compareLegs();
    // TL-14: the same identity at the other site.
    expect((await pair.group()).volumes[0]?.wwid).toBe(wwid);
    const refused = await runCommand('qemu-img', ['info', pair.uri('east')]);
    expect(refused.stderr).toContain('owned by west');
  });

  test('take-over of a live owner is refused, and switch-over is named instead', async () => {
    pair = await Pair.start();
    const refused = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west');
    expect(refused.status).toBe(3);
    expect(refused.stderr).toContain('switch-over');
    expect((await pair.group()).owner).toBe('east');
  });

  test('BY-1: after take-over by hand the old owner comes back as a target, not as a second writer', async () => {
    pair = await Pair.start();
    const record = new WriteRecord(blocks);
    const host = await hostAt('east', record);
    await delay(500);
    await pair.kill('east');
    await host.ended;
    const taken = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west', '--json');
    expect(taken).toMatchObject({ status: 0 });
    expect(JSON.parse(taken.stdout)).toMatchObject({ owner: 'west', loss: { writes: 0, bytes: 0 } });
    expect(await record.faultsIn(pair.imagePath('west'))).toEqual([]);
    const next = await hostAt('west', record);
    await delay(500);
    await next.stop();
    await pair.startNode('east');
    await pair.untilEstablished();
    expect(await pair.group()).toMatchObject({ owner: 'west' });
    await pair.compareLegs();
    expect(await record.faultsIn(pair.imagePath('east'))).toEqual([]);
  });

  test('a leg that lacks acknowledged writes is refused without --force; forced, the lost history is kept and told', async () => {
    pair = await Pair.start({ groups: oneSyncGroup.map((group) => ({ ...group, settings: { grace: '300ms' } })) });
    await qemuIo(pair.uri('east'), 'write -P 1 0 1M', 'flush');
    await pair.kill('west');
    await qemuIo(pair.uri('east'), 'write -P 2 0 64k', 'flush');
    await pair.kill('east');
    await pair.startNode('west');
    const refused = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west');
    expect(refused.status).toBe(3);
    const forced = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west', '--force', '--json');
    expect(forced).toMatchObject({ status: 0 });
    await qemuIo(pair.uri('west'), 'read -P 1 0 1M', 'write -P 3 512k 64k', 'flush');
    await pair.startNode('east');
    await pair.untilEstablished();
    const group = await pair.group();
    expect(group.owner).toBe('west');
    expect(group.forks).toContainEqual(expect.objectContaining({ node: 'east' }));
    await pair.compareLegs();
    await qemuIo(pair.uri('west'), 'read -P 1 0 512k', 'read -P 3 512k 64k');
  });

  test('an owner restarted with the record still in its name takes a new generation and goes on', async () => {
    pair = await Pair.start();
    const record = new WriteRecord(blocks);
    const before = (await pair.group()).generation;
    const host = await hostAt('east', record);
    await delay(300);
    await pair.kill('east');
    await host.ended;
    await pair.startNode('east');
    await pair.untilEstablished();
    expect((await pair.group()).generation).toBeGreaterThan(before);
    expect(await record.faultsIn(pair.imagePath('east'))).toEqual([]);
    await pair.compareLegs();
  });

  test('both nodes stopped cleanly and started again carry on with the same data, without a copy', async () => {
    pair = await Pair.start();
    await qemuIo(pair.uri('east'), 'write -P 0x42 3M 2M');
    const wwid = (await pair.group()).volumes[0]?.wwid;
    expect(await Promise.all([pair.endNode('east'), pair.endNode('west')])).toEqual([0, 0]);
    await Promise.all([pair.startNode('east'), pair.startNode('west')]);
    await pair.untilEstablished(20_000);
    expect((await pair.group()).volumes[0]?.wwid).toBe(wwid);
    await qemuIo(pair.uri('east'), 'read -P 0x42 3M 2M', 'read -P 0 5M 1M');
    await pair.compareLegs();
  });

  test('an outage of the target costs hosts no more than the grace time, and a resync of what changed', async () => {
    pair = await Pair.start({ groups: oneSyncGroup.map((group) => ({ ...group, settings: { grace: '1s' } })) });
    await qemuIo(pair.uri('east'), 'write -P 1 0 64M', 'flush');
    await pair.kill('west');
    const record = new WriteRecord(blocks);
    const host = await hostAt('east', record);
    await delay(3000);
    await host.stop();
    expect(record.acknowledgedCount).toBeGreaterThan(0);
    expect(host.longestPauseMs).toBeLessThan(3000);
    const away = await pair.leg('west');
    expect(away.reason).not.toBeNull();
    expect(away.nextStep).not.toBeNull();
    expect(away.outOfSyncBytes).toBeGreaterThan(0);
    expect(away.outOfSyncBytes).toBeLessThanOrEqual(blocks * 4096);
    await pair.startNode('west');
    await pair.untilEstablished();
    await pair.compareLegs();
  });

  test('HG-6: paused by the user a mirror stays paused, and resumed it catches up', async () => {
    pair = await Pair.start();
    expect(await pair.cli('east', 'mirror', 'pause', 'g1', '--to', 'west')).toMatchObject({ status: 0 });
    await qemuIo(pair.uri('east'), 'write -P 5 0 1M', 'flush');
    expect(await pair.leg('west')).toMatchObject({ replication: 'Paused' });
    await pair.endNode('west');
    await pair.startNode('west');
    expect(await pair.leg('west')).toMatchObject({ replication: 'Paused' });
    expect(await pair.cli('east', 'mirror', 'resume', 'g1', '--to', 'west')).toMatchObject({ status: 0 });
    await pair.untilEstablished();
    await pair.compareLegs();
  });

  test('asked of either node the status is the same; with one dead it says so', async () => {
    pair = await Pair.start();
    const shown = await Promise.all((['east', 'west'] as const).map((node) => pair.status(node)));
    const [east, west] = shown.map(({ groups, nodes }) => ({
      groups: groups.map(({ name, owner, generation }) => ({ name, owner, generation })),
      nodes: nodes.map(({ name, site, state, pid }) => ({ name, site, state, pid })),
    }));
    expect(east).toEqual(west);
    expect(shown[0]).toMatchObject({ schema: 1, cluster: 'pair' });
    await pair.kill('west');
    const alone = await pair.cli('east', 'status', '--json');
    expect(alone.status).toBe(0);
    expect(JSON.parse(alone.stdout)).toMatchObject({
      nodes: expect.arrayContaining([expect.objectContaining({ name: 'west', state: 'unreachable' })]) as unknown,
    });
  });
});
