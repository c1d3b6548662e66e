/**
 * The target's end of a mirror: a leg on this node that applies what the group's owner sends.
 *
 * Invariants:
 * - Nothing of a generation older than one ever seen is applied (R12), and nothing of an earlier attachment once a newer
 *   one has begun: what it still held is dropped, what a disk already had is waited for before `attached` is answered.
 * - Records are applied in stamp order, each once: one at or below the cursor, or already held, is answered and dropped.
 * - A cursor is told to the owner only after it is where a restart finds it (`LegCursor`, metadata).
 * - From before the first copy of a resync until its settlement is durable, the leg is `inconsistent` on its medium.
 */
import type { z } from 'zod';
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import { payloadMemory } from '../base/payload-memory.ts';
import type { EndTask } from '../base/turn.ts';
import type { BlockFault } from '../block/device.ts';
import type { Frame } from '../link/frame.ts';
import type { LinkConnection } from '../link/link.ts';
import { encodeAnswer, encodeFault } from '../link/messages/answer.ts';
import { decodeFetch, encodeFetched } from '../link/messages/fetch.ts';
import { decodeJson, encodeJson } from '../link/messages/json.ts';
import { decodeRecords, verifyRecordData } from '../link/messages/records.ts';
import { decodeAskPromise, encodePromise } from '../link/messages/promise.ts';
import { MessageType } from '../link/messages/types.ts';
import { ApplyQueue } from '../stream/apply-queue.ts';
import { Fifo } from '../stream/fifo.ts';
import { comparePositions, formatPosition, furtherOf, nearerOf, origin, type Position } from '../stream/position.ts';
import { positionOf, type StreamRecord } from '../stream/record.ts';
import type { Decoded } from '../base/codec.ts';
import type { LastImage } from '../volume/last-image.ts';
import type { Extent } from '../volume/extents.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import type { ForkKeeper } from './fork-keeper.ts';
import {
  answerFlags,
  attachSchema,
  describeSchema,
  detachSchema,
  marksSchema,
  settleSchema,
  standingSchema,
  startSchema,
  wholeBytesMax,
  type Attach,
  type Attached,
  type Detach,
  type Settle,
  type Standing,
  type Start,
} from './messages.ts';
import { decodeExtents, OtherLegs } from './other-legs.ts';

/** A record held by the leg, in the order of arrival. */
type Held = StreamRecord & { applied: boolean };

/** One owner's hold on this leg. */
interface Attachment {
  readonly connection: LinkConnection;
  readonly attach: Attach;
  readonly queue: ApplyQueue<Held>;
  /** Null until `start`; records that arrive before it are a breach. */
  started: Start | null;
  /** The metadata says what `start` demands; until then records wait. */
  ready: boolean;
  readonly early: Fifo<Held>;
  /** Records of a step that has not come whole yet; null when none is due. */
  whole: { readonly upTo: Position; readonly records: Held[]; bytes: number } | null;
  /** Once this is applied, a leg that is unconfirmed is an image again. */
  confirmAt: Position | null;
  /** False after its connection went: what has arrived is applied, nobody is told. */
  connected: boolean;
  /** A record could not be stored: later ones of its epoch may be there all the same. */
  failed: boolean;
  /** Settlements that wait for their position to be applied. */
  settling: Settle[];
  /** Frames whose records are being announced in the cursor, on their way to the queue. */
  accepting: number;
  /** Nothing more is started. */
  stopped: boolean;
}

export interface TargetLegOptions {
  readonly environment: Environment;
  readonly leg: LocalLeg;
  readonly forks: ForkKeeper;
  readonly images: LastImage;
  /**
   * False while this node is, or is becoming, the owner itself, and where the owner's generation is not the one this
   * node knows of (`store: none`).
   */
  readonly mayServe: (owner: string, generationId: string) => boolean;
  /** For how long this node promises its owner, from now on, not to take over; null: it does not (R16). Milliseconds. */
  readonly promise: () => number | null;
  /** A newer generation has been seen, or the state shown to people has changed. */
  readonly changed: () => void;
}

/** Longest wait for the leg to become idle between hot-region checkpoints under load. Milliseconds. */
const checkpointUnderLoadMs = 30_000;
const checkpointIdleMs = 2000;
/** While the hot map is full, checkpoints follow each other this closely. */
const pressureMs = 20;
const finishLookMs = 2;

