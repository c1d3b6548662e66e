/** What runs on a group: order, time-outs, breaking off, and what is remembered of it. */
import { describe, expect, it } from 'vitest';
import { Application } from '../../src/agent/applications.ts';
import { GroupResources } from '../../src/agent/resources.ts';
import { RunNote } from '../../src/agent/run-note.ts';
import { World } from '../../src/sim/world/world.ts';
import type { ResourceEntry } from '../../src/store/document.ts';
import { exits, FakeCommands, hangs } from './fake-commands.ts';

const application = (name: string, health: { everyMs: number; restarts: number } | null = null): ResourceEntry => ({
  kind: 'application',
  name,
  start: { words: [name, 'start'], timeoutMs: 1000 },
  stop: { words: [name, 'stop'], timeoutMs: 1000 },
  health: health === null ? null : { command: { words: [name, 'health'], timeoutMs: 500 }, ...health },
});

function group(entries: readonly ResourceEntry[] = [application('a'), application('b'), application('c')]) {
  const world = new World({ seed: 'resources' });
  const { environment } = world.machine('east').start('holdfast');
  const commands = new FakeCommands(environment.clock);
  const gaveUp: string[] = [];
  const recovered: string[] = [];
  const events: string[] = [];
  const make = () =>
    new GroupResources({
      group: 'g1',
      clock: environment.clock,
      note: new RunNote(environment.files, '/data/resources/g1'),
      entries: () => entries,
      makeStep: (entry) => {
        if (entry.kind !== 'application') throw new Error('only applications here');
        return new Application(
          entry,
          { clock: environment.clock, commands },
          {
            giveUp: (_name, reason) => gaveUp.push(reason),
            recovered: (name) => recovered.push(name),
            event: () => {},
          },
        );
      },
      last: [],
      variables: (reason) => ({ HOLDFAST_GROUP: 'g1', HOLDFAST_REASON: reason }),
      event: (_kind, message) => events.push(message),
      startFailed: (reason) => gaveUp.push(reason),
      started: () => gaveUp.splice(0),
    });
  const note = (): Promise<readonly ResourceEntry[]> =>
    world.settle(new RunNote(environment.files, '/data/resources/g1').read());
  return { world, commands, resources: make(), make, gaveUp, recovered, events, note };
}

const ok = { kind: 'ok' };
const all = (verb: string): string[] => ['a', 'b', 'c'].map((name) => `${name} ${verb}`);

