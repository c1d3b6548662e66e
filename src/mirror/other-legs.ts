/**
 * What a target knows of the group's other targets, so that it can bring them up to date without a full copy should it
 * become the owner (HG-7, R9). The owner tells how each of them stands: when a mirror starts, when a leg falls behind, and
 * when it is whole again.
 *
 * Whatever this leg may have and another lacks is named here, by hot regions or by change bits:
 * - A leg the owner counts on lacks at most what is in flight. Hot regions name that: they cool only by what the owner
 *   calls stable, and that leg holds it durably then.
 * - A leg that is behind is not counted any more. The owner's bits against it are taken over when it says so, and from
 *   then on every record sets its bit here; regions cool only when these bits are on the medium.
 *
 * The owner says that a leg is behind before it says anything is stable that this leg lacks.
 */
import type { Decoded } from '../base/codec.ts';
import { encodeJson } from '../link/messages/json.ts';
import { MessageType } from '../link/messages/types.ts';
import { type Position } from '../stream/position.ts';
import type { StreamRecord } from '../stream/record.ts';
import { ExtentSet } from '../volume/extents.ts';
import type { PeerBits } from '../volume/leg-metadata.ts';
import type { LocalLeg } from '../volume/local-leg.ts';
import type { Standing } from './messages.ts';

export class OtherLegs {
  readonly #leg: LocalLeg;
  /** Legs that are behind → the bits against them. */
  readonly #behind = new Map<string, PeerBits>();
  /** Legs the owner counts on. */
  readonly #counted = new Set<string>();
  /** Legs whose bits name all that differs as soon as they are saved. */
  readonly #complete = new Set<string>();
  /** How often something was heard, and how often it was that a leg had fallen behind. */
  #heard = 0;
  #fallen = 0;

  constructor(leg: LocalLeg) {
    this.#leg = leg;
  }

  /**
   * @param named what a leg that is behind may lack, by volume.
   * @param whole false while, or before, this leg itself is copied to: it lacks what the owner has, and what it knows of
   * others has no new base yet.
   */
  hear({ node, known, behind, confirmed }: Standing, named: ReadonlyMap<number, ExtentSet>, whole: boolean): void {
    const leg = this.#leg;
    this.#heard++;
    if (behind) {
      leg.remember(node, named);
      if (!this.#behind.has(node)) this.#fallen++;
      this.#behind.set(node, leg.bitsFor(node));
      this.#counted.delete(node);
      leg.metadata.confirm(node, confirmed);
    } else {
      this.#behind.delete(node);
      this.#counted.add(node);
      if (whole) {
        leg.isEqualTo(node);
        leg.metadata.changePeer(node, { confirmed });
      }
    }
    this.#complete.delete(node);
    if (!known) leg.metadata.changePeer(node, { known: false });
    else if (whole) this.#complete.add(node);
    // A save that fails is made up for at the next checkpoint.
    void this.save().catch(() => {});
  }

  /** Another is the owner now: it is none of the others. */
  ownedBy(node: string): void {
    this.#behind.delete(node);
    this.#counted.delete(node);
    this.#complete.delete(node);
  }

  /** The record is about to be applied here. */
  track({ volume, offset, length }: StreamRecord): void {
    if (length === 0) return;
    for (const bits of this.#behind.values()) bits.get(volume)?.setClipped(offset, length);
  }

  /**
   * Puts on the medium what is remembered against legs that are behind. Resolves with a token for `covered`; rejects when
   * it cannot be saved.
   */
  async save(): Promise<number> {
    const fallen = this.#fallen;
    const heard = this.#heard;
    if (this.#behind.size === 0 && this.#complete.size === 0) return fallen;
    await this.#leg.saveBits();
    if (heard !== this.#heard || this.#complete.size === 0) return fallen;
    // Only now: a restart must not take bits for complete that never reached the medium.
    for (const node of this.#complete) this.#leg.metadata.changePeer(node, { known: true });
    this.#complete.clear();
    await this.#leg.save();
    return fallen;
  }

  /** Whether no leg has fallen behind since that `save`: what cools now is named by the bits it put on the medium. */
  covered(token: number): boolean {
    return token === this.#fallen;
  }

  /** R9: regions cool because these legs hold everything up to `stable`; less than that, one day, is an older disk. */
  relyOn(stable: Position): void {
    for (const node of this.#counted) this.#leg.metadata.confirm(node, stable);
  }
}

/** What an owner says to a target of another leg; `named` is what that one may lack, by volume. */
export function encodeStanding(
  standing: Omit<Standing, 'volumes'>,
  named: ReadonlyMap<number, ExtentSet>,
): Uint8Array[] {
  const body: Standing = { ...standing, volumes: [...named.keys()] };
  const pieces = [...named.values()].map((set) => set.encode());
  return encodeJson(MessageType.standing, body, pieces);
}

/** The extent sets of a message, by volume: one piece for each. */
export function decodeExtents(
  volumes: readonly number[],
  pieces: readonly Uint8Array[],
): Decoded<Map<number, ExtentSet>> {
  if (volumes.length !== pieces.length) {
    return { ok: false, reason: `${pieces.length} pieces for ${volumes.length} volumes` };
  }
  const sets = new Map<number, ExtentSet>();
  for (const [at, volume] of volumes.entries()) {
    const set = ExtentSet.decode(pieces[at] ?? new Uint8Array());
    if (!set.ok) return set;
    sets.set(volume, set.value);
  }
  return { ok: true, value: sets };
}
