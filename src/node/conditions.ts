/**
 * Failures that this node sees in its groups, links, store, lease and clocks (HM-16): looked at about once a second, told when
 * they begin, when they get worse or better, and when they are over. What the pulse sees of other nodes and of its own paths,
 * the agent of moves, and resources of applications they tell themselves.
 *
 * Invariants:
 * - A condition is told once it has lasted for its grace without a gap; one that was never told is never told to be over.
 * - What both ends of a thing see, such as a link, has the same id at both, so that it is one alert.
 */
import type { AlertCode, AlertLevel, Component, Indication } from '../pulse/indication.ts';
import type { GroupSight } from './group-sight.ts';

/** What is looked at, at one moment. */
export interface Sight {
  readonly monotonicMs: number;
  readonly wallMs: number;
  readonly groups: readonly GroupSight[];
  /** To the nodes with which this one shares a group. */
  readonly links: readonly LinkSight[];
  readonly lease: { readonly state: 'valid' | 'lapsed' | 'unknown'; readonly reason: string | null };
  /** Why the coordination store does not answer; null: it does, or there is none. */
  readonly storeProblem: string | null;
  /** Why this node's own pulse is, or was since the last look, silent; null: it beats. */
  readonly stuck: string | null;
}

export interface LinkSight {
  readonly peer: string;
  readonly up: boolean;
  readonly reason: string | null;
  /** AS-7: the other node has said that it stops. */
  readonly planned: boolean;
}

/** That something holds. */
export interface Condition {
  readonly component: Component;
  readonly id: string;
  readonly code: AlertCode;
  readonly level: AlertLevel;
  readonly group: string | null;
  /** See `Indication`. */
  readonly about?: string;
  readonly text: string;
  /** For how long it must have held before it is told. Milliseconds. */
  readonly graceMs: number;
}

interface Watched {
  condition: Condition;
  readonly sinceMs: number;
  told: AlertLevel | null;
  /** Told before this start: until then it may come up again. */
  readonly keptUntilMs: number;
}

/** A link that was lost is found again within seconds where nothing is broken, as is a copy after a move. */
const graceMs = { link: 5000, copy: 10_000, opening: 5000, leaseAtStart: 10_000, store: 2000, lease: 1000 } as const;
/** After a start it takes a while until links are up and groups are open again. */
const settleMs = 20_000;
/** What is told here and has an end. */
const ownCodes: readonly AlertCode[] = [
  'node-stuck',
  'lease-lost',
  'store-unreachable',
  'link-down',
  'volume-failed',
  'disk-failed',
  'disk-full',
  'split-brain',
  'log-filling',
  'copy-behind',
  'loss-stated',
];
/** Beyond it the wall clock was set, and not adjusted (chrony and NTP step from 128 ms on; that much harms nothing here). */
const clockStepMs = 1000;

export class Conditions {
  readonly #node: string;
  readonly #watched = new Map<string, Watched>();
  /** Wall clock minus monotonic clock, at the last look. */
  #offsetMs: number | null = null;

  constructor(node: string) {
    this.#node = node;
  }

  /** What was told before this start: what does not hold any more once the node has settled is told to be over. */
  recall(told: readonly Indication[], nowMonotonicMs: number): void {
    for (const { component, id, code, level, group, text } of told) {
      if (!ownCodes.includes(code)) continue;
      const condition = { component, id, code, level, group, text, graceMs: 0 };
      const keptUntilMs = nowMonotonicMs + settleMs;
      this.#watched.set(keyOf(condition), { condition, sinceMs: nowMonotonicMs, told: level, keptUntilMs });
    }
  }

