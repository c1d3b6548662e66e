/**
 * EXTENDED COPY (LID1) and RECEIVE COPY RESULTS (SPC-4 6.4, 6.17…6.20): copies between volumes of the target, without
 * their data passing through the host. One copy has one piece in memory at a time; pieces are read and written like the
 * host's own commands, so that they are mirrored, ordered and acknowledged like them.
 */
import type { HostFault } from '../../group/host-access.ts';
import type { Command, DeviceView } from './command.ts';
import { copyLimits, operatingParameters } from './copy-limits.ts';
import { copyListBytes, CopyRefusal, parseCopyList, type CopyList } from './copy-list.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { answer, be16, be32, zeroes } from './parameter-data.ts';
import { senseData, failWith, invalidField, parameterListLengthError } from './sense.ts';
import { ScsiStatus, type Nexus, type ScsiTask } from './task.ts';
import { u32 } from './wire.ts';

const pieceBytes = 1024 * 1024;

/** What RECEIVE COPY RESULTS tells of a copy. */
interface CopyRecord {
  /** COPY MANAGER STATUS: in progress, ended without errors, ended with errors. */
  status: 0x00 | 0x01 | 0x02;
  segments: number;
  bytes: number;
  sense: Uint8Array | null;
}

/** Copies of one target: those under way, and by nexus and list identifier (at most 256) what became of the last. */
class CopyManager {
  running = 0;
  readonly #records = new WeakMap<Nexus, Map<number, CopyRecord>>();

  record(nexus: Nexus, listIdentifier: number): CopyRecord | null {
    return this.#records.get(nexus)?.get(listIdentifier) ?? null;
  }

  begin(nexus: Nexus, list: CopyList): CopyRecord {
    const record: CopyRecord = { status: 0x00, segments: 0, bytes: 0, sense: null };
    this.running += 1;
    if (list.identified) {
      const ofNexus = this.#records.get(nexus) ?? new Map<number, CopyRecord>();
      this.#records.set(nexus, ofNexus.set(list.listIdentifier, record));
    }
    return record;
  }

  end(record: CopyRecord, sense: Uint8Array | null): void {
    this.running -= 1;
    record.status = sense === null ? 0x01 : 0x02;
    record.sense = sense;
  }
}

/** A device lives as long as its target, a nexus as long as its session: what is kept for them goes with them. */
const managers = new WeakMap<DeviceView, CopyManager>();

function managerOf(device: DeviceView): CopyManager {
  const manager = managers.get(device) ?? new CopyManager();
  managers.set(device, manager);
  return manager;
}

function extendedCopy(unit: LogicalUnit, task: ScsiTask): void {
  const length = u32(task.cdb, 10);
  if (length === 0) return task.complete(ScsiStatus.good);
  if (task.dataOut.length < length) return parameterListLengthError(unit, task);
  const list = parseCopyList(task.dataOut.subarray(0, length), unit.device.units(task), task.nexus);
  if (list instanceof CopyRefusal) return failWith(unit, task, list.key, list.code, list.detail);
  const manager = managerOf(unit.device);
  // OPERATION IN PROGRESS; INSUFFICIENT RESOURCES
  const underWay = list.identified && manager.record(task.nexus, list.listIdentifier)?.status === 0x00;
  if (underWay) return failWith(unit, task, 'illegalRequest', 0x0016);
  if (manager.running >= copyLimits.concurrent) return failWith(unit, task, 'illegalRequest', 0x5503);
  const record = manager.begin(task.nexus, list);
  copySegments(
    list,
    record,
    () => unit.isAborted(task),
    (fault) => {
      const sense = fault === null ? null : senseOf(fault, unit.descriptorSense);
      manager.end(record, sense);
      task.complete(fault === null ? ScsiStatus.good : ScsiStatus.checkCondition, sense);
    },
  );
}

/** `dataOutBytes` of more than a list can have cuts it short, and that is what the list is refused for. */
const copyDataOut = (_unit: LogicalUnit, cdb: Uint8Array): number => Math.min(u32(cdb, 10), copyListBytes);

type CopyFault = HostFault | 'aborted';

/** THIRD PARTY DEVICE FAILURE for a medium's fault; what hosts handle by themselves, they are told as after a write. */
function senseOf(fault: CopyFault, descriptor: boolean): Uint8Array {
  switch (fault) {
    case 'moved':
      return senseData(descriptor, 'notReady', 0x040a);
    case 'noSpace':
      return senseData(descriptor, 'dataProtect', 0x2707);
    case 'io':
      return senseData(descriptor, 'copyAborted', 0x0d01);
    case 'aborted':
      return senseData(descriptor, 'copyAborted', 0x0000);
  }
}

