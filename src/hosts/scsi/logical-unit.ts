/** One volume as a logical unit (SAM-5 4.…): identity, block commands' way to the volume, what each nexus is still to be told. */
import type { Clock } from '../../base/clock.ts';
import type { HostGroup, HostUnit, HostVolume } from '../../group/host-access.ts';
import type { DeviceView } from './command.ts';
import type { Nexus } from './task.ts';

export interface LogicalUnit {
  /** Equals the volume's index. */
  readonly lun: number;
  readonly device: DeviceView;
  readonly group: HostGroup;
  readonly clock: Clock;
  /** As it is now. */
  readonly unit: HostUnit;
  readonly blocks: number;
  readonly blockSizeBytes: number;
  /** Null while it is not active here. */
  readonly volume: HostVolume | null;
  /** Reported once to each nexus but `except` by the next command (SAM-5 5.14). */
  attention(code: AttentionCode, except?: Nexus | null): void;
  attentionFor(nexus: Nexus, code: AttentionCode): void;
}

/** Additional sense codes of unit attentions, as (ASC << 8 | ASCQ). */
export const Attention = {
  powerOn: 0x2900,
  busReset: 0x2902,
  deviceReset: 0x2903,
  nexusLoss: 0x2907,
  modeParametersChanged: 0x2a01,
  reservationsPreempted: 0x2a03,
  reservationsReleased: 0x2a04,
  registrationsPreempted: 0x2a05,
  accessStateChanged: 0x2a06,
  capacityChanged: 0x2a09,
  commandsCleared: 0x2f00,
  inquiryDataChanged: 0x3f03,
  reportedLunsChanged: 0x3f0e,
} as const;
export type AttentionCode = (typeof Attention)[keyof typeof Attention];
