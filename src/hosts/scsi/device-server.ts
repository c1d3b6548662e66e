/**
 * The device server of one target (SAM-5 4.9): a group's volumes as logical units, for every nexus. Finds the command in the
 * table, checks what the standards check before it, and lets it run; keeps task sets and unit attentions right when
 * ownership, volumes, or reservations change.
 *
 * The order of checks: the unit exists, a unit attention is pending, the command is known and its reserved bits are
 * clear, there is room for it; when its turn has come, the unit serves here and no reservation is in the way.
 */
import type { Clock } from '../../base/clock.ts';
import type { Turn } from '../../base/turn.ts';
import type { HostGroup } from '../../group/host-access.ts';
import { type ReservationEffects, samePort } from '../../group/reservations.ts';
import type { Command, DeviceView } from './command.ts';
import { Attention, LogicalUnit } from './logical-unit.ts';
import { failWith, invalidField, SenseCode } from './sense.ts';
import { TaskRecord } from './task-record.ts';
import {
  type Nexus,
  type ScsiDevice,
  ScsiStatus,
  type ScsiTask,
  type TaskManagement,
  type TaskManagementResponse,
} from './task.ts';

export interface DeviceServerParts {
  readonly targetName: string;
  readonly group: HostGroup;
  readonly commands: readonly Command[];
  readonly clock: Clock;
  readonly turn: Turn;
  /** Commands of one unit that have not ended; beyond it TASK SET FULL. Default 4096. */
  readonly unitTasksMax?: number;
}

/** By operation code: the command, or those of its service actions. */
type CommandTable = readonly (Command | ReadonlyMap<number, Command> | undefined)[];

const serviceActionMask = 0x1f;
const reportLuns = 0xa0;

