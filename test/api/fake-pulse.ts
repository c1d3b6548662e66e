/** The pulse of the invented cluster: east hears west by the network, and by a mirror not any more. */
import type { PulseStatus } from '../../src/pulse/service.ts';
import { advance, emptyTable } from '../../src/pulse/status-table.ts';
import { noRefusals } from '../../src/pulse/receiver.ts';

const start = emptyTable('east', 'here', { network: true });
export const fakeTable = [
  { kind: 'install', row: { name: 'hb-west', direction: 'receive', device: '/data/hb-west.img' } } as const,
  { kind: 'network', remote: 'ALIVE' } as const,
  { kind: 'read', mirror: 'hb-west', valid: false } as const,
].reduce(advance, start);

export const fakePulse: PulseStatus = {
  snapshot: {
    node: 'east',
    monotonicMs: 1000,
    wallMs: Date.UTC(2026, 0, 2),
    peers: [
      {
        node: 'west',
        site: 'there',
        incarnation: 'f'.repeat(32),
        heard: [
          { channel: 'network', kind: 'network', enable: 'ENABLE', hearing: 'alive', silentMs: 120, fault: null },
          {
            channel: 'mirror:hb-west',
            kind: 'mirror',
            enable: 'FAILED',
            hearing: 'silent',
            silentMs: 65_000,
            fault: null,
          },
          { channel: 'link', kind: 'link', enable: 'ENABLE', hearing: 'unknown', silentMs: null, fault: null },
        ],
        said: {
          leaving: false,
          automatic: true,
          lease: 'valid',
          ownedVersion: 1,
          serving: 0,
          hears: { east: ['network'] },
        },
      },
    ],
    muted: null,
    masters: { here: 'east', there: 'west' },
  },
  table: fakeTable,
  intervalMs: 200,
  timeoutMs: 1000,
  channels: [
    {
      id: 'network',
      kind: 'network',
      device: '127.0.0.1:10815',
      sent: 1234,
      fault: null,
      paths: [
        { node: 'west', address: '127.0.0.1:10816', silentMs: 120 },
        { node: 'west', address: '10.0.0.2:10816', silentMs: null },
      ],
    },
    { id: 'mirror:hb-west', kind: 'mirror', device: '/data/hb-west.img', sent: 0, fault: null, paths: [] },
  ],
  refused: { west: { ...noRefusals(), replayed: 3 }, '?': { ...noRefusals(), forged: 2 } },
  waiting: { west: 1 },
};
