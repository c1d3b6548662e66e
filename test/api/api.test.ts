import { request as httpRequest } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApi, type RunningApi } from '../../src/api/api.ts';
import { connectToApi, type ControlClient } from '../../src/api/client.ts';
import { bodyBytesMax } from '../../src/api/guard.ts';
import { eventClientsMax } from '../../src/api/routes.ts';
import { fakeControl, type FakeControl } from './fake-control.ts';

let control: FakeControl;
let api: RunningApi;
let url: string;
let client: ControlClient;

beforeEach(async () => {
  control = fakeControl();
  api = await startApi(control, { kind: 'tcp', host: '127.0.0.1', port: 0 }, '9.9.9');
  url = `http://127.0.0.1:${api.address.port}`;
  client = connectToApi(url);
});
afterEach(() => api.close());

/** One request with headers that `fetch` would not let us choose. */
function raw(path: string, headers: Record<string, string>): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${url}${path}`, { headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on('error', reject).end();
  });
}

describe('answers', () => {
  it('come through client and server unchanged', async () => {
    expect(await client.version()).toEqual({ version: '9.9.9', node: 'east' });
    expect(await client.status()).toEqual(control.state);
    expect(await client.document()).toEqual(await control.document());
    expect(await client.why('vol1')).toEqual(await control.why('vol1'));
    expect(await client.volumes()).toMatchObject([{ name: 'vol1', group: 'g1', owner: 'east' }]);
  });

  it('of changes reach the node with everything that was asked', async () => {
    const volume = { name: 'v', sizeBytes: 2 ** 20, blockSizeBytes: 4096, mirrors: [], paths: {} } as const;
    expect(await client.createVolume(volume)).toEqual({ group: 'v', wwid: '6'.padEnd(32, '1') });
    await client.deleteVolume({ name: 'v', force: true });
    expect(await client.switchOver({ group: 'g1', to: 'west' })).toMatchObject({ owner: 'west', pauseMs: 42 });
    expect(await client.takeOver({ group: 'g1', node: 'west', force: true, lastConsistent: true })).toMatchObject({
      owner: 'west',
    });
    expect(await client.resolveSplitBrain({ group: 'g1', keep: 'east', yes: true })).toMatchObject({ kept: 'east' });
    await client.pauseMirror({ group: 'g1', to: 'west' });
    await client.resumeMirror({ group: 'g1', to: 'west' });
    await client.resyncMirror({ group: 'g1', to: 'west' });
    await client.setMirror({ group: 'g1', to: 'west', mode: 'async' });
    expect(control.asked).toEqual([
      ['createVolume', volume],
      ['deleteVolume', { name: 'v', force: true }],
      ['switchOver', { group: 'g1', to: 'west' }],
      ['takeOver', { group: 'g1', node: 'west', force: true, lastConsistent: true }],
      ['resolveSplitBrain', { group: 'g1', keep: 'east', yes: true }],
      ['pauseMirror', { group: 'g1', to: 'west' }],
      ['resumeMirror', { group: 'g1', to: 'west' }],
      ['resyncMirror', { group: 'g1', to: 'west' }],
      ['setMirror', { group: 'g1', to: 'west', mode: 'async' }],
    ]);
  });

  it('about logs reach the node with everything that was asked', async () => {
    const group = 'g1';
    const create = { group, sizeBytes: 2 ** 30, places: { west: ['/a', '/b'] }, retentionMs: 5, retentionBytes: 7 };
    await client.createLog(create);
    await client.createLog({ group, sizeBytes: 2 ** 30, places: {} });
    await client.assignLog({ group, node: 'west', folders: ['/x'] });
    await client.setLogSize({ group, sizeBytes: 2 ** 31 });
    await client.setLogRetention({ group, retentionBytes: 9 });
    await client.removeLog({ group, force: true });
    expect(await client.markLog({ group, name: 'before the upgrade' })).toMatchObject({ position: '7:1042' });
    expect(await client.logMoments({ group, after: '7:1', limit: 1, extents: true })).toEqual({
      moments: control.moments.slice(0, 1),
      more: true,
    });
    await client.logMoments({ group, limit: 1000, extents: false });
    expect(await client.listLogs()).toEqual(await control.listLogs());
    expect(control.asked).toEqual([
      ['createLog', create],
      ['createLog', { group, sizeBytes: 2 ** 30, places: {} }],
      ['assignLog', { group, node: 'west', folders: ['/x'] }],
      ['setLogSize', { group, sizeBytes: 2 ** 31 }],
      ['setLogRetention', { group, retentionBytes: 9 }],
      ['removeLog', { group, force: true }],
      ['markLog', { group, name: 'before the upgrade' }],
      ['logMoments', { group, after: '7:1', limit: 1, extents: true }],
      ['logMoments', { group, limit: 1000, extents: false }],
    ]);
  });

  it('are described by an OpenAPI document that has every route', async () => {
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as { openapi: string; paths: object };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths).sort()).toEqual([
      '/v1/agents',
      '/v1/alerts',
      '/v1/alerts/acknowledge',
      '/v1/alerts/test',
      '/v1/document',
      '/v1/events',
      '/v1/groups/{group}/automatic',
      '/v1/groups/{group}/check',
      '/v1/groups/{group}/decisions',
      '/v1/groups/{group}/drills',
      '/v1/groups/{group}/give-back',
      '/v1/groups/{group}/log',
      '/v1/groups/{group}/log/marks',
      '/v1/groups/{group}/log/moments',
      '/v1/groups/{group}/log/places/{node}',
      '/v1/groups/{group}/log/retention',
      '/v1/groups/{group}/log/size',
      '/v1/groups/{group}/mirrors/{node}',
      '/v1/groups/{group}/mirrors/{node}/pause',
      '/v1/groups/{group}/mirrors/{node}/resume',
      '/v1/groups/{group}/mirrors/{node}/resync',
      '/v1/groups/{group}/resolve',
      '/v1/groups/{group}/resources',
      '/v1/groups/{group}/resources/start',
      '/v1/groups/{group}/switch-over',
      '/v1/groups/{group}/take-over',
      '/v1/iscsi/sessions',
      '/v1/iscsi/sessions/{node}/{session}',
      '/v1/iscsi/targets',
      '/v1/logs',
      '/v1/nodes/{node}/automatic',
      '/v1/pulse',
      '/v1/pulse/mirrors',
      '/v1/pulse/mirrors/{name}',
      '/v1/pulse/mirrors/{name}/install',
      '/v1/pulse/mirrors/{name}/remove',
      '/v1/pulse/tables',
      '/v1/pulse/use',
      '/v1/status',
      '/v1/version',
      '/v1/volumes',
      '/v1/volumes/{name}',
      '/v1/why/{subject}',
    ]);
  });
});

describe('failures', () => {
  it('have code, message and cure, and a fitting status', async () => {
    const response = await fetch(`${url}/v1/why/nobody`);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      code: 'E_NOT_FOUND',
      message: 'there is no group or volume nobody',
      cure: 'Look at the names with `holdfast status`.',
    });
    expect((await fetch(`${url}/v1/nothing`)).status).toBe(404);
    expect((await fetch(`${url}/v1/volumes/vol1`, { method: 'DELETE' })).status).toBe(409);
  });

  it('are the same errors again at the client', async () => {
    await expect(client.takeOver({ group: 'g1', node: 'west', force: false })).rejects.toMatchObject({
      code: 'E_REFUSED',
      message: 'east owns g1 and is alive; use group switch-over',
    });
    await expect(client.pauseMirror({ group: 'g2', to: 'west' })).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('of form name the field', async () => {
    const volume = { name: 'v', sizeBytes: 5000, blockSizeBytes: 512, mirrors: [], paths: {} } as const;
    await expect(client.createVolume(volume)).rejects.toMatchObject({
      code: 'E_USAGE',
      message: 'sizeBytes: must be at least 1 MiB',
    });
    await expect(client.createVolume({ ...volume, sizeBytes: 2 ** 20 + 1 })).rejects.toThrow(
      'sizeBytes: must be a multiple of blockSizeBytes',
    );
    await expect(client.switchOver({ group: 'g1', to: '../x' })).rejects.toThrow(/^to: must be letters/);
    const log = { group: 'g1', sizeBytes: 5, places: {} };
    await expect(client.createLog(log)).rejects.toThrow('sizeBytes: must be at least 64 MiB');
    await expect(client.markLog({ group: 'g1', name: 'two\nlines' })).rejects.toThrow(
      /^name: must be a name without/,
    );
    await expect(client.markLog({ group: 'g1', name: 'ä'.repeat(128) })).rejects.toThrow(
      /^name: must be at most 255/,
    );
    await expect(client.logMoments({ group: 'g1', limit: 1001, extents: false })).rejects.toThrow(/^limit: /);
    await expect(client.logMoments({ group: 'g1', after: '5', limit: 1, extents: false })).rejects.toThrow(
      'after: must be GENERATION:NUMBER',
    );
    for (const body of ['', '{', 'null', '[]', '{"to":"west","extra":1}']) {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch(`${url}/v1/groups/g1/switch-over`, { method: 'POST', body, headers });
      expect([response.status, body]).toEqual([422, body]);
      expect(await response.json()).toMatchObject({ code: 'E_USAGE' });
    }
    expect(control.asked).toEqual([]);
  });

  it('of size: a body larger than the maximum is refused', async () => {
    const body = JSON.stringify({ to: 'x'.repeat(bodyBytesMax) });
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(`${url}/v1/groups/g1/switch-over`, { method: 'POST', body, headers });
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ code: 'E_USAGE' });
    expect((await raw('/v1/status', { 'transfer-encoding': 'chunked' })).status).toBe(413);
  });

  it('of the connection name the address', async () => {
    await api.close();
    await expect(client.status()).rejects.toMatchObject({
      code: 'E_NODE_UNREACHABLE',
      message: expect.stringContaining(`no node answers at ${url}`) as string,
    });
  });

  it('of the connection are told as they are, also of a port that browsers refuse', async () => {
    // Port 1 is one of those, and nobody listens there.
    await expect(connectToApi('http://127.0.0.1:1').version()).rejects.toMatchObject({
      code: 'E_NODE_UNREACHABLE',
      message: expect.stringContaining('ECONNREFUSED') as string,
    });
  });

  it('of a port that is taken name the address', async () => {
    await expect(startApi(control, api.address, '1')).rejects.toMatchObject({
      code: 'E_PORT_TAKEN',
      message: `control API at 127.0.0.1:${api.address.port}: another program listens there`,
    });
  });
});

describe('a web page open in a browser on this machine', () => {
  it('is refused when it calls by a name of its own (DNS rebinding)', async () => {
    for (const host of ['evil.example', 'localhost.evil.example:80', '10.0.0.1', '127.0.0.1.evil.example']) {
      const { status, text } = await raw('/v1/status', { host });
      expect([host, status]).toEqual([host, 409]);
      expect(text).toContain('loopback');
    }
    for (const host of ['localhost', `127.0.0.1:${api.address.port}`, '[::1]:8009']) {
      expect([host, (await raw('/v1/status', { host })).status]).toEqual([host, 200]);
    }
  });

  it('is refused when it comes from another origin (CSRF)', async () => {
    expect((await raw('/v1/status', { origin: 'http://evil.example' })).status).toBe(409);
    expect((await raw('/v1/status', { origin: 'null' })).status).toBe(409);
    expect((await raw('/v1/status', { 'sec-fetch-site': 'cross-site' })).status).toBe(409);
    expect((await raw('/v1/status', { origin: url })).status).toBe(200);
  });
});

describe('the event stream', () => {
  const event = (message: string) => ({ atMs: 1, node: 'east', group: 'g1', kind: 'test', message });

  it('brings what happens, in order, until the client leaves', async () => {
    const leave = new AbortController();
    const events = client.events(leave.signal);
    const first = events.next();
    await expect.poll(() => control.listenerCount()).toBe(1);
    control.emit(event('one'));
    control.emit({ ...event('two'), status: control.state.groups[0] ?? never() });
    expect((await first).value).toEqual(event('one'));
    expect((await events.next()).value).toMatchObject({ message: 'two', status: { name: 'g1' } });
    leave.abort();
    await expect.poll(() => control.listenerCount()).toBe(0);
  });

  it('is open to a bounded number of clients', async () => {
    const leave = new AbortController();
    const streams = Array.from({ length: eventClientsMax }, () =>
      fetch(`${url}/v1/events`, { signal: leave.signal }),
    );
    await Promise.all(streams);
    const refused = await fetch(`${url}/v1/events`);
    expect(await refused.json()).toMatchObject({ code: 'E_BUSY' });
    leave.abort();
    await expect.poll(() => control.listenerCount()).toBe(0);
    expect((await fetch(`${url}/v1/events`)).status).toBe(200);
  });
});

const never = (): never => {
  throw new Error('not there');
};
