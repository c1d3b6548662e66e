/**
 * A split brain put into words, and what a group's settings say to do about it (BY-1). The policies are DRBD's
 * (`after-sb-0pri`, `-1pri`, `-2pri` of drbd.conf(5)), by how many of the two nodes let hosts in when it is recognised.
 * Pure. The default is to do nothing but to tell: both histories stay as they are until somebody chooses.
 */
import { formatSize, formatTime } from '../base/units.ts';
import type { SplitBrainPolicy } from '../store/document.ts';
import { formatPosition, type Position } from '../stream/position.ts';
import { changesSince, type Account } from './accounts.ts';

export interface SplitBrain {
  readonly ours: Account;
  readonly theirs: Account;
  /** The furthest that both histories contain. */
  readonly common: Position;
}

/** Both histories in a sentence. */
export function splitBrainWords({ ours, theirs, common }: SplitBrain): string {
  const both = [ours, theirs].sort((one, two) => (one.node < two.node ? -1 : 1));
  return (
    `split brain: ${both.map(({ node }) => node).join(' and ')} both wrote without the other after ` +
    `${common.generation === 0 ? 'the beginning' : `position ${formatPosition(common)}`}, the last they have in common: ` +
    both.map((account) => historyWords(account, common)).join('; ')
  );
}

function historyWords({ node, record, history, serving, sessions, changedBytes }: Account, common: Position): string {
  const since = record?.ownedSinceMs === undefined ? '' : `, owner since ${formatTime(record.ownedSinceMs)}`;
  const changes = history === null ? null : changesSince(history, common);
  const count =
    changes === null ? 'changes whose number is not known' : `${changes} change${changes === 1 ? '' : 's'}`;
  const size = changedBytes === null ? '' : `, in at most ${formatSize(changedBytes)}`;
  const hosts = serving ? `, serves hosts (${sessions} session${sessions === 1 ? '' : 's'})` : ', serves no hosts';
  return `${node} in generation ${record?.generation ?? 0}${since}: ${count}${size}${hosts}`;
}

/** Which node's history the settings choose; null: they leave it to people. The same at both nodes. */
export function chosenByPolicy({ ours, theirs }: SplitBrain, policy: SplitBrainPolicy): string | null {
  const serving = [ours, theirs].filter((account) => account.serving);
  const primary = serving[0];
  if (primary === undefined) return keptOf(ours, theirs, policy.zeroPrimaries);
  if (serving.length === 2) return null;
  switch (policy.onePrimary) {
    case 'disconnect':
      return null;
    case 'discard-secondary':
      return primary.node;
    case 'consensus':
      return keptOf(ours, theirs, policy.zeroPrimaries) === primary.node ? primary.node : null;
  }
}

function keptOf(ours: Account, theirs: Account, policy: SplitBrainPolicy['zeroPrimaries']): string | null {
  switch (policy) {
    case 'disconnect':
      return null;
    case 'discard-younger-primary':
      return lesser(ours, theirs, ({ record }) => record?.ownedSinceMs ?? null);
    case 'discard-least-changes':
      return lesser(ours, theirs, ({ changedBytes }) => (changedBytes === null ? null : -changedBytes));
    case 'discard-zero-changes': {
      const none = [ours, theirs].filter(({ changedBytes }) => changedBytes === 0);
      if (none.length !== 1) return null;
      return none[0] === ours ? theirs.node : ours.node;
    }
  }
}

/** The node of which the number is less; null when they are equal, or one is not known. */
function lesser(ours: Account, theirs: Account, number: (account: Account) => number | null): string | null {
  const one = number(ours);
  const two = number(theirs);
  if (one === null || two === null || one === two) return null;
  return one < two ? ours.node : theirs.node;
}
