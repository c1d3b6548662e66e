/** Addresses that move with a group: who is asked before, who is told after. */
import { describe, expect, it } from 'vitest';
import { MovingAddress, type NetworkDevices, type ProbeAnswer } from '../../src/agent/addresses.ts';
import { World } from '../../src/sim/world/world.ts';

function address(answers: ProbeAnswer[] = []) {
  const world = new World({ seed: 'address' });
  const process = world.machine('east').start('holdfast');
  const log: string[] = [];
  const held = new Set<string>();
  const note = (line: string): void => void log.push(`${Math.round(world.nowMs / 100) * 100} ${line}`);
  const networkDevices: NetworkDevices = {
    has: async (device, at) => held.has(`${device} ${at}`),
    add: async (device, at) => {
      note(`add ${device} ${at}`);
      held.add(`${device} ${at}`);
      return null;
    },
    remove: async (device, at) => {
      note(`remove ${device} ${at}`);
      held.delete(`${device} ${at}`);
      return null;
    },
    probe: async () => answers.shift() ?? { kind: 'free' },
    announce: async () => {
      note('announce');
      return null;
    },
  };
  const entry = { kind: 'address', name: 'ip', address: '10.0.0.9/24', device: { east: 'eth0' } } as const;
  const step = new MovingAddress(entry, 'east', { clock: process.environment.clock, networkDevices });
  const context = { variables: {}, reason: 'start', signal: new AbortController().signal };
  return { world, step, context, log, held };
}

describe('an address that moves', () => {
  it('BY-12: is announced three times, and again after 1, 5 and 30 seconds', async () => {
    const { world, step, context, log } = address();
    expect(await world.settle(step.start(context))).toBe(null);
    step.watch(context);
    await world.run(60_000);
    const announced = log.filter((line) => line.endsWith('announce')).map((line) => Number(line.split(' ')[0]));
    expect(log[0]).toBe('0 add eth0 10.0.0.9/24');
    expect(announced).toEqual([0, 200, 400, 1400, 5400, 30_400]);
  });

  it('BY-12: is not announced any more once it is taken off', async () => {
    const { world, step, context, log, held } = address();
    await world.settle(step.start(context));
    step.watch(context);
    await world.run(700);
    expect(await world.settle(step.stop(context))).toBe(null);
    const before = log.length;
    await world.run(60_000);
    expect([log.length, held.size]).toEqual([before, 0]);
  });

  it('waits a while for its last holder to let go', async () => {
    const taken: ProbeAnswer = { kind: 'taken', by: '02:00:00:00:00:07' };
    const { world, step, context, log } = address([taken, taken, taken]);
    expect(await world.settle(step.start(context))).toBe(null);
    expect(log[0]).toBe('3000 add eth0 10.0.0.9/24');
  });

  it('is not put on while another keeps it', async () => {
    const { world, step, context, log } = address(new Array<ProbeAnswer>(99).fill({ kind: 'taken', by: '02:07' }));
    expect(await world.settle(step.start(context))).toBe('02:07 on the network of eth0 has 10.0.0.9/24');
    expect(log).toEqual([]);
  });

  it('is left as it is, and announced, where it is already', async () => {
    const { world, step, context, log, held } = address();
    held.add('eth0 10.0.0.9/24');
    expect(await world.settle(step.start(context))).toBe(null);
    expect(log.every((line) => line.endsWith('announce'))).toBe(true);
  });
});
