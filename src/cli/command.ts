/**
 * The form all commands share: `--json`, `--api` where they speak to a node, an example in the help, and an exit status
 * as the answer of the action.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import { connectToApi, type ControlClient } from '../api/client.ts';
import { parseAddress } from '../base/network.ts';
import { formatSize, parseSize } from '../base/units.ts';
import type { CommandStatus, Io } from './io.ts';

export const defaultApi = '127.0.0.1:8009';

/** A command under construction: commander's tree, and where the status of the action goes. */
export interface Building {
  readonly io: Io;
  readonly asJson: boolean;
  finish(status: CommandStatus): void;
}

export function noun(parent: Command, name: string, description: string): Command {
  return parent.command(name).description(description).helpCommand(false);
}

/** A command that does something. `example` is shown by its help and run by a test. */
export function verb(parent: Command, name: string, description: string, example: string): Command {
  return noun(parent, name, description)
    .option('--json', 'answer as JSON')
    .addHelpText('after', `\nExample:\n  $ ${example}`);
}

/** A command that asks a node. */
export function nodeVerb(parent: Command, name: string, description: string, example: string): Command {
  return verb(parent, name, description, example).addOption(
    new Option('--api <address>', "a node's control API; any node will do")
      .env('HOLDFAST_API')
      .default(defaultApi)
      .argParser(readApiAddress),
  );
}

export interface NodeVerbOptions {
  readonly json?: boolean;
  readonly api: string;
}

/** Interrupting the command ends the waiting for an answer. */
export const clientOf = (options: NodeVerbOptions, io: Io): ControlClient =>
  connectToApi(`http://${options.api}`, { stop: io.stop });

export function writeJson(io: Io, value: unknown): void {
  io.out.write(`${JSON.stringify(value, null, 2)}\n`);
}

function readApiAddress(text: string): string {
  const address = parseAddress(text.replace(/^http:\/\//, '').replace(/\/$/, ''));
  if (address?.kind === 'tcp')
    return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
  throw new InvalidArgumentError(`It should be host:port, such as ${defaultApi}.`);
}

/** For sizes in a range; `example` is one of them. */
export function readSize(min: number, max: number, example: string): (text: string) => number {
  return (text) => {
    const bytes = parseSize(text);
    if (bytes !== null && bytes >= min && bytes <= max) return bytes;
    const range = `from ${formatSize(min)} to ${formatSize(max)}`;
    throw new InvalidArgumentError(`It should be a size ${range}, such as ${example}.`);
  };
}

export function readWhole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It should be a whole number from ${min} to ${max}.`);
  };
}

/** For options that may be given several times: `--path west=/dev/sdb`. */
export function collectPairs(separator: string, form: string) {
  return (
    text: string,
    before: readonly (readonly [string, string])[] = [],
  ): readonly (readonly [string, string])[] => {
    const at = text.indexOf(separator);
    if (at <= 0 || at === text.length - 1) throw new InvalidArgumentError(`It should be of the form ${form}.`);
    return [...before, [text.slice(0, at), text.slice(at + 1)]];
  };
}
