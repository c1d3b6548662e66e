/**
 * The agent of a node: who should own what, and seeing to it. It gathers evidence, has the judge decide, and orders the moves:
 *
 *   - a group whose owner is lost is taken over (`#consider`),
 *   - a group that this node can no longer serve is handed over (HM-17, `#handOver`),
 *   - a group that came here only because its preferred owner failed is given back (TL-15, `#giveBack`).
 *
 * Invariants:
 * - It decides by `judge` alone; every decision is kept with its evidence, also those not to act.
 * - It never makes a take-over safe: that is the store's transaction and the lease (R11, R15), which `group/moves.ts` carries out.
 * - One move of a group at a time; a failed one is tried again after a time that doubles.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { Group } from '../group/group.ts';
import type { Moved } from '../group/moves.ts';
import type { GroupRecord } from '../group/record.ts';
import { assertSafe } from '../group/take-over.ts';
import type { AlertCode, AlertLevel, Indication } from '../pulse/indication.ts';
import { judge, type Evidence, type Verdict } from '../pulse/judge.ts';
import type { PeerSnapshot, PulseSnapshot } from '../pulse/snapshot.ts';
import type { ClusterDocument } from '../store/document.ts';
import type { Lease, LeaseObserver } from '../store/lease.ts';
import { AgentState, without } from './agent-state.ts';
import { DecisionBook, type KeptDecision } from './decision-book.ts';
import { failedAgain, settleTimeMs } from './give-back.ts';
import { causeToHandOver } from './hand-over.ts';
import { PresenceCheck } from './presence.ts';
import { succession } from './succession.ts';

export interface AgentContext {
  readonly environment: Environment;
  readonly node: string;
  /** `<data folder>/agent`. */
  readonly folder: string;
  readonly document: () => ClusterDocument;
  readonly groups: () => Iterable<Group>;
  /** The newest there is; null: there is no pulse. */
  readonly pulse: () => PulseSnapshot | null;
  readonly lease: Lease;
  /** Of other nodes, as seen in the store. */
  readonly leaseOf: (node: string) => LeaseObserver | null;
  readonly store: () => 'none' | 'reachable' | 'unreachable';
  readonly request: (node: string, method: string, params: unknown, timeoutMs: number) => Promise<unknown>;
  /** While on, the store is read more often: somebody waits for a lease to lapse. */
  readonly hurry: (on: boolean) => void;
  readonly indicate: (indication: Indication) => void;
  readonly event: (group: string | null, kind: string, message: string) => void;
  /** Silences this node's own pulse: it cannot do its job, and nobody can be told (HM-17). Null: it can again. */
  readonly mute: (reason: string | null) => void;
  /** Why the storage of a group served here counts as stalled; null: it answers. */
  readonly stalled: (group: string) => string | null;
}

/** What status and `why` show of a group. */
export interface AgentView {
  readonly verdict: Verdict | null;
  readonly decisions: readonly KeptDecision[];
}

/** The agent's own of a group. */
interface Watch {
  last: KeptDecision | null;
  /** Nodes that come first were given the chance since then; monotonic. */
  precedenceSinceMs: number | null;
  moving: boolean;
  retryAtMs: number;
  retryMs: number;
  /** Since when everything is well enough to give it back; monotonic. */
  settledSinceMs: number | null;
  /** Since when its copy cannot be opened, monotonic. */
  closedSinceMs: number | null;
  /** Why an application here will not stay up. */
  application: string | null;
  withheld: boolean;
}

const tickMs = 1000;
const suspicionTickMs = 100;
const retryMsMin = 1000;
const retryMsMax = 60_000;
const shownMax = 8;
const requestMs = 60_000;

export class Agent {
  readonly state: AgentState;
  readonly #context: AgentContext;
  readonly #environment: Environment;
  readonly #book: DecisionBook;
  readonly #watches = new Map<string, Watch>();
  readonly #presence = new Map<string, PresenceCheck>();
  readonly #silent = new Set<string>();
  /** Silent nodes that answered when they were asked. */
  readonly #answering = new Set<string>();
  #timer: Timer | null = null;
  #started = false;
  #stopped = false;
  #hurried = false;
  /** When the last look was to be; a late one shows that this process stood still. */
  #dueMs = Infinity;
  #deafUntilMs = -Infinity;
  #muted = false;

