import { expect, it } from 'vitest';
import { withLog } from '../../src/node/log-changes.ts';
import { differs, parseDocument } from '../../src/node/stored-document.ts';
import { defaultGroupSettings, defaultTakeOverSettings, type ClusterDocument } from '../../src/store/document.ts';

const document: ClusterDocument = {
  schema: 1,
  clusterId: 'c'.repeat(32),
  cluster: 'c',
  version: 3,
  sites: ['s'],
  nodes: [{ name: 'east', site: 's', replication: '127.0.0.1:1', pulse: [], heartbeat: null, iscsi: [] }],
  groups: [
    {
      name: 'g1',
      preferredOwner: 'east',
      volumes: [],
      nextVolumeIndex: 0,
      legs: [{ node: 'east', mode: 'sync' }],
      log: null,
      settings: { ...defaultGroupSettings, graceMs: 7 },
      takeOver: defaultTakeOverSettings,
      resources: [],
      iscsi: { target: null, redirect: false, hosts: null },
    },
  ],
  pulse: null,
};

it('a document is read as it was written', () => {
  const logged = withLog(document, { group: 'g1', sizeBytes: 2 ** 30, places: { east: ['/log'] } });
  expect(parseDocument(JSON.stringify(logged))).toEqual(logged);
});

it('what an older version wrote is read with defaults for what came later (BY-10)', () => {
  const later = [
    'pulse',
    'heartbeat',
    'iscsi',
    'takeOver',
    'resources',
    'log',
    'onTargetLoss',
    'onCongestion',
    'onLogFull',
    'mergeGain',
  ];
  const text = JSON.stringify(document, (key, value: unknown) => (later.includes(key) ? undefined : value));
  expect(text).not.toContain('merge');
  expect(parseDocument(text)).toEqual(document);
});

it('a file that declares another log differs; version and identities do not count', () => {
  expect(differs(document, { ...document, clusterId: 'd', version: 1 })).toBe(false);
  // Keys that came later stand last in what was stored.
  const older = JSON.stringify(document, (key, value: unknown) => (key === 'iscsi' ? undefined : value));
  expect(differs(parseDocument(older), document)).toBe(false);
  expect(differs(document, withLog(document, { group: 'g1', sizeBytes: 2 ** 30, places: {} }))).toBe(true);
});
