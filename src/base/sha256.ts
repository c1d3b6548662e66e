import { createHash } from 'node:crypto';

/** SHA-256 (FIPS 180-4) over the parts, each preceded by its length so that no two lists of parts read the same; 64 hex digits. */
export function sha256Hex(...parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest('hex');
}
