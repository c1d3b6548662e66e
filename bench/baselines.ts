/**
 * What a user would otherwise run: `nbdkit file`, and QEMU's storage daemon with a write-blocking mirror to a second one
 * over NBD. Both on loopback, page cache, files of their own.
 */
import type { ChildProcess } from 'node:child_process';
import { truncate, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { acceptsConnections, endCommand, freePorts, mustRun, startCommand, until } from '../test/clients/command.ts';

/** Something fio can load. */
export interface Server {
  readonly uri: string;
  /** Processes whose time the load costs. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export async function startNbdkit(folder: string, sizeBytes: number): Promise<Server> {
  const [port = 0] = await freePorts(1);
  const image = await makeImage(join(folder, 'nbdkit.img'), sizeBytes);
  const child = await startListening('nbdkit', ['-f', '-i', '127.0.0.1', '-p', String(port), 'file', image], port);
  return server(`nbd://127.0.0.1:${port}/`, [child]);
}

/**
 * `equal`: both images are filled alike by 4 KiB writes before, so that only servers are compared. `copied`: the mirror
 * fills the target itself, by a full copy in large pieces, as a user's would; see `fill` in `fio.ts` for what that does.
 */
export async function startQemuMirror(
  folder: string,
  sizeBytes: number,
  filledBytes: number,
  target: 'equal' | 'copied',
): Promise<Server> {
  const [sourcePort = 0, targetPort = 0] = await freePorts(2);
  const sourceImage = await makeImage(join(folder, `qemu-${target}-source.img`), sizeBytes);
  const targetImage = await makeImage(join(folder, `qemu-${target}-target.img`), sizeBytes);
  // Filled directly: through the mirror it would take minutes.
  for (const image of target === 'equal' ? [sourceImage, targetImage] : [sourceImage]) {
    await mustRun('dd', [
      'if=/dev/urandom',
      `of=${image}`,
      'bs=4k',
      `count=${filledBytes / 4096}`,
      'conv=notrunc',
      'iflag=fullblock',
    ]);
  }
  const targetDaemon = await startListening(
    'qemu-storage-daemon',
    storageDaemon(targetImage, targetPort),
    targetPort,
  );
  const monitorPath = join(folder, `qemu-${target}.monitor`);
  const sourceDaemon = await startListening(
    'qemu-storage-daemon',
    [
      // First, so that it is there once the NBD port is.
      ...['--chardev', `socket,id=monitor,path=${monitorPath},server=on,wait=off`, '--monitor', 'chardev=monitor'],
      ...storageDaemon(sourceImage, sourcePort),
      ...[
        '--blockdev',
        `driver=nbd,node-name=remote,server.type=inet,server.host=127.0.0.1,server.port=${targetPort},export=vol`,
      ],
    ],
    sourcePort,
  );
  const monitor = await Monitor.connect(monitorPath);
  await monitor.execute('blockdev-mirror', {
    'job-id': 'mirror',
    device: 'disk',
    target: 'remote',
    sync: target === 'equal' ? 'none' : 'full',
    'copy-mode': 'write-blocking',
  });
  await until('the QEMU mirror is ready', 60_000, async () => {
    const jobs = (await monitor.execute('query-block-jobs')) as { ready: boolean }[];
    return jobs.some((job) => job.ready) ? true : null;
  });
  monitor.close();
  return server(`nbd://127.0.0.1:${sourcePort}/vol`, [sourceDaemon, targetDaemon]);
}

function storageDaemon(image: string, port: number): string[] {
  return [
    ...['--blockdev', `driver=file,filename=${image},node-name=disk,cache.direct=off,discard=unmap`],
    ...['--nbd-server', `addr.type=inet,addr.host=127.0.0.1,addr.port=${port}`],
    ...['--export', 'type=nbd,id=export,node-name=disk,name=vol,writable=on'],
  ];
}

async function makeImage(path: string, sizeBytes: number): Promise<string> {
  await writeFile(path, '');
  await truncate(path, sizeBytes);
  return path;
}

async function startListening(program: string, args: readonly string[], port: number): Promise<ChildProcess> {
  const child = startCommand(program, args);
  let words = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-2000)));
  await until(`${program} listens`, 20_000, async () => {
    if (child.exitCode !== null) throw new Error(`${program} ended: ${words}`);
    return (await acceptsConnections(port)) ? true : null;
  });
  return child;
}

function server(uri: string, children: readonly ChildProcess[]): Server {
  return {
    uri,
    pids: children.flatMap((child) => (child.pid === undefined ? [] : [child.pid])),
    async stop() {
      for (const child of children) await endCommand(child, 'SIGKILL');
    },
  };
}

/** QEMU's monitor: one JSON document a line, commands answered in order, events in between. */
class Monitor {
  private readonly socket: Socket;
  private readonly lines: AsyncIterator<string>;

  private constructor(socket: Socket) {
    this.socket = socket;
    this.lines = createInterface(socket)[Symbol.asyncIterator]();
  }

  static async connect(path: string): Promise<Monitor> {
    const socket = connect(path);
    await once(socket, 'connect');
    const monitor = new Monitor(socket);
    await monitor.execute('qmp_capabilities');
    return monitor;
  }

  async execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const line = await this.lines.next();
      if (line.done === true) throw new Error(`the monitor closed during ${command}`);
      const message = JSON.parse(line.value) as { return?: unknown; error?: { desc: string } };
      if (message.error !== undefined) throw new Error(`${command}: ${message.error.desc}`);
      if ('return' in message) return message.return;
    }
  }

  close(): void {
    this.socket.destroy();
  }
}
