/** INQUIRY (SPC-4 6.6): what the unit is; answered in every state, and for LUNs without a unit. */
import type { Command } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { answer, ascii, be16, zeroes } from './parameter-data.ts';
import { invalidField } from './sense.ts';
import type { ScsiTask } from './task.ts';
import { vendor, vitalProductData } from './vital-product-data.ts';
import { u16 } from './wire.ts';

/** PERIPHERAL QUALIFIER and DEVICE TYPE (SPC-4 table 177): a disk here; nothing could be here. */
const disk = 0x00;
const noUnit = 0x7f;

/** SAM-5, SPC-4, SBC-3, iSCSI; no version of them claimed (SPC-4 table 142). */
const versionDescriptors = [0x00a0, 0x0460, 0x04c0, 0x0960];

function standardData(peripheral: number): number[] {
  const hisupAndFormat = 0x10 | 0x02;
  const tpgsImplicitAndCopies = 0x10 | 0x08;
  const multiPort = 0x10;
  const commandQueuing = 0x02;
  const rest = [
    ...[tpgsImplicitAndCopies, multiPort, commandQueuing],
    ...ascii(vendor, 8),
    ...ascii('VOLUME', 16),
    // Of what hosts see, not of the program: nodes of different versions must look the same.
    ...ascii('0001', 4),
    ...zeroes(22),
    ...versionDescriptors.flatMap(be16),
    ...zeroes(30),
  ];
  const spc4 = 0x06;
  return [peripheral, 0x00, spc4, hisupAndFormat, rest.length, ...rest];
}

function inquiry(task: ScsiTask, unit: LogicalUnit | null): void {
  const vital = ((task.cdb[1] ?? 0) & 0x01) !== 0; // EVPD
  const code = task.cdb[2] ?? 0;
  let data: number[] | null = null;
  if (vital && unit !== null) data = vitalProductData(unit, task.nexus, code);
  else if (vital && code === 0x00) data = noUnitSupportedPages;
  else if (!vital && code === 0x00) data = standardData(unit === null ? noUnit : disk);
  if (data === null) invalidField(unit, task, 2);
  else answer(task, data, u16(task.cdb, 3));
}

/** Of VPD pages, a LUN without a unit has the list of them alone. */
const noUnitSupportedPages = [noUnit, 0x00, 0x00, 0x01, 0x00];

export const inquiryCommands: readonly Command[] = [
  {
    name: 'INQUIRY',
    opcode: 0x12,
    serviceAction: null,
    usage: [0x12, 0x01, 0xff, 0xff, 0xff, 0],
    reservation: 'any',
    access: 'any',
    pastUnitAttention: true,
    withoutUnit: (_device, task) => inquiry(task, null),
    run: (unit, task) => inquiry(task, unit),
  },
];
