/**
 * The cluster's state as text: tables for the eye (`renderStatus`), and one line per group for logs and pipes
 * (`summarize`). Says only what the status says; reasons and next steps are never left out.
 */
import { formatDuration, formatRate, formatSize } from '../base/units.ts';
import type { ClusterStatus, CopyProgress, GroupStatus, LegStatus } from '../group/status.ts';
import { defaultApi } from './command.ts';
import type { Colours } from './io.ts';
import { renderBusyLogs } from './log-text.ts';
import { renderTable } from './table.ts';

/** How the reader would ask the node that gave the answer: next steps are commands to copy. */
export interface Asking {
  readonly program: string;
  readonly api: string;
}

const commandPattern =
  /\bholdfast ((?:why|(?:group|mirror|log) [a-z-]+) \w[\w.-]*\b(?: --(?:to|node|size) \w[\w.-]*\b)?)/g;

/** A next step with its command completed: without an address it would ask the default node, which may be the dead one. */
export function completed(nextStep: string, { program, api }: Asking): string {
  const address = api === defaultApi ? '' : ` --api ${api}`;
  return nextStep.replace(commandPattern, `${program} $1${address}`);
}

export function renderStatus(status: ClusterStatus, asking: Asking, colours: Colours): string {
  const blocks = [
    `cluster ${colours.bold(status.cluster)}, as ${status.answeredBy} sees it`,
    renderTable(
      ['NODE', 'SITE', 'STATE', 'LEASE', 'LINKS', 'PID', 'VERSION'],
      status.nodes.map((node) => {
        const up = node.connections.filter((connection) => connection.state === 'up').length;
        return [
          node.name,
          node.site,
          node.state === 'up' ? colours.green('up') : colours.red(node.state),
          node.lease === 'lapsed' ? colours.red('lapsed') : node.lease,
          node.connections.length === 0 ? '-' : `${up} of ${node.connections.length} up`,
          node.pid === null ? '-' : String(node.pid),
          node.version ?? '-',
        ];
      }),
      colours,
    ),
  ];
  if (status.groups.length > 0) {
    blocks.push(
      renderTable(
        ['GROUP', 'OWNER', 'SERVICE', 'GENERATION', 'READ', 'WRITE'],
        status.groups.map((group) => [
          group.name,
          group.owner ?? '-',
          group.service === 'Serving' ? colours.green(group.service) : colours.yellow(group.service),
          String(group.generation),
          formatRate(group.throughput.readBytes),
          formatRate(group.throughput.writeBytes),
        ]),
        colours,
      ),
      renderTable(
        ['COPY', 'ROLE', 'DISK', 'MODE', 'REPLICATION', 'LAG'],
        status.groups.flatMap((group) => group.legs.map((leg) => legRow(group, leg, colours))),
        colours,
      ),
      renderTable(
        ['VOLUME', 'GROUP', 'SIZE', 'EXPORT'],
        status.groups.flatMap((group) =>
          group.volumes.flatMap((volume) =>
            exportsShown(volume.exports).map((at, index) =>
              index === 0 ? [volume.name, group.name, formatSize(volume.sizeBytes), at] : ['', '', '', at],
            ),
          ),
        ),
        colours,
      ),
    );
    const logs = renderBusyLogs(status.groups, colours);
    if (logs !== '') blocks.push(logs);
  }
  const findings = [...progressLines(status), ...findingLines(status, asking, colours)];
  if (findings.length > 0) blocks.push(findings.join('\n'));
  return `${blocks.join('\n\n')}\n`;
}

/** Of iSCSI the target and the LUN, once: its portals are the same for all volumes (`holdfast iscsi targets`). */
function exportsShown(exports: readonly string[]): readonly string[] {
  const shown = exports.map((at) => at.replace(/^iscsi:\/\/[^/]+\/([^/]+)\/(\d+)$/, '$1 LUN $2'));
  return shown.length > 0 ? [...new Set(shown)] : ['-'];
}

function legRow(group: GroupStatus, leg: LegStatus, colours: Colours): string[] {
  return [
    `${group.name} on ${leg.node}`,
    leg.role,
    leg.disk === 'UpToDate' ? colours.green(leg.disk) : colours.yellow(leg.disk),
    leg.mode,
    replicationOf(leg),
    leg.role === 'Primary' ? '-' : isBehind(leg) ? ageOf(leg) : lagOf(leg),
  ];
}

/** The replication where there is one, else why there is none. */
export function replicationOf(leg: LegStatus): string {
  if (leg.replication === null) return '-';
  return leg.replication === 'Off' && leg.connection !== null ? leg.connection : leg.replication;
}

export function lagOf({ lag }: LegStatus): string {
  if (lag.writes === null && lag.bytes === null && lag.seconds === null) return 'unknown';
  if (lag.writes === 0 && lag.bytes === 0) return 'none';
  const parts = [
    lag.writes === null ? null : `${lag.writes} writes`,
    lag.bytes === null ? null : formatSize(lag.bytes),
    lag.seconds === null ? null : formatDuration(lag.seconds * 1000),
  ];
  return parts.filter((part) => part !== null).join(', ');
}

