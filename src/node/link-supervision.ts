/** What the pulse tells the links of this node, and how long they bear silence (IM-5, TL-4). */
import type { HealthTimes } from '../link/connection-health.ts';
import type { LinkOptions } from '../link/link.ts';
import type { LinkTable } from '../link/link-table.ts';
import type { PulseSettings } from '../pulse/settings.ts';
import type { PulseSnapshot } from '../pulse/snapshot.ts';

/** Without a pulse: the link's own. */
export function echoTimes(pulse: PulseSettings | null): Pick<LinkOptions, 'pingIntervalMs' | 'silenceMs'> {
  return pulse === null ? {} : { pingIntervalMs: pulse.link.echoMs, silenceMs: pulse.link.silenceMs };
}

/** Null: there are no heartbeats by network. */
export function healthTimes(pulse: PulseSettings | null): HealthTimes | null {
  if (pulse?.network !== true) return null;
  const { connectionTimeoutMs: timeoutMs, connectionProbationMs: probationMs, link } = pulse;
  return { timeoutMs, probationMs, framesCount: link.framesCount ?? true };
}

/** By whichever of its addresses each node was heard last. A channel that is switched off by hand proves nothing. */
export function tellHealth(links: LinkTable, { peers }: PulseSnapshot): void {
  for (const { node, heard } of peers) {
    const ages = heard.flatMap(({ kind, enable, silentMs }) =>
      kind === 'network' && enable !== 'DISABLE' && silentMs !== null ? [silentMs] : [],
    );
    if (ages.length > 0) links.healthHeard(node, Math.min(...ages));
  }
}
