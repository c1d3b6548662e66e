/** HM-16: what a node sees of its own failures, when it tells them, and when they are over. */
import { describe, expect, it } from 'vitest';
import { Conditions, conditionsOf, type Sight } from '../../src/node/conditions.ts';
import type { GroupSight } from '../../src/node/group-sight.ts';
import type { Indication } from '../../src/pulse/indication.ts';

const well: GroupSight = {
  name: 'g1',
  owned: true,
  stalled: null,
  closed: null,
  fault: null,
  wentBack: null,
  disks: [],
  full: null,
  splitBrain: null,
  missing: null,
  log: null,
  copies: [],
};

const fine: Sight = {
  monotonicMs: 0,
  wallMs: 1_000_000,
  groups: [well],
  links: [{ peer: 'west', up: true, reason: null, planned: false }],
  lease: { state: 'valid', reason: null },
  storeProblem: null,
  stuck: null,
};

const group = (change: Partial<GroupSight>): Partial<Sight> => ({ groups: [{ ...well, ...change }] });
const failed = { volumes: ['vol1'], reason: 'EIO: i/o error, write /srv/vol1.img' };

describe('what holds', () => {
  it('is nothing while all is well', () => {
    expect(conditionsOf('east', fine)).toEqual([]);
  });

  it.each<[string, Partial<Sight>, string, RegExp]>([
    [
      'a link that is down',
      { links: [{ peer: 'west', up: false, reason: 'ECONNREFUSED', planned: false }] },
      'link east – west link-down SERIOUS',
      /east and west: ECONNREFUSED/,
    ],
    [
      'a lapsed lease of an owner',
      { lease: { state: 'lapsed', reason: 'not renewed' } },
      'node east lease-lost SYSTEM DOWN',
      /on g1: not renewed/,
    ],
    [
      'a silent store',
      { storeProblem: 'ENOENT' },
      'store coordination store store-unreachable SERIOUS',
      /answer east: ENOENT/,
    ],
    [
      'an engine that stood still',
      { stuck: 'it has not moved for 1200 ms' },
      'node east node-stuck SYSTEM DOWN',
      /1200 ms/,
    ],
    [
      'storage that does not answer',
      group({ stalled: 'no read for 30000 ms' }),
      'node east node-stuck SYSTEM DOWN',
      /group g1: no read for 30000 ms/,
    ],
    [
      'a copy that failed',
      group({ fault: failed }),
      'volume vol1 volume-failed SERIOUS',
      /at east cannot be used: EIO/,
    ],
    ['a copy that cannot be opened', group({ closed: failed }), 'volume vol1 volume-failed SERIOUS', /EIO/],
    ['a copy that is older than it was', group({ wentBack: failed }), 'volume vol1 volume-failed SERIOUS', /EIO/],
    [
      'a disk that reported an error',
      group({ disks: [{ path: '/srv/vol1.img', reason: 'EIO' }] }),
      'disk east:/srv/vol1.img disk-failed SERIOUS',
      /EIO/,
    ],
    [
      'a full disk',
      group({ full: { path: '/srv/vol1.img', reason: 'no room' } }),
      'disk east:/srv/vol1.img disk-full SERIOUS',
      /no room/,
    ],
    [
      'two histories',
      group({ splitBrain: 'east and west wrote' }),
      'group g1 split-brain SYSTEM DOWN',
      /east and west wrote/,
    ],
    [
      'what may be missing since it was opened',
      group({ missing: 'writes that were not flushed may be missing' }),
      'group g1 loss-stated SERIOUS',
      /may be missing/,
    ],
    [
      'a log that fills',
      group({ log: { isFull: false, reason: '83 % of the log are used' } }),
      'log g1 at east log-filling MODERATE',
      /83 %/,
    ],
    [
      'a log that is full',
      group({ log: { isFull: true, reason: 'hosts wait' } }),
      'log g1 at east log-filling SERIOUS',
      /hosts wait/,
    ],
    [
      'a copy that lacks writes',
      group({ copies: [{ node: 'west', reason: 'Off (it lacks 7 writes)' }] }),
      'volume g1 at west copy-behind MODERATE',
      /at west is behind: .*7 writes/,
    ],
  ])('%s', (_, change, expected, text) => {
    const found = conditionsOf('east', { ...fine, ...change });
    expect(found.map(({ component, id, code, level }) => `${component} ${id} ${code} ${level}`)).toEqual([expected]);
    expect(found[0]?.text).toMatch(text);
  });

  it('is no link that is down because the other node stops as planned (AS-7), and no lease that nothing depends on', () => {
    const links = [{ peer: 'west', up: false, reason: 'closed', planned: true }];
    const lease = { state: 'lapsed', reason: 'not renewed' } as const;
    expect(conditionsOf('east', { ...fine, links, lease, ...group({ owned: false }) })).toEqual([]);
  });

  it('names the node that a link or a copy is about', () => {
    const links = [{ peer: 'west', up: false, reason: null, planned: false }];
    const copies = [{ node: 'north', reason: 'Off' }];
    const found = conditionsOf('east', { ...fine, links, ...group({ copies }) });
    expect(found.map(({ code, about }) => [code, about])).toEqual([
      ['link-down', 'west'],
      ['copy-behind', 'north'],
    ]);
  });

  it('has the same name for a link at both its ends', () => {
    const down = { up: false, reason: null, planned: false };
    const [east] = conditionsOf('east', { ...fine, links: [{ peer: 'west', ...down }] });
    const [west] = conditionsOf('west', { ...fine, links: [{ peer: 'east', ...down }] });
    expect(east?.id).toBe(west?.id);
  });
});

