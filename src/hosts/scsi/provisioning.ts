/** Blocks that are given back, or all made alike: UNMAP, WRITE SAME, GET LBA STATUS (SBC-3 5.28, 5.39…5.43, 5.4). */
import type { HostExtent } from '../../group/host-access.ts';
import {
  blockCount,
  type CdbForm,
  failByFault,
  firstBlock,
  isInside,
  mustReachMedium,
  usageOf,
} from './block-range.ts';
import type { Command } from './command.ts';
import { blockLimits } from './limits.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { volumeFor } from './not-served.ts';
import { answer, be32, be64, zeroes } from './parameter-data.ts';
import { failWith, invalidField, invalidParameter, parameterListLengthError, SenseCode } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';
import { u16, u32, u64 } from './wire.ts';

const unmapBit = 0x08;
const noDataOut = 0x01;

/** Written at once by WRITE SAME with a pattern. */
const patternPieceBytes = 1024 * 1024;

// ---- UNMAP

const unmapHeaderBytes = 8;
const unmapDescriptorBytes = 16;

function unmap(unit: LogicalUnit, task: ScsiTask): void {
  const length = u16(task.cdb, 7);
  if (length === 0) return task.complete(ScsiStatus.good);
  const list = task.dataOut;
  if (length < unmapHeaderBytes || list.length < length) return parameterListLengthError(unit, task);
  const limits = blockLimits(unit.blockSizeBytes);
  const told = Math.floor(u16(list, 2) / unmapDescriptorBytes);
  if (told > limits.unmapDescriptors) return invalidParameter(unit, task, 2);
  // Those that did not come whole are none (SBC-3 5.28.2).
  const count = Math.min(told, Math.floor((length - unmapHeaderBytes) / unmapDescriptorBytes));
  const ranges: { first: number; blocks: number }[] = [];
  for (let index = 0; index < count; index++) {
    const at = unmapHeaderBytes + index * unmapDescriptorBytes;
    const [first, blocks] = [u64(list, at), u32(list, at + 8)];
    if (first + blocks > unit.blocks) return failWith(unit, task, 'illegalRequest', SenseCode.blockOutOfRange);
    if (blocks > limits.unmap) return invalidParameter(unit, task, at + 8);
    if (blocks > 0) ranges.push({ first, blocks });
  }
  const next = (index: number): void => {
    const range = ranges[index];
    if (range === undefined) return task.complete(ScsiStatus.good);
    zero(unit, task, range.first, range.blocks, () => next(index + 1));
  };
  next(0);
}

function zero(unit: LogicalUnit, task: ScsiTask, first: number, blocks: number, done: () => void): void {
  const { blockSizeBytes } = unit;
  unit.unlessExclusive(first * blockSizeBytes, blocks * blockSizeBytes, () => {
    const options = { keepAllocated: false, fua: mustReachMedium(unit, false) };
    volumeFor(unit, task)?.zero(first * blockSizeBytes, blocks * blockSizeBytes, options, (fault) => {
      if (fault === null) done();
      else failByFault(unit, task, fault, 'write');
    });
  });
}

// ---- WRITE SAME

function writeSame(unit: LogicalUnit, task: ScsiTask, form: CdbForm): void {
  const { cdb } = task;
  const first = firstBlock(cdb, form);
  const told = blockCount(cdb, form);
  const withoutData = form === 16 && ((cdb[1] ?? 0) & noDataOut) !== 0;
  if (!isInside(unit, task, first, told)) return;
  // WSNZ = 0: up to the end.
  const count = told === 0 ? unit.blocks - first : told;
  if (count > blockLimits(unit.blockSizeBytes).writeSame) return invalidField(unit, task, form === 10 ? 7 : 10);
  if (count === 0) return task.complete(ScsiStatus.good);
  const { blockSizeBytes } = unit;
  if (!withoutData && task.dataOut.length < blockSizeBytes) return invalidField(unit, task, form === 10 ? 7 : 10);
  const unmaps = ((cdb[1] ?? 0) & unmapBit) !== 0;
  const block = withoutData ? null : task.dataOut.subarray(0, blockSizeBytes);
  // With UNMAP the blocks are given back whatever the data is, as initiators expect that send any.
  if (block === null || unmaps || block.every((byte) => byte === 0)) {
    return zero(unit, task, first, count, () => task.complete(ScsiStatus.good));
  }
  repeat(unit, task, first, count, block);
}

