/**
 * The Ethernet frames by which neighbours learn, and are asked, who has an address.
 *
 * ARP over Ethernet (RFC 826), 42 bytes: destination 6, source 6, type 0x0806, hardware 1, protocol 0x0800, lengths 6 and 4,
 * operation (1 request, 2 reply), sender MAC and address, target MAC and address.
 * - Announcement (RFC 5227 §1.1): a request whose sender and target address are the same, broadcast.
 * - Probe: a request whose sender address is 0.0.0.0, so that nobody's cache is touched.
 *
 * IPv6 neighbour discovery (RFC 4861 §4.3, §4.4), in an Ethernet frame of type 0x86dd, next header 58, hop limit 255:
 * - Advertisement, type 136, to ff02::1, override set, with the target's link-layer address (option 2).
 * - Solicitation, type 135, from :: to the solicited-node address, as duplicate address detection sends it (RFC 4862).
 */
import { isIPv6 } from 'node:net';

/** EtherTypes. */
export const etherTypeArp = 0x0806;
export const etherTypeIpv6 = 0x86dd;

const arpBytes = 42;
const broadcast = Buffer.alloc(6, 0xff);
const nextHeaderIcmp = 58;
const solicitation = 135;
const advertisement = 136;

/** `mac` as `02:42:…`; `address` without prefix length. */
export function announcementFrame(mac: string, address: string): Buffer {
  const from = macBytes(mac);
  if (!isIPv6(address)) return arpFrame(1, from, addressBytes(address), Buffer.alloc(6), addressBytes(address));
  const target = addressBytes(address);
  // Flags: neither router nor solicited, override.
  const body = Buffer.concat([
    Buffer.from([advertisement, 0, 0, 0, 0x20, 0, 0, 0]),
    target,
    Buffer.from([2, 1]),
    from,
  ]);
  return icmpFrame(from, macBytes('33:33:00:00:00:01'), target, addressBytes('ff02::1'), body);
}

export function probeFrame(mac: string, address: string): Buffer {
  const from = macBytes(mac);
  if (!isIPv6(address)) return arpFrame(1, from, Buffer.alloc(4), Buffer.alloc(6), addressBytes(address));
  const target = addressBytes(address);
  const to = addressBytes('ff02::1:ff00:0');
  target.copy(to, 13, 13);
  const toMac = Buffer.concat([Buffer.from([0x33, 0x33]), to.subarray(12)]);
  const body = Buffer.concat([Buffer.from([solicitation, 0, 0, 0, 0, 0, 0, 0]), target]);
  return icmpFrame(from, toMac, Buffer.alloc(16), to, body);
}

/** The MAC of another that says, in this frame, that it has the address; null: it says no such thing. */
export function holderIn(frame: Uint8Array, ownMac: string, address: string): string | null {
  const wanted = addressBytes(address);
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.length);
  if (bytes.length < arpBytes) return null;
  const type = bytes.readUInt16BE(12);
  let mac: Buffer;
  if (wanted.length === 4) {
    if (type !== etherTypeArp || !bytes.subarray(28, 32).equals(wanted)) return null;
    mac = bytes.subarray(22, 28);
  } else {
    const isAdvertisement = bytes.length >= 78 && bytes[20] === nextHeaderIcmp && bytes[54] === advertisement;
    if (type !== etherTypeIpv6 || !isAdvertisement || !bytes.subarray(62, 78).equals(wanted)) return null;
    mac = bytes.subarray(6, 12);
  }
  const text = [...mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  return text === ownMac.toLowerCase() ? null : text;
}

function arpFrame(operation: number, from: Buffer, sender: Buffer, target: Buffer, wanted: Buffer): Buffer {
  const header = Buffer.from([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
  return Buffer.concat([broadcast, from, header, from, sender, target, wanted]);
}

function icmpFrame(from: Buffer, toMac: Buffer, source: Buffer, to: Buffer, body: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 0x60;
  header.writeUInt16BE(body.length, 4);
  header[6] = nextHeaderIcmp;
  header[7] = 255;
  // Pseudo-header (RFC 8200 §8.1): addresses, length, next header.
  const pseudo = Buffer.alloc(8);
  pseudo.writeUInt32BE(body.length, 0);
  pseudo[7] = nextHeaderIcmp;
  body.writeUInt16BE(checksum(Buffer.concat([source, to, pseudo, body])), 2);
  return Buffer.concat([toMac, from, Buffer.from([0x86, 0xdd]), header, source, to, body]);
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function macBytes(mac: string): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** 4 or 16 bytes. */
export function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number));
  // A dotted end stands for two groups.
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [before = '', after] = plain.split('::');
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const head = groups(before);
  const tail = after === undefined ? [] : groups(after);
  const middle = after === undefined ? [] : new Array<string>(8 - head.length - tail.length).fill('0');
  const bytes = Buffer.alloc(16);
  [...head, ...middle, ...tail].forEach((group, index) => bytes.writeUInt16BE(parseInt(group, 16), index * 2));
  return bytes;
}
