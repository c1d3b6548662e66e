/** Randomness, as protocol logic sees it: identities and jitter, seeded in the simulator. */
export interface Random {
  /** `count` fresh random bytes, fit for identifiers. */
  bytes(count: number): Uint8Array;
  /** A whole number in [0, bound). */
  below(bound: number): number;
}

/** `count` random bytes as lower-case hex (2 × `count` characters). */
export function randomHex(random: Random, count: number): string {
  return Buffer.from(random.bytes(count)).toString('hex');
}
