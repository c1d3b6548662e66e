/**
 * The nodes of a scene as processes on simulated machines: started, killed, brought back. A node that ends is started
 * again after the time the last misfortune said, as an administrator or an init system would.
 */
import type { Group } from '../group/group.ts';
import { Node } from '../node/node.ts';
import type { PulseHost } from '../node/pulse-host.ts';
import { InProcessPulseHost } from '../node/pulse-in-process.ts';
import { NodePulseMaker } from '../node/pulse-maker.ts';
import {
  defaultGroupSettings,
  defaultIscsi,
  defaultTakeOverSettings,
  type ClusterDocument,
  type GroupSettings,
  type LegEntry,
  type LogEntry,
  type VolumeEntry,
} from '../store/document.ts';
import type { Prng } from './world/prng.ts';
import type { SimDisk } from './world/disk.ts';
import type { SimMachine } from './world/machine.ts';
import type { ProcessEnd, SimProcess } from './world/process.ts';
import type { World } from './world/world.ts';
import { addressesOf, pulseKey, pulseSettingsOf, serialPath, takeOverOf } from './pulse-plan.ts';
import { legsOf, logFolder, type GroupPlan, type LogPlan, type Script } from './script.ts';

export interface Running {
  readonly name: string;
  readonly process: SimProcess;
  readonly node: Node;
  readonly pulse: PulseHost;
}

export interface ClusterEvents {
  /** An event of the product's own, as it tells people. */
  told(running: Running, group: string | null, kind: string, message: string): void;
  ended(running: Running, end: ProcessEnd, reason: string): void;
}

/** Small: each of the two slots is written whole. */
const bitsSlotBytes = 64 * 1024;
const port = 7000;

export class Cluster {
  readonly world: World;
  readonly document: ClusterDocument;
  readonly #script: Script;
  readonly #events: ClusterEvents;
  readonly #running = new Map<string, Running>();
  /** How long a node stays down when it ends next. */
  readonly #downMs = new Map<string, number>();
  readonly #restarts = new Map<string, number>();

  constructor(world: World, script: Script, events: ClusterEvents) {
    this.world = world;
    this.#script = script;
    this.#events = events;
    this.document = documentOf(script, world.prng.derive('document'));
    const [first, second] = script.nodes;
    if (script.pulse?.interconnect === true && first !== undefined && second !== undefined)
      world.datagrams.joinSerial(this.machine(first), serialPath, this.machine(second), serialPath);
  }

  running(name: string): Running | null {
    const running = this.#running.get(name);
    return running?.process.alive === true ? running : null;
  }

  get all(): Running[] {
    return this.#script.nodes.flatMap((name) => this.running(name) ?? []);
  }

  machine(name: string): SimMachine {
    return this.world.machine(name);
  }

  group(name: string, group: string): Group | undefined {
    return this.running(name)?.node.groups.get(group);
  }

  get nodes(): readonly string[] {
    return this.#script.nodes;
  }

  /** In order of succession. */
  legsOf(group: string): readonly LegEntry[] {
    return this.document.groups.find(({ name }) => name === group)?.legs ?? [];
  }

  /** The legs that follow while `owner` owns the group. */
  targetsOf(group: string, owner: string): readonly LegEntry[] {
    return this.legsOf(group).filter(({ node }) => node !== owner);
  }

  volumesOf(group: string): readonly VolumeEntry[] {
    return this.document.groups.find(({ name }) => name === group)?.volumes ?? [];
  }

  /** The disk of a volume; undefined before its node first ran. */
  disk(name: string, volume: VolumeEntry): SimDisk | undefined {
    return this.machine(name).disks.get(`/data/volumes/${volume.name}.img`);
  }

  /** Every volume's disk at a node. */
  disks(name: string): SimDisk[] {
    const volumes = this.document.groups.flatMap((group) => group.volumes);
    return volumes.flatMap((volume) => this.disk(name, volume) ?? []);
  }

