/** `holdfast log …`: where groups keep their history while a target is away, and afterwards. */
import { InvalidArgumentError, type Command } from 'commander';
import { logMomentsMax } from '../api/schemas.ts';
import { HoldfastError } from '../base/errors.ts';
import { formatSize, parseDurationMs } from '../base/units.ts';
import { logBytesMax, logRetentionMsMax } from '../node/configuration-schema.ts';
import { logBytesMin } from '../store/document.ts';
import {
  clientOf,
  collectPairs,
  nodeVerb,
  noun,
  readSize,
  readWhole,
  writeJson,
  type Building,
  type NodeVerbOptions,
} from './command.ts';
import type { Io } from './io.ts';
import { formatTime, placeLines, renderLogs, renderMoments } from './log-text.ts';

type Place = readonly [node: string, paths: string];

interface RetentionOptions extends NodeVerbOptions {
  readonly retention?: number;
  readonly retentionSize?: number;
}

interface ShowOptions extends NodeVerbOptions {
  readonly after?: string;
  readonly limit: number;
  readonly extents?: boolean;
}

const placeForm = 'NODE=PATH[,PATH], such as west=/fast/log';
const readLogSize = readSize(logBytesMin, logBytesMax, '8GiB');

export function addLogCommands(program: Command, { io }: Building): void {
  const log = noun(program, 'log', 'Logs: what targets that are away will need').addHelpText(
    'after',
    '\nExample:\n  $ holdfast log list',
  );
  addListing(log, io);
  addChanges(log, io);
  addHistory(log, io);
}

function addListing(log: Command, io: Io): void {
  nodeVerb(log, 'list', 'All groups and their logs', 'holdfast log list').action(async (options: NodeVerbOptions) => {
    const rows = await clientOf(options, io).listLogs();
    if (options.json) return writeJson(io, rows);
    const reasons = rows.flatMap(({ group, status }) =>
      status?.reason == null ? [] : [`${io.out.colours.yellow('!')} log of ${group}: ${status.reason}`],
    );
    const table = renderLogs(rows, io.wallMs(), io.out.colours);
    io.out.write(`${[table, ...placeLines(rows), ...reasons].join('\n')}\n`);
  });
}

function addChanges(log: Command, io: Io): void {
  retentionOptions(nodeVerb(log, 'create', 'Give a group a log', 'holdfast log create g1 --size 8GiB'))
    .argument('<group>')
    .requiredOption('--size <size>', 'at each node, such as 1GiB or 500GiB', readLogSize)
    .option(
      '--place <node=path>',
      'a folder or device there, or two, parted by a comma, on different disks; repeatable',
      collectPairs('=', placeForm),
    )
    .action(async (group: string, options: RetentionOptions & { size: number; place?: readonly Place[] }) => {
      const places: Record<string, string[]> = {};
      for (const [node, paths] of options.place ?? []) (places[node] ??= []).push(...paths.split(','));
      const request = { group, sizeBytes: options.size, places, ...retentionIn(options) };
      await clientOf(options, io).createLog(request);
      tell(io, options, request, `group ${group} has a log of ${formatSize(options.size)} now`);
    });

  nodeVerb(log, 'assign', 'Say where it is on a node; it moves there', 'holdfast log assign g1 west=/fast/log')
    .argument('<group>')
    .argument('<node=path>', 'a folder or device there, or two, parted by a comma', (text) =>
      collectPairs('=', placeForm)(text),
    )
    .action(async (group: string, [[node, paths] = ['', '']]: readonly Place[], options: NodeVerbOptions) => {
      const request = { group, node, folders: paths.split(',') };
      await clientOf(options, io).assignLog(request);
      tell(io, options, request, `log of ${group} on ${node}: in ${request.folders.join(' and ')} from now on`);
    });

  nodeVerb(log, 'grow', 'Make it larger; smaller, too, while that much is free', 'holdfast log grow g1 --size 16GiB')
    .argument('<group>')
    .requiredOption('--size <size>', 'at each node, such as 1GiB or 500GiB', readLogSize)
    .action(async (group: string, options: NodeVerbOptions & { size: number }) => {
      const request = { group, sizeBytes: options.size };
      await clientOf(options, io).setLogSize(request);
      tell(io, options, request, `log of ${group}: ${formatSize(options.size)} from now on`);
    });

  retentionOptions(nodeVerb(log, 'set', 'Say what it keeps as history', 'holdfast log set g1 --retention 24h'))
    .argument('<group>')
    .action(async (group: string, options: RetentionOptions) => {
      const request = { group, ...retentionIn(options) };
      if (Object.keys(request).length === 1) {
        throw new HoldfastError('E_USAGE', 'say what to set: --retention, --retention-size, or both');
      }
      await clientOf(options, io).setLogRetention(request);
      tell(io, options, request, `log of ${group}: what it keeps was changed`);
    });

  nodeVerb(log, 'remove', 'Take the log, and the history in it, from a group', 'holdfast log remove g1')
    .argument('<group>')
    .option('--force', 'even while a target needs it, which is then resynced')
    .action(async (group: string, options: NodeVerbOptions & { force?: boolean }) => {
      await clientOf(options, io).removeLog({ group, force: options.force === true });
      tell(io, options, { group, removed: true }, `log of ${group} removed`);
    });
}

