/**
 * Vital product data of a volume (SPC-4 7.8, SBC-3 6.6). What names the unit — pages 80h, and in 83h all that is
 * associated with the logical unit or the target device — is the same at every node and never changes (TL-14); what
 * names a port is of the port asked through.
 */
import { copyLimits, thirdPartyCopyData } from './copy-limits.ts';
import { blockLimits } from './limits.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { ascii, be16, be32, be64, hex, nameString, zeroes } from './parameter-data.ts';
import { portGroupOf } from './port-groups.ts';
import type { Nexus } from './task.ts';

/** T10 vendor identification, in the standard data too. */
export const vendor = 'HOLDFAST';

type Page = (unit: LogicalUnit, nexus: Nexus) => number[];

const pages: Readonly<Record<number, Page>> = {
  0x00: () => supportedPages,
  0x80: (unit) => ascii(unit.unit.wwid),
  0x83: deviceIdentification,
  0x86: extendedInquiry,
  0x87: modePagePolicy,
  0x8f: () => thirdPartyCopyData(copyLimits),
  0xb0: blockLimitsPage,
  0xb1: blockDeviceCharacteristics,
  0xb2: logicalBlockProvisioning,
};
const supportedPages = Object.keys(pages)
  .map(Number)
  .sort((one, other) => one - other);

/** The whole page with its header; null: there is none of that code. */
export function vitalProductData(unit: LogicalUnit, nexus: Nexus, code: number): number[] | null {
  const page = pages[code]?.(unit, nexus);
  return page === undefined ? null : [0x00, code, ...be16(page.length), ...page];
}

const Association = { unit: 0, port: 1, device: 2 } as const;
const CodeSet = { binary: 1, ascii: 2, utf8: 3 } as const;
const Designator = { t10Vendor: 1, naa: 3, relativePort: 4, portGroup: 5, nameString: 8 } as const;
/** PROTOCOL IDENTIFIER (SPC-4 7.6.1), valid where PIV is set: designators of ports and of the device. */
const iscsi = 0x5;

function designator(association: number, type: number, codeSet: number, bytes: readonly number[]): number[] {
  const ofUnit = association === Association.unit;
  const protocolAndCodeSet = ((ofUnit ? 0 : iscsi) << 4) | codeSet;
  return [protocolAndCodeSet, (ofUnit ? 0 : 0x80) | (association << 4) | type, 0, bytes.length, ...bytes];
}

/** 83h (SPC-4 7.8.5). The NAA designator comes first: it is what copy managers and multipath look for. */
function deviceIdentification(unit: LogicalUnit, nexus: Nexus): number[] {
  const { wwid } = unit.unit;
  const { targetName } = unit.device;
  const port = nexus.targetPort;
  const portName = `${targetName},t,0x${port.toString(16).padStart(4, '0')}`;
  const { binary, utf8 } = CodeSet;
  return [
    ...designator(Association.unit, Designator.naa, binary, hex(wwid)),
    ...designator(Association.unit, Designator.t10Vendor, CodeSet.ascii, [...ascii(vendor, 8), ...ascii(wwid)]),
    ...designator(Association.port, Designator.relativePort, binary, [0, 0, ...be16(port)]),
    ...designator(Association.port, Designator.portGroup, binary, [0, 0, ...be16(portGroupOf(port))]),
    ...designator(Association.port, Designator.nameString, utf8, nameString(portName)),
    ...designator(Association.device, Designator.nameString, utf8, nameString(targetName)),
  ];
}

/** 86h (SPC-4 7.8.7). */
function extendedInquiry(unit: LogicalUnit): number[] {
  const taskAttributes = 0x07; // HEADSUP, ORDSUP, SIMPSUP
  const volatileCache = unit.unit.writeCache ? 0x01 : 0x00; // V_SUP
  return [0x00, taskAttributes, volatileCache, ...zeroes(57)];
}

/** 87h (SPC-4 7.8.9): one copy of every mode page for all nexuses. */
function modePagePolicy(): number[] {
  return [0x3f, 0xff, 0x00, 0x00];
}

/** B0h (SBC-3 6.6.3). Zero blocks in WRITE SAME mean all up to the end (WSNZ = 0). */
function blockLimitsPage(unit: LogicalUnit): number[] {
  const limits = blockLimits(unit.blockSizeBytes);
  const alignmentValid = 0x80000000; // UGAVALID, alignment 0
  return [
    ...[0x00, limits.compareAndWrite],
    ...be16(limits.granularity),
    ...be32(limits.maximumTransfer),
    ...be32(limits.optimalTransfer),
    ...be32(0), // prefetch and XOR commands know no limit of their own
    ...be32(limits.unmap),
    ...be32(limits.unmapDescriptors),
    ...be32(limits.granularity),
    ...be32(alignmentValid),
    ...be64(limits.writeSame),
    ...zeroes(20),
  ];
}

/** B1h (SBC-3 6.6.2): a medium without rotation, so that hosts do not sort by address. */
function blockDeviceCharacteristics(): number[] {
  return [...be16(1), ...zeroes(58)];
}

/** B2h (SBC-3 6.6.4): thin, unmapped by UNMAP and both WRITE SAME, and zeroes are read from what is unmapped. */
function logicalBlockProvisioning(): number[] {
  const lbpu = 0x80;
  const lbpws = 0x40;
  const lbpws10 = 0x20;
  const lbprz = 0x04;
  const thin = 0x02;
  return [0x00, lbpu | lbpws | lbpws10 | lbprz, thin, 0x00];
}
