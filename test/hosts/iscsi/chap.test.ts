import { expect, test } from 'vitest';
import type { DigestAlgorithm } from '../../../src/base/digest.ts';
import { Chap, chapResponse } from '../../../src/hosts/iscsi/chap.ts';
import { Prng } from '../../../src/sim/world/prng.ts';
import { initiatorName, LoginTest, targetName } from './initiator.ts';

const secret = Buffer.from('twelve-bytes');
const mutualSecret = Buffer.from('other-secret');

/** Reckoned with Python's hashlib: identifier 0x27, the secret above, challenge 00 01 … 0f. */
test.each([
  ['md5', '5556457cc89e8dda0538ee5adf61e56c'],
  ['sha1', '900f65c1290c632a6030b262ca8092874634442d'],
  ['sha256', '64cf21a7d3be42172e8159dafd3fc9148023f72468dc40cd18db00ef512ce864'],
  ['sha3-256', 'fa0c6c22ab7b17018a7edc092d5d516d73bf946c9af31b2321d6b00064008f82'],
] as const)('the response of CHAP by %s', (algorithm, expected) => {
  const challenge = Uint8Array.from({ length: 16 }, (_, index) => index);
  expect(Buffer.from(chapResponse(algorithm, 0x27, secret, challenge)).toString('hex')).toBe(expected);
});

type Fields = Record<string, string>;

function chap(mutual: boolean, seed = 'chap'): Chap {
  const credentials = {
    user: 'host1',
    secret,
    mutual: mutual ? { user: 'holdfast', secret: mutualSecret } : null,
  };
  return new Chap(credentials, new Prng(seed));
}

function step(with_: Chap, fields: Fields) {
  return with_.step(new Map(Object.entries(fields)));
}

function ask(with_: Chap, algorithms: string) {
  const answer = step(with_, { CHAP_A: algorithms });
  if (answer.kind !== 'answer') return expect.unreachable(answer.kind);
  const fields = Object.fromEntries(answer.pairs.map(({ key, value }) => [key, value]));
  return {
    algorithm: fields['CHAP_A'],
    identifier: Number(fields['CHAP_I']),
    challenge: Buffer.from((fields['CHAP_C'] ?? '').slice(2), 'hex'),
  };
}

/** A right answer to what was asked. */
function answerTo(asked: ReturnType<typeof ask>, name: DigestAlgorithm, with_ = secret): Fields {
  const response = Buffer.from(chapResponse(name, asked.identifier, with_, asked.challenge));
  return { CHAP_N: 'host1', CHAP_R: `0x${response.toString('hex')}` };
}

test.each([
  ['5', '5', 'md5', 16],
  ['7,6,5', '7', 'sha256', 32],
  ['1,6', '6', 'sha1', 20],
  ['8,7', '8', 'sha3-256', 32],
] as const)('of algorithms %s we take %s, and let in who knows the secret', (list, taken, name, bytes) => {
  const target = chap(false);
  const asked = ask(target, list);
  expect([asked.algorithm, asked.challenge.length]).toEqual([taken, bytes]);
  expect(step(target, answerTo(asked, name))).toEqual({ kind: 'authenticated', pairs: [] });
});

test('a response in base64 is as good', () => {
  const target = chap(false);
  const asked = ask(target, '5');
  const response = Buffer.from(chapResponse('md5', asked.identifier, secret, asked.challenge)).toString('base64');
  expect(step(target, { CHAP_N: 'host1', CHAP_R: `0b${response}` })).toMatchObject({ kind: 'authenticated' });
});

test.each([
  ['another secret', (right: Fields) => ({ ...right, CHAP_R: `0x${'00'.repeat(16)}` })],
  ['a shorter response', (right: Fields) => ({ ...right, CHAP_R: right['CHAP_R']?.slice(0, -2) ?? '' })],
  ['another user', (right: Fields) => ({ ...right, CHAP_N: 'host2' })],
  ['no user', ({ CHAP_R = '' }: Fields) => ({ CHAP_R })],
  ['no response', ({ CHAP_N = '' }: Fields) => ({ CHAP_N })],
  ['no binary value', (right: Fields) => ({ ...right, CHAP_R: 'secret' })],
  ['a second CHAP_A', (right: Fields) => ({ ...right, CHAP_A: '5' })],
  ['a challenge where we have no credentials', (right: Fields) => ({ ...right, CHAP_I: '1', CHAP_C: '0x0102' })],
])('refused: %s', (_what, spoil) => {
  const target = chap(false);
  expect(step(target, spoil(answerTo(ask(target, '5'), 'md5')))).toMatchObject({ kind: 'failed' });
});

test('refused: no algorithm that we know, or none at all', () => {
  expect(step(chap(false), { CHAP_A: '1,9,x' })).toMatchObject({ kind: 'failed' });
  expect(step(chap(false), { CHAP_N: 'host1' })).toMatchObject({ kind: 'failed' });
});

test('mutual: we prove to know the other secret', () => {
  const target = chap(true);
  const challenge = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
  const fields = {
    ...answerTo(ask(target, '7'), 'sha256'),
    CHAP_I: '0xfe',
    CHAP_C: `0x${challenge.toString('hex')}`,
  };
  const proof = Buffer.from(chapResponse('sha256', 0xfe, mutualSecret, challenge)).toString('hex');
  expect(step(target, fields)).toEqual({
    kind: 'authenticated',
    pairs: [
      { key: 'CHAP_N', value: 'holdfast' },
      { key: 'CHAP_R', value: `0x${proof}` },
    ],
  });
});

