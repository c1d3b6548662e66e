/** Persistent reservations over whole nodes: changed at either, kept through every move. */
import { describe, expect, test } from 'vitest';
import type { HostGroup } from '../../src/group/host-access.ts';
import type {
  RegistrantPort,
  ReservationEffects,
  ReservationOutcome,
  ReservationRequest,
} from '../../src/group/reservations.ts';
import { HostGroups } from '../../src/node/host-groups.ts';
import type { MirrorMode } from '../../src/store/document.ts';
import { Nodes, type Node } from '../group/nodes.ts';
import { MiB, volumeEntry } from '../volume/legs.ts';

const zero = '0'.repeat(16);
const key = 'a'.repeat(16);
const atEast: RegistrantPort = { initiatorPort: 'host', targetPort: 1 };
const atWest: RegistrantPort = { initiatorPort: 'host', targetPort: 17 };
const other: RegistrantPort = { initiatorPort: 'other', targetPort: 17 };

const request = (
  action: ReservationRequest['action'],
  from: RegistrantPort,
  fields: Partial<ReservationRequest> = {},
): ReservationRequest => ({
  action,
  from,
  key,
  actionKey: zero,
  type: null,
  aptpl: false,
  others: [],
  unregister: false,
  ...fields,
});
const register = (from: RegistrantPort, actionKey = key): ReservationRequest =>
  request('register', from, { key: zero, actionKey });

interface At {
  readonly node: Node;
  readonly group: HostGroup;
  readonly effects: ReservationEffects[];
}

async function at(nodes: Nodes, node: Node): Promise<At> {
  const { environment } = node.process;
  const groups = new HostGroups({
    node: node.name,
    environment,
    groups: new Map([['g1', node.group]]),
    document: () => node.document,
    request: (to, method, params, timeoutMs) => nodes.ask(node, to, method, structuredClone(params), timeoutMs),
  });
  node.changed = () => groups.changed('g1');
  node.called = (params) => groups.called(params);
  node.process.call(() => groups.documentChanged());
  await nodes.until(() => groups.find('g1') !== null);
  const group = groups.find('g1');
  if (group === null) throw new Error('no group');
  const effects: ReservationEffects[] = [];
  group.watch({ reservationsChanged: (_index, told) => effects.push(told) });
  return { node, group, effects };
}

interface Asked {
  outcome: ReservationOutcome | null;
}

function begin({ node, group }: At, request: ReservationRequest): Asked {
  const asked: Asked = { outcome: null };
  node.process.call(() => {
    group.reserve(0, request, (outcome) => (asked.outcome = outcome));
    expect(asked.outcome).toBeNull();
  });
  return asked;
}

async function ask(nodes: Nodes, from: At, request: ReservationRequest): Promise<ReservationOutcome | null> {
  const asked = begin(from, request);
  await nodes.until(() => asked.outcome !== null);
  return asked.outcome;
}

const modes: [string, { mode: MirrorMode; storeless?: boolean }][] = [
  ['sync', { mode: 'sync' }],
  ['receive', { mode: 'receive' }],
  ['async', { mode: 'async' }],
  ['without a store', { mode: 'sync', storeless: true }],
];

describe.each(modes)('%s: reservations', (name, options) => {
  test('survive a switch-over there and back, and are changed at either node', async () => {
    const nodes = await Nodes.synced({ seed: `reservations ${name}`, ...options });
    const [east, west] = [await at(nodes, nodes.east), await at(nodes, nodes.west)];
    expect(await ask(nodes, east, register(atEast))).toEqual({ kind: 'done' });
    expect(await ask(nodes, west, register(atWest))).toEqual({ kind: 'done' });
    // At once, not with the next poll.
    expect(west.group.reservations(0)?.registrations.map(({ targetPort }) => targetPort)).toEqual([1, 17]);
    expect(await ask(nodes, west, request('reserve', atWest, { type: 5 }))).toEqual({ kind: 'done' });
    expect(await ask(nodes, east, request('reserve', atEast, { type: 1 }))).toEqual({ kind: 'conflict' });
    const held = east.group.reservations(0);
    expect(held).toMatchObject({ generation: 2, reservation: { type: 5, holder: { targetPort: 17 } } });
    for (const [from, to] of [[east, west] as const, [west, east] as const]) {
      const toName = to.node.name;
      from.node.process.call(() => void from.node.group.moves.switchOver(toName));
      const hasCopy = (): boolean => to.node.group.owner?.legOf(from.node.name)?.complete === true;
      await nodes.until(() => to.group.access === 'active' && from.group.access === 'standby' && hasCopy());
      expect(to.group.reservations(0)).toEqual(held);
    }
    expect(await ask(nodes, west, request('release', atWest, { type: 5 }))).toEqual({ kind: 'done' });
    expect(east.group.reservations(0)).toMatchObject({ generation: 2, reservation: null });
  });

  test('survive a take-over', async () => {
    const nodes = await Nodes.synced({ seed: `reservations lost ${name}`, ...options });
    const [east, west] = [await at(nodes, nodes.east), await at(nodes, nodes.west)];
    await ask(nodes, east, register(atEast));
    await ask(nodes, east, request('reserve', atEast, { type: 3, key }));
    const held = east.group.reservations(0);
    expect(held?.reservation?.type).toBe(3);
    nodes.end('east', 'powerLoss');
    nodes.west.process.call(() => void nodes.west.group.moves.takeOver(true));
    await nodes.until(() => west.group.access === 'active');
    expect(west.group.reservations(0)).toEqual(held);
    expect(await ask(nodes, west, register(atWest))).toEqual({ kind: 'done' });
  });
});