  /** What is to be told now. */
  look(sight: Sight): Indication[] {
    const now = sight.monotonicMs;
    const told: Indication[] = this.#clockStep(sight);
    const holding = new Map(conditionsOf(this.#node, sight).map((condition) => [keyOf(condition), condition]));
    for (const [key, watched] of [...this.#watched]) {
      if (holding.has(key) || now < watched.keptUntilMs) continue;
      this.#watched.delete(key);
      const { condition } = watched;
      if (watched.told !== null)
        told.push(this.#indication({ ...condition, text: `over: ${condition.text}` }, sight, true));
    }
    for (const [key, condition] of holding) {
      const watched = this.#watched.get(key) ?? { condition, sinceMs: now, told: null, keptUntilMs: now };
      this.#watched.set(key, watched);
      watched.condition = condition;
      if (watched.told === condition.level || now - watched.sinceMs < condition.graceMs) continue;
      watched.told = condition.level;
      told.push(this.#indication(condition, sight, false));
    }
    return told;
  }

  #clockStep({ wallMs, monotonicMs }: Sight): Indication[] {
    const before = this.#offsetMs;
    const offsetMs = wallMs - monotonicMs;
    this.#offsetMs = offsetMs;
    const stepMs = before === null ? 0 : offsetMs - before;
    if (Math.abs(stepMs) <= clockStepMs) return [];
    const way = stepMs > 0 ? 'forward' : 'back';
    const text = `the wall clock of ${this.#node} was set ${way} by ${(Math.abs(stepMs) / 1000).toFixed(1)} s`;
    const step = { component: 'node', id: this.#node, code: 'clock-step', level: 'MODERATE', group: null } as const;
    return [{ ...step, node: this.#node, atMs: Math.round(wallMs), text, over: false }];
  }

  #indication(condition: Condition, { wallMs }: Sight, over: boolean): Indication {
    const { component, id, code, level, group, about, text } = condition;
    return { component, id, code, level, node: this.#node, group, atMs: Math.round(wallMs), about, text, over };
  }
}

const keyOf = ({ component, id, code, group }: Condition): string => JSON.stringify([component, id, code, group]);

/** All that hold, whether they have lasted long enough or not. */
export function conditionsOf(node: string, sight: Sight): Condition[] {
  return [
    ...ownConditions(node, sight),
    ...sight.links.flatMap((link) => linkConditions(node, link)),
    ...sight.groups.flatMap((group) => groupConditions(node, group)),
  ];
}

function ownConditions(node: string, { groups, lease, storeProblem, stuck }: Sight): Condition[] {
  const conditions: Condition[] = [];
  const add = (condition: Omit<Condition, 'group'>): void => void conditions.push({ group: null, ...condition });
  const ofNode = { component: 'node', id: node, level: 'SYSTEM DOWN' } as const;
  const stalled = groups.flatMap(({ name, stalled: why }) => (why === null ? [] : [`group ${name}: ${why}`]));
  const standing = [...(stuck === null ? [] : [stuck]), ...stalled].join('; ');
  if (standing !== '')
    add({ ...ofNode, code: 'node-stuck', graceMs: 0, text: `${node} cannot do its job: ${standing}` });
  const owned = groups.filter(({ owned: isOwned }) => isOwned).map(({ name }) => name);
  if (lease.state !== 'valid' && owned.length > 0)
    add({
      ...ofNode,
      code: 'lease-lost',
      graceMs: lease.state === 'unknown' ? graceMs.leaseAtStart : graceMs.lease,
      text: `${node} has no valid lease on ${owned.join(', ')}: ${lease.reason ?? 'no reason known'}`,
    });
  if (storeProblem !== null)
    add({
      component: 'store',
      id: 'coordination store',
      code: 'store-unreachable',
      level: 'SERIOUS',
      graceMs: graceMs.store,
      text: `the coordination store does not answer ${node}: ${storeProblem}`,
    });
  return conditions;
}

function linkConditions(node: string, { peer, up, reason, planned }: LinkSight): Condition[] {
  if (up || planned) return [];
  const text = `no replication connection between ${node} and ${peer}: ${reason ?? 'being tried'}`;
  const id = [node, peer].sort().join(' – ');
  const traits = { component: 'link', code: 'link-down', level: 'SERIOUS' } as const;
  return [{ ...traits, id, group: null, about: peer, graceMs: graceMs.link, text }];
}

function groupConditions(node: string, group: GroupSight): Condition[] {
  const { name, closed, fault, disks, full, splitBrain, wentBack, missing, log, copies } = group;
  const conditions: Condition[] = [];
  const add = (condition: Omit<Condition, 'group'>): void => void conditions.push({ group: name, ...condition });
  const failed = fault ?? wentBack ?? closed;
  if (failed !== null)
    for (const volume of failed.volumes)
      add({
        component: 'volume',
        id: volume,
        code: 'volume-failed',
        level: 'SERIOUS',
        graceMs: failed === closed ? graceMs.opening : 0,
        text: `the copy of volume ${volume} at ${node} cannot be used: ${failed.reason}`,
      });
  for (const { path, reason } of disks)
    add({
      component: 'disk',
      id: `${node}:${path}`,
      code: 'disk-failed',
      level: 'SERIOUS',
      graceMs: 0,
      text: reason,
    });
  if (full !== null)
    add({
      component: 'disk',
      id: `${node}:${full.path}`,
      code: 'disk-full',
      level: 'SERIOUS',
      graceMs: 0,
      text: full.reason,
    });
  if (splitBrain !== null)
    add({
      component: 'group',
      id: name,
      code: 'split-brain',
      level: 'SYSTEM DOWN',
      graceMs: 0,
      text: `group ${name}: ${splitBrain}`,
    });
  if (missing !== null)
    add({
      component: 'group',
      id: name,
      code: 'loss-stated',
      level: 'SERIOUS',
      graceMs: 0,
      text: `group ${name}: ${missing}`,
    });
  if (log !== null)
    add({
      component: 'log',
      id: `${name} at ${node}`,
      code: 'log-filling',
      level: log.isFull ? 'SERIOUS' : 'MODERATE',
      graceMs: 0,
      text: `log of group ${name} at ${node}: ${log.reason}`,
    });
  for (const copy of copies)
    add({
      component: 'volume',
      id: `${name} at ${copy.node}`,
      code: 'copy-behind',
      level: 'MODERATE',
      about: copy.node,
      graceMs: graceMs.copy,
      text: `the copy of group ${name} at ${copy.node} is behind: ${copy.reason}`,
    });
  return conditions;
}
