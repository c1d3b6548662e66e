/**
 * What will happen in a scene, as data: the cluster, the hosts, and every fault and order with its time. Drawn from a seed;
 * written down as JSON it can be cut shorter, kept, and replayed. The world's own dice (latencies, what a power loss
 * leaves) hang on the seed alone, so that a shortened script meets the same world.
 *
 * One draw decides which classes of fault exist in a run at all: a run with every fault at once rarely gets far enough to
 * reach the interesting places, and a run with few says clearly what must hold.
 */
import type { LegEntry, MirrorMode, OnCongestion, OnLogFull, OnTargetLoss } from '../store/document.ts';
import { assert } from '../base/assert.ts';
import { hasPulse, pulseNodes, withPulse, type PulsePlan } from './pulse-plan.ts';
import { Prng } from './world/prng.ts';

export interface VolumePlan {
  readonly sizeBytes: number;
  readonly blockSizeBytes: 512 | 4096;
}

export interface LogPlan {
  readonly sizeBytes: number;
  /** Devices it is kept on, at each of the group's nodes. */
  readonly copies: 1 | 2;
  readonly onLogFull: OnLogFull;
  readonly onTargetLoss: OnTargetLoss;
  readonly onCongestion: OnCongestion;
}

export interface GroupPlan {
  readonly name: string;
  readonly owner: string;
  /** Of every leg, where `legs` does not list them. */
  readonly mode: MirrorMode;
  /** In order of succession, the owner first. Absent: at every node. */
  readonly legs?: readonly LegEntry[];
  readonly volumes: readonly VolumePlan[];
  readonly graceMs: number;
  readonly lagWritesMax: number;
  readonly resyncShare: number;
  /** Absent: it has none. */
  readonly log?: LogPlan;
}

/** A host: `lanes` requests at once, each lane thinking for a while between two. */
export interface HostPlan {
  readonly group: string;
  readonly lanes: number;
  readonly thinkMs: number;
  /** Blocks it uses of each volume, spread evenly. Few of them: overlaps are what hurts. */
  readonly places: number;
  /** Gives up a session that owes it an answer for so long, and tries another node. Real hosts do; some are patient. */
  readonly patienceMs: number;
}

const faultClassesOfTwo = [
  'crash',
  'power',
  'pause',
  'stop',
  'network',
  'disk',
  'yesterday',
  'clock',
  'store',
  'move',
  'force',
  'mirror',
  'isolation',
] as const;

/** With a log: what befalls it; and targets that are away for longer than the grace time. */
const faultClassesOfLogs = ['log', 'outage'] as const;

/**
 * `restored`: the store is put back to an older state, against all advice; drawn only where it is asked for, since such a scene
 * ends with nodes that refuse to serve. `tenures`: ownership goes to and fro while a third leg is away. `storeless`: an owner loses the store and nothing else, so that it
 * goes on under promises until somebody wants to take over.
 */
export const faultClasses = [
  ...faultClassesOfTwo,
  'tenures',
  ...faultClassesOfLogs,
  'storeless',
  'restored',
] as const;

export type FaultClass = (typeof faultClasses)[number];

/** Two nodes whose network is meant; absent: every two. */
interface Pair {
  readonly between?: readonly [string, string];
}

/**
 * Times are milliseconds; `atMs` counts from the moment the hosts begin. What names a node or more is optional where scenes
 * of two nodes leave no choice: absent, all that can be meant are.
 */
export type Action = { readonly atMs: number } & (Deed | InMerge | OnDecision);

/** The deed is done as soon as a leg of the group is being merged, if that happens within the time. */
interface InMerge {
  readonly kind: 'inMerge';
  readonly group: string;
  readonly withinMs: number;
  readonly deed: Deed;
}

/** The deed is done right after an agent has decided on such a move of the group. */
interface OnDecision {
  readonly kind: 'onDecision';
  readonly group: string;
  readonly move: AgentMove;
  readonly deed: Deed;
}

/** What agents do by themselves. */
export type AgentMove = 'takeOver' | 'handOver' | 'giveBack';

