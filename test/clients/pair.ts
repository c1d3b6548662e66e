/**
 * Two nodes, `east` and `west`, as an administrator would run them: two processes on free ports of loopback with one
 * `holdfast.yaml` in a temporary folder. Everything is reached from outside, by NBD, control API and command line; every
 * process is known by its id, and `stop` leaves none behind.
 */
import type { ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { nodeFlags } from '../../src/cli/node-flags.ts';
import type { ClusterStatus, GroupStatus, LegStatus } from '../../src/group/status.ts';
import { endCommand, freePorts, mustRun, runCommand, startCommand, until } from './command.ts';
import type { CommandResult } from './command.ts';
import { NetworkPath, type CutKind } from './network-path.ts';

export type NodeName = 'east' | 'west';
export const nodeNames: readonly NodeName[] = ['east', 'west'];
export const otherNode = (node: NodeName): NodeName => (node === 'east' ? 'west' : 'east');

const program = resolve('bin/holdfast.js');

/** A group as `holdfast.yaml` declares it. */
export interface GroupDeclaration {
  readonly name: string;
  readonly owner: NodeName;
  readonly volumes: readonly { readonly name: string; readonly size: string; readonly 'block-size'?: 512 | 4096 }[];
  readonly mirrors?: readonly { readonly to: NodeName; readonly mode: 'sync' | 'receive' | 'async' }[];
  /** Without it the group has none. */
  readonly log?: string | { readonly size: string; readonly places?: Partial<Record<NodeName, string>> };
  readonly settings?: Readonly<Record<string, string | number>>;
  readonly 'take-over'?: Readonly<Record<string, unknown>>;
  readonly resources?: readonly Readonly<Record<string, unknown>>[];
}

/** What `holdfast try` sets up. */
export const oneSyncGroup: readonly GroupDeclaration[] = [
  { name: 'g1', owner: 'east', volumes: [{ name: 'vol1', size: '1GiB' }], mirrors: [{ to: 'west', mode: 'sync' }] },
];

export interface PairOptions {
  readonly groups?: readonly GroupDeclaration[];
  /** Where the temporary folder is made. */
  readonly parent?: string;
  /** A node's data folder, where it is not in the temporary folder. */
  readonly data?: Partial<Record<NodeName, string>>;
  /** The coordination store, as `holdfast.yaml` declares it; else a folder in the temporary one. */
  readonly store?: Readonly<Record<string, unknown>>;
  /** The nodes reach each other over a network that can be cut. */
  readonly cuttable?: boolean;
  /** `store: none`. */
  readonly storeless?: boolean;
  /** Heartbeats as `holdfast try` sets them up, and take-over by itself; the sites are `here` and `there` then. */
  readonly pulse?: boolean;
  /** iSCSI portals of each node; default none. */
  readonly portals?: number;
}

interface NodePorts {
  readonly nbd: number;
  readonly api: number;
  /** Where the other node reaches its replication, and where it listens for it: two where a path is between. */
  readonly replication: number;
  readonly replicationBehind: number;
  readonly iscsi: readonly number[];
}

export class Pair {
  readonly folder: string;
  readonly configurationPath: string;
  private readonly ports: Readonly<Record<NodeName, NodePorts>>;
  private readonly data: Readonly<Record<NodeName, string>>;
  private readonly processes = new Map<NodeName, ChildProcess>();
  private readonly paths: NetworkPath[] = [];

  private constructor(folder: string, ports: Record<NodeName, NodePorts>, data: Record<NodeName, string>) {
    this.folder = folder;
    this.configurationPath = join(folder, 'holdfast.yaml');
    this.ports = ports;
    this.data = data;
  }

  /** Writes the configuration; starts nothing. */
  static async declare(options: PairOptions = {}): Promise<Pair> {
    const folder = await mkdtemp(join(options.parent ?? tmpdir(), 'holdfast-pair-'));
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = c, h = f] = await freePorts(options.cuttable ? 8 : 6);
    const [i = 0, j = 0] = options.pulse ? await freePorts(2) : [];
    const heartbeats = { east: i, west: j };
    const portals = { east: await freePorts(options.portals ?? 0), west: await freePorts(options.portals ?? 0) };
    const siteOf = (name: NodeName): string => (options.pulse ? (name === 'east' ? 'here' : 'there') : name);
    const keyFile = join(folder, 'pulse.key');
    if (options.pulse) await writeFile(keyFile, `${'5a'.repeat(32)}\n`, { mode: 0o600 });
    const ports = {
      east: { nbd: a, api: b, replication: c, replicationBehind: g, iscsi: portals.east },
      west: { nbd: d, api: e, replication: f, replicationBehind: h, iscsi: portals.west },
    };
    const data = { east: join(folder, 'east'), west: join(folder, 'west'), ...options.data };
    const pair = new Pair(folder, ports, data);
    const declarationFor = (reader: NodeName | null) => ({
      cluster: 'pair',
      store: options.store ?? (options.storeless ? { kind: 'none' } : { kind: 'file', path: join(folder, 'store') }),
      sites: nodeNames.map(siteOf),
      ...(options.pulse
        ? {
            pulse: {
              preset: 'lan',
              'key-file': keyFile,
              mirrors: [
                { name: 'hb-east', from: 'east', to: 'west' },
                { name: 'hb-west', from: 'west', to: 'east' },
              ],
            },
          }
        : {}),
      nodes: nodeNames.map((name) => ({
        name,
        site: siteOf(name),
        ...(options.pulse
          ? { pulse: [`127.0.0.1:${ports[name].replication}`], heartbeat: `127.0.0.1:${heartbeats[name]}` }
          : {}),
        data: data[name],
        replication: `127.0.0.1:${name === reader ? ports[name].replicationBehind : ports[name].replication}`,
        api: `127.0.0.1:${ports[name].api}`,
        nbd: [`127.0.0.1:${ports[name].nbd}`, `unix:${pair.nbdSocket(name)}`],
        ...(portals[name].length > 0 ? { iscsi: portals[name].map((port) => `127.0.0.1:${port}`) } : {}),
      })),
      groups: options.groups ?? oneSyncGroup,
    });
    // JSON is YAML.
    const write = (path: string, reader: NodeName | null) =>
      writeFile(path, JSON.stringify(declarationFor(reader), null, 2));
    await Promise.all([
      write(pair.configurationPath, null),
      ...nodeNames.map((node) => write(pair.configurationOf(node), node)),
    ]);
    return pair;
  }

  /** Both nodes run and every mirror is Established. */
  static async start(options: PairOptions = {}): Promise<Pair> {
    const pair = await Pair.declare(options);
    try {
      if (options.cuttable) await pair.layPaths(options.storeless === true);
      await Promise.all(nodeNames.map((name) => pair.startNode(name)));
      await pair.untilEstablished();
      return pair;
    } catch (error) {
      await pair.stop();
      throw error;
    }
  }

  /** Both directions of the replication network, and what nodes ask of each other; hosts and the store do not notice. */
  cut(kind: CutKind): void {
    for (const path of this.paths) path.cut(kind);
  }

  /** With `forBytes`, it is cut again, silently, when one direction's connections have carried as many. */
  restore(forBytes?: number): void {
    for (const path of this.paths) path.restore(forBytes);
  }

  get isCut(): boolean {
    return this.paths.some((path) => path.isCut);
  }

  nbdPort(node: NodeName): number {
    return this.ports[node].nbd;
  }

  apiPort(node: NodeName): number {
    return this.ports[node].api;
  }

  nbdSocket(node: NodeName): string {
    return join(this.folder, `${node}.sock`);
  }

  uri(node: NodeName, volume = 'vol1'): string {
    return `nbd://127.0.0.1:${this.ports[node].nbd}/${volume}`;
  }

  iscsiPort(node: NodeName, index = 0): number {
    const port = this.ports[node].iscsi[index];
    if (port === undefined) throw new Error(`${node} has no iSCSI portal ${index}`);
    return port;
  }

  /** Of LUN 0 of a group. */
  iscsiUri(node: NodeName, { group = 'g1', portal = 0 } = {}): string {
    return `iscsi://127.0.0.1:${this.iscsiPort(node, portal)}/iqn.2026-11.org.holdfast:pair:${group}/0`;
  }

  imagePath(node: NodeName, volume = 'vol1'): string {
    return join(this.data[node], 'volumes', `${volume}.img`);
  }

  pid(node: NodeName): number {
    const pid = this.processes.get(node)?.pid;
    if (pid === undefined) throw new Error(`${node} does not run`);
    return pid;
  }

  /** Starts the process, without waiting for anything; its output goes to `<folder>/<node>.log`. */
  async spawnNode(node: NodeName, configurationPath = this.configurationOf(node)): Promise<ChildProcess> {
    await mkdir(this.data[node], { recursive: true });
    const args = [...nodeFlags, program, 'node', 'run', '--config', configurationPath, '--name', node];
    const child = startCommand(process.execPath, args);
    const log = createWriteStream(this.logPath(node), { flags: 'a' });
    for (const stream of [child.stdout, child.stderr]) stream?.pipe(log, { end: false });
    child.once('close', () => log.end());
    return child;
  }

  /** Returns when its control API answers. */
  async startNode(node: NodeName, configurationPath?: string): Promise<void> {
    const child = await this.spawnNode(node, configurationPath);
    this.processes.set(node, child);
    await until(`${node} answers`, 20_000, async () => {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`${node} ended at its start:\n${await this.logTail(node)}`);
      }
      return this.tryStatus(node);
    });
  }

  /** Returns when the process is gone. */
  async endNode(node: NodeName, signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.processes.get(node);
    if (child === undefined) throw new Error(`${node} does not run`);
    await endCommand(child, signal);
    this.processes.delete(node);
    return child.exitCode;
  }

  async kill(node: NodeName): Promise<void> {
    await this.endNode(node, 'SIGKILL');
  }

  async status(node: NodeName = 'east'): Promise<ClusterStatus> {
    const response = await fetch(`http://127.0.0.1:${this.ports[node].api}/v1/status`, {
      signal: AbortSignal.timeout(5000),
    });
    if (!response.ok) throw new Error(`status of ${node}: HTTP ${response.status}`);
    return (await response.json()) as ClusterStatus;
  }

  /** A group's state as told by the node that owns it; any running node's word when it is not known. */
  async group(name = 'g1'): Promise<GroupStatus> {
    const answers = (await Promise.all([...this.processes.keys()].map((node) => this.tryStatus(node)))).flatMap(
      (status) => (status === null ? [] : [status]),
    );
    const groupOf = (status: ClusterStatus) => status.groups.find((group) => group.name === name);
    const byOwner = answers.find((status) => groupOf(status)?.owner === status.answeredBy) ?? answers[0];
    const group = byOwner && groupOf(byOwner);
    if (group === undefined) throw new Error(`no node tells of ${name}`);
    return group;
  }

  async leg(node: NodeName, group = 'g1'): Promise<LegStatus> {
    const found = (await this.group(group)).legs.find((leg) => leg.node === node);
    if (found === undefined) throw new Error(`${group} has no leg on ${node}`);
    return found;
  }

  /** Waits until hosts are served and every mirror of every group is Established, nothing lagging. */
  async untilEstablished(timeoutMs = 60_000): Promise<void> {
    const settled = (group: GroupStatus) =>
      group.service === 'Serving' &&
      group.legs.every(
        (leg) =>
          leg.disk === 'UpToDate' &&
          (leg.replication === null || leg.replication === 'Established') &&
          (leg.lag.writes ?? 0) === 0 &&
          (leg.outOfSyncBytes ?? 0) === 0,
      );
    const [node] = this.processes.keys();
    let last: ClusterStatus | null = null;
    try {
      await until('all groups Established', timeoutMs, async () => {
        last = await this.tryStatus(node ?? 'east');
        return last?.groups.every(settled) ? true : null;
      });
    } catch (error) {
      throw new Error(`${String(error)}; last seen: ${JSON.stringify(last, null, 1)}`, { cause: error });
    }
  }

  /** The command line, asked of `node`. */
  async cli(node: NodeName, ...args: string[]): Promise<CommandResult> {
    const api = `http://127.0.0.1:${this.ports[node].api}`;
    return runCommand(process.execPath, [program, ...args], { environment: { HOLDFAST_API: api } });
  }

  /** Equal images on both nodes; call when nothing is being written. */
  async compareLegs(volume = 'vol1'): Promise<void> {
    await mustRun('qemu-img', [
      'compare',
      '-f',
      'raw',
      '-F',
      'raw',
      '-U',
      this.imagePath('east', volume),
      this.imagePath('west', volume),
    ]);
  }

  async logTail(node: NodeName): Promise<string> {
    return (await readFile(this.logPath(node), 'utf8').catch(() => '')).split('\n').slice(-20).join('\n');
  }

  /** Ends both nodes, cleanly where they can, and removes the folder. */
  async stop(): Promise<void> {
    await Promise.all(
      [...this.processes].map(async ([node, child]) => {
        const stubborn = setTimeout(() => child.kill('SIGKILL'), 15_000);
        await endCommand(child, 'SIGTERM').finally(() => clearTimeout(stubborn));
        this.processes.delete(node);
      }),
    );
    for (const path of this.paths) path.close();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  /** The first node to start declares where all are reached; that is the near ends of the paths from then on. */
  private async layPaths(storeless: boolean): Promise<void> {
    // Without a store everybody declares for itself.
    if (!storeless) await this.declareNearEnds();
    for (const { replication, replicationBehind } of Object.values(this.ports)) {
      this.paths.push(await NetworkPath.open(replication, replicationBehind));
    }
  }

  private async declareNearEnds(): Promise<void> {
    await this.startNode('east', this.configurationPath);
    await until('east serves alone', 60_000, async () => {
      const status = await this.tryStatus('east');
      const own = status?.groups.filter(({ owner }) => owner === 'east') ?? [];
      return own.length > 0 && own.every(({ service }) => service === 'Serving') ? true : null;
    });
    await this.endNode('east');
  }

  /** What the node itself reads: it listens at the far end of the path to it. */
  private configurationOf(node: NodeName): string {
    return join(this.folder, `holdfast-${node}.yaml`);
  }

  private logPath(node: NodeName): string {
    return join(this.folder, `${node}.log`);
  }

  private async tryStatus(node: NodeName): Promise<ClusterStatus | null> {
    return this.status(node).catch(() => null);
  }
}
