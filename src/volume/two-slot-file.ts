/**
 * A small file that is replaced as a whole and survives a crash at any moment: two slots with sequence numbers, written
 * in turn.
 *
 * Invariant: one slot is complete on the medium at every moment, and the newest complete one is never the one being
 * written. Hence:
 * - the file comes into being whole (written aside, then renamed), so that a torn first write is never mistaken for a
 *   file both of whose slots have rotted;
 * - a save first syncs what the save before it left unsynced, since it overwrites the only older slot.
 *
 * A newest slot that rots on the medium looks like one torn while it was written: the older one is loaded then, and the
 * owner of the file must be content with that (a cursor too low, a generation checked against the store).
 *
 * Layout to the byte: docs/formats/metadata-slots.md. What the payload says is the caller's business.
 */
import { assert } from '../base/assert.ts';
import { crc32c } from '../base/crc32c.ts';
import { decode, type Decoded, Writer } from '../base/codec.ts';
import { HoldfastError } from '../base/errors.ts';
import type { FileHandle, Files } from '../base/files.ts';

export interface TwoSlotFormat {
  /** Room of one slot, header included; a multiple of 4096. Part of the layout: it cannot change for a file that exists. */
  readonly slotBytes: number;
  /** 8 ASCII characters that tell the kind of file. */
  readonly magic: string;
  /** Of the payload. A file of a newer version is refused. */
  readonly version: number;
}

export const slotHeaderBytes = 64;
const headerChecksumAt = 40;
const pageBytes = 4096;

type SlotIndex = 0 | 1;

/** What one slot holds. */
type Slot =
  | { readonly kind: 'empty' }
  | { readonly kind: 'complete'; readonly sequence: number; readonly payload: Uint8Array }
  | { readonly kind: 'newer'; readonly version: number }
  | { readonly kind: 'damaged'; readonly reason: string };

export class TwoSlotFile {
  readonly path: string;
  readonly #files: Files;
  readonly #format: TwoSlotFormat;
  #handle: FileHandle;
  /** Of the newest complete slot; 0 while the file is empty. */
  #sequence = 0;
  #newest: SlotIndex = 1;
  #newestIsSynced = true;
  #loaded = false;
  /** After a sync failed that the newest slot relied on: what the medium holds is not known any more. */
  #doubt: HoldfastError | null = null;
  /** The last save, settled or not: saves run one after another. */
  #saving: Promise<void> = Promise.resolve();

  private constructor(files: Files, path: string, format: TwoSlotFormat, handle: FileHandle) {
    this.#files = files;
    this.path = path;
    this.#format = format;
    this.#handle = handle;
  }

  /** Creates an empty file when there is none. `load` comes next. */
  static async open(files: Files, path: string, format: TwoSlotFormat): Promise<TwoSlotFile> {
    assert(format.magic.length === 8 && format.slotBytes % pageBytes === 0, `bad format of ${path}`);
    return new TwoSlotFile(files, path, format, await files.open(path));
  }

  /** The largest payload that fits. */
  get payloadBytesMax(): number {
    return this.#format.slotBytes - slotHeaderBytes;
  }

  /**
   * The newest complete payload; null when nothing was ever saved. Rejects with `E_METADATA` when neither slot of a file
   * that is not empty can be read, or when either is of a newer version: going on with the older slot would undo what
   * the newer program did.
   */
  async load(): Promise<Uint8Array | null> {
    const slots = [await this.#readSlot(0), await this.#readSlot(1)] as const;
    let payload: Uint8Array | null = null;
    this.#sequence = 0;
    for (const index of [0, 1] as const) {
      const slot = slots[index];
      if (slot.kind === 'newer') {
        throw this.#unusable(`it is of version ${slot.version}, this program knows ${this.#format.version}`);
      }
      if (slot.kind !== 'complete' || slot.sequence <= this.#sequence) continue;
      this.#sequence = slot.sequence;
      this.#newest = index;
      payload = slot.payload;
    }
    if (payload === null && slots.some((slot) => slot.kind === 'damaged')) {
      throw this.#unusable(slots.map((slot, index) => `slot ${index} ${describe(slot)}`).join(', '));
    }
    if (payload !== null) {
      // A process that died may have left it, or the file's name, unsynced.
      await this.#handle.sync();
      await this.#files.syncFolder(folderOf(this.path));
    }
    this.#newestIsSynced = true;
    this.#loaded = true;
    return payload;
  }

  /**
   * Makes `payload` the truth. Resolves when it is on the medium, or, without `sync`, when a process started on the same
   * kernel would load it. After a rejection the payload before it stays the truth for this object; a file loaded anew
   * may hold either of the two.
   */
  save(payload: Uint8Array, options: { readonly sync?: boolean } = {}): Promise<void> {
    assert(this.#loaded, `${this.path}: save before load`);
    assert(
      payload.length <= this.payloadBytesMax,
      `${this.path}: ${payload.length} bytes, room for ${this.payloadBytesMax}`,
    );
    const sync = options.sync ?? true;
    const saved = this.#saving.then(() =>
      this.#sequence === 0 ? this.#create(payload) : this.#overwrite(payload, sync),
    );
    this.#saving = saved.catch(() => {});
    return saved;
  }

  /** Waits for saves under way. */
  async close(): Promise<void> {
    await this.#saving;
    await this.#handle.close();
  }

  async #create(payload: Uint8Array): Promise<void> {
    const aside = `${this.path}.new`;
    await this.#files.write(aside, encodeSlot(this.#format, 1, payload), { sync: true });
    await this.#files.rename(aside, this.path);
    await this.#files.syncFolder(folderOf(this.path));
    const replaced = this.#handle;
    this.#handle = await this.#files.open(this.path);
    this.#sequence = 1;
    this.#newest = 0;
    this.#newestIsSynced = true;
    await replaced.close();
  }

  async #overwrite(payload: Uint8Array, sync: boolean): Promise<void> {
    if (this.#doubt !== null) throw this.#doubt;
    if (!this.#newestIsSynced) {
      try {
        await this.#handle.sync();
      } catch (error) {
        // A sync asked for again may succeed although the medium lacks the bytes (R10).
        this.#doubt = new HoldfastError(
          'E_IO',
          `${this.path}: a sync failed, so what is on the medium is not known`,
          {
            cause: error,
          },
        );
        throw this.#doubt;
      }
      this.#newestIsSynced = true;
    }
    const index: SlotIndex = this.#newest === 0 ? 1 : 0;
    const sequence = this.#sequence + 1;
    await this.#handle.writeAt(index * this.#format.slotBytes, encodeSlot(this.#format, sequence, payload));
    // A failure here harms nothing: the next save writes the same slot in full.
    if (sync) await this.#handle.sync();
    this.#sequence = sequence;
    this.#newest = index;
    this.#newestIsSynced = sync;
  }

