/**
 * Where a SCSI transport and the device server meet (SAM-5): the transport gathers a command and its data, the device
 * server carries it out and completes it once.
 */
import type { RegistrantPort } from '../../group/reservations.ts';

/** I_T nexus (SAM-5 4.7): an initiator port as it reaches us through one of our target ports. One object for its whole life. */
export interface Nexus extends RegistrantPort {
  /** For logs and status: initiator name and address. */
  readonly label: string;
  /** Volumes of the target it may see, by index; null: all. */
  readonly visible: ReadonlySet<number> | null;
}

/** SAM-5 5.3.1. */
export const ScsiStatus = {
  good: 0x00,
  checkCondition: 0x02,
  conditionMet: 0x04,
  busy: 0x08,
  reservationConflict: 0x18,
  taskSetFull: 0x28,
  acaActive: 0x30,
  taskAborted: 0x40,
} as const;
export type ScsiStatus = (typeof ScsiStatus)[keyof typeof ScsiStatus];

export type TaskAttribute = 'simple' | 'ordered' | 'headOfQueue' | 'aca';

/** A command with all its data, from `execute` until `complete` or `dropped`. */
export interface ScsiTask {
  readonly nexus: Nexus;
  /** Decoded by `decodeLun`; −1: none that could exist. */
  readonly lun: number;
  /** 16 bytes or more, those beyond the command's own are zero. */
  readonly cdb: Uint8Array;
  readonly attribute: TaskAttribute;
  /** As much of what `dataOutBytes` asked for as the initiator had to give; the volume may keep it. Empty when there is none. */
  readonly dataOut: Uint8Array;
  /**
   * Memory for the data to the initiator, exactly so long; asked for at most once, before `complete`. How much of it the
   * initiator takes, and what it is told of the rest, is the transport's (residual counts).
   */
  reserveDataIn(bytes: number): Uint8Array;
  /** Once; also inside `execute`. `dataInBytes`: of those reserved, how many count; default all when good, none otherwise. */
  complete(status: ScsiStatus, sense?: Uint8Array | null, dataInBytes?: number): void;
  /** Instead of `complete`: aborted, nothing is to be answered (SAM-5 5.6, TAS = 0). */
  dropped(): void;
}

/** Task management functions (SAM-5 7). */
export type TaskManagement =
  | { readonly kind: 'abortTask'; readonly lun: number; readonly task: ScsiTask }
  | { readonly kind: 'abortTaskSet' | 'clearTaskSet' | 'logicalUnitReset'; readonly lun: number }
  | { readonly kind: 'targetReset' };

export type TaskManagementResponse = 'complete' | 'noSuchTask' | 'noSuchUnit' | 'notSupported';

/** The device server of one target: its logical units, for all nexuses. */
export interface ScsiDevice {
  /** A nexus begins, with POWER ON OCCURRED pending at every unit, and ends; what it has in flight is dropped then. */
  nexusGained(nexus: Nexus): void;
  /** `done` when none of its commands can touch a volume any more (I9). */
  nexusLost(nexus: Nexus, done: () => void): void;
  /** Bytes the command takes from the initiator; 0 for one that takes none, or that will be refused. Pure: nothing is begun. */
  dataOutBytes(nexus: Nexus, lun: number, cdb: Uint8Array): number;
  execute(task: ScsiTask): void;
  /** `done` once every command concerned has ended, or surely will not be carried out. Never inside the call. */
  manage(nexus: Nexus, request: TaskManagement, done: (response: TaskManagementResponse) => void): void;
  /** The nexus is told of it by its transport: asynchronous messages. */
  onAsyncEvent(nexus: Nexus, listener: (lun: number, sense: Uint8Array) => void): void;
}

/** LUN of the peripheral (00b) and flat (01b) addressing methods, one level (SAM-5 4.7.7), 0…16383; −1: another form. */
export function decodeLun(bytes: Uint8Array): number {
  const method = (bytes[0] ?? 0) >> 6;
  const rest = bytes.subarray(2, 8).some((byte) => byte !== 0);
  if (rest || method > 1) return -1;
  const high = (bytes[0] ?? 0) & 0x3f;
  // A bus identifier other than 0 is none of ours.
  if (method === 0 && high !== 0) return -1;
  return (high << 8) | (bytes[1] ?? 0);
}

export function encodeLun(lun: number): Uint8Array {
  const bytes = new Uint8Array(8);
  bytes[0] = lun < 256 ? 0 : 0x40 | (lun >> 8);
  bytes[1] = lun & 0xff;
  return bytes;
}
