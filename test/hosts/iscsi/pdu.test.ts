import { expect, test } from 'vitest';
import * as pdu from '../../../src/hosts/iscsi/pdu.ts';
import { headerOf } from './initiator.ts';

/** 48 bytes: those given by offset in hexadecimal, zero elsewhere. */
function bhs(fields: Record<number, string>): Buffer {
  const bytes = Buffer.alloc(48);
  for (const [at, hex] of Object.entries(fields)) bytes.write(hex, Number(at), 'hex');
  return bytes;
}

test('a SCSI command (RFC 7143 11.3)', () => {
  const bytes = bhs({
    0: '41',
    1: 'e2',
    4: '02000200',
    8: '0003000000000000',
    16: '80000001',
    20: '00010000',
    24: 'fffffffe',
    28: '00000009',
    32: '2a000102030405060708090a0b0c0d0e',
  });
  const header = headerOf(bytes);
  expect(header).toMatchObject({
    opcode: pdu.Opcode.command,
    immediate: true,
    final: true,
    read: true,
    write: true,
    attribute: pdu.Attribute.ordered,
    ahsBytes: 8,
    dataBytes: 512,
    lun: 3,
    lunWord: 0x0003_0000,
    taskTag: 0x8000_0001,
    expectedBytes: 65536,
    cmdSn: 0xffff_fffe,
    expStatSn: 9,
  });
  const { cdb } = header;
  bytes.fill(0);
  expect(Buffer.from(cdb).toString('hex')).toBe('2a000102030405060708090a0b0c0d0e');
});

test('headers of the other requests, at any offset', () => {
  const at = (bytes: Buffer) => {
    const shifted = Buffer.concat([Buffer.alloc(5), bytes]);
    return new pdu.RequestHeader(new DataView(shifted.buffer, shifted.byteOffset), 5);
  };
  expect(at(bhs({ 0: '42', 1: '81', 20: '00000007', 32: '00000008' }))).toMatchObject({
    taskFunction: pdu.TaskFunction.abortTask,
    referencedTaskTag: 7,
    refCmdSn: 8,
  });
  expect(at(bhs({ 0: '05', 1: '80', 20: '00000011', 36: '00000002', 40: '00002000' }))).toMatchObject({
    opcode: pdu.Opcode.dataOut,
    immediate: false,
    transferTag: 0x11,
    dataSn: 2,
    bufferOffset: 8192,
  });
  expect(at(bhs({ 0: '43', 1: '87', 2: '0100', 8: '00023d010203', 14: '0077', 20: '0005' }))).toMatchObject({
    transit: true,
    continues: false,
    currentStage: 1,
    nextStage: 3,
    versionMax: 1,
    versionMin: 0,
    isid: '00023d010203',
    tsih: 0x77,
    cid: 5,
  });
  expect(at(bhs({ 0: '46', 1: '81', 20: '0005' }))).toMatchObject({
    logoutReason: pdu.LogoutReason.connection,
    cid: 5,
  });
  expect(at(bhs({ 0: '10', 1: '81', 40: '00000003', 44: '00000004' }))).toMatchObject({
    snackType: 1,
    runStart: 3,
    runLength: 4,
  });
  expect(at(bhs({ 8: '0100000000000000' })).lun).toBe(-1);
});

/** The bytes a target sends, written down from RFC 7143; what is not named is zero. */
function encoded(encode: (view: DataView, at: number) => void): string {
  const bytes = new Uint8Array(4 + 48).fill(0xee);
  encode(new DataView(bytes.buffer), 4);
  expect([...bytes.subarray(0, 4)]).toEqual([0xee, 0xee, 0xee, 0xee]);
  return Buffer.from(bytes.subarray(4)).toString('hex');
}

const sequence = { statSn: 0x101, expCmdSn: 0x202, maxCmdSn: 0xffff_ffff };
const numbers = '0000010100000202ffffffff';
const tag = { taskTag: 0xaabbccdd };

