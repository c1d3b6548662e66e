/**
 * A group's record where there is no coordination store (`store: none`): each node keeps its own copy, and the nodes of
 * a group tell each other theirs whenever a link comes up and whenever one has changed. `accounts.ts` says whose counts.
 *
 * Invariants:
 * - A node that has been away — its process was not running, or was stopped for longer than a lease — serves what its own
 *   copy says it owns only after every other node of the group has been heard, or a person has said so: another one may
 *   have taken over meanwhile. One that merely loses sight of the others goes on.
 * - Another node's tenure takes the place of ours only if nothing was acknowledged here that it lacks, or by a
 *   resolution. Whether that is so is judged while hosts are held, so that nothing comes in between.
 * - A target serves only the tenure that its own copy names: before two histories were compared, nothing of one is
 *   applied to the other.
 */
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { SplitBrainPolicy } from '../store/document.ts';
import { accountSchema, clears, judgeAccounts, mayAdopt, mustRenumber, type Account } from './accounts.ts';
import type { GroupRecord } from './record.ts';
import { chosenByPolicy, splitBrainWords, type SplitBrain } from './split-brain.ts';

export interface ExchangeOptions {
  readonly environment: Environment;
  readonly group: string;
  readonly node: string;
  /** The other nodes with a leg. */
  readonly others: () => readonly string[];
  readonly policy: () => SplitBrainPolicy;
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  readonly record: () => GroupRecord | null;
  /** What this node knows, as told to `to`. */
  readonly account: (to: string) => Account;
  /** Takes over another node's record in the place of `instead`; hosts are held before `stands` is asked once more. */
  readonly adopt: (record: GroupRecord, instead: string | null, stands: () => boolean) => Promise<void>;
  /** Goes on with our history under a generation above `above`. */
  readonly renumber: (above: number) => void;
  /** Gives up that node's tenure for good, in our record. */
  readonly overrule: (loser: Account) => Promise<void>;
  /** What may be served may have changed. */
  readonly changed: () => void;
  readonly event: (kind: string, message: string) => void;
}

interface Peer {
  /** Its last account, and what was found; null: never heard since this node was last away. */
  account: Account | null;
  /** Nothing stands in the way of serving on this node's side any more. */
  cleared: boolean;
  /** Heard, and its links have not gone down since. */
  inContact: boolean;
  /** When that was found to have ended, monotonic. */
  lostAtMs: number;
  waits: string | null;
  /** It must be heard again before long: something could not be done about what it said. */
  again: boolean;
  split: SplitBrain | null;
  /** The record it was told last. */
  told: GroupRecord | null;
  asking: Promise<void> | null;
}

export const exchangeMethod = 'record.exchange';
const askTimeoutMs = 2000;
const justLostMs = 10_000;

export class RecordExchange {
  readonly #options: ExchangeOptions;
  readonly #peers = new Map<string, Peer>();
  /** Split brain told of already: both tenures, and what was chosen. */
  #toldSplit = '';

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** Null when there is none, as far as is known. */
  get split(): SplitBrain | null {
    for (const name of this.#options.others()) {
      const { split } = this.#peer(name);
      if (split !== null) return split;
    }
    return null;
  }

  /** Why this node must not begin to serve what its record says it owns; null when it may. */
  get obstacle(): string | null {
    const { split } = this;
    if (split !== null) return splitBrainWords(split);
    const silent: string[] = [];
    for (const name of this.#options.others()) {
      const { cleared, waits } = this.#peer(name);
      if (waits !== null) return waits;
      if (!cleared) silent.push(name);
    }
    if (silent.length === 0) return null;
    return `${silent.join(' and ')} ${silent.length === 1 ? 'has' : 'have'} not been heard since this node was away, and may have taken over`;
  }

  /** It has not been heard yet since this node was away. */
  get waiting(): boolean {
    return this.obstacle !== null && this.split === null;
  }

  /** Who may attach: only the owner that our copy names, in the generation that it names. */
  admits(record: GroupRecord | null, owner: string, generationId: string): boolean {
    return record?.owner === owner && record.id === generationId;
  }

