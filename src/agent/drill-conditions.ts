/**
 * What must be so before a drill hurts anything (BY-11). Pure. A drill is an exercise of what would work now: where something
 * is amiss already, the fault would be a real one.
 */
import { HoldfastError } from '../base/errors.ts';
import type { GroupStatus } from '../group/status.ts';
import type { GroupEntry } from '../store/document.ts';
import type { DrillKind } from './drill-report.ts';

export interface DrillFacts {
  readonly kind: DrillKind;
  readonly entry: GroupEntry;
  readonly owner: string;
  /** The node that is to run it. */
  readonly node: string;
  /** As all nodes together see it; null: nobody could be asked. */
  readonly status: GroupStatus | null;
  readonly store: 'none' | 'reachable' | 'unreachable';
  readonly pulse: boolean;
  /** AS-14, at `node`. */
  readonly nodeAutomatic: boolean;
  readonly leaseValid: boolean;
  /** The owner's heartbeats arrive at `node`. */
  readonly ownerHeard: boolean;
  /** The other groups of the owner: a fault of the node is theirs, too. */
  readonly others: readonly GroupEntry[];
  readonly yes: boolean;
  /** Another drill or a move, in words; null: none is under way. */
  readonly busy: string | null;
}

/** Rejects by throwing `E_REFUSED`, `E_BUSY` or `E_STORE_UNREACHABLE` with the first reason why not. */
export function assertFit(facts: DrillFacts): void {
  const { entry, kind, owner, node, store, others } = facts;
  const refuse = (text: string): never => {
    throw new HoldfastError('E_REFUSED', `group ${entry.name}: ${text}`);
  };
  if (!entry.takeOver.drills) {
    refuse(
      'it is not marked for drills; where a drill may hurt its hosts for some seconds: ' +
        `holdfast drill allow ${entry.name} on`,
    );
  }
  if (facts.busy !== null) throw new HoldfastError('E_BUSY', `group ${entry.name}: ${facts.busy}`);
  if (entry.legs.length < 2) refuse('it has one copy only, so nobody can serve it instead');
  if (store === 'unreachable')
    throw new HoldfastError('E_STORE_UNREACHABLE', `group ${entry.name}: without the store no ownership can change`);
  const unwell = whyNotWhole(entry, facts.status);
  if (unwell !== null) refuse(`${unwell}; a drill begins with all copies whole: see \`holdfast why ${entry.name}\``);
  if (kind === 'switch-over') return;
  if (store === 'none' && kind !== 'kill') {
    refuse(
      `without a coordination store a ${kind === 'pause' ? 'paused' : 'cut-off'} owner would go on serving beside the new one; ` +
        'kill and switch-over are possible',
    );
  }
  if (!facts.pulse) refuse('there is no pulse, so nobody would notice; switch-over is possible');
  if (entry.takeOver.automatic === 'off')
    refuse(`automatic take-over is off for it: holdfast group automatic ${entry.name} on`);
  if (!facts.nodeAutomatic) refuse(`automatic take-over by ${node} is off: holdfast node automatic ${node} on`);
  if (!facts.leaseValid) refuse(`${node} holds no valid lease, so it could not serve`);
  if (!facts.ownerHeard) refuse(`${node} hears no heartbeats of ${owner}: see \`holdfast pulse\``);
  const unmarked = others.filter(({ takeOver }) => !takeOver.drills);
  if (unmarked.length > 0)
    refuse(`${owner} owns ${names(unmarked)} as well, which no drill may hurt: not marked for it`);
  if (others.length > 0 && !facts.yes)
    refuse(
      `${owner} owns ${names(others)} as well, hosts of which would wait too; with --yes it is done all the same`,
    );
}

/** Null: served, and every copy has everything. */
export function whyNotWhole(entry: GroupEntry, status: GroupStatus | null): string | null {
  if (status === null) return 'no node could be asked about it';
  if (status.service !== 'Serving') return `it is ${status.service}: ${status.reason ?? 'no reason is known'}`;
  for (const { node } of entry.legs) {
    const leg = status.legs.find((candidate) => candidate.node === node);
    if (leg === undefined) return `nothing is known of the copy at ${node}`;
    const whole = leg.disk === 'UpToDate' && (leg.replication === null || leg.replication === 'Established');
    if (!whole || leg.class === 'behind') {
      const state = [leg.disk, leg.connection, leg.replication].filter((word) => word !== null).join(' / ');
      return `the copy at ${node} is not in sync (${state}${leg.reason === null ? '' : `: ${leg.reason}`})`;
    }
  }
  return null;
}

const names = (groups: readonly GroupEntry[]): string => groups.map(({ name }) => name).join(', ');
