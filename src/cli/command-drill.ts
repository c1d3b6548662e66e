/** `holdfast drill …`: a fault on purpose, the pause it makes, and the way back; and what the drills before came to (BY-11). */
import { Argument, Option, type Command } from 'commander';
import type { ControlClient } from '../api/client.ts';
import { drillKinds, type DrillKind, type DrillReport } from '../agent/drill-report.ts';
import { HoldfastError } from '../base/errors.ts';
import { clientOf, nodeVerb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import { renderDrill, renderDrills, renderStep } from './drill-text.ts';
import type { CommandStatus, Io } from './io.ts';

type DrillOptions = NodeVerbOptions & { readonly kind?: DrillKind; readonly yes?: boolean };

const lookMs = 500;
/** The node that is asked may be the one that is hurt: it may be away for so long. */
const awayMs = 300_000;

export function addDrillCommands(program: Command, { io, finish }: Building): void {
  const drill = nodeVerb(
    program,
    'drill',
    'A fault on a group marked for it: measures the pause, gives it back',
    'holdfast drill g1 --kind kill',
  )
    .argument('<group>')
    .addOption(new Option('--kind <kind>', 'what happens to its owner').choices(drillKinds))
    .option('--yes', "even where the owner's other groups are hit as well")
    .action(async (group: string, options: DrillOptions) => finish(await run(group, options, io)));

  nodeVerb(drill, 'list', 'The drills of a group, oldest first', 'holdfast drill list g1')
    .argument('<group>')
    .action(async (group: string, options: NodeVerbOptions) => {
      const list = await clientOf(options, io).listDrills({ group });
      if (options.json) return writeJson(io, list);
      io.out.write(`${[renderDrills(list.drills, io.out.colours), ...list.notes].join('\n')}\n`);
    });

  nodeVerb(drill, 'allow', 'Mark a group as fit for drills, or not', 'holdfast drill allow g1 on')
    .argument('<group>')
    .addArgument(new Argument('<when>').choices(['on', 'off']))
    .action(async (group: string, when: string, options: NodeVerbOptions) => {
      const on = when === 'on';
      await clientOf(options, io).allowDrills({ group, on });
      if (options.json) writeJson(io, { group, drills: on });
      else io.out.write(`drills of ${group} are ${on ? 'allowed' : 'refused'} now\n`);
    });
}

async function run(group: string, options: DrillOptions, io: Io): Promise<CommandStatus> {
  const { kind } = options;
  // Commander would ask for it with `list` and `allow` as well.
  if (kind === undefined) throw new HoldfastError('E_USAGE', "required option '--kind <kind>' not specified");
  const client = clientOf(options, io);
  const begun = await client.startDrill({ group, kind, yes: options.yes === true });
  if (!options.json) io.out.write(`drill ${begun.id} of ${group}, run by ${begun.node}\n`);
  const report = await follow(client, begun, options.json !== true, io);
  if (options.json) writeJson(io, report);
  else if (report.state !== 'running') io.out.write(renderDrill(report, io.out.colours));
  else io.out.write(`It goes on without this command; see: holdfast drill list ${group}\n`);
  return report.state === 'passed' || report.state === 'running' ? 0 : 1;
}

/** Until it has ended, or is not waited for any more. */
async function follow(client: ControlClient, begun: DrillReport, tell: boolean, io: Io): Promise<DrillReport> {
  let report = begun;
  let told = 0;
  let heardMs = io.wallMs();
  for (;;) {
    if (tell) for (const step of report.steps.slice(told)) io.out.write(`${renderStep(step, io.out.colours)}\n`);
    told = Math.max(told, report.steps.length);
    if (report.state !== 'running' || io.stop.aborted) return report;
    await io.pause(lookMs);
    try {
      const { drills } = await client.listDrills({ group: begun.group });
      report = drills.find(({ id }) => id === begun.id) ?? report;
      heardMs = io.wallMs();
    } catch (error) {
      const away =
        error instanceof HoldfastError && ['E_NODE_UNREACHABLE', 'E_TIMEOUT', 'E_PROTOCOL'].includes(error.code);
      if (io.stop.aborted) return report;
      if (!away || io.wallMs() - heardMs > awayMs) throw error;
    }
  }
}