  async #readSlot(index: SlotIndex): Promise<Slot> {
    const start = index * this.#format.slotBytes;
    const header = await this.#handle.readAt(start, slotHeaderBytes);
    if (header.length === 0) return { kind: 'empty' };
    const decoded = decodeSlotHeader(header);
    if (!decoded.ok) return { kind: 'damaged', reason: decoded.reason };
    const { magic, version, slotBytes, sequence, payloadBytes, payloadChecksum } = decoded.value;
    if (magic !== this.#format.magic)
      return { kind: 'damaged', reason: `another kind of file, ${JSON.stringify(magic)}` };
    if (version > this.#format.version) return { kind: 'newer', version };
    if (slotBytes !== this.#format.slotBytes || payloadBytes > this.payloadBytesMax) {
      return { kind: 'damaged', reason: `room for ${slotBytes} bytes, not ${this.#format.slotBytes}` };
    }
    const payload = await this.#handle.readAt(start + slotHeaderBytes, payloadBytes);
    if (payload.length < payloadBytes || crc32c(payload) !== payloadChecksum) {
      return { kind: 'damaged', reason: 'a payload that does not match its checksum' };
    }
    return { kind: 'complete', sequence, payload };
  }

  #unusable(what: string): HoldfastError {
    return new HoldfastError('E_METADATA', `${this.path}: ${what}`);
  }
}

function encodeSlot(format: TwoSlotFormat, sequence: number, payload: Uint8Array): Uint8Array {
  const usedBytes = slotHeaderBytes + payload.length;
  const slot = new Uint8Array(Math.ceil(usedBytes / pageBytes) * pageBytes);
  const header = new Writer(slotHeaderBytes, slotHeaderBytes)
    .raw(Buffer.from(format.magic, 'latin1'))
    .u32(format.version)
    .u32(format.slotBytes)
    .u64(sequence)
    .u32(payload.length)
    .u32(crc32c(payload))
    .raw(new Uint8Array(8));
  header.u32(crc32c(header.finish())).raw(new Uint8Array(slotHeaderBytes - header.length));
  slot.set(header.finish());
  slot.set(payload, slotHeaderBytes);
  return slot;
}

export interface SlotHeader {
  readonly magic: string;
  readonly version: number;
  readonly slotBytes: number;
  readonly sequence: number;
  readonly payloadBytes: number;
  readonly payloadChecksum: number;
}

/** Of the first `slotHeaderBytes` of a slot, whatever its kind of file. */
export function decodeSlotHeader(header: Uint8Array): Decoded<SlotHeader> {
  return decode(header, (reader) => {
    const magic = Buffer.from(reader.raw(8)).toString('latin1');
    const version = reader.u32();
    const slotBytes = reader.u32();
    const sequence = reader.u64();
    const payloadBytes = reader.u32();
    const payloadChecksum = reader.u32();
    reader.raw(8);
    if (reader.u32() !== crc32c(header.subarray(0, headerChecksumAt))) reader.fail('a checksum that does not match');
    reader.raw(slotHeaderBytes - reader.offset);
    return { magic, version, slotBytes, sequence, payloadBytes, payloadChecksum };
  });
}

function describe(slot: Slot): string {
  return slot.kind === 'damaged' ? `has ${slot.reason}` : `is ${slot.kind}`;
}

function folderOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash > 0 ? path.slice(0, slash) : slash === 0 ? '/' : '.';
}
