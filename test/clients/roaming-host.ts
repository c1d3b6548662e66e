/**
 * A host that follows its volume: it writes through whichever node serves, and when its session ends or is refused it tries
 * the next one, again and again. What it was told is kept in a `WriteRecord`.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RecordingHost, type WriteRecord } from './recording-host.ts';

export interface RoamingHostOptions {
  /** Unix sockets, tried in turn. */
  readonly sockets: readonly string[];
  readonly volume: string;
  readonly blocks: number;
  readonly depth: number;
  readonly random: () => number;
  /** A session that owes an answer for so long is given up. Default: never. */
  readonly patienceMs?: number;
}

const retryMs = 20;

export class RoamingHost {
  readonly refusals: string[] = [];
  readonly #options: RoamingHostOptions;
  readonly #record: WriteRecord;
  #host: RecordingHost | null = null;
  #stopping = false;
  readonly #running: Promise<void>;

  constructor(options: RoamingHostOptions, record: WriteRecord) {
    this.#options = options;
    this.#record = record;
    this.#running = this.#run();
  }

  get acknowledged(): number {
    return this.#record.acknowledgedCount;
  }

  /** Resolves with the milliseconds until `count` more writes were acknowledged. */
  async untilAcknowledged(count: number, timeoutMs: number): Promise<number> {
    const startedMs = performance.now();
    const wanted = this.acknowledged + count;
    while (this.acknowledged < wanted) {
      if (performance.now() - startedMs > timeoutMs)
        throw new Error(`no write was acknowledged for ${timeoutMs} ms; ${this.refusals.slice(-3).join('; ')}`);
      await delay(5);
    }
    return performance.now() - startedMs;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#host?.stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { sockets, patienceMs = Infinity, ...rest } = this.#options;
    for (let turn = 0; !this.#stopping; turn++) {
      const path = sockets[turn % sockets.length] ?? '';
      try {
        const handshakeMs = Math.min(patienceMs, 1000);
        const host = await RecordingHost.start({ ...rest, path, handshakeMs }, this.#record);
        this.#host = host;
        if (this.#stopping) await host.stop();
        const ended = host.ended.then((reason) => ({ reason }));
        for (;;) {
          const outcome = await Promise.race([ended, delay(50).then(() => null)]);
          if (outcome !== null) {
            this.#note(`${path}: ${outcome.reason}`);
            break;
          }
          if (performance.now() - host.lastAnswerMs > patienceMs) host.giveUp();
        }
        this.#host = null;
      } catch (error) {
        this.#note(`${path}: ${String(error)}`);
        await delay(retryMs);
      }
    }
  }

  #note(reason: string): void {
    this.refusals.push(reason);
    if (this.refusals.length > 50) this.refusals.shift();
  }
}
