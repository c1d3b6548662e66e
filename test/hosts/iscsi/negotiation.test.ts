import { describe, expect, test } from 'vitest';
import { decodeBinary, decodeNumber, decodeText, encodeText } from '../../../src/hosts/iscsi/key-text.ts';
import { keyRules } from '../../../src/hosts/iscsi/keys.ts';
import { normalizedName } from '../../../src/hosts/iscsi/names.ts';
import { Negotiation } from '../../../src/hosts/iscsi/negotiation.ts';

/** Key, what is offered, what is answered; null: nothing (RFC 7143 13). */
const results: readonly (readonly [string, string, string | null])[] = [
  ['HeaderDigest', 'None', 'None'],
  ['HeaderDigest', 'CRC32C', 'CRC32C'],
  ['HeaderDigest', 'CRC32C,None', 'CRC32C'],
  ['HeaderDigest', 'None,CRC32C', 'None'],
  ['HeaderDigest', 'X-md5,CRC32C', 'CRC32C'],
  ['HeaderDigest', 'X-md5', 'Reject'],
  ['DataDigest', 'CRC32C,None', 'CRC32C'],
  ['DataDigest', 'none', 'Reject'],
  ['MaxConnections', '8', '1'],
  ['MaxConnections', '1', '1'],
  ['MaxConnections', '0', 'Reject'],
  ['MaxConnections', '65536', 'Reject'],
  ['InitialR2T', 'Yes', 'Yes'],
  ['InitialR2T', 'No', 'No'],
  ['InitialR2T', 'yes', 'Reject'],
  ['ImmediateData', 'Yes', 'Yes'],
  ['ImmediateData', 'No', 'No'],
  ['MaxRecvDataSegmentLength', '512', null],
  ['MaxRecvDataSegmentLength', '16777215', null],
  ['MaxRecvDataSegmentLength', '511', 'Reject'],
  ['MaxRecvDataSegmentLength', '16777216', 'Reject'],
  ['MaxBurstLength', '16776192', '1048576'],
  ['MaxBurstLength', '0x10000', '65536'],
  ['MaxBurstLength', '511', 'Reject'],
  ['FirstBurstLength', '65536', '65536'],
  // Neither more than we take, nor more than MaxBurstLength, 262144 unless negotiated.
  ['FirstBurstLength', '1048576', '262144'],
  ['DefaultTime2Wait', '0', '0'],
  ['DefaultTime2Wait', '5', '5'],
  ['DefaultTime2Wait', '3601', 'Reject'],
  ['DefaultTime2Retain', '60', '0'],
  ['DefaultTime2Retain', '-1', 'Reject'],
  ['MaxOutstandingR2T', '16', '1'],
  ['DataPDUInOrder', 'No', 'Yes'],
  ['DataPDUInOrder', 'Yes', 'Yes'],
  ['DataSequenceInOrder', 'No', 'Yes'],
  ['ErrorRecoveryLevel', '2', '0'],
  ['ErrorRecoveryLevel', '3', 'Reject'],
  ['TaskReporting', 'RFC3720', 'RFC3720'],
  ['TaskReporting', 'FastAbort,ResponseFence', 'Reject'],
  ['iSCSIProtocolLevel', '0', '0'],
  ['iSCSIProtocolLevel', '2', '1'],
  ['iSCSIProtocolLevel', '32', 'Reject'],
  ['IFMarker', 'Yes', 'No'],
  ['OFMarker', 'No', 'No'],
  ['IFMarkInt', '2048~8192', 'Reject'],
  ['OFMarkInt', '2048', 'Reject'],
  ['TargetAlias', 'x', 'Reject'],
  ['TargetAddress', '10.0.0.1', 'Reject'],
  ['TargetPortalGroupTag', '1', 'Reject'],
  ['SendTargets', 'All', 'Reject'],
  ['AuthMethod', 'CHAP', 'Reject'],
  ['X-com.example.key', 'x', 'NotUnderstood'],
  ['headerdigest', 'None', 'NotUnderstood'],
  ['toString', 'x', 'NotUnderstood'],
];

function answerOf(negotiation: Negotiation, key: string, value: string): string | null | undefined {
  const answers = negotiation.answer('operational', [{ key, value }]);
  if (typeof answers === 'string') return undefined;
  const mine = answers.filter((pair) => pair.value !== '262144' || pair.key !== 'MaxRecvDataSegmentLength');
  expect(mine.length).toBeLessThanOrEqual(1);
  return mine[0]?.value ?? null;
}

describe('result functions', () => {
  test.each(results)('%s=%s is answered with %s', (key, offered, answer) => {
    expect(answerOf(new Negotiation(262144), key, offered)).toBe(answer);
  });

  test('every key of the table is tried', () => {
    const tried = new Set(results.map(([key]) => key));
    const negotiated = Object.entries(keyRules).filter(([, rule]) => 'initial' in rule);
    expect(negotiated.map(([key]) => key).filter((key) => !tried.has(key))).toEqual([]);
  });

  test.each(Object.entries(keyRules).filter(([, rule]) => 'initial' in rule && !rule.discovery))(
    '%s is irrelevant in a discovery session',
    (key) => {
      const negotiation = new Negotiation(8192);
      negotiation.type = 'discovery';
      const answers = negotiation.answer('operational', [{ key, value: '1' }]);
      expect(answers[0]).toEqual({ key, value: 'Irrelevant' });
    },
  );
});

