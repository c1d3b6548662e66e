/** Drills at the nodes (BY-11): who runs one, what a node does to itself, and the client that measures. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { createNodeEnvironment } from '../../src/base/node/node-environment.ts';
import { NbdServer } from '../../src/hosts/nbd/server.ts';
import { addressOf, DrillControlPart, reachableAt } from '../../src/node/drill-control.ts';
import { NbdProbe } from '../../src/node/nbd-probe.ts';
import { restartsOf } from '../../src/node/process-faults.ts';
import type { ClusterDocument } from '../../src/store/document.ts';
import { fakeControl, fakeDrill, fakeStatus } from '../api/fake-control.ts';
import { TestCatalogue, TestVolume } from '../hosts/nbd/world.ts';
import { HandClock } from './hand-clock.ts';

const folder = mkdtempSync(join(tmpdir(), 'holdfast-drill-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const base = await fakeControl().document();
const documentWith = (drills: boolean): ClusterDocument => ({
  ...base,
  groups: base.groups.map((group) => ({ ...group, takeOver: { ...group.takeOver, automatic: 'on', drills } })),
});

interface Happening {
  readonly requests: [string, string, unknown][];
  readonly faults: string[];
  readonly isolated: (string | null)[];
  readonly clock: HandClock;
  document: ClusterDocument;
  owner: string;
}

function control(node: string, answers: Readonly<Record<string, unknown>> = {}): [DrillControlPart, Happening] {
  const world: Happening = {
    requests: [],
    faults: [],
    isolated: [],
    clock: new HandClock(),
    document: documentWith(true),
    owner: 'east',
  };
  const part = new DrillControlPart({
    environment: { ...createNodeEnvironment(silentLog), clock: world.clock },
    node,
    folder: join(folder, node),
    document: () => world.document,
    changeDocument: async (change) => void (world.document = change(world.document)),
    group: () => undefined,
    ownerOf: () => world.owner,
    status: async () => fakeStatus(),
    store: () => 'reachable',
    heard: () => true,
    leaseValid: () => true,
    nodeAutomatic: () => true,
    exportBases: () => ['nbd://0.0.0.0:10809', `nbd+unix:///?socket=${folder}/nobody.sock`],
    request: async (to, method, params) => {
      world.requests.push([to, method, params]);
      const answer = answers[`${to} ${method}`];
      if (answer === undefined) throw new HoldfastError('E_NODE_UNREACHABLE', `node ${to} cannot be reached`);
      return answer;
    },
    switchOver: async () => Promise.reject(new HoldfastError('E_REFUSED', 'no')),
    decisions: async () => ({ decisions: [], notes: [] }),
    faults: {
      restarts: 'itself',
      kill: async () => void world.faults.push('kill'),
      pause: async (forMs) => void world.faults.push(`pause ${forMs}`),
    },
    isolate: (reason) => world.isolated.push(reason),
    event: () => {},
  });
  return [part, world];
}

describe('a request for a drill', () => {
  it('is passed on from the owner to a node that has another copy', async () => {
    const [part, world] = control('east', { 'west drill.start': fakeDrill });
    expect(await part.startDrill({ group: 'g1', kind: 'kill', yes: false })).toEqual(fakeDrill);
    expect(world.requests).toEqual([['west', 'drill.start', { group: 'g1', kind: 'kill', yes: false }]]);
  });

  it('fails where no such node answers, or the group is unknown', async () => {
    const [part] = control('east');
    const start = (group: string) => part.startDrill({ group, kind: 'kill', yes: false });
    await expect(start('g1')).rejects.toMatchObject({ code: 'E_NODE_UNREACHABLE' });
    await expect(start('g9')).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('is refused while one is under way here or at another node', async () => {
    const [busyElsewhere] = control('west', { 'east drill.look': { addresses: [], busy: 'a move is under way' } });
    const request = { group: 'g1', kind: 'switch-over', yes: false } as const;
    await expect(busyElsewhere.startDrill(request)).rejects.toMatchObject({
      code: 'E_BUSY',
      message: 'group g1: east: a move is under way',
    });
    const [part, world] = control('west', { 'east drill.look': { addresses: [], busy: null } });
    expect((await part.startDrill(request)).state).toBe('running');
    await expect(part.startDrill(request)).rejects.toMatchObject({ code: 'E_BUSY' });
    // Nor does it let itself be hurt now.
    world.owner = 'west';
    await expect(part.called('drill.fault', 'east', { group: 'g1', kind: 'kill', forMs: 1 })).rejects.toMatchObject({
      code: 'E_BUSY',
    });
    await part.stop();
  });

  it('marks a group, and takes the mark away', async () => {
    const [part, world] = control('west');
    await part.allowDrills({ group: 'g1', on: false });
    expect(world.document.groups[0]?.takeOver.drills).toBe(false);
    await expect(part.allowDrills({ group: 'g9', on: true })).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });
});

describe('a fault', () => {
  const fault = (kind: string) => ({ group: 'g1', kind, forMs: 10_000 });

  it('is done by the owner to itself: killed, stopped, or cut off for the time (BY-11)', async () => {
    const [part, world] = control('east');
    await part.called('drill.fault', 'west', fault('kill'));
    await part.called('drill.fault', 'west', fault('pause'));
    expect([world.faults, world.isolated]).toEqual([['kill', 'pause 10000'], []]);
    await part.called('drill.fault', 'west', fault('partition'));
    // The answer gets away before.
    expect(world.isolated).toEqual([]);
    world.clock.pass(9000);
    expect(new Set(world.isolated)).toEqual(new Set(['cut off for a drill']));
    await expect(part.called('drill.fault', 'west', fault('kill'))).rejects.toMatchObject({ code: 'E_BUSY' });
    world.clock.pass(2000);
    expect(world.isolated.at(-1)).toBeNull();
    world.clock.pass(5000);
    expect(world.isolated.filter((reason) => reason === null)).toHaveLength(1);
  });

  it('is refused by a node that does not own the group, or whose document does not mark it', async () => {
    const [part, world] = control('east');
    world.owner = 'west';
    await expect(part.called('drill.fault', 'west', fault('kill'))).rejects.toThrow('east does not own it');
    world.owner = 'east';
    world.document = documentWith(false);
    await expect(part.called('drill.fault', 'west', fault('kill'))).rejects.toThrow('not marked for drills');
    expect(world.faults).toEqual([]);
  });

  it('leaves the restart to whoever restarts the node anyway', () => {
    expect(restartsOf({}, 4711)).toBe('itself');
    expect(restartsOf({ INVOCATION_ID: 'abc' }, 4711)).toBe('init');
    expect(restartsOf({}, 1)).toBe('init');
    expect(restartsOf({ HOLDFAST_RESTARTS: 'init' }, 4711)).toBe('init');
    expect(restartsOf({ HOLDFAST_RESTARTS: 'itself', INVOCATION_ID: 'abc' }, 4711)).toBe('itself');
  });
});

describe('the measuring client', () => {
  it('knows where hosts reach a node', () => {
    expect(addressOf('nbd://127.0.0.1:10809')).toEqual({ kind: 'tcp', host: '127.0.0.1', port: 10809 });
    expect(addressOf('nbd+unix:///?socket=/run/a.sock')).toEqual({ kind: 'unix', path: '/run/a.sock' });
    expect(addressOf('https://example')).toBeNull();
    expect(reachableAt({ kind: 'tcp', host: '0.0.0.0', port: 1 }, '10.0.0.2:7410')).toEqual({
      kind: 'tcp',
      host: '10.0.0.2',
      port: 1,
    });
  });

  it('reads through whichever node serves, tells the longest pause, and writes nothing (BY-11)', async () => {
    const environment = createNodeEnvironment(silentLog);
    const serve = async (name: string): Promise<{ server: NbdServer; volume: TestVolume; path: string }> => {
      const catalogue = new TestCatalogue();
      const volume = new TestVolume(environment.turn, 'vol1', 1024 * 1024, 512);
      catalogue.volumes.push(volume);
      const server = new NbdServer(environment, catalogue);
      const path = join(folder, `${name}.sock`);
      await server.listen([{ kind: 'unix', path }]);
      return { server, volume, path };
    };
    const east = await serve('east');
    const westPath = join(folder, 'west.sock');
    const probe = new NbdProbe({
      clock: environment.clock,
      network: environment.network,
      volume: 'vol1',
      addresses: [
        { kind: 'unix', path: east.path },
        { kind: 'unix', path: westPath },
      ],
    });
    const answers = async (count: number): Promise<void> => {
      while (probe.answers < count) await new Promise((resolve) => environment.clock.after(5, () => resolve(null)));
    };
    expect([probe.silentMs, probe.longest]).toEqual([Infinity, null]);
    probe.start();
    await answers(5);
    probe.mark();
    const fromMs = environment.clock.monotonicMs();
    await east.server.close();
    await new Promise((resolve) => environment.clock.after(300, () => resolve(null)));
    const west = await serve('west');
    await answers(5);
    const wholeMs = environment.clock.monotonicMs() - fromMs;
    expect(probe.longest?.lengthMs).toBeGreaterThanOrEqual(270);
    expect(probe.longest?.lengthMs).toBeLessThanOrEqual(wholeMs + 40);
    probe.stop();
    await west.server.close();
    for (const { volume } of [east, west]) expect(new Set(volume.calls)).toEqual(new Set(['read 0+4096']));
  });
});
