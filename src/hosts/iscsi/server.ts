/**
 * The iSCSI server of a node: listens on its portals, makes a connection's session of each login, bounds their number,
 * and ends them.
 *
 * One timer serves all of them: a thousand idle sessions cost a walk over a thousand objects a stroke, and no memory but
 * their own few objects; buffers are the turn's, not the session's.
 */
import type { Timer } from '../../base/clock.ts';
import type { Environment } from '../../base/environment.ts';
import { type Address, type ByteStream, formatAddress, type StreamEvents } from '../../base/network.ts';
import { within } from '../../base/waiting.ts';
import { Listeners, refused } from '../listeners.ts';
import { SlabPool } from '../outbox.ts';
import { Connection, type ConnectionLimits, hostOf, type SessionStatus } from './connection.ts';
import { MemoryBudget } from './memory-budget.ts';
import { SessionTable } from './session-table.ts';
import type { Peers } from './task-management.ts';
import type { TargetDirectory } from './targets.ts';

export interface IscsiLimits extends ConnectionLimits {
  /** Logged in, or on their way out with commands that have not ended. */
  readonly sessionsMax: number;
  /** Connections that have not logged in, of all hosts and of one address. */
  readonly loginsMax: number;
  readonly loginsPerAddressMax: number;
  /** Payload bytes under way of all sessions together, see `MemoryBudget`. */
  readonly totalBytesMax: number;
  /** Reply memory kept for use again when nothing needs it. */
  readonly idleSlabBytesMax: number;
  /** Between two strokes of the clock for all. */
  readonly sweepMs: number;
  /** From the request to log out when the node stops to the end of the sessions. */
  readonly logoutMs: number;
}

export const defaultIscsiLimits: IscsiLimits = {
  commandWindow: 128,
  immediateMax: 32,
  sessionBytesMax: 64 * 1024 * 1024,
  totalBytesMax: 256 * 1024 * 1024,
  unsentBytesMax: 8 * 1024 * 1024,
  maxRecvDataSegmentLength: 256 * 1024,
  silenceMs: 30_000,
  stallMs: 60_000,
  loginMs: 15_000,
  closeMs: 5_000,
  sessionsMax: 2048,
  loginsMax: 256,
  loginsPerAddressMax: 64,
  idleSlabBytesMax: 8 * 1024 * 1024,
  sweepMs: 1_000,
  logoutMs: 2_000,
};

export interface ListenAtPortal {
  readonly address: Address;
  /** Target portal group tag, and relative target port identifier (`Portal.tag`). */
  readonly tag: number;
}

type World = Pick<Environment, 'clock' | 'turn' | 'log' | 'network' | 'random'>;

export class IscsiServer {
  readonly #world: World;
  readonly #targets: TargetDirectory;
  readonly #limits: IscsiLimits;
  readonly #slabs: SlabPool;
  readonly #budget: MemoryBudget;
  readonly #table: SessionTable;
  readonly #connections = new Set<Connection>();
  readonly #listeners: Listeners;
  #nextId = 1;
  #closing = false;
  /** Called when the last connection has ended after `close`. */
  #emptied: (() => void) | null = null;
  /** Refusals are logged once until there is room again: a flood of connections shall not become one of log lines. */
  #fullLogged = false;
  #stroke: Timer | null = null;

  constructor(world: World, targets: TargetDirectory, limits: Partial<IscsiLimits> = {}) {
    this.#world = world;
    this.#targets = targets;
    this.#limits = { ...defaultIscsiLimits, ...limits };
    this.#listeners = new Listeners(world.network);
    this.#slabs = new SlabPool(this.#limits.idleSlabBytesMax);
    this.#budget = new MemoryBudget(this.#limits.totalBytesMax);
    this.#table = new SessionTable(this.#limits.sessionsMax);
  }

