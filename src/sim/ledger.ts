/**
 * All that is known of one group from outside: what its hosts asked and were told, which stamps its owners gave, and what
 * the legs held when an owner opened. The invariants are decided here (I1 prefix, I2 durability, I3 one writer, I4
 * positions, I5 reads, I9 once); when to ask is left to the scene.
 *
 * Sectors of all volumes are counted through, as `Sector`. Two notions carry every check:
 *
 * - *Order*: stamps compare by (generation, seq). `floor` of a sector is the newest change there that hosts know of, by
 *   an acknowledgement or a read; nothing older may ever be seen again, unless a loss was stated. `durableFloor` is the
 *   same for what a completed flush covers.
 * - *Timeline*: the changes a leg of some lineage may hold: along the lineage the records of each generation up to where it
 *   was left, and at each opening the image the new owner found, which settles what was in flight when the last one died.
 */
import type { Change } from '../stream/change.ts';
import type { Lineage } from '../stream/position.ts';
import type { GroupPlan } from './script.ts';
import { nobodys } from './symbols.ts';
import type { SimProcess } from './world/process.ts';
import { sectorBytes } from './world/disk.ts';

/** An invariant does not hold: the product is wrong, or the checker is. */
export class Violation extends Error {
  override readonly name = 'Violation';
  readonly invariant: string;

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`);
    this.invariant = invariant;
  }
}

export type WriteState =
  | 'open'
  | 'acknowledged'
  /** Failed for want of space, or by the medium: its range holds a mixture. */
  | 'failed'
  /** Its session ended first. */
  | 'unknown'
  /** Was acknowledged, and went in a loss that was stated. */
  | 'lost';

export interface Write {
  readonly number: number;
  readonly kind: 'write' | 'zero';
  readonly first: number;
  readonly count: number;
  readonly volume: number;
  /** Of the session it was asked in. */
  readonly opening: number;
  /** Which was asked: no other can stamp it. */
  readonly process: SimProcess;
  /** Newest epoch hosts had seen completed when it was issued: its own must be later (HG-1). */
  readonly after: { readonly generation: number; readonly epoch: number };
  stamp: Stamp | null;
  state: WriteState;
  acknowledgement: number;
}

export interface Stamp {
  readonly generation: number;
  readonly epoch: number;
  readonly seq: number;
}

interface Version {
  readonly epoch: number;
  readonly seq: number;
  readonly write: Write;
}

interface Generation {
  readonly generation: number;
  /** What the owner's leg held when it opened; null when the owner merely went on under a new lease. */
  base: Uint32Array | null;
  readonly versions: Map<number, Version[]>;
  /** Positions given, with what was stamped there. */
  readonly stamped: Map<number, Change>;
}

/** Where the cut between applied and missing may lie, as epochs on a timeline. */
interface Interval {
  readonly from: number;
  readonly to: number;
}

interface Step {
  readonly generation: Generation;
  readonly leftAtSeq: number;
}

const epochsPerGeneration = 2 ** 32;

function orderOf(stamp: Stamp): number {
  return stamp.generation * epochsPerGeneration + stamp.seq;
}

/** What must be there when an owner opens. */
export type Promised =
  /** Everything acknowledged. */
  | 'all'
  /** All but at most the bound's number of writes. */
  | 'bound'
  /** What completed flushes cover. */
  | 'flushed'
  /** Nothing: a person insisted, or yesterday's disk was put back. */
  | 'nothing';

export class Ledger {
  readonly plan: GroupPlan;
  /** Counts owners that opened on an image (a lease regained does not count). */
  openings = 0;
  /** A host was told something by the latest owner. */
  #toldByLatest = false;
  readonly writes = new Map<number, Write>();
  readonly #sectorBase: number[] = [];
  readonly #sectors: number;
  readonly #floor: Float64Array;
  readonly #durableFloor: Float64Array;
  readonly #generations = new Map<string, Generation>();
  readonly #byVolume: { acknowledged: Write[]; count: number; flushed: number }[];
  readonly #touched = new Set<number>();
  readonly #zeroesWithoutStamp: Write[] = [];
  #latest: Generation | null = null;
  /** Those that a store put back to an older state knew nothing of: their numbers were given again. */
  readonly #forgotten = new Set<Generation>();
  /** What the latest owner to open found, and its generation then. */
  #opening: { base: Uint32Array | null; generation: number } = { base: null, generation: 0 };
  #completedEpoch = { generation: 0, epoch: 0 };

  constructor(plan: GroupPlan) {
    this.plan = plan;
    let sectors = 0;
    for (const { sizeBytes } of plan.volumes) {
      this.#sectorBase.push(sectors);
      sectors += sizeBytes / sectorBytes;
    }
    this.#sectors = sectors;
    this.#floor = new Float64Array(sectors);
    this.#durableFloor = new Float64Array(sectors);
    this.#byVolume = plan.volumes.map(() => ({ acknowledged: [], count: 0, flushed: 0 }));
  }

  get sectors(): number {
    return this.#sectors;
  }

  sectorOf(volume: number, offset: number): number {
    return (this.#sectorBase[volume] ?? 0) + offset / sectorBytes;
  }

  // ---- hosts ----

  /** @param opening the value of `openings` when the host's session began. */
  issued(
    {
      number,
      kind,
      opening,
      process,
    }: { number: number; kind: 'write' | 'zero'; opening: number; process: SimProcess },
    volume: number,
    offset: number,
    length: number,
  ): Write {
    const write: Write = {
      number,
      kind,
      volume,
      first: this.sectorOf(volume, offset),
      count: length / sectorBytes,
      opening,
      process,
      after: this.#completedEpoch,
      stamp: null,
      state: 'open',
      acknowledgement: 0,
    };
    this.writes.set(number, write);
    if (kind === 'zero') this.#zeroesWithoutStamp.push(write);
    return write;
  }

  /** @param opening the value of `openings` when the host's session began. */
  acknowledged(write: Write, opening: number, flushed: boolean): void {
    const { stamp } = write;
    if (stamp === null) throw new Violation('I5', `write ${write.number} was acknowledged and never stamped`);
    write.state = 'acknowledged';
    if (opening !== this.openings) {
      this.#acknowledgedLate(write, stamp);
      return;
    }
    this.#toldByLatest = true;
    const completed = this.#completedEpoch;
    if (stamp.generation > completed.generation || stamp.epoch > completed.epoch) {
      this.#completedEpoch = { generation: stamp.generation, epoch: stamp.epoch };
    }
    this.#raise(this.#floor, write, stamp);
    if (flushed) this.#raise(this.#durableFloor, write, stamp);
    const volume = this.#byVolume[write.volume];
    if (volume === undefined) return;
    write.acknowledgement = ++volume.count;
    volume.acknowledged.push(write);
  }

  /** I3: told by an owner that has a successor. Only what the successor began with, or stated as lost, may be. */
  #acknowledgedLate(write: Write, stamp: Stamp): void {
    const { base } = this.#opening;
    if (base === null || this.#lossStated) return;
    for (let sector = write.first; sector < write.first + write.count; sector++) {
      if (this.#newest(sector, base[sector] ?? 0) >= orderOf(stamp)) continue;
      throw new Violation(
        'I3',
        `write ${write.number} was acknowledged by a deposed owner and is not at the new one`,
      );
    }
  }

  failed(write: Write): void {
    write.state = 'failed';
  }

  unknown(write: Write): void {
    if (write.state === 'open') write.state = 'unknown';
  }

  /** Returns what `flushed` wants to know: the acknowledgements a flush issued now must cover. */
  flushIssued(volume: number): number {
    return this.#byVolume[volume]?.count ?? 0;
  }

  flushed(volume: number, covers: number, opening: number): void {
    const entry = this.#byVolume[volume];
    if (entry === undefined || opening !== this.openings) return;
    for (; entry.flushed < entry.acknowledged.length; entry.flushed++) {
      const write = entry.acknowledged[entry.flushed];
      if (write === undefined || write.acknowledgement > covers) return;
      if (write.stamp === null) continue;
      // What was lost meanwhile, as an opening found, the flush could not cover.
      const order = orderOf(write.stamp);
      const { base, generation: begun } = this.#opening;
      const before = base !== null && write.stamp.generation < begun;
      for (let sector = write.first; sector < write.first + write.count; sector++) {
        const found = before ? this.#newest(sector, base[sector] ?? 0) : Infinity;
        const there = Math.min(order, found, this.#floor[sector] ?? 0);
        this.#durableFloor[sector] = Math.max(there, this.#durableFloor[sector] ?? 0);
      }
    }
  }

  /** What a read issued now may at the oldest return, sector by sector. */
  floors(first: number, count: number): Float64Array {
    return this.#floor.slice(first, first + count);
  }

  /** I5, and I3 for reads. @param told whether the latest owner had told a host something when the read was issued. */
  read(first: number, contents: readonly number[], floors: Float64Array, opening: number, overtaken: boolean): void {
    if (opening !== this.openings && overtaken) {
      throw new Violation('I3', 'a deposed owner answered a read begun after its successor had spoken');
    }
    for (const [at, content] of contents.entries()) {
      const sector = first + at;
      this.#mustBeKnown(sector, content, 'a read');
      const order = this.#newest(sector, content);
      const floor = floors[at] ?? 0;
      if (order < floor) {
        throw new Violation(
          'I5',
          `a read of sector ${sector} gave ${this.#name(content)}, older than ${place(floor)}`,
        );
      }
      if (opening !== this.openings || content === 0) continue;
      const { base, generation } = this.#opening;
      if (base !== null && order < generation * epochsPerGeneration && base[sector] !== content) {
        throw new Violation(
          'I9',
          `sector ${sector} holds ${this.#name(content)}, which its owner did not begin with`,
        );
      }
      if (order > (this.#floor[sector] ?? 0)) this.#floor[sector] = order;
    }
  }

  /** Whether a successor of the owner that opened as `opening` has told hosts something. */
  overtaken(opening: number): boolean {
    return opening !== this.openings && this.#toldByLatest;
  }

  // ---- owners ----

  /** A record was stamped under a lineage. I4, HG-1. */
  stamped(lineage: Lineage, change: Change, process: SimProcess): Write | null {
    const generation = this.#generation(lineage.generation, lineage.id);
    const other = generation.stamped.get(change.seq);
    if (change.generation !== lineage.generation || other !== undefined) {
      throw new Violation('I4', `position ${change.generation}:${change.seq} was given twice`);
    }
    generation.stamped.set(change.seq, change);
    if (change.kind === 'copy' || change.kind === 'copyZero' || change.length === 0) return null;
    const write = this.#writeOf(change, process);
    if (write.stamp !== null) throw new Violation('I9', `write ${write.number} was stamped twice`);
    const { epoch, seq } = change;
    write.stamp = { generation: change.generation, epoch, seq };
    if (write.after.generation === change.generation && epoch <= write.after.epoch) {
      throw new Violation(
        'HG-1',
        `write ${write.number} was issued after one of epoch ${epoch} was completed, and joins it`,
      );
    }
    for (let sector = write.first; sector < write.first + write.count; sector++) {
      const versions = generation.versions.get(sector);
      if (versions === undefined) generation.versions.set(sector, [{ epoch, seq, write }]);
      else versions.push({ epoch, seq, write });
      this.#touched.add(sector);
    }
    return write;
  }

  /** The loss of an earlier opening was stated: late acknowledgements may belong to it. */
  #lossStated = false;

  /** An owner begins with what its leg holds. Returns how many acknowledged writes are gone. */
  opened(lineage: Lineage, image: Uint32Array, promised: Promised): number {
    const generation = this.#generation(lineage.generation, lineage.id);
    for (const other of this.#generations.values())
      if (other !== generation && other.generation >= generation.generation) this.#forgotten.add(other);
    for (const sector of this.#touched) this.#mustBeKnown(sector, image[sector] ?? 0, 'the new owner');
    const floor = promised === 'flushed' ? this.#durableFloor : this.#floor;
    if (promised === 'all' || promised === 'flushed') {
      for (const sector of this.#touched) {
        if (this.#newest(sector, image[sector] ?? 0) >= (floor[sector] ?? 0)) continue;
        throw new Violation(
          'I2',
          `generation ${lineage.generation} begins with ${this.#name(image[sector] ?? 0)} in sector ${sector}: ` +
            `${place(floor[sector] ?? 0)} was ${promised === 'all' ? 'acknowledged' : 'flushed'}`,
        );
      }
    }
    const lost = this.missing(image);
    if (promised === 'bound' && lost.size > this.plan.lagWritesMax) {
      throw new Violation('I2', `${lost.size} acknowledged writes are gone, the bound is ${this.plan.lagWritesMax}`);
    }
    for (const write of lost) write.state = 'lost';
    for (let sector = 0; sector < this.#sectors; sector++) {
      const order = this.#newest(sector, image[sector] ?? 0);
      this.#floor[sector] = promised === 'all' ? Math.max(order, this.#floor[sector] ?? 0) : order;
      this.#durableFloor[sector] = Math.min(this.#durableFloor[sector] ?? 0, order);
    }
    generation.base = image;
    this.#latest = generation;
    this.#opening = { base: image, generation: lineage.generation };
    this.#lossStated = promised !== 'all';
    this.#toldByLatest = false;
    this.#completedEpoch = { generation: lineage.generation, epoch: 0 };
    this.openings++;
    return lost.size;
  }

  /** The same owner goes on under a new lease. A generation in which nothing was stamped is not of the new lineage. */
  continued(lineage: Lineage): void {
    const generation = this.#generation(lineage.generation, lineage.id);
    if (this.#latest?.stamped.size === 0) generation.base = this.#latest.base;
    this.#latest = generation;
  }

  // ---- legs ----

  /** The acknowledged writes that an image lacks. */
  missing(image: Uint32Array): Set<Write> {
    const missing = new Set<Write>();
    for (const sector of this.#touched) {
      const order = this.#newest(sector, image[sector] ?? 0);
      if (order >= (this.#floor[sector] ?? 0)) continue;
      for (const write of this.writes.values()) {
        const { stamp } = write;
        if (write.state !== 'acknowledged' || stamp === null || orderOf(stamp) <= order) continue;
        if (sector >= write.first && sector < write.first + write.count) missing.add(write);
      }
    }
    return missing;
  }

  /** I1: an image that claims to be of some moment on the lineage. Null when it is. */
  notAPrefix(image: Uint32Array, lineage: Lineage): string | null {
    const path = this.#path(lineage);
    let from = 0;
    let to = Infinity;
    let fromSector = -1;
    let toSector = -1;
    const choices: Interval[][] = [];
    for (const sector of this.#touched) {
      const content = image[sector] ?? 0;
      const intervals = this.#intervals(sector, content, path);
      const [only] = intervals;
      if (only === undefined) return `sector ${sector} holds ${this.#name(content)}, which is not of its history`;
      if (intervals.length > 1) {
        choices.push(intervals);
        continue;
      }
      if (only.from > from) [from, fromSector] = [only.from, sector];
      if (only.to < to) [to, toSector] = [only.to, sector];
    }
    const tell = (sector: number): string => `sector ${sector} (${this.#name(image[sector] ?? 0)})`;
    if (from > to) {
      return `${tell(fromSector)} is of epoch ${place(from)}, ${tell(toSector)} was overwritten in ${place(to)}`;
    }
    const cuts = [from, ...choices.flat().map((interval) => interval.from)].filter((cut) => cut >= from && cut <= to);
    const fits = (cut: number): boolean =>
      choices.every((intervals) => intervals.some((interval) => interval.from <= cut && cut <= interval.to));
    return cuts.some(fits) ? null : `no cut between ${place(from)} and ${place(to)} explains its zeroes`;
  }

  /** What every leg must hold once all is quiet. Sectors that failed for want of space may hold either. */
  differsFromEnd(image: Uint32Array, lineage: Lineage): string | null {
    const path = this.#path(lineage);
    for (let sector = 0; sector < this.#sectors; sector++) {
      const content = image[sector] ?? 0;
      const intervals = this.#intervals(sector, content, path);
      if (intervals.some(({ to }) => to === Infinity)) continue;
      return `sector ${sector} holds ${this.#name(content)} at the end`;
    }
    return null;
  }

  /** The newest first generation on the way to a lineage comes last. */
  #path(lineage: Lineage): Step[] {
    const path: Step[] = [];
    for (const { generation, id, leftAtSeq } of [...lineage.ancestors, { ...lineage, leftAtSeq: Infinity }]) {
      const found = this.#generations.get(`${generation} ${id}`);
      if (found !== undefined) path.push({ generation: found, leftAtSeq });
    }
    return path;
  }

  /** Where the cut may lie, seen from one sector. Nothing when its content is not of this history. */
  #intervals(sector: number, content: number, path: readonly Step[]): Interval[] {
    const intervals: Interval[] = [];
    // The sector's contents in turn; a change that failed may be skipped.
    let from = content === 0 ? 0 : -1;
    for (const [index, { generation, leftAtSeq }] of path.entries()) {
      const start = index * epochsPerGeneration;
      const { base } = generation;
      if (base !== null) {
        const holds = (base[sector] ?? 0) === content;
        if (holds && from < 0) from = start;
        if (!holds && from >= 0) {
          intervals.push({ from, to: start });
          from = -1;
        }
      }
      for (const { epoch, seq, write } of generation.versions.get(sector) ?? []) {
        if (seq > leftAtSeq) break;
        const holds = (write.kind === 'zero' ? 0 : write.number) === content;
        if (holds && from < 0) from = start + epoch;
        if (!holds && from >= 0 && write.state !== 'failed') {
          intervals.push({ from, to: start + epoch });
          from = -1;
        }
      }
    }
    if (from >= 0) intervals.push({ from, to: Infinity });
    return intervals;
  }

  // ---- contents ----

  /** The newest stamp that can have left this content. */
  #newest(sector: number, content: number): number {
    if (content !== 0) {
      const stamp = this.writes.get(content)?.stamp;
      return stamp ? orderOf(stamp) : 0;
    }
    let newest = 0;
    for (const from of this.#generations.values()) {
      if (this.#forgotten.has(from)) continue;
      const { generation, versions } = from;
      for (const { seq, epoch, write } of versions.get(sector) ?? []) {
        if (write.kind === 'zero') newest = Math.max(newest, orderOf({ generation, seq, epoch }));
      }
    }
    return newest;
  }

  #mustBeKnown(sector: number, content: number, who: string): void {
    if (content === 0) return;
    const write = content === nobodys ? undefined : this.writes.get(content);
    if (write?.stamp && write.kind === 'write' && sector >= write.first && sector < write.first + write.count) return;
    throw new Violation('I5', `${who} found ${this.#name(content)} in sector ${sector}: nobody wrote it there`);
  }

  #raise(floor: Float64Array, write: Write, stamp: Stamp): void {
    const order = orderOf(stamp);
    for (let sector = write.first; sector < write.first + write.count; sector++) {
      if (order > (floor[sector] ?? 0)) floor[sector] = order;
    }
  }

  #writeOf(change: Change, process: SimProcess): Write {
    const first = this.sectorOf(change.volume, change.offset);
    if (change.data !== null) {
      const number = new DataView(change.data.buffer, change.data.byteOffset).getUint32(0, true);
      const write = this.writes.get(number);
      if (write?.first === first) return write;
    } else {
      const count = change.length / sectorBytes;
      const fits = (zero: Write): boolean => zero.process === process && zero.first === first && zero.count === count;
      // Of a session given up, it may still come: what was held is let go in the order of its arrival.
      const preferred: readonly ((zero: Write) => boolean)[] = [
        (zero) => zero.state === 'open' && zero.opening === this.openings,
        (zero) => zero.state === 'open',
        () => true,
      ];
      const at = preferred.reduce(
        (found, wanted) =>
          found >= 0 ? found : this.#zeroesWithoutStamp.findIndex((zero) => fits(zero) && wanted(zero)),
        -1,
      );
      const [write] = at < 0 ? [] : this.#zeroesWithoutStamp.splice(at, 1);
      if (write !== undefined) return write;
    }
    throw new Violation(
      'I5',
      `a change of volume ${change.volume} at ${change.offset} was stamped that no host asked for`,
    );
  }

  #generation(number: number, id: string): Generation {
    const key = `${number} ${id}`;
    let generation = this.#generations.get(key);
    if (generation === undefined) {
      generation = { generation: number, base: null, versions: new Map(), stamped: new Map() };
      this.#generations.set(key, generation);
    }
    return generation;
  }

  #name(content: number): string {
    if (content === 0) return 'zeroes';
    const stamp = this.writes.get(content)?.stamp;
    return content === nobodys ? 'garbage' : `write ${content}${stamp ? ` (${place(orderOf(stamp))})` : ''}`;
  }
}

function place(order: number): string {
  return `${Math.floor(order / epochsPerGeneration)}:${order % epochsPerGeneration}`;
}