export type Deed =
  | { readonly kind: 'crash'; readonly node: string; readonly afterEffects: number; readonly downMs: number }
  | { readonly kind: 'power'; readonly nodes: readonly string[]; readonly downMs: number }
  | { readonly kind: 'pause'; readonly node: string; readonly afterEffects: number; readonly forMs: number }
  | { readonly kind: 'stop'; readonly node: string; readonly downMs: number }
  | {
      readonly kind: 'partition';
      readonly from: string;
      readonly to?: string;
      readonly ways: 'both' | 'oneToOther';
      readonly forMs: number;
    }
  | ({ readonly kind: 'flap'; readonly periodMs: number; readonly count: number } & Pair)
  | ({ readonly kind: 'cut'; readonly all: boolean } & Pair)
  | ({ readonly kind: 'stall'; readonly forMs: number } & Pair)
  | ({ readonly kind: 'halfOpen'; readonly sender: string } & Pair)
  | { readonly kind: 'refuse'; readonly node: string; readonly forMs: number }
  | { readonly kind: 'diskFails'; readonly node: string; readonly operation: 'read' | 'write' | 'flush' }
  | { readonly kind: 'diskFull'; readonly node: string; readonly freeBytes: number; readonly forMs: number }
  | { readonly kind: 'diskSlow'; readonly node: string; readonly factor: number; readonly forMs: number }
  | { readonly kind: 'diskHangs'; readonly node: string; readonly forMs: number }
  | { readonly kind: 'filesFail'; readonly node: string; readonly forMs: number }
  | { readonly kind: 'filesSlow'; readonly node: string; readonly factor: number; readonly forMs: number }
  | {
      readonly kind: 'logFails';
      readonly node: string;
      readonly copy: number;
      readonly code: 'E_IO' | 'E_NO_SPACE' | 'E_READ_ONLY';
      readonly operation: 'read' | 'write' | 'sync';
      readonly forMs: number;
    }
  /** One bit of one of its sectors turns over, on the medium and in the cache. */
  | { readonly kind: 'logRots'; readonly node: string; readonly copy: number }
  /** Its files are gone when the node comes back. */
  | { readonly kind: 'logGone'; readonly node: string; readonly copy: number; readonly downMs: number }
  | { readonly kind: 'keepDisk'; readonly node: string; readonly downMs: number }
  | { readonly kind: 'oldDisk'; readonly node: string; readonly downMs: number }
  | { readonly kind: 'drift'; readonly node: string; readonly partsPerMillion: number }
  | { readonly kind: 'step'; readonly node: string; readonly byMs: number }
  | { readonly kind: 'storeAway'; readonly nodes: readonly string[]; readonly forMs: number }
  | { readonly kind: 'storeSlow'; readonly factor: number; readonly forMs: number }
  | { readonly kind: 'storeUnknown'; readonly share: number; readonly forMs: number }
  /** The store is backed up. */
  | { readonly kind: 'storeKept' }
  /**
   * The store is taken down, and the backup put in its place. `bumped`: with a revision above all that existed, so that
   * nodes that run go on with it; else they notice that it went back, and refuse it.
   */
  | { readonly kind: 'storeRestored'; readonly bumped: boolean; readonly downMs: number }
  /** The hosts ask nothing: copies become durable, hot regions cool. */
  | { readonly kind: 'rest'; readonly group: string; readonly forMs: number }
  | { readonly kind: 'switchOver'; readonly group: string; readonly to: string }
  | { readonly kind: 'takeOver'; readonly group: string; readonly node: string; readonly force: boolean }
  | { readonly kind: 'pauseMirror'; readonly group: string; readonly to?: string; readonly forMs: number }
  | { readonly kind: 'resync'; readonly group: string; readonly to?: string }
  | {
      readonly kind: 'datagrams';
      readonly lostShare: number;
      readonly duplicatedShare: number;
      readonly lateShare: number;
      readonly forMs: number;
    }
  | { readonly kind: 'serialNoise'; readonly node: string; readonly bytes: number }
  | { readonly kind: 'serialUnplugged'; readonly node: string; readonly forMs: number }
  /** The backing files of heartbeat mirrors. */
  | { readonly kind: 'beatFilesFail'; readonly node: string; readonly forMs: number };

