/**
 * Whole nodes of a simulated world whose pulse is scripted: a test says who hears whom on which channel, everything else is the
 * product's own.
 */
import { Node } from '../../src/node/node.ts';
import type {
  PulseAnswers,
  PulseHost,
  PulseHostEvents,
  PulseQuestion,
  PulseStart,
  QuestionOf,
} from '../../src/node/pulse-host.ts';
import { InProcessPulseHost } from '../../src/node/pulse-in-process.ts';
import type { Indication } from '../../src/pulse/indication.ts';
import type { PulseSettings } from '../../src/pulse/settings.ts';
import type { Enable, Heard, Hearing, NodeWord, PulseSnapshot } from '../../src/pulse/snapshot.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';
import {
  defaultGroupSettings,
  defaultTakeOverSettings,
  type ClusterDocument,
  type TakeOverSettings,
} from '../../src/store/document.ts';

export const settings: PulseSettings = {
  preset: 'lan',
  intervalMs: 200,
  timeoutMs: 1000,
  probationMs: 2000,
  validity: { serial: true, time: true },
  connectionTimeoutMs: 1500,
  connectionProbationMs: 1000,
  masterTimeoutMs: 5000,
  presence: { enabled: true, waitMs: 300, retries: 1 },
  startUpMs: 10_000,
  stallMs: 1000,
  leaseTtlMs: 1200,
  leaseMarginMs: 300,
  link: { echoMs: 500, silenceMs: 2000, commandTimeoutMs: 4000 },
  network: true,
  mirrors: [],
  interconnects: [],
};

const word: NodeWord = {
  leaving: false,
  automatic: true,
  lease: 'valid',
  ownedVersion: 0,
  serving: 0,
  hears: {},
};

/** The lease is the product's own. */
export class ScriptedPulse implements PulseHost {
  snapshot: PulseSnapshot | null = null;
  muted: string | null = null;
  left = false;
  readonly indicated: Indication[] = [];
  readonly #host: InProcessPulseHost;
  #events: PulseHostEvents | null = null;
  readonly #process: SimProcess;
  readonly #node: string;
  readonly #heard = new Map<string, Map<string, Heard>>();
  readonly #words = new Map<string, NodeWord>();

  constructor(process: SimProcess, node: string, others: readonly string[], hears: Hearing) {
    this.#process = process;
    this.#node = node;
    this.#host = new InProcessPulseHost({
      environment: process.environment,
      store: process.store,
      maker: null,
      local: { dataFolder: '/data', key: null },
    });
    for (const other of others) this.hear(other, 'network', hears);
    this.#beat();
  }

  hear(other: string, kind: Heard['kind'], hearing: Hearing, more: { enable?: Enable; fault?: string } = {}): void {
    const { enable = 'ENABLE', fault = null } = more;
    const channels = this.#heard.get(other) ?? new Map<string, Heard>();
    channels.set(kind, { channel: kind, kind, enable, hearing, silentMs: hearing === 'alive' ? 100 : 2000, fault });
    this.#heard.set(other, channels);
    this.#tell();
  }

  saysOf(other: string, more: Partial<NodeWord>): void {
    this.#words.set(other, { ...(this.#words.get(other) ?? word), ...more });
    this.#tell();
  }

  get lease(): PulseHost['lease'] {
    return this.#host.lease;
  }

  start(start: PulseStart, events: PulseHostEvents): Promise<void> {
    this.#events = events;
    return this.#host.start({ ...start, pulse: null }, events);
  }

  heard(): void {}

  async ask<Kind extends PulseQuestion['kind']>(asked: QuestionOf<Kind>): Promise<PulseAnswers[Kind]> {
    const question: PulseQuestion = asked;
    if (question.kind !== 'leave') throw new Error(`a scripted pulse knows no ${question.kind}`);
    this.left = true;
    return null as PulseAnswers[Kind];
  }

  stop(): Promise<void> {
    return this.#host.stop();
  }

  say(): void {}

  indicate(indication: Indication): void {
    this.indicated.push(indication);
  }

  mute(reason: string | null): void {
    this.muted = reason;
  }

  #beat(): void {
    this.#tell();
    this.#process.environment.clock.after(1000, () => this.#beat());
  }

  #tell(): void {
    const { clock } = this.#process.environment;
    this.snapshot = {
      node: this.#node,
      monotonicMs: clock.monotonicMs(),
      wallMs: clock.wallMs(),
      muted: null,
      masters: {},
      peers: [...this.#heard].map(([node, channels]) => ({
        node,
        site: node,
        incarnation: 'i',
        heard: [...channels.values()],
        said: this.#words.get(node) ?? word,
      })),
    };
    const { snapshot } = this;
    this.#process.call(() => this.#events?.changed(snapshot));
  }
}

