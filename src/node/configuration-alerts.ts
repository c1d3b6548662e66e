/**
 * The section `alerts:` of `holdfast.yaml`: how this node tells people of failures. Never part of the cluster document:
 * each node reads it from its own file at start.
 */
import { resolve } from 'node:path';
import { z } from 'zod';
import { defaultAlertSettings, type AlertSettings } from '../alerts/alerts.ts';
import { alertLevels } from '../alerts/codes.ts';
import { isTimeZone, parseHourSpans } from '../alerts/service-hours.ts';
import { formatAddress } from '../base/network.ts';
import type { AlertLevel } from '../pulse/indication.ts';
import {
  snmpAuthentications,
  snmpPrivacies,
  type SecretSource,
  type SinkSettings,
} from './alert-sinks/sink-settings.ts';
import {
  duration,
  field,
  list,
  name,
  oneOf,
  path,
  readTcp,
  section,
  show,
  whole,
  Wrong,
} from './configuration-fields.ts';

export interface AlertsConfiguration extends AlertSettings {
  readonly sinks: readonly SinkSettings[];
}

export const defaultAlertsConfiguration: AlertsConfiguration = { ...defaultAlertSettings, sinks: [] };

const sinkKinds = ['snmp', 'webhook', 'email', 'command'] as const;
const sinksMax = 32;
const defaultLevels: readonly AlertLevel[] = ['SYSTEM DOWN', 'SERIOUS', 'MODERATE'];
const defaultCommandLimitMs = 10_000;

const hourSpans = field('days and hours such as "mon-fri 08:00-18:00"', (value) =>
  typeof value === 'string' ? parseHourSpans(value) : null,
);

const timeZone = field('a time zone such as Europe/Berlin or UTC', (value) =>
  typeof value === 'string' && isTimeZone(value) ? value : null,
);

const level = field(`one of ${defaultLevels.join(', ')}`, (value): AlertLevel | null | Wrong => {
  if (value === 'TEMPORARY') return new Wrong('TEMPORARY is only logged; leave it away');
  return alertLevels.find((one) => one === value) ?? null;
});

const text = (right: string) => field(right, (value) => (typeof value === 'string' && value !== '' ? value : null));

const address = (form: string) =>
  field(form, (value) => {
    const at = readTcp(value);
    return at === null || at.port === 0 ? null : at;
  });

const environmentName = field('the name of an environment variable', (value) =>
  typeof value === 'string' && /^[A-Za-z_][A-Za-z0-9_]*$/.test(value) ? value : null,
);

/** A secret of two spellings: `<key>-file` and `<key>-env`. */
const secret = <Key extends string>(key: Key) =>
  ({ [`${key}-file`]: path.optional(), [`${key}-env`]: environmentName.optional() }) as Record<
    `${Key}-file`,
    z.ZodOptional<typeof path>
  > &
    Record<`${Key}-env`, z.ZodOptional<typeof environmentName>>;

const common = { name, levels: list(level, 'levels', { min: 1 }).optional() };

const mailAddress = field('a mail address such as ops@example.org', (value) =>
  typeof value === 'string' && /^[^\s@<>,]+@[^\s@<>,]+$/.test(value) ? value : null,
);

const sinkSections = {
  snmp: section('a sink of the kind snmp', {
    kind: oneOf(['snmp']),
    ...common,
    to: address('host:port, such as 10.0.0.9:162'),
    version: field('2c or 3', (value): '2c' | '3' | null =>
      value === '2c' ? '2c' : String(value) === '3' ? '3' : null,
    ),
    inform: field('true or false', (value) => (typeof value === 'boolean' ? value : null)).optional(),
    ...secret('community'),
    user: text('the name of a user at the receiver').optional(),
    auth: oneOf(snmpAuthentications).optional(),
    ...secret('auth-key'),
    privacy: oneOf(snmpPrivacies).optional(),
    ...secret('privacy-key'),
  }),
  webhook: section('a sink of the kind webhook', {
    kind: oneOf(['webhook']),
    ...common,
    url: field('a URL such as https://example.org/hook', readUrl),
    ...secret('secret'),
    ca: path.optional(),
  }),
  email: section('a sink of the kind email', {
    kind: oneOf(['email']),
    ...common,
    server: address('host:port, such as mail.example.org:587'),
    security: oneOf(['tls', 'starttls', 'none']).optional(),
    ca: path.optional(),
    user: text('the name to log in with').optional(),
    ...secret('password'),
    from: mailAddress,
    to: list(mailAddress, 'addresses', { min: 1 }),
  }),
  command: section('a sink of the kind command', {
    kind: oneOf(['command']),
    ...common,
    run: list(text('a word of a command'), 'words, the program first', { min: 1 }),
    'time-limit': duration(100, 50_000, 'from 100ms to 50s').optional(),
  }),
};

