/**
 * What a scene with a pulse has besides one without: the settings of the pulse, and faults of its own. Drawn with dice of their own,
 * so that what else is drawn from a seed does not hang on them; kept scenes without a plan have no pulse.
 *
 * In a *calm* scene no fault reaches far enough for an owner to be lost: pauses and partitions end before the timeout, few
 * heartbeats are lost, whatever else fails leaves a way by which the owner is heard. Ownership must not move by itself there.
 */
import { presets, checkSettings, type PresetSettings } from '../pulse/presets.ts';
import type { PulseSettings } from '../pulse/settings.ts';
import { assert } from '../base/assert.ts';
import type { TakeOverSettings } from '../store/document.ts';
import { Prng } from './world/prng.ts';
import type { Action, Deed, Script } from './script.ts';

export interface PulsePlan {
  /** Absent: `lan`, with what of it the plan says otherwise. Of the others every number is the preset's own. */
  readonly preset?: 'wan' | 'classic';
  readonly timeoutMs: number;
  /** A node that starts alone waits for so long. */
  readonly startUpMs: number;
  readonly presence: boolean;
  /** A heartbeat mirror from each node to the next, and from the last to the first. */
  readonly mirrors: boolean;
  /** A serial line between the first two nodes. */
  readonly interconnect: boolean;
  readonly giveBack: 'manual' | 'auto';
  readonly settleMs: number;
  readonly calm: boolean;
  /** Calm, though everything but the serial line may be cut for long: by that the owner is heard. */
  readonly lifeline: boolean;
  /** When all is well again, the first group's owner is lost for good, and nobody helps. */
  readonly finalDeath: boolean;
}

export const pulsePort = 7001;
const heartbeatPort = 7002;
export const heartbeatFolder = '/data/heartbeat';
/** The same path on both machines. */
export const serialPath = '/dev/ttyS0';
/** Secret to nobody in a simulated world. */
export const pulseKey = new Uint8Array(32).fill(0x5a);

export function addressesOf(node: string): { readonly pulse: readonly string[]; readonly heartbeat: string } {
  return { pulse: [`${node}:${pulsePort}`], heartbeat: `${node}:${heartbeatPort}` };
}

export function pulseSettingsOf(plan: PulsePlan, nodes: readonly string[], leaseTtlMs: number): PulseSettings {
  const preset = presetOf(plan);
  const [first = '', second = ''] = nodes;
  const settings: PulseSettings = {
    ...preset,
    timeoutMs: plan.timeoutMs,
    startUpMs: plan.startUpMs,
    presence: { ...preset.presence, enabled: plan.presence },
    leaseTtlMs,
    network: true,
    mirrors: plan.mirrors
      ? nodes.map((from, at) => ({
          name: `hb-${from}`,
          from,
          to: nodes[(at + 1) % nodes.length] ?? first,
          paths: {},
        }))
      : [],
    interconnects: plan.interconnect
      ? [{ name: 'ic1', at: { [first]: serialPath, [second]: serialPath }, baudRate: 115_200 }]
      : [],
  };
  const problems = checkSettings(settings);
  assert(problems.length === 0, problems.join('; '));
  return settings;
}

export function takeOverOf({ giveBack, settleMs }: PulsePlan): Partial<TakeOverSettings> {
  return { automatic: 'on', giveBack, giveBackSettleMs: settleMs };
}

const presetOf = ({ preset }: PulsePlan): PresetSettings => presets[preset ?? 'lan'];

/** How much slower everything is seen, and done about it, than with the preset `lan`; 1 or more. */
export function slownessOf({ preset }: PulsePlan): number {
  return preset === undefined ? 1 : presets[preset].timeoutMs / presets.lan.timeoutMs;
}

/** Within which time a group that lost its owner for good is served again, where a safe copy lives undisturbed. */
export function servedAgainMs(plan: PulsePlan, leaseTtlMs: number): number {
  const { presence, leaseMarginMs } = presetOf(plan);
  const { timeoutMs, startUpMs } = plan;
  const asked = presence.waitMs * (presence.retries + 1);
  // A link that was cut without a word is known to be that after 6 s; a copy is opened, and drained, within some seconds.
  return startUpMs + 2 * timeoutMs + asked + leaseTtlMs + leaseMarginMs + 6000 + 6000;
}

/** How many nodes a scene with a pulse has, where two or three would be there without. */
export function pulseNodes(seed: string, otherwise: number): number {
  return new Prng(`${seed}/pulse nodes`).chance(0.1) ? 5 : otherwise;
}

export function hasPulse(seed: string): boolean {
  return new Prng(`${seed}/pulse`).chance(0.25);
}

/** With dice of its own; undefined: `lan`, as mostly. */
function drawPreset(seed: string): 'wan' | 'classic' | undefined {
  const prng = new Prng(`${seed}/pulse preset`);
  if (!prng.chance(0.08)) return undefined;
  return prng.chance(0.3) ? 'classic' : 'wan';
}

