/**
 * Nodes on hosts of their own (`namespaces.ts`), with a pulse, automatic take-over, and one volume that all of them have. Hosts
 * reach them by Unix sockets, which pass between namespaces, so that no cut disturbs the measuring.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { nodeFlags } from '../../src/cli/node-flags.ts';
import type { ClusterStatus, GroupStatus } from '../../src/group/status.ts';
import { endCommand, until, type CommandResult } from './command.ts';
import { Namespaces, ports } from './namespaces.ts';

const program = resolve('bin/holdfast.js');
const api = '127.0.0.1:8009';

export interface NodeClusterOptions {
  readonly nodes?: readonly string[];
  /** More hosts, such as those of a store's members. */
  readonly hosts?: readonly string[];
  readonly sites?: Readonly<Record<string, string>>;
  /** Default: the embedded store, in a folder that all hosts see. */
  readonly store?: (namespaces: Namespaces) => Readonly<Record<string, unknown>>;
  readonly pulse?: Readonly<Record<string, unknown>>;
  readonly takeOver?: Readonly<Record<string, unknown>>;
  readonly group?: Readonly<Record<string, unknown>>;
  readonly moreGroups?: readonly Readonly<Record<string, unknown>>[];
  /** Default true. */
  readonly withPulse?: boolean;
  /** One between the first two nodes, over a Unix socket. */
  readonly interconnect?: boolean;
  /** A portal at port 3260 of each. */
  readonly iscsi?: boolean;
  readonly more?: Readonly<Record<string, unknown>>;
  /** Before the nodes are started. */
  readonly prepare?: (namespaces: Namespaces, folder: string) => Promise<void>;
}

export class NodeCluster {
  readonly folder: string;
  readonly namespaces: Namespaces;
  readonly nodes: readonly string[];
  readonly #processes = new Map<string, ChildProcess>();

  private constructor(folder: string, namespaces: Namespaces, nodes: readonly string[]) {
    this.folder = folder;
    this.namespaces = namespaces;
    this.nodes = nodes;
  }

  /** All nodes run, every copy is in sync, and every node hears every other. */
  static async start(options: NodeClusterOptions = {}): Promise<NodeCluster> {
    const nodes = options.nodes ?? ['east', 'west'];
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-cluster-'));
    const namespaces = await Namespaces.make([...nodes, ...(options.hosts ?? [])]);
    const cluster = new NodeCluster(folder, namespaces, nodes);
    try {
      await cluster.#declare(options);
      await options.prepare?.(namespaces, folder);
      for (const node of nodes) cluster.spawn(node);
      await cluster.untilSettled();
      return cluster;
    } catch (error) {
      const logs = await Promise.all(nodes.map((node) => cluster.logTail(node)));
      await cluster.stop();
      throw new Error(`${String(error)}\n${logs.join('\n')}`, { cause: error });
    }
  }

  socket(node: string): string {
    return join(this.folder, `${node}.sock`);
  }

  imagePath(node: string): string {
    return join(this.folder, node, 'volumes', 'vol1.img');
  }

  pid(node: string): number {
    const pid = this.#processes.get(node)?.pid;
    if (pid === undefined) throw new Error(`${node} does not run`);
    return pid;
  }

