/** Which blocks a block command is about: the forms of CDB that SBC-3 has for it, and the checks they share. */
import type { HostFault } from '../../group/host-access.ts';
import { blockLimits } from './limits.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { failWith, invalidField, SenseCode } from './sense.ts';
import type { ScsiTask } from './task.ts';
import { u16, u24, u32, u64 } from './wire.ts';

/** Length of the CDB. */
export type CdbForm = 6 | 10 | 12 | 16;

/** LOGICAL BLOCK ADDRESS. */
export function firstBlock(cdb: Uint8Array, form: CdbForm): number {
  if (form === 16) return u64(cdb, 2);
  return form === 6 ? u24(cdb, 1) & 0x1fffff : u32(cdb, 2);
}

/** TRANSFER LENGTH and its kin. Zero in the six-byte form means 256 (SBC-3 5.7). */
export function blockCount(cdb: Uint8Array, form: CdbForm): number {
  switch (form) {
    case 6:
      return (cdb[4] ?? 0) === 0 ? 256 : (cdb[4] ?? 0);
    case 10:
      return u16(cdb, 7);
    case 12:
      return u32(cdb, 6);
    case 16:
      return u32(cdb, 10);
  }
}

const countAt: Readonly<Record<CdbForm, number>> = { 6: 4, 10: 7, 12: 6, 16: 10 };

/** CDB usage data of READ, WRITE and what looks like them: byte 1 as given, address, group number, length. */
export function usageOf(opcode: number, form: CdbForm, byte1: number): readonly number[] {
  const all = (count: number): number[] => new Array<number>(count).fill(0xff);
  const group = 0x1f;
  switch (form) {
    case 6:
      return [opcode, 0x1f, 0xff, 0xff, 0xff, 0];
    case 10:
      return [opcode, byte1, ...all(4), group, ...all(2), 0];
    case 12:
      return [opcode, byte1, ...all(8), group, 0];
    case 16:
      return [opcode, byte1, ...all(12), group, 0];
  }
}

/** False: they are not all there, and the command has failed. */
export function isInside(unit: LogicalUnit, task: ScsiTask, first: number, count: number): boolean {
  if (first + count <= unit.blocks && first < unit.blocks) return true;
  if (count === 0 && first === unit.blocks) return true;
  failWith(unit, task, 'illegalRequest', SenseCode.blockOutOfRange, {
    field: { of: 'cdb', byte: task.cdb[0] === undefined || (task.cdb[0] & 0xe0) === 0 ? 1 : 2 },
  });
  return false;
}

/** False: more than MAXIMUM TRANSFER LENGTH, and the command has failed (SBC-3 6.6.3). */
export function isTransferable(unit: LogicalUnit, task: ScsiTask, form: CdbForm, count: number): boolean {
  if (count <= blockLimits(unit.blockSizeBytes).maximumTransfer) return true;
  invalidField(unit, task, countAt[form]);
  return false;
}

/** What a volume's fault is to a host. `moved`: it asks again, and finds the unit in another state or elsewhere. */
export function failByFault(unit: LogicalUnit, task: ScsiTask, fault: HostFault, way: 'read' | 'write'): void {
  switch (fault) {
    case 'moved':
      return failWith(unit, task, 'notReady', SenseCode.accessTransition);
    case 'noSpace':
      return failWith(unit, task, 'dataProtect', SenseCode.spaceAllocationFailed);
    case 'io':
      return failWith(
        unit,
        task,
        'mediumError',
        way === 'read' ? SenseCode.unrecoveredReadError : SenseCode.writeError,
      );
  }
}

/** FUA, or FUA_NV: there is no cache in between that would outlast a loss of power. */
export function forcesUnitAccess(cdb: Uint8Array, form: CdbForm): boolean {
  return form !== 6 && ((cdb[1] ?? 0) & 0x0a) !== 0;
}

/** Writes wait for cache-less units as FUA writes do. */
export function mustReachMedium(unit: LogicalUnit, fua: boolean): boolean {
  return fua || !unit.unit.writeCache;
}
