/**
 * Carries out the actions of a script: breaks machines, networks, disks, clocks and the way to the store; orders what
 * people order. Puts everything right again at the end.
 */
import { HoldfastError, messageOf } from '../base/errors.ts';
import { assertNever } from '../base/assert.ts';
import type { NodeControl } from '../node/control.ts';
import type { Cluster } from './cluster.ts';
import { heartbeatFolder, serialPath } from './pulse-plan.ts';
import { logDevice, type Action, type AgentMove, type Deed, type Script } from './script.ts';
import type { MachineSnapshot, SimMachine } from './world/machine.ts';
import type { Connection } from './world/network.ts';
import type { Prng } from './world/prng.ts';
import type { World } from './world/world.ts';

export interface MisfortuneEvents {
  /** A person's order was carried out or refused. */
  ordered(what: string, outcome: string): void;
  /** A take-over with force begins: from here on nothing of the group is promised until an owner opens. */
  forced(group: string, at: string): void;
  /** The hosts of a group have nothing to ask for a while. */
  rest(group: string, forMs: number): void;
  /** Yesterday's disk is in the machine. */
  restored(node: string): void;
  /** The store is backed up, and what was backed up is put back. */
  storeKept(): void;
  storeRestored(bumped: boolean): void;
  /** An error that is not one for people. */
  broken(what: string, error: unknown): void;
}

/** A merge may be short. */
const lookMs = 0.5;

export class Misfortune {
  readonly #world: World;
  readonly #cluster: Cluster;
  readonly #script: Script;
  readonly #prng: Prng;
  readonly #events: MisfortuneEvents;
  readonly #kept = new Map<string, MachineSnapshot>();
  #healed = false;
  /** Until then something that was ordered in the script is not over, whatever is healed. */
  pausedUntilMs = 0;
  /** Until then something other than a node that is down, or heartbeats that are lost, keeps nodes from what they would do. */
  disturbedUntilMs = 0;
  readonly #onDecision: { readonly group: string; readonly move: AgentMove; readonly deed: Deed }[] = [];

  constructor(world: World, cluster: Cluster, script: Script, events: MisfortuneEvents) {
    this.#world = world;
    this.#cluster = cluster;
    this.#script = script;
    this.#events = events;
    this.#prng = world.prng.derive('misfortune');
  }

