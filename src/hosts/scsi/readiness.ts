/** What a host asks of a unit besides its blocks: is it ready, what was wrong, flush, prefetch, start and stop. */
import { blockCount, type CdbForm, failByFault, firstBlock, isInside, usageOf } from './block-range.ts';
import type { Command, DeviceView } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { notServedSense, volumeFor } from './not-served.ts';
import { answer } from './parameter-data.ts';
import { invalidField, SenseCode, senseData } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

const immed = 0x02;
const desc = 0x01;

/** SPC-4 6.39: what is pending is reported as data, and is pending no more. */
function requestSense(unit: LogicalUnit, task: ScsiTask): void {
  const descriptor = ((task.cdb[1] ?? 0) & desc) !== 0;
  const attention = unit.takeAttention(task.nexus);
  const data =
    attention !== null
      ? senseData(descriptor, 'unitAttention', attention)
      : (notServedSense(unit, descriptor) ?? senseData(descriptor, 'noSense', SenseCode.none));
  answer(task, data, task.cdb[4] ?? 0);
}

function requestSenseWithoutUnit(_device: DeviceView, task: ScsiTask): void {
  const descriptor = ((task.cdb[1] ?? 0) & desc) !== 0;
  answer(task, senseData(descriptor, 'illegalRequest', SenseCode.unitNotSupported), task.cdb[4] ?? 0);
}

/** All of the volume, whatever range is named (SBC-3 5.25 allows more). With IMMED the host does not wait for it. */
function synchronizeCache(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  if (!isInside(unit, task, firstBlock(cdb, form), blockCount(cdb, form))) return;
  const volume = volumeFor(unit, task);
  if (volume === null) return;
  const immediately = ((cdb[1] ?? 0) & immed) !== 0;
  volume.flush((fault) => {
    if (immediately) return;
    if (fault === null) task.complete(ScsiStatus.good);
    else failByFault(unit, task, fault, 'write');
  });
  if (immediately) task.complete(ScsiStatus.good);
}

/** The page cache is the cache, and takes what it is asked for when it is read. Zero blocks mean all up to the end. */
function prefetch(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  if (isInside(unit, task, firstBlock(cdb, form), blockCount(cdb, form))) task.complete(ScsiStatus.conditionMet);
}

/**
 * A volume has no power of its own, and other hosts use it: stopping makes durable what was written, and stops nothing. A
 * medium that cannot be removed is not loaded or ejected (SBC-3 5.26).
 */
function startStop(unit: LogicalUnit, task: ScsiTask): void {
  const flags = task.cdb[4] ?? 0;
  const powerCondition = flags >> 4;
  const loadOrEject = (flags & 0x02) !== 0;
  const start = (flags & 0x01) !== 0;
  if (powerCondition === 0 && loadOrEject) return invalidField(unit, task, 4, 1);
  // SBC-3 table 13: to start is allowed whatever is reserved, the rest is not.
  if (powerCondition === 0 && start) return task.complete(ScsiStatus.good);
  if (unit.conflicts(task.nexus, 'write')) return task.complete(ScsiStatus.reservationConflict);
  volumeFor(unit, task)?.flush((fault) => {
    if (fault === null) task.complete(ScsiStatus.good);
    else failByFault(unit, task, fault, 'write');
  });
}

/** The medium cannot be removed. To allow it is allowed whatever is reserved (SPC-4 table 63). */
function preventAllow(unit: LogicalUnit, task: ScsiTask): void {
  const prevents = ((task.cdb[4] ?? 0) & 0x03) !== 0;
  const kept = prevents && unit.conflicts(task.nexus, 'write');
  task.complete(kept ? ScsiStatus.reservationConflict : ScsiStatus.good);
}

const good = (_unit: LogicalUnit, task: ScsiTask): void => task.complete(ScsiStatus.good);
const common = { serviceAction: null, access: 'active', pastUnitAttention: false } as const;

export const readinessCommands: readonly Command[] = [
  { ...common, name: 'TEST UNIT READY', opcode: 0x00, usage: [0x00, 0, 0, 0, 0, 0], reservation: 'any', run: good },
  {
    ...common,
    name: 'REQUEST SENSE',
    opcode: 0x03,
    usage: [0x03, desc, 0, 0, 0xff, 0],
    reservation: 'any',
    access: 'any',
    pastUnitAttention: true,
    withoutUnit: requestSenseWithoutUnit,
    run: requestSense,
  },
  {
    ...common,
    name: 'START STOP UNIT',
    opcode: 0x1b,
    usage: [0x1b, 0x01, 0, 0x0f, 0xf7, 0],
    reservation: 'any',
    run: startStop,
  },
  {
    ...common,
    name: 'PREVENT ALLOW MEDIUM REMOVAL',
    opcode: 0x1e,
    usage: [0x1e, 0, 0, 0, 0x03, 0],
    reservation: 'any',
    run: preventAllow,
  },
  {
    ...common,
    name: 'SYNCHRONIZE CACHE(10)',
    opcode: 0x35,
    usage: usageOf(0x35, 10, immed | 0x04),
    reservation: 'write',
    run: (unit, task) => synchronizeCache(unit, task, 10),
  },
  {
    ...common,
    name: 'SYNCHRONIZE CACHE(16)',
    opcode: 0x91,
    usage: usageOf(0x91, 16, immed | 0x04),
    reservation: 'write',
    run: (unit, task) => synchronizeCache(unit, task, 16),
  },
  {
    ...common,
    name: 'PRE-FETCH(10)',
    opcode: 0x34,
    usage: usageOf(0x34, 10, immed),
    reservation: 'read',
    run: (unit, task) => prefetch(unit, task, 10),
  },
  {
    ...common,
    name: 'PRE-FETCH(16)',
    opcode: 0x90,
    usage: usageOf(0x90, 16, immed),
    reservation: 'read',
    run: (unit, task) => prefetch(unit, task, 16),
  },
];
