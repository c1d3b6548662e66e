/**
 * One volume as a logical unit (SAM-5 4.6): its way to the volume, the commands it has under way (task set), and what each
 * nexus is still to be told.
 *
 * Keeps: a command that was given to the volume is in the task set until the volume has answered; aborted, it is never
 * answered, and who aborted it hears when it has ended (I9). ORDERED commands wait for all before them, and all after
 * wait for them (SAM-5 8.6). Operations that read, then write, are alone on their blocks.
 */
import type { Clock } from '../../base/clock.ts';
import type { HostGroup, HostUnit, HostVolume } from '../../group/host-access.ts';
import { type RegistrantPort, samePort } from '../../group/reservations.ts';
import type { Command, DeviceView, ReservationClass } from './command.ts';
import { failAsNotServed } from './not-served.ts';
import { conflicts } from './reservation-check.ts';
import { type Nexus, ScsiStatus, type ScsiTask } from './task.ts';
import { TaskRecord } from './task-record.ts';

/** Additional sense codes of unit attentions, as (ASC << 8 | ASCQ). */
export const Attention = {
  powerOn: 0x2900,
  deviceReset: 0x2903,
  modeParametersChanged: 0x2a01,
  reservationsPreempted: 0x2a03,
  reservationsReleased: 0x2a04,
  registrationsPreempted: 0x2a05,
  accessStateChanged: 0x2a06,
  capacityChanged: 0x2a09,
  commandsCleared: 0x2f00,
  reportedLunsChanged: 0x3f0e,
} as const;
export type AttentionCode = (typeof Attention)[keyof typeof Attention];

interface ExclusiveRange {
  readonly start: number;
  readonly end: number;
}

export class LogicalUnit {
  /** Equals the volume's index. */
  readonly lun: number;
  readonly device: DeviceView;
  readonly group: HostGroup;
  readonly clock: Clock;
  /** D_SENSE of the control mode page. */
  descriptorSense = false;
  /** RESERVE(6) of SPC-2: the nexus that has it. Of this node, and lost with it. */
  reservedBy: Nexus | null = null;
  #unit: HostUnit;
  #volume: HostVolume | null = null;
  readonly #nexuses: () => Iterable<Nexus>;
  readonly #attentions = new Map<Nexus, AttentionCode[]>();
  /** Given to the volume, or about to be. */
  readonly #running = new Set<TaskRecord>();
  #queued: TaskRecord[] = [];
  #orderedRuns = false;
  #beginning = false;
  readonly #exclusive = new Set<ExclusiveRange>();
  #behindExclusive: (() => void)[] = [];

  constructor(parts: {
    unit: HostUnit;
    device: DeviceView;
    group: HostGroup;
    clock: Clock;
    nexuses: () => Iterable<Nexus>;
  }) {
    this.lun = parts.unit.index;
    this.#unit = parts.unit;
    this.device = parts.device;
    this.group = parts.group;
    this.clock = parts.clock;
    this.#nexuses = parts.nexuses;
    this.#volume = parts.group.volume(this.lun);
  }

  /** As it is now. */
  get unit(): HostUnit {
    return this.#unit;
  }

  get blockSizeBytes(): 512 | 4096 {
    return this.#unit.blockSizeBytes;
  }

