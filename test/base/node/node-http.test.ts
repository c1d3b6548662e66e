/** What became of a request, over real sockets. TLS with certificates is in `test/clients/etcd.test.ts`. */
import { once } from 'node:events';
import * as http from 'node:http';
import * as net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import type { HttpResult } from '../../../src/base/http.ts';
import { NodeHttpClient, type HttpLimits } from '../../../src/base/node/node-http.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

function clientWith(limits: Partial<HttpLimits> = {}): NodeHttpClient {
  const client = new NodeHttpClient({}, limits);
  ends.push(() => client.close());
  return client;
}

async function listening(server: net.Server): Promise<string> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => sockets.add(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ends.push(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

const post = (client: NodeHttpClient, endpoint: string, timeoutMs = 5000): Promise<HttpResult> =>
  client.post({ endpoint, path: '/ask', body: '{"a":"ü"}', headers: { authorization: 't' }, timeoutMs });

/** Accepts connections, takes what comes and does with it as told. */
const silentServer = (received: (socket: net.Socket) => void = () => {}): net.Server =>
  net.createServer((socket) => socket.on('error', () => {}).on('data', () => received(socket)));

test('one that is answered brings status and text, and the next goes over the same connection', async () => {
  const ports = new Set<number | undefined>();
  const server = http.createServer((request, response) => {
    ports.add(request.socket.remotePort);
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url, headers } = request;
      const said = [method, url, headers.authorization, headers['content-type'], Buffer.concat(chunks).toString()];
      response.writeHead(429).end(said.join(' '));
    });
  });
  const endpoint = `http://${await listening(server)}`;
  const client = clientWith();
  const expected = { kind: 'answered', status: 429, body: 'POST /ask t application/json {"a":"ü"}' };
  expect(await post(client, endpoint)).toEqual(expected);
  expect(await post(client, endpoint)).toEqual(expected);
  expect(ports.size).toBe(1);
});

test('one whose connection is refused was not sent', async () => {
  const server = silentServer();
  const at = await listening(server);
  server.close();
  await once(server, 'close');
  expect(await post(clientWith(), `http://${at}`)).toEqual({
    kind: 'notSent',
    reason: expect.stringContaining('ECONNREFUSED') as string,
  });
});

test('one whose connection ends after it was sent is lost', async () => {
  const at = await listening(silentServer((socket) => socket.destroy()));
  expect(await post(clientWith(), `http://${at}`)).toMatchObject({ kind: 'lost' });
});

test('one that is not answered in time is lost', async () => {
  const at = await listening(silentServer());
  expect(await post(clientWith(), `http://${at}`, 50)).toEqual({ kind: 'lost', reason: 'no answer within 50 ms' });
});

test('one whose TLS handshake is not finished in time, or fails, was not sent', async () => {
  const silent = await listening(silentServer());
  expect(await post(clientWith(), `https://${silent}`, 50)).toEqual({
    kind: 'notSent',
    reason: 'no answer within 50 ms',
  });
  const plain = await listening(http.createServer((_request, response) => response.end('{}')));
  expect(await post(clientWith(), `https://${plain}`)).toMatchObject({ kind: 'notSent' });
});

test('one whose answer breaks off, or is not HTTP, is lost', async () => {
  const head = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123';
  const broken = await listening(silentServer((socket) => socket.end(head)));
  expect(await post(clientWith(), `http://${broken}`)).toMatchObject({ kind: 'lost' });
  const noise = await listening(silentServer((socket) => socket.end('nonsense\r\n\r\n')));
  expect(await post(clientWith(), `http://${noise}`)).toMatchObject({ kind: 'lost' });
});

test('one whose answer is longer than allowed is lost, and not kept', async () => {
  const server = http.createServer((_request, response) => response.end('x'.repeat(1000)));
  const endpoint = `http://${await listening(server)}`;
  expect(await post(clientWith({ responseBytesMax: 999 }), endpoint)).toEqual({
    kind: 'lost',
    reason: 'the answer is longer than 999 bytes',
  });
  expect(await post(clientWith({ responseBytesMax: 1000 }), endpoint)).toMatchObject({ kind: 'answered' });
});

test('one that waits for a connection until its time is over was not sent; one too many is not begun', async () => {
  const endpoint = `http://${await listening(silentServer())}`;
  const client = clientWith({ connectionsMax: 1, requestsMax: 2 });
  const results = await Promise.all([
    post(client, endpoint, 200),
    post(client, endpoint, 50),
    post(client, endpoint),
  ]);
  expect(results).toEqual([
    { kind: 'lost', reason: 'no answer within 200 ms' },
    { kind: 'notSent', reason: 'no answer within 50 ms' },
    { kind: 'notSent', reason: '2 requests are under way' },
  ]);
});

test('closing ends what is under way, and refuses what comes later', async () => {
  let asked: Promise<HttpResult> = Promise.resolve({ kind: 'notSent', reason: '' });
  const client = clientWith();
  await new Promise<void>((arrived) => {
    void listening(silentServer(() => arrived())).then((at) => (asked = post(client, `http://${at}`)));
  });
  client.close();
  expect(await asked).toEqual({ kind: 'lost', reason: 'closed' });
  expect(await post(client, 'http://127.0.0.1:1')).toEqual({ kind: 'notSent', reason: 'closed' });
});
