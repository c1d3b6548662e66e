/** A group as hosts see it at both nodes, through its moves. */
import { expect, test } from 'vitest';
import type { HostFault, HostGroup } from '../../src/group/host-access.ts';
import { HostGroups } from '../../src/node/host-groups.ts';
import { Nodes, type Node } from '../group/nodes.ts';
import { MiB, volumeEntry } from '../volume/legs.ts';

interface Seen {
  readonly group: HostGroup;
  readonly groups: HostGroups;
  /** Own access, then that of the nodes, whenever watchers were told. */
  readonly told: string[];
  /** The group is not known any more. */
  delete(): void;
}

async function see(nodes: Nodes, node: Node): Promise<Seen> {
  const map = new Map([['g1', node.group]]);
  const { environment } = node.process;
  const groups = new HostGroups({
    node: node.name,
    environment,
    groups: map,
    document: () => node.document,
    request: (to, method, params, timeoutMs) => nodes.ask(node, to, method, params, timeoutMs),
  });
  node.changed = () => groups.changed('g1');
  node.called = (params) => groups.called(params);
  node.process.call(() => groups.documentChanged());
  await nodes.until(() => groups.find('g1') !== null);
  const group = groups.find('g1');
  if (group === null) throw new Error('no group');
  const told: string[] = [];
  group.watch({
    accessChanged: () => told.push(`${group.access}: ${group.nodes.map(({ access }) => access).join(' ')}`),
    unitsChanged: () => told.push(`units ${group.units.map(({ index }) => index).join(' ')}`),
  });
  return {
    group,
    groups,
    told,
    delete: () =>
      node.process.call(() => {
        map.delete('g1');
        groups.documentChanged();
      }),
  };
}

const unit = (index: number): object => ({ index, writeCache: true, blockSizeBytes: 512 });

test('the owner is active, the other standby; units and portals are those of the document', async () => {
  const nodes = await Nodes.synced({ seed: 'host groups' });
  const [east, west] = [await see(nodes, nodes.east), await see(nodes, nodes.west)];
  expect(east.group).toMatchObject({ access: 'active', reason: '', units: [unit(0)] });
  expect(west.group).toMatchObject({ access: 'standby', reason: 'east serves it', units: [unit(0)] });
  for (const { group } of [east, west]) {
    expect(group.nodes).toEqual([
      { node: 'east', number: 1, access: 'active', portals: ['east:3260'] },
      { node: 'west', number: 2, access: 'standby', portals: ['west:3260'] },
    ]);
  }
  expect(west.group.volume(0)).toBeNull();
  expect(east.group.volume(1)).toBeNull();
  const volume = east.group.volume(0);
  expect(volume).toBe(east.group.volume(0));
  const into = new Uint8Array(512);
  let fault: HostFault | null | undefined;
  nodes.east.process.call(() =>
    volume?.write(0, new Uint8Array(512).fill(7), true, () => volume.read(0, into, (done) => (fault = done))),
  );
  await nodes.until(() => fault !== undefined);
  expect([fault, into[0]]).toEqual([null, 7]);
});

test('a switch-over is told at both nodes, and what is under way ends with moved', async () => {
  const nodes = await Nodes.synced({ seed: 'host groups move' });
  const [east, west] = [await see(nodes, nodes.east), await see(nodes, nodes.west)];
  const volume = east.group.volume(0);
  const faults: (HostFault | null)[] = [];
  nodes.east.process.call(() => {
    void nodes.east.group.moves.switchOver('west');
    nodes.east.process.environment.turn.defer(() => volume?.flush((fault) => faults.push(fault)));
  });
  await nodes.until(() => west.group.access === 'active' && east.group.access === 'standby');
  expect(faults).toEqual(['moved']);
  expect(east.group.volume(0)).toBeNull();
  expect(west.group.volume(0)).not.toBeNull();
  expect(east.told.at(-1)).toBe('standby: standby active');
  expect(west.told).toEqual(['transitioning: standby transitioning', 'active: standby active']);
});

test('a take-over is told: transitioning while it lasts, active after', async () => {
  const nodes = await Nodes.synced({ seed: 'host groups take-over' });
  const west = await see(nodes, nodes.west);
  nodes.end('east', 'crash');
  nodes.west.process.call(() => void nodes.west.group.moves.takeOver(false));
  await nodes.until(() => west.group.access === 'active');
  expect(west.told[0]).toBe('transitioning: transitioning transitioning');
  expect(west.told.at(-1)).toBe('active: standby active');
});

test('while a check keeps hosts out it is transitioning, and unavailable when it found something (AS-9)', async () => {
  const nodes = await Nodes.synced({ seed: 'host groups check' });
  const east = await see(nodes, nodes.east);
  let verdict: (problem: string) => void = () => {};
  const checked = new Promise<string>((resolve) => (verdict = resolve));
  nodes.east.process.call(() => void nodes.east.group.letIn(() => checked));
  await nodes.until(() => east.group.access === 'transitioning');
  expect(east.group.volume(0)).toBeNull();
  nodes.east.process.call(() => verdict('it is rotten'));
  await nodes.until(() => east.group.access === 'unavailable');
  expect(east.group.reason).toBe('it is rotten');
});

test('a volume that comes or goes is told; sessions that stay count at the owner alone', async () => {
  const nodes = await Nodes.synced({ seed: 'host groups volumes' });
  const [east, west] = [await see(nodes, nodes.east), await see(nodes, nodes.west)];
  const { group } = nodes.east;
  const { name = '' } = group.entry.volumes[0] ?? {};
  const leave = east.group.join(new Set([0]));
  east.group.join(null);
  west.group.join(null);
  expect([group, nodes.west.group].map((each) => each.sessionsOn(name))).toEqual([2, 0]);
  leave();
  expect(group.sessionCount).toBe(1);
  const added = { ...group.entry, volumes: [...group.entry.volumes, volumeEntry(1, MiB)] };
  nodes.east.process.call(() => void group.changeEntry(added));
  await nodes.until(() => east.group.volume(1) !== null);
  expect(east.told).toEqual(['units 0 1']);
  nodes.east.process.call(() => void group.changeEntry({ ...added, volumes: added.volumes.slice(1) }));
  await nodes.until(() => east.told.length === 2);
  expect([east.told[1], east.group.volume(0)]).toEqual(['units 1', null]);
});

test('a group that is deleted is unavailable, and no longer listed', async () => {
  const nodes = await Nodes.synced({ seed: 'host groups deleted' });
  const east = await see(nodes, nodes.east);
  expect(east.groups.list()).toEqual([east.group]);
  let told = 0;
  east.groups.watch(() => told++);
  east.delete();
  await nodes.until(() => told === 1 && east.group.access === 'unavailable');
  expect(east.groups.list()).toEqual([]);
  expect(east.group.units).toEqual([]);
});