  start(name: string): void {
    const machine = this.machine(name);
    if (!machine.on) machine.powerOn();
    if (this.running(name) !== null) return;
    const process = machine.start('holdfast');
    const { environment, devices, store } = process;
    const beats = this.document.pulse !== null;
    const pulse = new InProcessPulseHost({
      environment,
      store,
      maker: beats ? new NodePulseMaker() : null,
      local: { dataFolder: '/data', key: beats ? pulseKey : null },
    });
    const node = new Node({
      environment,
      devices,
      store,
      pulse,
      name,
      declared: this.document,
      dataFolder: '/data',
      listen: { kind: 'tcp', host: name, port },
      connectionsPerLink: this.#script.connectionsPerLink,
      leaseTtlMs: this.#script.leaseTtlMs,
      ...(this.#script.leaseMarginMs === undefined ? {} : { leaseMarginMs: this.#script.leaseMarginMs }),
      softwareVersion: 'simulated',
      pid: null,
      bitsSlotBytes,
    });
    const running: Running = { name, process, node, pulse };
    this.#running.set(name, running);
    node.onEvent(process.whileAlive(({ group, kind, message }) => this.#events.told(running, group, kind, message)));
    process.onEnd(() => {
      this.#events.ended(running, process.end ?? 'exit', process.endReason);
      const downMs = this.#downMs.get(name);
      this.#downMs.delete(name);
      if (downMs !== undefined) this.#startLater(name, downMs);
    });
    process.call(() => void node.start());
  }

  /** When the node ends next, it comes back after that time. */
  comesBackAfter(name: string, downMs: number): void {
    if (this.running(name) !== null) this.#downMs.set(name, downMs);
  }

  /** Kills it for good: only `start` brings it back. */
  lose(name: string): void {
    this.#downMs.delete(name);
    this.#restarts.set(name, (this.#restarts.get(name) ?? 0) + 1);
    this.running(name)?.process.crash();
  }

  /** Ends it the way people do. */
  stop(name: string): void {
    const running = this.running(name);
    if (running === null) return;
    const { process, node } = running;
    process.call(() => void node.stop().then(() => process.exit()));
  }

  #startLater(name: string, downMs: number): void {
    const turn = (this.#restarts.get(name) ?? 0) + 1;
    this.#restarts.set(name, turn);
    this.world.at(this.world.nowMs + downMs, () => {
      if (this.#restarts.get(name) === turn) this.start(name);
    });
  }
}

function documentOf(script: Script, prng: Prng): ClusterDocument {
  const hex = (count: number): string => Buffer.from(prng.bytes(count)).toString('hex');
  return {
    schema: 1,
    clusterId: hex(16),
    cluster: 'simulated',
    version: 1,
    sites: script.nodes,
    nodes: script.nodes.map((name) => ({
      name,
      site: name,
      replication: `${name}:${port}`,
      pulse: [],
      heartbeat: null,
      iscsi: [],
      ...(script.pulse && addressesOf(name)),
    })),
    groups: script.groups.map((group) => ({
      name: group.name,
      preferredOwner: group.owner,
      nextVolumeIndex: group.volumes.length,
      volumes: group.volumes.map(({ sizeBytes, blockSizeBytes }, index) => ({
        name: volumeName(group, index),
        index,
        wwid: `6${hex(16).slice(1)}`,
        sizeBytes,
        blockSizeBytes,
        paths: {},
      })),
      legs: legsOf(group, script.nodes),
      log: logOf(group, script.nodes),
      settings: {
        ...defaultGroupSettings,
        graceMs: group.graceMs,
        lagWritesMax: group.lagWritesMax,
        lagBytesMax: 1024 * 1024,
        resyncShare: group.resyncShare,
        hotRegionsMax: 1024,
        // Now the one bound is met first, now the other.
        intentEntries: 16,
        ...(group.log && settingsOf(group.log)),
      },
      takeOver: { ...defaultTakeOverSettings, ...(script.pulse && takeOverOf(script.pulse)) },
      resources: [],
      iscsi: defaultIscsi,
    })),
    pulse: script.pulse === undefined ? null : pulseSettingsOf(script.pulse, script.nodes, script.leaseTtlMs),
  };
}

function logOf({ name, log }: GroupPlan, nodes: readonly string[]): LogEntry | null {
  if (log === undefined) return null;
  const folders = Array.from({ length: log.copies }, (_, copy) => logFolder(copy, name));
  return {
    sizeBytes: log.sizeBytes,
    places: Object.fromEntries(nodes.map((node) => [node, folders])),
    retentionMs: 0,
    retentionBytes: 0,
  };
}

function settingsOf({ onLogFull, onTargetLoss, onCongestion }: LogPlan): Partial<GroupSettings> {
  return { onLogFull, onTargetLoss, onCongestion };
}

function volumeName(group: GroupPlan, index: number): string {
  return `${group.name}v${index}`;
}
