/** `holdfast pulse …`: by which ways nodes hear each other, and what they hear. */
import type { Command } from 'commander';
import { HoldfastError } from '../base/errors.ts';
import { newPulseKey } from '../node/pulse-key.ts';
import type { UseChange } from '../pulse/service.ts';
import { clientOf, nodeVerb, noun, verb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Io } from './io.ts';
import { addMirrorVerbs } from './pulse-mirrors.ts';
import { renderPulse, renderStatusTable, renderTables } from './pulse-text.ts';

interface UseOptions extends NodeVerbOptions {
  readonly enable?: readonly string[];
  readonly disable?: readonly string[];
  readonly confirmed?: boolean;
}

const selections = ['network', 'mirrors', 'both'] as const;

export function addPulseCommands(program: Command, building: Building): void {
  const { io } = building;
  const pulse = noun(program, 'pulse', 'Heartbeats: how nodes hear each other').addHelpText(
    'after',
    '\nExample:\n  $ holdfast pulse status',
  );
  addQuestions(pulse, io);
  addUse(pulse, io);
  addMirrorVerbs(pulse, building);

  verb(pulse, 'key', 'Print a new key, with which heartbeats are sealed', 'holdfast pulse key').action(
    (options: { json?: boolean }) => {
      const key = newPulseKey();
      if (options.json) writeJson(io, { key });
      else io.out.write(`${key}\n`);
    },
  );
}

function addQuestions(pulse: Command, io: Io): void {
  nodeVerb(pulse, 'status', 'How a node hears the others, by each channel', 'holdfast pulse status --node west')
    .option('--node <node>', 'as this node hears; default the one asked')
    .action(async (options: NodeVerbOptions & { node?: string }) => {
      const { node } = options;
      const status = await clientOf(options, io).pulseStatus(node === undefined ? {} : { node });
      if (options.json) writeJson(io, status);
      else io.out.write(`${renderPulse(status, io.out.colours)}\n`);
    });

  nodeVerb(pulse, 'table', 'The heartbeat status tables of all nodes', 'holdfast pulse table --site there')
    .option('--site <site>', 'of this site only')
    .action(async (options: NodeVerbOptions & { site?: string }) => {
      const { site } = options;
      const rows = await clientOf(options, io).pulseTables(site === undefined ? {} : { site });
      if (options.json) writeJson(io, rows);
      else io.out.write(`${renderTables(rows, io.out.colours)}\n`);
    });
}

function addUse(pulse: Command, io: Io): void {
  const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];
  nodeVerb(pulse, 'use', 'Say by which ways heartbeats travel, at all nodes', 'holdfast pulse use both')
    .argument('[ways]', 'network, mirrors or both: these and no others')
    .option('--enable <path>', 'network, mirrors, or a heartbeat mirror by its name; repeatable', collect)
    .option('--disable <path>', 'the same; repeatable', collect)
    .option('--confirmed', 'even if no way is left, and so no automatic take-over')
    .action(async (ways: string | undefined, options: UseOptions) => {
      const change = changeOf(ways, options);
      const result = await clientOf(options, io).usePulse(change);
      if (options.json) return writeJson(io, result);
      const told = result.passedOn.map(({ node, confirmed, problem }) =>
        confirmed
          ? `${node} has confirmed it`
          : `${io.out.colours.yellow('!')} ${node}: ${problem ?? 'not confirmed yet'}`,
      );
      io.out.write(`${[renderStatusTable(result.table, io.out.colours), ...told].join('\n')}\n`);
    });
}

function changeOf(ways: string | undefined, { enable, disable, confirmed = false }: UseOptions): UseChange {
  const select = selections.find((word) => word === ways);
  if (ways !== undefined && select === undefined) {
    throw new HoldfastError(
      'E_USAGE',
      `"${ways}" is none of ${selections.join(', ')}; single paths: --enable ${ways}`,
    );
  }
  if (select === undefined && enable === undefined && disable === undefined) {
    throw new HoldfastError('E_USAGE', 'say what to use: network, mirrors or both, --enable PATH or --disable PATH');
  }
  return {
    ...(select === undefined ? {} : { select }),
    ...(enable === undefined ? {} : { enable }),
    ...(disable === undefined ? {} : { disable }),
    confirmed,
  };
}
