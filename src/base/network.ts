/**
 * Byte streams between processes: TCP or Unix sockets in production, seeded pipes in the simulator. Delivery is in
 * order and without loss until the stream closes; after `closed` nothing else is called. Beside them datagrams (UDP), which
 * promise nothing, and serial devices, whose bytes may be noise.
 */

/** Where to connect or listen. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export interface Network {
  /**
   * Starts connecting. `events.opened` is called once it stands, or `events.closed` with the reason when it cannot be
   * made. What is sent before it is open is kept and sent then.
   */
  connect(to: Address, events: StreamEvents): ByteStream;
  /** Rejects with code `E_PORT_TAKEN`, `E_ADDRESS_UNAVAILABLE` or `E_LISTEN` when it cannot listen there. */
  listen(at: Address, accept: (stream: ByteStream) => StreamEvents): Promise<Listener>;
}

/** Ways of heartbeats that are no streams between processes. */
export interface Datagrams {
  /**
   * A UDP socket. `received` gets each datagram that arrives, whole, with `host:port` of its sender; the bytes are the
   * receiver's. Rejects with code `E_PORT_TAKEN`, `E_ADDRESS_UNAVAILABLE` or `E_LISTEN`.
   */
  bind(at: HostPort, received: (data: Uint8Array, from: string) => void): Promise<DatagramSocket>;
  /**
   * A serial device such as `/dev/ttyS0`, in raw mode, as a byte stream: `opened` once it can be used, `closed` with the
   * reason when it cannot, or any more.
   */
  openSerial(path: string, baudRate: number, events: StreamEvents): ByteStream;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export interface DatagramSocket {
  /** Really bound: a port of 0 is replaced by the one chosen. */
  readonly address: HostPort;
  /** Up to 1400 bytes. It arrives once, several times, late, or never; errors count as never. */
  send(data: Uint8Array, to: HostPort): void;
  close(): Promise<void>;
}

export interface Listener {
  /** The address really bound (a port of 0 is replaced by the one chosen). */
  readonly address: Address;
  /** Stops accepting; streams already accepted live on. */
  close(): Promise<void>;
}

export interface ByteStream {
  /** The other end, for messages: `10.0.0.2:41234` or `unix:/run/x.sock`. */
  readonly remote: string;
  /** This end as the other has reached it, `10.0.0.1:3260`; absent where there is no such address, or nobody asks. */
  readonly local?: string;
  /** Bytes handed to `send` that the operating system has not taken yet. */
  readonly unsentBytes: number;
  /** Sends the parts one after another, without copying: they must not change until sent. Ignored after close. */
  send(parts: readonly Uint8Array[]): void;
  /** Stops (true) or restarts (false) reading: back-pressure towards the other end. */
  pauseReading(paused: boolean): void;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes at once; what is queued is lost. `closed` is still called. */
  destroy(): void;
}

export interface StreamEvents {
  /** A connecting stream stands. Not called for accepted streams. */
  opened?(): void;
  /**
   * Where the next bytes should go, for large payloads: the binding reads into it at most its length and calls
   * `received` with the filled front part *of the same memory*. Null or absent: memory of the binding's choice, used
   * again when all shares in it are given back: views of it may be kept if they are shared (`PayloadMemory`). Not asked
   * before the first read of a stream.
   */
  space?(): Uint8Array | null;
  received(chunk: Uint8Array): void;
  /** The queue of unsent bytes has become empty after `send` left something in it. */
  drained?(): void;
  /** Called once; `reason` in plain words, e.g. `connection refused`, `closed by the other side`. */
  closed(reason: string): void;
}

/** `host:port` or `unix:/path`, as shown to people. */
export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Reads `host:port`, `[v6]:port` or `unix:/path`; null when it is none of them. */
export function parseAddress(text: string): Address | null {
  if (text.startsWith('unix:')) return text.length > 5 ? { kind: 'unix', path: text.slice(5) } : null;
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(text);
  if (!match) return null;
  const port = Number(match[3]);
  const host = match[1] ?? match[2];
  return host === undefined || port > 65535 ? null : { kind: 'tcp', host, port };
}
