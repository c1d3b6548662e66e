/**
 * A command in a unit's task set: the transport's task, seen by the command that carries it out. Used again when it has ended, so
 * that a command costs no object.
 */
import { assert } from '../../base/assert.ts';
import type { Command } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import type { Nexus, ScsiStatus, ScsiTask, TaskAttribute } from './task.ts';

export class TaskRecord implements ScsiTask {
  #task: ScsiTask | null = null;
  #unit: LogicalUnit | null = null;
  #aborted = false;
  #waiters: (() => void)[] | null = null;
  readonly #ended: (record: TaskRecord) => void;
  command: Command | null = null;

  constructor(ended: (record: TaskRecord) => void) {
    this.#ended = ended;
  }

  begin(task: ScsiTask, unit: LogicalUnit): this {
    this.#task = task;
    this.#unit = unit;
    this.#aborted = false;
    return this;
  }

  isOf(task: ScsiTask): boolean {
    return this.#task === task;
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get nexus(): Nexus {
    return this.#outer.nexus;
  }

  get lun(): number {
    return this.#outer.lun;
  }

  get cdb(): Uint8Array {
    return this.#outer.cdb;
  }

  get attribute(): TaskAttribute {
    return this.#outer.attribute;
  }

  get dataOut(): Uint8Array {
    return this.#outer.dataOut;
  }

  reserveDataIn(bytes: number): Uint8Array {
    return this.#outer.reserveDataIn(bytes);
  }

  complete(status: ScsiStatus, sense: Uint8Array | null = null, dataInBytes?: number): void {
    const task = this.#outer;
    const unit = this.#unit;
    const aborted = this.#aborted;
    const waiters = this.#waiters;
    const ordered = task.attribute === 'ordered';
    this.#waiters = null;
    this.#task = this.#unit = this.command = null;
    if (aborted) task.dropped();
    else task.complete(status, sense, dataInBytes);
    unit?.leave(this, ordered);
    this.#ended(this);
    if (waiters !== null) for (const told of waiters) told();
  }

  dropped(): void {
    this.#aborted = true;
    this.complete(0);
  }

  abort(): void {
    this.#aborted = true;
  }

  /** Called once it has ended. */
  whenEnded(told: () => void): void {
    (this.#waiters ??= []).push(told);
  }

  get #outer(): ScsiTask {
    assert(this.#task !== null, 'a command that has ended was touched');
    return this.#task;
  }
}