  /** A person answers for it that those who have not been heard have not taken over. */
  goAlone(): void {
    for (const name of this.#options.others()) this.#peer(name).cleared = true;
  }

  /**
   * This process did not run for a while. Those it was in contact with may have taken over meanwhile; from those it had
   * lost before, nothing has changed.
   */
  wasAway(): void {
    const now = this.#options.environment.clock.monotonicMs();
    for (const peer of this.#peers.values()) {
      // What ended while it was stopped is found out when it goes on, perhaps before the lapse is.
      if (peer.inContact || now - peer.lostAtMs < justLostMs) peer.cleared = false;
      this.#lose(peer);
    }
  }

  connectionUp(node: string): void {
    if (this.#options.others().includes(node)) void this.#ask(node, true);
  }

  connectionDown(node: string): void {
    const peer = this.#peers.get(node);
    if (peer === undefined) return;
    this.#lose(peer);
    void this.#ask(node, true);
  }

  /** Our record has changed: the others are told. Resolves when they know, or could not be told. */
  async tell(): Promise<void> {
    await Promise.all(this.#options.others().map((name) => this.#ask(name, false)));
  }

  /** About once a second. */
  tick(): void {
    for (const name of this.#options.others()) {
      const { cleared, split, again } = this.#peer(name);
      void this.#ask(name, !cleared || split !== null || again);
    }
  }

  /** Hears every other node that can be heard, now. */
  async hearAll(): Promise<void> {
    await Promise.all(this.#options.others().map((name) => this.#ask(name, true)));
  }

  /** What a node says now. Rejects when it cannot be asked. */
  async hear(node: string): Promise<Account> {
    const peer = this.#peer(node);
    await this.#ask(node, true);
    if (peer.account === null || !peer.inContact)
      throw new HoldfastError('E_NODE_UNREACHABLE', `group ${this.#options.group}: ${node} cannot be asked`);
    return peer.account;
  }

  /** A node tells what it knows, and is told. */
  async offered(from: string, params: unknown): Promise<Account> {
    const theirs = this.#parsed(from, params);
    await this.#heard(theirs);
    const { account } = this.#options;
    const ours = account(from);
    this.#peer(from).told = ours.record;
    return ours;
  }

  /** BY-1: the history of `keep` is gone on with, and the other node's is given up, at its node and when it is met. */
  async resolve(keep: string): Promise<void> {
    const { split } = this;
    if (split === null) throw this.#refused('there is no split brain to resolve');
    if (keep !== this.#options.node) throw this.#refused(`${keep} has to decide for its own history`);
    await this.#options.overrule(split.theirs);
    this.#options.event(
      'splitBrainResolved',
      `the history of ${keep} is kept, that of ${split.theirs.node} is given up; it was ${splitBrainWords(split)}`,
    );
    await this.hearAll();
  }

  /** @param fresh false: only if its copy is older than ours. */
  #ask(node: string, fresh: boolean): Promise<void> {
    const peer = this.#peer(node);
    const again = peer.asking;
    if (again !== null) {
      // What has changed since it was sent is not in it.
      return again.then(() => (this.#isTold(peer) ? undefined : this.#ask(node, false)));
    }
    if (!fresh && this.#isTold(peer)) return Promise.resolve();
    peer.asking = this.#askNow(node, peer).finally(() => {
      peer.asking = null;
    });
    return peer.asking;
  }

  #isTold(peer: Peer): boolean {
    return !peer.inContact || this.#options.record() === peer.told;
  }

  async #askNow(node: string, peer: Peer): Promise<void> {
    const { group, request, account } = this.#options;
    const ours = account(node);
    let answer: unknown;
    try {
      answer = await request(node, exchangeMethod, { group, account: ours }, askTimeoutMs);
    } catch {
      this.#lose(peer);
      return;
    }
    peer.told = ours.record;
    try {
      await this.#heard(this.#parsed(node, answer));
    } catch (error) {
      this.#options.environment.log.error(`group ${group}: what ${node} knows cannot be used: ${messageOf(error)}`);
    }
  }

  #parsed(from: string, value: unknown): Account {
    const parsed = accountSchema.safeParse(value);
    if (!parsed.success || parsed.data.node !== from || !this.#options.others().includes(from))
      throw new HoldfastError('E_PROTOCOL', `group ${this.#options.group}: ${from} sent no account of it`);
    return parsed.data;
  }

  async #heard(theirs: Account): Promise<void> {
    const { account, adopt, renumber, changed, policy, node } = this.#options;
    const peer = this.#peer(theirs.node);
    const ours = account(theirs.node);
    const verdict = judgeAccounts(ours, theirs);
    peer.account = theirs;
    peer.inContact = true;
    peer.cleared = clears(verdict);
    peer.split = verdict.kind === 'split' ? { ours, theirs, common: verdict.common } : null;
    peer.waits = verdict.kind === 'wait' ? verdict.reason : null;
    peer.again = false;
    switch (verdict.kind) {
      case 'none':
      case 'same':
        break;
      case 'ours':
        if (mustRenumber(ours, theirs)) {
          peer.again = true;
          renumber(Math.max(theirs.record?.generation ?? 0, theirs.history?.seen.generation ?? 0));
        }
        break;
      case 'theirs': {
        const { record } = theirs;
        if (record === null) break;
        if (!mayAdopt(ours, record)) {
          peer.waits = `${theirs.node} goes on with the group; its new generation has not come yet`;
          break;
        }
        await adopt(record, ours.record?.id ?? null, () => {
          const now = account(theirs.node);
          return judgeAccounts(now, theirs).kind === 'theirs' && mayAdopt(now, record);
        });
        peer.cleared = this.#options.record()?.id === record.id;
        break;
      }
      case 'wait':
        break;
      case 'split': {
        const split = { ours, theirs, common: verdict.common };
        const chosen = chosenByPolicy(split, policy());
        this.#tellSplit(split, chosen);
        if (chosen === node) await this.#options.overrule(theirs);
        break;
      }
    }
    changed();
  }

  #tellSplit(split: SplitBrain, chosen: string | null): void {
    const told = [...[split.ours, split.theirs].map(({ record }) => record?.id ?? ''), chosen ?? ''].join(' ');
    if (told === this.#toldSplit) return;
    this.#toldSplit = told;
    const what =
      chosen === null
        ? 'nothing is replicated until one history is chosen'
        : `after-split-brain keeps the history of ${chosen}`;
    this.#options.event('splitBrain', `${splitBrainWords(split)}; ${what}`);
  }

  #lose(peer: Peer): void {
    if (peer.inContact) peer.lostAtMs = this.#options.environment.clock.monotonicMs();
    peer.inContact = false;
  }

  #peer(name: string): Peer {
    let peer = this.#peers.get(name);
    if (peer === undefined) {
      peer = {
        account: null,
        cleared: false,
        inContact: false,
        lostAtMs: -Infinity,
        waits: null,
        again: false,
        split: null,
        told: null,
        asking: null,
      };
      this.#peers.set(name, peer);
    }
    return peer;
  }

  #refused(text: string): HoldfastError {
    return new HoldfastError('E_REFUSED', `group ${this.#options.group}: ${text}`);
  }
}
