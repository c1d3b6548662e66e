/**
 * The presets of the pulse's settings (AS-13), and what settings must hold of each other. A combination that cannot work is
 * refused with the inequality it breaks and the numbers in it.
 */
import type { PulsePreset, PulseSettings } from './settings.ts';

/** What a preset says; which paths there are, the configuration does. */
export type PresetSettings = Omit<PulseSettings, 'network' | 'mirrors' | 'interconnects'>;

const validity = { serial: true, time: true };

export const presets: Readonly<Record<PulsePreset, PresetSettings>> = {
  /** Sites within some milliseconds of each other: a death is seen after about a second. */
  lan: {
    preset: 'lan',
    intervalMs: 200,
    timeoutMs: 1000,
    probationMs: 2000,
    validity,
    connectionTimeoutMs: 1500,
    connectionProbationMs: 1000,
    masterTimeoutMs: 5000,
    presence: { enabled: true, waitMs: 300, retries: 1 },
    startUpMs: 10_000,
    stallMs: 1000,
    leaseTtlMs: 1200,
    leaseMarginMs: 300,
    link: { echoMs: 500, silenceMs: 2000, commandTimeoutMs: 4000 },
  },
  wan: {
    preset: 'wan',
    intervalMs: 1000,
    timeoutMs: 5000,
    probationMs: 10_000,
    validity,
    connectionTimeoutMs: 6000,
    connectionProbationMs: 10_000,
    masterTimeoutMs: 15_000,
    presence: { enabled: true, waitMs: 1000, retries: 3 },
    startUpMs: 60_000,
    stallMs: 5000,
    leaseTtlMs: 6000,
    leaseMarginMs: 2000,
    link: { echoMs: 2000, silenceMs: 8000, commandTimeoutMs: 15_000 },
  },
  /** The founding documents' numbers (HM-1, HM-7, IM-5, TL-4, AS-4). */
  classic: {
    preset: 'classic',
    intervalMs: 1500,
    timeoutMs: 60_000,
    probationMs: 10_000,
    validity,
    connectionTimeoutMs: 4000,
    connectionProbationMs: 10_000,
    masterTimeoutMs: 60_000,
    presence: { enabled: true, waitMs: 10_000, retries: 10 },
    startUpMs: 120_000,
    stallMs: 10_000,
    leaseTtlMs: 20_000,
    leaseMarginMs: 10_000,
    link: { echoMs: 10_000, silenceMs: 20_000, commandTimeoutMs: 20_000 },
  },
};

/** A number with the name the configuration has for it. */
interface Term {
  readonly name: string;
  readonly ms: number;
  readonly times?: number;
}

/** One sentence for each inequality broken; none: they are consistent. */
export function checkSettings(settings: PresetSettings): string[] {
  const { presence, link } = settings;
  const interval = { name: 'interval', ms: settings.intervalMs };
  const timeout = { name: 'timeout', ms: settings.timeoutMs };
  const leaseTtl = { name: 'lease-ttl', ms: settings.leaseTtlMs };
  const echo = { name: 'link.echo', ms: link.echoMs };
  const problems = [
    // Two lost in a row are no silence.
    atLeast(timeout, { ...interval, times: 3 }),
    // IM-5: the same for connections.
    atLeast({ name: 'connection-timeout', ms: settings.connectionTimeoutMs }, { ...interval, times: 2 }),
    // A master is given up no sooner than it is silent.
    atLeast({ name: 'master-timeout', ms: settings.masterTimeoutMs }, timeout),
    // A stuck engine is silent before its lease lapses by itself, and the pulse looks at it a few times in between.
    atMost({ name: 'stall', ms: settings.stallMs }, leaseTtl),
    atLeast({ name: 'stall', ms: settings.stallMs }, { ...interval, times: 2 }),
    // A lease is renewed each third of its time, by the thread that sends the heartbeats.
    atLeast(leaseTtl, { ...interval, times: 3 }),
    // R15: the clocks of holder and observer may run apart by a thousandth, and a timer is late by as much as a tenth.
    atLeast({ name: 'lease-margin', ms: settings.leaseMarginMs }, { ...leaseTtl, times: 0.05 }),
    // TL-4: one lost echo is no silence, neither to the link nor to the pulse, which hears by it too.
    atLeast({ name: 'link.silence', ms: link.silenceMs }, { ...echo, times: 2 }),
    atLeast(timeout, { ...echo, times: 2 }),
    // A record is not given up while its connection is still trusted.
    atLeast(
      { name: 'link.command-timeout', ms: link.commandTimeoutMs },
      { name: 'link.silence', ms: link.silenceMs },
    ),
  ];
  if (settings.probationMs > 0) {
    problems.push(atLeast({ name: 'probation', ms: settings.probationMs }, { ...interval, times: 2 }));
  }
  if (settings.connectionProbationMs > 0) {
    const probation = { name: 'connection-probation', ms: settings.connectionProbationMs };
    problems.push(atLeast(probation, { ...interval, times: 2 }));
  }
  // Else a node that starts alone takes over before it could have heard anybody.
  if (settings.startUpMs > 0) problems.push(atLeast({ name: 'start-up', ms: settings.startUpMs }, timeout));
  if (presence.enabled) {
    if (presence.waitMs <= 0) problems.push(`presence.wait ${presence.waitMs}ms must be more than 0ms`);
    const asking = { name: 'presence.wait', ms: presence.waitMs, times: presence.retries + 1 };
    // AS-4: the question is a last look, no second timeout of its own many times over.
    problems.push(
      atMost(asking, { name: 'timeout', ms: settings.timeoutMs, times: 3 }, `(${presence.retries} retries)`),
    );
  }
  return problems.filter((problem) => problem !== null);
}

const amount = ({ ms, times = 1 }: Term): number => Math.round(ms * times * 1000) / 1000;

function show(term: Term): string {
  const { name, ms, times } = term;
  return times === undefined ? `${name} ${ms}ms` : `${times} × ${name} ${ms}ms (${amount(term)}ms)`;
}

function atLeast(what: Term, bound: Term): string | null {
  return amount(what) >= amount(bound) ? null : `${show(what)} must be at least ${show(bound)}`;
}

function atMost(what: Term, bound: Term, because = ''): string | null {
  const tail = because === '' ? '' : ` ${because}`;
  return amount(what) <= amount(bound) ? null : `${show(what)}${tail} must be at most ${show(bound)}`;
}
