/**
 * Task management functions (RFC 7143 11.5, 11.6, SAM-5 7): what of them concerns commands that the device server does
 * not have yet, and what it is asked for.
 *
 * Keeps: a command that a function is to end is not answered from the moment the function is performed, and the
 * function is answered when all it concerns have ended, so that nothing of theirs touches a volume later (I9).
 * Leaves out the wait for the other sessions' acknowledgements of what they were told before (RFC 7143 4.2.3.3): they
 * have a unit attention coming.
 */
import type { Nexus, ScsiDevice, TaskManagement, TaskManagementResponse } from '../scsi/task.ts';
import { type CommandWindow, serialBefore } from './command-window.ts';
import { type RequestHeader, TaskFunction, TaskResponse } from './pdu.ts';
import type { ScsiCommands } from './scsi-commands.ts';

/** The other sessions of the target. */
export interface Peers {
  /** Their commands for that LUN (null: all) that the device server does not have yet end without an answer. */
  abortWaiting(lun: number | null): void;
  /** All sessions of the target end, this one too (RFC 7143 11.5.1, TARGET COLD RESET). */
  endAll(reason: string): void;
}

export interface TaskManagementParts {
  readonly device: ScsiDevice;
  readonly nexus: Nexus;
  readonly commands: ScsiCommands;
  readonly window: CommandWindow;
  readonly peers: Peers;
  /** A command that has not come counts as received: it is ignored when it does. */
  readonly skip: (cmdSn: number) => void;
}

/** `answer` with a `TaskResponse`, once, now or later. */
export function manage(parts: TaskManagementParts, header: RequestHeader, answer: (response: number) => void): void {
  const { commands, nexus, peers } = parts;
  const { lun } = header;
  const ask = (request: TaskManagement, then?: () => void): void => {
    parts.device.manage(parts.nexus, request, (response) => {
      answer(responseOf[response]);
      then?.();
    });
  };
  switch (header.taskFunction) {
    case TaskFunction.abortTask:
      abortTask(parts, header, ask, answer);
      return;
    case TaskFunction.abortTaskSet:
      commands.abortAll(lun, true);
      ask({ kind: 'abortTaskSet', lun });
      return;
    case TaskFunction.clearTaskSet:
    case TaskFunction.logicalUnitReset:
      commands.abortAll(lun, true);
      if (nexus.visible?.has(lun) !== false) peers.abortWaiting(lun);
      ask({ kind: header.taskFunction === TaskFunction.clearTaskSet ? 'clearTaskSet' : 'logicalUnitReset', lun });
      return;
    case TaskFunction.targetWarmReset:
    case TaskFunction.targetColdReset: {
      const cold = header.taskFunction === TaskFunction.targetColdReset;
      if (cold && nexus.visible !== null) {
        // It would end sessions that use what this one must not even see.
        answer(TaskResponse.authorizationFailed);
        return;
      }
      commands.abortAll(null, true);
      for (const each of nexus.visible ?? [null]) peers.abortWaiting(each);
      ask({ kind: 'targetReset' }, () => {
        if (cold) peers.endAll('target cold reset');
      });
      return;
    }
    case TaskFunction.taskReassign:
      answer(TaskResponse.noReassignment);
      return;
    default:
      // CLEAR ACA, too: there is no ACA.
      answer(TaskResponse.notSupported);
  }
}

function abortTask(
  parts: TaskManagementParts,
  header: RequestHeader,
  ask: (request: TaskManagement) => void,
  answer: (response: number) => void,
): void {
  const { commands, window } = parts;
  const task = commands.find(header.referencedTaskTag);
  if (task !== null && task.lun === header.lun) {
    if (commands.abort(task)) ask({ kind: 'abortTask', lun: task.lun, task });
    else answer(TaskResponse.complete);
    return;
  }
  // RFC 7143 11.6.1: of a command that may still come, though it was sent before.
  const { refCmdSn } = header;
  if (task === null && window.contains(refCmdSn) && serialBefore(refCmdSn, header.cmdSn)) {
    parts.skip(refCmdSn);
    answer(TaskResponse.complete);
    return;
  }
  answer(TaskResponse.noTask);
}

const responseOf: Readonly<Record<TaskManagementResponse, number>> = {
  complete: TaskResponse.complete,
  noSuchTask: TaskResponse.noTask,
  noSuchUnit: TaskResponse.noUnit,
  notSupported: TaskResponse.notSupported,
};
