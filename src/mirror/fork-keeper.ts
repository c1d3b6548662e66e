/**
 * Keeps what a leg wrote on its own after another node had taken over, while a resync overwrites it: the fork is
 * reported, never silently lost. What differs goes into an image of its own for each volume, at the offsets it had; the
 * leg's metadata tells which generation it was.
 *
 * Best effort by design: without room the resync goes on and the report says that there is no image.
 */
import type { Environment } from '../base/environment.ts';
import { messageOf } from '../base/errors.ts';
import type { Device, DeviceProvider } from '../block/device.ts';
import type { Lineage } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import { ExtentSet } from '../volume/extents.ts';
import type { LocalLeg } from '../volume/local-leg.ts';

export interface ForkKeeperOptions {
  readonly environment: Environment;
  readonly devices: DeviceProvider;
  readonly leg: LocalLeg;
  /** Folder for images. */
  readonly folder: string;
}

export class ForkKeeper {
  readonly #options: ForkKeeperOptions;
  readonly #images = new Map<number, Promise<Device>>();
  readonly #kept = new Map<number, ExtentSet>();
  #path: string | null = null;
  #generation = 0;

  constructor(options: ForkKeeperOptions) {
    this.#options = options;
  }

  /** A resync begins that overwrites what `mine` wrote beyond the point where `theirs` left it. */
  begin(mine: Lineage, theirs: Lineage): void {
    const { leg, environment } = this.#options;
    const left = theirs.ancestors.find(
      (ancestor) => ancestor.generation === mine.generation && ancestor.id === mine.id,
    );
    this.#generation = mine.generation;
    this.#path = `${this.#options.folder}/${leg.group}-generation-${mine.generation}`;
    const others = leg.state.forks.filter((fork) => fork.generation !== mine.generation);
    const known = leg.state.forks.find((fork) => fork.generation === mine.generation);
    leg.metadata.change({
      forks: [
        ...others,
        known ?? {
          generation: mine.generation,
          leftAtSeq: left?.leftAtSeq ?? null,
          foundAtMs: environment.clock.wallMs(),
          extents: 0,
          bytes: 0,
          image: null,
        },
      ],
    });
    environment.log.warn(
      `group ${leg.group}: this leg went on by itself in generation ${mine.generation} after another node had taken ` +
        `over; it becomes a target again, what it wrote is kept in ${this.#path}-*.img where there is room`,
    );
  }

  /** Such a resync is under way, interruptions aside, in this process. */
  get active(): boolean {
    return this.#path !== null;
  }

  /** Saves what is about to be overwritten, then lets it be. What is kept already is not of the fork any more here. */
  keep(record: StreamRecord, proceed: () => void): void {
    const path = this.#path;
    if (path === null || this.#kept.get(record.volume)?.overlaps(record.offset, record.length) === true) {
      proceed();
      return;
    }
    const old = new Uint8Array(record.length);
    this.#options.leg.device(record.volume).read(record.offset, old, (fault) => {
      if (fault !== null || same(old, record.data)) {
        proceed();
        return;
      }
      this.#image(path, record.volume).then(
        (image) => {
          image.write(record.offset, old, (writeFault) => {
            if (writeFault === null) this.#note(record);
            else this.#giveUp(writeFault.detail);
            proceed();
          });
        },
        (error: unknown) => {
          this.#giveUp(messageOf(error));
          proceed();
        },
      );
    });
  }

  /** The resync has ended. */
  async end(): Promise<void> {
    const { leg } = this.#options;
    if (this.#path !== null && this.#kept.size === 0) {
      // It held nothing that the history that won does not hold: no fork after all.
      leg.metadata.change({ forks: leg.state.forks.filter(({ generation }) => generation !== this.#generation) });
      await leg.save();
    }
    this.#path = null;
    this.#kept.clear();
    const images = [...this.#images.values()];
    this.#images.clear();
    for (const opening of images) {
      // One that could not be opened was given up when that was found out.
      const image = await opening.catch(() => null);
      if (image === null) continue;
      await new Promise<void>((resolve) => image.flush(() => resolve()));
      await image.close();
    }
    if (images.length > 0) await leg.save();
  }

  #image(path: string, volume: number): Promise<Device> {
    let image = this.#images.get(volume);
    if (image === undefined) {
      const { leg, devices } = this.#options;
      const { sizeBytes, blockSizeBytes } = leg.device(volume);
      const opened = devices.open({ path: `${path}-volume-${volume}.img`, sizeBytes, blockSizeBytes, create: true });
      image = opened.then(({ device }) => device);
      this.#images.set(volume, image);
    }
    return image;
  }

  #note(record: StreamRecord): void {
    let kept = this.#kept.get(record.volume);
    if (kept === undefined) this.#kept.set(record.volume, (kept = new ExtentSet()));
    kept.add(record.offset, record.length);
    if (this.#path !== null) this.#report(`${this.#path}-*.img`);
  }

  #giveUp(reason: string): void {
    const { environment, leg } = this.#options;
    environment.log.warn(`group ${leg.group}: what this leg wrote on its own cannot be kept any more: ${reason}`);
    this.#report(null);
    this.#path = null;
  }

  #report(image: string | null): void {
    const { leg } = this.#options;
    const sets = [...this.#kept.values()];
    leg.metadata.change({
      forks: leg.state.forks.map((fork) =>
        fork.generation === this.#generation
          ? {
              ...fork,
              extents: sets.reduce((sum, set) => sum + set.count, 0),
              bytes: sets.reduce((sum, set) => sum + set.totalBytes, 0),
              image,
            }
          : fork,
      ),
    });
  }
}

function same(old: Uint8Array, replacement: Uint8Array | null): boolean {
  return replacement === null ? old.every((byte) => byte === 0) : Buffer.compare(old, replacement) === 0;
}
