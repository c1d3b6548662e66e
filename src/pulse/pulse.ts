/**
 * The pulse of a node: says on every channel that it lives, hears the others, and tells what it knows of them. It decides
 * nothing about them: a snapshot goes to the judge.
 *
 * - Every channel that the user has not disabled is sent on and listened to, FAILED or not (HM-19).
 * - Silence is judged only after what has arrived was looked at: the judging waits for one turn of the event loop. Where this
 *   process itself stood still (its timer is more than half a timeout late), all silence begins anew.
 * - A message is as long with a hundred groups as with one: it carries a digest, and what it lacks is asked for by the link.
 */
import type { Timer } from '../base/clock.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError } from '../base/errors.ts';
import { pause, untilMultipleMs } from '../base/waiting.ts';
import type { Channel } from './channel.ts';
import { Complaints } from './complaints.ts';
import type { Indication } from './indication.ts';
import { masterOf } from './masters.ts';
import type { MirrorTable } from './mirror-channel.ts';
import { encodeHeartbeat, nextSerial, type ControlMessage, type Heartbeat } from './message.ts';
import type { PulsePath } from './network-channel.ts';
import { ChannelState } from './channel-state.ts';
import { Inbox, Outbox } from './post.ts';
import { Receiver } from './receiver.ts';
import type {
  ChannelEntry,
  PulseEvents,
  PulseMember,
  PulseOptions,
  PulseService,
  PulseStatus,
  SpokenWord,
  UseChange,
  UseResult,
} from './service.ts';
import type { Enable, Heard, NodeWord, PeerSnapshot, PulseSnapshot } from './snapshot.ts';
import {
  advance,
  chosen,
  emptyTable,
  mirrorRow,
  openTable,
  pickedUp,
  type StatusTable,
  type TableEvent,
} from './status-table.ts';
import { applyUse, isChosen, pathsLeft, readUseMessage, useMessage, type UseContext } from './use.ts';

interface Peer {
  readonly member: PulseMember;
  readonly outbox: Outbox;
  readonly inbox: Inbox;
  said: NodeWord | null;
  /** Whom it calls the master of its site. */
  master: string | null;
  /** Of the last valid message by any channel. */
  heardMs: number | null;
  /** Our clock in the last of our messages that it has heard. */
  echoedMs: number;
}

interface Master {
  readonly name: string;
  readonly incarnation: string | null;
}

/** Between two messages sent out of turn. */
const promptShare = 4;

export class Pulse implements PulseService {
  readonly #environment: Environment;
  readonly #options: PulseOptions;
  readonly #events: PulseEvents;
  readonly #receiver: Receiver;
  readonly #complaints: Complaints;
  readonly #peers: ReadonlyMap<string, Peer>;
  readonly #channels = new Map<string, ChannelState>();
  readonly #site: string;
  readonly #startedWallMs: number;
  readonly #tickMs: number;
  /** Mirrors that the user has disabled, whether installed now or not. */
  readonly #disabledMirrors: Set<string>;
  /** By site. */
  readonly #masters = new Map<string, Master>();
  #startedMs: number;
  #table: StatusTable;
  #word: SpokenWord = { leaving: false, automatic: false, lease: 'unknown', ownedVersion: 0, serving: 0 };
  #leaving = false;
  #muted: string | null = null;
  #dueMs = 0;
  #sentMs = -Infinity;
  /** When the next heartbeats are due. */
  #beatAtMs = -Infinity;
  #ticker: Timer | null = null;
  #judging: Timer | null = null;
  /** What `changed` was last called about. */
  #told = '';
  /**
   * Nothing that is judged becomes another before, unless something is heard or told: that is judged at once, or at the next
   * look (-Infinity). Heartbeats that arrive in time only put it off.
   */
  #judgeFromMs = -Infinity;
  #running = false;

