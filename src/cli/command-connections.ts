/** `holdfast node connections`: the connection table of a node, or of all (IM-4). */
import type { Command } from 'commander';
import { HoldfastError } from '../base/errors.ts';
import { formatDuration } from '../base/units.ts';
import type { ConnectionEntry, NodeStatus } from '../group/status.ts';
import { clientOf, nodeVerb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Colours } from './io.ts';
import { renderTable } from './table.ts';

export function addConnections(node: Command, { io }: Building): void {
  nodeVerb(
    node,
    'connections',
    'Connections of nodes to each other, what they carry, and whether heartbeats have marked them down',
    'holdfast node connections east',
  )
    .argument('[node]', 'whose; default: all')
    .action(async (name: string | undefined, options: NodeVerbOptions) => {
      const { nodes } = await clientOf(options, io).status();
      const shown = nodes.filter((each) => name === undefined || each.name === name);
      if (name !== undefined && shown.length === 0)
        throw new HoldfastError('E_NOT_FOUND', `there is no node ${name}`);
      if (options.json)
        writeJson(
          io,
          shown.map(({ name: node, connections }) => ({ node, connections })),
        );
      else io.out.write(`${shown.map((each) => renderConnections(each, io.out.colours)).join('\n\n')}\n`);
    });
}

function renderConnections({ name, connections, reason }: NodeStatus, colours: Colours): string {
  if (connections.length === 0) return `${colours.bold(name)}: no connections${reason === null ? '' : `: ${reason}`}`;
  const rows = connections.map((each) => [
    each.peer,
    `${each.direction} ${each.index}`,
    each.remote,
    each.state === 'up' ? colours.green('up') : colours.red(each.state),
    markWords(each),
    each.lastHeardSecondsAgo === null ? '-' : `${formatDuration(each.lastHeardSecondsAgo * 1000)} ago`,
    each.groups.length === 0 ? '-' : each.groups.join(' '),
  ]);
  const table = renderTable(['PEER', 'SET', 'ADDRESS', 'STATE', 'HEARTBEATS', 'HEARD', 'GROUPS'], rows, colours);
  const why = connections.flatMap((each) =>
    each.reason === null ? [] : [`${each.peer} ${each.direction} ${each.index}: ${each.reason}`],
  );
  return [`connections of ${colours.bold(name)}`, table, ...why].join('\n');
}

function markWords({ mark, probationSecondsLeft }: ConnectionEntry): string {
  switch (mark) {
    case 'unknown':
      return '-';
    case 'up':
    case 'down':
      return mark;
    case 'probation':
      return `probation, ${formatDuration((probationSecondsLeft ?? 0) * 1000)} left`;
  }
}
