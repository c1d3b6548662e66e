/**
 * The lasting identity of a volume: made once, the same at every site and under every owner. Hosts recognise a disk by
 * it, so it is never derived from anything that could change (name, node, path, size).
 *
 * Format: NAA 6, "IEEE Registered Extended" (SPC-4 7.8.6.6.5), 16 bytes written as 32 hex digits:
 *
 *   digit  1      NAA, 6
 *   digits 2–7    IEEE company id
 *   digits 8–32   100 random bits, so that clusters that never met do not collide
 *
 * Without a coordination store nobody can keep what was drawn once for all nodes: there the 100 bits are derived from the
 * names of cluster, group and volume (`node/identities.ts`), which must not be changed then.
 */
import { type Random, randomHex } from '../base/random.ts';

/**
 * We have no registered company id. This one has the "locally administered" bit (0x02 of its first byte) set, which no
 * registered id has, so it collides with no vendor's; the rest spells `HF`.
 */
const companyId = '024846';

export function makeWwid(random: Random): string {
  return `6${companyId}${randomHex(random, 13).slice(1)}`;
}

/** @param digits at least 25 hex digits. */
export function wwidOf(digits: string): string {
  return `6${companyId}${digits.slice(0, 25)}`;
}

/** Any NAA 6 identity, not only of our making: one may have been taken over from another product's volume. */
export function isWwid(text: string): boolean {
  return /^6[0-9a-f]{31}$/.test(text);
}
