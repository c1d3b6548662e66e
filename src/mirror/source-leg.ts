/**
 * The owner's end of a mirror: one target leg as its owner sees it.
 *
 * Invariants:
 * - Records are sent in order, each stamp once per attachment, from what the target holds onwards (R2).
 * - While nothing travels (`tracking`), every change sets its bit here before the host hears of it (R10).
 * - A bit is cleared only when a copy stamped after it was set is durable at the target (R5, R8); no handshake clears any.
 * - `needed` is set before the record calls the leg in sync and cleared after the record is known not to (R13).
 */
import type { Environment } from '../base/environment.ts';
import type { Timer } from '../base/clock.ts';
import type { Frame } from '../link/frame.ts';
import type { LinkConnection } from '../link/link.ts';
import { decodeAnswer, decodeFault, type Answer, type LegFault } from '../link/messages/answer.ts';
import { decodeFetched, encodeFetch, type Fetched } from '../link/messages/fetch.ts';
import { encodeJson } from '../link/messages/json.ts';
import { decodePromise, encodeAskPromise, promisesFeature } from '../link/messages/promise.ts';
import { encodeRecords, recordsPerFrameMax } from '../link/messages/records.ts';
import { MessageType } from '../link/messages/types.ts';
import type { LegClass, MirrorMode } from '../store/document.ts';
import type { Change } from '../stream/change.ts';
import type { History } from '../stream/history.ts';
import { comparePositions, furtherOf, origin, type Lineage, type Position } from '../stream/position.ts';
import { positionOf, type StreamRecord } from '../stream/record.ts';
import type { ExtentSet } from '../volume/extents.ts';
import type { Bookmark, PeerBits } from '../volume/leg-metadata.ts';
import type { ImageOutlook } from '../volume/last-image.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import { decideAttach, type AttachDecision } from './attach-decision.ts';
import { Merger, type MergeLog } from './merger.ts';
import { Copier, type CopySource } from './copier.ts';
import {
  answerFlags,
  attachedSchema,
  descriptionSchema,
  detachSchema,
  type Attach,
  type Attached,
  type Settle,
  type Start,
} from './messages.ts';
import { decodeExtents, encodeStanding } from './other-legs.ts';
import { parseBody } from './target-leg.ts';

/** What the group's owner is to each of its source legs. */
export interface SourceOwner extends CopySource {
  readonly environment: Environment;
  readonly group: string;
  readonly leg: LocalLeg;
  readonly history: History<Change>;
  readonly lineage: Lineage;
  /** Newest position stamped. */
  readonly last: Position;
  /** Null: the group has none. */
  readonly log: MergeLog | null;
  /** Hosts write at most so many times less than a leg that is being merged takes in. */
  readonly mergeGain: number;
  /** The first records of this process are one step, up to here; null when there are none. */
  readonly wholeUpTo: Position | null;
  /** A leg that has applied everything up to `lostAt` is away. Returns whether what it misses is kept in the log. */
  logFrom(lostAt: Position): boolean;
  /** A leg may need less of the log than before. */
  reviewLog(): void;
  /** The log cannot be read: what was to be merged is copied. */
  logUnreadable(reason: string): void;
  /** A merge has got on: hosts may write more. */
  mergeMoved(): void;
  /** What every leg that counts holds durably. */
  readonly stable: Position;
  readonly documentVersion: number;
  readonly legs: readonly SourceLeg[];
  /** The hot-region mark that ended at or before the ordinal: what was touched after it may lie beyond. */
  markBefore(ordinal: number): number;
  /** False while the group is being opened: legs attach, and wait. */
  readonly established: boolean;
  /** The leg's answers count for more changes now: some may be acknowledged, history let go of. */
  advanced(leg: SourceLeg, fromOrdinal: number, toOrdinal: number): void;
  /** A number for an attachment or a fetch, unique on this node; `replaces` is not used any more. */
  newId(replaces: number): number;
  forgetId(id: number): void;
  /** Something that decides on classes, or is shown to people, has changed. */
  review(): void;
  /** A target knows a newer generation, or holds durably what we lack: we must not go on. */
  deposed(reason: string): void;
  wentBack(node: string, reason: string): void;
  /** How long a target may leave records unanswered before its connection is given up (TL-4); null: for ever. Milliseconds. */
  readonly commandTimeoutMs: number | null;
  /** The leg's node will not take over for so long from when the question with this token was put (R16). */
  promised(node: string, token: number, durationMs: number): void;
}

export type SourcePhase =
  /** No connection, or none wanted. */
  | 'detached'
  /** `attach` sent. */
  | 'attaching'
  /** Attached; waits until the group is open, the record allows what must be done, or a description arrives. */
  | 'attached'
  /** Records flow; nothing is missing but what is in flight. */
  | 'streaming'
  /** What it missed comes from the log, in order. */
  | 'merging'
  /** Records flow, and copies of what it lacks among them. */
  | 'copying'
  /** All is copied or merged; waits for it to be durable. */
  | 'settling'
  /** The target will not have it for the reason shown; tried again later. */
  | 'refused';

