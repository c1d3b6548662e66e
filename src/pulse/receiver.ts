/**
 * Whether a heartbeat that arrived is to be believed (HM-7, BY-6). Only what is sealed with the cluster's key, from a
 * member, to this node and by the channel it names gets as far as the other tests; what fails one is counted and dropped.
 *
 * Against recordings there are three defences:
 * - *Proof.* An incarnation of a sender is believed once a message of it echoes this process's own incarnation and a time of
 *   its clock within the timeout: the sender has just heard *us*, which no recording from before our start can say. Echo
 *   and message may go different ways, so that channels of one direction need no more. Until then it is unproven: it lives
 *   perhaps, and nothing it says counts. The first believed incarnation supersedes the one before it, for ever.
 * - *Serial* (can be deselected). Within an incarnation and channel only rising numbers are taken.
 * - *Time* (can be deselected). A sender's monotonic clock must keep pace with ours; what lags behind the quickest message by
 *   more than the timeout was held back. Clocks may run apart by `driftShareMax`: somebody who holds back everything a little
 *   more each time is found out no faster than that. A sender whose clock stood still (a suspended machine) is taken
 *   again when it echoes a recent time of ours.
 *
 * A check of the user's can be added (HM-7): of a node that fails it nothing is taken, however authentic.
 *
 * What is not excluded: while a peer hears nothing of us, its new incarnation cannot prove itself, and its old one, proven
 * before, can be heard on by delaying its messages within the timeout.
 */
import type { Clock } from '../base/clock.ts';
import { decodeHeartbeat, PayloadsKnown, serialRises, type Echo, type Heartbeat } from './message.ts';

export const refusalReasons = [
  /** Not sealed by the cluster's key. */
  'forged',
  /** Sealed, and yet no message of this version. */
  'malformed',
  /** Of another cluster with the same key. */
  'foreign',
  /** From nobody in the cluster document. */
  'unknown',
  /** To another node, or recorded on another channel. */
  'misdirected',
  /** Of an earlier process of the sender. */
  'superseded',
  /** Its serial number does not rise. */
  'replayed',
  /** Its time does not keep moving with ours. */
  'stale',
  /** The user's check of the sender fails (HM-7). */
  'unfit',
  /** The sender does not hear us yet; kept from counting, no refusal. */
  'unproven',
] as const;

export type RefusalReason = (typeof refusalReasons)[number];
export type RefusalCounts = Readonly<Record<RefusalReason, number>>;

export type Verdict =
  | { readonly kind: 'valid'; readonly heartbeat: Heartbeat; readonly isNew: boolean }
  | { readonly kind: 'unproven'; readonly from: string }
  | {
      readonly kind: 'refused';
      readonly reason: RefusalReason;
      readonly from: string | null;
      readonly detail: string;
    };

export interface ReceiverOptions {
  readonly clock: Clock;
  readonly node: string;
  /** Names of the other nodes. */
  readonly peers: readonly string[];
  readonly clusterId: string;
  readonly key: Uint8Array;
  readonly incarnation: string;
  readonly timeoutMs: number;
  readonly validity: { readonly serial: boolean; readonly time: boolean };
}

/** One process of a sender, as long as it is heard. */
interface Tenure {
  readonly incarnation: string;
  readonly startedWallMs: number;
  /** Last serial number and sender's time, by channel. */
  readonly last: Map<string, { serial: number; monotonicMs: number }>;
  /** Our clock minus the sender's at the quickest message, and when that was. */
  anchor: { offsetMs: number; atMs: number } | null;
  heardMs: number;
  heardMonotonicMs: number;
}

interface Sender {
  /** Believed. */
  current: Tenure | null;
  /** Authentic and not proven. */
  candidate: Tenure | null;
  /** Oldest first. */
  readonly superseded: string[];
}