function readUrl(value: unknown): string | null | Wrong {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:')) return null;
  if (url.username !== '' || url.password !== '') return new Wrong('holds a password; sign with secret-file instead');
  return url.href;
}

type Sections = typeof sinkSections;
type DeclaredSink = { [Kind in keyof Sections]: z.infer<Sections[Kind]> }[keyof Sections];

/** By its kind, so that what is said of a wrong key is said of that kind's keys. */
const sink = z.unknown().transform((value, context): DeclaredSink => {
  const kind = typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined;
  const known = sinkKinds.find((one) => one === kind);
  if (known === undefined) {
    const said = kind === undefined || kind === null ? 'is missing; it should be' : `${show(kind)} is not`;
    context.addIssue({ code: 'custom', path: ['kind'], message: `${said} one of ${sinkKinds.join(', ')}` });
    return z.NEVER;
  }
  const result = sinkSections[known].safeParse(value);
  for (const { path, message, ...issue } of result.error?.issues ?? []) {
    if (issue.code === 'unrecognized_keys') context.addIssue({ code: issue.code, keys: issue.keys, path, message });
    else context.addIssue({ code: 'custom', path, message });
  }
  if (!result.success) return z.NEVER;
  for (const [key, message] of mistakesOf(result.data)) context.addIssue({ code: 'custom', path: [key], message });
  return result.data;
});

export const alertsSchema = section('alerts', {
  'service-hours': list(hourSpans, 'spans', { min: 0 }).optional(),
  'time-zone': timeZone.optional(),
  repeat: duration(60_000, 7 * 86_400_000, 'from 1min to 7d').optional(),
  'per-hour': whole(1, 1000).optional(),
  sinks: list(sink, 'sinks', { min: 0 })
    .max(sinksMax, { error: `has too many; there are ${sinksMax} at most` })
    .superRefine((sinks, context) => {
      sinks.forEach((one, index) => {
        if (sinks.findIndex((other) => other.name === one.name) === index) return;
        context.addIssue({
          code: 'custom',
          path: [index, 'name'],
          message: `there is a sink ${one.name} above already`,
        });
      });
    })
    .optional(),
});

/** What takes more than one value to see. */
function* mistakesOf(declared: DeclaredSink): Generator<[key: string, message: string]> {
  const has = (key: string): boolean => Object.hasOwn(declared, key);
  const isGiven = (key: string): boolean => has(`${key}-file`) || has(`${key}-env`);
  for (const key of ['community', 'auth-key', 'privacy-key', 'secret', 'password'])
    if (has(`${key}-file`) && has(`${key}-env`))
      yield [`${key}-env`, `stands beside ${key}-file; one of them is enough`];
  if (declared.kind === 'snmp') {
    const [own, others] =
      declared.version === '2c'
        ? [[], ['user', 'auth', 'auth-key', 'privacy', 'privacy-key']]
        : [['user'], ['community']];
    for (const key of own) if (!has(key)) yield [key, 'is missing; it should be the name of a user at the receiver'];
    for (const key of others) {
      for (const spelling of [key, `${key}-file`, `${key}-env`])
        if (has(spelling)) yield [spelling, `is of no use with version ${declared.version}`];
    }
    if (isGiven('privacy-key') && !isGiven('auth-key'))
      yield ['auth-key-file', 'is missing; privacy needs authentication, and auth-key-file or auth-key-env for it'];
  }
  if (declared.kind === 'email' && has('user') !== isGiven('password'))
    yield has('user')
      ? ['password-file', 'is missing; write password-file or password-env for the user']
      : ['user', 'is missing; it should be the name to log in with'];
}

export type DeclaredAlerts = z.infer<typeof alertsSchema>;

/** @param folder of the file: paths are relative to it. */
export function alertsConfiguration(declared: DeclaredAlerts | undefined, folder: string): AlertsConfiguration {
  const defaults = defaultAlertsConfiguration;
  return {
    serviceHours: declared?.['service-hours']?.flat() ?? defaults.serviceHours,
    timeZone: declared?.['time-zone'] ?? defaults.timeZone,
    repeatMs: declared?.repeat ?? defaults.repeatMs,
    perHour: declared?.['per-hour'] ?? defaults.perHour,
    sinks: (declared?.sinks ?? []).map((one) => sinkSettings(one, folder)),
  };
}

