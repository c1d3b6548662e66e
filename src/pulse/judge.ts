/**
 * The judge: whether a node should take a group over from an owner that it does not hear. A pure function of recorded
 * evidence, so that a decision can be told, kept, and made again (BY-7, BY-9).
 *
 * Invariants:
 * - A channel that hears the owner proves life; silence proves nothing by itself (architecture, "Liveness").
 * - Take-over needs every enabled channel that is not known to be broken silent, at least one of them, the presence check
 *   failed, no planned shutdown, and the store's consent. With no evidence left there is no automatic take-over (HM-13, AS-6).
 * - Silence of mirrors alone counts only with the store's consent (HM-13).
 *
 * The rules stand in the order in which they are asked; the first that applies decides. What the judge says is never enough by
 * itself: the take-over is a transaction in the store that the owner's lease can still forbid (R11).
 */
import { AssertionError } from '../base/assert.ts';
import type { Heard } from './snapshot.ts';

/** All that a decision hangs on. Plain data; times in milliseconds. */
export interface Evidence {
  readonly schema: 1;
  /** Wall clock of the judging node. */
  readonly atMs: number;
  readonly node: string;
  readonly group: string;
  readonly owner: string;
  readonly generation: number;
  /** AS-14, of the group. */
  readonly automatic: 'on' | 'off' | 'heartbeat-only';
  /** AS-14, of the judging node. */
  readonly nodeAutomatic: boolean;
  /** How the owner is heard here, by channel. */
  readonly heard: readonly Heard[];
  /** Why this node's own hearing is not to be trusted just now (it stood still, its engine was stuck); null: it is. */
  readonly deaf: string | null;
  /** Nodes that say by their own heartbeats that they hear the owner. */
  readonly heardBy: readonly string[];
  /** AS-4. `off`: not wanted. */
  readonly presence: 'off' | 'notAsked' | 'asking' | 'answered' | 'silent';
  /** AS-7: the owner announced that it stops, and was not heard since. */
  readonly planned: boolean;
  /** AS-8: this node remembers from before its restart that it is the survivor: it does not wait for the start-up time. */
  readonly waitsForRecovery: boolean;
  /** The owner's lease, as seen in the store from here. */
  readonly store: 'none' | 'unreachable' | 'held' | 'lapsed';
  /** This node's own lease is valid: it could serve. */
  readonly mayServe: boolean;
  /** Why the copy here must not be served; null: it may. */
  readonly unsafe: string | null;
  /** Nodes that would do it before this one, alive and able: of the owner's site first (HM-21), then in succession. */
  readonly before: readonly string[];
  /** For how long they have had the chance, and for how long they are given it. */
  readonly precedenceMs: number;
  readonly precedenceMaxMs: number;
}

export type Decision = 'takeOver' | 'verify' | 'wait' | 'no';

export interface Verdict {
  readonly decision: Decision;
  readonly rule: RuleName;
  readonly text: string;
}

interface Rule {
  readonly decision: Decision;
  /** What it says, in the manual's decision table. */
  readonly means: string;
  readonly applies: (evidence: Evidence) => boolean;
  readonly text: (evidence: Evidence) => string;
}

const enabled = ({ heard }: Evidence): readonly Heard[] => heard.filter(({ enable }) => enable !== 'DISABLE');
/** Those whose silence would say something. */
const usable = (evidence: Evidence): readonly Heard[] => enabled(evidence).filter(({ fault }) => fault === null);
const speaks = ({ hearing }: Heard): boolean => hearing === 'alive' || hearing === 'probation';
const names = (channels: readonly Heard[]): string => channels.map(({ channel }) => channel).join(', ');

