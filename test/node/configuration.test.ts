import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { toClusterDocument } from '../../src/node/configuration-document.ts';
import {
  describeConfiguration,
  nodeConfiguration,
  parseConfiguration,
  requireConfiguration,
} from '../../src/node/configuration.ts';
import { defaultGroupSettings, defaultTakeOverSettings } from '../../src/store/document.ts';

const right = `cluster: demo
store: { kind: file, path: store }
sites: [here, there]
nodes:
  - name: east
    site: here
    data: east
    replication: 127.0.0.1:7001
    api: 127.0.0.1:8001
    nbd: ['127.0.0.1:9001', 'unix:east.sock']
  - name: west
    site: there
    data: west
    replication: 127.0.0.1:7002
    api: 127.0.0.1:8002
    nbd: ['127.0.0.1:9002']
groups:
  - name: g1
    owner: east
    volumes:
      - name: vol1
        size: 1GiB
      - name: vol2
        size: 64MiB
        block-size: 4096
        paths: { west: /dev/null }
    mirrors:
      - to: west
        mode: async
    settings: { grace: 2s, lag-bytes: 8MiB }
    log:
      size: 8GiB
      places: { east: logs, west: [/fast/log, /other/log] }
      retention: 24h
`;

/** The problems of the right file with one piece of text replaced. */
function problemsOf(from: string, to: string): string[] {
  expect(right).toContain(from);
  return problemsIn(right.replace(from, to));
}

function problemsIn(text: string): string[] {
  const parsed = parseConfiguration(text, '/etc/holdfast.yaml');
  return parsed.kind === 'right'
    ? []
    : parsed.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
}

const sequentialRandom = { bytes: (count: number) => new Uint8Array(count).fill(0xab), below: () => 0 };

