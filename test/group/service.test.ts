/** What happens around the serving of a group: the check before hosts are let in, what runs on it before it moves. */
import { describe, expect, test } from 'vitest';
import type { GroupService, OpenedBy } from '../../src/group/service.ts';
import { Nodes } from './nodes.ts';

function scene(seed: string) {
  const log: string[] = [];
  const verdicts: { check: Promise<string | null> | null; handOver: string | null } = { check: null, handOver: null };
  const service = (node: string): GroupService => ({
    beforeServing: (_group, by: OpenedBy) => (by === 'takeOver' ? verdicts.check : null),
    serving: (_group, by) => log.push(`${node} serving ${by}`),
    beforeHandOver: async (_group, to) => {
      log.push(`${node} beforeHandOver ${to}`);
      return verdicts.handOver;
    },
    handOverFailed: () => log.push(`${node} handOverFailed`),
    left: () => log.push(`${node} left`),
  });
  return { log, verdicts, nodes: Nodes.synced({ seed, service }) };
}

const lost = async (nodes: Nodes): Promise<void> => {
  nodes.end('east', 'crash');
  await nodes.world.run(100);
};

describe('around the serving of a group', () => {
  test('HM-18: a planned move stops what runs there first, and starts it here afterwards', async () => {
    const { log, nodes: starting } = scene('planned');
    const nodes = await starting;
    await nodes.world.settle(nodes.east.group.moves.switchOver('west'));
    expect(log).toEqual(['east serving start', 'east beforeHandOver west', 'east left', 'west serving handedOver']);
  });

  test('HM-18: a planned move is refused while what runs there does not stop; hosts notice nothing', async () => {
    const { log, verdicts, nodes: starting } = scene('stubborn');
    const nodes = await starting;
    verdicts.handOver = 'db: does not stop';
    await expect(nodes.world.settle(nodes.east.group.moves.switchOver('west'))).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: expect.stringContaining('db: does not stop') as string,
    });
    expect([log.at(-1), nodes.east.group.serving]).toEqual(['east beforeHandOver west', true]);
    verdicts.handOver = null;
    await nodes.world.settle(nodes.east.group.moves.switchOver('west'));
    expect(nodes.west.group.serving).toBe(true);
  });

  test('HM-18: what was stopped for a move that fails is told that', async () => {
    const { log, nodes: starting } = scene('fails');
    const nodes = await starting;
    nodes.disk(nodes.west).hang();
    void nodes.write(nodes.east, 0, 1);
    await nodes.world.run(50);
    const move = nodes.east.group.moves.switchOver('west').catch((error: unknown) => error);
    await nodes.until(() => log.includes('east beforeHandOver west'));
    nodes.link(false);
    await nodes.world.settle(move, 200_000);
    expect(log.at(-1)).toBe('east handOverFailed');
  });

  test('AS-9: hosts are let in after a take-over only when the check has passed', async () => {
    const { log, verdicts, nodes: starting } = scene('passes');
    const nodes = await starting;
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    await lost(nodes);
    let pass: (verdict: null) => void = () => {};
    verdicts.check = new Promise((resolve) => (pass = resolve));
    const taken = nodes.west.group.moves.takeOver(false);
    await nodes.until(() => nodes.west.group.role === 'primary');
    let written: unknown;
    void nodes.write(nodes.west, 512, 2).then((fault) => (written = fault));
    await nodes.world.run(3000);
    expect([nodes.west.group.serving, nodes.west.group.withheld, written]).toEqual([
      false,
      'it is being checked',
      undefined,
    ]);
    expect(log).not.toContain('west serving takeOver');
    pass(null);
    await nodes.world.settle(taken);
    await nodes.until(() => written === null);
    expect([nodes.west.group.serving, log.at(-1)]).toEqual([true, 'west serving takeOver']);
  });

  test('AS-9: a failed check keeps hosts out and fails the take-over; they are let in when it passes later', async () => {
    const { verdicts, nodes: starting } = scene('refuses');
    const nodes = await starting;
    await lost(nodes);
    verdicts.check = Promise.resolve('fsck ended with status 4');
    await expect(nodes.world.settle(nodes.west.group.moves.takeOver(false))).rejects.toMatchObject({
      code: 'E_CHECK_FAILED',
    });
    expect(nodes.west.group.withheld).toBe('fsck ended with status 4');
    await nodes.world.run(30_000);
    expect([nodes.west.group.role, nodes.west.group.serving]).toEqual(['primary', false]);
    expect(await nodes.world.settle(nodes.west.group.letIn(() => Promise.resolve(null)))).toBe(null);
    expect(nodes.west.group.serving).toBe(true);
  });

  test('AS-9: the old owner, back again, is mirrored to meanwhile, and can have what nobody serves', async () => {
    const { verdicts, nodes: starting } = scene('back');
    const nodes = await starting;
    await nodes.world.settle(nodes.write(nodes.east, 0, 1));
    await lost(nodes);
    verdicts.check = Promise.resolve('fsck ended with status 4');
    await nodes.world.settle(nodes.west.group.moves.takeOver(false).catch(() => null));
    nodes.start('east');
    await nodes.until(() => nodes.west.group.record?.legs['east']?.class === 'inSync');
    verdicts.check = null;
    nodes.link(false);
    await nodes.world.run(10_000);
    await nodes.world.settle(nodes.east.group.moves.takeOver(false));
    expect([nodes.east.group.serving, nodes.west.group.role, nodes.west.group.withheld]).toEqual([
      true,
      'secondary',
      null,
    ]);
  });

  test('AS-9: a lease that lapses and comes back during the check lets nobody in', async () => {
    const { verdicts, nodes: starting } = scene('lease');
    const nodes = await starting;
    await lost(nodes);
    let fail: (verdict: string) => void = () => {};
    verdicts.check = new Promise((resolve) => (fail = resolve));
    const taken = nodes.west.group.moves.takeOver(false).catch((error: unknown) => error);
    await nodes.until(() => nodes.west.group.role === 'primary');
    nodes.west.process.call(() => nodes.west.group.leaseLapsed());
    nodes.west.process.call(() => nodes.west.group.leaseAcquired());
    await nodes.world.run(5000);
    expect([nodes.west.group.owner?.holds.has('lease'), nodes.west.group.serving]).toEqual([false, false]);
    fail('bad');
    expect(await nodes.world.settle(taken)).toMatchObject({ code: 'E_CHECK_FAILED' });
    expect(nodes.west.group.serving).toBe(false);
  });
});
