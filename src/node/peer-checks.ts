/**
 * The user's check of the other nodes (HM-7): a command that says of one node whether what is heard of it is to be believed.
 * It runs in the engine, far from the heartbeats, which see its last answer only: one command at a time, one at most in
 * each heartbeat interval, the nodes in turn. Until its first answer a node is believed, as it would be without a check.
 */
import { faultOf, type Commands } from '../agent/commands.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { PeerCheck } from '../pulse/settings.ts';

export interface PeerChecksContext {
  readonly clock: Clock;
  readonly commands: Commands;
  readonly node: string;
  readonly others: () => readonly string[];
  readonly check: PeerCheck;
  readonly everyMs: number;
  /** After each run; `problem` null: the node has passed. */
  readonly checked: (node: string, problem: string | null) => void;
  /** What it prints. */
  readonly output: (node: string, text: string) => void;
}

export class PeerChecks {
  readonly #context: PeerChecksContext;
  readonly #ended = new AbortController();
  #timer: Timer | null = null;
  #running = false;
  /** Checked last. */
  #last: string | null = null;

  constructor(context: PeerChecksContext) {
    this.#context = context;
    this.#tick();
  }

  /** Ends a run that is under way; what it would have said is not told. */
  stop(): void {
    this.#ended.abort();
    this.#timer?.cancel();
  }

  #tick(): void {
    const { clock, everyMs, others } = this.#context;
    this.#timer = clock.after(everyMs, () => this.#tick());
    if (this.#running) return;
    const nodes = [...others()].sort();
    const next = nodes.find((node) => this.#last !== null && node > this.#last) ?? nodes[0];
    if (next !== undefined) void this.#run(next);
  }

  async #run(peer: string): Promise<void> {
    const { commands, node, check, checked, output } = this.#context;
    this.#running = true;
    this.#last = peer;
    const result = await commands.run({
      words: check.words,
      timeoutMs: check.timeoutMs,
      environment: { HOLDFAST_NODE: node, HOLDFAST_PEER: peer },
      output: (text) => output(peer, text),
      signal: this.#ended.signal,
    });
    this.#running = false;
    if (this.#ended.signal.aborted) return;
    const fault = faultOf(result, check.timeoutMs);
    checked(peer, fault === null ? null : `the check of it (${check.words.join(' ')}) ${fault}`);
  }
}
