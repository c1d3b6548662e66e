/**
 * Seeded randomness of the simulated world (generator: sfc32 by Chris Doty-Humphrey; seeds spread by cyrb128).
 *
 * A stream is named, and knows only its name: `derive` looks at the parent's name, never at how much was drawn from
 * it. So one draw more in the disk model does not shift what the network does, and a seed stays comparable while the
 * model grows.
 */
import type { Random } from '../../base/random.ts';

export class Prng implements Random {
  readonly #name: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(name: string) {
    this.#name = name;
    [this.#a, this.#b, this.#c] = spread(name);
    for (let warmUp = 0; warmUp < 12; warmUp++) this.next();
  }

  /** An independent stream: the same for the same names, whatever was drawn before. */
  derive(name: string): Prng {
    return new Prng(`${this.#name}/${name}`);
  }

  /** A whole number in [0, 2³²). */
  next(): number {
    const result = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + result) | 0;
    return result >>> 0;
  }

  /** In [0, 1). */
  fraction(): number {
    return this.next() / 4294967296;
  }

  /** In [from, to). */
  between(from: number, to: number): number {
    return from + this.fraction() * (to - from);
  }

  below(bound: number): number {
    return Math.floor(this.fraction() * bound);
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }

  /** Waiting time until something that happens on average every `mean`. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.fraction());
  }

  bytes(count: number): Uint8Array {
    const result = new Uint8Array(count);
    for (let index = 0; index < count; index++) result[index] = this.next();
    return result;
  }
}

/** Three well-mixed words from any text. */
function spread(text: string): [number, number, number] {
  let a = 1779033703;
  let b = 3144134277;
  let c = 1013904242;
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = b ^ Math.imul(a ^ code, 597399067);
    b = c ^ Math.imul(b ^ code, 2869860233);
    c = a ^ Math.imul(c ^ code, 951274213);
  }
  a = Math.imul(c ^ (a >>> 18), 597399067);
  b = Math.imul(a ^ (b >>> 22), 2869860233);
  c = Math.imul(b ^ (c >>> 17), 951274213);
  return [a, b, c];
}