export class TargetLeg implements EndTask {
  readonly #environment: Environment;
  readonly #leg: LocalLeg;
  readonly #options: TargetLegOptions;
  readonly #order = new Fifo<Held>();
  #attachment: Attachment | null = null;
  /** Resolves when nothing of ended attachments is in flight. */
  #quiet: Promise<unknown> = Promise.resolve();
  /** Ends the wait of an older attachment's successor when yet another one comes. */
  #attaching = 0;
  /** Applied records the cursor file does not know of yet. */
  #cursorDirty = false;
  #answerDue = false;
  #turnAsked = false;
  #cursorWriting = false;
  #received: Position = origin;
  #lastRecordAtMs = 0;
  #lastCheckpointAtMs = 0;
  #checkpointing = false;
  #closed = false;
  /** Marks of hot regions, the positions from which on they may cool, and what covers them against legs behind. */
  readonly #marks = new Fifo<{ mark: number; position: Position; token: number }>();
  readonly #others: OtherLegs;
  #stable: Position = origin;
  #stamped: Position | null = null;
  readonly #dropped = new Set<number>();

  constructor(options: TargetLegOptions) {
    this.#options = options;
    this.#environment = options.environment;
    this.#leg = options.leg;
    this.#others = new OtherLegs(options.leg);
    this.#leg.onPressure = () => void this.#checkpoint();
    this.#leg.onFault = (fault) => this.#legFailed(fault);
  }

  /** The owner that holds this leg now. */
  get owner(): { readonly node: string; readonly generation: number; readonly copying: boolean } | null {
    const held = this.#attachment;
    if (held?.connected !== true) return null;
    return {
      node: held.connection.peer,
      generation: held.attach.generation,
      copying: held.started?.how === 'resync' && this.#leg.state.condition === 'inconsistent',
    };
  }

  /** The newest position the owner has told of; null when none has this process. For loss statements. */
  get ownerStamped(): Position | null {
    return this.#stamped;
  }

