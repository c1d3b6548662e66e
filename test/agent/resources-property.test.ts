/** The state machine of a group's resources, under any sequence of wishes and any behaviour of the commands. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Application } from '../../src/agent/applications.ts';
import { GroupResources, type Outcome } from '../../src/agent/resources.ts';
import { RunNote } from '../../src/agent/run-note.ts';
import { World } from '../../src/sim/world/world.ts';
import type { ResourceEntry } from '../../src/store/document.ts';
import { exits, FakeCommands, hangs, type Ending } from './fake-commands.ts';

const names = ['a', 'b', 'c'];
const entries = names.map((name): ResourceEntry => ({
  kind: 'application',
  name,
  start: { words: [name, 'start'], timeoutMs: 200 },
  stop: { words: [name, 'stop'], timeoutMs: 200 },
  health: { command: { words: [name, 'health'], timeoutMs: 200 }, everyMs: 300, restarts: 1 },
}));

const ending = fc.oneof(
  { weight: 6, arbitrary: fc.nat(50).map((afterMs): Ending => exits(0, afterMs)) },
  { weight: 2, arbitrary: fc.nat(50).map((afterMs): Ending => exits(1, afterMs)) },
  { weight: 1, arbitrary: fc.constant(hangs) },
);
const step = fc.oneof(
  fc.record({ do: fc.constantFrom('start', 'stop', 'handOver', 'failed'), thenMs: fc.nat(120) }),
  fc.record({ do: fc.constant('wait'), thenMs: fc.nat(1500) }),
);

it('HM-18: whatever is asked for and however commands behave, what may run is noted, and the last wish is fulfilled', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 14 }),
      fc.array(ending, { maxLength: 40 }),
      async (steps, endings) => {
        const world = new World({ seed: 'property' });
        const { environment } = world.machine('east').start('holdfast');
        const commands = new FakeCommands(environment.clock);
        /** What the machine would say: begun and not stopped since. */
        const mayRun = new Set<string>();
        const noted = new Set<string>();
        const note = new RunNote(environment.files, '/data/g1');
        const write = note.write.bind(note);
        note.write = async (resources) => {
          await write(resources);
          noted.clear();
          for (const { name } of resources) noted.add(name);
        };
        let exclusive = 0;
        let rest = [...endings];
        commands.begun = (words) => {
          const [name = '', verb] = words.split(' ');
          if (verb !== 'health') {
            const given = rest.shift();
            if (given !== undefined) commands.next.set(words, [given]);
          }
          if (verb === 'start') {
            mayRun.add(name);
            // Before the command, not after: the crash may come in its middle.
            expect(noted.has(name)).toBe(true);
          }
        };
        commands.ended = (words, result) => {
          const [name = '', verb] = words.split(' ');
          if (verb === 'stop' && result.kind === 'exited' && result.status === 0) mayRun.delete(name);
          for (const running of mayRun) expect(noted.has(running)).toBe(true);
          expect(exclusive).toBeLessThanOrEqual(1);
        };
        const make = (entry: ResourceEntry): Application => {
          if (entry.kind !== 'application') throw new Error('only applications here');
          const made = new Application(
            entry,
            { clock: environment.clock, commands },
            { giveUp: () => {}, recovered: () => {}, event: () => {} },
          );
          for (const verb of ['start', 'stop'] as const) {
            const run = made[verb].bind(made);
            made[verb] = async (context) => {
              exclusive++;
              const fault = await run(context);
              exclusive--;
              return fault;
            };
          }
          return made;
        };
        const resources = new GroupResources({
          group: 'g1',
          clock: environment.clock,
          note,
          entries: () => entries,
          makeStep: make,
          last: [],
          variables: () => ({}),
          event: () => {},
          startFailed: () => {},
          started: () => {},
        });
        const outcomes: Promise<Outcome>[] = [];
        for (const { do: what, thenMs } of steps) {
          if (what === 'start') outcomes.push(resources.start('start'));
          else if (what === 'stop') outcomes.push(resources.stop('lost'));
          else if (what === 'handOver') outcomes.push(resources.beforeHandOver());
          else if (what === 'failed') outcomes.push(resources.afterHandOverFailed());
          await world.run(thenMs);
        }
        // From here on everything works: the last wish must come true.
        rest = [];
        commands.next.clear();
        for (const outcome of outcomes) await world.settle(outcome);
        const last = steps.findLast(({ do: what }) => what !== 'wait')?.do;
        for (const name of last === 'stop' ? mayRun : [])
          expect(commands.ran.findLast((words) => words.startsWith(name))).toBe(`${name} stop`);
        expect(await world.settle(resources.stop('lost'))).toEqual({ kind: 'ok' });
        expect([resources.state, [...mayRun], [...noted]]).toEqual(['stopped', [], []]);
        expect(await world.settle(resources.start('start'))).toEqual({ kind: 'ok' });
        expect([resources.state, [...mayRun].sort()]).toEqual(['running', names]);
        const from = commands.ran.length;
        expect(await world.settle(resources.stop('lost'))).toEqual({ kind: 'ok' });
        expect(commands.ran.slice(from)).toEqual(['c stop', 'b stop', 'a stop']);
        expect(commands.running).toBe(0);
      },
    ),
    { numRuns: 200 },
  );
});
