/**
 * Raw Ethernet frames (packet(7)): Node has no such socket, so the calls go through the optional package of
 * `block/foreign.ts`. They never block: what is received is looked for, not waited for.
 */
import { foreignFunctions } from '../block/foreign.ts';

export interface PacketSocket {
  /** The name of the error, or null. */
  send(frame: Uint8Array): string | null;
  /** The next frame that has arrived; null: none has. */
  receive(): Uint8Array | null;
  close(): void;
}

const afPacket = 17;
const sockRaw = 3;
const sockNonBlocking = 0o4000;
const sockCloseOnExec = 0o2000000;
const frameBytesMax = 2048;
/** struct sockaddr_ll: family, protocol (network order), interface index, 12 bytes that matter to nobody here. */
const sockaddrBytes = 20;

type OpenPacketSocket = (interfaceIndex: number, etherType: number) => PacketSocket | string;

const { functions, reason } = foreignFunctions;

/** Text instead of a socket: why there is none. */
export const openPacketSocket: OpenPacketSocket = functions === null ? () => reason : bindCalls(functions);

function bindCalls(foreign: NonNullable<typeof functions>): OpenPacketSocket {
  const library = foreign.load(null);
  const socket = library.func('int socket(int, int, int)') as (...values: number[]) => number;
  const bind = library.func('int bind(int, const void *, uint32_t)') as (...values: unknown[]) => number;
  const send = library.func('int64_t send(int, const void *, size_t, int)') as (...values: unknown[]) => number;
  const receive = library.func('int64_t recv(int, void *, size_t, int)') as (...values: unknown[]) => number;
  const close = library.func('int close(int)') as (descriptor: number) => number;
  const names = new Map(Object.entries(foreign.os.errno).map(([name, number]) => [number, name]));
  const errorName = (): string => names.get(foreign.errno()) ?? `errno ${foreign.errno()}`;

  return (interfaceIndex, etherType) => {
    const swapped = ((etherType & 0xff) << 8) | (etherType >> 8);
    const descriptor = socket(afPacket, sockRaw | sockNonBlocking | sockCloseOnExec, swapped);
    if (descriptor < 0) return `a packet socket cannot be had: ${errorName()}`;
    const address = Buffer.alloc(sockaddrBytes);
    address.writeUInt16LE(afPacket, 0);
    address.writeUInt16BE(etherType, 2);
    address.writeInt32LE(interfaceIndex, 4);
    if (bind(descriptor, address, address.length) < 0) {
      const error = errorName();
      close(descriptor);
      return `a packet socket cannot be bound to the device: ${error}`;
    }
    const space = Buffer.alloc(frameBytesMax);
    return {
      send: (frame) => (send(descriptor, frame, frame.length, 0) < 0 ? errorName() : null),
      receive: () => {
        const length = receive(descriptor, space, space.length, 0);
        return length < 0 ? null : Uint8Array.prototype.slice.call(space, 0, length);
      },
      close: () => void close(descriptor),
    };
  };
}