describe('what is told', () => {
  /** A look a second. */
  function watch() {
    const conditions = new Conditions('east');
    let monotonicMs = 0;
    let stepMs = 0;
    const pass = (seconds: number, change: Partial<Sight> = {}): string[] => {
      const told: string[] = [];
      for (let second = 0; second < seconds; second++) {
        monotonicMs += 1000;
        const sight = { ...fine, monotonicMs, wallMs: fine.wallMs + monotonicMs + stepMs, ...change };
        for (const { code, level, over, node, atMs } of conditions.look(sight)) {
          expect([node, atMs]).toEqual(['east', sight.wallMs]);
          told.push(`${code} ${level}${over ? ' over' : ''}`);
        }
      }
      return told;
    };
    const recall = (told: readonly Indication[]): void => conditions.recall(told, monotonicMs);
    return { pass, recall, step: (ms: number) => (stepMs += ms) };
  }

  const down = { links: [{ peer: 'west', up: false, reason: null, planned: false }] };
  const behind = group({ copies: [{ node: 'west', reason: 'Off' }] });

  it('begins once, and is over once', () => {
    const { pass } = watch();
    expect(pass(5)).toEqual([]);
    expect(pass(60, group({ fault: failed }))).toEqual(['volume-failed SERIOUS']);
    expect(pass(60)).toEqual(['volume-failed SERIOUS over']);
    expect(pass(1, group({ fault: failed }))).toEqual(['volume-failed SERIOUS']);
  });

  it('is told again when it gets worse, and when it gets better', () => {
    const { pass } = watch();
    expect(pass(3, group({ log: { isFull: false, reason: '' } }))).toEqual(['log-filling MODERATE']);
    expect(pass(3, group({ log: { isFull: true, reason: '' } }))).toEqual(['log-filling SERIOUS']);
    expect(pass(3, group({ log: { isFull: false, reason: '' } }))).toEqual(['log-filling MODERATE']);
    expect(pass(3)).toEqual(['log-filling MODERATE over']);
  });

  it.each<[string, Partial<Sight>, number]>([
    ['link-down SERIOUS', down, 5],
    ['copy-behind MODERATE', behind, 10],
    ['store-unreachable SERIOUS', { storeProblem: 'ENOENT' }, 2],
    ['volume-failed SERIOUS', group({ closed: failed }), 5],
    ['lease-lost SYSTEM DOWN', { lease: { state: 'unknown', reason: null } }, 10],
    ['lease-lost SYSTEM DOWN', { lease: { state: 'lapsed', reason: null } }, 1],
  ])('%s only after it has lasted: what passes sooner is not told at all', (told, change, graceSeconds) => {
    const { pass } = watch();
    expect(pass(graceSeconds, change)).toEqual([]);
    expect(pass(10)).toEqual([]);
    // The time begins anew.
    expect(pass(graceSeconds, change)).toEqual([]);
    expect(pass(1, change)).toEqual([told]);
    expect(pass(10)).toEqual([`${told} over`]);
  });

  it('is over after a restart, too, once the node has settled; what is still so is not told anew', () => {
    const { pass, recall } = watch();
    const told = { node: 'east', level: 'SERIOUS', atMs: 0, text: '', over: false } as const;
    recall([
      { ...told, component: 'volume', id: 'vol1', code: 'volume-failed', group: 'g1' },
      { ...told, component: 'link', id: 'east – west', code: 'link-down', group: null },
      { ...told, component: 'node', id: 'west', code: 'node-silent', group: null },
    ]);
    expect(pass(3)).toEqual([]);
    expect(pass(60, group({ fault: failed }))).toEqual(['link-down SERIOUS over']);
    expect(pass(3)).toEqual(['volume-failed SERIOUS over']);
  });

  it('a wall clock that was set is an event; one that is adjusted is none', () => {
    const { pass, step } = watch();
    pass(3);
    step(900);
    expect(pass(3)).toEqual([]);
    step(3_600_000);
    expect(pass(3)).toEqual(['clock-step MODERATE']);
    step(-1500);
    expect(pass(3)).toEqual(['clock-step MODERATE']);
  });
});
