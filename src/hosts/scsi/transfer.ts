/** READ, WRITE, VERIFY, and WRITE AND VERIFY in all their lengths (SBC-3 5.7…5.10, 5.22…5.34). */
import { payloadMemory } from '../../base/payload-memory.ts';
import {
  blockCount,
  type CdbForm,
  failByFault,
  firstBlock,
  isInside,
  forcesUnitAccess,
  isTransferable,
  mustReachMedium,
  usageOf,
} from './block-range.ts';
import type { Command } from './command.ts';
import { blockLimits } from './limits.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { volumeFor } from './not-served.ts';
import { failWith, invalidField, SenseCode } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

const dpo = 0x10;
/** FUA, and FUA_NV: there is no cache in between that would outlast a loss of power. */
const fua = 0x0a;
const bytchk = 0x06;

/** Read at once by VERIFY without data. */
const verifyPieceBytes = 1024 * 1024;

function read(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  const first = firstBlock(cdb, form);
  const count = blockCount(cdb, form);
  if (!isInside(unit, task, first, count) || !isTransferable(unit, task, form, count)) return;
  if (count === 0) return task.complete(ScsiStatus.good);
  const volume = volumeFor(unit, task);
  if (volume === null) return;
  const { blockSizeBytes } = unit;
  const fromMedium = unit.unit.writeCache && forcesUnitAccess(cdb, form);
  volume.read(first * blockSizeBytes, task.reserveDataIn(count * blockSizeBytes), (fault) => {
    if (fault !== null) failByFault(unit, task, fault, 'read');
    else if (fromMedium) makeDurable(unit, task);
    else task.complete(ScsiStatus.good);
  });
}

/** A read that must be from the medium: whatever it has seen of the cache is there before the host has it. */
function makeDurable(unit: LogicalUnit, task: ScsiTask): void {
  volumeFor(unit, task)?.flush((fault) => {
    if (fault === null) task.complete(ScsiStatus.good);
    else failByFault(unit, task, fault, 'read');
  });
}

function write(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  const first = firstBlock(cdb, form);
  const count = blockCount(cdb, form);
  if (!isInside(unit, task, first, count) || !isTransferable(unit, task, form, count)) return;
  const data = wholeBlocks(unit, task.dataOut, count);
  if (data.length === 0) return task.complete(ScsiStatus.good);
  const through = mustReachMedium(unit, forcesUnitAccess(cdb, form));
  const start = first * unit.blockSizeBytes;
  const begin = (): void => {
    volumeFor(unit, task)?.write(start, data, through, (fault) => {
      if (fault === null) task.complete(ScsiStatus.good);
      else failByFault(unit, task, fault, 'write');
    });
  };
  if (unit.hasExclusive) unit.unlessExclusive(start, data.length, begin);
  else begin();
}

/** What the initiator has given of what the CDB announces (the transport tells it of the rest). */
function wholeBlocks({ blockSizeBytes }: LogicalUnit, data: Uint8Array, count: number): Uint8Array {
  const bytes = Math.min(count * blockSizeBytes, data.length - (data.length % blockSizeBytes));
  return bytes === data.length ? data : data.subarray(0, bytes);
}

/** BYTCHK (SBC-3 5.22): 0 the medium can be read, 1 it holds the data, 3 every block of it is the one given. */
function verify(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  const first = firstBlock(cdb, form);
  const count = blockCount(cdb, form);
  const check = ((cdb[1] ?? 0) & bytchk) >> 1;
  if (check === 2) return invalidField(unit, task, 1, 2);
  if (!isInside(unit, task, first, count)) return;
  if (check !== 0 && !isTransferable(unit, task, form, count)) return;
  if (count === 0) return task.complete(ScsiStatus.good);
  const needed = verifyDataBytes(unit, cdb, form);
  if (task.dataOut.length < needed) return invalidField(unit, task, 1, 2);
  compare(unit, task, first, count, check === 0 ? null : task.dataOut);
}

function verifyDataBytes(unit: LogicalUnit, cdb: Uint8Array, form: CdbForm): number {
  const check = ((cdb[1] ?? 0) & bytchk) >> 1;
  const count = blockCount(cdb, form);
  if (check === 3) return count === 0 ? 0 : unit.blockSizeBytes;
  return check === 1 ? count * unit.blockSizeBytes : 0;
}

/**
 * Reads them piece by piece. @param expected of all blocks, or of one that each has to equal; null: nothing. `ended` is called
 * before the command completes.
 */
