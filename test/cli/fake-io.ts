/** A process that is not one: collects what a command writes, and lets its pauses pass at once. */
import picocolors from 'picocolors';
import type { Io, Output } from '../../src/cli/io.ts';

export interface FakeIo extends Io {
  readonly outText: () => string;
  readonly errText: () => string;
  /** Called at every pause with how many there were before. */
  onPause: (count: number) => void;
  interrupt(): void;
}

export function fakeIo(options: { isTerminal?: boolean } = {}): FakeIo {
  const texts = { out: '', err: '' };
  const stopper = new AbortController();
  let pauses = 0;
  const output = (name: 'out' | 'err'): Output => ({
    write: (text) => {
      texts[name] += text;
    },
    isTerminal: options.isTerminal === true,
    columns: 80,
    rows: 50,
    colours: picocolors.createColors(false),
  });
  return {
    out: output('out'),
    err: output('err'),
    stop: stopper.signal,
    inputClosed: () => new Promise(() => {}),
    async pause() {
      this.onPause(pauses++);
      await new Promise((resolve) => setImmediate(resolve));
    },
    wallMs: () => 0,
    outText: () => texts.out,
    errText: () => texts.err,
    onPause: () => {},
    interrupt: () => stopper.abort(),
  };
}
