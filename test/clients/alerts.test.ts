/**
 * Alerts as those they are for get them: Debian's snmptrapd with our MIB, an HTTP server that verifies signatures, an SMTP
 * server, a program (HM-16, AS-11).
 */
import { createHmac } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { createServer, type AddressInfo, type Server as NetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AlertMessage } from '../../src/alerts/alert.ts';
import { Alerts, defaultAlertSettings } from '../../src/alerts/alerts.ts';
import { codeTraits, heldBackNotification } from '../../src/alerts/codes.ts';
import { createNodeEnvironment } from '../../src/base/node/node-environment.ts';
import { silentLog } from '../../src/base/log.ts';
import { createSinks } from '../../src/node/alert-sinks/create-sinks.ts';
import { openSnmpEngine } from '../../src/node/alert-sinks/snmp-engine.ts';
import type { SinkSettings, SnmpSettings } from '../../src/node/alert-sinks/sink-settings.ts';
import type { Indication } from '../../src/pulse/indication.ts';
import { endCommand, freePorts, mustRun, startCommand, until } from './command.ts';

const mibs = `${resolve('docs')}:${resolve('node_modules/net-snmp/lib/mibs')}`;
const environment = createNodeEnvironment(silentLog);
let folder: string;
let alerts: Alerts | undefined;
const servers: (Server | NetServer)[] = [];
const children: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-alerts-'));
});

afterEach(async () => {
  await alerts?.close();
  alerts = undefined;
  for (const child of children.splice(0)) await endCommand(child, 'SIGKILL');
  for (const server of servers.splice(0)) server.close();
  await rm(folder, { recursive: true, force: true });
});

async function alertsBy(...settings: SinkSettings[]): Promise<Alerts> {
  await alerts?.close();
  alerts = await Alerts.open({
    environment,
    node: 'east',
    cluster: 'demo',
    folder: join(folder, 'alerts'),
    settings: defaultAlertSettings,
    sinks: createSinks(settings, environment, join(folder, 'alerts')),
    heardNodes: () => [],
    spread: () => {},
  });
  return alerts;
}

const indication = (more: Partial<Indication> = {}): Indication => ({
  component: 'network',
  id: 'network west:10815',
  code: 'heartbeat-only-network',
  level: 'SERIOUS',
  node: 'east',
  group: null,
  atMs: Date.UTC(2026, 10, 28, 3, 4, 5),
  text: 'heartbeats of west arrive by the network only, since 12 s — mirror hb1 is silent',
  over: false,
  ...more,
});

const levels = ['SYSTEM DOWN', 'SERIOUS', 'MODERATE'] as const;

async function secretFile(name: string, secret: string) {
  const path = join(folder, name);
  await writeFile(path, `${secret}\n`);
  return { kind: 'file', path } as const;
}

