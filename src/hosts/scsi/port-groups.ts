/**
 * Asymmetric access (SPC-4 5.15): every node with a leg is a target port group, its portals are the ports. States change
 * implicitly, with ownership of the group; a host that sets them gets what already is, or a refusal.
 */
import { assertNever } from '../../base/assert.ts';
import type { AccessState, HostGroup, HostGroupNode } from '../../group/host-access.ts';
import type { Command } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { answer, be16, be32 } from './parameter-data.ts';
import { failWith, invalidParameter, parameterListLengthError } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';
import { u16, u32 } from './wire.ts';

/** Ports a node may have: relative target port identifiers are (node number − 1) × 16 + 1…16. */
export const portsPerNode = 16;

/** Relative target port identifier of a node's portal, and tag of its portal group. @param place 0…15 */
export function targetPortOf(nodeNumber: number, place: number): number {
  return (nodeNumber - 1) * portsPerNode + place + 1;
}

/** Target port group, that is number of the node, of a relative target port identifier. */
export function portGroupOf(targetPort: number): number {
  return Math.floor((targetPort - 1) / portsPerNode) + 1;
}

function portsOf(node: HostGroupNode): number[] {
  return node.portals.slice(0, portsPerNode).map((_, place) => targetPortOf(node.number, place));
}

/** ASYMMETRIC ACCESS STATE (SPC-4 table 265). */
export function accessStateCode(access: AccessState): number {
  switch (access) {
    case 'active':
      return 0x0;
    case 'standby':
      return 0x2;
    case 'unavailable':
      return 0x3;
    case 'transitioning':
      return 0xf;
    default:
      return assertNever(access);
  }
}

/** T_SUP, U_SUP, S_SUP, AO_SUP. */
const supportedStates = 0x80 | 0x08 | 0x04 | 0x01;
/** IMPLICIT TRANSITION TIME in seconds: hosts go on asking for so long before they give up a path in transition. */
const transitionSeconds = 60;

function groupDescriptors(group: HostGroup): number[] {
  return group.nodes
    .filter((node) => node.portals.length > 0)
    .flatMap((node) => {
      const ports = portsOf(node);
      return [
        ...[accessStateCode(node.access), supportedStates, ...be16(node.number)],
        ...[0x00, 0x00, 0x00, ports.length],
        ...ports.flatMap((port) => [0x00, 0x00, ...be16(port)]),
      ];
    });
}

/** SPC-4 6.37. */
function reportTargetPortGroups(unit: LogicalUnit, task: ScsiTask): void {
  const extended = ((task.cdb[1] ?? 0) & 0x20) !== 0;
  const header = extended ? [0x10, transitionSeconds, 0x00, 0x00] : [];
  const data = [...header, ...groupDescriptors(unit.group)];
  answer(task, [...be32(data.length), ...data], u32(task.cdb, 6));
}

/** SPC-4 6.45. */
function setTargetPortGroups(unit: LogicalUnit, task: ScsiTask): void {
  const length = u32(task.cdb, 6);
  const list = task.dataOut;
  if (length === 0) return task.complete(ScsiStatus.good);
  if (list.length < length || length < 4 || length % 4 !== 0) return parameterListLengthError(unit, task);
  let asTheyAre = true;
  for (let at = 4; at < length; at += 4) {
    const state = (list[at] ?? 0) & 0x0f;
    const node = unit.group.nodes.find((other) => other.number === u16(list, at + 2) && other.portals.length > 0);
    if (state > 0x3) return invalidParameter(unit, task, at, 3);
    if (node === undefined) return invalidParameter(unit, task, at + 2);
    if (accessStateCode(node.access) !== state) asTheyAre = false;
  }
  if (asTheyAre) task.complete(ScsiStatus.good);
  else failWith(unit, task, 'hardwareError', 0x670a); // SET TARGET PORT GROUPS COMMAND FAILED
}

export const portGroupCommands: readonly Command[] = [
  {
    name: 'REPORT TARGET PORT GROUPS',
    opcode: 0xa3,
    serviceAction: 0x0a,
    usage: [0xa3, 0x2a, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    reservation: 'any',
    access: 'any',
    pastUnitAttention: false,
    run: reportTargetPortGroups,
  },
  {
    name: 'SET TARGET PORT GROUPS',
    opcode: 0xa4,
    serviceAction: 0x0a,
    usage: [0xa4, 0x0a, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    reservation: 'write',
    access: 'any',
    pastUnitAttention: false,
    // What is longer than a list of all groups can be is cut, and refused for its length.
    dataOutBytes: (_unit, cdb) => Math.min(u32(cdb, 6), 4 + 4 * 256),
    run: setTargetPortGroups,
  },
];