function numbersOf(preset: 'wan' | 'classic'): Pick<PulsePlan, 'preset' | 'timeoutMs' | 'startUpMs'> {
  const { timeoutMs, startUpMs } = presets[preset];
  return { preset, timeoutMs, startUpMs };
}

/** The scene with a pulse, and with what befalls pulses. */
export function withPulse(script: Script, given: Partial<PulsePlan> = {}): Script {
  return new Drawing(script).script(given);
}

class Drawing {
  readonly #script: Script;
  readonly #prng: Prng;

  constructor(script: Script) {
    this.#script = script;
    this.#prng = new Prng(`${script.seed}/pulse plan`);
  }

  script(given: Partial<PulsePlan>): Script {
    const prng = this.#prng;
    const script = this.#script;
    const calm = given.calm ?? prng.chance(0.25);
    const preset = given.preset ?? drawPreset(script.seed);
    const drawnPlan: PulsePlan = {
      timeoutMs: prng.pick([1000, 1000, 2000]),
      startUpMs: prng.pick([3000, 10_000]),
      presence: prng.chance(0.8),
      mirrors: prng.chance(0.7),
      interconnect: prng.chance(0.4),
      lifeline: prng.chance(0.5),
      giveBack: prng.pick(['manual', 'manual', 'auto']),
      settleMs: prng.pick([500, 3000]),
      calm,
      finalDeath: prng.chance(0.4),
      ...(preset && numbersOf(preset)),
      ...given,
    };
    const lifeline = drawnPlan.lifeline && calm && drawnPlan.interconnect && script.nodes.length === 2;
    const plan = { ...drawnPlan, lifeline };
    // A death is seen after seconds, and what comes of it takes some more.
    const durationMs = script.durationMs + (calm ? 0 : Math.round(prng.between(0, 10_000) * slownessOf(plan)));
    // Mostly nobody is there to take over by hand.
    const alone = prng.chance(0.8);
    const drawn = script.actions.filter(({ kind }) => !calm && !(alone && kind === 'takeOver'));
    const count = 1 + prng.below(5);
    const added = Array.from({ length: count }, () => {
      const atMs = Math.round(prng.between(0, durationMs));
      return calm ? this.#calmAction(atMs, plan) : this.#actions(atMs, plan);
    });
    const actions = [...drawn, ...added.flat()].filter(({ atMs }) => atMs <= durationMs);
    return {
      ...script,
      ...(preset && { leaseTtlMs: presets[preset].leaseTtlMs }),
      // About as many requests as in a shorter scene.
      hosts: script.hosts.map((host) => ({ ...host, thinkMs: host.thinkMs * slownessOf(plan) })),
      durationMs,
      pulse: plan,
      actions: actions.sort((a, b) => a.atMs - b.atMs),
    };
  }