  spawn(node: string): void {
    const args = [...nodeFlags, program, 'node', 'run', '--config', this.#file, '--name', node];
    const child = this.namespaces.start(node, process.execPath, args);
    const log = createWriteStream(join(this.folder, `${node}.log`), { flags: 'a' });
    for (const stream of [child.stdout, child.stderr]) stream?.pipe(log, { end: false });
    child.once('close', () => log.end());
    this.#processes.set(node, child);
  }

  async end(node: string, signal: NodeJS.Signals): Promise<void> {
    const child = this.#processes.get(node);
    if (child === undefined) return;
    this.#processes.delete(node);
    if (signal === 'SIGKILL') child.kill('SIGCONT');
    await endCommand(child, signal);
  }

  signal(node: string, signal: NodeJS.Signals): void {
    this.#processes.get(node)?.kill(signal);
  }

  status(node: string): Promise<ClusterStatus | null> {
    return this.ask<ClusterStatus>(node, '/v1/status');
  }

  /** What the API of a node answers; null: nothing that can be read. */
  async ask<T>(node: string, path: string): Promise<T | null> {
    const asked = await this.namespaces.run(node, 'curl', ['-sf', '-m', '3', `http://${api}${path}`]);
    if (asked.status !== 0) return null;
    try {
      return JSON.parse(asked.stdout) as T;
    } catch {
      return null;
    }
  }

  /** As a node itself has it, when it is the owner. */
  async group(node: string): Promise<GroupStatus | null> {
    return (await this.status(node))?.groups.find(({ name }) => name === 'g1') ?? null;
  }

  cli(node: string, ...args: string[]): Promise<CommandResult> {
    return this.namespaces.run(node, process.execPath, [program, ...args], { environment: { HOLDFAST_API: api } });
  }

  /** The node that serves, by its own word; null: none. */
  async server(): Promise<string | null> {
    for (const node of this.#processes.keys()) {
      const group = await this.group(node);
      if (group?.owner === node && group.service === 'Serving') return node;
    }
    return null;
  }

  untilServedBy(node: string, timeoutMs = 30_000): Promise<string> {
    return until(`served by ${node}`, timeoutMs, async () => ((await this.server()) === node ? node : null));
  }

  /** One serves, and every copy on a running node lacks nothing. */
  async untilSettled(timeoutMs = 60_000): Promise<void> {
    let last: GroupStatus | null = null;
    await until('all copies in sync', timeoutMs, async () => {
      const server = await this.server();
      if (server === null) return null;
      last = await this.group(server);
      const running = last?.legs.filter((leg) => this.#processes.has(leg.node)) ?? [];
      return running.length > 0 &&
        running.every(
          (leg) => leg.disk === 'UpToDate' && (leg.replication === null || leg.replication === 'Established'),
        )
        ? true
        : null;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}; last seen: ${JSON.stringify(last)}`, { cause: error });
    });
    // Heartbeats are proven both ways, and probations over.
    await new Promise((done) => setTimeout(done, 3000));
  }

  async logTail(node: string, lines = 15): Promise<string> {
    const text = await readFile(join(this.folder, `${node}.log`), 'utf8').catch(() => '');
    return `${node}:\n${text.split('\n').slice(-lines).join('\n')}`;
  }

  async stop(): Promise<void> {
    await Promise.all(
      [...this.#processes].map(async ([node, child]) => {
        child.kill('SIGCONT');
        const stubborn = setTimeout(() => child.kill('SIGKILL'), 15_000);
        await endCommand(child, 'SIGTERM').finally(() => clearTimeout(stubborn));
        this.#processes.delete(node);
      }),
    );
    await this.namespaces.remove();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  #interconnectAt(): Record<string, string> {
    return Object.fromEntries(this.nodes.slice(0, 2).map((node) => [node, `unix:${join(this.folder, 'ic.sock')}`]));
  }

  get #file(): string {
    return join(this.folder, 'holdfast.yaml');
  }

  async #declare(options: NodeClusterOptions): Promise<void> {
    const { nodes, namespaces, folder } = this;
    const [owner = 'east', ...others] = nodes;
    await writeFile(join(folder, 'pulse.key'), `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    for (const node of nodes) await mkdir(join(folder, node), { recursive: true });
    const siteOf = (node: string): string => options.sites?.[node] ?? node;
    const declaration = {
      cluster: 'cluster',
      store: options.store?.(namespaces) ?? { kind: 'file', path: join(folder, 'store') },
      sites: [...new Set(nodes.map(siteOf))],
      nodes: nodes.map((name) => ({
        name,
        site: siteOf(name),
        data: join(folder, name),
        replication: `${namespaces.address(name)}:${ports.replication}`,
        pulse: [`${namespaces.address(name)}:${ports.pulse}`],
        heartbeat: `${namespaces.address(name)}:${ports.heartbeat}`,
        api,
        nbd: [`unix:${this.socket(name)}`],
        ...(options.iscsi === true ? { iscsi: [`${namespaces.address(name)}:3260`] } : {}),
      })),
      ...(options.withPulse === false
        ? {}
        : {
            pulse: {
              preset: 'lan',
              'key-file': join(folder, 'pulse.key'),
              mirrors: nodes.flatMap((from) =>
                nodes.filter((to) => to !== from).map((to) => ({ name: `${from}-${to}`, from, to })),
              ),
              ...(options.interconnect === true
                ? { interconnects: [{ name: 'ic', at: this.#interconnectAt() }] }
                : {}),
              ...options.pulse,
            },
          }),
      groups: [
        {
          name: 'g1',
          owner,
          volumes: [{ name: 'vol1', size: '64MiB' }],
          mirrors: others.map((to) => ({ to, mode: 'sync' })),
          log: '256MiB',
          'take-over': { ...options.takeOver },
          ...options.group,
        },
        ...(options.moreGroups ?? []),
      ],
      ...options.more,
    };
    // JSON is YAML.
    await writeFile(this.#file, JSON.stringify(declaration, null, 2));
  }
}
