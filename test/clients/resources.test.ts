/** What moves with a group (HM-18, HM-20, AS-9, AS-10), with real processes on real nodes. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { endCommand, runCommand, startCommand, until } from './command.ts';
import { Pair, type NodeName } from './pair.ts';

const program = resolve('bin/holdfast.js');

describe('what moves with a group', () => {
  let pair: Pair | null = null;
  let folder = '';
  const agents: ChildProcess[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-resources-'));
  });

  afterEach(async () => {
    for (const agent of agents.splice(0)) await endCommand(agent, 'SIGTERM');
    await pair?.stop();
    pair = null;
    for (const node of ['east', 'west'] as const) {
      const pid = pidOf(node);
      if (pid !== null && lives(pid)) process.kill(pid, 'SIGKILL');
    }
    await rm(folder, { recursive: true, force: true });
  });

  /** A service that a command starts and leaves running, and one that ends it; both leave word. */
  const service = (more: Record<string, unknown> = {}) => {
    const word = `echo "$HOLDFAST_NODE %s $HOLDFAST_REASON" >> ${folder}/words`;
    const pid = `${folder}/$HOLDFAST_NODE.pid`;
    const start = `${word.replace('%s', 'start')}; sleep 1000 & echo $! > "${pid}"; echo "volume $HOLDFAST_VOLUME_VOL1 at $HOLDFAST_NBD_VOL1"`;
    const stop = `${word.replace('%s', 'stop')}; kill $(cat "${pid}") 2> /dev/null; rm -f "${pid}"`;
    return { application: 'service', start: ['sh', '-c', start], stop: ['sh', '-c', stop], ...more };
  };
  const words = (): string[] =>
    existsSync(`${folder}/words`) ? readFileSync(`${folder}/words`, 'utf8').trim().split('\n') : [];
  const pidOf = (node: NodeName): number | null =>
    existsSync(`${folder}/${node}.pid`) ? Number(readFileSync(`${folder}/${node}.pid`, 'utf8')) : null;
  const lives = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  const runsOn = (node: NodeName): true | null => {
    const pid = pidOf(node);
    return pid !== null && lives(pid) ? true : null;
  };

  const start = (more: Record<string, unknown>): Promise<Pair> =>
    Pair.start({
      groups: [
        {
          name: 'g1',
          owner: 'east',
          volumes: [{ name: 'vol1', size: '16MiB' }],
          mirrors: [{ to: 'west', mode: 'sync' }],
          ...more,
        },
      ],
    });
  const resources = async (at: Pair, ...options: string[]) => {
    const { stdout } = await at.cli('west', 'group', 'resources', 'g1', '--json', ...options);
    return JSON.parse(stdout) as { node: string; state: string; problem: string; resources: { output: string }[] };
  };

  test('HM-18: it moves with a planned move, stopped here before it is started there', async () => {
    pair = await start({ resources: [service()] });
    await until('it runs on east', 20_000, () => runsOn('east'));
    expect(await resources(pair)).toMatchObject({ node: 'east', state: 'running' });
    expect((await pair.cli('west', 'group', 'switch-over', 'g1', '--to', 'west')).status).toBe(0);
    await until('it runs on west', 20_000, () => runsOn('west'));
    expect(words()).toEqual(['east start start', 'east stop handOver', 'west start handedOver']);
    expect(runsOn('east')).toBe(null);
    const { resources: rows } = await resources(pair);
    expect(rows[0]?.output).toContain(`volume ${pair.imagePath('west')} at ${pair.uri('west')}`);
    const shown = await pair.cli('east', 'group', 'resources', 'g1', '--output');
    expect(shown.stdout).toContain('start (handedOver): sh -c');
    expect(await pair.endNode('west')).toBe(0);
    expect(words().at(-1)).toBe('west stop nodeStops');
    expect(runsOn('west')).toBe(null);
  });

  test('HM-18: it is started by whoever takes over; what the old owner left behind is stopped at its next start', async () => {
    pair = await start({ resources: [service()] });
    await until('it runs on east', 20_000, () => runsOn('east'));
    await pair.kill('east');
    expect((await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west')).status).toBe(0);
    await until('it runs on west', 20_000, () => runsOn('west'));
    expect(runsOn('east')).toBe(true);
    await pair.startNode('east');
    await until('it does not run on east', 20_000, () => (runsOn('east') === null ? true : null));
    expect(words()).toEqual(['east start start', 'west start takeOver', 'east stop crashed']);
    expect(runsOn('west')).toBe(true);
  });

  test('HM-18: a stubborn command is ended with all it started, and its output is kept', async () => {
    const stubborn = `trap '' TERM; echo "I stay"; if [ -e ${folder}/good ]; then exit 0; fi; while :; do sleep 0.1; done`;
    const child = `${folder}/child.pid`;
    pair = await start({
      resources: [
        {
          application: 'stubborn',
          start: {
            command: ['sh', '-c', `(trap '' TERM; sleep 1000) & echo $! > ${child}; ${stubborn}`],
            timeout: '500ms',
          },
          stop: ['true'],
        },
      ],
    });
    await until('it has failed', 20_000, async () =>
      (await resources(pair as Pair)).state === 'failed' ? true : null,
    );
    const { problem, resources: rows } = await resources(pair);
    expect(problem).toContain('did not end within 0.5 s and was ended');
    expect(rows[0]?.output).toContain('I stay\n');
    const pid = Number(readFileSync(child, 'utf8'));
    // Whoever inherits an orphan takes a moment to bury it.
    await until('what it started is gone', 10_000, () => (lives(pid) ? null : true));
    writeFileSync(`${folder}/good`, '');
    expect(await resources(pair, '--start')).toMatchObject({ state: 'running' });
  });

  test('HM-18: what does not stop keeps the group here, and goes on running', async () => {
    const keep = `${folder}/keep`;
    const stop = `test ! -e ${keep}`;
    pair = await start({
      resources: [service(), { application: 'writer', start: ['true'], stop: ['sh', '-c', stop] }],
    });
    await until('it runs on east', 20_000, () => runsOn('east'));
    writeFileSync(keep, '');
    const refused = await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'west');
    expect([refused.status, refused.stderr]).toEqual([
      3,
      expect.stringContaining('writer: stop command sh ended with status 1'),
    ]);
    expect([(await pair.group()).owner, runsOn('east')]).toEqual(['east', true]);
    rmSync(keep);
    expect((await pair.cli('east', 'group', 'switch-over', 'g1', '--to', 'west')).status).toBe(0);
  });

  test('HM-20: one that fails its health check is started again', async () => {
    pair = await start({
      resources: [
        service({
          health: { command: ['sh', '-c', `kill -0 $(cat "${folder}/$HOLDFAST_NODE.pid")`], every: '500ms' },
        }),
      ],
    });
    await until('it runs on east', 20_000, () => runsOn('east'));
    const before = pidOf('east') ?? 0;
    process.kill(before, 'SIGKILL');
    await until('it runs again', 20_000, () => (pidOf('east') !== before ? runsOn('east') : null));
    expect(words().slice(0, 3)).toEqual(['east start start', 'east stop health', 'east start health']);
  });

  test('AS-9: hosts are kept out after a take-over whose check fails, until it passes', async () => {
    const good = `${folder}/good`;
    pair = await start({
      resources: [service()],
      'take-over': { check: ['sh', '-c', `echo "looked at $HOLDFAST_VOLUME_VOL1"; test -e ${good}`] },
    });
    await until('it runs on east', 20_000, () => runsOn('east'));
    await pair.kill('east');
    const taken = await pair.cli('west', 'group', 'take-over', 'g1', '--node', 'west');
    expect([taken.status, taken.stderr]).toEqual([
      1,
      expect.stringContaining('the integrity check sh ended with status 1'),
    ]);
    expect((await runCommand('nbdinfo', ['--size', pair.uri('west')])).status).not.toBe(0);
    expect((await pair.group()).service).toBe('Opening');
    // A start of the node in between forgets nothing.
    await pair.kill('west');
    await pair.startNode('west');
    await until('it is kept closed', 20_000, async () => {
      const { stdout } = await (pair as Pair).cli('west', 'group', 'check', 'g1', '--json');
      return (JSON.parse(stdout) as { state: string }).state === 'failed' ? true : null;
    });
    expect(runsOn('west')).toBe(null);
    writeFileSync(good, '');
    const again = await pair.cli('west', 'group', 'check', 'g1', '--again');
    expect([again.status, again.stdout]).toEqual([0, expect.stringContaining(`looked at ${pair.imagePath('west')}`)]);
    expect((await runCommand('nbdinfo', ['--size', pair.uri('west')])).stdout.trim()).toBe(String(16 * 1024 * 1024));
    await until('it runs on west', 20_000, () => runsOn('west'));
  });

  test('AS-10: the shell agent runs a program where the group is, and ends it before the group moves', async () => {
    const at = await start({});
    pair = at;
    const says = `echo "$HOLDFAST_NODE start $HOLDFAST_REASON" >> ${folder}/words`;
    const ends = `trap 'sleep 0.3; echo "$HOLDFAST_NODE end" >> ${folder}/words; exit 0' TERM`;
    const run = (node: NodeName): void => {
      const socket = `unix:${join(at.folder, node, 'agents.sock')}`;
      const own = ['agent', 'run', '--group', 'g1', '--node', socket, '--name', `on-${node}`, '--'];
      agents.push(
        startCommand(process.execPath, [
          program,
          ...own,
          'sh',
          '-c',
          `${ends}; ${says}; while :; do sleep 0.1; done`,
        ]),
      );
    };
    run('east');
    run('west');
    await until('it runs on east', 20_000, () => (words().length === 1 ? true : null));
    const list = await at.cli('east', 'agent', 'list', '--json');
    expect(JSON.parse(list.stdout)).toMatchObject([
      { node: 'east', agent: 'on-east', groups: ['g1'] },
      { node: 'west', agent: 'on-west', groups: ['g1'] },
    ]);
    expect((await at.cli('east', 'group', 'switch-over', 'g1', '--to', 'west')).status).toBe(0);
    await until('it runs on west', 20_000, () => (words().length === 3 ? true : null));
    expect(words()).toEqual(['east start registered', 'east end', 'west start handedOver']);
  });
});
