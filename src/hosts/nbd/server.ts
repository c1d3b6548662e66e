/**
 * The NBD server of a node: listens on TCP and Unix sockets, makes a session of each connection, bounds their number.
 */
import type { Environment } from '../../base/environment.ts';
import type { Address, ByteStream, StreamEvents } from '../../base/network.ts';
import type { ExportCatalogue } from '../../group/host-access.ts';
import { Listeners, refused } from '../listeners.ts';
import { SlabPool } from '../outbox.ts';
import { NbdSession, type SessionLimits, type SessionStatus } from './session.ts';
import { defaultTransmissionLimits } from './transmission.ts';

export interface NbdLimits extends SessionLimits {
  readonly sessionsMax: number;
  /** Reply memory kept for use again when no request needs it. */
  readonly idleSlabBytesMax: number;
}

export const defaultNbdLimits: NbdLimits = {
  ...defaultTransmissionLimits,
  handshakeMs: 30_000,
  closeMs: 5_000,
  sessionsMax: 256,
  idleSlabBytesMax: 8 * 1024 * 1024,
};

export class NbdServer {
  readonly #environment: Pick<Environment, 'clock' | 'turn' | 'log' | 'network'>;
  readonly #catalogue: ExportCatalogue;
  readonly #limits: NbdLimits;
  readonly #slabs: SlabPool;
  readonly #sessions = new Set<NbdSession>();
  readonly #listeners: Listeners;
  #closing = false;
  /** Called when the last session has ended after `close`. */
  #emptied: (() => void) | null = null;
  /** Refusals are logged once until there is room again: a flood of connections shall not become one of log lines. */
  #fullLogged = false;

  constructor(
    environment: Pick<Environment, 'clock' | 'turn' | 'log' | 'network'>,
    catalogue: ExportCatalogue,
    limits: Partial<NbdLimits> = {},
  ) {
    this.#environment = environment;
    this.#catalogue = catalogue;
    this.#limits = { ...defaultNbdLimits, ...limits };
    this.#listeners = new Listeners(environment.network);
    this.#slabs = new SlabPool(this.#limits.idleSlabBytesMax);
  }

  /** Returns the addresses really bound. Rejects as `Network.listen` does, and listens nowhere then. */
  listen(addresses: readonly Address[]): Promise<Address[]> {
    return this.#listeners.listen(
      addresses.map((address) => ({ address, accept: (stream: ByteStream) => this.#accept(stream) })),
    );
  }

  sessions(): SessionStatus[] {
    return [...this.#sessions].map((session) => session.status());
  }

  /** Stops listening and ends every session, answering what is in flight with ESHUTDOWN. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#listeners.close();
    for (const session of [...this.#sessions]) session.stop();
    if (this.#sessions.size > 0) await new Promise<void>((resolve) => (this.#emptied = resolve));
  }

  #accept(stream: ByteStream): StreamEvents {
    const { clock, turn, log } = this.#environment;
    if (this.#closing || this.#sessions.size >= this.#limits.sessionsMax) {
      if (!this.#closing && !this.#fullLogged) {
        this.#fullLogged = true;
        log.warn(`nbd ${stream.remote}: closed: there are ${this.#sessions.size} sessions, the most allowed`);
      }
      stream.destroy();
      return refused;
    }
    const world = { clock, turn, log, catalogue: this.#catalogue, slabs: this.#slabs };
    const session = new NbdSession(stream, world, this.#limits, (ended) => {
      this.#sessions.delete(ended);
      this.#fullLogged = false;
      if (this.#sessions.size === 0) this.#emptied?.();
    });
    this.#sessions.add(session);
    return session;
  }
}
