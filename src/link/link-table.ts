/**
 * All connections of a node to its peers. It dials every peer with a set of connections of its own and accepts theirs,
 * so that each direction has one set; it dials again whatever is lost, for ever.
 *
 * Invariants:
 * - Of a peer, connections of one incarnation only are up (R2). An incarnation that has been superseded never comes back:
 *   what is still heard of it was under way when its process ended.
 * - At most one connection is up for each (peer, direction, index).
 * - Connections that have not shown who they are, are few and cost little.
 * - With a peer that is suspended, by its heartbeats (IM-5) or by whoever knows better, none is up, dialled or accepted.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError } from '../base/errors.ts';
import { formatAddress, type Address, type ByteStream, type Listener, type StreamEvents } from '../base/network.ts';
import { Connection, type ConnectionOwner, type Patience } from './connection.ts';
import { ConnectionHealth, type HealthTimes, type PeerMark } from './connection-health.ts';
import type { Frame } from './frame.ts';
import { commonFeatures, judgeHello, judgeWelcome, makeHello, makeWelcome } from './handshake.ts';
import type {
  LinkConnection,
  LinkHandler,
  LinkIdentity,
  LinkOptions,
  LinkPeer,
  LinkRow,
  Reachability,
} from './link.ts';
import {
  connectionsPerLinkMax,
  decodeHello,
  decodeRefused,
  decodeWelcome,
  encodeHello,
  encodeWelcome,
} from './messages/handshake.ts';
import { messageNames, MessageType } from './messages/types.ts';
import { Requests } from './requests.ts';

/** One place in the set of connections to a peer. */
interface Slot {
  readonly index: number;
  connection: Connection | null;
  /** Runs while there is no connection. */
  retry: Timer | null;
  retryMs: number;
  reason: string | null;
}

interface Peer {
  readonly name: string;
  address: Address;
  /** Null until first met. */
  incarnation: string | null;
  /** Oldest first. */
  readonly superseded: string[];
  readonly slots: readonly Slot[];
  /** Those up, by index. */
  readonly incoming: Map<number, Connection>;
  lastHeardMs: number | null;
  reason: string | null;
  /** Why no connection is made; null: they are. */
  suspended: string | null;
  mark: PeerMark;
}

const retryMinMs = 100;
const retryMaxMs = 2000;
const greetingMs = 5000;
const strangersMax = 64;
const supersededMax = 64;
/** Of the timeout of heartbeats: how often marks are looked at. */
const healthLooksPerTimeout = 8;

export class LinkTable {
  readonly #environment: Environment;
  readonly #identity: LinkIdentity;
  readonly #handler: LinkHandler;
  readonly #listenAt: Address;
  readonly #connectionsPerLink: number;
  readonly #tickMs: number;
  readonly #patience: Patience;
  readonly #requests: Requests;
  readonly #owner: ConnectionOwner;
  readonly #healthTimes: () => HealthTimes | null;
  readonly #health: ConnectionHealth;
  #healthTicker: Timer | null = null;
  readonly #peers = new Map<string, Peer>();
  /** Every connection that is not closed. */
  readonly #connections = new Set<Connection>();
  /** Accepted, and not up: until the stream is gone. */
  readonly #strangers = new Set<Connection>();
  /** Closed, and the handler does not know it yet. */
  readonly #unreported: { readonly connection: Connection; readonly reason: string }[] = [];
  readonly #breaches = new Map<string, number>();
  #initialPeers: readonly LinkPeer[];
  #listener: Listener | null = null;
  #ticker: Timer | null = null;
  #closed = false;
  #lastId = 0;

