/** `holdfast volume …`: what hosts are given. */
import { Option, type Command } from 'commander';
import { mirrorMode } from '../api/schemas.ts';
import { HoldfastError } from '../base/errors.ts';
import { formatSize } from '../base/units.ts';
import { volumeBytesMin } from '../node/configuration-schema.ts';
import { volumeBytesMax } from '../volume/change-bitmap.ts';
import {
  clientOf,
  collectPairs,
  nodeVerb,
  noun,
  readSize,
  writeJson,
  type Building,
  type NodeVerbOptions,
} from './command.ts';
import { renderTable } from './table.ts';

const readVolumeSize = readSize(volumeBytesMin, volumeBytesMax, '512MiB or 1GiB');

interface CreateOptions extends NodeVerbOptions {
  readonly size: number;
  readonly blockSize: '512' | '4096';
  readonly group?: string;
  readonly owner?: string;
  readonly mirror?: readonly (readonly [string, string])[];
  readonly path?: readonly (readonly [string, string])[];
}

export function addVolumeCommands(program: Command, { io }: Building): void {
  const volume = noun(program, 'volume', 'List, create and delete volumes').addHelpText(
    'after',
    '\nExample:\n  $ holdfast volume list',
  );

  nodeVerb(volume, 'list', 'All volumes', 'holdfast volume list').action(async (options: NodeVerbOptions) => {
    const volumes = await clientOf(options, io).volumes();
    if (options.json) return writeJson(io, volumes);
    const rows = volumes.map(({ name, group, owner, sizeBytes, wwid }) => [
      name,
      group,
      owner ?? '-',
      formatSize(sizeBytes),
      wwid,
    ]);
    io.out.write(`${renderTable(['VOLUME', 'GROUP', 'OWNER', 'SIZE', 'WWID'], rows, io.out.colours)}\n`);
  });

  nodeVerb(volume, 'create', 'Create a volume', 'holdfast volume create vol2 --size 10GiB --mirror west:sync')
    .argument('<name>', 'its name, by which hosts know it')
    .requiredOption('--size <size>', 'such as 512MiB, 10GiB, 4TiB', readVolumeSize)
    .addOption(new Option('--block-size <bytes>', 'smallest unit of access').choices(['512', '4096']).default('512'))
    .option('--group <group>', 'consistency group; default one of its own, of the same name')
    .option('--owner <node>', 'for a new group: who serves it; default the node asked')
    .option(
      '--mirror <node:mode>',
      'for a new group: a copy there, sync, receive or async; repeatable',
      collectPairs(':', 'NODE:MODE, such as west:sync'),
    )
    .option(
      '--path <node=path>',
      'backing file or device there; repeatable',
      collectPairs('=', 'NODE=PATH, such as west=/dev/sdb'),
    )
    .action(async (name: string, options: CreateOptions) => {
      const mirrors = (options.mirror ?? []).map(([node, text]) => {
        const mode = mirrorMode.safeParse(text);
        if (mode.success) return { node, mode: mode.data };
        throw new HoldfastError('E_USAGE', `--mirror ${node}:${text}: the mode is one of sync, receive, async`);
      });
      const created = await clientOf(options, io).createVolume({
        name,
        sizeBytes: options.size,
        blockSizeBytes: options.blockSize === '4096' ? 4096 : 512,
        ...(options.group === undefined ? {} : { group: options.group }),
        ...(options.owner === undefined ? {} : { owner: options.owner }),
        mirrors,
        paths: Object.fromEntries(options.path ?? []),
      });
      if (options.json) return writeJson(io, created);
      io.out.write(`volume ${name} created in group ${created.group}, wwid ${created.wwid}\n`);
    });

  nodeVerb(volume, 'delete', 'Delete a volume and its data on every node', 'holdfast volume delete vol2')
    .argument('<name>')
    .option('--force', 'even while a host has it open')
    .action(async (name: string, options: NodeVerbOptions & { force?: boolean }) => {
      await clientOf(options, io).deleteVolume({ name, force: options.force === true });
      if (options.json) return writeJson(io, { deleted: name });
      io.out.write(`volume ${name} deleted\n`);
    });
}
