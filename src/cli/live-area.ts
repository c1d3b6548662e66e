/**
 * A block of text redrawn in place at the bottom of a terminal. What stands above it stays. Lines are broken here, between
 * words: one that the terminal wraps would make the count of lines to go back wrong.
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
    const lines = text.trimEnd().split('\n');
    const fitted = lines
      .flatMap((line) => broken(line, Math.max(20, this.#output.columns - 1)))
      .slice(0, this.#output.rows - 1);
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

/** A line in pieces of at most `width` characters, all but the first indented. A long one loses its colours. */
function broken(line: string, width: number): string[] {
  const plain = stripVTControlCharacters(line);
  if (plain.length <= width) return [line];
  const pieces: string[] = [];
  let rest = plain;
  while (rest.length > width) {
    const space = rest.lastIndexOf(' ', width);
    const end = space > width / 2 ? space : width;
    pieces.push(rest.slice(0, end));
    rest = `    ${rest.slice(end).trimStart()}`;
  }
  return [...pieces, rest];
}
