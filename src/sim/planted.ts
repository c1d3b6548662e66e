/**
 * Bugs put into the product for the length of a scene, by wrapping methods of its classes: each breaks one rule, and the
 * suite shows that the checkers see it. The product itself has no switch for them.
 */
import { Group } from '../group/group.ts';
import { Owner } from '../group/owner.ts';
import { PromisesGiven } from '../group/promises.ts';
import { RecordKeeper } from '../group/record-keeper.ts';
import type { Device } from '../block/device.ts';
import { Journal } from '../journal/journal.ts';
import { JournalReader } from '../journal/reader.ts';
import type { Frame } from '../link/frame.ts';
import { decodeAnswer, encodeAnswer, type Answer } from '../link/messages/answer.ts';
import { MessageType } from '../link/messages/types.ts';

import { attachSchema } from '../mirror/messages.ts';
import { SourceLeg } from '../mirror/source-leg.ts';
import { parseBody, TargetLeg } from '../mirror/target-leg.ts';
import { Pulse } from '../pulse/pulse.ts';
import { LeaseHolder } from '../store/lease.ts';
import { ApplyQueue } from '../stream/apply-queue.ts';
import { Change } from '../stream/change.ts';
import { recordsOverlap, type StreamRecord } from '../stream/record.ts';
import { Sequencer } from '../stream/sequencer.ts';
import { IntentMap } from '../volume/intent-map.ts';
import { LocalLeg } from '../volume/local-leg.ts';
import type { MirrorMode } from '../store/document.ts';
import type { PulsePlan } from './pulse-plan.ts';
import {
  drawScript,
  legsOf,
  type Action,
  type FaultClass,
  type GroupPlan,
  type HostPlan,
  type Script,
} from './script.ts';
import { SimDevice } from './world/disk.ts';
import { replaceGetter, replaceMethod, type Undo } from './observe.ts';

interface Planted {
  /** The rule that is broken, in words. */
  readonly breaks: string;
  /** What it violates, one or the other, wherever it shows. */
  readonly violates: readonly string[];
  /** The faults that bring it out. */
  readonly foundAmong: readonly FaultClass[];
  /** Seen where every leg's answer is waited for; elsewhere the loss would be within what is promised. */
  readonly inModes?: readonly MirrorMode[];
  /** Seen where hosts do little: a leg is made durable of itself only while they rest. */
  readonly withQuietHosts?: boolean;
  /**
   * Seen where one host, that thinks for so long, stays with the old owner while another, less patient, has found the new
   * one; and leases are long.
   */
  readonly withHostsApart?: number;
  /** Seen where groups have logs. */
  readonly withLogs?: boolean;
  /** Seen where there is a pulse like this. */
  readonly withPulse?: Partial<PulsePlan>;
  /** Seen with so many nodes. */
  readonly ofNodes?: number;
  /** Seen where logs rot all the time. */
  readonly withRot?: boolean;
  /** What brings it out for sure, besides what is drawn. */
  readonly withActions?: (script: Script) => Action[];
  readonly plant: () => Undo[];
}

