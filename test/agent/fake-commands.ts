/** Programs that do not exist: each run takes a while of the world's clock and ends as it was told to. */
import type { CommandRequest, CommandResult, Commands } from '../../src/agent/commands.ts';
import type { Clock } from '../../src/base/clock.ts';

export interface Ending {
  readonly result: CommandResult;
  /** Before it ends; `Infinity`: only when it is broken off. */
  readonly afterMs: number;
  readonly output?: string;
}

export const exits = (status: number, afterMs = 10, output = ''): Ending => ({
  result: { kind: 'exited', status },
  afterMs,
  output,
});
export const hangs: Ending = { result: { kind: 'timeout' }, afterMs: Infinity };

export class FakeCommands implements Commands {
  /** `begin WORDS` and `end WORDS`, in order. */
  readonly log: string[] = [];
  readonly requests: CommandRequest[] = [];
  /** How the next runs of these words end, first in first out; afterwards `usual`. */
  readonly next = new Map<string, Ending[]>();
  readonly usual = new Map<string, Ending>();
  running = 0;
  readonly #clock: Clock;
  begun: (words: string) => void = () => {};
  ended: (words: string, result: CommandResult) => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The words of the runs, in the order of their beginning. */
  get ran(): string[] {
    return this.log.filter((line) => line.startsWith('begin ')).map((line) => line.slice(6));
  }

  run(request: CommandRequest): Promise<CommandResult> {
    const words = request.words.join(' ');
    this.requests.push(request);
    this.log.push(`begin ${words}`);
    this.begun(words);
    this.running++;
    const ending = this.next.get(words)?.shift() ?? this.usual.get(words) ?? exits(0);
    if (ending.output !== undefined) request.output(ending.output);
    return new Promise((resolve) => {
      const end = (result: CommandResult): void => {
        timer?.cancel();
        request.signal?.removeEventListener('abort', cancel);
        this.running--;
        this.log.push(`end ${words}`);
        this.ended(words, result);
        resolve(result);
      };
      const cancel = (): void => end({ kind: 'cancelled' });
      const limitMs = Math.min(ending.afterMs, request.timeoutMs);
      const late = ending.afterMs > request.timeoutMs;
      const timer = Number.isFinite(limitMs)
        ? this.#clock.after(limitMs, () => end(late ? { kind: 'timeout' } : ending.result))
        : null;
      if (request.signal?.aborted === true) cancel();
      else request.signal?.addEventListener('abort', cancel);
    });
  }
}
