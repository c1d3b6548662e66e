/**
 * Brings a target up from the group's log: reads what it missed, in order, and sends it while new changes are still being
 * appended (TL-11, TL-12). The target applies it as it applies everything: it is an image of some moment all the time.
 *
 * Near the end the history in memory is kept from that moment on (`nearEnd`); when the log has been read up to there, the
 * owner goes on from memory. Hosts are not held for it.
 *
 * Throttle: hosts may write at most 1/gain of what the target takes in, so that the distance shrinks; see `charge`.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { Fifo } from '../stream/fifo.ts';
import { comparePositions, type Position } from '../stream/position.ts';
import { positionOf, type StreamRecord } from '../stream/record.ts';
import { RateMeter } from './rate-meter.ts';
import type { JournalReader } from '../journal/reader.ts';
import type { Distance } from '../journal/segment-table.ts';

/** What a merge needs of the log. */
export interface MergeLog {
  /** Whether everything after the position, up to the newest change, can be read. */
  covers(position: Position): boolean;
  read(after: Position, onMore: () => void): JournalReader | null;
  distanceFrom(position: Position): Distance;
  /** The newest change that was given to it. */
  readonly newest: Position;
}

export interface MergerOptions {
  readonly log: MergeLog;
  /** What the target holds. */
  readonly after: Position;
  /** Hosts may write so many times less than the target takes in; 0: as much as they like. */
  readonly gain: number;
  readonly clock: Clock;
  /** Whether the connection takes more just now; `run` is called when it does again. */
  readonly hasRoom: () => boolean;
  readonly send: (records: readonly StreamRecord[]) => void;
  /** From here on the history in memory is kept for the target. */
  readonly nearEnd: () => void;
  /** Everything before `nearEnd` was called has been sent. */
  readonly finished: () => void;
  /** The log cannot be read on. */
  readonly failed: (reason: string) => void;
}

/** Sent and not applied yet, at most. */
const windowRecords = 8192;
const windowBytes = 16 * 1024 * 1024;
const nearRecords = 1024;
const nearBytes = 4 * 1024 * 1024;
/** What a record costs besides its data, in bytes of it. */
const recordCost = 4096;
/** Hosts begin with this much. */
const creditMax = 4 * 1024 * 1024;

interface Sent {
  /** Of the last of the records. */
  readonly position: Position;
  readonly records: number;
  readonly bytes: number;
  readonly done: () => void;
}

export class Merger {
  readonly #options: MergerOptions;
  readonly #reader: JournalReader | null;
  readonly #window = new Fifo<Sent>();
  #windowRecords = 0;
  #windowBytes = 0;
  #sent: Position;
  #applied: Position;
  #reading = false;
  /** The newest change in the log when `nearEnd` was called; null before. */
  #until: Position | null = null;
  #credit = creditMax;
  #doneBytes = 0;
  readonly #rate: RateMeter;
  #stopped = false;

  constructor(options: MergerOptions) {
    this.#options = options;
    this.#rate = new RateMeter(options.clock);
    this.#sent = options.after;
    this.#reader = options.log.read(options.after, () => this.run());
    this.#applied = options.after;
  }

  /** Hosts have used up what the merge allows them for now. */
  get exhausted(): boolean {
    return this.#options.gain > 0 && this.#credit < 0;
  }

  /** Data that the target has taken in. */
  get doneBytes(): number {
    return this.#doneBytes;
  }

  /** Data of the log that the target has not taken in. */
  get leftBytes(): number {
    return this.#options.log.distanceFrom(this.#applied).bytes;
  }

  /** Over the last seconds. */
  get bytesPerSecond(): number {
    return this.#rate.bytesPerSecond(this.#doneBytes);
  }

  /** A host's change was stamped. */
  charge(bytes: number): void {
    this.#credit -= bytes + recordCost;
  }

  /** Hosts were slow enough: they get a little, however slow the target is. */
  forgive(): void {
    if (this.#credit < 0) this.#credit = 0;
  }

  /** The history in memory has become too long to be kept: the log is read on. */
  goBack(): void {
    this.#until = null;
  }

  stop(): void {
    this.#stopped = true;
    void this.#reader?.close();
  }

  run(): void {
    if (this.#stopped || this.#reading) return;
    if (this.#reader === null) {
      this.#options.failed('the log does not hold what it lacks any more');
      return;
    }
    this.#reading = true;
    this.#readOn(this.#reader).catch((error: unknown) => {
      this.#reading = false;
      if (!this.#stopped) this.#options.failed(messageOf(error));
    });
  }

  /** The target has applied everything up to the position. */
  applied(position: Position): void {
    if (comparePositions(position, this.#applied) > 0) this.#applied = position;
    for (
      let next = this.#window.peek();
      next !== undefined && comparePositions(next.position, position) <= 0;
      next = this.#window.peek()
    ) {
      this.#window.shift();
      this.#windowRecords -= next.records;
      this.#windowBytes -= next.bytes;
      next.done();
      this.#doneBytes += next.bytes;
      this.#credit = Math.min(
        creditMax,
        this.#credit + (next.bytes + next.records * recordCost) / this.#options.gain,
      );
    }
    this.#rate.note(this.#doneBytes);
    this.run();
  }

  async #readOn(reader: JournalReader): Promise<void> {
    const { hasRoom, failed } = this.#options;
    for (;;) {
      if (this.#stopped || this.#looksFinished()) return;
      if (!hasRoom() || this.#windowRecords >= windowRecords || this.#windowBytes >= windowBytes) break;
      const item = await reader.next();
      if (this.#stopped) return;
      if (item === null) break;
      if (item.kind === 'damage') {
        failed(`the log is damaged in segment ${item.damage.segment}: ${item.damage.reason}`);
        return;
      }
      if (item.kind === 'records') this.#send(item.records, item.done);
    }
    this.#reading = false;
    this.#looksFinished();
  }

  #send(all: readonly StreamRecord[], done: () => void): void {
    const until = this.#until;
    const records = until === null ? all : all.filter((record) => comparePositions(record, until) <= 0);
    const last = records.at(-1);
    if (last === undefined) return;
    const bytes = records.reduce((sum, record) => sum + (record.data === null ? 0 : record.length), 0);
    this.#sent = positionOf(last);
    this.#window.push({ position: this.#sent, records: records.length, bytes, done });
    this.#windowRecords += records.length;
    this.#windowBytes += bytes;
    this.#options.send(records);
  }

  /** Whether all has been sent that is not kept in memory; looks first whether the end is near. */
  #looksFinished(): boolean {
    const { log, nearEnd, finished } = this.#options;
    if (this.#until === null) {
      const left = log.distanceFrom(this.#sent);
      if (left.records > nearRecords || left.bytes > nearBytes) return false;
      nearEnd();
      this.#until = log.newest;
    }
    if (comparePositions(this.#sent, this.#until) < 0) return false;
    this.stop();
    finished();
    return true;
  }
}