test.each([
  ['half of a challenge', { CHAP_I: '1' }],
  ['an identifier beyond a byte', { CHAP_I: '256', CHAP_C: '0x01' }],
  ['a challenge of more than 1024 bytes', { CHAP_I: '1', CHAP_C: `0x${'ab'.repeat(1025)}` }],
])('mutual, refused: %s', (_what, fields) => {
  const target = chap(true);
  expect(step(target, { ...answerTo(ask(target, '5'), 'md5'), ...fields })).toMatchObject({ kind: 'failed' });
});

test('reflection: our own challenge sent back, and one secret for both directions, are refused', () => {
  const target = chap(true);
  const asked = ask(target, '5');
  const fields = { ...answerTo(asked, 'md5'), CHAP_I: '1', CHAP_C: `0x${asked.challenge.toString('hex')}` };
  expect(step(target, fields)).toMatchObject({ kind: 'failed', reason: 'our own challenge is sent back' });

  const careless = new Chap({ user: 'host1', secret, mutual: { user: 'holdfast', secret } }, new Prng('chap'));
  const answer = { ...answerTo(ask(careless, '5'), 'md5'), CHAP_I: '1', CHAP_C: '0x0102' };
  expect(step(careless, answer)).toMatchObject({ kind: 'failed', reason: 'both directions have the same secret' });
});

test('challenges differ from login to login', () => {
  const challenges = ['a', 'b', 'c'].map((seed) => ask(chap(false, seed), '5').challenge.toString('hex'));
  expect(new Set(challenges).size).toBe(3);
});

// ---- in a login

const names = [`InitiatorName=${initiatorName}`, `TargetName=${targetName}`];
const toSecurity = { stage: 0, next: 1, transit: true };

function guarded(): LoginTest {
  const test = new LoginTest();
  test.target.admission = { visible: null, chap: { user: 'host1', secret, mutual: null } };
  return test;
}

function responseOf(pairs: readonly string[]): string[] {
  const value = (key: string) => pairs.find((pair) => pair.startsWith(`${key}=`))?.slice(key.length + 1) ?? '';
  const challenge = Buffer.from(value('CHAP_C').slice(2), 'hex');
  const response = Buffer.from(chapResponse('md5', Number(value('CHAP_I')), secret, challenge));
  return ['CHAP_N=host1', `CHAP_R=0x${response.toString('hex').toUpperCase()}`];
}

test('libiscsi logs in with CHAP: T at once, but the stage is left only when it is authenticated', () => {
  const test = guarded();
  expect(test.send(toSecurity, ...names, 'AuthMethod=CHAP,None')).toMatchObject({
    transit: false,
    pairs: ['TargetPortalGroupTag=3', 'AuthMethod=CHAP'],
  });
  const asked = test.send({ stage: 0, next: 1 }, 'CHAP_A=5');
  expect(test.send(toSecurity, ...responseOf(asked.pairs))).toMatchObject({ transit: true, next: 1, pairs: [] });
  expect(test.send({ stage: 1, next: 3, transit: true }, ...names)).toMatchObject({ transit: true, tsih: 0x77 });
});

test('the response may come without T, which follows in an empty request', () => {
  const test = guarded();
  test.send({ stage: 0 }, ...names, 'AuthMethod=CHAP');
  const asked = test.send({ stage: 0 }, 'CHAP_A=5');
  expect(test.send({ stage: 0 }, ...responseOf(asked.pairs))).toMatchObject({ transit: false, status: 0 });
  expect(test.send({ stage: 0, next: 3, transit: true })).toMatchObject({ transit: true, next: 3 });
});

test.each([
  ['skips the security stage', { stage: 1, next: 3, transit: true }, []],
  ['offers no method', toSecurity, []],
  ['offers None only', toSecurity, ['AuthMethod=None']],
])('authentication failure (0201): it %s', (_what, fields, pairs) => {
  const test = guarded();
  expect(test.send(fields, ...names, ...pairs)).toMatchObject({ status: 0x201, transit: false });
  expect(test.opened).toEqual([]);
});

test('authentication failure (0201): a wrong secret; CHAP where there are no credentials', () => {
  const test = guarded();
  test.send(toSecurity, ...names, 'AuthMethod=CHAP');
  test.send({ stage: 0 }, 'CHAP_A=5');
  expect(test.send(toSecurity, 'CHAP_N=host1', 'CHAP_R=0x00')).toMatchObject({ status: 0x201, pairs: [] });
  expect(test.last).toMatchObject({ fault: false });
  expect(new LoginTest().send(toSecurity, ...names, 'AuthMethod=CHAP')).toMatchObject({ status: 0x201 });
});

test.each([
  ['CHAP before AuthMethod', [['CHAP_A=5']]],
  ['AuthMethod twice', [['AuthMethod=CHAP'], ['AuthMethod=CHAP']]],
  ['a key twice', [['AuthMethod=CHAP', 'AuthMethod=None']]],
])('a breach (0200): %s', (_what, steps) => {
  const test = guarded();
  const answers = steps.map((pairs, index) => test.send({ stage: 0 }, ...(index === 0 ? names : []), ...pairs));
  expect(answers.at(-1)).toMatchObject({ status: 0x200 });
});

test('T without a response does not lead out of the security stage, however often it is sent', () => {
  const test = guarded();
  test.send({ stage: 0 }, ...names, 'AuthMethod=CHAP');
  for (let index = 0; index < 10; index++) {
    expect(test.send({ stage: 0, next: 3, transit: true })).toMatchObject({ status: 0, transit: false });
  }
  expect(test.opened).toEqual([]);
});
