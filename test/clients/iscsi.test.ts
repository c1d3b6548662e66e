/**
 * iSCSI as other people's initiators see it: libiscsi's tools and its conformance tests, QEMU. Every test of `iscsi-test-cu` is
 * run; what it skips itself is printed with its reason.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IscsiSessionList } from '../../src/node/iscsi-control.ts';
import { endCommand, mustRun, runCommand, startCommand, until } from './command.ts';
import { Pair } from './pair.ts';

const target = 'iqn.2026-11.org.holdfast:pair:g1';
let pair: Pair;

beforeAll(async () => {
  pair = await Pair.start({ portals: 2 });
});
afterAll(() => pair.stop());

describe('the tools of libiscsi (IM-1)', () => {
  test('discover the target at every portal of both nodes', async () => {
    const { stdout } = await mustRun('iscsi-ls', [`iscsi://127.0.0.1:${pair.iscsiPort('west')}`]);
    for (const node of ['east', 'west'] as const) {
      for (const portal of [0, 1])
        expect(stdout).toContain(`Target:${target} Portal:127.0.0.1:${pair.iscsiPort(node, portal)},`);
    }
  });

  test('find the same identity at both nodes, whoever serves (TL-14)', async () => {
    const identity = async (node: 'east' | 'west'): Promise<string[]> => {
      const uri = pair.iscsiUri(node);
      const standard = await mustRun('iscsi-inq', [uri]);
      const pages = await Promise.all(
        ['128', '131'].map((page) => mustRun('iscsi-inq', ['-e', '1', '-c', page, uri])),
      );
      return [standard, ...pages].map(({ stdout }) => stdout);
    };
    const ofEast = await identity('east');
    expect((await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'west')).status).toBe(0);
    const ofWest = await identity('west');
    expect((await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'east')).status).toBe(0);
    expect(ofWest.slice(0, 2)).toEqual(ofEast.slice(0, 2));
    const wwid = (await pair.group()).volumes[0]?.wwid ?? 'none';
    for (const page of [ofEast[2], ofWest[2]]) expect(page?.replaceAll(' ', '').toLowerCase()).toContain(wwid);
  });

  test('read the capacity', async () => {
    const { stdout } = await mustRun('iscsi-readcapacity16', [pair.iscsiUri('east')]);
    expect(stdout).toMatch(new RegExp(`Total size:${2 ** 30}`));
  });
});

describe('QEMU', () => {
  test('writes and reads what it wrote; both copies are equal afterwards', async () => {
    const commands = [
      'write -P 0x5a 0 1M',
      'write -z 64k 64k',
      'flush',
      'read -P 0x5a 0 64k',
      'read -P 0 64k 64k',
      'discard 1M 1M',
      'read -P 0 1M 1M',
    ];
    const args = commands.flatMap((command) => ['-c', command]);
    const { stdout } = await mustRun('qemu-io', ['-f', 'raw', ...args, pair.iscsiUri('east')]);
    expect(stdout).not.toMatch(/failed|error/i);
    await pair.untilEstablished();
    await pair.compareLegs();
  });

  test('is refused at the node that does not serve, and served there after a move', async () => {
    const read = (): ReturnType<typeof runCommand> =>
      runCommand('qemu-io', ['-f', 'raw', '-r', '-c', 'read -P 0x5a 0 64k', pair.iscsiUri('west')], {
        timeoutMs: 20_000,
      });
    expect((await read()).status).not.toBe(0);
    expect((await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'west')).status).toBe(0);
    await until('west serves', 20_000, async () => ((await read()).status === 0 ? true : null));
    expect((await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'east')).status).toBe(0);
    await pair.untilEstablished();
  });
});

describe('sessions', () => {
  test('are shown at either node, and ended', async () => {
    const list = async (): Promise<IscsiSessionList> => {
      const { stdout } = await pair.cli('west', 'iscsi', 'sessions', '--json');
      return JSON.parse(stdout) as IscsiSessionList;
    };
    const held = startCommand('qemu-io', ['-f', 'raw', pair.iscsiUri('east')]);
    const [session] = await until('a session', 20_000, async () => {
      const { sessions } = await list();
      return sessions.length > 0 ? sessions : null;
    });
    expect(session).toMatchObject({ node: 'east', kind: 'normal', target });
    const words = ['iscsi', 'disconnect', 'east', String(session?.session)];
    expect((await pair.cli('west', ...words)).status).toBe(0);
    await endCommand(held, 'SIGKILL');
    await until('none', 20_000, async () => ((await list()).sessions.length === 0 ? true : null));
    expect((await pair.cli('west', ...words)).stderr).toContain('has no iSCSI session');
  });
});

describe('iscsi-test-cu', () => {
  test('has no failure in any of its tests, on one path and on two', { timeout: 600_000 }, async () => {
    const { stdout, stderr } = await runCommand(
      'iscsi-test-cu',
      ['--dataloss', '--normal', pair.iscsiUri('east'), pair.iscsiUri('east', { portal: 1 })],
      { timeoutMs: 580_000 },
    );
    const output = stdout + stderr;
    const [, total, ran, passed, failed] = /^ *tests +(\d+) +(\d+) +(\d+) +(\d+)/m.exec(output) ?? [];
    const skips = output.split('\n').filter((line) => line.includes('[SKIPPED]'));
    const reasons = new Map<string, number>();
    for (const line of skips) {
      const reason = line.replace(/^.*\[SKIPPED\]\s*/, '');
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    console.log(`${total} tests, ${passed} passed; messages of skipping:`, Object.fromEntries(reasons));
    expect(Number(ran), output.slice(-3000)).toBe(615);
    expect(Number(failed), output).toBe(0);
    await pair.untilEstablished();
    await pair.compareLegs();
  });
});
