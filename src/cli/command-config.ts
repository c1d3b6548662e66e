/** `holdfast config …`: is the file right, and what does it mean. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { stringify } from 'yaml';
import { errorKinds, HoldfastError, messageOf } from '../base/errors.ts';
import {
  describeConfiguration,
  formatProblems,
  parseConfiguration,
  requireConfiguration,
  type Configuration,
} from '../node/configuration.ts';
import { clientOf, nodeVerb, noun, verb, writeJson, type Building, type NodeVerbOptions } from './command.ts';

export const defaultConfigurationFile = 'holdfast.yaml';

export function addConfigCommands(program: Command, { io, finish }: Building): void {
  const config = noun(program, 'config', 'Check and show the configuration').addHelpText(
    'after',
    '\nExample:\n  $ holdfast config check',
  );

  verb(config, 'check', 'Whether a configuration file is right', 'holdfast config check --config holdfast.yaml')
    .option('--config <file>', 'the file', defaultConfigurationFile)
    .action((options: { config: string; json?: boolean }) => {
      const parsed = parseConfiguration(readConfigurationText(options.config), options.config);
      const problems = parsed.kind === 'wrong' ? parsed.problems : [];
      if (problems.length > 0) finish(errorKinds.E_CONFIG.exitStatus);
      if (options.json) return writeJson(io, { file: options.config, problems });
      if (parsed.kind === 'wrong') io.err.write(`${formatProblems(options.config, parsed.problems)}\n`);
      else io.out.write(`${options.config} is right: ${describeCounts(parsed.configuration)}\n`);
    });

  nodeVerb(
    config,
    'show',
    "The cluster's document in use; with --config what a file says, nothing left to defaults",
    'holdfast config show --config holdfast.yaml',
  )
    .option('--config <file>', 'a file instead of what is in use')
    .action(async (options: NodeVerbOptions & { config?: string }) => {
      const shown =
        options.config === undefined
          ? await clientOf(options, io).document()
          : describeConfiguration(loadConfiguration(options.config));
      if (options.json) writeJson(io, shown);
      else io.out.write(stringify(shown));
    });
}

/** Throws `E_FILE_MISSING`, `E_IO`, `E_CONFIG`. */
export function loadConfiguration(file: string): Configuration {
  return requireConfiguration(readConfigurationText(file), file);
}

function readConfigurationText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    if (missing)
      throw new HoldfastError('E_FILE_MISSING', `there is no configuration file ${file}`, { cause: error });
    throw new HoldfastError('E_IO', `the configuration file ${file} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function describeCounts({ nodes, groups }: Configuration): string {
  const volumes = groups.reduce((sum, group) => sum + group.volumes.length, 0);
  const count = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`;
  return `${count(nodes.length, 'node')}, ${count(groups.length, 'group')}, ${count(volumes, 'volume')}`;
}
