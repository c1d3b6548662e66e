/**
 * An owner at `east` and a target at `west` on simulated machines, with one connection between them that the test may
 * watch, cut and hold back. No group around them: the test says what the record would.
 */
import type { DeviceProvider } from '../../src/block/device.ts';
import { Owner } from '../../src/group/owner.ts';
import type { HostFault } from '../../src/group/host-access.ts';
import { FrameDecoder, type Frame } from '../../src/link/frame.ts';
import type { LinkConnection } from '../../src/link/link.ts';
import { ForkKeeper } from '../../src/mirror/fork-keeper.ts';
import type { SourceLeg } from '../../src/mirror/source-leg.ts';
import { TargetLeg } from '../../src/mirror/target-leg.ts';
import type { SimDisk } from '../../src/sim/world/disk.ts';
import type { SimProcess } from '../../src/sim/world/process.ts';
import { World } from '../../src/sim/world/world.ts';
import {
  defaultGroupSettings,
  type GroupSettings,
  type LegClass,
  type MirrorMode,
} from '../../src/store/document.ts';
import { origin, type Lineage, type Position } from '../../src/stream/position.ts';
import { LastImage } from '../../src/volume/last-image.ts';
import type { LocalLeg } from '../../src/volume/local-leg.ts';
import { diskOf, MiB, openLeg, volumeEntry, volumePath } from '../volume/legs.ts';

export const sizeBytes = 4 * MiB;

/** Of the first owner there ever was. */
export const firstLineage: Lineage = { generation: 1, id: 'a', ancestors: [{ generation: 0, id: '', leftAtSeq: 0 }] };

/** One end of the connection; what is sent arrives a millisecond later, in order. */
export class End implements LinkConnection {
  readonly id: number;
  readonly peerIncarnation = '';
  readonly peerBootId = '';
  readonly peerSoftwareVersion = '';
  readonly features = ['promises'];
  readonly index = 0;
  readonly peer: string;
  readonly direction: 'out' | 'in';
  unsentBytes = 0;
  up = true;
  other: End | null = null;
  /** Why it was closed; null while it is up. */
  reason: string | null = null;
  /** Messages that arrive while it is set wait in it. */
  heldBack: Frame[] | null = null;
  readonly process: SimProcess;
  readonly arrive: (frame: Frame) => void;
  readonly down: (reason: string) => void;

  constructor(
    id: number,
    process: SimProcess,
    peer: string,
    direction: 'out' | 'in',
    events: { arrive: (frame: Frame) => void; down: (reason: string) => void },
  ) {
    this.id = id;
    this.process = process;
    this.peer = peer;
    this.direction = direction;
    this.arrive = events.arrive;
    this.down = events.down;
  }

  send(parts: readonly Uint8Array[]): void {
    const { other } = this;
    if (!this.up || other === null) return;
    const frame = frameOf(parts);
    other.process.after(1, 'deliver', () => {
      if (!other.up) return;
      if (other.heldBack !== null) other.heldBack.push(frame);
      else other.arrive(frame);
    });
  }

  gather(parts: readonly Uint8Array[]): void {
    this.send(parts);
  }

  /** Delivers what was held back, and holds back no more. */
  letGo(): void {
    const frames = this.heldBack ?? [];
    this.heldBack = null;
    this.process.call(() => {
      for (const frame of frames) if (this.up) this.arrive(frame);
    });
  }

  pauseReading(): void {}

  close(reason: string): void {
    for (const end of [this, this.other]) {
      if (end === null || !end.up) continue;
      end.up = false;
      end.reason = reason;
      end.process.call(() => end.down(reason));
    }
  }

  breach(rule: string, detail: string): void {
    this.close(`${rule}: ${detail}`);
  }
}

export function frameOf(parts: readonly Uint8Array[]): Frame {
  const decoder = new FrameDecoder();
  decoder.push(new Uint8Array(Buffer.concat(parts)));
  const frame = decoder.next();
  if (frame === null || 'breach' in frame) throw new Error('a message is one whole frame');
  return frame;
}

export interface PairOptions {
  readonly seed?: string;
  readonly mode?: MirrorMode;
  /** As the record would have it; `behind` unless said otherwise. */
  readonly class?: LegClass;
  readonly settings?: Partial<GroupSettings>;
  readonly volumes?: number;
}

