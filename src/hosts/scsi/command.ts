/**
 * What the device server knows of one command: how its CDB looks, when it is allowed, what it does. One table drives
 * dispatch, the check of reserved bits, REPORT SUPPORTED OPERATION CODES, access states and reservations.
 */
import type { LogicalUnit } from './logical-unit.ts';
import type { ScsiTask } from './task.ts';

/** Against the reservation of another nexus (SPC-4 tables 62 and 63, SBC-3 table 13). */
export type ReservationClass =
  /** Allowed whatever is reserved. */
  | 'any'
  /** Conflicts with exclusive access, allowed under write exclusive. */
  | 'read'
  /** Conflicts with every reservation the nexus has no part in. */
  | 'write'
  /** PERSISTENT RESERVE OUT: has rules of its own. */
  | 'own';

export interface Command {
  readonly name: string;
  readonly opcode: number;
  /** In bits 4…0 of byte 1, where the operation code has service actions; null: it has none. */
  readonly serviceAction: number | null;
  /**
   * CDB usage data (SPC-4 6.35.3), from byte 0: a bit is set where the field is evaluated. A CDB with a bit set that is
   * clear here is refused with INVALID FIELD IN CDB. Its length is the CDB's.
   */
  readonly usage: readonly number[];
  readonly reservation: ReservationClass;
  /** Access states in which it is carried out: in all, or only where block commands are served (SPC-4 5.15.2.4). */
  readonly access: 'any' | 'active';
  /** INQUIRY, REPORT LUNS, REQUEST SENSE go past a pending unit attention (SAM-5 5.14). */
  readonly pastUnitAttention: boolean;
  /** For a LUN without a unit, where it is carried out all the same. */
  readonly withoutUnit?: (device: DeviceView, task: ScsiTask) => void;
  /** Bytes it takes from the initiator. Absent: none. */
  readonly dataOutBytes?: (unit: LogicalUnit, cdb: Uint8Array) => number;
  readonly run: (unit: LogicalUnit, task: ScsiTask) => void;
}

/** What commands see of the whole target. */
export interface DeviceView {
  /** `iqn.…` of the target: the device's name in designators. */
  readonly targetName: string;
  /** Those the nexus may see, by ascending LUN. */
  units(task: ScsiTask): readonly LogicalUnit[];
  readonly commands: readonly Command[];
}
