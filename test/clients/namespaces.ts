/**
 * Hosts of their own on this machine: a network namespace each, joined by a bridge in one more. What passes between them can
 * be cut with nftables, one kind of traffic at a time, in one direction or both. Needs root.
 */
import type { ChildProcess } from 'node:child_process';
import { mustRun, runCommand, startCommand, type CommandOptions, type CommandResult } from './command.ts';

/** Ports of the nodes' traffic, the same on every host. */
export const ports = { replication: 7410, pulse: 7420, heartbeat: 7430, etcd: 2379, etcdPeer: 2380 } as const;

export type Traffic = 'network' | 'mirror' | 'link' | 'store' | 'all';

const matches: Readonly<Record<Traffic, readonly string[]>> = {
  network: [`udp dport ${ports.pulse}`, `udp sport ${ports.pulse}`],
  mirror: [`tcp dport ${ports.heartbeat}`, `tcp sport ${ports.heartbeat}`],
  link: [`tcp dport ${ports.replication}`, `tcp sport ${ports.replication}`],
  store: [`tcp dport ${ports.etcd}`, `tcp sport ${ports.etcd}`],
  all: ['meta l4proto { tcp, udp, icmp }'],
};

let made = 0;

export class Namespaces {
  readonly names: readonly string[];
  readonly #prefix: string;

  private constructor(names: readonly string[]) {
    this.names = names;
    this.#prefix = `hf${process.pid.toString(36)}${(made++).toString(36)}`;
  }

  /** Why this machine cannot have them; null when it can. */
  static async obstacle(): Promise<string | null> {
    if (process.getuid?.() !== 0) return 'network namespaces need root';
    const name = `hf${process.pid.toString(36)}x`;
    const tried = await runCommand('ip', ['netns', 'add', name]);
    if (tried.status !== 0) return `no network namespaces here: ${tried.stderr.trim()}`;
    const nft = await runCommand('ip', ['netns', 'exec', name, 'nft', 'add', 'table', 'inet', 'cut']);
    await runCommand('ip', ['netns', 'del', name]);
    return nft.status === 0 ? null : `no nftables here: ${nft.stderr.trim()}`;
  }

  static async make(names: readonly string[]): Promise<Namespaces> {
    const made = new Namespaces(names);
    try {
      await made.#make();
      return made;
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  address(name: string): string {
    return `10.77.0.${this.names.indexOf(name) + 1}`;
  }

  namespace(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  run(name: string, program: string, args: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return runCommand('ip', ['netns', 'exec', this.namespace(name), program, ...args], options);
  }

  /** The process is the program itself: `ip netns exec` becomes it. */
  start(name: string, program: string, args: readonly string[], options?: CommandOptions): ChildProcess {
    return startCommand('ip', ['netns', 'exec', this.namespace(name), program, ...args], options);
  }

  /** Nothing of that kind passes any more between this host and the others (`in`: only what comes is lost). */
  async cut(name: string, traffic: Traffic, way: 'both' | 'in' | 'out' = 'both'): Promise<void> {
    const hooks =
      way === 'both' ? (['input', 'output'] as const) : way === 'in' ? (['input'] as const) : (['output'] as const);
    for (const hook of hooks) {
      const from = hook === 'input' ? 'iifname' : 'oifname';
      for (const match of matches[traffic])
        await this.#nft(name, `add rule inet cut ${hook} ${from} eth0 ${match} drop`);
    }
  }

  /** Everything passes again. */
  async mend(name: string): Promise<void> {
    await this.#nft(name, 'flush chain inet cut input');
    await this.#nft(name, 'flush chain inet cut output');
  }

  async remove(): Promise<void> {
    for (const name of [...this.names, 'bridge']) await runCommand('ip', ['netns', 'del', this.namespace(name)]);
  }

  async #make(): Promise<void> {
    const bridge = this.namespace('bridge');
    const ip = (...args: string[]): Promise<CommandResult> => mustRun('ip', args);
    await ip('netns', 'add', bridge);
    await ip('-n', bridge, 'link', 'add', 'br0', 'type', 'bridge');
    await ip('-n', bridge, 'link', 'set', 'br0', 'up');
    for (const [index, name] of this.names.entries()) {
      const namespace = this.namespace(name);
      await ip('netns', 'add', namespace);
      await ip(
        '-n',
        bridge,
        'link',
        'add',
        `port${index}`,
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        namespace,
      );
      await ip('-n', bridge, 'link', 'set', `port${index}`, 'master', 'br0', 'up');
      await ip('-n', namespace, 'addr', 'add', `${this.address(name)}/24`, 'dev', 'eth0');
      await ip('-n', namespace, 'link', 'set', 'eth0', 'up');
      await ip('-n', namespace, 'link', 'set', 'lo', 'up');
      await this.#nft(name, 'add table inet cut');
      for (const hook of ['input', 'output']) {
        await this.#nft(name, `add chain inet cut ${hook} { type filter hook ${hook} priority 0; }`);
      }
    }
  }

  async #nft(name: string, command: string): Promise<void> {
    await mustRun('ip', ['netns', 'exec', this.namespace(name), 'nft', command]);
  }
}