const rules = {
  'automatic-off': {
    decision: 'no',
    means: 'automatic take-over is switched off for the group or at this node (AS-14)',
    applies: ({ automatic, nodeAutomatic }) => automatic === 'off' || !nodeAutomatic,
    text: ({ group, node, nodeAutomatic }) =>
      `automatic take-over is off ${nodeAutomatic ? `for ${group}` : `at ${node}`}; take over by hand`,
  },
  'owner-alive': {
    decision: 'no',
    means: 'a channel hears the owner',
    applies: (evidence) => enabled(evidence).some(speaks),
    text: (evidence) => `${evidence.owner} is heard by ${names(enabled(evidence).filter(speaks))}`,
  },
  'planned-shutdown': {
    decision: 'no',
    means: 'the owner announced that it stops (AS-7)',
    applies: ({ planned }) => planned,
    text: ({ owner, group }) => `${owner} was stopped as planned; ${group} is unserved until it is back`,
  },
  deaf: {
    decision: 'wait',
    means: 'this node stood still, or its engine is stuck: what it does not hear proves nothing',
    applies: ({ deaf }) => deaf !== null,
    text: ({ deaf }) => `what is not heard here proves nothing just now: ${deaf ?? ''}`,
  },
  'no-evidence': {
    decision: 'no',
    means: 'no channel is enabled, or all that are, are known to be broken (HM-13, AS-6)',
    applies: (evidence) => usable(evidence).length === 0,
    text: (evidence) =>
      enabled(evidence).length === 0
        ? 'no heartbeat channel is enabled'
        : `every enabled channel is known to be broken: ${enabled(evidence)
            .map(({ channel, fault }) => `${channel} (${fault ?? ''})`)
            .join(', ')}`,
  },
  'starting-up': {
    decision: 'wait',
    means: 'nothing was heard since this node started, and the start-up time is not over (AS-5, AS-8)',
    applies: (evidence) =>
      !evidence.waitsForRecovery && usable(evidence).some(({ hearing }) => hearing === 'unknown'),
    text: ({ node, owner }) => `${node} has started and still waits to hear ${owner}`,
  },
  'heard-by-others': {
    decision: 'no',
    means: 'another node hears the owner: the way from there to here is broken',
    applies: ({ heardBy }) => heardBy.length > 0,
    text: ({ heardBy, owner, node }) =>
      `${heardBy.join(', ')} ${heardBy.length === 1 ? 'hears' : 'hear'} ${owner}; only ${node} does not`,
  },
  'mirrors-alone': {
    decision: 'no',
    means: 'only heartbeat mirrors are silent, and there is no store to consent (HM-13)',
    applies: (evidence) => evidence.store === 'none' && usable(evidence).every(({ kind }) => kind === 'mirror'),
    text: () => 'only heartbeat mirrors are silent, which proves nothing without a store',
  },
  'presence-answered': {
    decision: 'no',
    means: 'the owner answered when it was asked over the network (AS-4)',
    applies: ({ presence }) => presence === 'answered',
    text: (evidence) => `${evidence.owner} answers over the network; ${names(usable(evidence))} must have failed`,
  },
  'presence-unknown': {
    decision: 'verify',
    means: 'the owner is to be asked over the network first (AS-4)',
    applies: ({ presence }) => presence === 'notAsked',
    text: ({ owner }) => `${owner} is silent on every channel; it is asked over the network`,
  },
  'presence-asking': {
    decision: 'wait',
    means: 'the owner is being asked over the network (AS-4)',
    applies: ({ presence }) => presence === 'asking',
    text: ({ owner }) => `${owner} is silent on every channel; its answer over the network is waited for`,
  },
  'store-unreachable': {
    decision: 'wait',
    means: 'the store does not answer: no ownership changes without it',
    applies: ({ store }) => store === 'unreachable',
    text: () => 'the coordination store does not answer: nobody can say who may serve',
  },
  'lease-held': {
    decision: 'wait',
    means: 'the owner’s lease has not lapsed: it may still be serving (R15)',
    applies: ({ store }) => store === 'held',
    text: ({ owner }) => `the lease of ${owner} has not lapsed yet`,
  },
  'no-consent': {
    decision: 'no',
    means: 'there is no store to consent, and heartbeats alone are not to decide',
    applies: ({ store, automatic }) => store === 'none' && automatic !== 'heartbeat-only',
    text: () => 'there is no coordination store, and take-over on heartbeats alone is not switched on',
  },
  'copy-unsafe': {
    decision: 'no',
    means: 'the copy here must not be served without somebody’s will',
    applies: ({ unsafe }) => unsafe !== null,
    text: ({ unsafe, node }) => `the copy at ${node} is not safe to serve: ${unsafe ?? ''}`,
  },
  'own-lease': {
    decision: 'wait',
    means: 'this node has no valid lease of its own, so it could not serve',
    applies: ({ mayServe, store }) => store !== 'none' && !mayServe,
    text: ({ node }) => `${node} holds no valid lease itself`,
  },
  precedence: {
    decision: 'wait',
    means: 'another node comes first: one of the owner’s site (HM-21), or earlier in succession (AS-12)',
    applies: ({ before, precedenceMs, precedenceMaxMs }) => before.length > 0 && precedenceMs < precedenceMaxMs,
    text: ({ before }) => `${before.join(', ')} ${before.length === 1 ? 'comes' : 'come'} first`,
  },
  'owner-lost': {
    decision: 'takeOver',
    means: 'every channel is silent and the store consents',
    applies: ({ store }) => store === 'lapsed',
    text: (evidence) => `${evidence.owner} is silent on ${names(usable(evidence))} and its lease has lapsed`,
  },
  'heartbeat-only': {
    decision: 'takeOver',
    means: 'every channel is silent, and heartbeats alone were told to decide: two owners are possible',
    applies: () => true,
    text: (evidence) => `${evidence.owner} is silent on ${names(usable(evidence))}; heartbeats alone decide here`,
  },
} as const satisfies Record<string, Rule>;

export type RuleName = keyof typeof rules;

/** In the order in which they are asked. */
export const ruleTable: readonly { readonly name: RuleName; readonly decision: Decision; readonly means: string }[] =
  Object.entries(rules).map(([name, { decision, means }]) => ({ name: name as RuleName, decision, means }));

export function judge(evidence: Evidence): Verdict {
  for (const { name } of ruleTable) {
    const rule: Rule = rules[name];
    if (rule.applies(evidence)) return { decision: rule.decision, rule: name, text: rule.text(evidence) };
  }
  throw new AssertionError('the last rule applies to everything');
}