describe('resources of a group', () => {
  it('HM-18: are started in order, each after the one before, and stopped in reverse', async () => {
    const { world, commands, resources } = group();
    expect(await world.settle(resources.start('takeOver'))).toEqual(ok);
    expect(resources.state).toBe('running');
    expect(commands.log).toEqual(all('start').flatMap((words) => [`begin ${words}`, `end ${words}`]));
    expect(await world.settle(resources.stop('lost'))).toEqual(ok);
    expect(commands.ran.slice(3)).toEqual(all('stop').reverse());
    expect(resources.state).toBe('stopped');
    expect(commands.requests[0]?.environment).toEqual({ HOLDFAST_GROUP: 'g1', HOLDFAST_REASON: 'takeOver' });
  });

  it('are started and stopped once, however often that is asked for', async () => {
    const { world, commands, resources } = group();
    const starts = [resources.start('start'), resources.start('start')];
    for (const start of starts) expect(await world.settle(start)).toEqual(ok);
    expect(await world.settle(resources.start('asked'))).toEqual(ok);
    expect(commands.ran).toEqual(all('start'));
    const stops = [resources.stop('lost'), resources.stop('lost')];
    for (const stop of stops) expect(await world.settle(stop)).toEqual(ok);
    expect(await world.settle(resources.stop('lost'))).toEqual(ok);
    expect(commands.ran).toHaveLength(6);
  });

  it('HM-18: one that does not start within its time stops the rest again and is given up', async () => {
    const { world, commands, resources, gaveUp } = group();
    commands.usual.set('b start', hangs);
    expect(await world.settle(resources.start('takeOver'))).toMatchObject({
      kind: 'failed',
      reason: 'b: start command b did not end within 1 s and was ended',
    });
    expect(commands.ran).toEqual(['a start', 'b start', 'b stop', 'a stop']);
    expect([resources.state, gaveUp]).toEqual(['failed', [resources.problem]]);
    commands.usual.clear();
    expect(await world.settle(resources.start('asked'))).toEqual(ok);
  });

  it.each([0, 5, 15, 25])('a stop breaks a start off, %d ms into it, and stops what was begun', async (ms) => {
    const { world, commands, resources, note } = group();
    const start = resources.start('takeOver');
    await world.run(ms);
    const begun = commands.ran.length;
    const stop = resources.stop('lost');
    expect(await world.settle(start)).toEqual({ kind: 'superseded' });
    expect(await world.settle(stop)).toEqual(ok);
    const stopped = commands.ran.filter((words) => words.endsWith('stop'));
    expect(commands.ran.length - stopped.length).toBe(begun);
    expect(stopped).toEqual(all('stop').slice(0, Math.max(begun, stopped.length)).reverse());
    expect([commands.running, resources.state, await note()]).toEqual([0, 'stopped', []]);
  });

  it('a start asked for while it stops comes after, and the last word counts', async () => {
    const { world, commands, resources } = group();
    await world.settle(resources.start('start'));
    const stop = resources.stop('lost');
    const start = resources.start('handedOver');
    expect(await world.settle(stop)).toEqual(ok);
    expect(await world.settle(start)).toEqual(ok);
    expect(commands.ran.slice(3)).toEqual([...all('stop').reverse(), ...all('start')]);
    const second = resources.stop('lost');
    const unwanted = resources.start('handedOver');
    const last = resources.stop('lost');
    expect(await world.settle(unwanted)).toEqual({ kind: 'superseded' });
    expect(await world.settle(second)).toEqual(await world.settle(last));
    expect(resources.state).toBe('stopped');
  });

  it('R15: before a planned move one that does not stop keeps the group: what was stopped is started again', async () => {
    const { world, commands, resources } = group();
    await world.settle(resources.start('start'));
    commands.next.set('b stop', [hangs]);
    expect(await world.settle(resources.beforeHandOver())).toEqual({
      kind: 'failed',
      reason: 'b: stop command b did not end within 1 s and was ended',
    });
    expect(commands.ran.slice(3)).toEqual(['c stop', 'b stop', 'b start', 'c start']);
    expect(resources.state).toBe('running');
    expect(await world.settle(resources.beforeHandOver())).toEqual(ok);
    expect(await world.settle(resources.afterHandOverFailed())).toEqual(ok);
    expect(resources.state).toBe('running');
  });

  it('what does not stop when the group is lost is told, and the others stop all the same', async () => {
    const { world, commands, resources, note } = group();
    await world.settle(resources.start('start'));
    commands.next.set('b stop', [exits(1)]);
    expect(await world.settle(resources.stop('lost'))).toMatchObject({ kind: 'failed' });
    expect(commands.ran.slice(3)).toEqual(all('stop').reverse());
    expect(resources.problem).toBe('may run still: b: stop command b ended with status 1');
    expect((await note()).map(({ name }) => name)).toEqual(['b']);
    // It is stopped once more before anything starts.
    expect(await world.settle(resources.start('start'))).toEqual(ok);
    expect(commands.ran.slice(6)).toEqual(['b stop', ...all('start')]);
  });

  it('HM-18: a node that starts again stops what ran before it crashed, and only then starts anything', async () => {
    const { world, commands, resources, make, note } = group();
    await world.settle(resources.start('start'));
    expect((await note()).map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    const again = make();
    const recovered = again.recover();
    expect(await world.settle(recovered)).toEqual(ok);
    expect(await world.settle(again.start('start'))).toEqual(ok);
    expect(commands.ran.slice(3)).toEqual([...all('stop').reverse(), ...all('start')]);
    expect(commands.requests[3]?.environment['HOLDFAST_REASON']).toBe('crashed');
  });

  it('a crash in the middle of the first start is remembered', async () => {
    const { world, commands, resources, make } = group();
    commands.usual.set('a start', hangs);
    void resources.start('start');
    await world.run(20);
    expect(await world.settle(make().recover())).toEqual(ok);
    expect(commands.ran).toEqual(['a start', 'a stop']);
  });

  it('keeps the end of what the commands wrote, 64 KiB of it', async () => {
    const { world, commands, resources } = group([application('a')]);
    commands.usual.set('a start', exits(0, 10, 'x'.repeat(100_000) + 'ready\n'));
    await world.settle(resources.start('start'));
    const output = resources.rows[0]?.output ?? '';
    expect([output.length, output.endsWith('xready\n')]).toEqual([64 * 1024, true]);
  });
});

describe('health of an application', () => {
  const sick = exits(2);
  const watched = [application('a', { everyMs: 1000, restarts: 2 })];

  it('HM-20: repeated failure restarts it so many times, and then it is given up', async () => {
    const { world, commands, resources, gaveUp } = group(watched);
    await world.settle(resources.start('start'));
    commands.usual.set('a health', sick);
    await world.run(3500);
    expect(commands.ran.slice(1)).toEqual([
      'a health',
      'a stop',
      'a start',
      'a health',
      'a stop',
      'a start',
      'a health',
    ]);
    expect(gaveUp).toEqual(['a does not stay up after 2 restarts: health command a ended with status 2']);
    expect(resources.rows[0]?.state).toBe('failed');
  });

  it('HM-20: a success forgets the failures before it, and its recovery is told', async () => {
    const { world, commands, resources, gaveUp, recovered } = group(watched);
    await world.settle(resources.start('start'));
    commands.next.set('a health', [sick, sick, exits(0), sick, sick, exits(0)]);
    await world.run(8000);
    expect([gaveUp, recovered]).toEqual([[], []]);
    commands.next.set('a health', [sick, sick, sick, exits(0)]);
    await world.run(8000);
    expect([gaveUp.length, recovered, resources.rows[0]?.state]).toEqual([1, ['a'], 'running']);
  });

  it('HM-20: a start that fails is tried as often as a failing check is', async () => {
    const { world, commands, resources, gaveUp } = group(watched);
    commands.usual.set('a start', exits(1));
    expect(await world.settle(resources.start('takeOver'))).toMatchObject({ kind: 'failed' });
    expect(commands.ran.filter((words) => words === 'a start')).toHaveLength(3);
    expect(gaveUp).toHaveLength(1);
  });

  it('is not looked at while it starts, restarts or stops', async () => {
    const { world, commands, resources } = group([application('a', { everyMs: 500, restarts: 9 })]);
    commands.usual.set('a start', exits(0, 900));
    commands.usual.set('a stop', exits(0, 900));
    commands.next.set('a health', [sick]);
    await world.settle(resources.start('start'));
    await world.run(6000);
    await world.settle(resources.stop('lost'));
    await world.run(3000);
    for (const [at, line] of commands.log.entries())
      if (line === 'begin a health') expect(commands.log[at + 1]).toBe('end a health');
    expect(commands.log.at(-1)).toBe('end a stop');
  });

  it('a stop breaks a check or a restart off', async () => {
    const { world, commands, resources } = group(watched);
    commands.next.set('a health', [sick]);
    await world.settle(resources.start('start'));
    commands.usual.set('a start', hangs);
    await world.run(1100);
    expect(commands.ran.at(-1)).toBe('a start');
    expect(await world.settle(resources.stop('lost'))).toEqual(ok);
    expect([commands.ran.at(-1), commands.running]).toEqual(['a stop', 0]);
    await world.run(5000);
    expect(commands.ran.at(-1)).toBe('a stop');
  });
});
