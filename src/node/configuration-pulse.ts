/**
 * The section `pulse` of `holdfast.yaml`, and what it takes of each node: how heartbeats travel, and how long silence may
 * last. What only one node needs, the key's file, is no part of the cluster document.
 */
import { normalize, resolve } from 'node:path';
import { z } from 'zod';
import { formatAddress, parseAddress, type HostPort } from '../base/network.ts';
import { checkSettings, presets, type PresetSettings } from '../pulse/presets.ts';
import type { HeartbeatMirror, Interconnect, PulseSettings } from '../pulse/settings.ts';
import { mirrorEntriesMax } from '../pulse/status-table.ts';
import {
  duration,
  field,
  list,
  name,
  oneOf,
  path,
  reachable,
  section,
  show,
  whole,
  yesNo,
} from './configuration-fields.ts';
import { command, commandEntry, describeCommand } from './configuration-resources.ts';
import { didYouMean } from './configuration-positions.ts';
import type { Finding } from './configuration-schema.ts';

export interface PulseConfiguration {
  readonly settings: PulseSettings;
  /** Absolute; null: the key is in the environment, as `HOLDFAST_PULSE_KEY`. */
  readonly keyFile: string | null;
}

const dayMs = 86_400_000;
const defaultBaudRate = 115_200;
const addressesMax = 8;

const time = duration(20, dayMs, 'from 20ms to 24h');
const timeOrNone = duration(0, dayMs, 'from 0 to 24h');

/** Of a node: where it is reached by heartbeats. */
export const nodePulseFields = {
  pulse: list(reachable('a UDP address', '10.0.0.1:10815'), 'addresses', { min: 1 })
    .max(addressesMax, { error: `has too many; ${addressesMax} addresses at most` })
    .optional(),
  heartbeat: reachable('a TCP address', '10.0.0.1:10817').optional(),
};

const end = field('a serial device such as /dev/ttyS0, unix:/path or host:port', (value) => {
  if (typeof value !== 'string') return null;
  if (value.startsWith('/') && !value.includes('\0')) return value;
  return parseAddress(value) === null ? null : value;
});

const mirror = section('a heartbeat mirror', {
  name,
  from: name,
  to: name,
  paths: z
    .record(z.string(), path, { error: (issue) => `${show(issue.input)} is not of the form NODE: PATH` })
    .optional(),
});

const interconnect = section('an interconnect', {
  name,
  at: z.record(z.string(), end, { error: (issue) => `${show(issue.input)} is not of the form NODE: DEVICE` }),
  'baud-rate': whole(300, 4_000_000).optional(),
});

/** Of the check that a node may be heard; short, for nobody is told anything in the meantime. */
const checkTimeoutMs = 2000;

export const pulseSchema = section('the pulse', {
  preset: oneOf(['lan', 'wan', 'classic']).optional(),
  'key-file': path.optional(),
  interval: time.optional(),
  timeout: time.optional(),
  probation: timeOrNone.optional(),
  validity: section('what makes a heartbeat valid', {
    serial: yesNo.optional(),
    time: yesNo.optional(),
    check: command.optional(),
  }).optional(),
  'connection-timeout': time.optional(),
  'connection-probation': timeOrNone.optional(),
  'master-timeout': time.optional(),
  presence: section('the presence check', {
    enabled: yesNo.optional(),
    wait: time.optional(),
    retries: whole(0, 1000).optional(),
  }).optional(),
  'start-up': timeOrNone.optional(),
  stall: time.optional(),
  'lease-ttl': time.optional(),
  'lease-margin': time.optional(),
  link: section('the supervision of links', {
    echo: time.optional(),
    silence: time.optional(),
    'command-timeout': time.optional(),
    'frames-count': yesNo.optional(),
  }).optional(),
  network: yesNo.optional(),
  mirrors: list(mirror, 'heartbeat mirrors', { min: 0 }).optional(),
  interconnects: list(interconnect, 'interconnects', { min: 0 }).optional(),
});

type DeclaredPulse = z.infer<typeof pulseSchema>;

/** Relative paths are relative to `folder`. */
export function toPulseConfiguration(declared: DeclaredPulse | undefined, folder: string): PulseConfiguration | null {
  if (declared === undefined) return null;
  const keyFile = declared['key-file'];
  return {
    settings: {
      ...timesOf(declared),
      network: declared.network ?? true,
      mirrors: (declared.mirrors ?? []).map(({ paths = {}, ...rest }): HeartbeatMirror => ({
        ...rest,
        paths: mapped(paths, (file) => resolve(folder, file)),
      })),
      interconnects: (declared.interconnects ?? []).map((each): Interconnect => ({
        name: each.name,
        at: mapped(each.at, (text) => absoluteEnd(text, folder)),
        baudRate: each['baud-rate'] ?? defaultBaudRate,
      })),
    },
    keyFile: keyFile === undefined ? null : resolve(folder, keyFile),
  };
}

