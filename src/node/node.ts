/**
 * One node: follows the coordination store, keeps its lease, holds its groups, answers for them. Everything that binds
 * the world is given to it (`run.ts` in production, the simulator in tests).
 */
import { z } from 'zod';
import { Agent, isHeard } from '../agent/agent.ts';
import type { Remembered } from '../agent/agent-state.ts';
import type { KeptDecision } from '../agent/decision-book.ts';
import type { DrillReport } from '../agent/drill-report.ts';
import type { Timer } from '../base/clock.ts';
import { Alerts, type AlertSettings, type TestResult } from '../alerts/alerts.ts';
import type { AlertSink } from '../alerts/sink.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { parseAddress, type Address } from '../base/network.ts';
import { randomHex } from '../base/random.ts';
import type { DeviceProvider } from '../block/device.ts';
import { describeGroup, exportUri, type DescribeContext } from '../group/describe.ts';
import { Group } from '../group/group.ts';
import { exchangeMethod } from '../group/record-exchange.ts';
import { GroupLog } from '../group/group-log.ts';
import type { LogMark, LogMoments, LogMomentsOptions } from '../group/log-moments.ts';
import type { PromiseTimes } from '../group/promises.ts';
import type { ClusterStatus, ConnectionEntry, GroupStatus, NodeStatus } from '../group/status.ts';
import type { LinkConnection } from '../link/link.ts';
import { LinkTable } from '../link/link-table.ts';
import { promisesFeature } from '../link/messages/promise.ts';
import {
  documentKey,
  groupRecordKey,
  leaseKey,
  type AutomaticTakeOver,
  type ClusterDocument,
  type GroupEntry,
  type MirrorMode,
  type VolumeEntry,
} from '../store/document.ts';
import type { Indication } from '../pulse/indication.ts';
import type { PulseStatus, UseChange, UseResult } from '../pulse/service.ts';
import { defaultLeaseMarginMs, defaultLeaseTtlMs, LeaseObserver, type Lease } from '../store/lease.ts';
import type { Entry, Store } from '../store/store.ts';
import { imagePathOf } from '../volume/last-image.ts';
import { makeWwid } from '../volume/wwid.ts';
import type {
  AssignLogRequest,
  CreateLogRequest,
  CreateVolumeRequest,
  Explanation,
  LogRetentionRequest,
  LogRow,
  LogSizeRequest,
  MoveResult,
  NodeControl,
  NodeEvent,
  ResolveRequest,
  ResolveResult,
  TakeOverRequest,
} from './control.ts';
import { DocumentAgreement, documentMethod } from './document-agreement.ts';
import {
  acknowledgeMethod,
  AlertControlPart,
  alertNotes,
  heardNodes,
  type Acknowledged,
  type AcknowledgeAlertsRequest,
  type AlertList,
  type TestAlertsRequest,
} from './alert-control.ts';
import { AgentControlPart, type Decisions } from './agent-control.ts';
import { Conditions, type LinkSight } from './conditions.ts';
import { DataPathWatch } from './data-path.ts';
import { DrillControlPart, type DrillList, type DrillRequest } from './drill-control.ts';
import { NodeExports } from './exports.ts';
import { IscsiControlPart, type IscsiSessionList, type IscsiTargetList, type OwnIscsi } from './iscsi-control.ts';
import { HostGroups, reserveMethod } from './host-groups.ts';
import { FrameRouter } from './frames.ts';
import { sightOf } from './group-sight.ts';
import { LogControl } from './log-control.ts';
import { MirrorControl } from './mirror-control.ts';
import { mergeStatus, unreachable, type StatusAnswer } from './merge-status.ts';
import { echoTimes, healthTimes, LinkSupervision } from './link-supervision.ts';
import { NodePulse, type NodePulseContext } from './node-pulse.ts';
import { PulseControlPart, type PulseTableRow } from './pulse-control.ts';
import type { ProcessFaults } from './process-faults.ts';
import type { PulseHost } from './pulse-host.ts';
import { Rates } from './rates.ts';
import { ResourceControl, type ResourceWorld } from './resource-control.ts';
import type { AgentList, CheckRequest, CheckStatus, ResourcesStatus } from './resource-status.ts';
import { differs, parseDocument } from './stored-document.ts';
import { withMode, withoutVolume, withVolume } from './volume-changes.ts';

export interface NodeOptions {
  readonly environment: Environment;
  readonly devices: DeviceProvider;
  readonly store: Store;
  /** Of this node; ended with it. */
  readonly pulse: PulseHost;
  readonly name: string;
  /** Written to the store when it has no document yet. */
  readonly declared: ClusterDocument;
  readonly dataFolder: string;
  readonly listen: Address;
  readonly connectionsPerLink: number;
  /** Where the document has no pulse, which says it. */
  readonly leaseTtlMs?: number;
  readonly leaseMarginMs?: number;
  readonly softwareVersion: string;
  readonly pid: number | null;
  readonly bitsSlotBytes: number;
  /** What of production lies at a path of this machine (HM-3); absent: nothing does. */
  readonly productionAt?: (document: ClusterDocument, path: string) => Promise<string | null>;
  /** `store: none`: `store` is this node's alone, and `declared` is the document. Default false. */
  readonly storeless?: boolean;
  /** Absent: nothing but the volumes moves with a group. */
  readonly resources?: ResourceWorld;
  /** What this process can do to itself for a drill; absent: it can only be cut off. */
  readonly faults?: ProcessFaults;
  /** How people are told of failures; null: nobody is, and nothing is kept. */
  readonly alerts?: { readonly settings: AlertSettings; readonly sinks: readonly AlertSink[] } | null;
}

const withoutStoreRisk =
  'no coordination store: nothing but a person, or the heartbeats, decides whether an owner is dead; a wrong decision makes ' +
  'two nodes serve different data (docs/manual/without-a-store.md)';
const pollMs = 500;
/** While another node is suspected or taken over from, and for so long after that was last said. */
const hurriedPollMs = 100;
const hurryMs = 5000;
/** Of a lease's time: how late its last renewal is seen is how much later it is known to have lapsed. */
const leaseLooksPerTtl = 12;
const tickMs = 1000;
const statusTimeoutMs = 1500;
const moveTimeoutMs = 120_000;
const announceTimeoutMs = 500;
const decisionsShown = 5;

const groupName = z.object({ group: z.string() });
const groupAndNode = z.object({ group: z.string(), node: z.string() });

export class Node implements NodeControl {
  readonly nodeName: string;
  readonly exports: NodeExports;
  /** For servers whose hosts stay connected while a group moves. */
  readonly hostGroups: HostGroups;
  readonly heartbeatMirrors: MirrorControl;
  /** How hosts reach this node; set by who binds the servers. */
  exportBases: readonly string[] = [];
  /** Its iSCSI server; set by who binds it, null where there is none. */
  ownIscsi: OwnIscsi | null = null;

