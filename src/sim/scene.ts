/**
 * Plays one script: two or three nodes, a store, hosts and people in a simulated world, from the first start until everything is
 * healed and quiet again. The first invariant that does not hold ends it.
 *
 *   start → all in sync → hosts work while the script's actions strike → heal → all in sync → compare
 */
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../base/errors.ts';
import type { Group } from '../group/group.ts';
import type { GroupLog } from '../group/group-log.ts';
import type { Owner } from '../group/owner.ts';
import { parseRecord, type GroupRecord } from '../group/record.ts';
import { groupRecordKey, type LegClass, type MirrorMode } from '../store/document.ts';
import { MemoryStore, StoreMemory } from '../store/memory-store.ts';
import type { StoreState } from '../store/state.ts';
import type { Store } from '../store/store.ts';
import type { Change } from '../stream/change.ts';
import type { History } from '../stream/history.ts';
import { formatPosition, furtherOf } from '../stream/position.ts';
import { Cluster, type Running } from './cluster.ts';
import { overLimit, shownLeg } from './honesty.ts';
import { Host } from './host.ts';
import { Ledger, Violation, type Promised } from './ledger.ts';
import { Misfortune } from './misfortune.ts';
import { observeStamps, type Undo } from './observe.ts';
import { slownessOf } from './pulse-plan.ts';
import { PulseWatch } from './pulse-watch.ts';
import { plantedBugs, type PlantedBug } from './planted.ts';
import type { Action, GroupPlan, Script } from './script.ts';
import { sectorAt } from './symbols.ts';
import { sectorBytes } from './world/disk.ts';
import type { Prng } from './world/prng.ts';
import { World } from './world/world.ts';

export interface SceneOptions {
  readonly planted?: PlantedBug;
  /** Gets what happens, for a person. */
  readonly story?: (line: string) => void;
  /** Gets every event of the world. */
  readonly trace?: (line: string) => void;
}

export interface SceneResult {
  readonly violation: { readonly invariant: string; readonly message: string } | null;
  readonly traceHash: string;
  readonly events: number;
  readonly virtualMs: number;
  readonly requests: number;
  /** Rare places that were reached. */
  readonly marks: readonly string[];
}

/** Within which time healed parts must come together, virtual. */
const startMs = 60_000;
const convergeMs = 150_000;
const stepMs = 100;
/** How long is looked on once all but the store is healed. */
const afterRestorationMs = 20_000;
/** When a person helps a group that nobody serves; with a pulse only much later. */
const helpMs = 8000;
const helpWithPulseMs = 40_000;

const lacksMore: readonly LegClass[] = ['inSync', 'withinBound', 'behind'];
const weaker: readonly Promised[] = ['all', 'bound', 'flushed', 'nothing'];

/** What the scene keeps of a group. */
interface Watched {
  readonly plan: GroupPlan;
  readonly ledger: Ledger;
  record: GroupRecord | null;
  /** The owner whose opening was seen last. */
  owner: Owner | null;
  /** What must be there when the next owner opens. */
  promised: Promised;
  /** How often a person had to help since all was healed. */
  helped: number;
  /** By node: the newest generation that it knew of on its disk (I4). */
  readonly generations: Map<string, number>;
  /** Where a person insists on a take-over, until an owner opens there. */
  forced: string | null;
}

export function playScript(script: Script, options: SceneOptions = {}): Promise<SceneResult> {
  return new Scene(script, options).play();
}

