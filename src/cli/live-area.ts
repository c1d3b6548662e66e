/**
 * A block of text redrawn in place at the bottom of a terminal. What stands above it stays. Lines are cut to the width:
 * a line that wraps would make the count of lines to go back wrong.
 */
import { stripVTControlCharacters } from 'node:util';
import type { Output } from './io.ts';

export class LiveArea {
  readonly #output: Output;
  #lineCount = 0;

  constructor(output: Output) {
    this.#output = output;
  }

  draw(text: string): void {
    const width = this.#output.columns - 1;
    const lines = text
      .trimEnd()
      .split('\n')
      .slice(0, this.#output.rows - 1);
    const fitted = lines.map((line) => {
      const plain = stripVTControlCharacters(line);
      return plain.length <= width ? line : `${plain.slice(0, width - 1)}…`;
    });
    this.#output.write(`${this.#erasure()}${fitted.join('\n')}\n`);
    this.#lineCount = fitted.length;
  }

  clear(): void {
    this.#output.write(this.#erasure());
    this.#lineCount = 0;
  }

  /** Cursor up to the area's first line, then erase to the end of the screen (ECMA-48 CUU, ED). */
  #erasure(): string {
    return this.#lineCount === 0 ? '' : `\x1b[${this.#lineCount}A\x1b[0J`;
  }
}