describe('a right configuration', () => {
  it('is read with defaults filled in and paths made absolute', () => {
    const configuration = requireConfiguration(right, '/etc/holdfast.yaml');
    expect(configuration.store).toEqual({ kind: 'file', path: '/etc/store' });
    expect(nodeConfiguration(configuration, 'east')).toEqual({
      name: 'east',
      site: 'here',
      dataFolder: '/etc/east',
      replication: { kind: 'tcp', host: '127.0.0.1', port: 7001 },
      connectionsPerLink: 2,
      api: { kind: 'tcp', host: '127.0.0.1', port: 8001 },
      nbd: [
        { kind: 'tcp', host: '127.0.0.1', port: 9001 },
        { kind: 'unix', path: '/etc/east.sock' },
      ],
      pulse: [],
      heartbeat: null,
      iscsi: [],
      agents: { listen: [{ kind: 'unix', path: '/etc/east/agents.sock' }], tls: null, releaseMs: 30_000 },
    });
    expect(configuration.groups).toEqual([
      {
        name: 'g1',
        owner: 'east',
        volumes: [
          { name: 'vol1', sizeBytes: 2 ** 30, blockSizeBytes: 512, paths: {} },
          { name: 'vol2', sizeBytes: 2 ** 26, blockSizeBytes: 4096, paths: { west: '/dev/null' } },
        ],
        mirrors: [{ to: 'west', mode: 'async' }],
        log: {
          sizeBytes: 2 ** 33,
          places: { east: ['/etc/logs'], west: ['/fast/log', '/other/log'] },
          retentionMs: 86_400_000,
          retentionBytes: 2 ** 31,
        },
        takeOver: defaultTakeOverSettings,
        resources: [],
        iscsi: { target: null, redirect: false, hosts: null },
        settings: { ...defaultGroupSettings, graceMs: 2000, lagBytesMax: 2 ** 23 },
      },
    ]);
  });

  it('says the same when it is described and read again', () => {
    const configuration = requireConfiguration(right, '/etc/holdfast.yaml');
    const again = requireConfiguration(stringify(describeConfiguration(configuration)), '/etc/holdfast.yaml');
    expect(again).toEqual(configuration);
  });

  it('may say of a log its size only (TL-9), or nothing: then there is none', () => {
    const logIn = (text: string) => requireConfiguration(text, '/etc/holdfast.yaml').groups[0]?.log;
    const without = right.slice(0, right.indexOf('    log:'));
    expect(logIn(without)).toBeNull();
    const plain = { sizeBytes: 2 ** 33, places: {}, retentionMs: 0, retentionBytes: 0 };
    expect(logIn(`${without}    log: 8GiB\n`)).toEqual(plain);
    expect(logIn(`${without}    log: { size: 8GiB, retention: 1h, retention-size: 1MiB }\n`)).toEqual({
      ...plain,
      retentionMs: 3_600_000,
      retentionBytes: 2 ** 20,
    });
  });

  it('says what a lost or slow target and a full log do to hosts (TL-20)', () => {
    const said = 'on-target-loss: suspend, on-congestion: log, on-log-full: throttle, merge-gain: 1.5';
    const text = right.replace('grace: 2s', `grace: 2s, ${said}`);
    expect(requireConfiguration(text, '/etc/holdfast.yaml').groups[0]?.settings).toMatchObject({
      onTargetLoss: 'suspend',
      onCongestion: 'log',
      onLogFull: 'throttle',
      mergeGain: 1.5,
    });
  });

  it('becomes a cluster document with identities and without what only one node needs', () => {
    const document = toClusterDocument(requireConfiguration(right, '/etc/holdfast.yaml'), sequentialRandom);
    expect(document.clusterId).toBe('ab'.repeat(16));
    expect(document.nodes).toEqual([
      { name: 'east', site: 'here', replication: '127.0.0.1:7001', pulse: [], heartbeat: null, iscsi: [] },
      { name: 'west', site: 'there', replication: '127.0.0.1:7002', pulse: [], heartbeat: null, iscsi: [] },
    ]);
    const [group] = document.groups;
    expect(group?.legs).toEqual([
      { node: 'east', mode: 'async' },
      { node: 'west', mode: 'async' },
    ]);
    expect(group?.log).toMatchObject({ sizeBytes: 2 ** 33, retentionMs: 86_400_000 });
    expect(group?.volumes.map((volume) => volume.index)).toEqual([0, 1]);
    expect(group?.volumes[0]?.wwid).toMatch(/^6[0-9a-f]{31}$/);
  });

  it('may be the commented example', () => {
    const text = readFileSync(new URL('../../holdfast.example.yaml', import.meta.url), 'utf8');
    expect(problemsIn(text)).toEqual([]);
  });

  it('refuses to name a node that it does not declare', () => {
    const configuration = requireConfiguration(right, '/etc/holdfast.yaml');
    expect(() => nodeConfiguration(configuration, 'north')).toThrow(/declares no node north; it declares east, west/);
  });
});