test.each<[string, (view: DataView, at: number) => void, Record<number, string>]>([
  [
    'response with residual underflow',
    (view, at) =>
      pdu.encodeResponse(view, at, {
        ...{ ...sequence, ...tag, response: 1, status: 2, expDataSn: 3, residual: -512, dataBytes: 20 },
      }),
    { 0: '21820102', 4: '00000014', 16: 'aabbccdd', 24: numbers, 36: '00000003', 44: '00000200' },
  ],
  [
    'response with residual overflow',
    (view, at) =>
      pdu.encodeResponse(view, at, {
        ...{ ...sequence, ...tag, response: 0, status: 0, expDataSn: 0, residual: 1, dataBytes: 0 },
      }),
    { 0: '21840000', 16: 'aabbccdd', 24: numbers, 44: '00000001' },
  ],
  [
    'Data-In in the middle',
    (view, at) =>
      pdu.encodeDataIn(view, at, {
        ...{ ...sequence, ...tag, final: false, withStatus: false, status: 2, dataSn: 1, bufferOffset: 0x1000 },
        ...{ residual: 7, dataBytes: 0x1000 },
      }),
    {
      0: '25000000',
      4: '00001000',
      16: 'aabbccdd',
      20: 'ffffffff',
      28: '00000202ffffffff',
      36: '00000001',
      40: '00001000',
    },
  ],
  [
    'Data-In with status',
    (view, at) =>
      pdu.encodeDataIn(view, at, {
        ...{ ...sequence, ...tag, final: true, withStatus: true, status: 8, dataSn: 2, bufferOffset: 0 },
        ...{ residual: -1, dataBytes: 3 },
      }),
    {
      0: '25830008',
      4: '00000003',
      16: 'aabbccdd',
      20: 'ffffffff',
      24: numbers,
      36: '00000002',
      44: '00000001',
    },
  ],
  [
    'R2T',
    (view, at) =>
      pdu.encodeReadyToTransfer(view, at, {
        ...{ ...sequence, ...tag, lunWord: 0x00050000, transferTag: 0x99, r2tSn: 1 },
        ...{ bufferOffset: 0x2000, desiredBytes: 0x4000 },
      }),
    {
      0: '31800000',
      8: '00050000',
      16: 'aabbccdd',
      20: '00000099',
      24: numbers,
      36: '00000001',
      40: '0000200000004000',
    },
  ],
  [
    'NOP-In',
    (view, at) =>
      pdu.encodeNopIn(view, at, { ...sequence, ...tag, transferTag: pdu.noTag, lunWord: 0, dataBytes: 4 }),
    { 0: '20800000', 4: '00000004', 16: 'aabbccdd', 20: 'ffffffff', 24: numbers },
  ],
  [
    'task management response',
    (view, at) => pdu.encodeTaskManagementResponse(view, at, { ...sequence, ...tag, response: 5 }),
    { 0: '22800500', 16: 'aabbccdd', 24: numbers },
  ],
  [
    'logout response',
    (view, at) =>
      pdu.encodeLogoutResponse(view, at, { ...sequence, ...tag, response: 1, timeToWait: 2, timeToRetain: 20 }),
    { 0: '26800100', 16: 'aabbccdd', 24: numbers, 40: '00020014' },
  ],
  [
    'login response',
    (view, at) =>
      pdu.encodeLoginResponse(view, at, {
        ...{ ...sequence, ...tag, transit: true, continues: false, currentStage: 1, nextStage: 3 },
        ...{ isid: '80023d010203', tsih: 0x77, status: 0x0201, dataBytes: 9 },
      }),
    { 0: '23870000', 4: '00000009', 8: '80023d0102030077', 16: 'aabbccdd', 24: numbers, 36: '0201' },
  ],
  [
    'text response',
    (view, at) =>
      pdu.encodeTextResponse(view, at, {
        ...{ ...sequence, ...tag, transferTag: 1, lunWord: 0, final: false, continues: true, dataBytes: 5 },
      }),
    { 0: '24400000', 4: '00000005', 16: 'aabbccdd', 20: '00000001', 24: numbers },
  ],
  [
    'async message',
    (view, at) =>
      pdu.encodeAsyncMessage(view, at, {
        ...{ ...sequence, lunWord: 0, event: 1, parameter1: 2, parameter2: 3, parameter3: 4, dataBytes: 0 },
      }),
    { 0: '32800000', 16: 'ffffffff', 24: numbers, 36: '01000002', 40: '00030004' },
  ],
  [
    'reject',
    (view, at) => pdu.encodeReject(view, at, { ...sequence, reason: 4, dataSn: 6, dataBytes: 48 }),
    { 0: '3f800400', 4: '00000030', 16: 'ffffffff', 24: numbers, 36: '00000006' },
  ],
])('%s', (_name, encode, fields) => {
  expect(encoded(encode)).toBe(bhs(fields).toString('hex'));
});

test('additional headers: long CDB, bidirectional read length, unknown ones passed over', () => {
  const bytes = (hex: string) => Buffer.from(hex, 'hex');
  const long = '00110100' + 'ab'.repeat(16);
  const read = '0005020000010000';
  expect(pdu.decodeAdditionalHeaders(bytes(long + '000d3f00' + '00'.repeat(12) + read))).toEqual({
    extendedCdb: bytes('ab'.repeat(16)),
    bidirectionalReadBytes: 65536,
  });
  expect(pdu.decodeAdditionalHeaders(bytes(''))).toEqual({ extendedCdb: null, bidirectionalReadBytes: null });
  // Length of its type, and padding to a word.
  expect(pdu.decodeAdditionalHeaders(bytes('00030100abcd0000'))?.extendedCdb).toEqual(bytes('abcd'));
  for (const wrong of ['0000010000000000', '00060100abcd0000', long + long, '0004020000010000', read + read]) {
    expect(pdu.decodeAdditionalHeaders(bytes(wrong))).toBe(null);
  }
});