  constructor(context: AgentContext) {
    this.#context = context;
    this.#environment = context.environment;
    this.state = new AgentState(context.environment.files, context.folder);
    this.#book = new DecisionBook(context.environment.files, context.folder, context.environment.log);
  }

  async start(): Promise<void> {
    const problem = await this.state.load();
    if (problem !== null) {
      this.#environment.log.warn(`what the agent remembered cannot be read, it begins anew: ${problem}`);
    }
    await this.#book.open();
    this.#started = true;
    this.look();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const check of this.#presence.values()) check.cancel();
    await this.#book.close();
  }

  /** Something has changed: the pulse, a record, a lease. Looks at every group. */
  look(): void {
    if (!this.#started || this.#stopped) return;
    this.#timer?.cancel();
    const now = this.#now;
    const { pulse } = this.#context;
    const snapshot = pulse();
    this.#notePause(now);
    if (snapshot !== null) for (const peer of snapshot.peers) this.#notePeer(peer);
    let suspects = false;
    for (const group of this.#context.groups()) {
      if (this.#consider(group, snapshot, now)) suspects = true;
    }
    // Others own by now what this node could not serve: it is heard again, as a target.
    if (this.#owned.length === 0) this.#speakAgain();
    if (suspects !== this.#hurried) {
      this.#hurried = suspects;
      this.#context.hurry(suspects);
    }
    const delayMs = suspects ? suspicionTickMs : tickMs;
    this.#dueMs = now + delayMs;
    this.#timer = this.#environment.clock.after(delayMs, () => this.look());
  }

  /** AS-14, remembered. */
  async setAutomatic(on: boolean): Promise<void> {
    await this.state.change((state) => ({ ...state, automatic: on }));
    this.#context.event(
      null,
      'automatic',
      `automatic take-over by ${this.#context.node} is ${on ? 'on' : 'off'} now`,
    );
    this.look();
  }

  /** AS-7: another node announces over the link that it stops. */
  async announced(node: string): Promise<void> {
    await this.state.change((state) => ({
      ...state,
      planned: { ...state.planned, [node]: this.#environment.clock.wallMs() },
    }));
    this.#context.event(null, 'planned', `${node} stops, as planned`);
  }

  /** HM-20: an application of the group will not stay up here, or (null) does again. */
  applicationGaveUp(group: string, reason: string | null): void {
    this.#watch(group).application = reason;
    if (reason !== null) this.look();
  }

  viewOf(group: string): AgentView {
    return { verdict: this.#watches.get(group)?.last?.verdict ?? null, decisions: this.#book.of(group, shownMax) };
  }

  decisions(group: string, count: number): readonly KeptDecision[] {
    return this.#book.of(group, count);
  }

  get #now(): number {
    return this.#environment.clock.monotonicMs();
  }

  // ---- the others ----

  /** After this process stood still, what is in its sockets has yet to be heard. */
  #notePause(now: number): void {
    const settings = this.#context.document().pulse;
    if (settings === null) return;
    const late = now - this.#dueMs;
    if (late > settings.timeoutMs / 2) this.#deafUntilMs = now + settings.timeoutMs;
  }

  /** What must be remembered or told of another node's coming and going. */
  #notePeer(peer: PeerSnapshot): void {
    const { node, said } = peer;
    const alive = isHeard(peer);
    const { planned, waitingFor } = this.state.current;
    if (alive && said?.leaving === true && !(node in planned)) void this.announced(node).catch(() => {});
    if (alive && said?.leaving !== true && (node in planned || node in waitingFor)) {
      this.state
        .change((state) => ({
          ...state,
          planned: without(state.planned, node),
          waitingFor: without(state.waitingFor, node),
        }))
        .catch(() => {});
    }
    if (alive) {
      this.#presence.get(node)?.cancel();
      this.#presence.delete(node);
      if (this.#answering.delete(node)) this.#indicateAnswering(node, true);
    }
    const silent = !alive && isSilent(peer) && !(node in planned);
    if (silent === this.#silent.has(node)) return;
    if (silent) this.#silent.add(node);
    else this.#silent.delete(node);
    this.#indicate('node-silent', 'SYSTEM DOWN', 'node', node, null, !silent, () =>
      silent ? `${node} is not heard on any channel: ${silences(peer)}` : `${node} is heard again`,
    );
  }

  #indicateAnswering(node: string, over: boolean): void {
    this.#indicate('interconnect-failed', 'SERIOUS', 'interconnect', `heartbeats of ${node}`, null, over, () =>
      over
        ? `heartbeats of ${node} arrive again`
        : `${node} answers over the network, and none of its heartbeats arrive`,
    );
  }