  readonly #options: NodeOptions;
  readonly #environment: Environment;
  readonly #groups = new Map<string, Group>();
  readonly #router: FrameRouter;
  readonly #logs: LogControl;
  readonly #agent: Agent;
  readonly #agents: AgentControlPart;
  readonly #drills: DrillControlPart;
  readonly #resources: ResourceControl | null;
  readonly #alertControl: AlertControlPart;
  readonly #iscsi: IscsiControlPart;
  #alerts: Alerts | null = null;
  readonly #pulseControl: PulseControlPart;
  readonly #leases = new Map<string, LeaseObserver>();
  readonly #pulse: NodePulse;
  readonly #linkSupervision: LinkSupervision;
  readonly #lease: Lease;
  /** With the peers' documents, where each node has its own; null where a store has the only one. */
  readonly #agreement: DocumentAgreement | null;
  readonly #incarnation: string;
  readonly #listeners = new Set<(event: NodeEvent) => void>();
  #document: ClusterDocument;
  /** Of the store's entry last learnt from a poll: with many groups it is long, and most polls find the same. */
  #documentRevision = 0;
  #links: LinkTable | null = null;
  #storeProblem: string | null = null;
  #ticker: Timer | null = null;
  #poller: Timer | null = null;
  #polling = false;
  /** The agent suspects another node. */
  #suspects = false;
  #hurryUntilMs = -Infinity;
  /** All of the store is read from then on; leases alone before. */
  #wholePollAtMs = -Infinity;
  #ownedText = '';
  #ownedVersion = 0;
  #stopping = false;
  readonly #rates = new Map<string, Rates>();
  readonly #dataPath = new DataPathWatch();
  readonly #conditions: Conditions;
  /** Why the pulse was silent since the last look: it may beat again by then. */
  #wasStuck: string | null = null;

