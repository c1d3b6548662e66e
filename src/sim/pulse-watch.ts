/**
 * What must hold of take-over by itself, in a scene with a pulse:
 *
 * - I12: after everything is healed ownership of a group moves at most once, and once more where it is given back.
 * - I13: a group whose owner is dead is served again by itself, where nothing keeps a safe copy from it for long enough.
 * - I14: where every fault is shorter than the timeouts, or leaves a way by which the owner is heard, ownership does not move.
 */
import { isHeard } from '../agent/agent.ts';
import type { GroupRecord } from '../group/record.ts';
import type { Cluster } from './cluster.ts';
import { Violation } from './ledger.ts';
import { servedAgainMs, type PulsePlan } from './pulse-plan.ts';
import type { AgentMove } from './script.ts';

interface Seen {
  /** By whom a move was decided since ownership last moved. */
  readonly decided: Map<string, AgentMove>;
  /** Since when nothing has kept a node from taking over; virtual. */
  readonly freeSinceMs: Map<string, number>;
  moves: number;
}

export interface WatchedGroup {
  readonly name: string;
  readonly record: GroupRecord | null;
}

export class PulseWatch {
  readonly #cluster: Cluster;
  readonly #plan: PulsePlan;
  readonly #boundMs: number;
  readonly #groups = new Map<string, Seen>();
  /** From then on ownership may move once (I12); virtual. */
  #healedMs = Infinity;
  #finale = false;
  #helped = false;

  constructor(cluster: Cluster, plan: PulsePlan, leaseTtlMs: number) {
    this.#cluster = cluster;
    this.#plan = plan;
    this.#boundMs = servedAgainMs(plan, leaseTtlMs);
  }

  get servedAgainMs(): number {
    return this.#boundMs;
  }

  /** An agent has told of its decision. Returns which move it is of. */
  decided(node: string, group: string, message: string): AgentMove {
    const move = message.startsWith('taking over')
      ? 'takeOver'
      : message.startsWith('giving back')
        ? 'giveBack'
        : 'handOver';
    this.#seen(group).decided.set(node, move);
    return move;
  }

  /** All that was broken works again at that time; the owner that is lost afterwards, if one is, was in none of it. */
  healed(atMs: number, finale = false): void {
    this.#healedMs = atMs;
    this.#finale = finale;
    for (const seen of this.#groups.values()) seen.moves = 0;
  }

  /** A person had to do something: what moves from now on may be of that. */
  helped(): void {
    this.#helped = true;
  }

  /** The record of a group has another owner. */
  moved(group: string, before: GroupRecord, record: GroupRecord): Violation | null {
    const seen = this.#seen(group);
    const by = seen.decided.get(record.owner) === 'takeOver' ? 'takeOver' : seen.decided.get(before.owner);
    seen.decided.clear();
    if (by === undefined) return null;
    const what = `${by} of ${group} from ${before.owner} to ${record.owner}`;
    if (this.#plan.calm && !this.#finale && !this.#helped)
      return new Violation('I14', `${what}, though no owner was lost`);
    if (this.#cluster.world.nowMs < this.#healedMs) return null;
    const most = this.#plan.giveBack === 'auto' ? 2 : 1;
    if (++seen.moves <= most || this.#helped) return null;
    return new Violation('I12', `${what} is the ${seen.moves}. move since all was healed`);
  }

  /** I13. @param undisturbed nothing but nodes that are down keeps anybody from anything. */
  look(groups: Iterable<WatchedGroup>, undisturbed: boolean): Violation | null {
    for (const { name, record } of groups) {
      const seen = this.#seen(name);
      for (const node of this.#cluster.nodes) {
        if (record === null || !undisturbed || !this.#couldTakeOver(node, record)) {
          seen.freeSinceMs.delete(node);
          continue;
        }
        const since = seen.freeSinceMs.get(node) ?? this.#cluster.world.nowMs;
        seen.freeSinceMs.set(node, since);
        if (this.#cluster.world.nowMs - since <= this.#boundMs) continue;
        return new Violation(
          'I13',
          `${record.owner} is dead, and ${node} has not taken ${name} over for ${this.#boundMs} ms: ${this.verdict(node, name)}`,
        );
      }
    }
    return null;
  }

  /** What the agent of a node last thought of a group. */
  verdict(node: string, group: string): string {
    const last = this.#cluster.running(node)?.node.agentDecisions(group).at(-1);
    return last === undefined
      ? 'nothing was decided'
      : `${last.verdict.rule}: ${last.verdict.text} (${last.outcome ?? ''})`;
  }

  /** Who does not hear whom, and how; null when everybody hears everybody by every way. */
  get deaf(): string | null {
    for (const { name, process, pulse } of this.#cluster.all) {
      if (process.paused) continue;
      const { snapshot } = pulse;
      if (snapshot === null) return `${name} has no pulse`;
      for (const peer of snapshot.peers) {
        if (this.#cluster.running(peer.node) === null) continue;
        const not = peer.heard.filter(({ enable, hearing }) => enable !== 'DISABLE' && hearing !== 'alive');
        if (isHeard(peer) && not.length === 0) continue;
        const how = not.map(({ channel, hearing, fault }) => `${channel} ${hearing} ${fault ?? ''}`).join(', ');
        return `${name} does not hear ${peer.node}: ${how}`;
      }
    }
    return null;
  }

  #couldTakeOver(node: string, record: GroupRecord): boolean {
    const running = this.#cluster.running(node);
    if (node === record.owner || this.#cluster.running(record.owner) !== null) return false;
    if (running === null || running.process.paused) return false;
    const { automatic, planned } = running.node.agentState;
    if (!automatic || record.owner in planned) return false;
    const group = running.node.groups.get(record.group);
    const leg = group?.leg;
    return (
      group?.role === 'secondary' &&
      leg != null &&
      leg.fault === null &&
      leg.state.condition === 'consistent' &&
      leg.state.lineage.generation > 0 &&
      group.record?.id === record.id &&
      (record.legs[node]?.class ?? 'behind') !== 'behind'
    );
  }

  #seen(group: string): Seen {
    let seen = this.#groups.get(group);
    if (seen === undefined) {
      seen = { decided: new Map(), freeSinceMs: new Map(), moves: 0 };
      this.#groups.set(group, seen);
    }
    return seen;
  }
}