async function portOf(server: Server | NetServer): Promise<number> {
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

test('the MIB is valid, and names the number of every notification that is sent', async () => {
  const translate = (...args: string[]) =>
    mustRun('snmptranslate', ['-Pew', '-M', mibs, '-m', 'HOLDFAST-MIB', ...args]);
  for (const { descriptor, notification } of [...Object.values(codeTraits), heldBackNotification]) {
    const { stdout, stderr } = await translate('-On', `HOLDFAST-MIB::${descriptor}`);
    expect([stdout.trim(), complaints(stderr)]).toEqual([`.1.3.6.1.4.1.32473.1.2.0.${notification}`, []]);
  }
  const { stdout } = await translate('-Tp', '-IR', 'holdfast');
  expect(stdout).toContain('Values: systemDown(1), serious(2), moderate(3), temporary(4)');
});

/** Not what the tool says of itself. */
const complaints = (stderr: string): string[] =>
  stderr.split('\n').filter((line) => line !== '' && !/parsed and ignored|^Created directory/.test(line));

describe('snmptrapd', () => {
  let port: number;
  let output: string;

  async function listen(configuration: string): Promise<void> {
    [port = 0] = await freePorts(1);
    const path = join(folder, 'snmptrapd.conf');
    await writeFile(path, configuration);
    output = '';
    const args = ['-f', '-Lo', '-n', '-M', mibs, '-m', 'HOLDFAST-MIB', '-C', '-c', path, `udp:127.0.0.1:${port}`];
    const child = startCommand('snmptrapd', args, { environment: { SNMP_PERSISTENT_DIR: folder } });
    children.push(child);
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (output += String(text)));
    await until('snmptrapd listens', 20_000, () => (output.includes('NET-SNMP version') ? true : null));
  }
  const heard = (text: string): Promise<string> =>
    until(`snmptrapd prints ${text}\n${output}`, 20_000, () => (output.includes(text) ? output : null));

  const snmp = (access: SnmpSettings['access'], informs = false): SnmpSettings => {
    return { kind: 'snmp', name: 'nms', levels, host: '127.0.0.1', port, informs, access };
  };

  test('prints traps of v2c by the names of the MIB (AS-11)', async () => {
    await listen('authCommunity log secret-word\n');
    const told = await alertsBy(snmp({ version: '2c', community: await secretFile('community', 'secret-word') }));
    told.raise(indication());
    const text = await heard('holdfastAlertMessageId.0');
    for (const part of [
      'HOLDFAST-MIB::holdfastHeartbeatOnlyNetwork',
      'holdfastAlertCluster.0 = STRING: demo',
      'holdfastAlertNode.0 = STRING: east',
      'holdfastAlertComponent.0 = STRING: network',
      'holdfastAlertId.0 = STRING: network west:10815',
      'holdfastAlertLevel.0 = INTEGER: serious(2)',
      'holdfastAlertCode.0 = STRING: heartbeat-only-network',
      'by the network only, since 12 s — mirror hb1 is silent',
      'holdfastAlertTime.0 = STRING: 2026-11-28,3:4:5.0,+0:0',
      'holdfastAlertOver.0 = INTEGER: false(2)',
    ])
      expect(text).toContain(part);
    told.raise(indication({ over: true, text: 'hb1 is heard again' }));
    await heard('holdfastAlertOver.0 = INTEGER: true(1)');
    for (const code of ['switch-over-succeeded', 'switch-over-failed'] as const)
      told.raise(indication({ component: 'group', id: 'group g1', group: 'g1', code }));
    expect(await heard('holdfastSwitchOverFailed')).toContain('holdfastSwitchOverSucceeded');
  });

  test('takes authenticated, encrypted traps of v3, before and after a restart of the node', async () => {
    const file = join(folder, 'alerts', 'snmp-engine.json');
    await environment.files.makeFolder(join(folder, 'alerts'));
    const engine = await openSnmpEngine(environment.files, environment.random, file);
    const id = Buffer.from(engine.id).toString('hex');
    await listen(
      `createUser -e 0x${id} holdfast SHA-256 "auth-secret" AES "priv-secret"\nauthUser log holdfast priv\n`,
    );
    const settings = snmp({
      version: '3',
      user: 'holdfast',
      authentication: 'sha256',
      authenticationKey: await secretFile('auth', 'auth-secret'),
      privacy: 'aes',
      privacyKey: await secretFile('priv', 'priv-secret'),
    });
    (await alertsBy(settings)).raise(indication());
    await heard('holdfastHeartbeatOnlyNetwork');
    (await alertsBy(settings)).raise(indication({ code: 'link-down' }));
    await heard('holdfastLinkDown');
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({ engineId: id, boots: engine.boots + 2 });
  });

  test('answers informs, and one that nobody answers is a failure', async () => {
    await listen('authCommunity log public\n');
    const told = await alertsBy(snmp({ version: '2c', community: null }, true));
    expect(await told.test({ by: 'ada' })).toMatchObject([{ outcome: 'sent' }]);
    await heard('HOLDFAST-MIB::holdfastTest');
    for (const child of children.splice(0)) await endCommand(child, 'SIGKILL');
    expect(await told.test({ by: 'ada' })).toMatchObject([{ outcome: 'failed' }]);
  });
});

test('traps of v3 bear the boots of the engine, without which receivers take them for old (RFC 3414)', async () => {
  const path = join(folder, 'alerts', 'snmp-engine.json');
  await environment.files.makeFolder(join(folder, 'alerts'));
  await writeFile(path, JSON.stringify({ engineId: '80007ed9050102030405', boots: 41 }));
  const receiver = createSocket('udp4');
  receiver.bind(0, '127.0.0.1');
  await once(receiver, 'listening');
  try {
    const access = {
      version: '3',
      user: 'u',
      authentication: 'sha256',
      authenticationKey: null,
      privacy: 'aes',
      privacyKey: null,
    } as const;
    const { port } = receiver.address();
    const told = await alertsBy({
      kind: 'snmp',
      name: 'nms',
      levels,
      host: '127.0.0.1',
      port,
      informs: false,
      access,
    });
    const message = once(receiver, 'message');
    told.raise(indication());
    const [bytes] = (await message) as [Buffer];
    // The engine's id, then boots as an INTEGER of one byte.
    expect(bytes.toString('hex')).toContain('80007ed905010203040502012a');
  } finally {
    receiver.close();
  }
});

