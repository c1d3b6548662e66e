/** What is said of a unit whose group is not served by this node (SPC-4 5.15.2.4). */
import type { AccessState } from '../../group/host-access.ts';
import type { LogicalUnit } from './logical-unit.ts';
import { failWith, SenseCode, senseData } from './sense.ts';
import type { ScsiTask } from './task.ts';

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