/** A node's leg in its present process. */
interface Node {
  process: SimProcess;
  leg: LocalLeg;
}

export class Pair {
  readonly world: World;
  readonly options: PairOptions;
  east: Node;
  west: Node;
  owner: Owner;
  source: SourceLeg;
  target: TargetLeg;
  forks: ForkKeeper;
  images: LastImage;
  leaseValid = true;
  /** Whether the target's node would let it be attached. */
  mayServe = true;
  /** What the target's node promises; null: nothing. */
  promiseMs: number | null = null;
  commandTimeoutMs: number | null = null;
  /** What the owner was told that ends it. */
  readonly verdicts: string[] = [];
  reviews = 0;
  /** Every message, as it arrives. */
  tap: ((from: string, frame: Frame) => void) | null = null;
  /** Of the latest connection. */
  ends: { readonly east: End; readonly west: End } | null = null;
  #ids = 0;

  private constructor(world: World, options: PairOptions, east: Node, west: Node, lineage: Lineage, start: Position) {
    this.world = world;
    this.options = options;
    this.east = east;
    this.west = west;
    this.owner = this.#newOwner(lineage, start);
    this.source = this.#newSource(this.options.class ?? 'behind');
    this.forks = this.#newForks();
    this.images = this.#newImages();
    this.target = this.#newTarget();
  }

  static async make(options: PairOptions = {}): Promise<Pair> {
    const world = new World({ seed: options.seed ?? 'pair' });
    const nodes: Node[] = [];
    for (const name of ['east', 'west']) {
      const process = world.machine(name).start('holdfast');
      nodes.push({ process, leg: await openLeg(process, { volumes: volumesOf(options) }) });
    }
    const [east, west] = nodes;
    if (east === undefined || west === undefined) throw new Error('no nodes');
    const pair = new Pair(world, options, east, west, firstLineage, origin);
    await pair.establish(firstLineage, origin);
    return pair;
  }

  /** Lets hosts in under the generation, as a group does when it has opened. */
  async establish(lineage: Lineage, start: Position): Promise<void> {
    const { leg } = this.east;
    leg.metadata.change({ lineage, condition: 'consistent' });
    await this.world.settle(leg.save());
    this.owner.establish(lineage, start, null);
    this.owner.open();
  }