  constructor(environment: Environment, identity: LinkIdentity, options: LinkOptions, handler: LinkHandler) {
    this.#environment = environment;
    this.#identity = identity;
    this.#handler = handler;
    this.#listenAt = options.listen;
    this.#connectionsPerLink = Math.min(options.connectionsPerLink ?? 2, connectionsPerLinkMax);
    this.#initialPeers = options.peers;
    this.#tickMs = (options.pingIntervalMs ?? 1000) / 2;
    this.#patience = {
      greetingTicks: Math.ceil(greetingMs / this.#tickMs),
      silenceTicks: Math.ceil((options.silenceMs ?? 4000) / this.#tickMs),
      pingTicks: 2,
    };
    this.#requests = new Requests(environment, handler);
    this.#healthTimes = options.health ?? (() => null);
    this.#health = new ConnectionHealth(this.#healthTimes);
    this.#owner = {
      clock: environment.clock,
      turn: environment.turn,
      opened: (connection) => this.#opened(connection),
      received: (connection, frame) => this.#received(connection, frame),
      drained: (connection) => handler.drained(connection),
      closed: (connection, reason, wasUp) => this.#closedBy(connection, reason, wasUp),
      gone: (connection) => this.#strangers.delete(connection),
      breached: (connection, rule, detail) => this.#breached(connection, rule, detail),
    };
  }

