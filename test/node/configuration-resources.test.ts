/** The sections `take-over`, `resources` and `agents`: what they become, and what is said of mistakes in them. */
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { describeConfiguration, parseConfiguration, requireConfiguration } from '../../src/node/configuration.ts';
import { defaultTakeOverSettings } from '../../src/store/document.ts';

const declared = (
  group: Record<string, unknown>,
  top: Record<string, unknown> = {},
  node: Record<string, unknown> = {},
) =>
  stringify({
    cluster: 'c',
    store: { kind: 'file', path: 's' },
    sites: ['a', 'b'],
    nodes: [
      {
        name: 'east',
        site: 'a',
        data: 'e',
        replication: '127.0.0.1:1',
        api: '127.0.0.1:2',
        nbd: ['127.0.0.1:3'],
        ...node,
      },
      { name: 'west', site: 'b', data: 'w', replication: '127.0.0.1:4', api: '127.0.0.1:5', nbd: ['127.0.0.1:6'] },
    ],
    groups: [
      { name: 'g1', owner: 'east', volumes: [{ name: 'v', size: '1MiB' }], mirrors: [{ to: 'west' }], ...group },
    ],
    ...top,
  });

const right = (text: string) => requireConfiguration(text, '/etc/x.yaml');
const wrong = (text: string): string[] => {
  const parsed = parseConfiguration(text, '/etc/x.yaml');
  return parsed.kind === 'right' ? [] : parsed.problems.map(({ message }) => message);
};

describe('what moves with a group', () => {
  it('HM-18, HM-20, BY-12: is read with the usual time-outs, in its order', () => {
    const { groups } = right(
      declared({
        resources: [
          { address: '10.0.0.9/24', device: { east: 'eth0', west: 'eth1' } },
          {
            application: 'db',
            start: ['db', 'start'],
            stop: { command: ['db', 'stop'], timeout: '5s' },
            health: ['db', 7],
          },
        ],
      }),
    );
    expect(groups[0]?.resources).toEqual([
      { kind: 'address', name: '10.0.0.9/24', address: '10.0.0.9/24', device: { east: 'eth0', west: 'eth1' } },
      {
        kind: 'application',
        name: 'db',
        start: { words: ['db', 'start'], timeoutMs: 60_000 },
        stop: { words: ['db', 'stop'], timeoutMs: 5000 },
        health: { command: { words: ['db', '7'], timeoutMs: 10_000 }, everyMs: 10_000, restarts: 2 },
      },
    ]);
  });

  it.each([
    [
      { address: '10.0.0.9', device: { east: 'e', west: 'e' } },
      '10.0.0.9 has no prefix length; write for example 10.0.0.9/32',
    ],
    [{ address: '10.0.0.9/24', device: { east: 'e' } }, 'says nothing of west'],
    [{ address: '10.0.0.9/24', device: { east: 'e', west: 'e', wst: 'e' } }, '"wst" has no copy of the group'],
    [{ address: '10.0.0.9/24', devise: { east: 'e' } }, 'no such key (did you mean "device"?)'],
    [{ application: 'x', start: ['x'] }, 'stop: is missing'],
    [{ application: 'x', start: ['x'], stop: [] }, 'stop.command: is empty'],
    [{ application: 'x', start: ['x'], stop: ['x'], health: { command: ['x'], every: 5 } }, '5 has no unit'],
    [{ programme: 'x' }, 'is no resource; begin with "address:" or "application:"'],
  ])('names what is wrong with %j', (resource, message) => {
    expect(wrong(declared({ resources: [resource] }))).toContainEqual(expect.stringContaining(message));
  });

  it('wants two resources of one name told apart', () => {
    const resource = { application: 'x', start: ['x'], stop: ['x'] };
    expect(wrong(declared({ resources: [resource, resource] }))).toEqual([
      'groups[0].resources[1].application: two resources of the group are named "x"',
    ]);
  });
});

