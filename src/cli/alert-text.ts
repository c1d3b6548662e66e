/** Alerts and sinks as text, for `holdfast alerts list`. */
import { nameOf, type Alert } from '../alerts/alert.ts';
import { pages } from '../alerts/codes.ts';
import type { SinkStatus } from '../alerts/sink.ts';
import { formatDuration, formatTime } from '../base/units.ts';
import type { AlertList } from '../node/alert-control.ts';
import type { Colours } from './io.ts';
import { renderTable } from './table.ts';

/** A table, and below it each alert's sentence, which a table would cut. */
export function renderAlerts({ alerts }: AlertList, colours: Colours): string {
  const rows = alerts.map((alert) => [
    String(alert.number),
    levelOf(alert, colours),
    alert.code,
    nameOf(alert.component, alert.id),
    alert.group ?? '-',
    alert.node,
    formatTime(alert.firstAtMs),
    String(alert.count),
    stateOf(alert),
  ]);
  const head = ['NO', 'LEVEL', 'CODE', 'WHAT', 'GROUP', 'NODE', 'SINCE', 'SEEN', 'STATE'];
  const sentences = alerts.map(({ number, text }) => `  ${number}: ${text}`);
  return [renderTable(head, rows, colours), ...sentences].join('\n');
}

function levelOf({ level, endedAtMs }: Alert, colours: Colours): string {
  if (endedAtMs !== null) return colours.dim(level);
  return pages(level) ? colours.red(level) : level === 'MODERATE' ? colours.yellow(level) : level;
}

function stateOf({ endedAtMs, acknowledged }: Alert): string {
  const state = endedAtMs === null ? 'open' : `over ${formatTime(endedAtMs)}`;
  return acknowledged === null ? state : `${state}, acknowledged by ${acknowledged.by}`;
}

/** @param nowMs wall clock. */
export function renderSinks(sinks: readonly SinkStatus[], nowMs: number, colours: Colours): string {
  if (sinks.length === 0) return 'no sinks: alerts go to the log of the node only';
  const ago = (atMs: number | null): string => (atMs === null ? '-' : formatDuration(Math.max(0, nowMs - atMs)));
  const rows = sinks.map((sink) => [
    sink.name,
    sink.kind,
    sink.state === 'ok' ? colours.green('ok') : colours.red('failing'),
    String(sink.sent),
    String(sink.queued),
    String(sink.heldBack),
    sink.lastSentAtMs === null ? '-' : formatTime(sink.lastSentAtMs),
    sink.nextTryAtMs === null ? '-' : formatTime(sink.nextTryAtMs),
  ]);
  const head = ['SINK', 'KIND', 'STATE', 'SENT', 'QUEUED', 'HELD BACK', 'LAST SENT', 'NEXT TRY'];
  const problems = sinks.flatMap(({ name, problem, failingSinceMs }) =>
    problem === null ? [] : [`${colours.yellow('!')} ${name} fails since ${ago(failingSinceMs)}: ${problem}`],
  );
  return [renderTable(head, rows, colours), ...problems].join('\n');
}
