/**
 * Mode parameters (SPC-4 6.11…6.14 and 7.5, SBC-3 6.5): one copy a unit, for all nexuses of this node, nothing saved.
 * D_SENSE is the only one hosts may change. WCE says how the volume is set; a cache that could be switched by a host of
 * one node would not be what the other legs do.
 */
import type { Command } from './command.ts';
import { Attention, type LogicalUnit } from './logical-unit.ts';
import { answer, be16, be24, be32, be64, zeroes } from './parameter-data.ts';
import { failWith, invalidField, invalidParameter, parameterListLengthError } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';
import { u16, u24, u32, u64 } from './wire.ts';

interface ModePage {
  readonly code: number;
  /** As it stands: whole page, header included. */
  current(unit: LogicalUnit): number[];
  defaults(unit: LogicalUnit): number[];
  /** Ones where a host may change; as long as the page. */
  readonly changeable: readonly number[];
  /** Takes over what has been checked against `changeable`; true: something is different now. */
  change?(unit: LogicalUnit, page: Uint8Array): boolean;
}

const dSense = 0x04;

/** Control (SPC-4 7.5.8). TST = 0, QERR = 0, TAS = 0: one task set, others' commands survive and end in silence. */
function control(descriptorSense: boolean): number[] {
  const gltsd = 0x02;
  const busyTimeoutUnlimited = be16(0xffff);
  return [0x0a, 10, gltsd | (descriptorSense ? dSense : 0), ...zeroes(5), ...busyTimeoutUnlimited, ...zeroes(2)];
}

/** Caching (SBC-3 6.5.5). */
function caching(unit: LogicalUnit): number[] {
  return [0x08, 18, unit.unit.writeCache ? 0x04 : 0x00, ...zeroes(17)];
}

/** Informational exceptions control (SPC-4 7.5.12): DEXCPT, none are reported. */
function informationalExceptions(): number[] {
  return [0x1c, 10, 0x08, ...zeroes(9)];
}

/** By ascending page code, as all-pages data is ordered. */
const pages: readonly ModePage[] = [
  { code: 0x08, current: caching, defaults: caching, changeable: [0x08, 18, ...zeroes(18)] },
  {
    code: 0x0a,
    current: (unit) => control(unit.descriptorSense),
    defaults: () => control(false),
    changeable: [0x0a, 10, dSense, ...zeroes(9)],
    change: (unit, page) => {
      const wanted = ((page[2] ?? 0) & dSense) !== 0;
      const changed = wanted !== unit.descriptorSense;
      unit.descriptorSense = wanted;
      return changed;
    },
  },
  {
    code: 0x1c,
    current: informationalExceptions,
    defaults: informationalExceptions,
    changeable: [0x1c, 10, ...zeroes(10)],
  },
];
const allPages = 0x3f;
const allSubpages = 0xff;

const dpofua = 0x10;

function modeSense(unit: LogicalUnit, task: ScsiTask, ten: boolean): void {
  const { cdb } = task;
  const longLba = ten && ((cdb[1] ?? 0) & 0x10) !== 0;
  const withoutDescriptor = ((cdb[1] ?? 0) & 0x08) !== 0;
  const control = (cdb[2] ?? 0) >> 6;
  const code = (cdb[2] ?? 0) & 0x3f;
  const subpage = cdb[3] ?? 0;
  const chosen = pages.filter((page) => code === allPages || code === page.code);
  if (chosen.length === 0) return invalidField(unit, task, 2, 5);
  if (subpage !== 0 && subpage !== allSubpages) return invalidField(unit, task, 3);
  // SAVING PARAMETERS NOT SUPPORTED
  if (control === 3) return failWith(unit, task, 'illegalRequest', 0x3900);
  const data = chosen.flatMap((page) =>
    control === 1 ? page.changeable : control === 2 ? page.defaults(unit) : page.current(unit),
  );
  const descriptor = withoutDescriptor ? [] : blockDescriptor(unit, longLba);
  const length = descriptor.length + data.length;
  const header = ten
    ? [...be16(6 + length), 0x00, dpofua, longLba ? 0x01 : 0x00, 0x00, ...be16(descriptor.length)]
    : [3 + length, 0x00, dpofua, descriptor.length];
  answer(task, [...header, ...descriptor, ...data], ten ? u16(cdb, 7) : (cdb[4] ?? 0));
}

/** Mode parameter block descriptors of direct access devices (SBC-3 6.5.2). */
function blockDescriptor(unit: LogicalUnit, longLba: boolean): number[] {
  const { blocks, blockSizeBytes } = unit;
  if (longLba) return [...be64(blocks), 0, 0, 0, 0, ...be32(blockSizeBytes)];
  return [...be32(Math.min(blocks, 0xffffffff)), 0x00, ...be24(blockSizeBytes)];
}