export interface Script {
  readonly seed: string;
  /** Two or three; with a pulse five as well. */
  readonly nodes: readonly string[];
  readonly leaseTtlMs: number;
  /** Absent: the default. */
  readonly leaseMarginMs?: number;
  readonly connectionsPerLink: number;
  readonly groups: readonly GroupPlan[];
  readonly hosts: readonly HostPlan[];
  /** Factor on the latencies of each node's disks: a slow target has more in flight to lose. */
  readonly slowness: Readonly<Record<string, number>>;
  readonly durationMs: number;
  readonly actions: readonly Action[];
  /** Absent: there is no pulse, and people take over. */
  readonly pulse?: PulsePlan;
}

/** What the classes `tenures` and `restored` need to take their course. */
const tenuresMs = 22_000;
const restoredMs = 20_000;

const nodeNames = ['east', 'west', 'south', 'north', 'middle'] as const;

/** Where a group's log is kept, on the device of that number. */
export function logFolder(copy: number, group: string): string {
  return `${logDevice(copy)}/${group}`;
}

export function logDevice(copy: number): string {
  return `/log${copy}`;
}

/** A group's legs in order of succession. */
export function legsOf({ owner, mode, legs }: GroupPlan, nodes: readonly string[]): readonly LegEntry[] {
  return legs ?? [owner, ...nodes.filter((node) => node !== owner)].map((node) => ({ node, mode }));
}

export interface DrawOptions {
  /** The classes of fault to draw from, for a run that looks for something particular. */
  readonly only?: readonly FaultClass[] | undefined;
  /** 2, 3 or 5; drawn, when absent. */
  readonly nodes?: number | undefined;
  /** Whether groups have logs; drawn, when absent. */
  readonly logs?: boolean | undefined;
  /** Whether there is a pulse, and what of it is not drawn. Absent: drawn, or where `only` is given there is none. */
  readonly pulse?: boolean | Partial<PulsePlan> | undefined;
}

export function drawScript(seed: string, { only, nodes: given, logs, pulse }: DrawOptions = {}): Script {
  // Dice of their own: whatever else is drawn from a seed does not hang on these.
  const isOfThree = new Prng(`${seed}/nodes`).chance(0.25);
  const hasLogs = new Prng(`${seed}/logs`).chance(0.3);
  const beats = pulse ?? (only === undefined && hasPulse(seed));
  const drawn = isOfThree ? 3 : 2;
  const count = given ?? (beats ? pulseNodes(seed, drawn) : drawn);
  const script = new Drawing(seed, nodeNames.slice(0, count), logs ?? hasLogs).script(only);
  return beats === false ? script : withPulse(script, beats === true ? {} : beats);
}

class Drawing {
  readonly #seed: string;
  readonly #prng: Prng;
  readonly #nodes: readonly string[];
  readonly #hasLogs: boolean;
  readonly #groups: GroupPlan[] = [];

  constructor(seed: string, nodes: readonly string[], hasLogs: boolean) {
    this.#seed = seed;
    this.#hasLogs = hasLogs;
    this.#prng = new Prng(`${seed}/script`);
    this.#nodes = nodes;
  }

