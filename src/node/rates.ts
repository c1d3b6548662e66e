/** What hosts get done, for people to look at. */
import type { GroupStatus } from '../group/status.ts';

/** Operations and bytes a second, over the last seconds. */
export class Rates {
  rates: GroupStatus['throughput'] = { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
  #samples: { atMs: number; reads: number; writes: number; readBytes: number; writtenBytes: number }[] = [];

  sample(
    nowMs: number,
    counters: { reads: number; writes: number; readBytes: number; writtenBytes: number } | null,
  ): void {
    if (counters === null) {
      this.#samples = [];
      this.rates = { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
      return;
    }
    this.#samples.push({ atMs: nowMs, ...counters });
    if (this.#samples.length > 5) this.#samples.shift();
    const first = this.#samples[0];
    if (first === undefined || nowMs <= first.atMs) return;
    const perSecond = (now: number, before: number): number =>
      Math.max(0, Math.round(((now - before) / (nowMs - first.atMs)) * 1000));
    this.rates = {
      readBytes: perSecond(counters.readBytes, first.readBytes),
      writeBytes: perSecond(counters.writtenBytes, first.writtenBytes),
      reads: perSecond(counters.reads, first.reads),
      writes: perSecond(counters.writes, first.writes),
    };
  }
}