const startPhases = { continue: 'streaming', merge: 'merging', resync: 'copying' } as const;

const frameBytesMax = 8 * 1024 * 1024;
const unsentBytesMax = 16 * 1024 * 1024;
/** What is merged can wait in the log as well as in memory. */
const mergeUnsentBytesMax = 2 * 1024 * 1024;
const retryMs = 1000;
/** The target answers when its disk has finished what it was given before. */
const attachTimeoutMs = 10_000;
const spaceRetryMs = 5000;
/** A copy is made durable at the target at least so often, so that an interruption costs no more. */
const settleIntervalMs = 5000;

export class SourceLeg {
  readonly node: string;
  /** As the group's record says, confirmed. */
  recordClass: LegClass;
  /** Acknowledgements wait for this leg. */
  needed = false;
  /** Hosts wait when its lag is at the bound: set before the record calls it within its bound, and no longer than that. */
  bounded = false;
  paused: boolean;
  /** Changes set bits here instead of being kept for it. */
  tracking: boolean;
  phase: SourcePhase = 'detached';
  /** Why it is not streaming, in plain words. */
  reason = 'not connected yet';
  /** Since when it has not been attached; monotonic. Null while it is. */
  lostAtMs: number | null;
  /** It may be called in sync when it has everything up to here: what was acknowledged before it was needed (R13). */
  joinAt = 0;
  /** The leg could not store something: it must leave the in-sync set now, without grace. */
  failed = false;
  /** What it misses is kept in the log for it. */
  needsLog = false;
  /** Its link is too slow, and the log is to take its place (`on-congestion: log`). */
  congested = false;
  /** What a resync leaves of it as it was (TL-16), as it said when it attached last; null: never in this process. */
  image: ImageOutlook | null = null;
  /** Such an image is kept there now; null before it is known. */
  imageKept: boolean | null = null;

  /** Ordinals in the owner's history. */
  receivedOrdinal = 0;
  appliedOrdinal = 0;
  durableOrdinal = 0;
  #next = 1;
  /**
   * Since when the target owes an answer: since the first record it has not answered was sent, or since its last answer that
   * got it on. Not since each record: a slow disk, or a slow line before it, answers late, and loses by being begun anew.
   */
  #owesSinceMs: number | null = null;
  #lastSent: Position = origin;

  readonly bits: PeerBits;
  /** What it may lack besides `bits` if it has lost what was not durable when it was lost. */
  readonly #unconfirmed: PeerBits;
  /** When it was lost it had certainly applied so far; null when that was before this process became owner. */
  #lostAt: Position | null = null;
  /** At this position of an earlier owner, or further, it is where the history in memory begins; null: nowhere. */
  #completedFrom: Position | null = null;
  #attached: Extract<Attached, { ok: true }> | null = null;
  #connection: LinkConnection | null = null;
  #attachId = 0;
  #mode: MirrorMode;
  /** As the last `attach` said. */
  #toldMode: MirrorMode;
  /** The target knows that what it has received counts as answered: it then owns up to what it has to drop. */
  #answersForReceipt = false;
  #copier: Copier | null = null;
  #merger: Merger | null = null;
  /** Since the attachment began it was merged: what its bits name it has been sent in order. */
  #merged = false;
  /** All is to be copied, whatever the log holds. */
  #copyAll = false;
  /** What the target said last that it has applied, in this attachment. */
  #told: Position = origin;
  /** The other targets know that it is behind. */
  #knownBehind = false;
  #settlePosition: Position | null = null;
  #lastSettleAtMs = 0;
  #toldStable: Position = origin;
  #joining: Promise<void> | null = null;
  #described: ((extents: ReadonlyMap<number, ExtentSet> | null) => void) | null = null;
  readonly #fetches = new Map<number, (fetched: Fetched | null) => void>();
  #retry: Timer | null = null;
  readonly #owner: SourceOwner;

  constructor(
    owner: SourceOwner,
    leg: { node: string; mode: MirrorMode; class: LegClass; paused: boolean; equal: boolean },
  ) {
    this.#owner = owner;
    this.node = leg.node;
    this.#mode = leg.mode;
    this.#toldMode = leg.mode;
    this.recordClass = leg.class;
    this.paused = leg.paused;
    this.tracking = !leg.equal;
    this.bits = owner.leg.bitsFor(leg.node);
    this.#unconfirmed = owner.leg.unconfirmedFor(leg.node);
    this.lostAtMs = owner.environment.clock.monotonicMs();
    // Lost before our time, or never equal: all that is hot here may be lacking there.
    if (!leg.equal) this.#addUnconfirmed(-1);
  }

  get mode(): MirrorMode {
    return this.#mode;
  }