export interface RunningNode {
  readonly process: SimProcess;
  readonly node: Node;
  readonly pulse: ScriptedPulse;
  readonly events: string[];
}

export interface ClusterOptions {
  readonly seed: string;
  readonly nodes?: readonly string[];
  readonly sites?: Readonly<Record<string, string>>;
  readonly owner?: string;
  readonly takeOver?: Partial<TakeOverSettings>;
  readonly pulse?: Partial<PulseSettings>;
}

export class Cluster {
  readonly world: World;
  readonly names: readonly string[];
  readonly #document: ClusterDocument;
  readonly #running = new Map<string, RunningNode>();

  constructor({ seed, nodes = ['east', 'west'], sites = {}, owner = 'east', takeOver, pulse }: ClusterOptions) {
    this.world = new World({ seed });
    this.names = nodes;
    const order = [owner, ...nodes.filter((node) => node !== owner)];
    this.#document = {
      schema: 1,
      clusterId: 'c'.repeat(32),
      cluster: 'c',
      version: 1,
      sites: nodes.map((node) => sites[node] ?? node),
      nodes: nodes.map((name) => ({
        name,
        site: sites[name] ?? name,
        replication: `${name}:7000`,
        pulse: [],
        heartbeat: null,
        iscsi: [],
      })),
      groups: [
        {
          name: 'g1',
          preferredOwner: owner,
          nextVolumeIndex: 1,
          volumes: [
            { name: 'v1', index: 0, wwid: '6'.repeat(32), sizeBytes: 1024 ** 2, blockSizeBytes: 512, paths: {} },
          ],
          legs: order.map((node) => ({ node, mode: 'sync' })),
          log: null,
          settings: { ...defaultGroupSettings, graceMs: 500 },
          takeOver: { ...defaultTakeOverSettings, automatic: 'on', ...takeOver },
          resources: [],
          iscsi: { target: null, redirect: false, hosts: null },
        },
      ],
      pulse: { ...settings, ...pulse },
    };
  }

  /** All copies in sync, the preferred owner serves. */
  static async synced(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options);
    for (const name of cluster.names) cluster.start(name);
    await cluster.until('in sync', () => {
      const { owner } = cluster.at(options.owner ?? 'east').node.groups.get('g1') ?? {};
      return owner?.legs.every((leg) => leg.complete && leg.recordClass === 'inSync') === true;
    });
    await cluster.world.run(1500);
    return cluster;
  }

  /** @param hears how it hears the others at first. */
  start(name: string, hears: Hearing = 'alive'): RunningNode {
    const process = this.world.machine(name).start('holdfast');
    const others = this.names.filter((other) => other !== name);
    const pulse = new ScriptedPulse(process, name, others, hears);
    const node = new Node({
      environment: process.environment,
      devices: process.devices,
      store: process.store,
      name,
      declared: this.#document,
      dataFolder: '/data',
      listen: { kind: 'tcp', host: name, port: 7000 },
      connectionsPerLink: 1,
      leaseTtlMs: settings.leaseTtlMs,
      softwareVersion: 'simulated',
      pid: null,
      bitsSlotBytes: 65_536,
      pulse,
    });
    const events: string[] = [];
    node.onEvent(process.whileAlive(({ kind, message }) => events.push(`${kind}: ${message}`)));
    const running = { process, node, pulse, events };
    this.#running.set(name, running);
    process.call(() => void node.start());
    return running;
  }

  at(name: string): RunningNode {
    const running = this.#running.get(name);
    if (running === undefined) throw new Error(`${name} was not started`);
    return running;
  }

  group(name: string): NonNullable<ReturnType<Node['groups']['get']>> {
    const group = this.at(name).node.groups.get('g1');
    if (group === undefined) throw new Error(`${name} has no g1`);
    return group;
  }

  /** Nobody hears it any more, on the channel that there is. */
  silence(name: string, hearing: Hearing = 'silent'): void {
    for (const other of this.names) {
      if (other !== name && this.#running.get(other)?.process.alive === true)
        this.at(other).pulse.hear(name, 'network', hearing);
    }
  }

  serving(name: string): boolean {
    return this.#running.get(name)?.process.alive === true && this.at(name).node.groups.get('g1')?.serving === true;
  }

  async until(what: string, predicate: () => boolean, durationMs = 30_000): Promise<void> {
    if (await this.world.runUntil(predicate, durationMs)) return;
    const states = [...this.#running].map(
      ([name, { node, events }]) =>
        `${name}: ${node.groups.get('g1')?.role} ${node.groups.get('g1')?.problem ?? ''}\n  ${events.slice(-6).join('\n  ')}`,
    );
    throw new Error(`not ${what} after ${durationMs} ms:\n${states.join('\n')}`);
  }
}
