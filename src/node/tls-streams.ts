/**
 * Byte streams over TLS, both ends known by certificate: for application agents on other machines (AS-10). Only who has a
 * certificate of the configured authority is talked to.
 */
import { isIP } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatAddress, type Address, type ByteStream, type Listener, type StreamEvents } from '../base/network.ts';

type TcpAddress = Extract<Address, { kind: 'tcp' }>;

/** PEM texts. */
export interface TlsIdentity {
  readonly cert: string | Uint8Array;
  readonly key: string | Uint8Array;
  readonly ca: string | Uint8Array;
}

const common = (identity: TlsIdentity) => ({
  cert: Buffer.from(identity.cert),
  key: Buffer.from(identity.key),
  ca: [Buffer.from(identity.ca)],
  minVersion: 'TLSv1.2' as const,
});

/** Rejects with `E_PORT_TAKEN`, `E_ADDRESS_UNAVAILABLE`, `E_LISTEN`, or `E_CONFIG` for what is no certificate. */
export async function listenTls(
  at: TcpAddress,
  identity: TlsIdentity,
  accept: (stream: ByteStream) => StreamEvents,
): Promise<Listener> {
  let server: ReturnType<typeof createServer>;
  try {
    server = createServer({
      ...common(identity),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: 10_000,
    });
  } catch (error) {
    throw new HoldfastError(
      'E_CONFIG',
      `the certificate for ${formatAddress(at)} is of no use: ${messageOf(error)}`,
      {
        cause: error,
      },
    );
  }
  server.on('secureConnection', (socket) => {
    const stream = new TlsStream(
      socket,
      formatAddress({ kind: 'tcp', host: socket.remoteAddress ?? '?', port: socket.remotePort ?? 0 }),
    );
    stream.bind(accept(stream));
  });
  // Such as a client without a certificate: it hears so itself.
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const code =
        error.code === 'EADDRINUSE'
          ? 'E_PORT_TAKEN'
          : error.code === 'EADDRNOTAVAIL'
            ? 'E_ADDRESS_UNAVAILABLE'
            : 'E_LISTEN';
      reject(new HoldfastError(code, `cannot listen on ${formatAddress(at)}: ${messageOf(error)}`, { cause: error }));
    });
    server.listen(at.port, at.host, resolve);
  });
  server.removeAllListeners('error');
  server.on('error', () => {});
  const bound = server.address();
  return {
    address: bound !== null && typeof bound === 'object' ? { ...at, port: bound.port } : at,
    close: async () => void server.close(),
  };
}

export function connectTls(to: TcpAddress, identity: TlsIdentity, events: StreamEvents): ByteStream {
  // RFC 6066 §3: a name is sent, an address is not.
  const name = isIP(to.host) === 0 ? { servername: to.host } : {};
  const socket = connect({ ...common(identity), host: to.host, port: to.port, ...name });
  const stream = new TlsStream(socket, formatAddress(to));
  stream.bind(events);
  socket.on('secureConnect', () => events.opened?.());
  return stream;
}

class TlsStream implements ByteStream {
  readonly remote: string;
  readonly #socket: TLSSocket;
  #reason = 'closed by the other side';

  constructor(socket: TLSSocket, remote: string) {
    this.remote = remote;
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
  }

  bind(events: StreamEvents): void {
    this.#socket.on('data', (chunk: Buffer) => events.received(chunk));
    this.#socket.on('drain', () => events.drained?.());
    this.#socket.on('error', (error) => (this.#reason = messageOf(error)));
    this.#socket.on('close', () => events.closed(this.#reason));
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#socket.writable) for (const part of parts) this.#socket.write(part);
  }

  pauseReading(paused: boolean): void {
    if (paused) this.#socket.pause();
    else this.#socket.resume();
  }

  end(): void {
    this.#reason = 'closed here';
    this.#socket.end();
  }

  destroy(): void {
    this.#reason = 'closed here';
    this.#socket.destroy();
  }
}
