import { expect, test } from 'vitest';
import { noTag } from '../../../src/hosts/iscsi/pdu.ts';
import { initiatorName, pairsOf, targetName, textHeader, textOf } from './initiator.ts';
import { agreement, targets, TextTest } from './text-world.ts';

const final = { final: true };
const own = [
  `TargetName=${targetName}`,
  'TargetAddress=192.168.1.5:3260,1',
  'TargetAddress=192.168.1.5:3260,2',
  'TargetAddress=10.0.0.2:3260,17',
];

test('SendTargets=All tells every target that would let the initiator in, with all its portals', () => {
  const all = targets(3);
  if (all[1] !== undefined) all[1].admission = { refused: 'not in the list' };
  const answer = new TextTest(agreement('discovery'), all).ask(final, 'SendTargets=All');
  expect(answer).toMatchObject({ kind: 'answer', final: true, continues: false, transferTag: noTag });
  expect('data' in answer && answer.data.filter((pair) => pair.startsWith('TargetName'))).toEqual([
    `TargetName=${targetName}`,
    'TargetName=iqn.2026-11.org.holdfast:c1:g3',
  ]);
  expect('data' in answer && answer.data.slice(0, 4)).toEqual(own);
  expect(all[0]?.asked).toEqual([`${initiatorName} 10.0.0.9`]);
});

test('an address of IPv6 stands in for wildcards in brackets', () => {
  const answer = new TextTest(agreement('discovery'), targets(1), 'fd00::1').ask(final, 'SendTargets=All');
  expect(answer).toMatchObject({
    data: [own[0], 'TargetAddress=[fd00::1]:3260,1', 'TargetAddress=[fd00::1]:3260,2', own[3]],
  });
});

test.each([
  ['discovery', targetName, own],
  ['discovery', 'iqn.2026-11.org.holdfast:c1:none', []],
  ['discovery', 'no name', []],
  ['discovery', '', ['SendTargets=Reject']],
  ['normal', '', own],
  ['normal', targetName, own],
  ['normal', 'iqn.2026-11.org.holdfast:c1:g2', []],
  ['normal', 'All', ['SendTargets=Reject']],
] as const)('in a %s session SendTargets=%s', (type, value, data) => {
  const with_ = agreement(type);
  const all = targets(2);
  const [first] = all;
  const test = new TextTest(type === 'normal' && first ? { ...with_, target: first } : with_, all);
  expect(test.ask(final, `SendTargets=${value}`)).toMatchObject({ kind: 'answer', data, final: true });
});

test('a long list is fetched part by part, whole pairs in each', () => {
  const test = new TextTest(agreement('discovery', 512), targets(20));
  const pairs: string[] = [];
  let answer = test.ask(final, 'SendTargets=All');
  let parts = 1;
  for (; answer.kind === 'answer' && !answer.final; parts++) {
    expect(answer.continues).toBe(true);
    expect(textOf(answer.data).length).toBeLessThanOrEqual(512);
    pairs.push(...answer.data);
    answer = test.ask({ final: true, transferTag: answer.transferTag });
  }
  if (answer.kind === 'answer') pairs.push(...answer.data);
  expect(parts).toBeGreaterThan(5);
  expect(pairs.length).toBe(80);
  expect(pairs.slice(0, 4)).toEqual(own);
  // It is over: the tag is worth nothing any more.
  expect(test.ask({ final: true, transferTag: 1 })).toMatchObject({ kind: 'reject' });
});

test('a request in several PDUs is put together', () => {
  const test = new TextTest(agreement('discovery'), targets(1));
  const text = textOf(['SendTargets=All']);
  const lent = Buffer.from(text.subarray(0, 7));
  const part = test.negotiation.request(textHeader({ continues: true }), lent);
  lent.fill(0xee);
  expect(part).toMatchObject({ kind: 'answer', final: false, continues: false });
  const { transferTag } = part.kind === 'answer' ? part : { transferTag: noTag };
  expect(transferTag).not.toBe(noTag);
  const whole = test.negotiation.request(textHeader({ final: true, transferTag }), text.subarray(7));
  expect(whole.kind === 'answer' && pairsOf(whole.data)).toEqual(own);
});

test('a request without a tag begins anew', () => {
  const test = new TextTest(agreement('discovery', 512), targets(20));
  expect(test.ask(final, 'SendTargets=All')).toMatchObject({ final: false });
  expect(test.ask(final, `SendTargets=${targetName}`)).toMatchObject({ final: true, data: own });
});

test('MaxRecvDataSegmentLength may be declared again; everything else of the login is refused', () => {
  const test = new TextTest(agreement('normal'), targets(1));
  for (const bytes of [65536, 131072]) {
    expect(test.ask(final, `MaxRecvDataSegmentLength=${bytes}`)).toMatchObject({
      data: [],
      maxSendDataSegmentLength: bytes,
    });
  }
  expect(test.ask(final, 'MaxBurstLength=512', 'InitiatorName=x', 'X-a=1', 'InitiatorAlias=db1')).toMatchObject({
    data: ['MaxBurstLength=Reject', 'InitiatorName=Reject', 'X-a=NotUnderstood'],
    maxSendDataSegmentLength: null,
  });
});

test.each([
  ['C and F', { final: true, continues: true }, ['SendTargets=All']],
  ['a tag of nobody', { final: true, transferTag: 7 }, ['SendTargets=All']],
  ['no text', final, ['SendTargets']],
  ['a key twice', final, ['SendTargets=All', 'SendTargets=All']],
  ['too much', final, [`X-a=${'x'.repeat(2040)}`, ...Array.from({ length: 8 }, () => `X-a=${'x'.repeat(2040)}`)]],
])('rejected: %s', (_what, request, pairs) => {
  expect(new TextTest(agreement('discovery'), targets(1)).ask(request, ...pairs)).toMatchObject({ kind: 'reject' });
});
