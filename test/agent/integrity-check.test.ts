/** AS-9: the check after a take-over, owed until it has passed. */
import { describe, expect, it } from 'vitest';
import { IntegrityCheck } from '../../src/agent/integrity-check.ts';
import { World } from '../../src/sim/world/world.ts';
import { defaultTakeOverSettings, type TakeOverSettings } from '../../src/store/document.ts';
import { exits, FakeCommands, hangs } from './fake-commands.ts';

const check = { words: ['fsck', '-n'], timeoutMs: 1000 };

function node(settings: Partial<TakeOverSettings> = {}) {
  const world = new World({ seed: 'check' });
  const { environment } = world.machine('east').start('holdfast');
  const commands = new FakeCommands(environment.clock);
  const failed: [string, boolean][] = [];
  let settled = 0;
  const make = () =>
    new IntegrityCheck({
      clock: environment.clock,
      files: environment.files,
      commands,
      folder: '/data/g1',
      settings: () => ({ ...defaultTakeOverSettings, check, ...settings }),
      variables: (reason) => ({ HOLDFAST_REASON: reason }),
      event: () => {},
      failed: (reason, letIn) => failed.push([reason, letIn]),
      settled: () => (settled += 1),
    });
  return { world, commands, failed, settled: () => settled, make, check: make() };
}

describe('the integrity check', () => {
  it('AS-9: runs after a take-over, and lets hosts in when it ends with 0', async () => {
    const { world, commands, check } = node();
    expect(await world.settle(check.beforeServing('takeOver'))).toBe(null);
    expect([commands.ran, check.last?.state]).toEqual([['fsck -n'], 'ok']);
    expect(commands.requests[0]?.environment).toEqual({ HOLDFAST_REASON: 'check' });
  });

  it('does not run when nothing was taken over', async () => {
    const { world, commands, check } = node();
    expect(await world.settle(check.beforeServing('start'))).toBe(null);
    expect(await world.settle(check.beforeServing('handedOver'))).toBe(null);
    expect(commands.ran).toEqual([]);
  });

  it.each([
    [exits(4), 'the integrity check fsck ended with status 4'],
    [hangs, 'the integrity check fsck did not end within 1 s and was ended'],
  ])('AS-9: keeps hosts out when it fails', async (ending, problem) => {
    const { world, commands, failed, settled, check } = node();
    commands.usual.set('fsck -n', ending);
    expect(await world.settle(check.beforeServing('takeOver'))).toBe(problem);
    expect([failed, check.last?.state, settled()]).toEqual([[[problem, false]], 'failed', 0]);
    commands.usual.clear();
    expect(await world.settle(check.again())).toBe(null);
    expect(settled()).toBe(1);
  });

  it('AS-9: lets hosts in all the same where that is configured', async () => {
    const { world, commands, failed, check } = node({ onCheckFailed: 'serve' });
    commands.usual.set('fsck -n', exits(1));
    expect(await world.settle(check.beforeServing('takeOver'))).toBe(null);
    expect(failed).toEqual([['the integrity check fsck ended with status 1', true]]);
  });

  it('AS-9: is owed until it has passed: a node that starts again checks first', async () => {
    const { world, commands, make, check } = node();
    commands.usual.set('fsck -n', exits(1));
    await world.settle(check.beforeServing('takeOver'));
    expect(await world.settle(make().beforeServing('start'))).not.toBe(null);
    commands.usual.clear();
    expect(await world.settle(make().beforeServing('start'))).toBe(null);
    expect(await world.settle(make().beforeServing('start'))).toBe(null);
    expect(commands.ran).toHaveLength(3);
  });

  it('is not owed any more when another owner has served the group since', async () => {
    const { world, commands, make, check } = node();
    commands.usual.set('fsck -n', exits(1));
    await world.settle(check.beforeServing('takeOver'));
    await world.settle(make().beforeServing('handedOver'));
    expect(await world.settle(make().beforeServing('start'))).toBe(null);
    expect(commands.ran).toHaveLength(1);
  });

  it('is broken off when the group is not owned here any more', async () => {
    const { world, commands, check } = node();
    commands.usual.set('fsck -n', exits(0, 500));
    const verdict = check.beforeServing('takeOver');
    await world.run(100);
    check.cancel();
    expect(await world.settle(verdict)).toMatch(/broken off/);
  });
});
