/** What a login leads to (RFC 7143 6.3): where the login, pure, meets the session that sends its PDUs and goes on from there. */
import type { Random } from '../../base/random.ts';
import type { Admission, IscsiTarget, TargetDirectory } from './targets.ts';

export type SessionType = 'normal' | 'discovery';

/** Operational values in force for a session (RFC 7143 13). Lengths in bytes, times in seconds. */
export interface OperationalParameters {
  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
  readonly initialR2T: boolean;
  readonly immediateData: boolean;
  readonly maxBurstLength: number;
  readonly firstBurstLength: number;
  readonly defaultTime2Wait: number;
  readonly defaultTime2Retain: number;
  readonly maxOutstandingR2T: number;
  /** Longest data segment we may send: what the initiator has declared. */
  readonly maxSendDataSegmentLength: number;
  /** Longest data segment we take: what we have declared. */
  readonly maxRecvDataSegmentLength: number;
}

/** A login that has succeeded. MaxConnections is 1, ErrorRecoveryLevel 0, and data comes in order (RFC 7143 13.18, 13.19) in every one. */
export interface Agreement {
  readonly type: SessionType;
  /** Null in a discovery session, and so is what the target has admitted. */
  readonly target: IscsiTarget | null;
  readonly admission: Admission | null;
  readonly initiatorName: string;
  /** Empty: none given. */
  readonly initiatorAlias: string;
  /** 12 hex digits. */
  readonly isid: string;
  /** As `RegistrantPort.initiatorPort`. */
  readonly initiatorPort: string;
  readonly tsih: number;
  readonly cid: number;
  readonly parameters: OperationalParameters;
  /** StatSN of the next PDU we send that has one of its own. */
  readonly statSn: number;
  /** CmdSN of the first command: that of the login requests (RFC 7143 11.12.8). */
  readonly expCmdSn: number;
}

/** What to do after a Login Request. Parts are sent in order and may be kept. */
export type LoginStep =
  | { readonly kind: 'reply'; readonly parts: readonly Uint8Array[] }
  /** Send the parts, then the full feature phase begins: digests from the next PDU on, in both directions. */
  | { readonly kind: 'agreed'; readonly parts: readonly Uint8Array[]; readonly agreement: Agreement }
  /** Send the parts and close. `fault`: the initiator broke the protocol; else it was refused or sent elsewhere. */
  | { readonly kind: 'end'; readonly parts: readonly Uint8Array[]; readonly reason: string; readonly fault: boolean };

/** Who wants a session; asked about when it has authenticated itself and all is negotiated. */
export interface SessionRequest {
  readonly type: SessionType;
  readonly initiatorName: string;
  readonly isid: string;
  /** 0: a new session, or instead of one with this name, ISID and target (reinstatement, RFC 7143 6.3.5). Else one that is to be joined. */
  readonly tsih: number;
  readonly cid: number;
  readonly target: IscsiTarget | null;
}

export type SessionRefusal =
  /** There is no session of that TSIH, name, ISID and target. */
  | 'noSuchSession'
  /** It has its connection, MaxConnections being 1. */
  | 'tooManyConnections'
  | 'cannotInclude'
  /** The server's limit of sessions. */
  | 'outOfResources';

export interface SessionRegistry {
  /**
   * Decides, and where it decides for a session begins it: an old one of the same nexus ends now (RFC 7143 6.3.5), and `tsih`, not 0, is
   * taken. The `agreed` step follows in the same call; the caller may send its parts later, when the old session has surely ended (I9).
   */
  open(request: SessionRequest): { readonly tsih: number } | { readonly refused: SessionRefusal };
}

export interface LoginWorld {
  readonly random: Random;
  readonly targets: TargetDirectory;
  readonly sessions: SessionRegistry;
  /** Address of the initiator, no port. */
  readonly remoteAddress: string;
  /** TargetPortalGroupTag of the portal (RFC 7143 13.9). */
  readonly portalTag: number;
  /** Longest data segment we take in full feature phase, bytes, 512…2²⁴ − 1. */
  readonly maxRecvDataSegmentLength: number;
  /** Commands an initiator may have in flight: MaxCmdSN − ExpCmdSN + 1 at the end of the login. */
  readonly commandWindow: number;
}
