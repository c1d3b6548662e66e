/**
 * A group's copy on this node: the devices of its volumes and all that is remembered beside them. Owner and target both
 * stand on it; it knows neither.
 *
 * Invariants:
 * - One process has it open (locks of the devices).
 * - `durable` moves only after a flush of every volume that covers it, and is on the medium before anybody is told (R5).
 * - After a write or flush failed at the medium, `fault` is set, stays, and the leg serves nothing (R10). Out of space is
 *   not such a fault.
 */
import { assert } from '../base/assert.ts';
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import type { BlockFault, Device, DeviceProvider } from '../block/device.ts';
import type { VolumeEntry } from '../store/document.ts';
import { comparePositions, type Position } from '../stream/position.ts';
import { ChangeBitmap } from './change-bitmap.ts';
import { ExtentSet, type Extent } from './extents.ts';
import { HotRegions } from './hot-regions.ts';
import { IntentMap, type FoundIntents, type Intent } from './intent-map.ts';
import { finishPromotion } from './last-image.ts';
import { LegCursor } from './leg-cursor.ts';
import { BitsFile, LegMetadata, newLegState, type LegState, type PeerBits } from './leg-metadata.ts';

export interface LocalVolume {
  readonly entry: VolumeEntry;
  readonly path: string;
  readonly device: Device;
}

export interface LocalLegOptions {
  readonly environment: Environment;
  readonly devices: DeviceProvider;
  readonly group: string;
  readonly node: string;
  /** Folder of the metadata. */
  readonly folder: string;
  readonly volumes: readonly VolumeEntry[];
  readonly pathOf: (volume: VolumeEntry) => string;
  readonly hotRegionsMax: number;
  /** `intentEntriesMin`…`intentEntriesMax`. */
  readonly intentEntries: number;
  /** Room of one slot of the `bits` file. */
  readonly bitsSlotBytes: number;
}

interface Outstanding {
  readonly intents: readonly Intent[];
  /** A leg that was followed live, and kept all it had, has everything up to here. */
  readonly after: Position;
}

/** A description of more pieces than these, of a volume and in all, names what lies between them, too. */
const describedExtentsMax = 16_384;
const describedInAllMax = 2 ** 21;

/** How long to wait before a metadata save that failed is tried again. */
const saveRetryMs = 1000;

export class LocalLeg {
  readonly group: string;
  readonly node: string;
  readonly metadata: LegMetadata;
  readonly hot: HotRegions;
  /** Where this leg's owner has writes under way. */
  readonly intents: IntentMap;
  /**
   * After the crash of an owner: all in which this leg and one that it followed live, and that kept all it had, can differ
   * (R7). Null: more coarsely known, by hot regions.
   */
  outstanding: Outstanding | null;
  /** Change bits against every other leg, by node. Beyond the last save, hot regions cover them. */
  readonly bits: Map<string, PeerBits>;
  /**
   * What a leg that is away may lack besides: what it had applied but not made durable when it was lost. Saved with the
   * bits, as if it were of them: after a restart nobody knows better.
   */
  readonly unconfirmed = new Map<string, PeerBits>();
  /** How far records are applied. Everything before is there, for this process and its successors on this kernel. */
  applied: Position;
  /** No record beyond has been started. */
  intended: Position;
  /** False after a start that may have lost what was not durable; true again once that is settled (R6). */
  held: boolean;
  /** Why the leg serves nothing any more. */
  fault: BlockFault | null = null;
  /** Why metadata cannot be saved just now; writes that need it wait. */
  trouble: string | null = null;
  /** The owner of the leg is told about a new fault. */
  onFault: (fault: BlockFault) => void = () => {};
  /** Asked when hot regions must cool for writes to go on. */
  onPressure: () => void = () => {};

  readonly #environment: Environment;
  readonly #options: LocalLegOptions;
  readonly #madeEmpty: boolean;
  readonly #volumes = new Map<number, LocalVolume>();
  readonly #bitsFile: BitsFile;
  readonly #cursor: LegCursor;
  #saving: Promise<void> | null = null;
  #saveAgain: Promise<void> | null = null;
  #closed = false;

