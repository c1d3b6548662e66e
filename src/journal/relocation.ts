/**
 * Bringing the closed segments of a log to the copies that lack them, while it is written, read and trimmed: what a move, a
 * second copy, and a copy that failed have in common (TL-9); and looking for rot in them before anybody needs them.
 *
 * Invariants: a segment is removed from a place that the log leaves only after every place it goes to holds it, on the
 * medium; what is copied was read through its checksums, entry by entry, from whichever copy has it whole. What no copy has
 * whole stays missing, and stays damage.
 */
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { SegmentCopies } from './segment-copies.ts';
import { sectorBytes } from './segment-header.ts';
import type { Segment, SegmentTable } from './segment-table.ts';
import { justBefore, SegmentWalk, type Damage } from './segment-walk.ts';

export interface RelocationWorld {
  readonly copies: SegmentCopies;
  readonly table: SegmentTable;
  readonly tag: string;
  /** Still written, or just being removed. */
  isBusy(segment: Segment): boolean;
}

type Take = (offset: number, bytes: Uint8Array) => Promise<void>;

export class Relocation {
  readonly #world: RelocationWorld;
  /** Number of the segment it is at, which must not be removed; 0 for none. */
  #at = 0;
  #stopped = false;

  constructor(world: RelocationWorld) {
    this.#world = world;
  }

  holds(segment: Segment): boolean {
    return segment.header.number === this.#at;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** How many segments some copy in use lacks, or a place that is left still has. */
  get segmentsLeft(): number {
    return this.#world.table.all.filter((segment) => this.#needsWork(segment)).length;
  }

  /**
   * Until every segment that is not busy is where it belongs, and nowhere else. Returns what no copy had whole. Rejects
   * with `E_NO_SPACE` when a place has too little; then it can be tried again.
   */
  async fill(): Promise<Damage[]> {
    const { table, copies } = this.#world;
    const damages: Damage[] = [];
    const next = (): Segment | undefined =>
      table.all.find((segment) => this.#needsWork(segment) && !this.#world.isBusy(segment));
    for (let segment = next(); segment !== undefined; segment = next()) {
      await this.#holding(segment, async (held) => {
        for (const index of copies.written) {
          if (held.copies.includes(index)) continue;
          const found = await this.#bring(held, index, held.copies);
          if (found !== null) damages.push(...found);
        }
        await this.#leave(held);
      });
    }
    return damages;
  }

  /** Reads every closed segment in every copy, writes anew what another copy has whole. Returns what none has. */
  async verify(): Promise<Damage[]> {
    const damages: Damage[] = [];
    for (const segment of [...this.#world.table.all]) {
      if (this.#world.isBusy(segment) || !this.#world.table.all.includes(segment)) continue;
      await this.#holding(segment, async (held) => {
        const lost = await this.#damagesIn(held, held.copies);
        damages.push(...lost);
        for (const index of held.copies) {
          const alone = await this.#damagesIn(held, [index]);
          if (alone.length > lost.length) await this.#bring(held, index, held.copies);
        }
      });
    }
    return damages;
  }

  async #holding(segment: Segment, work: (segment: Segment) => Promise<void>): Promise<void> {
    this.#at = segment.header.number;
    try {
      await work(segment);
    } finally {
      this.#at = 0;
    }
  }

  #needsWork({ copies: holders }: Segment): boolean {
    const { written, left } = this.#world.copies;
    return written.some((index) => !holders.includes(index)) || left.some((index) => holders.includes(index));
  }

  /** Null when the copy it was meant for failed, and another goes on. */
  async #bring(segment: Segment, index: number, from: readonly number[]): Promise<Damage[] | null> {
    const { copies } = this.#world;
    try {
      const damages = await this.#copy(segment, index, from);
      if (!segment.copies.includes(index)) segment.copies = [...segment.copies, index];
      return damages;
    } catch (error) {
      const isCopyLost = !this.#stopped && !(error instanceof HoldfastError && error.code === 'E_NO_SPACE');
      if (!isCopyLost || copies.written.every((other) => other === index)) throw error;
      copies.drop(index, messageOf(error));
      return null;
    }
  }

  async #copy(segment: Segment, index: number, from: readonly number[]): Promise<Damage[]> {
    const { copies, tag } = this.#world;
    const { number } = segment.header;
    const walk = await SegmentWalk.open(copies, from, tag, number);
    try {
      const draft = await copies.draft(index, number);
      try {
        const header = await walk.firstSector();
        if (header !== null) await draft.writeAt(0, header);
        const damages = await this.#walk(segment, walk, (offset, bytes) => draft.writeAt(offset, bytes));
        await draft.commit();
        return damages;
      } catch (error) {
        await draft.abandon().catch(() => {});
        throw error;
      }
    } finally {
      await walk.close();
    }
  }

  async #damagesIn(segment: Segment, indexes: readonly number[]): Promise<Damage[]> {
    const { copies, tag } = this.#world;
    const { number, after } = segment.header;
    const walk = await SegmentWalk.open(copies, indexes, tag, number);
    try {
      const damages = await this.#walk(segment, walk, () => Promise.resolve());
      if ((await walk.firstSector()) !== null) return damages;
      return [{ segment: number, offset: 0, reason: 'the first sector is missing', after, upTo: after }, ...damages];
    } finally {
      await walk.close();
    }
  }

  async #walk(segment: Segment, walk: SegmentWalk, take: Take): Promise<Damage[]> {
    const { number: segmentNumber, after } = segment.header;
    const damages: Damage[] = [];
    let open: Damage | null = null;
    let last = after;
    let number = 1;
    for (let offset: number | null = sectorBytes; offset !== null;) {
      if (this.#stopped) throw new HoldfastError('E_REFUSED', 'the log was closed meanwhile');
      const step = await walk.step(offset, number, segment.endBytes);
      if (step.kind === 'end') break;
      if (step.kind === 'damage') {
        open ??= { segment: segmentNumber, offset, reason: step.reason, after: last, upTo: null };
        offset = step.next;
        number = 0;
        continue;
      }
      const { header, body } = step.entry;
      const [first] = body.kind === 'records' ? body.records : [];
      if (open !== null && first !== undefined) {
        damages.push({ ...open, upTo: justBefore(first) });
        open = null;
      }
      last = header.position;
      await take(offset, step.bytes);
      offset = step.next;
      number = header.number + 1;
    }
    if (open !== null) damages.push({ ...open, upTo: segment.last });
    return damages;
  }

  /** Readers that have it open there go on reading it. */
  async #leave(segment: Segment): Promise<void> {
    const { left } = this.#world.copies;
    const leaving = segment.copies.filter((index) => left.includes(index));
    segment.copies = segment.copies.filter((index) => !left.includes(index));
    for (const index of leaving) await this.#world.copies.removeFrom(index, segment.header.number);
  }
}