  script(only?: readonly FaultClass[]): Script {
    const prng = this.#prng;
    const classes = only ?? this.#classes();
    for (let at = prng.chance(0.25) ? 2 : 1; at > 0; at--) {
      this.#groups.push(this.#group(`g${this.#groups.length + 1}`));
    }
    const hosts = this.#groups.flatMap((group) => this.#hosts(group));
    const durationMs =
      Math.round(prng.between(4000, 16_000)) +
      (classes.includes('tenures') ? tenuresMs : 0) +
      (classes.includes('restored') ? restoredMs : 0);
    const actions: Action[] = [];
    const count = classes.length === 0 ? 0 : 1 + prng.below(Math.min(10, 2 + 2 * classes.length));
    for (let at = 0; at < count; at++) {
      const kind = classes[prng.below(classes.length)];
      // What takes its time begins early.
      const latestMs =
        kind === 'restored'
          ? durationMs - restoredMs
          : kind === 'tenures'
            ? durationMs - tenuresMs
            : kind === 'outage'
              ? durationMs / 3
              : durationMs;
      if (kind !== undefined) actions.push(...this.#actions(kind, Math.round(prng.between(0, latestMs))));
    }
    return {
      seed: this.#seed,
      nodes: this.#nodes,
      leaseTtlMs: prng.pick([1000, 2000, 3000]),
      connectionsPerLink: prng.pick([1, 2]),
      groups: this.#groups,
      hosts,
      slowness: Object.fromEntries(this.#nodes.map((node) => [node, prng.pick([1, 1, 10, 40])])),
      durationMs,
      actions: actions.filter(({ atMs }) => atMs <= durationMs).sort((a, b) => a.atMs - b.atMs),
    };
  }

  #classes(): FaultClass[] {
    const prng = this.#prng;
    if (prng.chance(0.05)) return [];
    const share = prng.pick([0.1, 0.2, 0.4]);
    const rare: Partial<Record<FaultClass, number>> = { force: 0.4, yesterday: 0.3 };
    const all: FaultClass[] = [...faultClassesOfTwo];
    if (this.#nodes.length > 2) all.push('tenures');
    if (this.#hasLogs) all.push(...faultClassesOfLogs, 'outage');
    all.push('storeless');
    const chosen = all.filter((name) => prng.chance(share * (rare[name] ?? 1)));
    return chosen.length > 0 ? chosen : [prng.pick(['crash', 'power', 'network', 'move'])];
  }

  #group(name: string): GroupPlan {
    const prng = this.#prng;
    const blockSizeBytes = prng.pick([512, 4096] as const);
    const owner = this.#oneOf(this.#nodes);
    const mode = this.#mode();
    return {
      name,
      owner,
      mode,
      ...(this.#nodes.length > 2 ? { legs: this.#legs(owner, mode) } : {}),
      volumes: Array.from({ length: 1 + prng.below(3) }, () => ({
        sizeBytes: prng.pick([128, 256, 256, 512]) * 1024,
        blockSizeBytes,
      })),
      graceMs: prng.pick([200, 1000, 3000]),
      lagWritesMax: prng.pick([4, 16, 64]),
      resyncShare: prng.pick([0.3, 1]),
      ...(this.#hasLogs ? { log: this.#log() } : {}),
    };
  }

  /** Often so small that it fills. */
  #log(): LogPlan {
    const prng = this.#prng;
    return {
      sizeBytes: prng.pick([256, 1024, 8192]) * 1024,
      copies: prng.pick([1, 1, 2]),
      onLogFull: prng.pick(['bitmap', 'throttle', 'suspend']),
      onTargetLoss: prng.pick(['log', 'log', 'log', 'suspend']),
      onCongestion: prng.pick(['throttle', 'log']),
    };
  }

  #mode(): MirrorMode {
    return this.#prng.pick(['sync', 'sync', 'sync', 'receive', 'async']);
  }

  /** Two targets, as a rule; with one, a node that has nothing to do with the group looks on. */
  #legs(owner: string, mode: MirrorMode): LegEntry[] {
    const first = this.#otherNode(owner);
    const second = this.#nodes.filter((node) => node !== owner && node !== first);
    const targets = [first, ...(this.#prng.chance(0.9) ? second : [])];
    return [{ node: owner, mode }, ...targets.map((node) => ({ node, mode: this.#mode() }))];
  }

  #hosts(group: GroupPlan): HostPlan[] {
    const prng = this.#prng;
    return Array.from({ length: prng.chance(0.4) ? 2 : 1 }, (_, index) => ({
      group: group.name,
      lanes: prng.pick([1, 2, 4, 6]),
      // A second host may be one that comes back after everybody else has noticed something.
      thinkMs: index === 0 ? prng.pick([20, 40, 80, 160]) : prng.pick([40, 160, 2500]),
      places: prng.pick([8, 24, 64]),
      patienceMs: prng.pick([1000, 3000, 1e9]),
    }));
  }

  /** No dice where there is no choice. */
  #oneOf(nodes: readonly string[]): string {
    const [first, ...others] = nodes;
    assert(first !== undefined, 'there is a node to choose');
    return others.length === 0 ? first : this.#prng.pick([first, ...others]);
  }

  #otherNode(node: string): string {
    return this.#oneOf(this.#nodes.filter((other) => other !== node));
  }

  #otherLeg(group: GroupPlan, node: string): string {
    const legs = legsOf(group, this.#nodes).map((leg) => leg.node);
    return this.#oneOf(legs.filter((other) => other !== node));
  }

  /** Two of three nodes, or all. */
  #between(node: string): Pair {
    if (this.#nodes.length < 3 || this.#prng.chance(0.3)) return {};
    return { between: [node, this.#otherNode(node)] };
  }

  /** One of two targets, or both. */
  #target(group: GroupPlan): { to?: string } {
    const legs = legsOf(group, this.#nodes);
    return legs.length < 3 || this.#prng.chance(0.3) ? {} : { to: this.#oneOf(legs.map((leg) => leg.node)) };
  }

  /** All nodes, or one. Of three, two as well. */
  #some(node: string): readonly string[] {
    if (this.#prng.chance(0.3)) return this.#nodes;
    return this.#nodes.length > 2 && this.#prng.chance(0.3) ? [node, this.#otherNode(node)] : [node];
  }

  /** The point of several nodes: another one goes on. */
  #takeOver(group: GroupPlan, without: string, atMs: number, force = false): Action {
    return { atMs, kind: 'takeOver', group: group.name, node: this.#otherLeg(group, without), force };
  }

  /** One misfortune, or a few that belong together. */
  #actions(name: FaultClass, atMs: number): Action[] {
    const prng = this.#prng;
    const node = this.#oneOf(this.#nodes);
    const group = this.#groups[prng.below(this.#groups.length)];
    if (group === undefined) return [];
    const downMs = Math.round(
      prng.pick([prng.between(10, 300), prng.between(300, 3000), prng.between(3000, 12_000)]),
    );
    const forMs = Math.round(prng.pick([prng.between(5, 200), prng.between(200, 3000), prng.between(3000, 10_000)]));
    const later = (ms: number): number => atMs + Math.round(ms);
    switch (name) {
      case 'crash': {
        const crash: Action = { atMs, kind: 'crash', node, afterEffects: prng.below(40), downMs };
        return prng.chance(0.5) ? [crash, this.#takeOver(group, node, later(prng.between(0, 1500)))] : [crash];
      }
      case 'power': {
        const power: Action = { atMs, kind: 'power', nodes: this.#some(node), downMs };
        return prng.chance(0.4) ? [power, this.#takeOver(group, node, later(prng.between(0, 1500)))] : [power];
      }
      case 'pause': {
        const pauseMs = prng.chance(0.1) ? 120_000 : forMs;
        const pause: Action = { atMs, kind: 'pause', node, afterEffects: prng.below(20), forMs: pauseMs };
        return prng.chance(0.6) ? [pause, this.#takeOver(group, node, later(prng.between(0, 500)))] : [pause];
      }
      case 'stop':
        return [{ atMs, kind: 'stop', node, downMs }];
      case 'network':
        return this.#networkActions(atMs, node, forMs);
      case 'disk':
        return this.#diskActions(atMs, node, group, { forMs, downMs });
      case 'yesterday':
        return [
          { atMs: Math.round(atMs / 2), kind: 'keepDisk', node, downMs: 100 },
          { atMs: later(1000), kind: 'oldDisk', node, downMs },
        ];
      case 'clock': {
        if (prng.chance(0.5)) {
          return [{ atMs, kind: 'drift', node, partsPerMillion: Math.round(prng.between(-10_000, 10_000)) }];
        }
        const byMs = Math.round(prng.pick([prng.between(-1e5, 1e5), prng.between(-2000, 2000)]));
        return [{ atMs, kind: 'step', node, byMs }];
      }
      case 'store':
        switch (prng.below(3)) {
          case 0:
            return [{ atMs, kind: 'storeAway', nodes: this.#some(node), forMs }];
          case 1:
            return [{ atMs, kind: 'storeSlow', factor: prng.pick([10, 100, 300]), forMs }];
          default:
            return [{ atMs, kind: 'storeUnknown', share: prng.between(0.1, 0.9), forMs }];
        }
      case 'move':
        return [{ atMs, kind: 'switchOver', group: group.name, to: node }];
      case 'force': {
        const crash: Action = { atMs, kind: 'crash', node, afterEffects: prng.below(40), downMs: 6000 + downMs };
        return [crash, this.#takeOver(group, node, later(prng.between(0, 1000)), true)];
      }
      case 'mirror':
        return prng.chance(0.7)
          ? [{ atMs, kind: 'pauseMirror', group: group.name, ...this.#target(group), forMs }]
          : [{ atMs, kind: 'resync', group: group.name, ...this.#target(group) }];
      case 'isolation':
        // A node that only its hosts still reach: it must fall silent by its own clock.
        return [
          { atMs, kind: 'partition', from: group.owner, ways: 'both', forMs: 6000 + forMs },
          { atMs, kind: 'storeAway', nodes: [group.owner], forMs: 6000 + forMs },
          this.#takeOver(group, group.owner, later(prng.between(100, 5000))),
        ];
      case 'tenures':
        return this.#tenures(atMs, group, node, forMs);
      case 'log':
        return [this.#logAction(atMs, node, { forMs, downMs })];
      case 'outage':
        return this.#outage(atMs, group, { forMs, downMs });
      case 'storeless':
        return this.#storeless(atMs, group, forMs);
      case 'restored':
        return this.#restored(atMs, group, downMs);
    }
  }

  /** Long enough for the lease to lapse; then the other leg is wanted as owner, with or without the link between them. */
  #storeless(atMs: number, group: GroupPlan, forMs: number): Action[] {
    const prng = this.#prng;
    const { owner, name } = group;
    const takesMs = atMs + Math.round(prng.between(3000, 8000));
    const storeAway: Action = { atMs, kind: 'storeAway', nodes: [owner], forMs: takesMs - atMs + 3000 + forMs };
    const node = this.#otherLeg(group, owner);
    const cutMs = takesMs - prng.below(50);
    const parts = prng.pick<Action[]>([
      [],
      [
        { atMs: cutMs, kind: 'partition', from: owner, ways: 'both', forMs: 2000 + forMs },
        { atMs: cutMs, kind: 'cut', all: true },
      ],
    ]);
    return [
      storeAway,
      ...parts,
      { atMs: takesMs, kind: 'takeOver', group: name, node, force: parts.length === 0 || prng.chance(0.3) },
    ];
  }

  /** Ownership moves after the backup, as a rule; after the restoration nodes are started again, sooner or later. */
  #restored(atMs: number, group: GroupPlan, downMs: number): Action[] {
    const prng = this.#prng;
    const { owner, name } = group;
    const next = this.#otherLeg(group, owner);
    const movesMs = atMs + Math.round(prng.between(50, 1500));
    const moves = prng.pick<Action[]>([
      [],
      [{ atMs: movesMs, kind: 'switchOver', group: name, to: next }],
      [
        { atMs: movesMs, kind: 'crash', node: owner, afterEffects: 0, downMs: 4000 + downMs },
        { atMs: movesMs + 50, kind: 'takeOver', group: name, node: next, force: false },
      ],
    ]);
    const restoredMs = movesMs + Math.round(prng.between(500, 5000));
    // Longer than any lease of a scene lasts, with its margin.
    const storeDownMs = Math.round(prng.between(5000, 8000));
    const startsMs = restoredMs + storeDownMs + Math.round(prng.between(-3000, 3000));
    const starts = [owner, next]
      .filter(() => prng.chance(0.6))
      .map((node): Action => ({
        atMs: startsMs,
        kind: 'crash',
        node,
        afterEffects: 0,
        downMs: 50 + prng.below(2000),
      }));
    return [
      { atMs, kind: 'storeKept' },
      ...moves,
      { atMs: restoredMs, kind: 'storeRestored', bumped: prng.chance(0.5), downMs: storeDownMs },
      ...starts,
    ];
  }

  #logAction(atMs: number, node: string, { forMs, downMs }: { forMs: number; downMs: number }): Action {
    const prng = this.#prng;
    const copy = prng.below(2);
    switch (prng.below(6)) {
      case 0:
        return { atMs, kind: 'logRots', node, copy };
      case 1:
        return { atMs, kind: 'logGone', node, copy, downMs };
      case 2:
        return { atMs, kind: 'filesSlow', node, factor: prng.pick([10, 100, 1000]), forMs };
      default: {
        const code = prng.pick(['E_IO', 'E_NO_SPACE', 'E_NO_SPACE', 'E_READ_ONLY'] as const);
        const operation = code === 'E_IO' ? prng.pick(['read', 'write', 'sync'] as const) : 'write';
        return { atMs, kind: 'logFails', node, copy, code, operation, forMs };
      }
    }
  }

  /** A target is away for longer than the grace time; about when it returns, something else happens. */
  #outage(atMs: number, group: GroupPlan, { forMs, downMs }: { forMs: number; downMs: number }): Action[] {
    const prng = this.#prng;
    const { name, owner, graceMs } = group;
    const away = this.#otherLeg(group, owner);
    const awayMs = Math.round(graceMs + prng.between(500, 8000));
    const leaves = prng.pick<Action>([
      { atMs, kind: 'partition', from: owner, to: away, ways: 'both', forMs: awayMs },
      { atMs, kind: 'crash', node: away, afterEffects: 0, downMs: awayMs },
      { atMs, kind: 'power', nodes: [away], downMs: awayMs },
      { atMs, kind: 'pauseMirror', group: name, to: away, forMs: awayMs },
    ]);
    const thenMs = atMs + awayMs + Math.round(prng.between(-500, 1500));
    const then = prng.pick<Action[]>([
      [],
      [{ atMs: thenMs, kind: 'crash', node: owner, afterEffects: prng.below(40), downMs }],
      [{ atMs: thenMs, kind: 'crash', node: away, afterEffects: prng.below(40), downMs }],
      [{ atMs: thenMs, kind: 'power', nodes: this.#some(owner), downMs }],
      [{ atMs: thenMs, kind: 'partition', from: owner, to: away, ways: 'both', forMs }],
      [{ atMs: thenMs, kind: 'switchOver', group: name, to: away }],
      [
        { atMs: thenMs, kind: 'crash', node: owner, afterEffects: 0, downMs },
        this.#takeOver(group, owner, thenMs + 50),
      ],
      [this.#logAction(thenMs, owner, { forMs, downMs })],
      [this.#inMerge(atMs, group, away)],
      [this.#inMerge(atMs, group, away)],
    ]);
    return [leaves, ...then];
  }

  /**
   * What a new owner remembers of the third leg may be of an earlier tenure of its own. That shows where the hosts rest in
   * between: what was written meanwhile is in no hot region any more.
   */
  #tenures(atMs: number, group: GroupPlan, away: string, forMs: number): Action[] {
    const prng = this.#prng;
    const there = this.#otherLeg(group, away);
    const back = legsOf(group, this.#nodes).find(({ node }) => node !== away && node !== there)?.node;
    if (back === undefined) return [];
    const { name } = group;
    const between = (from: number, to: number): number => Math.round(prng.between(from, to));
    const rest = (fromMs: number, restMs: number): Action => ({
      atMs: fromMs,
      kind: 'rest',
      group: name,
      forMs: restMs,
    });
    const move = (whenMs: number, from: string, to: string): Action[] =>
      prng.chance(0.7)
        ? [{ atMs: whenMs, kind: 'switchOver', group: name, to }]
        : [
            { atMs: whenMs, kind: 'crash', node: from, afterEffects: 0, downMs: 6000 + forMs },
            { atMs: whenMs + 100, kind: 'takeOver', group: name, node: to, force: false },
          ];
    const leavesMs = atMs + between(500, 8000);
    const goesOnMs = leavesMs + between(-3000, 1000);
    const restsMs = Math.max(leavesMs, goesOnMs) + between(300, 3000);
    const returnsMs = restsMs + between(2000, 7000);
    const downMs = returnsMs - leavesMs + between(-500, 2000);
    const leaves = prng.pick<Action[]>([
      [{ atMs: leavesMs, kind: 'crash', node: away, afterEffects: 0, downMs }],
      [{ atMs: leavesMs, kind: 'power', nodes: [away], downMs }],
      [{ atMs: leavesMs, kind: 'partition', from: away, ways: 'both', forMs: downMs }],
      [{ atMs: leavesMs, kind: 'pauseMirror', group: name, to: away, forMs: downMs }],
    ]);
    return [
      ...move(atMs, back, there),
      rest(atMs + 500, Math.max(0, goesOnMs - atMs - 500)),
      ...leaves,
      rest(restsMs, returnsMs - restsMs + between(0, 3000)),
      ...move(returnsMs, there, back),
    ];
  }

  #inMerge(atMs: number, { name: group, owner }: GroupPlan, away: string): Action {
    const prng = this.#prng;
    const node = prng.pick([owner, away]);
    const downMs = Math.round(prng.between(50, 4000));
    const afterEffects = prng.below(60);
    const deed = prng.pick<Deed>([
      { kind: 'crash', node, afterEffects, downMs },
      { kind: 'power', nodes: [node], downMs },
      { kind: 'power', nodes: [owner, away], downMs },
      { kind: 'partition', from: owner, to: away, ways: 'both', forMs: downMs },
      { kind: 'pause', node, afterEffects, forMs: downMs },
      { kind: 'diskSlow', node: away, factor: 1000, forMs: downMs },
      { kind: 'takeOver', group, node: away, force: true },
    ]);
    return { atMs, kind: 'inMerge', group, withinMs: 15_000, deed };
  }

  #networkActions(atMs: number, node: string, forMs: number): Action[] {
    const prng = this.#prng;
    switch (prng.below(6)) {
      case 0:
      case 1: {
        const ways = prng.pick(['both', 'both', 'oneToOther'] as const);
        const to = this.#between(node).between?.[1];
        return [{ atMs, kind: 'partition', from: node, ...(to === undefined ? {} : { to }), ways, forMs }];
      }
      case 2: {
        const periodMs = Math.round(prng.between(20, 1500));
        return [{ atMs, kind: 'flap', periodMs, count: 2 + prng.below(6), ...this.#between(node) }];
      }
      case 3:
        return [{ atMs, kind: 'cut', all: prng.chance(0.5), ...this.#between(node) }];
      case 4:
        return prng.chance(0.5)
          ? [{ atMs, kind: 'stall', forMs, ...this.#between(node) }]
          : [{ atMs, kind: 'halfOpen', sender: node, ...this.#between(node) }];
      default:
        return [
          { atMs, kind: 'refuse', node, forMs },
          { atMs: atMs + 1, kind: 'cut', all: true, ...this.#between(node) },
        ];
    }
  }

  #diskActions(
    atMs: number,
    node: string,
    group: GroupPlan,
    { forMs, downMs }: { forMs: number; downMs: number },
  ): Action[] {
    const prng = this.#prng;
    switch (prng.below(5)) {
      case 0:
        return [{ atMs, kind: 'diskFails', node, operation: prng.pick(['read', 'write', 'flush']) }];
      case 1:
        return [{ atMs, kind: 'diskFull', node, freeBytes: prng.below(16) * 4096, forMs }];
      case 2:
        return [{ atMs, kind: 'diskSlow', node, factor: prng.pick([10, 100, 1000]), forMs }];
      case 3: {
        const hang: Action = { atMs, kind: 'diskHangs', node, forMs };
        if (prng.chance(0.5)) return [hang];
        return [
          { ...hang, forMs: 4000 + forMs },
          { atMs: atMs + 200, kind: 'crash', node: this.#otherNode(node), afterEffects: 0, downMs: 5000 + downMs },
          { atMs: atMs + 210, kind: 'takeOver', group: group.name, node, force: false },
        ];
      }
      default:
        return [{ atMs, kind: 'filesFail', node, forMs }];
    }
  }
}