/** The preset's numbers, less those that are given. */
function timesOf(declared: DeclaredPulse): PresetSettings {
  const preset = presets[declared.preset ?? 'lan'];
  const { validity = {}, presence = {}, link = {} } = declared;
  return {
    preset: preset.preset,
    intervalMs: declared.interval ?? preset.intervalMs,
    timeoutMs: declared.timeout ?? preset.timeoutMs,
    probationMs: declared.probation ?? preset.probationMs,
    validity: {
      serial: validity.serial ?? preset.validity.serial,
      time: validity.time ?? preset.validity.time,
      ...(validity.check === undefined ? {} : { check: commandEntry(validity.check, checkTimeoutMs) }),
    },
    connectionTimeoutMs: declared['connection-timeout'] ?? preset.connectionTimeoutMs,
    connectionProbationMs: declared['connection-probation'] ?? preset.connectionProbationMs,
    masterTimeoutMs: declared['master-timeout'] ?? preset.masterTimeoutMs,
    presence: {
      enabled: presence.enabled ?? preset.presence.enabled,
      waitMs: presence.wait ?? preset.presence.waitMs,
      retries: presence.retries ?? preset.presence.retries,
    },
    startUpMs: declared['start-up'] ?? preset.startUpMs,
    stallMs: declared.stall ?? preset.stallMs,
    leaseTtlMs: declared['lease-ttl'] ?? preset.leaseTtlMs,
    leaseMarginMs: declared['lease-margin'] ?? preset.leaseMarginMs,
    link: {
      echoMs: link.echo ?? preset.link.echoMs,
      silenceMs: link.silence ?? preset.link.silenceMs,
      commandTimeoutMs: link['command-timeout'] ?? preset.link.commandTimeoutMs,
      ...(link['frames-count'] === undefined ? {} : { framesCount: link['frames-count'] }),
    },
  };
}

/** As a file would say it, nothing left to defaults. */
export function describePulse({ settings, keyFile }: PulseConfiguration): unknown {
  const ms = (value: number): string => `${value}ms`;
  const { presence, link, validity } = settings;
  const { serial, time, check } = validity;
  return {
    preset: settings.preset,
    ...(keyFile === null ? {} : { 'key-file': keyFile }),
    interval: ms(settings.intervalMs),
    timeout: ms(settings.timeoutMs),
    probation: ms(settings.probationMs),
    validity: {
      serial,
      time,
      ...(check === undefined ? {} : { check: describeCommand(check) }),
    },
    'connection-timeout': ms(settings.connectionTimeoutMs),
    'connection-probation': ms(settings.connectionProbationMs),
    'master-timeout': ms(settings.masterTimeoutMs),
    presence: { enabled: presence.enabled, wait: ms(presence.waitMs), retries: presence.retries },
    'start-up': ms(settings.startUpMs),
    stall: ms(settings.stallMs),
    'lease-ttl': ms(settings.leaseTtlMs),
    'lease-margin': ms(settings.leaseMarginMs),
    link: {
      echo: ms(link.echoMs),
      silence: ms(link.silenceMs),
      'command-timeout': ms(link.commandTimeoutMs),
      ...(link.framesCount === undefined ? {} : { 'frames-count': link.framesCount }),
    },
    network: settings.network,
    mirrors: settings.mirrors,
    interconnects: settings.interconnects.map((each) => ({
      name: each.name,
      at: each.at,
      'baud-rate': each.baudRate,
    })),
  };
}

/** As the cluster document has it. */
export const hostPortText = ({ host, port }: HostPort): string => formatAddress({ kind: 'tcp', host, port });

/** A stored document of an older version lacks the numbers that came later: they are the preset's. */
export const withPresetDefaults = (
  stored: Partial<PulseSettings> & Pick<PulseSettings, 'preset'>,
): PulseSettings => ({
  network: true,
  mirrors: [],
  interconnects: [],
  ...presets[stored.preset],
  ...stored,
});

const mapped = (record: Readonly<Record<string, string>>, to: (value: string) => string): Record<string, string> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, to(value)]));

function absoluteEnd(text: string, folder: string): string {
  const address = parseAddress(text);
  return address?.kind === 'unix' ? `unix:${resolve(folder, address.path)}` : text;
}

// ---- what takes more than one value to judge ----

const text = z.string().catch('');
const texts = z.record(z.string(), text).catch({});
const absentNode = {
  name: '',
  data: '',
  replication: '',
  api: '',
  nbd: [],
  iscsi: [],
  pulse: undefined,
  heartbeat: '',
};