  frame(connection: LinkConnection, frame: Frame): void {
    switch (frame.type) {
      case MessageType.attach:
        this.#parsed(connection, frame, attachSchema, (attach) => void this.#attach(connection, attach));
        return;
      case MessageType.describe:
        this.#mine(connection, frame, describeSchema, (held, { hot }) => this.#describe(held, hot));
        return;
      case MessageType.start:
        this.#mine(connection, frame, startSchema, (held, start) => void this.#start(held, start));
        return;
      case MessageType.standing:
        this.#mine(connection, frame, standingSchema, (held, standing) => this.#hear(held, standing, frame));
        return;
      case MessageType.synced:
        this.#mine(connection, frame, settleSchema, (held, settle) => this.#settle(held, settle));
        return;
      case MessageType.marks:
        this.#mine(connection, frame, marksSchema, (_held, { marks }) => {
          this.#leg.metadata.addBookmarks(marks);
          void this.#leg.save().catch(() => {});
        });
        return;
      case MessageType.detach:
        this.#mine(connection, frame, detachSchema, () => this.#release());
        return;
      case MessageType.records:
        this.#records(connection, frame);
        return;
      case MessageType.fetch:
        this.#fetch(connection, frame);
        return;
      case MessageType.askPromise:
        this.#promise(connection, frame);
        return;
      default:
        this.#breach(connection, `a frame of type ${frame.type} is not for a target`);
    }
  }

  connectionDown(connection: LinkConnection): void {
    if (this.#attachment?.connection === connection) this.#release();
  }

  /**
   * Lets go of the owner, and waits for what has arrived from it (R14). What the leg holds then is exact, unless it
   * resolves false: it has failed, or could not store what it had answered for. An owner may attach again.
   * @param patienceMs for metadata that cannot be saved just now, in mode `receive`.
   */
  async letGo(patienceMs = 0): Promise<boolean> {
    this.#attaching++;
    const held = this.#attachment;
    if (held?.connected === true) this.#detached(held.connection, held.attach.attachId);
    const kept = await this.#quiesce(patienceMs);
    return kept && this.#leg.fault === null;
  }

  /** The same, for good: the leg is another's from here on. */
  close(): Promise<boolean> {
    this.#closed = true;
    return this.letGo();
  }

  /** The volume leaves the group: what still comes for it is let pass without effect. */
  async dropVolume(volume: number): Promise<void> {
    this.#dropped.add(volume);
    this.#attaching++;
    this.#attachment?.connection.close('a volume is being deleted');
    await this.#quiesce();
  }

  /** Called about once a second. */
  tick(): void {
    const now = this.#environment.clock.monotonicMs();
    const moved = comparePositions(this.#leg.applied, this.#leg.state.durable) > 0;
    const idle = now - this.#lastRecordAtMs >= checkpointIdleMs;
    if ((moved || this.#marksPending()) && (idle || now - this.#lastCheckpointAtMs >= checkpointUnderLoadMs)) {
      void this.#checkpoint();
    }
  }

  endOfTurn(): void {
    this.#turnAsked = false;
    if (this.#closed) return;
    if (!this.#cursorDirty) {
      if (this.#answerDue) this.#answer();
      return;
    }
    if (this.#cursorWriting) return;
    this.#cursorDirty = false;
    this.#cursorWriting = true;
    this.#leg.noteCursor(() => {
      this.#cursorWriting = false;
      this.#answerDue = true;
      if (this.#cursorDirty) this.#askForTurn();
      else this.#answer();
    });
  }

  async #attach(connection: LinkConnection, attach: Attach): Promise<void> {
    const leg = this.#leg;
    const { generation, generationId: id } = attach;
    const turn = ++this.#attaching;
    const refuse = (code: Extract<Attached, { ok: false }>['code'], reason: string): void => {
      const refusal: Attached = {
        attachId: attach.attachId,
        ok: false,
        code,
        reason,
        seen: leg.state.seen.generation,
      };
      connection.send(encodeJson(MessageType.attached, refusal));
    };
    const { seen } = leg.state;
    if (generation < seen.generation || (generation === seen.generation && id !== seen.id)) {
      refuse('newerGeneration', `generation ${seen.generation} is known here, this is ${generation}`);
      return;
    }
    // While a leg that stops still applies what has arrived, the owner may ask again.
    if (this.#closed || !this.#options.mayServe(connection.peer, id)) {
      refuse('busy', 'this node is the owner itself, is becoming it, knows another one, or stops');
      return;
    }
    const difference = this.#difference(attach);
    if (difference !== null) {
      refuse('volumesDiffer', difference);
      return;
    }
    await this.#quiesce();
    if (turn !== this.#attaching) return;
    if (leg.fault !== null) {
      refuse('failed', leg.fault.detail);
      return;
    }
    try {
      await leg.see(generation, id);
    } catch {
      refuse('failed', leg.trouble ?? 'metadata cannot be saved');
      return;
    }
    if (turn !== this.#attaching) return;
    if (!this.#options.mayServe(connection.peer, id)) {
      refuse('busy', 'this node is becoming the owner itself, or knows another one');
      return;
    }
    const queue = new ApplyQueue<Held>({
      turn: this.#environment.turn,
      strict: true,
      device: (volume) => leg.device(volume),
      gate: leg.hot,
      applied: (record, fault) => this.#applied(held, record, fault),
      prepare: (record, proceed) => {
        if (this.#options.forks.active) this.#options.forks.keep(record, proceed);
        else proceed();
      },
    });
    const held: Attachment = {
      connection,
      attach,
      queue,
      started: null,
      ready: false,
      early: new Fifo(),
      whole: null,
      confirmAt: null,
      connected: true,
      failed: false,
      settling: [],
      accepting: 0,
      stopped: false,
    };
    this.#attachment = held;
    this.#received = leg.applied;
    const peer = leg.state.peers[connection.peer];
    const answer: Attached = {
      attachId: attach.attachId,
      ok: true,
      position: leg.applied,
      lineage: leg.state.lineage,
      intended: leg.intended,
      // Only what a start after power loss would find: the owner forgets what it kept (R5).
      durable: nearerOf(leg.state.durable, leg.metadata.saved?.durable ?? origin),
      condition: leg.state.condition,
      held: leg.held,
      blank: leg.blank,
      known: peer?.known ?? false,
      ownerConfirmed: peer?.confirmed ?? origin,
      image: this.#options.images.outlook,
    };
    connection.send(encodeJson(MessageType.attached, answer));
    this.#options.changed();
  }

  /** What keeps this leg from serving that owner; null when nothing does. */
  #difference(attach: Attach): string | null {
    const mine = [...this.#leg.volumes].map(({ entry }) => entry);
    for (const theirs of attach.volumes) {
      const own = mine.find((volume) => volume.index === theirs.index);
      if (own === undefined) return `volume number ${theirs.index} is not known here yet`;
      if (own.wwid !== theirs.wwid)
        return `volume ${own.name} has WWID ${own.wwid} here, ${theirs.wwid} at the owner`;
      if (own.sizeBytes !== theirs.sizeBytes) {
        return `volume ${own.name} has ${own.sizeBytes} bytes here, ${theirs.sizeBytes} at the owner`;
      }
    }
    return null;
  }

  /**
   * Ends the attachment: nothing more is started, and what is in flight has completed when it resolves — what an earlier
   * call still waits for, too. False: what was answered for on receipt had to be dropped.
   */
  #quiesce(patienceMs = 0): Promise<boolean> {
    const held = this.#attachment;
    const leg = this.#leg;
    this.#attachment = null;
    const quiet = this.#quiet.then(async () => {
      const kept = held === null || (await this.#finish(held, patienceMs)) || held.attach.mode !== 'receive';
      if (held !== null) this.#confirmReached(held);
      this.#order.drain();
      this.#marks.drain();
      if (!kept) {
        // As after loss of power: it lacks what it said it had, until the owner has sent it again (R6).
        if (leg.state.condition === 'consistent') leg.metadata.change({ condition: 'unconfirmed' });
        void leg.save().catch(() => {});
      } else if (held?.failed === false) {
        // Records dropped before they started were announced as intended; the leg holds no part of them.
        leg.intended = leg.applied;
      }
      return kept;
    });
    this.#quiet = quiet;
    return quiet;
  }

  /**
   * Applies what has arrived: it follows in order, and in mode `receive` it was answered for. Only a leg that cannot go on
   * drops it, and resolves false then. What a disk has been given is waited for in any case.
   */
  async #finish(held: Attachment, patienceMs: number): Promise<boolean> {
    const leg = this.#leg;
    const { clock } = this.#environment;
    const deadlineMs = clock.monotonicMs() + patienceMs;
    const waiting = (): boolean => held.accepting > 0 || held.queue.pending > 0;
    const failed = (): boolean => held.failed || leg.fault !== null;
    const stuck = (): boolean => leg.trouble !== null || leg.hot.full;
    while (waiting() && !failed() && (!stuck() || clock.monotonicMs() < deadlineMs)) {
      await new Promise<void>((resolve) => void clock.after(finishLookMs, resolve));
    }
    const kept = !waiting() && !failed();
    this.#stop(held);
    await new Promise<void>((resolve) => held.queue.whenIdle(resolve));
    return kept;
  }

  #stop(held: Attachment): void {
    if (held.stopped) return;
    held.stopped = true;
    held.queue.stop();
  }

  /** The connection is gone, or the owner let go: what has arrived is applied all the same. */
  #release(): void {
    const held = this.#attachment;
    if (held === null) return;
    held.connected = false;
    if (!held.ready) {
      this.#attaching++;
      void this.#quiesce().then(() => this.#options.changed());
      return;
    }
    this.#options.changed();
  }

  /** How another leg stands: it is told before any record that relies on it. */
  #hear(held: Attachment, standing: Standing, frame: Frame): void {
    const { started, ready } = held;
    const named = decodeExtents(standing.volumes, frame.pieces);
    if (started === null) this.#breach(held.connection, 'told of other legs before it was started');
    else if (!named.ok) this.#breach(held.connection, `standing: ${named.reason}`);
    else {
      // Until the leg is ready, its condition is that of before the start.
      const whole = this.#leg.state.condition === 'consistent' && (ready || started.how === 'continue');
      this.#others.hear(standing, named.value, whole);
    }
  }

  #describe(held: Attachment, hot: boolean): void {
    const { peer } = held.connection;
    const sets = hot ? this.#leg.mayDiffer(peer) : this.#leg.named(peer);
    const body = { attachId: held.attach.attachId, volumes: [...sets.keys()] };
    const pieces = [...sets.values()].map((set) => set.encode());
    held.connection.send(encodeJson(MessageType.description, body, pieces));
  }

  async #start(held: Attachment, start: Start): Promise<void> {
    if (held.started !== null) {
      this.#breach(held.connection, 'a leg was started twice');
      return;
    }
    if (start.lineage.generation !== held.attach.generation) {
      this.#breach(held.connection, `a lineage of generation ${start.lineage.generation}`);
      return;
    }
    held.started = start;
    this.#others.ownedBy(held.connection.peer);
    const leg = this.#leg;
    // What it had under way as owner, before it crashed, tells nothing of what this owner makes of it.
    leg.outstanding = null;
    const resync = start.how === 'resync';
    if (resync || comparePositions(start.from, this.#received) > 0) this.#received = start.from;
    const image = resync ? await this.#options.images.keep(() => this.#attachment === held) : null;
    if (this.#attachment !== held) return;
    if (start.fork) this.#options.forks.begin(leg.state.lineage, start.lineage);
    // What is applied from now on lies on the owner's lineage. A resync begins at `from`, whatever was held before.
    leg.metadata.change({
      lineage: start.lineage,
      owning: false,
      logAhead: null,
      image,
      ...(resync ? { condition: 'inconsistent' as const, durable: start.from, wentBack: null } : {}),
    });
    if (start.all) leg.metadata.forgetPeers();
    // The owner's bits, which it has completed by now, name all in which the two differ, however far the copy gets.
    if (resync) leg.metadata.changePeer(held.connection.peer, { known: true });
    try {
      await leg.save();
    } catch {
      held.connection.close('metadata cannot be saved');
      return;
    }
    if (this.#attachment !== held) return;
    if (comparePositions(start.from, leg.applied) > 0 || resync) {
      leg.applied = start.from;
      leg.intended = start.from;
    }
    try {
      if (!(await leg.trustCursor()) || this.#attachment !== held) return;
    } catch {
      held.connection.close('metadata cannot be saved');
      return;
    }
    const { wholeUpTo, confirmAt } = start;
    held.confirmAt = confirmAt;
    if (wholeUpTo !== null && comparePositions(leg.applied, wholeUpTo) < 0)
      held.whole = { upTo: wholeUpTo, records: [], bytes: 0 };
    held.ready = true;
    this.#cursorDirty = true;
    this.#confirmReached(held);
    this.#take(held, held.early.drain());
    this.#settleReached(held);
    this.#askForTurn();
    this.#options.changed();
  }

  #records(connection: LinkConnection, frame: Frame): void {
    const held = this.#attachment;
    const decoded = decodeRecords(frame);
    if (!decoded.ok) {
      this.#breach(connection, decoded.reason);
      return;
    }
    const { attachId, generation, stamped, stable, records } = decoded.value;
    if (held?.connection !== connection || held.attach.attachId !== attachId) {
      this.#detached(connection, attachId);
      return;
    }
    if (generation !== held.attach.generation || held.started === null) {
      this.#breach(connection, `records of generation ${generation} under an attachment that does not allow them`);
      return;
    }
    this.#stamped = stamped;
    this.#nowStable(stable);
    const fresh: Held[] = [];
    for (const sent of records) {
      const record = this.#dropped.has(sent.volume) ? passed(sent) : sent;
      // Re-sent after a reconnect, and held or applied already: answered with the next cursor, and dropped (R2).
      if (comparePositions(positionOf(record), this.#received) <= 0) continue;
      if (record.kind !== 'skip' && !this.#leg.has(record.volume)) {
        this.#breach(
          connection,
          `record ${record.generation}:${record.seq} is for volume ${record.volume}, unknown here`,
        );
        return;
      }
      if (!verifyRecordData(record)) {
        this.#breach(connection, `record ${record.generation}:${record.seq} does not match its checksum`);
        return;
      }
      this.#received = positionOf(record);
      fresh.push({ ...record, applied: false });
    }
    this.#answerDue = true;
    this.#askForTurn();
    if (fresh.length === 0) return;
    if (held.ready) this.#take(held, fresh);
    else for (const record of fresh) held.early.push(record);
  }

  /** Records of a step wait until all of it has come. */
  #take(held: Attachment, records: readonly Held[]): void {
    const { whole } = held;
    if (whole === null) {
      this.#accept(held, records);
      return;
    }
    for (const record of records) {
      whole.records.push(record);
      whole.bytes += record.data?.length ?? 0;
    }
    const last = whole.records.at(-1);
    if (last === undefined || comparePositions(positionOf(last), whole.upTo) < 0) {
      if (whole.bytes > wholeBytesMax)
        this.#breach(
          held.connection,
          `a step of more than ${wholeBytesMax} bytes, up to ${formatPosition(whole.upTo)}`,
        );
      return;
    }
    held.whole = null;
    if (this.#leg.state.condition === 'consistent') {
      // Until it is applied: no moment of the group looked like the middle of it.
      this.#leg.metadata.change({ condition: 'unconfirmed' });
      held.confirmAt = whole.upTo;
    }
    this.#accept(held, whole.records);
  }

  /** Announces the records in the cursor, then applies them. */
  #accept(held: Attachment, records: readonly Held[]): void {
    const last = records.at(-1);
    if (last === undefined) return;
    const leg = this.#leg;
    this.#lastRecordAtMs = this.#environment.clock.monotonicMs();
    leg.intended = positionOf(last);
    for (const record of records) this.#others.track(record);
    held.accepting++;
    leg.noteCursor(() => {
      held.accepting--;
      if (held.stopped) return;
      for (const record of records) {
        this.#order.push(record);
        held.queue.push(record);
      }
    });
  }

  #applied(held: Attachment, record: Held, fault: BlockFault | null): void {
    if (fault !== null) {
      this.#failed(held, record, fault);
      return;
    }
    record.applied = true;
    if (record.data !== null) payloadMemory.give(record.data);
    while (this.#order.peek()?.applied === true) this.#advance();
  }

  #advance(): void {
    const record = this.#order.shift();
    if (record === undefined) return;
    this.#leg.applied = positionOf(record);
    this.#cursorDirty = true;
    this.#answerDue = true;
    this.#askForTurn();
    const held = this.#attachment;
    if (held === null) return;
    this.#settleReached(held);
    this.#confirmReached(held);
  }

  /** Everything the leg ever had has been applied again (R6), or a step has been applied whole. */
  #confirmReached({ confirmAt }: Attachment): void {
    const { metadata, state, applied } = this.#leg;
    if (state.condition !== 'unconfirmed' || confirmAt === null || comparePositions(applied, confirmAt) < 0) return;
    metadata.change({ condition: 'consistent' });
    void this.#leg.save().catch(() => {});
    this.#options.changed();
  }

  /** The record could not be stored: the owner must know, and nothing after it may be applied. */
  #failed(held: Attachment, record: Held, fault: BlockFault): void {
    held.failed = true;
    this.#stop(held);
    if (fault.kind !== 'noSpace') this.#leg.fail(fault);
    if (this.#attachment !== held) return;
    this.#tellFault(held, positionOf(record), fault, record);
    this.#attaching++;
    void this.#quiesce().then(() => this.#options.changed());
  }

  /** The medium failed outside of any record: at a flush, or at the cursor. */
  #legFailed(fault: BlockFault): void {
    const held = this.#attachment;
    if (held === null || held.failed) return;
    held.failed = true;
    this.#tellFault(held, this.#leg.applied, fault, { volume: 0, offset: 0, length: 0 });
    this.#attaching++;
    void this.#quiesce().then(() => this.#options.changed());
  }

  #tellFault(
    held: Attachment,
    position: Position,
    { kind, detail }: BlockFault,
    at: { readonly volume: number; readonly offset: number; readonly length: number },
  ): void {
    const { attachId } = held.attach;
    held.connection.send(
      encodeFault({ attachId, position, kind, detail, volume: at.volume, offset: at.offset, length: at.length }),
    );
  }

  #settle(held: Attachment, settle: Settle): void {
    this.#leg.metadata.changePeer(held.connection.peer, { confirmed: settle.ownerDurable });
    held.settling.push(settle);
    this.#settleReached(held);
  }

  /** Until the leg is ready, its cursor is still that of before the start. */
  #settleReached(held: Attachment): void {
    if (!held.ready) return;
    for (let next = held.settling[0]; next !== undefined; next = held.settling[0]) {
      if (comparePositions(this.#leg.applied, next.position) < 0) return;
      held.settling.shift();
      this.#settled(held, next);
    }
  }

  #settled(held: Attachment, settle: Settle): void {
    this.#makeDurable(held, settle).catch((error: unknown) => {
      held.connection.close(`what it holds cannot be made durable: ${messageOf(error)}`);
    });
  }

  async #makeDurable(held: Attachment, settle: Settle): Promise<void> {
    const leg = this.#leg;
    if (!(await leg.flush()) || this.#attachment !== held) return;
    if (comparePositions(settle.position, leg.state.durable) > 0) leg.metadata.change({ durable: settle.position });
    if (settle.consistent) {
      leg.metadata.change({ condition: 'consistent', image: null });
      leg.isEqualTo(held.connection.peer);
      await leg.saveBits();
      void this.#options.images.discard();
      await this.#options.forks.end();
    } else {
      await leg.save();
    }
    this.#answerDue = true;
    this.#askForTurn();
    this.#options.changed();
  }

  #fetch(connection: LinkConnection, frame: Frame): void {
    const decoded = decodeFetch(frame);
    if (!decoded.ok) {
      this.#breach(connection, decoded.reason);
      return;
    }
    const { attachId, requestId, volume, offset, length } = decoded.value;
    const held = this.#attachment;
    if (held?.connection !== connection || held.attach.attachId !== attachId) {
      this.#detached(connection, attachId);
      return;
    }
    if (!this.#leg.has(volume) || offset + length > this.#leg.device(volume).sizeBytes) {
      this.#breach(connection, `fetch of ${offset} + ${length} on volume ${volume} is past its end`);
      return;
    }
    const device = this.#leg.device(volume);
    const data = new Uint8Array(length);
    device.read(offset, data, (fault) => {
      const zeroes = fault === null && data.every((byte) => byte === 0);
      const status = fault !== null ? 'fault' : zeroes ? 'zeroes' : 'data';
      connection.send(encodeFetched({ requestId, status, data: status === 'data' ? data : null }));
    });
  }

  /** The attachment shows that this node follows the owner that asks: it knows no newer generation. */
  #promise(connection: LinkConnection, frame: Frame): void {
    const decoded = decodeAskPromise(frame);
    if (!decoded.ok) {
      this.#breach(connection, `askPromise: ${decoded.reason}`);
      return;
    }
    const { attachId, token } = decoded.value;
    const held = this.#attachment;
    if (held?.connection !== connection || held.attach.attachId !== attachId || this.#closed) return;
    const durationMs = this.#options.promise();
    if (durationMs !== null) connection.gather(encodePromise({ attachId, token, durationMs }));
  }

  #answer(): void {
    this.#answerDue = false;
    const held = this.#attachment;
    const { saved } = this.#leg.metadata;
    if (held?.connected !== true) return;
    held.connection.send(
      encodeAnswer({
        attachId: held.attach.attachId,
        flags:
          (saved?.condition === 'consistent' ? answerFlags.consistent : 0) |
          (saved?.image?.state === 'kept' ? answerFlags.imageKept : 0),
        // What waits for the leg to be ready, or for its step to be whole, is dropped if the attachment ends first.
        received: held.ready && held.whole === null ? this.#received : this.#leg.applied,
        applied: this.#leg.applied,
        durable: saved?.durable ?? origin,
      }),
    );
  }

  async #checkpoint(): Promise<void> {
    if (this.#checkpointing || this.#closed || this.#leg.fault !== null) return;
    this.#checkpointing = true;
    this.#lastCheckpointAtMs = this.#environment.clock.monotonicMs();
    const position = this.#leg.applied;
    const mark = this.#leg.hot.endMark();
    try {
      const held = this.#attachment;
      // Records started and still in flight have touched regions under this mark: it is safe once they are stable too.
      const started = held?.queue.lastStarted ?? null;
      const token = await this.#others.save();
      // A leg that may hold more than its position says, or parts, has regions that no position stands for.
      if (this.#leg.state.condition === 'consistent' && this.#attachment === held) {
        const newest = started === null ? position : furtherOf(positionOf(started), position);
        this.#marks.push({ mark, position: newest, token });
      }
      this.#noteNewest();
      if (await this.#leg.checkpoint(position)) {
        this.#answerDue = true;
        this.#askForTurn();
        this.#nowStable(this.#stable);
      }
      if (this.#leg.hot.full && this.#leg.state.condition !== 'consistent') await this.#coolIntoBits(mark);
    } catch {
      // `trouble` tells; the next tick tries again.
    } finally {
      this.#checkpointing = false;
      if (this.#leg.hot.full) this.#environment.clock.after(pressureMs, () => void this.#checkpoint());
    }
  }

  /** No position stands for the regions of a leg in pieces: a long copy would wait for ever. Bits remember them instead. */
  async #coolIntoBits(mark: number): Promise<void> {
    const leg = this.#leg;
    const regions = new Map<number, Extent[]>();
    for (const { volume, offset, length } of leg.hot.extents()) {
      const extents = regions.get(volume) ?? [];
      extents.push({ offset, length });
      regions.set(volume, extents);
    }
    const owner = this.#attachment?.connection.peer;
    if (owner !== undefined) leg.bitsFor(owner);
    for (const peer of leg.bits.keys()) leg.remember(peer, regions);
    await leg.saveBits();
    leg.hot.cool(mark);
  }

  /** Wall clock, for people; of what an earlier process received nothing newer is known than it noted. */
  #noteNewest(): void {
    const { clock } = this.#environment;
    if (this.#lastRecordAtMs === 0) return;
    this.#leg.metadata.change({ newestAtMs: clock.wallMs() - (clock.monotonicMs() - this.#lastRecordAtMs) });
  }

  #marksPending(): boolean {
    const { hot, state } = this.#leg;
    return hot.size > 0 && this.#marks.length === 0 && state.condition === 'consistent';
  }

  /** Every leg the owner counts on holds everything up to `stable` durably: what was written by then may cool (R5). */
  #nowStable(stable: Position): void {
    this.#stable = stable;
    const { durable } = this.#leg.state;
    const safe = comparePositions(stable, durable) < 0 ? stable : durable;
    for (let next = this.#marks.peek(); next !== undefined; next = this.#marks.peek()) {
      if (comparePositions(next.position, safe) > 0) return;
      this.#marks.shift();
      // A later mark stands for it, under bits that name what was written meanwhile.
      if (!this.#others.covered(next.token)) continue;
      // R9: what lets them cool is remembered with them; an owner that holds less one day has an older disk.
      const owner = this.#attachment?.connection.peer;
      if (owner !== undefined) this.#leg.metadata.confirm(owner, stable);
      this.#others.relyOn(stable);
      this.#leg.hot.cool(next.mark);
    }
  }

  #askForTurn(): void {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.#environment.turn.atEnd(this);
  }

  #mine<Body extends { attachId: number }>(
    connection: LinkConnection,
    frame: Frame,
    schema: z.ZodType<Body>,
    use: (held: Attachment, body: Body) => void,
  ): void {
    this.#parsed(connection, frame, schema, (body) => {
      const held = this.#attachment;
      if (held?.connection === connection && held.attach.attachId === body.attachId) use(held, body);
      else if (frame.type !== MessageType.detach) this.#detached(connection, body.attachId);
    });
  }

  #parsed<Body>(connection: LinkConnection, frame: Frame, schema: z.ZodType<Body>, use: (body: Body) => void): void {
    const body = parseBody(frame, schema);
    if (body.ok) use(body.value);
    else this.#breach(connection, body.reason);
  }

  /** The owner relies on an attachment that has ended here. */
  #detached(connection: LinkConnection, attachId: number): void {
    const body: Detach = { attachId, reason: this.#leg.fault?.detail ?? 'the attachment has ended there' };
    connection.send(encodeJson(MessageType.detach, body));
  }

  #breach(connection: LinkConnection, reason: string): void {
    connection.breach('mirror', `group ${this.#leg.group}: ${reason}`);
  }
}

/** A record that has become of no concern to this leg. */
function passed(record: StreamRecord): StreamRecord {
  return { ...record, kind: 'skip', volume: 0, offset: 0, length: 0, hole: false, data: null, checksum: 0 };
}

/** Answers an owner when there is no target to attach to: it asks again. */
export function refuseAttach(connection: LinkConnection, frame: Frame, reason: string): void {
  const body = parseBody(frame, attachSchema);
  if (!body.ok) {
    connection.breach('mirror', body.reason);
    return;
  }
  const refusal: Attached = { attachId: body.value.attachId, ok: false, code: 'busy', reason, seen: 0 };
  connection.send(encodeJson(MessageType.attached, refusal));
}

/** A JSON body as the schema demands, or why it is not. */
export function parseBody<Body>(frame: Frame, schema: z.ZodType<Body>): Decoded<Body> {
  const json = decodeJson(frame);
  if (!json.ok) return json;
  const parsed = schema.safeParse(json.value);
  if (parsed.success) return { ok: true, value: parsed.data };
  const issue = parsed.error.issues[0];
  return {
    ok: false,
    reason: `message ${frame.type}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? 'malformed'}`,
  };
}
