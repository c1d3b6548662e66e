/** Reports about target and unit (SPC-4 6.33…6.36, SBC-3 5.15, 5.16), and the self test that SPC-4 6.42 asks for. */
import type { Command, DeviceView } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { answer, be16, be32, be64, zeroes } from './parameter-data.ts';
import { invalidField } from './sense.ts';
import { encodeLun, ScsiStatus, type ScsiTask } from './task.ts';
import { u16, u32 } from './wire.ts';

/** SPC-4 6.33, and the values SPC-5 adds. There are no well-known, administrative, or subsidiary units. */
function reportLuns(device: DeviceView, unit: LogicalUnit | null, task: ScsiTask): void {
  const { cdb } = task;
  const select = cdb[2] ?? 0;
  if (![0x00, 0x01, 0x02, 0x10, 0x11, 0x12].includes(select)) return invalidField(unit, task, 2);
  const allocationLength = u32(cdb, 6);
  if (allocationLength < 16) return invalidField(unit, task, 6);
  const all = [0x00, 0x02, 0x11].includes(select);
  const luns = all ? device.units(task).flatMap(({ lun }) => [...encodeLun(lun)]) : [];
  answer(task, [...be32(luns.length), ...zeroes(4), ...luns], allocationLength);
}

/** Beyond 2³² blocks: all ones, the host asks for the long form. */
function readCapacity10(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb } = task;
  const partial = ((cdb[8] ?? 0) & 0x01) !== 0;
  if (!partial && u32(cdb, 2) !== 0) return invalidField(unit, task, 2);
  answer(task, [...be32(Math.min(unit.blocks - 1, 0xffffffff)), ...be32(unit.blockSizeBytes)], 8);
}

function readCapacity16(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb } = task;
  const partial = ((cdb[14] ?? 0) & 0x01) !== 0;
  if (!partial && (u32(cdb, 2) !== 0 || u32(cdb, 6) !== 0)) return invalidField(unit, task, 2);
  const lbpme = 0x80;
  const lbprz = 0x40;
  const data = [...be64(unit.blocks - 1), ...be32(unit.blockSizeBytes), 0, 0, lbpme | lbprz, 0, ...zeroes(16)];
  answer(task, data, u32(cdb, 10));
}

/** Command timeouts descriptor (SPC-4 6.35.4): nominal and recommended are not told. */
const timeouts = [...be16(10), ...zeroes(10)];

/** SPC-4 6.35. */
function reportSupportedOperationCodes(unit: LogicalUnit, task: ScsiTask): void {
  const { cdb } = task;
  const withTimeouts = ((cdb[2] ?? 0) & 0x80) !== 0;
  const option = (cdb[2] ?? 0) & 0x07;
  const allocationLength = u32(cdb, 6);
  const { commands } = unit.device;
  if (option === 0) {
    const list = commands.flatMap((command) => commandDescriptor(command, withTimeouts));
    return answer(task, [...be32(list.length), ...list], allocationLength);
  }
  if (option > 3) return invalidField(unit, task, 2, 2);
  const opcode = cdb[3] ?? 0;
  const serviceAction = u16(cdb, 4);
  const ofOpcode = commands.filter((command) => command.opcode === opcode);
  const hasActions = ofOpcode.some((command) => command.serviceAction !== null);
  // 1: operation codes without service actions only; 2: with; 3: both, an action then belongs to those that have some.
  if (ofOpcode.length > 0 && option !== 3 && hasActions !== (option === 2)) return invalidField(unit, task, 2, 2);
  const action = hasActions || (option === 3 && serviceAction !== 0) ? serviceAction : null;
  const command = ofOpcode.find((other) => other.serviceAction === action);
  answer(task, oneCommand(command, withTimeouts), allocationLength);
}

function commandDescriptor(command: Command, withTimeouts: boolean): number[] {
  const ctdp = withTimeouts ? 0x02 : 0x00;
  const servactv = command.serviceAction === null ? 0x00 : 0x01;
  return [
    ...[command.opcode, 0x00, ...be16(command.serviceAction ?? 0)],
    ...[0x00, ctdp | servactv, ...be16(command.usage.length)],
    ...(withTimeouts ? timeouts : []),
  ];
}

function oneCommand(command: Command | undefined, withTimeouts: boolean): number[] {
  if (command === undefined) return [0x00, 0x01, 0x00, 0x00];
  const ctdp = withTimeouts ? 0x80 : 0x00;
  const asStandard = 0x03;
  const { usage } = command;
  return [0x00, ctdp | asStandard, ...be16(usage.length), ...usage, ...(withTimeouts ? timeouts : [])];
}

/** ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET, TARGET RESET: those `ScsiDevice.manage` knows. */
const taskManagement = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;

/** SPC-4 6.36. */
function reportSupportedTaskManagement(unit: LogicalUnit, task: ScsiTask): void {
  const allocationLength = u32(task.cdb, 6);
  if (allocationLength < 4) return invalidField(unit, task, 6);
  const extended = ((task.cdb[2] ?? 0) & 0x80) !== 0;
  const data = [taskManagement, 0x00, 0x00, extended ? 0x0c : 0x00, ...(extended ? zeroes(12) : [])];
  answer(task, data, allocationLength);
}

/** The default self test finds what every other command would find: nothing. No other, and no diagnostic pages. */
function sendDiagnostic(unit: LogicalUnit, task: ScsiTask): void {
  if (u16(task.cdb, 3) !== 0) invalidField(unit, task, 3);
  else task.complete(ScsiStatus.good);
}

const common = { reservation: 'any', access: 'any', pastUnitAttention: false } as const;

export const reportCommands: readonly Command[] = [
  {
    ...common,
    name: 'REPORT LUNS',
    opcode: 0xa0,
    serviceAction: null,
    usage: [0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    pastUnitAttention: true,
    withoutUnit: (device, task) => reportLuns(device, null, task),
    run: (unit, task) => reportLuns(unit.device, unit, task),
  },
  {
    ...common,
    name: 'READ CAPACITY(10)',
    opcode: 0x25,
    serviceAction: null,
    usage: [0x25, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, 0],
    run: readCapacity10,
  },
  {
    ...common,
    name: 'READ CAPACITY(16)',
    opcode: 0x9e,
    serviceAction: 0x10,
    usage: [0x9e, 0x10, ...new Array<number>(12).fill(0xff), 0x01, 0],
    run: readCapacity16,
  },
  {
    ...common,
    name: 'REPORT SUPPORTED OPERATION CODES',
    reservation: 'read',
    opcode: 0xa3,
    serviceAction: 0x0c,
    usage: [0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    run: reportSupportedOperationCodes,
  },
  {
    ...common,
    name: 'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS',
    reservation: 'read',
    opcode: 0xa3,
    serviceAction: 0x0d,
    usage: [0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    run: reportSupportedTaskManagement,
  },
  {
    ...common,
    name: 'SEND DIAGNOSTIC',
    opcode: 0x1d,
    serviceAction: null,
    usage: [0x1d, 0x04, 0, 0xff, 0xff, 0],
    reservation: 'write',
    run: sendDiagnostic,
  },
];
