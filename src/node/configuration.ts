/**
 * `holdfast.yaml`, read: what an installation shall consist of, and what each node alone needs to know. A file is
 * either right as a whole or refused as a whole, with every mistake in it named at once, by line, with what would be
 * right. Reading the file from disk, and what becomes of it, is left to others: the cluster document it declares is
 * made in `configuration-document.ts`.
 */
import { dirname, resolve } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatAddress, type Address, type HostPort } from '../base/network.ts';
import {
  defaultGroupSettings,
  type GroupSettings,
  type IscsiEntry,
  type LogEntry,
  type MirrorMode,
  type ResourceEntry,
  type TakeOverSettings,
} from '../store/document.ts';
import { agentsConfiguration, describeAgents, type AgentsConfiguration } from './configuration-agents.ts';
import { alertsConfiguration, describeAlerts, type AlertsConfiguration } from './configuration-alerts.ts';
import { crossCheck } from './configuration-checks.ts';
import { describeIscsi, iscsiEntry } from './configuration-iscsi.ts';
import { positionOf } from './configuration-positions.ts';
import {
  automaticByDefault,
  describeResources,
  describeTakeOver,
  takeOverSettings,
} from './configuration-resources.ts';
import { retentionOf } from './log-changes.ts';
import { configurationSchema, type DeclaredConfiguration, type Finding } from './configuration-schema.ts';
import { describePulse, hostPortText, toPulseConfiguration, type PulseConfiguration } from './configuration-pulse.ts';
import { describeStore, toStoreConfiguration, type StoreConfiguration } from './configuration-store.ts';

export interface Configuration {
  /** The file it came from, as named by the user. */
  readonly file: string;
  readonly cluster: string;
  readonly store: StoreConfiguration;
  /** Null: there is no pulse. */
  readonly pulse: PulseConfiguration | null;
  readonly sites: readonly string[];
  readonly nodes: readonly NodeConfiguration[];
  readonly groups: readonly GroupConfiguration[];
  /** Of each node for itself; never part of the cluster document. */
  readonly alerts: AlertsConfiguration;
}

/** What only one node needs; never part of the cluster document, except for `replication`. */
export interface NodeConfiguration {
  readonly name: string;
  readonly site: string;
  /** Folder of its metadata and, by default, its volumes; absolute. */
  readonly dataFolder: string;
  /** Where it listens for, and other nodes reach, its replication. */
  readonly replication: TcpAddress;
  /** TCP connections of a link to another node, 1…16. */
  readonly connectionsPerLink: number;
  /** Where its control API listens; loopback. */
  readonly api: TcpAddress;
  /** Where it serves hosts. */
  readonly nbd: readonly Address[];
  /** Where it is reached by heartbeats: UDP, each on a path of its own; TCP, for heartbeat mirrors to it. */
  readonly pulse: readonly HostPort[];
  readonly heartbeat: HostPort | null;
  /** Its iSCSI portals. */
  readonly iscsi: readonly TcpAddress[];
  /** Where it listens for application agents. */
  readonly agents: AgentsConfiguration;
}

export interface GroupConfiguration {
  readonly name: string;
  readonly owner: string;
  readonly volumes: readonly VolumeConfiguration[];
  readonly mirrors: readonly { readonly to: string; readonly mode: MirrorMode }[];
  /** Folders are absolute. Null: none. */
  readonly log: LogEntry | null;
  readonly settings: GroupSettings;
  readonly takeOver: TakeOverSettings;
  readonly resources: readonly ResourceEntry[];
  readonly iscsi: IscsiEntry;
}

export interface VolumeConfiguration {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: 512 | 4096;
  /** Absolute backing path per node, where it is not the default. */
  readonly paths: Readonly<Record<string, string>>;
}

export type TcpAddress = Extract<Address, { kind: 'tcp' }>;

export interface ConfigurationProblem {
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** Where, what is wrong, and what would be right. */
  readonly message: string;
}

export type ParsedConfiguration =
  | { readonly kind: 'right'; readonly configuration: Configuration }
  /** Sorted by place; at least one. */
  | { readonly kind: 'wrong'; readonly problems: readonly ConfigurationProblem[] };

/** A file of thousands of volumes is far below it; anything above is not ours. */
const textLengthMax = 4 * 1024 * 1024;
/** No reader corrects more in one go. */
const problemsMax = 100;

/** Total: any text gives an answer. Relative paths are relative to the file's folder. */
export function parseConfiguration(text: string, file: string): ParsedConfiguration {
  if (text.length > textLengthMax) return wrong([{ line: 1, column: 1, message: 'the file is larger than 4 MiB' }]);
  try {
    return parse(text, file);
  } catch (error) {
    // The YAML library throws on what it refuses to expand (too many aliases) and on absurdly deep nesting.
    return wrong([{ line: 1, column: 1, message: `the file cannot be read as YAML: ${messageOf(error)}` }]);
  }
}