  private constructor(
    options: LocalLegOptions,
    parts: {
      metadata: LegMetadata;
      bitsFile: BitsFile;
      bits: Map<string, PeerBits>;
      cursor: LegCursor;
      intents: IntentMap;
      outstanding: Outstanding | null;
      volumes: readonly LocalVolume[];
      blank: boolean;
      start: { applied: Position; intended: Position; held: boolean };
    },
  ) {
    this.#options = options;
    this.#environment = options.environment;
    this.group = options.group;
    this.node = options.node;
    this.metadata = parts.metadata;
    this.#bitsFile = parts.bitsFile;
    this.bits = parts.bits;
    this.#cursor = parts.cursor;
    this.intents = parts.intents;
    this.outstanding = parts.outstanding;
    this.#madeEmpty = parts.blank;
    this.applied = parts.start.applied;
    this.intended = parts.start.intended;
    this.held = parts.start.held;
    for (const volume of parts.volumes) this.#volumes.set(volume.entry.index, volume);
    this.hot = new HotRegions(
      {
        regionsMax: options.hotRegionsMax,
        save: (saved) => this.#saveUntilDone(saved),
        pressed: () => this.onPressure(),
      },
      this.metadata.state.hot,
    );
  }

  /**
   * Opens devices and metadata, and finds out what of it still holds. Rejects with `E_VOLUME_IN_USE`, `E_FILE_MISSING`,
   * `E_VOLUME_SIZE`, `E_METADATA`, `E_NO_SPACE`, `E_IO`; nothing is left open then.
   */
  static async open(options: LocalLegOptions): Promise<LocalLeg> {
    const { environment, devices, folder } = options;
    const opened: { close(): Promise<void> }[] = [];
    try {
      const initial = newLegState(options.group, options.node, environment.bootId);
      let { metadata, found } = await LegMetadata.open(environment.files, folder, initial);
      if (found && isOfAnotherGroup(metadata.state, options.volumes)) {
        // Deleted while this node was away, and made anew under the same name.
        environment.log.warn(`group ${options.group}: metadata of an earlier group of this name is put away`);
        await metadata.close();
        for (const name of ['leg', 'bits', 'cursor', 'intent']) await environment.files.remove(`${folder}/${name}`);
        ({ metadata, found } = await LegMetadata.open(environment.files, folder, initial));
      }
      opened.push(metadata);
      await finishPromotion(options, metadata);
      const bitsFile = await BitsFile.open(environment.files, folder, options.bitsSlotBytes);
      opened.push(bitsFile);
      const bits = await bitsFile.load();
      const cursor = await LegCursor.open(devices, folder);
      opened.push(cursor.cursor);
      const intents = await IntentMap.open(devices, folder, options.intentEntries);
      opened.push(intents.map);
      const volumes: (LocalVolume & { readonly created: boolean })[] = [];
      for (const entry of options.volumes) {
        const known = metadata.state.volumes.some((held) => held.index === entry.index);
        const volume = await openVolume(options, entry, !known);
        opened.push(volume.device);
        volumes.push(volume);
      }
      const start = startingPoint(metadata.state, cursor.found, environment.bootId);
      const leg = new LocalLeg(options, {
        metadata,
        bitsFile,
        bits,
        cursor: cursor.cursor,
        intents: intents.map,
        outstanding: start.held ? leftOutstanding(metadata.state, intents.found) : null,
        volumes,
        blank: !found && volumes.every((volume) => volume.created),
        start,
      });
      // Volumes added while this node was away: what they hold on either side is not known to be the same.
      if (found) {
        for (const { entry } of volumes) {
          if (metadata.state.volumes.some((held) => held.index === entry.index)) continue;
          for (const peer of Object.keys(metadata.state.peers)) leg.bitsFor(peer).get(entry.index)?.setAll();
        }
      }
      // What the cursor said under another kernel must not be believed by a later start on this one (R6).
      if (!(await leg.writeCursor()))
        throw new HoldfastError('E_IO', leg.fault?.detail ?? 'the cursor cannot be written');
      metadata.change({
        bootId: start.held ? environment.bootId : '',
        clean: false,
        condition:
          metadata.state.condition === 'consistent' && !(start.held && samePlace(start.applied, start.intended))
            ? 'unconfirmed'
            : metadata.state.condition,
        volumes: volumes.map(({ entry }) => ({ index: entry.index, wwid: entry.wwid, sizeBytes: entry.sizeBytes })),
      });
      await leg.save();
      return leg;
    } catch (error) {
      for (const part of opened.reverse()) await part.close().catch(() => {});
      throw error;
    }
  }

