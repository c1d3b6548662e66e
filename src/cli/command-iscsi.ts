/** `holdfast iscsi …`: what is offered to iSCSI initiators, and who is logged in. */
import { InvalidArgumentError, type Command } from 'commander';
import { formatDuration, formatSize } from '../base/units.ts';
import type { IscsiSessionRow, IscsiTargetRow } from '../node/iscsi-control.ts';
import { clientOf, nodeVerb, noun, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Colours } from './io.ts';
import { renderTable } from './table.ts';

export function addIscsiCommands(program: Command, { io }: Building): void {
  const iscsi = noun(program, 'iscsi', 'iSCSI targets, and the hosts logged in to them').addHelpText(
    'after',
    '\nExample:\n  $ holdfast iscsi targets',
  );

  nodeVerb(iscsi, 'targets', 'Targets, and their access states', 'holdfast iscsi targets').action(
    async (options: NodeVerbOptions) => {
      const list = await clientOf(options, io).iscsiTargets();
      if (options.json) return writeJson(io, list);
      const shown =
        list.targets.length === 0 ? 'no node has an iSCSI portal' : renderTargets(list.targets, io.out.colours);
      io.out.write(`${[shown, ...list.notes].join('\n')}\n`);
    },
  );

  nodeVerb(iscsi, 'sessions', 'Hosts that are logged in', 'holdfast iscsi sessions').action(
    async (options: NodeVerbOptions) => {
      const list = await clientOf(options, io).iscsiSessions();
      if (options.json) return writeJson(io, list);
      const shown =
        list.sessions.length === 0 ? 'no host is logged in' : renderSessions(list.sessions, io.out.colours);
      io.out.write(`${[shown, ...list.notes].join('\n')}\n`);
    },
  );

  nodeVerb(iscsi, 'disconnect', 'End a session of a host', 'holdfast iscsi disconnect east 3')
    .argument('<node>')
    .argument('<session>', 'its number, as `iscsi sessions` gives it', readNumber)
    .action(async (node: string, session: number, options: NodeVerbOptions) => {
      await clientOf(options, io).disconnectIscsi({ node, session });
      if (options.json) writeJson(io, { node, session });
      else io.out.write(`session ${session} of ${node} has ended\n`);
    });
}

function renderTargets(targets: readonly IscsiTargetRow[], colours: Colours): string {
  const names = [...new Set(targets.map(({ target }) => target))];
  return names
    .map((name) => {
      const rows = targets.filter(({ target }) => target === name);
      const [first] = rows;
      const luns =
        first?.units.map(({ lun, volume, sizeBytes }) => `LUN ${lun} ${volume} ${formatSize(sizeBytes)}`) ?? [];
      const hosts = first?.hosts === null ? 'every host may log in' : `hosts: ${first?.hosts.join(' ') || 'none'}`;
      const table = renderTable(
        ['NODE', 'ACCESS', 'PORTAL', 'TAG', 'SESSIONS'],
        rows.flatMap((row) => {
          const portals = row.portals.length > 0 ? row.portals : [{ address: '-', tag: '-' }];
          return portals.map(({ address, tag }, index) => [
            index === 0 ? row.node : '',
            index === 0 ? (row.access === 'active' ? colours.green(row.access) : row.access) : '',
            address,
            String(tag),
            index === 0 ? String(row.sessions) : '',
          ]);
        }),
        colours,
      );
      const reasons = rows.flatMap(({ node, access, reason }) =>
        access === 'active' || access === 'standby' || reason === '' ? [] : [`${node}: ${reason}`],
      );
      return [
        colours.bold(name),
        `group ${first?.group ?? '-'}; ${luns.join(', ') || 'no volumes'}; ${hosts}`,
        table,
        ...reasons,
      ].join('\n');
    })
    .join('\n\n');
}

function renderSessions(sessions: readonly IscsiSessionRow[], colours: Colours): string {
  const rows = sessions.map((row) => [
    row.node,
    String(row.session),
    row.initiator || '-',
    row.from,
    row.kind === 'normal' ? (row.target ?? '-') : row.kind,
    formatDuration(row.ageSeconds * 1000),
    String(row.commandsInFlight),
  ]);
  return renderTable(['NODE', 'SESSION', 'HOST', 'FROM', 'TARGET', 'AGE', 'BUSY'], rows, colours);
}

function readNumber(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It should be a number.');
}
