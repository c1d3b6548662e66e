/** `holdfast agent …`: programs that run where a group's devices are (AS-10). */
import { readFileSync } from 'node:fs';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { ShellAgent, type RestartPolicy } from '../agent/shell-agent.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { NodeClock } from '../base/node/node-clock.ts';
import { parseDurationMs } from '../base/units.ts';
import { connectApplicationAgent } from '../node/application-agent.ts';
import { NodeCommands } from '../node/node-commands.ts';
import type { TlsIdentity } from '../node/tls-streams.ts';
import { clientOf, nodeVerb, noun, verb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { CommandStatus, Io } from './io.ts';
import { formatTime } from './log-text.ts';
import { renderTable } from './table.ts';

const policies = ['always', 'on-failure', 'never'] as const satisfies readonly RestartPolicy[];

interface RunOptions {
  readonly group: string;
  readonly node: string;
  readonly name?: string;
  readonly restart: string;
  readonly stopWithin: number;
  readonly grace: number;
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
}

export function addAgentCommands(program: Command, { io, finish }: Building): void {
  const agent = noun(program, 'agent', 'Run programs where a group’s devices are').addHelpText(
    'after',
    '\nExample:\n  $ holdfast agent run --group g1 --node unix:/run/hf.sock -- my-program',
  );

  verb(
    agent,
    'run',
    'Run a program while the node has the group; end it before the devices go back',
    'holdfast agent run --group g1 --node unix:/run/hf.sock -- my-program',
  )
    .argument('<command...>', 'the program and its arguments, behind "--"')
    .requiredOption('--group <group>', 'whose devices it needs')
    .requiredOption('--node <address>', 'unix:/path of the node’s socket, or host:port, which takes a certificate')
    .option('--name <name>', 'what the agent is called; default is the program')
    .addOption(new Option('--restart <when>', 'when it ends by itself').choices(policies).default('on-failure'))
    .option('--stop-within <time>', 'after so long it is killed', readTime, 10_000)
    .option('--grace <time>', 'after so long without the node it is ended', readTime, 10_000)
    .option('--cert <file>', 'certificate of the agent')
    .option('--key <file>', 'its key')
    .option('--ca <file>', 'authority of the node’s certificate')
    .action(async (words: string[], options: RunOptions) => finish(await run(words, options, io)));

  nodeVerb(agent, 'list', 'Agents connected to the nodes', 'holdfast agent list').action(
    async (options: NodeVerbOptions) => {
      const { agents, notes } = await clientOf(options, io).listAgents();
      if (options.json) return writeJson(io, agents);
      const rows = agents.map(({ node, agent: name, groups, remote, sinceMs }) => [
        name,
        node,
        groups.join(', '),
        remote,
        formatTime(sinceMs),
      ]);
      const table = renderTable(['AGENT', 'NODE', 'GROUPS', 'FROM', 'SINCE'], rows, io.out.colours);
      io.out.write(`${[table, ...notes].join('\n')}\n`);
    },
  );
}

async function run(words: readonly string[], options: RunOptions, io: Io): Promise<CommandStatus> {
  const { group, node, name, restart, stopWithin, grace } = options;
  const clock = new NodeClock();
  const shell = new ShellAgent({
    clock,
    commands: new NodeCommands(),
    group,
    words,
    restart: policies.find((policy) => policy === restart) ?? 'on-failure',
    stopWithinMs: stopWithin,
    graceMs: grace,
    output: (text) => io.out.write(text),
    say: (sentence) => io.err.write(`holdfast agent: ${sentence}\n`),
  });
  const tls = identityOf(options);
  const client = connectApplicationAgent({
    node,
    agent: name ?? words[0] ?? 'agent',
    groups: [group],
    handlers: shell,
    ...(tls === undefined ? {} : { tls }),
  });
  await new Promise<void>((resolve) => {
    if (io.stop.aborted) resolve();
    else io.stop.addEventListener('abort', () => resolve(), { once: true });
  });
  // The program first: while it runs the node must know that somebody has not let go.
  await shell.end();
  client.close();
  return 0;
}

function identityOf({ cert, key, ca }: RunOptions): TlsIdentity | undefined {
  if (cert === undefined && key === undefined && ca === undefined) return undefined;
  if (cert === undefined || key === undefined || ca === undefined)
    throw new HoldfastError('E_USAGE', 'name all of --cert, --key and --ca');
  return { cert: read(cert), key: read(key), ca: read(ca) };
}

function read(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new HoldfastError('E_FILE_MISSING', messageOf(error), { cause: error });
  }
}

function readTime(text: string): number {
  const ms = parseDurationMs(text);
  if (ms !== null && ms > 0) return ms;
  throw new InvalidArgumentError('It should be a time such as 10s or 2min.');
}
