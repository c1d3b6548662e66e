/**
 * Segments on a block device, or in a file used as one, without a file system (layout: `device-layout.ts`).
 *
 * Invariants:
 * - A slot that is given to a segment has been zeroed, and the zeroes are on the medium: `entry.ts` tells what was never
 *   written by that. So a slot is free when its sector of the table says so, whatever else it holds, and only this
 *   process knows which free ones are blank.
 * - A segment exists from when its part 0 is in the table until it is not: one sector, written wholly or not at all. Parts
 *   without a part 0 of their edition are of no segment; they are freed when the device is opened.
 * - Where a sector of the table cannot be read, a part that nobody claims may be the one it spoke of: it reads as an error,
 *   never as the end of a segment, until the log has gone on behind it.
 * - After a failed flush nothing is answered for any more: the kernel reports it once, to whoever asks first (R10).
 *
 * Zeroing costs the disk a second write. The cheaper way, to recognise what an earlier segment left by a number in each
 * sector, would part every record's data.
 */
import { HoldfastError } from '../base/errors.ts';
import type { FileHandle, RawHandle } from '../base/files.ts';
import { randomHex, type Random } from '../base/random.ts';
import { formatSize } from '../base/units.ts';
import {
  decodeSlotUse,
  decodeSuperblock,
  deviceMagic,
  deviceVersion,
  encodeSlotUse,
  encodeSuperblock,
  foreignContents,
  frontBytes,
  slotBytesFor,
  slotCount,
  slotOffset,
  superblockOffsets,
  tablesOf,
  tableSectorOf,
  type SlotUse,
  type Superblock,
} from './device-layout.ts';
import { isZero, sectorBytes } from './segment-header.ts';
import type { SegmentDraft, SegmentPlace } from './segment-place.ts';

export interface DeviceOptions {
  readonly random: Random;
  /** Decides about the size of slots where the device is initialised. */
  readonly segmentBytes: number;
  /** Whatever is on the device that is not a log's may be overwritten. */
  readonly initialise: boolean;
}

/** Blank slots kept ready, so that no write waits for the zeroing of one. */
const blankSlotsWanted = 2;
const zeroes = new Uint8Array(1024 * 1024);

/** A segment on the device. */
interface Extent {
  readonly segment: number;
  readonly edition: number;
  /** Slot of each part; undefined where none was ever written, or nobody knows any more. */
  readonly parts: (number | undefined)[];
  /** How many have it open. */
  users: number;
  /** Its slots are free once nobody has it open. */
  removed: boolean;
}

export class DevicePlace implements SegmentPlace {
  readonly path: string;
  readonly #raw: RawHandle;
  #superblock: Superblock;
  #slots: number;
  readonly #extents = new Map<number, Extent>();
  #free: number[] = [];
  readonly #blank: number[] = [];
  /** Slots of which the table's sector cannot be read, until a new segment is begun. */
  #rotten: number[] = [];
  /** Slots that are being zeroed. */
  #zeroing = 0;
  #nextEdition = 1;
  #preparing: Promise<void> | null = null;
  #growing: Promise<void> | null = null;
  /** Runs, and comes next: those who ask while one runs share the next. */
  #syncing: Promise<void> | null = null;
  #nextSync: Promise<void> | null = null;
  #broken: HoldfastError | null = null;
  /** Handles that have not been closed, and this place itself. */
  #users = 1;

  private constructor(path: string, raw: RawHandle, superblock: Superblock) {
    this.path = path;
    this.#raw = raw;
    this.#superblock = superblock;
    this.#slots = slotCount(superblock.slotBytes, superblock.sizeBytes);
  }

