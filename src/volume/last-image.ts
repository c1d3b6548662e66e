/**
 * The last image of a moment that a leg was, kept while a resync overwrites it (TL-16): until the copy has ended, the
 * leg itself is good for nothing, and its owner may be lost in the middle of it.
 *
 * A clone that shares the space of what is not overwritten, `<volume's file>.image` beside each volume's file, so that it
 * takes no time to make and can be put in the volume's place by renaming. Where the storage cannot clone there is none,
 * and why is known before a resync begins: copying a volume first would hold up the resync, or its hosts, for as long.
 *
 * Invariants:
 * - The metadata tells of an image only from the save on that calls the leg inconsistent, when every clone is on the
 *   medium, and until the save that calls it consistent again. Clones the metadata does not tell of are rubbish.
 * - Promoting is decided by one save, and carried out by whoever opens the leg next, again if it was interrupted.
 */
import type { Environment } from '../base/environment.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatTime } from '../base/units.ts';
import type { DeviceProvider } from '../block/device.ts';
import { comparePositions } from '../stream/position.ts';
import type { Image, LegMetadata, LegState } from './leg-metadata.ts';
import type { LocalLeg, LocalLegOptions, LocalVolume } from './local-leg.ts';

export function imagePathOf(volumePath: string): string {
  return `${volumePath}.image`;
}

/** What a resync would leave, or has left, of the leg as it was. */
export interface ImageOutlook {
  /** When its newest change arrived, wall clock; null: not known. */
  readonly atMs: number | null;
  /** Why the storage keeps none, as seen last; null when nothing is in the way. */
  readonly obstacle: string | null;
}

/** Why none is kept of a leg whose storage could; null of one that is an image of some moment. */
export function whyNoImage(condition: LegState['condition']): string | null {
  switch (condition) {
    case 'consistent':
      return null;
    case 'inconsistent':
      return 'a copy to it was interrupted before';
    case 'unconfirmed':
      return 'it restarted and may lack what was not flushed';
  }
}

/** Of a leg that is being copied to, or was, for people. */
export function imageWords({ atMs, obstacle }: ImageOutlook, before: LegState['condition'], kept: boolean): string {
  if (kept) return `its last consistent image${atMs === null ? '' : ` of ${formatTime(atMs)}`} is kept`;
  return `no image of it is kept: ${obstacle ?? whyNoImage(before) ?? 'the log of its node says why'}`;
}

export interface LastImageOptions {
  readonly environment: Environment;
  readonly devices: DeviceProvider;
  readonly leg: LocalLeg;
}

/** As much as a message carries. */
const obstacleLengthMax = 500;

export class LastImage {
  readonly #options: LastImageOptions;
  /** Why the storage will not do it, as seen last. */
  #obstacle: string | null = null;
  /** Cloning and removing, one after the other. */
  #work: Promise<unknown> = Promise.resolve();

  constructor(options: LastImageOptions) {
    this.#options = options;
  }