describe('a webhook', () => {
  interface Received {
    readonly headers: IncomingHttpHeaders;
    readonly body: string;
  }
  const received: Received[] = [];
  let answers: number[];
  let url: string;

  beforeEach(async () => {
    received.length = 0;
    answers = [];
    const server = createHttpServer((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        received.push({ headers: request.headers, body });
        response.writeHead(answers.shift() ?? 204).end();
      });
    });
    url = `http://127.0.0.1:${await portOf(server)}/hooks/secret-path`;
  });

  const arrived = (count: number) =>
    until(`${count} requests`, 20_000, () => (received.length >= count ? received.map((one) => one) : null));

  test('gets the message as JSON, signed with the time', async () => {
    const secret = await secretFile('hook', 'hook-secret');
    const told = await alertsBy({ kind: 'webhook', name: 'hook', levels, url, secret, caPath: null });
    told.raise(indication());
    const [first] = await arrived(1);
    const timestamp = String(first?.headers['holdfast-timestamp']);
    expect(Math.abs(Number(timestamp) - Date.now() / 1000)).toBeLessThan(30);
    const mac = createHmac('sha256', 'hook-secret').update(`${timestamp}.${first?.body}`).digest('hex');
    expect(first?.headers['holdfast-signature']).toBe(`sha256=${mac}`);
    const message = JSON.parse(first?.body ?? '') as AlertMessage;
    expect(message).toMatchObject({
      schema: 1,
      occasion: 'new',
      cluster: 'demo',
      sender: 'east',
      level: 'SERIOUS',
      over: false,
    });
    expect(first?.headers['holdfast-message-id']).toBe(message.messageId);
  });

  test('that fails twice is tried until it takes the message, which stays the same', async () => {
    answers = [500, 503];
    const told = await alertsBy({ kind: 'webhook', name: 'hook', levels, url, secret: null, caPath: null });
    told.raise(indication());
    await arrived(1);
    await until('failing', 5000, () => (told.sinks[0]?.state === 'failing' ? true : null));
    expect(told.sinks[0]?.problem).toMatch(/^127\.0\.0\.1:\d+ answered 500$/);
    const bodies = (await arrived(3)).map(({ body }) => body);
    expect(new Set(bodies).size).toBe(1);
    await until('delivered', 5000, () => (told.sinks[0]?.sent === 1 ? true : null));
    expect(told.sinks).toMatchObject([{ state: 'ok', queued: 0, problem: null }]);
    expect(received[0]?.headers['holdfast-signature']).toBeUndefined();
  });
});