  // ---- taking over ----

  /** True while there is reason to look closely. */
  #consider(group: Group, snapshot: PulseSnapshot | null, now: number): boolean {
    const { record } = group;
    const watch = this.#watch(group.name);
    if (record === null) return false;
    if (record.owner === this.#context.node) {
      watch.last = null;
      watch.precedenceSinceMs = null;
      this.#endWithheld(group, watch);
      if (!watch.moving && now >= watch.retryAtMs) this.#tend(group, record, snapshot, watch, now);
      return false;
    }
    watch.settledSinceMs = null;
    if (snapshot === null || this.#context.document().pulse === null) return false;
    const peer = snapshot.peers.find(({ node }) => node === record.owner);
    if (peer === undefined || watch.moving) return watch.moving;
    const evidence = this.#evidence(group, record, snapshot, peer, watch, now);
    const verdict = judge(evidence);
    if (verdict.rule === 'precedence') watch.precedenceSinceMs ??= now;
    else if (verdict.decision !== 'takeOver') watch.precedenceSinceMs = null;
    if (verdict.rule === 'owner-alive') {
      this.#endWithheld(group, watch);
      if (watch.last !== null && watch.last.verdict.rule !== 'owner-alive')
        this.#keep(watch, evidence, verdict, null);
      // It may just have begun to be silent.
      return peer.heard.some(({ hearing, enable }) => hearing === 'silent' && enable === 'ENABLE');
    }
    switch (verdict.decision) {
      case 'verify':
        this.#keep(watch, evidence, verdict, null);
        this.#presenceOf(record.owner)?.begin();
        return true;
      case 'takeOver':
        if (now >= watch.retryAtMs) this.#takeOver(group, record, watch, evidence, verdict);
        return true;
      case 'wait':
        this.#keep(watch, evidence, verdict, null);
        return true;
      case 'no':
        this.#keep(watch, evidence, verdict, null);
        // Whatever forbids it, nobody misses a take-over from an owner that lives, or that may be coming up.
        if (isHeard(peer)) this.#endWithheld(group, watch);
        else if (isKnown(peer)) this.#withhold(group, watch, verdict);
        return false;
    }
  }

