/** The end of what programs have written: bounded, because a program may write for ever. */

/** Characters kept of one resource. */
export const outputCharactersMax = 64 * 1024;

export class OutputTail {
  #parts: string[] = [];
  #length = 0;

  add(text: string): void {
    if (text.length === 0) return;
    this.#parts.push(text.slice(-outputCharactersMax));
    this.#length += Math.min(text.length, outputCharactersMax);
    // Joined seldom: only when twice as much as is kept has come together, or too many crumbs.
    if (this.#length > 2 * outputCharactersMax || this.#parts.length > 1024) this.#shorten();
  }

  /** A line of our own between the program's. */
  note(line: string): void {
    const last = this.#parts.at(-1);
    this.add(`${last === undefined || last.endsWith('\n') ? '' : '\n'}${line}\n`);
  }

  get text(): string {
    this.#shorten();
    return this.#parts[0] ?? '';
  }

  #shorten(): void {
    const text = this.#parts.join('').slice(-outputCharactersMax);
    this.#parts = text === '' ? [] : [text];
    this.#length = text.length;
  }
}