/** One after the other, in order. `done` is called once; `aborted` is looked at between pieces. */
function copySegments(
  { segments }: CopyList,
  record: CopyRecord,
  aborted: () => boolean,
  done: (fault: CopyFault | null) => void,
): void {
  let offset = 0;
  const next = (): void => {
    while (segments[record.segments]?.length === 0) record.segments += 1;
    const segment = segments[record.segments];
    if (segment === undefined) return done(null);
    if (aborted()) return done('aborted');
    const { source, destination, from, to } = segment;
    const length = Math.min(pieceBytes, segment.length - offset);
    // The volume keeps what it is given to write: every piece has memory of its own.
    const piece = new Uint8Array(length);
    if (source.volume === null) return done('moved');
    source.volume.read(from + offset, piece, (readFault) => {
      if (readFault !== null) return done(readFault);
      // COMPARE AND WRITE and its like may have these blocks to themselves.
      destination.unlessExclusive(to + offset, length, () => {
        if (aborted()) return done('aborted');
        if (destination.volume === null) return done('moved');
        destination.volume.write(to + offset, piece, false, (writeFault) => {
          if (writeFault !== null) return done(writeFault);
          record.bytes += length;
          offset += length;
          if (offset === segment.length) {
            record.segments += 1;
            offset = 0;
          }
          next();
        });
      });
    });
  };
  next();
}

/** RECEIVE COPY STATUS(LID1) (SPC-4 6.20). */
function receiveCopyStatus(unit: LogicalUnit, task: ScsiTask): void {
  const record = managerOf(unit.device).record(task.nexus, task.cdb[2] ?? 0);
  if (record === null) return invalidField(unit, task, 2);
  const inKibibytes = record.bytes > 0xffffffff;
  const count = inKibibytes ? Math.floor(record.bytes / 1024) : record.bytes;
  const data = [record.status, ...be16(record.segments), inKibibytes ? 0x01 : 0x00, ...be32(count)];
  answer(task, [...be32(data.length), ...data], u32(task.cdb, 10));
}

/** RECEIVE COPY DATA(LID1) (SPC-4 6.17): segments of ours leave no data. */
function receiveCopyData(unit: LogicalUnit, task: ScsiTask): void {
  const record = managerOf(unit.device).record(task.nexus, task.cdb[2] ?? 0);
  if (record === null) invalidField(unit, task, 2);
  else answer(task, be32(0), u32(task.cdb, 10));
}

/** RECEIVE COPY FAILURE DETAILS(LID1) (SPC-4 6.18): no details unless it ended with COPY ABORTED. */
function receiveCopyFailure(unit: LogicalUnit, task: ScsiTask): void {
  const record = managerOf(unit.device).record(task.nexus, task.cdb[2] ?? 0);
  if (record === null) return invalidField(unit, task, 2);
  const sense = record.sense ?? [];
  const status = ScsiStatus.checkCondition;
  const details = record.sense === null ? [] : [...zeroes(52), status, 0x00, ...be16(sense.length), ...sense];
  answer(task, [...be32(details.length), ...details], u32(task.cdb, 10));
}

const receiveUsage = (action: number, list: number): readonly number[] => [
  ...[0x84, action, list],
  ...zeroes(7),
  ...[0xff, 0xff, 0xff, 0xff, 0, 0],
];
const common = { opcode: 0x84, reservation: 'write', access: 'any', pastUnitAttention: false } as const;

export const copyCommands: readonly Command[] = [
  {
    name: 'EXTENDED COPY(LID1)',
    opcode: 0x83,
    serviceAction: 0x00,
    usage: [0x83, 0x00, ...zeroes(8), 0xff, 0xff, 0xff, 0xff, 0, 0],
    reservation: 'write',
    access: 'active',
    pastUnitAttention: false,
    dataOutBytes: copyDataOut,
    run: extendedCopy,
  },
  {
    ...common,
    name: 'RECEIVE COPY STATUS(LID1)',
    serviceAction: 0x00,
    usage: receiveUsage(0x00, 0xff),
    run: receiveCopyStatus,
  },
  {
    ...common,
    name: 'RECEIVE COPY DATA(LID1)',
    serviceAction: 0x01,
    usage: receiveUsage(0x01, 0xff),
    run: receiveCopyData,
  },
  {
    ...common,
    name: 'RECEIVE COPY OPERATING PARAMETERS',
    serviceAction: 0x03,
    // The list identifier is of no concern, and initiators leave whatever they like in it.
    usage: receiveUsage(0x03, 0xff),
    run: (_unit, task) => answer(task, operatingParameters(copyLimits), u32(task.cdb, 10)),
  },
  {
    ...common,
    name: 'RECEIVE COPY FAILURE DETAILS(LID1)',
    serviceAction: 0x04,
    usage: receiveUsage(0x04, 0xff),
    run: receiveCopyFailure,
  },
];
