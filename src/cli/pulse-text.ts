/** The pulse as text: who hears whom by which channel, and the heartbeat status tables. */
import { formatDuration } from '../base/units.ts';
import type { PulseTableRow } from '../node/pulse-control.ts';
import type { PulseStatus } from '../pulse/service.ts';
import type { Enable, Hearing } from '../pulse/snapshot.ts';
import type { StatusTable } from '../pulse/status-table.ts';
import type { Colours } from './io.ts';
import { formatTime } from './log-text.ts';
import { renderTable } from './table.ts';

export function renderPulse(status: PulseStatus, colours: Colours): string {
  const { snapshot, intervalMs, timeoutMs } = status;
  const rows = snapshot.peers.flatMap((peer) =>
    peer.heard.map(({ channel, enable, hearing, silentMs }) => [
      peer.node,
      channel,
      enableText(enable, colours),
      hearingText(hearing, colours),
      silentMs === null ? 'never' : `${formatDuration(silentMs)} ago`,
    ]),
  );
  const times = `every ${formatDuration(intervalMs)}, silent after ${formatDuration(timeoutMs)}`;
  const masters = Object.entries(snapshot.masters).map(([site, master]) => `${site}: ${master ?? 'nobody'}`);
  return [
    `pulse of ${colours.bold(snapshot.node)}: ${times}; masters: ${masters.join(', ')}`,
    renderTable(['NODE', 'CHANNEL', 'USE', 'HEARD', 'LAST'], rows, colours),
    renderTable(
      ['CHANNEL', 'DEVICE', 'SENT'],
      status.channels.map(({ id, device, sent }) => [id, device, String(sent)]),
      colours,
    ),
    ...renderPaths(status, colours),
    ...renderRefused(status, colours),
    ...notesOf(status, colours),
  ].join('\n\n');
}

/** Where a node has several addresses: how each of them is. */
function renderPaths({ channels }: PulseStatus, colours: Colours): string[] {
  const paths = channels.flatMap((channel) => channel.paths);
  if (new Set(paths.map(({ node }) => node)).size === paths.length) return [];
  const rows = paths.map(({ node, address, silentMs }) => [
    node,
    address,
    silentMs === null ? 'never' : `${formatDuration(silentMs)} ago`,
  ]);
  return [renderTable(['NODE', 'ADDRESS', 'LAST'], rows, colours)];
}

function renderRefused({ refused }: PulseStatus, colours: Colours): string[] {
  const rows = Object.entries(refused).flatMap(([from, counts]) =>
    Object.entries(counts).flatMap(([reason, number]) => (number > 0 ? [[from, reason, String(number)]] : [])),
  );
  return rows.length === 0 ? [] : [renderTable(['FROM', 'REFUSED AS', 'MESSAGES'], rows, colours)];
}

function notesOf({ snapshot, channels, waiting }: PulseStatus, colours: Colours): string[] {
  const notes = channels.flatMap(({ id, fault }) => (fault === null ? [] : [`${id}: ${fault}`]));
  if (snapshot.muted !== null) notes.unshift(`this node sends no heartbeats: ${snapshot.muted}`);
  for (const [node, count] of Object.entries(waiting)) {
    if (count > 0) notes.push(`${node} has not confirmed ${count} message${count === 1 ? '' : 's'} yet`);
  }
  return notes.length === 0 ? [] : [notes.map((note) => `${colours.yellow('!')} ${note}`).join('\n')];
}

/** HM-5. */
export function renderTables(rows: readonly PulseTableRow[], colours: Colours): string {
  return rows
    .map((row) => {
      const { node, site, isMaster, table, seenAtMs, problem } = row;
      const title = `${colours.bold(node)} at ${site}${isMaster ? ', master' : ''}`;
      const seen = seenAtMs === null ? '' : `; as it was seen at ${formatTime(seenAtMs)}`;
      const lines = [title];
      if (table !== null) lines.push(renderStatusTable(table, colours));
      if (problem !== null) lines.push(`${colours.yellow('!')} ${node} could not be asked: ${problem}${seen}`);
      return lines.join('\n');
    })
    .join('\n\n');
}

export function renderStatusTable({ network, mirrors, list }: StatusTable, colours: Colours): string {
  const side = (name: string, { enable, remote }: StatusTable['network']): string[] => [
    name,
    enableText(enable, colours),
    remote === null ? '-' : remote === 'ALIVE' ? colours.green(remote) : colours.red(remote),
    '',
  ];
  const entries = list.flatMap((row) => (row === null ? [] : [row]));
  const rows = [
    side('network', network),
    side('mirrors', mirrors),
    ...entries.map(({ name, direction, device, status }) => [
      `${direction === 'send' ? 'to' : 'from'} the other site by ${name}`,
      enableText(status, colours),
      '',
      device,
    ]),
  ];
  const vacant = list.length - entries.length;
  return `${renderTable(['PATH', 'STATUS', 'REMOTE GROUP', 'DEVICE'], rows, colours)}\n${vacant} entries NULL`;
}

function enableText(enable: Enable, colours: Colours): string {
  if (enable === 'ENABLE') return colours.green(enable);
  return enable === 'FAILED' ? colours.red(enable) : colours.yellow(enable);
}

function hearingText(hearing: Hearing, colours: Colours): string {
  if (hearing === 'alive') return colours.green(hearing);
  return hearing === 'silent' ? colours.red(hearing) : colours.yellow(hearing);
}
