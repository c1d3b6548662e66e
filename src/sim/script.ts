/**
 * What will happen in a scene, as data: the cluster, the hosts, and every fault and order with its time. Drawn from a seed;
 * written down as JSON it can be cut shorter, kept, and replayed. The world's own dice (latencies, what a power loss
 * leaves) hang on the seed alone, so that a shortened script meets the same world.
 *
 * One draw decides which classes of fault exist in a run at all: a run with every fault at once rarely gets far enough to
 * reach the interesting places, and a run with few says clearly what must hold.
 */
import type { MirrorMode } from '../store/document.ts';
import { Prng } from './world/prng.ts';

export interface VolumePlan {
  readonly sizeBytes: number;
  readonly blockSizeBytes: 512 | 4096;
}

export interface GroupPlan {
  readonly name: string;
  readonly owner: string;
  readonly mode: MirrorMode;
  readonly volumes: readonly VolumePlan[];
  readonly graceMs: number;
  readonly lagWritesMax: number;
  readonly resyncShare: number;
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

export const faultClasses = [
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

export type FaultClass = (typeof faultClasses)[number];

/** Times are milliseconds; `atMs` counts from the moment the hosts begin. */
export type Action = { readonly atMs: number } & (
  | { readonly kind: 'crash'; readonly node: string; readonly afterEffects: number; readonly downMs: number }
  | { readonly kind: 'power'; readonly nodes: readonly string[]; readonly downMs: number }
  | { readonly kind: 'pause'; readonly node: string; readonly afterEffects: number; readonly forMs: number }
  | { readonly kind: 'stop'; readonly node: string; readonly downMs: number }
  | {
      readonly kind: 'partition';
      readonly from: string;
      readonly ways: 'both' | 'oneToOther';
      readonly forMs: number;
    }
  | { readonly kind: 'flap'; readonly periodMs: number; readonly count: number }
  | { readonly kind: 'cut'; readonly all: boolean }
  | { readonly kind: 'stall'; readonly forMs: number }
  | { readonly kind: 'halfOpen'; readonly sender: string }
  | { readonly kind: 'refuse'; readonly node: string; readonly forMs: number }
  | { readonly kind: 'diskFails'; readonly node: string; readonly operation: 'read' | 'write' | 'flush' }
  | { readonly kind: 'diskFull'; readonly node: string; readonly freeBytes: number; readonly forMs: number }
  | { readonly kind: 'diskSlow'; readonly node: string; readonly factor: number; readonly forMs: number }
  | { readonly kind: 'diskHangs'; readonly node: string; readonly forMs: number }
  | { readonly kind: 'filesFail'; readonly node: string; readonly forMs: number }
  | { readonly kind: 'keepDisk'; readonly node: string; readonly downMs: number }
  | { readonly kind: 'oldDisk'; readonly node: string; readonly downMs: number }
  | { readonly kind: 'drift'; readonly node: string; readonly partsPerMillion: number }
  | { readonly kind: 'step'; readonly node: string; readonly byMs: number }
  | { readonly kind: 'storeAway'; readonly nodes: readonly string[]; readonly forMs: number }
  | { readonly kind: 'storeSlow'; readonly factor: number; readonly forMs: number }
  | { readonly kind: 'storeUnknown'; readonly share: number; readonly forMs: number }
  | { readonly kind: 'switchOver'; readonly group: string; readonly to: string }
  | { readonly kind: 'takeOver'; readonly group: string; readonly node: string; readonly force: boolean }
  | { readonly kind: 'pauseMirror'; readonly group: string; readonly forMs: number }
  | { readonly kind: 'resync'; readonly group: string }
);

export interface Script {
  readonly seed: string;
  readonly nodes: readonly [string, string];
  readonly leaseTtlMs: number;
  readonly connectionsPerLink: number;
  readonly groups: readonly GroupPlan[];
  readonly hosts: readonly HostPlan[];
  /** Factor on the latencies of each node's disks: a slow target has more in flight to lose. */
  readonly slowness: Readonly<Record<string, number>>;
  readonly durationMs: number;
  readonly actions: readonly Action[];
}

export const nodeNames = ['east', 'west'] as const;

export function other(node: string): string {
  return node === 'east' ? 'west' : 'east';
}

/** @param only the classes of fault to draw from, for a run that looks for something particular. */
export function drawScript(seed: string, only?: readonly FaultClass[]): Script {
  const prng = new Prng(`${seed}/script`);
  const classes = only ?? drawClasses(prng);
  const groups: GroupPlan[] = [];
  for (let at = prng.chance(0.25) ? 2 : 1; at > 0; at--) groups.push(drawGroup(prng, `g${groups.length + 1}`));
  const hosts = groups.flatMap((group) =>
    Array.from({ length: prng.chance(0.4) ? 2 : 1 }, (_, index) => ({
      group: group.name,
      lanes: prng.pick([1, 2, 4, 6]),
      // A second host may be one that comes back after everybody else has noticed something.
      thinkMs: index === 0 ? prng.pick([20, 40, 80, 160]) : prng.pick([40, 160, 2500]),
      places: prng.pick([8, 24, 64]),
      patienceMs: prng.pick([1000, 3000, 1e9]),
    })),
  );
  const durationMs = Math.round(prng.between(4000, 16_000));
  const actions: Action[] = [];
  const count = classes.length === 0 ? 0 : 1 + prng.below(Math.min(10, 2 + 2 * classes.length));
  for (let at = 0; at < count; at++) {
    const kind = classes[prng.below(classes.length)];
    if (kind !== undefined) actions.push(...drawActions(prng, kind, Math.round(prng.between(0, durationMs)), groups));
  }
  return {
    seed,
    nodes: nodeNames,
    leaseTtlMs: prng.pick([1000, 2000, 3000]),
    connectionsPerLink: prng.pick([1, 2]),
    groups,
    hosts,
    slowness: { east: prng.pick([1, 1, 10, 40]), west: prng.pick([1, 1, 10, 40]) },
    durationMs,
    actions: actions.filter(({ atMs }) => atMs <= durationMs).sort((a, b) => a.atMs - b.atMs),
  };
}

function drawClasses(prng: Prng): FaultClass[] {
  if (prng.chance(0.05)) return [];
  const share = prng.pick([0.1, 0.2, 0.4]);
  const rare: Partial<Record<FaultClass, number>> = { force: 0.4, yesterday: 0.3 };
  const chosen = faultClasses.filter((name) => prng.chance(share * (rare[name] ?? 1)));
  return chosen.length > 0 ? chosen : [prng.pick(['crash', 'power', 'network', 'move'])];
}

function drawGroup(prng: Prng, name: string): GroupPlan {
  const blockSizeBytes = prng.pick([512, 4096] as const);
  return {
    name,
    owner: prng.pick(nodeNames),
    mode: prng.pick(['sync', 'sync', 'sync', 'receive', 'async']),
    volumes: Array.from({ length: 1 + prng.below(3) }, () => ({
      sizeBytes: prng.pick([128, 256, 256, 512]) * 1024,
      blockSizeBytes,
    })),
    graceMs: prng.pick([200, 1000, 3000]),
    lagWritesMax: prng.pick([4, 16, 64]),
    resyncShare: prng.pick([0.3, 1]),
  };
}

/** One misfortune, or a few that belong together. */
function drawActions(prng: Prng, name: FaultClass, atMs: number, groups: readonly GroupPlan[]): Action[] {
  const node = prng.pick(nodeNames);
  const group = groups[prng.below(groups.length)];
  if (group === undefined) return [];
  const downMs = Math.round(prng.pick([prng.between(10, 300), prng.between(300, 3000), prng.between(3000, 12_000)]));
  const forMs = Math.round(prng.pick([prng.between(5, 200), prng.between(200, 3000), prng.between(3000, 10_000)]));
  const later = (ms: number): number => atMs + Math.round(ms);
  switch (name) {
    case 'crash': {
      const crash: Action = { atMs, kind: 'crash', node, afterEffects: prng.below(40), downMs };
      // The point of two nodes: the other one goes on.
      return prng.chance(0.5)
        ? [
            crash,
            {
              atMs: later(prng.between(0, 1500)),
              kind: 'takeOver',
              group: group.name,
              node: other(node),
              force: false,
            },
          ]
        : [crash];
    }
    case 'power': {
      const power: Action = { atMs, kind: 'power', nodes: prng.chance(0.3) ? nodeNames : [node], downMs };
      return prng.chance(0.4)
        ? [
            power,
            {
              atMs: later(prng.between(0, 1500)),
              kind: 'takeOver',
              group: group.name,
              node: other(node),
              force: false,
            },
          ]
        : [power];
    }
    case 'pause': {
      const pauseMs = prng.chance(0.1) ? 120_000 : forMs;
      const pause: Action = { atMs, kind: 'pause', node, afterEffects: prng.below(20), forMs: pauseMs };
      return prng.chance(0.6)
        ? [
            pause,
            {
              atMs: later(prng.between(0, 500)),
              kind: 'takeOver',
              group: group.name,
              node: other(node),
              force: false,
            },
          ]
        : [pause];
    }
    case 'stop':
      return [{ atMs, kind: 'stop', node, downMs }];
    case 'network':
      switch (prng.below(6)) {
        case 0:
        case 1:
          return [{ atMs, kind: 'partition', from: node, ways: prng.pick(['both', 'both', 'oneToOther']), forMs }];
        case 2:
          return [{ atMs, kind: 'flap', periodMs: Math.round(prng.between(20, 1500)), count: 2 + prng.below(6) }];
        case 3:
          return [{ atMs, kind: 'cut', all: prng.chance(0.5) }];
        case 4:
          return [prng.chance(0.5) ? { atMs, kind: 'stall', forMs } : { atMs, kind: 'halfOpen', sender: node }];
        default:
          return [
            { atMs, kind: 'refuse', node, forMs },
            { atMs: later(1), kind: 'cut', all: true },
          ];
      }
    case 'disk':
      switch (prng.below(5)) {
        case 0:
          return [{ atMs, kind: 'diskFails', node, operation: prng.pick(['read', 'write', 'flush']) }];
        case 1:
          return [{ atMs, kind: 'diskFull', node, freeBytes: prng.below(16) * 4096, forMs }];
        case 2:
          return [{ atMs, kind: 'diskSlow', node, factor: prng.pick([10, 100, 1000]), forMs }];
        case 3: {
          const hang: Action = { atMs, kind: 'diskHangs', node, forMs };
          return prng.chance(0.5)
            ? [hang]
            : [
                { ...hang, forMs: 4000 + forMs },
                { atMs: later(200), kind: 'crash', node: other(node), afterEffects: 0, downMs: 5000 + downMs },
                { atMs: later(210), kind: 'takeOver', group: group.name, node, force: false },
              ];
        }
        default:
          return [{ atMs, kind: 'filesFail', node, forMs }];
      }
    case 'yesterday':
      return [
        { atMs: Math.round(atMs / 2), kind: 'keepDisk', node, downMs: 100 },
        { atMs: later(1000), kind: 'oldDisk', node, downMs },
      ];
    case 'clock':
      return prng.chance(0.5)
        ? [{ atMs, kind: 'drift', node, partsPerMillion: Math.round(prng.between(-10_000, 10_000)) }]
        : [
            {
              atMs,
              kind: 'step',
              node,
              byMs: Math.round(prng.pick([prng.between(-1e5, 1e5), prng.between(-2000, 2000)])),
            },
          ];
    case 'store':
      switch (prng.below(3)) {
        case 0:
          return [{ atMs, kind: 'storeAway', nodes: prng.chance(0.3) ? nodeNames : [node], forMs }];
        case 1:
          return [{ atMs, kind: 'storeSlow', factor: prng.pick([10, 100, 300]), forMs }];
        default:
          return [{ atMs, kind: 'storeUnknown', share: prng.between(0.1, 0.9), forMs }];
      }
    case 'move':
      return [{ atMs, kind: 'switchOver', group: group.name, to: node }];
    case 'force':
      return [
        { atMs, kind: 'crash', node, afterEffects: prng.below(40), downMs: 6000 + downMs },
        { atMs: later(prng.between(0, 1000)), kind: 'takeOver', group: group.name, node: other(node), force: true },
      ];
    case 'mirror':
      return prng.chance(0.7)
        ? [{ atMs, kind: 'pauseMirror', group: group.name, forMs }]
        : [{ atMs, kind: 'resync', group: group.name }];
    case 'isolation':
      // A node that only its hosts still reach: it must fall silent by its own clock.
      return [
        { atMs, kind: 'partition', from: group.owner, ways: 'both', forMs: 6000 + forMs },
        { atMs, kind: 'storeAway', nodes: [group.owner], forMs: 6000 + forMs },
        {
          atMs: later(prng.between(100, 5000)),
          kind: 'takeOver',
          group: group.name,
          node: other(group.owner),
          force: false,
        },
      ];
  }
}