const sketch = z
  .object({
    pulse: z
      .object({
        network: z.boolean().catch(true),
        mirrors: z
          .array(
            z
              .object({ name: text, from: text, to: text, paths: texts })
              .catch({ name: '', from: '', to: '', paths: {} }),
          )
          .catch([]),
        interconnects: z.array(z.object({ name: text, at: texts }).catch({ name: '', at: {} })).catch([]),
      })
      .optional()
      .catch(undefined),
    nodes: z
      .array(
        z
          .object({
            name: text,
            data: text,
            replication: text,
            api: text,
            nbd: z.array(text).catch([]),
            iscsi: z.array(text).catch([]),
            pulse: z.array(text).optional().catch([]),
            heartbeat: text,
          })
          .catch(absentNode),
      )
      .catch([]),
    groups: z
      .array(
        z
          .object({
            name: text,
            volumes: z.array(z.object({ name: text, paths: texts }).catch({ name: '', paths: {} })).catch([]),
            log: z
              .object({
                places: z.record(z.string(), z.union([z.array(text), text.transform((one) => [one])])).catch({}),
              })
              .catch({ places: {} }),
          })
          .catch({ name: '', volumes: [], log: { places: {} } }),
      )
      .catch([]),
  })
  .catch({ pulse: undefined, nodes: [], groups: [] });

type Sketch = z.infer<typeof sketch>;
type SketchOfPulse = NonNullable<Sketch['pulse']>;

/** Lenient: what is malformed is told of elsewhere. */
export function* checkPulse(declared: unknown): Generator<Finding> {
  const configuration = sketch.parse(declared);
  yield* checkAddresses(configuration);
  const { pulse, nodes } = configuration;
  if (pulse === undefined) return;
  yield* checkTimes(declared);
  yield* checkMirrors(configuration, pulse);
  yield* checkInterconnects(configuration, pulse);
  const names = [
    ...pulse.mirrors.map((each, index) => ({ value: each.name, path: ['pulse', 'mirrors', index, 'name'] })),
    ...pulse.interconnects.map((each, index) => ({
      value: each.name,
      path: ['pulse', 'interconnects', index, 'name'],
    })),
  ];
  yield* repeated(names, (value) => `two heartbeat paths are named "${value}"`);
  if (pulse.network) {
    for (const [index, node] of nodes.entries()) {
      if (node.pulse !== undefined || node.name === '') continue;
      const message = `"${node.name}" has no address for heartbeats by the network; write pulse: ['host:port'], or network: false for the pulse`;
      yield { path: ['nodes', index, 'name'], message };
    }
  } else if (pulse.mirrors.length === 0 && pulse.interconnects.length === 0) {
    const message = 'no way is left for heartbeats; write network: true, or mirrors or interconnects';
    yield { path: ['pulse', 'network'], message };
  }
}

function* checkTimes(declared: unknown): Generator<Finding> {
  const section = z.object({ pulse: pulseSchema }).safeParse(declared);
  if (!section.success) return;
  for (const message of checkSettings(timesOf(section.data.pulse))) {
    // The first number named is the one to look at: `link.silence 999ms must …`, `4 × presence.wait 1000ms …`.
    const [, key = ''] = /^(?:[\d.]+ × )?([a-z.-]+)/.exec(message) ?? [];
    yield { path: ['pulse', ...key.split('.')], message };
  }
}

function* checkAddresses({ nodes }: Sketch): Generator<Finding> {
  const everyUdp: { value: string; path: PropertyKey[] }[] = [];
  for (const [index, node] of nodes.entries()) {
    const own = (node.pulse ?? []).map((value, at) => ({ value, path: ['nodes', index, 'pulse', at] }));
    yield* repeated(own, (value) => `${value} is there twice; each path has an address of its own`);
    everyUdp.push(...own.filter(({ value }, at) => own.findIndex((each) => each.value === value) === at));
    const taken = [
      ['replication', node.replication],
      ['api', node.api],
      ...node.nbd.map((at, nbd) => [`nbd[${nbd}]`, at]),
      ...node.iscsi.map((at, portal) => [`iscsi[${portal}]`, at]),
    ].find(([, at]) => at !== '' && at === node.heartbeat);
    if (taken !== undefined) {
      const message = `${node.heartbeat} is taken by ${taken[0] ?? ''} of the same node; choose another port`;
      yield { path: ['nodes', index, 'heartbeat'], message };
    }
  }
  const found = (address: string): string =>
    `two nodes have the address ${address}; each needs its own to be found by`;
  yield* repeated(everyUdp, found);
  yield* repeated(
    nodes.map(({ heartbeat }, index) => ({ value: heartbeat, path: ['nodes', index, 'heartbeat'] })),
    found,
  );
}

