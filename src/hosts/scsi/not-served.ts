/** What is said of a unit whose group is not served by this node (SPC-4 5.15.2.4). */
import type { AccessState, HostVolume } from '../../group/host-access.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { failWith, SenseCode, senseData } from './sense.ts';
import { ScsiStatus, type ScsiTask } from './task.ts';

/** For the next part of a command; null: the command has ended, it was aborted, or the unit is not served here any more. */
export function volumeFor(unit: LogicalUnit, task: ScsiTask): HostVolume | null {
  const { volume } = unit;
  if (unit.isAborted(task)) {
    task.complete(ScsiStatus.taskAborted);
    return null;
  }
  if (volume === null) failAsNotServed(unit, task);
  return volume;
}

export function failAsNotServed(unit: LogicalUnit, task: ScsiTask): void {
  failWith(unit, task, 'notReady', notServedCode(unit.group.access));
}

function notServedCode(access: AccessState): number {
  switch (access) {
    case 'standby':
      return SenseCode.accessStandby;
    case 'unavailable':
      return SenseCode.accessUnavailable;
    case 'active':
    case 'transitioning':
      return SenseCode.accessTransition;
  }
}

/** What REQUEST SENSE says of a unit that does not serve here; null: it serves. */
export function notServedSense(unit: LogicalUnit, descriptor: boolean): Uint8Array | null {
  if (unit.volume !== null) return null;
  return senseData(descriptor, 'notReady', notServedCode(unit.group.access));
}