  /** Ends of a new connection; an older one is gone. */
  connect(): { east: End; west: End } {
    const ends = {
      east: new End(++this.#ids, this.east.process, 'west', 'out', {
        arrive: (frame) => {
          this.tap?.('west', frame);
          this.source.frame(ends.east, frame);
        },
        down: (reason) => this.source.connectionDown(ends.east, reason),
      }),
      west: new End(++this.#ids, this.west.process, 'east', 'in', {
        arrive: (frame) => {
          this.tap?.('east', frame);
          this.target.frame(ends.west, frame);
        },
        down: () => this.target.connectionDown(ends.west),
      }),
    };
    ends.east.other = ends.west;
    ends.west.other = ends.east;
    this.ends = ends;
    this.east.process.call(() => this.source.use(ends.east));
    return ends;
  }

  /** Copies the leg whole, and has the record call it in sync. */
  async sync(): Promise<{ east: End; west: End }> {
    const ends = this.connect();
    await this.until(() => this.source.complete);
    this.joined('inSync');
    return ends;
  }

  /** The record says so of the target's leg, confirmed. */
  joined(as: LegClass): void {
    this.source.recordClass = as;
    this.source.needed = as === 'inSync';
    if (as === 'behind' && !this.source.flowing) this.source.beginTracking();
    this.owner.reconsider();
    this.source.proceed();
  }

  settle<Result>(promise: Promise<Result>): Promise<Result> {
    return this.world.settle(promise);
  }

  async until(predicate: () => boolean, durationMs = 60_000): Promise<void> {
    if (!(await this.world.runUntil(predicate, durationMs))) {
      throw new Error(`not so after ${durationMs} ms: phase ${this.source.phase}, ${this.source.reason}`);
    }
  }

  /** What a host asks for; resolves with what it is told. The world must be run meanwhile: `settle`. */
  write(offset: number, fill: number, length = 512, volume = 0): Promise<HostFault | null> {
    return this.#host((done) => this.owner.write(volume, offset, new Uint8Array(length).fill(fill), false, done));
  }

  zero(offset: number, length: number): Promise<HostFault | null> {
    return this.#host((done) => this.owner.zero(0, offset, length, { keepAllocated: false, fua: false }, done));
  }

  flush(): Promise<HostFault | null> {
    return this.#host((done) => this.owner.flush(0, done));
  }

  /** Both processes are asked to do what is done about once a second. */
  tick(): void {
    this.east.process.call(() => this.owner.tick());
    this.west.process.call(() => this.target.tick());
  }

  async ticks(count: number): Promise<void> {
    for (let done = 0; done < count; done++) {
      this.tick();
      await this.world.run(1000);
    }
  }

  disk(node: 'east' | 'west', volume = 0): SimDisk {
    return diskOf(this[node].process, volumePath(volume));
  }

  /** First differing byte of the two copies; null when there is none. */
  difference(volume = 0): number | null {
    const [a, b] = [this.disk('east', volume).cached, this.disk('west', volume).cached];
    const at = Buffer.compare(a, b) === 0 ? -1 : a.findIndex((byte, index) => byte !== b[index]);
    return at < 0 ? null : at;
  }

  /** The target's process dies in some way and a new one opens the leg. */
  async restartTarget(end: 'crash' | 'powerLoss'): Promise<void> {
    const { machine } = this.west.process;
    this.ends?.east.close('the other side is gone');
    await this.world.run(0);
    if (end === 'crash') this.west.process.crash();
    else {
      machine.powerLoss();
      machine.powerOn();
    }
    const process = machine.start('holdfast');
    this.west = { process, leg: await openLeg(process, { volumes: volumesOf(this.options) }) };
    this.forks = this.#newForks();
    this.images = this.#newImages();
    this.target = this.#newTarget();
  }

  /** Another owner of a later generation at east, in the same process, as after the lease was regained. */
  async newGeneration(lineage: Lineage): Promise<void> {
    this.owner.suspend('a new generation begins');
    const { leg } = this.east;
    leg.metadata.change({ lineage });
    await this.world.settle(leg.save());
    this.owner.beginGeneration(lineage, true);
  }

  #host(start: (done: (fault: HostFault | null) => void) => void): Promise<HostFault | null> {
    return new Promise((resolve) => {
      this.east.process.call(() => start(resolve));
    });
  }

  #newOwner(lineage: Lineage, start: Position): Owner {
    return new Owner(
      {
        environment: this.east.process.environment,
        leg: this.east.leg,
        settings: () => ({ ...defaultGroupSettings, ...this.options.settings }),
        promiseTimes: () => ({ ttlMs: 3000, marginMs: 1000 }),
        authority: () => {},
        commandTimeoutMs: () => this.commandTimeoutMs,
        leaseValid: () => this.leaseValid,
        documentVersion: () => 1,
        newId: () => ++this.#ids,
        forgetId: () => {},
        review: () => this.reviews++,
        deposed: (reason) => this.verdicts.push(`deposed: ${reason}`),
        wentBack: (node, reason) => this.verdicts.push(`went back, says ${node}: ${reason}`),
      },
      lineage,
      start,
    );
  }

  #newSource(as: LegClass): SourceLeg {
    const { mode = 'sync' } = this.options;
    return this.owner.addLeg({ node: 'west', mode, class: as, paused: false, equal: as !== 'behind' });
  }

  #newForks(): ForkKeeper {
    const { process, leg } = this.west;
    return new ForkKeeper({ environment: process.environment, devices: this.forkDevices(), leg, folder: '/forks' });
  }

  #newImages(): LastImage {
    const { process, leg } = this.west;
    return new LastImage({ environment: process.environment, devices: process.devices, leg });
  }

  /** Where images of forks go; a test may make them fail. */
  forkDevices(): DeviceProvider {
    return this.west.process.devices;
  }

  #newTarget(): TargetLeg {
    const { process, leg } = this.west;
    return new TargetLeg({
      environment: process.environment,
      leg,
      forks: this.forks,
      images: this.images,
      mayServe: () => this.mayServe,
      promise: () => this.promiseMs,
      changed: () => {},
    });
  }
}

function volumesOf({ volumes = 1 }: PairOptions): ReturnType<typeof volumeEntry>[] {
  return Array.from({ length: volumes }, (_, index) => volumeEntry(index, sizeBytes));
}
