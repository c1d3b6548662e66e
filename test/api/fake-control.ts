/** A node of a small invented cluster, for the rooms above `node/`: answers from a table, remembers what it was asked. */
import type { IscsiSessionRow, IscsiTargetRow } from '../../src/node/iscsi-control.ts';
import type { ReadDecision } from '../../src/agent/decision-book.ts';
import type { Alert } from '../../src/alerts/alert.ts';
import type { SinkStatus } from '../../src/alerts/sink.ts';
import { HoldfastError } from '../../src/base/errors.ts';
import type { LogMoment } from '../../src/group/log-moments.ts';
import { fakePulse, fakeTable } from './fake-pulse.ts';
import type { ClusterStatus, GroupStatus, LegStatus, LogStatus } from '../../src/group/status.ts';
import type { DrillReport } from '../../src/agent/drill-report.ts';
import type { MoveResult, NodeControl, NodeEvent } from '../../src/node/control.ts';
import { defaultGroupSettings, defaultTakeOverSettings, type ClusterDocument } from '../../src/store/document.ts';

export interface FakeControl extends NodeControl {
  /** Every change asked for, in order: name of the method and its request. */
  readonly asked: [string, unknown][];
  /** What `status` answers; may be replaced. */
  state: ClusterStatus;
  /** What the log of g1 holds; may be replaced. */
  moments: readonly LogMoment[];
  emit(event: NodeEvent): void;
  readonly listenerCount: () => number;
}

const leg = (node: string, more: Partial<LegStatus>): LegStatus => ({
  node,
  role: 'Secondary',
  disk: 'UpToDate',
  mode: 'sync',
  class: 'inSync',
  connection: 'Connected',
  replication: 'Established',
  lag: { writes: 0, bytes: 0, seconds: 0 },
  outOfSyncBytes: 0,
  progress: null,
  reason: null,
  nextStep: null,
  ...more,
});

export const fakeMirror = {
  name: 'hb1',
  from: 'east',
  to: 'west',
  primary: '/data/east/heartbeat/hb1.img',
  secondary: '/dev/sdc',
  state: 'installed',
} as const;

export function fakeGroup(westLeg: Partial<LegStatus> = {}, more: Partial<GroupStatus> = {}): GroupStatus {
  return {
    name: 'g1',
    owner: 'east',
    generation: 7,
    service: 'Serving',
    throughput: { readBytes: 0, writeBytes: 12_582_912, reads: 0, writes: 3072 },
    volumes: [
      {
        name: 'vol1',
        wwid: '6'.padEnd(32, '0'),
        sizeBytes: 2 ** 30,
        blockSizeBytes: 512,
        exports: ['nbd://127.0.0.1:10809/vol1'],
      },
    ],
    legs: [leg('east', { role: 'Primary', connection: null, replication: null }), leg('west', westLeg)],
    reason: null,
    nextStep: null,
    log: null,
    forks: [],
    ...more,
  };
}

export const fakeLog: LogStatus = {
  node: 'east',
  state: 'logging',
  copies: [{ folder: '/data/logs/g1', problem: null }],
  sizeBytes: 2 ** 33,
  usedBytes: 3 * 2 ** 30,
  freeBytes: 5 * 2 ** 30,
  segments: 48,
  oldestAtMs: 0,
  fullInSeconds: 11_100,
  reason: null,
  nextStep: null,
};

const fakeMoments: readonly LogMoment[] = [
  {
    kind: 'epochEnd',
    position: '7:1041',
    atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 600),
    name: null,
    reason: null,
    records: 2,
    bytes: 12_288,
    extents: [
      { volume: 'vol1', offset: 1_048_576, length: 4096 },
      { volume: '#3', offset: 0, length: 8192 },
    ],
  },
  {
    kind: 'mark',
    position: '7:1041',
    atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    name: 'before-upgrade',
    reason: null,
    records: 0,
    bytes: 0,
    extents: null,
  },
];

export function fakeStatus(group: GroupStatus = fakeGroup()): ClusterStatus {
  const node = (name: string, site: string) => ({
    name,
    site,
    state: 'up' as const,
    pid: 4711,
    version: '0.1.0',
    lease: 'valid' as const,
    connections: [
      {
        peer: name === 'east' ? 'west' : 'east',
        direction: 'out' as const,
        index: 0,
        local: '127.0.0.1:40000',
        remote: '127.0.0.1:10816',
        state: 'up' as const,
        lastHeardSecondsAgo: 0.2,
        mark: 'up' as const,
        probationSecondsLeft: null,
        reason: null,
        groups: ['g1'],
      },
    ],
    reason: null,
    nextStep: null,
  });
  return {
    schema: 1,
    cluster: 'demo',
    answeredBy: 'east',
    nodes: [node('east', 'here'), node('west', 'there')],
    groups: [group],
    notes: [],
  };
}