describe('a wrong configuration is refused with place, fault and what would be right', () => {
  it.each([
    // what, from, to, expected
    [
      'unknown key, near a known one',
      'block-size: 4096',
      'blocksize: 4096',
      ['25:9 groups[0].volumes[1].blocksize: no such key (did you mean "block-size"?)'],
    ],
    [
      'unknown key, near none',
      'cluster: demo',
      'cluster: demo\nfrobnicate: 1',
      ['2:1 frobnicate: no such key; the configuration has: cluster, store, sites, nodes, groups, pulse, alerts'],
    ],
    [
      'missing key',
      '    site: here\n',
      '',
      [
        '5:5 nodes[0].site: is missing; it should be a name (letters, digits, ".", "_" and "-", first a letter or digit, up to 63)',
      ],
    ],
    [
      'size without sense',
      'size: 1GiB',
      'size: big',
      ['22:15 groups[0].volumes[0].size: "big" is not a size such as 512MiB, 1GiB or 4TiB'],
    ],
    [
      'size too small',
      'size: 1GiB',
      'size: 1KiB',
      ['22:15 groups[0].volumes[0].size: 1024 bytes: a volume has from 1MiB to 64TiB'],
    ],
    [
      'size too large',
      'size: 1GiB',
      'size: 65TiB',
      ['22:15 groups[0].volumes[0].size: 71468255805440 bytes: a volume has from 1MiB to 64TiB'],
    ],
    [
      'size not of whole blocks',
      'size: 64MiB',
      'size: 67109376',
      [
        '24:15 groups[0].volumes[1].size: 67109376 bytes is not a multiple of the block size 4096; 67108864 or 67112960 is',
      ],
    ],
    [
      'block size',
      'block-size: 4096',
      'block-size: 1024',
      ['25:21 groups[0].volumes[1].block-size: 1024 is not 512 or 4096'],
    ],
    [
      'time without unit',
      'grace: 2s',
      'grace: 2',
      ['30:24 groups[0].settings.grace: 2 has no unit; write for example 2s or 2ms'],
    ],
    [
      'store for tests',
      'kind: file',
      'kind: memory',
      ['2:16 store.kind: the store "memory" is for tests only: it forgets; write "file" or "etcd"'],
    ],
    [
      'store of no kind there is',
      'kind: file',
      'kind: files',
      ['2:16 store.kind: "files" is not one of file, etcd, none (did you mean "file"?)'],
    ],
    [
      'mode',
      'mode: async',
      'mode: fast',
      ['29:15 groups[0].mirrors[0].mode: "fast" is not one of sync, receive, async'],
    ],
    [
      'number as name',
      'name: g1',
      'name: 1',
      ['18:11 groups[0].name: 1 is a number; put it in quotes to make it a name: "1"'],
    ],
    [
      'api open to others',
      'api: 127.0.0.1:8001',
      'api: 0.0.0.0:8001',
      [
        '9:10 nodes[0].api: "0.0.0.0:8001" is open to others, and this version does not know who is calling; write 127.0.0.1:8001',
      ],
    ],
    [
      'address',
      'replication: 127.0.0.1:7001',
      'replication: 127.0.0.1',
      ['8:18 nodes[0].replication: "127.0.0.1" is not host:port, such as 10.0.0.1:7410'],
    ],
    [
      'unknown site',
      'site: there',
      'site: theer',
      ['12:11 nodes[1].site: there is no site "theer" (did you mean "there"?)'],
    ],
    [
      'unknown owner',
      'owner: east',
      'owner: north',
      ['19:12 groups[0].owner: there is no node "north"; there are: east, west'],
    ],
    [
      'unknown mirror node',
      'to: west',
      'to: wets',
      [
        '28:13 groups[0].mirrors[0].to: there is no node "wets" (did you mean "west"?)',
        '26:18 groups[0].volumes[1].paths.west: "west" has no copy of the group; its nodes are east, wets',
      ],
    ],
    [
      'mirror to the owner',
      'to: west',
      'to: east',
      [
        '26:18 groups[0].volumes[1].paths.west: "west" has no copy of the group; its nodes are east, east',
        '28:13 groups[0].mirrors[0].to: "east" owns the group and cannot be its mirror; write another node: west',
      ],
    ],
    [
      'two volumes of a name',
      'name: vol2',
      'name: vol1',
      [
        '23:15 groups[0].volumes[1].name: two volumes are named "vol1"; hosts know them by name, so it must be the only one in the cluster',
      ],
    ],
    ['two nodes of a name', '- name: west', '- name: east', ['11:11 nodes[1].name: two nodes are named "east"']],
    [
      'a port twice on one node',
      'api: 127.0.0.1:8001',
      'api: 127.0.0.1:7001',
      ['9:10 nodes[0].api: 127.0.0.1:7001 is taken by replication of the same node; choose another port'],
    ],
    [
      'a replication address twice',
      'replication: 127.0.0.1:7002',
      'replication: 127.0.0.1:7001',
      ['14:18 nodes[1].replication: two nodes have the address 127.0.0.1:7001; each needs its own to be found by'],
    ],
    [
      'unknown node in paths',
      'paths: { west',
      'paths: { wesst',
      ['26:18 groups[0].volumes[1].paths.wesst: there is no node "wesst" (did you mean "west"?)'],
    ],
    [
      'log too small',
      'size: 8GiB',
      'size: 1MiB',
      ['32:13 groups[0].log.size: 1048576 bytes: a log has from 64MiB to 64TiB'],
    ],
    [
      'log in short form, without sense',
      '    log:\n',
      '    log: much\n    settings:\n',
      ['31:10 groups[0].log.size: "much" is not a size such as 512MiB, 1GiB or 4TiB'],
    ],
    [
      'log on an unknown node',
      'places: { east',
      'places: { esat',
      ['33:17 groups[0].log.places.esat: there is no node "esat" (did you mean "east"?)'],
    ],
    [
      'log on a node without a copy',
      'to: west',
      'to: wets',
      ['33:29 groups[0].log.places.west: "west" has no copy of the group; its nodes are east, wets'],
    ],
    [
      'log in three places',
      '/other/log]',
      '/other/log, /third]',
      ['33:35 groups[0].log.places.west: has too many; a log has 2 copies at most'],
    ],
    [
      'log twice in one place',
      '/other/log]',
      '/fast/log/]',
      [
        '33:47 groups[0].log.places.west[1]: two logs or copies of one on "west" are in /fast/log; each needs a folder of its own, copies one on another disk',
      ],
    ],
    [
      'log without a place',
      'east: logs',
      'east: ',
      ['33:23 groups[0].log.places.east[0]: is missing; it should be the path of a file or folder'],
    ],
    [
      'retention without unit',
      'retention: 24h',
      'retention: 24',
      ['34:18 groups[0].log.retention: 24 has no unit; write for example 24s or 24ms'],
    ],
    [
      'retention larger than the log',
      'retention: 24h',
      'retention: 24h\n      retention-size: 9GiB',
      ['35:23 groups[0].log.retention-size: 9 GiB do not fit into a log of 8 GiB; write less, or a larger size'],
    ],
    [
      'retention of a size for no time',
      'retention: 24h',
      'retention-size: 1GiB',
      [
        '34:7 groups[0].log.retention-size: without "retention" nothing is kept; write how long, such as retention: 24h',
      ],
    ],
    [
      'what a full log does',
      'grace: 2s',
      'on-log-full: explode',
      ['30:30 groups[0].settings.on-log-full: "explode" is not one of throttle, bitmap, suspend'],
    ],
    [
      'gain of a merge',
      'grace: 2s',
      'merge-gain: 1',
      ['30:29 groups[0].settings.merge-gain: 1 is not a number from 1.1 to 10'],
    ],
    [
      'list expected',
      'sites: [here, there]',
      'sites: here',
      ['3:8 sites: "here" is not a list; write each of the sites after a "- "'],
    ],
    [
      'empty list',
      'sites: [here, there]',
      'sites: []',
      ['3:8 sites: is empty; there must be at least 1 of the sites'],
    ],
  ])('%s', (_what, from, to, expected) => {
    const problems = problemsOf(from, to);
    for (const problem of expected) expect(problems).toContain(problem);
  });

  it('with all problems at once, of form and of reference, sorted by line', () => {
    const text = right
      .replace('size: 1GiB', 'size: big')
      .replace('owner: east', 'owner: esat')
      .replace('kind: file', 'kind: x');
    expect(problemsIn(text)).toEqual([
      '2:16 store.kind: "x" is not one of file, etcd, none',
      '19:12 groups[0].owner: there is no node "esat" (did you mean "east"?)',
      '22:15 groups[0].volumes[0].size: "big" is not a size such as 512MiB, 1GiB or 4TiB',
      '33:17 groups[0].log.places.east: "east" has no copy of the group; its nodes are esat, west',
    ]);
  });

  it('when it is not YAML, with the line', () => {
    expect(problemsIn('cluster: demo\nstore: [1, 2\nnodes: {\n')).toEqual([
      expect.stringMatching(/^3:\d+ not valid YAML: /),
    ]);
    expect(problemsIn('a: 1\na: 2\n')).toContain('2:1 not valid YAML: Map keys must be unique');
    expect(problemsIn('')[0]).toMatch(/^1:1 is missing; it should be the configuration/);
  });

  it('with a hundred of its problems at most', () => {
    const many = Array.from({ length: 200 }, (_, index) => `key${index}: 1`).join('\n');
    const problems = problemsIn(`${many}\n`);
    expect(problems).toHaveLength(100);
    expect(problems.at(-1)).toMatch(/here and below are 10\d more problems$/);
  });

  it('when it is a bomb of aliases, of depth, or of size', () => {
    const bomb = ['a: &a [x, x, x, x, x, x, x, x, x]'];
    for (let level = 0; level < 9; level++) {
      const [from, to] = [String.fromCharCode(97 + level), String.fromCharCode(98 + level)];
      bomb.push(`${to}: &${to} [${Array(9).fill(`*${from}`).join(', ')}]`);
    }
    expect(problemsIn(bomb.join('\n'))[0]).toMatch(/cannot be read as YAML/);
    expect(problemsIn('['.repeat(20_000))[0]).toMatch(/YAML/);
    expect(problemsIn('#'.repeat(5_000_000))).toEqual(['1:1 the file is larger than 4 MiB']);
  });
});

