/** `holdfast node run`: this process becomes a node. */
import type { Command } from 'commander';
import { Argument, Option } from 'commander';
import { startApi } from '../api/api.ts';
import { createNodeLog } from '../base/node/node-log.ts';
import { formatAddress } from '../base/network.ts';
import { nodeConfiguration } from '../node/configuration.ts';
import { runNode } from '../node/run.ts';
import { clientOf, nodeVerb, noun, verb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import { defaultConfigurationFile, loadConfiguration } from './command-config.ts';
import { addConnections } from './command-connections.ts';
import type { CommandStatus, Io } from './io.ts';
import { productVersion } from '../node/product-version.ts';

interface RunOptions {
  readonly config: string;
  readonly name: string;
  readonly json?: boolean;
  readonly whileInputOpen?: boolean;
}

export function addNodeCommands(program: Command, building: Building): void {
  const { io, finish } = building;
  const node = noun(program, 'node', 'Run a node').addHelpText(
    'after',
    '\nExample:\n  $ holdfast node run --config holdfast.yaml --name east',
  );
  verb(
    node,
    'run',
    'Run a node until it is told to stop (SIGINT, SIGTERM); its log goes to standard error',
    'holdfast node run --config holdfast.yaml --name east',
  )
    .requiredOption('--name <node>', 'which of the nodes in the file it is')
    .option('--config <file>', 'the configuration', defaultConfigurationFile)
    .addOption(
      new Option(
        '--while-input-open',
        'stop also when standard input ends: for a program that starts nodes',
      ).hideHelp(),
    )
    .action(async (options: RunOptions) => finish(await run(options, io)));
  addAutomatic(node, building);
  addConnections(node, building);
}

function addAutomatic(node: Command, { io }: Building): void {
  nodeVerb(
    node,
    'automatic',
    'Switch automatic take-over by a node on or off, as for maintenance; it remembers it',
    'holdfast node automatic west off',
  )
    .argument('<node>')
    .addArgument(new Argument('<when>').choices(['on', 'off']))
    .action(async (name: string, when: string, options: NodeVerbOptions) => {
      const on = when === 'on';
      await clientOf(options, io).setNodeAutomatic({ node: name, on });
      if (options.json) writeJson(io, { node: name, automatic: on });
      else io.out.write(`automatic take-over by ${name} is ${when} now\n`);
    });
}

async function run(options: RunOptions, io: Io): Promise<CommandStatus> {
  const configuration = loadConfiguration(options.config);
  const own = nodeConfiguration(configuration, options.name);
  const running = await runNode({
    configuration,
    nodeName: options.name,
    log: createNodeLog({ name: options.name }),
  });
  try {
    const api = await startApi(running.control, own.api, productVersion);
    const at = formatAddress(api.address);
    if (options.json) writeJson(io, { node: options.name, pid: process.pid, nbd: running.nbdAddresses, api: at });
    else io.out.write(`node ${options.name} runs: NBD ${running.nbdAddresses.join(', ')}, control API ${at}\n`);
    const asked = [aborted(io.stop), ...(options.whileInputOpen ? [io.inputClosed()] : [])];
    const end = await Promise.race([
      running.stopped.then(() => 'ended'),
      ...asked.map((stop) => stop.then(() => 'asked')),
    ]);
    await api.close();
    if (end === 'asked') return 0;
    io.err.write(`holdfast: node ${options.name} has ended by itself; its log above says why\n`);
    return 1;
  } finally {
    await running.stop();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