/** What it lacks is in the log: more than fits into a table. */
const isBehind = ({ replication }: LegStatus): boolean => replication === 'Logging' || replication === 'Merging';

/** Its age where that is known, which says most. */
function ageOf(leg: LegStatus): string {
  const { seconds, bytes } = leg.lag;
  return seconds !== null ? formatDuration(seconds * 1000) : bytes !== null ? formatSize(bytes) : lagOf(leg);
}

function progressLines(status: ClusterStatus): string[] {
  return status.groups.flatMap((group) => group.legs.flatMap((leg) => legProgress(group, leg)));
}

/** How far a copy or merge is, and of a leg that the log serves how far behind it is. */
function legProgress(group: GroupStatus, leg: LegStatus): string[] {
  const where = `  ${group.name} to ${leg.node}: `;
  const bar = leg.progress === null ? [] : [`${where}${renderProgress(leg.progress, 16)}`];
  if (leg.replication === null || !isBehind(leg)) return bar;
  const distance = `${lagOf(leg)} behind`;
  return bar.length > 0 ? [...bar, `    ${distance}`] : [`${where}${leg.replication.toLowerCase()}  ${distance}`];
}

/** `full copy  ██████░░░░  60 %  120 MiB/s  3 s left`; without a bar the amounts instead. */
export function renderProgress(progress: CopyProgress, barLength: number): string {
  const share = progress.totalBytes === 0 ? 1 : Math.min(1, progress.doneBytes / progress.totalBytes);
  const filled = Math.floor(share * barLength);
  const words = [
    progress.kind === 'fullCopy' ? 'full copy' : progress.kind,
    barLength > 0
      ? '█'.repeat(filled) + '░'.repeat(barLength - filled)
      : `${formatSize(progress.doneBytes)} of ${formatSize(progress.totalBytes)}`,
    `${Math.floor(share * 100)} %`,
    formatRate(progress.bytesPerSecond),
    progress.secondsLeft === null ? 'time left unknown' : `${formatDuration(progress.secondsLeft * 1000)} left`,
  ];
  return words.join('  ');
}

/** Everything that is not normal: what, why, and what to do. */
export function findingLines(status: ClusterStatus, asking: Asking, colours: Colours): string[] {
  const lines: string[] = [];
  const add = (subject: string, reason: string | null, nextStep: string | null): void => {
    if (reason !== null) lines.push(`${colours.yellow('!')} ${subject}: ${reason}`);
    if (nextStep !== null) lines.push(`  ${colours.dim('→')} ${completed(nextStep, asking)}`);
  };
  for (const node of status.nodes) add(node.name, node.reason, node.nextStep);
  for (const group of status.groups) {
    add(group.name, group.reason, group.nextStep);
    for (const leg of group.legs) add(`${group.name} on ${leg.node}`, leg.reason, leg.nextStep);
    if (group.log !== null) {
      const log = `log of ${group.name} on ${group.log.node}`;
      add(log, group.log.reason, group.log.nextStep);
      for (const { folder, problem } of group.log.copies) {
        if (problem !== null) add(log, `the copy in ${folder} is not used: ${problem}`, null);
      }
    }
    for (const fork of group.forks) {
      const kept = fork.image === null ? '' : `; what was overwritten is kept in ${fork.image}`;
      const what = `history of generation ${fork.generation} given up, ${formatSize(fork.bytes)} in ${fork.extents} extents`;
      add(`${group.name} on ${fork.node}`, `${what}${kept}`, null);
    }
  }
  // What a node that cannot be reached has been said of it already.
  const told = status.nodes.flatMap(({ reason }) => reason ?? []);
  for (const note of status.notes) {
    if (!told.some((reason) => note.endsWith(reason))) lines.push(`${colours.yellow('!')} ${note}`);
  }
  return lines;
}

/** One line per group, without anything that changes by itself: equal lines mean nothing has happened. */
export function summarize(status: ClusterStatus): string[] {
  return status.groups.map((group) => {
    const legs = group.legs
      .filter((leg) => leg.role === 'Secondary')
      .map((leg) => `${leg.node} ${leg.disk} ${replicationOf(leg)}`);
    const owner = group.owner === null ? 'no owner' : `owner ${group.owner}`;
    return `${group.name}: ${[`${group.service}, ${owner}, generation ${group.generation}`, ...legs].join('; ')}`;
  });
}

/** The rest of a group's line: what does change by itself. */
export function activityOf(group: GroupStatus): string {
  const lags = group.legs.filter((leg) => leg.role === 'Secondary').map((leg) => `lag of ${leg.node} ${lagOf(leg)}`);
  const rates = `read ${formatRate(group.throughput.readBytes)}, write ${formatRate(group.throughput.writeBytes)}`;
  return `${group.name}: ${[rates, ...lags].join(', ')}`;
}
