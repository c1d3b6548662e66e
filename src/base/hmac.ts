import { createHmac, timingSafeEqual } from 'node:crypto';

export const hmacBytes = 32;

/** HMAC-SHA256 (RFC 2104, FIPS 180-4) over the parts one after another. */
export function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/** In constant time; false for another length. */
export function isSameMac(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