  get blocks(): number {
    return Math.floor(this.#unit.sizeBytes / this.#unit.blockSizeBytes);
  }

  /** Null while it is not active here. */
  get volume(): HostVolume | null {
    return this.#volume;
  }

  /** Commands that have not ended, aborted ones included. */
  get taskCount(): number {
    return this.#running.size + this.#queued.length;
  }

  /** Those that have not ended. */
  tasks(): readonly TaskRecord[] {
    return [...this.#running, ...this.#queued];
  }

  isVisibleTo(nexus: Nexus): boolean {
    return nexus.visible === null || nexus.visible.has(this.lun);
  }

  accessChanged(): void {
    this.#volume = this.group.volume(this.lun);
    this.attention(Attention.accessStateChanged);
    if (this.#volume === null) this.loseReservation();
  }

  /** That of RESERVE(6), which is not kept where the group goes. */
  loseReservation(): void {
    if (this.reservedBy === null) return;
    this.attentionFor(this.reservedBy, Attention.reservationsReleased);
    this.reservedBy = null;
  }

  /** It is not in the group any more. What it still has to do ends with that. */
  removed(): void {
    this.#volume = null;
  }

  changed(unit: HostUnit): void {
    const grew = unit.sizeBytes !== this.#unit.sizeBytes;
    this.#unit = unit;
    this.#volume = this.group.volume(this.lun);
    if (grew) this.attention(Attention.capacityChanged);
  }

  // ---- unit attentions (SAM-5 5.14)

  /** Reported once to each nexus but `except`, by its next command. */
  attention(code: AttentionCode, except: Nexus | null = null): void {
    for (const nexus of this.#nexuses()) if (nexus !== except) this.attentionFor(nexus, code);
  }

  attentionFor(nexus: Nexus, code: AttentionCode): void {
    if (!this.isVisibleTo(nexus)) return;
    const pending = this.#attentions.get(nexus);
    if (pending === undefined) this.#attentions.set(nexus, [code]);
    else if (!pending.includes(code)) pending.push(code);
  }

  /** The nexus as which a registrant is logged in here, if it is. */
  attentionForPort(port: RegistrantPort, code: AttentionCode): void {
    for (const nexus of this.#nexuses()) if (samePort(nexus, port)) this.attentionFor(nexus, code);
  }

  /** The next one to be reported, which is that no more; null: there is none. */
  takeAttention(nexus: Nexus): AttentionCode | null {
    if (this.#attentions.size === 0) return null;
    const pending = this.#attentions.get(nexus);
    const code = pending?.shift() ?? null;
    if (pending?.length === 0) this.#attentions.delete(nexus);
    return code;
  }

  /** The nexus has learned of it otherwise. */
  dropAttention(nexus: Nexus, code: AttentionCode): void {
    const pending = this.#attentions.get(nexus)?.filter((other) => other !== code) ?? [];
    if (pending.length === 0) this.#attentions.delete(nexus);
    else this.#attentions.set(nexus, pending);
  }

  forget(nexus: Nexus): void {
    this.#attentions.delete(nexus);
    if (this.reservedBy === nexus) this.reservedBy = null;
  }

  // ---- reservations

  /** Whether a reservation of others keeps the nexus from it. RESERVE(6) leaves what every reservation does (SPC-2 5.5.1). */
  conflicts(nexus: Nexus, reservation: ReservationClass): boolean {
    if (this.reservedBy !== null && this.reservedBy !== nexus && reservation !== 'any') return true;
    return conflicts(this.group.reservations(this.lun), nexus, reservation);
  }

  // ---- task set

  /** A command looks before each of its parts; it completes all the same, and what it says then goes nowhere. */
  isAborted(task: ScsiTask): boolean {
    return task instanceof TaskRecord && task.aborted;
  }

  /** Begins it, or lets it wait for what is before it. */
  enter(record: TaskRecord, command: Command): void {
    record.command = command;
    const { attribute } = record;
    const waits =
      attribute !== 'headOfQueue' &&
      (this.#orderedRuns || this.#queued.length > 0 || (attribute === 'ordered' && this.#running.size > 0));
    if (waits) this.#queued.push(record);
    else this.#begin(record, command);
  }

  /** By the record, once it has ended. */
  leave(record: TaskRecord, ordered: boolean): void {
    // Of those that never began, nothing is to be undone.
    if (!this.#running.delete(record)) return;
    if (ordered) this.#orderedRuns = false;
    if (this.#queued.length > 0) this.#beginQueued();
  }

  /** One after the other, not each out of the end of the one before: thousands may end as soon as they begin. */
  #beginQueued(): void {
    if (this.#beginning) return;
    this.#beginning = true;
    for (let next = this.#takeQueued(); next?.command != null; next = this.#takeQueued()) {
      this.#begin(next, next.command);
    }
    this.#beginning = false;
  }

  #takeQueued(): TaskRecord | null {
    const [next] = this.#queued;
    if (next === undefined || this.#orderedRuns) return null;
    if (next.attribute === 'ordered' && this.#running.size > 0) return null;
    this.#queued.shift();
    return next;
  }

  /** Only now is it known whether the unit serves, and who has it reserved (SPC-4 5.13.1): it may have waited long. */
  #begin(record: TaskRecord, command: Command): void {
    this.#running.add(record);
    if (record.attribute === 'ordered') this.#orderedRuns = true;
    if (command.access === 'active' && this.#volume === null) failAsNotServed(this, record);
    else if (this.conflicts(record.nexus, command.reservation)) record.complete(ScsiStatus.reservationConflict);
    else command.run(this, record);
  }

  /** Those that match are not answered any more. @returns those whose end is to be waited for. */
  abort(matches: (record: TaskRecord) => boolean): TaskRecord[] {
    const queued = this.#queued.filter(matches);
    this.#queued = this.#queued.filter((record) => !queued.includes(record));
    for (const record of queued) record.dropped();
    const running = [...this.#running].filter(matches);
    for (const record of running) record.abort();
    // What was dropped may be what others waited for.
    this.#beginQueued();
    return running;
  }

  // ---- blocks that are read to be written

  /**
   * Runs `change` when no other such operation is on these bytes; later writes there wait until it calls `done`. Writes begun
   * earlier need no care: a read waits for them (R1).
   */
  exclusively(start: number, bytes: number, change: (done: () => void) => void): void {
    this.unlessExclusive(start, bytes, () => {
      const range = { start, end: start + bytes };
      this.#exclusive.add(range);
      change(() => {
        this.#exclusive.delete(range);
        const waiting = this.#behindExclusive;
        this.#behindExclusive = [];
        for (const run of waiting) run();
      });
    });
  }

  get hasExclusive(): boolean {
    return this.#exclusive.size > 0;
  }

  /** Runs it now, or when what is alone on these bytes is done. */
  unlessExclusive(start: number, bytes: number, run: () => void): void {
    for (const range of this.#exclusive) {
      if (start < range.end && range.start < start + bytes) {
        this.#behindExclusive.push(() => this.unlessExclusive(start, bytes, run));
        return;
      }
    }
    run();
  }
}
