import { describe, expect, test } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import type { Indication } from '../../src/pulse/indication.ts';
import { MirrorInstaller, productionDataWarning, type MirrorRequest } from '../../src/pulse/installer.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World, type LogLine } from '../../src/sim/world/world.ts';

type Name = 'east' | 'west';
const confirmMs = 3000;
const names: readonly Name[] = ['east', 'west'];

class Node {
  process: SimProcess;
  installer!: MirrorInstaller;
  /** The status table's entries: mirrors heartbeats are sent or read by, with the place here. */
  readonly used = new Map<string, string>();
  readonly alerts: Indication[] = [];
  /** What happened to the table, in order. */
  readonly history: string[] = [];
  readonly production = new Map<string, string>();

  constructor(process: SimProcess) {
    this.process = process;
  }
}

/** Two nodes, and a post between them that repeats, loses, duplicates and delays. */
class Scene {
  readonly world: World;
  readonly nodes: Record<Name, Node>;
  readonly logged: LogLine[] = [];
  lostShare = 0;
  lateMsMax = 10;
  /** Answers only. */
  answersLost = false;

  constructor(seed: string) {
    this.world = new World({ seed, log: (line) => this.logged.push(line) });
    this.nodes = {
      east: new Node(this.world.machine('east').start('node')),
      west: new Node(this.world.machine('west').start('node')),
    };
  }

  async start(name: Name, mirrors: Parameters<MirrorInstaller['start']>[0] = []): Promise<void> {
    const node = this.nodes[name];
    const { process } = node;
    node.used.clear();
    const installer = new MirrorInstaller(
      process.environment,
      { node: name, nodes: names, dataFolder: '/data', confirmMs },
      {
        sendControl: (to, request, limitMs) =>
          this.#post(process, name, to === 'east' ? 'east' : 'west', request, limitMs),
        use: ({ name: mirror, path }) => {
          if (!process.alive) return;
          expect(node.used.has(mirror)).toBe(false);
          node.used.set(mirror, path);
          node.history.push(`use ${mirror}`);
        },
        vacate: async (mirror) => {
          if (!process.alive) return;
          node.used.delete(mirror);
          node.history.push(`vacate ${mirror}`);
        },
        productionAt: async (path) => node.production.get(path) ?? null,
        indicate: (indication) => void node.alerts.push(indication),
      },
    );
    node.installer = installer;
    await this.world.settle(installer.start(mirrors));
  }

  async both(): Promise<this> {
    await this.start('east');
    await this.start('west');
    return this;
  }

  async restart(name: Name): Promise<void> {
    this.nodes[name].process.crash();
    this.nodes[name].process = this.world.machine(name).start('node');
    await this.start(name);
  }

  /** In words: what the two ends make of a mirror. */
  state(mirror: string): string {
    const state = this.nodes.east.installer.rows().find((row) => row.name === mirror)?.state ?? 'unknown';
    return `${state}; used at ${names.filter((name) => this.nodes[name].used.has(mirror)).join(' and ') || 'none'}`;
  }

  /** What it comes to: done, or the code and words of the refusal. */
  async outcome(promise: Promise<void>): Promise<string> {
    return this.world.settle(
      promise.then(
        () => 'done',
        (error: unknown) => (error instanceof HoldfastError ? `${error.code}: ${error.message}` : String(error)),
      ),
    );
  }

  #post(sender: SimProcess, from: Name, to: Name, request: MirrorRequest, limitMs: number): Promise<void> {
    const prng = this.world.prng.derive(`post ${this.world.nowMs} ${to}`);
    const { clock } = sender.environment;
    expect(JSON.stringify(request.body).length).toBeLessThanOrEqual(400);
    return new Promise((resolve, reject) => {
      let answered = false;
      const answer = (problem: string | null): void => {
        if (answered || !sender.alive) return;
        answered = true;
        if (problem === null) resolve();
        else reject(new HoldfastError('E_REFUSED', problem));
      };
      const beginMs = clock.monotonicMs();
      const ask = (): void => {
        if (answered) return;
        if (clock.monotonicMs() - beginMs >= limitMs) {
          answered = true;
          return reject(new HoldfastError('E_TIMEOUT', 'no answer'));
        }
        if (!prng.chance(this.lostShare)) {
          this.world.at(this.world.nowMs + prng.between(1, this.lateMsMax), () => {
            const target = this.nodes[to];
            const { process, installer } = target;
            process.call(() => {
              void installer.control(from, request).then((problem) => {
                if (!process.alive || this.answersLost || prng.chance(this.lostShare)) return;
                this.world.at(this.world.nowMs + prng.between(1, this.lateMsMax), () =>
                  sender.call(() => answer(problem)),
                );
              });
            });
          });
        }
        clock.after(100, ask);
      };
      ask();
    });
  }
}

