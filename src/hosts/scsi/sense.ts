/** Sense data (SPC-4 4.5): why a command was refused, in the format the unit's D_SENSE asks for. */
import type { LogicalUnit } from './logical-unit.ts';
import { be16 } from './parameter-data.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

/** SPC-4 table 48. */
export const SenseKey = {
  noSense: 0x0,
  recoveredError: 0x1,
  notReady: 0x2,
  mediumError: 0x3,
  hardwareError: 0x4,
  illegalRequest: 0x5,
  unitAttention: 0x6,
  dataProtect: 0x7,
  copyAborted: 0xa,
  abortedCommand: 0xb,
  miscompare: 0xe,
} as const;
export type SenseKey = keyof typeof SenseKey;

/** Three bytes with SKSV set (SPC-4 4.5.2.4). */
export type KeySpecific = readonly [number, number, number];

/** `asc`: additional sense code and qualifier, ASC << 8 | ASCQ. */
export function buildSense(
  descriptor: boolean,
  key: SenseKey,
  asc: number,
  keySpecific: KeySpecific | null = null,
): Uint8Array {
  if (descriptor) {
    const specific = keySpecific === null ? [] : [0x02, 0x06, 0, 0, ...keySpecific, 0];
    return Uint8Array.from([0x72, SenseKey[key], ...be16(asc), 0, 0, 0, specific.length, ...specific]);
  }
  return Uint8Array.from([
    ...[0x70, 0, SenseKey[key], 0, 0, 0, 0, 10],
    ...[0, 0, 0, 0, ...be16(asc), 0, ...(keySpecific ?? [0, 0, 0])],
  ]);
}

/** `unit` null: there is none at this LUN. */
export function failWith(
  unit: LogicalUnit | null,
  task: ScsiTask,
  key: SenseKey,
  asc: number,
  keySpecific: KeySpecific | null = null,
): void {
  const descriptor = unit?.descriptorSense ?? false;
  task.complete(ScsiStatus.checkCondition, buildSense(descriptor, key, asc, keySpecific));
}

/** INVALID FIELD IN CDB; `byte` of the CDB, `bit` the field's highest one where it is not a whole byte. */
export function invalidField(
  unit: LogicalUnit | null,
  task: ScsiTask,
  byte: number,
  bit: number | null = null,
): void {
  failWith(unit, task, 'illegalRequest', 0x2400, fieldPointer(true, byte, bit));
}

/** INVALID FIELD IN PARAMETER LIST. */
export function invalidParameter(unit: LogicalUnit, task: ScsiTask, byte: number, bit: number | null = null): void {
  failWith(unit, task, 'illegalRequest', 0x2600, fieldPointer(false, byte, bit));
}

export function parameterListLengthError(unit: LogicalUnit, task: ScsiTask): void {
  failWith(unit, task, 'illegalRequest', 0x1a00);
}

/** SPC-4 4.5.2.4.2. */
export function fieldPointer(inCdb: boolean, byte: number, bit: number | null): KeySpecific {
  const [high, low] = be16(byte);
  return [0x80 | (inCdb ? 0x40 : 0) | (bit === null ? 0 : 0x08 | bit), high ?? 0, low ?? 0];
}