export class DeviceServer implements ScsiDevice, DeviceView {
  readonly targetName: string;
  readonly commands: readonly Command[];
  readonly #table: CommandTable;
  readonly #group: HostGroup;
  readonly #clock: Clock;
  readonly #turn: Turn;
  readonly #unitTasksMax: number;
  readonly #nexuses = new Set<Nexus>();
  /** The group knows who uses it. */
  readonly #leave = new Map<Nexus, () => void>();
  readonly #units = new Map<number, LogicalUnit>();
  /** Gone from the group, with commands that have not ended. */
  readonly #removed = new Set<LogicalUnit>();
  readonly #idle: TaskRecord[] = [];
  readonly #recycle = (record: TaskRecord): void => {
    this.#idle.push(record);
  };
  readonly #unwatch: () => void;

  constructor(parts: DeviceServerParts) {
    this.targetName = parts.targetName;
    this.commands = parts.commands;
    this.#table = tableOf(parts.commands);
    this.#group = parts.group;
    this.#clock = parts.clock;
    this.#turn = parts.turn;
    this.#unitTasksMax = parts.unitTasksMax ?? 4096;
    this.#unitsChanged();
    this.#unwatch = parts.group.watch({
      accessChanged: () => {
        for (const unit of this.#units.values()) unit.accessChanged();
      },
      unitsChanged: () => this.#unitsChanged(),
      reservationsChanged: (index, effects) => this.#reservationsChanged(index, effects),
    });
  }

  /** Nothing of the group is heard any more. */
  close(): void {
    this.#unwatch();
  }

  units({ nexus }: Pick<ScsiTask, 'nexus'>): readonly LogicalUnit[] {
    return [...this.#units.values()].filter((unit) => unit.isVisibleTo(nexus)).sort((a, b) => a.lun - b.lun);
  }

  // ---- nexuses

  nexusGained(nexus: Nexus): void {
    this.#nexuses.add(nexus);
    this.#leave.set(nexus, this.#group.join(nexus.visible));
    for (const unit of this.#units.values()) unit.attentionFor(nexus, Attention.powerOn);
  }

  nexusLost(nexus: Nexus, done: () => void): void {
    this.#nexuses.delete(nexus);
    this.#leave.get(nexus)?.();
    this.#leave.delete(nexus);
    for (const unit of this.#units.values()) unit.forget(nexus);
    this.#abort(
      [...this.#units.values(), ...this.#removed],
      (record) => record.nexus === nexus,
      () => this.#turn.defer(done),
    );
  }

  onAsyncEvent(): void {
    // SPC-4 has no asynchronous event reporting any more: unit attentions tell hosts what has changed.
  }

  // ---- commands

  dataOutBytes(nexus: Nexus, lun: number, cdb: Uint8Array): number {
    const unit = this.#unitFor(nexus, lun);
    const command = this.#find(cdb);
    if (unit === null || command === null) return 0;
    if ((command.access === 'active' && unit.volume === null) || misplacedBit(command, cdb) !== null) return 0;
    return command.dataOutBytes?.(unit, cdb) ?? 0;
  }

  execute(task: ScsiTask): void {
    const { nexus, cdb, attribute } = task;
    const unit = this.#unitFor(nexus, task.lun);
    const command = this.#find(cdb);
    if (unit === null) {
      if (command?.withoutUnit === undefined || misplacedBit(command, cdb) !== null) {
        return failWith(null, task, 'illegalRequest', SenseCode.unitNotSupported);
      }
      if (command.opcode === reportLuns) this.#listIsTold(nexus);
      return command.withoutUnit(this, task);
    }
    if (command?.pastUnitAttention !== true) {
      const attention = unit.takeAttention(nexus);
      if (attention !== null) return failWith(unit, task, 'unitAttention', attention);
    }
    if (command === null) return this.#unknown(unit, task);
    const wrong = misplacedBit(command, cdb);
    if (wrong !== null) return invalidField(unit, task, wrong.byte, wrong.bit);
    // There never is an auto contingent allegiance that it could be for (SAM-5 8.6.5).
    if (attribute === 'aca') return failWith(unit, task, 'illegalRequest', SenseCode.invalidMessage);
    if (command.opcode === reportLuns) this.#listIsTold(nexus);
    if (unit.taskCount >= this.#unitTasksMax) return task.complete(ScsiStatus.taskSetFull);
    unit.enter((this.#idle.pop() ?? new TaskRecord(this.#recycle)).begin(task, unit), command);
  }

  #unitFor(nexus: Nexus, lun: number): LogicalUnit | null {
    const unit = this.#units.get(lun);
    return unit?.isVisibleTo(nexus) === true ? unit : null;
  }

  #find(cdb: Uint8Array): Command | null {
    const entry = this.#table[cdb[0] ?? 0];
    if (entry === undefined) return null;
    if ('opcode' in entry) return entry;
    return entry.get((cdb[1] ?? 0) & serviceActionMask) ?? null;
  }

  #unknown(unit: LogicalUnit, task: ScsiTask): void {
    // An operation code with other service actions: it is the field that is wrong (SPC-4 4.2.5.1.2).
    if (this.#table[task.cdb[0] ?? 0] !== undefined) return invalidField(unit, task, 1, 4);
    const field = { of: 'cdb', byte: 0 } as const;
    failWith(unit, task, 'illegalRequest', SenseCode.invalidOperationCode, { field });
  }

  /** REPORT LUNS says what the unit attention would (SPC-4 6.33). */
  #listIsTold(nexus: Nexus): void {
    for (const unit of this.#units.values()) unit.dropAttention(nexus, Attention.reportedLunsChanged);
  }

  // ---- task management (SAM-5 7)

  manage(nexus: Nexus, request: TaskManagement, done: (response: TaskManagementResponse) => void): void {
    const answer = (response: TaskManagementResponse): void => this.#turn.defer(() => done(response));
    if (request.kind === 'targetReset') {
      const units = this.units({ nexus });
      for (const unit of units) this.#reset(unit);
      return this.#abort(
        units,
        () => true,
        () => answer('complete'),
      );
    }
    const unit = this.#unitFor(nexus, request.lun);
    if (unit === null) return answer('noSuchUnit');
    switch (request.kind) {
      case 'abortTask': {
        const { task } = request;
        return this.#abort(
          [unit],
          (record) => record.isOf(task),
          () => answer('complete'),
        );
      }
      case 'abortTaskSet':
        return this.#abort(
          [unit],
          (record) => record.nexus === nexus,
          () => answer('complete'),
        );
      case 'clearTaskSet':
        this.#tellCleared(unit, nexus);
        return this.#abort(
          [unit],
          () => true,
          () => answer('complete'),
        );
      case 'logicalUnitReset':
        this.#reset(unit);
        return this.#abort(
          [unit],
          () => true,
          () => answer('complete'),
        );
    }
  }

  /** Every nexus is told, the one that asked for it too (SAM-5 6.3.3). */
  #reset(unit: LogicalUnit): void {
    unit.reservedBy = null;
    unit.descriptorSense = false;
    unit.attention(Attention.deviceReset);
  }

  /** Those whose commands end in silence are told that they were cleared (SAM-5 5.6, TAS = 0). */
  #tellCleared(unit: LogicalUnit, by: Nexus): void {
    const others = new Set(unit.tasks().flatMap(({ nexus }) => (nexus === by ? [] : [nexus])));
    for (const other of others) unit.attentionFor(other, Attention.commandsCleared);
  }

  #abort(units: readonly LogicalUnit[], matches: (record: TaskRecord) => boolean, done: () => void): void {
    const running = units.flatMap((unit) => unit.abort(matches));
    let left = running.length;
    if (left === 0) return done();
    for (const record of running) {
      record.whenEnded(() => {
        left -= 1;
        if (left === 0) done();
      });
    }
  }

  // ---- the group

  #unitsChanged(): void {
    let listed = false;
    const present = new Set(this.#group.units.map(({ index }) => index));
    for (const unit of this.#group.units) {
      const known = this.#units.get(unit.index);
      if (known !== undefined) {
        known.changed(unit);
        continue;
      }
      listed = true;
      const parts = { unit, device: this, group: this.#group, clock: this.#clock, nexuses: () => this.#nexuses };
      this.#units.set(unit.index, new LogicalUnit(parts));
    }
    for (const unit of this.#removed) if (unit.taskCount === 0) this.#removed.delete(unit);
    for (const [lun, unit] of this.#units) {
      if (present.has(lun)) continue;
      listed = true;
      this.#units.delete(lun);
      this.#removed.add(unit);
      unit.removed();
    }
    if (listed) for (const unit of this.#units.values()) unit.attention(Attention.reportedLunsChanged);
  }

  #reservationsChanged(index: number, effects: ReservationEffects): void {
    const unit = this.#units.get(index);
    if (unit === undefined) return;
    for (const port of effects.registrationsPreempted) {
      unit.attentionForPort(port, Attention.registrationsPreempted);
    }
    for (const port of effects.reservationsPreempted) unit.attentionForPort(port, Attention.reservationsPreempted);
    for (const port of effects.reservationsReleased) unit.attentionForPort(port, Attention.reservationsReleased);
    if (effects.aborted.length === 0) return;
    const isMeant = ({ nexus }: TaskRecord): boolean => effects.aborted.some((port) => samePort(port, nexus));
    for (const nexus of new Set(
      unit
        .tasks()
        .filter(isMeant)
        .map((record) => record.nexus),
    )) {
      unit.attentionFor(nexus, Attention.commandsCleared);
    }
    unit.abort(isMeant);
  }
}

function tableOf(commands: readonly Command[]): CommandTable {
  const table = new Array<Command | Map<number, Command> | undefined>(256).fill(undefined);
  for (const command of commands) {
    if (command.serviceAction === null) {
      table[command.opcode] = command;
      continue;
    }
    const known = table[command.opcode];
    const actions = known instanceof Map ? known : new Map<number, Command>();
    actions.set(command.serviceAction, command);
    table[command.opcode] = actions;
  }
  return table;
}

/** The first bit that is set where this command evaluates nothing; null: all are clear. */
function misplacedBit({ usage, serviceAction }: Command, cdb: Uint8Array): { byte: number; bit: number } | null {
  for (let byte = 1; byte < usage.length; byte++) {
    const evaluated = (usage[byte] ?? 0) | (byte === 1 && serviceAction !== null ? serviceActionMask : 0);
    const wrong = (cdb[byte] ?? 0) & ~evaluated;
    if (wrong !== 0) return { byte, bit: 31 - Math.clz32(wrong) };
  }
  return null;
}