const east = (scene: Scene): MirrorInstaller => scene.nodes.east.installer;

async function created(seed: string, ...mirrors: string[]): Promise<Scene> {
  const scene = await new Scene(seed).both();
  for (const name of mirrors) expect(await scene.outcome(east(scene).create({ name, to: 'west' }))).toBe('done');
  return scene;
}

async function installed(seed: string, ...mirrors: string[]): Promise<Scene> {
  const scene = await created(seed, ...mirrors);
  for (const name of mirrors) expect(await scene.outcome(east(scene).install({ name }))).toBe('done');
  return scene;
}

describe('HM-8: installing a heartbeat mirror', () => {
  test('one that was not created is refused: no mirror is created', async () => {
    const scene = await new Scene('unknown').both();
    expect(await scene.outcome(east(scene).install({ name: 'hb1' }))).toMatch(/^E_NOT_FOUND: no mirror is created/);
    expect(scene.nodes.east.history).toEqual([]);
  });

  test('registers it here, has it activated there, and is done when that is confirmed', async () => {
    const scene = await created('plain', 'hb1');
    expect(scene.state('hb1')).toBe('created; used at none');
    const request = { name: 'hb1', primary: '/dev/sdb', secondary: '/dev/sdc' };
    expect(await scene.outcome(east(scene).install(request))).toBe('done');
    expect(scene.state('hb1')).toBe('installed; used at east and west');
    expect([scene.nodes.east.used.get('hb1'), scene.nodes.west.used.get('hb1')]).toEqual(['/dev/sdb', '/dev/sdc']);
    expect(scene.nodes.west.installer.rows()).toEqual([
      { name: 'hb1', from: 'east', to: 'west', primary: null, secondary: '/dev/sdc', state: 'installed' },
    ]);
  });

  test('HM-3: warns of production data before it is activated, and refuses a place of production at either end', async () => {
    const scene = await created('production', 'hb1');
    scene.nodes.east.production.set('/dev/sdb', 'volume db1');
    scene.nodes.west.production.set('/dev/sdc', 'log of g1');
    expect(await scene.outcome(east(scene).install({ name: 'hb1', primary: '/dev/sdb' }))).toMatch(
      /^E_REFUSED: .*\/dev\/sdb on east belongs to volume db1\. Do not put production data/,
    );
    expect(scene.nodes.east.history).toEqual([]);
    expect(await scene.outcome(east(scene).install({ name: 'hb1', secondary: '/dev/sdc' }))).toMatch(
      /^E_REFUSED: .*west refuses it: .*\/dev\/sdc on west belongs to log of g1/,
    );
    expect(scene.state('hb1')).toBe('created; used at none');
    expect(scene.logged.some(({ message }) => message.includes(productionDataWarning))).toBe(true);
    expect(await scene.outcome(east(scene).install({ name: 'hb1' }))).toBe('done');
  });

  test('unconfirmed, it is undone and reported; what may have been done there is undone as soon as it can be', async () => {
    const scene = await created('unconfirmed', 'hb1');
    scene.answersLost = true;
    const install = scene.outcome(east(scene).install({ name: 'hb1' }));
    expect(await install).toMatch(/^E_TIMEOUT: .*west has not confirmed it within 3000 ms, so it was undone/);
    expect(scene.state('hb1')).toMatch(/^removing; used at (west|none)$/);
    expect(scene.nodes.east.alerts.map(({ code }) => code)).toEqual(['mirror-failed']);
    expect(await scene.outcome(east(scene).delete('hb1'))).toMatch(/^E_REFUSED: .*being de-installed/);
    scene.answersLost = false;
    await scene.world.run(10_000);
    expect(scene.state('hb1')).toBe('created; used at none');
    expect(await scene.outcome(east(scene).install({ name: 'hb1' }))).toBe('done');
  });

  test('several at once, each by itself', async () => {
    const mirrors = ['hb1', 'hb2', 'hb3'];
    const scene = await created('several', ...mirrors);
    scene.nodes.west.production.set('/dev/sdc', 'volume db1');
    const outcomes = await Promise.all([
      scene.outcome(east(scene).install({ name: 'hb1' })),
      scene.outcome(east(scene).install({ name: 'hb2', secondary: '/dev/sdc' })),
      scene.outcome(east(scene).install({ name: 'hb3' })),
      scene.outcome(east(scene).install({ name: 'hb1' })),
    ]);
    expect(outcomes.map((text) => text.slice(0, 9))).toEqual(['done', 'E_REFUSED', 'done', 'E_BUSY: h']);
    expect(mirrors.map((name) => scene.state(name).split(';')[0])).toEqual(['installed', 'created', 'installed']);
  });

  test('a place that another heartbeat mirror has is refused', async () => {
    const scene = await created('same place', 'hb1', 'hb2');
    expect(await scene.outcome(east(scene).install({ name: 'hb1', primary: '/dev/sdb' }))).toBe('done');
    expect(await scene.outcome(east(scene).install({ name: 'hb2', primary: '/dev/sdb' }))).toMatch(
      /\/dev\/sdb belongs to heartbeat mirror hb1/,
    );
  });

  test('HM-15: both directions, each led by the node that writes', async () => {
    const scene = await installed('both ways', 'hb-east');
    const west = scene.nodes.west.installer;
    expect(await scene.outcome(west.create({ name: 'hb-east', to: 'east' }))).toMatch(/^E_EXISTS/);
    expect(await scene.outcome(west.create({ name: 'hb-west', to: 'east' }))).toBe('done');
    expect(await scene.outcome(west.install({ name: 'hb-west' }))).toBe('done');
    expect(await scene.outcome(east(scene).remove('hb-west'))).toMatch(/written by west/);
    for (const name of names) expect([...scene.nodes[name].used.keys()]).toEqual(['hb-east', 'hb-west']);
  });
});

