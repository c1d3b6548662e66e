/**
 * The fine intent map (TL-7): where a group's owner has writes under way, write by write, where a crash of its process
 * cannot harm it. What it names is all in which the owner's leg and a leg that was followed live can differ then.
 *
 * Invariants:
 * - A change is named before its write to the own leg is begun, and before any other leg is sent it.
 * - It is named until it is stored on the own leg and applied by every leg that is followed live. Entries end in the order
 *   in which they were made, so that one number says which do.
 * - With loss of power it means nothing: hot regions do.
 * - A crash in the middle of an entry is one before it: its change had not been begun. An entry that is missing between
 *   others makes the map one that names nothing.
 *
 * Bounded: with no entry free writes wait, in order (R1).
 *
 * A file of 4097 places of 64 bytes, mapped into memory (`KeptMemory`); little-endian. Place 0 says whose it is:
 *
 *   u32 magic, u16 version 1, u16 flags (bit 0: does not name everything), u64 generation of the owner,
 *   u64 count of the newest entry that had ended, u64 + u64 position (generation, seq) up to which every leg followed
 *   live had everything then, u32 places in use, u32 CRC-32C of the 44 bytes before it
 *
 * Entry number c, counted from 1 for ever, is at place 1 + c modulo the places in use:
 *
 *   u32 magic, u16 volume, u16 zero, u64 count, u64 count of the newest entry that had ended when this was made,
 *   u64 + u64 position (generation, seq), u64 offset, u64 length, u32 CRC-32C of the 56 bytes before it
 */
import { crc32c } from '../base/crc32c.ts';
import type { BlockFault, DeviceProvider, KeptMemory } from '../block/device.ts';
import { origin, type Position } from '../stream/position.ts';

/** A write that may be on some legs only, or in part. */
export interface Intent {
  readonly position: Position;
  readonly volume: number;
  /** Bytes. */
  readonly offset: number;
  readonly length: number;
}

/** What an owner left in its map. */
export interface FoundIntents {
  /** Of the owner. */
  readonly generation: number;
  /** In stamp order. Null: they are not known, or do not name everything. */
  readonly intents: readonly Intent[] | null;
  /** Whoever was followed live had everything up to here. */
  readonly after: Position;
}

/** Entries a map may have. */
export const intentEntriesMin = 16;
export const intentEntriesMax = 4096;

const placeBytes = 64;
export const intentMapBytes = (1 + intentEntriesMax) * placeBytes;
const headMagic = 0x4d49_4648; // "HFIM"
const entryMagic = 0x4549_4648; // "HFIE"
const version = 1;
const incompleteFlag = 1;
const headCheckedBytes = 44;
const entryCheckedBytes = 56;

export class IntentMap {
  readonly #memory: KeptMemory;
  readonly #view: DataView;
  readonly #places: number;
  /** By place: the ordinal after which an entry is not needed any more. */
  readonly #neededUpTo: Float64Array;
  #generation = 0;
  /** Numbers of the newest entry made, and of the newest that has ended. */
  #newest: number;
  #ended: number;
  #incomplete = false;
  /** What a later process would take for ended. */
  #endedKept: number;
  /** Every leg followed live has everything up to here: when the tenure began, or later. */
  #after = origin;
  #begunAt = 0;
  readonly #adoptable: boolean;

  private constructor(memory: KeptMemory, places: number, { head, newest, ended }: Contents) {
    this.#memory = memory;
    this.#view = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.bytes.byteLength);
    this.#places = places;
    this.#neededUpTo = new Float64Array(places);
    this.#newest = newest;
    this.#ended = ended;
    this.#endedKept = ended;
    this.#adoptable = head?.places === places;
  }

  /** Rejects with `E_IO`, `E_NO_SPACE`. @param places `intentEntriesMin`…`intentEntriesMax`. */
  static async open(
    devices: DeviceProvider,
    folder: string,
    places: number,
  ): Promise<{ readonly map: IntentMap; readonly found: FoundIntents | null }> {
    const memory = await devices.openMemory(`${folder}/intent`, intentMapBytes);
    const contents = readIntents(memory.bytes);
    const { head, intents, after } = contents;
    const found = head === null ? null : { generation: head.generation, intents, after };
    return { map: new IntentMap(memory, places, contents), found };
  }

  /** How many more may be made. */
  get free(): number {
    return this.#places - (this.#newest - this.#ended);
  }

  get size(): number {
    return this.#newest - this.#ended;
  }

  get places(): number {
    return this.#places;
  }

  /**
   * A tenure begins. What was found is forgotten, or, with `neededUpTo`, goes on to be named until that ordinal is released.
   * Returns a fault, or null.
   * @param after every leg that is followed live from now on has everything up to here
   */
  begin(generation: number, after: Position, neededUpTo: number | null): BlockFault | null {
    this.#generation = generation;
    this.#after = after;
    this.#incomplete = false;
    if (neededUpTo === null) this.#ended = this.#newest;
    this.#begunAt = this.#ended;
    for (let count = this.#ended + 1; count <= this.#newest; count++) {
      this.#neededUpTo[count % this.#places] = neededUpTo ?? 0;
    }
    return this.#keepHead();
  }

  /** Whether what was found can go on to be named: it is where this map looks for it. */
  get adoptable(): boolean {
    return this.#adoptable;
  }

  /** The owner goes on under another generation: what is named stays so. */
  beginGeneration(generation: number): BlockFault | null {
    this.#generation = generation;
    return this.#keepHead();
  }

  /** Something differs that no entry names, for the rest of the tenure. */
  giveUp(): BlockFault | null {
    this.#incomplete = true;
    return this.#keepHead();
  }