const document: ClusterDocument = {
  schema: 1,
  clusterId: 'c'.repeat(32),
  cluster: 'demo',
  version: 3,
  sites: ['here', 'there'],
  nodes: [
    { name: 'east', site: 'here', replication: '127.0.0.1:10815', pulse: [], heartbeat: null, iscsi: [] },
    { name: 'west', site: 'there', replication: '127.0.0.1:10816', pulse: [], heartbeat: null, iscsi: [] },
  ],
  groups: [
    {
      name: 'g1',
      preferredOwner: 'east',
      nextVolumeIndex: 1,
      volumes: [
        { name: 'vol1', index: 0, wwid: '6'.padEnd(32, '0'), sizeBytes: 2 ** 30, blockSizeBytes: 512, paths: {} },
      ],
      legs: [
        { node: 'east', mode: 'sync' },
        { node: 'west', mode: 'sync' },
      ],
      takeOver: defaultTakeOverSettings,
      resources: [],
      iscsi: { target: null, redirect: false, hosts: null },
      log: { sizeBytes: 2 ** 33, places: { west: ['/fast/log'] }, retentionMs: 0, retentionBytes: 0 },
      settings: defaultGroupSettings,
    },
  ],
  pulse: null,
};

const fakeDecision: ReadDecision = {
  evidence: {
    schema: 1,
    atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    node: 'west',
    group: 'g1',
    owner: 'east',
    generation: 7,
    automatic: 'on',
    nodeAutomatic: true,
    heard: [
      { channel: 'network', kind: 'network', enable: 'ENABLE', hearing: 'silent', silentMs: 1200, fault: null },
      { channel: 'mirror:hb', kind: 'mirror', enable: 'ENABLE', hearing: 'alive', silentMs: 100, fault: null },
    ],
    deaf: null,
    heardBy: [],
    presence: 'notAsked',
    planned: false,
    waitsForRecovery: false,
    store: 'held',
    mayServe: true,
    unsafe: null,
    before: [],
    precedenceMs: 0,
    precedenceMaxMs: 1000,
  },
  verdict: { decision: 'no', rule: 'owner-alive', text: 'east is heard by mirror:hb' },
  outcome: null,
};

export const fakeAlert: Alert = {
  number: 12,
  component: 'link',
  id: 'link east-west',
  code: 'link-down',
  level: 'SERIOUS',
  node: 'east',
  group: null,
  text: 'no connection to west is up',
  firstAtMs: Date.UTC(2026, 0, 2, 3, 4, 5),
  lastAtMs: Date.UTC(2026, 0, 2, 3, 4, 6),
  count: 2,
  seenBy: ['east'],
  endedAtMs: null,
  acknowledged: null,
};

export const fakeSink: SinkStatus = {
  name: 'nms',
  kind: 'snmp',
  levels: ['SYSTEM DOWN', 'SERIOUS'],
  state: 'failing',
  sent: 3,
  queued: 1,
  heldBack: 0,
  lastSentAtMs: null,
  failingSinceMs: Date.UTC(2026, 0, 2, 3, 4, 5),
  problem: 'no route to host',
  nextTryAtMs: null,
};

export const fakeDrill: DrillReport = {
  id: '0123456789abcdef',
  group: 'g1',
  kind: 'kill',
  node: 'west',
  owner: 'east',
  state: 'passed',
  startedAtMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  endedAtMs: Date.UTC(2026, 0, 2, 3, 4, 25, 678),
  steps: [{ atMs: Date.UTC(2026, 0, 2, 3, 4, 6, 200), step: 'fault', text: 'east is killed' }],
  servedBy: 'west',
  pauseMs: 1840,
  phases: { detectedMs: 1100, lapsedMs: 1600, servingMs: 1790, answeredMs: 1840 },
  generations: { before: 7, after: 8 },
  loss: 'No acknowledged write is lost.',
  giveBackPauseMs: 42,
  verdict: 'west served instead of east after a pause of 1840 ms.',
  nextStep: null,
};