describe('HM-9: de-installing', () => {
  test('NULL here, NULL there, and only then may it be deleted', async () => {
    const scene = await installed('remove', 'hb1');
    scene.lostShare = 1;
    const removed = east(scene).remove('hb1');
    removed.catch(() => {});
    await scene.world.run(1000);
    expect(scene.state('hb1')).toBe('removing; used at west');
    expect(await scene.outcome(east(scene).delete('hb1'))).toMatch(/^E_REFUSED/);
    expect(await scene.outcome(removed)).toMatch(
      /^E_TIMEOUT: .*west has not confirmed it; it is asked until it does/,
    );
    scene.lostShare = 0;
    expect(await scene.outcome(east(scene).remove('hb1'))).toBe('done');
    expect(scene.state('hb1')).toBe('created; used at none');
    expect(await scene.outcome(east(scene).delete('hb1'))).toBe('done');
    expect(scene.state('hb1')).toBe('unknown; used at none');
  });

  test('HM-4: splitting, pausing and deleting an installed one is refused with an alert that says what to do', async () => {
    const scene = await installed('refused', 'hb1');
    const words = /hb1 is installed; to \w+ it, de-install it first: holdfast pulse remove hb1/;
    for (const name of names) {
      const { installer } = scene.nodes[name];
      for (const what of ['split', 'pause'] as const) {
        expect(await scene.outcome(installer.permit('hb1', what))).toMatch(words);
      }
    }
    expect(await scene.outcome(east(scene).delete('hb1'))).toMatch(words);
    expect(scene.nodes.east.alerts.map(({ code }) => code)).toEqual(Array(3).fill('mirror-refused'));
    expect(scene.nodes.east.alerts[0]?.text).toMatch(/de-install it first/);
    await scene.outcome(east(scene).remove('hb1'));
    expect(await scene.outcome(east(scene).permit('hb1', 'split'))).toBe('done');
  });

  test('HM-10: other mirrors stay in use throughout', async () => {
    const scene = await installed('undisturbed', 'hb1', 'hb2');
    await scene.outcome(east(scene).remove('hb2'));
    await scene.outcome(east(scene).install({ name: 'hb2' }));
    for (const name of names) {
      expect(scene.nodes[name].history.filter((line) => line.endsWith('hb1'))).toEqual(['use hb1']);
    }
  });
});

