import { describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { toClusterDocument } from '../../src/node/configuration-document.ts';
import { describeConfiguration, parseConfiguration, requireConfiguration } from '../../src/node/configuration.ts';
import { parseDocument } from '../../src/node/stored-document.ts';
import { presets } from '../../src/pulse/presets.ts';

const right = `cluster: demo
store: { kind: file, path: store }
sites: [here, there]
nodes:
  - name: east
    site: here
    data: east
    replication: 127.0.0.1:7001
    api: 127.0.0.1:8001
    nbd: ['127.0.0.1:9001']
    pulse: ['127.0.0.1:7001', '10.0.0.1:10815']
    heartbeat: 127.0.0.1:10817
  - name: west
    site: there
    data: west
    replication: 127.0.0.1:7002
    api: 127.0.0.1:8002
    nbd: ['127.0.0.1:9002']
    pulse: ['127.0.0.1:7002']
    heartbeat: 127.0.0.1:10818
pulse:
  preset: lan
  key-file: pulse.key
  interval: 100ms
  mirrors:
    - { name: hb-east, from: east, to: west }
    - { name: hb-west, from: west, to: east, paths: { east: hb/west.img } }
  interconnects:
    - { name: ic1, at: { east: 'unix:ic.sock', west: 'unix:/run/ic.sock' } }
groups:
  - name: g1
    owner: east
    volumes:
      - name: vol1
        size: 64MiB
        paths: { west: /dev/sdb }
    mirrors: [{ to: west }]
    log: { size: 1GiB, places: { east: /fast/log } }
`;

const sequentialRandom = { bytes: (count: number) => new Uint8Array(count).fill(0xab), below: () => 0 };

function problemsOf(...replacements: [from: string, to: string][]): string[] {
  let text = right;
  for (const [from, to] of replacements) {
    expect(text).toContain(from);
    text = text.replace(from, to);
  }
  const parsed = parseConfiguration(text, '/etc/holdfast.yaml');
  return parsed.kind === 'right'
    ? []
    : parsed.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
}

describe('the pulse in a right configuration', () => {
  it('IM-5: says whether frames count as heartbeats, and says it again when it is written down', () => {
    const said = requireConfiguration(
      right.replace('  interval: 100ms', '  link: { frames-count: false }'),
      '/etc/holdfast.yaml',
    );
    expect(said.pulse?.settings.link).toEqual({ ...presets.lan.link, framesCount: false });
    expect(stringify(describeConfiguration(said))).toContain('frames-count: false');
  });

  it('HM-7: has the check of the user, with its usual time-out, and none by itself', () => {
    const check = "check: { command: [sane, '-q'], timeout: 500ms }";
    const withCheck = (text: string) =>
      requireConfiguration(right.replace('  interval: 100ms', `  validity: { ${text} }`), '/etc/holdfast.yaml');
    const said = withCheck(check);
    expect(said.pulse?.settings.validity.check).toEqual({ words: ['sane', '-q'], timeoutMs: 500 });
    expect(stringify(describeConfiguration(said))).toContain('timeout: 500ms');
    expect(withCheck('check: [sane]').pulse?.settings.validity.check).toEqual({ words: ['sane'], timeoutMs: 2000 });
    expect(withCheck('time: false').pulse?.settings.validity).toEqual({ serial: true, time: false });
  });

  const configuration = requireConfiguration(right, '/etc/holdfast.yaml');

  it('has the numbers of its preset, less those that are given, and absolute paths (AS-13)', () => {
    expect(configuration.pulse).toEqual({
      keyFile: '/etc/pulse.key',
      settings: {
        ...presets.lan,
        intervalMs: 100,
        network: true,
        mirrors: [
          { name: 'hb-east', from: 'east', to: 'west', paths: {} },
          { name: 'hb-west', from: 'west', to: 'east', paths: { east: '/etc/hb/west.img' } },
        ],
        interconnects: [
          { name: 'ic1', at: { east: 'unix:/etc/ic.sock', west: 'unix:/run/ic.sock' }, baudRate: 115_200 },
        ],
      },
    });
    expect(configuration.nodes[0]).toMatchObject({
      pulse: [
        { host: '127.0.0.1', port: 7001 },
        { host: '10.0.0.1', port: 10_815 },
      ],
      heartbeat: { host: '127.0.0.1', port: 10_817 },
    });
  });

  it('goes into the cluster document, the key left out', () => {
    const document = toClusterDocument(configuration, sequentialRandom);
    expect(document.pulse).toEqual(configuration.pulse?.settings);
    expect(document.nodes[0]).toMatchObject({
      pulse: ['127.0.0.1:7001', '10.0.0.1:10815'],
      heartbeat: '127.0.0.1:10817',
    });
    expect(JSON.stringify(document)).not.toContain('pulse.key');
  });

  it('is the same when read back from its description', () => {
    const described = stringify(describeConfiguration(configuration));
    expect(requireConfiguration(described, '/etc/holdfast.yaml')).toEqual(configuration);
  });

  it('may be left out, or only the paths of it', () => {
    const text = right.slice(0, right.indexOf('pulse:\n')) + right.slice(right.indexOf('groups:'));
    expect(requireConfiguration(text, '/etc/holdfast.yaml').pulse).toBe(null);
    expect(problemsOf(['  preset: lan\n', ''], ['  key-file: pulse.key\n', ''])).toEqual([]);
  });

  it('is completed from its preset when an older version stored it', () => {
    const document = toClusterDocument(configuration, sequentialRandom);
    const stored = { ...document, pulse: { preset: 'wan', intervalMs: 1500 } };
    expect(parseDocument(JSON.stringify(stored)).pulse).toEqual({
      ...presets.wan,
      intervalMs: 1500,
      network: true,
      mirrors: [],
      interconnects: [],
    });
    expect(parseDocument(JSON.stringify({ ...document, pulse: undefined })).pulse).toBe(null);
  });
});

describe('a wrong pulse is refused by line, with what would be right', () => {
  it.each<[string, [from: string, to: string][], string[]]>([
    [
      'an impossible timeout',
      [['interval: 100ms', 'interval: 100ms\n  timeout: 250ms\n  link: { echo: 100ms }']],
      ['25:12 pulse.timeout: timeout 250ms must be at least 3 × interval 100ms (300ms)'],
    ],
    [
      'an impossible number of the preset, at the section',
      [['interval: 100ms', 'interval: 400ms']],
      ['22:3 pulse.timeout: timeout 1000ms must be at least 3 × interval 400ms (1200ms)'],
    ],
    [
      'an unknown preset',
      [['preset: lan', 'preset: man']],
      ['22:11 pulse.preset: "man" is not one of lan, wan, classic'],
    ],
    [
      'a time without a unit',
      [['interval: 100ms', 'interval: 100']],
      ['24:13 pulse.interval: 100 has no unit; write for example 100s or 100ms'],
    ],
    [
      'a node that is none',
      [['from: east, to: west }', 'from: est, to: west }']],
      ['26:30 pulse.mirrors[0].from: there is no node "est" (did you mean "east"?)'],
    ],
    [
      'a mirror from a node to itself',
      [['from: east, to: west }', 'from: east, to: east }']],
      ['26:40 pulse.mirrors[0].to: "east" is where it comes from; a heartbeat mirror goes from one node to another'],
    ],
    [
      'a mirror to a node that cannot be fed',
      [['    heartbeat: 127.0.0.1:10818\n', '']],
      [`25:40 pulse.mirrors[0].to: "west" has no address to be fed at; write heartbeat: 'host:port' for that node`],
    ],
    [
      'two paths of one name',
      [['name: hb-west', 'name: hb-east']],
      ['27:15 pulse.mirrors[1].name: two heartbeat paths are named "hb-east"'],
    ],
    [
      'a production volume as a heartbeat mirror (HM-3)',
      [['from: east, to: west }', 'from: east, to: west, paths: { west: /dev/sdb } }']],
      ['26:61 pulse.mirrors[0].paths.west: /dev/sdb is the volume "vol1"; heartbeats need a file of their own'],
    ],
    [
      'a volume at its default place (HM-3)',
      [['hb/west.img', 'east/volumes/vol1.img']],
      [
        '27:61 pulse.mirrors[1].paths.east: east/volumes/vol1.img is the volume "vol1"; heartbeats need a file of their own',
      ],
    ],
    [
      'a log as a heartbeat mirror (HM-3)',
      [['hb/west.img', '/fast//log']],
      ['27:61 pulse.mirrors[1].paths.east: /fast//log is the log of "g1"; heartbeats need a file of their own'],
    ],
    [
      'an end at a node without one',
      [['paths: { east: hb/west.img }', 'paths: { north: hb/west.img }']],
      ['27:55 pulse.mirrors[1].paths.north: "north" has no end of it; its nodes are west, east'],
    ],
    [
      'an interconnect of two kinds',
      [["'unix:/run/ic.sock'", "'10.0.0.2:9'"]],
      [
        '29:54 pulse.interconnects[0].at.west: 10.0.0.2:9 is a TCP address, the other end unix:ic.sock is a Unix socket; both ends are of one kind',
      ],
    ],
    [
      'an interconnect of one end',
      [[", west: 'unix:/run/ic.sock'", '']],
      ['29:24 pulse.interconnects[0].at: names 1 nodes; an interconnect joins two'],
    ],
    [
      'a network without addresses',
      [["    pulse: ['127.0.0.1:7002']\n", '']],
      [
        `13:11 nodes[1].name: "west" has no address for heartbeats by the network; write pulse: ['host:port'], or network: false for the pulse`,
      ],
    ],
    [
      'addresses that collide',
      [
        ["['127.0.0.1:7002']", "['10.0.0.1:10815', '10.0.0.1:10815']"],
        ['heartbeat: 127.0.0.1:10818', 'heartbeat: 127.0.0.1:7002'],
      ],
      [
        '19:13 nodes[1].pulse[0]: two nodes have the address 10.0.0.1:10815; each needs its own to be found by',
        '19:31 nodes[1].pulse[1]: 10.0.0.1:10815 is there twice; each path has an address of its own',
        '20:16 nodes[1].heartbeat: 127.0.0.1:7002 is taken by replication of the same node; choose another port',
      ],
    ],
  ])('%s', (_what, replacements, problems) => {
    expect(problemsOf(...replacements)).toEqual(problems);
  });

  it('no way left for heartbeats (HM-13)', () => {
    const start = right.indexOf('  mirrors:\n    - { name: hb-east');
    const text = `${right.slice(0, start)}  network: false\n${right.slice(right.indexOf('groups:'))}`;
    const parsed = parseConfiguration(text, '/etc/holdfast.yaml');
    expect(parsed.kind === 'wrong' && parsed.problems.map(({ message }) => message)).toEqual([
      'pulse.network: no way is left for heartbeats; write network: true, or mirrors or interconnects',
    ]);
  });
});