  /** Listens, then dials. Rejects with `E_PORT_TAKEN`, `E_ADDRESS_UNAVAILABLE` or `E_LISTEN`. */
  async start(): Promise<void> {
    this.#listener = await this.#environment.network.listen(this.#listenAt, (stream) => this.#accept(stream));
    if (this.#closed) return this.#listener.close();
    this.#ticker = this.#environment.clock.after(this.#tickMs, () => this.#tick());
    this.setPeers(this.#initialPeers);
    this.#initialPeers = [];
    this.#lookAtHealth();
  }

  /** Where it really listens. */
  get address(): Address {
    return this.#listener?.address ?? this.#listenAt;
  }

  /** Adds, removes and moves peers; connections to a peer that stays as it is are not disturbed. */
  setPeers(peers: readonly LinkPeer[]): void {
    if (this.#closed) return;
    const wanted = new Map(peers.filter(({ name }) => name !== this.#identity.node).map((peer) => [peer.name, peer]));
    for (const peer of [...this.#peers.values()]) {
      if (wanted.has(peer.name)) continue;
      this.#peers.delete(peer.name);
      this.#health.forget(peer.name);
      this.#closeAll(peer, (connection) => connection.close(`${peer.name} is no longer a peer of this node`));
    }
    for (const { name, address } of wanted.values()) {
      const known = this.#peers.get(name);
      if (known === undefined) this.#addPeer(name, address);
      else if (formatAddress(known.address) !== formatAddress(address)) {
        known.address = address;
        for (const slot of known.slots) {
          slot.connection?.close(`${name} has moved to ${formatAddress(address)}`);
          if (known.suspended === null) this.#dialNow(known, slot);
        }
      }
    }
  }

  /** Ends every connection with the peer, at once; it is dialled again. */
  closePeer(name: string, reason: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    for (const connection of connectionsUp(peer)) connection.close(reason);
  }

  /** Ends every connection with the peer, and makes and accepts none until `resumePeer`. */
  suspendPeer(name: string, reason: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    if (peer.suspended === null) this.#environment.log.warn(`link: connections with ${name} are closed: ${reason}`);
    peer.suspended = reason;
    this.#closeAll(peer, (connection) => connection.close(reason));
    for (const slot of peer.slots) slot.retry = null;
  }

  /** Dials again, at once, and accepts. */
  resumePeer(name: string): void {
    const peer = this.#peers.get(name);
    if (peer === undefined || peer.suspended === null || this.#closed) return;
    peer.suspended = null;
    this.#environment.log.info(`link: connections with ${name} are opened again`);
    for (const slot of peer.slots) {
      slot.retryMs = retryMinMs;
      if (slot.connection === null) this.#dialNow(peer, slot);
    }
  }

  /** IM-5: a valid heartbeat came from the peer over the network, so long ago. Told again and again, from the pulse's snapshot. */
  healthHeard(name: string, agoMs: number): void {
    if (this.#peers.has(name)) this.#health.heard(name, this.#environment.clock.monotonicMs() - agoMs);
  }

  /** How long ago each peer was last heard on any connection, for the pulse's channel `link`; null: never. */
  get heardAgoMs(): ReadonlyMap<string, number | null> {
    const now = this.#environment.clock.monotonicMs();
    const ages = new Map<string, number | null>();
    for (const name of this.#peers.keys()) {
      const { lastHeardMs } = this.reachable(name);
      ages.set(name, lastHeardMs === null ? null : now - lastHeardMs);
    }
    return ages;
  }

  /** Sends what is queued, closes all connections and stops listening. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#ticker?.cancel();
    this.#healthTicker?.cancel();
    for (const peer of this.#peers.values()) {
      this.#closeAll(peer, (connection) => connection.end(`${this.#identity.node} is stopping`));
    }
    for (const connection of [...this.#connections]) connection.close(`${this.#identity.node} is stopping`);
    await this.#listener?.close();
  }

  /** Those dialled by this node that are up, by index. */
  outgoing(peer: string): readonly LinkConnection[] {
    return (this.#peers.get(peer)?.slots ?? []).flatMap(({ connection }) =>
      connection?.state === 'up' ? [connection] : [],
    );
  }

  /** All to the peer that are up, dialled by either side. */
  connections(peer: string): readonly LinkConnection[] {
    const known = this.#peers.get(peer);
    return known === undefined ? [] : connectionsUp(known);
  }

  /**
   * Asks another node, over the least busy of all connections to it. Rejects with what the peer's handler rejected
   * with, with `E_NODE_UNREACHABLE`, `E_TIMEOUT`, or `E_BUSY` when too many requests wait already.
   */
  request(peer: string, method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    const known = this.#peers.get(peer);
    let best: Connection | null = null;
    for (const connection of known === undefined ? [] : connectionsUp(known)) {
      if (best === null || connection.unsentBytes < best.unsentBytes) best = connection;
    }
    if (best !== null) return this.#requests.send(best, method, params, timeoutMs);
    const reason = known === undefined ? 'it is not a peer of this node' : (known.reason ?? 'not connected yet');
    return Promise.reject(new HoldfastError('E_NODE_UNREACHABLE', `node ${peer} cannot be reached: ${reason}`));
  }

  reachable(peer: string): Reachability {
    const known = this.#peers.get(peer);
    if (known === undefined)
      return { state: 'down', reason: `${peer} is not a peer of this node`, lastHeardMs: null };
    const up = connectionsUp(known);
    const heardMs = [known, ...up].flatMap(({ lastHeardMs }) => lastHeardMs ?? []);
    return {
      state: up.length > 0 ? 'up' : known.reason === null ? 'connecting' : 'down',
      reason: known.reason,
      lastHeardMs: heardMs.length > 0 ? Math.max(...heardMs) : null,
    };
  }

  /** The connection table (IM-4): every place of the own sets, and what is up of the peers' sets. */
  rows(): LinkRow[] {
    return [...this.#peers.values()].flatMap((peer) => [
      ...peer.slots.map(({ index, connection, reason }): LinkRow => {
        const state = connection === null ? 'down' : connection.state === 'up' ? 'up' : 'connecting';
        return {
          peer: peer.name,
          direction: 'out',
          index,
          local: '',
          remote: formatAddress(peer.address),
          state,
          lastHeardMs: connection?.lastHeardMs ?? null,
          reason: state === 'up' ? null : (peer.suspended ?? reason),
          mark: peer.mark.mark,
          probationLeftMs: peer.mark.probationLeftMs,
        };
      }),
      ...[...peer.incoming.values()].map(({ index, remote, lastHeardMs }): LinkRow => {
        const local = formatAddress(this.address);
        return {
          peer: peer.name,
          direction: 'in',
          index,
          local,
          remote,
          state: 'up',
          lastHeardMs,
          reason: null,
          mark: peer.mark.mark,
          probationLeftMs: peer.mark.probationLeftMs,
        };
      }),
    ]);
  }

  /** How often each peer broke which rule, by `peer rule`; the peer is `?` where it was not known yet. */
  get breaches(): ReadonlyMap<string, number> {
    return this.#breaches;
  }

  // What connections report.

  #opened(connection: Connection): void {
    const { peer, index } = connection;
    const { bootId } = this.#environment;
    const count = this.#connectionsPerLink;
    connection.send(encodeHello(makeHello(this.#identity, bootId, peer, { index, count })));
  }

  #received(connection: Connection, frame: Frame): void {
    if (frame.type === MessageType.refused) {
      const refused = decodeRefused(frame);
      return connection.close(
        `refused by ${connection.remote}: ${refused.ok ? refused.value.message : refused.reason}`,
      );
    }
    if (connection.state === 'greeting') {
      if (connection.direction === 'in' && frame.type === MessageType.hello) this.#greeted(connection, frame);
      else if (connection.direction === 'out' && frame.type === MessageType.welcome)
        this.#welcomed(connection, frame);
      else connection.breach('unexpectedMessage', `${messageNames.get(frame.type)} during the handshake`);
      return;
    }
    switch (frame.type) {
      case MessageType.hello:
      case MessageType.welcome:
        return connection.breach('unexpectedMessage', `${messageNames.get(frame.type)} after the handshake`);
      case MessageType.call:
        return this.#requests.called(connection, frame);
      case MessageType.reply:
        return this.#requests.replied(connection, frame);
      default:
        return this.#handler.frame(connection, frame);
    }
  }

  #closedBy(connection: Connection, reason: string, wasUp: boolean): void {
    this.#connections.delete(connection);
    const peer = this.#peers.get(connection.peer);
    if (peer !== undefined) {
      peer.lastHeardMs = connection.lastHeardMs ?? peer.lastHeardMs;
      if (peer.incoming.get(connection.index) === connection) peer.incoming.delete(connection.index);
      const slot = connection.direction === 'out' ? peer.slots[connection.index] : undefined;
      if (wasUp || slot !== undefined) this.#lost(peer, reason);
      if (slot?.connection === connection) this.#dialLater(peer, slot, reason);
    }
    if (!wasUp) return;
    this.#requests.connectionClosed(connection, reason);
    this.#unreported.push({ connection, reason });
    this.#environment.turn.defer(() => this.#reportDown());
  }

  #breached(connection: Connection, rule: string, detail: string): void {
    const who = connection.peer === '' ? '?' : connection.peer;
    const key = `${who} ${rule}`;
    const count = (this.#breaches.get(key) ?? 0) + 1;
    this.#breaches.set(key, count);
    if (count > 1) return;
    this.#environment.log.warn(`link: ${who} at ${connection.remote} broke the protocol: ${rule}: ${detail}`);
  }

  // Accepting.

  #accept(stream: ByteStream): StreamEvents {
    const connection = new Connection(this.#owner, ++this.#lastId, 'in', stream.remote, {});
    connection.carry(stream);
    if (this.#closed) connection.close(`${this.#identity.node} is stopping`);
    else if (this.#strangers.size >= strangersMax) {
      this.#breached(connection, 'tooManyStrangers', `${strangersMax} connections have not said who they are`);
      connection.close('too many connections have not said who they are');
    } else {
      this.#connections.add(connection);
      this.#strangers.add(connection);
    }
    return connection.events;
  }

  #greeted(connection: Connection, frame: Frame): void {
    const decoded = decodeHello(frame);
    if (!decoded.ok) return connection.breach('badMessage', `hello: ${decoded.reason}`);
    const hello = decoded.value;
    const peer = this.#peers.get(hello.node);
    const refusal = judgeHello(this.#identity, peer !== undefined, hello);
    if (refusal !== null || peer === undefined) {
      const { code, message } = refusal ?? { code: 'unknownNode', message: '' };
      this.#breached(connection, code, message);
      return connection.refuse(code, message);
    }
    if (peer.suspended !== null) {
      return connection.refuse(
        'notYet',
        `${this.#identity.node} takes no connection of ${peer.name}: ${peer.suspended}`,
      );
    }
    if (!this.#meet(peer, hello.incarnation)) {
      return connection.refuse('supersededIncarnation', `a newer process of ${hello.node} has been here`);
    }
    peer.incoming.get(hello.index)?.close('replaced by a newer connection');
    if (!this.#settle(peer, connection)) return;
    this.#strangers.delete(connection);
    connection.send(encodeWelcome(makeWelcome(this.#identity, this.#environment.bootId)));
    peer.incoming.set(hello.index, connection);
    this.#up(peer, connection, hello, hello.index);
    // It runs and can be reached from there: worth trying at once whether it can be reached from here.
    for (const slot of peer.slots) if (slot.retry !== null) this.#dialNow(peer, slot);
  }

  // Dialling.

  #welcomed(connection: Connection, frame: Frame): void {
    const decoded = decodeWelcome(frame);
    if (!decoded.ok) return connection.breach('badMessage', `welcome: ${decoded.reason}`);
    const peer = this.#peers.get(connection.peer);
    const slot = peer?.slots[connection.index];
    if (peer === undefined || slot === undefined) return connection.close('not a peer any more');
    const fault = judgeWelcome(this.#identity, peer.name, decoded.value);
    if (fault !== null) return connection.close(`refused ${connection.remote}: ${fault}`);
    if (!this.#meet(peer, decoded.value.incarnation)) {
      return connection.close(`a newer process of ${peer.name} has been here`);
    }
    if (!this.#settle(peer, connection)) return;
    slot.retryMs = retryMinMs;
    slot.reason = null;
    this.#up(peer, connection, decoded.value, slot.index);
  }

  #addPeer(name: string, address: Address): void {
    const slots = Array.from({ length: this.#connectionsPerLink }, (_, index): Slot => {
      return { index, connection: null, retry: null, retryMs: retryMinMs, reason: null };
    });
    const peer: Peer = {
      name,
      address,
      incarnation: null,
      superseded: [],
      slots,
      incoming: new Map(),
      lastHeardMs: null,
      reason: null,
      suspended: null,
      mark: this.#health.look(name, this.#environment.clock.monotonicMs(), null),
    };
    this.#peers.set(name, peer);
    for (const slot of slots) this.#dialNow(peer, slot);
  }

  #dialNow(peer: Peer, slot: Slot): void {
    slot.retry?.cancel();
    slot.retry = null;
    const remote = formatAddress(peer.address);
    const connection = new Connection(this.#owner, ++this.#lastId, 'out', remote, {
      peer: peer.name,
      index: slot.index,
    });
    slot.connection = connection;
    this.#connections.add(connection);
    connection.carry(this.#environment.network.connect(peer.address, connection.events));
  }

  /** Twice as long each time, and never in step with others. */
  #dialLater(peer: Peer, slot: Slot, reason: string): void {
    slot.connection = null;
    slot.reason = reason;
    if (this.#closed || peer.suspended !== null || this.#peers.get(peer.name) !== peer) return;
    const delayMs = slot.retryMs / 2 + this.#environment.random.below(slot.retryMs / 2 + 1);
    slot.retryMs = Math.min(slot.retryMs * 2, retryMaxMs);
    slot.retry = this.#environment.clock.after(delayMs, () => this.#dialNow(peer, slot));
  }

  // Both.

  /** Makes sure that the peer is known by this incarnation; false when it belongs to the past. */
  #meet(peer: Peer, incarnation: string): boolean {
    if (peer.incarnation === incarnation) return true;
    if (peer.superseded.includes(incarnation)) return false;
    if (peer.incarnation !== null) {
      peer.superseded.push(peer.incarnation);
      if (peer.superseded.length > supersededMax) peer.superseded.shift();
      for (const connection of connectionsUp(peer)) connection.close(`${peer.name} was restarted`);
    }
    peer.incarnation = incarnation;
    return true;
  }

  /** Reports what is down before something new is up. False when the handler has made the new connection pointless. */
  #settle(peer: Peer, connection: Connection): boolean {
    this.#reportDown();
    if (this.#peers.get(peer.name) !== peer) connection.close(`${peer.name} is no longer a peer of this node`);
    return connection.state === 'greeting';
  }

  #up(
    peer: Peer,
    connection: Connection,
    said: { incarnation: string; bootId: string; softwareVersion: string; features: readonly string[] },
    index: number,
  ): void {
    connection.becomeUp({
      peer: peer.name,
      peerIncarnation: said.incarnation,
      peerBootId: said.bootId,
      peerSoftwareVersion: said.softwareVersion,
      features: commonFeatures(this.#identity.features, said.features),
      index,
    });
    peer.reason = null;
    if (connectionsUp(peer).length === 1) this.#environment.log.info(`link: connected with ${peer.name}`);
    this.#handler.connectionUp(connection);
  }

  #lost(peer: Peer, reason: string): void {
    if (peer.reason !== reason && connectionsUp(peer).length === 0) {
      this.#environment.log.warn(`link: not connected with ${peer.name}: ${reason}`);
    }
    peer.reason = reason;
  }

  #reportDown(): void {
    for (let next = this.#unreported.shift(); next !== undefined; next = this.#unreported.shift()) {
      this.#handler.connectionDown(next.connection, next.reason);
    }
  }

  #closeAll(peer: Peer, close: (connection: Connection) => void): void {
    for (const slot of peer.slots) slot.retry?.cancel();
    for (const connection of [...peer.slots.flatMap((slot) => slot.connection ?? []), ...peer.incoming.values()]) {
      close(connection);
    }
  }

  /** IM-5…IM-7. */
  #lookAtHealth(): void {
    const { clock } = this.#environment;
    const times = this.#healthTimes();
    const delayMs = times === null ? this.#tickMs : Math.min(this.#tickMs, times.timeoutMs / healthLooksPerTimeout);
    this.#healthTicker = clock.after(delayMs, () => this.#lookAtHealth());
    const now = clock.monotonicMs();
    this.#health.begin(now);
    for (const peer of [...this.#peers.values()]) {
      const up = connectionsUp(peer);
      const frameMs = up.length === 0 ? null : Math.max(...up.map(({ lastHeardMs }) => lastHeardMs ?? -Infinity));
      const before = peer.mark.mark;
      peer.mark = this.#health.look(peer.name, now, frameMs);
      const { mark, reason } = peer.mark;
      if (reason !== null && (before !== mark || peer.suspended !== null)) this.#mark(peer, before, reason);
      else if (mark === 'up' && before !== 'up' && before !== 'unknown') this.resumePeer(peer.name);
      // One that hears nothing while others do is of no use either.
      for (const connection of connectionsUp(peer)) {
        if (!this.#health.silent(peer.name, now, connection.lastHeardMs)) continue;
        connection.close(
          `marked down: nothing heard on this connection, and no heartbeat of ${peer.name} by network`,
        );
      }
    }
  }

  #mark(peer: Peer, before: PeerMark['mark'], reason: string): void {
    if (before === 'up') this.suspendPeer(peer.name, `marked down: ${reason}`);
    else peer.suspended = `marked down: ${reason}`;
  }

  #tick(): void {
    this.#ticker = this.#environment.clock.after(this.#tickMs, () => this.#tick());
    for (const connection of [...this.#connections]) connection.tick(this.#patience);
  }
}

function connectionsUp(peer: Peer): Connection[] {
  const outgoing = peer.slots.flatMap(({ connection }) => (connection?.state === 'up' ? [connection] : []));
  return [...outgoing, ...peer.incoming.values()];
}
