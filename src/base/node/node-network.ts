import { lstatSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { HoldfastError, messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { formatAddress } from '../network.ts';
import type { Address, ByteStream, Listener, Network, StreamEvents } from '../network.ts';
import { errnoOf } from './node-files.ts';
import { keepAliveInitialDelay, NodeStream } from './node-stream.ts';

/** TCP and Unix sockets of the machine. */
export class NodeNetwork implements Network {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  connect(to: Address, events: StreamEvents): ByteStream {
    return NodeStream.connecting(to, events);
  }

  async listen(at: Address, accept: (stream: ByteStream) => StreamEvents): Promise<Listener> {
    // Paused, so that nothing is read before the accepted socket has been given its own way of reading.
    const server = net.createServer(
      { pauseOnConnect: true, noDelay: true, keepAlive: true, keepAliveInitialDelay },
      (socket) => {
        NodeStream.accepted(socket, at, accept);
      },
    );
    try {
      await startListening(server, at);
    } catch (error) {
      if (at.kind !== 'unix' || errnoOf(error) !== 'EADDRINUSE' || !(await isStale(at.path)))
        throw listenError(at, error);
      rmSync(at.path, { force: true });
      await startListening(server, at).catch((second: unknown) => {
        throw listenError(at, second);
      });
    }
    // Such as: no file descriptor left for one more connection. The listener itself lives on.
    server.on('error', (error) => {
      this.#log.warn(`${formatAddress(at)}: a connection could not be accepted: ${error.message}`);
    });
    const bound = server.address();
    return {
      address: at.kind === 'tcp' && bound !== null && typeof bound === 'object' ? { ...at, port: bound.port } : at,
      // The port is free when `close` returns; its callback would wait for the accepted streams.
      close: async () => {
        if (server.listening) server.close();
      },
    };
  }
}

function startListening(server: net.Server, at: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at.kind === 'tcp' ? { host: at.host, port: at.port } : { path: at.path }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** A socket file that nobody listens on any more was left behind by a process that died. */
function isStale(path: string): Promise<boolean> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return Promise.resolve(false);
  return new Promise((resolve) => {
    const probe = net.connect(path);
    probe.on('connect', () => {
      probe.destroy();
      resolve(false);
    });
    probe.on('error', (error) => resolve(errnoOf(error) === 'ECONNREFUSED'));
  });
}

function listenError(at: Address, error: unknown): HoldfastError {
  const where = formatAddress(at);
  switch (errnoOf(error)) {
    case 'EADDRINUSE':
      return new HoldfastError('E_PORT_TAKEN', `cannot listen on ${where}: another program does`, { cause: error });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new HoldfastError('E_ADDRESS_UNAVAILABLE', `cannot listen on ${where}: not an address of this machine`, {
        cause: error,
      });
    default:
      return new HoldfastError('E_LISTEN', `cannot listen on ${where}: ${messageOf(error)}`, { cause: error });
  }
}