test('a value refused leaves the default', () => {
  const negotiation = new Negotiation(262144);
  negotiation.answer('operational', [
    { key: 'MaxBurstLength', value: '1' },
    { key: 'InitialR2T', value: 'maybe' },
  ]);
  expect(negotiation.parameters()).toMatchObject({ maxBurstLength: 262144, initialR2T: true });
});

test('FirstBurstLength never exceeds MaxBurstLength, in whatever order', () => {
  const burst = { key: 'MaxBurstLength', value: '4096' };
  const first = { key: 'FirstBurstLength', value: '65536' };
  for (const pairs of [
    [burst, first],
    [first, burst],
  ]) {
    const negotiation = new Negotiation(262144);
    negotiation.answer('operational', pairs);
    expect(negotiation.parameters()).toMatchObject({ maxBurstLength: 4096, firstBurstLength: 4096 });
  }
});

test('a key is negotiated once; a question about it changes nothing', () => {
  const negotiation = new Negotiation(262144);
  expect(answerOf(negotiation, 'InitialR2T', '?')).toBe('Yes');
  expect(answerOf(negotiation, 'InitialR2T', 'No')).toBe('No');
  expect(answerOf(negotiation, 'InitialR2T', '?')).toBe('No');
  expect(negotiation.answer('operational', [{ key: 'InitialR2T', value: 'No' }])).toBe(
    'InitialR2T is negotiated twice',
  );
});

test('answers of the initiator want no answer', () => {
  const negotiation = new Negotiation(262144);
  for (const value of ['NotUnderstood', 'Irrelevant', 'Reject']) {
    expect(answerOf(negotiation, 'TargetAlias', value)).toBe(null);
  }
});

test('what belongs to the operational stage is refused in the security stage, and ours is not said there', () => {
  const answers = new Negotiation(262144).answer('security', [{ key: 'HeaderDigest', value: 'CRC32C' }]);
  expect(answers).toEqual([{ key: 'HeaderDigest', value: 'Reject' }]);
});

test.each([
  [
    'a=1\0b=2\0',
    [
      ['a', '1'],
      ['b', '2'],
    ],
  ],
  [
    'a=1\0b=2',
    [
      ['a', '1'],
      ['b', '2'],
    ],
  ],
  ['\0\0a=\0\0\0', [['a', '']]],
  ['a=b=c\0', [['a', 'b=c']]],
  ['', []],
])('text %j', (text, pairs) => {
  expect(decodeText(Buffer.from(text))).toEqual(pairs.map(([key, value]) => ({ key, value })));
});

test.each([
  ['novalue\0', '7 bytes of text'],
  ['=x\0', 'malformed key'],
  ['a b=x\0', 'malformed key'],
  ['1a=x\0', 'malformed key'],
  [`${'k'.repeat(64)}=x\0`, 'key of 64 bytes'],
  [`a=${'v'.repeat(2051)}\0`, 'value of 2051 bytes'],
  ['a=1\0'.repeat(65), 'more than 64 keys'],
])('malformed text %j', (text, reason) => {
  expect(decodeText(Buffer.from(text))).toContain(reason);
});

test('text that is not UTF-8 is refused, text that is comes back as it was', () => {
  expect(decodeText(Buffer.from([0x61, 0x3d, 0xff, 0x00]))).toBe('value of a is not UTF-8');
  const pairs = [{ key: 'InitiatorAlias', value: 'Zürich 東京' }];
  expect(decodeText(encodeText(pairs))).toEqual(pairs);
});

test('numbers and binary values', () => {
  expect(['0', '0x10', '4294967295'].map(decodeNumber)).toEqual([0, 16, 4294967295]);
  expect(['', '-1', '1.5', '0x', '4294967296', '0x100000000', ' 1'].map(decodeNumber)).toEqual(Array(7).fill(null));
  expect(['0x0aff', '0Xaff', '0bCv8=', '0bCv8'].map((text) => decodeBinary(text, 2))).toEqual(
    Array(4).fill(Buffer.from([0x0a, 0xff])),
  );
  expect(['', '0x', '0b', '0xg0', '0b!', '10', '0x0aff00'].map((text) => decodeBinary(text, 2))).toEqual(
    Array(7).fill(null),
  );
});

test('names', () => {
  for (const name of [
    'iqn.1993-08.org.debian:01:abc',
    'iqn.2008-11.org.linux-kvm',
    'iqn.2001-04.com.example:säule',
    'eui.02004567a425678d',
    'naa.52004567ba64678d',
    'naa.62004567ba64678d0123456789abcdef',
  ]) {
    expect(normalizedName(name)).toBe(name);
  }
  expect(normalizedName('IQN.1993-08.ORG.Debian:01')).toBe('iqn.1993-08.org.debian:01');
  for (const name of [
    '',
    'host',
    'iqn.1993-13.org.debian:01',
    'iqn.1993-08.',
    'iqn.1993-08.org.debian:a b',
    'iqn.1993-08.org.debian:a,b',
    'eui.02004567a42567',
    'naa.52004567ba64678d0',
    `iqn.1993-08.org.debian:${'x'.repeat(201)}`,
  ]) {
    expect(normalizedName(name)).toBe(null);
  }
});
