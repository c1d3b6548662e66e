/**
 * Moves of a group's ownership that people ask for: handing it over, taking it over, letting it go.
 *
 * Invariants:
 * - R15: a planned move stops acknowledgements, drains and flushes both legs, then swaps; stopped it stays until the record
 *   is known. An unplanned one waits until the old owner's lease has lapsed, unless that owner has let go.
 * - R11: the new generation is one transaction: the record unchanged, and the lease it stands on gone.
 * - R16: whoever promised not to take over does not before that has ended, and promises nothing more once it is about to.
 * - While a move is under way the group decides nothing by itself.
 * - Without a coordination store no lease tells of the old owner: it is not taken over from while anything is heard of it.
 */
import type { Environment } from '../base/environment.ts';
import { HoldfastError, type ErrorCode } from '../base/errors.ts';
import { randomHex } from '../base/random.ts';
import { pause, whileHolds, within } from '../base/waiting.ts';
import type { SourceLeg } from '../mirror/source-leg.ts';
import { leaseKey } from '../store/document.ts';
import { parseLease, type LeaseObserver } from '../store/lease.ts';
import { childOf } from '../stream/position.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import type { Group, GroupContext } from './group.ts';
import type { Owner } from './owner.ts';
import { PromisesGiven } from './promises.ts';
import type { RecordExchange } from './record-exchange.ts';
import { claimed, handedOver, type GroupRecord } from './record.ts';
import { assertSafe, lossOf, lossOfImage, lossWithoutStore, nothingLost, type Loss } from './take-over.ts';

export interface Moved {
  readonly generation: number;
  readonly pauseMs: number | null;
  readonly loss: Loss;
}

/** What a move has the group do. */
export interface MoveSteps {
  /** The group is being stopped. */
  readonly closing: () => boolean;
  readonly decide: () => void;
  readonly look: () => Promise<void>;
  /** Becomes owner under the record's generation, without waiting for the legs `excluded`. */
  readonly open: (record: GroupRecord, excluded: readonly string[]) => Promise<void>;
  readonly leave: (reason: string) => Promise<void>;
  readonly becomeSecondary: () => void;
  /** The leg is another then, or none. */
  readonly promoteImage: () => Promise<void>;
}

const moveTimeoutMs = 60_000;
const lookMs = 100;
/** Of the old owner's lease, and of the end of promises: every one of these is a pause for hosts. */
const urgentLookMs = 50;
const releaseTimeoutMs = 2000;
/** Longer than a link bears silence. */
const linkKnownDeadMs = 6000;
/** After it let go, a node leaves the next generation to the one that asked, for so long. */
const yieldMs = 5000;

export class Moves {
  readonly #context: GroupContext;
  readonly #environment: Environment;
  readonly #group: Group;
  readonly #steps: MoveSteps;
  /** What this node has promised the group's owners. */
  readonly promises: PromisesGiven;
  #underWay = false;
  /** A hand-over is about to begin: what runs on the volumes is being stopped. */
  #preparing = false;
  /** Id of a generation of this node's that it has given up, and until when it leaves the next to another. */
  #released = '';
  #yieldUntilMs = 0;

  constructor(context: GroupContext, group: Group, steps: MoveSteps) {
    this.#context = context;
    this.#environment = context.environment;
    this.#group = group;
    this.#steps = steps;
    this.promises = new PromisesGiven(context.environment.clock, context.promiseTimes);
  }

  get underWay(): boolean {
    return this.#underWay;
  }

