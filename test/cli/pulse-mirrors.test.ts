import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startApi } from '../../src/api/api.ts';
import { connectToApi } from '../../src/api/client.ts';
import { addMirrorVerbs } from '../../src/cli/pulse-mirrors.ts';
import { fakeControl, fakeMirror, type FakeControl } from '../api/fake-control.ts';
import { fakeIo } from './fake-io.ts';

let control: FakeControl;
let api: Awaited<ReturnType<typeof startApi>>;

beforeEach(async () => {
  control = fakeControl();
  api = await startApi(control, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '1');
});
afterEach(() => api.close());

async function run(line: string): Promise<string> {
  const io = fakeIo();
  const pulse = new Command('pulse').exitOverride();
  addMirrorVerbs(pulse, { io, asJson: false, finish: () => {} });
  const words = [...line.split(' '), '--api', `127.0.0.1:${api.address.port}`];
  await pulse.parseAsync(words, { from: 'user' });
  return io.outText();
}

describe('holdfast pulse, heartbeat mirrors', () => {
  test('lists them with both places', async () => {
    expect(await run('mirrors')).toMatch(/hb1 +installed +east:\/data\/east\/heartbeat\/hb1\.img +west:\/dev\/sdc/);
    expect(JSON.parse(await run('mirrors --json'))).toEqual({ mirrors: [fakeMirror], notes: [] });
  });

  test('HM-8, HM-9: creates, installs, de-installs and deletes', async () => {
    expect(await run('create hb3 --from east --to west')).toMatch(/holdfast pulse install hb3/);
    await run('install hb3');
    expect(await run('remove hb3')).toMatch(/neither end/);
    expect(await run('delete hb3')).toMatch(/deleted/);
    expect(control.asked).toEqual([
      ['heartbeatMirrors.create', { name: 'hb3', from: 'east', to: 'west' }],
      ['heartbeatMirrors.install', { name: 'hb3' }],
      ['heartbeatMirrors.remove', { name: 'hb3' }],
      ['heartbeatMirrors.delete', { name: 'hb3' }],
    ]);
  });

  test('HM-3: warns of production data before it is installed', async () => {
    const text = await run('install hb3 --primary /dev/sdb --secondary /dev/sdc');
    expect(text).toMatch(/^! Do not put production data on a heartbeat mirror[^\n]*\n.*in use at both ends\n$/);
    expect(control.asked).toEqual([
      ['heartbeatMirrors.install', { name: 'hb3', primary: '/dev/sdb', secondary: '/dev/sdc' }],
    ]);
    expect(JSON.parse(await run('install hb3 --json'))).toMatchObject({ name: 'hb3', state: 'installed' });
  });

  test('tells a refusal', async () => {
    await expect(run('delete hb1')).rejects.toThrow('hb1 is installed');
  });

  test('the API takes nothing it does not know', async () => {
    const client = connectToApi(`http://127.0.0.1:${api.address.port}`);
    await expect(client.heartbeatMirrors.create({ name: '', from: 'east', to: 'west' })).rejects.toThrow(/name/);
    const answer = await fetch(`http://127.0.0.1:${api.address.port}/v1/pulse/mirrors/hb3/install`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"tertiary":"/dev/sdd"}',
    });
    expect(answer.status).toBe(422);
  });
});
