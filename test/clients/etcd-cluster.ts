/**
 * An etcd of three members, as an administrator would run it, on free ports of loopback in a temporary folder. Every
 * process is known by its id, and `stop` leaves none behind.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endCommand, freePorts, mustRun, startCommand, until } from './command.ts';

interface Member {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
}

export interface Certificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export class EtcdCluster {
  readonly folder: string;
  readonly certificates: Certificates | null;
  readonly #members: readonly Member[];
  readonly #processes = new Map<string, ChildProcess>();
  /** Counted up by `restore`: its members are new ones. */
  #incarnation = 1;

  private constructor(folder: string, members: readonly Member[], certificates: Certificates | null) {
    this.folder = folder;
    this.#members = members;
    this.certificates = certificates;
  }

  /** All members run and agree. With `tls` they and whoever asks them have certificates of an authority of their own. */
  static async start(options: { tls?: boolean } = {}): Promise<EtcdCluster> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-etcd-'));
    const certificates = options.tls ? await makeCertificates(folder) : null;
    const scheme = certificates ? 'https' : 'http';
    const ports = await freePorts(6);
    const members = ['m1', 'm2', 'm3'].map((name, index) => ({
      name,
      client: `${scheme}://127.0.0.1:${ports[index]}`,
      peer: `http://127.0.0.1:${ports[index + 3]}`,
    }));
    const cluster = new EtcdCluster(folder, members, certificates);
    try {
      await cluster.startMembers();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get endpoints(): string[] {
    return this.#members.map(({ client }) => client);
  }

  /** Returns when all members run and each of them answers. */
  async startMembers(): Promise<void> {
    for (const member of this.#members) this.#startMember(member);
    await this.untilHealthy();
  }

  async startMember(endpoint: string): Promise<void> {
    this.#startMember(this.#memberAt(endpoint));
    await this.untilHealthy();
  }

  async endMember(endpoint: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { name } = this.#memberAt(endpoint);
    const child = this.#processes.get(name);
    if (child === undefined) throw new Error(`${name} does not run`);
    child.kill('SIGCONT');
    await endCommand(child, signal);
    this.#processes.delete(name);
  }

  async endMembers(): Promise<void> {
    const running = this.#members.filter(({ name }) => this.#processes.has(name));
    await Promise.all(running.map(({ client }) => this.endMember(client)));
  }

  /** Returns when all its threads stand still: on a busy machine some run on for a while after the signal. */
  async haltMember(endpoint: string): Promise<void> {
    const child = this.#processes.get(this.#memberAt(endpoint).name);
    child?.kill('SIGSTOP');
    const tasks = `/proc/${child?.pid}/task`;
    await until('it stands still', 10_000, async () => {
      const threads = await readdir(tasks);
      const states = await Promise.all(threads.map((thread) => readFile(`${tasks}/${thread}/stat`, 'latin1')));
      return states.every((state) => /\) T /.test(state)) ? true : null;
    });
  }

  resumeMember(endpoint: string): void {
    this.#processes.get(this.#memberAt(endpoint).name)?.kill('SIGCONT');
  }

  async leader(): Promise<string> {
    return until('a leader of etcd', 20_000, async () => {
      const { stdout } = await this.ctl('endpoint', 'status', '-w', 'json');
      const all = JSON.parse(stdout) as {
        Endpoint: string;
        Status: { header: { member_id: number }; leader: number };
      }[];
      return all.find(({ Status }) => Status.leader === Status.header.member_id)?.Endpoint ?? null;
    });
  }

  /** `etcdctl`, asked of all members. */
  ctl(...args: string[]): ReturnType<typeof mustRun> {
    const { certificates } = this;
    const tls = certificates
      ? [`--cacert=${certificates.ca}`, `--cert=${certificates.cert}`, `--key=${certificates.key}`]
      : [];
    const endpoints = `--endpoints=${this.endpoints.join(',')}`;
    return mustRun('etcdctl', [endpoints, ...tls, ...args], { environment: { ETCDCTL_API: '3' } });
  }

  /** A backup, to be given to `restore`. */
  async save(): Promise<string> {
    const path = join(this.folder, 'backup.db');
    await mustRun('etcdctl', [`--endpoints=${this.endpoints[0]}`, 'snapshot', 'save', path], {
      environment: { ETCDCTL_API: '3' },
    });
    return path;
  }

  /** Replaces what all members hold by a backup, as the administrator of etcd is told to do it. */
  async restore(backup: string): Promise<void> {
    await this.endMembers();
    this.#incarnation++;
    for (const member of this.#members) {
      await mustRun(
        'etcdctl',
        [
          'snapshot',
          'restore',
          backup,
          `--name=${member.name}`,
          `--data-dir=${this.#dataFolder(member)}`,
          `--initial-cluster=${this.#initialCluster()}`,
          `--initial-advertise-peer-urls=${member.peer}`,
        ],
        { environment: { ETCDCTL_API: '3' } },
      );
    }
    await this.startMembers();
  }

  async stop(): Promise<void> {
    await this.endMembers();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  async untilHealthy(): Promise<void> {
    const running = this.#members.filter(({ name }) => this.#processes.has(name));
    await until('etcd is healthy', 30_000, async () => {
      const healthy = await this.ctl('endpoint', 'status', '-w', 'json').catch(() => null);
      const seen = healthy === null ? [] : (JSON.parse(healthy.stdout) as { Status: { leader?: number } }[]);
      return seen.length >= running.length && seen.every(({ Status }) => (Status.leader ?? 0) !== 0) ? true : null;
    });
  }

  #startMember(member: Member): void {
    const { certificates } = this;
    const child = startCommand('etcd', [
      `--name=${member.name}`,
      `--data-dir=${this.#dataFolder(member)}`,
      `--listen-client-urls=${member.client}`,
      `--advertise-client-urls=${member.client}`,
      `--listen-peer-urls=${member.peer}`,
      `--initial-advertise-peer-urls=${member.peer}`,
      `--initial-cluster=${this.#initialCluster()}`,
      '--heartbeat-interval=100',
      '--election-timeout=600',
      ...(certificates
        ? [
            '--client-cert-auth',
            `--trusted-ca-file=${certificates.ca}`,
            `--cert-file=${certificates.cert}`,
            `--key-file=${certificates.key}`,
          ]
        : []),
    ]);
    for (const stream of [child.stdout, child.stderr]) stream?.resume();
    this.#processes.set(member.name, child);
  }

  #initialCluster(): string {
    return this.#members.map(({ name, peer }) => `${name}=${peer}`).join(',');
  }

  #dataFolder({ name }: Member): string {
    return join(this.folder, `${name}-${this.#incarnation}`);
  }

  #memberAt(endpoint: string): Member {
    const member = this.#members.find(({ client }) => client === endpoint);
    if (member === undefined) throw new Error(`no member of etcd is at ${endpoint}`);
    return member;
  }
}

/**
 * One authority, one certificate for everybody: members use theirs towards their own gateways, too. It has no common
 * name, because a gateway that looks at certificates refuses those that have one.
 */
async function makeCertificates(folder: string): Promise<Certificates> {
  const path = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): ReturnType<typeof mustRun> => mustRun('openssl', args, { folder });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl(
    ...['req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem'],
    ...['-days', '2', '-subj', '/CN=test authority'],
  );
  await openssl('req', ...newKey, '-keyout', 'node.key', '-out', 'node.csr', '-subj', '/O=node');
  await writeFile(path('names'), 'subjectAltName=IP:127.0.0.1\n');
  await openssl(
    ...['x509', '-req', '-in', 'node.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
    ...['-days', '2', '-extfile', 'names', '-out', 'node.pem'],
  );
  return { ca: path('ca.pem'), cert: path('node.pem'), key: path('node.key') };
}
