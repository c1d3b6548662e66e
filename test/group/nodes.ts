/**
 * Some nodes of a simulated world with one group among them: leases, polls of the store, ticks and connections, as a
 * node has them, and nothing else of it.
 */
import { Group } from '../../src/group/group.ts';
import type { HostFault } from '../../src/group/host-access.ts';
import type { GroupRecord } from '../../src/group/record.ts';
import type { GroupService } from '../../src/group/service.ts';
import type { SimDisk } from '../../src/sim/world/disk.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';
import {
  defaultGroupSettings,
  defaultTakeOverSettings,
  groupRecordKey,
  leaseKey,
  type ClusterDocument,
  type GroupEntry,
  type GroupSettings,
  type MirrorMode,
  type TakeOverSettings,
} from '../../src/store/document.ts';
import { exchangeMethod } from '../../src/group/record-exchange.ts';
import type { SplitBrainPolicy } from '../../src/store/document.ts';
import { FileStore } from '../../src/store/file-store.ts';
import { defaultLeaseMarginMs, defaultLeaseTtlMs, LeaseHolder, LeaseObserver } from '../../src/store/lease.ts';
import { MemoryStore, StoreMemory } from '../../src/store/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { End } from '../mirror/pair.ts';
import { diskOf, MiB, volumeEntry, volumePath } from '../volume/legs.ts';

export interface NodesOptions {
  readonly seed: string;
  readonly mode?: MirrorMode;
  /** Default `east` and `west`; one makes an unmirrored group. */
  readonly legs?: readonly string[];
  /** Legs with another mode than `mode`. */
  readonly modes?: Readonly<Record<string, MirrorMode>>;
  readonly settings?: Partial<GroupSettings>;
  readonly takeOver?: Partial<TakeOverSettings>;
  /** Size of the group's log; default: it has none. */
  readonly logBytes?: number;
  /** Of the volume. Default 4 MiB. */
  readonly sizeBytes?: number;
  /** What goes with the serving at a node; default: nothing does. */
  readonly service?: (node: string) => GroupService;
  /** `store: none`: every node has one of its own, in its files. */
  readonly storeless?: boolean;
  readonly afterSplitBrain?: Partial<SplitBrainPolicy>;
}

/** A store that is still being opened when it is first used. */
function opening(opened: Promise<Store>): Store {
  return {
    read: (key) => opened.then((store) => store.read(key)),
    readAll: (prefix) => opened.then((store) => store.readAll(prefix)),
    commit: (transaction) => opened.then((store) => store.commit(transaction)),
    close: () => opened.then((store) => store.close()),
  };
}

/** One incarnation of a node. */
export class Node {
  readonly name: string;
  readonly process: SimProcess;
  readonly group: Group;
  readonly lease: LeaseHolder;
  /** Dialled by this node, by peer. */
  readonly outs = new Map<string, End>();
  readonly events: string[] = [];
  readonly store: Store;
  readonly document: ClusterDocument;
  /** What hosts see of the group may have changed. */
  changed = (): void => {};
  /** A change of reservations, asked by another node. */
  called = (_params: unknown): Promise<unknown> => Promise.reject(new Error('not known here'));
  readonly #nodes: Nodes;
  readonly #observers = new Map<string, LeaseObserver>();
  #ids = 0;