function compare(
  unit: LogicalUnit,
  task: ScsiTask,
  first: number,
  count: number,
  expected: Uint8Array | null,
  ended: () => void = () => undefined,
): void {
  const { blockSizeBytes } = unit;
  const bytes = count * blockSizeBytes;
  const piece = new Uint8Array(Math.min(verifyPieceBytes, bytes));
  const next = (done: number): void => {
    const volume = volumeFor(unit, task);
    if (volume === null) return ended();
    const into = piece.subarray(0, Math.min(piece.length, bytes - done));
    volume.read(first * blockSizeBytes + done, into, (fault) => {
      const wrong =
        fault !== null || expected === null ? -1 : firstDifference(into, expected, done % expected.length);
      if (fault === null && wrong === -1 && done + into.length < bytes) return next(done + into.length);
      ended();
      if (fault !== null) return failByFault(unit, task, fault, 'read');
      if (wrong === -1) return task.complete(ScsiStatus.good);
      const information = expected !== null && expected.length < bytes ? wrong % blockSizeBytes : done + wrong;
      failWith(unit, task, 'miscompare', SenseCode.miscompareDuringVerify, { information });
    });
  };
  next(0);
}

/** Of `actual` against `expected` from `at` on, over and over; −1: there is none. */
export function firstDifference(actual: Uint8Array, expected: Uint8Array, at = 0): number {
  for (let done = 0; done < actual.length;) {
    const from = (at + done) % expected.length;
    const length = Math.min(expected.length - from, actual.length - done);
    const part = expected.subarray(from, from + length);
    if (Buffer.compare(actual.subarray(done, done + length), part) !== 0) {
      return done + actual.subarray(done, done + length).findIndex((byte, index) => byte !== part[index]);
    }
    done += length;
  }
  return -1;
}

function writeAndVerify(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  const first = firstBlock(cdb, form);
  const count = blockCount(cdb, form);
  const check = ((cdb[1] ?? 0) & bytchk) >> 1;
  if (check > 1) return invalidField(unit, task, 1, 2);
  if (!isInside(unit, task, first, count) || !isTransferable(unit, task, form, count)) return;
  const data = wholeBlocks(unit, task.dataOut, count);
  if (data.length === 0) return task.complete(ScsiStatus.good);
  const { blockSizeBytes } = unit;
  const start = first * blockSizeBytes;
  // Alone: what another writes there meanwhile is no miscompare.
  unit.exclusively(start, data.length, (release) => {
    const volume = volumeFor(unit, task);
    if (volume === null) return release();
    // The group lends this memory again when it has stored it, which may be before it has been compared with.
    payloadMemory.share(data);
    const ended = (): void => {
      payloadMemory.give(data);
      release();
    };
    volume.write(start, data, true, (fault) => {
      if (fault === null)
        return compare(unit, task, first, data.length / blockSizeBytes, check === 1 ? data : null, ended);
      ended();
      failByFault(unit, task, fault, 'write');
    });
  });
}

type Action = (unit: LogicalUnit, task: ScsiTask, form: CdbForm) => void;
type DataBytes = (unit: LogicalUnit, cdb: Uint8Array, form: CdbForm) => number;

function inForms(
  name: string,
  opcodes: Readonly<Partial<Record<CdbForm, number>>>,
  byte1: number,
  reservation: 'read' | 'write',
  action: Action,
  dataBytes?: DataBytes,
): Command[] {
  return Object.entries(opcodes).map(([key, opcode]) => {
    const form = Number(key) as CdbForm;
    return {
      name: `${name}(${form})`,
      opcode,
      serviceAction: null,
      usage: usageOf(opcode, form, byte1),
      reservation,
      access: 'active',
      pastUnitAttention: false,
      ...(dataBytes === undefined
        ? {}
        : { dataOutBytes: (unit: LogicalUnit, cdb: Uint8Array) => dataBytes(unit, cdb, form) }),
      run: (unit: LogicalUnit, task: ScsiTask) => action(unit, task, form),
    };
  });
}

/** No more than one command may bring: one that announces more will be refused. */
const unlessTooLong = (unit: LogicalUnit, bytes: number): number =>
  bytes > blockLimits(unit.blockSizeBytes).maximumTransfer * unit.blockSizeBytes ? 0 : bytes;
const allBlocks: DataBytes = (unit, cdb, form) => unlessTooLong(unit, blockCount(cdb, form) * unit.blockSizeBytes);

export const transferCommands: readonly Command[] = [
  ...inForms('READ', { 6: 0x08, 10: 0x28, 12: 0xa8, 16: 0x88 }, dpo | fua, 'read', read),
  ...inForms('WRITE', { 6: 0x0a, 10: 0x2a, 12: 0xaa, 16: 0x8a }, dpo | fua, 'write', write, allBlocks),
  ...inForms('VERIFY', { 10: 0x2f, 12: 0xaf, 16: 0x8f }, dpo | bytchk, 'read', verify, (unit, cdb, form) =>
    unlessTooLong(unit, verifyDataBytes(unit, cdb, form)),
  ),
  ...inForms('WRITE AND VERIFY', { 10: 0x2e, 12: 0xae, 16: 0x8e }, dpo | bytchk, 'write', writeAndVerify, allBlocks),
];
