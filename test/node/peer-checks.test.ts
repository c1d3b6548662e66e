/** HM-7: the user's check of other nodes: when it runs, for whom, and what is told of it. */
import { expect, it } from 'vitest';
import type { CommandRequest, CommandResult, Commands } from '../../src/agent/commands.ts';
import { PeerChecks } from '../../src/node/peer-checks.ts';
import { World } from '../../src/sim/world/world.ts';

function scene(others: readonly string[] = ['west', 'north']) {
  const world = new World({ seed: 'checks' });
  const { environment } = world.machine('east').start('holdfast');
  const runs: { request: CommandRequest; end: (result: CommandResult) => void }[] = [];
  const commands: Commands = { run: (request) => new Promise((end) => runs.push({ request, end })) };
  const told: string[] = [];
  const checks = new PeerChecks({
    clock: environment.clock,
    commands,
    node: 'east',
    others: () => others,
    check: { words: ['sane', '--fast'], timeoutMs: 2000 },
    everyMs: 200,
    checked: (node, problem) => told.push(`${node} ${problem}`),
    output: () => {},
  });
  const end = async (result: CommandResult): Promise<void> => {
    runs.at(-1)?.end(result);
    await world.run(200);
  };
  return { world, runs, told, checks, end };
}

const passed: CommandResult = { kind: 'exited', status: 0 };

it('one at a time, the nodes in turn, once in an interval at most', async () => {
  const { world, runs, end } = scene();
  await world.run(2000);
  expect(runs.map(({ request }) => request.environment)).toEqual([{ HOLDFAST_NODE: 'east', HOLDFAST_PEER: 'north' }]);
  for (let round = 0; round < 3; round++) await end(passed);
  expect(runs.map(({ request }) => request.environment['HOLDFAST_PEER'])).toEqual(['north', 'west', 'north', 'west']);
  // That one goes on: three ended within 600 ms.
  await world.run(1000);
  expect(runs).toHaveLength(4);
});

it.each<[string, CommandResult]>([
  ['null', passed],
  ['the check of it (sane --fast) ended with status 3', { kind: 'exited', status: 3 }],
  ['the check of it (sane --fast) did not end within 2 s and was ended', { kind: 'timeout' }],
  ['the check of it (sane --fast) was ended by SIGSEGV', { kind: 'signalled', signal: 'SIGSEGV' }],
  ['the check of it (sane --fast) could not be started: ENOENT', { kind: 'notStarted', reason: 'ENOENT' }],
])('what is told of it: %s', async (problem, result) => {
  const { world, runs, told, end } = scene(['west']);
  await world.run(300);
  expect(runs[0]?.request.timeoutMs).toBe(2000);
  await end(result);
  expect(told).toEqual([`west ${problem}`]);
});

it('is ended with the pulse, and says nothing then', async () => {
  const { world, runs, told, checks, end } = scene();
  await world.run(300);
  checks.stop();
  expect(runs[0]?.request.signal?.aborted).toBe(true);
  await end({ kind: 'cancelled' });
  await world.run(1000);
  expect([runs.length, told]).toEqual([1, []]);
});