  constructor(nodes: Nodes, name: string) {
    this.#nodes = nodes;
    this.name = name;
    const process = nodes.world.machine(name).start('holdfast');
    this.process = process;
    const { environment, devices } = process;
    const { storeless } = nodes;
    const store = storeless
      ? opening(FileStore.open(environment.files, '/data/store', environment.random, environment.log))
      : process.store;
    this.store = store;
    this.lease = new LeaseHolder({
      clock: environment.clock,
      turn: environment.turn,
      random: environment.random,
      store: storeless ? new MemoryStore(new StoreMemory()) : store,
      node: name,
      incarnation: `${process.number}`,
      events: { acquired: () => this.group.leaseAcquired(), lapsed: () => this.group.leaseLapsed() },
    });
    for (const { node } of nodes.entry.legs) if (node !== name) this.#observers.set(node, new LeaseObserver());
    this.document = {
      schema: 1,
      clusterId: 'c',
      cluster: 'c',
      version: 1,
      sites: [],
      nodes: nodes.entry.legs.map(({ node }) => ({
        name: node,
        site: node,
        replication: `${node}:1`,
        pulse: [],
        heartbeat: null,
        iscsi: [`${node}:3260`],
      })),
      groups: [nodes.entry],
      pulse: null,
    };
    this.group = new Group(
      {
        environment,
        node: name,
        store,
        devices,
        lease: this.lease,
        leaseOf: (node) => this.#observers.get(node) ?? null,
        document: () => this.document,
        connectionTo: (node) => this.out(node),
        closeLink: (node, reason) => nodes.closeLinks(name, reason, node),
        hurry: () => {},
        commandTimeoutMs: () => null,
        promiseTimes: () => ({ ttlMs: defaultLeaseTtlMs, marginMs: defaultLeaseMarginMs }),
        request: (node, method, params, timeoutMs) =>
          storeless ? nodes.ask(this, node, method, params, timeoutMs) : nodes.answer(node, method, params),
        ...(storeless
          ? { storeless: { heard: (node) => (nodes.linked(name, node) ? 'its link is up' : null) } }
          : {}),
        metadataFolder: '/data/g1',
        forkFolder: '/forks',
        logFolders: () => ['/log'],
        pathOf: ({ index }) => volumePath(index),
        bitsSlotBytes: MiB,
        newId: () => ++this.#ids,
        forgetId: () => {},
        event: (_group, kind, message) => this.events.push(`${kind}: ${message}`),
        changed: () => this.changed(),
        ...(nodes.service === undefined ? {} : { service: nodes.service(name) }),
      },
      nodes.entry,
    );
    process.call(() => {
      this.lease.start();
      this.#poll();
      this.#tick();
    });
  }

  /** The connection this node has dialled to that one; null while there is none. */
  out(peer: string): End | null {
    const end = this.outs.get(peer);
    return end?.up === true ? end : null;
  }

  /** Opens as soon as it can: about once a second it is told to look. */
  #tick(): void {
    this.#nodes.connect(this.name);
    this.group.tick();
    this.process.environment.clock.after(1000, () => this.#tick());
  }