  #setUnderWay(underWay: boolean): void {
    this.#underWay = underWay;
    this.#context.changed?.();
  }

  /** Id of the last generation given up; empty when none was. */
  get released(): string {
    return this.#released;
  }

  /** A planned move to another leg, which lacks nothing. Requests are held while it lasts. */
  async switchOver(to: string): Promise<Moved> {
    const { owner, leg, keeper } = this.#group;
    const { node, lease } = this.#context;
    if (this.#group.role !== 'primary' || owner === null || leg === null) {
      throw this.#refused(`${node} does not serve it, so it cannot hand it over`);
    }
    if (to === node) throw this.#refused(`${node} is the owner already`);
    const target = owner.legOf(to);
    if (target === undefined) throw this.#error('E_NOT_FOUND', `${to} has no copy of it`);
    if (!target.complete) {
      throw this.#refused(
        `the copy at ${to} is not complete (${target.reason || target.phase}); wait for it, or see ` +
          `\`holdfast why ${this.#group.name}\``,
      );
    }
    await this.#prepared(to, () => this.#group.owner === owner && this.#group.role === 'primary' && target.complete);
    this.#setUnderWay(true);
    const startedMs = this.#environment.clock.monotonicMs();
    owner.hold('switchOver', true);
    // What is copied to others has stamps, too: any beyond the branching point would make both legs lack something.
    for (const other of owner.legs) if (other.copier !== null) other.suspend('the group is being handed over');
    try {
      await this.#drained(owner, target);
      const last = owner.last;
      if (!lease.isValid()) throw this.#refused(`the lease of ${node} has lapsed`);
      const id = randomHex(this.#environment.random, 16);
      for (let attempt = 0; ; attempt++) {
        const { holder, require } = await this.#leaseAt(to);
        if (holder === null) throw this.#refused(`${to} holds no lease, so it cannot serve`);
        const outcome = await keeper.change(
          (record) => {
            if (record?.id !== owner.lineage.id) return null;
            const generation = Math.max(record.generation, leg.state.seen.generation) + 1;
            const lineage =
              last.generation === owner.lineage.generation
                ? childOf(owner.lineage, last.seq, generation, id)
                : { generation, id, ancestors: owner.lineage.ancestors };
            const has = (other: SourceLeg): boolean =>
              other.complete && other.appliedOrdinal >= owner.history.next - 1;
            const equal = new Set(owner.legs.filter(has).map((other) => other.node));
            return handedOver(record, {
              node: to,
              leaseId: holder,
              id,
              lineage,
              ownLegGood: leg.fault === null,
              equal,
              atMs: this.#environment.clock.wallMs(),
            });
          },
          { require },
        );
        if (outcome.kind === 'done') {
          this.#event('switchOver', `handed over to ${to}, generation ${outcome.record.generation}`);
          await this.#steps.leave(`${to} owns the group now`);
          await leg.see(outcome.record.generation, outcome.record.id).catch(() => {});
          this.#context.request(to, 'group.look', { group: this.#group.name }, 5000).catch(() => {});
          await this.#served(to, outcome.record.generation);
          const pauseMs = this.#environment.clock.monotonicMs() - startedMs;
          return { generation: outcome.record.generation, pauseMs, loss: nothingLost };
        }
        // A renewal of the target's lease between read and swap is no reason to give up.
        if (outcome.kind === 'lost' && outcome.reason.includes(leaseKey(to)) && attempt < 5) continue;
        throw this.#refused(`the record could not be swapped: ${outcome.reason}`);
      }
    } finally {
      this.#setUnderWay(false);
      // R15: only while the record is known to be ours still.
      if (this.#group.owner === owner && keeper.record?.id === owner.lineage.id) {
        for (const other of owner.legs) if (other.phase === 'detached') other.attach();
        owner.hold('switchOver', false);
        this.#context.service?.handOverFailed(this.#group.name);
      }
      void this.#steps.look();
    }
  }

  /** The lease another node can be handed the group on, and what a transaction that does must require. */
  async #leaseAt(
    to: string,
  ): Promise<{ holder: string | null; require: readonly { readonly key: string; readonly revision: number }[] }> {
    const { exchange } = this.#group;
    if (exchange !== null) return { holder: (await exchange.hear(to)).leaseId, require: [] };
    const key = leaseKey(to);
    const entry = await this.#context.store.read(key);
    if (entry === null) return { holder: null, require: [] };
    return { holder: parseLease(entry.value)?.leaseId ?? null, require: [{ key, revision: entry.revision }] };
  }

  /** What runs on the volumes is stopped, before hosts' requests are held: it may have much to write yet (HM-18). */
  async #prepared(to: string, possible: () => boolean): Promise<void> {
    if (this.#underWay || this.#preparing) throw this.#error('E_BUSY', 'another move is under way');
    const { service } = this.#context;
    if (service === undefined) return;
    this.#preparing = true;
    try {
      const obstacle = await service.beforeHandOver(this.#group.name, to);
      if (obstacle !== null)
        throw this.#refused(`what runs on it does not stop: ${obstacle}; it goes on serving here`);
      if (possible() && !this.#underWay) return;
      service.handOverFailed(this.#group.name);
      throw this.#refused(`while what runs on it was being stopped, it became impossible to hand it over to ${to}`);
    } finally {
      this.#preparing = false;
    }
  }

  /** Everything acknowledged and flushed at both ends. */
  async #drained(owner: Owner, target: { readonly complete: boolean; readonly reason: string }): Promise<void> {
    const late = (what: string): HoldfastError =>
      this.#error('E_TIMEOUT', `${what} within ${moveTimeoutMs / 1000} s; it goes on serving here`);
    const drained = (): Promise<boolean> =>
      within(this.#environment.clock, moveTimeoutMs, (done) => owner.whenDrained(done));
    if (owner.leg.fault === null && !(await drained()) && owner.leg.fault === null) {
      throw late('not all requests were answered');
    }
    let flushed = false;
    await within(this.#environment.clock, moveTimeoutMs, (done) => {
      owner.flushEverywhere((fault) => {
        flushed = fault === null;
        done();
      });
    });
    // A leg that has failed cannot be flushed: the target lacks nothing acknowledged all the same.
    if (!flushed && owner.leg.fault === null) throw late('the flush was not answered');
    if (!target.complete) throw this.#refused(target.reason);
    await owner.sentAll(target);
    if (!target.complete) throw this.#refused(target.reason);
  }

  /**
   * Unplanned: the owner is gone. Refused while it lives, and for a leg that is not safe unless forced. Rejects with
   * `E_CHECK_FAILED` when it was taken over and hosts are kept out (AS-9).
   * @param lastConsistent with the image kept of an `Inconsistent` leg instead of the leg.
   * @param silent the owner was judged dead by all channels (AS-4): it is not asked, and its links are not waited for.
   */
  async takeOver(force: boolean, lastConsistent = false, { silent = false } = {}): Promise<Moved> {
    const startedMs = this.#environment.clock.monotonicMs();
    const moved = await this.#takeOver(force, lastConsistent, silent);
    const kept = await this.#group.letInOrKept;
    if (kept !== null) {
      throw this.#error(
        'E_CHECK_FAILED',
        `${this.#context.node} has taken it over, but hosts are kept out: ${kept}. ${moved.loss.text}`,
      );
    }
    return { ...moved, pauseMs: this.#environment.clock.monotonicMs() - startedMs };
  }

  async #takeOver(force: boolean, lastConsistent: boolean, silent: boolean): Promise<Moved> {
    const { keeper } = this.#group;
    let { leg } = this.#group;
    const { node, lease } = this.#context;
    const { clock } = this.#environment;
    if (this.#underWay) throw this.#error('E_BUSY', 'another move is under way');
    const { exchange } = this.#group;
    await exchange?.hearAll();
    await keeper.refresh();
    const record = keeper.record;
    if (leg !== null && exchange !== null) {
      if (exchange.split !== null)
        throw this.#refused(
          `both sides wrote; choose with \`holdfast group resolve ${this.#group.name} --keep NODE\``,
        );
      const own = (record?.owner ?? this.#group.entry.preferredOwner) === node;
      if (own && this.#group.role === 'secondary' && exchange.waiting) return this.#serveAlone(exchange);
    }
    if (record === null) throw this.#refused('there is no record of it yet; start the preferred owner first');
    if (leg === null) throw this.#refused(this.#group.problem ?? 'its leg is not open here');
    if (record.owner === node) {
      if (!force || this.#group.role !== 'frozen' || leg.state.wentBack === null)
        throw this.#refused(`${node} is the owner already`);
      return this.#serveOlder(leg, record);
    }
    if (this.#group.role === 'frozen') throw this.#refused(this.#group.problem ?? 'it is frozen');
    assertSafe(record, leg, force || lastConsistent);
    if (lastConsistent) this.#group.images?.assertKept();
    const startedMs = clock.monotonicMs();
    this.#setUnderWay(true);
    try {
      const released = !silent && (await this.#releasedBy(record));
      if (silent) this.#context.closeLink(record.owner, 'it is silent on every channel, and is taken over from');
      const observer = released ? null : await this.#ownerGone(record.owner);
      // A link that was cut without a word takes a while to be known as that; one that speaks is an owner that lives.
      if (!released && !silent) await whileHolds(clock, () => this.#replicates, linkKnownDeadMs);
      if (!released) await this.#notHeard(record.owner);
      this.#mustNotReplicate(record, released, force);
      // What was released is served under no promise.
      this.promises.cease(true);
      if (!released) await this.#promisesEnded();
      this.#mustNotReplicate(record, released, force);
      // What the old owner may still have sent is settled now: nothing more of its generation is applied.
      if (!((await this.#group.target?.letGo(moveTimeoutMs)) ?? true)) {
        throw this.#refused(
          leg.fault?.detail ??
            `the copy here could not store all it had received: ${leg.trouble ?? 'no room is left'}`,
        );
      }
      // The owner may have changed the record while it still could.
      await keeper.refresh();
      const judged = keeper.record;
      if (judged?.id !== record.id)
        throw this.#refused('the record has changed meanwhile; look at `holdfast status`');
      assertSafe(judged, leg, force || lastConsistent);
      const { leaseId } = lease;
      if (leaseId === null) throw this.#refused(`this node holds no lease: ${lease.reason ?? 'unknown'}`);
      if (lastConsistent) leg = await this.#withImage();
      const known = lossOf(judged, node, leg.applied, this.#group.target?.ownerStamped ?? null);
      const loss = lastConsistent
        ? lossOfImage(leg.state.newestAtMs)
        : exchange === null || released
          ? known
          : lossWithoutStore(known);
      const generationMin = leg.state.seen.generation + 1;
      const id = randomHex(this.#environment.random, 16);
      const revision = observer?.revision ?? 0;
      const key = leaseKey(record.owner);
      const outcome = await keeper.change(
        (before) =>
          before?.id === judged.id && before.legs[node]?.class === judged.legs[node]?.class
            ? claimed(before, {
                group: this.#group.name,
                owner: node,
                leaseId,
                id,
                legs: this.#group.entry.legs.map((entry) => entry.node),
                generationMin,
                atMs: clock.wallMs(),
              })
            : null,
        released ? {} : { require: [{ key, revision }], ...(revision > 0 ? { remove: [key] } : {}) },
      );
      if (outcome.kind !== 'done') throw this.#refused(`the record could not be changed: ${outcome.reason}`);
      this.#event(
        'takeOver',
        `taken over from ${record.owner}, generation ${outcome.record.generation}. ${loss.text}`,
      );
      if (force) {
        // The others' bits and this leg's name what it lacks of the old owner, not what it lacks of them.
        if (leg.state.condition === 'inconsistent') leg.metadata.forgetPeers();
        leg.metadata.change({ condition: 'consistent', wentBack: null });
      }
      await exchange?.tell();
      await this.#steps.open(outcome.record, [record.owner]);
      return { generation: outcome.record.generation, pauseMs: clock.monotonicMs() - startedMs, loss };
    } finally {
      this.#setUnderWay(false);
      this.promises.cease(false);
      this.#steps.decide();
    }
  }

  get #replicates(): boolean {
    return this.#group.target?.owner != null;
  }

  /** One that has no lease, and goes on under this node's promises, is made to stop if somebody insists. */
  #mustNotReplicate({ owner }: GroupRecord, released: boolean, force: boolean): void {
    if (released || !this.#replicates) return;
    if (this.#context.storeless !== undefined)
      throw this.#refused(`${owner} still replicates to this node; use switch-over`);
    if (force) return;
    throw this.#refused(
      `${owner} still replicates to this node: it lives, and goes on without its lease while this node promises not to ` +
        'take over; with --force this node promises nothing more, and takes over when what it promised has ended',
    );
  }

  /** R16. An owner that keeps asking gets no answer meanwhile. */
  async #promisesEnded(): Promise<void> {
    if (this.#context.storeless !== undefined) return;
    for (let leftMs = this.promises.remainingMs; leftMs > 0; leftMs = this.promises.remainingMs) {
      await pause(this.#environment.clock, Math.min(leftMs, urgentLookMs));
    }
  }

  /** Refuses while another node is known to live by anything but the store. */
  async #notHeard(owner: string): Promise<void> {
    const { storeless } = this.#context;
    if (storeless === undefined) return;
    await whileHolds(this.#environment.clock, () => storeless.heard(owner) !== null, linkKnownDeadMs);
    const heard = storeless.heard(owner);
    if (heard !== null) throw this.#refused(`${owner} is alive (${heard}); use \`holdfast group switch-over\``);
  }

  /** Without a coordination store: somebody who knows that no other node has taken over has this one go on. */
  async #serveAlone(exchange: RecordExchange): Promise<Moved> {
    const { clock } = this.#environment;
    const startedMs = clock.monotonicMs();
    exchange.goAlone();
    if (exchange.obstacle !== null) throw this.#refused(exchange.obstacle);
    this.#event('takeOver', `${this.#context.node} goes on without having heard every other node: it was told to`);
    this.#steps.decide();
    await whileHolds(
      clock,
      () => this.#group.role !== 'primary' && this.#group.role !== 'frozen' && exchange.obstacle === null,
      moveTimeoutMs,
    );
    const { role, record, problem } = this.#group;
    if (role !== 'primary') throw this.#refused(exchange.obstacle ?? problem ?? `it is ${role} here`);
    const text =
      'This node was its last owner, as far as it knows: nothing is lost then. Should another node have served it ' +
      'meanwhile, both histories are kept apart when they meet.';
    return {
      generation: record?.generation ?? 0,
      pauseMs: clock.monotonicMs() - startedMs,
      loss: { writes: null, bytes: null, seconds: null, text },
    };
  }

  /**
   * BY-1: both sides wrote, and somebody has chosen: this node's history is kept, the other is given up. Refused while
   * hosts are connected there, unless `yes`.
   */
  async resolve(yes: boolean): Promise<{ readonly generation: number; readonly text: string }> {
    const { exchange } = this.#group;
    if (exchange === null)
      throw this.#refused('the coordination store says who owns it: there is nothing to choose between');
    const { split } = exchange;
    if (split === null) throw this.#refused('there is no split brain to resolve, as far as this node has heard');
    const loser = split.theirs.node;
    const { sessions } = await exchange.hear(loser);
    if (sessions > 0 && !yes) {
      throw this.#refused(
        `${sessions} host session${sessions === 1 ? ' is' : 's are'} open at ${loser}, whose writes would be given up; ` +
          'end them first, or repeat it with --yes',
      );
    }
    await exchange.resolve(this.#context.node);
    this.#steps.decide();
    await whileHolds(
      this.#environment.clock,
      () => exchange.split !== null || this.#group.role === 'opening',
      moveTimeoutMs,
    );
    return {
      generation: this.#group.record?.generation ?? 0,
      text:
        `What ${loser} wrote on its own is given up there: it follows ${this.#context.node} and is made equal; ` +
        'what that overwrites is kept as an image where there is room (see `holdfast why`).',
    };
  }

  /** The leg as its last image has it. */
  async #withImage(): Promise<LocalLeg> {
    await this.#steps.promoteImage();
    const { leg, problem } = this.#group;
    if (leg === null) throw this.#refused(`its image cannot take its place yet: ${problem ?? 'unknown'}`);
    return leg;
  }

  /** Somebody who knows that the further copy is gone for good insists on the older one, here. */
  async #serveOlder(leg: LocalLeg, record: GroupRecord): Promise<Moved> {
    const startedMs = this.#environment.clock.monotonicMs();
    leg.metadata.change({ wentBack: null });
    await leg.save();
    this.#steps.becomeSecondary();
    this.#steps.decide();
    await whileHolds(
      this.#environment.clock,
      () => this.#group.role !== 'primary' && this.#group.role !== 'frozen',
      moveTimeoutMs,
    );
    if (this.#group.role !== 'primary') throw this.#refused(this.#group.problem ?? this.#group.role);
    const { generation = record.generation } = this.#group.record ?? {};
    const pauseMs = this.#environment.clock.monotonicMs() - startedMs;
    const text = 'This copy’s disk is older than it once was: how much is lost is not known.';
    return { generation, pauseMs, loss: { writes: null, bytes: null, seconds: null, text } };
  }

  /**
   * The owner is asked to let go: it does if it cannot serve. What it served before is answered for, and it will not serve
   * again without a new generation, which the record's revision decides (R11). False also when it does not answer.
   */
  #releasedBy({ owner, id }: GroupRecord): Promise<boolean> {
    return this.#context.request(owner, 'group.release', { group: this.#group.name, id }, releaseTimeoutMs).then(
      (released) => released === true,
      () => false,
    );
  }

  /** Another node wants to take over: lets go of that generation, for good, if this one cannot serve it. */
  async release(id: string): Promise<boolean> {
    const { leg, keeper } = this.#group;
    if (keeper.record?.id !== id || this.#underWay || this.#steps.closing()) return false;
    const failed = this.#group.role === 'primary' && leg !== null && leg.fault !== null;
    const stuck = this.#group.role === 'opening' && leg?.state.condition === 'inconsistent';
    const kept = this.#group.role === 'primary' && this.#group.withheld !== null;
    if (!failed && !stuck && !kept && this.#group.role !== 'frozen' && this.#group.role !== 'closed') return false;
    this.#released = id;
    this.#yieldUntilMs = this.#environment.clock.monotonicMs() + yieldMs;
    if (failed || stuck || kept) await this.#steps.leave('another node takes over: this one cannot serve');
    return true;
  }

  get yields(): boolean {
    return (
      this.#group.keeper.record?.id === this.#released && this.#environment.clock.monotonicMs() < this.#yieldUntilMs
    );
  }

  /** Waits until the owner's lease has lapsed; refuses when it is seen to live. */
  async #ownerGone(owner: string): Promise<LeaseObserver | null> {
    const { leaseOf, hurry } = this.#context;
    const { clock } = this.#environment;
    const alive = (): HoldfastError =>
      this.#refused(`${owner} is alive and serves it, or is about to; use \`holdfast group switch-over\``);
    const observer = leaseOf(owner);
    if (observer === null) return null;
    // One renewal may have been on its way before the owner died; a second one has been sent since we began to look.
    let revision = observer.revision;
    let renewals = 0;
    const deadlineMs = clock.monotonicMs() + moveTimeoutMs;
    while (!observer.lapsed(clock.monotonicMs())) {
      if (observer.revision !== revision && ++renewals === 2) throw alive();
      revision = observer.revision;
      if (clock.monotonicMs() > deadlineMs) {
        throw this.#error('E_STORE_UNREACHABLE', `whether ${owner} lives cannot be seen in the store`);
      }
      hurry();
      await pause(clock, Math.min(urgentLookMs, Math.max(1, observer.remainingMs(clock.monotonicMs()))));
    }
    return observer;
  }

  /** Waits a while until the new owner serves; that it does not yet is no failure of the move. */
  async #served(to: string, generation: number): Promise<void> {
    for (let look = 0; look < 50; look++) {
      try {
        const answer = await this.#context.request(to, 'group.serving', { group: this.#group.name }, 2000);
        if (answer === generation) return;
      } catch {
        // Asked again.
      }
      await pause(this.#environment.clock, lookMs);
    }
  }

  #refused(text: string): HoldfastError {
    return this.#error('E_REFUSED', text);
  }

  #error(code: ErrorCode, text: string): HoldfastError {
    return new HoldfastError(code, `group ${this.#group.name}: ${text}`);
  }

  #event(kind: string, message: string): void {
    this.#context.event(this.#group.name, kind, message);
  }
}
