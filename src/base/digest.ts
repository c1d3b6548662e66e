/** Hash functions that foreign protocols prescribe; what we choose ourselves is in `hmac.ts` and `sha256.ts`. */
import { createHash, getHashes } from 'node:crypto';

export type DigestAlgorithm = 'md5' | 'sha1' | 'sha256' | 'sha3-256';

const present = new Set(getHashes());

/** False where the system forbids it: MD5 and SHA-1 under FIPS. */
export function hasDigest(algorithm: DigestAlgorithm): boolean {
  return present.has(algorithm);
}

/** Over the parts one after another (RFC 1321, FIPS 180-4, FIPS 202). Only of an algorithm that there is. */
export function digest(algorithm: DigestAlgorithm, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
}
