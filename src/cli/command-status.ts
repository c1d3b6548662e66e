/** `holdfast status`: the state of the cluster, once or going on. */
import type { Command } from 'commander';
import type { ControlClient } from '../api/client.ts';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { clientOf, nodeVerb, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Io } from './io.ts';
import { LiveArea } from './live-area.ts';
import { findingLines, renderStatus, summarize, type Asking } from './status-text.ts';

const watchIntervalMs = 1000;

export function addStatusCommand(program: Command, { io }: Building): void {
  nodeVerb(program, 'status', 'State of nodes, groups, copies and volumes', 'holdfast status --watch')
    .option('--watch', 'go on showing it until interrupted')
    .action(async (options: NodeVerbOptions & { watch?: boolean }) => {
      const client = clientOf(options, io);
      const asking = { program: 'holdfast', api: options.api };
      if (options.watch) await watch(client, asking, io, options.json === true);
      else if (options.json) writeJson(io, await client.status());
      else io.out.write(renderStatus(await client.status(), asking, io.out.colours));
    });
}

/** On a terminal redrawn in place; into a pipe a line whenever something has changed; as JSON one object a line. */
async function watch(client: ControlClient, asking: Asking, io: Io, asJson: boolean): Promise<void> {
  const area = new LiveArea(io.out);
  let shown = '';
  for (; !io.stop.aborted; await io.pause(watchIntervalMs)) {
    try {
      const status = await client.status();
      if (asJson) io.out.write(`${JSON.stringify(status)}\n`);
      else if (io.out.isTerminal) area.draw(renderStatus(status, asking, io.out.colours));
      else
        shown = writeWhenChanged(
          io,
          [...summarize(status), ...findingLines(status, asking, io.out.colours)].join('\n'),
          shown,
        );
    } catch (error) {
      if (io.stop.aborted) return;
      if (!(error instanceof HoldfastError) || error.code !== 'E_NODE_UNREACHABLE') throw error;
      if (io.out.isTerminal) area.draw(messageOf(error));
      else shown = writeWhenChanged(io, messageOf(error), shown);
    }
  }
}

function writeWhenChanged(io: Io, text: string, shown: string): string {
  if (text !== shown) io.out.write(`${text}\n`);
  return text;
}