describe('what went on is taken up again', () => {
  test('mirrors of the cluster document are installed at the first start; a deleted one does not come back', async () => {
    const mirror = { name: 'hb1', from: 'east', to: 'west', paths: { west: '/dev/sdc' } };
    const scene = new Scene('document');
    scene.nodes.west.production.set('/dev/sdd', 'volume db1');
    const bad = { name: 'hb2', from: 'east', to: 'west', paths: { west: '/dev/sdd' } };
    for (const name of names) await scene.start(name, [mirror, bad]);
    expect(scene.state('hb1')).toBe('installed; used at east and west');
    expect(scene.nodes.west.used.get('hb1')).toBe('/dev/sdc');
    expect(scene.state('hb2')).toBe('installed; used at east');
    expect(scene.nodes.west.alerts.map(({ text }) => text)[0]).toMatch(/\/dev\/sdd on west belongs to volume db1/);
    expect(await scene.outcome(east(scene).remove('hb1'))).toBe('done');
    expect(await scene.outcome(east(scene).delete('hb1'))).toBe('done');
    for (const name of names) {
      scene.nodes[name].process.crash();
      scene.nodes[name].process = scene.world.machine(name).start('node');
      await scene.start(name, [mirror, bad]);
    }
    expect(scene.state('hb1')).toBe('unknown; used at none');
  });

  test('a request that was overtaken is refused, however late it comes', async () => {
    const scene = await created('late', 'hb1');
    const requests: MirrorRequest[] = [];
    const { installer: west } = scene.nodes.west;
    const control = west.control.bind(west);
    west.control = (from, request) => {
      requests.push(request);
      return control(from, request);
    };
    await scene.outcome(east(scene).install({ name: 'hb1' }));
    await scene.outcome(east(scene).remove('hb1'));
    await scene.restart('west');
    for (const request of requests) await scene.world.settle(scene.nodes.west.installer.control('east', request));
    expect(scene.state('hb1')).toBe('created; used at none');
    expect(requests.length).toBeGreaterThan(1);
  });

  test('a disk that cannot keep it: nothing is changed', async () => {
    const scene = await created('full', 'hb1');
    scene.world.machine('east').files.fail({ code: 'E_NO_SPACE', operation: 'write' });
    expect(await scene.outcome(east(scene).install({ name: 'hb1' }))).toMatch(/^E_NO_SPACE/);
    expect(scene.state('hb1')).toBe('created; used at none');
    scene.world.machine('east').files.heal();
    scene.world.machine('west').files.fail({ code: 'E_NO_SPACE', operation: 'write' });
    expect(await scene.outcome(east(scene).install({ name: 'hb1' }))).toMatch(/^E_REFUSED: .*west refuses it/);
    expect(scene.state('hb1')).toBe('created; used at none');
  });

  test('a damaged file is refused, not taken for none', async () => {
    const scene = await installed('damaged', 'hb1');
    scene.nodes.east.process.crash();
    scene.world.machine('east').files.corrupt('/data/heartbeat-mirrors.json');
    scene.nodes.east.process = scene.world.machine('east').start('node');
    await expect(scene.start('east')).rejects.toThrow(/heartbeat-mirrors\.json is damaged/);
  });

  test.each(names)(
    'a crash of %s after any effect, with a post that loses, repeats and delays: both ends agree in the end',
    async (victim) => {
      for (let effects = 1; effects <= 24; effects++) {
        const scene = await created(`crash ${victim} ${effects}`, 'hb1', 'hb2');
        scene.lostShare = 0.4;
        scene.lateMsMax = 800;
        const { process } = scene.nodes[victim];
        const goOn = async (): Promise<void> => {
          await east(scene)
            .install({ name: 'hb1' })
            .catch(() => {});
          await east(scene)
            .remove('hb1')
            .catch(() => {});
          await east(scene)
            .install({ name: 'hb2' })
            .catch(() => {});
        };
        scene.nodes.east.process.call(() => void goOn());
        process.crashAfterEffects(effects);
        await scene.world.runUntil(() => !process.alive, 20_000);
        process.crash();
        scene.nodes[victim].process = scene.world.machine(victim).start('node');
        await scene.start(victim);
        await scene.world.run(40_000);
        for (const mirror of ['hb1', 'hb2']) {
          expect(['installed; used at east and west', 'created; used at none'], `${effects}`).toContain(
            scene.state(mirror),
          );
        }
      }
    },
  );
});