function addHistory(log: Command, io: Io): void {
  nodeVerb(log, 'show', 'What it holds: ends of epochs, bookmarks, damage', 'holdfast log show g1 --limit 20')
    .argument('<group>')
    .option('--after <position>', 'only what comes later than GENERATION:NUMBER', readPosition)
    .option('--limit <number>', 'at most so many', readWhole(1, logMomentsMax), 100)
    .option('--extents', 'with the places that each epoch wrote to')
    .action(async (group: string, options: ShowOptions) => {
      const { after, limit } = options;
      const request = { group, limit, extents: options.extents === true, ...(after === undefined ? {} : { after }) };
      const answer = await clientOf(options, io).logMoments(request);
      if (options.json) return writeJson(io, answer);
      const last = answer.moments.at(-1)?.position;
      const more = answer.more && last !== undefined ? `more: holdfast log show ${group} --after ${last}\n` : '';
      if (last === undefined) io.out.write(`the log of ${group} holds nothing${after ? ` after ${after}` : ''}\n`);
      else io.out.write(`${renderMoments(answer, io.out.colours)}\n${more}`);
    });

  nodeVerb(log, 'mark', 'Set a bookmark among the writes', 'holdfast log mark g1 before-upgrade')
    .argument('<group>')
    .argument('<name>', 'what to call the moment')
    .action(async (group: string, name: string, options: NodeVerbOptions) => {
      const mark = await clientOf(options, io).markLog({ group, name });
      const where = `after ${mark.position}, ${formatTime(mark.atMs)}`;
      tell(io, options, { group, name, ...mark }, `bookmark ${name} set in the log of ${group} ${where}`);
    });
}

const retentionOptions = (command: Command): Command =>
  command
    .option('--retention <time>', 'how long to keep what no target needs, such as 24h', readRetention)
    .option(
      '--retention-size <size>',
      'but not more than this; default a quarter of it',
      readSize(0, logBytesMax, '2GiB'),
    );

const retentionIn = ({ retention, retentionSize }: RetentionOptions) => ({
  ...(retention === undefined ? {} : { retentionMs: retention }),
  ...(retentionSize === undefined ? {} : { retentionBytes: retentionSize }),
});

function tell(io: Io, { json }: NodeVerbOptions, what: unknown, sentence: string): void {
  if (json) writeJson(io, what);
  else io.out.write(`${sentence}\n`);
}

function readRetention(text: string): number {
  const ms = parseDurationMs(text);
  if (ms !== null && ms <= logRetentionMsMax) return ms;
  throw new InvalidArgumentError('It should be a time up to 365d, such as 24h or 7d.');
}

function readPosition(text: string): string {
  if (/^\d+:\d+$/.test(text)) return text;
  throw new InvalidArgumentError('It should be a position such as 3:1041, as log show gives it.');
}
