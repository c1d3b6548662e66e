/**
 * Little-endian reading and writing of metadata and link messages.
 *
 * The reader is total: whatever the bytes are, it either returns a value within the bounds the caller named or throws
 * `DecodeError`, and never allocates more than the bytes at hand justify. `decode` is the one place that turns the
 * exception into a result; it exists so that a decoder reads like its grammar. Numbers of 64 bits are read as
 * `number`: above 2^53 - 1 they are refused, nothing of ours counts that far.
 */

/** Foreign bytes are not what they should be; the message says what, and at which offset. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}

export type Decoded<Value> =
  { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly reason: string };

/** Runs a decoder over `bytes`, all of which it must consume. */
export function decode<Value>(bytes: Uint8Array, read: (reader: Reader) => Value): Decoded<Value> {
  try {
    const reader = new Reader(bytes);
    const value = read(reader);
    reader.end();
    return { ok: true, value };
  } catch (error) {
    if (error instanceof DecodeError) return { ok: false, reason: error.message };
    throw error;
  }
}

const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): number {
    const offset = this.#take(8);
    const value = this.#view.getUint32(offset + 4, true) * 0x1_0000_0000 + this.#view.getUint32(offset, true);
    return Number.isSafeInteger(value) ? value : this.fail('a number above 2^53 - 1', offset);
  }

  /** One byte, 0 or 1. */
  boolean(): boolean {
    const value = this.u8();
    return value <= 1 ? value === 1 : this.fail(`${value} where 0 or 1 belongs`, this.#offset - 1);
  }

  /** A view, not a copy, of exactly `length` bytes. */
  raw(length: number): Uint8Array {
    const offset = this.#take(length);
    return this.#bytes.subarray(offset, offset + length);
  }

  /** UTF-8 after its length in one byte. */
  string8(max = 255): string {
    return this.#text(this.#bounded(this.u8(), max, 'a string'));
  }

  /** UTF-8 after its length in two bytes. */
  string16(max = 65_535): string {
    return this.#text(this.#bounded(this.u16(), max, 'a string'));
  }

  /** Bytes (a view) after their length in four bytes. */
  bytes32(max: number): Uint8Array {
    return this.raw(this.#bounded(this.u32(), max, 'a field'));
  }

  /** Items after their count in two bytes. */
  list16<Item>(max: number, item: (reader: Reader) => Item): Item[] {
    return this.#items(this.#bounded(this.u16(), max, 'a list'), item);
  }

  /** Items after their count in four bytes. */
  list32<Item>(max: number, item: (reader: Reader) => Item): Item[] {
    return this.#items(this.#bounded(this.u32(), max, 'a list'), item);
  }

  /** Nothing may follow. */
  end(): void {
    if (this.remaining > 0) this.fail(`${this.remaining} bytes too many`);
  }

  /** For a decoder that finds a value it does not know. */
  fail(what: string, offset = this.#offset): never {
    throw new DecodeError(`${what} at byte ${offset}`);
  }

  #take(length: number): number {
    const offset = this.#offset;
    if (length > this.#bytes.length - offset) this.fail(`${length} bytes wanted, ${this.remaining} left`);
    this.#offset = offset + length;
    return offset;
  }

  #bounded(length: number, max: number, what: string): number {
    return length <= max ? length : this.fail(`${what} of ${length}, at most ${max} allowed`);
  }

  #text(length: number): string {
    const offset = this.#offset;
    try {
      return textDecoder.decode(this.raw(length));
    } catch (error) {
      if (error instanceof DecodeError) throw error;
      return this.fail('a string that is not UTF-8', offset);
    }
  }

  /** Pushed one by one: a count that lies runs out of bytes before it runs up memory. */
  #items<Item>(count: number, item: (reader: Reader) => Item): Item[] {
    const items: Item[] = [];
    for (let index = 0; index < count; index++) items.push(item(this));
    return items;
  }
}

const textEncoder = new TextEncoder();

/**
 * Grows by doubling up to `maxBytes`. What does not fit, or a number out of its field's range, is a mistake of ours
 * and throws `RangeError`.
 */
export class Writer {
  readonly #maxBytes: number;
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(maxBytes: number, startBytes = 256) {
    this.#maxBytes = maxBytes;
    this.#bytes = new Uint8Array(Math.min(startBytes, maxBytes));
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    inRange(value, 0xff);
    const offset = this.#reserve(1);
    this.#view.setUint8(offset, value);
    return this;
  }

  u16(value: number): this {
    inRange(value, 0xffff);
    const offset = this.#reserve(2);
    this.#view.setUint16(offset, value, true);
    return this;
  }

  u32(value: number): this {
    inRange(value, 0xffff_ffff);
    const offset = this.#reserve(4);
    this.#view.setUint32(offset, value, true);
    return this;
  }

  u64(value: number): this {
    inRange(value, Number.MAX_SAFE_INTEGER);
    const offset = this.#reserve(8);
    this.#view.setUint32(offset, value % 0x1_0000_0000, true);
    this.#view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
    return this;
  }

  boolean(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  raw(data: Uint8Array): this {
    const offset = this.#reserve(data.length);
    this.#bytes.set(data, offset);
    return this;
  }

  string8(text: string): this {
    const encoded = textEncoder.encode(text);
    return this.u8(encoded.length).raw(encoded);
  }

  string16(text: string): this {
    const encoded = textEncoder.encode(text);
    return this.u16(encoded.length).raw(encoded);
  }

  bytes32(data: Uint8Array): this {
    return this.u32(data.length).raw(data);
  }

  list16<Item>(items: readonly Item[], write: (writer: this, item: Item) => void): this {
    this.u16(items.length);
    for (const item of items) write(this, item);
    return this;
  }

  list32<Item>(items: readonly Item[], write: (writer: this, item: Item) => void): this {
    this.u32(items.length);
    for (const item of items) write(this, item);
    return this;
  }

  /** Overwrites four bytes written before, such as a length or checksum known only now. */
  patchU32(offset: number, value: number): this {
    inRange(value, 0xffff_ffff);
    if (offset + 4 > this.#length)
      throw new RangeError(`patch at ${offset} is past the ${this.#length} bytes written`);
    this.#view.setUint32(offset, value, true);
    return this;
  }

  /** A view of what has been written; writing on may or may not show in it. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** May replace array and view: neither is touched before it has returned. */
  #reserve(length: number): number {
    const offset = this.#length;
    const needed = offset + length;
    if (needed > this.#bytes.length) this.#grow(needed);
    this.#length = needed;
    return offset;
  }

  #grow(needed: number): void {
    if (needed > this.#maxBytes)
      throw new RangeError(`message of ${needed} bytes, at most ${this.#maxBytes} allowed`);
    const larger = new Uint8Array(Math.min(this.#maxBytes, Math.max(needed, this.#bytes.length * 2)));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

function inRange(value: number, max: number): void {
  if (!Number.isInteger(value) || value < 0 || value > max) throw new RangeError(`${value} does not fit 0…${max}`);
}
