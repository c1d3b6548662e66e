/** AS-10: application agents of other machines come by TLS, and only with a certificate. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApplicationAgents } from '../../src/agent/application-agents.ts';
import { NodeClock } from '../../src/base/node/node-clock.ts';
import { formatAddress } from '../../src/base/network.ts';
import { connectApplicationAgent } from '../../src/node/application-agent.ts';
import { listenTls, type TlsIdentity } from '../../src/node/tls-streams.ts';
import { until } from '../base/node/until.ts';

let folder = '';
let own: TlsIdentity;
let strange: TlsIdentity;

function openssl(...args: string[]): void {
  const { status, stderr } = spawnSync('openssl', args, { cwd: folder, encoding: 'utf8' });
  if (status !== 0) throw new Error(`openssl ${args.join(' ')}: ${stderr}`);
}

/** An authority, and a certificate of it for 127.0.0.1. */
function identity(name: string): TlsIdentity {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    `${name}-ca.key`,
    '-out',
    `${name}-ca.pem`,
    '-subj',
    `/CN=${name}`,
    '-days',
    '2',
  );
  openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', '/CN=node');
  writeFileSync(join(folder, 'ext'), 'subjectAltName=IP:127.0.0.1\n');
  openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    '-CA',
    `${name}-ca.pem`,
    '-CAkey',
    `${name}-ca.key`,
    '-CAcreateserial',
    '-out',
    `${name}.pem`,
    '-days',
    '2',
    '-extfile',
    'ext',
  );
  const read = (file: string): Uint8Array => readFileSync(join(folder, file));
  return { cert: read(`${name}.pem`), key: read(`${name}.key`), ca: read(`${name}-ca.pem`) };
}

describe('agents from another machine', () => {
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-tls-'));
    own = identity('own');
    strange = identity('strange');
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('AS-10: are known by certificate; one of another authority is not talked to', async () => {
    const agents = new ApplicationAgents({
      clock: new NodeClock(),
      node: 'east',
      notConfigured: () => null,
      releaseWithinMs: 5000,
      event: () => {},
    });
    const listener = await listenTls({ kind: 'tcp', host: '127.0.0.1', port: 0 }, own, agents.accept);
    const node = formatAddress(listener.address);
    const heard: string[] = [];
    const connect = (agent: string, tls: TlsIdentity) =>
      connectApplicationAgent({
        node,
        tls,
        agent,
        groups: ['g1'],
        retryMs: 20,
        handlers: {
          acquired: ({ group }) => heard.push(`${agent} ${group}`),
          release: async () => void heard.push(`${agent} releases`),
          disconnected: () => heard.push(`${agent} is not let in`),
        },
      });
    const clients = [connect('own', own), connect('strange', { ...strange, ca: own.ca })];
    await until(
      () => agents.rows.length === 1 && heard.filter((line) => line === 'strange is not let in').length > 2,
    );
    agents.acquired('g1', 'takeOver', { generation: 1, volumes: [] });
    expect(await agents.release('g1', 'handOver', new AbortController().signal)).toBe(null);
    expect(heard.filter((line) => line.startsWith('own'))).toEqual(['own g1', 'own releases']);
    for (const client of clients) client.close();
    agents.close();
    await listener.close();
  });

  it('AS-10: what is no certificate is named at once', async () => {
    const bad = { ...own, cert: 'nothing' };
    await expect(
      listenTls({ kind: 'tcp', host: '127.0.0.1', port: 0 }, bad, () => ({ received() {}, closed() {} })),
    ).rejects.toMatchObject({ code: 'E_CONFIG' });
    expect(() =>
      connectApplicationAgent({
        node: 'h:1',
        agent: 'a',
        groups: [],
        handlers: { acquired() {}, release: async () => {} },
      }),
    ).toThrow(/TLS/);
  });
});
