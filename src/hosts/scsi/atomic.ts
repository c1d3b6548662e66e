/** Commands that read, then write, with nothing in between: COMPARE AND WRITE, ORWRITE (SBC-3 5.2, 5.5). */
import {
  blockCount,
  failByFault,
  firstBlock,
  forcesUnitAccess,
  isInside,
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
import { firstDifference } from './transfer.ts';

const dpo = 0x10;
/** FUA and FUA_NV. */
const fuaBits = 0x0a;

function compareAndWrite(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb, dataOut } = task;
  const first = firstBlock(cdb, 16);
  const count = cdb[13] ?? 0;
  if (!isInside(unit, task, first, count)) return;
  if (count > blockLimits(unit.blockSizeBytes).compareAndWrite) return invalidField(unit, task, 13);
  // Zero blocks with data: a host that means 256, which the field cannot say, must not take them for compared.
  if (count === 0 && dataOut.length > 0) return invalidField(unit, task, 13);
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
  const through = mustReachMedium(unit, forcesUnitAccess(task.cdb, 16));
  unit.exclusively(start, bytes, (release) => {
    const present = new Uint8Array(bytes);
    const volume = volumeFor(unit, task);
    if (volume === null) return release();
    volume.read(start, present, (fault) => {
      if (fault !== null) {
        release();
        return failByFault(unit, task, fault, 'read');
      }
      const stillThere = volumeFor(unit, task);
      const data = stillThere === null ? null : next(present);
      if (stillThere === null || data === null) return release();
      stillThere.write(start, data, through, (failed) => {
        release();
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
    usage: [0x89, dpo | fuaBits, ...new Array<number>(8).fill(0xff), 0, 0, 0, 0xff, 0x1f, 0],
    reservation: 'write',
    access: 'active',
    pastUnitAttention: false,
    // Of none it is still seen whether there is data.
    dataOutBytes: (unit, cdb) => Math.max(1, 2 * (cdb[13] ?? 0)) * unit.blockSizeBytes,
    run: compareAndWrite,
  },
  {
    name: 'ORWRITE(16)',
    opcode: 0x8b,
    serviceAction: null,
    usage: usageOf(0x8b, 16, dpo | fuaBits),
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
