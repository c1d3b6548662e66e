/**
 * Opens the disks of a machine for a process (contract: `block/device.ts`). A disk is where its path says, and belongs
 * to one living process at a time; it stays on the machine when the process ends.
 *
 * Not modelled: a backing file that power loss takes away because its folder was not synced. The real provider syncs
 * the folder when it makes one; here a disk is made for good.
 */
import type { BlockFault, Device, DeviceProvider, KeptMemory } from '../../block/device.ts';
import { HoldfastError } from '../../base/errors.ts';
import { SimDevice, SimDisk } from './disk.ts';
import type { SimProcess } from './process.ts';

const openLatencyMsMax = 1;
const noClones = 'the file system cannot clone files';

export class SimDeviceProvider implements DeviceProvider {
  readonly #process: SimProcess;

  constructor(process: SimProcess) {
    this.#process = process;
  }

  async open(request: {
    readonly path: string;
    readonly sizeBytes: number;
    readonly blockSizeBytes: number;
    readonly create: boolean;
  }): Promise<{ readonly device: Device; readonly created: boolean }> {
    const { path, sizeBytes, blockSizeBytes, create } = request;
    await this.#latency();
    const { machine } = this.#process;
    const present = machine.disks.get(path);
    if (present === undefined && !create) {
      throw new HoldfastError('E_FILE_MISSING', `volume file ${path} is not there`);
    }
    const disk = present ?? new SimDisk(machine, path, sizeBytes, blockSizeBytes);
    if (disk.holder !== null) {
      throw new HoldfastError('E_VOLUME_IN_USE', `${path} is in use by process ${disk.holder.number}`);
    }
    if (disk.sizeBytes !== sizeBytes) {
      throw new HoldfastError('E_VOLUME_SIZE', `${path} has ${disk.sizeBytes} bytes, not ${sizeBytes}`);
    }
    machine.disks.set(path, disk);
    return { device: new SimDevice(disk, this.#process), created: present === undefined };
  }

  openMemory(path: string, sizeBytes: number): Promise<KeptMemory> {
    return Promise.resolve(new SimMemory(this.#process, path, sizeBytes));
  }

  async remove(path: string): Promise<void> {
    await this.#latency();
    this.#process.machine.disks.delete(path);
    this.#process.machine.memories.delete(path);
    this.#process.countEffect(0);
  }

  async clone(from: string, to: string): Promise<void> {
    await this.#latency();
    const { machine } = this.#process;
    const disk = machine.disks.get(from);
    if (disk === undefined) throw new HoldfastError('E_FILE_MISSING', `volume file ${from} is not there`);
    if (!machine.canClone || disk.gone) throw new HoldfastError('E_IO', noClones);
    this.#put(to, disk);
  }

  async cloneObstacle(): Promise<string | null> {
    await this.#latency();
    return this.#process.machine.canClone ? null : noClones;
  }

  async replace(from: string, to: string): Promise<void> {
    await this.#latency();
    const { disks } = this.#process.machine;
    const disk = disks.get(from);
    if (disk === undefined) return;
    disks.delete(from);
    this.#put(to, disk);
  }

  /** All of it on the medium. */
  #put(path: string, contents: SimDisk): void {
    const { machine } = this.#process;
    const disk = new SimDisk(machine, path, contents.sizeBytes, contents.blockSizeBytes);
    disk.restore(contents.snapshot());
    machine.disks.set(path, disk);
    this.#process.countEffect(0);
  }

  /** Never returns in a process that has ended. */
  #latency(): Promise<void> {
    const process = this.#process;
    if (!process.alive) return new Promise(() => {});
    return new Promise((resolve) => {
      process.after(process.machine.prng.fraction() * openLatencyMsMax, 'device', resolve);
    });
  }
}

/** A mapped file: what its process names is there at once. */
class SimMemory implements KeptMemory {
  readonly bytes: Uint8Array;
  readonly #process: SimProcess;
  readonly #kept: Uint8Array;

  constructor(process: SimProcess, path: string, sizeBytes: number) {
    const { memories } = process.machine;
    const found = memories.get(path) ?? new Uint8Array(sizeBytes);
    memories.set(path, found);
    this.#process = process;
    this.#kept = found;
    this.bytes = found.slice();
  }

  keep(offset: number, length: number): BlockFault | null {
    if (!this.#process.alive) return null;
    this.#kept.set(this.bytes.subarray(offset, offset + length), offset);
    this.#process.countEffect(offset);
    return null;
  }

  close(): Promise<void> {
    return this.#process.alive ? Promise.resolve() : new Promise(() => {});
  }
}
