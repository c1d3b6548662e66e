/** `holdfast mirror …`: the copies of a group on other nodes. */
import { Option, type Command } from 'commander';
import type { ControlClient } from '../api/client.ts';
import { mirrorMode } from '../api/schemas.ts';
import { HoldfastError } from '../base/errors.ts';
import type { MirrorMode } from '../store/document.ts';
import { clientOf, nodeVerb, noun, writeJson, type Building, type NodeVerbOptions } from './command.ts';
import type { Io } from './io.ts';
import { LiveArea } from './live-area.ts';
import { renderProgress } from './status-text.ts';

type MirrorOptions = NodeVerbOptions & { readonly to: string; readonly wait?: boolean };

const waitIntervalMs = 500;

export function addMirrorCommands(program: Command, { io }: Building): void {
  const mirror = noun(program, 'mirror', 'Pause, resume, renew and set up the copies of a group').addHelpText(
    'after',
    '\nExample:\n  $ holdfast mirror pause g1 --to west',
  );
  const mirrorVerb = (name: string, description: string, example: string): Command =>
    nodeVerb(mirror, name, description, example)
      .argument('<group>')
      .requiredOption('--to <node>', 'where the copy is');

  mirrorVerb('pause', 'Stop mirroring there; changes are remembered', 'holdfast mirror pause g1 --to west').action(
    async (group: string, options: MirrorOptions) => {
      await clientOf(options, io).pauseMirror({ group, to: options.to });
      tell(io, options, group, 'paused');
    },
  );
  mirrorVerb('resume', 'Mirror there again; what has changed is copied', 'holdfast mirror resume g1 --to west --wait')
    .option('--wait', 'until the copy is complete again')
    .action(async (group: string, options: MirrorOptions) => {
      const client = clientOf(options, io);
      await client.resumeMirror({ group, to: options.to });
      if (options.wait) await waitForCopy(client, io, group, options);
      tell(io, options, group, options.wait ? 'established' : 'resumed');
    });
  mirrorVerb('resync', 'Copy everything there anew', 'holdfast mirror resync g1 --to west --wait')
    .option('--wait', 'until the copy is complete')
    .action(async (group: string, options: MirrorOptions) => {
      const client = clientOf(options, io);
      await client.resyncMirror({ group, to: options.to });
      if (options.wait) await waitForCopy(client, io, group, options);
      tell(io, options, group, options.wait ? 'established' : 'being copied anew');
    });
  mirrorVerb('set', 'Change how it is written to there, in use', 'holdfast mirror set g1 --to west --mode async')
    .addOption(
      new Option('--mode <mode>', 'sync: stored there, receive: in its memory, async: not waited for')
        .choices(mirrorMode.options)
        .makeOptionMandatory(),
    )
    .action(async (group: string, options: MirrorOptions & { readonly mode: MirrorMode }) => {
      await clientOf(options, io).setMirror({ group, to: options.to, mode: options.mode });
      tell(io, options, group, `${options.mode} from now on`);
    });
}

function tell(io: Io, { json, to }: MirrorOptions, group: string, state: string): void {
  if (json) writeJson(io, { group, to, state });
  else io.out.write(`mirror of ${group} to ${to}: ${state}\n`);
}

/** A bar redrawn in place on a terminal; else a line per tenth. An interrupted copy is waited for: it goes on by itself. */
async function waitForCopy(client: ControlClient, io: Io, group: string, { to, json }: MirrorOptions): Promise<void> {
  const area = new LiveArea(io.err);
  let tenthsTold = -1;
  for (; !io.stop.aborted; await io.pause(waitIntervalMs)) {
    const { groups } = await client.status();
    const leg = groups.find((candidate) => candidate.name === group)?.legs.find((candidate) => candidate.node === to);
    if (!leg) throw new HoldfastError('E_NOT_FOUND', `group ${group} has no copy on ${to} any more`);
    const progress = leg.progress;
    if (!progress && leg.disk === 'UpToDate' && leg.replication === 'Established') return area.clear();
    if (leg.replication === 'Paused' || leg.connection === 'StandAlone') {
      area.clear();
      throw new HoldfastError(
        'E_REFUSED',
        `the copy on ${to} stands still: ${leg.reason ?? 'it was paused meanwhile'}`,
      );
    }
    if (json) continue;
    if (io.err.isTerminal) {
      area.draw(progress ? renderProgress(progress, 30) : (leg.reason ?? 'waiting for the copy to start'));
    } else if (progress && progress.totalBytes > 0) {
      const tenths = Math.floor((progress.doneBytes / progress.totalBytes) * 10);
      if (tenths > tenthsTold) io.err.write(`${renderProgress(progress, 0)}\n`);
      tenthsTold = Math.max(tenths, tenthsTold);
    }
  }
  throw new HoldfastError('E_TIMEOUT', `no longer waiting for the copy on ${to}; it goes on by itself`);
}
