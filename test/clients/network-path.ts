/**
 * The network in front of a port, as far as it can fail: it carries connections until it is cut, and again when it is
 * restored. A cut is `silent`, as when packets are dropped — neither side learns anything, and what was under way
 * arrives late — or `closed`: connections are reset, and new ones too.
 *
 * Unlike dropped packets, a silent cut lets the operating system take up new connections and the first bytes on every one;
 * no program behind the port sees anything of either.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export type CutKind = 'silent' | 'closed';

export class NetworkPath {
  private readonly server: Server;
  private readonly to: number;
  private state: 'open' | CutKind = 'open';
  /** In `open`, how much is still carried before it is cut silently. */
  private leftBytes = Infinity;
  /** Accepted during a silent cut, not carried yet. */
  private waiting: Socket[] = [];
  /** Both ends of each connection. */
  private readonly ends = new Map<Socket, Socket>();

  private constructor(at: number, to: number) {
    this.to = to;
    this.server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
      socket.on('error', () => {}); // 'close' follows.
      if (this.state === 'open') this.carry(socket);
      else if (this.state === 'silent') this.waiting.push(socket);
      else socket.resetAndDestroy();
    }).listen(at, '127.0.0.1');
  }

  /** From one port of loopback to another. */
  static async open(at: number, to: number): Promise<NetworkPath> {
    const path = new NetworkPath(at, to);
    await once(path.server, 'listening');
    return path;
  }

  get isCut(): boolean {
    return this.state !== 'open';
  }

  cut(kind: CutKind): void {
    this.state = kind;
    for (const end of [...this.waiting, ...this.ends.keys()]) {
      if (kind === 'silent') end.pause();
      else end.resetAndDestroy();
    }
  }

  /** With `forBytes`, it is cut again, silently, when it has carried as many. */
  restore(forBytes = Infinity): void {
    this.state = 'open';
    this.leftBytes = forBytes;
    for (const socket of this.waiting.splice(0)) this.carry(socket);
    for (const [end, other] of this.ends) {
      // What became of one side meanwhile, the other learns now.
      if (end.destroyed) other.destroy();
      else end.resume();
    }
  }

  close(): void {
    this.server.close();
    this.cut('closed');
  }

  private carry(socket: Socket): void {
    const onwards = connect({ port: this.to, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    onwards.on('error', () => {});
    this.join(socket, onwards);
    this.join(onwards, socket);
  }

  private join(from: Socket, to: Socket): void {
    this.ends.set(from, to);
    from.on('data', (chunk: Buffer) => {
      if (!to.write(chunk)) from.pause();
      this.leftBytes -= chunk.length;
      if (this.leftBytes <= 0 && this.state === 'open') this.cut('silent');
    });
    to.on('drain', () => {
      if (this.state === 'open') from.resume();
    });
    from.on('end', () => to.end());
    from.on('close', () => {
      if (this.state !== 'silent') to.destroySoon();
      if (!to.destroyed) return;
      this.ends.delete(from);
      this.ends.delete(to);
    });
    from.resume();
  }
}