function parse(text: string, file: string): ParsedConfiguration {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const notYaml = document.errors.map(({ code, message, pos }) => ({
    code,
    problem: { ...place(lines, pos[0]), message: `not valid YAML: ${message}` },
  }));
  // Where the syntax breaks, whatever the reader says of what follows comes of that and misleads.
  const broken = notYaml.find(({ code }) => code !== 'DUPLICATE_KEY');
  if (broken) return wrong([broken.problem]);
  const declared: unknown = document.toJS();
  const schemaResult = configurationSchema.safeParse(declared);
  const findings: Finding[] = [...crossCheck(declared)];
  for (const issue of schemaResult.error?.issues ?? []) {
    if (issue.code === 'unrecognized_keys') {
      // One message per key, in the order of the keys (see `section` in configuration-schema.ts).
      const messages = issue.message.split('\n');
      issue.keys.forEach((key, index) =>
        findings.push({ path: [...issue.path, key], message: messages[index] ?? issue.message, onKey: true }),
      );
    } else findings.push({ path: issue.path, message: issue.message });
  }
  if (schemaResult.success && findings.length === 0 && notYaml.length === 0) {
    return { kind: 'right', configuration: withPaths(schemaResult.data, file) };
  }
  return wrong([
    ...notYaml.map(({ problem }) => problem),
    ...findings.map((finding) => ({
      ...place(lines, positionOf(document, finding)),
      message: `${nameOf(finding.path)}${finding.message}`,
    })),
  ]);
}

/** For callers that go on only with a right file: throws `E_CONFIG`, one line per problem. */
export function requireConfiguration(text: string, file: string): Configuration {
  const parsed = parseConfiguration(text, file);
  if (parsed.kind === 'right') return parsed.configuration;
  throw new HoldfastError('E_CONFIG', formatProblems(file, parsed.problems));
}

