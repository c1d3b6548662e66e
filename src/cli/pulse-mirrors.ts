/** `holdfast pulse mirrors|create|install|remove|delete`: heartbeat mirrors come and go (HM-8, HM-9). */
import type { Command } from 'commander';
import { productionDataWarning } from '../pulse/installer.ts';
import { clientOf, nodeVerb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Io } from './io.ts';
import { renderTable } from './table.ts';

interface InstallOptions extends NodeVerbOptions {
  readonly primary?: string;
  readonly secondary?: string;
}

/** Under `holdfast pulse`. */
export function addMirrorVerbs(pulse: Command, { io }: Building): void {
  nodeVerb(pulse, 'mirrors', 'All heartbeat mirrors', 'holdfast pulse mirrors').action(
    async (options: NodeVerbOptions) => {
      const list = await clientOf(options, io).heartbeatMirrors.list();
      if (options.json) return writeJson(io, list);
      const rows = list.mirrors.map(({ name, from, to, primary, secondary, state }) => [
        name,
        state,
        `${from}:${primary ?? '-'}`,
        `${to}:${secondary ?? '-'}`,
      ]);
      const table = renderTable(['MIRROR', 'STATE', 'WRITTEN AT', 'READ AT'], rows, io.out.colours);
      const lines = rows.length === 0 ? ['no heartbeat mirror is created'] : [table];
      io.out.write(`${[...lines, ...list.notes].join('\n')}\n`);
    },
  );

  nodeVerb(
    pulse,
    'create',
    'Create a heartbeat mirror; install puts it to use',
    'holdfast pulse create hb3 --from east --to west',
  )
    .argument('<mirror>')
    .requiredOption('--from <node>', 'who writes it')
    .requiredOption('--to <node>', 'who reads it, at the other site')
    .action(async (name: string, options: NodeVerbOptions & { from: string; to: string }) => {
      const request = { name, from: options.from, to: options.to };
      await clientOf(options, io).heartbeatMirrors.create(request);
      tell(
        io,
        options,
        request,
        `heartbeat mirror ${name} created; put it to use with: holdfast pulse install ${name}`,
      );
    });

  nodeVerb(pulse, 'install', 'Put a heartbeat mirror to use at both ends', 'holdfast pulse install hb3')
    .argument('<mirror>')
    .option('--primary <path>', 'file or device where it is written')
    .option('--secondary <path>', 'file or device where it is read')
    .action(async (name: string, options: InstallOptions) => {
      const { primary, secondary } = options;
      if (!options.json) io.out.write(`${io.out.colours.yellow('!')} ${productionDataWarning}\n`);
      const request = {
        name,
        ...(primary === undefined ? {} : { primary }),
        ...(secondary === undefined ? {} : { secondary }),
      };
      await clientOf(options, io).heartbeatMirrors.install(request);
      const told = { ...request, state: 'installed', warning: productionDataWarning };
      tell(io, options, told, `heartbeat mirror ${name}: in use at both ends`);
    });

  nodeVerb(
    pulse,
    'remove',
    'De-install a heartbeat mirror: neither end uses it any more',
    'holdfast pulse remove hb1',
  )
    .argument('<mirror>')
    .action(async (name: string, options: NodeVerbOptions) => {
      await clientOf(options, io).heartbeatMirrors.remove({ name });
      tell(io, options, { name, state: 'created' }, `heartbeat mirror ${name}: used at neither end any more`);
    });

  nodeVerb(pulse, 'delete', 'Delete a heartbeat mirror that is not installed', 'holdfast pulse delete hb3')
    .argument('<mirror>')
    .action(async (name: string, options: NodeVerbOptions) => {
      await clientOf(options, io).heartbeatMirrors.delete({ name });
      tell(
        io,
        options,
        { name, deleted: true },
        `heartbeat mirror ${name} deleted; its backing files are left as they are`,
      );
    });
}

function tell(io: Io, { json }: NodeVerbOptions, what: unknown, sentence: string): void {
  if (json) writeJson(io, what);
  else io.out.write(`${sentence}\n`);
}
