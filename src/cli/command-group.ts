/** `holdfast group …`: who serves what. */
import { Argument, type Command } from 'commander';
import { formatDuration } from '../base/units.ts';
import type { MoveResult } from '../node/control.ts';
import { clientOf, nodeVerb, noun, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import { addResourceVerbs } from './command-resources.ts';
import type { Io } from './io.ts';
import { renderTable } from './table.ts';

type TakeOverOptions = NodeVerbOptions & {
  readonly node: string;
  readonly force?: boolean;
  readonly lastConsistent?: boolean;
};

export function addGroupCommands(program: Command, building: Building): void {
  const { io } = building;
  const group = noun(program, 'group', 'List groups, move them between nodes').addHelpText(
    'after',
    '\nExample:\n  $ holdfast group list',
  );

  nodeVerb(group, 'list', 'All groups', 'holdfast group list').action(async (options: NodeVerbOptions) => {
    const { groups, notes } = await clientOf(options, io).status();
    if (options.json) return writeJson(io, groups);
    const rows = groups.map(({ name, owner, service, generation, volumes, legs }) => [
      name,
      owner ?? '-',
      service,
      String(generation),
      String(volumes.length),
      legs.map((leg) => leg.node).join(', '),
    ]);
    const head = ['GROUP', 'OWNER', 'SERVICE', 'GENERATION', 'VOLUMES', 'COPIES ON'];
    io.out.write(`${[renderTable(head, rows, io.out.colours), ...notes].join('\n')}\n`);
  });

  nodeVerb(
    group,
    'switch-over',
    'Planned move to another node: requests are held meanwhile, nothing is lost',
    'holdfast group switch-over g1 --to west',
  )
    .argument('<group>')
    .requiredOption('--to <node>', 'who shall own it')
    .action(async (name: string, options: NodeVerbOptions & { to: string }) => {
      tellMove(io, options, await clientOf(options, io).switchOver({ group: name, to: options.to }));
    });

  nodeVerb(
    group,
    'take-over',
    'Move it away from an owner that is gone; tells what may have been lost',
    'holdfast group take-over g1 --node west --api 127.0.0.1:8010',
  )
    .argument('<group>')
    .requiredOption('--node <node>', 'who shall own it')
    .option('--force', 'even with a copy that is not safe to use')
    .option('--last-consistent', 'with the image kept of a copy that is Inconsistent')
    .action(async (name: string, options: TakeOverOptions) => {
      if (!options.json && io.err.isTerminal) io.err.write('waiting until the lease of the owner has lapsed …\n');
      const { node, force = false, lastConsistent = false } = options;
      const request = { group: name, node, force, lastConsistent };
      tellMove(io, options, await clientOf(options, io).takeOver(request));
    });

  nodeVerb(
    group,
    'resolve',
    'After a split brain: keep the history of one node, give up that of the other',
    'holdfast group resolve g1 --keep east',
  )
    .argument('<group>')
    .requiredOption('--keep <node>', 'whose history is kept')
    .option('--yes', 'even while hosts are connected at the other node')
    .action(async (name: string, options: NodeVerbOptions & { keep: string; yes?: boolean }) => {
      const request = { group: name, keep: options.keep, yes: options.yes ?? false };
      const resolved = await clientOf(options, io).resolveSplitBrain(request);
      if (options.json) return writeJson(io, resolved);
      const { kept, group: resolvedGroup, generation, text } = resolved;
      io.out.write(`the history of ${kept} is kept for ${resolvedGroup} (generation ${generation})\n${text}\n`);
    });
  addAutomatic(group, building);
  addResourceVerbs(group, building);
}

function addAutomatic(group: Command, { io }: Building): void {
  nodeVerb(group, 'give-back', 'Planned move back to the node it is preferred for', 'holdfast group give-back g1')
    .argument('<group>')
    .action(async (name: string, options: NodeVerbOptions) => {
      tellMove(io, options, await clientOf(options, io).giveBack({ group: name }));
    });

  nodeVerb(
    group,
    'automatic',
    'Switch automatic take-over of a group on or off, as for maintenance',
    'holdfast group automatic g1 off',
  )
    .argument('<group>')
    .addArgument(new Argument('<when>', 'heartbeat-only: without a store, at the risk of two owners').choices(modes))
    .action(async (name: string, when: string, options: NodeVerbOptions) => {
      const automatic = modes.find((mode) => mode === when) ?? 'off';
      await clientOf(options, io).setGroupAutomatic({ group: name, automatic });
      if (options.json) writeJson(io, { group: name, automatic });
      else io.out.write(`automatic take-over of ${name} is ${automatic} now\n`);
    });
}

const modes = ['on', 'off', 'heartbeat-only'] as const;

function tellMove(io: Io, options: NodeVerbOptions, moved: MoveResult): void {
  if (options.json) return writeJson(io, moved);
  const pause = moved.pauseMs === null ? '' : `; hosts waited ${formatDuration(moved.pauseMs)}`;
  io.out.write(
    `${moved.owner} owns ${moved.group} now (generation ${moved.generation})${pause}\n${moved.loss.text}\n`,
  );
}