  get state(): LegState {
    return this.metadata.state;
  }

  /** Nothing was ever copied to it or written on it: its volumes were made by this process and read as zeroes. */
  get blank(): boolean {
    return this.#madeEmpty && this.state.lineage.generation === 0;
  }

  get volumes(): Iterable<LocalVolume> {
    return this.#volumes.values();
  }

  device(volume: number): Device {
    const found = this.#volumes.get(volume);
    assert(found !== undefined, `group ${this.group} has no volume ${volume}`);
    return found.device;
  }

  has(volume: number): boolean {
    return this.#volumes.has(volume);
  }

  /** Opens a volume added to the group. */
  async addVolume(entry: VolumeEntry): Promise<void> {
    const volume = await openVolume(this.#options, entry, true);
    this.#volumes.set(entry.index, volume);
    // Whether both sides read the same there is not known: it is copied, holes cost little.
    for (const peer of this.bits.keys()) this.bitsFor(peer).get(entry.index)?.setAll();
    for (const peer of this.unconfirmed.keys()) this.unconfirmedFor(peer);
    this.metadata.change({
      volumes: [...this.state.volumes, { index: entry.index, wwid: entry.wwid, sizeBytes: entry.sizeBytes }],
    });
    await this.save();
  }

  /** Closes a volume taken out of the group; nothing may be in flight on it. */
  async removeVolume(index: number): Promise<void> {
    const volume = this.#volumes.get(index);
    if (volume === undefined) return;
    this.#volumes.delete(index);
    for (const bits of [...this.bits.values(), ...this.unconfirmed.values()]) bits.delete(index);
    this.metadata.change({ volumes: this.state.volumes.filter((held) => held.index !== index) });
    await volume.device.close();
    await this.save();
  }

  /** The change bits against a leg, one bitmap for each volume. */
  bitsFor(peer: string): PeerBits {
    return this.#bitmaps(this.bits, peer);
  }

  unconfirmedFor(peer: string): PeerBits {
    return this.#bitmaps(this.unconfirmed, peer);
  }

  #bitmaps(of: Map<string, PeerBits>, peer: string): PeerBits {
    let bits = of.get(peer);
    if (bits === undefined) {
      bits = new Map<number, ChangeBitmap>();
      of.set(peer, bits);
    }
    for (const { entry } of this.#volumes.values()) {
      if (!bits.has(entry.index)) bits.set(entry.index, new ChangeBitmap(entry.sizeBytes));
    }
    return bits;
  }

  /** All in which this leg may differ from another, as far as this node remembers; by volume, none of them empty. */
  mayDiffer(peer: string): Map<number, ExtentSet> {
    const sets = this.named(peer);
    for (const { volume, offset, length } of this.hot.extents()) this.#add(sets, volume, offset, length);
    return sets;
  }

  /** What bits name of it: all that leg may lack, what is in flight to it aside. */
  named(peer: string): Map<number, ExtentSet> {
    const sets = new Map<number, ExtentSet>();
    for (const bits of [this.bitsFor(peer), this.unconfirmedFor(peer)]) this.#addBits(sets, bits);
    return sets;
  }

  /** All in which this leg may differ from those that it followed live before it crashed as owner. */
  outstandingFor(peers: readonly string[]): Map<number, ExtentSet> {
    const sets = new Map<number, ExtentSet>();
    // Not what was hot when it was opened: that is what entries name better.
    for (const peer of peers) this.#addBits(sets, this.bitsFor(peer));
    for (const { volume, offset, length } of this.outstanding?.intents ?? []) this.#add(sets, volume, offset, length);
    return sets;
  }

