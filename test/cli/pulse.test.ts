import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApi, type RunningApi } from '../../src/api/api.ts';
import { main } from '../../src/cli/main.ts';
import { fakeControl, type FakeControl } from '../api/fake-control.ts';
import { fakePulse } from '../api/fake-pulse.ts';
import { fakeIo } from './fake-io.ts';

let control: FakeControl;
let api: RunningApi;

beforeEach(async () => {
  control = fakeControl();
  api = await startApi(control, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '1.0.0');
});
afterEach(() => api.close());

async function run(words: string): Promise<{ status: number; out: string; err: string }> {
  const io = fakeIo();
  const argv = ['pulse', ...words.split(' ')];
  const status = await main(words.startsWith('key') ? argv : [...argv, '--api', `127.0.0.1:${api.address.port}`], io);
  return { status, out: io.outText(), err: io.errText() };
}

describe('holdfast pulse status', () => {
  it('shows how each node is heard by each channel, and what was refused (HM-7, BY-6)', async () => {
    const { status, out } = await run('status');
    expect(status).toBe(0);
    expect(out).toBe(`pulse of east: every 200 ms, silent after 1 s; masters: here: east, there: west

NODE  CHANNEL         USE     HEARD    LAST
west  network         ENABLE  alive    120 ms ago
west  mirror:hb-west  FAILED  silent   1 min 5 s ago
west  link            ENABLE  unknown  never

CHANNEL         DEVICE             SENT
network         127.0.0.1:10815    1234
mirror:hb-west  /data/hb-west.img  0

NODE  ADDRESS          LAST
west  127.0.0.1:10816  120 ms ago
west  10.0.0.2:10816   never

FROM  REFUSED AS  MESSAGES
west  replayed    3
?     forged      2

! west has not confirmed 1 message yet
`);
  });

  it('asks for another node, and answers as JSON what the node said', async () => {
    expect((await run('status --node west')).out).toMatch(/^pulse of west:/);
    expect(control.asked).toEqual([['pulseStatus', { node: 'west' }]]);
    expect(JSON.parse((await run('status --json')).out)).toEqual(fakePulse);
  });
});

describe('holdfast pulse table', () => {
  it('shows the tables of all nodes, vacant entries as NULL (HM-5)', async () => {
    const { out } = await run('table');
    expect(out).toBe(`east at here, master
PATH                            STATUS  REMOTE GROUP  DEVICE
network                         ENABLE  ALIVE
mirrors                         FAILED  FAILED
from the other site by hb-west  FAILED                /data/hb-west.img
15 entries NULL

west at there, master
! west could not be asked: no connection
`);
  });
});

describe('holdfast pulse use', () => {
  it.each<[string, unknown]>([
    ['use both', { select: 'both', confirmed: false }],
    [
      'use --enable hb-west --disable network --confirmed',
      { enable: ['hb-west'], disable: ['network'], confirmed: true },
    ],
  ])('%s is asked of the node (HM-14)', async (words, change) => {
    const { status, out } = await run(words);
    expect([status, control.asked]).toEqual([0, [['usePulse', change]]]);
    expect(out).toContain('west has confirmed it');
  });

  it.each([
    ['use', 'say what to use: network, mirrors or both, --enable PATH or --disable PATH'],
    ['use hb-west', '"hb-west" is none of network, mirrors, both; single paths: --enable hb-west'],
  ])('%s is a mistake of usage', async (words, problem) => {
    const { status, err } = await run(words);
    expect(status).toBe(2);
    expect(err).toContain(problem);
  });
});

it('holdfast pulse key prints a new key each time (BY-6)', async () => {
  const [one, other] = [await run('key'), await run('key')];
  expect(one.out).toMatch(/^[0-9a-f]{64}\n$/);
  expect(one.out).not.toBe(other.out);
});
