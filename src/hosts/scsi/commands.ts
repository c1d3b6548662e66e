/** Every command the device server knows, by operation code. */
import { atomicCommands } from './atomic.ts';
import type { Command } from './command.ts';
import { copyCommands } from './copy.ts';
import { inquiryCommands } from './inquiry.ts';
import { modeCommands } from './mode.ts';
import { portGroupCommands } from './port-groups.ts';
import { provisioningCommands } from './provisioning.ts';
import { readinessCommands } from './readiness.ts';
import { reportCommands } from './report.ts';
import { reserveCommands } from './reserve.ts';
import { transferCommands } from './transfer.ts';

export const commands: readonly Command[] = [
  ...atomicCommands,
  ...copyCommands,
  ...inquiryCommands,
  ...modeCommands,
  ...portGroupCommands,
  ...provisioningCommands,
  ...readinessCommands,
  ...reportCommands,
  ...reserveCommands,
  ...transferCommands,
].sort((a, b) => a.opcode - b.opcode || (a.serviceAction ?? 0) - (b.serviceAction ?? 0));
