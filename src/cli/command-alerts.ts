/** `holdfast alerts …`: what is wrong, who is told of it by what, and that somebody sees to it. */
import { InvalidArgumentError, Option, type Command } from 'commander';
import { alertLevels } from '../alerts/codes.ts';
import type { AlertLevel } from '../pulse/indication.ts';
import { renderAlerts, renderSinks } from './alert-text.ts';
import { clientOf, nodeVerb, noun, writeJson, type Building, type NodeVerbOptions } from './command.ts';

interface TestOptions extends NodeVerbOptions {
  readonly sink?: string;
  readonly level?: AlertLevel;
  readonly by: string;
}

export function addAlertCommands(program: Command, { io, finish }: Building): void {
  const alerts = noun(program, 'alerts', 'What is wrong, and who is told of it').addHelpText(
    'after',
    '\nExample:\n  $ holdfast alerts list',
  );

  nodeVerb(alerts, 'list', 'Alerts that are open or new, and the sinks that tell them', 'holdfast alerts list')
    .option('--all', 'with all that is over, as far back as is kept')
    .action(async (options: NodeVerbOptions & { all?: boolean }) => {
      const list = await clientOf(options, io).listAlerts({ all: options.all === true });
      if (options.json) return writeJson(io, list);
      const { colours } = io.out;
      const nothing = options.all ? 'there has been no alert' : 'no alert is open';
      const shown =
        list.alerts.length === 0 ? `${colours.green(nothing)} at ${list.node}` : renderAlerts(list, colours);
      io.out.write(`${[shown, renderSinks(list.sinks, io.wallMs(), colours)].join('\n\n')}\n`);
    });

  nodeVerb(alerts, 'test', 'Send a test by all sinks of the node asked, or one', 'holdfast alerts test')
    .option('--sink <name>', 'only by this one')
    .addOption(new Option('--level <level>', 'default: the worst that a sink takes').argParser(readLevel))
    .addOption(byOption())
    .action(async ({ sink, level, by, ...options }: TestOptions) => {
      const request = { by, ...(sink === undefined ? {} : { sink }), ...(level === undefined ? {} : { level }) };
      const results = await clientOf(options, io).testAlerts(request);
      if (results.some(({ outcome }) => outcome !== 'sent')) finish(1);
      if (options.json) return writeJson(io, results);
      if (results.length === 0) return io.out.write('there are no sinks; alerts go to the log of the node only\n');
      const lines = results.map(({ sink: name, outcome, detail }) => {
        const colour = outcome === 'sent' ? io.out.colours.green : io.out.colours.red;
        return `${name}: ${colour(outcome)}, ${detail}`;
      });
      io.out.write(`${lines.join('\n')}\n`);
    });

  nodeVerb(
    alerts,
    'ack',
    'Say that somebody sees to it: it is not told again before it is over',
    'holdfast alerts ack 12',
  )
    .argument('<numbers...>', 'of the alerts, as `alerts list` of the same node gives them, or all', readNumber)
    .option('--end', 'declare them over, which only you can know')
    .addOption(byOption())
    .action(async (words: readonly (number | 'all')[], options: NodeVerbOptions & { end?: boolean; by: string }) => {
      const given = words.filter((word) => word !== 'all');
      const numbers = given.length < words.length ? 'all' : given;
      const request = { numbers, by: options.by, end: options.end === true } as const;
      const { alerts: done, notes } = await clientOf(options, io).acknowledgeAlerts(request);
      if (options.json) return writeJson(io, { alerts: done, notes });
      const lines = done.map(
        ({ number, code, id }) => `alert ${number}, ${code}: ${id}, is acknowledged by ${options.by}`,
      );
      if (done.length === 0) lines.push('there is nothing to acknowledge');
      io.out.write(`${[...lines, ...notes].join('\n')}\n`);
    });
}

const byOption = (): Option => new Option('--by <name>', 'who you are').env('USER').default('somebody');

function readLevel(text: string): AlertLevel {
  const level = alertLevels.find((one) => one === text.toUpperCase());
  if (level !== undefined) return level;
  throw new InvalidArgumentError(`It should be one of ${alertLevels.map((one) => `"${one}"`).join(', ')}.`);
}

function readNumber(text: string, before: readonly (number | 'all')[] = []): readonly (number | 'all')[] {
  if (text === 'all') return [...before, text];
  if (/^[1-9]\d{0,14}$/.test(text)) return [...before, Number(text)];
  throw new InvalidArgumentError('It should be the number of an alert, or all.');
}
