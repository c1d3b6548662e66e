/**
 * Sense data (SPC-4 4.5), fixed and descriptor format, and the usual ways for a command to fail. Codes are
 * (additional sense code << 8 | qualifier).
 */
import { be16, be32, be64, zeroes } from './parameter-data.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

/** SPC-4 table 52. */
export const SenseKey = {
  noSense: 0x0,
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
export type SenseKeyName = keyof typeof SenseKey;

/** Those that more than one place uses (SPC-4 annex F.2). */
export const SenseCode = {
  none: 0x0000,
  accessTransition: 0x040a,
  accessStandby: 0x040b,
  accessUnavailable: 0x040c,
  writeError: 0x0c00,
  unrecoveredReadError: 0x1100,
  parameterListLength: 0x1a00,
  miscompareDuringVerify: 0x1d00,
  invalidOperationCode: 0x2000,
  blockOutOfRange: 0x2100,
  invalidFieldInCdb: 0x2400,
  unitNotSupported: 0x2500,
  invalidFieldInParameters: 0x2600,
  spaceAllocationFailed: 0x2707,
  invalidMessage: 0x4900,
} as const;

export interface SenseDetail {
  /** INFORMATION: an offset, or a block. */
  readonly information?: number;
  /**
   * Field pointer (SPC-4 4.5.2.4.2): which byte of CDB or parameter list is wrong, and from which bit on. For COPY ABORTED
   * a segment pointer (4.5.2.4.5): which byte of a segment descriptor.
   */
  readonly field?: {
    readonly of: 'cdb' | 'parameters' | 'segment';
    readonly byte: number;
    readonly bit?: number | undefined;
  };
}

/** Current sense. @param descriptor D_SENSE, or DESC of REQUEST SENSE. */
export function senseData(
  descriptor: boolean,
  key: SenseKeyName,
  code: number,
  detail: SenseDetail = {},
): Uint8Array {
  const { information, field } = detail;
  const pointer = field === undefined ? null : fieldPointer(field);
  if (descriptor) {
    const descriptors = [
      ...(information === undefined ? [] : [0x00, 0x0a, 0x80, 0x00, ...be64(information)]),
      ...(pointer === null ? [] : [0x02, 0x06, 0x00, 0x00, ...pointer, 0x00]),
    ];
    return Uint8Array.from([0x72, SenseKey[key], ...be16(code), 0, 0, 0, descriptors.length, ...descriptors]);
  }
  const isValid = information !== undefined && information <= 0xffffffff;
  return Uint8Array.from([
    ...[0x70 | (isValid ? 0x80 : 0), 0, SenseKey[key], ...be32(isValid ? information : 0), 10],
    ...[...zeroes(4), ...be16(code), 0, ...(pointer ?? zeroes(3))],
  ]);
}

function fieldPointer({ of, byte, bit }: NonNullable<SenseDetail['field']>): number[] {
  const place = of === 'cdb' ? 0x40 : of === 'segment' ? 0x20 : 0x00;
  const withBit = bit === undefined ? 0x00 : 0x08 | bit;
  return [0x80 | place | withBit, ...be16(byte)];
}

/** What says in which format a unit reports; null: there is no unit. */
export interface SenseFormat {
  readonly descriptorSense: boolean;
}

export function failWith(
  unit: SenseFormat | null,
  task: ScsiTask,
  key: SenseKeyName,
  code: number,
  detail?: SenseDetail,
): void {
  task.complete(ScsiStatus.checkCondition, senseData(unit?.descriptorSense ?? false, key, code, detail));
}

/** INVALID FIELD IN CDB. @param bit the field's most significant one, where it does not begin with the byte. */
export function invalidField(unit: SenseFormat | null, task: ScsiTask, byte: number, bit?: number): void {
  failWith(unit, task, 'illegalRequest', SenseCode.invalidFieldInCdb, { field: { of: 'cdb', byte, bit } });
}

/** INVALID FIELD IN PARAMETER LIST. */
export function invalidParameter(unit: SenseFormat | null, task: ScsiTask, byte: number, bit?: number): void {
  const field = { of: 'parameters', byte, bit } as const;
  failWith(unit, task, 'illegalRequest', SenseCode.invalidFieldInParameters, { field });
}

export function parameterListLengthError(unit: SenseFormat | null, task: ScsiTask): void {
  failWith(unit, task, 'illegalRequest', SenseCode.parameterListLength);
}
