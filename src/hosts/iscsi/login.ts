/** Login of a connection. */
import type { LoginStep, LoginWorld } from './agreement.ts';
import type { RequestHeader } from './pdu.ts';

export class Login {
  constructor(world: LoginWorld) {
    void world;
  }

  /** Every PDU until `agreed` or `end`; data segments are at most 8192 bytes (RFC 7143 13.12). */
  request(header: RequestHeader, data: Uint8Array): LoginStep {
    return { kind: 'end', parts: [], reason: `opcode ${header.opcode} with ${data.length} bytes`, fault: true };
  }
}
