/** Text requests of the full feature phase (RFC 7143 11.10). */
import type { Agreement } from './agreement.ts';
import type { RequestHeader } from './pdu.ts';
import type { TargetDirectory } from './targets.ts';

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

export class TextNegotiation {
  /** `localAddress`: host of the portal used, no port; it stands in for hosts of all zeroes. */
  constructor(agreement: Agreement, targets: TargetDirectory, localAddress: string) {
    void [agreement, targets, localAddress];
  }

  request(header: RequestHeader, data: Uint8Array): TextStep {
    void [header, data];
    return { kind: 'reject', reason: 4 };
  }
}