  #addBits(sets: Map<number, ExtentSet>, bits: PeerBits): void {
    for (const [volume, bitmap] of bits) {
      for (let at = 0; ;) {
        const run = bitmap.nextRun(at, Number.MAX_SAFE_INTEGER);
        if (run === null) break;
        this.#add(sets, volume, run.offset, run.length);
        at = run.offset + run.length;
      }
    }
  }

  /** The part that lies on the volume. */
  #add(sets: Map<number, ExtentSet>, volume: number, offset: number, length: number): void {
    if (!this.has(volume)) return;
    const clipped = Math.min(length, this.device(volume).sizeBytes - offset);
    if (clipped <= 0) return;
    let set = sets.get(volume);
    if (set === undefined) {
      set = new ExtentSet(Math.min(describedExtentsMax, Math.floor(describedInAllMax / this.#volumes.size)));
      sets.set(volume, set);
    }
    set.add(offset, clipped);
  }

  /** That leg may lack what is named, by volume. */
  remember(peer: string, extents: ReadonlyMap<number, Iterable<Extent>>): void {
    const bits = this.bitsFor(peer);
    for (const [volume, set] of extents) {
      for (const { offset, length } of set) bits.get(volume)?.setClipped(offset, length);
    }
  }

  /** The two are equal: no bit is remembered against that leg. On the medium they are until the next `saveBits`. */
  isEqualTo(peer: string): void {
    for (const bits of [this.bitsFor(peer), this.unconfirmedFor(peer)]) {
      for (const bitmap of bits.values()) bitmap.clearAll();
    }
  }

  /** Saves the metadata as it is when the save starts; callers that come while one is under way share the next. */
  save(): Promise<void> {
    if (this.#saving === null) {
      this.#saving = this.#saveOnce().finally(() => {
        this.#saving = null;
      });
      return this.#saving;
    }
    this.#saveAgain ??= this.#saving
      .catch(() => {})
      .then(() => {
        this.#saveAgain = null;
        return this.save();
      });
    return this.#saveAgain;
  }

  async #saveOnce(): Promise<void> {
    this.metadata.change({ hot: this.hot.keys() });
    try {
      await this.metadata.save();
      this.trouble = null;
    } catch (error) {
      this.trouble = messageOf(error);
      throw error;
    }
  }

  #saveUntilDone(saved: () => void): void {
    this.save().then(saved, (error: unknown) => {
      if (this.#closed) return;
      this.#environment.log.error(`group ${this.group}: metadata cannot be saved: ${messageOf(error)}`);
      this.#environment.clock.after(saveRetryMs, () => {
        if (!this.#closed) this.#saveUntilDone(saved);
      });
    });
  }

  /** Saves change bits and metadata. */
  async saveBits(): Promise<void> {
    const saved = new Map<string, PeerBits>();
    for (const [peer, bits] of this.bits) {
      const unconfirmed = this.unconfirmed.get(peer);
      const both = new Map<number, ChangeBitmap>();
      for (const [volume, bitmap] of bits) both.set(volume, union(bitmap, unconfirmed?.get(volume)));
      saved.set(peer, both);
    }
    await this.#bitsFile.save(saved);
    await this.save();
  }

  /** Notes in the page cache how far the leg has come; `done` follows, never inside the call, unless the leg fails. */
  noteCursor(done: () => void): void {
    if (this.#closed) return;
    this.#cursor.write({ applied: this.applied, intended: this.intended }, (fault) => {
      if (fault !== null) this.fail(fault);
      else done();
    });
  }

  /** The same; resolves false when the leg has failed instead. */
  writeCursor(): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#cursor.write({ applied: this.applied, intended: this.intended }, (fault) => {
        if (fault !== null) this.fail(fault);
        resolve(fault === null);
      });
    });
  }

  /** From here on the cursor tells a later start on this kernel what the leg holds. */
  async trustCursor(): Promise<boolean> {
    if (!(await this.writeCursor())) return false;
    this.held = true;
    this.metadata.change({ bootId: this.#environment.bootId });
    await this.save();
    return true;
  }

  /**
   * Flushes every volume and makes `position` the durable one. Everything up to it must have been applied before the
   * call. Resolves false when the leg has failed instead.
   */
  async checkpoint(position: Position): Promise<boolean> {
    if (!(await this.flush())) return false;
    if (comparePositions(position, this.state.durable) > 0) this.metadata.change({ durable: position });
    await this.save();
    return true;
  }

  /** Flushes every volume. Resolves false when that failed: then the leg has failed. */
  async flush(): Promise<boolean> {
    const flushes = [...this.#volumes.values()].map(
      ({ device }) =>
        new Promise<BlockFault | null>((resolve) => {
          device.flush(resolve);
        }),
    );
    for (const fault of await Promise.all(flushes)) if (fault !== null) this.fail(fault);
    return this.fault === null;
  }

  fail(fault: BlockFault): void {
    if (this.fault !== null) return;
    this.fault = fault;
    this.#environment.log.error(`group ${this.group}: the local leg has failed: ${fault.detail}`);
    // A later start must not take the page cache at its word: what a failed flush dropped is in no cache (R10).
    this.metadata.change({ bootId: '' });
    this.#saveUntilDone(() => {});
    this.onFault(fault);
  }

  /** The newest generation this leg knows of must be on the medium before anything relies on it (R12). */
  async see(generation: number, id: string): Promise<void> {
    if (generation <= this.state.seen.generation) return;
    this.metadata.change({ seen: { generation, id } });
    await this.save();
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#saving?.catch(() => {});
    for (const { device } of this.#volumes.values()) await device.close();
    await this.#cursor.close();
    await this.intents.close();
    await this.#bitsFile.close();
    await this.metadata.close();
  }
}

function union(bitmap: ChangeBitmap, other: ChangeBitmap | undefined): ChangeBitmap {
  if (other === undefined || other.isEmpty()) return bitmap;
  const both = bitmap.clone();
  both.union(other);
  return both;
}

/** Only those of the owner that went down in the middle: it was this leg's last. */
function leftOutstanding(state: LegState, found: FoundIntents | null): Outstanding | null {
  if (state.clean || !state.owning || found?.generation !== state.lineage.generation) return null;
  const { intents, after } = found;
  return intents === null ? null : { intents, after };
}

function isOfAnotherGroup(state: LegState, volumes: readonly VolumeEntry[]): boolean {
  return state.volumes.some((held) => volumes.some(({ index, wwid }) => index === held.index && wwid !== held.wwid));
}

function samePlace(a: Position, b: Position): boolean {
  return comparePositions(a, b) === 0;
}

/**
 * R6: the cursor counts on the kernel it was written on; a clean stop left everything durable. An owner that crashed notes
 * no cursor while it serves: it may hold parts of anything it has stamped.
 */
function startingPoint(
  state: LegState,
  cursor: { applied: Position; intended: Position } | null,
  bootId: string,
): { applied: Position; intended: Position; held: boolean } {
  const { durable, lineage } = state;
  if (state.clean) return { applied: durable, intended: durable, held: true };
  const unbounded = state.owning ? { generation: lineage.generation, seq: Number.MAX_SAFE_INTEGER } : null;
  if (cursor === null || state.bootId !== bootId) {
    return { applied: durable, intended: unbounded ?? durable, held: false };
  }
  const applied = comparePositions(cursor.applied, durable) < 0 ? durable : cursor.applied;
  const intended = comparePositions(cursor.intended, applied) < 0 ? applied : cursor.intended;
  return { applied, intended: unbounded ?? intended, held: true };
}

async function openVolume(
  options: LocalLegOptions,
  entry: VolumeEntry,
  create: boolean,
): Promise<LocalVolume & { readonly created: boolean }> {
  const path = options.pathOf(entry);
  try {
    const { device, created } = await options.devices.open({
      path,
      sizeBytes: entry.sizeBytes,
      blockSizeBytes: entry.blockSizeBytes,
      create,
    });
    return { entry, path, device, created };
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    const cure =
      error.code === 'E_FILE_MISSING'
        ? `; bring it back, or remove ${options.folder} to have this copy made anew from another node`
        : '';
    throw new HoldfastError(error.code, `volume ${entry.name}: ${error.message}${cure}`, { cause: error });
  }
}