  /**
   * Names a change; there must be a free entry. It ends when `ordinal` is released. Returns a fault, or null: the change
   * may be begun.
   */
  add(ordinal: number, { position, volume, offset, length }: Intent): BlockFault | null {
    const count = ++this.#newest;
    this.#neededUpTo[count % this.#places] = ordinal;
    this.#endedKept = this.#ended;
    const at = this.#at(count);
    const view = this.#view;
    view.setUint32(at, entryMagic, true);
    view.setUint16(at + 4, volume, true);
    view.setUint16(at + 6, 0, true);
    setU64(view, at + 8, count);
    setU64(view, at + 16, this.#ended);
    setU64(view, at + 24, position.generation);
    setU64(view, at + 32, position.seq);
    setU64(view, at + 40, offset);
    setU64(view, at + 48, length);
    view.setUint32(at + entryCheckedBytes, crc32c(this.#memory.bytes.subarray(at, at + entryCheckedBytes)), true);
    return this.#memory.keep(at, placeBytes);
  }

  /** Every change up to the ordinal is stored on the own leg, and applied by all that are followed live. */
  release(ordinal: number): void {
    while (this.#ended < this.#newest && (this.#neededUpTo[(this.#ended + 1) % this.#places] ?? 0) <= ordinal) {
      this.#ended++;
    }
  }

  /** Keeps which entries have ended, when no new entry says so. */
  tidy(): BlockFault | null {
    return this.#endedKept === this.#ended ? null : this.#keepHead();
  }

  close(): Promise<void> {
    return this.#memory.close();
  }

  #at(count: number): number {
    return (1 + (count % this.#places)) * placeBytes;
  }

  #keepHead(): BlockFault | null {
    this.#endedKept = this.#ended;
    const view = this.#view;
    if (this.#ended > this.#begunAt)
      this.#after = readEntry(this.#memory.bytes, this.#at(this.#ended), this.#ended)?.position ?? this.#after;
    view.setUint32(0, headMagic, true);
    view.setUint16(4, version, true);
    view.setUint16(6, this.#incomplete ? incompleteFlag : 0, true);
    setU64(view, 8, this.#generation);
    setU64(view, 16, this.#ended);
    setU64(view, 24, this.#after.generation);
    setU64(view, 32, this.#after.seq);
    view.setUint32(40, this.#places, true);
    view.setUint32(headCheckedBytes, crc32c(this.#memory.bytes.subarray(0, headCheckedBytes)), true);
    return this.#memory.keep(0, placeBytes);
  }
}

interface Head {
  readonly complete: boolean;
  readonly generation: number;
  readonly ended: number;
  readonly after: Position;
  readonly places: number;
}

interface Entry extends Intent {
  readonly count: number;
  readonly ended: number;
}

interface Contents {
  /** Null when there is none that is whole. */
  readonly head: Head | null;
  readonly newest: number;
  readonly ended: number;
  readonly intents: readonly Intent[] | null;
  readonly after: Position;
}

/** What a map names, from any bytes whatever. */
export function readIntents(bytes: Uint8Array): Contents {
  const head = readHead(bytes);
  const entries = new Map<number, Entry>();
  let last: Entry | null = null;
  for (let at = placeBytes; at + placeBytes <= bytes.length; at += placeBytes) {
    const entry = readEntry(bytes, at);
    if (entry === null) continue;
    entries.set(entry.count, entry);
    if (last === null || entry.count > last.count) last = entry;
  }
  // Before the first entry of a tenure its head alone says how many were made.
  const ended = Math.max(head?.ended ?? 0, last?.ended ?? 0);
  const newest = Math.max(ended, last?.count ?? 0);
  let intents: Intent[] | null = head?.complete === true && newest - ended <= intentEntriesMax ? [] : null;
  for (let count = ended + 1; count <= newest && intents !== null; count++) {
    const entry = entries.get(count);
    if (entry === undefined) intents = null;
    else intents.push(intentOf(entry));
  }
  const later = ended > (head?.ended ?? 0) ? entries.get(ended)?.position : undefined;
  const after = later ?? head?.after ?? origin;
  return { head, newest, ended: intents === null ? newest : ended, intents, after };
}

function intentOf({ position, volume, offset, length }: Entry): Intent {
  return { position, volume, offset, length };
}

function readHead(bytes: Uint8Array): Head | null {
  if (bytes.length < placeBytes) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, placeBytes);
  if (view.getUint32(0, true) !== headMagic || view.getUint16(4, true) !== version) return null;
  if (view.getUint32(headCheckedBytes, true) !== crc32c(bytes.subarray(0, headCheckedBytes))) return null;
  return {
    complete: (view.getUint16(6, true) & incompleteFlag) === 0,
    generation: getU64(view, 8),
    ended: getU64(view, 16),
    after: { generation: getU64(view, 24), seq: getU64(view, 32) },
    places: view.getUint32(40, true),
  };
}

/** @param wanted its count; any when absent. */
function readEntry(bytes: Uint8Array, at: number, wanted?: number): Entry | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, placeBytes);
  if (view.getUint32(0, true) !== entryMagic) return null;
  const checksum = crc32c(bytes.subarray(at, at + entryCheckedBytes));
  const count = getU64(view, 8);
  if (view.getUint32(entryCheckedBytes, true) !== checksum || count !== (wanted ?? count)) return null;
  return {
    volume: view.getUint16(4, true),
    count,
    ended: getU64(view, 16),
    position: { generation: getU64(view, 24), seq: getU64(view, 32) },
    offset: getU64(view, 40),
    length: getU64(view, 48),
  };
}

function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

/** As two words: no BigInt for each field of each write. */
function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}