function* checkMirrors({ nodes, groups }: Sketch, { mirrors }: SketchOfPulse): Generator<Finding> {
  const files = new Map<string, string>();
  for (const { node, file, use } of productionFiles({ nodes, groups })) files.set(`${node}\0${file}`, use);
  for (const [index, each] of mirrors.entries()) {
    const at = ['pulse', 'mirrors', index];
    yield* refersToNode(nodes, each.from, [...at, 'from']);
    yield* refersToNode(nodes, each.to, [...at, 'to']);
    if (each.from !== '' && each.from === each.to) {
      const message = `"${each.to}" is where it comes from; a heartbeat mirror goes from one node to another`;
      yield { path: [...at, 'to'], message };
    }
    const target = nodes.find((node) => node.name === each.to);
    if (target !== undefined && each.to !== '' && target.heartbeat === '') {
      const message = `"${each.to}" has no address to be fed at; write heartbeat: 'host:port' for that node`;
      yield { path: [...at, 'to'], message };
    }
    for (const [node, declaredAs] of Object.entries(each.paths)) {
      const path = [...at, 'paths', node];
      if (node !== each.from && node !== each.to) {
        yield { path, message: `"${node}" has no end of it; its nodes are ${each.from}, ${each.to}`, onKey: true };
      } else if (declaredAs !== '') {
        const file = normalize(declaredAs);
        const use = files.get(`${node}\0${file}`);
        // HM-3: heartbeats overwrite what is there.
        if (use !== undefined)
          yield { path, message: `${declaredAs} is ${use}; heartbeats need a file of their own` };
        else files.set(`${node}\0${file}`, `the heartbeat mirror "${each.name}"`);
      }
    }
  }
  for (const { name: node } of nodes) {
    const ends = mirrors.flatMap(({ from, to }, index) => (from === node || to === node ? [index] : []));
    const tooMany = ends[mirrorEntriesMax];
    if (tooMany === undefined) continue;
    const message = `"${node}" has ends of ${ends.length} heartbeat mirrors; its status table has ${mirrorEntriesMax} entries`;
    yield { path: ['pulse', 'mirrors', tooMany, 'name'], message };
  }
}

/** What of volumes and logs lies where, as far as the file says or implies it. */
function* productionFiles({
  nodes,
  groups,
}: Pick<Sketch, 'nodes' | 'groups'>): Generator<{ node: string; file: string; use: string }> {
  for (const group of groups) {
    for (const volume of group.volumes) {
      for (const { name: node, data } of nodes) {
        const file = normalize(volume.paths[node] ?? `${data}/volumes/${volume.name}.img`);
        yield { node, file, use: `the volume "${volume.name}"` };
      }
    }
    for (const [node, places] of Object.entries(group.log.places)) {
      for (const place of places) yield { node, file: normalize(place), use: `the log of "${group.name}"` };
    }
  }
}

function* checkInterconnects({ nodes }: Sketch, { interconnects }: SketchOfPulse): Generator<Finding> {
  for (const [index, { at }] of interconnects.entries()) {
    const path = ['pulse', 'interconnects', index, 'at'];
    const ends = Object.entries(at);
    for (const [node] of ends) yield* refersToNode(nodes, node, [...path, node], true);
    if (ends.length !== 2) {
      yield { path, message: `names ${ends.length} nodes; an interconnect joins two` };
      continue;
    }
    const [[, one], [second, other]] = [ends[0] ?? ['', ''], ends[1] ?? ['', '']];
    if (one !== '' && other !== '' && kindOf(one) !== kindOf(other)) {
      const message = `${other} is ${kindOf(other)}, the other end ${one} is ${kindOf(one)}; both ends are of one kind`;
      yield { path: [...path, second], message };
    }
  }
}

function kindOf(interconnectEnd: string): string {
  const kind = interconnectEnd.startsWith('/') ? null : parseAddress(interconnectEnd)?.kind;
  return kind === 'tcp' ? 'a TCP address' : kind === 'unix' ? 'a Unix socket' : 'a serial device';
}

function refersToNode(nodes: Sketch['nodes'], value: string, path: PropertyKey[], onKey = false): Finding[] {
  const known = nodes.map((node) => node.name).filter((known) => known !== '');
  if (value === '' || known.includes(value)) return [];
  const right = didYouMean(value, known) || (known.length > 0 ? `; there are: ${known.join(', ')}` : '');
  return [{ path, message: `there is no node "${value}"${right}`, ...(onKey ? { onKey } : {}) }];
}

function* repeated(
  entries: readonly { value: string; path: readonly PropertyKey[] }[],
  message: (value: string) => string,
): Generator<Finding> {
  const seen = new Set<string>();
  for (const { value, path: at } of entries) {
    if (value !== '' && seen.has(value)) yield { path: at, message: message(value) };
    seen.add(value);
  }
}