describe('iSCSI', () => {
  const hosts = `    iscsi:
      target: iqn.2026-11.org.example:g1
      redirect: true
      hosts:
        - initiator: iqn.2026-11.org.example:host
          addresses: [10.0.0.0/24, fd00::1]
          volumes: [vol2]
          chap: { user: host, secret-file: secrets/host }
          mutual: { user: target, secret-file: /etc/target }
        - { initiator: '*' }
`;
  const portals = right.replace('nbd: [', "iscsi: ['10.0.0.1:3260', '[::]:3261']\n    nbd: [");

  it('portals and hosts are read, paths made absolute, and described the same', () => {
    const configuration = requireConfiguration(portals + hosts, '/etc/holdfast.yaml');
    const document = toClusterDocument(configuration, sequentialRandom);
    expect(document.nodes.map(({ iscsi }) => iscsi)).toEqual([['10.0.0.1:3260', '[::]:3261'], []]);
    expect(document.groups[0]?.iscsi).toEqual({
      target: 'iqn.2026-11.org.example:g1',
      redirect: true,
      hosts: [
        {
          initiator: 'iqn.2026-11.org.example:host',
          addresses: ['10.0.0.0/24', 'fd00::1'],
          volumes: ['vol2'],
          chap: { user: 'host', secretFile: '/etc/secrets/host' },
          mutual: { user: 'target', secretFile: '/etc/target' },
        },
        { initiator: '*', addresses: null, volumes: null, chap: null, mutual: null },
      ],
    });
    const again = requireConfiguration(stringify(describeConfiguration(configuration)), '/etc/holdfast.yaml');
    expect(again).toEqual(configuration);
  });

  it.each([
    ["iscsi: ['10.0.0.1:3260', '[::]:3261']", "iscsi: ['10.0.0.1:0']", 'port 0 cannot be found'],
    ["'[::]:3261'", "'10.0.0.1:3260'", '10.0.0.1:3260 is taken by iscsi[0] of the same node; choose another port'],
    ["'[::]:3261'", "'127.0.0.1:9001'", '127.0.0.1:9001 is taken by nbd[0] of the same node; choose another port'],
    [
      "nbd: ['127.0.0.1:9002']",
      "nbd: ['127.0.0.1:9002']\n    iscsi: ['10.0.0.1:3260']",
      'two nodes have the address',
    ],
    ['iqn.2026-11.org.example:g1', 'iqn.example:g1', 'is not the name of an iSCSI target'],
    ['iqn.2026-11.org.example:g1', 'iqn.2026-11.org.Example:g1', 'write "iqn.2026-11.org.example:g1"'],
    ['10.0.0.0/24', '10.0.0.0/33', 'is not an address such as 10.0.0.7'],
    ['[vol2]', '[vol3]', 'group "g1" has no volume "vol3"; it has: vol1, vol2'],
    ['          chap: { user: host, secret-file: secrets/host }\n', '', 'write chap as well'],
    ['secret-file: secrets/host', 'secret: x', 'no such key'],
    ['redirect: true', 'redirect: maybe', 'is not true or false'],
  ])('%s → %s is refused by name', (from, to, message) => {
    const text = portals + hosts;
    expect(text).toContain(from);
    expect(problemsIn(text.replace(from, to)).join('\n')).toContain(message);
  });

  it('two groups with one target, by name or by default, are refused', () => {
    const second = `  - name: g_2
    owner: east
    volumes: [{ name: vol3, size: 1GiB }]
    iscsi: { target: 'iqn.2026-11.org.holdfast:demo:g1' }
`;
    expect(problemsIn(right + second)).toEqual([
      expect.stringContaining('"iqn.2026-11.org.holdfast:demo:g1" is the target of group "g1" already') as string,
    ]);
    expect(problemsIn(right + second.replace('demo:g1', 'demo:g-2'))).toEqual([]);
  });
});