  /**
   * Takes the handle over. Rejects with `E_REFUSED` for a device that holds something else, is too small or has shrunk,
   * with `E_METADATA` for one of a newer version, or whose superblocks are both damaged.
   */
  static async open(path: string, raw: RawHandle, options: DeviceOptions): Promise<DevicePlace> {
    try {
      const superblock = (await readSuperblock(path, raw)) ?? (await initialise(path, raw, options));
      const place = new DevicePlace(path, raw, superblock);
      const sizeBytes = await raw.size();
      if (sizeBytes < superblock.sizeBytes) {
        const [now, before] = [sizeBytes, superblock.sizeBytes].map((bytes) => formatSize(bytes));
        throw new HoldfastError('E_REFUSED', `${path} has ${now}, it had ${before}: bring the device back as it was`);
      }
      await place.#readTables();
      return place;
    } catch (error) {
      await raw.close().catch(() => {});
      throw error;
    }
  }

  get capacityBytes(): number {
    return this.#slots * this.#superblock.slotBytes;
  }

  get freeBytes(): number {
    return (this.#free.length + this.#zeroing + this.#blank.length) * this.#superblock.slotBytes;
  }

  get hides(): string | null {
    return this.#rotten.length === 0 ? null : `${this.#rotten.length} sectors of the table cannot be read`;
  }

  list(): Promise<number[]> {
    return Promise.resolve([...this.#extents.keys()].sort((a, b) => a - b));
  }

  open(number: number): Promise<FileHandle> {
    const extent = this.#extents.get(number);
    if (extent === undefined) {
      return Promise.reject(new HoldfastError('E_FILE_MISSING', `${this.path}: there is no segment ${number}`));
    }
    return Promise.resolve(this.#handleOf(extent));
  }

  async create(number: number, header: Uint8Array): Promise<FileHandle> {
    await this.remove(number);
    await this.#freeRotten();
    const extent = this.#newExtent(number);
    await this.#write(extent, 0, header, 0);
    await this.#sync();
    this.#extents.set(number, extent);
    return this.#handleOf(extent);
  }

  draft(number: number): Promise<SegmentDraft> {
    const extent = this.#newExtent(number);
    return Promise.resolve({
      writeAt: (offset, bytes) => this.#write(extent, offset, bytes, 1),
      commit: async () => {
        const [first = await this.#takeBlank()] = extent.parts;
        extent.parts[0] = first;
        await this.#sync();
        await this.#raw.writeAt(this.#tableSectorOf(first), this.#useOf(extent, 0));
        await this.#sync();
        const before = this.#extents.get(number);
        this.#extents.set(number, extent);
        if (before !== undefined) await this.#discard(before);
      },
      abandon: () => this.#discard(extent),
    });
  }

  adopt(): Promise<void> {
    return this.#sync();
  }

  async remove(number: number): Promise<void> {
    const extent = this.#extents.get(number);
    if (extent === undefined) return;
    const [first] = extent.parts;
    if (first !== undefined) {
      await this.#raw.writeAt(this.#tableSectorOf(first), zeroes.subarray(0, sectorBytes));
      await this.#sync();
    }
    this.#extents.delete(number);
    await this.#discard(extent);
  }

  /** Not as long as a segment is there. */
  async giveUp(): Promise<void> {
    if (this.#extents.size > 0) return;
    for (const offset of superblockOffsets) await this.#raw.writeAt(offset, zeroes.subarray(0, sectorBytes));
    await this.#sync();
  }

  async close(): Promise<void> {
    await this.#preparing;
    await this.#leave();
  }

  async #leave(): Promise<void> {
    this.#users--;
    if (this.#users === 0) await this.#raw.close();
  }

  async #readTables(): Promise<void> {
    const found = new Map<number, Map<number, Extent>>();
    for (const { slot, use } of await this.#readUses()) {
      const editions = found.get(use.segment) ?? new Map<number, Extent>();
      found.set(use.segment, editions);
      const extent = editions.get(use.edition) ?? newExtent(use.segment, use.edition);
      editions.set(use.edition, extent);
      extent.parts[use.part] = slot;
      this.#nextEdition = Math.max(this.#nextEdition, use.edition + 1);
    }
    let left = 0;
    for (const [segment, editions] of found) {
      const newestFirst = [...editions.values()].sort((a, b) => b.edition - a.edition);
      const begun = newestFirst.find(({ parts }) => parts[0] !== undefined);
      const chosen = begun ?? (this.#rotten.length > 0 ? newestFirst[0] : undefined);
      if (chosen !== undefined) this.#extents.set(segment, chosen);
      for (const extent of newestFirst) {
        if (extent === chosen) continue;
        await this.#clear(extent);
        left++;
      }
    }
    if (left > 0) await this.#sync();
    this.#prepareSoon();
  }

  /** What each slot in use holds; those that are free, or whose sector cannot be read, are noted. */
  async #readUses(): Promise<{ readonly slot: number; readonly use: SlotUse }[]> {
    const { slotBytes, deviceId } = this.#superblock;
    const uses: { readonly slot: number; readonly use: SlotUse }[] = [];
    for (const { offset, firstSlot, slots } of tablesOf(slotBytes, 0, this.#slots)) {
      const table = await this.#raw.readAt(offset, slots * sectorBytes);
      for (let index = 0; index < slots; index++) {
        const decoded = decodeSlotUse(table.subarray(index * sectorBytes, (index + 1) * sectorBytes));
        const slot = firstSlot + index;
        if (!decoded.ok) this.#rotten.push(slot);
        else if (decoded.value === null) this.#free.push(slot);
        else if (decoded.value.deviceId === deviceId && decoded.value.part < this.#slots) {
          uses.push({ slot, use: decoded.value });
        } else this.#rotten.push(slot);
      }
    }
    return uses;
  }

  /** The log goes on in a new segment, and what they may have hidden was reported: they are of no more use. */
  async #freeRotten(): Promise<void> {
    if (this.#rotten.length === 0) return;
    for (const slot of this.#rotten) {
      await this.#raw.writeAt(this.#tableSectorOf(slot), zeroes.subarray(0, sectorBytes));
    }
    await this.#sync();
    this.#free.push(...this.#rotten.splice(0));
  }

  #newExtent(segment: number): Extent {
    return newExtent(segment, this.#nextEdition++);
  }

  #handleOf(extent: Extent): FileHandle {
    extent.users++;
    this.#users++;
    let isOpen = true;
    return {
      readAt: (offset, length) => this.#read(extent, offset, length),
      writeAt: (offset, bytes) => this.#write(extent, offset, bytes, 0),
      sync: () => this.#sync(),
      close: async () => {
        if (!isOpen) return;
        isOpen = false;
        extent.users--;
        this.#freeUnused(extent);
        await this.#leave();
      },
    };
  }

  async #read(extent: Extent, offset: number, length: number): Promise<Uint8Array> {
    const { slotBytes } = this.#superblock;
    const endOffset = this.#rotten.length > 0 ? Infinity : extent.parts.length * slotBytes;
    const bytes = new Uint8Array(Math.max(0, Math.min(length, endOffset - offset)));
    for (const piece of piecesOf(offset, bytes.length, slotBytes)) {
      const slot = extent.parts[piece.part];
      if (slot === undefined && this.#rotten.length > 0) {
        throw new HoldfastError(
          'E_IO',
          `${this.path}: part ${piece.part} of segment ${extent.segment} is not found, and some of the table cannot be read`,
        );
      }
      if (slot === undefined) continue;
      const found = await this.#raw.readAt(slotOffset(slotBytes, slot) + piece.inPart, piece.length);
      bytes.set(found, piece.at);
    }
    return bytes;
  }

  /** Parts before `listedFrom` are not put into the table. */
  async #write(extent: Extent, offset: number, bytes: Uint8Array, listedFrom: number): Promise<void> {
    const { slotBytes } = this.#superblock;
    for (const piece of piecesOf(offset, bytes.length, slotBytes)) {
      let slot = extent.parts[piece.part];
      if (slot === undefined) {
        slot = await this.#takeBlank();
        extent.parts[piece.part] = slot;
        if (piece.part >= listedFrom) {
          await this.#raw.writeAt(this.#tableSectorOf(slot), this.#useOf(extent, piece.part));
        }
      }
      const part = bytes.subarray(piece.at, piece.at + piece.length);
      await this.#raw.writeAt(slotOffset(slotBytes, slot) + piece.inPart, part);
    }
  }

  #useOf({ segment, edition }: Extent, part: number): Uint8Array {
    return encodeSlotUse({ deviceId: this.#superblock.deviceId, segment, edition, part });
  }

  #tableSectorOf(slot: number): number {
    return tableSectorOf(this.#superblock.slotBytes, slot);
  }

  /** Takes it out of the table; its slots are free once nobody reads them. */
  async #discard(extent: Extent): Promise<void> {
    await this.#clear(extent, false);
    await this.#sync();
    extent.removed = true;
    this.#freeUnused(extent);
  }

  async #clear(extent: Extent, isFree = true): Promise<void> {
    for (const slot of extent.parts) {
      if (slot === undefined) continue;
      await this.#raw.writeAt(this.#tableSectorOf(slot), zeroes.subarray(0, sectorBytes));
      if (isFree) this.#free.push(slot);
    }
  }

  #freeUnused(extent: Extent): void {
    if (!extent.removed || extent.users > 0) return;
    for (const slot of extent.parts.splice(0)) if (slot !== undefined) this.#free.push(slot);
  }

  async #takeBlank(): Promise<number> {
    while (this.#blank.length === 0) {
      await this.#preparing;
      if (this.#blank.length === 0) await this.#prepareOne();
    }
    const slot = this.#blank.shift();
    this.#prepareSoon();
    return slot ?? this.#takeBlank();
  }

  /** What goes wrong here is told to whoever needs a slot and tries again. */
  #prepareSoon(): void {
    if (this.#preparing !== null || this.#blank.length >= blankSlotsWanted || this.#free.length === 0) return;
    this.#preparing = this.#prepareOne()
      .then(
        () => true,
        () => false,
      )
      .then((isDone) => {
        this.#preparing = null;
        if (isDone) this.#prepareSoon();
      });
  }

  async #prepareOne(): Promise<void> {
    if (this.#free.length === 0) await this.#grow();
    const slot = this.#free.shift();
    if (slot === undefined) {
      const { slotBytes } = this.#superblock;
      throw new HoldfastError(
        'E_NO_SPACE',
        `${this.path}: all ${this.#slots} slots of ${formatSize(slotBytes)} are used`,
      );
    }
    this.#zeroing++;
    try {
      const { slotBytes } = this.#superblock;
      await zero(this.#raw, slotOffset(slotBytes, slot), slotBytes);
      await this.#sync();
    } catch (error) {
      this.#free.push(slot);
      throw error;
    } finally {
      this.#zeroing--;
    }
    this.#blank.push(slot);
  }

  /** The device may have become larger since. */
  #grow(): Promise<void> {
    this.#growing ??= this.#growNow().finally(() => {
      this.#growing = null;
    });
    return this.#growing;
  }

  async #growNow(): Promise<void> {
    const sizeBytes = await this.#raw.size();
    const { slotBytes, sequence } = this.#superblock;
    const slots = slotCount(slotBytes, sizeBytes);
    if (slots <= this.#slots) return;
    for (const table of tablesOf(slotBytes, this.#slots, slots)) {
      await zero(this.#raw, table.offset, table.slots * sectorBytes);
    }
    await this.#sync();
    const superblock = { ...this.#superblock, sizeBytes, sequence: sequence + 1 };
    await writeSuperblock(this.#raw, superblock);
    for (let slot = this.#slots; slot < slots; slot++) this.#free.push(slot);
    this.#superblock = superblock;
    this.#slots = slots;
  }

  #sync(): Promise<void> {
    this.#nextSync ??= (this.#syncing ?? Promise.resolve()).then(() => {
      this.#syncing = this.#nextSync;
      this.#nextSync = null;
      return this.#syncNow();
    });
    return this.#nextSync;
  }

  async #syncNow(): Promise<void> {
    try {
      if (this.#broken !== null) throw this.#broken;
      await this.#raw.sync();
    } catch (error) {
      this.#broken ??= new HoldfastError('E_IO', `${this.path}: a flush failed`, { cause: error });
      throw this.#broken;
    }
  }
}

function newExtent(segment: number, edition: number): Extent {
  return { segment, edition, parts: [], users: 0, removed: false };
}

interface Piece {
  readonly part: number;
  readonly inPart: number;
  readonly length: number;
  /** In the whole. */
  readonly at: number;
}

function piecesOf(offset: number, length: number, slotBytes: number): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at < length;) {
    const part = Math.floor((offset + at) / slotBytes);
    const inPart = (offset + at) % slotBytes;
    const piece = { part, inPart, length: Math.min(length - at, slotBytes - inPart), at };
    pieces.push(piece);
    at += piece.length;
  }
  return pieces;
}

