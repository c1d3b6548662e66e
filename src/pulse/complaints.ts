/**
 * What the pulse reports of its own paths and of other nodes (HM-16, HM-19): each failure once when it begins and once
 * when it is over, by the difference between what was seen last and what is seen now. That a node as a whole is silent the
 * agent tells, which remembers who said that it would stop.
 */
import type { Clock } from '../base/clock.ts';
import { formatDuration } from '../base/units.ts';
import type { ChannelState } from './channel-state.ts';
import type { Channel, ChannelKind } from './channel.ts';
import type { AlertCode, AlertLevel, Component, Indication } from './indication.ts';
import type { Heard, PeerSnapshot, PulseSnapshot } from './snapshot.ts';

/** As their runbooks have it (`docs/manual/alerts`). Links are told of by the node, which knows more of them. */
const codeOf: Readonly<Record<Exclude<ChannelKind, 'link'>, { code: AlertCode; level: AlertLevel }>> = {
  network: { code: 'network-path-failed', level: 'MODERATE' },
  mirror: { code: 'mirror-failed', level: 'SERIOUS' },
  interconnect: { code: 'interconnect-failed', level: 'SERIOUS' },
};

const logEveryMs = 60_000;

interface Condition {
  readonly component: Component;
  readonly id: string;
  readonly code: AlertCode;
  readonly level: AlertLevel;
  readonly about?: string | undefined;
  readonly text: string;
}

export class Complaints {
  readonly #node: string;
  readonly #clock: Clock;
  readonly #raise: (indication: Indication) => void;
  /** Open now, by component, id and code. */
  readonly #open = new Map<string, Indication>();
  readonly #loggedMs = new Map<string, number>();

  constructor(node: string, clock: Clock, raise: (indication: Indication) => void) {
    this.#node = node;
    this.#clock = clock;
    this.#raise = raise;
  }

  /** Whether a line about this subject may be logged now: one a minute. */
  mayLog(subject: string, nowMs: number): boolean {
    if (nowMs - (this.#loggedMs.get(subject) ?? -Infinity) < logEveryMs) return false;
    this.#loggedMs.set(subject, nowMs);
    return true;
  }

  look(snapshot: PulseSnapshot, channels: readonly ChannelState[]): void {
    const found = [
      ...channels.flatMap(({ channel, device, fault }): Condition[] =>
        fault === null ? [] : conditionsOf(channel.kind, `${channel.id} at ${device}`, fault, farEndOf(channel)),
      ),
      ...snapshot.peers.flatMap(silences),
      ...pathConditions(snapshot),
    ];
    const keys = new Set(found.map(keyOf));
    for (const condition of found) {
      const key = keyOf(condition);
      if (this.#open.has(key)) continue;
      const indication = { ...condition, node: this.#node, group: null, atMs: this.#clock.wallMs(), over: false };
      this.#open.set(key, indication);
      this.#raise(indication);
    }
    // A path on probation is not back yet (HM-19): it is in the list still.
    for (const [key, indication] of [...this.#open]) {
      if (keys.has(key)) continue;
      this.#open.delete(key);
      this.#raise({ ...indication, atMs: this.#clock.wallMs(), text: `over: ${indication.text}`, over: true });
    }
  }
}

const keyOf = ({ component, id, code }: Condition): string => JSON.stringify([component, id, code]);

const conditionsOf = (kind: ChannelKind, id: string, text: string, about: string | undefined): Condition[] =>
  kind === 'link' ? [] : [{ component: kind, id, ...codeOf[kind], about, text }];

/** Of a channel with one other node. */
function farEndOf({ targets, sources }: Channel): string | undefined {
  const [one, ...more] = new Set([...targets, ...sources]);
  return more.length === 0 ? one : undefined;
}

function silences({ node, heard, said }: PeerSnapshot): Condition[] {
  // Nothing is missed of a node that said it would stop (AS-7).
  if (said?.leaving === true) return [];
  const used = heard.filter(({ enable }) => enable !== 'DISABLE');
  const silent = used.filter(({ hearing }) => hearing === 'silent' || hearing === 'probation');
  return silent.flatMap((one) =>
    conditionsOf(
      one.kind,
      `${one.channel} from ${node}`,
      `${node} is not heard by ${one.channel}, ${sinceOf(one)}`,
      node,
    ),
  );
}

/** Of the evidence as a whole (HM-13). */
function pathConditions({ node, peers }: PulseSnapshot): Condition[] {
  return peers.flatMap((peer): Condition[] => {
    const carrying = peer.heard.filter(({ kind }) => kind !== 'link');
    const used = carrying.filter(({ enable }) => enable !== 'DISABLE');
    const shared = { component: 'node' as const, id: `${node} to ${peer.node}` };
    if (used.length === 0) {
      const text = `no heartbeat path to ${peer.node} is in use: there is no automatic take-over from it`;
      return [{ ...shared, code: 'no-heartbeat-path', level: 'SERIOUS', text }];
    }
    const others = carrying.filter(({ kind }) => kind !== 'network');
    const isHeard = used.some(({ kind, hearing }) => kind === 'network' && hearing === 'alive');
    const isAlone = others.length > 0 && others.every(({ enable }) => enable !== 'ENABLE');
    if (!isHeard || !isAlone) return [];
    const text = `${peer.node} is heard by the network alone: ${others.map(({ channel }) => channel).join(', ')} do not work`;
    return [{ ...shared, code: 'heartbeat-only-network', level: 'SERIOUS', about: peer.node, text }];
  });
}

const sinceOf = ({ silentMs }: Heard): string =>
  silentMs === null ? 'never since the start' : `for ${formatDuration(silentMs)}`;