export const plantedBugs = {
  'flush-ignored': {
    breaks: 'R3: a flush is answered although the medium has nothing of it',
    violates: ['I2'],
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
    violates: ['I1', 'I2', 'I6', 'I10'],
    foundAmong: ['power'],
    inModes: ['sync'],
    withQuietHosts: true,
    plant: () => [replaceMethod(LocalLeg.prototype, 'flush', () => () => Promise.resolve(true))],
  },
  'overlaps-reordered': {
    breaks: 'R1: overlapping writes are applied in another order than stamped',
    violates: ['I1', 'I5', 'I6'],
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
    violates: ['I1'],
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
    violates: ['I4'],
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
    violates: ['I2', 'I10'],
    foundAmong: ['crash', 'network'],
    inModes: ['sync'],
    plant: () => [replaceMethod(SourceLeg.prototype, 'has', () => () => true)],
  },
  'lease-without-generation': {
    breaks: 'R11: a lease granted anew is used without a new generation',
    violates: ['I1', 'I4', 'I6'],
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
    // A take-over lets go before the record is changed, and opening closes once more: both defences are taken away.
    breaks: 'R14: records of the old owner are applied after the take-over, and letting go twice does not help',
    violates: ['I2', 'I5', 'I9'],
    foundAmong: ['disk'],
    plant: () => [
      replaceMethod(TargetLeg.prototype, 'letGo', () => () => Promise.resolve(true)),
      replaceMethod(TargetLeg.prototype, 'close', () => () => Promise.resolve(true)),
    ],
  },
  'read-without-lease': {
    breaks: 'R16: a read is answered without looking at the lease',
    // I9: it waits for nothing, not even for the owner to have opened.
    violates: ['I3', 'I9'],
    foundAmong: ['isolation'],
    plant: () => [
      replaceMethod(
        Owner.prototype,
        'read',
        (original) =>
          function (this: Owner, volume, offset, into, done) {
            // Still in order with writes under way: that is another rule (R1).
            const again = (): void => original.call(this, volume, offset, into, done);
            const crowded = (): boolean => changeUnderWay(this, { volume, offset, length: into.length });
            if (crowded()) again();
            else {
              this.leg.device(volume).read(offset, into, (fault) => {
                if (crowded()) again();
                else done(fault === null ? null : 'io');
              });
            }
          },
      ),
    ],
  },
  'promise-ignored': {
    breaks: 'R16: a node takes over in spite of what it has promised',
    violates: ['I3', 'I5'],
    foundAmong: ['storeless'],
    inModes: ['sync'],
    withHostsApart: 400,
    plant: () => [replaceGetter(PromisesGiven.prototype, 'remainingMs', 0)],
  },
  'bitmap-cleared': {
    breaks: 'R8: a handshake clears the change bits',
    violates: ['I1', 'I2', 'I6'],
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
  'log-trimmed-early': {
    breaks: 'R5: the log lets go of what a leg that is away has yet to get',
    violates: ['TL-9'],
    foundAmong: ['outage'],
    withLogs: true,
    plant: () => [
      replaceMethod(
        Owner.prototype,
        'reviewLog',
        (original) =>
          function (this: Owner) {
            original.call(this);
            this.log?.release(this.log.newest);
          },
      ),
    ],
  },
  'merged-out-of-order': {
    breaks: 'TL-12: what is read from the log comes in another order than stamped',
    violates: ['I1', 'I2', 'I5', 'I6'],
    foundAmong: ['outage'],
    withLogs: true,
    plant: () => [
      replaceMethod(
        JournalReader.prototype,
        'next',
        (original) =>
          async function (this: JournalReader) {
            const item = await original.call(this);
            return item?.kind === 'records' ? { ...item, records: backwards(item.records) } : item;
          },
      ),
    ],
  },
  'merged-before-answered': {
    breaks: 'TL-18: a merged leg is taken for whole when it has received what it lacked, and has not applied it',
    violates: ['I1', 'I2', 'I6', 'I10'],
    foundAmong: ['outage'],
    withLogs: true,
    plant: () => [
      replaceMethod(
        SourceLeg.prototype,
        'frame',
        (original) =>
          function (this: SourceLeg, connection, frame) {
            const answer = frame.type === MessageType.answer && this.merging ? decodeAnswer(frame) : null;
            original.call(this, connection, answer?.ok === true ? claimed(frame, answer.value) : frame);
          },
      ),
    ],
  },
  'log-answers-early': {
    breaks: 'TL-9: a change is given to the own leg before the log has answered for it',
    violates: ['I1', 'I2', 'I3', 'I5', 'I6'],
    foundAmong: ['outage', 'power', 'crash'],
    withLogs: true,
    plant: () => [
      replaceMethod(
        Journal.prototype,
        'append',
        (original) =>
          function (this: Journal, records, done) {
            original.call(this, records, () => {});
            done(null);
          },
      ),
    ],
  },
  'rot-taken-for-the-end': {
    breaks: 'I7: what has rotted in the log is passed by as if nothing had been there',
    violates: ['I1', 'I2', 'I5', 'I6'],
    foundAmong: ['outage'],
    withLogs: true,
    withRot: true,
    plant: () => [
      replaceMethod(
        JournalReader.prototype,
        'next',
        (original) =>
          async function (this: JournalReader) {
            let item = await original.call(this);
            while (item?.kind === 'damage') item = await original.call(this);
            return item;
          },
      ),
    ],
  },
  'entries-end-early': {
    breaks: 'TL-7: an entry of the intent map ends before the other legs have answered',
    violates: ['I1', 'I2', 'I5', 'I6'],
    foundAmong: ['crash'],
    plant: () => [
      replaceMethod(
        IntentMap.prototype,
        'release',
        (original) =>
          function (this: IntentMap) {
            original.call(this, Infinity);
          },
      ),
    ],
  },
  'generation-ignored': {
    breaks: 'R12: a target forgets that it has seen a newer generation, and follows the old owner again',
    violates: ['I4'],
    foundAmong: [],
    inModes: ['sync'],
    ofNodes: 3,
    withActions: cutOffAndReplaced,
    plant: () => [
      replaceMethod(
        Group.prototype,
        'frame',
        (original) =>
          function (this: Group, connection, frame) {
            const attach = frame.type === MessageType.attach ? parseBody(frame, attachSchema) : null;
            if (
              attach?.ok === true &&
              this.leg !== null &&
              attach.value.generation < this.leg.state.seen.generation
            ) {
              const { generation, generationId: id } = attach.value;
              this.leg.metadata.change({ seen: { generation, id } });
            }
            original.call(this, connection, frame);
          },
      ),
    ],
  },
  'lease-before-pause': {
    breaks: 'R15, R16: the lease is looked at before a pause, and not after it',
    violates: ['I3', 'I5'],
    foundAmong: [],
    inModes: ['sync'],
    withHostsApart: 4000,
    withActions: standsStillAndIsReplaced,
    plant: () => {
      const trusted = new WeakMap<LeaseHolder, number>();
      return [
        replaceMethod(
          LeaseHolder.prototype,
          'isValid',
          (original) =>
            function (this: LeaseHolder) {
              const left = trusted.get(this) ?? 0;
              if (left > 0) {
                trusted.set(this, left - 1);
                return true;
              }
              const valid = original.call(this);
              if (valid) trusted.set(this, looksSaved);
              return valid;
            },
        ),
      ];
    },
  },
  'in-sync-after-ack': {
    breaks: 'R13: hosts are answered without a leg that was lost before the record calls it behind',
    violates: ['I2', 'I3', 'I5', 'I10'],
    foundAmong: ['isolation', 'network', 'crash'],
    inModes: ['sync'],
    plant: () => [
      replaceMethod(
        SourceLeg.prototype,
        'has',
        (original) =>
          function (this: SourceLeg, change) {
            return original.call(this, change) || (this.phase === 'detached' && this.recordClass === 'inSync');
          },
      ),
    ],
  },
  'one-silence-is-death': {
    breaks: 'a channel that is silent counts as death, though another one hears the owner',
    violates: ['I14'],
    foundAmong: [],
    ofNodes: 2,
    withPulse: { calm: true, lifeline: true, interconnect: true, presence: false },
    plant: () => [
      replaceMethod(
        Pulse.prototype,
        'snapshot',
        (original) =>
          function (this: Pulse) {
            const snapshot = original.call(this);
            const peers = snapshot.peers.map((peer) => {
              const dead = peer.heard.some(({ enable, hearing }) => enable !== 'DISABLE' && hearing === 'silent');
              return dead
                ? { ...peer, heard: peer.heard.map((heard) => ({ ...heard, hearing: 'silent' as const })) }
                : peer;
            });
            return { ...snapshot, peers };
          },
      ),
    ],
  },
  'epoch-never-closed': {
    breaks: 'HG-1: a write issued because of a completed one joins its epoch',
    violates: ['HG-1'],
    foundAmong: [],
    plant: () => [replaceMethod(Sequencer.prototype, 'completed', () => () => {})],
  },
} as const satisfies Record<string, Planted>;

/** Of a lease that was valid. */
const looksSaved = 500;

export type PlantedBug = keyof typeof plantedBugs;

function changeUnderWay(
  { history }: Owner,
  range: { readonly volume: number; readonly offset: number; readonly length: number },
): boolean {
  for (let at = history.first; at < history.next; at++) {
    const change = history.at(at);
    if (!change.finished && recordsOverlap(change, range)) return true;
  }
  return false;
}

/** The same stamps, with what was stamped last first. */
function backwards(records: readonly StreamRecord[]): StreamRecord[] {
  const changes = records.toReversed();
  return records.map((record, index) => {
    const { generation, epoch, seq } = record;
    return { ...(changes[index] ?? record), generation, epoch, seq };
  });
}

/** An answer of a target that has applied, and has on its medium, whatever it has received. */
function claimed({ type, control }: Frame, answer: Answer): Frame {
  const { received } = answer;
  const [whole] = encodeAnswer({ ...answer, flags: answer.flags | 1, applied: received, durable: received });
  return { type, control: whole?.subarray(whole.length - control.length) ?? control, pieces: [] };
}

/** A script among those that bring the bug out. */
export function drawScriptFor(bug: PlantedBug, seed: string, nodes?: number): Script {
  const {
    foundAmong,
    inModes,
    withQuietHosts = false,
    withHostsApart,
    withLogs,
    withPulse,
    ofNodes,
    withActions,
    withRot = false,
  }: Planted = plantedBugs[bug];
  const script = drawScript(seed, {
    only: foundAmong,
    nodes: nodes ?? ofNodes,
    logs: withLogs,
    pulse: withPulse ?? false,
  });
  const { groups, hosts, actions } = script;
  return {
    ...script,
    ...(withActions && { durationMs: Math.max(script.durationMs, 12_000) }),
    ...(withHostsApart !== undefined && { leaseTtlMs: 3000 }),
    groups: inModes === undefined ? groups : groups.map((group) => inMode(group, inModes[0])),
    hosts: withQuietHosts
      ? hosts.map((host) => ({ ...host, ...quiet }))
      : withHostsApart !== undefined
        ? groups.flatMap(({ name: group }) => hostsApart(withHostsApart).map((host) => ({ ...host, group })))
        : hosts,
    actions: [...actions, ...(withRot ? rotting(script) : []), ...(withActions?.(script) ?? [])].sort(
      (one, two) => one.atMs - two.atMs,
    ),
  };
}

/** Each group's owner loses a bit of its first log device every second. */
function rotting({ groups, durationMs }: Script): Action[] {
  const seconds = Array.from({ length: Math.floor(durationMs / 1000) }, (_, second) => second);
  return groups.flatMap(({ owner: node }) =>
    seconds.map((second): Action => ({ atMs: second * 1000, kind: 'logRots', node, copy: 0 })),
  );
}

/** The first group's owner is taken over from while it stands still; after that the store is too slow to tell it. */
function standsStillAndIsReplaced(script: Script): Action[] {
  return script.groups.slice(0, 1).flatMap((group): Action[] => [
    { atMs: 500, kind: 'pause', node: group.owner, afterEffects: 5, forMs: 8000 },
    { atMs: 8000, kind: 'storeSlow', factor: 300, forMs: 2000 },
    { atMs: 600, kind: 'takeOver', group: group.name, node: followerOf(group, script), force: false },
  ]);
}

/** The first group's owner is taken over from while it is cut off, and learns of it late. */
function cutOffAndReplaced(script: Script): Action[] {
  return script.groups.slice(0, 1).flatMap((group): Action[] => [
    { atMs: 500, kind: 'partition', from: group.owner, ways: 'both', forMs: 8000 },
    { atMs: 500, kind: 'storeAway', nodes: [group.owner], forMs: 11_000 },
    { atMs: 600, kind: 'takeOver', group: group.name, node: followerOf(group, script), force: false },
  ]);
}

function followerOf(group: GroupPlan, { nodes }: Script): string {
  return legsOf(group, nodes).find(({ node }) => node !== group.owner)?.node ?? group.owner;
}

function inMode(group: GroupPlan, mode = group.mode): GroupPlan {
  const { legs } = group;
  return { ...group, mode, ...(legs && { legs: legs.map(({ node }) => ({ node, mode })) }) };
}

const hostsApart = (thinkMs: number): Omit<HostPlan, 'group'>[] => [
  { lanes: 8, thinkMs, places: 24, patienceMs: 1e9 },
  { lanes: 2, thinkMs: 30, places: 24, patienceMs: 200 },
];
const quiet = { lanes: 1, thinkMs: 1500, places: 8 };