describe('take-over', () => {
  const pulse = { pulse: { preset: 'lan' } };

  it('is by hand without a pulse, automatic with one', () => {
    expect(right(declared({})).groups[0]?.takeOver).toEqual(defaultTakeOverSettings);
    const parsed = parseConfiguration(declared({}, pulse), '/etc/x.yaml');
    if (parsed.kind === 'right') expect(parsed.configuration.groups[0]?.takeOver.automatic).toBe('on');
  });

  it('AS-13: takes every setting', () => {
    const { groups } = right(
      declared({
        'take-over': {
          automatic: 'off',
          'give-back': 'auto',
          settle: '5min',
          'nodes-min': 2,
          stall: '10s',
          check: ['fsck', '-n'],
          'on-check-failed': 'serve',
          'on-store-lost': 'stop',
          'after-split-brain': { 'zero-primaries': 'discard-zero-changes', 'one-primary': 'consensus' },
          drills: true,
        },
      }),
    );
    expect(groups[0]?.takeOver).toEqual({
      automatic: 'off',
      giveBack: 'auto',
      giveBackSettleMs: 300_000,
      nodesMin: 2,
      stallMs: 10_000,
      check: { words: ['fsck', '-n'], timeoutMs: 300_000 },
      onCheckFailed: 'serve',
      onStoreLost: 'stop',
      afterSplitBrain: { zeroPrimaries: 'discard-zero-changes', onePrimary: 'consensus', twoPrimaries: 'disconnect' },
      drills: true,
    });
  });

  it.each([
    [declared({ 'take-over': { automatic: 'on' } }), 'without a "pulse" section nobody sees that an owner is lost'],
    [declared({ 'take-over': { automatic: 'on' } }, { ...pulse, store: { kind: 'none' } }), 'only heartbeat-only'],
    [
      declared({ 'take-over': { automatic: 'heartbeat-only' } }, pulse),
      'the store decides who owns the group; write on',
    ],
    [declared({ 'take-over': { automtic: 'on' } }), 'no such key (did you mean "automatic"?)'],
  ])('is refused where it cannot be meant', (text, message) => {
    expect(wrong(text)).toContainEqual(expect.stringContaining(message));
  });
});

describe('application agents of a node', () => {
  it('AS-10: reach it by its own socket, unless the file says otherwise', () => {
    const { nodes } = right(declared({}, {}, { agents: { release: '5s' } }));
    expect(nodes.map(({ agents }) => agents)).toEqual([
      { listen: [{ kind: 'unix', path: '/etc/e/agents.sock' }], tls: null, releaseMs: 5000 },
      { listen: [{ kind: 'unix', path: '/etc/w/agents.sock' }], tls: null, releaseMs: 30_000 },
    ]);
  });

  it('AS-10: need certificates to come from another machine', () => {
    const agents = { listen: ['0.0.0.0:10820'], cert: 'c.pem' };
    expect(wrong(declared({}, {}, { agents }))).toEqual([
      'nodes[0].agents.listen: host:port takes TLS, and key, ca are missing',
    ]);
    const all = { ...agents, key: 'k.pem', ca: '/ca.pem' };
    expect(right(declared({}, {}, { agents: all })).nodes[0]?.agents.tls).toEqual({
      cert: '/etc/c.pem',
      key: '/etc/k.pem',
      ca: '/ca.pem',
    });
  });

  it('and all of this reads the same as it is described', () => {
    const configuration = right(
      declared(
        {
          resources: [
            { address: 'fd00::9/64', name: 'ip', device: { east: 'eth0', west: 'eth1' } },
            {
              application: 'db',
              start: ['db', 'start'],
              stop: ['db', 'stop'],
              health: { command: ['h'], restarts: 0 },
            },
          ],
          'take-over': { check: ['fsck'], settle: '5min' },
        },
        {},
        { agents: { listen: ['0.0.0.0:1', 'unix:a'], cert: 'c', key: 'k', ca: 'a' } },
      ),
    );
    expect(right(stringify(describeConfiguration(configuration)))).toEqual(configuration);
  });
});
