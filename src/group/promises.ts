/**
 * Promises not to take over: what lets a synchronous group go on while the coordination store does not answer (R16).
 *
 * A lease says that no other node may take over. When it has passed and the store cannot be asked, the other nodes can say so
 * themselves: only nodes with a copy can take over, so a promise from every one of them is as good as the lease, for as
 * long as all of them last.
 *
 * Why it holds:
 * - The owner counts a promise from before it asked for it, by the monotonic or the wall clock, whichever passes first. The
 *   other node counts from when it answered, on its monotonic clock, and adds the margin of leases for clocks that do not
 *   run alike. So the owner has always stopped relying on it before the other node feels free.
 * - A promise is not written down. A process that starts cannot know what the one before it promised in its last moment,
 *   and waits as long as that could have lasted: `PromisesGiven` begins as if it had promised just now. Writing each
 *   promise to disk would cost every target a sync several times a second, for a wait that is over before a process that
 *   was restarted has opened its volumes. That the old owner's lease is gone from the store shortens nothing: that is when
 *   promises are relied on.
 * - It binds the node for the group, not for a generation: a node that has been asked by two owners keeps both. One that has
 *   released the group, or hands it over, serves nothing under the generation the promise was given for, so
 *   those moves wait for no promise.
 * - Promises that have ended may be given anew to the same generation: had a node taken over in between, then it has seen a
 *   newer generation, and lets no older owner attach (R12).
 *
 * Asked for is every leg's node, not only those in sync: a leg within its bound may take over without being told to, and one
 * that is behind may when somebody insists. At least one leg must be in sync, or there is nobody whose answers acknowledge.
 */
import type { Clock, Timer } from '../base/clock.ts';
import type { SourceLeg } from '../mirror/source-leg.ts';

/** How long a promise lasts, as a lease would; and what those add who wait for its end. */
export interface PromiseTimes {
  readonly ttlMs: number;
  readonly marginMs: number;
}

/** What this node has promised about one group; for as long as the process lives. */
export class PromisesGiven {
  readonly #clock: Clock;
  readonly #times: () => PromiseTimes;
  #endMs: number;
  #ceased = false;

  constructor(clock: Clock, times: () => PromiseTimes) {
    this.#clock = clock;
    this.#times = times;
    this.#endMs = this.#afresh();
  }

  /** Promises, from now on. Null: it does not. */
  give(): number | null {
    if (this.#ceased) return null;
    this.#endMs = Math.max(this.#endMs, this.#afresh());
    return this.#times().ttlMs;
  }

  /** Gives none while it is on: this node wants to take over. */
  cease(on: boolean): void {
    this.#ceased = on;
  }

  /** How long this node must not take over yet. Milliseconds. */
  get remainingMs(): number {
    return Math.max(0, this.#endMs - this.#clock.monotonicMs());
  }

  #afresh(): number {
    const { ttlMs, marginMs } = this.#times();
    return this.#clock.monotonicMs() + ttlMs + marginMs;
  }
}

/** A moment on both clocks. */
interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

interface Asked extends Moment {
  readonly token: number;
}

export interface PromisesHeldOptions {
  readonly clock: Clock;
  readonly times: () => PromiseTimes;
  /** Of the group, but the own. */
  readonly legs: () => readonly SourceLeg[];
  /** One has been given. */
  readonly heard: () => void;
}

/** Of a duration: as often as a lease is renewed. */
const asksPerDuration = 3;
/** Of each leg, that have no answer yet; older ones would be of no use. */
const openQuestionsMax = 2 * asksPerDuration;

/** What an owner has been promised by the nodes of its group's other legs. */
export class PromisesHeld {
  readonly #options: PromisesHeldOptions;
  readonly #open = new Map<string, Asked[]>();
  readonly #ends = new Map<string, Moment>();
  #timer: Timer | null = null;
  #lastToken = 0;
  #closed = false;

  constructor(options: PromisesHeldOptions) {
    this.#options = options;
  }

  /**
   * Asks, again and again until `close`: at moments that the clock sets, the same for all groups of this node. Their
   * questions leave together, and so do the answers; each at a time of its own would wake two nodes for every group.
   */
  start(): void {
    if (this.#closed) return;
    const { clock, legs, times } = this.#options;
    const periodMs = times().ttlMs / asksPerDuration;
    // Never the moment that has just come: a clock's fractions are rounded.
    const untilNextMs = periodMs - ((clock.monotonicMs() + 1) % periodMs) + 1;
    this.#timer = clock.after(untilNextMs, () => this.start());
    for (const leg of legs()) this.ask(leg);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  ask(leg: SourceLeg): void {
    const { clock } = this.#options;
    const asked: Asked = { token: ++this.#lastToken, monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    if (!leg.askPromise(asked.token)) return;
    const open = this.#open.get(leg.node) ?? [];
    open.push(asked);
    if (open.length > openQuestionsMax) open.shift();
    this.#open.set(leg.node, open);
  }

  /** A node has answered the question with the token; to one not asked, or too long ago, nothing is an answer. */
  promised(node: string, token: number, durationMs: number): void {
    const open = this.#open.get(node) ?? [];
    const asked = open.find((question) => question.token === token);
    if (asked === undefined) return;
    this.#open.set(
      node,
      open.filter((question) => question.token > token),
    );
    const lastsMs = Math.min(durationMs, this.#options.times().ttlMs);
    this.#ends.set(node, { monotonicMs: asked.monotonicMs + lastsMs, wallMs: asked.wallMs + lastsMs });
    this.#options.heard();
  }

  /** Nodes whose promises are needed. */
  get nodes(): readonly string[] {
    return this.#options.legs().map(({ node }) => node);
  }

  /** For how long nobody will take over, by what was promised; 0: that is not known. Milliseconds. */
  get remainingMs(): number {
    const legs = this.#options.legs();
    if (!legs.some((leg) => leg.needed && leg.recordClass === 'inSync')) return 0;
    let leftMs = Infinity;
    for (const { node } of legs) leftMs = Math.min(leftMs, this.#leftMs(node));
    return leftMs;
  }

  /** Nodes whose promise is missing or has ended. */
  get missing(): readonly string[] {
    return this.nodes.filter((node) => this.#leftMs(node) === 0);
  }

  #leftMs(node: string): number {
    const end = this.#ends.get(node);
    if (end === undefined) return 0;
    const { clock } = this.#options;
    return Math.max(0, Math.min(end.monotonicMs - clock.monotonicMs(), end.wallMs - clock.wallMs()));
  }
}