  constructor(options: NodeOptions) {
    this.#options = options;
    this.#environment = options.environment;
    this.nodeName = options.name;
    this.#document = options.declared;
    this.#incarnation = randomHex(options.environment.random, 16);
    this.#conditions = new Conditions(options.name);
    this.exports = new NodeExports(this.#groups);
    this.hostGroups = new HostGroups({
      node: options.name,
      environment: options.environment,
      groups: this.#groups,
      document: () => this.#document,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
    });
    this.#router = new FrameRouter(this.#groups);
    this.#logs = new LogControl({
      node: options.name,
      document: () => this.#document,
      changeDocument: (change) => this.#changeDocument(change),
      status: () => this.status(),
      group: (name) => this.#groups.get(name),
      ownerOf: (name) => this.#ownerOf(name),
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
    });
    this.#lease = options.pulse.lease;
    this.#pulse = new NodePulse({
      environment: options.environment,
      host: options.pulse,
      node: options.name,
      incarnation: this.#incarnation,
      dataFolder: options.dataFolder,
      document: () => this.#document,
      productionAt: (path) => options.productionAt?.(this.#document, path) ?? Promise.resolve(null),
      ...(options.leaseTtlMs === undefined ? {} : { leaseTtlMs: options.leaseTtlMs }),
      linkHeard: () => this.#linkHeard(),
      word: () => this.#word(),
      commands: options.resources?.commands ?? null,
      leaseAcquired: () => {
        for (const group of this.#groups.values()) group.leaseAcquired();
      },
      leaseLapsed: (reason) => {
        this.#event(null, 'lease', `the lease has lapsed: ${reason}`);
        for (const group of this.#groups.values()) group.leaseLapsed();
      },
      changed: ({ muted }) => {
        this.#wasStuck ??= muted;
        this.#agent.look();
        this.#alerts?.heardNodesChanged();
      },
      indicated: (indication) => this.#note(indication),
    });
    this.#linkSupervision = new LinkSupervision({
      clock: options.environment.clock,
      times: () => healthTimes(this.#document.pulse),
      pulse: () => this.#pulse.asked,
      heard: (peer, agoMs) => this.#links?.healthHeard(peer, agoMs),
    });
    this.#agreement = options.storeless ? this.#makeAgreement() : null;
    this.heartbeatMirrors = new MirrorControl({
      node: options.name,
      document: () => this.#document,
      mirrors: this.#pulse.mirrors,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
    });
    this.#agent = new Agent({
      environment: options.environment,
      node: options.name,
      folder: `${options.dataFolder}/agent`,
      document: () => this.#document,
      groups: () => this.#groups.values(),
      pulse: () => this.#pulse.snapshot,
      lease: this.#lease,
      leaseOf: (node) => this.#observer(node),
      store: () => this.#storeState(),
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
      hurry: (on) => {
        this.#suspects = on;
        if (on) this.#hurry();
      },
      indicate: (indication) => this.#indicate(indication),
      event: (group, kind, message) => this.#event(group, kind, message),
      mute: (reason) => this.#pulse.mute('agent', reason),
      stalled: (group) => this.#dataPath.reasonOf(group),
    });
    this.#iscsi = new IscsiControlPart({
      node: options.name,
      otherNodes: () => this.#document.nodes.flatMap(({ name }) => (name === this.nodeName ? [] : [name])),
      own: () => this.ownIscsi,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
    });
    this.#alertControl = new AlertControlPart({
      node: options.name,
      otherNodes: () => this.#document.nodes.flatMap(({ name }) => (name === this.nodeName ? [] : [name])),
      alerts: () => this.#alerts,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
    });
    this.#agents = new AgentControlPart({
      node: options.name,
      document: () => this.#document,
      changeDocument: (change) => this.#changeDocument(change),
      agent: () => this.#agent,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
      switchOver: (request) => this.switchOver(request),
    });
    this.#drills = this.#makeDrills();
    this.#resources = options.resources === undefined ? null : this.#makeResources(options.resources);
    this.#pulseControl = new PulseControlPart({
      node: options.name,
      clock: options.environment.clock,
      document: () => this.#document,
      pulse: () => this.#pulse.asked,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
    });
  }

  #exportsOf(group: string, volume: string, index: number): readonly string[] {
    const nbd = this.exportBases.map((base) => exportUri(base, volume));
    return [...nbd, ...(this.ownIscsi?.exportsOf(group, index) ?? [])];
  }

  get groups(): ReadonlyMap<string, Group> {
    return this.#groups;
  }

  /** Of this node's agent alone, oldest first; `decisions` asks all nodes. */
  agentDecisions(group: string): readonly KeptDecision[] {
    return this.#agent.decisions(group, decisionsShown);
  }

  get agentState(): Readonly<Remembered> {
    return this.#agent.state.current;
  }

  /** Rejects when the store holds a document this node has no part in, or the replication address cannot be had. */
  async start(): Promise<void> {
    this.#document = await this.#agreeOnDocument();
    const document = this.#document;
    if (!document.nodes.some((node) => node.name === this.nodeName)) {
      throw new HoldfastError(
        'E_NOT_FOUND',
        `node ${this.nodeName} is not in the cluster document of ${document.cluster}`,
      );
    }
    this.#links = new LinkTable(
      this.#environment,
      {
        clusterId: document.clusterId,
        node: this.nodeName,
        incarnation: this.#incarnation,
        softwareVersion: this.#options.softwareVersion,
        features: [promisesFeature],
      },
      {
        listen: this.#options.listen,
        connectionsPerLink: this.#options.connectionsPerLink,
        peers: this.#peers(),
        ...echoTimes(document.pulse),
        health: () => healthTimes(this.#document.pulse),
      },
      {
        connectionUp: (connection) => {
          this.#agreement?.connectionUp(connection);
          if (this.#agreement?.agrees(connection.peer) === false) return;
          for (const group of this.#groups.values()) group.connectionUp(connection);
        },
        connectionDown: (connection, reason) => {
          this.#router.connectionDown(connection);
          for (const group of this.#groups.values()) group.connectionDown(connection, reason);
        },
        frame: (connection, frame) => this.#router.route(connection, frame),
        drained: () => {
          for (const group of this.#groups.values()) group.drained();
        },
        call: (peer, method, params) => this.#called(peer, method, params),
      },
    );
    if (this.#resources !== null) await this.#resources.start();
    this.#syncGroups();
    await this.#links.start();
    await this.#openAlerts();
    await this.#pulse.start();
    this.#linkSupervision.start();
    this.#tick();
    void this.#poll();
    await this.#agent.start();
    await this.#drills.start();
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#ticker?.cancel();
    this.#poller?.cancel();
    await this.#drills.stop();
    await this.#announceStop();
    await this.#agent.stop();
    await this.#resources?.close();
    for (const group of this.#groups.values()) await group.close();
    await this.#links?.close();
    this.#linkSupervision.stop();
    await this.#pulse.stop();
    await this.#options.store.close();
    await this.#alerts?.close();
  }

  async #openAlerts(): Promise<void> {
    const { environment, alerts, dataFolder } = this.#options;
    if (alerts == null) return;
    this.#alerts = await Alerts.open({
      environment,
      node: this.nodeName,
      cluster: this.#document.cluster,
      folder: `${dataFolder}/alerts`,
      ...alerts,
      silenceMs: this.#document.pulse?.timeoutMs ?? 0,
      heardNodes: () => heardNodes(this.#pulse.snapshot),
      spread: (indication) => this.#pulse.indicate(indication),
    });
    this.#conditions.recall(this.#alerts.seenHere(), environment.clock.monotonicMs());
  }

  /** AS-7: the others know that it is no failure, by heartbeat and by link. */
  async #announceStop(): Promise<void> {
    if (this.#document.pulse === null) return;
    const others = this.#document.nodes.filter(({ name }) => name !== this.nodeName);
    await Promise.all([
      this.#pulse.leave(),
      ...others.map(({ name }) => this.#request(name, 'agent.leaving', {}, announceTimeoutMs).catch(() => {})),
    ]);
  }

  // ---- following the store ----

  /** The store's document, or the declared one put there. Waits for a store that cannot be reached. */
  async #agreeOnDocument(): Promise<ClusterDocument> {
    const { store, declared, storeless } = this.#options;
    if (storeless) {
      this.#environment.log.warn(withoutStoreRisk);
      return declared;
    }
    for (;;) {
      try {
        const entry = await store.read(documentKey);
        this.#storeProblem = null;
        if (entry !== null) {
          const document = parseDocument(entry.value);
          if (differs(document, declared)) {
            this.#environment.log.warn(
              'the configuration file differs from the cluster document in the store, which counts',
            );
          }
          return document;
        }
        const value = JSON.stringify(declared);
        const outcome = await store.commit({
          require: [{ key: documentKey, revision: 0 }],
          put: [{ key: documentKey, value }],
        });
        if (outcome.kind === 'committed') return declared;
      } catch (error) {
        if (error instanceof HoldfastError && error.code !== 'E_STORE_UNREACHABLE') throw error;
        this.#storeProblem = messageOf(error);
        this.#environment.log.error(`waiting for the coordination store: ${messageOf(error)}`);
      }
      await new Promise<void>((resolve) => void this.#environment.clock.after(pollMs, resolve));
    }
  }

  async #poll(): Promise<void> {
    if (this.#polling || this.#stopping) return;
    this.#polling = true;
    const { clock } = this.#environment;
    const beganMs = clock.monotonicMs();
    const hurried = this.#suspects || beganMs < this.#hurryUntilMs;
    const whole = hurried || beganMs >= this.#wholePollAtMs;
    const versions = new Map([...this.#groups].map(([name, group]) => [name, group.keeper.version]));
    try {
      const found = await this.#options.store.readAll(whole ? '' : leaseKey(''));
      const entries = new Map(found.map((entry) => [entry.key, entry]));
      this.#storeProblem = null;
      this.#learnLeases(entries);
      if (whole) this.#learn(entries, versions);
    } catch (error) {
      if (this.#storeProblem === null)
        this.#event(null, 'store', `the coordination store does not answer: ${messageOf(error)}`);
      this.#storeProblem = messageOf(error);
    } finally {
      this.#polling = false;
    }
    if (this.#stopping) return;
    if (whole) this.#wholePollAtMs = beganMs + pollMs;
    this.#poller = clock.after(hurried ? hurriedPollMs : this.#pauseMs(clock.monotonicMs()), () => void this.#poll());
  }

  /** Until the store is looked at again: when a renewal is due, often until it is seen, and all of it in time. */
  #pauseMs(nowMs: number): number {
    const due = [...this.#leases.values()].map(({ renewalDueMs }) => renewalDueMs);
    const leasesMs = Math.max(hurriedPollMs, this.#leaseTimes().ttlMs / leaseLooksPerTtl);
    return Math.max(Math.min(pollMs, leasesMs), Math.min(this.#wholePollAtMs, ...due) - nowMs);
  }

  /** The store is looked at more often for a while: another node is suspected, or being taken over from. */
  #hurry(): void {
    const now = this.#environment.clock.monotonicMs();
    const already = now < this.#hurryUntilMs;
    this.#hurryUntilMs = now + hurryMs;
    if (already || this.#polling || this.#poller === null) return;
    this.#poller.cancel();
    void this.#poll();
  }

  /** Leases, and promises in their place (R15, R16). The document's pulse says, or else this node's options. */
  #leaseTimes(): PromiseTimes {
    const { pulse } = this.#document;
    return {
      ttlMs: pulse?.leaseTtlMs ?? this.#options.leaseTtlMs ?? defaultLeaseTtlMs,
      marginMs: pulse?.leaseMarginMs ?? this.#options.leaseMarginMs ?? defaultLeaseMarginMs,
    };
  }

  #learnLeases(entries: ReadonlyMap<string, Entry>): void {
    const now = this.#environment.clock.monotonicMs();
    for (const { name } of this.#document.nodes) {
      if (name !== this.nodeName) this.#observer(name).observe(entries.get(leaseKey(name)) ?? null, now);
    }
  }

  #learn(entries: ReadonlyMap<string, Entry>, versions: ReadonlyMap<string, number>): void {
    const stored = this.#agreement === null ? entries.get(documentKey) : undefined;
    if (stored !== undefined && stored.revision !== this.#documentRevision) {
      this.#learnDocument(parseDocument(stored.value));
      this.#documentRevision = stored.revision;
    }
    for (const [name, version] of versions) {
      this.#groups.get(name)?.observe(entries.get(groupRecordKey(name)) ?? null, version);
    }
  }

  #learnDocument(document: ClusterDocument): void {
    if (document.version <= this.#document.version) return;
    this.#document = document;
    this.#event(null, 'document', `the cluster document is at version ${document.version}`);
    this.#links?.setPeers(this.#peers());
    this.#syncGroups();
  }

  #storeState(): 'none' | 'reachable' | 'unreachable' {
    if (this.#options.storeless) return 'none';
    return this.#storeProblem === null ? 'reachable' : 'unreachable';
  }

  #observer(node: string): LeaseObserver {
    let observer = this.#leases.get(node);
    if (observer === undefined) this.#leases.set(node, (observer = new LeaseObserver(this.#leaseTimes().marginMs)));
    return observer;
  }

  #peers(): { name: string; address: Address }[] {
    const peers: { name: string; address: Address }[] = [];
    for (const { name, replication } of this.#document.nodes) {
      const address = parseAddress(replication);
      if (name !== this.nodeName && address !== null) peers.push({ name, address });
    }
    return peers;
  }

  /** Makes the groups of this node those of the document. */
  #syncGroups(): void {
    const mine = this.#document.groups.filter((group) => group.legs.some((leg) => leg.node === this.nodeName));
    for (const entry of mine) {
      const group = this.#groups.get(entry.name);
      if (group === undefined) this.#groups.set(entry.name, this.#makeGroup(entry));
      else void this.#changeGroup(group, entry);
    }
    for (const [name, group] of [...this.#groups]) {
      if (mine.some((entry) => entry.name === name)) continue;
      this.#groups.delete(name);
      void this.#dropGroup(group);
    }
    this.hostGroups.documentChanged();
  }

  async #changeGroup(group: Group, entry: GroupEntry): Promise<void> {
    const gone = group.entry.volumes.filter((volume) => !entry.volumes.some((kept) => kept.index === volume.index));
    try {
      await group.changeEntry(entry);
      for (const volume of gone) await this.#removeData(volume);
    } catch (error) {
      this.#event(group.name, 'failed', `the change of the group could not be carried out: ${messageOf(error)}`);
    }
  }

  async #dropGroup(group: Group): Promise<void> {
    try {
      const { volumes } = group.entry;
      await group.close();
      if (group.leg !== null) await GroupLog.discard(this.#environment, group.leg);
      for (const volume of volumes) await this.#removeData(volume);
      const folder = this.#metadataFolder(group.name);
      for (const name of ['leg', 'bits', 'cursor', 'intent', 'leg.new', 'bits.new'])
        await this.#environment.files.remove(`${folder}/${name}`);
      this.#event(group.name, 'deleted', `group ${group.name} was deleted`);
    } catch (error) {
      this.#event(group.name, 'failed', `what the deleted group held could not be removed: ${messageOf(error)}`);
    }
  }

  async #removeData(volume: VolumeEntry): Promise<void> {
    const path = this.#pathOf(volume);
    for (const file of [path, imagePathOf(path)]) await this.#options.devices.remove(file);
  }

  #makeGroup(entry: GroupEntry): Group {
    const { store, devices, dataFolder, bitsSlotBytes } = this.#options;
    return new Group(
      {
        environment: this.#environment,
        node: this.nodeName,
        store,
        lease: this.#lease,
        leaseOf: (node) => (node === this.nodeName ? null : this.#observer(node)),
        devices,
        document: () => this.#document,
        connectionTo: (node) => this.#connectionFor(entry.name, node),
        request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
        closeLink: (node, reason) => this.#links?.closePeer(node, reason),
        hurry: () => this.#hurry(),
        commandTimeoutMs: () => this.#document.pulse?.link.commandTimeoutMs ?? null,
        promiseTimes: () => this.#leaseTimes(),
        metadataFolder: this.#metadataFolder(entry.name),
        forkFolder: `${dataFolder}/forks`,
        logFolders: (log) => log.places[this.nodeName] ?? [`${dataFolder}/logs/${entry.name}`],
        pathOf: (volume) => this.#pathOf(volume),
        bitsSlotBytes,
        newId: (group, replaces) => this.#router.newId(group, replaces),
        forgetId: (id) => this.#router.forget(id),
        event: (group, kind, message) => this.#event(group, kind, message),
        changed: () => this.hostGroups.changed(entry.name),
        ...(this.#agreement === null ? {} : { storeless: { heard: (node) => this.#heard(node) } }),
        ...(this.#resources === null ? {} : { service: this.#resources }),
      },
      entry,
    );
  }

  #makeResources(world: ResourceWorld): ResourceControl {
    return new ResourceControl({
      environment: this.#environment,
      node: this.nodeName,
      dataFolder: this.#options.dataFolder,
      world,
      document: () => this.#document,
      group: (name) => this.#groups.get(name),
      ownerOf: (name) => this.#ownerOf(name),
      pathOf: (volume) => this.#pathOf(volume),
      exportsOf: (volume) => this.exportBases.map((base) => exportUri(base, volume)),
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
      nodeAutomatic: () => this.#agent.state.current.automatic,
      gaveUp: (group, reason) => this.#agent.applicationGaveUp(group, reason),
      indicate: (indication) => this.#indicate(indication),
      event: (group, kind, message) => this.#event(group, kind, message),
    });
  }

  /** Who asks for what this node was not given. */
  get #resourcesHere(): ResourceControl {
    if (this.#resources === null)
      throw new HoldfastError('E_REFUSED', `${this.nodeName} runs nothing beside its volumes`);
    return this.#resources;
  }

  #metadataFolder(group: string): string {
    return `${this.#options.dataFolder}/groups/${group}`;
  }

  #pathOf(volume: VolumeEntry): string {
    return volume.paths[this.nodeName] ?? `${this.#options.dataFolder}/volumes/${volume.name}.img`;
  }

  /** R2: a group's records travel on one connection; groups are spread over all. */
  #connectionFor(group: string, node: string): LinkConnection | null {
    if (this.#agreement?.agrees(node) === false) return null;
    const up = this.#links?.outgoing(node) ?? [];
    const at = this.#document.groups.findIndex((entry) => entry.name === group);
    return up[Math.max(0, at) % Math.max(1, up.length)] ?? null;
  }

  #tick(): void {
    if (this.#stopping) return;
    this.#ticker = this.#environment.clock.after(tickMs, () => this.#tick());
    this.#resources?.tick();
    this.#agreement?.tick();
    for (const group of this.#groups.values()) {
      group.tick();
      this.#ratesOf(group).sample(this.#environment.clock.monotonicMs(), group.owner?.counters ?? null);
    }
    const stalled = this.#dataPath.look(this.#groups.values(), this.#environment.clock.monotonicMs());
    for (const { group, reason } of stalled) this.#event(group, 'stalled', reason);
    this.#lookForFailures();
  }

  /** HM-16. */
  #lookForFailures(): void {
    const { clock } = this.#environment;
    const { state, reason } = this.#lease;
    const stuck = this.#pulse.snapshot?.muted ?? this.#wasStuck;
    this.#wasStuck = null;
    const told = this.#conditions.look({
      monotonicMs: clock.monotonicMs(),
      wallMs: clock.wallMs(),
      groups: [...this.#groups.values()].map((group) =>
        sightOf(group, {
          node: this.nodeName,
          stalled: this.#dataPath.reasonOf(group.name),
          pathOf: (volume) => this.#pathOf(volume),
          metadataFolder: this.#metadataFolder(group.name),
          describe: () => describeGroup(group, this.#describeContext(group)),
        }),
      ),
      links: this.#linkSights(),
      lease: { state, reason },
      storeProblem: this.#options.storeless ? null : this.#storeProblem,
      stuck,
    });
    for (const indication of told) this.#indicate(indication);
  }

  #linkSights(): LinkSight[] {
    const { planned } = this.#agent.state.current;
    const peers = new Set([...this.#groups.values()].flatMap(({ entry }) => entry.legs.map(({ node }) => node)));
    peers.delete(this.nodeName);
    return [...peers].map((peer) => {
      const { state = 'connecting', reason = null } = this.#links?.reachable(peer) ?? {};
      return { peer, up: state === 'up', reason, planned: peer in planned };
    });
  }

  #ratesOf(group: Group): Rates {
    let rates = this.#rates.get(group.name);
    if (rates === undefined) this.#rates.set(group.name, (rates = new Rates()));
    return rates;
  }

  // ---- between nodes ----

  #request(node: string, method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    if (this.#links === null)
      return Promise.reject(new HoldfastError('E_NODE_UNREACHABLE', `${node} cannot be reached yet`));
    return this.#links.request(node, method, params, timeoutMs);
  }

  #makeDrills(): DrillControlPart {
    return new DrillControlPart({
      environment: this.#environment,
      node: this.nodeName,
      folder: `${this.#options.dataFolder}/agent`,
      document: () => this.#document,
      changeDocument: (change) => this.#changeDocument(change),
      group: (name) => this.#groups.get(name),
      ownerOf: (name) => this.#ownerOf(name),
      status: () => this.status(),
      store: () => this.#storeState(),
      heard: (node) => this.#pulse.snapshot?.peers.some((peer) => peer.node === node && isHeard(peer)) === true,
      leaseValid: () => this.#lease.isValid(),
      nodeAutomatic: () => this.#agent.state.current.automatic,
      exportBases: () => this.exportBases,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
      switchOver: (request) => this.switchOver(request),
      decisions: (request) => this.#agents.decisions(request),
      faults: this.#options.faults ?? null,
      isolate: (reason) => this.#isolate(reason),
      event: (group, kind, message) => this.#event(group, kind, message),
    });
  }

  /** From all other nodes, and its lease not renewed. */
  #isolate(reason: string | null): void {
    this.#pulse.mute('drill', reason);
    for (const { name } of this.#peers()) {
      if (reason === null) this.#links?.resumePeer(name);
      else this.#links?.suspendPeer(name, reason);
    }
  }

  #makeAgreement(): DocumentAgreement {
    return new DocumentAgreement({
      node: this.nodeName,
      document: () => this.#document,
      request: (node, method, params, timeoutMs) => this.#request(node, method, params, timeoutMs),
      agreed: (peer) => {
        for (const connection of this.#links?.connections(peer) ?? [])
          for (const group of this.#groups.values()) group.connectionUp(connection);
      },
      differs: (difference) =>
        this.#event(
          null,
          'document',
          `${difference}: the two nodes have nothing to do with each other until that is mended and one is started again`,
        ),
    });
  }

  /** By what another node is known to live, without a store. */
  #heard(node: string): string | null {
    if (this.#links?.reachable(node).state === 'up') return 'its replication link is up';
    const peer = this.#options.pulse?.snapshot?.peers.find((candidate) => candidate.node === node);
    return peer !== undefined && isHeard(peer) ? 'its heartbeats arrive' : null;
  }

  async #called(peer: string, method: string, params: unknown): Promise<unknown> {
    switch (method) {
      case documentMethod:
        return this.#agreement?.answer() ?? null;
      case exchangeMethod: {
        const { group, account } = z.object({ group: z.string(), account: z.unknown() }).parse(params);
        const exchange = this.#groups.get(group)?.exchange ?? null;
        if (exchange === null || this.#agreement?.agrees(peer) !== true)
          throw new HoldfastError('E_REFUSED', this.#agreement?.problem(peer) ?? `group ${group} is not known here`);
        return exchange.offered(peer, account);
      }
      case 'group.resolve':
        return this.resolveSplitBrain(
          z.object({ group: z.string(), keep: z.string(), yes: z.boolean() }).parse(params),
        );
      case 'node.status':
        return { node: this.#nodeStatus(), groups: this.#groupStatuses() };
      case 'node.present':
        return this.nodeName;
      case 'iscsi.targets':
      case 'iscsi.sessions':
      case 'iscsi.disconnect':
        return this.#iscsi.called(method, params);
      case acknowledgeMethod:
        return this.#alertControl.called(params);
      case 'agent.decisions':
      case 'agent.automatic':
      case 'agent.leaving':
        return this.#agents.called(method, peer, params);
      case 'drill.start':
      case 'drill.list':
      case 'drill.look':
      case 'drill.fault':
        return this.#drills.called(method, peer, params);
      case 'pulse.status':
      case 'pulse.table':
        return this.#pulseControl.called(method, params);
      case 'node.refresh':
        await this.#refreshDocument();
        return null;
      case reserveMethod:
        return this.hostGroups.called(params);
      case 'group.look':
        this.#groups.get(groupName.parse(params).group)?.look();
        return null;
      case 'group.release': {
        const { group, id } = z.object({ group: z.string(), id: z.string() }).parse(params);
        return this.#groups.get(group)?.moves.release(id) ?? false;
      }
      case 'group.serving': {
        const group = this.#groups.get(groupName.parse(params).group);
        return group?.serving === true ? (group.record?.generation ?? 0) : 0;
      }
      case 'group.sessions': {
        const { group, volume } = z.object({ group: z.string(), volume: z.string() }).parse(params);
        return this.#groups.get(group)?.sessionsOn(volume) ?? 0;
      }
      case 'group.switchOver': {
        const { group, node } = groupAndNode.parse(params);
        return this.switchOver({ group, to: node });
      }
      case 'group.takeOver': {
        const request = groupAndNode.extend({ force: z.boolean(), lastConsistent: z.boolean().default(false) });
        return this.takeOver(request.parse(params));
      }
      case 'mirror.pause':
      case 'mirror.resume':
      case 'mirror.resync': {
        const { group, node } = groupAndNode.parse(params);
        await this.#mirror(method, group, node, false);
        return null;
      }
      case 'resources.status':
      case 'resources.start':
      case 'check.look':
      case 'agents.list':
        return this.#resourcesHere.called(method, params);
      case 'log.mark':
      case 'log.moments':
        return this.#logs.called(method, params);
      case 'heartbeatMirror.list':
      case 'heartbeatMirror.do':
        return this.heartbeatMirrors.called(method, params);
      default:
        throw new HoldfastError('E_PROTOCOL', `this version knows no request ${method}`);
    }
  }

  // ---- what an administrator asks ----

  async status(): Promise<ClusterStatus> {
    const notes: string[] = [];
    const others = this.#document.nodes.filter((node) => node.name !== this.nodeName);
    const answers = await Promise.all(
      others.map(async ({ name, site }) => {
        try {
          return { name, answer: (await this.#request(name, 'node.status', {}, statusTimeoutMs)) as StatusAnswer };
        } catch (error) {
          const reason = messageOf(error);
          notes.push(`${name} could not be asked: ${reason}`);
          return { name, answer: { node: unreachable(name, site, reason), groups: [] } satisfies StatusAnswer };
        }
      }),
    );
    const statuses = new Map<string, { node: string; status: GroupStatus }[]>();
    const add = (node: string, list: readonly GroupStatus[]): void => {
      for (const status of list) {
        const known = statuses.get(status.name) ?? [];
        known.push({ node, status });
        statuses.set(status.name, known);
      }
    };
    add(this.nodeName, this.#groupStatuses());
    for (const { name, answer } of answers) add(name, answer.groups);
    if (this.#agreement !== null) {
      notes.push(withoutStoreRisk);
      for (const { name } of others) {
        const problem = this.#agreement.problem(name);
        if (problem !== null) notes.push(`${name} is not dealt with: ${problem}`);
      }
    }
    if (this.#storeProblem !== null) notes.push(`the coordination store does not answer: ${this.#storeProblem}`);
    if (this.#alerts !== null) notes.push(...alertNotes(this.nodeName, this.#alerts.summary));
    return {
      schema: 1,
      cluster: this.#document.cluster,
      answeredBy: this.nodeName,
      nodes: this.#document.nodes.map(({ name, site }) =>
        name === this.nodeName
          ? this.#nodeStatus()
          : (answers.find((other) => other.name === name)?.answer.node ?? unreachable(name, site, 'not asked')),
      ),
      groups: this.#document.groups.flatMap(({ name }) => {
        const merged = mergeStatus(statuses.get(name) ?? []);
        return merged === null ? [] : [merged];
      }),
      notes,
    };
  }

  /** As far as this node knows. */
  get currentDocument(): ClusterDocument {
    return this.#document;
  }

  document(): Promise<ClusterDocument> {
    return Promise.resolve(this.#document);
  }

  async why(subject: string): Promise<Explanation> {
    const entry = this.#groupOf(subject);
    const { groups, notes } = await this.status();
    const group = groups.find(({ name }) => name === entry.name);
    if (group === undefined)
      throw new HoldfastError('E_NODE_UNREACHABLE', `no node with a copy of ${entry.name} can be asked`);
    const findings: Explanation['findings'][number][] = [];
    if (group.reason !== null) {
      findings.push({
        subject: group.name,
        state: group.service,
        reason: group.reason,
        nextStep: group.nextStep ?? '',
      });
    }
    for (const leg of group.legs) {
      if (leg.reason === null) continue;
      const state = [leg.role, leg.disk, leg.connection, leg.replication].filter((word) => word !== null).join(' / ');
      findings.push({
        subject: `${group.name} at ${leg.node}`,
        state,
        reason: leg.reason,
        nextStep: leg.nextStep ?? '',
      });
    }
    const { log } = group;
    if (log !== null && log.reason !== null) {
      const { state, reason, nextStep } = log;
      findings.push({ subject: `log of ${group.name} at ${log.node}`, state, reason, nextStep: nextStep ?? '' });
    }
    for (const fork of group.forks) {
      findings.push({
        subject: `${group.name} at ${fork.node}`,
        state: 'Fork kept',
        reason: `${fork.node} wrote on in generation ${fork.generation} after another node had taken over: ${fork.extents} extents, ${fork.bytes} bytes`,
        nextStep:
          fork.image === null
            ? 'There was no room to keep it; only this note is left.'
            : `Look at ${fork.image} on ${fork.node}, then delete it.`,
      });
    }
    const decided = await this.#agents.decisions({ group: entry.name, count: decisionsShown });
    for (const note of notes)
      findings.push({
        subject: this.nodeName,
        state: 'Not all nodes answered',
        reason: note,
        nextStep: 'Check that node.',
      });
    const owner = group.owner ?? 'nobody';
    const summary =
      findings.length === 0
        ? `Group ${group.name} is in its normal state: ${owner} serves it in generation ${group.generation}, every copy is UpToDate.`
        : `Group ${group.name}: ${group.service.toLowerCase()}, owner ${owner}, generation ${group.generation}; ${findings.length} thing${findings.length === 1 ? ' is' : 's are'} not normal.`;
    return { group: group.name, summary, findings, decisions: decided.decisions };
  }

  async createVolume(request: CreateVolumeRequest): Promise<{ group: string; wwid: string }> {
    const wwid = makeWwid(this.#environment.random);
    const name = request.group ?? request.name;
    await this.#changeDocument((document) => withVolume(document, request, { owner: this.nodeName, wwid }));
    return { group: name, wwid };
  }

  async deleteVolume({ name, force }: { name: string; force: boolean }): Promise<void> {
    const entry = this.#groupOf(name);
    const owner = this.#groups.get(entry.name)?.record?.owner ?? entry.preferredOwner;
    if (!force) {
      const sessions =
        owner === this.nodeName
          ? (this.#groups.get(entry.name)?.sessionsOn(name) ?? 0)
          : await this.#request(owner, 'group.sessions', { group: entry.name, volume: name }, statusTimeoutMs);
      if (sessions !== 0) {
        throw new HoldfastError(
          'E_REFUSED',
          `volume ${name}: ${String(sessions)} host session(s) have it open; end them first, or use --force`,
        );
      }
    }
    const dropped = entry.volumes.length === 1;
    await this.#changeDocument(
      (document) => withoutVolume(document, name),
      dropped ? [groupRecordKey(entry.name)] : [],
    );
  }

  switchOver({ group: name, to }: { group: string; to: string }): Promise<MoveResult> {
    const group = this.#mustKnow(name);
    this.#mustBeNode(to);
    if (group?.role === 'primary') {
      return group.moves.switchOver(to).then((moved) => ({ group: name, owner: to, ...moved }));
    }
    const owner = this.#ownerOf(name);
    if (owner === to) throw new HoldfastError('E_REFUSED', `group ${name}: ${to} is the owner already`);
    if (owner === this.nodeName) {
      throw new HoldfastError(
        'E_REFUSED',
        `group ${name}: ${owner} owns it but does not serve it: ${group?.problem ?? 'not open yet'}`,
      );
    }
    return this.#request(owner, 'group.switchOver', { group: name, node: to }, moveTimeoutMs).catch(
      (error: unknown) => {
        if (error instanceof HoldfastError && error.code === 'E_NODE_UNREACHABLE') {
          throw new HoldfastError(
            'E_NODE_UNREACHABLE',
            `group ${name}: its owner ${owner} does not answer, so it cannot hand over; if it is dead: holdfast group take-over ${name} --node ${to}`,
            { cause: error },
          );
        }
        throw error;
      },
    ) as Promise<MoveResult>;
  }

  takeOver(request: TakeOverRequest): Promise<MoveResult> {
    const { group: name, node, force, lastConsistent } = request;
    const group = this.#mustKnow(name);
    this.#mustBeNode(node);
    if (node !== this.nodeName) {
      return this.#request(node, 'group.takeOver', request, moveTimeoutMs) as Promise<MoveResult>;
    }
    if (group === undefined) throw new HoldfastError('E_REFUSED', `group ${name}: ${node} has no copy of it`);
    return group.moves.takeOver(force, lastConsistent).then((moved) => ({ group: name, owner: node, ...moved }));
  }

  resolveSplitBrain(request: ResolveRequest): Promise<ResolveResult> {
    const { group: name, keep, yes } = request;
    const group = this.#mustKnow(name);
    this.#mustBeNode(keep);
    if (keep !== this.nodeName)
      return this.#request(keep, 'group.resolve', request, moveTimeoutMs) as Promise<ResolveResult>;
    if (group === undefined) throw new HoldfastError('E_REFUSED', `group ${name}: ${keep} has no copy of it`);
    return group.moves.resolve(yes).then((resolved) => ({ group: name, kept: keep, ...resolved }));
  }

  iscsiTargets(): Promise<IscsiTargetList> {
    return this.#iscsi.iscsiTargets();
  }

  iscsiSessions(): Promise<IscsiSessionList> {
    return this.#iscsi.iscsiSessions();
  }

  disconnectIscsi(request: { readonly node: string; readonly session: number }): Promise<void> {
    return this.#iscsi.disconnectIscsi(request);
  }

  listAlerts(request: { all: boolean }): Promise<AlertList> {
    return this.#alertControl.listAlerts(request);
  }

  testAlerts(request: TestAlertsRequest): Promise<readonly TestResult[]> {
    return this.#alertControl.testAlerts(request);
  }

  acknowledgeAlerts(request: AcknowledgeAlertsRequest): Promise<Acknowledged> {
    return this.#alertControl.acknowledgeAlerts(request);
  }

  decisions(request: { group: string; count: number }): Promise<Decisions> {
    return this.#agents.decisions(request);
  }

  setGroupAutomatic(request: { group: string; automatic: AutomaticTakeOver }): Promise<void> {
    return this.#agents.setGroupAutomatic(request);
  }

  setNodeAutomatic(request: { node: string; on: boolean }): Promise<void> {
    return this.#agents.setNodeAutomatic(request);
  }

  giveBack(request: { group: string }): Promise<MoveResult> {
    return this.#agents.giveBack(request);
  }

  startDrill(request: DrillRequest): Promise<DrillReport> {
    return this.#drills.startDrill(request);
  }

  listDrills(request: { group: string }): Promise<DrillList> {
    return this.#drills.listDrills(request);
  }

  allowDrills(request: { group: string; on: boolean }): Promise<void> {
    return this.#drills.allowDrills(request);
  }

  async groupResources(request: { group: string }): Promise<ResourcesStatus> {
    return this.#resourcesHere.groupResources(request);
  }

  async startResources(request: { group: string }): Promise<ResourcesStatus> {
    return this.#resourcesHere.startResources(request);
  }

  async groupCheck(request: CheckRequest): Promise<CheckStatus> {
    return this.#resourcesHere.groupCheck(request);
  }

  async listAgents(): Promise<AgentList> {
    return this.#resourcesHere.listAgents();
  }

  pulseStatus(request: { node?: string }): Promise<PulseStatus> {
    return this.#pulseControl.pulseStatus(request);
  }

  pulseTables(request: { site?: string }): Promise<readonly PulseTableRow[]> {
    return this.#pulseControl.pulseTables(request);
  }

  usePulse(change: UseChange): Promise<UseResult> {
    return this.#pulseControl.usePulse(change);
  }

  pauseMirror({ group, to }: { group: string; to: string }): Promise<void> {
    return this.#mirror('mirror.pause', group, to, true);
  }

  resumeMirror({ group, to }: { group: string; to: string }): Promise<void> {
    return this.#mirror('mirror.resume', group, to, true);
  }

  resyncMirror({ group, to }: { group: string; to: string }): Promise<void> {
    return this.#mirror('mirror.resync', group, to, true);
  }

  listLogs(): Promise<readonly LogRow[]> {
    return this.#logs.listLogs();
  }

  createLog(request: CreateLogRequest): Promise<void> {
    return this.#logs.createLog(request);
  }

  assignLog(request: AssignLogRequest): Promise<void> {
    return this.#logs.assignLog(request);
  }

  setLogSize(request: LogSizeRequest): Promise<void> {
    return this.#logs.setLogSize(request);
  }

  setLogRetention(request: LogRetentionRequest): Promise<void> {
    return this.#logs.setLogRetention(request);
  }

  removeLog(request: { group: string; force: boolean }): Promise<void> {
    return this.#logs.removeLog(request);
  }

  markLog(request: { group: string; name: string }): Promise<LogMark> {
    return this.#logs.markLog(request);
  }

  logMoments(request: LogMomentsOptions & { readonly group: string }): Promise<LogMoments> {
    return this.#logs.logMoments(request);
  }

  async setMirror(request: { group: string; to: string; mode: MirrorMode }): Promise<void> {
    await this.#changeDocument((document) => withMode(document, request));
  }

  onEvent(listener: (event: NodeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #mirror(method: string, name: string, to: string, forward: boolean): Promise<void> {
    if (method === 'mirror.pause') await this.heartbeatMirrors.requireProduction(name, 'pause');
    const group = this.#mustKnow(name);
    this.#mustBeNode(to);
    if (group?.role === 'primary') {
      if (method === 'mirror.resync') await group.resyncMirror(to);
      else await group.pauseMirror(to, method === 'mirror.pause');
      return;
    }
    const owner = this.#ownerOf(name);
    if (!forward || owner === this.nodeName) {
      throw new HoldfastError('E_REFUSED', `group ${name}: ${this.nodeName} does not serve it now`);
    }
    await this.#request(owner, method, { group: name, node: to }, moveTimeoutMs);
  }

  #groupOf(subject: string): GroupEntry {
    const { groups } = this.#document;
    const entry =
      groups.find((group) => group.name === subject) ??
      groups.find((group) => group.volumes.some((volume) => volume.name === subject));
    if (entry === undefined) throw new HoldfastError('E_NOT_FOUND', `there is no group or volume ${subject}`);
    return entry;
  }

  #mustKnow(name: string): Group | undefined {
    if (!this.#document.groups.some((group) => group.name === name)) {
      throw new HoldfastError('E_NOT_FOUND', `there is no group ${name}`);
    }
    return this.#groups.get(name);
  }

  #mustBeNode(name: string): void {
    if (this.#document.nodes.some((node) => node.name === name)) return;
    const known = this.#document.nodes.map((node) => node.name).join(', ');
    throw new HoldfastError('E_NOT_FOUND', `there is no node ${name} (there are ${known})`);
  }

  #ownerOf(name: string): string {
    const owner = this.#groups.get(name)?.record?.owner;
    if (owner !== undefined) return owner;
    const entry = this.#document.groups.find((group) => group.name === name);
    return entry?.preferredOwner ?? this.nodeName;
  }

  async #changeDocument(
    change: (document: ClusterDocument) => ClusterDocument,
    remove: readonly string[] = [],
  ): Promise<void> {
    const { store, storeless } = this.#options;
    if (storeless) {
      throw new HoldfastError(
        'E_REFUSED',
        'there is no coordination store to keep the change: write it into the configuration file of every node, then ' +
          'start the nodes again',
      );
    }
    for (let attempt = 0; attempt < 5; attempt++) {
      const entry = await store.read(documentKey);
      if (entry === null) throw new HoldfastError('E_STORE_DAMAGED', 'the store has no cluster document');
      const before = parseDocument(entry.value);
      const after = { ...change(before), version: before.version + 1 };
      const value = JSON.stringify(after);
      const outcome = await store.commit({
        require: [{ key: documentKey, revision: entry.revision }],
        put: [{ key: documentKey, value }],
        remove,
      });
      // R11: of an unknown outcome it is read what became of it; else the change would be made twice.
      const happened = outcome.kind === 'unknown' && (await store.read(documentKey))?.value === value;
      if (outcome.kind === 'committed' || happened) {
        this.#learnDocument(after);
        for (const { name } of after.nodes) {
          if (name !== this.nodeName) this.#request(name, 'node.refresh', {}, statusTimeoutMs).catch(() => {});
        }
        return;
      }
      if (outcome.kind === 'unreachable') throw new HoldfastError('E_STORE_UNREACHABLE', outcome.reason);
    }
    throw new HoldfastError('E_BUSY', 'the cluster document is being changed by somebody else; try again');
  }

  async #refreshDocument(): Promise<void> {
    if (this.#agreement !== null) return;
    const entry = await this.#options.store.read(documentKey);
    if (entry !== null) this.#learnDocument(parseDocument(entry.value));
  }

  // ---- status ----

  #nodeStatus(): NodeStatus {
    const site = this.#document.nodes.find((node) => node.name === this.nodeName)?.site ?? '';
    const lease = this.#lease.state;
    return {
      name: this.nodeName,
      site,
      state: 'up',
      pid: this.#options.pid,
      version: this.#options.softwareVersion,
      lease,
      connections: this.#connections(),
      reason: lease === 'valid' ? null : `it holds no valid lease: ${this.#lease.reason ?? 'unknown'}`,
      nextStep: lease === 'valid' ? null : 'Check the coordination store.',
    };
  }

  #connections(): ConnectionEntry[] {
    const now = this.#environment.clock.monotonicMs();
    const seconds = (ms: number | null): number | null => (ms === null ? null : Math.round(ms / 100) / 10);
    return (this.#links?.rows() ?? []).map(({ lastHeardMs, probationLeftMs, ...row }) => ({
      ...row,
      lastHeardSecondsAgo: seconds(lastHeardMs === null ? null : now - lastHeardMs),
      probationSecondsLeft: seconds(probationLeftMs),
      groups:
        row.direction === 'out'
          ? [...this.#groups.values()]
              .filter((group) => group.owner?.legOf(row.peer)?.connectionIndex === row.index)
              .map((group) => group.name)
          : [],
    }));
  }

  #groupStatuses(): GroupStatus[] {
    return [...this.#groups.values()].map((group) => describeGroup(group, this.#describeContext(group)));
  }

  #describeContext(group: Group): DescribeContext {
    return {
      node: this.nodeName,
      leaseValid: this.#lease.isValid(),
      leaseReason: this.#lease.reason,
      storeProblem: this.#storeProblem,
      exportsOf: (name, volume, index) => this.#exportsOf(name, volume, index),
      throughput: this.#ratesOf(group).rates,
      reachable: (node) => {
        const { state, reason } = this.#links?.reachable(node) ?? { state: 'down', reason: null };
        const problem = this.#agreement?.problem(node) ?? null;
        return state === 'up' && problem !== null ? { up: false, reason: problem } : { up: state === 'up', reason };
      },
    };
  }

  #linkHeard(): ReadonlyMap<string, number> {
    const now = this.#environment.clock.monotonicMs();
    return new Map(
      this.#peers().flatMap(({ name }): [string, number][] => {
        const { lastHeardMs = null } = this.#links?.reachable(name) ?? {};
        return lastHeardMs === null ? [] : [[name, now - lastHeardMs]];
      }),
    );
  }

  #word(): ReturnType<NodePulseContext['word']> {
    const owned = [...this.#groups.values()].filter(({ record }) => record?.owner === this.nodeName);
    const text = owned.map(({ name, record }) => `${name} ${record?.generation ?? 0}`).join();
    if (text !== this.#ownedText) this.#ownedVersion++;
    this.#ownedText = text;
    return {
      automatic: this.#agent.state.current.automatic,
      lease: this.#lease.state,
      ownedVersion: this.#ownedVersion,
      serving: owned.filter((group) => group.serving).length,
    };
  }

  /** A failure, or its end, seen here (HM-16). */
  #indicate(indication: Indication): void {
    this.#pulse.indicate(indication);
    this.#note(indication);
  }

  #note(indication: Indication): void {
    this.#event(indication.group, indication.over ? 'over' : 'alert', indication.text);
    if (indication.node === this.nodeName) this.#alerts?.raise(indication);
    else this.#alerts?.heard(indication);
  }

  #event(group: string | null, kind: string, message: string): void {
    const event: NodeEvent = { atMs: this.#environment.clock.wallMs(), node: this.nodeName, group, kind, message };
    this.#environment.log.info(group === null ? message : `group ${group}: ${message}`, { kind });
    for (const listener of this.#listeners) listener(event);
  }
}
