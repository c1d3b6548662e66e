/**
 * A host with an initiator of its own, for tests: builds PDUs, takes the target's apart and checks their numbers. Written
 * from RFC 7143 11, apart from the code tested: a mistake would have to be made twice to go unnoticed.
 */
import { crc32cSoftware } from '../../../src/base/crc32c.ts';

export const noTag = 0xffffffff;

/** A PDU of the target. */
export interface Answer {
  readonly opcode: number;
  readonly flags: number;
  readonly bhs: Buffer;
  readonly data: Buffer;
  readonly tag: number;
  readonly transferTag: number;
  readonly statSn: number;
  readonly expCmdSn: number;
  readonly maxCmdSn: number;
  /** SCSI Response and Data-In with status; reason of a Reject; response of others. */
  readonly status: number;
  readonly response: number;
  /** Positive: overflow, negative: underflow. */
  readonly residual: number;
  readonly dataSn: number;
  readonly offset: number;
  readonly desired: number;
}

export interface HostSettings {
  readonly headerDigest: boolean;
  readonly dataDigest: boolean;
  readonly initialR2T: boolean;
  readonly immediateData: boolean;
  readonly firstBurst: number;
  readonly maxBurst: number;
  /** What the target takes in a data segment. */
  readonly sendSegment: number;
}

export interface CommandFields {
  readonly tag?: number;
  readonly cmdSn?: number;
  readonly immediate?: boolean;
  readonly lun?: number;
  readonly read?: boolean;
  readonly write?: boolean;
  readonly final?: boolean;
  readonly attribute?: number;
  readonly expected?: number;
  readonly cdb?: Uint8Array;
  readonly data?: Uint8Array;
  readonly ahs?: Uint8Array;
}

export class Host {
  settings: HostSettings = {
    headerDigest: false,
    dataDigest: false,
    initialR2T: true,
    immediateData: true,
    firstBurst: 65536,
    maxBurst: 262144,
    sendSegment: 262144,
  };
  cmdSn = 1;
  expStatSn = 0;
  tag = 0x1000;
  #rest: Buffer = Buffer.alloc(0);
  #statSn: number | null = null;

  // ---- what the initiator says

  command(fields: CommandFields): Buffer {
    const { data = new Uint8Array(0), write = false, read = false } = fields;
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x01 | (fields.immediate ? 0x40 : 0);
    bhs[1] = ((fields.final ?? true) ? 0x80 : 0) | (read ? 0x40 : 0) | (write ? 0x20 : 0) | (fields.attribute ?? 1);
    this.#address(bhs, fields.lun ?? 0, fields.tag);
    bhs.writeUInt32BE(fields.expected ?? data.length, 20);
    this.#number(bhs, fields);
    bhs.set(fields.cdb ?? new Uint8Array(16), 32);
    return this.pdu(bhs, data, fields.ahs);
  }

