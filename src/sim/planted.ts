/**
 * Bugs put into the product for the length of a scene, by wrapping methods of its classes: each breaks one rule, and the
 * suite shows that the checkers see it. The product itself has no switch for them.
 */
import { Owner } from '../group/owner.ts';
import { RecordKeeper } from '../group/record-keeper.ts';
import type { Device } from '../block/device.ts';
import { SourceLeg } from '../mirror/source-leg.ts';
import { TargetLeg } from '../mirror/target-leg.ts';
import { ApplyQueue } from '../stream/apply-queue.ts';
import { Change } from '../stream/change.ts';
import type { StreamRecord } from '../stream/record.ts';
import { Sequencer } from '../stream/sequencer.ts';
import { LocalLeg } from '../volume/local-leg.ts';
import type { FaultClass } from './script.ts';
import { SimDevice } from './world/disk.ts';
import { replaceMethod, type Undo } from './observe.ts';

interface Planted {
  /** The rule that is broken, in words. */
  readonly breaks: string;
  /** The faults that bring it out. */
  readonly foundAmong: readonly FaultClass[];
  readonly plant: () => Undo[];
}

export const plantedBugs = {
  'flush-ignored': {
    breaks: 'R3: a flush is answered although the medium has nothing of it',
    foundAmong: ['power'],
    plant: () => [
      replaceMethod(
        SimDevice.prototype as Device,
        'flush',
        () =>
          function (this: Device, done) {
            // As slow as a read, and as useless.
            this.read(0, new Uint8Array(this.blockSizeBytes), () => done(null));
          },
      ),
    ],
  },
  'durable-is-applied': {
    breaks: 'R5: what is applied is called durable',
    foundAmong: ['power'],
    plant: () => [replaceMethod(LocalLeg.prototype, 'flush', () => () => Promise.resolve(true))],
  },
  'overlaps-reordered': {
    breaks: 'R1: overlapping writes are applied in another order than stamped',
    foundAmong: ['network', 'crash'],
    plant: () => {
      const held = new WeakMap<ApplyQueue<StreamRecord>, StreamRecord>();
      return [
        replaceMethod(
          ApplyQueue.prototype as ApplyQueue<StreamRecord>,
          'push',
          (original) =>
            function (this: ApplyQueue<StreamRecord>, record) {
              const before = held.get(this);
              if (before === undefined && !(record instanceof Change) && record.kind === 'write') {
                held.set(this, record);
                void Promise.resolve().then(() => {
                  if (held.get(this) !== record) return;
                  held.delete(this);
                  original.call(this, record);
                });
                return;
              }
              original.call(this, record);
              if (before === undefined) return;
              held.delete(this);
              original.call(this, before);
            },
        ),
      ];
    },
  },
  'epochs-ignored': {
    breaks: 'HG-2: a target applies writes of different epochs side by side',
    foundAmong: ['network', 'crash'],
    plant: () => [
      replaceMethod(
        ApplyQueue.prototype as ApplyQueue<StreamRecord>,
        'push',
        (original) =>
          function (this: ApplyQueue<StreamRecord>, record) {
            if (!(record instanceof Change)) (record as { epoch: number }).epoch = 1;
            original.call(this, record);
          },
      ),
    ],
  },
  'positions-again': {
    breaks: 'R11: an owner that starts again goes on under its old generation',
    foundAmong: ['crash'],
    plant: () => [
      replaceMethod(
        RecordKeeper.prototype,
        'change',
        (original) =>
          function (this: RecordKeeper, next, extra) {
            return original.call(
              this,
              (before) => {
                const after = next(before);
                if (before === null || after === null || after.owner !== before.owner) return after;
                return { ...after, generation: before.generation, id: before.id };
              },
              extra,
            );
          },
      ),
    ],
  },
  'own-leg-alone': {
    breaks: 'R16 (a): acknowledged on the strength of the own leg alone',
    foundAmong: ['crash', 'network'],
    plant: () => [replaceMethod(SourceLeg.prototype, 'has', () => () => true)],
  },
  'lease-without-generation': {
    breaks: 'R11: a lease granted anew is used without a new generation',
    foundAmong: ['pause', 'store'],
    plant: () => [
      replaceMethod(
        Owner.prototype,
        'hold',
        (original) =>
          function (this: Owner, why, on) {
            if (why !== 'lease') original.call(this, why, on);
          },
      ),
    ],
  },
  'held-writes-applied': {
    breaks: 'R14: records of the old owner are applied after the take-over',
    foundAmong: ['disk'],
    plant: () => [replaceMethod(TargetLeg.prototype, 'close', () => () => Promise.resolve(true))],
  },
  'read-without-lease': {
    breaks: 'R16: a read is answered without looking at the lease',
    foundAmong: ['pause'],
    plant: () => [
      replaceMethod(
        Owner.prototype,
        'read',
        () =>
          function (this: Owner, volume, offset, into, done) {
            this.leg.device(volume).read(offset, into, (fault) => done(fault === null ? null : 'io'));
          },
      ),
    ],
  },
  'bitmap-cleared': {
    breaks: 'R8: a handshake clears the change bits',
    foundAmong: ['crash', 'network'],
    plant: () => [
      replaceMethod(
        SourceLeg.prototype,
        'attach',
        (original) =>
          function (this: SourceLeg) {
            original.call(this);
            for (const bitmap of this.bits.values()) bitmap.clearAll();
          },
      ),
    ],
  },
  'epoch-never-closed': {
    breaks: 'HG-1: a write issued because of a completed one joins its epoch',
    foundAmong: [],
    plant: () => [replaceMethod(Sequencer.prototype, 'completed', () => () => {})],
  },
} as const satisfies Record<string, Planted>;

export type PlantedBug = keyof typeof plantedBugs;
