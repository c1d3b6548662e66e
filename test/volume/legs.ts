/** Local legs on simulated machines. */
import type { DeviceProvider } from '../../src/block/device.ts';
import type { VolumeEntry } from '../../src/store/document.ts';
import { LocalLeg, type LocalLegOptions } from '../../src/volume/local-leg.ts';
import type { SimDisk } from '../../src/sim/world/disk.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';

export const MiB = 1024 * 1024;

export function volumeEntry(index: number, sizeBytes = 8 * MiB): VolumeEntry {
  const wwid = `6${String(index).padStart(31, '0')}`;
  return { name: `vol${index}`, index, wwid, sizeBytes, blockSizeBytes: 512, paths: {} };
}

export const volumePath = (index: number): string => `/volumes/vol${index}.img`;

export function legOptions(process: SimProcess, changes: Partial<LocalLegOptions> = {}): LocalLegOptions {
  return {
    environment: process.environment,
    devices: process.devices,
    group: 'g1',
    node: process.machine.name,
    folder: '/data/g1',
    volumes: [volumeEntry(0)],
    pathOf: ({ index }) => volumePath(index),
    hotRegionsMax: 16,
    intentEntries: 16,
    bitsSlotBytes: MiB,
    ...changes,
  };
}

export function openLeg(process: SimProcess, changes: Partial<LocalLegOptions> = {}): Promise<LocalLeg> {
  return process.world.settle(LocalLeg.open(legOptions(process, changes)));
}

export function diskOf(process: SimProcess, path: string): SimDisk {
  const disk = process.machine.disks.get(path);
  if (disk === undefined) throw new Error(`no disk ${path}`);
  return disk;
}

/** Gives one device for every path. */
export function providerOf(device: Awaited<ReturnType<DeviceProvider['open']>>['device']): DeviceProvider {
  return {
    open: () => Promise.resolve({ device, created: false }),
    openMemory: (_path, length) =>
      Promise.resolve({ bytes: new Uint8Array(length), keep: () => null, close: () => Promise.resolve() }),
    remove: () => Promise.resolve(),
    clone: () => Promise.reject(new Error('no clones')),
    cloneObstacle: () => Promise.resolve('no clones'),
    replace: () => Promise.resolve(),
  };
}
