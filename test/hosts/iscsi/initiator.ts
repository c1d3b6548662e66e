/** What an initiator sends, and how it reads what a target answers, for tests: written from RFC 7143 11, apart from the code tested. */
import { expect } from 'vitest';
import type { LoginStep, LoginWorld, SessionRequest } from '../../../src/hosts/iscsi/agreement.ts';
import { RequestHeader } from '../../../src/hosts/iscsi/pdu.ts';
import type { Admission, IscsiTarget, TargetDirectory } from '../../../src/hosts/iscsi/targets.ts';
import { Login } from '../../../src/hosts/iscsi/login.ts';
import { Prng } from '../../../src/sim/world/prng.ts';

export interface LoginFields {
  transit?: boolean;
  continues?: boolean;
  stage?: number;
  next?: number;
  versionMin?: number;
  isid?: string;
  tsih?: number;
  taskTag?: number;
  cid?: number;
  cmdSn?: number;
  opcode?: number;
}

export function loginHeader(fields: LoginFields, dataBytes: number): RequestHeader {
  const bytes = Buffer.alloc(48);
  bytes[0] = fields.opcode ?? 0x43;
  bytes[1] =
    (fields.transit ? 0x80 : 0) | (fields.continues ? 0x40 : 0) | ((fields.stage ?? 0) << 2) | (fields.next ?? 0);
  bytes[3] = fields.versionMin ?? 0;
  bytes.writeUIntBE(dataBytes, 5, 3);
  bytes.write(fields.isid ?? '00023d000001', 8, 'hex');
  bytes.writeUInt16BE(fields.tsih ?? 0, 14);
  bytes.writeUInt32BE(fields.taskTag ?? 0x11, 16);
  bytes.writeUInt16BE(fields.cid ?? 0, 20);
  bytes.writeUInt32BE(fields.cmdSn ?? 1, 24);
  return headerOf(bytes);
}

export function textHeader(fields: { final?: boolean; continues?: boolean; transferTag?: number }): RequestHeader {
  const bytes = Buffer.alloc(48);
  bytes[0] = 0x04;
  bytes[1] = (fields.final ? 0x80 : 0) | (fields.continues ? 0x40 : 0);
  bytes.writeUInt32BE(fields.transferTag ?? 0xffffffff, 20);
  return headerOf(bytes);
}

export function headerOf(bytes: Uint8Array): RequestHeader {
  return new RequestHeader(new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
}

export function textOf(pairs: readonly string[]): Buffer {
  return Buffer.from(pairs.map((pair) => `${pair}\0`).join(''));
}

export function pairsOf(data: Uint8Array): string[] {
  return Buffer.from(data).toString().split('\0').slice(0, -1);
}

/** A login response as an initiator sees it. */
export function readResponse(part: Uint8Array) {
  const bytes = Buffer.from(part);
  const dataBytes = bytes.readUIntBE(5, 3);
  expect(bytes[0]).toBe(0x23);
  expect(bytes.length).toBe(48 + Math.ceil(dataBytes / 4) * 4);
  const flags = bytes.readUInt8(1);
  return {
    transit: (flags & 0x80) !== 0,
    continues: (flags & 0x40) !== 0,
    stage: (flags >> 2) & 3,
    next: flags & 3,
    isid: bytes.toString('hex', 8, 14),
    tsih: bytes.readUInt16BE(14),
    taskTag: bytes.readUInt32BE(16),
    statSn: bytes.readUInt32BE(24),
    expCmdSn: bytes.readUInt32BE(28),
    maxCmdSn: bytes.readUInt32BE(32),
    status: bytes.readUInt16BE(36),
    pairs: pairsOf(bytes.subarray(48, 48 + dataBytes)),
  };
}

export const targetName = 'iqn.2026-11.org.holdfast:c1:g1';
export const initiatorName = 'iqn.1993-08.org.debian:01:abc';

export class TestTarget implements IscsiTarget {
  name = targetName;
  alias = '';
  portals = [{ address: '10.0.0.1:3260', tag: 1 }];
  redirect: string | null = null;
  admission: Admission | { refused: string } = { visible: null, chap: null };
  /** Who asked. */
  asked: string[] = [];

  get device(): never {
    throw new Error('a login has no business with the device');
  }

  admit(name: string, address: string): Admission | { refused: string } {
    this.asked.push(`${name} ${address}`);
    return this.admission;
  }
}

export function directoryOf(...targets: IscsiTarget[]): TargetDirectory {
  return { list: () => targets, find: (name) => targets.find((target) => target.name === name) ?? null };
}

/** A login to one target, and the registry of sessions it asks. */
export class LoginTest {
  readonly target = new TestTarget();
  readonly opened: SessionRequest[] = [];
  refused: 'noSuchSession' | 'tooManyConnections' | 'cannotInclude' | 'outOfResources' | null = null;
  readonly world: LoginWorld = {
    random: new Prng('login'),
    targets: directoryOf(this.target),
    sessions: {
      open: (request) => {
        if (this.refused !== null) return { refused: this.refused };
        this.opened.push(request);
        return { tsih: 0x77 };
      },
    },
    remoteAddress: '10.0.0.9',
    portalTag: 3,
    maxRecvDataSegmentLength: 262144,
    commandWindow: 64,
  };
  readonly login = new Login(this.world);
  last: LoginStep | null = null;

  send(fields: LoginFields, ...pairs: string[]) {
    return this.sendText(fields, textOf(pairs));
  }

  sendText(fields: LoginFields, data: Uint8Array) {
    const lent = Buffer.from(data);
    const step = (this.last = this.login.request(loginHeader(fields, data.length), lent));
    lent.fill(0xee);
    const [part, ...more] = step.parts;
    expect(more).toEqual([]);
    return readResponse(part ?? new Uint8Array(0));
  }

  /** What has been agreed, as far as tests compare it. */
  get agreement() {
    return this.last?.kind === 'agreed' ? this.last.agreement : expect.unreachable('no agreement');
  }

  get reason(): string {
    return this.last?.kind === 'end' ? this.last.reason : expect.unreachable('not ended');
  }
}
