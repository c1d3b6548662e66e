/** What the copy manager takes on, told by RECEIVE COPY RESULTS and by VPD page 8Fh in encodings of their own. */
import { be16, be32, zeroes } from './parameter-data.ts';

export const segmentCode = { blockToBlock: 0x02 } as const;
export const cscdCode = { identification: 0xe4 } as const;
export const cscdBytes = 32;
export const blockToBlockBytes = 28;

export interface CopyLimits {
  readonly cscds: number;
  readonly segments: number;
  /** All descriptors of one command. */
  readonly descriptorBytes: number;
  /** 65,535 blocks of 4 KiB: more does not fit in a descriptor. */
  readonly segmentBytes: number;
  /** Of the device; a nexus may have all of them. */
  readonly concurrent: number;
}

export const copyLimits: CopyLimits = {
  cscds: 16,
  segments: 64,
  descriptorBytes: 16 * cscdBytes + 64 * blockToBlockBytes,
  segmentBytes: 65535 * 4096,
  concurrent: 16,
};
/** As a power of two: 512 bytes. */
const granularity = 9;
const codes = [segmentCode.blockToBlock, cscdCode.identification];

/** RECEIVE COPY RESULTS, operating parameters (SPC-4 6.24.…, LID1). */
export function operatingParameters(limits: CopyLimits): number[] {
  const snlid = 0x01;
  const rest = [
    ...[snlid, 0, 0, 0],
    ...be16(limits.cscds),
    ...be16(limits.segments),
    ...be32(limits.descriptorBytes),
    ...be32(limits.segmentBytes),
    ...be32(0), // inline data
    ...be32(0), // held data
    ...be32(0), // stream transfers
    ...[0, 0, ...be16(limits.concurrent), limits.concurrent],
    ...[granularity, 0, 0, 0, 0, 0],
    ...[codes.length, ...codes],
  ];
  return [...be32(rest.length), ...rest];
}

/** VPD page 8Fh after its header (SPC-4 7.8.17). */
export function thirdPartyCopyData(limits: CopyLimits): number[] {
  const commands = [0x83, 1, 0x00, 0x84, 4, 0x00, 0x01, 0x03, 0x04];
  return [
    ...descriptor(0x0001, [commands.length, ...commands]),
    ...descriptor(0x0004, [
      ...zeroes(4),
      ...be16(limits.cscds),
      ...be16(limits.segments),
      ...be32(limits.descriptorBytes),
      ...be32(0),
      ...zeroes(12),
    ]),
    ...descriptor(0x0008, [codes.length, ...codes]),
    ...descriptor(0x000c, be16(0)),
    ...descriptor(0x8001, [
      ...be32(limits.concurrent),
      ...be32(limits.concurrent),
      ...be32(limits.segmentBytes),
      ...[granularity, 0],
      ...zeroes(18),
    ]),
    ...descriptor(0xc001, [...be32(0), 0, ...zeroes(23)]),
  ];
}

/** Its length is a multiple of four. */
function descriptor(type: number, data: readonly number[]): number[] {
  const padding = zeroes(-data.length & 3);
  return [...be16(type), ...be16(data.length + padding.length), ...data, ...padding];
}
