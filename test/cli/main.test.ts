import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApi, type RunningApi } from '../../src/api/api.ts';
import { createProgram, main } from '../../src/cli/main.ts';
import { fakeControl, fakeGroup, fakeLog, fakeStatus, type FakeControl } from '../api/fake-control.ts';
import { fakeIo, type FakeIo } from './fake-io.ts';

let control: FakeControl;
let api: RunningApi;
let folder: string;

beforeEach(async () => {
  control = fakeControl();
  api = await startApi(control, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '1.0.0');
  folder = mkdtempSync(join(tmpdir(), 'holdfast-cli-'));
});
afterEach(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

async function run(words: string, io: FakeIo = fakeIo()): Promise<{ status: number; out: string; err: string }> {
  const argv = words.split(' ').filter((word) => word !== '');
  const usesApi = /^(status|why|volume|group|mirror|log|config show|node automatic|judge list|drill)/.test(words);
  const status = await main(usesApi ? [...argv, '--api', `127.0.0.1:${api.address.port}`] : argv, io);
  return { status, out: io.outText(), err: io.errText() };
}

const away = fakeStatus(
  fakeGroup(
    {
      disk: 'Outdated',
      class: 'behind',
      connection: 'Connecting',
      replication: 'Off',
      lag: { writes: null, bytes: null, seconds: null },
      reason: 'west does not answer since 12 s',
      nextStep: 'Start it.',
    },
    { reason: 'without a copy elsewhere', nextStep: 'See `holdfast why g1`.' },
  ),
);

const copying = fakeStatus(
  fakeGroup({
    disk: 'Inconsistent',
    replication: 'SyncSource',
    progress: {
      kind: 'resync',
      doneBytes: 2 ** 29,
      totalBytes: 2 ** 30,
      bytesPerSecond: 2 ** 27,
      secondsLeft: 4,
    },
  }),
);

describe('every command', () => {
  const commands = (command: Command): Command[] => [command, ...command.commands.flatMap(commands)];
  const pathOf = (command: Command): string[] => (command.parent ? [...pathOf(command.parent), command.name()] : []);
  const all = commands(createProgram({ io: fakeIo(), asJson: false, finish: () => {} }));

  it.each(all.map((command) => pathOf(command).join(' ')))(
    'holdfast %s --help has an example, in 80 columns',
    async (words) => {
      const { status, out } = await run(`${words} --help`);
      expect(status).toBe(0);
      expect(out).toMatch(/\nExample:\n {2}\$ holdfast /);
      for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    },
  );

  it('that does something has --json', () => {
    for (const command of all.filter((candidate) => candidate.commands.length === 0)) {
      expect(command.options.map((option) => option.long)).toContain('--json');
    }
  });
});

describe('exit status', () => {
  it('is 2, and the message says what is missing, for words that are no command', async () => {
    for (const words of [
      'frob',
      'volume create v',
      'group switch-over g1',
      'mirror pause',
      'log create g1',
      'log set g1',
      'log assign g1 west',
      'log show g1 --after yesterday',
      'status --frob',
      'volume',
    ]) {
      const { status, err } = await run(words);
      expect([words, status]).toEqual([words, 2]);
      expect(err).not.toBe('');
    }
    expect((await run('statsu')).err).toContain('Did you mean status?');
    expect(JSON.parse((await run('group switch-over g1 --json')).err)).toEqual({
      code: 'E_USAGE',
      message: "required option '--to <node>' not specified",
      cure: 'See the command with --help.',
    });
    for (const size of ['big', '1KiB', '65TiB']) {
      expect((await run(`volume create v --size ${size}`)).err).toContain('It should be a size from 1 MiB to 64 TiB');
    }
  });

  it('is 1 when no node answers', async () => {
    await api.close();
    const { status, err } = await run('status');
    expect(status).toBe(1);
    expect(err).toMatch(/^holdfast: no node answers at http:\/\/127\.0\.0\.1:\d+ .*\nCheck that it runs/);
  });

  it('is 3 when it was refused, with message and cure', async () => {
    const { status, err } = await run('group take-over g1 --node west');
    expect(status).toBe(3);
    expect(err).toBe(
      'holdfast: east owns g1 and is alive; use group switch-over\n' +
        'Do what the message says; `holdfast why` tells more of the state it is in.\n',
    );
    const inJson = await run('group take-over g1 --node west --json');
    expect(JSON.parse(inJson.err)).toMatchObject({ code: 'E_REFUSED' });
    expect(inJson.out).toBe('');
  });

  it('is 1 when the waiting for an answer is interrupted', async () => {
    control.switchOver = () => new Promise(() => {});
    const io = fakeIo();
    const waiting = run('group switch-over g1 --to west', io);
    setImmediate(() => io.interrupt());
    const { status, err } = await waiting;
    expect(status).toBe(1);
    expect(err).toContain('is not waited for any more; what was asked for may still be done');
  });

  it('is 2 for a name there is not', async () => {
    expect((await run('why nobody')).status).toBe(2);
  });
});

describe('status', () => {
  it('fits into 80 columns and shows nodes, groups, copies and volumes', async () => {
    const { status, out } = await run('status');
    expect(status).toBe(0);
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(out).toMatch(/^east +here +up +valid +1 of 1 up +4711 +0\.1\.0$/m);
    expect(out).toMatch(/^g1 +east +Serving +7 +0 B\/s +12 MiB\/s$/m);
    expect(out).toMatch(/^g1 on west +Secondary +UpToDate +sync +Established +none$/m);
    expect(out).toMatch(/^vol1 +g1 +1 GiB +nbd:\/\/127\.0\.0\.1:10809\/vol1$/m);
    expect(out).not.toContain('!');
  });

  it('shows reason and next step of everything that is not normal, and what it could not learn', async () => {
    control.state = { ...away, notes: ['west could not be asked.'] };
    const { out } = await run('status');
    expect(out).toMatch(/^g1 on west +Secondary +Outdated +sync +Connecting +unknown$/m);
    // A command to copy: the default node may not be the one that answers.
    const { port } = api.address;
    expect(out).toContain(`! g1: without a copy elsewhere\n  → See \`holdfast why g1 --api 127.0.0.1:${port}\`.\n`);
    expect(out).toContain('! g1 on west: west does not answer since 12 s\n  → Start it.\n');
    expect(out).toContain('! west could not be asked.');
  });

  it('shows progress, rate and time left of a copy', async () => {
    control.state = copying;
    expect((await run('status')).out).toContain(
      '  g1 to west: resync  ████████░░░░░░░░  50 %  128 MiB/s  4 s left\n',
    );
  });

  it('shows how far behind a target is that the log is written for, and the log (TL-16, TL-20)', async () => {
    const behind = { lag: { writes: 1234, bytes: 3 * 2 ** 30, seconds: 125 }, disk: 'Consistent' as const };
    const full = {
      ...fakeLog,
      copies: [{ folder: '/fast/log', problem: 'it cannot be written: EROFS' }],
      reason: 'it will be full in 3 h 5 min',
      nextStep: 'holdfast log grow g1 --size 16GiB',
    };
    control.state = fakeStatus(fakeGroup({ ...behind, replication: 'Logging' }, { log: full }));
    const { out } = await run('status');
    const tables = out.split('\n').filter((line) => !/^(!|  →)/.test(line));
    for (const line of tables) expect(line.length).toBeLessThanOrEqual(80);
    expect(out).toMatch(/^g1 on west +Secondary +Consistent +sync +Logging +2 min 5 s$/m);
    expect(out).toContain('  g1 to west: logging  1234 writes, 3 GiB, 2 min 5 s behind\n');
    expect(out).toMatch(/^g1 on east +logging +3 GiB of 8 GiB +5 GiB +3 h 5 min$/m);
    const api80 = `--api 127.0.0.1:${api.address.port}`;
    expect(out).toContain(
      `! log of g1 on east: it will be full in 3 h 5 min\n  → holdfast log grow g1 --size 16GiB ${api80}\n`,
    );
    expect(out).toContain('! log of g1 on east: the copy in /fast/log is not used: it cannot be written: EROFS\n');
  });

  it('shows bar, rate, time left and distance of a merge (TL-11)', async () => {
    const progress = {
      kind: 'merge' as const,
      doneBytes: 2 ** 29,
      totalBytes: 2 ** 30,
      bytesPerSecond: 2 ** 27,
      secondsLeft: 4,
    };
    const lag = { writes: 70_000, bytes: 2 ** 29, seconds: null };
    control.state = fakeStatus(fakeGroup({ disk: 'Outdated', replication: 'Merging', lag, progress }));
    const { out } = await run('status');
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(out).toMatch(/^g1 on west +Secondary +Outdated +sync +Merging +512 MiB$/m);
    expect(out).toContain(
      '  g1 to west: merge  ████████░░░░░░░░  50 %  128 MiB/s  4 s left\n    70000 writes, 512 MiB behind\n',
    );
  });

  it('says nothing of a log that rests', async () => {
    control.state = fakeStatus(fakeGroup({}, { log: { ...fakeLog, state: 'idle' } }));
    expect((await run('status')).out).not.toContain('LOG ');
  });

  it('as JSON is what the node answers', async () => {
    expect(JSON.parse((await run('status --json')).out)).toEqual(control.state);
  });

  it('--watch into a pipe writes a line when something has changed, not when nothing has', async () => {
    const io = fakeIo();
    io.onPause = (count) => {
      if (count === 2) control.state = away;
      if (count === 5) io.interrupt();
    };
    expect((await run('status --watch', io)).out).toBe(
      'g1: Serving, owner east, generation 7; west UpToDate Established\n' +
        'g1: Serving, owner east, generation 7; west Outdated Connecting\n' +
        `! g1: without a copy elsewhere\n  → See \`holdfast why g1 --api 127.0.0.1:${api.address.port}\`.\n` +
        '! g1 on west: west does not answer since 12 s\n  → Start it.\n',
    );
  });

  it('--watch on a terminal redraws in place, and goes on while the node is away', async () => {
    const io = fakeIo({ isTerminal: true });
    io.onPause = (count) => {
      if (count === 1) void api.close();
      if (count === 4) io.interrupt();
    };
    const { status, out } = await run('status --watch', io);
    expect(status).toBe(0);
    expect(out).toMatch(/\x1b\[\d+A\x1b\[0J/);
    expect(out).toContain('no node answers at');
  });

  it('is asked of the node that HOLDFAST_API names, or else of the default one', async () => {
    process.env['HOLDFAST_API'] = `http://127.0.0.1:${api.address.port}/`;
    try {
      const io = fakeIo();
      expect(await main(['status', '--json'], io)).toBe(0);
      expect(JSON.parse(io.outText())).toMatchObject({ cluster: 'demo' });
    } finally {
      delete process.env['HOLDFAST_API'];
    }
    const io = fakeIo();
    expect(await main(['status', '--api', 'nonsense'], io)).toBe(2);
    expect(io.errText()).toContain('It should be host:port, such as 127.0.0.1:8009.');
  });
});

describe('why, volumes, groups', () => {
  it('why explains with a next step, and with what was decided, on which channels, by which rule (BY-7)', async () => {
    expect((await run('why vol1')).out).toBe(
      'west is away since 12 s; hosts go on without it.\n\n' +
        'g1 on west: Connecting\n  connection refused\n  → Start it.\n\n' +
        'What was decided, oldest first:\n\n' +
        '2026-01-02 03:04:05.678 UTC  west does not take over: east is heard by mirror:hb [owner-alive]\n' +
        '    network: silent (last heard 1.2 s before)\n' +
        '    mirror:hb: alive (last heard 100 ms before)\n' +
        '    of g1, owner east in generation 7; lease of east: held; asked over the network: notAsked\n',
    );
  });

  it('judge replay makes recorded decisions again, and fails when one comes out differently (BY-9)', async () => {
    const file = 'test/agent/decisions.jsonl';
    const again = await run(`judge replay ${file}`);
    expect([again.status, again.out]).toEqual([0, expect.stringMatching(/4 decisions, each made again the same\n$/)]);
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-replay-'));
    const forged = join(folder, 'forged.jsonl');
    writeFileSync(forged, readFileSync(file, 'utf8').replaceAll('"planned":false', '"planned":true'));
    const differing = await run(`judge replay ${forged}`);
    expect([differing.status, differing.out]).toEqual([1, expect.stringContaining('now no [planned-shutdown]')]);
    writeFileSync(forged, 'nonsense\n');
    expect(await run(`judge replay ${forged}`)).toMatchObject({ status: 2 });
    rmSync(folder, { recursive: true });
  });

  it('automatic take-over is switched, and a group given back, as asked (AS-14, TL-15)', async () => {
    expect((await run('group automatic g1 off')).out).toBe('automatic take-over of g1 is off now\n');
    expect((await run('node automatic west on')).out).toBe('automatic take-over by west is on now\n');
    expect((await run('group give-back g1')).out).toContain('east owns g1 now');
    expect((await run('group automatic g1 maybe')).status).toBe(2);
    expect(control.asked).toEqual([
      ['setGroupAutomatic', { group: 'g1', automatic: 'off' }],
      ['setNodeAutomatic', { node: 'west', on: true }],
      ['giveBack', { group: 'g1' }],
    ]);
  });

  it('drill follows a drill to its end, over the time its node is away; list and allow take their own options (BY-11)', async () => {
    const { port } = api.address;
    const io = fakeIo();
    io.onPause = (count) => {
      if (count === 0) void api.close();
      if (count === 5)
        void startApi(control, { kind: 'tcp', host: '127.0.0.1', port }, '1.0.0').then((again) => (api = again));
    };
    const { status, out } = await run('drill g1 --kind kill --yes', io);
    expect(status).toBe(0);
    expect(out).toContain('03:04:06.200  fault: east is killed\n');
    expect(out).toMatch(/^pause a client saw +1840 ms$/m);
    expect(out).toMatch(/^passed: west served instead of east/m);
    expect(control.asked).toEqual([['startDrill', { group: 'g1', kind: 'kill', yes: true }]]);
    expect((await run('drill list g1')).out).toMatch(
      /kill +east +west +1840 ms +42 ms +passed\nsouth could not be asked/,
    );
    expect(JSON.parse((await run('drill list g1 --json')).out)).toMatchObject({ drills: [{ kind: 'kill' }] });
    expect((await run('drill allow g1 off')).out).toBe('drills of g1 are refused now\n');
    expect(await run('drill g1 --kind partition')).toMatchObject({ status: 3 });
    expect(await run('drill g1')).toMatchObject({ status: 2 });
    expect(await run('drill g1 --kind flood')).toMatchObject({ status: 2 });
  });

  it('volume list shows the WWID in 80 columns', async () => {
    const { out } = await run('volume list');
    expect(out).toMatch(/^vol1 +g1 +east +1 GiB +60{31}$/m);
    expect(JSON.parse((await run('volume list --json')).out)).toMatchObject([{ name: 'vol1', owner: 'east' }]);
  });

  it('volume create asks for exactly what was said', async () => {
    const words = 'volume create v --size 10GiB --block-size 4096 --group g1 --owner west';
    const more = '--mirror east:async --path east=/dev/sdb --path west=/a=b';
    const { status, out } = await run(`${words} ${more}`);
    expect([status, out]).toEqual([0, `volume v created in group g1, wwid ${'6'.padEnd(32, '1')}\n`]);
    expect(control.asked).toEqual([
      [
        'createVolume',
        {
          name: 'v',
          sizeBytes: 10 * 2 ** 30,
          blockSizeBytes: 4096,
          group: 'g1',
          owner: 'west',
          mirrors: [{ node: 'east', mode: 'async' }],
          paths: { east: '/dev/sdb', west: '/a=b' },
        },
      ],
    ]);
    expect((await run('volume create v --size 1GiB --mirror east:fast')).err).toContain(
      'one of sync, receive, async',
    );
    expect((await run('volume create vol1 --size 1GiB')).status).toBe(3);
  });

  it('volume delete is forced only when told', async () => {
    expect((await run('volume delete vol1')).status).toBe(3);
    expect((await run('volume delete vol1 --force')).out).toBe('volume vol1 deleted\n');
  });

  it('group list, switch-over and take-over tell who owns it, and the loss', async () => {
    expect((await run('group list')).out).toMatch(/^g1 +east +Serving +7 +1 +east, west$/m);
    expect((await run('group switch-over g1 --to west')).out).toBe(
      'west owns g1 now (generation 8); hosts waited 42 ms\nNothing was lost.\n',
    );
    expect((await run('group take-over g1 --node west --force')).out).toBe(
      'west owns g1 now (generation 8); hosts waited 3.5 s\nNothing acknowledged was lost.\n',
    );
    expect(JSON.parse((await run('group switch-over g1 --to west --json')).out)).toMatchObject({ generation: 8 });
  });
});

describe('a resolution of a split brain', () => {
  it('BY-1: says whose history is kept, and is refused while hosts are connected at the other node', async () => {
    expect((await run('group resolve g1 --keep east --yes')).out).toBe(
      'the history of east is kept for g1 (generation 3)\nWhat west wrote is given up there.\n',
    );
    const refused = await run('group resolve g1 --keep east');
    expect(refused.status).toBe(3);
    expect(control.asked).toEqual([
      ['resolveSplitBrain', { group: 'g1', keep: 'east', yes: true }],
      ['resolveSplitBrain', { group: 'g1', keep: 'east', yes: false }],
    ]);
  });
});

describe('a take-over', () => {
  it('asks for what was said', async () => {
    await run('group take-over g1 --node west --last-consistent');
    expect(control.asked).toEqual([['takeOver', { group: 'g1', node: 'west', force: false, lastConsistent: true }]]);
  });
});

describe('mirrors', () => {
  it('are paused, resumed, renewed', async () => {
    expect((await run('mirror pause g1 --to west')).out).toBe('mirror of g1 to west: paused\n');
    expect((await run('mirror resume g1 --to west')).out).toBe('mirror of g1 to west: resumed\n');
    expect((await run('mirror resync g1 --to west')).out).toBe('mirror of g1 to west: being copied anew\n');
    expect(control.asked.map(([what]) => what)).toEqual(['pauseMirror', 'resumeMirror', 'resyncMirror']);
  });

  it('are given another mode, one there is', async () => {
    expect((await run('mirror set g1 --to west --mode async')).out).toBe('mirror of g1 to west: async from now on\n');
    expect(control.asked).toEqual([['setMirror', { group: 'g1', to: 'west', mode: 'async' }]]);
    expect(await run('mirror set g1 --to west --mode fast')).toMatchObject({ status: 2 });
    expect(await run('mirror set g1 --to west')).toMatchObject({ status: 2 });
  });

  it('are waited for: a bar on a terminal, a line per tenth in a pipe', async () => {
    for (const isTerminal of [true, false]) {
      control.state = copying;
      const io = fakeIo({ isTerminal });
      io.onPause = (count) => {
        if (count === 3) control.state = fakeStatus();
      };
      const { status, out, err } = await run('mirror resync g1 --to west --wait', io);
      expect([status, out]).toEqual([0, 'mirror of g1 to west: established\n']);
      expect(err.match(/128 MiB\/s {2}4 s left/g)).toHaveLength(isTerminal ? 4 : 1);
      expect(err.includes('█')).toBe(isTerminal);
    }
  });

  it('are not waited for when paused meanwhile', async () => {
    control.state = fakeStatus(fakeGroup({ replication: 'Paused', reason: 'paused by the user' }));
    const { status, err } = await run('mirror resync g1 --to west --wait');
    expect(status).toBe(3);
    expect(err).toContain('the copy on west stands still: paused by the user');
  });

  it('go on by themselves when waiting is interrupted', async () => {
    control.state = copying;
    const io = fakeIo();
    io.onPause = () => io.interrupt();
    const { status, err } = await run('mirror resync g1 --to west --wait', io);
    expect(status).toBe(1);
    expect(err).toContain('it goes on by itself');
  });
});

describe('logs', () => {
  it('are listed with what they hold, in 80 columns', async () => {
    control.state = fakeStatus(fakeGroup({}, { log: { ...fakeLog, reason: 'it fills' } }));
    const { out } = await run('log list', Object.assign(fakeIo(), { wallMs: () => 125_000 }));
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(out).toMatch(/^g1 +east +logging +3 GiB \/ 8 GiB +48 +2 min 5 s +3 h 5 min$/m);
    expect(out).toMatch(/^g2 +- +none +- +- +- +-$/m);
    expect(out).toContain('\n  g1 on west: /fast/log\n  g1 on east: /data/logs/g1\n! log of g1: it fills\n');
    control.state = fakeStatus();
    expect((await run('log list')).out).toMatch(/^g1 +- +unknown +- \/ 8 GiB +- +- +-$/m);
    expect(JSON.parse((await run('log list --json')).out)).toEqual(await control.listLogs());
  });

  it('are created, assigned, grown, set and removed as was said', async () => {
    const sentences = [
      await run('log create g1 --size 8GiB --place west=/a,/b --place east=/c --place east=/d --retention 24h'),
      await run('log assign g1 west=/a=b,/c'),
      await run('log grow g1 --size 16GiB'),
      await run('log set g1 --retention-size 2GiB'),
      await run('log remove g1'),
      await run('log remove g1 --force'),
    ].map(({ out }) => out);
    expect(sentences).toEqual([
      'group g1 has a log of 8 GiB now\n',
      'log of g1 on west: in /a=b and /c from now on\n',
      'log of g1: 16 GiB from now on\n',
      'log of g1: what it keeps was changed\n',
      'log of g1 removed\n',
      'log of g1 removed\n',
    ]);
    const [group, GiB] = ['g1', 2 ** 30];
    expect(control.asked).toEqual([
      [
        'createLog',
        { group, sizeBytes: 8 * GiB, places: { west: ['/a', '/b'], east: ['/c', '/d'] }, retentionMs: 86_400_000 },
      ],
      ['assignLog', { group, node: 'west', folders: ['/a=b', '/c'] }],
      ['setLogSize', { group, sizeBytes: 16 * GiB }],
      ['setLogRetention', { group, retentionBytes: 2 * GiB }],
      ['removeLog', { group, force: false }],
      ['removeLog', { group, force: true }],
    ]);
    expect(JSON.parse((await run('log grow g1 --size 1GiB --json')).out)).toEqual({ group, sizeBytes: GiB });
    expect((await run('log create g1 --size 1MiB')).err).toContain('a size from 64 MiB to 64 TiB, such as 8GiB');
    expect((await run('log set g1 --retention 2')).err).toContain('a time up to 365d');
    expect((await run('log remove g7')).status).toBe(2);
  });

  it('show their moments, extents and damage, in 80 columns, and how to go on (BY-3)', async () => {
    expect((await run('log show g1 --limit 1 --extents')).out.split('\n').map((line) => line.trim())).toEqual([
      expect.stringMatching(/^POSITION +TIME +WHAT +RECORDS +BYTES$/),
      expect.stringMatching(/^7:1041 +2026-01-02 03:04:05\.600Z +end of an epoch +2 +12 KiB$/),
      expect.stringMatching(/^vol1 at 1048576 +4 KiB$/),
      expect.stringMatching(/^#3 at 0 +8 KiB$/),
      'more: holdfast log show g1 --after 7:1041',
      '',
    ]);
    const reason = 'entry 5 of segment 3 is rotten; what came after 7:1041 up to 7:1090 is lost';
    const none = { name: null, records: 0, bytes: 0, extents: null };
    control.moments = [...control.moments, { ...none, kind: 'damage', position: '7:1041', atMs: null, reason }];
    const { out } = await run('log show g1 --after 7:1000');
    for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(100);
    expect(out).toMatch(/^7:1041 +2026-01-02 03:04:05\.678Z +mark before-upgrade +- +-$/m);
    expect(out).toMatch(/^7:1041 +- +damage +- +-$/m);
    expect(out).toContain(`! damage after 7:1041: ${reason}\n`);
    expect(control.asked.map(([, request]) => request)).toEqual([
      { group: 'g1', limit: 1, extents: true },
      { group: 'g1', limit: 100, extents: false, after: '7:1000' },
    ]);
    control.moments = [];
    expect((await run('log show g1')).out).toBe('the log of g1 holds nothing\n');
  });

  it('take bookmarks', async () => {
    expect((await run('log mark g1 before-upgrade')).out).toBe(
      'bookmark before-upgrade set in the log of g1 after 7:1042, 2026-01-02 03:04:05.678Z\n',
    );
    expect(control.asked).toEqual([['markLog', { group: 'g1', name: 'before-upgrade' }]]);
  });
});

describe('config', () => {
  it('check names what is wrong, and is content with what is right', async () => {
    expect((await run('config check --config holdfast.example.yaml')).out).toBe(
      'holdfast.example.yaml is right: 2 nodes, 1 group, 1 volume\n',
    );
    const file = join(folder, 'bad.yaml');
    writeFileSync(file, 'cluster: demo\nsites: x\n');
    const { status, err } = await run(`config check --config ${file}`);
    expect(status).toBe(2);
    expect(err).toContain(`${file}:2:8: sites: "x" is not a list`);
    const inJson = await run(`config check --config ${file} --json`);
    expect(inJson.status).toBe(2);
    expect(JSON.parse(inJson.out)).toMatchObject({ file, problems: [{}, {}, { line: 2, column: 8 }] });
    expect((await run(`config check --config ${folder}/none.yaml`)).err).toContain('there is no configuration file');
  });

  it('show prints what is in use, or what a file says with its defaults', async () => {
    expect((await run('config show')).out).toContain('preferredOwner: east');
    const { out } = await run('config show --config holdfast.example.yaml --json');
    expect(JSON.parse(out)).toMatchObject({ cluster: 'example', nodes: [{ connections: 2 }, { connections: 2 }] });
  });
});

describe('node run', () => {
  it('refuses a node that the file does not declare', async () => {
    const { status, err } = await run('node run --config holdfast.example.yaml --name north');
    expect(status).toBe(2);
    expect(err).toContain('holdfast.example.yaml declares no node north; it declares east, west');
  });
});