function sinkSettings(declared: DeclaredSink, folder: string): SinkSettings {
  const { name, levels = defaultLevels } = declared;
  const source = (file: string | undefined, variable: string | undefined): SecretSource | null => {
    if (file !== undefined) return { kind: 'file', path: resolve(folder, file) };
    return variable === undefined ? null : { kind: 'environment', name: variable };
  };
  const caPath = 'ca' in declared && declared.ca !== undefined ? resolve(folder, declared.ca) : null;
  switch (declared.kind) {
    case 'snmp': {
      const { host, port } = declared.to;
      const common = { kind: 'snmp', name, levels, host, port, informs: declared.inform ?? false } as const;
      const community = source(declared['community-file'], declared['community-env']);
      if (declared.version === '2c') return { ...common, access: { version: '2c', community } };
      const access = {
        version: '3',
        user: declared.user ?? '',
        authentication: declared.auth ?? 'sha256',
        authenticationKey: source(declared['auth-key-file'], declared['auth-key-env']),
        privacy: declared.privacy ?? 'aes',
        privacyKey: source(declared['privacy-key-file'], declared['privacy-key-env']),
      } as const;
      return { ...common, access };
    }
    case 'webhook': {
      const secretSource = source(declared['secret-file'], declared['secret-env']);
      return { kind: 'webhook', name, levels, url: declared.url, secret: secretSource, caPath };
    }
    case 'email': {
      const { from, to, user, server, security = 'starttls' } = declared;
      const password = source(declared['password-file'], declared['password-env']);
      const login = user === undefined || password === null ? null : { user, password };
      return { kind: 'email', name, levels, ...hostAndPort(server), security, caPath, login, from, to };
    }
    case 'command': {
      const [program = '', ...args] = declared.run;
      const timeLimitMs = declared['time-limit'] ?? defaultCommandLimitMs;
      // A bare word is looked for in PATH, as a shell does.
      const found = program.includes('/') ? resolve(folder, program) : program;
      return { kind: 'command', name, levels, program: found, args, timeLimitMs };
    }
  }
}

const hostAndPort = ({ host, port }: { readonly host: string; readonly port: number }) => ({ host, port });

/** As a file would say it, nothing left to defaults. */
export function describeAlerts(alerts: AlertsConfiguration): unknown {
  return {
    'service-hours': alerts.serviceHours.map(({ fromMinute, toMinute }) => spanText(fromMinute, toMinute)),
    'time-zone': alerts.timeZone,
    repeat: `${alerts.repeatMs}ms`,
    'per-hour': alerts.perHour,
    sinks: alerts.sinks.map(describeSink),
  };
}

const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

function spanText(fromMinute: number, toMinute: number): string {
  const day = Math.floor(fromMinute / 1440);
  const time = (minute: number): string =>
    `${String(Math.floor(minute / 60)).padStart(2, '0')}:${String(minute % 60).padStart(2, '0')}`;
  const end = toMinute - day * 1440;
  return `${days[day]} ${time(fromMinute - day * 1440)}-${time(end > 1440 ? end - 1440 : end)}`;
}

function describeSink(sink: SinkSettings): unknown {
  const { kind, name, levels } = sink;
  const secretAs = (key: string, from: SecretSource | null) =>
    from === null ? {} : from.kind === 'file' ? { [`${key}-file`]: from.path } : { [`${key}-env`]: from.name };
  const ca = 'caPath' in sink && sink.caPath !== null ? { ca: sink.caPath } : {};
  const common = { name, kind, levels };
  switch (kind) {
    case 'snmp': {
      const { access, informs } = sink;
      const to = formatAddress({ kind: 'tcp', host: sink.host, port: sink.port });
      if (access.version === '2c')
        return { ...common, to, version: '2c', inform: informs, ...secretAs('community', access.community) };
      const { user, authentication: auth, authenticationKey, privacy, privacyKey } = access;
      const keys = {
        auth,
        ...secretAs('auth-key', authenticationKey),
        privacy,
        ...secretAs('privacy-key', privacyKey),
      };
      return { ...common, to, version: 3, inform: informs, user, ...keys };
    }
    case 'webhook':
      return { ...common, url: sink.url, ...secretAs('secret', sink.secret), ...ca };
    case 'email': {
      const server = formatAddress({ kind: 'tcp', host: sink.host, port: sink.port });
      const { security, login, from, to } = sink;
      const user = login === null ? {} : { user: login.user, ...secretAs('password', login.password) };
      return { ...common, server, security, ...ca, ...user, from, to };
    }
    case 'command':
      return { ...common, run: [sink.program, ...sink.args], 'time-limit': `${sink.timeLimitMs}ms` };
  }
}