  /**
   * Changed in use (R13): its class follows by `review`. A target whose duties differ is attached anew with the next tick;
   * until then its answers count as before, or less.
   */
  changeMode(mode: MirrorMode): void {
    if (mode === this.#mode) return;
    this.#mode = mode;
    this.#owner.review();
  }

  get connected(): boolean {
    return this.#connection !== null && this.phase !== 'detached';
  }

  /** Which of the link's connections carries it; null when none does. */
  get connectionIndex(): number | null {
    return this.#connection?.index ?? null;
  }

  /** What the target said of itself; null while it is not attached. */
  get attachedAs(): Extract<Attached, { ok: true }> | null {
    return this.#attached;
  }

  get copier(): Copier | null {
    return this.#copier;
  }

  /** Not null while it is merged. */
  get merger(): Merger | null {
    return this.#merger;
  }

  /** What it missed comes from the log, or has come and is not known to be durable there. */
  get merging(): boolean {
    return this.phase === 'merging' || (this.#merged && this.phase === 'settling');
  }

  /** What it is known to have applied; the origin when nothing is known. */
  get told(): Position {
    return this.#told;
  }

  /** Whether records reach it. */
  get flowing(): boolean {
    switch (this.phase) {
      case 'streaming':
      case 'merging':
      case 'copying':
      case 'settling':
        return true;
      case 'detached':
      case 'attaching':
      case 'attached':
      case 'refused':
        return false;
    }
  }

  /** Bytes that differ or may differ, copies in flight aside. */
  get outOfSyncBytes(): number {
    if (this.#copier !== null) return this.#copier.remainingBytes;
    let bytes = 0;
    for (const bitmap of this.bits.values()) bytes += bitmap.setBytes;
    return bytes;
  }

  /** Whether bits name something it lacks. */
  get bitsSet(): boolean {
    for (const bitmap of this.bits.values()) if (!bitmap.isEmpty()) return true;
    return false;
  }

  /** It lacks more than what is in flight to it; bits remember what. */
  get behind(): boolean {
    return this.tracking || this.bitsSet || (this.flowing && this.phase !== 'streaming');
  }

  /** How long it has been away; 0 while attached. Milliseconds. */
  awayMs(nowMs: number): number {
    return this.lostAtMs === null ? 0 : nowMs - this.lostAtMs;
  }

  /** Whether its answer counts for the change (IM-3). */
  has(change: Change): boolean {
    return this.answered >= change.ordinal;
  }

  /** Nothing of the change waits in a connection any more. */
  hasSent(change: Change): boolean {
    return this.appliedOrdinal >= change.ordinal || this.#connection === null || this.#connection.unsentBytes === 0;
  }

  /** Ordinal up to which its answers count. */
  get answered(): number {
    return this.#mode === 'receive' && this.#answersForReceipt ? this.receivedOrdinal : this.appliedOrdinal;
  }

  /** A change is stamped while the leg is away. */
  track(volume: number, offset: number, length: number): void {
    this.bits.get(volume)?.set(offset, length);
  }

  use(connection: LinkConnection | null): void {
    if (connection === this.#connection) return;
    if (this.#connection !== null) this.#drop('the connection was replaced');
    this.#connection = connection;
    if (connection !== null) this.attach();
  }

  connectionDown(connection: LinkConnection, reason: string): void {
    if (connection !== this.#connection) return;
    this.#connection = null;
    this.#drop(reason);
  }

  pause(paused: boolean): void {
    this.paused = paused;
    if (paused) {
      this.#drop('paused');
    } else {
      this.attach();
    }
    this.#owner.review();
  }

  /** Begins an attachment under the owner's present generation; an earlier one is superseded. */
  attach(): void {
    const connection = this.#connection;
    this.#retry?.cancel();
    this.#retry = null;
    if (connection === null || this.paused) return;
    if (this.phase !== 'detached') this.#drop('attached anew');
    const { lineage } = this.#owner;
    this.#attachId = this.#owner.newId(this.#attachId);
    this.#attached = null;
    this.phase = 'attaching';
    this.reason = 'being attached';
    this.#toldMode = this.#mode;
    const body: Attach = {
      attachId: this.#attachId,
      group: this.#owner.group,
      generation: lineage.generation,
      generationId: lineage.id,
      mode: this.#toldMode,
      volumes: [...this.#owner.leg.volumes].map(({ entry }) => ({
        index: entry.index,
        wwid: entry.wwid,
        sizeBytes: entry.sizeBytes,
        blockSizeBytes: entry.blockSizeBytes,
      })),
      documentVersion: this.#owner.documentVersion,
    };
    connection.send(encodeJson(MessageType.attach, body));
    this.#retry = this.#owner.environment.clock.after(attachTimeoutMs, () => {
      if (this.phase === 'attaching')
        this.#refused(`${this.node} has not answered for ${attachTimeoutMs / 1000} s`, 0);
    });
  }

  frame(connection: LinkConnection, frame: Frame): void {
    if (connection !== this.#connection) return;
    switch (frame.type) {
      case MessageType.attached: {
        const body = parseBody(frame, attachedSchema);
        if (!body.ok) connection.breach('mirror', body.reason);
        else if (body.value.attachId === this.#attachId) this.#onAttached(body.value);
        return;
      }
      case MessageType.description:
        this.#onDescription(connection, frame);
        return;
      case MessageType.detach: {
        const body = parseBody(frame, detachSchema);
        if (!body.ok) connection.breach('mirror', body.reason);
        else if (body.value.attachId === this.#attachId) this.stopCopy(`${this.node}: ${body.value.reason}`, retryMs);
        return;
      }
      case MessageType.answer: {
        const body = decodeAnswer(frame);
        if (!body.ok) connection.breach('mirror', body.reason);
        else if (body.value.attachId === this.#attachId && this.flowing) this.#onAnswer(body.value);
        return;
      }
      case MessageType.fault: {
        const body = decodeFault(frame);
        if (!body.ok) connection.breach('mirror', body.reason);
        else if (body.value.attachId === this.#attachId && this.flowing) this.#onFault(body.value);
        return;
      }
      case MessageType.fetched: {
        const body = decodeFetched(frame);
        if (!body.ok) connection.breach('mirror', body.reason);
        else this.#onFetched(body.value);
        return;
      }
      case MessageType.promise: {
        const body = decodePromise(frame);
        if (!body.ok) connection.breach('mirror', `promise: ${body.reason}`);
        else if (body.value.attachId === this.#attachId && this.#attached !== null)
          this.#owner.promised(this.node, body.value.token, body.value.durationMs);
        return;
      }
      default:
        connection.breach('mirror', `a frame of type ${frame.type} is not for an owner`);
    }
  }

  /** Sends what has been stamped. Called at the end of a turn, and when the connection has room again. */
  send(): void {
    const connection = this.#connection;
    if (this.phase === 'merging') this.#merger?.run();
    if (connection === null || !this.flowing || this.phase === 'merging') return;
    const { history } = this.#owner;
    if (this.#next < history.next) this.#toldStable = this.#owner.stable;
    while (this.#next < history.next && connection.unsentBytes < unsentBytesMax) {
      const batch: StreamRecord[] = [];
      let bytes = 0;
      while (this.#next < history.next && batch.length < recordsPerFrameMax && bytes < frameBytesMax) {
        const change = history.at(this.#next++);
        batch.push(change.onlyFor === null || change.onlyFor === this.node ? change : skipped(change));
        if (change.data !== null) bytes += change.length;
      }
      this.#sendRecords(batch);
    }
  }

  #sendRecords(records: readonly StreamRecord[]): void {
    const { lineage, last: stamped, stable } = this.#owner;
    const { generation } = lineage;
    this.#connection?.send(encodeRecords({ attachId: this.#attachId, generation, stamped, stable }, records));
    const newest = records.at(-1);
    if (newest === undefined) return;
    this.#lastSent = positionOf(newest);
    this.#owesSinceMs ??= this.#owner.environment.clock.monotonicMs();
  }

  /** Asks the target's node not to take over for a while. False: it cannot be asked. */
  askPromise(token: number): boolean {
    const connection = this.#connection;
    if (connection === null || this.#attached === null || !connection.features.includes(promisesFeature))
      return false;
    connection.gather(encodeAskPromise({ attachId: this.#attachId, token }));
    return true;
  }

  /** Bookmarks bear their places: the target needs them once, in whatever company they travel. */
  sendMarks(marks: readonly Bookmark[]): void {
    if (marks.length > 0 && this.flowing)
      this.#connection?.send(encodeJson(MessageType.marks, { attachId: this.#attachId, marks }));
  }

  /** About once a second: tells the target of progress elsewhere, and has copies made durable. */
  tick(): void {
    if (this.#connection === null || !this.flowing || this.#commandTimedOut(this.#connection)) return;
    const agreed = this.#answersForReceipt === (this.#mode === 'receive');
    if (!agreed && this.phase === 'streaming' && this.recordClass !== 'behind') {
      this.attach();
      return;
    }
    const { stable, history, environment } = this.#owner;
    if (this.#next === history.next && comparePositions(stable, this.#toldStable) > 0) {
      this.#toldStable = stable;
      this.#sendRecords([]);
    }
    const catchesUp = this.#copier !== null || this.#merger !== null;
    const sinceMs = environment.clock.monotonicMs() - this.#lastSettleAtMs;
    if (catchesUp && this.#settlePosition === null && sinceMs >= settleIntervalMs) this.#settle(this.#told, false);
  }

  /** TL-4: the link may carry its echoes all the same; either alone is enough to give the connection up. */
  #commandTimedOut(connection: LinkConnection): boolean {
    const { commandTimeoutMs, environment } = this.#owner;
    if (commandTimeoutMs === null || this.#owesSinceMs === null) return false;
    if (environment.clock.monotonicMs() - this.#owesSinceMs < commandTimeoutMs) return false;
    connection.close(`command timer: ${this.node} has answered no record for ${commandTimeoutMs} ms`);
    return true;
  }

  /** The record no longer counts on the leg: from here on its bits remember what it lacks. */
  beginTracking(): void {
    if (this.tracking) return;
    this.tracking = true;
    const { history } = this.#owner;
    for (let ordinal = Math.max(this.appliedOrdinal + 1, history.first); ordinal < history.next; ordinal++) {
      const change = history.at(ordinal);
      if (change.length > 0 && change.onlyFor === null) this.track(change.volume, change.offset, change.length);
    }
    const begins = this.appliedOrdinal === 0 ? this.#completedFrom : null;
    const reached = this.#merged ? this.#told : (begins ?? history.positionAt(this.appliedOrdinal));
    if (!this.#merged) this.#lostAt = reached;
    // A merge that has not come up to where the leg was lost leaves gaps that no bit names.
    else if (this.#lostAt !== null) this.#lostAt = furtherOf(this.#lostAt, reached);
    this.#addUnconfirmed(this.#owner.markBefore(this.durableOrdinal));
    this.needsLog = !this.#copyAll && this.#owner.logFrom(reached);
    if (!this.#knownBehind) this.#tellOthers();
  }

  /** The log takes the place of a link that is too slow: the leg is attached anew, and merged. */
  divert(): void {
    this.congested = false;
    this.#drop('hosts write more than its link takes; it follows from the log');
    this.attach();
  }

  /** The log does not hold any more what the leg misses. */
  logLost(reason: string): void {
    this.needsLog = false;
    if (this.merging) this.stopCopy(`it cannot be merged: ${reason}`, 0);
  }

  /** All must be copied anew. */
  markAll(): void {
    this.#copyAll = true;
    this.needsLog = false;
    for (const bitmap of this.bits.values()) bitmap.setAll();
  }

  /** A change that this leg stored and the owner could not, or not wholly: made equal again by a copy. */
  repair(volume: number, offset: number, length: number): void {
    this.track(volume, offset, length);
    this.#copier?.repaired(volume, offset, length);
    if (this.phase !== 'streaming') return;
    this.#copy('resync');
    this.#tellOthers();
  }

  /**
   * Asks an attached target what it may hold beyond our history, by volume. Resolves null when it is lost first.
   * @param hot false: its hot regions are of the common history, and not asked for
   */
  describe({ hot }: { readonly hot: boolean }): Promise<ReadonlyMap<number, ExtentSet> | null> {
    const connection = this.#connection;
    if (connection === null || this.phase !== 'attached') return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#described = (extents) => {
        this.#described = null;
        resolve(extents);
      };
      connection.send(encodeJson(MessageType.describe, { attachId: this.#attachId, hot }));
    });
  }

  /** It holds exactly what the own leg holds: nothing is remembered against it. */
  isEqual(): void {
    this.tracking = false;
    this.#owner.leg.isEqualTo(this.node);
  }

  /** What it lacks after the position, if it kept all it had, is the step that the history begins with. */
  completeFrom(position: Position): void {
    this.isEqual();
    this.#completedFrom = position;
  }

  /** Where in the history what it lacks begins; null when it is not held. */
  #ordinalOf({ position, intended, held, condition }: Extract<Attached, { ok: true }>): number | null {
    const { history } = this.#owner;
    const ordinal = history.ordinalOf(position);
    if (ordinal !== null) return ordinal + 1 >= history.first ? ordinal : null;
    const from = this.#completedFrom;
    const keptAll = held && condition === 'consistent' && comparePositions(position, intended) === 0;
    const begins = history.first === 1 && comparePositions(position, history.positionAt(1)) < 0;
    return from !== null && keptAll && begins && comparePositions(position, from) >= 0 ? 0 : null;
  }

  /** Reads the target's copy. Resolves null when it cannot be read. */
  fetch(volume: number, offset: number, length: number): Promise<Fetched | null> {
    const connection = this.#connection;
    if (connection === null || this.phase !== 'attached') return Promise.resolve(null);
    const requestId = this.#owner.newId(0);
    return new Promise((resolve) => {
      this.#fetches.set(requestId, resolve);
      connection.send(encodeFetch({ attachId: this.#attachId, requestId, volume, offset, length }));
    });
  }

  /** Goes on with an attached target, once the group is open and the record allows it. */
  proceed(): void {
    const target = this.#attached;
    if (target === null || this.phase !== 'attached' || this.#described !== null || !this.#owner.established) return;
    const { leg, lineage, last } = this.#owner;
    const peer = leg.state.peers[this.node];
    const decision = decideAttach(
      {
        lineage,
        last,
        ownDurable: leg.state.durable,
        confirmed: peer?.confirmed ?? { generation: 0, seq: 0 },
        known: peer?.known ?? false,
        historyFollows: this.#ordinalOf(target) !== null,
        logFollows: (position) => !this.#copyAll && this.#owner.log?.covers(position) === true,
        tracking: this.tracking,
        bitsSet: this.bitsSet,
        lostAt: this.#lostAt,
      },
      target,
    );
    switch (decision.kind) {
      case 'deposed':
        this.#owner.deposed(decision.reason);
        return;
      case 'wentBack':
        this.#owner.wentBack(this.node, decision.reason);
        return;
      case 'continue':
        this.#start(target, 'continue', decision.from);
        return;
      case 'merge':
        if (this.recordClass === 'behind') this.#start(target, 'merge', decision.from);
        else this.#mustFallBehind('it is brought up from the log');
        return;
      case 'resync':
        this.needsLog = false;
        if (this.recordClass !== 'behind') {
          this.#mustFallBehind(decision.reason);
          return;
        }
        if (decision.what === 'all') {
          this.markAll();
        } else if (decision.what === 'bitsAndHot') {
          for (const [volume, bitmap] of this.#unconfirmed) this.bits.get(volume)?.union(bitmap);
          void this.describe({ hot: true }).then((extents) => {
            if (extents === null) return;
            this.#owner.leg.remember(this.node, extents);
            this.#resync(target, decision);
          });
          return;
        }
        this.#resync(target, decision);
        return;
    }
  }

  /** R13: nothing may be acknowledged on the strength of a leg that lacks something. */
  #mustFallBehind(reason: string): void {
    this.failed = true;
    this.reason = reason;
    this.#owner.review();
  }

  /** The attachment cannot go on; it is tried again. */
  stopCopy(reason: string, afterMs = spaceRetryMs): void {
    this.#drop(reason);
    this.#refused(reason, afterMs);
  }

  /** Nothing is sent or copied until the next attachment. */
  suspend(reason: string): void {
    this.#drop(reason);
  }

  /** Lets go of the target for good. */
  close(reason: string): void {
    const connection = this.#connection;
    if (connection !== null && this.phase !== 'detached') {
      connection.send(encodeJson(MessageType.detach, { attachId: this.#attachId, reason }));
    }
    this.#drop(reason);
    this.#connection = null;
  }

  #resync(
    target: Extract<Attached, { ok: true }>,
    { what, fork, reason }: Extract<AttachDecision, { kind: 'resync' }>,
  ): void {
    if (this.phase !== 'attached') return;
    // The bits, complete now, must outlive us before the target gives up its own.
    const attachId = this.#attachId;
    // It will be durable where the resync begins, which is less if it was on a fork.
    const { last } = this.#owner;
    const confirmed = comparePositions(target.durable, last) < 0 ? target.durable : last;
    this.#owner.leg.metadata.changePeer(this.node, { known: true, confirmed });
    this.#owner.leg.saveBits().then(
      () => {
        if (attachId !== this.#attachId || this.phase !== 'attached') return;
        this.reason = reason;
        this.#start(target, 'resync', this.#owner.last, { fork, all: what === 'all' });
      },
      () => this.#refused('the change bits cannot be saved', retryMs),
    );
  }

  #start(
    target: Extract<Attached, { ok: true }>,
    how: 'continue' | 'merge' | 'resync',
    from: Position,
    { fork, all } = { fork: false, all: false },
  ): void {
    const connection = this.#connection;
    const { history, lineage } = this.#owner;
    if (connection === null) return;
    const goesOn = how === 'continue' && comparePositions(from, target.position) === 0;
    const ordinal = (goesOn ? this.#ordinalOf(target) : history.ordinalOf(from)) ?? history.next - 1;
    this.#next = ordinal + 1;
    this.appliedOrdinal = ordinal;
    this.receivedOrdinal = ordinal;
    this.#answersForReceipt = this.#toldMode === 'receive';
    this.durableOrdinal = history.ordinalOf(target.durable) ?? 0;
    this.lostAtMs = null;
    this.#toldStable = origin;
    this.#owesSinceMs = null;
    this.#told = from;
    this.#merged = how === 'merge';
    this.congested = false;
    this.failed = false;
    this.imageKept = null;
    const body: Start = {
      attachId: this.#attachId,
      how: how === 'resync' ? 'resync' : 'continue',
      lineage,
      from,
      confirmAt: this.#owner.last,
      wholeUpTo: this.#owner.wholeUpTo,
      fork,
      all,
    };
    connection.send(encodeJson(MessageType.start, body));
    this.phase = startPhases[how];
    for (const other of this.#owner.legs) this.#tell(other);
    if (how === 'merge') {
      this.#merge(from);
      this.sendMarks(this.#owner.leg.state.marks);
      this.#owner.review();
      return;
    }
    this.tracking = false;
    for (const bitmap of this.#unconfirmed.values()) bitmap.clearAll();
    if (how === 'resync') {
      this.durableOrdinal = ordinal;
      this.#copy(target.blank ? 'fullCopy' : 'resync', target.blank);
    } else {
      this.#owner.leg.metadata.confirm(this.node, target.durable);
      this.reason = '';
      this.#tellOthers();
    }
    this.sendMarks(this.#owner.leg.state.marks);
    this.#owner.advanced(this, 0, this.answered);
    this.send();
    this.#owner.review();
  }

  /** Bits go on to be set, and are cleared only once all has been merged: without the log they are what remains. */
  #merge(from: Position): void {
    const { log, environment, mergeGain } = this.#owner;
    if (log === null) return;
    this.reason = 'what it missed is replayed from the log';
    this.needsLog = true;
    this.#lastSettleAtMs = environment.clock.monotonicMs();
    this.#merger = new Merger({
      log,
      after: from,
      gain: this.mode === 'async' ? 0 : mergeGain,
      clock: environment.clock,
      hasRoom: () => (this.#connection?.unsentBytes ?? mergeUnsentBytesMax) < mergeUnsentBytesMax,
      send: (records) => this.#sendRecords(records),
      nearEnd: () => this.#keepInMemory(),
      finished: () => {
        this.#endMerge();
        // The last stamps before may be copies for another leg, which are in no log: this leg passes them by.
        const { generation, seq } = this.#owner.history.positionAt(this.#next - 1);
        if (seq > 0) this.#sendRecords([skipped({ generation, epoch: seq, seq })]);
        this.phase = 'settling';
        this.#settle(this.#owner.last, true);
      },
      failed: (reason) => this.#owner.logUnreadable(reason),
    });
    this.#merger.run();
  }

  /** The end of the log is near: what is stamped from now on is kept in memory for the leg. */
  #keepInMemory(): void {
    const { history } = this.#owner;
    const newest = history.next - 1;
    this.#next = history.next;
    this.appliedOrdinal = newest;
    this.receivedOrdinal = newest;
    this.durableOrdinal = 0;
    this.tracking = false;
  }

  /** Memory has become too short for it: the log is read on. */
  keepInLog(): void {
    if (this.#merger === null || this.tracking) return;
    this.#merger.goBack();
    this.beginTracking();
  }

  #endMerge(): void {
    this.#merger?.stop();
    this.#merger = null;
    this.#owner.mergeMoved();
  }

  /** The other targets learn how this leg stands (HG-7). */
  #tellOthers(): void {
    this.#knownBehind = this.behind;
    for (const other of this.#owner.legs) other.#tell(this);
  }

  #tell(other: SourceLeg): void {
    const connection = this.#connection;
    if (other === this || connection === null || !this.flowing) return;
    const { leg } = this.#owner;
    const peer = leg.state.peers[other.node];
    const standing = {
      attachId: this.#attachId,
      node: other.node,
      known: peer?.known === true,
      behind: other.behind,
      confirmed: peer?.confirmed ?? origin,
    };
    connection.send(encodeStanding(standing, other.behind ? leg.named(other.node) : new Map<number, ExtentSet>()));
  }

  #copy(kind: 'fullCopy' | 'resync', blank = false): void {
    this.phase = 'copying';
    this.#lastSettleAtMs = this.#owner.environment.clock.monotonicMs();
    this.#copier = new Copier(this.#owner, {
      target: this.node,
      bits: this.bits,
      kind,
      skipHoles: blank,
      finished: () => {
        this.phase = 'settling';
        this.#settle(this.#owner.last, true);
      },
    });
    this.#copier.run();
  }

  #settle(position: Position, consistent: boolean): void {
    this.#lastSettleAtMs = this.#owner.environment.clock.monotonicMs();
    if (consistent) this.#settlePosition = position;
    this.send();
    const ownerDurable = this.#owner.leg.metadata.saved?.durable ?? { generation: 0, seq: 0 };
    const body: Settle = { attachId: this.#attachId, position, consistent, ownerDurable };
    this.#connection?.send(encodeJson(MessageType.synced, body));
  }

  /** Has the target make all it holds durable, for a clean stop or so that regions may cool. */
  settleNow(): void {
    if (this.phase === 'streaming') this.#settle(this.#owner.history.positionAt(this.appliedOrdinal), false);
  }

  #onAttached(attached: Attached): void {
    if (this.phase !== 'attaching') return;
    this.#retry?.cancel();
    this.#retry = null;
    if (!attached.ok) {
      if (attached.code === 'newerGeneration') this.#owner.deposed(`${this.node}: ${attached.reason}`);
      this.#refused(attached.reason, retryMs);
      return;
    }
    this.#attached = attached;
    this.image = attached.image;
    this.phase = 'attached';
    this.reason = 'attached, waiting to go on';
    this.proceed();
    this.#owner.review();
  }

  #onDescription(connection: LinkConnection, frame: Frame): void {
    const body = parseBody(frame, descriptionSchema);
    if (!body.ok) {
      connection.breach('mirror', body.reason);
      return;
    }
    if (body.value.attachId !== this.#attachId || this.#described === null) return;
    const extents = decodeExtents(body.value.volumes, frame.pieces);
    if (extents.ok) this.#described(extents.value);
    else connection.breach('mirror', `description: ${extents.reason}`);
  }

  #onAnswer(answer: Answer): void {
    const { history, leg } = this.#owner;
    const received = history.ordinalOf(answer.received);
    const applied = history.ordinalOf(answer.applied);
    const durable = history.ordinalOf(answer.durable);
    const before = this.answered;
    const gotOn = comparePositions(answer.applied, this.#told) > 0 || (received ?? 0) > this.receivedOrdinal;
    if (comparePositions(answer.applied, this.#told) > 0) this.#told = answer.applied;
    if (this.#merger !== null) {
      leg.metadata.confirm(this.node, answer.durable);
      this.#merger.applied(answer.applied);
      this.#owner.mergeMoved();
    }
    if (received !== null && received > this.receivedOrdinal) this.receivedOrdinal = received;
    if (applied !== null && applied > this.appliedOrdinal) this.appliedOrdinal = applied;
    // Also where the history begins: there it may have had something in its page cache only.
    if (durable !== null) leg.metadata.confirm(this.node, answer.durable);
    if (durable !== null && durable > this.durableOrdinal) {
      this.durableOrdinal = durable;
      this.#copier?.durable(durable);
    }
    this.#copier?.applied(this.appliedOrdinal);
    this.#owner.advanced(this, before, this.answered);
    const owes = comparePositions(this.#told, this.#lastSent) < 0;
    if (!owes) this.#owesSinceMs = null;
    else if (gotOn) this.#owesSinceMs = this.#owner.environment.clock.monotonicMs();
    const settle = this.#settlePosition;
    const consistent = (answer.flags & answerFlags.consistent) !== 0;
    if (!consistent) this.imageKept = (answer.flags & answerFlags.imageKept) !== 0;
    if (settle !== null && consistent && comparePositions(answer.durable, settle) >= 0) this.#settled();
  }

  /** The copy has ended and is durable: the leg lacks nothing but what is in flight. */
  #settled(): void {
    this.#settlePosition = null;
    this.#copier = null;
    const { leg } = this.#owner;
    leg.metadata.changePeer(this.node, { known: true });
    // What the bits named has been merged, and is durable there.
    if (this.#merged) leg.isEqualTo(this.node);
    this.#merged = false;
    this.#copyAll = false;
    this.needsLog = false;
    this.#owner.reviewLog();
    if (this.bitsSet) {
      // Something was repaired meanwhile.
      this.#copy('resync');
      return;
    }
    this.phase = 'streaming';
    this.reason = '';
    // What it was told of others while it was being copied to had no base yet.
    for (const other of this.#owner.legs) this.#tell(other);
    this.#tellOthers();
    // Only then may it join: bits that were stale after a restart would take it out again.
    this.#joining = leg.saveBits().then(
      () => {
        this.#joining = null;
        this.#owner.review();
      },
      () => {
        this.#joining = null;
      },
    );
  }

  /** Whether the record may call it in sync, or within its bound. */
  get complete(): boolean {
    return !this.congested && this.phase === 'streaming' && this.#joining === null && !this.failed;
  }

  #onFault(fault: LegFault): void {
    const space = fault.kind === 'noSpace';
    this.failed = true;
    if (fault.length > 0) this.track(fault.volume, fault.offset, fault.length);
    this.#drop(space ? `${this.node} has no space left: ${fault.detail}` : `${this.node}: ${fault.detail}`);
    this.#refused(this.reason, space ? spaceRetryMs : retryMs);
    this.#owner.review();
  }

  #onFetched(fetched: Fetched): void {
    const resolve = this.#fetches.get(fetched.requestId);
    this.#fetches.delete(fetched.requestId);
    this.#owner.forgetId(fetched.requestId);
    resolve?.(fetched);
  }

  #refused(reason: string, afterMs: number): void {
    this.phase = 'refused';
    this.reason = reason;
    this.#retry?.cancel();
    this.#retry = this.#owner.environment.clock.after(afterMs, () => {
      if (this.phase === 'refused') this.attach();
    });
    this.#owner.review();
  }

  #drop(reason: string): void {
    this.#retry?.cancel();
    this.#retry = null;
    const wasFlowing = this.flowing;
    this.phase = 'detached';
    this.reason = reason;
    this.#attached = null;
    this.#settlePosition = null;
    this.#owesSinceMs = null;
    this.#copier?.stop();
    const wasCopying = this.#copier !== null;
    this.#copier = null;
    this.#endMerge();
    this.lostAtMs ??= this.#owner.environment.clock.monotonicMs();
    const fetches = [...this.#fetches];
    this.#fetches.clear();
    for (const [id, resolve] of fetches) {
      this.#owner.forgetId(id);
      resolve(null);
    }
    this.#described?.(null);
    // A leg that was being copied to is behind already: what comes now is remembered by bits at once.
    if (wasFlowing && (wasCopying || this.recordClass === 'behind')) this.beginTracking();
    this.#owner.review();
  }

  #addUnconfirmed(sinceMark: number): void {
    const { leg } = this.#owner;
    for (const { volume, offset, length } of leg.hot.extents(sinceMark)) {
      this.#unconfirmed.get(volume)?.setClipped(offset, length);
    }
  }
}

function skipped({ generation, epoch, seq }: Pick<StreamRecord, 'generation' | 'epoch' | 'seq'>): StreamRecord {
  return {
    kind: 'skip',
    generation,
    epoch,
    seq,
    volume: 0,
    offset: 0,
    length: 0,
    hole: false,
    data: null,
    checksum: 0,
  };
}
