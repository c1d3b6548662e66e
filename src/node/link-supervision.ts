/**
 * What the pulse tells the links of this node, and how long they bear silence (IM-5, TL-4).
 *
 * The pulse is asked, several times within the timeout: by itself it tells only what has changed, and a peer that goes on
 * being heard is no change. One question at a time; a pulse that does not answer leaves the links to what they hear.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { HealthTimes } from '../link/connection-health.ts';
import type { LinkOptions } from '../link/link.ts';
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

export interface LinkSupervisionOptions {
  readonly clock: Clock;
  /** As the document has them; null: nothing is asked. */
  readonly times: () => HealthTimes | null;
  /** The pulse; null: there is none. */
  readonly pulse: () => { snapshot(): Promise<PulseSnapshot> } | null;
  /** The peer was heard by network so long ago. */
  readonly heard: (peer: string, agoMs: number) => void;
}

const asksPerTimeout = 4;
/** Without heartbeats by network: whether there are any now. */
const idleMs = 5000;

export class LinkSupervision {
  readonly #options: LinkSupervisionOptions;
  #timer: Timer | null = null;
  #stopped = false;

  constructor(options: LinkSupervisionOptions) {
    this.#options = options;
  }

  start(): void {
    void this.#ask();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #ask(): Promise<void> {
    const { clock, times, pulse } = this.#options;
    const asked = times();
    if (asked !== null) {
      try {
        const snapshot = await pulse()?.snapshot();
        if (snapshot !== undefined && !this.#stopped) this.#tell(snapshot);
      } catch {
        // Asked again: it may be beginning anew.
      }
    }
    if (this.#stopped) return;
    this.#timer = clock.after(asked === null ? idleMs : asked.timeoutMs / asksPerTimeout, () => void this.#ask());
  }

  /** By whichever of its addresses each node was heard last. A channel that is switched off by hand proves nothing. */
  #tell({ peers, monotonicMs }: PulseSnapshot): void {
    const oldMs = this.#options.clock.monotonicMs() - monotonicMs;
    for (const { node, heard } of peers) {
      const ages = heard.flatMap(({ kind, enable, silentMs }) =>
        kind === 'network' && enable !== 'DISABLE' && silentMs !== null ? [silentMs] : [],
      );
      if (ages.length > 0) this.#options.heard(node, Math.min(...ages) + oldMs);
    }
  }
}
