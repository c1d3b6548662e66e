/**
 * Login of a connection (RFC 7143 6.3, 11.12, 11.13), the target's side, without I/O: a Login Request in, what to send out.
 *
 *   names known → redirected, refused, or admitted → security stage, if there is one → operational stage → agreed
 *
 * Keeps: nobody reaches the end without the authentication its admission asks for, whatever stages it skips; the registry of sessions is
 * touched once, at the very end; text of at most `textBytesMax` is in memory. Any PDU leads to a named step, never to an exception.
 * Leaves to the session: sending, deadlines, ending an old session of the same nexus.
 */
import { assert } from '../../base/assert.ts';
import type { LoginStep, LoginWorld, SessionRefusal, SessionType } from './agreement.ts';
import { Chap } from './chap.ts';
import { decodeText, encodeText, type Pair, TextGathering } from './key-text.ts';
import { normalizedName } from './names.ts';
import { Negotiation } from './negotiation.ts';
import {
  bhsBytes,
  dataSegmentBytesDefault,
  encodeLoginResponse,
  Opcode,
  paddingOf,
  type RequestHeader,
} from './pdu.ts';
import type { Admission, IscsiTarget } from './targets.ts';

/** Class and detail (RFC 7143 11.13.5). */
export const LoginStatus = {
  success: 0x0000,
  movedTemporarily: 0x0101,
  initiatorError: 0x0200,
  authenticationFailed: 0x0201,
  authorizationFailed: 0x0202,
  notFound: 0x0203,
  removed: 0x0204,
  unsupportedVersion: 0x0205,
  tooManyConnections: 0x0206,
  missingParameter: 0x0207,
  cannotInclude: 0x0208,
  sessionTypeNotSupported: 0x0209,
  noSuchSession: 0x020a,
  invalidDuringLogin: 0x020b,
  targetError: 0x0300,
  serviceUnavailable: 0x0301,
  outOfResources: 0x0302,
} as const;
export type LoginStatus = (typeof LoginStatus)[keyof typeof LoginStatus];

const sessionRefusals: Readonly<Record<SessionRefusal, LoginStatus>> = {
  noSuchSession: LoginStatus.noSuchSession,
  tooManyConnections: LoginStatus.tooManyConnections,
  cannotInclude: LoginStatus.cannotInclude,
  outOfResources: LoginStatus.outOfResources,
};

/** RFC 7143 11.12.3. */
const Stage = { security: 0, operational: 1, fullFeature: 3 } as const;

/** Initiators need four to six requests; one that has sent so many goes round in circles. */
const requestsMax = 64;

/** What the first request says of the connection, and all later ones repeat. */
interface Identity {
  readonly taskTag: number;
  readonly isid: string;
  readonly tsih: number;
  readonly cid: number;
  readonly cmdSn: number;
}

/** Who wants what; known once the first text is whole. */
interface Candidate {
  readonly type: SessionType;
  readonly initiatorName: string;
  initiatorAlias: string;
  readonly target: IscsiTarget | null;
  readonly admission: Admission | null;
}

/** Ends the login inside a step. */
class Refusal {
  readonly status: LoginStatus;
  readonly reason: string;
  readonly fault: boolean;
  readonly pairs: readonly Pair[];

  constructor(status: LoginStatus, reason: string, pairs: readonly Pair[] = []) {
    this.status = status;
    this.reason = reason;
    this.fault = breaches.has(status);
    this.pairs = pairs;
  }
}

const breaches = new Set<LoginStatus>([
  LoginStatus.initiatorError,
  LoginStatus.missingParameter,
  LoginStatus.invalidDuringLogin,
]);

const noPairs: readonly Pair[] = [];

export class Login {
  readonly #world: LoginWorld;
  readonly #negotiation: Negotiation;
  readonly #text = new TextGathering();
  #identity: Identity | null = null;
  #candidate: Candidate | null = null;
  #stage: number = Stage.security;
  /** Null: not begun, or not asked for. */
  #chap: Chap | null = null;
  /** Whoever the initiator had to be, it is. */
  #authenticated = false;
  #requests = 0;
  #statSn = 1;
  #over = false;

  constructor(world: LoginWorld) {
    this.#world = world;
    this.#negotiation = new Negotiation(world.maxRecvDataSegmentLength);
  }

