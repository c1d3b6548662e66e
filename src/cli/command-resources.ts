/** `holdfast group resources|check`: what runs on a group, and whether its data was found good. */
import type { Command } from 'commander';
import type { CheckStatus, ResourcesStatus } from '../node/resource-status.ts';
import { clientOf, nodeVerb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Io } from './io.ts';
import { formatTime } from './log-text.ts';
import { renderTable } from './table.ts';

export function addResourceVerbs(group: Command, { io, finish }: Building): void {
  nodeVerb(
    group,
    'resources',
    'What moves with a group: state and output of its addresses and applications',
    'holdfast group resources g1',
  )
    .argument('<group>')
    .option('--start', 'start what is not running')
    .option('--output', 'with the end of what their commands wrote')
    .action(async (name: string, options: NodeVerbOptions & { start?: boolean; output?: boolean }) => {
      const client = clientOf(options, io);
      const status = await (options.start
        ? client.startResources({ group: name })
        : client.groupResources({ group: name }));
      if (options.json) writeJson(io, status);
      else tellResources(io, status, options.output === true);
      if (options.start && status.state !== 'running') finish(1);
    });

  nodeVerb(
    group,
    'check',
    'The integrity check after the last take-over, and whether hosts are kept out',
    'holdfast group check g1',
  )
    .argument('<group>')
    .option('--again', 'run it again; hosts are let in when it finds nothing wrong')
    .option('--serve', 'let hosts in, whatever it found')
    .action(async (name: string, options: NodeVerbOptions & { again?: boolean; serve?: boolean }) => {
      const { again = false, serve = false } = options;
      const status = await clientOf(options, io).groupCheck({ group: name, again, serve });
      if (options.json) writeJson(io, status);
      else tellCheck(io, status);
      if (status.withheld !== null) finish(1);
    });
}

function tellResources(io: Io, { group, node, state, problem, resources }: ResourcesStatus, output: boolean): void {
  const { out } = io;
  const lines = [`resources of ${group} at ${node}: ${state}${problem === null ? '' : `: ${problem}`}`];
  if (resources.length > 0) {
    const rows = resources.map(({ kind, name, state: its }) => [name, kind, its]);
    lines.push(renderTable(['RESOURCE', 'KIND', 'STATE'], rows, out.colours));
  }
  for (const { name, problem: its } of resources)
    if (its !== null) lines.push(`${out.colours.yellow('!')} ${name}: ${its}`);
  if (output)
    for (const { name, output: text } of resources)
      if (text !== '') lines.push(out.colours.dim(`${name}:`), text.trimEnd());
  out.write(`${lines.join('\n')}\n`);
}

function tellCheck(io: Io, { group, node, atMs, state, problem, output, withheld }: CheckStatus): void {
  const when = atMs === null ? '' : `, ${formatTime(atMs)}`;
  const found = {
    none: `no integrity check of ${group} was needed since ${node} was started`,
    running: `integrity check of ${group} at ${node}: running${when}`,
    ok: `integrity check of ${group} at ${node}: nothing wrong${when}`,
    failed: `integrity check of ${group} at ${node}: failed${when}: ${problem ?? ''}`,
  }[state];
  const lines = [found, ...(output === '' ? [] : [output.trimEnd()])];
  lines.push(withheld === null ? 'hosts are not kept out' : `hosts are kept out: ${withheld}`);
  io.out.write(`${lines.join('\n')}\n`);
}