  #actions(atMs: number, plan: PulsePlan): Action[] {
    const prng = this.#prng;
    const { timeoutMs } = plan;
    const node = this.#node();
    const owner = this.#owner();
    const around = (): number => Math.round(timeoutMs * prng.between(0.5, 2));
    const slowness = slownessOf(plan);
    const forMs = Math.round(slowness * prng.pick([prng.between(100, 2000), prng.between(2000, 15_000)]));
    switch (prng.below(12)) {
      case 0:
        return [this.#loss(atMs, prng.pick([0.1, 0.5, 1]), forMs)];
      case 1:
        return [{ atMs, kind: 'flap', periodMs: around(), count: 2 + prng.below(6), ...this.#between() }];
      case 2:
        return [
          {
            atMs,
            kind: 'pause',
            node: prng.pick([owner, node]),
            afterEffects: prng.below(20),
            forMs: prng.chance(0.1) ? 120_000 : prng.chance(0.5) ? around() : timeoutMs + forMs,
          },
        ];
      case 3:
        return [{ atMs, kind: 'step', node, byMs: Math.round(prng.pick([1, 1, 100]) * prng.between(-3000, 3000)) }];
      case 4:
        return [{ atMs, kind: 'storeAway', nodes: prng.chance(0.4) ? this.#script.nodes : [node], forMs }];
      case 5:
        return [this.#serial(atMs, node, forMs)];
      case 6:
        return [{ atMs, kind: 'beatFilesFail', node, forMs }];
      case 7: {
        const ways = prng.pick(['both', 'both', 'oneToOther'] as const);
        return [{ atMs, kind: 'partition', from: prng.pick([owner, node]), ways, forMs: timeoutMs + forMs }];
      }
      case 8: {
        const awayMs = Math.round(slowness * prng.between(3000, 15_000));
        // Cut off from everything but its hosts.
        return [
          { atMs, kind: 'partition', from: owner, ways: 'both', forMs: awayMs },
          { atMs, kind: 'storeAway', nodes: [owner], forMs: awayMs },
        ];
      }
      case 9:
      case 10:
        return [this.#onDecision(atMs), this.#death(atMs + 1, owner, slowness)];
      default:
        return [this.#death(atMs, owner, slowness)];
    }
  }

  #death(atMs: number, owner: string, slowness: number): Action {
    const prng = this.#prng;
    const downMs = Math.round(slowness * prng.between(2000, 25_000));
    return prng.chance(0.5)
      ? { atMs, kind: 'crash', node: owner, afterEffects: prng.below(40), downMs }
      : { atMs, kind: 'power', nodes: [owner], downMs };
  }

  /** Something goes wrong just while an agent carries out what it has decided. */
  #onDecision(atMs: number): Action {
    const prng = this.#prng;
    const node = this.#node();
    const group = this.#script.groups[prng.below(this.#script.groups.length)]?.name ?? '';
    const forMs = Math.round(prng.pick([prng.between(20, 500), prng.between(500, 6000)]));
    const afterEffects = prng.below(25);
    const deed = prng.pick<Deed>([
      { kind: 'crash', node, afterEffects, downMs: forMs },
      { kind: 'power', nodes: prng.chance(0.3) ? this.#script.nodes : [node], downMs: forMs },
      { kind: 'pause', node, afterEffects, forMs },
      { kind: 'partition', from: node, ways: prng.pick(['both', 'oneToOther'] as const), forMs },
      { kind: 'storeAway', nodes: prng.chance(0.3) ? this.#script.nodes : [node], forMs },
      { kind: 'storeUnknown', share: prng.between(0.3, 0.9), forMs },
      { kind: 'diskHangs', node, forMs },
      { kind: 'stop', node, downMs: forMs },
    ]);
    return {
      atMs,
      kind: 'onDecision',
      group,
      move: prng.pick(['takeOver', 'takeOver', 'giveBack', 'handOver']),
      deed,
    };
  }

  /** Of what may last, nothing silences every channel; what does, ends soon. */
  #calmAction(atMs: number, { timeoutMs, lifeline }: PulsePlan): Action[] {
    const prng = this.#prng;
    const node = this.#node();
    const shortMs = Math.round(prng.between(50, timeoutMs / 3));
    const forMs = Math.round(prng.between(500, 8000));
    if (lifeline && prng.chance(0.6)) {
      const owner = this.#owner();
      const awayMs = Math.round(prng.between(2000, 9000));
      return [
        { atMs, kind: 'partition', from: owner, ways: 'both', forMs: awayMs },
        { atMs, kind: 'storeAway', nodes: [owner], forMs: awayMs },
      ];
    }
    switch (prng.below(lifeline ? 6 : 7)) {
      case 0:
        return [this.#loss(atMs, prng.between(0.05, 0.3), forMs)];
      case 1:
        return [{ atMs, kind: 'pause', node, afterEffects: prng.below(20), forMs: shortMs }];
      case 2:
        return [{ atMs, kind: 'partition', from: node, ways: 'both', forMs: shortMs }];
      case 3:
      case 4:
        return [
          { atMs, kind: 'storeAway', nodes: prng.chance(0.3) ? this.#script.nodes : [this.#owner()], forMs },
          { atMs: atMs + 1, kind: 'beatFilesFail', node: prng.pick([this.#owner(), node]), forMs },
        ];
      case 5:
        return [{ atMs, kind: 'beatFilesFail', node, forMs }];
      default:
        return [this.#serial(atMs, node, forMs)];
    }
  }

  #loss(atMs: number, share: number, forMs: number): Action {
    const prng = this.#prng;
    return {
      atMs,
      kind: 'datagrams',
      lostShare: share,
      duplicatedShare: prng.pick([0, 0.3]),
      lateShare: prng.pick([0, 0.3]),
      forMs,
    };
  }

  #serial(atMs: number, node: string, forMs: number): Action {
    return this.#prng.chance(0.5)
      ? { atMs, kind: 'serialNoise', node, bytes: 1 + this.#prng.below(400) }
      : { atMs, kind: 'serialUnplugged', node, forMs };
  }

  #node(): string {
    const { nodes } = this.#script;
    return nodes[this.#prng.below(nodes.length)] ?? '';
  }

  #owner(): string {
    const { groups } = this.#script;
    return groups[this.#prng.below(groups.length)]?.owner ?? this.#node();
  }

  #between(): { between?: readonly [string, string] } {
    const { nodes } = this.#script;
    if (nodes.length < 3 || this.#prng.chance(0.3)) return {};
    const one = this.#node();
    const other = nodes.filter((name) => name !== one);
    return { between: [one, other[this.#prng.below(other.length)] ?? one] };
  }
}
