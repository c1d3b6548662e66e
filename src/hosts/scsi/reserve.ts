/**
 * Reservations: PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16), whose state is the group's and moves with it, and RESERVE(6) and
 * RELEASE(6) of SPC-2, which are the owner's memory and end with a move.
 */
import type { HostGroup } from '../../group/host-access.ts';
import {
  holds,
  noReservations,
  samePort,
  type RegistrantPort,
  type ReservationOutcome,
  type ReservationRequest,
  type Reservations,
  type ReservationType,
} from '../../group/reservations.ts';
import type { Command } from './command.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { answer, be16, be32, hex, zeroes } from './parameter-data.ts';
import { failWith, invalidField, invalidParameter, parameterListLengthError, SenseCode } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';
import { decodeTransportId, encodeTransportId, transportIdLength } from './transport-id.ts';
import { u16, u32 } from './wire.ts';

const outLength = 24;
/** A parameter list with a TransportID of the longest name for each registration there may be is below it. */
const outLengthMax = 64 * 1024;
const targetPortsOfNode = 16;
const invalidRelease = 0x2604;
const insufficientRegistrations = 0x5504;

// ---- PERSISTENT RESERVE IN

const stateOf = (unit: LogicalUnit): Reservations => unit.group.reservations(unit.lun) ?? noReservations;

function answerList(task: ScsiTask, { generation }: Reservations, list: readonly number[]): void {
  answer(task, [...be32(generation), ...be32(list.length), ...list], u16(task.cdb, 7));
}

function readKeys(unit: LogicalUnit, task: ScsiTask): void {
  const state = stateOf(unit);
  answerList(
    task,
    state,
    state.registrations.flatMap(({ key }) => hex(key)),
  );
}

/** SPC-4 6.15.3: one that all registrants hold has the key zero. */
function readReservation(unit: LogicalUnit, task: ScsiTask): void {
  const state = stateOf(unit);
  const { reservation } = state;
  if (reservation === null) return answerList(task, state, []);
  const key = reservation.holder === null ? zeroes(8) : hex(reservation.holder.key);
  answerList(task, state, [...key, ...zeroes(5), reservation.type, 0, 0]);
}

const capability = { compatibleReservations: 0x10, specifiedPorts: 0x08, allTargetPorts: 0x04, persistent: 0x01 };
const typeMaskValid = 0x80;
/** WR_EX_AR, EX_AC_RO, WR_EX_RO, EX_AC, WR_EX; EX_AC_AR (SPC-4 table 226). */
const typeMask = [0xea, 0x01];

/** SPC-4 6.15.4. */
function reportCapabilities(unit: LogicalUnit, task: ScsiTask): void {
  const { aptpl } = stateOf(unit);
  const able = Object.values(capability).reduce((all, bit) => all | bit);
  const data = [...be16(8), able, typeMaskValid | (aptpl ? 1 : 0), ...typeMask, 0, 0];
  answer(task, data, u16(task.cdb, 7));
}

/** SPC-4 6.15.5. ALL_TG_PT is 0: each of our registrations is for one target port. */
function readFullStatus(unit: LogicalUnit, task: ScsiTask): void {
  const state = stateOf(unit);
  const descriptors = state.registrations.flatMap((registration) => {
    const isHolder = holds(state, registration);
    const transportId = encodeTransportId(registration.initiatorPort);
    return [
      ...[...hex(registration.key), ...zeroes(4), isHolder ? 1 : 0, isHolder ? (state.reservation?.type ?? 0) : 0],
      ...[...zeroes(4), ...be16(registration.targetPort), ...be32(transportId.length), ...transportId],
    ];
  });
  answerList(task, state, descriptors);
}

// ---- PERSISTENT RESERVE OUT

type Action = ReservationRequest['action'];

const typeOf = (code: number): ReservationType | null =>
  ([1, 3, 5, 6, 7, 8] as const).find((type) => type === code) ?? null;