  perform(action: Action): void {
    if (action.kind === 'inMerge') {
      this.#whenMerging(action.group, this.#world.nowMs + action.withinMs, () => {
        this.#events.ordered(`in-merge ${action.deed.kind}`, 'done');
        this.#do(action.deed);
      });
    } else if (action.kind === 'onDecision') this.#onDecision.push(action);
    else this.#do(action);
  }

  /** An agent has decided on a move of a group, and begins it. */
  decided(group: string, move: AgentMove): void {
    const at = this.#onDecision.findIndex((waiting) => waiting.group === group && waiting.move === move);
    const [waiting] = at < 0 ? [] : this.#onDecision.splice(at, 1);
    if (waiting === undefined || this.#healed) return;
    this.#events.ordered(`on-decision ${waiting.deed.kind}`, 'done');
    this.#do(waiting.deed);
  }

  #do(action: Deed): void {
    const world = this.#world;
    const cluster = this.#cluster;
    const { network, store, datagrams } = world;
    this.disturbedUntilMs = Math.max(this.disturbedUntilMs, world.nowMs + disturbsMs(action));
    switch (action.kind) {
      case 'crash':
        cluster.comesBackAfter(action.node, action.downMs);
        if (action.afterEffects === 0) cluster.running(action.node)?.process.crash();
        else cluster.running(action.node)?.process.crashAfterEffects(action.afterEffects);
        return;
      case 'power':
        for (const node of action.nodes) {
          cluster.comesBackAfter(node, action.downMs);
          cluster.machine(node).powerLoss();
        }
        return;
      case 'pause': {
        this.pausedUntilMs = Math.max(this.pausedUntilMs, world.nowMs + action.forMs + 1000);
        const process = cluster.running(action.node)?.process;
        if (action.afterEffects === 0) process?.pause(action.forMs);
        else process?.pauseAfterEffects(action.afterEffects, action.forMs);
        return;
      }
      case 'stop':
        cluster.comesBackAfter(action.node, action.downMs);
        cluster.stop(action.node);
        return;
      case 'partition': {
        const { from, to, ways } = action;
        const pairs = this.#pairs(to === undefined ? undefined : [from, to]).filter((pair) =>
          pair.some(({ name }) => name === from),
        );
        for (const [one, two] of pairs) {
          if (one.name === from) network.partition(one, two, ways);
          else network.partition(two, one, ways);
        }
        this.#after(action.forMs, () => {
          for (const [one, two] of pairs) network.heal(one, two);
        });
        return;
      }
      case 'flap': {
        const pairs = this.#pairs(action.between);
        for (let turn = 0; turn < action.count; turn++) {
          this.#after(2 * turn * action.periodMs, () => {
            for (const [one, two] of pairs) network.partition(one, two);
          });
          this.#after((2 * turn + 1) * action.periodMs, () => {
            for (const [one, two] of pairs) network.heal(one, two);
          });
        }
        return;
      }
      case 'cut':
        for (const connection of this.#connections(action.between)) {
          if (action.all || this.#prng.chance(0.5)) connection.cut();
        }
        return;
      case 'stall':
        for (const connection of this.#connections(action.between)) connection.stall(action.forMs);
        return;
      case 'halfOpen':
        this.#silence(action.sender, action.between);
        return;
      case 'refuse':
        network.refuse(cluster.machine(action.node), true);
        this.#after(action.forMs, () => network.refuse(cluster.machine(action.node), false));
        return;
      case 'diskFails':
        this.#disk(action.node)?.failNext(action.operation);
        return;
      case 'diskFull': {
        const disk = this.#disk(action.node);
        if (disk === undefined) return;
        disk.freeBytes = action.freeBytes;
        this.#after(action.forMs, () => {
          disk.freeBytes = Infinity;
        });
        return;
      }
      case 'diskSlow': {
        const disk = this.#disk(action.node);
        if (disk === undefined) return;
        disk.slowness = action.factor;
        this.#after(action.forMs, () => {
          disk.slowness = 1;
        });
        return;
      }
      case 'diskHangs': {
        const disk = this.#disk(action.node);
        disk?.hang();
        this.#after(action.forMs, () => disk?.unhang());
        return;
      }
      case 'filesFail': {
        const { files } = cluster.machine(action.node);
        files.fail({ code: this.#prng.pick(['E_IO', 'E_NO_SPACE']), operation: this.#prng.pick(['write', 'sync']) });
        this.#after(action.forMs, () => files.heal());
        return;
      }
      case 'filesSlow': {
        const { files } = cluster.machine(action.node);
        files.slowness = action.factor;
        this.#after(action.forMs, () => {
          files.slowness = 1;
        });
        return;
      }
      case 'logFails': {
        const { files } = cluster.machine(action.node);
        const path = logDevice(action.copy);
        files.fail({ code: action.code, operation: action.operation, path });
        this.#after(action.forMs, () => files.mend(path));
        return;
      }
      case 'logRots':
        cluster.machine(action.node).files.rot(logDevice(action.copy));
        return;
      case 'logGone':
        cluster.comesBackAfter(action.node, action.downMs);
        cluster.running(action.node)?.process.crash();
        cluster.machine(action.node).files.removeAll(logDevice(action.copy));
        return;
      case 'keepDisk':
        cluster.comesBackAfter(action.node, action.downMs);
        cluster.running(action.node)?.process.crash();
        if (cluster.machine(action.node).living.length > 0) return;
        this.#kept.set(action.node, cluster.machine(action.node).snapshot());
        return;
      case 'oldDisk': {
        const kept = this.#kept.get(action.node);
        if (kept === undefined) return;
        cluster.comesBackAfter(action.node, action.downMs);
        cluster.running(action.node)?.process.crash();
        cluster.machine(action.node).restore(kept);
        this.#events.restored(action.node);
        return;
      }
      case 'drift':
        cluster.machine(action.node).driftPpm = action.partsPerMillion;
        return;
      case 'step':
        cluster.machine(action.node).stepWallClock(action.byMs);
        return;
      case 'storeAway':
        for (const node of action.nodes) store.setReachable(cluster.machine(node), false);
        this.#after(action.forMs, () => {
          for (const node of action.nodes) store.setReachable(cluster.machine(node), true);
        });
        return;
      case 'storeSlow':
        store.slowness = action.factor;
        this.#after(action.forMs, () => {
          store.slowness = 1;
        });
        return;
      case 'storeUnknown':
        store.unknownShare = action.share;
        this.#after(action.forMs, () => {
          store.unknownShare = 0;
        });
        return;
      case 'storeKept':
        this.#events.storeKept();
        return;
      case 'storeRestored':
        for (const node of cluster.nodes) store.setReachable(cluster.machine(node), false);
        this.#after(action.downMs, () => {
          this.#events.storeRestored(action.bumped);
          if (!action.bumped) store.wentBack();
          for (const node of cluster.nodes) store.setReachable(cluster.machine(node), true);
        });
        return;
      case 'rest':
        this.#events.rest(action.group, action.forMs);
        return;
      case 'switchOver':
        this.order(null, `switch-over ${action.group} to ${action.to}`, (node) =>
          node.switchOver({ group: action.group, to: action.to }),
        );
        return;
      case 'takeOver':
        this.takeOver(action.group, action.node, action.force);
        return;
      case 'pauseMirror':
        this.#mirror(action.group, action.to, 'pause');
        this.#after(action.forMs, () => this.#mirror(action.group, action.to, 'resume'));
        return;
      case 'resync':
        this.#mirror(action.group, action.to, 'resync');
        return;
      case 'datagrams': {
        const { lostShare, duplicatedShare, lateShare } = action;
        Object.assign(datagrams, { lostShare, duplicatedShare, lateShare });
        this.#after(action.forMs, () => Object.assign(datagrams, { lostShare: 0, duplicatedShare: 0, lateShare: 0 }));
        return;
      }
      case 'serialNoise':
        datagrams.noise(cluster.machine(action.node), serialPath, this.#prng.bytes(action.bytes));
        return;
      case 'serialUnplugged':
        datagrams.plugSerial(cluster.machine(action.node), serialPath, false);
        this.#after(action.forMs, () => datagrams.plugSerial(cluster.machine(action.node), serialPath, true));
        return;
      case 'beatFilesFail': {
        const { files } = cluster.machine(action.node);
        const path = `${heartbeatFolder}/`;
        files.fail({ code: this.#prng.pick(['E_IO', 'E_NO_SPACE']), path });
        this.#after(action.forMs, () => files.mend(path));
        return;
      }
      default:
        assertNever(action);
    }
  }

  takeOver(group: string, at: string, force: boolean): void {
    this.order(at, `take-over ${group} at ${at}${force ? ' by force' : ''}`, (node) => {
      if (force) this.#events.forced(group, at);
      return node.takeOver({ group, node: at, force });
    });
  }

  /** Mirroring that somebody paused goes on. */
  resume(group: string, owner: string, to: string): void {
    this.order(owner, `resume ${group} to ${to}`, (node) => node.resumeMirror({ group, to }));
  }

  /** Asks a node, any when none is named. */
  order(at: string | null, what: string, act: (node: NodeControl) => Promise<unknown>): void {
    const all = this.#cluster.all;
    const running = at === null ? all[this.#prng.below(Math.max(1, all.length))] : this.#cluster.running(at);
    if (!running) return;
    const { process, node } = running;
    process.call(() => {
      // A refusal may be thrown before the first promise.
      new Promise((resolve) => resolve(act(node))).then(
        process.whileAlive(() => this.#events.ordered(what, 'done')),
        process.whileAlive((error: unknown) => {
          if (error instanceof HoldfastError) this.#events.ordered(what, `${error.code}: ${messageOf(error)}`);
          else this.#events.broken(what, error);
        }),
      );
    });
  }

  /** All that was broken works again, and everything runs. */
  heal(): void {
    this.#healed = true;
    const { network, store, datagrams } = this.#world;
    this.disturbedUntilMs = this.#world.nowMs;
    datagrams.heal();
    network.healAll();
    store.heal();
    for (const name of this.#script.nodes) {
      const machine = this.#cluster.machine(name);
      machine.driftPpm = 0;
      machine.files.heal();
      for (const disk of this.#cluster.disks(name)) disk.heal();
      this.#cluster.running(name)?.process.crashAfterEffects(Infinity);
      this.#cluster.start(name);
    }
  }

  /** @param only the target; absent: every one. */
  #mirror(group: string, only: string | undefined, what: 'pause' | 'resume' | 'resync'): void {
    const owner = this.#script.nodes.find((name) => this.#cluster.group(name, group)?.role === 'primary');
    if (owner === undefined) return;
    for (const { node: to } of this.#cluster.targetsOf(group, owner)) {
      if (only !== undefined && to !== only) continue;
      this.order(null, `${what} ${group} to ${to}`, (node) => {
        if (what === 'pause') return node.pauseMirror({ group, to });
        return what === 'resume' ? node.resumeMirror({ group, to }) : node.resyncMirror({ group, to });
      });
    }
  }

  /** Every two machines, or the two named. */
  #pairs(between?: readonly [string, string]): (readonly [SimMachine, SimMachine])[] {
    const nodes = this.#script.nodes.filter((name) => between?.includes(name) !== false);
    return nodes.flatMap((one, index) =>
      nodes.slice(index + 1).map((two) => [this.#cluster.machine(one), this.#cluster.machine(two)] as const),
    );
  }

  #connections(between?: readonly [string, string]): Connection[] {
    return this.#pairs(between).flatMap(([one, two]) => [...this.#world.network.connections(one, two)]);
  }

  /** Nothing that this node sends there arrives any more, on the connections that stand. */
  #silence(sender: string, between?: readonly [string, string]): void {
    const machine = this.#cluster.machine(sender);
    for (const connection of this.#connections(between)) {
      if (connection.from === machine || connection.to === machine) connection.silence(machine);
    }
  }

  #whenMerging(group: string, untilMs: number, run: () => void): void {
    const isMerging = this.#cluster.nodes.some((node) =>
      this.#cluster.group(node, group)?.owner?.legs.some((leg) => leg.merging),
    );
    if (isMerging) run();
    else if (this.#world.nowMs < untilMs) this.#after(lookMs, () => this.#whenMerging(group, untilMs, run));
  }

  #disk(node: string): ReturnType<Cluster['disks']>[number] | undefined {
    const disks = this.#cluster.disks(node);
    return disks[this.#prng.below(Math.max(1, disks.length))];
  }

  #after(delayMs: number, run: () => void): void {
    this.#world.at(this.#world.nowMs + delayMs, () => {
      if (!this.#healed) run();
    });
  }
}

/** How long it may keep others than the node it strikes from what they would do; milliseconds. */
function disturbsMs(deed: Deed): number {
  switch (deed.kind) {
    case 'flap':
      return 2 * deed.count * deed.periodMs;
    case 'cut':
    case 'halfOpen':
    case 'diskFails':
      return 10_000;
    case 'datagrams':
    case 'serialUnplugged':
    case 'beatFilesFail':
    case 'rest':
      return 0;
    default:
      return 'forMs' in deed ? deed.forMs : 0;
  }
}
