/** Commands that read, then write, with nothing in between: COMPARE AND WRITE, ORWRITE (SBC-3 5.2, 5.5). */
import {
  blockCount,
  failByFault,
  firstBlock,
  isInside,
  isTransferable,
  mustReachMedium,
  usageOf,
} from './block-range.ts';
import type { Command } from './command.ts';
import { blockLimits } from './limits.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { failAsNotServed } from './not-served.ts';
import { failWith, invalidField, SenseCode } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';
import { firstDifference } from './transfer.ts';

const dpo = 0x10;
const fuaBit = 0x08;

function compareAndWrite(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb, dataOut } = task;
  const first = firstBlock(cdb, 16);
  const count = cdb[13] ?? 0;
  if (!isInside(unit, task, first, count)) return;
  if (count > blockLimits(unit.blockSizeBytes).compareAndWrite) return invalidField(unit, task, 13);
  if (count === 0) return task.complete(ScsiStatus.good);
  const bytes = count * unit.blockSizeBytes;
  if (dataOut.length < 2 * bytes) return invalidField(unit, task, 13);
  const expected = dataOut.subarray(0, bytes);
  change(unit, task, first, bytes, (present) => {
    const wrong = firstDifference(present, expected);
    if (wrong === -1) return dataOut.subarray(bytes, 2 * bytes);
    failWith(unit, task, 'miscompare', SenseCode.miscompareDuringVerify, { information: wrong });
    return null;
  });
}

function orWrite(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb, dataOut } = task;
  const first = firstBlock(cdb, 16);
  const count = blockCount(cdb, 16);
  if (!isInside(unit, task, first, count) || !isTransferable(unit, task, 16, count)) return;
  if (count === 0) return task.complete(ScsiStatus.good);
  const bytes = count * unit.blockSizeBytes;
  if (dataOut.length < bytes) return invalidField(unit, task, 10);
  change(unit, task, first, bytes, (present) => {
    for (let index = 0; index < bytes; index++) present[index] = (present[index] ?? 0) | (dataOut[index] ?? 0);
    return present;
  });
}

/** @param next makes what is written of what is there; null: nothing is, and the command has ended. */
function change(
  unit: LogicalUnit,
  task: ScsiTask,
  first: number,
  bytes: number,
  next: (present: Uint8Array) => Uint8Array | null,
): void {
  const start = first * unit.blockSizeBytes;
  const through = mustReachMedium(unit, ((task.cdb[1] ?? 0) & fuaBit) !== 0);
  unit.exclusively(start, bytes, (done) => {
    const { volume } = unit;
    if (volume === null) {
      done();
      return failAsNotServed(unit, task);
    }
    const present = new Uint8Array(bytes);
    volume.read(start, present, (fault) => {
      const data = fault === null ? next(present) : null;
      if (data === null) {
        done();
        if (fault !== null) failByFault(unit, task, fault, 'read');
        return;
      }
      volume.write(start, data, through, (failed) => {
        done();
        if (failed === null) task.complete(ScsiStatus.good);
        else failByFault(unit, task, failed, 'write');
      });
    });
  });
}

export const atomicCommands: readonly Command[] = [
  {
    name: 'COMPARE AND WRITE',
    opcode: 0x89,
    serviceAction: null,
    usage: [0x89, dpo | fuaBit, ...new Array<number>(8).fill(0xff), 0, 0, 0, 0xff, 0x1f, 0],
    reservation: 'write',
    access: 'active',
    pastUnitAttention: false,
    dataOutBytes: (unit, cdb) => 2 * (cdb[13] ?? 0) * unit.blockSizeBytes,
    run: compareAndWrite,
  },
  {
    name: 'ORWRITE(16)',
    opcode: 0x8b,
    serviceAction: null,
    usage: usageOf(0x8b, 16, dpo | fuaBit),
    reservation: 'write',
    access: 'active',
    pastUnitAttention: false,
    dataOutBytes: (unit, cdb) => {
      const count = blockCount(cdb, 16);
      return count > blockLimits(unit.blockSizeBytes).maximumTransfer ? 0 : count * unit.blockSizeBytes;
    },
    run: orWrite,
  },
];