describe('reservations', () => {
  test('what is preempted is told at the owner when it is done, and at the other node when it is seen', async () => {
    const nodes = await Nodes.synced({ seed: 'reservations told' });
    const [east, west] = [await at(nodes, nodes.east), await at(nodes, nodes.west)];
    await ask(nodes, east, register(atEast));
    await ask(nodes, west, register(other, 'b'.repeat(16)));
    await nodes.world.run(2000);
    expect([east.effects, west.effects]).toEqual([[], []]);
    const asked = request('preemptAndAbort', atEast, { actionKey: 'b'.repeat(16), type: 1 });
    expect(await ask(nodes, east, asked)).toEqual({ kind: 'done' });
    expect(east.effects).toMatchObject([{ registrationsPreempted: [other], aborted: [other] }]);
    await nodes.until(() => west.effects.length > 0);
    expect(west.effects).toMatchObject([{ registrationsPreempted: [other], aborted: [] }]);
  });

  test('an unregistration that was passed on is no news to its sender', async () => {
    const nodes = await Nodes.synced({ seed: 'reservations own' });
    const [, west] = [await at(nodes, nodes.east), await at(nodes, nodes.west)];
    await ask(nodes, west, register(atWest));
    expect(await ask(nodes, west, request('register', atWest))).toEqual({ kind: 'done' });
    await nodes.world.run(2000);
    expect(west.group.reservations(0)?.registrations).toEqual([]);
    expect(west.effects).toEqual([]);
  });

  test('an owner that does not answer leaves the outcome open', async () => {
    const nodes = await Nodes.synced({ seed: 'reservations unreachable' });
    const west = await at(nodes, nodes.west);
    nodes.link(false);
    expect(await ask(nodes, west, register(atWest))).toMatchObject({ kind: 'unreachable' });
  });

  test('one asked for during a move is done by whoever owns the group then', async () => {
    const nodes = await Nodes.synced({ seed: 'reservations moving' });
    const [east, west] = [await at(nodes, nodes.east), await at(nodes, nodes.west)];
    nodes.east.process.call(() => void nodes.east.group.moves.switchOver('west'));
    const asked = [begin(east, register(atEast)), begin(west, register(atWest))];
    await nodes.until(() => west.group.access === 'active' && asked.every(({ outcome }) => outcome !== null));
    expect(asked).toEqual([{ outcome: { kind: 'done' } }, { outcome: { kind: 'done' } }]);
    const found = west.group.reservations(0)?.registrations.map(({ targetPort }) => targetPort) ?? [];
    expect([...found].sort()).toEqual([1, 17]);
  });

  test('go with their volume', async () => {
    const nodes = await Nodes.synced({ seed: 'reservations volume' });
    const east = await at(nodes, nodes.east);
    await ask(nodes, east, register(atEast));
    const { group } = nodes.east;
    const added = { ...group.entry, volumes: [...group.entry.volumes, volumeEntry(1, MiB)] };
    nodes.east.process.call(() => void group.changeEntry({ ...added, volumes: added.volumes.slice(1) }));
    await nodes.until(() => east.group.reservations(0) === null);
    expect((await nodes.record()).reservations).toBeUndefined();
  });
});