function persistentReserveOut(unit: LogicalUnit, task: ScsiTask, action: Action): void {
  // SPC-2 5.5.3.1: the two ways to reserve exclude each other.
  if (unit.reservedBy !== null) return task.complete(ScsiStatus.reservationConflict);
  const { cdb, dataOut } = task;
  const scopeAndType = cdb[2] ?? 0;
  const type = typeOf(scopeAndType & 0x0f);
  const hasScope =
    action === 'reserve' || action === 'release' || action === 'preempt' || action === 'preemptAndAbort';
  if (hasScope && scopeAndType >> 4 !== 0) return invalidField(unit, task, 2, 7);
  if (action === 'reserve' && type === null) return invalidField(unit, task, 2, 3);
  const length = u32(cdb, 5);
  if (length < outLength || length > outLengthMax || dataOut.length < length)
    return parameterListLengthError(unit, task);
  const read = action === 'registerAndMove' ? readMove(unit, task) : readList(unit, task, action);
  if (read === null) return;
  const { initiatorPort, targetPort } = task.nexus;
  const request: ReservationRequest = {
    action,
    from: { initiatorPort, targetPort },
    key: hexOf(dataOut, 0),
    actionKey: hexOf(dataOut, 8),
    type,
    ...read,
  };
  unit.group.reserve(unit.lun, request, (outcome) => complete(unit, task, outcome));
}

type ReadList = Pick<ReservationRequest, 'aptpl' | 'others' | 'unregister'>;

const list = { specifyInitiatorPorts: 0x08, allTargetPorts: 0x04, aptpl: 0x01 };

/** The list of all actions but REGISTER AND MOVE (SPC-4 6.16.3); null: refused already. */
function readList(unit: LogicalUnit, task: ScsiTask, action: Action): ReadList | null {
  const { dataOut, nexus } = task;
  const flags = dataOut[20] ?? 0;
  const registers = action === 'register' || action === 'registerIgnoring';
  const refuse = (byte: number, bit?: number): null => {
    invalidParameter(unit, task, byte, bit);
    return null;
  };
  const reserved = flags & ~(list.specifyInitiatorPorts | list.allTargetPorts | list.aptpl);
  if (reserved !== 0) return refuse(20, 31 - Math.clz32(reserved));
  const specifies = (flags & list.specifyInitiatorPorts) !== 0;
  if (specifies && action !== 'register') return refuse(20, 3);
  const all = registers && (flags & list.allTargetPorts) !== 0;
  const aptpl = registers && (flags & list.aptpl) !== 0;
  const length = u32(task.cdb, 5);
  if (!specifies && length !== outLength) {
    parameterListLengthError(unit, task);
    return null;
  }
  const targetPorts = all ? targetPortsOf(unit.group) : [];
  if (!targetPorts.includes(nexus.targetPort)) targetPorts.push(nexus.targetPort);
  const initiatorPorts = [nexus.initiatorPort];
  if (specifies) {
    const end = outLength + 4 + u32(dataOut, outLength);
    if (length < outLength + 4 || end > length) {
      parameterListLengthError(unit, task);
      return null;
    }
    for (let at = outLength + 4; at < end; at += transportIdLength(dataOut, at)) {
      const port = decodeTransportId(dataOut.subarray(at, end));
      if (typeof port === 'number') return refuse(at + port);
      initiatorPorts.push(port);
    }
  }
  const others = initiatorPorts
    .flatMap((initiatorPort) => targetPorts.map((targetPort): RegistrantPort => ({ initiatorPort, targetPort })))
    .filter((port) => !samePort(port, nexus));
  return { aptpl, others, unregister: false };
}

/** SPC-4 6.16.4; null: refused already. */
function readMove(unit: LogicalUnit, task: ScsiTask): ReadList | null {
  const { dataOut } = task;
  const flags = dataOut[17] ?? 0;
  const refuse = (byte: number, bit?: number): null => {
    invalidParameter(unit, task, byte, bit);
    return null;
  };
  if (flags > 3) return refuse(17, 31 - Math.clz32(flags));
  const targetPort = u16(dataOut, 18);
  if (!targetPortsOf(unit.group).includes(targetPort)) return refuse(18);
  const length = u32(task.cdb, 5);
  if (outLength + u32(dataOut, 20) !== length) {
    parameterListLengthError(unit, task);
    return null;
  }
  const port = decodeTransportId(dataOut.subarray(outLength, length));
  if (typeof port === 'number') return refuse(outLength + port);
  return { aptpl: (flags & 1) !== 0, others: [{ initiatorPort: port, targetPort }], unregister: (flags & 2) !== 0 };
}

function complete(unit: LogicalUnit, task: ScsiTask, outcome: ReservationOutcome): void {
  switch (outcome.kind) {
    case 'done':
      return task.complete(ScsiStatus.good);
    case 'conflict':
      return task.complete(ScsiStatus.reservationConflict);
    case 'invalidRelease':
      return failWith(unit, task, 'illegalRequest', invalidRelease);
    case 'invalidField':
      return invalidParameter(unit, task, outcome.byte);
    case 'full':
      return failWith(unit, task, 'illegalRequest', insufficientRegistrations);
    case 'unreachable':
      // The host asks again, and finds out what became of it.
      return failWith(unit, task, 'notReady', SenseCode.accessTransition);
  }
}

