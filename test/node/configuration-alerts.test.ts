import { describe, expect, it } from 'vitest';
import { defaultAlertsConfiguration } from '../../src/node/configuration-alerts.ts';
import { describeConfiguration, parseConfiguration, requireConfiguration } from '../../src/node/configuration.ts';
import { stringify } from 'yaml';

const base = `cluster: demo
store: { kind: file, path: store }
sites: [here]
nodes:
  - { name: east, site: here, data: east, replication: '127.0.0.1:10815', api: '127.0.0.1:8009', nbd: ['127.0.0.1:10809'] }
`;
const read = (alerts: string) => requireConfiguration(`${base}${alerts}`, '/etc/holdfast.yaml').alerts;
const problems = (alerts: string): string[] => {
  const parsed = parseConfiguration(`${base}${alerts}`, '/etc/holdfast.yaml');
  return parsed.kind === 'right' ? [] : parsed.problems.map(({ line, message }) => `${line - 5}: ${message}`);
};
const sink = (text: string) => problems(`alerts:\n  sinks:\n    - { name: a, ${text} }`).map((line) => line.slice(3));

const everything = `alerts:
  service-hours: ['mon-fri 08:00-18:00', 'sun 22:00-02:00']
  time-zone: Europe/Berlin
  repeat: 4h
  per-hour: 12
  sinks:
    - { name: nms, kind: snmp, to: '10.0.0.9:162', version: 3, user: holdfast, auth-key-file: auth.key, privacy-key-env: PRIV }
    - { name: old, kind: snmp, to: '10.0.0.9:162', version: 2c, inform: true, levels: [SYSTEM DOWN] }
    - { name: hook, kind: webhook, url: 'https://example.org/hook', secret-file: hook.key, ca: ca.pem }
    - { name: mail, kind: email, server: 'mail.example.org:587', user: u, password-env: MAIL, from: a@example.org, to: [b@example.org] }
    - { name: run, kind: command, run: [./page.sh, '--now'], time-limit: 5s }
`;

describe('the section alerts', () => {
  it('may be absent: alerts are logged only', () => {
    expect(read('')).toEqual(defaultAlertsConfiguration);
    expect(read('alerts: {}')).toEqual(defaultAlertsConfiguration);
  });

  it('says when people are in service, how often they are told, and by what', () => {
    const levels = ['SYSTEM DOWN', 'SERIOUS', 'MODERATE'];
    const alerts = read(everything);
    expect(alerts).toMatchObject({ timeZone: 'Europe/Berlin', repeatMs: 14_400_000, perHour: 12 });
    expect(alerts.serviceHours).toHaveLength(7);
    expect(alerts.sinks).toEqual([
      {
        kind: 'snmp',
        name: 'nms',
        levels,
        host: '10.0.0.9',
        port: 162,
        informs: false,
        access: {
          version: '3',
          user: 'holdfast',
          authentication: 'sha256',
          authenticationKey: { kind: 'file', path: '/etc/auth.key' },
          privacy: 'aes',
          privacyKey: { kind: 'environment', name: 'PRIV' },
        },
      },
      {
        kind: 'snmp',
        name: 'old',
        levels: ['SYSTEM DOWN'],
        host: '10.0.0.9',
        port: 162,
        informs: true,
        access: { version: '2c', community: null },
      },
      {
        kind: 'webhook',
        name: 'hook',
        levels,
        url: 'https://example.org/hook',
        secret: { kind: 'file', path: '/etc/hook.key' },
        caPath: '/etc/ca.pem',
      },
      {
        kind: 'email',
        name: 'mail',
        levels,
        host: 'mail.example.org',
        port: 587,
        security: 'starttls',
        caPath: null,
        login: { user: 'u', password: { kind: 'environment', name: 'MAIL' } },
        from: 'a@example.org',
        to: ['b@example.org'],
      },
      { kind: 'command', name: 'run', levels, program: '/etc/page.sh', args: ['--now'], timeLimitMs: 5000 },
    ]);
  });

  it('is described as a file would say it', () => {
    const configuration = requireConfiguration(`${base}${everything}`, '/etc/holdfast.yaml');
    const again = requireConfiguration(stringify(describeConfiguration(configuration)), '/etc/again.yaml');
    const sorted = (spans: typeof again.alerts.serviceHours) =>
      [...spans].sort((a, b) => a.fromMinute - b.fromMinute);
    expect(again.alerts.sinks).toEqual(configuration.alerts.sinks);
    expect(sorted(again.alerts.serviceHours)).toEqual(sorted(configuration.alerts.serviceHours));
  });

  it('refuses what is wrong, by line, with what would be right', () => {
    expect(
      problems(
        "alerts:\n  repeat: 1h\n  service-hours: ['moon 08:00-18:00']\n  time-zone: Europe/Atlantis\n  perhour: 3",
      ),
    ).toEqual([
      '3: alerts.service-hours[0]: "moon 08:00-18:00" is not days and hours such as "mon-fri 08:00-18:00"',
      '4: alerts.time-zone: "Europe/Atlantis" is not a time zone such as Europe/Berlin or UTC',
      '5: alerts.perhour: no such key (did you mean "per-hour"?)',
    ]);
  });

  it.each([
    ['kind: pager', 'kind: "pager" is not one of snmp, webhook, email, command'],
    ['knd: snmp', 'kind: is missing; it should be one of snmp, webhook, email, command'],
    ['kind: command, run: [x], levels: [TEMPORARY]', 'levels[0]: TEMPORARY is only logged; leave it away'],
    ['kind: command, run: [x], timelimit: 5s', 'timelimit: no such key (did you mean "time-limit"?)'],
    ['kind: command, run: []', 'run: is empty; there must be at least 1 of the words, the program first'],
    ['kind: webhook, url: ftp://x', 'url: "ftp://x" is not a URL such as https://example.org/hook'],
    ["kind: webhook, url: 'https://u:p@x/'", 'url: holds a password; sign with secret-file instead'],
    [
      'kind: webhook, url: http://x, secret-file: a, secret-env: B',
      'secret-env: stands beside secret-file; one of them is enough',
    ],
    ["kind: snmp, to: 'x:162', version: 1", 'version: 1 is not 2c or 3'],
    ["kind: snmp, to: 'x:162', version: 3", 'user: is missing; it should be the name of a user at the receiver'],
    ["kind: snmp, to: 'x:162', version: 2c, user: u", 'user: is of no use with version 2c'],
    ["kind: snmp, to: 'x:162', version: 3, user: u, community-env: C", 'community-env: is of no use with version 3'],
    [
      "kind: snmp, to: 'x:162', version: 3, user: u, privacy-key-env: P",
      'auth-key-file: is missing; privacy needs authentication, and auth-key-file or auth-key-env for it',
    ],
    [
      "kind: email, server: 'x:25', from: a@b, to: [c@d], user: u",
      'password-file: is missing; write password-file or password-env for the user',
    ],
  ])('of a sink: %s', (text, message) => {
    expect(sink(text)).toEqual([`alerts.sinks[0].${message}`]);
  });

  it('refuses two sinks of one name', () => {
    const twice =
      'alerts:\n  sinks:\n    - { name: a, kind: command, run: [x] }\n    - { name: a, kind: command, run: [y] }';
    expect(problems(twice)).toEqual(['4: alerts.sinks[1].name: there is a sink a above already']);
  });
});
