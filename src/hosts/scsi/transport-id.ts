/**
 * TransportIDs of iSCSI initiator ports (SPC-4 7.6.4.6): how parameter lists name who is registered.
 *
 *     0    TPID FORMAT 01b (bits 7…6), PROTOCOL IDENTIFIER 5h (bits 3…0)
 *     1    reserved
 *     2…3  ADDITIONAL LENGTH, a multiple of 4, 20 or more
 *     4…   name ",i,0x" 12 hex digits of the ISID, null-terminated and null-padded
 *
 * Format 00b, a name without an ISID, stands for ports that only a target with a memory of all initiators could name; it is refused.
 */
import { be16, nameString, zeroes } from './parameter-data.ts';
import { u16 } from './wire.ts';

const initiatorPortOfIscsi = 0x45;
const headerLength = 4;
const additionalLengthMin = 20;
const portPattern = /^([\x21-\x7e]{1,223}),i,0x([0-9a-f]{12})$/;

/** @param port name of an initiator port, as registrations have it */
export function encodeTransportId(port: string): number[] {
  const name = nameString(port);
  const padded = [...name, ...zeroes(Math.max(0, additionalLengthMin - name.length))];
  return [initiatorPortOfIscsi, 0, ...be16(padded.length), ...padded];
}

/** Of all that the TransportID at `at` takes. */
export function transportIdLength(bytes: Uint8Array, at: number): number {
  return headerLength + u16(bytes, at + 2);
}

/** The name of the initiator port, in lower case; a number: the byte that is wrong. */
export function decodeTransportId(bytes: Uint8Array): string | number {
  if (bytes[0] !== initiatorPortOfIscsi) return 0;
  const length = u16(bytes, 2);
  if (length < additionalLengthMin || length % 4 !== 0 || headerLength + length > bytes.length) return 2;
  const text = bytes.subarray(headerLength, headerLength + length);
  const end = text.indexOf(0);
  if (end < 0 || text.subarray(end).some((byte) => byte !== 0)) return headerLength;
  const name = new TextDecoder('latin1').decode(text.subarray(0, end)).toLowerCase();
  return portPattern.test(name) ? name : headerLength;
}
