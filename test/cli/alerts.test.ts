import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApi } from '../../src/api/api.ts';
import { main } from '../../src/cli/main.ts';
import { fakeAlert, fakeControl, fakeSink, type FakeControl } from '../api/fake-control.ts';
import { fakeIo } from '../cli/fake-io.ts';

let control: FakeControl;
let api: Awaited<ReturnType<typeof startApi>>;

beforeEach(async () => {
  control = fakeControl();
  api = await startApi(control, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '1');
});
afterEach(() => api.close());

async function run(...words: string[]) {
  const io = fakeIo();
  const status = await main(['alerts', ...words, '--api', `127.0.0.1:${api.address.port}`], io);
  return { status, out: io.outText(), err: io.errText() };
}

describe('holdfast alerts (HM-16)', () => {
  it('list shows what is wrong, in full, and sinks that fail', async () => {
    const { status, out } = await run('list');
    expect(status).toBe(0);
    expect(out).toMatch(/12 +SERIOUS +link-down +link east-west +- +east +2026-01-02 03:04 UTC +2 +open/);
    expect(out).toContain('12: no connection to west is up');
    expect(out).toMatch(/nms +snmp +failing +3 +1 +0/);
    expect(out).toContain('! nms fails since');
    expect(out).toContain('no route to host');
    expect(JSON.parse((await run('list', '--all', '--json')).out)).toEqual({
      node: 'east',
      alerts: [fakeAlert],
      sinks: [fakeSink],
    });
  });

  it('list says so where nothing is wrong and nobody is told', async () => {
    control.listAlerts = async ({ all }) => ({ node: all ? 'west' : 'east', alerts: [], sinks: [] });
    expect((await run('list')).out).toContain('no alert is open at east');
    expect((await run('list', '--all')).out).toContain('there has been no alert at west');
    expect((await run('list')).out).toContain('no sinks: alerts go to the log of the node only');
  });

  it('test says what became of it, and fails where one was not sent', async () => {
    const good = await run('test', '--sink', 'nms', '--level', 'system down', '--by', 'ada');
    expect(good).toEqual({ status: 0, out: 'nms: sent, at level SYSTEM DOWN\n', err: '' });
    expect(control.asked).toEqual([['testAlerts', { sink: 'nms', level: 'SYSTEM DOWN', by: 'ada' }]]);
    control.testAlerts = async () => [{ sink: 'nms', outcome: 'failed', detail: 'no route' }];
    expect(await run('test')).toMatchObject({ status: 1, out: 'nms: failed, no route\n' });
    expect(await run('test', '--level', 'HIGH')).toMatchObject({ status: 2 });
  });

  it('ack takes numbers or all, and passes on who does it', async () => {
    const { out } = await run('ack', '12', '14', '--by', 'ada');
    expect(out).toBe('alert 12, link-down: link east-west, is acknowledged by ada\n');
    await run('ack', 'all', '--end', '--by', 'ada');
    expect(control.asked).toEqual([
      ['acknowledgeAlerts', { numbers: [12, 14], by: 'ada', end: false }],
      ['acknowledgeAlerts', { numbers: 'all', by: 'ada', end: true }],
    ]);
    expect(await run('ack', '0')).toMatchObject({ status: 2 });
    expect(await run('ack')).toMatchObject({ status: 2 });
  });
});
