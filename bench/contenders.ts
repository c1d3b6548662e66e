/** The servers of a run: ours and theirs, each started and filled when first asked for. */
import { Pair, nodeNames, type GroupDeclaration } from '../test/clients/pair.ts';
import { startNbdkit, startQemuMirror, type Server } from './baselines.ts';
import type { Baseline, Ours } from './comparisons.ts';
import { fill } from './fio.ts';

const gibibyte = 1024 ** 3;
export const workingSetBytes = 256 * 1024 ** 2;

/** Our nodes with 1 TiB of thin volumes, as the memory figure demands. */
const groups: readonly GroupDeclaration[] = [
  { name: 'plain', owner: 'east', volumes: [{ name: 'plain', size: '256GiB' }] },
  {
    name: 'sync',
    owner: 'east',
    volumes: [{ name: 'sync', size: '512GiB' }],
    mirrors: [{ to: 'west', mode: 'sync' }],
  },
  {
    name: 'async',
    owner: 'east',
    volumes: [{ name: 'async', size: '256GiB' }],
    mirrors: [{ to: 'west', mode: 'async' }],
  },
];

/** All of them idle while another is measured. */
export class Contenders {
  private readonly folder: string;
  private readonly servers = new Map<string, Server>();
  private pair: Pair | null = null;

  constructor(folder: string) {
    this.folder = folder;
  }

  async baseline(name: Baseline): Promise<Server> {
    const started = this.servers.get(name);
    if (started !== undefined) return started;
    const server =
      name === 'nbdkit'
        ? await startNbdkit(this.folder, 256 * gibibyte)
        : await startQemuMirror(
            this.folder,
            256 * gibibyte,
            workingSetBytes,
            name === 'qemu-mirror' ? 'equal' : 'copied',
          );
    this.servers.set(name, server);
    if (name === 'nbdkit') await fill(server.uri, workingSetBytes);
    return server;
  }

  async ours(volume: Ours): Promise<Server> {
    const pair = await this.startPair();
    const started = this.servers.get(volume);
    if (started !== undefined) return started;
    const pids = volume === 'plain' ? [pair.pid('east')] : nodeNames.map((node) => pair.pid(node));
    const server = { uri: pair.uri('east', volume), pids, stop: () => Promise.resolve() };
    this.servers.set(volume, server);
    await fill(server.uri, workingSetBytes);
    await pair.untilEstablished();
    return server;
  }

  async startPair(): Promise<Pair> {
    return (this.pair ??= await Pair.start({ groups, parent: this.folder }));
  }

  async stop(): Promise<void> {
    for (const server of this.servers.values()) await server.stop();
    await this.pair?.stop();
  }
}
