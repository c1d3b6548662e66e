import { describe, expect, it } from 'vitest';
import { World } from '../../../src/sim/world/world.ts';
import type { SimProcess } from '../../../src/sim/world/process.ts';

function tick(process: SimProcess, everyMs: number, run: () => void): void {
  process.environment.clock.after(everyMs, () => {
    run();
    tick(process, everyMs, run);
  });
}

describe('SimProcess', () => {
  it('runs deferred work after the event, in order, promise callbacks included, and end tasks last', async () => {
    const world = new World({ seed: 'turn' });
    const { clock, turn } = world.machine('east').start('a').environment;
    const ran: string[] = [];
    clock.after(1, () => {
      turn.atEnd({
        endOfTurn() {
          ran.push('end');
          turn.defer(() => ran.push('deferred by end'));
        },
      });
      turn.defer(() => ran.push('first'));
      turn.defer(() => turn.defer(() => ran.push('third')));
      turn.defer(() => ran.push('second'));
      void Promise.resolve().then(() => turn.defer(() => ran.push('deferred by a promise')));
      ran.push('event');
    });
    await world.run(5);
    expect(ran).toEqual(['event', 'first', 'second', 'deferred by a promise', 'third', 'end', 'deferred by end']);
  });

  it('gives work deferred from outside a turn of its own', async () => {
    const world = new World({ seed: 'outside' });
    const { turn } = world.machine('east').start('a').environment;
    let ran = false;
    turn.defer(() => (ran = true));
    expect(ran).toBe(false);
    await world.run(1);
    expect(ran).toBe(true);
  });

  it('is silent after a crash: timers, files, devices, streams, deferred work', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const world = new World({ seed: `crash ${seed}` });
      const east = world.machine('east').start('a');
      const west = world.machine('west').start('b');
      const heard: string[] = [];
      const { device } = await world.settle(
        east.devices.open({ path: '/d', sizeBytes: 8192, blockSizeBytes: 512, create: true }),
      );
      await world.settle(
        west.environment.network.listen({ kind: 'tcp', host: 'west', port: 7 }, (stream) => ({
          received: (chunk) => stream.send([chunk]),
          closed: () => {},
        })),
      );
      const stream = east.environment.network.connect(
        { kind: 'tcp', host: 'west', port: 7 },
        { received: () => heard.push('stream'), closed: () => heard.push('closed') },
      );
      await world.run(50);
      stream.send([Buffer.from('ping')]);
      tick(east, 0.3, () => heard.push('timer'));
      device.write(0, Buffer.alloc(512), () => heard.push('device'));
      device.flush(() => heard.push('flush'));
      void east.environment.files.write('/f', Buffer.from('x'), { sync: true }).then(() => heard.push('files'));
      void east.store.read('k').then(() => heard.push('store'));
      await world.run(seed / 10);
      east.environment.turn.defer(() => heard.push('deferred'));
      east.crash();
      heard.length = 0;
      void east.environment.files.read('/f').then(() => heard.push('later files'));
      device.write(0, Buffer.alloc(512), () => heard.push('later device'));
      east.environment.clock.after(0, () => heard.push('later timer'));
      await world.run(5000);
      expect(heard).toEqual([]);
    }
  });

  it('crashes exactly after the n-th effect: no later one is seen by anybody', async () => {
    for (let count = 1; count <= 6; count++) {
      const world = new World({ seed: 'effects' });
      const process = world.machine('east').start('a');
      const { files } = process.environment;
      process.crashAfterEffects(count);
      void (async () => {
        for (let index = 1; index <= 6; index++) await files.write(`/${index}`, Buffer.from('x'), { sync: false });
      })();
      await world.run(100);
      expect(process.end).toBe('crash');
      expect(process.effects).toBe(count);
      for (let index = 1; index < count; index++)
        expect(world.machine('east').files.peek(`/${index}`)).not.toBeNull();
      for (let index = count + 1; index <= 6; index++)
        expect(world.machine('east').files.peek(`/${index}`)).toBeNull();
    }
  });

  it('does nothing while paused, wakes later than it believes, and then gets all that has waited', async () => {
    const world = new World({ seed: 'pause' });
    const process = world.machine('east').start('a');
    const { clock } = process.environment;
    const fired: number[] = [];
    for (const delayMs of [10, 20, 30, 5000]) clock.after(delayMs, () => fired.push(clock.monotonicMs()));
    await world.run(5);
    const before = clock.monotonicMs();
    process.pause(1000);
    await world.run(999);
    expect(fired).toEqual([]);
    await world.run(2);
    expect(fired).toHaveLength(3);
    for (const atMs of fired) expect(atMs - before).toBeGreaterThanOrEqual(1000);
    await world.run(10_000);
    expect(fired).toHaveLength(4);
  });

  it('runs what arrived while it was busy together, in one turn', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const world = new World({ seed: `busy ${seed}` });
      const machine = world.machine('east');
      machine.busyEvery = 1;
      machine.busyMsMax = 20;
      const { clock, turn } = machine.start('a').environment;
      const ran: string[] = [];
      for (const delayMs of [1, 5, 10]) {
        clock.after(delayMs, () => {
          ran.push(`event${delayMs}`);
          turn.defer(() => ran.push(`deferred${delayMs}`));
        });
      }
      await world.run(200);
      orders.add(ran.join(' '));
    }
    expect(orders).toContain('event1 deferred1 event5 event10 deferred5 deferred10');
    expect(orders).toContain('event1 deferred1 event5 deferred5 event10 deferred10');
    expect(orders.size).toBe(2);
  });

  it('can be paused between two pieces of one turn', async () => {
    const world = new World({ seed: 'pause in turn' });
    const process = world.machine('east').start('a');
    const { clock, turn } = process.environment;
    const ran: number[] = [];
    clock.after(1, () => {
      turn.defer(() => process.pause(500));
      turn.defer(() => ran.push(world.nowMs));
    });
    await world.run(400);
    expect(ran).toEqual([]);
    await world.run(200);
    expect(ran).toHaveLength(1);
    expect(ran[0]).toBeGreaterThan(500);
  });

  it('ends itself by abort, and what it would have said next is not said', async () => {
    const world = new World({ seed: 'abort' });
    const process = world.machine('east').start('a');
    let said = false;
    process.environment.clock.after(1, () => {
      process.environment.turn.defer(() => (said = true));
      process.environment.abort('contradiction');
    });
    await world.run(10);
    expect([process.end, process.endReason, said]).toEqual(['abort', 'contradiction', false]);
  });

  it('never fires a timer early on the machine whose clock drifts; the wall clock steps alone', async () => {
    for (const driftPpm of [-500, 0, 500]) {
      const world = new World({ seed: `drift ${driftPpm}` });
      const machine = world.machine('east');
      machine.driftPpm = driftPpm;
      const { clock } = machine.start('a').environment;
      const start = clock.monotonicMs();
      const wall = clock.wallMs();
      let firedMs = 0;
      clock.after(100_000, () => (firedMs = clock.monotonicMs()));
      machine.stepWallClock(-3_600_000);
      expect(clock.wallMs() - wall).toBeCloseTo(-3_600_000, 0);
      await world.run(101_000);
      expect(firedMs - start).toBeGreaterThanOrEqual(100_000);
      expect(firedMs - start).toBeLessThan(100_002);
    }
  });
});
