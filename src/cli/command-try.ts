/**
 * `holdfast try`: a pair on this machine, two child processes, with what to try and what happens. A node that dies stays
 * dead until the user starts it again: seeing that is what the pair is for.
 */
import { fileURLToPath } from 'node:url';
import { Option, type Command } from 'commander';
import { connectToApi } from '../api/client.ts';
import { formatAddress } from '../base/network.ts';
import type { ClusterStatus } from '../group/status.ts';
import { defaultApi, readWhole, verb, type Building } from './command.ts';
import type { CommandStatus, Io } from './io.ts';
import { LiveArea } from './live-area.ts';
import { activityOf, findingLines, renderStatus, summarize, type Asking } from './status-text.ts';
import { TryNode } from './try-node.ts';
import { defaultFolder, portBaseMax, preparePair, startCommand, type Pair, type PairOptions } from './try-pair.ts';
import { renderNextSteps } from './try-text.ts';

export interface TryOptions extends PairOptions {
  readonly live: boolean;
  readonly json?: boolean;
}

const startIntervalMs = 200;
const viewIntervalMs = 1000;
const activityIntervalMs = 10_000;
/** For one question to one node of the pair; a stopped process would otherwise freeze the view. */
const answerPatienceMs = 2000;
const logLinesShown = 12;

export function addTryCommand(program: Command, { io, finish }: Building): void {
  verb(
    program,
    'try',
    'Run a mirrored pair on this machine, to look at and to hurt',
    'holdfast try --dir ./holdfast-data --port-base 20000',
  )
    .option('--dir <folder>', 'where data, configuration and logs are kept', defaultFolder)
    .addOption(
      new Option(
        '--port-base <port>',
        'ports from here: NBD +0 +1, control API +2 +3, replication and heartbeats +6 to +9 (default: 10809, 8009, 10815 and one more each)',
      ).argParser(readWhole(1, portBaseMax)),
    )
    .addOption(new Option('--only <node>', 'only this one of the two').choices(['east', 'west']))
    .option('--no-live', 'plain lines instead of a live view')
    .action(async (options: TryOptions) => {
      finish(await runTry(options, io, fileURLToPath(new URL('../../bin/holdfast.js', import.meta.url))));
    });
}

/** @param program what the nodes are run with. */
export async function runTry(options: TryOptions, io: Io, program: string): Promise<CommandStatus> {
  const pair = await preparePair(options);
  const nodes = pair.nodes.map(({ name }) => new TryNode(pair, name, program));
  let status: CommandStatus = 1;
  try {
    if (await waitUntilReady(pair, nodes, options, io)) {
      const isLost = await watch(pair, nodes, options, io);
      status = isLost ? 1 : 0;
    } else status = io.stop.aborted ? 0 : 1;
  } finally {
    if (!options.json && nodes.some((node) => node.ending === null)) io.out.write('stopping …\n');
    const ends = await Promise.all(nodes.map((node) => node.stop()));
    if (ends.includes(false)) status = 1;
  }
  return status;
}

/** True when there is something to show; false when a node failed to start, or the user has had enough. */
async function waitUntilReady(pair: Pair, nodes: readonly TryNode[], options: TryOptions, io: Io): Promise<boolean> {
  if (!options.json) {
    const started = nodes.map((node) => `${node.name} (pid ${node.pid}, log ${node.logFile})`).join('\n         ');
    io.out.write(`starting ${started}\n`);
  }
  const area = new LiveArea(io.out);
  const isDrawn = options.live && io.out.isTerminal && !options.json;
  let told = '';
  for (; !io.stop.aborted; await io.pause(startIntervalMs)) {
    const failed = nodes.find((node) => node.ending !== null);
    if (failed) {
      if (isDrawn) area.clear();
      const lines = failed.lastLogLines(logLinesShown).map((line) => `  ${line}\n`);
      io.err.write(
        `holdfast: node ${failed.name} ${failed.ending} before it was ready; its log says\n${lines.join('')}`,
      );
      return false;
    }
    const status = await ask(pair, io.stop);
    if (
      status &&
      nodes.every(({ name }) => isUp(status, name)) &&
      (options.only !== undefined || isSettled(status))
    ) {
      if (isDrawn) area.clear();
      if (options.json) io.out.write(`${JSON.stringify(describePair(pair, nodes))}\n`);
      else io.out.write(`${summarize(status).join('\n')}\n\n${renderNextSteps(pair, status, io.out.colours)}`);
      return true;
    }
    const text = status
      ? [...summarize(status), ...findingLines(status, askingIn(pair, status), io.out.colours)].join('\n')
      : 'waiting for an answer';
    if (isDrawn) area.draw(text);
    else if (text !== told && !options.json) io.out.write(`${text}\n`);
    told = text;
  }
  if (isDrawn) area.clear();
  return false;
}

