import { execFile, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { closeSync, constants, openSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { ReadStream } from 'node:tty';
import { HoldfastError, messageOf } from '../errors.ts';
import type { ByteStream, DatagramSocket, Datagrams, HostPort, StreamEvents } from '../network.ts';
import { errnoOf } from './node-files.ts';

/** UDP sockets and serial devices of the machine. */
export class NodeDatagrams implements Datagrams {
  bind({ host, port }: HostPort, received: (data: Uint8Array, from: string) => void): Promise<DatagramSocket> {
    const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4' });
    socket.on('message', (data, from) => received(data, `${from.address}:${from.port}`));
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(bindError(`${host}:${port}`, error));
      });
      socket.bind({ address: host, port }, () => {
        socket.removeAllListeners('error');
        // Such as "connection refused" for an earlier datagram: it did not arrive, which nobody was promised.
        socket.on('error', () => {});
        resolve({
          address: { host, port: socket.address().port },
          send: (data, to) => socket.send(data, to.port, to.host, () => {}),
          close: () => new Promise((done) => socket.close(() => done())),
        });
      });
    });
  }

  openSerial(path: string, baudRate: number, events: StreamEvents): ByteStream {
    return new SerialStream(path, baudRate, events);
  }
}

function bindError(where: string, error: Error): HoldfastError {
  const code = errnoOf(error);
  const cause = { cause: error };
  if (code === 'EADDRINUSE')
    return new HoldfastError('E_PORT_TAKEN', `cannot listen on ${where} (UDP): another program does`, cause);
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new HoldfastError(
      'E_ADDRESS_UNAVAILABLE',
      `cannot listen on ${where} (UDP): not an address of this machine`,
      cause,
    );
  return new HoldfastError('E_LISTEN', `cannot listen on ${where} (UDP): ${messageOf(error)}`, cause);
}

/** What is written and not taken by the line is bounded: beyond that it is dropped, the newest heartbeat alone matters. */
const unsentBytesMax = 64 * 1024;

/** Longer than `stty` takes on a device that answers. */
const settingMsMax = 2000;

class SerialStream implements ByteStream {
  readonly remote: string;
  readonly #events: StreamEvents;
  /** While it sets the line: a device that hangs must not hold up whoever else runs in this thread. */
  #setting: ChildProcess | null;
  #line: ReadStream | null = null;
  #unsentBytes = 0;
  #closed = false;

  constructor(path: string, baudRate: number, events: StreamEvents) {
    this.remote = path;
    this.#events = events;
    const modes = [String(baudRate), 'raw', '-echo', 'clocal', '-hupcl', 'min', '1'];
    this.#setting = execFile('stty', ['-F', path, ...modes], { timeout: settingMsMax }, (error, _out, complaint) => {
      this.#setting = null;
      if (this.#closed) return;
      if (error === null) this.#open(path);
      else this.#close(complaint.trim() || (error.killed === true ? `${path} does not answer` : error.message));
    });
  }

  get unsentBytes(): number {
    return this.#unsentBytes;
  }

  #open(path: string): void {
    try {
      const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
      // A tty stream is polled; an ordinary file stream would hold a thread of the pool for as long as the line is silent.
      this.#line = new ReadStream(fd);
      closeUnlessOwned(fd, this.#line);
      this.#line.on('data', (data: Buffer) => this.#events.received(data));
      this.#line.on('end', () => this.#close('the line was closed'));
      this.#line.on('error', (error) => this.#close(error.message));
      this.#line.on('close', () => this.#close('the line was closed'));
      this.#events.opened?.();
    } catch (error) {
      this.#close(messageOf(error));
    }
  }

  send(parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      if (this.#line === null || this.#unsentBytes + part.length > unsentBytesMax) return;
      this.#unsentBytes += part.length;
      this.#line.write(part, () => {
        this.#unsentBytes -= part.length;
        if (this.#unsentBytes === 0 && !this.#closed) this.#events.drained?.();
      });
    }
  }

  pauseReading(paused: boolean): void {
    if (paused) this.#line?.pause();
    else this.#line?.resume();
  }

  end(): void {
    this.#line?.end();
    this.destroy();
  }

  destroy(): void {
    this.#close('closed here');
  }

  #close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#setting?.kill();
    this.#line?.destroy();
    this.#line = null;
    setImmediate(() => this.#events.closed(reason));
  }
}

/** Of a pseudo-terminal the stream opens a file of its own, and never closes the one it was given (libuv, `uv_tty_init`). */
function closeUnlessOwned(fd: number, line: ReadStream): void {
  // `Reflect`, because the types do not know it.
  const handle: unknown = Reflect.get(line, '_handle');
  if (typeof handle === 'object' && handle !== null && 'fd' in handle && handle.fd !== fd) closeSync(fd);
}
