import { beforeEach, describe, expect, it } from 'vitest';
import { Alerts, defaultAlertSettings } from '../../src/alerts/alerts.ts';
import { AlertControlPart, alertNotes, heardNodes } from '../../src/node/alert-control.ts';
import { World } from '../../src/sim/world/world.ts';

let east: Alerts;
let west: Alerts;
let control: AlertControlPart;
let westIsUp: boolean;

beforeEach(async () => {
  westIsUp = true;
  const world = new World({ seed: 'alert control' });
  const open = (node: string) => {
    const { environment } = world.machine(node).start('a');
    const options = { environment, node, cluster: 'demo', folder: '/alerts', settings: defaultAlertSettings };
    return world.settle(Alerts.open({ ...options, sinks: [], heardNodes: () => [], spread: () => {} }));
  };
  east = await open('east');
  west = await open('west');
  const atWest = new AlertControlPart({
    node: 'west',
    otherNodes: () => ['east'],
    alerts: () => west,
    request: () => Promise.reject(new Error('not asked')),
  });
  control = new AlertControlPart({
    node: 'east',
    otherNodes: () => ['west'],
    alerts: () => east,
    request: async (node, method, params) => {
      expect([node, method]).toEqual(['west', 'alerts.acknowledge']);
      if (!westIsUp) throw new Error('no connection');
      return atWest.called(JSON.parse(JSON.stringify(params)));
    },
  });
  for (const [number, alerts] of [east, west].entries()) {
    const common = { component: 'link', code: 'link-down', level: 'SERIOUS', node: 'east', group: null } as const;
    if (number === 1) alerts.heard({ ...common, id: 'other', atMs: 1, text: 'x', over: false });
    alerts.heard({ ...common, node: 'mid', id: 'link', atMs: 1, text: 'x', over: false });
  }
});

describe('alerts of several nodes', () => {
  it('are acknowledged at all of them, each by its own number', async () => {
    const { alerts, notes } = await control.acknowledgeAlerts({ numbers: [1], by: 'ada', end: false });
    expect([alerts.length, notes]).toEqual([1, []]);
    expect(west.current.map(({ number, id, acknowledged }) => [number, id, acknowledged?.by])).toEqual([
      [1, 'other', undefined],
      [2, 'link', 'ada'],
    ]);
  });

  it('are acknowledged where a node can be asked; the others are named', async () => {
    westIsUp = false;
    const { alerts, notes } = await control.acknowledgeAlerts({ numbers: 'all', by: 'ada', end: true });
    expect(alerts).toMatchObject([{ id: 'link', acknowledged: { by: 'ada' } }]);
    expect(alerts[0]?.endedAtMs).not.toBeNull();
    expect(notes).toEqual(['west was not told: no connection']);
  });
});

it('a node that keeps none says so', async () => {
  const none = { node: 'east', otherNodes: () => [], alerts: () => null, request: () => Promise.resolve() };
  await expect(new AlertControlPart(none).listAlerts({ all: false })).rejects.toThrow('keeps no alerts');
});

it('status has a note while something is wrong, and none else', () => {
  const calm = { open: 0, unacknowledged: 0, worst: null, failingSinks: [] };
  expect(alertNotes('east', calm)).toEqual([]);
  expect(alertNotes('east', { open: 2, unacknowledged: 1, worst: 'SERIOUS', failingSinks: ['nms'] })).toEqual([
    '2 alerts are open at east, the worst is SERIOUS, 1 of them not acknowledged: holdfast alerts list',
    'alerts of east cannot go out by nms: holdfast alerts list',
  ]);
});

it('nodes are heard that one channel hears', () => {
  const peer = (node: string, ...hearings: ('alive' | 'silent' | 'probation')[]) => ({
    node,
    site: 's',
    incarnation: null,
    said: null,
    heard: hearings.map((hearing) => {
      return { channel: 'network', kind: 'network', enable: 'ENABLE', hearing, silentMs: 1, fault: null } as const;
    }),
  });
  const peers = [peer('a', 'silent', 'alive'), peer('b', 'silent'), peer('c')];
  const snapshot = { node: 'x', monotonicMs: 0, wallMs: 0, peers, muted: null, masters: {} };
  expect([heardNodes(snapshot), heardNodes(null)]).toEqual([['a'], []]);
});