const isUp = (status: ClusterStatus, name: string): boolean =>
  status.nodes.some((node) => node.name === name && node.state === 'up');

/** Served, and every copy complete or stopped by the user: nothing goes on by itself any more. */
function isSettled({ groups }: ClusterStatus): boolean {
  return groups.every(
    ({ service, legs }) =>
      service === 'Serving' &&
      legs.every(
        (leg) =>
          leg.role === 'Primary' ||
          (leg.replication === 'Established' && leg.disk === 'UpToDate') ||
          leg.replication === 'Paused' ||
          leg.connection === 'StandAlone',
      ),
  );
}

/** Until told to stop (false), or no node of ours is left (true). */
async function watch(pair: Pair, nodes: readonly TryNode[], options: TryOptions, io: Io): Promise<boolean> {
  const view =
    options.live && io.out.isTerminal && !options.json
      ? liveView(pair, io)
      : plainView(pair, io, options.json === true);
  for (; !io.stop.aborted; await io.pause(viewIntervalMs)) {
    const status = await ask(pair, io.stop);
    // One that was started again elsewhere needs no notice any more.
    const missing = nodes.filter(({ name, ending }) => ending !== null && !(status && isUp(status, name)));
    view(
      status,
      missing.map(
        ({ name, ending }) =>
          `${name} ${ending}. To start it again, in another terminal:\n  ${startCommand(pair, name)}`,
      ),
    );
    if (nodes.every((node) => node.ending !== null)) {
      io.err.write('holdfast: no node started here is left\n');
      return true;
    }
  }
  return false;
}

/** Shows a state, null when no node answers, and the notices that go with it. */
type View = (status: ClusterStatus | null, notices: readonly string[]) => void;

function liveView(pair: Pair, io: Io): View {
  const area = new LiveArea(io.out);
  const { yellow, dim } = io.out.colours;
  return (status, notices) => {
    const state = status ? renderStatus(status, askingIn(pair, status), io.out.colours) : 'no node answers\n';
    area.draw([state, ...notices.map(yellow), dim('Ctrl-C stops the pair.')].join('\n'));
  };
}

/** A line for every change, and now and then one for what hosts do. */
function plainView(pair: Pair, io: Io, asJson: boolean): View {
  let told = '';
  let activityToldMs = io.wallMs();
  return (status, notices) => {
    const lines = status
      ? [...summarize(status), ...findingLines(status, askingIn(pair, status), io.out.colours)]
      : ['no node answers'];
    const text = [...lines, ...notices].join('\n');
    if (text !== told) io.out.write(asJson ? `${JSON.stringify(status)}\n` : `${text}\n`);
    told = text;
    const busy = (status?.groups ?? []).filter(({ throughput }) => throughput.readBytes + throughput.writeBytes > 0);
    if (!asJson && busy.length > 0 && io.wallMs() - activityToldMs >= activityIntervalMs) {
      io.out.write(`${busy.map(activityOf).join('\n')}\n`);
      activityToldMs = io.wallMs();
    }
  };
}

function askingIn({ configuration }: Pair, { answeredBy }: ClusterStatus): Asking {
  const node = configuration.nodes.find(({ name }) => name === answeredBy);
  return { program: 'npx holdfast', api: node ? formatAddress(node.api) : defaultApi };
}

/** What the first node that answers says; those run elsewhere are asked last. */
async function ask(pair: Pair, stop: AbortSignal): Promise<ClusterStatus | null> {
  const own = new Set(pair.nodes);
  const order = [...pair.nodes, ...pair.configuration.nodes.filter((node) => !own.has(node))];
  for (const node of order) {
    const status = await connectToApi(`http://${formatAddress(node.api)}`, {
      readTimeoutMs: answerPatienceMs,
      stop,
    })
      .status()
      .catch(() => null);
    if (status) return status;
  }
  return null;
}

function describePair(pair: Pair, nodes: readonly TryNode[]): unknown {
  return {
    folder: pair.folder,
    configuration: pair.file,
    nodes: nodes.map((node) => {
      const own = pair.nodes.find((candidate) => candidate.name === node.name);
      return {
        name: node.name,
        pid: node.pid,
        api: own ? formatAddress(own.api) : null,
        nbd: own?.nbd.map(formatAddress) ?? [],
        log: node.logFile,
      };
    }),
  };
}