const fakeTargetName = 'iqn.2026-11.org.holdfast:try:g1';
const fakeTargets: readonly IscsiTargetRow[] = (['east', 'west'] as const).map((node, index) => ({
  node,
  target: fakeTargetName,
  group: 'g1',
  access: index === 0 ? 'active' : 'standby',
  reason: index === 0 ? '' : 'east owns it',
  portals: [{ address: `127.0.0.1:${3260 + index}`, tag: 1 + 16 * index }],
  units: [{ lun: 0, volume: 'vol1', sizeBytes: 64 * 1024 * 1024 }],
  sessions: 1 - index,
  hosts: null,
}));
const fakeSession: IscsiSessionRow = {
  node: 'east',
  session: 3,
  kind: 'normal',
  initiator: 'iqn.1993-08.org.debian:01:db1',
  from: '127.0.0.1:51402',
  portal: '127.0.0.1:3260',
  target: fakeTargetName,
  ageSeconds: 3700,
  commandsInFlight: 2,
};

export function fakeControl(): FakeControl {
  const listeners = new Set<(event: NodeEvent) => void>();
  const asked: [string, unknown][] = [];
  // Examples of the manual create a volume `vol2`, in a group of its own.
  const find = (group: string): void => {
    if (group !== 'g1' && group !== 'vol2')
      throw new HoldfastError('E_NOT_FOUND', `there is no group ${group}; there are: g1`);
  };
  const moved = (group: string, owner: string, pauseMs: number, text: string): MoveResult => ({
    group,
    owner,
    generation: 8,
    pauseMs,
    loss: { writes: 0, bytes: 0, seconds: 0, text },
  });
  return {
    nodeName: 'east',
    asked,
    state: fakeStatus(),
    moments: fakeMoments,
    emit: (event) => listeners.forEach((listener) => listener(event)),
    listenerCount: () => listeners.size,
    async status() {
      return this.state;
    },
    document: async () => document,
    async why(subject) {
      if (subject !== 'g1' && subject !== 'vol1') {
        throw new HoldfastError('E_NOT_FOUND', `there is no group or volume ${subject}`);
      }
      return {
        group: 'g1',
        summary: 'west is away since 12 s; hosts go on without it.',
        findings: [
          { subject: 'g1 on west', state: 'Connecting', reason: 'connection refused', nextStep: 'Start it.' },
        ],
        decisions: [fakeDecision],
      };
    },
    async createVolume(request) {
      asked.push(['createVolume', request]);
      if (request.name === 'vol1') throw new HoldfastError('E_EXISTS', 'there is a volume vol1 already');
      return { group: request.group ?? request.name, wwid: '6'.padEnd(32, '1') };
    },
    async deleteVolume(request) {
      asked.push(['deleteVolume', request]);
      if (!request.force)
        throw new HoldfastError('E_REFUSED', `volume ${request.name} is open by nbd 127.0.0.1:5000`);
    },
    async switchOver(request) {
      find(request.group);
      asked.push(['switchOver', request]);
      return moved(request.group, request.to, 42, 'Nothing was lost.');
    },
    async takeOver(request) {
      find(request.group);
      asked.push(['takeOver', request]);
      if (!request.force) throw new HoldfastError('E_REFUSED', 'east owns g1 and is alive; use group switch-over');
      return moved(request.group, request.node, 3500, 'Nothing acknowledged was lost.');
    },
    async resolveSplitBrain(request) {
      find(request.group);
      asked.push(['resolveSplitBrain', request]);
      if (!request.yes) throw new HoldfastError('E_REFUSED', '2 host sessions are open at west');
      return { group: request.group, kept: request.keep, generation: 3, text: 'What west wrote is given up there.' };
    },
    heartbeatMirrors: {
      async list() {
        return { mirrors: [fakeMirror], notes: [] };
      },
      async create(request) {
        asked.push(['heartbeatMirrors.create', request]);
      },
      async install(request) {
        asked.push(['heartbeatMirrors.install', request]);
      },
      async remove(request) {
        asked.push(['heartbeatMirrors.remove', request]);
      },
      async delete(request) {
        if (request.name === fakeMirror.name) throw new HoldfastError('E_REFUSED', 'hb1 is installed');
        asked.push(['heartbeatMirrors.delete', request]);
      },
    },
    async decisions(request) {
      find(request.group);
      return { decisions: [fakeDecision], notes: [] };
    },
    async setGroupAutomatic(request) {
      find(request.group);
      asked.push(['setGroupAutomatic', request]);
    },
    async setNodeAutomatic(request) {
      asked.push(['setNodeAutomatic', request]);
    },
    pulseStatus: async ({ node }) => {
      asked.push(['pulseStatus', { node }]);
      return { ...fakePulse, snapshot: { ...fakePulse.snapshot, node: node ?? 'east' } };
    },
    pulseTables: async () => [
      { node: 'east', site: 'here', isMaster: true, table: fakeTable, seenAtMs: null, problem: null },
      { node: 'west', site: 'there', isMaster: true, table: null, seenAtMs: null, problem: 'no connection' },
    ],
    async usePulse(change) {
      asked.push(['usePulse', change]);
      return { table: fakeTable, passedOn: [{ node: 'west', confirmed: true, problem: null }] };
    },
    async giveBack(request) {
      find(request.group);
      asked.push(['giveBack', request]);
      return moved(request.group, 'east', 42, 'Nothing was lost.');
    },
    async startDrill(request) {
      find(request.group);
      asked.push(['startDrill', request]);
      if (request.kind === 'partition') throw new HoldfastError('E_REFUSED', 'group g1: it is not marked for drills');
      return { ...fakeDrill, kind: request.kind, state: 'running', steps: [] };
    },
    async listDrills({ group }) {
      find(group);
      return { drills: [fakeDrill], notes: ['south could not be asked: no connection'] };
    },
    async allowDrills(request) {
      find(request.group);
      asked.push(['allowDrills', request]);
    },
    async groupResources({ group }) {
      find(group);
      const problem = 'health command pg_isready ended with status 2';
      return {
        group,
        node: 'east',
        state: 'running',
        problem: null,
        resources: [
          { kind: 'address', name: '10.0.0.9/24', state: 'running', problem: null, output: '' },
          { kind: 'application', name: 'postgres', state: 'restarting', problem, output: '--- start\nready\n' },
        ],
      };
    },
    async startResources(request) {
      asked.push(['startResources', request]);
      return this.groupResources(request);
    },
    async groupCheck(request) {
      find(request.group);
      asked.push(['groupCheck', request]);
      const atMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
      const state = request.again ? 'ok' : 'failed';
      const problem = request.again ? null : 'the integrity check e2fsck ended with status 4';
      const withheld = request.serve ? null : problem;
      return { group: request.group, node: 'east', atMs, state, problem, output: 'bad superblock\n', withheld };
    },
    async listAgents() {
      const agent = { node: 'east', agent: 'database', remote: 'unix:/data/agents.sock', groups: ['g1'], unknown: 0 };
      return { agents: [{ ...agent, sinceMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678) }], notes: [] };
    },
    async pauseMirror(request) {
      find(request.group);
      asked.push(['pauseMirror', request]);
    },
    async resumeMirror(request) {
      find(request.group);
      asked.push(['resumeMirror', request]);
    },
    async resyncMirror(request) {
      find(request.group);
      asked.push(['resyncMirror', request]);
    },
    async listLogs() {
      const [group] = this.state.groups;
      return [
        { group: 'g1', log: document.groups[0]?.log ?? null, status: group?.log ?? null },
        { group: 'g2', log: null, status: null },
      ];
    },
    async createLog(request) {
      find(request.group);
      asked.push(['createLog', request]);
    },
    async assignLog(request) {
      find(request.group);
      asked.push(['assignLog', request]);
    },
    async setLogSize(request) {
      find(request.group);
      asked.push(['setLogSize', request]);
    },
    async setLogRetention(request) {
      find(request.group);
      asked.push(['setLogRetention', request]);
    },
    async removeLog(request) {
      find(request.group);
      asked.push(['removeLog', request]);
    },
    async markLog(request) {
      find(request.group);
      asked.push(['markLog', request]);
      return { position: '7:1042', atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678) };
    },
    async logMoments(request) {
      find(request.group);
      asked.push(['logMoments', request]);
      return { moments: this.moments.slice(0, request.limit), more: this.moments.length > request.limit };
    },
    async setMirror(request) {
      find(request.group);
      asked.push(['setMirror', request]);
    },
    async iscsiTargets() {
      return { targets: fakeTargets, notes: [] };
    },
    async iscsiSessions() {
      return { sessions: [fakeSession], notes: [] };
    },
    async disconnectIscsi(request) {
      asked.push(['disconnectIscsi', request]);
      if (request.session !== fakeSession.session)
        throw new HoldfastError('E_NOT_FOUND', `node ${request.node} has no iSCSI session ${request.session}`);
    },
    async listAlerts() {
      return { node: 'east', alerts: [fakeAlert], sinks: [fakeSink] };
    },
    async testAlerts(request) {
      asked.push(['testAlerts', request]);
      return [{ sink: 'nms', outcome: 'sent', detail: 'at level SYSTEM DOWN' }];
    },
    async acknowledgeAlerts(request) {
      asked.push(['acknowledgeAlerts', request]);
      return { alerts: [{ ...fakeAlert, acknowledged: { by: request.by, atMs: 7 } }], notes: [] };
    },
    onEvent(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
