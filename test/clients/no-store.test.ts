/** Two nodes with `store: none`: what they do without anybody who decides, and how a split brain is resolved. */
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { Alert } from '../../src/alerts/alert.ts';
import { mustRun, runCommand, until } from './command.ts';
import { Pair, oneSyncGroup, type NodeName } from './pair.ts';

const groups = [
  {
    ...oneSyncGroup[0],
    name: 'g1',
    owner: 'east',
    volumes: [{ name: 'vol1', size: '64MiB' }],
    settings: { grace: '500ms' },
  },
] as const;

describe('a pair without a coordination store', () => {
  let pair: Pair;

  afterEach(() => pair?.stop());

  const qemuIo = (node: NodeName, ...commands: string[]) =>
    mustRun('qemu-io', ['-f', 'raw', pair.uri(node), ...commands.flatMap((command) => ['-c', command])]);

  const serves = (node: NodeName) =>
    until(`${node} serves`, 30_000, async () => {
      const { stderr, status } = await runCommand('qemu-io', ['-f', 'raw', pair.uri(node), '-c', 'read 0 512']);
      return status === 0 && stderr === '' ? true : null;
    });

  /** HM-16: whether it is told of as open, or as over; null: not. */
  const splitBrainAt = async (node: NodeName, open: boolean): Promise<true | null> => {
    const { alerts } = JSON.parse((await pair.cli(node, 'alerts', 'list', '--json')).stdout) as { alerts: Alert[] };
    const alert = alerts.find(
      ({ code, level, id }) => code === 'split-brain' && level === 'SYSTEM DOWN' && id === 'g1',
    );
    return alert !== undefined && (alert.endedAtMs === null) === open ? true : null;
  };

  const groupAt = async (node: NodeName) => (await pair.status(node)).groups.find(({ name }) => name === 'g1');

  test('mirrors, hands over, is taken over from by hand after a crash, and says what that risks', async () => {
    pair = await Pair.start({ groups, storeless: true });
    await qemuIo('east', 'write -P 1 0 4M', 'flush');
    expect((await pair.status('west')).notes.join()).toContain('no coordination store');
    const created = await pair.cli('east', 'volume', 'create', 'vol2', '--size', '64MiB');
    expect(created.status).toBe(3);
    expect(created.stderr).toContain('configuration file of every node');
    const alive = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west', '--force');
    expect(alive).toMatchObject({ status: 3 });
    expect(alive.stderr).toContain('east is alive');

    expect(await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'west')).toMatchObject({ status: 0 });
    await qemuIo('west', 'read -P 1 0 4M', 'write -P 2 4M 4M', 'flush');
    await pair.untilEstablished();
    await pair.kill('west');
    const taken = await pair.cli('east', 'group', 'take-over', 'g1', '--node', 'east', '--json');
    expect(taken).toMatchObject({ status: 0 });
    expect(JSON.parse(taken.stdout)).toMatchObject({ owner: 'east', loss: { writes: null } });
    await qemuIo('east', 'read -P 2 4M 4M', 'write -P 3 8M 4M', 'flush');
    await pair.startNode('west');
    await pair.untilEstablished();
    expect(await pair.group()).toMatchObject({ owner: 'east', reason: null });
    await pair.compareLegs();
  });

  test('BY-1: an owner that is started again waits for the other node, or for somebody’s word', async () => {
    pair = await Pair.start({ groups, storeless: true });
    await qemuIo('east', 'write -P 1 0 4M', 'flush');
    await Promise.all([pair.kill('west'), pair.kill('east')]);
    await pair.startNode('east');
    const waiting = await until('east waits', 20_000, async () => {
      const group = await groupAt('east');
      return group?.reason?.includes('west has not been heard') ? group : null;
    });
    expect(waiting.nextStep).toContain('take-over g1 --node east');
    expect(await pair.cli('east', 'group', 'take-over', 'g1', '--node', 'east')).toMatchObject({ status: 0 });
    await qemuIo('east', 'read -P 1 0 4M', 'write -P 2 0 4M', 'flush');
    await pair.startNode('west');
    await pair.untilEstablished();
    await pair.compareLegs();
  });

  for (const [keep, lose] of [
    ['east', 'west'],
    ['west', 'east'],
  ] as const) {
    test(`BY-1: both write while apart; both tell so when they meet, and ${keep} is kept by choice`, async () => {
      pair = await Pair.start({ groups, storeless: true, cuttable: true });
      await qemuIo('east', 'write -P 1 0 4M', 'flush');
      pair.cut('closed');
      await qemuIo('east', 'write -P 2 1M 1M', 'flush');
      expect(await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west')).toMatchObject({ status: 0 });
      await qemuIo('west', 'write -P 3 2M 1M', 'flush');
      pair.restore();
      for (const node of ['east', 'west'] as const) {
        const group = await until(`${node} tells of it`, 30_000, async () => {
          const told = await groupAt(node);
          return told?.reason?.includes('split brain') ? told : null;
        });
        expect(group.nextStep).toContain('holdfast group resolve g1 --keep east');
        expect(group.legs.find((leg) => leg.node !== group.owner)?.connection).toBe('StandAlone');
        await until(`an alert of it at ${node}`, 5000, () => splitBrainAt(node, true));
      }
      await qemuIo('east', 'read -P 2 1M 1M', 'read -P 1 2M 1M');
      await qemuIo('west', 'read -P 1 1M 1M', 'read -P 3 2M 1M');

      const resolved = await pair.cli(lose, 'group', 'resolve', 'g1', '--keep', keep);
      expect(resolved).toMatchObject({ status: 0 });
      await serves(keep);
      await pair.untilEstablished();
      expect((await pair.group()).owner).toBe(keep);
      for (const node of ['east', 'west'] as const)
        await until(`the end of it at ${node}`, 10_000, () => splitBrainAt(node, false));
      await pair.compareLegs();
      await qemuIo(keep, keep === 'east' ? 'read -P 2 1M 1M' : 'read -P 3 2M 1M');
      const fork = (await pair.group()).forks.find(({ node }) => node === lose);
      const image = await readFile(fork?.image?.replace('*', '0') ?? '').catch(() => null);
      expect(fork?.image).toContain('forks');
      if (image !== null) expect(image[keep === 'east' ? 2 * 2 ** 20 : 2 ** 20]).toBe(keep === 'east' ? 3 : 2);
      else await access(join(pair.folder, lose, 'forks'));
    });
  }

  test('nodes whose configurations differ have nothing to do with each other, and say in what', async () => {
    pair = await Pair.start({ groups, storeless: true });
    await pair.endNode('west');
    const other = join(pair.folder, 'other.yaml');
    await writeFile(
      other,
      (await readFile(join(pair.folder, 'holdfast-west.yaml'), 'utf8')).replace('64MiB', '128MiB'),
    );
    await pair.startNode('west', other);
    for (const node of ['west', 'east'] as const) {
      const note = await until(`${node} tells the difference`, 20_000, async () => {
        const { notes } = await pair.status(node);
        return notes.find((told) => told.includes('sizeBytes')) ?? null;
      });
      expect(note).toContain('67108864');
    }
  });
});
