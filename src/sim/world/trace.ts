/**
 * What happened in a run, as one number: every event's kind, process and virtual time, and whatever a scene adds. Two
 * runs of a seed whose hashes agree did the same, to the byte; nothing else proves that the world is deterministic.
 */

const kinds = [
  'note',
  'timer',
  'turn',
  'wake',
  'connect',
  'accept',
  'deliver',
  'drained',
  'closed',
  'device',
  'files',
  'store',
  'effect',
  'ended',
  'fault',
] as const;

export type EventKind = (typeof kinds)[number];

const codes = Object.fromEntries(kinds.map((kind, index) => [kind, index + 1])) as Record<EventKind, number>;

/** A line of the trace, for a person who looks for the first difference or reads a failing scene. */
export type TraceListener = (line: string) => void;

export class Trace {
  readonly #listener: TraceListener | undefined;
  readonly #double = new Float64Array(1);
  readonly #words = new Uint32Array(this.#double.buffer);
  #low = 0x811c9dc5;
  #high = 0x9e3779b9;
  events = 0;

  constructor(listener?: TraceListener) {
    this.#listener = listener;
  }

  /** 64 bits as 16 hex digits. */
  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');
    return hex(this.#high) + hex(this.#low);
  }

  /** @param number any detail that must be the same in both runs: a length, an offset, an outcome. */
  add(atMs: number, kind: EventKind, processNumber: number, number = 0): void {
    this.events++;
    this.#double[0] = atMs;
    this.#mix(codes[kind] + processNumber * 64);
    this.#mix(this.#words[0] ?? 0);
    this.#mix(this.#words[1] ?? 0);
    this.#mix(number);
    this.#listener?.(`${atMs.toFixed(6)} ${kind} p${processNumber} ${number}`);
  }

  /** A scene's own line. */
  note(atMs: number, text: string): void {
    for (let index = 0; index < text.length; index++) this.#mix(text.charCodeAt(index));
    this.add(atMs, 'note', 0, text.length);
    this.#listener?.(`${atMs.toFixed(6)} ${text}`);
  }

  /** Two lanes of FNV-1a over words, with different multipliers. */
  #mix(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = Math.imul((this.#high ^ word) + (this.#low >>> 15), 0x85ebca6b);
    this.#high ^= this.#high >>> 13;
  }
}
