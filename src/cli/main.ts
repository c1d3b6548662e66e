/**
 * The command line: words in, exit status out (0 done, 1 failed, 2 usage, 3 refused). Whatever goes wrong is told on
 * standard error, in one sentence and its cure; only an error of ours shows where in the code it happened.
 */
import { Command, CommanderError } from 'commander';
import { errorKinds, HoldfastError, type ErrorCode } from '../base/errors.ts';
import type { Building } from './command.ts';
import { addAgentCommands } from './command-agent.ts';
import { addIscsiCommands } from './command-iscsi.ts';
import { addAlertCommands } from './command-alerts.ts';
import { addConfigCommands } from './command-config.ts';
import { addDrillCommands } from './command-drill.ts';
import { addDumpCommand } from './command-dump.ts';
import { addGroupCommands } from './command-group.ts';
import { addJudgeCommands } from './command-judge.ts';
import { addLogCommands } from './command-log.ts';
import { addMirrorCommands } from './command-mirror.ts';
import { addNodeCommands } from './command-node.ts';
import { addPulseCommands } from './command-pulse.ts';
import { addStatusCommand } from './command-status.ts';
import { addTryCommand } from './command-try.ts';
import { addVolumeCommands } from './command-volume.ts';
import { addWhyCommand } from './command-why.ts';
import { processIo, type CommandStatus, type Io } from './io.ts';
import { productVersion } from '../node/product-version.ts';

/** @param argv without the program itself. */
export async function main(argv: readonly string[], io: Io): Promise<CommandStatus> {
  let status: CommandStatus = 0;
  const asJson = argv.includes('--json');
  const program = createProgram({ io, asJson, finish: (result) => (status = result) });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return report(error, asJson, io);
  }
}

export function createProgram(building: Building): Command {
  const { io, asJson } = building;
  const program = new Command('holdfast')
    .description('Disaster-tolerant block storage: volumes served over NBD, every write mirrored to another node.')
    .version(productVersion)
    .helpCommand(false)
    // `drill` has options, and commands of its own that have the same: each takes what stands behind it.
    .enablePositionalOptions()
    .addHelpText('after', '\nExample:\n  $ holdfast try');
  program.exitOverride().configureOutput({
    writeOut: (text) => io.out.write(text),
    writeErr: (text) => io.err.write(text),
    outputError: (text) => tell('E_USAGE', text.replace(/^error: /, '').trimEnd(), asJson, io),
    getOutHelpWidth: () => io.out.columns,
    getErrHelpWidth: () => io.err.columns,
  });
  // In the order in which a newcomer needs them. Children inherit the output settings made above.
  addTryCommand(program, building);
  addStatusCommand(program, building);
  addWhyCommand(program, building);
  addVolumeCommands(program, building);
  addGroupCommands(program, building);
  addMirrorCommands(program, building);
  addLogCommands(program, building);
  addPulseCommands(program, building);
  addJudgeCommands(program, building);
  addDrillCommands(program, building);
  addAgentCommands(program, building);
  addIscsiCommands(program, building);
  addAlertCommands(program, building);
  addNodeCommands(program, building);
  addConfigCommands(program, building);
  addDumpCommand(program, building);
  return program;
}

function report(error: unknown, asJson: boolean, io: Io): CommandStatus {
  const known = error instanceof HoldfastError ? error : null;
  const code = known?.code ?? 'E_INTERNAL';
  const message = known ? known.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
  tell(code, message, asJson, io);
  return errorKinds[code].exitStatus;
}

function tell(code: ErrorCode, message: string, asJson: boolean, io: Io): void {
  const { cure } = errorKinds[code];
  if (asJson) io.err.write(`${JSON.stringify({ code, message, cure })}\n`);
  else io.err.write(`${io.err.colours.red('holdfast:')} ${message}\n${io.err.colours.dim(cure)}\n`);
}

/** The program itself. Leaves the exit status to the end of the event loop, so that what was written is written. */
export async function runProcess(): Promise<void> {
  const io = processIo();
  process.exitCode = await main(process.argv.slice(2), io);
  // Standard input, where it was listened to, would keep the process alive.
  process.stdin.unref?.();
}
