/**
 * How far a leg has applied its group's records, kept where a crash of the process cannot harm it and nothing waits for
 * a disk: two sectors of a small file, written in turn, never synced. After a restart on the same kernel it tells what
 * the leg holds; after any other start it is not looked at (R6).
 *
 * Invariant: `intended` is written before the first record beyond `applied` starts, so that a leg whose `intended` is
 * `applied` holds exactly the records up to there, and no part of any other.
 *
 * Sector, little-endian: u32 magic, u32 reserved, u64 count, u64 + u64 applied (generation, seq), u64 + u64 intended,
 * u32 CRC-32C of the 48 bytes before it; the rest zero.
 */
import { decode, Writer } from '../base/codec.ts';
import { crc32c } from '../base/crc32c.ts';
import type { Completion, Device, DeviceProvider } from '../block/device.ts';
import type { Position } from '../stream/position.ts';

const magic = 0x5243_4648; // "HFCR"
const sectorBytes = 512;
const checkedBytes = 48;

export interface CursorState {
  readonly applied: Position;
  readonly intended: Position;
}

export class LegCursor {
  readonly #device: Device;
  #count = 0;
  #writing = false;
  /** Asked for while a write is under way. */
  #next: { state: CursorState; readonly done: Completion[] } | null = null;

  private constructor(device: Device) {
    this.#device = device;
  }

  static async open(
    devices: DeviceProvider,
    folder: string,
  ): Promise<{ cursor: LegCursor; found: CursorState | null }> {
    const { device } = await devices.open({
      path: `${folder}/cursor`,
      sizeBytes: 4096,
      blockSizeBytes: sectorBytes,
      create: true,
    });
    const cursor = new LegCursor(device);
    const found = await new Promise<CursorState | null>((resolve) => {
      const sectors = new Uint8Array(2 * sectorBytes);
      device.read(0, sectors, (fault) => {
        resolve(fault === null ? cursor.#newest(sectors) : null);
      });
    });
    return { cursor, found };
  }

  /**
   * One write at a time: two in flight on one sector could land in either order, and the older state would stay. What is
   * asked for meanwhile is written together, as the latest state says.
   */
  write(state: CursorState, done: Completion): void {
    if (this.#next !== null) {
      this.#next.state = state;
      this.#next.done.push(done);
    } else {
      this.#next = { state, done: [done] };
      if (!this.#writing) this.#writeNext();
    }
  }

  #writeNext(): void {
    const next = this.#next;
    this.#next = null;
    this.#writing = next !== null;
    if (next === null) return;
    const count = ++this.#count;
    this.#device.write((count % 2) * sectorBytes, encodeSector(count, next.state), (fault) => {
      for (const done of next.done) done(fault);
      this.#writeNext();
    });
  }

  close(): Promise<void> {
    return this.#device.close();
  }

  #newest(sectors: Uint8Array): CursorState | null {
    let newest: CursorState | null = null;
    for (const start of [0, sectorBytes]) {
      const decoded = decodeSector(sectors.subarray(start, start + sectorBytes));
      if (decoded === null || decoded.count <= this.#count) continue;
      this.#count = decoded.count;
      newest = decoded.state;
    }
    return newest;
  }
}

function encodeSector(count: number, state: CursorState): Uint8Array {
  const writer = new Writer(sectorBytes, sectorBytes)
    .u32(magic)
    .u32(0)
    .u64(count)
    .u64(state.applied.generation)
    .u64(state.applied.seq)
    .u64(state.intended.generation)
    .u64(state.intended.seq);
  writer.u32(crc32c(writer.finish()));
  return writer.raw(new Uint8Array(sectorBytes - checkedBytes - 4)).finish();
}

/** Null for anything that is not a sector of ours. */
export function decodeSector(sector: Uint8Array): { count: number; state: CursorState } | null {
  const decoded = decode(sector.subarray(0, checkedBytes + 4), (reader) => {
    if (reader.u32() !== magic) return reader.fail('no cursor');
    reader.u32();
    const count = reader.u64();
    const applied = { generation: reader.u64(), seq: reader.u64() };
    const intended = { generation: reader.u64(), seq: reader.u64() };
    if (reader.u32() !== crc32c(sector.subarray(0, checkedBytes))) return reader.fail('checksum');
    reader.raw(reader.remaining);
    return { count, state: { applied, intended } };
  });
  return decoded.ok ? decoded.value : null;
}