describe('e-mail', () => {
  interface Mail {
    readonly login: string | null;
    readonly from: string;
    readonly to: readonly string[];
    readonly text: string;
  }
  let mails: Mail[];
  let port: number;

  /** As much of RFC 5321 and of AUTH PLAIN (RFC 4954) as a client needs. */
  beforeEach(async () => {
    mails = [];
    port = await portOf(
      createServer((socket) => {
        const to: string[] = [];
        let [login, from, text] = [null as string | null, '', null as string | null];
        let rest = '';
        const say = (line: string) => socket.write(`${line}\r\n`);
        const take = (line: string): void => {
          const [, address = ''] = /<(.*)>/.exec(line) ?? [];
          if (text !== null) {
            if (line !== '.') text += `${line}\n`;
            else {
              mails.push({ login, from, to, text });
              text = null;
              say('250 taken');
            }
          } else if (line.startsWith('EHLO')) socket.write('250-here\r\n250 AUTH PLAIN\r\n');
          else if (line.startsWith('AUTH PLAIN ')) {
            login = Buffer.from(line.slice(11), 'base64').toString();
            say(login.endsWith('\0mail-secret') ? '235 welcome' : '535 no');
          } else if (line.startsWith('MAIL')) say(((from = address), '250 ok'));
          else if (line.startsWith('RCPT')) say((to.push(address), '250 ok'));
          else if (line === 'DATA') say(((text = ''), '354 go on'));
          else if (line === 'STARTTLS') say('502 not here');
          else if (line === 'QUIT') socket.end('221 bye\r\n');
          else say('250 ok');
        };
        say('220 test');
        socket.setEncoding('utf8').on('error', () => {});
        socket.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\r\n');
          rest = lines.pop() ?? '';
          lines.forEach(take);
        });
      }),
    );
  });

  const email = (secret: { readonly kind: 'file'; readonly path: string }, security: 'none' | 'starttls' = 'none') =>
    ({
      kind: 'email',
      name: 'mail',
      levels,
      host: '127.0.0.1',
      port,
      security,
      caPath: null,
      login: { user: 'ops', password: secret },
      from: 'holdfast@example.org',
      to: ['ada@example.org', 'bob@example.org'],
    }) as const;

  test('goes to all, says what and what to do, and says when it is over', async () => {
    const told = await alertsBy(email(await secretFile('mail', 'mail-secret')));
    told.raise(indication({ text: 'no answer' }));
    const mail = await until('mail', 20_000, () => mails[0] ?? null);
    expect(mail).toMatchObject({
      login: '\0ops\0mail-secret',
      from: 'holdfast@example.org',
      to: ['ada@example.org', 'bob@example.org'],
    });
    expect(mail.text).toContain('Subject: [demo] SERIOUS heartbeat-only-network: network west:10815\n');
    expect(mail.text).toContain('\nno answer\n');
    expect(mail.text).toContain('since:     2026-11-28T03:04:05.000Z');
    expect(mail.text).toContain('docs/manual/alerts/heartbeat-only-network.md');
    told.raise(indication({ over: true, text: 'it answers' }));
    const over = await until('second mail', 20_000, () => mails[1] ?? null);
    expect(over.text).toMatch(/^Subject: \[demo\] OVER: SERIOUS heartbeat-only-network/m);
    expect(over.text).toContain('\nOVER: it answers\n');
  });

  test('fails with a wrong password, and where TLS is asked for and there is none', async () => {
    const wrong = await alertsBy(email(await secretFile('mail', 'wrong')));
    expect(await wrong.test({ by: 'ada' })).toMatchObject([
      { outcome: 'failed', detail: expect.stringContaining('535') },
    ]);
    const plain = await alertsBy(email(await secretFile('mail', 'mail-secret'), 'starttls'));
    expect(await plain.test({ by: 'ada' })).toMatchObject([{ outcome: 'failed' }]);
    expect(mails).toEqual([]);
  });
});

describe('a command', () => {
  const command = (script: string, timeLimitMs = 10_000): SinkSettings => {
    return { kind: 'command', name: 'run', levels, program: '/bin/sh', args: ['-c', script], timeLimitMs };
  };

  test("gets the message on standard input and in the environment, and nothing of the node's own", async () => {
    process.env['HOLDFAST_TEST_SECRET'] = 'secret';
    try {
      const told = await alertsBy(command(`cat > ${folder}/input; env > ${folder}/env`));
      expect(await told.test({ by: 'ada' })).toMatchObject([{ outcome: 'sent' }]);
      const message = JSON.parse(await readFile(join(folder, 'input'), 'utf8')) as AlertMessage;
      expect(message).toMatchObject({ code: 'test', cluster: 'demo' });
      const given = await readFile(join(folder, 'env'), 'utf8');
      expect(given).toContain(`HOLDFAST_ALERT_MESSAGE_ID=${message.messageId}\n`);
      expect(given.split('\n')).toEqual(
        expect.arrayContaining(['HOLDFAST_ALERT_LEVEL=SYSTEM DOWN', 'HOLDFAST_ALERT_GROUP=']),
      );
      expect(given).not.toContain('HOLDFAST_TEST_SECRET');
    } finally {
      delete process.env['HOLDFAST_TEST_SECRET'];
    }
  });

  test('that fails is shown with what it printed', async () => {
    const told = await alertsBy(command('echo no modem >&2; exit 3'));
    expect(await told.test({ by: 'ada' })).toEqual([
      { sink: 'run', outcome: 'failed', detail: '/bin/sh ended with exit status 3: no modem' },
    ]);
  });

  test('that does not end is ended with its children', async () => {
    const told = await alertsBy(command(`sleep 60 & echo $! > ${folder}/child; wait`, 500));
    expect(await told.test({ by: 'ada' })).toMatchObject([{ detail: '/bin/sh did not end within 500 ms' }]);
    const child = Number(await readFile(join(folder, 'child'), 'utf8'));
    await until('its child has ended', 5000, async () => ((await isRunning(child)) ? null : true));
  });
});

/** What has ended may wait for a parent that asks how. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tZ');
  return !/^State:\s+[ZX]/m.test(status);
}
