/**
 * Negotiation of operational values (RFC 7143 6.2, 13), the target's side: the initiator offers, we answer, and offer nothing
 * ourselves, so that an answer ends it. Once a key is settled it may not be touched again.
 *
 * Keeps: `parameters` is what both sides hold to be agreed. Leaves names, authentication and SendTargets to login and text.
 */
import type { OperationalParameters, SessionType } from './agreement.ts';
import { decodeNumber, type Pair } from './key-text.ts';
import {
  type BooleanRule,
  type KeyName,
  keyRules,
  type ListRule,
  type NumberRule,
  type Phase,
  ruleOf,
} from './keys.ts';
import { dataSegmentBytesDefault } from './pdu.ts';

/** RFC 7143 6.2: these are answers, never offers, and want none. */
const answers = new Set(['NotUnderstood', 'Irrelevant', 'Reject']);

type Value = string | boolean | number;

export class Negotiation {
  /** Set by the login as soon as it is known. */
  type: SessionType = 'normal';
  readonly #values = new Map<string, Value>();
  readonly #settled = new Set<string>();
  readonly #maxRecvDataSegmentLength: number;
  /** Ours has been said; until then the other side keeps to the default. */
  #declared = false;

  /** `maxRecvDataSegmentLength`: ours, bytes. */
  constructor(maxRecvDataSegmentLength: number) {
    this.#maxRecvDataSegmentLength = maxRecvDataSegmentLength;
  }

  /**
   * Answers the pairs of one step in their order; those whose rule says `login` or `text` are the caller's and not looked at.
   * A string: the initiator has broken the rules.
   */
  answer(phase: Phase, pairs: readonly Pair[]): readonly Pair[] | string {
    const given: Pair[] = [];
    for (const { key, value } of pairs) {
      const rule = ruleOf(key);
      if (answers.has(value)) continue;
      if (rule === null) {
        given.push({ key, value: 'NotUnderstood' });
        continue;
      }
      if (!rule.phases.includes(phase)) {
        given.push({ key, value: 'Reject' });
        continue;
      }
      if (rule.result === 'login' || rule.result === 'text') continue;
      if (!('initial' in rule)) {
        given.push({ key, value: 'Reject' });
        continue;
      }
      if (value === '?') {
        given.push({ key, value: this.#shown(key) });
        continue;
      }
      if (this.#settled.has(key)) return `${key} is negotiated twice`;
      this.#settled.add(key);
      if (!rule.discovery && this.type === 'discovery') given.push({ key, value: 'Irrelevant' });
      else this.#settle(key, rule, value, given);
    }
    if (phase === 'operational' && !this.#declared) {
      this.#declared = true;
      given.push({ key: 'MaxRecvDataSegmentLength', value: String(this.#maxRecvDataSegmentLength) });
    }
    return given;
  }

  /** What the initiator takes, where it has said so; null: it has not. Bytes. */
  get declaredSegmentLength(): number | null {
    const value = this.#values.get('MaxRecvDataSegmentLength');
    return typeof value === 'number' ? value : null;
  }

  parameters(): OperationalParameters {
    const maxBurstLength = this.#number('MaxBurstLength');
    return {
      headerDigest: this.#value('HeaderDigest') === 'CRC32C',
      dataDigest: this.#value('DataDigest') === 'CRC32C',
      initialR2T: this.#value('InitialR2T') === true,
      immediateData: this.#value('ImmediateData') === true,
      maxBurstLength,
      // RFC 7143 13.14: it must not be longer, in whatever order they were negotiated.
      firstBurstLength: Math.min(this.#number('FirstBurstLength'), maxBurstLength),
      defaultTime2Wait: this.#number('DefaultTime2Wait'),
      defaultTime2Retain: this.#number('DefaultTime2Retain'),
      maxOutstandingR2T: this.#number('MaxOutstandingR2T'),
      maxSendDataSegmentLength: this.#number('MaxRecvDataSegmentLength'),
      maxRecvDataSegmentLength: this.#declared ? this.#maxRecvDataSegmentLength : dataSegmentBytesDefault,
    };
  }

  #settle(key: string, rule: ListRule | BooleanRule | NumberRule, offered: string, given: Pair[]): void {
    const value = resultOf(rule, offered);
    if (value !== null) this.#values.set(key, value);
    // A declaration wants no answer (RFC 7143 6.2), unless it is out of its range.
    if (value === null) given.push({ key, value: 'Reject' });
    else if (rule.result !== 'declare') given.push({ key, value: this.#shown(key) });
  }

  #value(key: KeyName): Value {
    const rule = keyRules[key];
    return this.#values.get(key) ?? ('initial' in rule ? rule.initial : '');
  }

  #number(key: KeyName): number {
    return Number(this.#value(key));
  }

  #shown(key: string): string {
    const value = key === 'FirstBurstLength' ? this.parameters().firstBurstLength : this.#value(key as KeyName);
    if (typeof value === 'boolean') return value ? 'Yes' : 'No';
    return String(value);
  }
}

/** Null: not a value of the key, or none in common. The key keeps its default then (RFC 7143 6.2). */
export function resultOf(rule: ListRule | BooleanRule | NumberRule, offered: string): Value | null {
  switch (rule.result) {
    case 'list':
      return offered.split(',').find((value) => rule.known.includes(value)) ?? null;
    case 'and':
    case 'or': {
      if (offered !== 'Yes' && offered !== 'No') return null;
      const theirs = offered === 'Yes';
      return rule.result === 'and' ? theirs && rule.ours : theirs || rule.ours;
    }
    case 'min':
    case 'max':
    case 'declare': {
      const theirs = decodeNumber(offered);
      if (theirs === null || theirs < rule.range[0] || theirs > rule.range[1]) return null;
      if (rule.result === 'declare') return theirs;
      return rule.result === 'min' ? Math.min(theirs, rule.ours) : Math.max(theirs, rule.ours);
    }
  }
}