class Scene {
  readonly #script: Script;
  readonly #options: SceneOptions;
  readonly #world: World;
  readonly #cluster: Cluster;
  readonly #misfortune: Misfortune;
  readonly #prng: Prng;
  readonly #groups = new Map<string, Watched>();
  readonly #hosts: Host[] = [];
  readonly #marks = new Set<string>();
  readonly #restored = new Set<string>();
  /** Nodes whose process was ended without its own doing since the group's last opening there or elsewhere. */
  readonly #crashed = new Set<string>();
  /** Logs that are written, or were when last looked at. */
  readonly #logged = new WeakSet<GroupLog>();
  /** Null: the scene has no pulse. */
  readonly #pulse: PulseWatch | null;
  readonly #storeMemory = new StoreMemory();
  #storeBackup: StoreState | null = null;
  /**
   * The store says what was true once. All that is asked from then on is that no two nodes serve a group, that no image is
   * mixed up, and that nobody serves under less than it has seen (R12): a person has to choose, and the scene ends without.
   */
  #storeIsOlder = false;
  #violation: Violation | null = null;
  #numbers = 0;
  #over = false;

  constructor(script: Script, options: SceneOptions) {
    this.#script = script;
    this.#options = options;
    this.#world = new World({
      seed: script.seed,
      store: this.#watchedStore(),
      ...(options.trace === undefined ? {} : { trace: options.trace }),
    });
    this.#prng = this.#world.prng.derive('scene');
    this.#cluster = new Cluster(this.#world, script, {
      told: (running, group, kind, message) => this.#told(running, group, kind, message),
      ended: ({ name }, end, reason) => {
        this.#tell(`${name} ended: ${end}, ${reason}`);
        if (end === 'abort') this.#violated(new Violation('assertion', `${name}: ${reason}`));
        if (end !== 'exit') this.#crashed.add(name);
      },
    });
    this.#pulse = script.pulse === undefined ? null : new PulseWatch(this.#cluster, script.pulse, script.leaseTtlMs);
    this.#misfortune = new Misfortune(this.#world, this.#cluster, script, {
      ordered: (what, outcome) => {
        this.#tell(`${what}: ${outcome}`);
        this.#mark(`${what.split(' ')[0]} ${outcome.split(':')[0]}`);
      },
      forced: (group, at) => {
        const watched = this.#groups.get(group);
        if (watched !== undefined) watched.forced = at;
      },
      rest: (group, forMs) => {
        for (const host of this.#hosts) if (host.group === group) host.rest(forMs);
      },
      restored: (node) => this.#restored.add(node),
      storeKept: () => {
        this.#storeBackup = this.#storeMemory.state;
      },
      storeRestored: (bumped) => this.#restoreStore(bumped),
      broken: (what, error) => this.#violated(new Violation('assertion', `${what}: ${stackOf(error)}`)),
    });
    for (const plan of script.groups) {
      this.#groups.set(plan.name, {
        plan,
        ledger: new Ledger(plan),
        record: null,
        owner: null,
        promised: 'all',
        helped: 0,
        forced: null,
        generations: new Map(),
      });
    }
    for (const [index, plan] of script.hosts.entries()) {
      const watched = this.#groups.get(plan.group);
      if (watched === undefined) continue;
      const host = new Host(
        {
          world: this.#world,
          cluster: this.#cluster,
          ledger: watched.ledger,
          plan,
          prng: this.#world.prng.derive(`host ${index}`),
          nextNumber: () => ++this.#numbers,
          violated: (violation) => this.#violated(violation),
        },
        `host ${index}`,
      );
      this.#hosts.push(host);
    }
  }

  async play(): Promise<SceneResult> {
    const undo: Undo[] = [observeStamps((history, change) => this.#stamped(history, change))];
    if (this.#options.planted !== undefined) undo.push(...plantedBugs[this.#options.planted].plant());
    try {
      await this.#acts();
    } catch (error) {
      this.#violation ??= error instanceof Violation ? error : new Violation('assertion', stackOf(error));
    } finally {
      for (const put of undo.reverse()) put();
    }
    const violation = this.#violation;
    return {
      violation: violation === null ? null : { invariant: violation.invariant, message: violation.message },
      traceHash: this.#world.traceHash,
      events: this.#world.trace.events,
      virtualMs: Math.round(this.#world.nowMs),
      requests: this.#hosts.reduce((sum, host) => sum + host.completions, 0),
      marks: [...this.#marks],
    };
  }

  async #acts(): Promise<void> {
    for (const name of this.#script.nodes) this.#cluster.start(name);
    if (!(await this.#until(() => this.#trouble() === null, startMs))) {
      throw new Violation('I6', `the cluster does not come up: ${this.#trouble() ?? ''}`);
    }
    for (const name of this.#script.nodes) {
      for (const disk of this.#cluster.disks(name)) disk.slowness = this.#script.slowness[name] ?? 1;
    }
    this.#tell('--- the hosts begin');
    for (const host of this.#hosts) host.start();
    const beginMs = this.#world.nowMs;
    for (const action of this.#script.actions) {
      this.#world.at(beginMs + action.atMs, () => {
        if (this.#over) return;
        this.#tell(`* ${JSON.stringify(action)}`);
        this.#misfortune.perform(action);
      });
    }
    for (let endMs = beginMs + this.#script.durationMs; this.#world.nowMs < endMs;) {
      await this.#run(this.#prng.between(1, 200));
      this.#lookAtLegs();
    }
    this.#tell('--- everything is healed');
    this.#over = true;
    this.#misfortune.heal();
    if (this.#storeIsOlder) return this.#run(afterRestorationMs);
    this.#pulse?.healed(Math.max(this.#world.nowMs, this.#misfortune.pausedUntilMs));
    await this.#run(this.#prng.between(0, 1500));
    for (const host of this.#hosts) host.stop();
    await this.#converge();
    this.#compare();
    if (this.#script.pulse?.finalDeath === true && this.#pulse !== null) await this.#finalDeath(this.#pulse);
  }

  /** I13: with everything well but one node, which is lost for good, nobody need help. */
  async #finalDeath(pulse: PulseWatch): Promise<void> {
    const [watched] = this.#groups.values();
    const owner = watched?.record?.owner;
    if (watched === undefined || owner === undefined) return;
    const { name } = watched.plan;
    if (this.#cluster.targetsOf(name, owner).length === 0) return;
    this.#tell(`--- ${owner} is lost for good`);
    pulse.healed(this.#world.nowMs, true);
    this.#cluster.lose(owner);
    const served = (): boolean => {
      const { record } = watched;
      if (record === null || record.owner === owner) return false;
      const group = this.#cluster.group(record.owner, name);
      // `on-target-loss: suspend` is the user's own wish that hosts wait now.
      return group?.serving === true || [...(group?.owner?.holds ?? [])].join() === 'target';
    };
    if (!(await this.#until(served, pulse.servedAgainMs))) {
      const why = this.#cluster.targetsOf(name, owner).map(({ node }) => `${node}: ${pulse.verdict(node, name)}`);
      throw new Violation('I13', `${name} is not served after ${pulse.servedAgainMs} ms: ${why.join('; ')}`);
    }
    this.#mark('served again after a death');
    this.#cluster.start(owner);
    await this.#converge();
    this.#compare();
  }

  // ---- running ----

  async #run(forMs: number): Promise<void> {
    await this.#world.runUntil(() => this.#violation !== null, forMs);
    if (this.#violation === null && this.#storeIsOlder) this.#lookAtServers();
    else if (this.#violation === null) this.#lookAtPulse();
    if (this.#violation !== null) throw this.#violation;
  }

  async #until(holds: () => boolean, withinMs: number): Promise<boolean> {
    for (const endMs = this.#world.nowMs + withinMs; this.#world.nowMs < endMs;) {
      if (holds()) return true;
      await this.#run(stepMs);
    }
    return holds();
  }

  async #converge(): Promise<void> {
    const beganMs = this.#world.nowMs;
    const { pulse } = this.#script;
    const slowness = pulse === undefined ? 1 : slownessOf(pulse);
    const fromMs = Math.max(beganMs, this.#misfortune.pausedUntilMs);
    const endMs = fromMs + slowness * convergeMs;
    let helpAtMs = fromMs + (pulse === undefined ? helpMs : slowness * helpWithPulseMs);
    for (;;) {
      const trouble = this.#trouble();
      if (trouble === null && this.#hosts.every((host) => host.pending === 0)) return;
      if (this.#world.nowMs >= endMs) {
        const waiting = this.#hosts.filter((host) => host.pending > 0).map((host) => host.describe);
        throw new Violation('I6', `not quiet after all was healed: ${[trouble ?? '', ...waiting].join('; ')}`);
      }
      await this.#run(stepMs);
      if (this.#world.nowMs < helpAtMs) continue;
      helpAtMs = this.#world.nowMs + helpMs;
      for (const node of this.#script.nodes) this.#cluster.start(node);
      for (const watched of this.#groups.values()) this.#help(watched, this.#world.nowMs - beganMs > 4 * helpMs);
    }
  }

  /** What an administrator does who reads `why`. */
  #help(watched: Watched, insist: boolean): void {
    const { plan, record } = watched;
    if (record === null) return;
    const { name } = plan;
    const { owner } = record;
    this.#pulse?.helped();
    for (const node of this.#script.nodes) {
      const leg = this.#cluster.group(node, name)?.leg;
      if (leg && leg.fault !== null) {
        this.#tell(`${node} is restarted: its leg had failed`);
        this.#cluster.comesBackAfter(node, 50);
        this.#cluster.running(node)?.process.crash();
        return;
      }
    }
    for (const { node } of this.#cluster.targetsOf(name, owner)) {
      if (record.legs[node]?.paused === true) this.#misfortune.resume(name, owner, node);
    }
    const group = this.#cluster.group(owner, name);
    if (group === undefined || group.role === 'primary') return;
    const target = this.#successor(watched, record);
    this.#tell(`${name}: ${owner} is ${group.role}: ${group.problem ?? ''}; a person takes over at ${target}`);
    this.#mark(insist ? 'a person had to insist' : 'a person had to help');
    if (this.#pulse !== null) {
      this.#mark(`a person had to help a pulse: ${group.role}`);
      if (insist && !this.#script.actions.some(destroys))
        throw new Violation(
          'I13',
          `${name} would be served by force only: ${owner} is ${group.role}: ${group.problem ?? ''}`,
        );
    }
    if (group.role !== 'frozen') {
      this.#cluster.comesBackAfter(owner, 7000);
      this.#cluster.running(owner)?.process.crash();
    }
    this.#misfortune.takeOver(name, target, insist);
  }

  /** The copy that lacks least, as the record has it; where that does not help, another. */
  #successor(watched: Watched, { owner, legs }: GroupRecord): string {
    const targets = this.#cluster
      .targetsOf(watched.plan.name, owner)
      .map(({ node }) => ({ node, lacks: lacksMore.indexOf(legs[node]?.class ?? 'behind') }))
      .sort((one, two) => one.lacks - two.lacks);
    return targets[watched.helped++ % targets.length]?.node ?? owner;
  }

  /** Why the cluster is not in its normal state; null when it is. */
  #trouble(): string | null {
    for (const { plan, record } of this.#groups.values()) {
      if (record === null) return `${plan.name} has no record`;
      const group = this.#cluster.group(record.owner, plan.name);
      const owner = group?.owner;
      if (!group?.serving || !owner) {
        const legs = (owner?.legs ?? []).map(({ node, phase, recordClass }) => `${node} is ${phase}, ${recordClass}`);
        const holds = [...(owner?.holds ?? [])].join();
        return `${plan.name} is ${group?.role ?? 'down'} at ${record.owner}: ${[group?.problem ?? '', holds, ...legs].join('; ')}`;
      }
      for (const { node, mode } of this.#cluster.targetsOf(plan.name, record.owner)) {
        const leg = owner.legOf(node);
        const wanted = mode === 'async' ? 'withinBound' : 'inSync';
        if (leg?.complete !== true || leg.recordClass !== wanted) {
          return `${plan.name} at ${node} is ${leg?.phase}, ${leg?.recordClass}: ${leg?.reason}`;
        }
        if (owner.changesInFlight > 0 || leg.appliedOrdinal !== owner.history.next - 1) {
          return `${plan.name}: ${owner.changesInFlight} changes in flight`;
        }
      }
    }
    return this.#pulse?.deaf ?? null;
  }

  // ---- what is seen ----

  #lookAtPulse(): void {
    if (this.#pulse === null) return;
    const groups = [...this.#groups.values()].map(({ plan, record }) => ({ name: plan.name, record }));
    const wrong = this.#pulse.look(groups, this.#world.nowMs >= this.#misfortune.disturbedUntilMs);
    if (wrong !== null) this.#violated(wrong);
  }

  /** The store's backup is in its place, with its records as they were. */
  #restoreStore(bumped: boolean): void {
    const memory = this.#storeMemory;
    const backup = this.#storeBackup;
    if (backup === null) return;
    memory.state = bumped ? { ...backup, revision: memory.state.revision + 1000 } : backup;
    this.#storeIsOlder = true;
    for (const watched of this.#groups.values()) {
      const value = backup.entries.get(groupRecordKey(watched.plan.name))?.value;
      const record = value === undefined ? null : parseRecord(value);
      if (record?.generation !== watched.record?.generation) this.#mark('the store forgot a generation');
      watched.record = record;
    }
  }

  /** I3, R12: an older store lets nobody in beside somebody who serves, nor under less than it has seen. */
  #lookAtServers(): void {
    for (const { plan } of this.#groups.values()) {
      const servers: string[] = [];
      for (const { name, process } of this.#cluster.all) {
        const group = this.#cluster.group(name, plan.name);
        if (group?.role === 'frozen') this.#mark('an older store froze a group');
        const owner = group?.owner;
        if (process.paused || group?.serving !== true || !owner) continue;
        if (owner.leaseless && owner.promises.remainingMs <= 0) continue;
        servers.push(name);
        const seen = owner.leg.state.seen.generation;
        const { generation } = owner.lineage;
        if (generation < seen)
          throw new Violation('R12', `${name} serves ${plan.name} in ${generation} and has seen ${seen}`);
      }
      if (servers.length > 1) throw new Violation('I3', `${servers.join(' and ')} serve ${plan.name} at once`);
      if (servers.length === 1) this.#mark('served from an older store');
    }
  }

  #stamped(history: History<Change>, change: Change): void {
    for (const running of this.#cluster.all) {
      for (const group of running.node.groups.values()) {
        if (group.owner?.history !== history) continue;
        const watched = this.#groups.get(group.name);
        if (watched === undefined) return;
        const { owner } = group;
        this.#checked(() => {
          const write = watched.ledger.stamped(owner.lineage, change, running.process);
          if (write !== null && this.#options.story !== undefined) {
            const { generation, epoch, seq } = change;
            this.#tell(`${running.name} stamps ${write.kind} ${write.number} ${generation}:${seq} epoch ${epoch}`);
          }
        });
        return;
      }
    }
  }

  #told(running: Running, name: string | null, kind: string, message: string): void {
    this.#tell(`${running.name}: ${name === null ? '' : `group ${name}: `}${message}`);
    this.#mark(`event ${kind}`);
    if (kind === 'decided' && name !== null && this.#pulse !== null) {
      const move = this.#pulse.decided(running.name, name, message);
      this.#mark(`an agent decides on ${move}`);
      this.#misfortune.decided(name, move);
    }
    const watched = name === null ? undefined : this.#groups.get(name);
    const group = name === null ? undefined : running.node.groups.get(name);
    if (kind === 'primary' && watched !== undefined && group?.owner)
      this.#opened(running, watched, group, group.owner);
  }

  #opened({ name: node }: Running, watched: Watched, group: Group, owner: Owner): void {
    // The same owner under a new lease: it goes on with what it has.
    if (watched.owner === owner) {
      watched.ledger.continued(owner.lineage);
      return;
    }
    watched.owner = owner;
    let { promised } = watched;
    if (group.missing !== null) promised = weakest(promised, 'flushed');
    // Yesterday's disk in the other node may be what this owner believed before it could see through it.
    if (this.#restored.size > 0 || this.#storeIsOlder) promised = 'nothing';
    if (promised !== 'all') this.#mark(`opened with ${promised} promised`);
    const { lineage } = owner;
    if (owner.log?.on === true) this.#mark('opened with what its log held');
    this.#tell(`${node} opens ${group.name} in ${lineage.generation}; promised: ${promised}`);
    this.#checked(() => {
      const lost = watched.ledger.opened(lineage, this.#image(watched, node), promised);
      if (lost > 0) this.#mark(`acknowledged writes lost as ${promised} allows`);
    });
    watched.promised = 'all';
    if (watched.forced === node) watched.forced = null;
  }

  /** I4: what a node has seen it does not forget, unless its disk does. */
  #mustRemember({ generations, plan }: Watched, node: string, generation: number): void {
    const before = this.#restored.has(node) ? 0 : (generations.get(node) ?? 0);
    generations.set(node, generation);
    if (generation >= before) return;
    throw new Violation('I4', `${node} had seen generation ${before} of ${plan.name}, and now knows ${generation}`);
  }

  /** I1: whatever calls itself consistent is an image of some moment. */
  #lookAtLegs(): void {
    this.#forgiveRestored();
    for (const { name: node, node: product, process } of this.#cluster.all) {
      for (const group of product.groups.values()) {
        const { leg, role, owner } = group;
        const watched = this.#groups.get(group.name);
        if (watched === undefined) continue;
        const seen = leg?.metadata.saved?.seen;
        if (seen !== undefined) this.#mustRemember(watched, node, seen.generation);
        if (role === 'primary' && owner !== null) {
          this.#lookAtLog(owner);
          const outstanding = this.#hosts.reduce((sum, host) => sum + host.outstanding(process), 0);
          const over = overLimit(owner, group, outstanding);
          if (over !== null) throw new Violation('I8', `${group.name} at ${node}: ${over}`);
        }
        if (role !== 'secondary' || leg === null) continue;
        if (leg.blank || leg.fault !== null || leg.state.condition !== 'consistent') continue;
        const image = this.#image(watched, node);
        const wrong = watched.ledger.notAPrefix(image, leg.state.lineage);
        if (wrong !== null) throw new Violation('I1', `${group.name} at ${node}: ${wrong}`);
        this.#mustBeHonest(watched, group, node, image);
      }
    }
  }

  /** The rare places of a log; and TL-9: while it is kept for legs that are away, it holds all that they may lack. */
  #lookAtLog(owner: Owner): void {
    const { log } = owner;
    if (log === null) return;
    const { from } = log;
    if (log.on && log.usable && from !== null) {
      for (const { node } of owner.legs.filter(({ needsLog }) => needsLog)) {
        // Where it is down it may come back with what it has made durable since the owner heard from it.
        const durable = this.#cluster.group(node, owner.group)?.leg?.metadata.saved?.durable;
        if (durable === undefined || log.covers(furtherOf(durable, from))) continue;
        // Yesterday's disk lacks what it once confirmed: it is copied.
        if (this.#restored.has(node)) continue;
        throw new Violation('TL-9', `the log does not hold what ${node} lacks after ${formatPosition(durable)}`);
      }
    }
    if (log.on) {
      this.#mark('logged');
      this.#logged.add(log);
    } else if (log.endReason === null && this.#logged.delete(log)) this.#mark('merged');
    if (log.status()?.state === 'full') this.#mark('log full');
    if (log.problem !== null) this.#mark('log failed');
    if (log.endReason !== null) this.#mark('fell back to bits');
  }

  /** I10: a take-over here would lose no more than is shown. */
  #mustBeHonest(watched: Watched, group: Group, node: string, image: Uint32Array): void {
    const { plan, ledger, record, forced } = watched;
    // In mode `receive` what is held in memory counts, and an image does not show it.
    if (
      this.#modeAt(plan, node) === 'receive' ||
      forced !== null ||
      this.#restored.size > 0 ||
      this.#storeIsOlder ||
      !isDeepStrictEqual(group.record, record)
    )
      return;
    if (shownLeg(group, node, node)?.disk !== 'UpToDate') return;
    const missing = ledger.missing(image).size;
    const legClass = record?.legs[node]?.class;
    const most = legClass === 'inSync' ? 0 : plan.lagWritesMax;
    if (missing > most) {
      throw new Violation(
        'I10',
        `${group.name} at ${node} is shown UpToDate (${legClass}) and lacks ${missing} writes`,
      );
    }
    const at = record?.owner ?? node;
    const owner = this.#cluster.group(at, group.name);
    if (owner?.role !== 'primary') return;
    const shown = shownLeg(owner, at, node);
    if (shown?.disk !== 'UpToDate' || shown.lag.writes === null || missing <= shown.lag.writes) return;
    throw new Violation(
      'I10',
      `${group.name} at ${node} lacks ${missing} writes, ${at} shows a lag of ${shown.lag.writes}`,
    );
  }

  /** Yesterday's disk has been found out, and the leg on it was made whole. */
  #forgiveRestored(): void {
    if (this.#restored.size === 0 || this.#trouble() !== null) return;
    // An owner that has not noticed yet that the other's process was ended sees no trouble.
    for (const node of this.#restored) {
      for (const { record, plan } of this.#groups.values()) {
        if (record?.owner === node || this.#modeAt(plan, node) === undefined) continue;
        if (!this.#cluster.group(node, plan.name)?.target?.owner) return;
      }
    }
    this.#restored.clear();
  }

  /** I6: at the end all legs are equal, and what the history says. */
  #compare(): void {
    for (const watched of this.#groups.values()) {
      const { plan, owner } = watched;
      if (owner === null) continue;
      const [first = '', ...others] = this.#cluster.legsOf(plan.name).map(({ node }) => node);
      for (const [index, volume] of this.#cluster.volumesOf(plan.name).entries()) {
        const one = this.#cluster.disk(first, volume)?.cached;
        for (const other of others) {
          const two = this.#cluster.disk(other, volume)?.cached;
          if (one && two && Buffer.compare(one, two) === 0) continue;
          throw new Violation(
            'I6',
            `volume ${index} of ${plan.name} differs at ${first} and ${other}: ${firstDifference(one, two)}`,
          );
        }
      }
      const wrong = watched.ledger.differsFromEnd(this.#image(watched, first), owner.lineage);
      if (wrong !== null) throw new Violation('I6', `${plan.name}: ${wrong}`);
    }
  }

  /** Every sector of a group's volumes at a node, as a read would give it now. */
  #image({ plan, ledger }: Watched, node: string): Uint32Array {
    const image = new Uint32Array(ledger.sectors);
    for (const [volume, entry] of this.#cluster.volumesOf(plan.name).entries()) {
      const data = this.#cluster.disk(node, entry)?.cached;
      const base = ledger.sectorOf(volume, 0);
      if (data === undefined) continue;
      for (let sector = 0; sector < entry.sizeBytes / sectorBytes; sector++) {
        image[base + sector] = sectorAt(data, sector, volume, 0);
      }
    }
    return image;
  }

  /** The store behind everything: what is committed to it is the truth about ownership. */
  #watchedStore(): Store {
    const memory = new MemoryStore(this.#storeMemory);
    return {
      read: (key) => memory.read(key),
      readAll: (prefix) => memory.readAll(prefix),
      close: () => memory.close(),
      commit: async (transaction) => {
        const outcome = await memory.commit(transaction);
        if (outcome.kind === 'committed') {
          for (const { key, value } of transaction.put) this.#committed(key, value);
        }
        return outcome;
      },
    };
  }

  #committed(key: string, value: string): void {
    for (const watched of this.#groups.values()) {
      const { plan, record: before } = watched;
      if (key !== groupRecordKey(plan.name)) continue;
      const record = parseRecord(value);
      if (record === null) return this.#violated(new Violation('I4', `${key} holds no record: ${value}`));
      watched.record = record;
      if (this.#options.story !== undefined) {
        const legs = Object.entries(record.legs).map(([node, leg]) => `${node} ${leg.class}`);
        this.#tell(
          `record of ${plan.name}: generation ${record.generation}${record.established ? '' : ' (new)'}, ` +
            `owner ${record.owner}, ${legs.join(', ')}`,
        );
      }
      if (before === null || this.#storeIsOlder) return;
      const same = before.generation === record.generation;
      if (
        record.generation < before.generation ||
        (same && (before.id !== record.id || before.owner !== record.owner))
      ) {
        this.#violated(
          new Violation('I4', `generation ${record.generation} follows ${before.generation} in the store`),
        );
      }
      if (record.owner !== before.owner) {
        const wrong = this.#pulse?.moved(plan.name, before, record) ?? null;
        if (wrong !== null) this.#violated(wrong);
      }
      if (record.owner !== before.owner && !record.established) this.#takenOver(watched, before, record);
    }
  }

  #takenOver(watched: Watched, before: GroupRecord, record: GroupRecord): void {
    const legClass = before.legs[record.owner]?.class ?? 'behind';
    this.#mark(`taken over by a leg ${legClass}`);
    if (watched.forced !== null) {
      watched.promised = 'nothing';
    } else if (legClass === 'behind') {
      this.#violated(
        new Violation('I11', `${record.owner} took over ${watched.plan.name} with a leg that is behind`),
      );
    } else if (this.#modeAt(watched.plan, record.owner) === 'receive' && this.#crashed.has(record.owner)) {
      // What it had received and not applied died with the process; both sides failed.
      watched.promised = 'nothing';
    } else {
      watched.promised = weakest(watched.promised, legClass === 'inSync' ? 'all' : 'bound');
    }
  }

  /** How it is written to while another node owns the group; undefined where the group has no leg. */
  #modeAt({ name }: GroupPlan, node: string): MirrorMode | undefined {
    return this.#cluster.legsOf(name).find((leg) => leg.node === node)?.mode;
  }

  #checked(check: () => void): void {
    try {
      check();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#violated(error);
    }
  }

  #violated(violation: Violation): void {
    if (this.#violation === null) this.#tell(`!!! ${messageOf(violation)}`);
    this.#violation ??= violation;
  }

  #mark(name: string): void {
    this.#marks.add(name);
  }

  #tell(line: string): void {
    this.#options.story?.(`${(this.#world.nowMs / 1000).toFixed(4)} ${line}`);
  }
}

/** What may leave no copy that is whole, and a person to choose what is lost. */
function destroys(action: Action): boolean {
  const { kind } = action;
  if (kind === 'inMerge' || kind === 'onDecision') return destroys({ atMs: action.atMs, ...action.deed });
  return destroyers.some((destroyer) => destroyer === kind) || (kind === 'takeOver' && action.force);
}

const destroyers: readonly Action['kind'][] = ['logRots', 'logGone', 'logFails', 'diskFails', 'filesFail', 'oldDisk'];

function weakest(one: Promised, two: Promised): Promised {
  return weaker.indexOf(one) > weaker.indexOf(two) ? one : two;
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function firstDifference(one: Uint8Array | undefined, two: Uint8Array | undefined): string {
  if (one === undefined || two === undefined) return 'one is missing';
  const at = one.findIndex((byte, index) => byte !== two[index]);
  const sector = Math.floor(at / sectorBytes);
  const word = (image: Uint8Array): number =>
    new DataView(image.buffer, image.byteOffset).getUint32(sector * sectorBytes, true);
  return `sector ${sector} holds write ${word(one)} and ${word(two)}`;
}
