/** Login and text negotiation fed with what only resembles them. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { noTag } from '../../../src/hosts/iscsi/pdu.ts';
import { initiatorName, loginHeader, LoginTest, readResponse, targetName, textHeader, textOf } from './initiator.ts';
import { agreement, targets, TextTest } from './text-world.ts';

const anyPair = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      ...['SessionType=Discovery', 'SessionType=Normal', 'AuthMethod=CHAP,None', 'AuthMethod=None', 'CHAP_A=5,7'],
      ...['CHAP_N=host1', 'CHAP_R=0x00', 'CHAP_I=1', 'CHAP_C=0x11', 'MaxBurstLength=65536', 'HeaderDigest=CRC32C'],
      ...['SendTargets=All', `SendTargets=${targetName}`, 'SendTargets=', 'MaxRecvDataSegmentLength=4096'],
    ),
  },
  { weight: 1, arbitrary: fc.stringMatching(/^[A-Za-z-]{1,9}=[ -~]{0,9}$/) },
);
const anyText = fc.oneof(
  { weight: 12, arbitrary: fc.array(anyPair, { maxLength: 4 }).map((pairs): Uint8Array => textOf(pairs)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
);

/** Nine times of ten what fits to the conversation. */
const mostly = fc.integer({ min: 0, max: 9 }).map((dice) => dice > 0);

test('any login requests: a named step each, never through without the secret, bounded', () => {
  const request = fc.record({
    transit: fc.boolean(),
    continues: mostly.map((not) => !not),
    inStage: mostly,
    stage: fc.nat(3),
    next: fc.constantFrom(0, 1, 1, 2, 3, 3),
    text: anyText,
    opcode: mostly.map((login) => (login ? 0x43 : 0x01)),
  });
  const names = textOf([`InitiatorName=${initiatorName}`, `TargetName=${targetName}`]);
  const seen = { reply: 0, normal: 0, discovery: 0, end: 0 };
  const guardedSeen = { reply: 0, normal: 0, discovery: 0, end: 0 };
  fc.assert(
    fc.property(fc.array(request, { maxLength: 8 }), fc.boolean(), mostly, (requests, guarded, named) => {
      const test = new LoginTest();
      const chap = { user: 'host1', secret: Buffer.from('twelve-bytes'), mutual: null };
      test.target.admission = { visible: null, chap: guarded ? chap : null };
      let stage = requests[0]?.stage === 0 ? 0 : 1;
      for (const [index, { text: rest, inStage, ...fields }] of requests.entries()) {
        const text = index === 0 && named ? Buffer.concat([names, rest]) : rest;
        if (inStage) fields.stage = stage;
        const step = test.login.request(loginHeader(fields, text.length), text);
        const counts = guarded ? guardedSeen : seen;
        counts[step.kind === 'agreed' ? step.agreement.type : step.kind] += 1;
        expect(step.parts.length).toBe(1);
        for (const part of step.parts) {
          expect(part.length).toBeLessThanOrEqual(48 + 8192);
          const response = readResponse(part);
          if (response.transit) stage = response.next;
        }
        if (step.kind === 'end') expect(step.reason.length).toBeGreaterThan(5);
        expect(test.opened.length).toBe(step.kind === 'agreed' ? 1 : 0);
        if (step.kind !== 'reply') return;
      }
    }),
    { numRuns: 4000, seed: 20261128 },
  );
  // Discovery sessions have no target whose secret they would need.
  expect(guardedSeen.normal).toBe(0);
  for (const counts of [seen, guardedSeen]) {
    for (const kind of ['reply', 'discovery', 'end'] as const) expect(counts[kind]).toBeGreaterThan(10);
  }
  expect(seen.normal).toBeGreaterThan(10);
});

test('any text requests: an answer or a reject each, no longer than the initiator takes', () => {
  const request = fc.record({
    final: fc.boolean(),
    continues: fc.integer({ min: 0, max: 4 }).map((dice) => dice === 0),
    tag: fc.constantFrom('none', 'last', 'last', 'wrong'),
    text: anyText,
  });
  const counts = { answer: 0, reject: 0 };
  const with_ = agreement('discovery', 512);
  fc.assert(
    fc.property(fc.array(request, { maxLength: 12 }), (requests) => {
      const { negotiation } = new TextTest(with_, targets(12));
      let last = noTag;
      let max = 512;
      for (const { final, continues, tag, text } of requests) {
        const transferTag = tag === 'none' ? noTag : tag === 'last' ? last : 0x1234;
        const data = tag === 'last' && last !== noTag && final ? new Uint8Array(0) : text;
        const step = negotiation.request(textHeader({ final, continues, transferTag }), data);
        counts[step.kind] += 1;
        last = step.kind === 'answer' ? step.transferTag : noTag;
        if (step.kind !== 'answer') continue;
        expect(step.data.length).toBeLessThanOrEqual(max);
        expect(step.final).toBe(step.transferTag === noTag);
        max = step.maxSendDataSegmentLength ?? max;
      }
    }),
    { numRuns: 2000, seed: 20261128 },
  );
  expect(counts.answer).toBeGreaterThan(1000);
  expect(counts.reject).toBeGreaterThan(1000);
});