/** Two quartz clocks under correction by NTP (500 ppm each) part no faster. */
const driftShareMax = 0.001;
const supersededMax = 64;

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #senders: ReadonlyMap<string, Sender>;
  /** By node: why the user's check does not let it pass. */
  readonly #unfit = new Map<string, string>();
  readonly #counts = new Map<string, Record<RefusalReason, number>>();
  readonly #payloads = new PayloadsKnown();

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.#senders = new Map(
      options.peers.map((peer): [string, Sender] => [peer, { current: null, candidate: null, superseded: [] }]),
    );
  }

  /** @param channel by which it arrived. */
  judge(bytes: Uint8Array, channel: string): Verdict {
    const { key, clusterId, node } = this.#options;
    const opened = decodeHeartbeat(bytes, key, this.#payloads);
    if (opened.kind === 'refused') return this.#refuse(opened.reason, null, opened.detail);
    const { heartbeat } = opened;
    const { from } = heartbeat;
    if (heartbeat.clusterId !== clusterId) return this.#refuse('foreign', null, `cluster ${heartbeat.clusterId}`);
    const sender = this.#senders.get(from);
    if (sender === undefined) return this.#refuse(from === node ? 'misdirected' : 'unknown', null, `from ${from}`);
    if (heartbeat.to !== node) return this.#refuse('misdirected', from, `to ${heartbeat.to}`);
    if (heartbeat.channel !== channel) return this.#refuse('misdirected', from, `meant for ${heartbeat.channel}`);
    return this.#judgeMember(sender, heartbeat);
  }

  /** The user's check has ended; null: the node has passed. */
  checked(peer: string, problem: string | null): void {
    if (problem === null) this.#unfit.delete(peer);
    else this.#unfit.set(peer, problem);
  }

  /** Why nothing of it is believed; null: nothing is the matter. */
  unfitness(peer: string): string | null {
    return this.#unfit.get(peer) ?? null;
  }

  /** What the next message to a peer echoes: the last that was authentic, a believed one first. */
  echoFor(peer: string): Echo | null {
    const sender = this.#senders.get(peer);
    const { current = null, candidate = null } = sender ?? {};
    const tenure = current !== null && (this.#isHeard(current) || candidate === null) ? current : candidate;
    return tenure === null ? null : { incarnation: tenure.incarnation, monotonicMs: tenure.heardMonotonicMs };
  }

  /** Believed; null: none yet. */
  incarnationOf(peer: string): string | null {
    return this.#senders.get(peer)?.current?.incarnation ?? null;
  }

  /** By sender; those of no known sender are under `?`. */
  counts(): Readonly<Record<string, RefusalCounts>> {
    return Object.fromEntries([...this.#counts].map(([from, counts]) => [from, { ...counts }]));
  }

  #judgeMember(sender: Sender, heartbeat: Heartbeat): Verdict {
    const { from, incarnation, serial, channel, monotonicMs } = heartbeat;
    const nowMs = this.#options.clock.monotonicMs();
    const tenure = this.#tenureOf(sender, heartbeat, nowMs);
    if (tenure === null) return this.#refuse('superseded', from, `incarnation ${incarnation}`);
    const isFresh = this.#isFresh(heartbeat.echo, nowMs);
    const last = tenure.last.get(channel);
    const { validity } = this.#options;
    if (validity.serial && last !== undefined && !serialRises(last.serial, serial)) {
      return this.#refuse('replayed', from, `serial ${serial} after ${last.serial}`);
    }
    if (validity.time) {
      if (last !== undefined && monotonicMs < last.monotonicMs) {
        return this.#refuse('stale', from, `its clock at ${monotonicMs} after ${last.monotonicMs}`);
      }
      const lateMs = this.#latenessOf(tenure, monotonicMs, nowMs, isFresh);
      if (lateMs > this.#options.timeoutMs) return this.#refuse('stale', from, `${Math.round(lateMs)} ms late`);
    }
    tenure.last.set(channel, { serial, monotonicMs });
    tenure.heardMs = nowMs;
    tenure.heardMonotonicMs = Math.max(tenure.heardMonotonicMs, monotonicMs);
    // It lives, and is told by the echo that it is heard; it counts for nothing else.
    const unfitness = this.unfitness(from);
    if (unfitness !== null) return this.#refuse('unfit', from, unfitness);
    if (tenure === sender.current) return { kind: 'valid', heartbeat, isNew: false };
    if (!isFresh) {
      sender.candidate = tenure;
      this.#count('unproven', from);
      return { kind: 'unproven', from };
    }
    if (sender.current !== null) supersede(sender, sender.current.incarnation);
    sender.current = tenure;
    sender.candidate = null;
    return { kind: 'valid', heartbeat, isNew: true };
  }

  /** Null for an incarnation that is over, or contradicts one that is heard now. */
  #tenureOf(sender: Sender, heartbeat: Heartbeat, nowMs: number): Tenure | null {
    const { incarnation, startedWallMs, monotonicMs } = heartbeat;
    const { current, candidate } = sender;
    if (current?.incarnation === incarnation) return current;
    if (sender.superseded.includes(incarnation)) return null;
    // A process does not start before one that is alive; a wall clock set back is forgiven when that one is silent.
    if (current !== null && this.#isHeard(current) && startedWallMs < current.startedWallMs) return null;
    if (candidate?.incarnation === incarnation) return candidate;
    const isOlder = candidate !== null && this.#isHeard(candidate) && startedWallMs < candidate.startedWallMs;
    if (isOlder && !this.#isFresh(heartbeat.echo, nowMs)) return null;
    return {
      incarnation,
      startedWallMs,
      last: new Map(),
      anchor: null,
      heardMs: nowMs,
      heardMonotonicMs: monotonicMs,
    };
  }

  /** How much later than the quickest message this one arrives. Moves the anchor. */
  #latenessOf(tenure: Tenure, monotonicMs: number, nowMs: number, isFresh: boolean): number {
    const offsetMs = nowMs - monotonicMs;
    const { anchor } = tenure;
    const expectedMs = anchor === null ? offsetMs : anchor.offsetMs + (nowMs - anchor.atMs) * driftShareMax;
    const lateMs = offsetMs - expectedMs;
    if (lateMs > 0 && !(lateMs > this.#options.timeoutMs && isFresh)) return lateMs;
    tenure.anchor = { offsetMs, atMs: nowMs };
    return 0;
  }

  #isFresh(echo: Echo | null, nowMs: number): boolean {
    if (echo?.incarnation !== this.#options.incarnation) return false;
    // Times travel as whole milliseconds.
    return echo.monotonicMs <= nowMs && nowMs - echo.monotonicMs <= this.#options.timeoutMs + 1;
  }

  #isHeard(tenure: Tenure): boolean {
    return this.#options.clock.monotonicMs() - tenure.heardMs <= this.#options.timeoutMs;
  }

  #refuse(reason: RefusalReason, from: string | null, detail: string): Verdict {
    this.#count(reason, from ?? '?');
    return { kind: 'refused', reason, from, detail };
  }

  #count(reason: RefusalReason, from: string): void {
    let counts = this.#counts.get(from);
    if (counts === undefined) this.#counts.set(from, (counts = noRefusals()));
    counts[reason]++;
  }
}

function supersede(sender: Sender, incarnation: string): void {
  sender.superseded.push(incarnation);
  if (sender.superseded.length > supersededMax) sender.superseded.shift();
}

export function noRefusals(): Record<RefusalReason, number> {
  return {
    forged: 0,
    malformed: 0,
    foreign: 0,
    unknown: 0,
    misdirected: 0,
    superseded: 0,
    replayed: 0,
    stale: 0,
    unfit: 0,
    unproven: 0,
  };
}