  constructor(environment: Environment, options: PulseOptions, events: PulseEvents) {
    this.#environment = environment;
    this.#options = options;
    this.#events = events;
    const { clock } = environment;
    const { node, members, settings, clusterId, key, incarnation, table } = options;
    const others = members.filter(({ name }) => name !== node);
    this.#site = members.find(({ name }) => name === node)?.site ?? '';
    this.#startedMs = clock.monotonicMs();
    this.#startedWallMs = clock.wallMs();
    this.#receiver = new Receiver({
      clock,
      node,
      peers: others.map(({ name }) => name),
      clusterId,
      key,
      incarnation,
      timeoutMs: settings.timeoutMs,
      validity: settings.validity,
    });
    this.#peers = new Map(
      others.map((member): [string, Peer] => [
        member.name,
        {
          member,
          outbox: new Outbox(clock, member.name),
          inbox: new Inbox(),
          said: null,
          master: null,
          heardMs: null,
          echoedMs: -1,
        },
      ]),
    );
    this.#complaints = new Complaints(node, clock, (indication) => this.#complain(indication));
    // A whole number of looks between two messages, ten within a timeout.
    this.#tickMs = settings.intervalMs / Math.ceil(settings.intervalMs / (settings.timeoutMs / 10));
    this.#table = emptyTable(node, this.#site, { network: settings.network });
    const choices = (table?.list ?? []).filter((row) => row?.status === 'DISABLE');
    this.#disabledMirrors = new Set(choices.flatMap((row) => row?.name ?? []));
    if (table != null) {
      this.#table = { ...this.#table, version: table.version, chosenAtMs: table.chosenAtMs };
      for (const path of ['network', 'mirrors'] as const) {
        if (table[path].enable === 'DISABLE') this.#advance({ kind: 'use', path, enable: false });
      }
    }
    for (const entry of options.channels) this.#add(entry);
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#startedMs = this.#nowMs;
    for (const state of this.#channels.values()) this.#open(state);
    this.#dueMs = this.#nowMs;
    this.#tick();
  }

  async stop(): Promise<void> {
    this.#running = false;
    this.#ticker?.cancel();
    this.#judging?.cancel();
    for (const { outbox } of this.#peers.values()) outbox.close();
    for (const { channel } of this.#channels.values()) await channel.close();
  }

  say(word: SpokenWord): void {
    this.#word = word;
  }

  mute(reason: string | null): void {
    if (this.#muted === reason) return;
    this.#muted = reason;
    if (reason === null) this.#sendSoon();
    this.#judgeSoon();
  }

  table(): StatusTable {
    return this.#table;
  }

  snapshot(): PulseSnapshot {
    const { clock } = this.#environment;
    const sites = [...new Set(this.#options.members.map(({ site }) => site))];
    return {
      node: this.#options.node,
      monotonicMs: clock.monotonicMs(),
      wallMs: clock.wallMs(),
      peers: [...this.#peers.values()].map((peer) => this.#snapshotOf(peer)),
      muted: this.#muted,
      masters: Object.fromEntries(sites.map((site) => [site, this.#masters.get(site)?.name ?? null])),
    };
  }

  status(): PulseStatus {
    const { intervalMs, timeoutMs } = this.#options.settings;
    return {
      snapshot: this.snapshot(),
      table: this.#table,
      intervalMs,
      timeoutMs,
      channels: [...this.#channels.values()].map(({ channel, device, sent, fault }) => ({
        id: channel.id,
        kind: channel.kind,
        device,
        sent,
        fault,
        paths: hasPaths(channel) ? channel.paths() : [],
      })),
      refused: this.#receiver.counts(),
      waiting: Object.fromEntries([...this.#peers].map(([name, { outbox }]) => [name, outbox.waiting])),
    };
  }

  checked(peer: string, problem: string | null): void {
    if (this.#receiver.unfitness(peer) === problem) return;
    this.#receiver.checked(peer, problem);
    if (problem === null)
      this.#environment.log.info(`heartbeats of ${peer} are believed again: it has passed its check`);
    else this.#environment.log.warn(`heartbeats of ${peer} are not believed: ${problem}`);
    this.#judgeSoon();
  }

  heard(channel: string, peer: string, agoMs: number): void {
    const nowMs = this.#nowMs;
    this.#notePause(nowMs);
    const state = this.#channels.get(channel);
    const known = this.#peers.get(peer);
    if (state === undefined || known === undefined || agoMs > this.#options.settings.timeoutMs) return;
    if (this.#receiver.unfitness(peer) !== null) return;
    if (state.peers.get(peer)?.hear(nowMs - agoMs) === true) this.#judgeFrom(-Infinity);
  }

  addChannel(entry: ChannelEntry): void {
    const state = this.#add(entry);
    if (this.#running) this.#open(state);
    this.#judgeSoon();
  }

  async removeChannel(id: string): Promise<void> {
    const state = this.#channels.get(id);
    if (state === undefined) return;
    this.#channels.delete(id);
    const mirror = mirrorOf(state.channel);
    if (mirror !== null) this.#advance({ kind: 'remove', mirror });
    this.#judgeSoon();
    await state.channel.close();
  }

  sendControl(to: string, message: ControlMessage, limitMs: number): Promise<void> {
    const peer = this.#peers.get(to);
    if (peer === undefined) return Promise.reject(new HoldfastError('E_NOT_FOUND', `there is no node ${to} to ask`));
    const done = peer.outbox.ask(message, limitMs);
    this.#sendSoon();
    return done;
  }

  indicate(indication: Indication): void {
    for (const { outbox } of this.#peers.values()) outbox.indicate(indication);
    this.#sendSoon();
  }

  async use(change: UseChange): Promise<UseResult> {
    const context = this.#useContext();
    const table = applyUse(this.#table, change, context);
    const left = pathsLeft(table, context);
    if (left.length === 0 && !change.confirmed) {
      const consequence = 'there would be no automatic take-over';
      throw new HoldfastError('E_REFUSED', `this leaves no way for heartbeats: ${consequence}; confirm it to do it`);
    }
    this.#adopt(chosen(this.#table, table, this.#environment.clock.wallMs()), change);
    const atMs = this.#table.chosenAtMs;
    const limitMs = Math.min(2 * this.#options.settings.timeoutMs, useWaitMsMax);
    const passedOn = await Promise.all(
      [...this.#peers.keys()].map(async (node) => {
        // Asked on after the answer is given: a node that is away learns it when it is back.
        const asked = this.sendControl(node, useMessage({ ...change, atMs }), useRememberedMs).then(
          () => ({ node, confirmed: true, problem: null }),
          (error: Error) => ({ node, confirmed: false, problem: error.message }),
        );
        const late = pause(this.#environment.clock, limitMs).then(() => ({
          node,
          confirmed: false,
          problem: `${node} has not confirmed it within ${limitMs} ms; it is asked on`,
        }));
        return Promise.race([asked, late]);
      }),
    );
    return { table: this.#table, passedOn };
  }

  async leave(): Promise<void> {
    const { intervalMs, timeoutMs } = this.#options.settings;
    this.#leaving = true;
    this.#judgeFrom(-Infinity);
    const fromMs = Math.floor(this.#nowMs);
    const limitMs = this.#nowMs + Math.min(timeoutMs, 5 * intervalMs);
    const isAwaited = (peer: Peer): boolean =>
      peer.echoedMs < fromMs && this.#snapshotOf(peer).heard.some(({ hearing }) => hearing === 'alive');
    for (;;) {
      this.#send();
      await pause(this.#environment.clock, intervalMs / promptShare);
      if (!this.#running || this.#nowMs > limitMs || ![...this.#peers.values()].some(isAwaited)) return;
    }
  }

  // ---- the round ----

  get #nowMs(): number {
    return this.#environment.clock.monotonicMs();
  }

  #tick(): void {
    if (!this.#running) return;
    const nowMs = this.#nowMs;
    this.#notePause(nowMs);
    // Half a look early is in time: the next one would be half a look late.
    if (nowMs >= this.#beatAtMs - this.#tickMs / 2) {
      // What is answered, and what the others send of themselves, comes at the same moments.
      this.#beatAtMs = nowMs + untilMultipleMs(this.#environment.clock, this.#options.settings.intervalMs);
      this.#send();
    }
    if (nowMs >= this.#judgeFromMs) this.#judgeSoon();
    this.#tickAt(Math.min(this.#beatAtMs, this.#judgeFromMs));
  }

  /** Then, or a look from now where that is sooner. */
  #tickAt(atMs: number): void {
    const nowMs = this.#nowMs;
    this.#dueMs = Math.max(nowMs + this.#tickMs, atMs);
    this.#ticker?.cancel();
    this.#ticker = this.#environment.clock.after(this.#dueMs - nowMs, () => this.#tick());
  }

  #judgeFrom(atMs: number): void {
    this.#judgeFromMs = atMs;
    if (this.#running && Math.max(this.#nowMs + this.#tickMs, atMs) < this.#dueMs) this.#tickAt(atMs);
  }

  /** Whatever runs first after this process stood still finds it out, be it a timer or a message. */
  #notePause(nowMs: number): void {
    if (!this.#running || nowMs - this.#dueMs <= this.#options.settings.timeoutMs / 2) return;
    const lateMs = Math.round(nowMs - this.#dueMs);
    this.#dueMs = nowMs;
    for (const { peers } of this.#channels.values()) for (const peer of peers.values()) peer.excuse(nowMs);
    this.#environment.log.warn(`the pulse stood still for ${lateMs} ms: the silence of others begins anew`);
  }

  #sendSoon(): void {
    if (!this.#running) return;
    if (this.#nowMs - this.#sentMs >= this.#options.settings.intervalMs / promptShare) this.#send();
  }

  #send(): void {
    if (!this.#running || this.#muted !== null) return;
    this.#sentMs = this.#nowMs;
    const { clock } = this.#environment;
    const { clusterId, node, incarnation, key } = this.#options;
    const word = this.#ownWord();
    const master = this.#masters.get(this.#site)?.name ?? null;
    for (const state of this.#channels.values()) {
      if (this.#isDisabled(state.channel) && this.#nowMs > state.lingerUntilMs) continue;
      for (const to of state.channel.targets) {
        const peer = this.#peers.get(to);
        if (peer === undefined) continue;
        state.serial = nextSerial(state.serial);
        state.sent++;
        const heartbeat: Heartbeat = {
          clusterId,
          from: node,
          to,
          channel: state.channel.id,
          incarnation,
          startedWallMs: this.#startedWallMs,
          serial: state.serial,
          wallMs: clock.wallMs(),
          monotonicMs: clock.monotonicMs(),
          echo: this.#receiver.echoFor(to),
          payload: {
            word,
            master,
            indications: peer.outbox.indications,
            control: peer.outbox.control,
            received: peer.inbox.received,
          },
        };
        state.channel.send(to, encodeHeartbeat(heartbeat, key));
      }
    }
  }

  #ownWord(): NodeWord {
    const nowMs = this.#nowMs;
    const hears: Record<string, string[]> = {};
    for (const [name] of this.#peers) {
      hears[name] = [...this.#channels.values()]
        .filter(({ peers }) => peers.get(name)?.hearing(nowMs) === 'alive')
        .map(({ channel }) => channel.id);
    }
    return { ...this.#word, leaving: this.#word.leaving || this.#leaving, hears };
  }

  #received(state: ChannelState, bytes: Uint8Array): void {
    if (!this.#running) return;
    const nowMs = this.#nowMs;
    this.#notePause(nowMs);
    const verdict = this.#receiver.judge(bytes, state.channel.id);
    switch (verdict.kind) {
      case 'refused': {
        const from = verdict.from === null ? '' : ` of ${verdict.from}`;
        const text = `a heartbeat${from} by ${state.channel.id} was refused: ${verdict.reason} (${verdict.detail})`;
        if (this.#complaints.mayLog(verdict.reason, nowMs)) this.#environment.log.warn(text);
        return;
      }
      case 'unproven':
        state.peers.get(verdict.from)?.hearUnproven(nowMs);
        this.#judgeFrom(-Infinity);
        // What it hears of us proves it.
        return this.#sendSoon();
      case 'valid':
        return this.#believe(state, verdict.heartbeat, verdict.isNew, nowMs);
    }
  }

  #believe(state: ChannelState, heartbeat: Heartbeat, isNew: boolean, nowMs: number): void {
    const { from, payload, echo, incarnation } = heartbeat;
    const peer = this.#peers.get(from);
    if (peer === undefined) return;
    const hearsAnew = !this.#isDisabled(state.channel) && state.peers.get(from)?.hear(nowMs) === true;
    if (hearsAnew || !this.#isCandidate(peer, nowMs) || peer.master !== payload.master) this.#judgeFrom(-Infinity);
    peer.heardMs = nowMs;
    peer.master = payload.master;
    if (payload.word !== peer.said) {
      const isNews = JSON.stringify(payload.word) !== JSON.stringify(peer.said);
      peer.said = payload.word;
      if (isNews) this.#judgeSoon();
    }
    if (isNew) {
      peer.echoedMs = -1;
      this.#sendSoon();
      this.#judgeSoon();
    }
    if (echo?.incarnation === this.#options.incarnation) peer.echoedMs = Math.max(peer.echoedMs, echo.monotonicMs);
    if (payload.received?.incarnation === this.#options.incarnation) peer.outbox.confirmed(payload.received);
    peer.inbox.take(incarnation, payload, {
      indication: (indication) => this.#environment.turn.defer(() => this.#events.indicated(indication, from)),
      control: (message) => this.#asked(from, message),
      answered: () => this.#sendSoon(),
    });
  }

  async #asked(from: string, message: ControlMessage): Promise<string | null> {
    const change = readUseMessage(message);
    if (change === null) return this.#events.control(from, message);
    // The user confirmed it where it was asked.
    const table = applyUse(this.#table, { ...change, confirmed: true }, this.#useContext());
    this.#adopt(chosen(this.#table, table, this.#environment.clock.wallMs(), change.atMs), change);
    return null;
  }

  // ---- judging what was heard ----

  /** In the next turn of the event loop: what has arrived by now is heard before. */
  #judgeSoon(): void {
    if (!this.#running) return;
    this.#judging ??= this.#environment.clock.after(0, () => {
      this.#judging = null;
      this.#judge();
    });
  }

  #judge(): void {
    const nowMs = this.#nowMs;
    this.#notePause(nowMs);
    const table = this.#table;
    this.#judgeTable(nowMs);
    this.#judgeMasters(nowMs);
    const snapshot = this.snapshot();
    this.#complaints.look(snapshot, [...this.#channels.values()]);
    const told = JSON.stringify([
      snapshot.muted,
      snapshot.masters,
      snapshot.peers.map((peer) => [
        peer.incarnation,
        peer.said,
        peer.heard.map(({ channel, enable, hearing, fault, unfit }) => [channel, enable, hearing, fault, unfit]),
      ]),
    ]);
    const isNews = told !== this.#told;
    // What one judgement has changed, the next one may follow up.
    this.#judgeFrom(isNews || table !== this.#table ? -Infinity : this.#nextChangeMs(nowMs));
    if (!isNews) return;
    this.#told = told;
    this.#events.changed(snapshot);
  }

  /** When what is judged becomes another, at the earliest, by the passing of time alone. */
  #nextChangeMs(nowMs: number): number {
    const { timeoutMs, masterTimeoutMs, probationMs } = this.#options.settings;
    const moments = [this.#startedMs + timeoutMs];
    for (const { heardMs } of this.#peers.values()) if (heardMs !== null) moments.push(heardMs + masterTimeoutMs);
    for (const { faultOverMs } of this.#channels.values()) moments.push(faultOverMs + probationMs);
    const coming = moments.filter((atMs) => atMs >= nowMs);
    for (const { peers } of this.#channels.values())
      for (const peer of peers.values()) coming.push(peer.changesAtMs(nowMs));
    return Math.min(...coming);
  }

  #judgeTable(nowMs: number): void {
    for (const state of this.#channels.values()) {
      const { channel } = state;
      if (this.#isDisabled(channel)) continue;
      const remote = remoteAs(this.#remotePeers().map((name) => state.peers.get(name)?.hearing(nowMs)));
      const mirror = mirrorOf(channel);
      if (channel.kind === 'network' && remote !== null) {
        const isBack = remote === 'ALIVE' && this.#table.network.enable === 'FAILED';
        this.#advance(isBack ? { kind: 'returned', path: 'network' } : { kind: 'network', remote });
      } else if (mirror !== null) this.#judgeMirror(state, mirror, remote, nowMs);
    }
  }

  #judgeMirror(state: ChannelState, mirror: string, remote: 'ALIVE' | 'FAILED' | null, nowMs: number): void {
    const row = mirrorRow(this.#table, mirror);
    if (row === null) return;
    const isFailed = row.status === 'FAILED';
    if (row.direction === 'send') {
      if (state.fault !== null) this.#advance({ kind: 'written', mirror, done: false });
      else if (isFailed && nowMs - state.faultOverMs >= this.#options.settings.probationMs) {
        this.#advance({ kind: 'returned', path: { mirror } });
      }
    } else if (state.fault !== null || remote === 'FAILED') this.#advance({ kind: 'read', mirror, valid: false });
    else if (remote === 'ALIVE') {
      this.#advance(isFailed ? { kind: 'returned', path: { mirror } } : { kind: 'read', mirror, valid: true });
    }
  }

  #judgeMasters(nowMs: number): void {
    const { members, node, settings, incarnation } = this.#options;
    // A node that has just started asks before it decides: the others know who is master.
    const isNewHere = nowMs - this.#startedMs < settings.timeoutMs;
    for (const site of new Set(members.map((member) => member.site))) {
      const before = this.#masters.get(site) ?? null;
      const incarnationOf = (name: string): string | null =>
        name === node ? incarnation : this.#receiver.incarnationOf(name);
      const isExpired = before !== null && incarnationOf(before.name) !== before.incarnation;
      const candidates = members
        .filter((member) => member.site === site)
        .map(({ name }) => {
          const peer = this.#peers.get(name);
          if (peer !== undefined) return { name, isValid: this.#isCandidate(peer, nowMs), says: peer.master };
          return { name, isValid: !this.#leaving && this.#muted === null, says: null };
        });
      if (isNewHere && before === null && candidates.every(({ says }) => says === null)) continue;
      const name = masterOf(candidates, isExpired ? null : (before?.name ?? null));
      if (name === null) this.#masters.delete(site);
      else this.#masters.set(site, { name, incarnation: incarnationOf(name) });
      if (name === node && before?.name !== node && site === this.#site) void this.#pickUp();
    }
  }

  /**
   * HM-5: the master of a site takes over what the user chose last, as the volumes of its mirrors have it of other nodes: the
   * request that told the others (HM-14) may not have reached this node, and whoever asked may be gone.
   */
  async #pickUp(): Promise<void> {
    const { node, key } = this.#options;
    const readers = [...this.#channels.values()].map(({ channel }) => channel).filter(isTableReader);
    const volumes = await Promise.all(readers.map((channel) => channel.readTable().catch(() => null)));
    if (!this.#running || this.#masters.get(this.#site)?.name !== node) return;
    for (const bytes of volumes) {
      const other = bytes && openTable(bytes, key);
      if (other === null || other.chosenAtMs <= this.#table.chosenAtMs) continue;
      const choice = `chosen ${new Date(other.chosenAtMs).toISOString()}`;
      this.#environment.log.info(
        `master of ${this.#site}: uses heartbeat paths as the table of ${other.node} has it, ${choice}`,
      );
      for (const row of other.list) {
        if (row?.status === 'DISABLE') this.#disabledMirrors.add(row.name);
        else if (row !== null) this.#disabledMirrors.delete(row.name);
      }
      this.#adopt(pickedUp(this.#table, other), {});
    }
  }

  /** To be master of its site (HM-1). */
  #isCandidate({ heardMs, said }: Peer, nowMs: number): boolean {
    const { masterTimeoutMs } = this.#options.settings;
    return heardMs !== null && nowMs - heardMs <= masterTimeoutMs && said?.leaving !== true;
  }

  #snapshotOf({ member, said }: Peer): PeerSnapshot {
    const nowMs = this.#nowMs;
    const unfit = this.#receiver.unfitness(member.name);
    const heard = [...this.#channels.values()].flatMap((state): Heard[] => {
      const { channel, fault } = state;
      const peer = state.peers.get(member.name);
      if (peer === undefined) return [];
      const hearing = peer.hearing(nowMs);
      const isFailed = hearing === 'silent' || hearing === 'probation' || fault !== null;
      const enable: Enable = this.#isDisabled(channel) ? 'DISABLE' : isFailed ? 'FAILED' : 'ENABLE';
      const silentMs = peer.silentMs(nowMs);
      const told = { channel: channel.id, kind: channel.kind, enable, hearing, silentMs, fault };
      return [unfit === null ? told : { ...told, unfit }];
    });
    const incarnation = this.#receiver.incarnationOf(member.name);
    return { node: member.name, site: member.site, incarnation, heard, said };
  }

  /** The remote group: nodes of other sites, or all others where there is one site only. */
  #remotePeers(): string[] {
    const others = [...this.#peers.values()].map(({ member }) => member);
    const away = others.filter(({ site }) => site !== this.#site);
    return (away.length > 0 ? away : others).map(({ name }) => name);
  }

  #complain(indication: Indication): void {
    this.#environment.turn.defer(() => this.#events.indicated(indication, this.#options.node));
    this.indicate(indication);
  }

  // ---- channels and table ----

  #add(entry: ChannelEntry): ChannelState {
    const { settings } = this.#options;
    const { channel, device } = entry;
    if (this.#channels.has(channel.id))
      throw new HoldfastError('E_EXISTS', `there is a channel ${channel.id} already`);
    const startUpEndsMs = settings.startUpMs === 0 ? Infinity : this.#startedMs + settings.startUpMs;
    const state = new ChannelState(entry, {
      timeoutMs: settings.timeoutMs,
      probationMs: settings.probationMs,
      unknownUntilMs: Math.max(startUpEndsMs, this.#nowMs + settings.timeoutMs),
    });
    this.#channels.set(channel.id, state);
    const mirror = mirrorOf(channel);
    if (mirror !== null) {
      const direction = channel.targets.length > 0 ? 'send' : 'receive';
      this.#advance({ kind: 'install', row: { name: mirror, direction, device } });
      if (this.#disabledMirrors.has(mirror)) this.#advance({ kind: 'use', path: { mirror }, enable: false });
    }
    return state;
  }

  #open(state: ChannelState): void {
    state.channel.start({
      received: (bytes) => this.#received(state, bytes),
      fault: (problem) => {
        if (state.fault === problem) return;
        if (problem === null) state.faultOverMs = this.#nowMs;
        state.fault = problem;
        this.#judgeSoon();
      },
      tableArrived: () => void this.#pickUp(),
    });
    void this.#pickUp();
  }

  #isDisabled(channel: Channel): boolean {
    if (channel.kind === 'network') return this.#table.network.enable === 'DISABLE';
    const mirror = mirrorOf(channel);
    if (mirror === null) return false;
    return this.#table.mirrors.enable === 'DISABLE' || mirrorRow(this.#table, mirror)?.status === 'DISABLE';
  }

  #useContext(): UseContext {
    const channels = [...this.#channels.values()].map(({ channel }) => channel);
    return {
      declared: this.#options.settings.mirrors.map(({ name }) => name),
      hasNetwork: channels.some(({ kind, targets }) => kind === 'network' && targets.length > 0),
      hasInterconnect: channels.some(({ kind }) => kind === 'interconnect'),
    };
  }

  /** The user's choice: what it enables is trusted at once (HM-14, HM-19). */
  #adopt(table: StatusTable, change: Omit<UseChange, 'confirmed'>): void {
    const nowMs = this.#nowMs;
    const wasDisabled = new Set([...this.#channels.values()].filter(({ channel }) => this.#isDisabled(channel)));
    this.#replaceTable(table);
    for (const state of this.#channels.values()) {
      const { channel } = state;
      if (this.#isDisabled(channel) && !wasDisabled.has(state)) {
        state.lingerUntilMs = nowMs + this.#options.settings.timeoutMs;
      }
      if (this.#isDisabled(channel) || !(wasDisabled.has(state) || isChosen(change, channel.id))) continue;
      for (const peer of state.peers.values()) peer.trust(nowMs);
    }
    this.#sendSoon();
    this.#judgeSoon();
  }

  #advance(event: TableEvent): void {
    this.#replaceTable(advance(this.#table, event));
  }

  #replaceTable(table: StatusTable): void {
    if (table === this.#table) return;
    this.#table = table;
    this.#environment.turn.defer(() => {
      if (this.#table === table) this.#events.tableChanged(table);
    });
  }
}

/** How long a user waits for the others' confirmation at most. */
const useWaitMsMax = 10_000;

/** A node that is away for longer learns of a change of use from its own table and the user. */
const useRememberedMs = 86_400_000;

const mirrorOf = (channel: Channel): string | null =>
  channel.kind === 'mirror' ? channel.id.replace(/^mirror:/, '') : null;

/** At the target, which has it of another node. */
const isTableReader = (channel: Channel): channel is Channel & MirrorTable =>
  channel.sources.length > 0 && 'readTable' in channel;

const hasPaths = (channel: Channel): channel is Channel & { paths(): PulsePath[] } => 'paths' in channel;

/** How the remote group is seen by one channel; null while it cannot be said. */
function remoteAs(hearings: readonly (string | undefined)[]): 'ALIVE' | 'FAILED' | null {
  const known = hearings.filter((hearing) => hearing !== undefined);
  if (known.includes('alive')) return 'ALIVE';
  return known.length === 0 || known.includes('unknown') ? null : 'FAILED';
}