  #evidence(
    group: Group,
    record: GroupRecord,
    snapshot: PulseSnapshot,
    peer: PeerSnapshot,
    watch: Watch,
    now: number,
  ): Evidence {
    const { node, lease, leaseOf } = this.#context;
    const document = this.#context.document();
    const { owner } = record;
    const { planned, waitingFor, automatic } = this.state.current;
    const store = this.#context.store();
    const presence = document.pulse?.presence.enabled === true ? this.#presenceOf(owner) : null;
    return {
      schema: 1,
      atMs: Math.round(this.#environment.clock.wallMs()),
      node,
      group: group.name,
      owner,
      generation: record.generation,
      automatic: group.entry.takeOver.automatic,
      nodeAutomatic: automatic,
      heard: peer.heard,
      deaf: this.#deaf(snapshot, now),
      heardBy: snapshot.peers
        .filter((other) => other.node !== owner && isHeard(other) && (other.said?.hears[owner]?.length ?? 0) > 0)
        .map((other) => other.node),
      presence: presence === null ? 'off' : presence.state,
      planned: owner in planned,
      waitsForRecovery: owner in waitingFor,
      store: store === 'reachable' ? (leaseOf(owner)?.lapsed(now) === true ? 'lapsed' : 'held') : store,
      mayServe: lease.isValid(),
      unsafe: this.#unsafe(group, record),
      before: this.#before(group, record, snapshot),
      precedenceMs: watch.precedenceSinceMs === null ? 0 : Math.round(now - watch.precedenceSinceMs),
      precedenceMaxMs: document.pulse?.timeoutMs ?? 0,
    };
  }

  #deaf(snapshot: PulseSnapshot, now: number): string | null {
    if (snapshot.muted !== null) return snapshot.muted;
    return now < this.#deafUntilMs ? 'this process stood still' : null;
  }

  #unsafe(group: Group, record: GroupRecord): string | null {
    const { leg, role, problem } = group;
    if (leg === null) return problem ?? 'it is not open';
    if (role === 'frozen') return problem ?? 'it is frozen';
    try {
      assertSafe(record, leg, false);
      return null;
    } catch (error) {
      return messageOf(error).replace(`group ${group.name}: `, '');
    }
  }

  /** Who comes before this node, lives and would do it. */
  #before(group: Group, record: GroupRecord, { peers }: PulseSnapshot): readonly string[] {
    const order = succession(this.#context.document(), group.entry, record);
    const own = order.indexOf(this.#context.node);
    return order.slice(0, own < 0 ? order.length : own).filter((node) => {
      const peer = peers.find((candidate) => candidate.node === node);
      return peer !== undefined && isHeard(peer) && peer.said?.automatic === true && peer.said.lease !== 'lapsed';
    });
  }

  #presenceOf(owner: string): PresenceCheck | null {
    const { presence } = this.#context.document().pulse ?? {};
    if (presence === undefined) return null;
    let check = this.#presence.get(owner);
    if (check === undefined) {
      check = new PresenceCheck({
        clock: this.#environment.clock,
        ask: (timeoutMs) => this.#context.request(owner, 'node.present', {}, timeoutMs),
        waitMs: presence.waitMs,
        retries: presence.retries,
        done: () => this.#presenceKnown(owner),
      });
      this.#presence.set(owner, check);
    }
    return check;
  }

  #presenceKnown(owner: string): void {
    const answered = this.#presence.get(owner)?.state === 'answered';
    if (answered) {
      this.#answering.add(owner);
      this.#indicateAnswering(owner, false);
      // Asked again after a while: it may be lost later without having been heard.
      const { timeoutMs = tickMs } = this.#context.document().pulse ?? {};
      this.#environment.clock.after(timeoutMs, () => {
        if (this.#presence.get(owner)?.state === 'answered') this.#presence.delete(owner);
      });
    }
    this.look();
  }

  #takeOver(group: Group, record: GroupRecord, watch: Watch, evidence: Evidence, verdict: Verdict): void {
    watch.moving = true;
    const { owner } = record;
    const preferred = group.entry.preferredOwner === owner;
    this.#context.event(group.name, 'decided', `taking over from ${owner}: ${verdict.text}`);
    const remembered = this.state
      .change((state) => ({
        ...state,
        waitingFor: { ...state.waitingFor, [owner]: this.#environment.clock.wallMs() },
        failures: preferred
          ? {
              ...state.failures,
              [group.name]: failedAgain(state.failures[group.name], this.#environment.clock.wallMs()),
            }
          : state.failures,
      }))
      .catch(() => {});
    group.moves.takeOver(false, false, { silent: true }).then(
      (moved) => {
        this.#keep(watch, evidence, verdict, `generation ${moved.generation}. ${moved.loss.text}`);
        this.#moved(group, watch, 'take-over-succeeded', `${this.#context.node} took over from ${owner}`, moved);
        void remembered;
      },
      (error: unknown) => {
        const reason = messageOf(error);
        this.#keep(watch, evidence, verdict, `failed: ${reason}`);
        this.#failed(group, watch, 'take-over-failed', `taking over from ${owner}`, reason);
      },
    );
  }

  /** A group nobody serves, and this node will not by itself: somebody must know why. */
  #withhold(group: Group, watch: Watch, verdict: Verdict): void {
    if (verdict.rule === 'planned-shutdown' || watch.withheld) return;
    watch.withheld = true;
    this.#indicate('take-over-withheld', 'SERIOUS', 'group', `group ${group.name}`, group.name, false, () => {
      return `group ${group.name} is not taken over by ${this.#context.node}: ${verdict.text}`;
    });
  }

  #endWithheld(group: Group, watch: Watch): void {
    if (!watch.withheld) return;
    watch.withheld = false;
    this.#indicate('take-over-withheld', 'SERIOUS', 'group', `group ${group.name}`, group.name, true, () => {
      return `group ${group.name} has an owner that is heard`;
    });
  }

  // ---- groups of this node's own ----

  #tend(group: Group, record: GroupRecord, snapshot: PulseSnapshot | null, watch: Watch, now: number): void {
    if (group.role === 'closed') watch.closedSinceMs ??= now;
    else watch.closedSinceMs = null;
    const cause = causeToHandOver(group, {
      closedMs: watch.closedSinceMs === null ? 0 : now - watch.closedSinceMs,
      stalled: this.#context.stalled(group.name),
      ...this.#siteHealth(snapshot),
      nodesMin: group.entry.takeOver.nodesMin,
      application: watch.application,
    });
    if (cause !== null) {
      watch.settledSinceMs = null;
      if (group.entry.takeOver.automatic !== 'off' && this.state.current.automatic) {
        void this.#handOver(group, record, watch, cause);
      }
      return;
    }
    this.#speakAgain();
    this.#giveBack(group, snapshot, watch, now);
  }

  #siteHealth(snapshot: PulseSnapshot | null): { nodesAlive: number; nodesInSite: number } {
    const { node } = this.#context;
    const { nodes } = this.#context.document();
    const site = nodes.find(({ name }) => name === node)?.site;
    const others = nodes.filter((other) => other.site === site && other.name !== node);
    const alive = others.filter(({ name }) => snapshot?.peers.some((peer) => peer.node === name && isHeard(peer)));
    // Without a pulse nobody can tell who lives.
    return { nodesAlive: 1 + (snapshot === null ? others.length : alive.length), nodesInSite: 1 + others.length };
  }

  /** HM-17: a switch-over for cause, to whoever comes first and can; where hosts cannot be drained any more, that node takes over. */
  async #handOver(group: Group, record: GroupRecord, watch: Watch, cause: string): Promise<void> {
    watch.moving = true;
    const { node, request } = this.#context;
    const candidates = succession(this.#context.document(), group.entry, { ...record, owner: node });
    this.#context.event(group.name, 'decided', `handing over: ${cause}`);
    const refusals: string[] = [];
    for (const to of candidates) {
      try {
        const moved =
          group.role === 'primary'
            ? await group.moves.switchOver(to)
            : await request(to, 'group.takeOver', { group: group.name, node: to, force: false }, requestMs);
        const text = `${node} handed over to ${to}: ${cause}`;
        this.#moved(group, watch, 'switch-over-succeeded', text, typeof moved === 'object' ? (moved as Moved) : null);
        return;
      } catch (error) {
        refusals.push(`${to}: ${messageOf(error)}`);
      }
    }
    const reason = refusals.length === 0 ? 'no other copy may serve it' : refusals.join('; ');
    this.#failed(group, watch, 'switch-over-failed', `handing over (${cause})`, reason);
    this.#goSilent(cause);
  }

  /**
   * Nobody could be told, and nothing is served: by saying nothing any more this node lets the others judge. Not while it still
   * serves some other group.
   */
  #goSilent(cause: string): void {
    const owned = this.#owned;
    if (this.#muted || owned.length === 0 || owned.some((group) => group.serving)) return;
    this.#muted = true;
    this.#context.mute(`it can serve nothing: ${cause}`);
  }

  #speakAgain(): void {
    if (!this.#muted) return;
    this.#muted = false;
    this.#context.mute(null);
  }

  get #owned(): readonly Group[] {
    return [...this.#context.groups()].filter(({ record }) => record?.owner === this.#context.node);
  }

  #giveBack(group: Group, snapshot: PulseSnapshot | null, watch: Watch, now: number): void {
    const { preferredOwner, takeOver } = group.entry;
    const leg = group.owner?.legOf(preferredOwner);
    const peer = snapshot?.peers.find(({ node }) => node === preferredOwner);
    const well =
      takeOver.giveBack === 'auto' &&
      this.state.current.automatic &&
      preferredOwner !== this.#context.node &&
      group.serving &&
      leg !== undefined &&
      leg.complete &&
      leg.recordClass !== 'behind' &&
      peer !== undefined &&
      isHeard(peer) &&
      peer.said?.leaving !== true;
    if (!well) {
      watch.settledSinceMs = null;
      return;
    }
    watch.settledSinceMs ??= now;
    const wallMs = this.#environment.clock.wallMs();
    const waitMs = settleTimeMs(takeOver.giveBackSettleMs, this.state.current.failures[group.name], wallMs);
    if (now - watch.settledSinceMs < waitMs) return;
    watch.moving = true;
    this.#context.event(group.name, 'decided', `giving back to ${preferredOwner}`);
    group.moves.switchOver(preferredOwner).then(
      (moved) => this.#moved(group, watch, 'switch-over-succeeded', `given back to ${preferredOwner}`, moved),
      (error: unknown) =>
        this.#failed(group, watch, 'switch-over-failed', `giving back to ${preferredOwner}`, messageOf(error)),
    );
  }

  // ---- telling ----

  #moved(group: Group, watch: Watch, code: AlertCode, what: string, moved: Moved | null): void {
    watch.moving = false;
    watch.retryMs = retryMsMin;
    watch.retryAtMs = -Infinity;
    watch.settledSinceMs = null;
    watch.application = null;
    const pause = moved?.pauseMs == null ? '' : ` in ${Math.round(moved.pauseMs)} ms`;
    const level = code === 'take-over-succeeded' ? 'SERIOUS' : 'MODERATE';
    const loss = moved === null ? '' : `. ${moved.loss.text}`;
    this.#indicate(code, level, 'group', `group ${group.name}`, group.name, false, () => `${what}${pause}${loss}`);
    for (const failed of ['take-over-failed', 'switch-over-failed'] as const) {
      this.#indicate(failed, 'SYSTEM DOWN', 'group', `group ${group.name}`, group.name, true, () => what);
    }
    this.look();
  }

  #failed(group: Group, watch: Watch, code: AlertCode, what: string, reason: string): void {
    watch.moving = false;
    watch.retryAtMs = this.#now + watch.retryMs;
    watch.retryMs = Math.min(retryMsMax, watch.retryMs * 2);
    watch.settledSinceMs = null;
    this.#context.event(group.name, 'failed', `${what} failed: ${reason}`);
    this.#indicate(code, 'SYSTEM DOWN', 'group', `group ${group.name}`, group.name, false, () => {
      return `${what} failed: ${reason}`;
    });
    this.look();
  }

  /** Kept when it says something new. */
  #keep(watch: Watch, evidence: Evidence, verdict: Verdict, outcome: string | null): void {
    const { last } = watch;
    const same =
      last !== null &&
      last.verdict.rule === verdict.rule &&
      last.evidence.owner === evidence.owner &&
      last.evidence.generation === evidence.generation &&
      last.outcome === outcome;
    if (same) return;
    watch.last = { evidence, verdict, outcome };
    this.#book.keep(watch.last);
  }

  #indicate(
    code: AlertCode,
    level: AlertLevel,
    component: Indication['component'],
    id: string,
    group: string | null,
    over: boolean,
    text: () => string,
  ): void {
    const atMs = Math.round(this.#environment.clock.wallMs());
    this.#context.indicate({ component, id, code, level, node: this.#context.node, group, atMs, text: text(), over });
  }

  #watch(group: string): Watch {
    let watch = this.#watches.get(group);
    if (watch === undefined) {
      watch = {
        last: null,
        precedenceSinceMs: null,
        moving: false,
        retryAtMs: -Infinity,
        retryMs: retryMsMin,
        settledSinceMs: null,
        closedSinceMs: null,
        application: null,
        withheld: false,
      };
      this.#watches.set(group, watch);
    }
    return watch;
  }
}

/** Life is heard on some enabled channel. */
export function isHeard({ heard }: PeerSnapshot): boolean {
  return heard.some(
    ({ enable, hearing }) => enable !== 'DISABLE' && (hearing === 'alive' || hearing === 'probation'),
  );
}

/** Whether it is heard is settled: nobody is still waiting for its first word. */
function isKnown({ heard }: PeerSnapshot): boolean {
  return heard.every(({ enable, hearing }) => enable === 'DISABLE' || hearing !== 'unknown');
}

/** Nothing is heard where something could be. */
function isSilent({ heard }: PeerSnapshot): boolean {
  const listening = heard.filter(({ enable }) => enable !== 'DISABLE');
  return listening.length > 0 && listening.every(({ hearing }) => hearing === 'silent');
}

function silences({ heard }: PeerSnapshot): string {
  const listening = heard.filter(({ enable }) => enable !== 'DISABLE');
  const unfit = listening.find((one) => one.unfit !== undefined)?.unfit;
  const since = listening.map(
    ({ channel, silentMs }) => `${channel} ${silentMs === null ? 'never' : `for ${formatDuration(silentMs)}`}`,
  );
  return `${since.join(', ')}${unfit === undefined ? '' : `; it is not believed: ${unfit}`}`;
}
