/**
 * Debian's PostgreSQL with its data in a host's file system, and what runs against it: pgbench's load, and a writer that
 * knows which of its transactions were committed. The server refuses to be root's: it and all others run as `postgres`.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { endCommand, mustRun, startCommand, until } from './command.ts';

/** The newest that is installed. */
const versions = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : [];
const programs = `/usr/lib/postgresql/${Math.max(...versions.map(Number))}/bin`;

/** Small; what decides over durability is as it is by default. Frequent checkpoints make for many kinds of writes. */
const settings = ['listen_addresses=', 'shared_buffers=32MB', 'max_wal_size=64MB', 'checkpoint_timeout=30s'];
const psql = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1'];
const timeLimitMs = 120_000;

export class Database {
  /** For people, when something fails. */
  serverLog = '';
  private readonly dataFolder: string;
  private readonly socketFolder: string;
  private server: ChildProcess | null = null;

  private constructor(mountPoint: string, socketFolder: string) {
    this.dataFolder = join(mountPoint, 'data');
    this.socketFolder = socketFolder;
  }

  /** Of the cluster that is in the mounted file system, or shall be. */
  static async at(mountPoint: string): Promise<Database> {
    const socketFolder = await mkdtemp(join(tmpdir(), 'holdfast-postgres-'));
    await mustRun('chown', ['postgres:', socketFolder]);
    // The way to its data leads through a folder that is root's own.
    await chmod(dirname(mountPoint), 0o711);
    return new Database(mountPoint, socketFolder);
  }

  /** A new cluster, with checksums on its pages. */
  async create(): Promise<void> {
    await mkdir(this.dataFolder, { mode: 0o700 });
    await mustRun('chown', ['postgres:', this.dataFolder]);
    await this.run('initdb', '-D', this.dataFolder, '--data-checksums');
  }

  /** Returns when it answers, having recovered from whatever came before. */
  async start(): Promise<void> {
    const options = settings.flatMap((setting) => ['-c', setting]);
    const server = this.spawn('postgres', '-D', this.dataFolder, '-k', this.socketFolder, ...options);
    this.server = server;
    server.stderr?.on('data', (chunk: Buffer) => (this.serverLog += chunk.toString()));
    await until('PostgreSQL answers', timeLimitMs, async () => {
      if (server.exitCode !== null) throw new Error(`PostgreSQL ended at its start:\n${this.serverLog}`);
      return this.query('SELECT 1').catch(() => null);
    });
  }

  /** One statement, or several; what they return, line by line. */
  async query(sql: string): Promise<string[]> {
    return (await this.run('psql', ...psql, '-c', sql)).split('\n').filter((line) => line !== '');
  }

  /** One of PostgreSQL's programs; what it says. Rejects unless it succeeds. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    const { stdout } = await mustRun(...this.asPostgres(program, args), {
      environment: this.environment,
      folder: '/',
      timeoutMs: timeLimitMs,
    });
    return stdout;
  }

  spawn(program: string, ...args: readonly string[]): ChildProcess {
    const child = startCommand(...this.asPostgres(program, args), { environment: this.environment, folder: '/' });
    child.stdin?.on('error', () => {}); // It may end before it has read what it was told.
    return child;
  }

  /** psql, for statements on its standard input. */
  session(): ChildProcess {
    return this.spawn('psql', ...psql);
  }

  /** Ends it as a crash would, with nothing written any more; also when its disk has gone. */
  async end(): Promise<void> {
    if (this.server !== null) await endCommand(this.server, 'SIGQUIT');
    this.server = null;
    await rm(this.socketFolder, { recursive: true, force: true });
  }

  private get environment(): Record<string, string> {
    return { PGHOST: this.socketFolder, PGDATABASE: 'postgres', PGUSER: 'postgres', HOME: '/' };
  }

  private asPostgres(program: string, args: readonly string[]): [string, string[]] {
    const user = ['--reuid=postgres', '--regid=postgres', '--clear-groups'];
    return ['setpriv', [...user, join(programs, program), ...args]];
  }
}

/** pgbench's own transactions from four sessions, until ended or until its server has gone. */
export class PgbenchLoad {
  private readonly child: ChildProcess;
  private output = '';

  private constructor(child: ChildProcess) {
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
  }

  static async prepare(database: Database): Promise<void> {
    await database.run('pgbench', '--initialize', '--scale=2', '--foreign-keys', '--quiet');
  }

  static start(database: Database): PgbenchLoad {
    return new PgbenchLoad(database.spawn('pgbench', '--no-vacuum', '--client=4', '--time=86400'));
  }

  assertGoesOn(): void {
    if (this.child.exitCode !== null || /abort|error/i.test(this.output)) {
      throw new Error(`pgbench met an error:\n${this.output}`);
    }
  }

  async end(): Promise<void> {
    await endCommand(this.child, 'SIGTERM');
  }

  /** Empty when every transaction is in all the sums it changes, or in none. */
  static async faults(database: Database): Promise<string[]> {
    const sums = await database.query(
      `SELECT sum(abalance) FROM pgbench_accounts UNION ALL SELECT sum(tbalance) FROM pgbench_tellers
       UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL SELECT sum(delta) FROM pgbench_history`,
    );
    return new Set(sums).size === 1 ? [] : [`sums of accounts, tellers, branches, history: ${sums.join(' ')}`];
  }
}

/** Commits 1, 2, 3 … in a transaction each, one after another, and notes each when it has been told of the commit. */
export class CommitWriter {
  /** All up to here are known to be committed. */
  committed: number;
  private readonly session: ChildProcess;
  private readonly ended: Promise<unknown>;
  private stopping = false;

  private constructor(session: ChildProcess, committed: number) {
    this.session = session;
    this.committed = committed;
    this.ended = once(session, 'close');
    if (session.stdout === null) throw new Error('psql has no output');
    createInterface(session.stdout).on('line', (line) => {
      this.committed = Number(line);
      if (this.stopping) session.stdin?.end();
      else this.next();
    });
    this.next();
  }

  static async prepare(database: Database): Promise<void> {
    await database.query('CREATE TABLE numbers (number bigint PRIMARY KEY, word text NOT NULL)');
  }

  /** Goes on after `committed`. */
  static start(database: Database, committed: number): CommitWriter {
    return new CommitWriter(database.session(), committed);
  }

  /** What is under way is waited for, unless its server has gone. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.ended;
  }

  /** What is there: n when it is exactly 1…n, else an error. */
  static async prefix(database: Database): Promise<number> {
    const [row = ''] = await database.query(
      'SELECT count(*), coalesce(max(number), 0), coalesce(min(number), 1) FROM numbers',
    );
    const [count = 0, last = 0, first = 0] = row.split('|').map(Number);
    if (count !== last || first !== 1)
      throw new Error(`${count} numbers, from ${first} to ${last}: some are missing`);
    return count;
  }

  private next(): void {
    const number = this.committed + 1;
    // Answered after the commit: each statement is a transaction.
    this.session.stdin?.write(`INSERT INTO numbers VALUES (${number}, md5('${number}')) RETURNING number;\n`);
  }
}