function modeSelect(unit: LogicalUnit, task: ScsiTask, ten: boolean): void {
  const { cdb } = task;
  const length = ten ? u16(cdb, 7) : (cdb[4] ?? 0);
  const flags = cdb[1] ?? 0;
  if ((flags & 0x01) !== 0) return invalidField(unit, task, 1, 0); // SP: nothing is saved
  if (length === 0) return task.complete(ScsiStatus.good);
  if ((flags & 0x10) === 0) return invalidField(unit, task, 1, 4); // PF = 0: vendor's own format
  if (task.dataOut.length < length) return parameterListLengthError(unit, task);
  const list = task.dataOut.subarray(0, length);

  const checked = checkParameters(unit, list, ten);
  if (checked === 'short') return parameterListLengthError(unit, task);
  if ('invalidByte' in checked) return invalidParameter(unit, task, checked.invalidByte);
  // All of the list was good before any of it is applied (SPC-4 6.11).
  let changed = false;
  for (const { page, bytes } of checked.pages) if (page.change?.(unit, bytes) === true) changed = true;
  if (changed) unit.attention(Attention.modeParametersChanged, task.nexus);
  task.complete(ScsiStatus.good);
}

type Checked =
  | 'short'
  | { readonly invalidByte: number }
  | { readonly pages: readonly { readonly page: ModePage; readonly bytes: Uint8Array }[] };

function checkParameters(unit: LogicalUnit, list: Uint8Array, ten: boolean): Checked {
  const headerLength = ten ? 8 : 4;
  if (list.length < headerLength) return 'short';
  const mediumTypeAt = ten ? 2 : 1;
  if (list[mediumTypeAt] !== 0) return { invalidByte: mediumTypeAt };
  const longLba = ten && ((list[4] ?? 0) & 0x01) !== 0;
  const descriptorLength = ten ? u16(list, 6) : (list[3] ?? 0);
  if (descriptorLength !== 0 && descriptorLength !== (longLba ? 16 : 8)) return { invalidByte: ten ? 6 : 3 };
  if (list.length < headerLength + descriptorLength) return 'short';
  if (descriptorLength !== 0) {
    const wrong = checkDescriptor(unit, list, headerLength, longLba);
    if (wrong !== null) return { invalidByte: wrong };
  }

  const found: { page: ModePage; bytes: Uint8Array }[] = [];
  for (let at = headerLength + descriptorLength; at < list.length;) {
    const code = list[at] ?? 0;
    const page = pages.find((other) => other.code === code);
    // Also where PS or SPF is set: PS is reserved here, and there are no subpages.
    if (page === undefined) return { invalidByte: at };
    if (at + 2 > list.length) return 'short';
    if (list[at + 1] !== page.changeable.length - 2) return { invalidByte: at + 1 };
    const bytes = list.subarray(at, at + page.changeable.length);
    if (bytes.length < page.changeable.length) return 'short';
    const current = page.current(unit);
    const wrong = bytes.findIndex(
      (byte, index) => index >= 2 && ((byte ^ (current[index] ?? 0)) & ~(page.changeable[index] ?? 0)) !== 0,
    );
    if (wrong !== -1) return { invalidByte: at + wrong };
    found.push({ page, bytes });
    at += bytes.length;
  }
  return { pages: found };
}

/** Capacity and block length are the volume's. NUMBER OF LOGICAL BLOCKS 0 or all ones: as it is. */
function checkDescriptor(unit: LogicalUnit, list: Uint8Array, at: number, longLba: boolean): number | null {
  const sameBlocks = longLba
    ? u32(list, at) === 0xffffffff || [0, unit.blocks].includes(u64(list, at))
    : [0, 0xffffffff, unit.blocks].includes(u32(list, at));
  if (!sameBlocks) return at;
  const lengthAt = at + (longLba ? 12 : 5);
  const blockLength = longLba ? u32(list, lengthAt) : u24(list, lengthAt);
  return blockLength === unit.blockSizeBytes ? null : lengthAt;
}

const common = { serviceAction: null, access: 'any', pastUnitAttention: false } as const;

export const modeCommands: readonly Command[] = [
  {
    ...common,
    name: 'MODE SENSE(6)',
    opcode: 0x1a,
    usage: [0x1a, 0x08, 0xff, 0xff, 0xff, 0],
    reservation: 'read',
    run: (unit, task) => modeSense(unit, task, false),
  },
  {
    ...common,
    name: 'MODE SENSE(10)',
    opcode: 0x5a,
    usage: [0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0],
    reservation: 'read',
    run: (unit, task) => modeSense(unit, task, true),
  },
  {
    ...common,
    name: 'MODE SELECT(6)',
    opcode: 0x15,
    usage: [0x15, 0x11, 0, 0, 0xff, 0],
    reservation: 'write',
    dataOutBytes: (_unit, cdb) => cdb[4] ?? 0,
    run: (unit, task) => modeSelect(unit, task, false),
  },
  {
    ...common,
    name: 'MODE SELECT(10)',
    opcode: 0x55,
    usage: [0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0],
    reservation: 'write',
    dataOutBytes: (_unit, cdb) => u16(cdb, 7),
    run: (unit, task) => modeSelect(unit, task, true),
  },
];
