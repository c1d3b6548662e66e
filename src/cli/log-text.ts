/** Logs as text: their state for `status` and `log list`, their history for `log show`. */
import { formatDuration, formatSize } from '../base/units.ts';
import type { LogMoment, LogMoments } from '../group/log-moments.ts';
import type { LogStatus } from '../group/status.ts';
import type { LogRow } from '../node/control.ts';
import type { Colours } from './io.ts';
import { renderTable } from './table.ts';

/** @param nowMs wall clock: the log's age is by it. */
export function renderLogs(rows: readonly LogRow[], nowMs: number, colours: Colours): string {
  const head = ['GROUP', 'NODE', 'STATE', 'USED', 'SEGMENTS', 'OLDEST', 'FULL IN'];
  const cells = rows.map(({ group, log, status }) => {
    if (log === null) return [group, '-', 'none', '-', '-', '-', '-'];
    if (status === null) return [group, '-', 'unknown', `- / ${formatSize(log.sizeBytes)}`, '-', '-', '-'];
    const { node, usedBytes, sizeBytes, segments, oldestAtMs, fullInSeconds } = status;
    const age = oldestAtMs === null ? '-' : formatDuration(Math.max(0, nowMs - oldestAtMs));
    const used = `${formatSize(usedBytes)} / ${formatSize(sizeBytes)}`;
    return [group, node, stateOf(status, colours), used, String(segments), age, timeOf(fullInSeconds)];
  });
  return renderTable(head, cells, colours);
}

/** Where they are, as far as that is not each node's default, and on its owner in any case. */
export function placeLines(rows: readonly LogRow[]): string[] {
  return rows.flatMap(({ group, log, status }) => {
    const places = { ...log?.places, ...(status && { [status.node]: status.copies.map(({ folder }) => folder) }) };
    return Object.entries(places).map(([node, folders]) => `  ${group} on ${node}: ${folders.join(', ')}`);
  });
}

/** Of those in use or in trouble; empty where all rest. */
export function renderBusyLogs(
  groups: readonly { readonly name: string; readonly log: LogStatus | null }[],
  colours: Colours,
): string {
  const rows = groups.flatMap(({ name, log }) =>
    log === null || log.state === 'idle'
      ? []
      : [
          [
            `${name} on ${log.node}`,
            stateOf(log, colours),
            `${formatSize(log.usedBytes)} of ${formatSize(log.sizeBytes)}`,
            formatSize(log.freeBytes),
            timeOf(log.fullInSeconds),
          ],
        ],
  );
  return rows.length === 0 ? '' : renderTable(['LOG', 'STATE', 'USED', 'FREE', 'FULL IN'], rows, colours);
}

function stateOf({ state }: LogStatus, colours: Colours): string {
  if (state === 'idle') return state;
  return state === 'logging' ? colours.yellow(state) : colours.red(state);
}

const timeOf = (seconds: number | null): string => (seconds === null ? '-' : formatDuration(seconds * 1000));

/** Extents, where they were asked for, stand below the epoch they belong to. */
export function renderMoments({ moments }: LogMoments, colours: Colours): string {
  const rows = moments.flatMap((moment) => [
    momentRow(moment),
    ...(moment.extents ?? []).map(({ volume, offset, length }) => [
      '',
      '',
      `${volume} at ${offset}`,
      '',
      formatSize(length),
    ]),
  ]);
  const table = renderTable(['POSITION', 'TIME', 'WHAT', 'RECORDS', 'BYTES'], rows, colours);
  const damages = moments.flatMap(({ position, reason }) =>
    reason === null ? [] : [`${colours.red('!')} damage after ${position}: ${reason}`],
  );
  return [table, ...damages].join('\n');
}

function momentRow({ kind, position, atMs, name, records, bytes }: LogMoment): string[] {
  const at = atMs === null ? '-' : formatTime(atMs);
  if (kind === 'epochEnd') return [position, at, 'end of an epoch', String(records), formatSize(bytes)];
  return [position, at, kind === 'mark' ? `mark ${name ?? ''}` : 'damage', '-', '-'];
}

/** `2026-11-20 17:06:39.123Z`: UTC, as logs of several machines are compared. */
export function formatTime(wallMs: number): string {
  return new Date(wallMs).toISOString().replace('T', ' ');
}
