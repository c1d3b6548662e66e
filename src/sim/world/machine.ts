/**
 * One simulated computer: clocks, page cache and media, power, and the processes on it. Its name is the host name at
 * which its listeners are reached.
 *
 * Clocks run at the machine's own pace (`driftPpm`); the wall clock can be stepped. Power loss ends every process, lets
 * each disk and file system decide what of the unsynced data was on the medium, and gives a new boot id; a crash of a
 * process alone does nothing of the kind (R6).
 */
import { assert } from '../../base/assert.ts';
import { SimDisk, type DiskSnapshot } from './disk.ts';
import { SimFileSystem, type FileSystemSnapshot } from './file-system.ts';
import { SimProcess } from './process.ts';
import type { Prng } from './prng.ts';
import type { World } from './world.ts';

export interface MachineSnapshot {
  readonly disks: ReadonlyMap<string, DiskSnapshot>;
  readonly files: FileSystemSnapshot;
}

/** Timers fire up to this much after their time, as on a real machine. */
const timerLatenessMsMax = 0.8;

export class SimMachine {
  readonly name: string;
  readonly world: World;
  readonly files: SimFileSystem;
  /** Every process ever started here, oldest first. */
  readonly processes: SimProcess[] = [];
  /** By path. Opening with `create` makes one; scenes may look at them and break them. */
  readonly disks = new Map<string, SimDisk>();
  /** Mapped files, by path. Loss of power leaves them as they are: nothing tells that they must not be believed. */
  readonly memories = new Map<string, Uint8Array>();
  readonly prng: Prng;
  /** A process is busy after one turn in `busyEvery`, up to `busyMsMax`. */
  busyEvery = 4;
  busyMsMax = 0.2;
  on = true;
  /** Whether the file system its volumes are on can clone files. */
  canClone = true;
  bootId: string;
  #boots = 0;
  #rate = 1;
  #monotonicOriginMs: number;
  #wallOriginMs: number;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.prng = world.prng.derive(`machine ${name}`);
    this.files = new SimFileSystem(this);
    this.bootId = this.#nextBootId();
    this.#monotonicOriginMs = this.prng.between(0, 1e6);
    this.#wallOriginMs = 1.75e12 + this.prng.between(-50, 50);
  }

  /** Starts a new incarnation; the caller builds the product on `process.environment`, `.devices` and `.store`. */
  start(name: string): SimProcess {
    assert(this.on, `machine ${this.name} is off`);
    const process = new SimProcess(this.world, this, name, this.world.nextProcessNumber());
    this.processes.push(process);
    return process;
  }

  get living(): readonly SimProcess[] {
    return this.processes.filter((process) => process.alive);
  }

  powerLoss(): void {
    if (!this.on) return;
    this.world.trace.add(this.world.nowMs, 'fault', 0);
    for (const process of this.processes) process.finish('powerLoss', 'power lost');
    for (const disk of this.disks.values()) disk.powerLoss();
    this.files.powerLoss();
    this.on = false;
  }

  powerOn(): void {
    assert(!this.on, `machine ${this.name} is on`);
    this.on = true;
    this.bootId = this.#nextBootId();
    this.#monotonicOriginMs = this.prng.between(0, 1e6) - this.world.nowMs * this.#rate;
    this.world.network.rescheduleAll();
  }

  /** The media as they are now, for `restore`: yesterday's disk put back. Only without living processes. */
  snapshot(): MachineSnapshot {
    assert(this.living.length === 0, `machine ${this.name} has living processes`);
    return {
      disks: new Map([...this.disks].map(([path, disk]) => [path, disk.snapshot()])),
      files: this.files.snapshot(),
    };
  }

  restore(snapshot: MachineSnapshot): void {
    assert(this.living.length === 0, `machine ${this.name} has living processes`);
    for (const path of this.disks.keys()) if (!snapshot.disks.has(path)) this.disks.delete(path);
    for (const [path, state] of snapshot.disks) {
      const disk = this.disks.get(path) ?? new SimDisk(this, path, state.sizeBytes, state.blockSizeBytes);
      disk.restore(state);
      this.disks.set(path, disk);
    }
    this.files.restore(snapshot.files);
  }

  monotonicMs(): number {
    return this.#monotonicOriginMs + this.world.nowMs * this.#rate;
  }

  wallMs(): number {
    return this.#wallOriginMs + this.world.nowMs * this.#rate;
  }

  /** Both clocks run this much too fast from now on; neither jumps. Timers set before keep the old pace. */
  set driftPpm(partsPerMillion: number) {
    const rate = 1 + partsPerMillion / 1e6;
    this.#monotonicOriginMs += this.world.nowMs * (this.#rate - rate);
    this.#wallOriginMs += this.world.nowMs * (this.#rate - rate);
    this.#rate = rate;
  }

  stepWallClock(byMs: number): void {
    this.#wallOriginMs += byMs;
  }

  /** World time until a timer set for `delayMs` of the machine's monotonic clock fires. */
  drawTimerDelayMs(delayMs: number): number {
    // The nanosecond keeps rounding from making a timer early by the last bit.
    return delayMs / this.#rate + 1e-6 + this.prng.fraction() * timerLatenessMsMax;
  }

  drawBusyMs(): number {
    return this.prng.below(this.busyEvery) === 0 ? this.prng.fraction() * this.busyMsMax : 0;
  }

  #nextBootId(): string {
    return `${this.name}-boot-${++this.#boots}`;
  }
}
