/** Ranges of IP addresses, as access lists name them: `10.0.0.7`, `10.0.0.0/24`, `fd00::/8`. */
import { BlockList, isIP } from 'node:net';

export interface AddressRange {
  /** An IPv4 address counts in its IPv6 form, `::ffff:10.0.0.7`, too. False for what is no address. */
  contains(address: string): boolean;
}

/** Null when the text is none. */
export function parseAddressRange(text: string): AddressRange | null {
  const [, address = '', length] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = familyOf(address);
  if (family === null) return null;
  const bits = family === 'ipv4' ? 32 : 128;
  const prefix = length === undefined ? bits : Number(length);
  if (prefix > bits) return null;
  const list = new BlockList();
  list.addSubnet(address, prefix, family);
  return {
    contains: (other) => {
      const of = familyOf(other);
      return of !== null && list.check(other, of);
    },
  };
}

function familyOf(address: string): 'ipv4' | 'ipv6' | null {
  const version = isIP(address);
  return version === 4 ? 'ipv4' : version === 6 ? 'ipv6' : null;
}