  #poll(): void {
    const { version } = this.group.keeper;
    const { clock } = this.process.environment;
    void this.store
      .readAll('')
      .then((entries) => {
        const found = (key: string): (typeof entries)[number] | null =>
          entries.find((one) => one.key === key) ?? null;
        for (const [node, observer] of this.#observers) observer.observe(found(leaseKey(node)), clock.monotonicMs());
        this.group.observe(found(groupRecordKey('g1')), version);
      })
      .catch(() => {})
      .then(() => clock.after(300, () => this.#poll()));
  }
}

export class Nodes {
  readonly world: World;
  readonly entry: GroupEntry;
  readonly storeless: boolean;
  readonly service: NodesOptions['service'];
  readonly #nodes = new Map<string, Node>();
  /** Nodes without links: to the others, and among themselves. */
  readonly #cut = new Set<string>();

  constructor({
    seed,
    mode = 'sync',
    legs = ['east', 'west'],
    modes = {},
    settings = {},
    takeOver = {},
    sizeBytes = 4 * MiB,
    logBytes,
    storeless = false,
    afterSplitBrain = {},
    service,
  }: NodesOptions) {
    this.service = service;
    this.storeless = storeless;
    this.service = service;
    this.world = new World({ seed });
    this.entry = {
      name: 'g1',
      preferredOwner: 'east',
      nextVolumeIndex: 1,
      volumes: [volumeEntry(0, sizeBytes)],
      legs: legs.map((node) => ({ node, mode: modes[node] ?? mode })),
      log: logBytes === undefined ? null : { sizeBytes: logBytes, places: {}, retentionMs: 0, retentionBytes: 0 },
      settings: { ...defaultGroupSettings, ...settings },
      takeOver: {
        ...defaultTakeOverSettings,
        ...takeOver,
        afterSplitBrain: { ...defaultTakeOverSettings.afterSplitBrain, ...afterSplitBrain },
      },
      resources: [],
      iscsi: { target: null, redirect: false, hosts: null },
    };
  }

  /** All legs whole, east the owner. */
  static async synced(options: NodesOptions): Promise<Nodes> {
    const nodes = new Nodes(options);
    for (const { node } of nodes.entry.legs) nodes.start(node);
    await nodes.until(() => nodes.east.group.serving && nodes.whole());
    // Everybody has seen everybody's lease.
    await nodes.world.run(1000);
    return nodes;
  }

  /** Whether the record says of every leg the best there is for its mode. */
  whole(): boolean {
    const owner = [...this.#nodes.values()].find(({ group }) => group.serving)?.name;
    return this.entry.legs.every(
      ({ node, mode }) => node === owner || this.classOf(node) === (mode === 'async' ? 'withinBound' : 'inSync'),
    );
  }

  get east(): Node {
    return this.node('east');
  }

  get west(): Node {
    return this.node('west');
  }

  node(name: string): Node {
    const node = this.#nodes.get(name);
    if (node === undefined) throw new Error(`${name} was not started`);
    return node;
  }

  start(name: string): Node {
    const node = new Node(this, name);
    this.#nodes.set(name, node);
    return node;
  }

  /** Ends the process; the other side's connections end with it. */
  end(name: string, how: 'crash' | 'powerLoss'): void {
    const { process } = this.node(name);
    if (how === 'crash') process.crash();
    else {
      process.machine.powerLoss();
      process.machine.powerOn();
    }
    this.closeLinks(name, 'the other side is gone');
  }

  /** The document says so, and both nodes have read it. */
  setMode(to: string, mode: MirrorMode): void {
    for (const { group, process } of this.#nodes.values()) {
      const legs = group.entry.legs.map((leg) => (leg.node === to ? { ...leg, mode } : leg));
      process.call(() => void group.changeEntry({ ...group.entry, legs }));
    }
  }

  /** The document gives the group's log another size, or takes it away, and all nodes have read it. */
  setLog(sizeBytes: number | null): void {
    const log = sizeBytes === null ? null : { sizeBytes, places: {}, retentionMs: 0, retentionBytes: 0 };
    for (const { group, process } of this.#nodes.values()) {
      process.call(() => void group.changeEntry({ ...group.entry, log }));
    }
  }

  /** Cuts all links between the nodes, or mends them; those of one node only if it is named. */
  link(linked: boolean, name?: string): void {
    for (const node of name === undefined ? this.#nodes.keys() : [name]) {
      if (linked) this.#cut.delete(node);
      else this.#cut.add(node);
      if (!linked) this.closeLinks(node, 'cut');
    }
  }

  /** All of a node's, or those with one other. */
  closeLinks(name: string, reason: string, to?: string): void {
    for (const [node, { outs }] of this.#nodes) {
      for (const [peer, end] of outs) {
        const other = node === name ? peer : node;
        if ((node === name || peer === name) && (to === undefined || to === other)) end.close(reason);
      }
    }
  }

  connect(name: string): void {
    for (const peer of this.#nodes.keys()) if (peer !== name) this.#connect(name, peer);
  }

  #connect(name: string, to: string): void {
    const node = this.#nodes.get(name);
    const peer = this.#nodes.get(to);
    if (this.#cut.has(name) || this.#cut.has(to) || node === undefined || peer === undefined) return;
    if (node.out(to) !== null || !node.process.alive || !peer.process.alive) return;
    const out = new End(1, node.process, peer.name, 'out', {
      arrive: (frame) => node.group.frame(out, frame),
      down: (reason) => node.group.connectionDown(out, reason),
    });
    const other = new End(2, peer.process, node.name, 'in', {
      arrive: (frame) => peer.group.frame(other, frame),
      down: (reason) => peer.group.connectionDown(other, reason),
    });
    out.other = other;
    other.other = out;
    node.outs.set(to, out);
    node.group.connectionUp(out);
    peer.group.connectionUp(other);
  }

  /** Whether a connection stands between the two, in either direction. */
  linked(name: string, peer: string): boolean {
    return this.#nodes.get(name)?.out(peer) != null || this.#nodes.get(peer)?.out(name) != null;
  }

  /** A request over the link: it takes turns at both ends, and is never answered when either ends. */
  ask(from: Node, to: string, method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    const asker = from.process;
    return new Promise((resolve, reject) => {
      if (!this.linked(from.name, to)) {
        reject(new Error('no link'));
        return;
      }
      const { process, group } = this.node(to);
      asker.environment.clock.after(timeoutMs, () => reject(new Error('no answer')));
      process.call(() => {
        const account: unknown = structuredClone((params as { account?: unknown }).account);
        const answer =
          method === exchangeMethod && group.exchange !== null
            ? group.exchange.offered(from.name, account)
            : this.answer(to, method, params);
        answer.then(
          (value) => asker.call(() => resolve(value)),
          (error: unknown) => asker.call(() => reject(error instanceof Error ? error : new Error(String(error)))),
        );
      });
    });
  }

  answer(name: string, method: string, params: unknown): Promise<unknown> {
    const { group, process } = this.node(name);
    if (!process.alive) return Promise.reject(new Error('no answer'));
    if (method === 'group.reserve') return this.node(name).called(params);
    if (method === 'group.release') return group.moves.release((params as { id: string }).id);
    if (method === 'group.look') group.look();
    return Promise.resolve(group.serving ? (group.record?.generation ?? 0) : 0);
  }

  async record(): Promise<GroupRecord> {
    const entry = await this.world.store.backing.read(groupRecordKey('g1'));
    return JSON.parse(entry?.value ?? 'null') as GroupRecord;
  }

  classOf(name: string): string | undefined {
    for (const node of this.#nodes.values()) if (node.group.serving) return node.group.record?.legs[name]?.class;
    return undefined;
  }

  write(node: Node, offset: number, fill: number, bytes = 512): Promise<HostFault | null> {
    return new Promise((resolve) => {
      node.process.call(() => {
        const { owner } = node.group;
        if (owner === null) resolve('moved');
        else owner.write(0, offset, new Uint8Array(bytes).fill(fill), false, resolve);
      });
    });
  }

  /** The byte at the offset, or what the host is told instead. */
  read(node: Node, offset: number): Promise<HostFault | number | null> {
    return new Promise((resolve) => {
      node.process.call(() => {
        const { owner } = node.group;
        const into = new Uint8Array(512);
        if (owner === null) resolve('moved');
        else owner.read(0, offset, into, (fault) => resolve(fault ?? into[0] ?? null));
      });
    });
  }

  zero(node: Node, offset: number, length: number): Promise<HostFault | null> {
    return new Promise((resolve) => {
      node.process.call(() => {
        const { owner } = node.group;
        if (owner === null) resolve('moved');
        else owner.zero(0, offset, length, { keepAllocated: false, fua: false }, resolve);
      });
    });
  }

  async until(predicate: () => boolean, durationMs = 60_000): Promise<void> {
    if (await this.world.runUntil(predicate, durationMs)) return;
    const states = [...this.#nodes.values()].map(
      ({ name, group, events }) => `${name} ${group.role} ${group.problem ?? ''} ${events.at(-1) ?? ''}`,
    );
    throw new Error(`not so after ${durationMs} ms: ${states.join('; ')}`);
  }

  disk(node: Node): SimDisk {
    return diskOf(node.process, volumePath(0));
  }
}