function repeat(unit: LogicalUnit, task: ScsiTask, first: number, count: number, block: Uint8Array): void {
  const { blockSizeBytes } = unit;
  const next = (done: number): void => {
    if (done === count) return task.complete(ScsiStatus.good);
    const blocks = Math.min(count - done, patternPieceBytes / blockSizeBytes);
    const start = (first + done) * blockSizeBytes;
    // The volume keeps what it is given: new memory each time.
    const data = Buffer.allocUnsafe(blocks * blockSizeBytes).fill(block);
    unit.unlessExclusive(start, data.length, () => {
      volumeFor(unit, task)?.write(start, data, mustReachMedium(unit, false), (fault) => {
        if (fault === null) next(done + blocks);
        else failByFault(unit, task, fault, 'write');
      });
    });
  };
  next(0);
}

// ---- GET LBA STATUS

const statusHeaderBytes = 8;
const statusDescriptorBytes = 16;
/** Looked at for one answer: the host asks on from where it ends. */
const statusBytesMax = 4 * 1024 ** 3;
const Provisioning = { mapped: 0, deallocated: 1 } as const;

function getLbaStatus(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb } = task;
  const first = u64(cdb, 2);
  const allocationLength = u32(cdb, 10);
  if (first >= unit.blocks) return failWith(unit, task, 'illegalRequest', SenseCode.blockOutOfRange);
  if (allocationLength < statusHeaderBytes + statusDescriptorBytes) return invalidField(unit, task, 10);
  const { blockSizeBytes } = unit;
  const bytes = Math.min((unit.blocks - first) * blockSizeBytes, statusBytesMax);
  volumeFor(unit, task)?.allocation(first * blockSizeBytes, bytes, (fault, extents) => {
    if (fault !== null) return failByFault(unit, task, fault, 'read');
    const descriptorsMax = Math.floor((allocationLength - statusHeaderBytes) / statusDescriptorBytes);
    const found = merged(extents).slice(0, Math.min(descriptorsMax, 1024));
    const descriptors = found.flatMap(({ offset, length, data }) => [
      ...be64(Math.floor(offset / blockSizeBytes)),
      ...be32(Math.floor(length / blockSizeBytes)),
      ...[data ? Provisioning.mapped : Provisioning.deallocated, 0, 0, 0],
    ]);
    answer(task, [...be32(4 + descriptors.length), ...zeroes(4), ...descriptors], allocationLength);
  });
}

function merged(extents: readonly HostExtent[]): HostExtent[] {
  const result: { offset: number; length: number; data: boolean }[] = [];
  for (const { offset, length, data } of extents) {
    const last = result.at(-1);
    if (last?.data === data) last.length += length;
    else result.push({ offset, length, data });
  }
  return result;
}

const common = { reservation: 'write', access: 'active', pastUnitAttention: false } as const;
const oneBlock = ({ blockSizeBytes }: LogicalUnit): number => blockSizeBytes;

export const provisioningCommands: readonly Command[] = [
  {
    ...common,
    name: 'UNMAP',
    opcode: 0x42,
    serviceAction: null,
    usage: [0x42, 0, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0],
    dataOutBytes: (_unit, cdb) => u16(cdb, 7),
    run: unmap,
  },
  {
    ...common,
    name: 'WRITE SAME(10)',
    opcode: 0x41,
    serviceAction: null,
    usage: usageOf(0x41, 10, unmapBit),
    dataOutBytes: oneBlock,
    run: (unit, task) => writeSame(unit, task, 10),
  },
  {
    ...common,
    name: 'WRITE SAME(16)',
    opcode: 0x93,
    serviceAction: null,
    usage: usageOf(0x93, 16, unmapBit | noDataOut),
    dataOutBytes: (unit, cdb) => (((cdb[1] ?? 0) & noDataOut) === 0 ? oneBlock(unit) : 0),
    run: (unit, task) => writeSame(unit, task, 16),
  },
  {
    ...common,
    name: 'GET LBA STATUS',
    opcode: 0x9e,
    serviceAction: 0x12,
    usage: [0x9e, 0x12, ...new Array<number>(12).fill(0xff), 0, 0],
    reservation: 'read',
    run: getLbaStatus,
  },
];
