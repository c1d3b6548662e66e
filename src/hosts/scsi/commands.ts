/** Every command the device server knows, by operation code. */
import { atomicCommands } from './atomic.ts';
import type { Command } from './command.ts';
import { provisioningCommands } from './provisioning.ts';
import { readinessCommands } from './readiness.ts';
import { transferCommands } from './transfer.ts';

export const commands: readonly Command[] = [
  ...atomicCommands,
  ...provisioningCommands,
  ...readinessCommands,
  ...transferCommands,
].sort((a, b) => a.opcode - b.opcode || (a.serviceAction ?? 0) - (b.serviceAction ?? 0));
