import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { HoldfastError } from '../../src/base/errors.ts';
import { MirrorControl } from '../../src/node/mirror-control.ts';
import { productionAt } from '../../src/node/production-places.ts';
import type { HeartbeatMirrors, MirrorRow } from '../../src/pulse/installer.ts';
import type { ClusterDocument } from '../../src/store/document.ts';
import { fakeControl } from '../api/fake-control.ts';

type Name = 'east' | 'west';
let document: ClusterDocument;
let rows: Record<Name, MirrorRow[]>;
let asked: [string, unknown][];
let westIsUp: boolean;
let nodes: Record<Name, MirrorControl>;

const row: MirrorRow = { name: 'hb1', from: 'east', to: 'west', primary: '/e', secondary: null, state: 'installing' };

function installer(name: Name): HeartbeatMirrors {
  const note =
    (what: string) =>
    async (request: unknown): Promise<void> =>
      void asked.push([`${name} ${what}`, request]);
  return {
    list: async () => rows[name],
    create: note('create'),
    install: note('install'),
    remove: note('remove'),
    delete: note('delete'),
    permit: async (mirror, what) => {
      if (mirror === 'hb1')
        throw new HoldfastError('E_REFUSED', `hb1 is installed; to ${what} it, de-install it first`);
    },
  };
}

beforeEach(async () => {
  document = await fakeControl().document();
  rows = { east: [row], west: [{ ...row, primary: null, secondary: '/w', state: 'installed' }] };
  asked = [];
  westIsUp = true;
  const control = (name: Name): MirrorControl =>
    new MirrorControl({
      node: name,
      document: () => document,
      mirrors: installer(name),
      request: async (node, method, params) => {
        if (node !== 'east' && (node !== 'west' || !westIsUp))
          throw new HoldfastError('E_NODE_UNREACHABLE', 'no answer');
        if (method !== 'heartbeatMirror.list' && method !== 'heartbeatMirror.do') throw new Error(method);
        // As between real nodes: nothing but JSON gets through.
        return JSON.parse(JSON.stringify(await nodes[node].called(method, params)));
      },
    });
  nodes = { east: control('east'), west: control('west') };
});

describe('HM-8: heartbeat mirrors at whichever node', () => {
  test('are listed once, each place as its own node knows it, the state as the writer knows it', async () => {
    for (const name of ['east', 'west'] as const) {
      const { mirrors } = await nodes[name].list();
      expect(mirrors).toEqual([{ ...row, secondary: '/w' }]);
    }
  });

  test('nodes that cannot be asked are named', async () => {
    westIsUp = false;
    const { mirrors, notes } = await nodes.east.list();
    expect(mirrors).toEqual([row]);
    expect(notes).toContain('west cannot be asked: no answer');
  });

  test('what is asked of one is done by the node that writes it', async () => {
    await nodes.west.install({ name: 'hb1', primary: '/dev/sdb' });
    await nodes.west.remove({ name: 'hb1' });
    await nodes.east.delete({ name: 'hb1' });
    await nodes.west.create({ name: 'hb2', from: 'east', to: 'west' });
    expect(asked).toEqual([
      ['east install', { what: 'install', name: 'hb1', primary: '/dev/sdb' }],
      ['east remove', 'hb1'],
      ['east delete', 'hb1'],
      ['east create', { what: 'create', name: 'hb2', to: 'west' }],
    ]);
  });

  test('one that nobody knows is refused: no mirror is created', async () => {
    await expect(nodes.west.install({ name: 'hb9' })).rejects.toThrow(/^no mirror is created: .*hb9/);
    await expect(nodes.west.create({ name: 'hb1', from: 'west', to: 'east' })).rejects.toThrow(/already/);
    await expect(nodes.west.create({ name: 'hb3', from: 'moon', to: 'east' })).rejects.toThrow(
      'there is no node moon',
    );
  });

  test('HM-4: what is meant for mirrors of production is refused for a heartbeat mirror, and for nothing else', async () => {
    await expect(nodes.east.requireProduction('hb1', 'pause')).rejects.toThrow(/to pause it, de-install it first/);
    rows.east = [{ ...row, name: 'hb2', state: 'created' }];
    await expect(nodes.east.requireProduction('hb2', 'split')).rejects.toThrow(/is not installed/);
    await expect(nodes.east.requireProduction('g1', 'pause')).resolves.toBeUndefined();
  });

  test('without a pulse there are none, and that is said', async () => {
    const none = new MirrorControl({
      node: 'east',
      document: () => ({ ...document, nodes: document.nodes.filter((node) => node.name === 'east') }),
      mirrors: null,
      request: () => Promise.reject(new Error('nobody else')),
    });
    expect(await none.list()).toEqual({ mirrors: [], notes: [] });
    await expect(none.called('heartbeatMirror.do', { what: 'remove', name: 'hb1' })).rejects.toThrow(/has no pulse/);
  });
});

test('HM-3: places of production are known by whatever name', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-places-'));
  try {
    const [group] = document.groups;
    if (group === undefined) throw new Error('the invented cluster has a group');
    await mkdir(join(folder, 'volumes'));
    for (const { name } of group.volumes) await writeFile(join(folder, 'volumes', `${name}.img`), 'x');
    const [volume] = group.volumes;
    const image = join(folder, 'volumes', `${volume?.name ?? ''}.img`);
    const at = (path: string): Promise<string | null> =>
      productionAt(document, { node: group.preferredOwner, dataFolder: folder }, path);
    expect(await at(image)).toBe(`volume ${volume?.name ?? ''}`);
    expect(await at(join(folder, 'x', '..', 'volumes', `${volume?.name ?? ''}.img`))).toMatch(/^volume/);
    const link = join(tmpdir(), `holdfast-link-${process.pid}`);
    await symlink(image, link);
    try {
      expect(await at(link)).toMatch(/^volume/);
    } finally {
      await rm(link);
    }
    expect(await at(join(folder, 'metadata', 'x'))).toMatch(/^the data of node/);
    expect(await at(join(folder, 'heartbeat', 'hb1.img'))).toBeNull();
    expect(await at('/dev/sdb9')).toBeNull();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