/** Null for a device that holds no log. Where one of the two is damaged it is written anew. */
async function readSuperblock(path: string, raw: RawHandle): Promise<Superblock | null> {
  const sectors: Uint8Array[] = [];
  for (const offset of superblockOffsets) sectors.push(await raw.readAt(offset, sectorBytes));
  const found: Superblock[] = [];
  for (const read of sectors.map(decodeSuperblock)) {
    if (read.kind === 'newer') {
      throw new HoldfastError(
        'E_METADATA',
        `${path} was initialised by a newer program (format ${read.version}; this one knows ${deviceVersion}): start that one`,
      );
    }
    if (read.kind === 'superblock') found.push(read.superblock);
  }
  const [newest] = found.sort((a, b) => b.sequence - a.sequence);
  if (newest !== undefined) {
    if (found.at(1)?.sequence !== newest.sequence) await writeSuperblock(raw, newest);
    return newest;
  }
  const isOurs = sectors.some((sector) => Buffer.from(sector.subarray(0, 8)).toString('latin1') === deviceMagic);
  if (isOurs) {
    throw new HoldfastError(
      'E_METADATA',
      `${path} holds a log, but both superblocks are damaged: if it is to be given up, overwrite its first MiB with zeroes`,
    );
  }
  return null;
}

async function initialise(path: string, raw: RawHandle, options: DeviceOptions): Promise<Superblock> {
  const slotBytes = slotBytesFor(options.segmentBytes);
  const sizeBytes = await raw.size();
  const slots = slotCount(slotBytes, sizeBytes);
  if (slots < blankSlotsWanted) {
    throw new HoldfastError(
      'E_REFUSED',
      `${path} has ${formatSize(sizeBytes)}, too little for two slots of ${formatSize(slotBytes)}: take a larger one`,
    );
  }
  const found = foreignContents(await raw.readAt(0, frontBytes));
  if (found !== null && !options.initialise) {
    throw new HoldfastError(
      'E_REFUSED',
      `${path} holds ${found}: choose another device, or zero its first MiB if nothing on it is needed`,
    );
  }
  for (const table of tablesOf(slotBytes, 0, slots)) await zero(raw, table.offset, table.slots * sectorBytes);
  await zero(raw, 0, frontBytes);
  await raw.sync();
  const superblock = { deviceId: randomHex(options.random, 16), sequence: 1, slotBytes, sizeBytes };
  await writeSuperblock(raw, superblock);
  return superblock;
}

/** One after the other: whatever happens one of them is whole. */
async function writeSuperblock(raw: RawHandle, superblock: Superblock): Promise<void> {
  for (const offset of superblockOffsets) {
    await raw.writeAt(offset, encodeSuperblock(superblock));
    await raw.sync();
  }
}

/** What is zeroes already is not written: reading is cheaper, and new disks are. */
async function zero(raw: RawHandle, offset: number, length: number): Promise<void> {
  for (let at = 0; at < length; at += zeroes.length) {
    const count = Math.min(zeroes.length, length - at);
    const found = await raw.readAt(offset + at, count);
    if (!isZero(found, 0, found.length)) await raw.writeAt(offset + at, zeroes.subarray(0, count));
  }
}
