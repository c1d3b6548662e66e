/**
 * Text requests of the full feature phase (RFC 7143 11.10, 11.11): SendTargets (appendix C), and a new MaxRecvDataSegmentLength.
 * Both directions may take several PDUs: the initiator's by the C bit, ours by a target transfer tag with which it fetches the rest.
 *
 * Keeps: one negotiation at a time; a request without a transfer tag begins anew (RFC 7143 11.10.4). At most `textBytesMax` of the
 * initiator's text, and one answer, are in memory.
 */
import type { Agreement } from './agreement.ts';
import { decodeText, encodeText, type Pair, TextGathering } from './key-text.ts';
import { normalizedName } from './names.ts';
import { Negotiation } from './negotiation.ts';
import { noTag, RejectReason, type RequestHeader } from './pdu.ts';
import type { IscsiTarget, TargetDirectory } from './targets.ts';

/** What to answer a Text Request with; the session numbers and sends it. */
export type TextStep =
  | {
      readonly kind: 'answer';
      readonly data: Uint8Array;
      readonly final: boolean;
      readonly continues: boolean;
      /** `noTag` when final. */
      readonly transferTag: number;
      /** The initiator takes longer, or only shorter, data segments from the next PDU on (RFC 7143 13.12); null: as before. */
      readonly maxSendDataSegmentLength: number | null;
    }
  /** `RejectReason`; the negotiation is forgotten. */
  | { readonly kind: 'reject'; readonly reason: number };

/** What of an answer is sent when, and by which tag the initiator asks for more. */
interface Underway {
  readonly transferTag: number;
  readonly negotiation: Negotiation;
  /** Not sent yet. */
  rest: Uint8Array;
}

const nothing = new Uint8Array(0);

/** Where an initiator has come from and to, no ports. */
export interface TextAddresses {
  readonly remote: string;
  /** Stands in for hosts of all zeroes among the portals. */
  readonly local: string;
}

export class TextNegotiation {
  readonly #agreement: Agreement;
  readonly #targets: TargetDirectory;
  readonly #addresses: TextAddresses;
  readonly #text = new TextGathering();
  #maxSendDataSegmentLength: number;
  #underway: Underway | null = null;
  #lastTag = 0;

  constructor(agreement: Agreement, targets: TargetDirectory, addresses: TextAddresses) {
    this.#agreement = agreement;
    this.#targets = targets;
    this.#addresses = addresses;
    this.#maxSendDataSegmentLength = agreement.parameters.maxSendDataSegmentLength;
  }

  request(header: RequestHeader, data: Uint8Array): TextStep {
    const { transferTag, continues, final } = header;
    if (continues && final) return this.#reject(RejectReason.protocol);
    let underway = this.#underway;
    if (transferTag === noTag || underway === null) {
      if (transferTag !== noTag) return this.#reject(RejectReason.invalidField);
      this.#forget();
      underway = this.#begin();
    } else if (transferTag !== underway.transferTag) {
      return this.#reject(RejectReason.invalidField);
    }
    if (underway.rest.length > 0) {
      // RFC 7143 6.2: an empty request fetches the rest; it has nothing to say before it has heard us.
      return data.length === 0 ? this.#send(underway, final, null) : this.#reject(RejectReason.protocol);
    }
    if (!this.#text.add(data)) return this.#reject(RejectReason.resources);
    if (continues) return this.#send(underway, false, null);
    const pairs = decodeText(this.#text.take());
    if (typeof pairs === 'string') return this.#reject(RejectReason.protocol);
    const { negotiation } = underway;
    const before = negotiation.declaredSegmentLength;
    const answers = this.#answer(negotiation, pairs);
    if (answers === null) return this.#reject(RejectReason.protocol);
    underway.rest = encodeText(answers);
    const declared = negotiation.declaredSegmentLength;
    return this.#send(underway, final, declared === before ? null : declared);
  }

  #begin(): Underway {
    this.#lastTag = (this.#lastTag + 1) % noTag;
    const negotiation = new Negotiation(this.#agreement.parameters.maxRecvDataSegmentLength);
    negotiation.type = this.#agreement.type;
    return (this.#underway = { transferTag: this.#lastTag, negotiation, rest: nothing });
  }

  /** The next part of the answer; the last one is final if the initiator has nothing more to say either. */
  #send(underway: Underway, final: boolean, declared: number | null): TextStep {
    const { rest, transferTag } = underway;
    const end = pairsWithin(rest, this.#maxSendDataSegmentLength);
    const continues = end < rest.length;
    underway.rest = rest.subarray(end);
    const over = final && !continues;
    if (over) this.#forget();
    if (declared !== null) this.#maxSendDataSegmentLength = declared;
    return {
      kind: 'answer',
      data: rest.subarray(0, end),
      final: over,
      continues,
      transferTag: over ? noTag : transferTag,
      maxSendDataSegmentLength: declared,
    };
  }

  #answer(negotiation: Negotiation, pairs: readonly Pair[]): readonly Pair[] | null {
    const wanted = pairs.filter((pair) => pair.key === 'SendTargets');
    const answers = negotiation.answer('fullFeature', pairs);
    if (typeof answers === 'string' || wanted.length > 1) return null;
    return wanted[0] === undefined ? answers : [...answers, ...this.#sendTargets(wanted[0].value)];
  }

  /** `All` is for discovery sessions only; an empty value, or its name, is the target of a normal one (RFC 7143 appendix C). */
  #sendTargets(wanted: string): readonly Pair[] {
    const own = this.#agreement.target;
    if (wanted === 'All') {
      if (own !== null) return [{ key: 'SendTargets', value: 'Reject' }];
      return this.#targets.list().flatMap((target) => this.#describe(target));
    }
    if (wanted === '' && own === null) return [{ key: 'SendTargets', value: 'Reject' }];
    const target = wanted === '' ? own : this.#targets.find(normalizedName(wanted) ?? '');
    if (target === null || (own !== null && own.name !== target.name)) return [];
    return this.#describe(target);
  }

  /** Nothing of a target that would not let it in. */
  #describe(target: IscsiTarget): readonly Pair[] {
    const { initiatorName } = this.#agreement;
    if ('refused' in target.admit(initiatorName, this.#addresses.remote)) return [];
    return [
      { key: 'TargetName', value: target.name },
      ...target.portals.map((portal) => ({
        key: 'TargetAddress',
        value: `${this.#reachable(portal.address)},${portal.tag}`,
      })),
    ];
  }

  #reachable(address: string): string {
    const { local } = this.#addresses;
    const wildcard = /^(?:0\.0\.0\.0|\[::\]):(\d+)$/.exec(address);
    if (wildcard === null) return address;
    return `${local.includes(':') ? `[${local}]` : local}:${wildcard[1] ?? ''}`;
  }

  #reject(reason: number): TextStep {
    this.#forget();
    return { kind: 'reject', reason };
  }

  #forget(): void {
    this.#underway = null;
    this.#text.take();
  }
}

/** How many bytes of whole pairs fit into `bytesMax`; a pair longer than that is cut, as the C bit allows. */
function pairsWithin(text: Uint8Array, bytesMax: number): number {
  if (text.length <= bytesMax) return text.length;
  const zero = text.lastIndexOf(0, bytesMax - 1);
  return zero < 0 ? bytesMax : zero + 1;
}
