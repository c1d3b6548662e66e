/**
 * The coarse intent map: which regions of a leg may differ from other legs, or from its own medium, after a crash.
 *
 * Invariants:
 * - A region is hot in durable metadata before the first write to it starts. Marks are group-committed: all that wait
 *   share one save.
 * - A region cools only when the caller has proved (R5) that everything written there is durable on every leg, or is
 *   remembered elsewhere (change bits). Marks prove it cheaply: each touch notes the current *mark*; when what was
 *   written up to a mark is safe, `cool(mark)` lets go of all regions not touched since.
 *
 * Bounded: beyond `regionsMax` records wait, and `pressed` asks the owner to make some cool.
 */
import type { RegionGate } from '../stream/apply-queue.ts';
import type { StreamRecord } from '../stream/record.ts';

/** Bytes. */
export const regionBytes = 4 * 1024 * 1024;

/** 64 TiB hold 2^24 regions: volume index and region share one number. */
const regionsPerVolume = 2 ** 24;

export interface HotRegionsOptions {
  readonly regionsMax: number;
  /** Saves the keys durably, then calls `saved` (never inside the call); never calls it when saving failed for good. */
  readonly save: (saved: () => void) => void;
  /** The map is full: something should be made to cool. */
  readonly pressed: () => void;
}

export class HotRegions implements RegionGate {
  readonly #options: HotRegionsOptions;
  /** Hot on the medium → the mark of its latest touch. */
  readonly #hot = new Map<number, number>();
  /** Wanted, not yet on the medium. */
  readonly #marking = new Set<number>();
  #waiting: (() => void)[] = [];
  #saving = false;
  #mark = 1;

  constructor(options: HotRegionsOptions, keys: Iterable<number> = []) {
    this.#options = options;
    for (const key of keys) this.#hot.set(key, 0);
  }

  get size(): number {
    return this.#hot.size + this.#marking.size;
  }

  /** Records wait until regions cool. */
  get full(): boolean {
    return this.#marking.size > 0 && this.#hot.size > 0 && this.size > this.#options.regionsMax;
  }

  admit(record: StreamRecord, retry: () => void): boolean {
    const base = record.volume * regionsPerVolume;
    const first = Math.floor(record.offset / regionBytes);
    const last = Math.floor((record.offset + record.length - 1) / regionBytes);
    let admitted = true;
    for (let region = first; region <= last; region++) {
      const key = base + region;
      const mark = this.#hot.get(key);
      if (mark === undefined) {
        admitted = false;
        this.#marking.add(key);
      } else if (mark !== this.#mark) {
        this.#hot.set(key, this.#mark);
      }
    }
    if (admitted) return true;
    this.#waiting.push(retry);
    this.#save();
    return false;
  }

  /** Ends the current mark and returns it: it stands for all touches so far. */
  endMark(): number {
    return this.#mark++;
  }

  /** What was written up to `mark` is safe. Returns how many regions cooled; save the metadata when it suits. */
  cool(mark: number): number {
    let cooled = 0;
    for (const [key, touched] of this.#hot) {
      if (touched > mark) continue;
      this.#hot.delete(key);
      cooled++;
    }
    if (cooled > 0) this.#save();
    return cooled;
  }

  /** Keys to be stored: what is hot, and what is about to be. */
  keys(): number[] {
    return [...this.#hot.keys(), ...this.#marking];
  }

  /** The regions touched after `mark`, those not known in this process included. */
  *extents(sinceMark = -1): Iterable<{ volume: number; offset: number; length: number }> {
    for (const [key, touched] of this.#hot) if (touched > sinceMark) yield regionOf(key);
  }

  #save(): void {
    if (this.#saving || this.#marking.size === 0) return;
    if (this.full) {
      this.#options.pressed();
      return;
    }
    this.#saving = true;
    const marked = [...this.#marking];
    this.#options.save(() => {
      this.#saving = false;
      for (const key of marked) {
        this.#marking.delete(key);
        this.#hot.set(key, this.#mark);
      }
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const retry of waiting) retry();
      this.#save();
    });
  }
}

/** The byte range a key stands for. */
export function regionOf(key: number): { volume: number; offset: number; length: number } {
  const region = key % regionsPerVolume;
  return { volume: (key - region) / regionsPerVolume, offset: region * regionBytes, length: regionBytes };
}
