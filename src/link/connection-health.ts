/**
 * Whether connections to a peer may be used, by the heartbeats that come over the network on a path of their own (IM-5…IM-7).
 * Pure: the table tells what was heard and asks for the mark.
 *
 *   unknown ──heard──► up ──silence──► down ──heard──► probation ──without a gap──► up
 *                                       ▲                  │
 *                                       └──── silence ─────┘
 *
 * Silence is that of the heartbeats and, if frames count, of the connections, for longer than the timeout. In `down` and
 * `probation` connections are neither dialled nor accepted. It says nothing of the peer's life or death: that is the
 * judge's, who has a threshold of its own (HM-7).
 *
 * Invariants:
 * - Nobody is marked down who has never been heard by the network: where there are no heartbeats, nothing changes.
 * - The time in which this process stood still is nobody's silence.
 */

export interface HealthTimes {
  /** IM-5. */
  readonly timeoutMs: number;
  /** IM-6: 0 switches it off. */
  readonly probationMs: number;
  /** IM-5: any valid frame counts as a heartbeat does, for the connection it came by. */
  readonly framesCount: boolean;
}

export type Mark = 'unknown' | 'up' | 'down' | 'probation';

export interface PeerMark {
  readonly mark: Mark;
  /** Why connections may not be used; null when they may. */
  readonly reason: string | null;
  /** Monotonic; null for `unknown`. */
  readonly sinceMs: number | null;
  /** Until connections may be used again, if there is no gap; null outside probation. */
  readonly probationLeftMs: number | null;
}

interface Peer {
  mark: 'up' | 'down' | 'probation';
  sinceMs: number;
  /** The last heartbeat; monotonic. */
  heardMs: number;
}

const unknown: PeerMark = { mark: 'unknown', reason: null, sinceMs: null, probationLeftMs: null };

export class ConnectionHealth {
  readonly #times: () => HealthTimes | null;
  readonly #peers = new Map<string, Peer>();
  #lastLookMs: number | null = null;
  /** Since when this process has been running without a stop. */
  #awakeMs = -Infinity;

  /** @param times null: there is no pulse, and nobody is marked. */
  constructor(times: () => HealthTimes | null) {
    this.#times = times;
  }

  /** A valid heartbeat came from the peer over the network, at that moment of the monotonic clock. Older ones may be told again. */
  heard(name: string, atMs: number): void {
    const times = this.#times();
    if (times === null) return;
    const peer = this.#peers.get(name);
    if (peer === undefined) {
      this.#peers.set(name, { mark: 'up', sinceMs: atMs, heardMs: atMs });
      return;
    }
    if (atMs <= peer.heardMs) return;
    const gap = atMs - peer.heardMs >= times.timeoutMs;
    peer.heardMs = atMs;
    if (peer.mark === 'down' || (peer.mark === 'probation' && gap)) become(peer, 'probation', atMs);
  }

  forget(name: string): void {
    this.#peers.delete(name);
  }

  /** Begins a round of looks. Rounds further apart than half the timeout mean that this process stood still. */
  begin(nowMs: number): void {
    const times = this.#times();
    const sinceMs = nowMs - (this.#lastLookMs ?? nowMs);
    if (times !== null && sinceMs > times.timeoutMs / 2) this.#awakeMs = nowMs;
    this.#lastLookMs = nowMs;
  }

  /** @param frameMs when the last frame came from the peer, on any connection that is up; null: none is. */
  look(name: string, nowMs: number, frameMs: number | null): PeerMark {
    const times = this.#times();
    const peer = this.#peers.get(name);
    if (times === null || peer === undefined) return unknown;
    const { timeoutMs, probationMs, framesCount } = times;
    switch (peer.mark) {
      case 'up':
        if (this.#silentMs(peer, nowMs, framesCount ? frameMs : null) >= timeoutMs) become(peer, 'down', nowMs);
        break;
      case 'probation':
        if (this.#silentMs(peer, nowMs, null) >= timeoutMs) become(peer, 'down', nowMs);
        else if (nowMs - peer.sinceMs >= probationMs) become(peer, 'up', nowMs);
        break;
      case 'down':
        break;
    }
    return told(peer, nowMs, probationMs);
  }

  /** IM-7: whether a connection must not be used on, which heard its last frame at `frameMs`. */
  silent(name: string, nowMs: number, frameMs: number | null): boolean {
    const times = this.#times();
    const peer = this.#peers.get(name);
    if (times === null || peer === undefined) return false;
    return this.#silentMs(peer, nowMs, times.framesCount ? frameMs : null) >= times.timeoutMs;
  }

  #silentMs({ heardMs }: Peer, nowMs: number, frameMs: number | null): number {
    return nowMs - Math.max(heardMs, frameMs ?? -Infinity, this.#awakeMs);
  }
}

function become(peer: Peer, mark: Peer['mark'], sinceMs: number): void {
  peer.mark = mark;
  peer.sinceMs = sinceMs;
}

function told({ mark, sinceMs, heardMs }: Peer, nowMs: number, probationMs: number): PeerMark {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
  switch (mark) {
    case 'up':
      return { mark, reason: null, sinceMs, probationLeftMs: null };
    case 'down':
      return {
        mark,
        reason: `no heartbeat by network for ${seconds(nowMs - heardMs)}`,
        sinceMs,
        probationLeftMs: null,
      };
    case 'probation': {
      const probationLeftMs = Math.max(0, probationMs - (nowMs - sinceMs));
      const reason = `heartbeats by network are back; on probation for another ${seconds(probationLeftMs)}`;
      return { mark, reason, sinceMs, probationLeftMs };
    }
  }
}