  dataOut(fields: {
    tag?: number;
    transferTag?: number;
    dataSn?: number;
    offset: number;
    data: Uint8Array;
    final: boolean;
  }): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x05;
    bhs[1] = fields.final ? 0x80 : 0;
    this.#address(bhs, 0, fields.tag ?? this.tag);
    bhs.writeUInt32BE(fields.transferTag ?? noTag, 20);
    bhs.writeUInt32BE(this.expStatSn, 28);
    bhs.writeUInt32BE(fields.dataSn ?? 0, 36);
    bhs.writeUInt32BE(fields.offset, 40);
    return this.pdu(bhs, fields.data);
  }

  nopOut(fields: {
    tag?: number;
    transferTag?: number;
    immediate?: boolean;
    data?: Uint8Array;
    cmdSn?: number;
  }): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = fields.immediate ? 0x40 : 0;
    bhs[1] = 0x80;
    this.#address(bhs, 0, fields.tag);
    bhs.writeUInt32BE(fields.transferTag ?? noTag, 20);
    this.#number(bhs, fields);
    return this.pdu(bhs, fields.data);
  }

  manage(fields: {
    function: number;
    lun?: number;
    refTag?: number;
    refCmdSn?: number;
    immediate?: boolean;
  }): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x02 | ((fields.immediate ?? true) ? 0x40 : 0);
    bhs[1] = 0x80 | fields.function;
    this.#address(bhs, fields.lun ?? 0, undefined);
    bhs.writeUInt32BE(fields.refTag ?? noTag, 20);
    this.#number(bhs, { immediate: fields.immediate ?? true });
    bhs.writeUInt32BE(fields.refCmdSn ?? 0, 32);
    return this.pdu(bhs);
  }

  logout(fields: { reason?: number; cid?: number; immediate?: boolean }): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x06 | (fields.immediate ? 0x40 : 0);
    bhs[1] = 0x80 | (fields.reason ?? 0);
    this.#address(bhs, 0, undefined);
    bhs.writeUInt16BE(fields.cid ?? 0, 20);
    this.#number(bhs, fields);
    return this.pdu(bhs);
  }

  text(...pairs: string[]): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x04;
    bhs[1] = 0x80;
    this.#address(bhs, 0, undefined);
    bhs.writeUInt32BE(noTag, 20);
    this.#number(bhs, {});
    return this.pdu(bhs, Buffer.from(pairs.map((pair) => `${pair}\0`).join('')));
  }

  snack(): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x10;
    bhs[1] = 0x80;
    return this.pdu(bhs);
  }

  /** One request that goes from the operational stage to the full feature phase. */
  login(isid: string, tsih: number, pairs: readonly string[]): Buffer {
    const bhs = Buffer.alloc(48);
    bhs[0] = 0x43;
    bhs[1] = 0x87;
    bhs.write(isid, 8, 'hex');
    bhs.writeUInt16BE(tsih, 14);
    bhs.writeUInt32BE(0x11, 16);
    bhs.writeUInt32BE(this.cmdSn, 24);
    return this.pdu(bhs, Buffer.from(pairs.map((pair) => `${pair}\0`).join('')));
  }

  pdu(bhs: Buffer, data: Uint8Array = new Uint8Array(0), ahs: Uint8Array = new Uint8Array(0)): Buffer {
    bhs[4] = ahs.length / 4;
    bhs.writeUIntBE(data.length, 5, 3);
    const header = Buffer.concat([bhs, ahs]);
    const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
    const { headerDigest, dataDigest } = this.settings;
    return Buffer.concat([
      header,
      headerDigest ? digest(header) : none,
      padded,
      dataDigest && data.length > 0 ? digest(padded) : none,
    ]);
  }

  /** A write with as much data as may go unasked. Returns the PDUs and how far they reach. */
  write(fields: CommandFields & { all: Uint8Array }): { bytes: Buffer; sent: number } {
    const { all } = fields;
    const { immediateData, initialR2T, firstBurst, sendSegment } = this.settings;
    const first = Math.min(firstBurst, all.length);
    let sent = immediateData ? Math.min(first, sendSegment) : 0;
    const unsolicited = !initialR2T && sent < first;
    const parts = [
      this.command({
        write: true,
        expected: all.length,
        ...fields,
        data: all.subarray(0, sent),
        final: !unsolicited,
      }),
    ];
    if (unsolicited) {
      parts.push(...this.sequence(this.tag, noTag, all, sent, first));
      sent = first;
    }
    return { bytes: Buffer.concat(parts), sent };
  }

  /** Data-Outs from `from` to `to`, as one sequence. */
  sequence(tag: number, transferTag: number, all: Uint8Array, from: number, to: number): Buffer[] {
    const parts: Buffer[] = [];
    for (let offset = from, dataSn = 0; offset < to; dataSn += 1) {
      const end = Math.min(to, offset + this.settings.sendSegment);
      parts.push(
        this.dataOut({ tag, transferTag, dataSn, offset, data: all.subarray(offset, end), final: end === to }),
      );
      offset = end;
    }
    return parts;
  }

  // ---- what the target says

  /** Takes whole PDUs apart; checks padding, digests, and that StatSN rises by one. */
  read(bytes: Buffer): Answer[] {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const answers: Answer[] = [];
    for (let answer = this.#next(); answer !== null; answer = this.#next()) answers.push(answer);
    return answers;
  }

  #next(): Answer | null {
    const bytes = this.#rest;
    if (bytes.length < 48) return null;
    const opcode = bytes.readUInt8(0) & 0x3f;
    const login = opcode === 0x23;
    const headerDigest = this.settings.headerDigest && !login ? 4 : 0;
    const dataBytes = bytes.readUIntBE(5, 3);
    const padded = (dataBytes + 3) & ~3;
    const dataDigest = this.settings.dataDigest && !login && dataBytes > 0 ? 4 : 0;
    const start = 48 + headerDigest;
    const end = start + padded + dataDigest;
    if (bytes.length < end) return null;
    const bhs = bytes.subarray(0, 48);
    if (headerDigest > 0 && !digest(bhs).equals(bytes.subarray(48, 52))) throw new Error('wrong header digest');
    const segment = bytes.subarray(start, start + padded);
    if (segment.subarray(dataBytes).some((byte) => byte !== 0)) throw new Error('padding that is not zero');
    if (dataDigest > 0 && !digest(segment).equals(bytes.subarray(end - 4, end))) throw new Error('wrong data digest');
    this.#rest = bytes.subarray(end);
    const flags = bhs.readUInt8(1);
    const answer = {
      opcode,
      flags,
      bhs: Buffer.from(bhs),
      data: Buffer.from(segment.subarray(0, dataBytes)),
      tag: bhs.readUInt32BE(16),
      transferTag: bhs.readUInt32BE(20),
      statSn: bhs.readUInt32BE(24),
      expCmdSn: bhs.readUInt32BE(28),
      maxCmdSn: bhs.readUInt32BE(32),
      status: bhs.readUInt8(3),
      response: bhs.readUInt8(2),
      residual: (flags & 4 ? 1 : flags & 2 ? -1 : 0) * bhs.readUInt32BE(44),
      dataSn: bhs.readUInt32BE(36),
      offset: bhs.readUInt32BE(40),
      desired: bhs.readUInt32BE(44),
    };
    this.#check(answer);
    return answer;
  }

  #check({ opcode, flags, statSn, tag }: Answer): void {
    const counts = opcode === 0x25 ? (flags & 1) !== 0 : opcode !== 0x31 && !(opcode === 0x20 && tag === noTag);
    const holds = opcode !== 0x25 || (flags & 1) !== 0;
    if (holds && this.#statSn !== null && statSn !== this.#statSn) {
      throw new Error(`StatSN ${statSn} instead of ${this.#statSn}`);
    }
    if (counts) this.#statSn = this.expStatSn = (statSn + 1) >>> 0;
  }

  #address(bhs: Buffer, lun: number, tag: number | undefined): void {
    bhs.writeUInt16BE(lun, 8);
    bhs.writeUInt32BE(tag ?? (this.tag += 1), 16);
  }

  #number(bhs: Buffer, fields: { cmdSn?: number; immediate?: boolean }): void {
    bhs.writeUInt32BE(fields.cmdSn ?? this.cmdSn, 24);
    bhs.writeUInt32BE(this.expStatSn, 28);
    if (fields.cmdSn === undefined && !fields.immediate) this.cmdSn = (this.cmdSn + 1) >>> 0;
  }
}

const none = Buffer.alloc(0);

function digest(bytes: Uint8Array): Buffer {
  const four = Buffer.alloc(4);
  four.writeUInt32LE(crc32cSoftware(bytes));
  return four;
}

export function read10(block: number, blocks: number): Buffer {
  return blockCommand(0x28, block, blocks);
}

export function write10(block: number, blocks: number): Buffer {
  return blockCommand(0x2a, block, blocks);
}

function blockCommand(opcode: number, block: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb.writeUInt32BE(block, 2);
  cdb.writeUInt16BE(blocks, 7);
  return cdb;
}

export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let index = 0; index < length; index++) bytes[index] = index * 7 + seed * 13 + (index >> 8);
  return bytes;
}