/** `file:line:column: message`, one per line, as editors and terminals can jump to. */
export function formatProblems(file: string, problems: readonly ConfigurationProblem[]): string {
  return problems.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`).join('\n');
}

/** Throws `E_NOT_FOUND` naming those there are. */
export function nodeConfiguration(configuration: Configuration, name: string): NodeConfiguration {
  const node = configuration.nodes.find((candidate) => candidate.name === name);
  if (node) return node;
  const names = configuration.nodes.map((candidate) => candidate.name).join(', ');
  throw new HoldfastError('E_NOT_FOUND', `${configuration.file} declares no node ${name}; it declares ${names}`);
}

/** The configuration as a file would say it, nothing left to defaults. */
export function describeConfiguration(configuration: Configuration): unknown {
  return {
    cluster: configuration.cluster,
    store: describeStore(configuration.store),
    ...(configuration.pulse === null ? {} : { pulse: describePulse(configuration.pulse) }),
    sites: configuration.sites,
    nodes: configuration.nodes.map((node) => ({
      name: node.name,
      site: node.site,
      data: node.dataFolder,
      replication: formatAddress(node.replication),
      connections: node.connectionsPerLink,
      api: formatAddress(node.api),
      nbd: node.nbd.map(formatAddress),
      ...(node.pulse.length === 0 ? {} : { pulse: node.pulse.map(hostPortText) }),
      ...(node.heartbeat === null ? {} : { heartbeat: hostPortText(node.heartbeat) }),
      ...(node.iscsi.length === 0 ? {} : { iscsi: node.iscsi.map(formatAddress) }),
      agents: describeAgents(node.agents),
    })),
    groups: configuration.groups.map((group) => ({
      name: group.name,
      owner: group.owner,
      volumes: group.volumes.map((volume) => ({
        name: volume.name,
        size: volume.sizeBytes,
        'block-size': volume.blockSizeBytes,
        paths: volume.paths,
      })),
      mirrors: group.mirrors,
      ...(group.log === null ? {} : { log: describeLog(group.log) }),
      settings: {
        grace: `${group.settings.graceMs}ms`,
        'lag-writes': group.settings.lagWritesMax,
        'lag-bytes': group.settings.lagBytesMax,
        'resync-share': group.settings.resyncShare,
        'hot-regions': group.settings.hotRegionsMax,
        'intent-entries': group.settings.intentEntries,
        'on-target-loss': group.settings.onTargetLoss,
        'on-congestion': group.settings.onCongestion,
        'on-log-full': group.settings.onLogFull,
        'merge-gain': group.settings.mergeGain,
      },
      'take-over': describeTakeOver(group.takeOver),
      resources: describeResources(group.resources),
      iscsi: describeIscsi(group.iscsi),
    })),
    alerts: describeAlerts(configuration.alerts),
  };
}

const describeLog = ({ sizeBytes, places, retentionMs, retentionBytes }: LogEntry): unknown => ({
  size: sizeBytes,
  places,
  retention: `${retentionMs}ms`,
  ...(retentionMs === 0 ? {} : { 'retention-size': retentionBytes }),
});

function withPaths(declared: DeclaredConfiguration, file: string): Configuration {
  const folder = dirname(resolve(file));
  return {
    file,
    cluster: declared.cluster,
    store: toStoreConfiguration(declared.store, folder),
    pulse: toPulseConfiguration(declared.pulse, folder),
    sites: declared.sites,
    nodes: declared.nodes.map((node) => ({
      name: node.name,
      site: node.site,
      dataFolder: resolve(folder, node.data),
      replication: node.replication,
      connectionsPerLink: node.connections ?? 2,
      api: node.api,
      nbd: node.nbd.map((at) => (at.kind === 'unix' ? { kind: 'unix', path: resolve(folder, at.path) } : at)),
      pulse: (node.pulse ?? []).map(({ host, port }) => ({ host, port })),
      heartbeat: node.heartbeat === undefined ? null : { host: node.heartbeat.host, port: node.heartbeat.port },
      iscsi: node.iscsi ?? [],
      agents: agentsConfiguration(node.agents, resolve(folder, node.data), folder),
    })),
    groups: (declared.groups ?? []).map((group) => {
      const set = group.settings ?? {};
      return {
        name: group.name,
        owner: group.owner,
        volumes: group.volumes.map((volume) => ({
          name: volume.name,
          sizeBytes: volume.size,
          blockSizeBytes: volume['block-size'] ?? 512,
          paths: Object.fromEntries(
            Object.entries(volume.paths ?? {}).map(([node, path]) => [node, resolve(folder, path)]),
          ),
        })),
        mirrors: (group.mirrors ?? []).map(({ to, mode }) => ({ to, mode: mode ?? 'sync' })),
        log: group.log === undefined ? null : logEntry(group.log, folder),
        settings: {
          graceMs: set.grace ?? defaultGroupSettings.graceMs,
          lagWritesMax: set['lag-writes'] ?? defaultGroupSettings.lagWritesMax,
          lagBytesMax: set['lag-bytes'] ?? defaultGroupSettings.lagBytesMax,
          resyncShare: set['resync-share'] ?? defaultGroupSettings.resyncShare,
          hotRegionsMax: set['hot-regions'] ?? defaultGroupSettings.hotRegionsMax,
          intentEntries: set['intent-entries'] ?? defaultGroupSettings.intentEntries,
          onTargetLoss: set['on-target-loss'] ?? defaultGroupSettings.onTargetLoss,
          onCongestion: set['on-congestion'] ?? defaultGroupSettings.onCongestion,
          onLogFull: set['on-log-full'] ?? defaultGroupSettings.onLogFull,
          mergeGain: set['merge-gain'] ?? defaultGroupSettings.mergeGain,
        },
        takeOver: takeOverSettings(group['take-over'], automaticByDefault(declared)),
        resources: group.resources ?? [],
        iscsi: iscsiEntry(group.iscsi, folder),
      };
    }),
    alerts: alertsConfiguration(declared.alerts, folder),
  };
}

type DeclaredLog = NonNullable<NonNullable<DeclaredConfiguration['groups']>[number]['log']>;

const logEntry = (declared: DeclaredLog, folder: string): LogEntry => ({
  sizeBytes: declared.size,
  places: Object.fromEntries(
    Object.entries(declared.places ?? {}).map(([node, places]) => [
      node,
      places.map((place) => resolve(folder, place)),
    ]),
  ),
  ...retentionOf(declared.size, declared.retention, declared['retention-size']),
});

function wrong(problems: ConfigurationProblem[]): ParsedConfiguration {
  const sorted = problems.sort((a, b) => a.line - b.line || a.column - b.column);
  const told = sorted.slice(0, problemsMax - 1);
  const next = sorted[problemsMax - 1];
  if (!next || sorted.length === problemsMax) return { kind: 'wrong', problems: sorted };
  const left = { ...next, message: `here and below are ${sorted.length - told.length} more problems` };
  return { kind: 'wrong', problems: [...told, left] };
}

function place(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

/** `groups[0].volumes[1].size: ` — empty at the top. */
function nameOf(path: readonly PropertyKey[]): string {
  let name = '';
  for (const part of path)
    name += typeof part === 'number' ? `[${part}]` : name === '' ? String(part) : `.${String(part)}`;
  return name === '' ? '' : `${name}: `;
}