  /** Returns the addresses really bound. Rejects as `Network.listen` does, and listens nowhere then. */
  listen(portals: readonly ListenAtPortal[]): Promise<Address[]> {
    return this.#listeners.listen(
      portals.map(({ address, tag }) => ({
        address,
        accept: (stream: ByteStream) => this.#accept(stream, address, tag),
      })),
    );
  }

  /** By age, oldest first. */
  sessions(): SessionStatus[] {
    const nowMs = this.#world.clock.monotonicMs();
    return [...this.#connections].flatMap((connection) => connection.status(nowMs) ?? []);
  }

  /** Payload bytes under way, of all sessions. */
  get usedBytes(): number {
    return this.#budget.usedBytes;
  }

  /** Ends a session; false: there is none of that id. The initiator is told, and may log in again. */
  disconnect(id: number): boolean {
    for (const connection of this.#connections) {
      if (connection.id !== id || connection.target === null) continue;
      connection.expel('disconnected by an administrator');
      return true;
    }
    return false;
  }

  /** Ends the sessions of a target that is not offered any more, or whose rules have changed. */
  endSessionsOf(targetName: string, reason: string): void {
    for (const connection of [...this.#connections]) {
      if (connection.target?.name === targetName) connection.expel(reason);
    }
  }

  /** Stops listening, asks initiators to log out, and after `logoutMs` ends their sessions all the same. */
  async close(): Promise<void> {
    const { logoutMs, closeMs } = this.#limits;
    this.#closing = true;
    await this.#listeners.close();
    for (const connection of [...this.#connections]) connection.requestLogout(Math.ceil(logoutMs / 1000));
    if (await this.#emptiedWithin(logoutMs)) return;
    for (const connection of [...this.#connections]) connection.expel('the node stops');
    if (await this.#emptiedWithin(closeMs)) return;
    for (const connection of [...this.#connections]) connection.destroy();
    await this.#emptiedWithin(closeMs);
  }

  #emptiedWithin(limitMs: number): Promise<boolean> {
    return within(this.#world.clock, limitMs, (done) => {
      if (this.#connections.size === 0) done();
      else this.#emptied = done;
    });
  }

  #accept(stream: ByteStream, at: Address, tag: number): StreamEvents {
    const { clock, turn, log, random } = this.#world;
    const refusal = this.#closing ? 'the node stops' : this.#refusal(hostOf(stream.remote));
    if (refusal !== null) {
      if (!this.#closing && !this.#fullLogged) {
        this.#fullLogged = true;
        log.warn(`iscsi ${stream.remote}: closed: ${refusal}`);
      }
      stream.destroy();
      return refused;
    }
    const world = {
      turn,
      log,
      random,
      targets: this.#targets,
      table: this.#table,
      slabs: this.#slabs,
      budget: this.#budget,
      portalTag: tag,
      localAddress: hostOf(stream.local ?? formatAddress(at)),
      peersOf: (connection: Connection) => this.#peersOf(connection),
      ended: (connection: Connection) => {
        this.#ended(connection);
      },
    };
    const connection = new Connection(this.#nextId++, stream, world, this.#limits, clock.monotonicMs());
    this.#connections.add(connection);
    this.#stroke ??= clock.after(this.#limits.sweepMs, this.#sweep);
    return connection;
  }

  /** Why no further connection is taken; null: one is. Sessions have a limit of their own, which a login is told of. */
  #refusal(address: string): string | null {
    let logins = 0;
    let here = 0;
    for (const { state, remoteAddress } of this.#connections) {
      if (state === 'fullFeature') continue;
      logins += 1;
      if (remoteAddress === address) here += 1;
    }
    if (logins >= this.#limits.loginsMax) return `${logins} connections have not logged in, the most allowed`;
    if (here >= this.#limits.loginsPerAddressMax) return `${here} connections from there have not logged in`;
    return null;
  }

  #peersOf(connection: Connection): Peers {
    const peers = (): Connection[] => [...this.#connections].filter((other) => other.target === connection.target);
    return {
      abortWaiting: (lun) => {
        for (const peer of peers()) if (peer !== connection) peer.session?.abortWaiting(lun);
      },
      endAll: (reason) => {
        for (const peer of peers()) peer.expel(reason);
      },
    };
  }

  #ended(connection: Connection): void {
    this.#connections.delete(connection);
    this.#fullLogged = false;
    if (this.#connections.size > 0) return;
    this.#stroke?.cancel();
    this.#stroke = null;
    this.#emptied?.();
  }

  readonly #sweep = (): void => {
    const { clock } = this.#world;
    const nowMs = clock.monotonicMs();
    for (const connection of this.#connections) connection.sweep(nowMs);
    this.#stroke = this.#connections.size > 0 ? clock.after(this.#limits.sweepMs, this.#sweep) : null;
  };
}
