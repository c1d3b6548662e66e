/**
 * Keys of RFC 7143 13 as a table: what may be said, when, and what comes of it. Values of ours are what this target
 * offers, whoever asks; lengths in bytes, times in seconds.
 */

export type Phase = 'security' | 'operational' | 'fullFeature';

interface Rule {
  readonly phases: readonly Phase[];
  /** False: `Irrelevant` in a discovery session. */
  readonly discovery: boolean;
}

/** RFC 7143 6.2.1: the first of the initiator's list that we know. */
export interface ListRule extends Rule {
  readonly result: 'list';
  readonly initial: string;
  readonly known: readonly string[];
}

/** RFC 7143 6.2.2. */
export interface BooleanRule extends Rule {
  readonly result: 'and' | 'or';
  readonly initial: boolean;
  readonly ours: boolean;
}

export interface NumberRule extends Rule {
  /** `declare`: holds for what the other side sends; ours is said beside it, not in answer to it. */
  readonly result: 'min' | 'max' | 'declare';
  readonly initial: number;
  /** Of a `declare`: 0, since it is the portal's. */
  readonly ours: number;
  readonly range: readonly [number, number];
}

/** Known, but not to be negotiated here: by what the login has to do with it, or because it is no business of an initiator's. */
export interface OtherRule extends Rule {
  readonly result: 'login' | 'text' | 'reject';
}

export type KeyRule = ListRule | BooleanRule | NumberRule | OtherRule;

const login: readonly Phase[] = ['security', 'operational'];
const operational: readonly Phase[] = ['operational'];
const always: readonly Phase[] = ['security', 'operational', 'fullFeature'];

const segmentRange = [512, 0xff_ffff] as const;
const timeRange = [0, 3600] as const;
const countRange = [1, 65535] as const;

const digest: ListRule = {
  result: 'list',
  initial: 'None',
  known: ['None', 'CRC32C'],
  phases: operational,
  discovery: true,
};
const declaredByInitiator: OtherRule = { result: 'login', phases: login, discovery: true };
const declaredByTarget: OtherRule = { result: 'reject', phases: always, discovery: true };
const inOrder: BooleanRule = { result: 'or', initial: true, ours: true, phases: operational, discovery: false };
/** RFC 7143 13.25: never `NotUnderstood`; `No` is what initiators that still ask for it expect. */
const marker: BooleanRule = { result: 'and', initial: false, ours: false, phases: operational, discovery: true };

export const keyRules = {
  AuthMethod: { result: 'login', phases: ['security'], discovery: true },
  CHAP_A: { result: 'login', phases: ['security'], discovery: true },
  CHAP_I: { result: 'login', phases: ['security'], discovery: true },
  CHAP_C: { result: 'login', phases: ['security'], discovery: true },
  CHAP_N: { result: 'login', phases: ['security'], discovery: true },
  CHAP_R: { result: 'login', phases: ['security'], discovery: true },
  HeaderDigest: digest,
  DataDigest: digest,
  MaxConnections: {
    result: 'min',
    initial: 1,
    ours: 1,
    range: countRange,
    phases: operational,
    discovery: false,
  },
  SendTargets: { result: 'text', phases: ['fullFeature'], discovery: true },
  TargetName: declaredByInitiator,
  InitiatorName: declaredByInitiator,
  TargetAlias: declaredByTarget,
  InitiatorAlias: { result: 'login', phases: always, discovery: true },
  TargetAddress: declaredByTarget,
  TargetPortalGroupTag: declaredByTarget,
  InitialR2T: { result: 'or', initial: true, ours: false, phases: operational, discovery: false },
  ImmediateData: { result: 'and', initial: true, ours: true, phases: operational, discovery: false },
  MaxRecvDataSegmentLength: {
    result: 'declare',
    initial: 8192,
    ours: 0,
    range: segmentRange,
    phases: always,
    discovery: true,
  },
  MaxBurstLength: {
    result: 'min',
    initial: 262144,
    ours: 1048576,
    range: segmentRange,
    phases: operational,
    discovery: false,
  },
  FirstBurstLength: {
    result: 'min',
    initial: 65536,
    ours: 262144,
    range: segmentRange,
    phases: operational,
    discovery: false,
  },
  // At recovery level 0 nothing of a connection outlives it: come again at once, there is nothing to retain.
  DefaultTime2Wait: { result: 'max', initial: 2, ours: 0, range: timeRange, phases: operational, discovery: true },
  DefaultTime2Retain: { result: 'min', initial: 20, ours: 0, range: timeRange, phases: operational, discovery: true },
  MaxOutstandingR2T: {
    result: 'min',
    initial: 1,
    ours: 1,
    range: countRange,
    phases: operational,
    discovery: false,
  },
  DataPDUInOrder: inOrder,
  DataSequenceInOrder: inOrder,
  ErrorRecoveryLevel: { result: 'min', initial: 0, ours: 0, range: [0, 2], phases: operational, discovery: true },
  SessionType: declaredByInitiator,
  TaskReporting: {
    result: 'list',
    initial: 'RFC3720',
    known: ['RFC3720'],
    phases: operational,
    discovery: false,
  },
  iSCSIProtocolLevel: { result: 'min', initial: 1, ours: 1, range: [0, 31], phases: operational, discovery: false },
  IFMarker: marker,
  OFMarker: marker,
  IFMarkInt: { result: 'reject', phases: always, discovery: true },
  OFMarkInt: { result: 'reject', phases: always, discovery: true },
} as const satisfies Record<string, KeyRule>;

export type KeyName = keyof typeof keyRules;

export function ruleOf(key: string): KeyRule | null {
  return Object.hasOwn(keyRules, key) ? keyRules[key as KeyName] : null;
}