/** Relative identifiers of all target ports at which the unit is there. */
function targetPortsOf({ nodes }: HostGroup): number[] {
  return nodes.flatMap(({ number, portals }) =>
    portals.map((_portal, place) => (number - 1) * targetPortsOfNode + place + 1),
  );
}

function hexOf(bytes: Uint8Array, at: number): string {
  let digits = '';
  for (let index = at; index < at + 8; index++) digits += (bytes[index] ?? 0).toString(16).padStart(2, '0');
  return digits;
}

// ---- RESERVE(6), RELEASE(6)

/**
 * SPC-4 5.13.3, compatible reservation handling: for those with a part in the persistent reservation both do nothing,
 * for all others they conflict with any registration. Null: there is none.
 */
function compatibly(unit: LogicalUnit, task: ScsiTask): ScsiStatus | null {
  const state = stateOf(unit);
  if (state.registrations.length === 0) return null;
  const isRegistered = state.registrations.some((registration) => samePort(registration, task.nexus));
  const forRegistrants = state.reservation !== null && state.reservation.type >= 5;
  const takesPart = holds(state, task.nexus) || (isRegistered && forRegistrants);
  return takesPart ? ScsiStatus.good : ScsiStatus.reservationConflict;
}

/** SPC-2 7.21. That another nexus has it was found before. */
function reserve6(unit: LogicalUnit, task: ScsiTask): void {
  const status = compatibly(unit, task);
  if (status === null) unit.reservedBy = task.nexus;
  task.complete(status ?? ScsiStatus.good);
}

/** SPC-2 7.17: by another nexus it does nothing. */
function release6(unit: LogicalUnit, task: ScsiTask): void {
  const status = compatibly(unit, task);
  if (unit.reservedBy === task.nexus) unit.reservedBy = null;
  task.complete(status ?? ScsiStatus.good);
}

// ---- the table

const inward = (name: string, serviceAction: number, run: Command['run']): Command => ({
  name,
  opcode: 0x5e,
  serviceAction,
  usage: [0x5e, serviceAction, 0, 0, 0, 0, 0, 0xff, 0xff, 0],
  // Under RESERVE(6) of another nexus it conflicts, under no persistent reservation.
  reservation: 'own',
  access: 'any',
  pastUnitAttention: false,
  run,
});

const outward = (name: string, serviceAction: number, action: Action): Command => ({
  name,
  opcode: 0x5f,
  serviceAction,
  usage: [0x5f, serviceAction, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0],
  reservation: 'own',
  access: 'any',
  pastUnitAttention: false,
  dataOutBytes: (_unit, cdb) => {
    const length = u32(cdb, 5);
    return length > outLengthMax ? 0 : length;
  },
  run: (unit, task) => persistentReserveOut(unit, task, action),
});

const sixCommon = { serviceAction: null, access: 'active', pastUnitAttention: false } as const;

export const reserveCommands: readonly Command[] = [
  inward('PERSISTENT RESERVE IN, READ KEYS', 0, readKeys),
  inward('PERSISTENT RESERVE IN, READ RESERVATION', 1, readReservation),
  inward('PERSISTENT RESERVE IN, REPORT CAPABILITIES', 2, reportCapabilities),
  inward('PERSISTENT RESERVE IN, READ FULL STATUS', 3, readFullStatus),
  outward('PERSISTENT RESERVE OUT, REGISTER', 0, 'register'),
  outward('PERSISTENT RESERVE OUT, RESERVE', 1, 'reserve'),
  outward('PERSISTENT RESERVE OUT, RELEASE', 2, 'release'),
  outward('PERSISTENT RESERVE OUT, CLEAR', 3, 'clear'),
  outward('PERSISTENT RESERVE OUT, PREEMPT', 4, 'preempt'),
  outward('PERSISTENT RESERVE OUT, PREEMPT AND ABORT', 5, 'preemptAndAbort'),
  outward('PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY', 6, 'registerIgnoring'),
  outward('PERSISTENT RESERVE OUT, REGISTER AND MOVE', 7, 'registerAndMove'),
  { ...sixCommon, name: 'RESERVE(6)', opcode: 0x16, usage: [0x16, 0, 0, 0, 0, 0], reservation: 'own', run: reserve6 },
  { ...sixCommon, name: 'RELEASE(6)', opcode: 0x17, usage: [0x17, 0, 0, 0, 0, 0], reservation: 'any', run: release6 },
];