  get outlook(): ImageOutlook {
    const { leg } = this.#options;
    const { image, newestAtMs } = leg.state;
    return { atMs: image?.state === 'kept' ? image.atMs : newestAtMs, obstacle: this.#obstacle };
  }

  /** In a sentence about an `Inconsistent` leg. */
  get words(): string {
    const { condition, image } = this.#options.leg.state;
    return imageWords(this.outlook, condition, image?.state === 'kept');
  }

  /** The leg was opened: what is left of an image nobody knows of goes, and what the storage can do is found out. */
  async begin(): Promise<void> {
    const { devices, leg } = this.#options;
    if (leg.state.image === null) await this.discard();
    for (const { path } of leg.volumes)
      this.#obstacle ??= (await devices.cloneObstacle(path))?.slice(0, obstacleLengthMax) ?? null;
  }

  /**
   * Clones what the leg is, before a resync; nothing may be in flight on it. The image is to be saved together with the
   * condition; null when there is none. One kept through an interrupted resync stays.
   * @param wanted false when the resync will not begin after all.
   */
  keep(wanted: () => boolean): Promise<Image | null> {
    const { leg } = this.#options;
    if (leg.state.image?.state === 'kept') return Promise.resolve(leg.state.image);
    if (leg.blank || whyNoImage(leg.state.condition) !== null) return Promise.resolve(null);
    return this.#next(() => this.#clone(wanted));
  }

  /** The metadata does not tell of the image any more: its clones go. */
  discard(): Promise<void> {
    return this.#next(() => this.#remove());
  }

  /** Refuses (`E_REFUSED`) when there is no image of all of the leg that could take its place. */
  assertKept(): Image {
    const { leg } = this.#options;
    const { image, condition } = leg.state;
    const refused = (text: string): HoldfastError => new HoldfastError('E_REFUSED', `group ${leg.group}: ${text}`);
    if (condition !== 'inconsistent')
      throw refused(`the copy here is not Inconsistent: it is its last consistent image`);
    if (image?.state !== 'kept') throw refused(this.words);
    for (const { entry } of leg.volumes) {
      if (!image.volumes.includes(entry.index))
        throw refused(`volume ${entry.name} is newer than the image that was kept`);
    }
    return image;
  }

  /** Decides that the image takes the leg's place when the leg is opened next. Rejects when it is not whole. */
  async promote(): Promise<Image> {
    const { devices, leg } = this.#options;
    const image = this.assertKept();
    for (const { path, entry } of leg.volumes) {
      const { sizeBytes, blockSizeBytes } = entry;
      const { device } = await devices.open({ path: imagePathOf(path), sizeBytes, blockSizeBytes, create: false });
      await device.close();
    }
    leg.metadata.change({ image: { ...image, state: 'promoting' } });
    try {
      await leg.save();
    } catch (error) {
      leg.metadata.change({ image });
      throw error;
    }
    return image;
  }

  async #clone(wanted: () => boolean): Promise<Image | null> {
    const { devices, environment, leg } = this.#options;
    const { lineage, newestAtMs } = leg.state;
    const volumes: readonly LocalVolume[] = [...leg.volumes];
    this.#obstacle = null;
    try {
      if (comparePositions(leg.applied, leg.intended) !== 0) {
        throw new HoldfastError('E_IO', 'it holds part of what it could not store');
      }
      for (const { path } of volumes) await devices.clone(path, imagePathOf(path));
    } catch (error) {
      this.#obstacle = messageOf(error).slice(0, obstacleLengthMax);
      environment.log.warn(`group ${leg.group}: no image of this leg is kept during the resync: ${this.#obstacle}`);
    }
    if (this.#obstacle === null && wanted()) {
      const indices = volumes.map(({ entry }) => entry.index);
      return { state: 'kept', lineage, position: leg.applied, atMs: newestAtMs, volumes: indices };
    }
    await this.#remove();
    return null;
  }

  async #remove(): Promise<void> {
    const { devices, environment, leg } = this.#options;
    try {
      for (const { path } of leg.volumes) await devices.remove(imagePathOf(path));
    } catch (error) {
      environment.log.warn(`group ${leg.group}: an image that is not needed any more stays: ${messageOf(error)}`);
    }
  }

  #next<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#work.then(work);
    this.#work = result.catch(() => {});
    return result;
  }
}

/**
 * A promotion was decided: the clones take the volumes' places, those that have not yet. What other legs were told of
 * this one does not hold any more: all is copied, to them or from them (R9).
 */
export async function finishPromotion(
  { devices, volumes, pathOf }: Pick<LocalLegOptions, 'devices' | 'volumes' | 'pathOf'>,
  metadata: LegMetadata,
): Promise<void> {
  const { image } = metadata.state;
  if (image?.state !== 'promoting') return;
  for (const entry of volumes) {
    const path = pathOf(entry);
    if (image.volumes.includes(entry.index)) await devices.replace(imagePathOf(path), path);
  }
  metadata.change({
    condition: 'consistent',
    lineage: image.lineage,
    durable: image.position,
    owning: false,
    logAhead: null,
    wentBack: null,
    // What was cloned was on the medium, whole: as after a clean stop.
    clean: true,
    hot: [],
    newestAtMs: image.atMs,
    image: { ...image, state: 'promoted' },
  });
  metadata.forgetPeers();
  await metadata.save();
}