  /** Every PDU until `agreed` or `end`, then no more; data segments are at most 8192 bytes (RFC 7143 13.12). */
  request(header: RequestHeader, data: Uint8Array): LoginStep {
    assert(!this.#over, 'a PDU for a login that is over');
    if (header.opcode !== Opcode.login) {
      // RFC 7143 6.3.1: answered as what it should have been.
      const opcode = `0x${header.opcode.toString(16).padStart(2, '0')}`;
      return this.#refuse(
        header,
        new Refusal(LoginStatus.invalidDuringLogin, `PDU with opcode ${opcode} during login`),
      );
    }
    const wrong = this.#check(header);
    if (wrong !== null) return this.#refuse(header, wrong);
    if (!this.#text.add(data)) return this.#refuse(header, fault('too much text in one step'));
    // RFC 7143 6.1: each part of a text in several PDUs is answered by an empty one.
    if (header.continues) return this.#reply(header, noPairs, false);
    const pairs = decodeText(this.#text.take());
    if (typeof pairs === 'string') return this.#refuse(header, fault(pairs));
    return this.#step(header, pairs);
  }

  /** Whether the header fits to those before, and to itself (RFC 7143 11.12). */
  #check(header: RequestHeader): Refusal | null {
    this.#requests += 1;
    const { currentStage, nextStage, transit, taskTag, isid, tsih, cid, cmdSn } = header;
    if (this.#requests > requestsMax) return fault(`more than ${requestsMax} login requests`);
    if (header.versionMin > 0) {
      return new Refusal(LoginStatus.unsupportedVersion, `it needs version ${header.versionMin} or later`);
    }
    if (transit && header.continues) return fault('T and C bit in one login request');
    const first = this.#identity;
    if (first === null) {
      this.#identity = { taskTag, isid, tsih, cid, cmdSn };
      this.#stage = currentStage;
      if (currentStage > Stage.operational) return fault(`login in stage ${currentStage}`);
    } else {
      const same = first.taskTag === taskTag && first.isid === isid && first.tsih === tsih && first.cid === cid;
      if (!same) return fault('task tag, ISID, TSIH or CID change during login');
      if (currentStage !== this.#stage) return fault(`request of stage ${currentStage} in stage ${this.#stage}`);
    }
    if (transit && (nextStage <= currentStage || nextStage === 2)) {
      return fault(`transition from stage ${currentStage} to ${nextStage}`);
    }
    return null;
  }

  #step(header: RequestHeader, pairs: readonly Pair[]): LoginStep {
    const given: Pair[] = [];
    if (this.#candidate === null) {
      const candidate = this.#identify(pairs);
      if (candidate instanceof Refusal) return this.#refuse(header, candidate);
      this.#candidate = candidate;
      this.#negotiation.type = candidate.type;
      if (candidate.target !== null) {
        // RFC 7143 13.9: in the first response that knows the target.
        given.push({ key: 'TargetPortalGroupTag', value: String(this.#world.portalTag) });
        if (candidate.target.alias !== '') given.push({ key: 'TargetAlias', value: candidate.target.alias });
      }
    } else {
      const changed = this.#changed(this.#candidate, pairs);
      if (changed !== null) return this.#refuse(header, changed);
    }
    const candidate = this.#candidate;
    let mayLeave = true;
    if (this.#stage === Stage.security) {
      const secured = this.#secure(candidate, pairs);
      if (secured instanceof Refusal) return this.#refuse(header, secured);
      given.push(...secured);
      mayLeave = this.#authenticated;
      if (header.transit && !mayLeave && this.#chap === null) {
        return this.#refuse(header, new Refusal(LoginStatus.authenticationFailed, 'it offers no AuthMethod'));
      }
    } else if (!this.#authenticated) {
      if (candidate.admission?.chap) {
        return this.#refuse(
          header,
          new Refusal(LoginStatus.authenticationFailed, 'it skips the authentication it needs'),
        );
      }
      this.#authenticated = true;
    }
    const phase = this.#stage === Stage.security ? 'security' : 'operational';
    const answers = this.#negotiation.answer(phase, pairs);
    if (typeof answers === 'string') return this.#refuse(header, fault(answers));
    given.push(...answers);
    const transit = header.transit && mayLeave;
    if (transit && header.nextStage === Stage.fullFeature) return this.#agree(header, candidate, given);
    const step = this.#reply(header, given, transit);
    if (transit) this.#stage = header.nextStage;
    return step;
  }

  /** Reads who wants what, and asks whether that is welcome (RFC 7143 6.3.1, 13.4, 13.5, 13.21). */
  #identify(pairs: readonly Pair[]): Candidate | Refusal {
    const values = declared(pairs);
    if (values instanceof Refusal) return values;
    const name = values.get('InitiatorName');
    if (name === undefined) return new Refusal(LoginStatus.missingParameter, 'no InitiatorName');
    const initiatorName = normalizedName(name);
    if (initiatorName === null) return fault(`InitiatorName ${JSON.stringify(name)} is not an iSCSI name`);
    const initiatorAlias = values.get('InitiatorAlias') ?? '';
    const typeText = values.get('SessionType') ?? 'Normal';
    if (typeText !== 'Normal' && typeText !== 'Discovery') {
      return new Refusal(LoginStatus.sessionTypeNotSupported, `SessionType ${JSON.stringify(typeText)}`);
    }
    if (typeText === 'Discovery') {
      return { type: 'discovery', initiatorName, initiatorAlias, target: null, admission: null };
    }
    const targetName = values.get('TargetName');
    if (targetName === undefined) return new Refusal(LoginStatus.missingParameter, 'no TargetName');
    const target = this.#world.targets.find(normalizedName(targetName) ?? '');
    if (target === null) return new Refusal(LoginStatus.notFound, `there is no target ${JSON.stringify(targetName)}`);
    const admission = target.admit(initiatorName, this.#world.remoteAddress);
    if ('refused' in admission) return new Refusal(LoginStatus.authorizationFailed, admission.refused);
    if (target.redirect !== null) {
      const pairs = [{ key: 'TargetAddress', value: target.redirect }];
      return new Refusal(LoginStatus.movedTemporarily, `sent to ${target.redirect}`, pairs);
    }
    return { type: 'normal', initiatorName, initiatorAlias, target, admission };
  }

  /** Later requests may repeat what the first has said, as libiscsi does in the operational stage, but not change it. */
  #changed(candidate: Candidate, pairs: readonly Pair[]): Refusal | null {
    const values = declared(pairs);
    if (values instanceof Refusal) return values;
    const { type, initiatorName, target } = candidate;
    const name = values.get('InitiatorName');
    const targetName = values.get('TargetName');
    const typeText = values.get('SessionType');
    if (
      (name !== undefined && normalizedName(name) !== initiatorName) ||
      (targetName !== undefined && target !== null && normalizedName(targetName) !== target.name) ||
      (typeText !== undefined && typeText.toLowerCase() !== type)
    ) {
      return fault('InitiatorName, TargetName or SessionType change during login');
    }
    candidate.initiatorAlias = values.get('InitiatorAlias') ?? candidate.initiatorAlias;
    return null;
  }

  /** A step of the security stage (RFC 7143 12.1): what to answer; `#authenticated` once it may be left. */
  #secure(candidate: Candidate, pairs: readonly Pair[]): readonly Pair[] | Refusal {
    const values = new Map<string, string>();
    for (const { key, value } of pairs) {
      if (key !== 'AuthMethod' && !key.startsWith('CHAP_')) continue;
      if (values.has(key)) return fault(`${key} is sent twice`);
      values.set(key, value);
    }
    const credentials = candidate.admission?.chap ?? null;
    const methods = values.get('AuthMethod');
    if (methods !== undefined) {
      if (this.#chap !== null || this.#authenticated) return fault('AuthMethod is negotiated twice');
      const method = credentials === null ? 'None' : 'CHAP';
      if (!methods.split(',').includes(method)) {
        return new Refusal(LoginStatus.authenticationFailed, `AuthMethod ${methods}, where ${method} is needed`);
      }
      if (credentials === null) this.#authenticated = true;
      else this.#chap = new Chap(credentials, this.#world.random);
      const answer = { key: 'AuthMethod', value: method };
      if (credentials === null || !values.has('CHAP_A')) return [answer];
      // Some send their algorithms along with the method.
      const step = this.#authenticate(values);
      return step instanceof Refusal ? step : [answer, ...step];
    }
    if (this.#authenticated) return values.size === 0 ? noPairs : fault('CHAP after authentication');
    if (this.#chap !== null) return values.size === 0 ? noPairs : this.#authenticate(values);
    if (values.size > 0) return fault('CHAP before AuthMethod');
    if (credentials === null) this.#authenticated = true;
    // An empty step may precede the offer, as long as the stage is not left.
    return noPairs;
  }

  #authenticate(values: ReadonlyMap<string, string>): readonly Pair[] | Refusal {
    assert(this.#chap !== null, 'authenticates without CHAP');
    const step = this.#chap.step(values);
    if (step.kind === 'failed') return new Refusal(LoginStatus.authenticationFailed, `CHAP: ${step.reason}`);
    if (step.kind === 'authenticated') this.#authenticated = true;
    return step.pairs;
  }

  #agree(header: RequestHeader, candidate: Candidate, given: readonly Pair[]): LoginStep {
    const { isid, cid } = header;
    const { type, initiatorName, target } = candidate;
    const opened = this.#world.sessions.open({ type, initiatorName, isid, tsih: header.tsih, cid, target });
    if ('refused' in opened) {
      return this.#refuse(header, new Refusal(sessionRefusals[opened.refused], `session refused: ${opened.refused}`));
    }
    const parts = this.#encode(header, given, true, LoginStatus.success, opened.tsih);
    this.#over = true;
    return {
      kind: 'agreed',
      parts,
      agreement: {
        ...candidate,
        isid,
        initiatorPort: `${initiatorName},i,0x${isid}`,
        tsih: opened.tsih,
        cid,
        parameters: this.#negotiation.parameters(),
        statSn: this.#statSn,
        expCmdSn: this.#identity?.cmdSn ?? header.cmdSn,
      },
    };
  }

  #reply(header: RequestHeader, pairs: readonly Pair[], transit: boolean): LoginStep {
    return { kind: 'reply', parts: this.#encode(header, pairs, transit, LoginStatus.success, header.tsih) };
  }

  #refuse(header: RequestHeader, refusal: Refusal): LoginStep {
    this.#over = true;
    const { status, reason, fault } = refusal;
    const parts = this.#encode(header, refusal.pairs, false, status, header.tsih);
    return { kind: 'end', parts, reason, fault };
  }

  #encode(
    header: RequestHeader,
    pairs: readonly Pair[],
    transit: boolean,
    status: LoginStatus,
    tsih: number,
  ): readonly Uint8Array[] {
    const text = encodeText(pairs);
    // As many keys as an initiator may send, and as long, are answered in less.
    assert(text.length <= dataSegmentBytesDefault, `login response with ${text.length} bytes of text`);
    const bytes = new Uint8Array(bhsBytes + text.length + paddingOf(text.length));
    const cmdSn = this.#identity?.cmdSn ?? header.cmdSn;
    const success = status === LoginStatus.success;
    encodeLoginResponse(new DataView(bytes.buffer), 0, {
      taskTag: header.taskTag,
      transit,
      continues: false,
      currentStage: success ? header.currentStage : 0,
      nextStage: header.nextStage,
      isid: header.isid,
      tsih,
      status,
      dataBytes: text.length,
      statSn: success ? this.#statSn : 0,
      expCmdSn: cmdSn,
      maxCmdSn: (cmdSn + this.#world.commandWindow - 1) >>> 0,
    });
    bytes.set(text, bhsBytes);
    if (success) this.#statSn += 1;
    return [bytes];
  }
}

/** What an initiator declares of itself and of what it wants. */
function declared(pairs: readonly Pair[]): ReadonlyMap<string, string> | Refusal {
  const values = new Map<string, string>();
  for (const { key, value } of pairs) {
    if (key !== 'InitiatorName' && key !== 'InitiatorAlias' && key !== 'TargetName' && key !== 'SessionType')
      continue;
    if (values.has(key)) return fault(`${key} is sent twice`);
    values.set(key, value);
  }
  return values;
}

function fault(reason: string): Refusal {
  return new Refusal(LoginStatus.initiatorError, reason);
}
